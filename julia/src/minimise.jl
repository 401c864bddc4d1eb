# Projection on the manifold and the posterior mode: descent on codes, column by column.

"""
    project(decoder, x, z; latent = :sphere, steps = 100, convention)

(z, gradient_norm, iterations): argmin_z ‖x − decode(z)‖² from a start z (k, n). `projection = :minimum` is
Levenberg-Marquardt along the sphere (or in R^k for latent = :euclidean), never worse than its start; :adam (original)
takes `steps` ADAM steps of size 1e-3 in R^k on the mean over the samples. Section 3.3; original: `manifoldz`.
"""
function project(decoder::Vector{Dense{T}}, x::AbstractMatrix{T}, z::AbstractMatrix{T}; latent::Symbol = :sphere,
                 steps::Integer = 100, convention::Convention = EXACT) where {T}
    latent in (:sphere, :euclidean) ||
        throw(ArgumentError("`latent` must be :sphere or :euclidean; got :$latent."))
    convention.projection === :adam && return adam_descent(decoder, x, z, steps)
    found, norms, iterations = Matrix{T}(z), zeros(T, size(z, 2)), zeros(Int, size(z, 2))
    for i in axes(z, 2)
        found[:, i], norms[i], iterations[i] = levenberg_marquardt(decoder, x[:, i:i], found[:, i:i], latent, steps)
    end
    found, norms, iterations
end
project(model::SVAE, x, z = encode(model, x)[1]; keywords...) = project(model.decoder, x, z; keywords...)

"""Jᵀe of each sample, e = x − decode(z): minus the gradient of ½‖e‖² in z. (k, n)."""
function residual_pullback(decoder::Vector{Dense{T}}, x::AbstractMatrix{T}, z::AbstractMatrix{T}) where {T}
    trunk = view(decoder, 1:length(decoder)-1)
    h, slopes = forward_slopes(trunk, z)
    c = transpose(decoder[end].W) * (x .- affine(decoder[end], h))
    pull_back(trunk, slopes, reshape(c, size(c, 1), size(c, 2), 1))[:, :, 1]
end

function adam_descent(decoder::Vector{Dense{T}}, x::AbstractMatrix{T}, start::AbstractMatrix{T}, steps::Integer) where {T}
    z = Matrix{T}(start)
    state = Adam([z]; rate = 1e-3)
    for _ in 1:steps
        adam_step!([z], [residual_pullback(decoder, x, z) .* T(-1 / size(z, 2))], state)
    end
    pulled = residual_pullback(decoder, x, z)
    z, T[sqrt(columndot(pulled, pulled, i)) for i in axes(z, 2)], fill(Int(steps), size(z, 2))
end

"""z + step, or the exponential map of the sphere along a tangent step; (k, 1)."""
function move(z::Matrix{T}, step::Matrix{T}, latent::Symbol) where {T}
    latent === :euclidean && return z .+ step
    angle = norm(step)
    normalize(cos(angle) .* z .+ (angle > 0 ? sin(angle) / angle : one(T)) .* step)
end

"""
    levenberg_marquardt(decoder, x, z, latent, steps)

One sample: solve (AᵀA + λ·scale·I)δ = Aᵀe with A = J·T, move along the sphere, keep only what decreases ‖e‖².
λ falls by ten after a success and grows by ten after a failure.
"""
function levenberg_marquardt(decoder::Vector{Dense{T}}, x::Matrix{T}, z::Matrix{T}, latent::Symbol, steps::Integer) where {T}
    kind = latent === :sphere ? :tangent : :ambient
    residual(z) = x .- decode(decoder, z)
    e, damping, count = residual(z), T(1e-3), 0
    frame, A = linearise(decoder, z, kind)
    pulled = transpose(A) * e
    while count < steps
        curvature = transpose(A) * A
        scale = max(sum(diag(curvature)) / max(size(A, 2), 1), T(1e-12))
        norm(pulled) <= 100 * eps(T) * (1 + sum(abs2, e) / 2) * sqrt(scale) && break
        count += 1
        delta = (curvature + damping * scale * I) \ pulled
        trial = move(z, frame * delta, latent)
        e_trial = residual(trial)
        if sum(abs2, e_trial) < sum(abs2, e)
            z, e, damping = trial, e_trial, max(damping / 10, T(1e-12))
            frame, A = linearise(decoder, z, kind)
            pulled = transpose(A) * e
        else
            (norm(delta) < 1000 * eps(T) || damping > T(1e12)) && break
            damping *= 10
        end
    end
    vec(z), norm(pulled), count
end

"""Basis (k, m) of the directions in which one code may move, and the decoder's Jacobian along them (d, m)."""
function linearise(decoder::Vector{Dense{T}}, z::Matrix{T}, kind::Symbol) where {T}
    frame = directions(z, kind)[:, 1, :]
    frame, decoder_tangents(decoder, z, kind)[:, 1, :]
end
