# Log-volumes of Jacobians, and the prior with the volume of the change of variables.

"""
    qr_log_volume!(A)

(Σ log|r_ii|, doubtful) of a Householder QR of A (p, q), p ≥ q; overwrites A. `doubtful` is true if some |r_ii| is
below max(p, q)·eps times the largest, so that the volume is rounding noise. An exact zero gives −Inf.
"""
function qr_log_volume!(A::AbstractMatrix{T}) where {T<:AbstractFloat}
    p, q = size(A)
    q == 0 && return zero(T), false
    top = maximum(abs, A)
    top == 0 && return T(-Inf), true
    isfinite(top) || return T(NaN), false
    # Scaling by a power of two brings the entries near 1, so no square under- or overflows; it changes no digit.
    limit = exponent(floatmax(T)) - 8
    power = clamp(exponent(top), -limit, limit)
    A .*= T(2)^-power
    volume = q * power * log(T(2))
    smallest, largest = T(Inf), zero(T)
    @inbounds for j in 1:q
        squares = zero(T)
        @simd for l in j:p
            squares += abs2(A[l, j])
        end
        r = sqrt(squares)
        smallest, largest = min(smallest, r), max(largest, r)
        volume += log(r)
        (r == 0 || j == q) && continue
        # v = a + sign(a₁)|a| e₁ overwrites the column; H = I − v vᵀ/(|a|² + |a₁||a|).
        half = squares + abs(A[j, j]) * r
        A[j, j] += copysign(r, A[j, j])
        for m in j+1:q
            s = zero(T)
            @simd for l in j:p
                s += A[l, j] * A[l, m]
            end
            s /= half
            @simd for l in j:p
                A[l, m] -= s * A[l, j]
            end
        end
    end
    volume, smallest <= max(p, q) * eps(T) * largest
end

"""
    warn_singular(name, doubtful)

Warn once, naming the samples (counted from 1) with a singular Jacobian, if there are any.
"""
function warn_singular(name::String, doubtful::AbstractVector{Bool})
    samples = findall(doubtful)
    isempty(samples) || @warn "$name: the Jacobian has no full rank, its volume is rounding noise or -Inf" samples
    nothing
end

"""Write the log-volumes of a block (p, n, t), p ≥ t, into `volumes` and `doubtful`, by one QR for each sample."""
function block_log_volume!(volumes, doubtful, J::Array{T,3}) where {T}
    p, n, t = size(J)
    A = Matrix{T}(undef, p, t)
    for i in 1:n
        for j in 1:t
            copyto!(A, 1 + (j - 1) * p, J, 1 + (i - 1) * p + (j - 1) * p * n, p)
        end
        volumes[i], doubtful[i] = qr_log_volume!(A)
    end
end

"""Log-volume of one matrix by its singular values, as the original computes it: Σ log s_i."""
svd_log_volume(J::AbstractMatrix) = sum(log.(svdvals(J)))

"""
    log_volume(J; route = :batched)

Σ_i log s_i(J) of each (p, q) slice of J (p, q, n), tall or wide: ½ log det(JᵀJ), nats, (n,). :batched uses a
Householder QR, whose error grows as eps·cond(J); :loop uses the singular values, as the original does.
Original: half of `reduce(+, log.(abs.(s.S))) * 2`.
"""
function log_volume(J::AbstractArray{T,3}; route::Symbol = :batched, warn::Bool = true) where {T<:AbstractFloat}
    checkroute(route)
    route === :loop && return [svd_log_volume(J[:, :, i]) for i in axes(J, 3)]
    volumes, doubtful = Vector{T}(undef, size(J, 3)), Vector{Bool}(undef, size(J, 3))
    tall = size(J, 1) >= size(J, 2)
    block_log_volume!(volumes, doubtful, permutedims(J, tall ? (1, 3, 2) : (2, 3, 1)))
    warn && warn_singular("log_volume", doubtful)
    volumes
end

"""
    log_volume_decoder(model, z; convention, route)

log_volume(jacobian_decoder(model, z)) without holding more than one block of Jacobians.
"""
function log_volume_decoder(decoder::Vector{Dense{T}}, z::AbstractMatrix{T}; convention::Convention = EXACT,
                            route::Symbol = :batched) where {T}
    checkroute(route)
    size(decoder[end].W, 1) < size(z, 1) - (convention.jacobian === :tangent) &&
        return log_volume(jacobian_decoder(decoder, z; convention = convention, route = route); route = route)
    volumes = Vector{T}(undef, size(z, 2))
    if route === :loop
        for i in axes(z, 2)
            progress("log_volume of the decoder", i, size(z, 2))
            J = jacobian_decoder(decoder, z[:, i:i]; convention = convention, route = :loop)
            volumes[i] = svd_log_volume(J[:, :, 1])
        end
        return volumes
    end
    doubtful = Vector{Bool}(undef, size(z, 2))
    foreach_block(size(z, 2)) do block
        block_log_volume!(view(volumes, block), view(doubtful, block),
                          decoder_tangents(decoder, z[:, block], convention.jacobian))
    end
    warn_singular("log_volume of the decoder", doubtful)
    volumes
