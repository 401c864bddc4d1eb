# Section 3.2 of the paper: the density split at the projection, and Laplace's approximation.

"""
    log_density_corrected(x, x_hat, z, jacobian; sigma2 = 1, latent = :euclidean, mu_u, kappa_u, convention)

Euclidean latents z ~ N(0, I): log N(z; 0, I + σ²(JᵀJ)⁻¹) + log N(e; σ²) over d−k dimensions − log_volume(J).
For a singular value s and the coordinate c of z the sum of the first and the last term is −c²s²/2(s² + σ²) − log(s² + σ²)/2;
it stays finite for s = 0.
Spherical latents: log_prior(z) + log N(e; σ²) over d−k+1 dimensions − log_volume(J·T).
x, x_hat (d, n), z (k, n), jacobian (d, k, n) ambient. `corrected_volume = :floored` subtracts 2Σlog(s + 1f-6)
(σ² = 1, Euclidean only). Section 3.2; original: `correctedjacodeco`.
"""
function log_density_corrected(x::AbstractMatrix{T}, x_hat::AbstractMatrix{T}, z::AbstractMatrix{T},
                               jacobian::AbstractArray{T,3}; sigma2::Real = 1, latent::Symbol = :euclidean,
                               mu_u::Union{Nothing,AbstractMatrix{T}} = nothing,
                               kappa_u::Union{Nothing,AbstractVector{T}} = nothing,
                               convention::Convention = EXACT) where {T}
    d, k = size(jacobian, 1), size(jacobian, 2)
    floored = convention.corrected_volume === :floored
    residual = squared_distance(x, x_hat)
    normal(count) = -residual ./ T(2sigma2) .- T(count * log(2π * sigma2) / 2)
    if latent === :sphere
        (floored || mu_u === nothing) && throw(ArgumentError(
            "the corrected density of a spherical latent space has no original form: it needs corrected_volume = " *
            ":exact and the prior's components `mu_u`, `kappa_u`. Use EXACT."))
        volumes = log_volume(restrict(jacobian, tangent_frame(z)))
        return log_prior(z, mu_u, kappa_u; convention = convention) .+ normal(d - k + 1) .- volumes
    end
    floored && sigma2 != 1 &&
        throw(ArgumentError("`sigma2` must be 1 for corrected_volume = :floored; got $sigma2."))
    out = d > k ? normal(d - k) : zeros(T, size(z, 2))
    for i in axes(z, 2)
        F = svd(jacobian[:, :, i])
        roots = hypot.(F.S, sqrt(T(sigma2)))
        coordinates = F.Vt * z[:, i]
        out[i] -= sum((F.S ./ roots .* coordinates) .^ 2 ./ 2 .+ log.(roots)) + T(k * log(2π) / 2)
        floored && (out[i] += sum(s -> log(s) - 2 * log(s + T(1f-6)), F.S))   # the original's volume, not the exact one
    end
    out
end

"""
    log_laplace(log_joint, hessian)

log p(x, z*) + (m/2) log 2π − ½ log det H; log_joint (n,), hessian (m, m, n) of −log p(x, z) at its minimum z*, the
Riemannian one for spherical latents. −Inf, with a warning, where H is not positive definite.
"""
function log_laplace(log_joint::AbstractVector{T}, hessian::AbstractArray{T,3}) where {T}
    m, n = size(hessian, 1), size(hessian, 3)
    out, indefinite = Vector{T}(undef, n), falses(n)
    for i in 1:n
        H = hessian[:, :, i]
        values = eigvals(Symmetric((H .+ transpose(H)) ./ 2))
        indefinite[i] = !all(>(0), values)
        out[i] = indefinite[i] ? T(-Inf) : log_joint[i] + T(m * log(2π) / 2) - sum(log, values) / 2
    end
    any(indefinite) && @warn "log_laplace: the Hessian is not positive definite, the density is set to -Inf" samples =
        findall(indefinite)
    out
end

"""
    posterior_hessian(model, x, z; sigma2 = 1, convention)

Riemannian Hessian (k−1, k−1, n) of F(z) = ‖x − decode(z)‖²/2σ² − log_prior(z) on the sphere at z, in the basis of
`tangent_frame(z)`: Tᵀ∇²F T − (z·∇F) I. The second derivatives of the decoder are needed only in their product with the residual,
Σ_layers Tᵀ A_lᵀ diag(λ_l σ″(a_l)) A_l T, where λ_l comes from one reverse pass of the residual.
"""
function posterior_hessian(model::SVAE{T}, x::AbstractMatrix{T}, z::AbstractMatrix{T}; sigma2::Real = 1,
                           convention::Convention = EXACT) where {T}
    k, n = size(z)
    mu_u, kappa_u = pseudo_codes(model; convention = convention)
    out = Array{T}(undef, k - 1, k - 1, n)
    for i in 1:n
        progress("posterior_hessian", i, n)
        gradient, hessian = misfit_derivatives(model.decoder, x[:, i:i], z[:, i:i])
        prior_gradient, prior_hessian = log_prior_derivatives(z[:, i], mu_u, kappa_u, convention)
        out[:, :, i] = riemannian(z[:, i:i], gradient ./ T(sigma2) .- prior_gradient,
                                  hessian ./ T(sigma2) .- prior_hessian)[2]
    end
    out
end

bends(σ::Activation, a::Vector{T}) where {T} = T[bend(σ, each) for each in a]

"""Gradient (k,) and Hessian (k, k) of ½‖x − decode(z)‖² at one z (k, 1); the decoder's last layer is linear."""
function misfit_derivatives(decoder::Vector{Dense{T}}, x::Matrix{T}, z::Matrix{T}) where {T}
    h, tangents, curvature = vec(z), Matrix{T}(I, length(z), length(z)), Tuple{Vector{T},Matrix{T}}[]
    slopes = Vector{T}[]
    for layer in view(decoder, 1:length(decoder)-1)
        a, along = layer.W * h .+ layer.b, layer.W * tangents
        push!(curvature, (bends(layer.σ, a), along))
        push!(slopes, vec(activate_with_slope!(layer.σ, reshape(a, :, 1), zero(a))))
        h, tangents = a, slopes[end] .* along
    end
    J = decoder[end].W * tangents
    e = vec(x) .- decoder[end].W * h .- decoder[end].b
    hessian, adjoint = transpose(J) * J, transpose(decoder[end].W) * -e
    for l in length(slopes):-1:1
        bent, along = curvature[l]
        hessian += transpose(along) * (adjoint .* bent .* along)
        adjoint = transpose(decoder[l].W) * (adjoint .* slopes[l])
    end
    -transpose(J) * e, hessian
end

"""Gradient (k,) and Hessian (k, k) of `log_prior` in the ambient space at one z (k,)."""
function log_prior_derivatives(z::Vector{T}, mu_u::Matrix{T}, kappa_u::Vector{T}, convention::Convention) where {T}
    mixture = convention.prior_density === :vmf_mixture
    rates = mixture ? kappa_u : ones(T, length(kappa_u))
    directions_ = mu_u .* transpose(rates)
    exponents = transpose(directions_) * z
    mixture && (exponents .+= log_vmf_normaliser.(kappa_u, length(z)))
    weights = exp.(exponents .- maximum(exponents))
    weights ./= sum(weights)
    gradient = directions_ * weights
    gradient, directions_ * (weights .* transpose(directions_)) - gradient * transpose(gradient)
end
