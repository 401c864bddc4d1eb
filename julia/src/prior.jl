# The VampPrior's density on the sphere.

"""
    log_mean_exp(a)

log (1/n)Σ exp(a_i), computed after subtracting the maximum; −Inf if all a_i are −Inf.
"""
function log_mean_exp(a::AbstractVector{T}) where {T}
    top = maximum(a)
    isfinite(top) || return top
    total = zero(T)
    for t in a
        total += exp(t - top)
    end
    log(total / length(a)) + top
end

"""
    log_prior(z, mu_u, kappa_u; convention)

EXACT: log (1/p)Σ_j vMF(z; mu_u_j, kappa_u_j). ORIGINAL: log (1/p)Σ_j exp(z·mu_u_j), which takes κ = 1 and no
normaliser. z (k, n), mu_u (k, p), kappa_u (p,) → (n,), nats. Original: `log_pz_from_z`, `log_pz`.
"""
function log_prior(z::AbstractMatrix{T}, mu_u::AbstractMatrix{T}, kappa_u::Union{Nothing,AbstractVector{T}} = nothing;
                   convention::Convention = EXACT) where {T}
    exponents = transpose(mu_u) * z
    if convention.prior_density === :vmf_mixture
        kappa_u === nothing && throw(ArgumentError(
            "log_prior needs `kappa_u` for prior_density = :vmf_mixture; pass encode(model, u)[2] or ORIGINAL."))
        normaliser = log_vmf_normaliser.(kappa_u, size(z, 1))
        exponents .= exponents .* kappa_u .+ normaliser
    end
    T[log_mean_exp(view(exponents, :, i)) for i in axes(z, 2)]
end

log_prior(model::SVAE, z::AbstractMatrix; convention::Convention = EXACT) =
    log_prior(z, pseudo_codes(model; convention = convention)...; convention = convention)
