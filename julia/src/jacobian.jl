# Jacobians of the decoder and of the encoder, by hand-written forward and reverse passes.
#
# :loop     as the original: one sample at a time, with one reverse pass for each row of the Jacobian.
# :batched  all samples of a block at once: tangents (decoder) or cotangents (encoder) of a block are the
#           columns of one matrix, and each layer is one matrix product.

const ROUTES = (:batched, :loop)
checkroute(route::Symbol) = route in ROUTES ||
    throw(ArgumentError("`route` must be :batched or :loop; got :$route."))

"""Samples in a block of the :batched route, small enough that its layers and tangents stay in the second-level cache."""
const BLOCK = 128

blocks(n::Integer, size::Integer = BLOCK) = (start:min(start + size - 1, n) for start in 1:size:n)

"""
    forward_slopes(layers, x)

(h, slopes): the output of `layers`, each with its activation, and the derivative of each activation, (width, n) a
layer.
"""
function forward_slopes(layers::AbstractVector{Dense{T}}, x::AbstractMatrix{T}) where {T}
    h = Matrix{T}(x)
    slopes = Matrix{T}[]
    for layer in layers
        h = layer.W * h
        push!(slopes, activate_with_slope!(layer.σ, h, layer.b))
    end
    h, slopes
end

"""W times every tangent: (in, n, t) → (out, n, t), one matrix product."""
apply(W::AbstractMatrix{T}, tangents::Array{T,3}) where {T} =
    reshape(W * reshape(tangents, size(tangents, 1), :), :, size(tangents, 2), size(tangents, 3))

"""Multiply each of the t tangents (width, n, t) by the slopes (width, n), in place."""
function scale!(tangents::Array{T,3}, slope::Matrix{T}) where {T}
    for t in axes(tangents, 3)
        @inbounds @simd for i in eachindex(slope)
            tangents[i + (t - 1) * length(slope)] *= slope[i]
        end
    end
    tangents
end

"""
    push_forward(layers, slopes, tangents)

Directional derivatives of layers: tangents (in, n, t) → (out, n, t).
"""
function push_forward(layers::AbstractVector{Dense{T}}, slopes::Vector{Matrix{T}}, tangents::Array{T,3}) where {T}
    for (layer, slope) in zip(layers, slopes)
        tangents = scale!(apply(layer.W, tangents), slope)
    end
    tangents
end

"""
    pull_back(layers, slopes, cotangents)

Reverse pass through layers: cotangents (out, n, t) → (in, n, t). Overwrites its last argument.
"""
function pull_back(layers::AbstractVector{Dense{T}}, slopes::Vector{Matrix{T}}, cotangents::Array{T,3}) where {T}
    for l in length(layers):-1:1
        cotangents = apply(transpose(layers[l].W), scale!(cotangents, slopes[l]))
    end
    cotangents
end

"""All k directions of R^k at each of n points, (k, n, k)."""
function ambient_directions(::Type{T}, k::Integer, n::Integer) where {T}
    directions = zeros(T, k, n, k)
    for i in 1:n, j in 1:k
        directions[j, i, j] = one(T)
    end
    directions
end

"""The k−1 directions of the sphere at each z, (k, n, k−1), or all k of them when `kind` is :ambient."""
directions(z::AbstractMatrix{T}, kind::Symbol) where {T} =
    kind === :ambient ? ambient_directions(T, size(z)...) : permutedims(tangent_frame(z), (1, 3, 2))

"""
    decoder_tangents(decoder, z, kind)

J·T of a block in working order (d, n, t); t = k (:ambient, T = I) or k−1 (:tangent).
"""
function decoder_tangents(decoder::Vector{Dense{T}}, z::AbstractMatrix{T}, kind::Symbol) where {T}
    trunk = view(decoder, 1:length(decoder)-1)
    _, slopes = forward_slopes(trunk, z)
    apply(decoder[end].W, push_forward(trunk, slopes, directions(z, kind)))
end

"""
    encoder_cotangents(model, x, kind, convention)

(TᵀJ)ᵀ of a block in working order (d, n, t), J the Jacobian of mu(x); T = I or the tangent frame at mu.
"""
function encoder_cotangents(model::SVAE{T}, x::AbstractMatrix{T}, kind::Symbol, convention::Convention) where {T}
    h, slopes = forward_slopes(model.encoder, x)
    a = affine(model.mu_head, h)
    mu = normalize(a; convention = convention)
    cotangents = directions(mu, kind)
    # mu = a/N: its reverse pass is c → (c − mu(mu·c))/N.
    for t in axes(cotangents, 3), i in axes(mu, 2)
        c = view(cotangents, :, i, t)
        c .= (c .- view(mu, :, i) .* columndot(mu, view(c, :, :), i, 1)) ./
             sqrt(columndot(a, a, i) + norm_eps(T, convention))
    end
    pull_back(model.encoder, slopes, apply(transpose(model.mu_head.W), cotangents))
