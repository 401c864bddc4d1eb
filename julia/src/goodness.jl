# Goodness of fit of the prior: MMD with any kernel, its variance, its null distribution.
# After IPMeasures.jl and the scripts of the experiment.

"""The widths 10^(−10:0.05:2) over which the criterion is searched."""
const WIDTH_GRID = 10.0 .^ range(-10.0, 2.0; length = 241)

"""
    pairwise_distance(x, y, distance = :cosine; convention)

All distances of columns, (n, m): |x−y|² for :squared_euclidean, 1 − x·y/(|x||y|) for :cosine, where
`width_distance = :frobenius` divides by the Frobenius norms of the whole matrices (IPMeasures of 2019).
Original: IPMeasures `pairwisel2`, `pairwisecos`.
"""
function pairwise_distance(x::AbstractMatrix{T}, y::AbstractMatrix{T}, distance::Symbol = :cosine;
                           convention::Convention = EXACT) where {T}
    products = transpose(x) * y
    lengths_x = T[columndot(x, x, i) for i in axes(x, 2)]
    lengths_y = T[columndot(y, y, i) for i in axes(y, 2)]
    if distance === :squared_euclidean
        return -2 .* products .+ lengths_x .+ transpose(lengths_y)
    elseif distance !== :cosine
        throw(ArgumentError("`distance` must be :cosine or :squared_euclidean; got :$distance."))
    elseif convention.width_distance === :frobenius
        return one(T) .- products ./ norm(x) ./ norm(y)
    end
    one(T) .- products ./ sqrt.(lengths_x) ./ transpose(sqrt.(lengths_y))
end

"""
    kernel_value(kernel, d, width)

:imq c/(c+d), :gaussian exp(−c·d), :rq (1 + (d+eps)/2c)^−c. Original: IPMeasures `kernels.jl`.
"""
function kernel_value(kernel::Symbol, d::T, width::Real) where {T<:AbstractFloat}
    c = T(width)
    kernel === :imq && return c / (c + d)
    kernel === :gaussian && return exp(-c * d)
    kernel === :rq && return (one(T) + (d + eps(T)) / (2c))^(-c)
    throw(ArgumentError("`kernel` must be :imq, :gaussian or :rq; got :$kernel."))
end

"""
    kernel_mean(x[, y]; width, kernel = :imq, distance = :cosine, convention)

Mean of a kernel over pairs of columns; within x as (Σk − n·k(0))/(n(n−1)), which subtracts n·k(0) and not the
diagonal. The two differ with `width_distance = :frobenius`. Original: IPMeasures `kernelsum`.
"""
function kernel_mean(x::AbstractMatrix{T}, y::AbstractMatrix{T}; width::Real, kernel::Symbol = :imq,
                     distance::Symbol = :cosine, convention::Convention = EXACT) where {T}
    d = pairwise_distance(x, y, distance; convention = convention)
    sum(kernel_value.(kernel, d, width)) / T(size(x, 2) * size(y, 2))
end

function kernel_mean(x::AbstractMatrix{T}; width::Real, kernel::Symbol = :imq, distance::Symbol = :cosine,
                     convention::Convention = EXACT) where {T}
    d = pairwise_distance(x, x, distance; convention = convention)
    n = size(x, 2)
    (sum(kernel_value.(kernel, d, width)) - n * kernel_value(kernel, zero(T), width)) / T(n^2 - n)
end

"""
    mmd(x, y; width, kernel = :imq, distance = :cosine, convention)

k̄xx + k̄yy − 2k̄xy by `kernel_mean`: the statistic of the goodness-of-fit test. Original: IPMeasures `mmd`.
"""
mmd(x::AbstractMatrix{T}, y::AbstractMatrix{T}; keywords...) where {T} =
    kernel_mean(x; keywords...) + kernel_mean(y; keywords...) - 2 * kernel_mean(x, y; keywords...)

