# The Wasserstein autoencoder's loss, its gradient by a hand-written reverse pass, and ADAM.

"""
    Gradient

The gradient of a model: a model of the same shape that holds one gradient for each of `parameters(model)`.
"""
const Gradient = SVAE

"""Flux 0.8's ADAM: moments (m, v) in the parameters' type and the running powers of the two betas."""
mutable struct Adam{T<:AbstractFloat}
    rate::Float64
    m::Vector{Array{T}}
    v::Vector{Array{T}}
    powers::Tuple{Float64,Float64}
end

const ADAM_BETAS = (0.9, 0.999)

Adam(arrays::AbstractVector{<:Array{T}}; rate::Real = 1e-4) where {T} =
    Adam{T}(rate, [zero(a) for a in arrays], [zero(a) for a in arrays], ADAM_BETAS)
Adam(model::SVAE; rate::Real = 1e-4) = Adam(parameters(model); rate = rate)

"""
    adam_step!(arrays, gradients, state)

One step of all arrays, in place. The moments and the square of the gradient have the parameter's type, every other
operation is Float64, and 1e-8 is added outside the root. The result has the bits of Flux 0.8's `ADAM`.
"""
function adam_step!(arrays::AbstractVector{<:Array{T}}, gradients::AbstractVector{<:Array{T}}, state::Adam{T}) where {T}
    b1, b2 = ADAM_BETAS
    for (array, gradient, m, v) in zip(arrays, gradients, state.m, state.v)
        @inbounds for i in eachindex(array, gradient, m, v)
            m[i] = b1 * m[i] + (1 - b1) * gradient[i]
            v[i] = b2 * v[i] + (1 - b2) * gradient[i]^2
            array[i] -= T(m[i] / (1 - state.powers[1]) / (sqrt(v[i] / (1 - state.powers[2])) + 1e-8) * state.rate)
        end
    end
    state.powers = state.powers .* ADAM_BETAS
    arrays
end

"""
    decomposed_wloss(model, x, draws, c; convention)

(mean over all entries of (x − decode(mu(x)))², MMD(mu(x), prior sample)) of a batch x (d, n).
Original: `decomposed_wloss`.
"""
function decomposed_wloss(model::SVAE{T}, x::AbstractMatrix{T}, draws::PriorDraws{T}, c::Real;
                          convention::Convention = EXACT) where {T}
    mu, _ = encode(model, x; convention = convention)
    z = sample_prior(model, draws; convention = convention)
    sum(squared_distance(x, decode(model, mu))) / length(x), mmd_imq(mu, z, c; convention = convention)
end

"""
    wloss(model, x, draws, beta, c; convention)

mean (x − decode(mu(x)))² + β·MMD(mu(x), prior sample). Codes are mu(x), without sampling. Original: `wloss`.
"""
function wloss(model::SVAE{T}, x::AbstractMatrix{T}, draws::PriorDraws{T}, beta::Real, c::Real;
               convention::Convention = EXACT) where {T}
    reconstruction, discrepancy = decomposed_wloss(model, x, draws, c; convention = convention)
    reconstruction + T(beta) * discrepancy
end

"""Slope of c/(c + max(0, 1−s)) in the dot product s: c/(c+1−s)², and 0 where the maximum is 0."""
imq_slope(s::T, c::T) where {T} = s < one(T) ? c / (c + (one(T) - s))^2 : zero(T)

"""
    mmd_imq_gradient(x, y, c; convention)

Gradients (k, n), (k, m) of `mmd_imq(x, y, c)` in x and y.
"""
function mmd_imq_gradient(x::AbstractMatrix{T}, y::AbstractMatrix{T}, c::Real; convention::Convention = EXACT) where {T}
    n, m, width = size(x, 2), size(y, 2), T(c)
    slopes(a, b) = imq_slope.(transpose(a) * b, width)
    function within(a)
        inner = slopes(a, a)
        convention.mmd_diagonal === :removed && foreach(i -> inner[i, i] = zero(T), axes(inner, 1))
        a * (inner .+ transpose(inner)) ./ T(size(a, 2) * (size(a, 2) - 1))
    end
    across = slopes(x, y)
    within(x) .- 2 .* (y * transpose(across)) ./ T(n * m), within(y) .- 2 .* (x * across) ./ T(n * m)
