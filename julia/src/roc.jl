# Quality of a ranking.

"""
    roc_auc(scores, labels)

P(score of an anomaly > score of a normal) + ½P(equal); labels 0 normal, 1 anomaly, scores higher = more anomalous.
Ties are grouped as in the original (EvalCurves `auc(roccurve(…)…)`). The original also rounds its curve to 10 digits,
which changes the area by up to 2.4e-11.
"""
function roc_auc(scores::AbstractVector{<:Real}, labels::AbstractVector{<:Integer})
    length(scores) == length(labels) ||
        throw(DimensionMismatch("`labels` must have the length $(length(scores)) of `scores`; got $(length(labels))."))
    any(isnan, scores) && throw(ArgumentError("`scores` must not hold NaN; got $(count(isnan, scores))."))
    all(label -> label == 0 || label == 1, labels) || throw(ArgumentError("`labels` must be 0 (normal) or 1 (anomaly)."))
    p = count(==(1), labels)
    n = length(labels) - p
    p > 0 && n > 0 || throw(ArgumentError("`labels` must hold both classes; got $n normal and $p anomalous samples."))
    order = sortperm(scores)
    twice_u, normals_below, i = 0, 0, 1
    while i <= length(order)
        j = i
        while j < length(order) && scores[order[j+1]] == scores[order[i]]
            j += 1
        end
        anomalies = count(l -> labels[order[l]] == 1, i:j)
        normals = j - i + 1 - anomalies
        twice_u += anomalies * (2normals_below + normals)
        normals_below += normals
        i = j + 1
    end
    twice_u / (2 * p * n)
end
