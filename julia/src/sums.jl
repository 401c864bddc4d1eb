# Sums in NumPy's order, so that Float64 results agree with pyscore's reference to the last bit.

"""
    pairwise_sum(f, start, count)

f(start) + … + f(start + count − 1) in the order of NumPy's reduction over a contiguous axis: one by one for
fewer than 8 terms, eight interleaved sums up to 128, and halves for more. Its error grows as log(count), not as count.
"""
function pairwise_sum(f::F, start::Int, count::Int) where {F}
    if count < 8
        s = zero(f(start))
        for i in start:start+count-1
            s += f(i)
        end
        return s
    elseif count <= 128
        r1, r2, r3, r4 = f(start), f(start + 1), f(start + 2), f(start + 3)
        r5, r6, r7, r8 = f(start + 4), f(start + 5), f(start + 6), f(start + 7)
        i, stop = start + 8, start + count
        while i + 8 <= stop
            r1 += f(i)
            r2 += f(i + 1)
            r3 += f(i + 2)
            r4 += f(i + 3)
            r5 += f(i + 4)
            r6 += f(i + 5)
            r7 += f(i + 6)
            r8 += f(i + 7)
            i += 8
        end
        s = ((r1 + r2) + (r3 + r4)) + ((r5 + r6) + (r7 + r8))
        while i < stop
            s += f(i)
            i += 1
        end
        return s
    end
    half = count ÷ 2
    half -= half % 8
    pairwise_sum(f, start, half) + pairwise_sum(f, start + half, count - half)
end

"""Dot product of column i of x with column j of y."""
columndot(x::AbstractMatrix{T}, y::AbstractMatrix{T}, i::Integer, j::Integer = i) where {T} =
    size(x, 1) == 0 ? zero(T) : pairwise_sum(l -> @inbounds(x[l, i] * y[l, j]), 1, size(x, 1))
