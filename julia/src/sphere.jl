# Geometry of the unit sphere: columns are points.

"""The number added under the root by `normalize`: eps(T) in the original, nothing in EXACT."""
norm_eps(::Type{T}, convention::Convention) where {T} = convention.norm_eps === :machine ? eps(T) : zero(T)

"""
    normalize(v; convention)

v/√(Σv² + eps) column by column; v (k, n). EXACT leaves eps out; a column of zeros, which has no direction, becomes
e1. Original: `normalizecolumns`.
"""
function normalize(v::AbstractMatrix{T}; convention::Convention = EXACT) where {T<:AbstractFloat}
    e = norm_eps(T, convention)
    out = Matrix{T}(undef, size(v))
    for i in axes(v, 2)
        divisor = sqrt(columndot(v, v, i) + e)
        @inbounds for l in axes(v, 1)
            out[l, i] = divisor == 0 ? T(l == 1) : v[l, i] / divisor
        end
    end
    out
end

"""
    householder(z, mu; convention)

z − 2(z·r)r with r = normalize(e1 − mu): the reflection that takes e1 to mu, column by column. z, mu: (k, n).
With the original's eps the reflection is not quite orthogonal near mu = e1; EXACT returns z itself at mu = e1.
Original: `householderrotation`.
"""
function householder(z::AbstractMatrix{T}, mu::AbstractMatrix{T}; convention::Convention = EXACT) where {T<:AbstractFloat}
    u = -mu
    u[1, :] .+= one(T)
    r = normalize(u; convention = convention)
    out = Matrix{T}(undef, size(z))
    for i in axes(z, 2)
        # mu = e1 needs no reflection, and has no r.
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
    u = -normalize(z)
    u[1, :] .+= one(T)
    r = normalize(u)
    for i in 1:n
        identity = all(iszero, view(u, :, i))   # z = e1
        for j in 2:k, l in 1:k
            frame[l, j-1, i] = T(l == j) - (identity ? zero(T) : 2r[j, i] * r[l, i])
        end
    end
    frame
end