end

"""
    normalize_pullback(a, unit, cotangent, e)

Reverse pass of unit = a/√(Σa²+e): (c − unit(unit·c))/√(Σa²+e), column by column.
"""
function normalize_pullback(a::AbstractMatrix{T}, unit::AbstractMatrix{T}, cotangent::AbstractMatrix{T}, e::T) where {T}
    out = Matrix{T}(undef, size(a))
    for i in axes(a, 2)
        length_ = sqrt(columndot(a, a, i) + e)
        along = columndot(unit, cotangent, i)
        for l in axes(a, 1)
            out[l, i] = length_ == 0 ? zero(T) : (cotangent[l, i] - unit[l, i] * along) / length_
        end
    end
    out
end

"""
    sample_vmf_pullback(mu, kappa, epsilon, v, cotangent; convention)

Reverse pass of `sample_vmf` in (mu, kappa). z = z' − 2(z'·r)r gives dz' = c − 2(r·c)r and
dr = −2((z'·r)c + (r·c)z'); w depends on kappa by b, dw/db = −2ε(1−ε)/(1−(1−b)ε)², db/dκ = −2b/c.
"""
function sample_vmf_pullback(mu::AbstractMatrix{T}, kappa::AbstractVector{T}, epsilon::AbstractVector{T},
                             v::AbstractMatrix{T}, cotangent::AbstractMatrix{T};
                             convention::Convention = EXACT) where {T}
    k, n = size(mu)
    direction = normalize(v; convention = convention)
    u = reflection_axis(mu; convention = convention)
    r = normalize(u; convention = convention)
    dr, dkappa = Matrix{T}(undef, k, n), Vector{T}(undef, n)
    for i in 1:n
        _, b, _ = wood_constants(kappa[i], k)
        w = wood_cosine(b, epsilon[i])
        ring = ring_radius(b, epsilon[i], convention)
        straight = [w; ring .* view(direction, :, i)]        # z' before the reflection
        ri, c = view(r, :, i), view(cotangent, :, i)
        all(iszero, view(u, :, i)) && (ri = zeros(T, k))       # mu = e1: no reflection
        along, height = dot(ri, c), dot(straight, ri)
        dr[:, i] .= -2 .* (height .* c .+ along .* straight)
        dstraight = c .- 2 .* along .* ri
        dw = dstraight[1]
        ring > 0 && (dw -= w / ring * dot(view(direction, :, i), view(dstraight, 2:k)))
        slope = -2 * epsilon[i] * (1 - epsilon[i]) / (1 - (1 - b) * epsilon[i])^2
        dkappa[i] = dw * slope * (-2b / sqrt(4kappa[i]^2 + T(k - 1)^2))
    end
    -normalize_pullback(u, r, dr, norm_eps(T, convention)), dkappa
end

"""
    layers_pullback(layers, inputs, slopes, cotangent)

Reverse pass through layers with the gradients of their parameters: (gradient layers, cotangent of the input).
inputs[l] is what layer l was given.
"""
function layers_pullback(layers::AbstractVector{Dense{T}}, inputs::Vector{Matrix{T}}, slopes::Vector{Matrix{T}},
                         cotangent::Matrix{T}) where {T}
    gradients = Vector{Dense{T}}(undef, length(layers))
    for l in length(layers):-1:1
        da = cotangent .* slopes[l]
        gradients[l], cotangent = dense_pullback(layers[l], inputs[l], da)
    end
    gradients, cotangent
end

dense_pullback(layer::Dense{T}, input::Matrix{T}, da::Matrix{T}) where {T} =
    Dense{T}(da * transpose(input), vec(sum(da; dims = 2)), layer.σ), transpose(layer.W) * da

"""
    forward_inputs(layers, x)

(h, inputs, slopes): as `forward_slopes`, with the input of each layer.
"""
function forward_inputs(layers::AbstractVector{Dense{T}}, x::AbstractMatrix{T}) where {T}
    h, inputs, slopes = Matrix{T}(x), Matrix{T}[], Matrix{T}[]
    for layer in layers
        push!(inputs, h)
        h = layer.W * h
        push!(slopes, activate_with_slope!(layer.σ, h, layer.b))
    end
    h, inputs, slopes
