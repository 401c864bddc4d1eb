# The spherical VampPrior Wasserstein autoencoder: parameters and forward passes.

"""
    Dense(W, b, σ = Identity())

A layer h → σ(W h + b); W (out, in), b (out,), σ an `Activation`. Original: Flux's `Dense`, with its field names of 0.8.
"""
struct Dense{T<:AbstractFloat}
    W::Matrix{T}
    b::Vector{T}
    σ::Activation
end
Dense(W::Matrix{T}, b::Vector{T}) where {T<:AbstractFloat} = Dense{T}(W, b, Identity())

"""
    SVAE(encoder, mu_head, kappa_head, decoder, pseudo_inputs)

encoder: layers d→h→h→h, each followed by its activation (swish in the paper); mu_head: h→k; kappa_head: h→1; decoder:
layers k→h→h→h→d, the last without an activation; pseudo_inputs: (d, p). Original: `SVAEvampmeans` (fields q, μzfromhidden, κzfromhidden, g).
"""
struct SVAE{T<:AbstractFloat}
    encoder::Vector{Dense{T}}
    mu_head::Dense{T}
    kappa_head::Dense{T}
    decoder::Vector{Dense{T}}
    pseudo_inputs::Matrix{T}
end

latent_dim(model::SVAE) = size(model.mu_head.W, 1)
input_dim(model::SVAE) = size(model.encoder[1].W, 2)
hidden_dim(model::SVAE) = size(model.mu_head.W, 2)

"""
    glorot(rng, T, out, in, σ = Identity())

A Dense layer as Flux initialises it: weights uniform in ±√(6/(in+out)), biases 0.
"""
function glorot(rng::AbstractRNG, ::Type{T}, out::Integer, in::Integer, σ::Activation = Identity()) where {T}
    bound = sqrt(T(6) / T(in + out))
    Dense{T}((2 .* rand(rng, T, out, in) .- 1) .* bound, zeros(T, out), σ)
end

"""
    SVAE{T}(d, h, k, p; rng, layers = 3, activation = :swish)

A freshly initialised model with three hidden layers on each side; the pseudo-inputs are normalised rows of N(0, 1).
"""
function SVAE{T}(d::Integer, h::Integer, k::Integer, p::Integer; rng::AbstractRNG = Random.GLOBAL_RNG,
                 layers::Integer = 3, activation = :swish) where {T<:AbstractFloat}
    σ = PyScore.activation(activation)
    encoder = [glorot(rng, T, h, i == 1 ? d : h, σ) for i in 1:layers]
    decoder = [glorot(rng, T, i > layers ? d : h, i == 1 ? k : h, i > layers ? Identity() : σ) for i in 1:layers+1]
    SVAE{T}(encoder, glorot(rng, T, k, h), glorot(rng, T, 1, h), decoder,
            normalize(randn(rng, T, d, p); convention = ORIGINAL))
end

"""
    parameters(model)

The arrays of the model in the order of the original's `params`: encoder, decoder, mu head, kappa head, pseudo-inputs.
The arrays are those of the model, not copies.
"""
function parameters(model::SVAE{T}) where {T}
    layers = [model.encoder; model.decoder; [model.mu_head, model.kappa_head]]
    arrays = Array{T}[]
    for layer in layers
        push!(arrays, layer.W, layer.b)
    end
    push!(arrays, model.pseudo_inputs)
end

copymodel(layer::Dense) = Dense(copy(layer.W), copy(layer.b), layer.σ)
copymodel(m::SVAE) = SVAE(copymodel.(m.encoder), copymodel(m.mu_head), copymodel(m.kappa_head),
                          copymodel.(m.decoder), copy(m.pseudo_inputs))

affine(layer::Dense{T}, h::AbstractMatrix{T}) where {T} = layer.W * h .+ layer.b

"""
    hidden(layers, x)

All layers of `layers`, each with its activation: the encoder's trunk. Original: `m.q(x)`.
"""
function hidden(layers::AbstractVector{Dense{T}}, x::AbstractMatrix{T}) where {T}
    n = size(x, 2)
    n <= BLOCK && return hidden_block(layers, Matrix{T}(x))
    out = Matrix{T}(undef, isempty(layers) ? size(x, 1) : size(layers[end].W, 1), n)
    foreach_block(block -> copyto!(view(out, :, block), hidden_block(layers, x[:, block])), n)
    out
end

function hidden_block(layers::AbstractVector{Dense{T}}, h::Matrix{T}) where {T}
    for layer in layers
        h = activate!(layer.σ, layer.W * h, layer.b)
    end
    h
end

"""
    encode(model, x; convention)

(mu, kappa): mean directions (k, n) of unit norm and concentrations (n,) in (0, 100). x (d, n).
Original: `zparams`, whose kappa is 1×n.
"""
function encode(model::SVAE{T}, x::AbstractMatrix{T}; convention::Convention = EXACT) where {T}
    h = hidden(model.encoder, x)
    mu = normalize(affine(model.mu_head, h); convention = convention)
    kappa = sigmoid.(vec(affine(model.kappa_head, h))) .* 100
    mu, kappa
end

"""
    decode(decoder, z)
    decode(model, z)

x̂ = f(z), (d, n) for z (k, n). Original: `m.g(z)`.
"""
decode(decoder::Vector{Dense{T}}, z::AbstractMatrix{T}) where {T} = hidden(decoder, z)
decode(model::SVAE, z) = decode(model.decoder, z)

"""
    pseudo_codes(model; convention)

(mu_u, kappa_u) of the pseudo-inputs: the components of the prior.
"""
pseudo_codes(model::SVAE; convention::Convention = EXACT) = encode(model, model.pseudo_inputs; convention = convention)
