# Terms that compare a point with its reconstruction.

"""log 2π of the original, `log(2f0*π)`: a Float32 in every precision."""
const LOG_TWO_PI_FLOAT32 = 1.837877f0

"""d·log 2π; the original rounds it to Float32, whatever the type of the data."""
dimension_constant(d::Integer, convention::Convention) =
    convention.log_two_pi === :float32 ? Float64(Float32(d) * LOG_TWO_PI_FLOAT32) : d * log(2π)

"""Σ(x−y)² of each column; (n,)."""
function squared_distance(x::AbstractMatrix{T}, y::AbstractMatrix{T}) where {T}
    size(x) == size(y) || throw(DimensionMismatch("x is $(size(x)) but y is $(size(y)); they must agree."))
    d = size(x, 1)
    T[d == 0 ? zero(T) : pairwise_sum(l -> @inbounds(abs2(x[l, i] - y[l, i])), 1, d) for i in axes(x, 2)]
end

"""
    log_likelihood(x, x_hat, sigma2 = 1; convention)

−½Σ(x−x̂)²/σ² − (d/2) log 2πσ², nats, (n,). x, x̂ (d, n); sigma2 one variance for all features, or (d,).
Equation (4); original: `log_normal(x, μ)`, column `log_pxv_x`.
"""
function log_likelihood(x::AbstractMatrix{T}, x_hat::AbstractMatrix{T}, sigma2::Union{Real,AbstractVector} = 1;
                        convention::Convention = EXACT) where {T}
    size(x) == size(x_hat) || throw(DimensionMismatch("x is $(size(x)) but x_hat is $(size(x_hat)); they must agree."))
    d = size(x, 1)
    variances = sigma2 isa Real ? fill(Float64(sigma2), d) : Vector{Float64}(sigma2)
    narrow = T.(variances)
    exact = all(v -> v >= floatmin(T), narrow)              # Float32 rounds σ² below 1e-46 to 0, but still holds 1/σ
    rates = T.(min.(1 ./ sqrt.(variances), floatmax(T)))
    square(l, i) = @inbounds exact ? abs2(x[l, i] - x_hat[l, i]) / narrow[l] : abs2((x[l, i] - x_hat[l, i]) * rates[l])
    log_determinant = d == 0 ? 0.0 : pairwise_sum(l -> log(variances[l]), 1, d)
    constant = T((dimension_constant(d, convention) + log_determinant) / 2)
    map(axes(x, 2)) do i
        squares = d == 0 ? zero(T) : pairwise_sum(l -> square(l, i), 1, d)
        -squares / 2 - constant
    end
end

"""
    latent_error(z, z_hat)

Σ(z−ẑ)², ẑ = mu(decode(z)); (n,). Original: column `log_pxv_z` of the scripts.
"""
latent_error(z::AbstractMatrix{T}, z_hat::AbstractMatrix{T}) where {T} = squared_distance(z, z_hat)