end

"""
    reverse_row(layers, slopes, row)

One reverse pass for one sample: the gradient of row·h(x) with respect to x, h the layers. (in,)
"""
function reverse_row(layers::AbstractVector{Dense{T}}, slopes::Vector{Matrix{T}}, row::Vector{T}) where {T}
    for l in length(layers):-1:1
        row = transpose(layers[l].W) * (row .*= vec(slopes[l]))
    end
    row
end

"""One sample's decoder Jacobian (d, k) by d reverse passes, as Tracker's `jacobian` computes it."""
function decoder_jacobian_loop(decoder::Vector{Dense{T}}, z::AbstractMatrix{T}) where {T}
    trunk = view(decoder, 1:length(decoder)-1)
    _, slopes = forward_slopes(trunk, z)
    W = decoder[end].W
    J = Matrix{T}(undef, size(W, 1), size(z, 1))
    for o in axes(W, 1)
        J[o, :] = reverse_row(trunk, slopes, W[o, :])
    end
    J
end

"""One sample's encoder Jacobian (k, d) by k reverse passes; mu = a/N as in `encoder_cotangents`."""
function encoder_jacobian_loop(model::SVAE{T}, x::AbstractMatrix{T}, convention::Convention) where {T}
    h, slopes = forward_slopes(model.encoder, x)
    a = affine(model.mu_head, h)
    mu = vec(normalize(a; convention = convention))
    N = sqrt(columndot(a, a, 1) + norm_eps(T, convention))
    J = Matrix{T}(undef, length(mu), size(x, 1))
    for o in eachindex(mu)
        c = mu .* (-mu[o] / N)
        c[o] += one(T) / N
        J[o, :] = reverse_row(model.encoder, slopes, transpose(model.mu_head.W) * c)
    end
    J
end

"""
    jacobian_decoder(model, z; convention, route = :batched)

J(z) of the decoder, (d, k, n), or J·T with the tangent frame T at z, (d, k−1, n), for `jacobian = :tangent`.
Original: `jacobian_decoder` (one sample, (d, k)).
"""
function jacobian_decoder(decoder::Vector{Dense{T}}, z::AbstractMatrix{T}; convention::Convention = EXACT,
                          route::Symbol = :batched) where {T}
    checkroute(route)
    kind = convention.jacobian
    out = Array{T}(undef, size(decoder[end].W, 1), size(z, 1) - (kind === :tangent), size(z, 2))
    if route === :batched
        foreach_block(size(z, 2)) do block
            permutedims!(view(out, :, :, block), decoder_tangents(decoder, z[:, block], kind), (1, 3, 2))
        end
    else
        for i in axes(z, 2)
            progress("jacobian_decoder", i, size(z, 2))
            J = decoder_jacobian_loop(decoder, z[:, i:i])
            out[:, :, i] = kind === :tangent ? J * tangent_frame(z[:, i:i])[:, :, 1] : J
        end
    end
    out
end
jacobian_decoder(model::SVAE, z; keywords...) = jacobian_decoder(model.decoder, z; keywords...)

"""
    jacobian(layers, x)

J(x) of any chain of layers, (out, in, n); the last layer may have an activation.
"""
function jacobian(layers::Vector{Dense{T}}, x::AbstractMatrix{T}) where {T}
    out = Array{T}(undef, size(layers[end].W, 1), size(x, 1), size(x, 2))
    foreach_block(size(x, 2)) do block
        _, slopes = forward_slopes(layers, x[:, block])
        tangents = push_forward(layers, slopes, ambient_directions(T, size(x, 1), length(block)))
        permutedims!(view(out, :, :, block), tangents, (1, 3, 2))
    end
    out
end

"""
    jacobian_encoder(model, x; convention, route = :batched)

J(x) of the mean direction mu, (k, d, n), or TᵀJ with T ⊥ mu, (k−1, d, n), for `encoder_jacobian = :tangent`.
Original: `jacobian_encoder` (one sample, (k, d)), whose smallest singular value is rounding noise.
"""
function jacobian_encoder(model::SVAE{T}, x::AbstractMatrix{T}; convention::Convention = EXACT,
                          route::Symbol = :batched) where {T}
    checkroute(route)
    kind = convention.encoder_jacobian
    out = Array{T}(undef, latent_dim(model) - (kind === :tangent), size(x, 1), size(x, 2))
    if route === :batched
        foreach_block(size(x, 2)) do block
            permutedims!(view(out, :, :, block), encoder_cotangents(model, x[:, block], kind, convention), (3, 1, 2))
        end
    else
        for i in axes(x, 2)
            progress("jacobian_encoder", i, size(x, 2))
            J = encoder_jacobian_loop(model, x[:, i:i], convention)
            mu = encode(model, x[:, i:i]; convention = convention)[1]
            out[:, :, i] = kind === :tangent ? transpose(tangent_frame(mu)[:, :, 1]) * J : J
        end
    end
    out
end
