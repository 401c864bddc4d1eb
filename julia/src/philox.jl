# Philox 4×64-10 and draws from it, as in pyscore/reference/sampling.py (`TrainingDraws`) and kernels/cpu/_philox.py.
# Julia's own generators give different numbers in different versions of Julia; this one gives the same.
# Salmon, Moraes, Dror, Shaw (2011).

"""
    Philox(seed; step = 0)

Draws that depend on (seed, step, purpose, place) and not on the order in which they are taken. The same seed gives
the same numbers in every version of Julia, which are those of `pyscore.reference.sampling.TrainingDraws(seed, step)` in Python.
"""
struct Philox
    seed::UInt64
    step::UInt64
end
function Philox(seed::Integer; step::Integer = 0)
    seed >= 0 || throw(ArgumentError("`seed` must be at least 0; got $seed."))
    Philox(UInt64(seed), UInt64(step))
end

const PHILOX_STREAM = UInt64(1)   # "train" of pyscore.reference.sampling.STREAMS
const COMPONENTS, PROPOSALS = 1, 2   # purposes; round r of the rejection has the purpose PROPOSALS + r
const ROUNDS = 10_000

"""The four words of block 0, 1, … of a purpose."""
function philox(draws::Philox, purpose::Integer, block::Integer)
    c0, c1, c2, c3 = UInt64(block) + one(UInt64), UInt64(purpose), draws.step, zero(UInt64)
    k0, k1 = draws.seed, PHILOX_STREAM
    for _ in 1:10
        p0, p1 = widemul(0xD2E7470EE14C6C93, c0), widemul(0xCA5A826395121157, c2)
        c0, c1, c2, c3 = (p1 >> 64) % UInt64 ⊻ c1 ⊻ k0, p1 % UInt64, (p0 >> 64) % UInt64 ⊻ c3 ⊻ k1, p0 % UInt64
        k0, k1 = k0 + 0x9E3779B97F4A7C15, k1 + 0xBB67AE8584CAA73B
    end
    c0, c1, c2, c3
end

"""A number strictly between 0 and 1: (⌊word/2¹¹⌋ + ½)/2⁵³."""
unit_interval(word::UInt64) = ((word >> 11) + 0.5) * 2.0^-53

"""
    draw_components(draws, p, n)

n indices of 1 … p: 1 + ⌊word·p/2⁶⁴⌋.
"""
function draw_components(draws::Philox, p::Integer, n::Integer)
    out = Vector{Int}(undef, n)
    for i in 0:n-1
        word = philox(draws, COMPONENTS, i ÷ 4)[i%4+1]
        out[i+1] = 1 + ((widemul(word, UInt64(p)) >> 64) % Int)
    end
    out
end

"""
    propose(draws, purpose, row, k)

(g, u): k normal numbers by Box and Muller and a uniform one, for row 0, 1, ….
"""
function propose(draws::Philox, purpose::Integer, row::Integer, k::Integer)
    pairs = (k + 1) ÷ 2
    blocks_ = (2pairs + 4) ÷ 4
    words = collect(Iterators.flatten(philox(draws, purpose, row * blocks_ + b) for b in 0:blocks_-1))
    g = Vector{Float64}(undef, 2pairs)
    for j in 1:pairs
        radius, angle = sqrt(-2 * log(unit_interval(words[2j-1]))), 2π * unit_interval(words[2j])
        g[2j-1], g[2j] = radius * cos(angle), radius * sin(angle)
    end
    resize!(g, k), unit_interval(words[2pairs+1])
end

"""
    draw_vmf(draws, kappa, k)

(epsilon, v): accepted Beta((k−1)/2, (k−1)/2) draws (n,) and normal draws (k−1, n), both from one normal vector g of length
k per row: ε = (1 + g₁/‖g‖)/2, and v is the rest of g.
"""
function draw_vmf(draws::Philox, kappa::AbstractVector{T}, k::Integer) where {T<:AbstractFloat}
    epsilon, v, open_ = Vector{T}(undef, length(kappa)), Matrix{T}(undef, k - 1, length(kappa)), 0
    for i in eachindex(kappa)
        accepted = false
        for round in 0:ROUNDS-1
            g, u = propose(draws, PROPOSALS + round, i - 1, k)
            e = (1 + g[1] / sqrt(sum(abs2, g))) / 2
            epsilon[i], v[:, i] = e, view(g, 2:k)
            accepted = wood_accepts(e, u, Float64(kappa[i]), k)
            accepted && break
        end
        open_ += !accepted
    end
    open_ > 0 && @warn "the vMF sampler accepted nothing in $ROUNDS rounds for $open_ sample(s); their last " *
                       "proposals are used. Is kappa finite?"
    epsilon, v
end

sample_vmf(draws::Philox, mu::AbstractMatrix{T}, kappa::AbstractVector{T}; convention::Convention = EXACT) where {T} =
    sample_vmf(mu, kappa, draw_vmf(draws, kappa, size(mu, 1))...; convention = convention)

function sample_prior(draws::Philox, model::SVAE{T}, n::Integer; convention::Convention = EXACT) where {T}
    mu, kappa = pseudo_codes(model; convention = convention)
    components = draw_components(draws, length(kappa), n)
    sample_vmf(draws, mu[:, components], kappa[components]; convention = convention)
end

function draw_prior(draws::Philox, model::SVAE{T}, n::Integer) where {T}
    _, kappa = pseudo_codes(model; convention = ORIGINAL)
    components = draw_components(draws, length(kappa), n)
    PriorDraws{T}(components, draw_vmf(draws, kappa[components], latent_dim(model))...)
end
