# Maximum mean discrepancy with the inverse multiquadric kernel on the sphere.

"""Rows of a tile of a kernel matrix, so that the whole (n, m) matrix is never stored."""
const TILE = 256

"""max(0, 1 − x·y): half the squared distance of two unit vectors; the maximum is taken because rounding can make x·y exceed 1."""
cosine_distance(dot_product::T) where {T} = max(one(T) - dot_product, zero(T))

"""
    imq_kernel_sum(x, y, c; diagonal = true)

Σ_ij c/(c + max(0, 1 − x_i·y_j)) over all pairs, or over those with i ≠ j, in tiles; x (k, n), y (k, m). (The pairs
i = j are not summed, rather than subtracted afterwards, because for small c they are nearly the whole sum.)
"""
function imq_kernel_sum(x::AbstractMatrix{T}, y::AbstractMatrix{T}, c::Real; diagonal::Bool = true) where {T}
    total, width = 0.0, T(c)
    for block in blocks(size(x, 2), TILE)
        products = transpose(x[:, block]) * y
        for (j, column) in enumerate(eachcol(products))
            partial = zero(T)
            for (i, dot_product) in zip(block, column)
                (diagonal || i != j) && (partial += width / (width + cosine_distance(dot_product)))
            end
            total += Float64(partial)   # Float32 columns are added up in Float64
        end
    end
    total
end

"""
    imq_kernel_mean(x, y, c)

(1/nm) Σ_ij k(x_i, y_j), k(x, y) = c/(c + max(0, 1 − x·y)). Original: `k_imq(x, y, c)`.
"""
imq_kernel_mean(x::AbstractMatrix{T}, y::AbstractMatrix{T}, c::Real) where {T} =
    T(imq_kernel_sum(x, y, c) / (size(x, 2) * size(y, 2)))

"""
    imq_kernel_mean(x, c; convention)

Mean over the pairs of one sample, divided by n(n−1). `mmd_diagonal = :kept` (original) also sums the n pairs of a
point with itself, which adds 1/(n−1); :removed leaves them out. Original: `k_imq(x, c)`.
"""
function imq_kernel_mean(x::AbstractMatrix{T}, c::Real; convention::Convention = EXACT) where {T}
    n = size(x, 2)
    total = imq_kernel_sum(x, x, c; diagonal = convention.mmd_diagonal !== :removed)
    T(total / (n * (n - 1)))
end

"""
    mmd_imq(x, y, c; convention)

k̄xx + k̄yy − 2k̄xy, an estimate of MMD² between two samples. x (k, n), y (k, m). Equation (1); original: `mmd_imq`.
"""
mmd_imq(x::AbstractMatrix{T}, y::AbstractMatrix{T}, c::Real; convention::Convention = EXACT) where {T} =
    imq_kernel_mean(x, c; convention = convention) + imq_kernel_mean(y, c; convention = convention) -
    2 * imq_kernel_mean(x, y, c)