"""
    mmd_variance(k_xx, k_xy, k_yy; biased = false, convention)

(mmd2, variance): MMD² and the unbiased estimate of its variance from three (m, m) kernel matrices, m ≥ 4.
`mmd_variance = :swapped` (original) exchanges the row and column sums of k_xy in the last line.
Sutherland 2017, equation (5); original: IPMeasures `mmd2_and_variance`.
"""
function mmd_variance(k_xx::AbstractMatrix{T}, k_xy::AbstractMatrix{T}, k_yy::AbstractMatrix{T};
                      biased::Bool = false, convention::Convention = EXACT) where {T}
    m = size(k_xy, 1)
    size(k_xx) == size(k_xy) == size(k_yy) == (m, m) && m >= 4 || throw(DimensionMismatch(
        "mmd_variance needs three square matrices of one size of at least 4; got " *
        "$(size(k_xx)), $(size(k_xy)), $(size(k_yy))."))
    rows_xx = vec(sum(k_xx; dims = 1)) .- diag(k_xx)
    rows_yy = vec(sum(k_yy; dims = 1)) .- diag(k_yy)
    per_x, per_y = vec(sum(k_xy; dims = 2)), vec(sum(k_xy; dims = 1))
    sum_xx, sum_yy, sum_xy = sum(rows_xx), sum(rows_yy), sum(per_x)
    squares(K) = sum(abs2, K) - sum(abs2, diag(K))
    cross_x, cross_y = convention.mmd_variance === :swapped ? (per_y, per_x) : (per_x, per_y)

    f = Float64(m)   # in Float64, because m⁵ would overflow integers
    within = biased ? (sum(k_xx) + sum(k_yy)) / f^2 : (sum_xx + sum_yy) / (f * (f - 1))
    variance =
        2 / (f^2 * (f - 1)^2) * (2 * dot(rows_xx, rows_xx) - squares(k_xx) + 2 * dot(rows_yy, rows_yy) - squares(k_yy)) -
        (4f - 6) / (f^3 * (f - 1)^3) * (sum_xx^2 + sum_yy^2) +
        4 * (f - 2) / (f^3 * (f - 1)^2) * (dot(per_y, per_y) + dot(per_x, per_x)) -
        4 * (f - 3) / (f^3 * (f - 1)^2) * sum(abs2, k_xy) -
        (8f - 12) / (f^5 * (f - 1)) * sum_xy^2 +
        8 / (f^3 * (f - 1)) * ((sum_xx + sum_yy) * sum_xy / f - dot(rows_xx, cross_x) - dot(rows_yy, cross_y))
    T(within - 2 * sum_xy / f^2), T(variance)
end

"""
    imq_width_criterion(x, y, widths = WIDTH_GRID; distance = :cosine, convention)

MMD²/√max(variance, eps(Float64)) of the IMQ kernel for each width: its power. x, y (k, m) of one size.
Sutherland 2017, section 2.1; original: IPMeasures `crit_mmd2_var`.
"""
function imq_width_criterion(x::AbstractMatrix{T}, y::AbstractMatrix{T}, widths::AbstractVector{<:Real} = WIDTH_GRID;
                             distance::Symbol = :cosine, convention::Convention = EXACT) where {T}
    d_xx = pairwise_distance(x, x, distance; convention = convention)
    d_xy = pairwise_distance(x, y, distance; convention = convention)
    d_yy = pairwise_distance(y, y, distance; convention = convention)
    map(widths) do c
        K(d) = kernel_value.(:imq, d, c)
        statistic, variance = mmd_variance(K(d_xx), K(d_xy), K(d_yy); convention = convention)
        Float64(statistic) / sqrt(max(Float64(variance), eps(Float64)))
    end
end

"""
    imq_width(x, y; convention)

The width of `WIDTH_GRID` with the largest criterion. Original: `get_γ` of the scripts.
"""
imq_width(x::AbstractMatrix, y::AbstractMatrix; convention::Convention = EXACT) =
    WIDTH_GRID[argmax(imq_width_criterion(x, y; convention = convention))]

"""
    mmd_null(x, y, width; convention)

Sorted MMD² of r pairs of samples of one distribution; x (k, n, r), y (k, m, r) → (r,).
Original: `null_distr_distances` of the scripts, 100 pairs.
"""
mmd_null(x::AbstractArray{T,3}, y::AbstractArray{T,3}, width::Real; convention::Convention = EXACT) where {T} =
    sort!(T[mmd(view(x, :, :, r), view(y, :, :, r); width = width, convention = convention) for r in axes(x, 3)])

"""
    mmd_p_value(null, statistic; convention)

(1 + #{null ≥ statistic})/(1 + r), null ascending. `p_value = :rank` (original) is the rank of the statistic over r,
from 1/r to 1 + 1/r. Original: `mmdpval`.
"""
function mmd_p_value(null::AbstractVector{<:Real}, statistic::Real; convention::Convention = EXACT)
    issorted(null) && !isempty(null) ||
        throw(ArgumentError("`null` must be ascending with at least one value; use mmd_null, or sort it."))
    first_not_below = searchsortedfirst(null, statistic)
    convention.p_value === :rank && return first_not_below / length(null)
    (2 + length(null) - first_not_below) / (1 + length(null))
end
