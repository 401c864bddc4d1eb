# The von Mises-Fisher distribution on the unit sphere of R^k. All densities in nats.

"""
    log_vmf_normaliser(kappa, k)

log C_k(κ) = ν log κ − (k/2) log 2π − log I_ν(κ), ν = k/2 − 1, computed without log κ so that κ → 0 gives the
uniform density 1/area: −uniform_sphere_entropy(k) − log ₀F₁(; k/2; κ²/4). Original: `log(c(p, κ))`, which overflows for κ > 700 and is NaN at 0.
"""
function log_vmf_normaliser(kappa::T, k::Integer) where {T<:AbstractFloat}
    kappa >= 0 || throw(DomainError(kappa, "a concentration kappa must be at least 0."))
    T(-uniform_sphere_entropy(k) - log_0f1(k / 2 - 1, kappa))
end

"""
    log_vmf(z, mu, kappa)

κ z·μ + log C_k(κ), column by column. z, mu: (k, n); kappa: (n,). Returns (n,), nats.
Original: `log_vmf_c`, which returns the last column only when given matrices.
"""
function log_vmf(z::AbstractMatrix{T}, mu::AbstractMatrix{T}, kappa::AbstractVector{T}) where {T<:AbstractFloat}
    k = size(z, 1)
    [kappa[i] * columndot(z, mu, i) + log_vmf_normaliser(kappa[i], k) for i in axes(z, 2)]
end

"""
    vmf_entropy(kappa, k)

−κ A_k(κ) − log C_k(κ), A_k = I_{k/2}/I_{k/2−1}, in nats. Original: `vmfentropy(m, κ)`.
"""
vmf_entropy(kappa::T, k::Integer) where {T<:AbstractFloat} =
    T(-Float64(kappa) * bessel_ratio(k / 2 - 1, kappa) - log_vmf_normaliser(Float64(kappa), k))

"""
    uniform_sphere_entropy(k)

log of the area of the unit sphere of R^k, (k/2) log π + log 2 − log Γ(k/2). Original: `huentropy`.
"""
uniform_sphere_entropy(k::Integer) = (k / 2) * log(π) + log(2.0) - loggamma(k / 2)

"""
    vmf_kl(kappa, k)

KL(vMF(·, κ) ‖ uniform) = κ A_k(κ) + log C_k(κ) − log C_k(0) ≥ 0, where log C_k(κ) − log C_k(0) = −log ₀F₁(; k/2; κ²/4).
Original: `kldiv(model, κ)`, which subtracts two entropies.
"""
vmf_kl(kappa::T, k::Integer) where {T<:AbstractFloat} =
    T(Float64(kappa) * bessel_ratio(k / 2 - 1, kappa) - log_0f1(k / 2 - 1, kappa))