end
log_volume_decoder(model::SVAE, z; keywords...) = log_volume_decoder(model.decoder, z; keywords...)

"""
    log_volume_encoder(model, x; convention, route)

log_volume(jacobian_encoder(model, x)) without holding more than one block of Jacobians.
"""
function log_volume_encoder(model::SVAE{T}, x::AbstractMatrix{T}; convention::Convention = EXACT,
                            route::Symbol = :batched) where {T}
    checkroute(route)
    small = input_dim(model) < latent_dim(model) - (convention.encoder_jacobian === :tangent)
    tangent = convention.encoder_jacobian === :tangent
    if small || route === :loop
        J = jacobian_encoder(model, x; convention = convention, route = route)
        return log_volume(J; route = route, warn = tangent)
    end
    volumes, doubtful = Vector{T}(undef, size(x, 2)), Vector{Bool}(undef, size(x, 2))
    foreach_block(size(x, 2)) do block
        block_log_volume!(view(volumes, block), view(doubtful, block),
                          encoder_cotangents(model, x[:, block], convention.encoder_jacobian, convention))
    end
    # An ambient encoder Jacobian is always singular, because mu lies on the sphere, so there is no warning.
    tangent && warn_singular("log_volume of the encoder", doubtful)
    volumes
end

"""w·log_volume, which is zero for w = 0 whatever the volume."""
weighted(convention::Convention, volumes::Vector{T}) where {T} =
    convention.volume_weight == 0 ? T[isnan(v) ? v : zero(T) for v in volumes] : T(convention.volume_weight) .* volumes

"""
    log_prior_jacobian_decoder(model, z; convention, route)

log_prior(z) − w·log_volume(J_dec(z)), w = `volume_weight`; (n,), nats. Equation (7);
original: `log_pz_jacobian_decoder`.
"""
function log_prior_jacobian_decoder(model::SVAE{T}, z::AbstractMatrix{T}; convention::Convention = EXACT,
                                    route::Symbol = :batched) where {T}
    log_prior(model, z; convention = convention) .-
        weighted(convention, log_volume_decoder(model, z; convention = convention, route = route))
end

"""
    log_prior_jacobian_encoder(model, x; convention, route)

log_prior(mu(x)) + w·log_volume(J_enc(x)); (n,), nats. Equation (8); original: `log_pz_jacobian_encoder`.
"""
function log_prior_jacobian_encoder(model::SVAE{T}, x::AbstractMatrix{T}; convention::Convention = EXACT,
                                    route::Symbol = :batched) where {T}
    z = encode(model, x; convention = convention)[1]
    log_prior(model, z; convention = convention) .+
        weighted(convention, log_volume_encoder(model, x; convention = convention, route = route))
end

"""
    log_prior_jacobian_decoder(z, jacobian, mu_u, kappa_u; convention)

The same, given an ambient Jacobian (d, k, n) at z (k, n) and the prior's components.
"""
function log_prior_jacobian_decoder(z::AbstractMatrix{T}, jacobian::AbstractArray{T,3}, mu_u::AbstractMatrix{T},
                                    kappa_u::Union{Nothing,AbstractVector{T}} = nothing;
                                    convention::Convention = EXACT) where {T}
    J = convention.jacobian === :tangent ? restrict(jacobian, tangent_frame(z)) : jacobian
    log_prior(z, mu_u, kappa_u; convention = convention) .- weighted(convention, log_volume(J))
end

"""
    log_prior_jacobian_encoder(z, jacobian, mu_u, kappa_u; convention)

The same from the Jacobian (k, d, n) of mu at x, z = mu(x).
"""
function log_prior_jacobian_encoder(z::AbstractMatrix{T}, jacobian::AbstractArray{T,3}, mu_u::AbstractMatrix{T},
                                    kappa_u::Union{Nothing,AbstractVector{T}} = nothing;
                                    convention::Convention = EXACT) where {T}
    tangent = convention.encoder_jacobian === :tangent
    J = permutedims(jacobian, (2, 1, 3))
    volumes = log_volume(tangent ? restrict(J, tangent_frame(z)) : J; warn = tangent)
    log_prior(z, mu_u, kappa_u; convention = convention) .+ weighted(convention, volumes)
end

"""J·T slice by slice: (d, k, n), (k, m, n) → (d, m, n)."""
function restrict(J::AbstractArray{T,3}, frame::AbstractArray{T,3}) where {T}
    out = Array{T}(undef, size(J, 1), size(frame, 2), size(J, 3))
    for i in axes(J, 3)
        out[:, :, i] = J[:, :, i] * frame[:, :, i]
    end
    out
end
