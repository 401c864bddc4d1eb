# Blocks of samples on the threads that Julia was given (JULIA_NUM_THREADS). A block's result does not depend on the
# thread that computes it, so the numbers are the same for any number of threads.

"""
    foreach_block(f, n; size = BLOCK)

Call f(range) for each block of 1 … n, several at a time if Julia has threads. Calls of f must not write to the same memory.
"""
function foreach_block(f::F, n::Integer; size::Integer = BLOCK) where {F}
    ranges = collect(blocks(n, size))
    if Threads.nthreads() == 1 || length(ranges) < 2
        foreach(f, ranges)
    else
        Threads.@threads for range in ranges
            f(range)
        end
    end
end
