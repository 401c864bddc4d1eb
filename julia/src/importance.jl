# The marginal likelihood by importance sampling from the posterior.

"""
    log_importance(log_px_given_z, log_pz, cosine, kappa, k; convention)

log (1/s)Σ_i exp(log p(x|z_i) + log p(z_i) − log q(z_i|x)), q = vMF(mu(x), κ(x)). log_px_given_z, log_pz and
cosine = z_i·mu(x) are (s, n), kappa (n,), k the latent dimension → (n,), nats.
`importance = :outer_sum` is the original's log Σ_i exp(log p(x|z_i) − κ z_i·mu)·Σ_j p(z_j). It sums all pairs of draws, has
neither −log s nor log C_k(κ), and does not shift by the largest term, so samples far from the manifold underflow to −Inf.
Equation (3); original: `log_px`.
"""
function log_importance(log_px_given_z::AbstractMatrix{T}, log_pz::AbstractMatrix{T}, cosine::AbstractMatrix{T},
                        kappa::AbstractVector{T}, k::Integer; convention::Convention = EXACT) where {T}
    log_q = cosine .* transpose(kappa)
    if convention.importance === :outer_sum
        numerators = sum(exp.(log_px_given_z .- log_q); dims = 1)
        return log.(vec(numerators .* sum(exp.(log_pz); dims = 1)))
    end
    log_q .+= transpose(log_vmf_normaliser.(kappa, k))
    terms = log_px_given_z .+ log_pz .- log_q
    T[log_mean_exp(view(terms, :, i)) for i in axes(terms, 2)]
end

"""
    log_importance(model, x, draws; convention)

The same from a model and draws z_i of vMF(mu(x), κ(x)): draws (k, s, n), x (d, n).
"""
function log_importance(model::SVAE{T}, x::AbstractMatrix{T}, draws::AbstractArray{T,3};
                        convention::Convention = EXACT) where {T}
    k, s, n = size(draws)
    mu, kappa = encode(model, x; convention = convention)
    flat = reshape(draws, k, s * n)
    x_each, mu_each = repeat(x, inner = (1, s)), repeat(mu, inner = (1, s))
    likelihood = log_likelihood(x_each, decode(model, flat); convention = convention)
    prior = log_prior(model, flat; convention = convention)
    cosine = T[columndot(flat, mu_each, i) for i in 1:s*n]
    log_importance(reshape(likelihood, s, n), reshape(prior, s, n), reshape(cosine, s, n), kappa, k;
                   convention = convention)
end
