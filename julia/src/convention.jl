# One field for each place where the original code departs from the mathematics. Names and values are those of
# pyscore/convention.py, which explains each field.

"""Name => (ORIGINAL value, EXACT value) of every field of a `Convention`."""
const QUIRKS = (
    volume_weight = (2.0, 1.0),
    jacobian = (:ambient, :tangent),
    encoder_jacobian = (:ambient, :tangent),
    prior_density = (:unit_kappa, :vmf_mixture),
    importance = (:outer_sum, :elementwise),
    mmd_diagonal = (:kept, :removed),
    width_distance = (:frobenius, :columnwise),
    mmd_variance = (:swapped, :sutherland),
    p_value = (:rank, :permutation),
    latent_error_sign = (:near, :far),
    pseudo_input_gradient = (:last, :sum),
    known_anomalies = (:normals, :anomalies),
    standardise = (:jointly, :train),
    log_two_pi = (:float32, :float64),
    norm_eps = (:machine, :none),
    goodness_rows = (:normal, :all),
    projection = (:adam, :minimum),
    corrected_volume = (:floored, :exact),
)

"""
    Convention(; field = value, ...)

One field for each place where the original code's numbers differ from the mathematics; fields left out are EXACT.
`ORIGINAL` reproduces the code, `EXACT` follows the mathematics, and any mixture is allowed.
"""
struct Convention
    volume_weight::Float64
    jacobian::Symbol
    encoder_jacobian::Symbol
    prior_density::Symbol
    importance::Symbol
    mmd_diagonal::Symbol
    width_distance::Symbol
    mmd_variance::Symbol
    p_value::Symbol
    latent_error_sign::Symbol
    pseudo_input_gradient::Symbol
    known_anomalies::Symbol
    standardise::Symbol
    log_two_pi::Symbol
    norm_eps::Symbol
    goodness_rows::Symbol
    projection::Symbol
    corrected_volume::Symbol
end

function Convention(; fields...)
    for (name, value) in fields
        haskey(QUIRKS, name) || throw(ArgumentError(
            "Convention has no field `$name`; its fields are $(join(keys(QUIRKS), ", "))."))
        name === :volume_weight || value in QUIRKS[name] || throw(ArgumentError(
            "`$name` must be :$(QUIRKS[name][1]) (original) or :$(QUIRKS[name][2]) (exact); got $(repr(value))."))
    end
    Convention((get(fields, name, QUIRKS[name][2]) for name in fieldnames(Convention))...)
end

const ORIGINAL = Convention((QUIRKS[name][1] for name in fieldnames(Convention))...)
const EXACT = Convention()