end

"""
    wloss_gradient(model, x, draws, beta, c; convention)

Gradient of `wloss` in all parameters, as a model. The batch and the drawn pseudo-inputs share one forward and one
reverse pass of the encoder. `pseudo_input_gradient = :last` (original) uses only the last draw of a component that was
drawn more than once.
"""
function wloss_gradient(model::SVAE{T}, x::AbstractMatrix{T}, draws::PriorDraws{T}, beta::Real, c::Real;
                        convention::Convention = EXACT) where {T}
    n, e = size(x, 2), norm_eps(T, convention)
    h, inputs, slopes = forward_inputs(model.encoder, [x model.pseudo_inputs[:, draws.components]])
    a = affine(model.mu_head, h)
    mu = normalize(a; convention = convention)
    kappa = sigmoid.(vec(affine(model.kappa_head, h))) .* 100
    batch, prior = 1:n, n+1:size(h, 2)
    z = sample_vmf(mu[:, prior], kappa[prior], draws.epsilon, draws.v; convention = convention)

    # Reconstruction: through the decoder to mu of the batch.
    g, g_inputs, g_slopes = forward_inputs(view(model.decoder, 1:length(model.decoder)-1), mu[:, batch])
    dx_hat = (affine(model.decoder[end], g) .- x) .* T(2 / length(x))
    d_last, dg = dense_pullback(model.decoder[end], g, dx_hat)
    d_decoder, d_batch = layers_pullback(view(model.decoder, 1:length(model.decoder)-1), g_inputs, g_slopes, dg)

    # Discrepancy: to mu of the batch, and through the sampler to mu and kappa of the pseudo-inputs.
    along_mu, along_z = mmd_imq_gradient(mu[:, batch], z, c; convention = convention)
    d_prior, d_kappa = sample_vmf_pullback(mu[:, prior], kappa[prior], draws.epsilon, draws.v, T(beta) .* along_z;
                                           convention = convention)
    d_batch .+= T(beta) .* along_mu

    # Heads and encoder, batch and pseudo-inputs together.
    da = normalize_pullback(a, mu, [d_batch d_prior], e)
    dk = zeros(T, 1, length(kappa))
    dk[1, prior] .= d_kappa .* kappa[prior] .* (1 .- kappa[prior] ./ 100)
    d_mu_head, dh = dense_pullback(model.mu_head, h, da)
    d_kappa_head, dh_kappa = dense_pullback(model.kappa_head, h, dk)
    d_encoder, d_input = layers_pullback(model.encoder, inputs, slopes, dh .+ dh_kappa)
    d_pseudo = gather_pseudo_inputs(d_input[:, prior], draws.components, size(model.pseudo_inputs, 2), convention)
    Gradient{T}(d_encoder, d_mu_head, d_kappa_head, [d_decoder; [d_last]], d_pseudo)
end

"""Gradient (d, p) of the pseudo-inputs from that of the draws (d, n): for each component the sum, or the last draw."""
function gather_pseudo_inputs(drawn::Matrix{T}, components::Vector{Int}, p::Integer, convention::Convention) where {T}
    out = zeros(T, size(drawn, 1), p)
    for (i, component) in enumerate(components)
        convention.pseudo_input_gradient === :last && (out[:, component] .= zero(T))
        out[:, component] .+= view(drawn, :, i)
    end
    out
end

"""
    train_step!(model, state, x, draws, beta, c; convention)

One ADAM step on `wloss`, in place; returns (loss, reconstruction, MMD) before the step.
"""
function train_step!(model::SVAE{T}, state::Adam{T}, x::AbstractMatrix{T}, draws::PriorDraws{T}, beta::Real, c::Real;
                     convention::Convention = EXACT) where {T}
    reconstruction, discrepancy = decomposed_wloss(model, x, draws, c; convention = convention)
    gradient = wloss_gradient(model, x, draws, beta, c; convention = convention)
    adam_step!(parameters(model), parameters(gradient), state)
    reconstruction + T(beta) * discrepancy, reconstruction, discrepancy
end
