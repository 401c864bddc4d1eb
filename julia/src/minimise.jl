# Projection on the manifold and the posterior mode: descent on codes, column by column.

"""
    project(decoder, x, z; latent = :sphere, steps = 100, convention)

(z, gradient_norm, iterations): argmin_z ‖x − decode(z)‖² from a start z (k, n). `projection = :minimum` takes damped
Newton steps along the sphere (or in R^k for latent = :euclidean), never worse than its start; :adam (original)
takes `steps` ADAM steps of size 1e-3 in R^k on the mean over the samples. Section 3.3; original: `manifoldz`.
"""
function project(decoder::Vector{Dense{T}}, x::AbstractMatrix{T}, z::AbstractMatrix{T}; latent::Symbol = :sphere,
                 steps::Integer = 100, convention::Convention = EXACT) where {T}
    latent in (:sphere, :euclidean) ||
        throw(ArgumentError("`latent` must be :sphere or :euclidean; got :$latent."))
    convention.projection === :adam && return adam_descent(decoder, x, z, steps)
    found = latent === :sphere ? normalize(z) : Matrix{T}(z)
    norms, iterations = zeros(T, size(z, 2)), zeros(Int, size(z, 2))
    for i in axes(z, 2)
        progress("project", i, size(z, 2))
        found[:, i], norms[i], iterations[i] = damped_newton(decoder, x[:, i:i], found[:, i:i], latent, steps)
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
    for step in 1:steps
        progress("project", step, steps)
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
    riemannian(z, gradient, hessian)

Gradient Tᵀg (k−1,) and Hessian Tᵀ(H − (z·g)I)T (k−1, k−1) along the sphere at z (k, 1), from those in R^k.
"""
function riemannian(z::Matrix{T}, gradient::Vector{T}, hessian::Matrix{T}) where {T}
    frame = tangent_frame(z)[:, :, 1]
    transpose(frame) * gradient, transpose(frame) * (hessian - dot(vec(z), gradient) * I) * frame
end

"""
    damped_newton(decoder, x, z, latent, steps)

One sample's minimum of f = ½‖x − decode(z)‖² by saddle-free Newton steps δ = −Q(|Λ| + λ max|Λ|)⁻¹Qᵀg, H = QΛQᵀ. A step is
taken if it lowers f, or if f changes by no more than its rounding error and the gradient becomes smaller. λ falls by ten
after a step that was taken and grows by ten after one that was not.
"""
function damped_newton(decoder::Vector{Dense{T}}, x::Matrix{T}, start::Matrix{T}, latent::Symbol, steps::Integer) where {T}
    objective(z) = sum(abs2, x .- decode(decoder, z)) / 2
    function derivatives(z)
        gradient, hessian = misfit_derivatives(decoder, x, z)
        latent === :sphere ? riemannian(z, gradient, hessian) : (gradient, hessian)
    end
    z, f, damping, count = start, objective(start), T(1e-4), 0
    first_, (g, H) = f, derivatives(z)
    while count < steps && !isempty(g)
        count += 1
        values, vectors = eigen(Symmetric((H .+ transpose(H)) ./ 2))
        sizes = abs.(values)
        delta = -(vectors * ((transpose(vectors) * g) ./ (sizes .+ damping * max(maximum(sizes), floatmin(T)))))
        latent === :sphere && (delta ./= max(one(T), norm(delta) / T(π / 2)))   # at most a quarter turn
        rounding = 64 * eps(T) * (1 + abs(f))                                  # f is a sum of many rounded terms
        step = latent === :sphere ? tangent_frame(z)[:, :, 1] * delta : delta
        trial = move(z, reshape(step, :, 1), latent)
        f_trial, (g_trial, H_trial) = objective(trial), derivatives(trial)
        if f_trial < f - rounding || (f_trial <= f + rounding && norm(g_trial) < norm(g))
            z, f, g, H, damping = trial, f_trial, g_trial, H_trial, max(damping / 10, T(1e-15))
        else
            (-dot(g, delta) <= rounding || damping > T(1e12)) && break
            damping *= 10
        end
    end
    vec(f <= first_ ? z : start), norm(g), count   # rounding must not make it worse than its start
end
