# Geometry of the unit sphere: columns are points.

"""The number added under the root by `normalize`: eps(T) in the original, nothing in EXACT."""
norm_eps(::Type{T}, convention::Convention) where {T} = convention.norm_eps === :machine ? eps(T) : zero(T)

"""
    normalize(v; convention)

v/√(Σv² + eps) column by column; v (k, n). EXACT leaves eps out. It first scales the column to a size near 1 by a power
of two, which changes no bit of the result and keeps the squares from under- and overflowing. A column of zeros has no
direction and becomes e1. Original: `normalizecolumns`.
"""
function normalize(v::AbstractMatrix{T}; convention::Convention = EXACT) where {T<:AbstractFloat}
    machine = convention.norm_eps === :machine
    out = Matrix{T}(v)
    for i in axes(v, 2)
        machine || scaletoone!(view(out, :, i))
        divisor = sqrt(columndot(out, out, i) + norm_eps(T, convention))
        for l in axes(v, 1)
            out[l, i] = divisor == 0 ? T(l == 1) : out[l, i] / divisor
        end
    end
    out
end

"""Multiply by the power of two that brings the largest magnitude between ½ and 1. Columns of zeros, or with Inf, stay."""
function scaletoone!(v::AbstractVector{T}) where {T}
    top = zero(T)
    for a in v
        top = max(top, abs(a))
    end
    (top == 0 || !isfinite(top)) && return v
    power = -exponent(top) - 1
    for l in eachindex(v)
        v[l] = ldexp(v[l], power)
    end
    v
end

"""
    reflection_axis(mu; convention)

e1 − mu, the axis of the reflection that takes e1 to mu. On the sphere 1 − mu_1 = Σ_{i>1} mu_i²/(1 + mu_1), which
EXACT uses where mu_1 > 0: the rounding of 1 − mu_1 would move the image of e1 by eps/|e1 − mu|, up to 1e-8.
"""
function reflection_axis(mu::AbstractMatrix{T}; convention::Convention = EXACT) where {T<:AbstractFloat}
    u = -mu
    for i in axes(mu, 2)
        stable = convention.norm_eps === :none && mu[1, i] > 0
        u[1, i] = stable ? pairwise_sum(l -> abs2(mu[l, i]), 2, size(mu, 1) - 1) / (1 + mu[1, i]) : 1 - mu[1, i]
    end
    u
end

"""
    householder(z, mu; convention)

z − 2(z·r)r with r = normalize(e1 − mu): the reflection that takes e1 to mu, column by column. z, mu: (k, n).
With the original's eps the reflection is not quite orthogonal near mu = e1; EXACT returns z itself at mu = e1.
Original: `householderrotation`.
"""
function householder(z::AbstractMatrix{T}, mu::AbstractMatrix{T}; convention::Convention = EXACT) where {T<:AbstractFloat}
    u = reflection_axis(mu; convention = convention)
    r = normalize(u; convention = convention)
    out = Matrix{T}(undef, size(z))
    for i in axes(z, 2)
        # For mu = e1 there is no axis r and nothing to reflect.
        twice = all(iszero, view(u, :, i)) ? zero(T) : 2 * columndot(z, r, i)
        @inbounds for l in axes(z, 1)
            out[l, i] = z[l, i] - twice * r[l, i]
        end
    end
    out
end

"""
    tangent_frame(z)

Columns 2…k of the Householder reflection that takes e1 to z/|z|, as a (k, k−1, n) array: an orthonormal basis of
the directions in which z can move on the sphere.
"""
function tangent_frame(z::AbstractMatrix{T}) where {T<:AbstractFloat}
    k, n = size(z)
    frame = Array{T}(undef, k, k - 1, n)
    u = reflection_axis(normalize(z))
    r = normalize(u)
    for i in 1:n
        identity = all(iszero, view(u, :, i))   # z = e1
        for j in 2:k, l in 1:k
            frame[l, j-1, i] = T(l == j) - (identity ? zero(T) : 2r[j, i] * r[l, i])
        end
    end
    frame
end
