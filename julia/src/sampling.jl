# Samples from von Mises-Fisher distributions (Wood's rejection) and from the prior. Every draw can be injected.

"""10·eps(Float32), which the original adds under the root of √(1 − w²) in every precision."""
const SAMPLING_EPS = 10 * Float64(eps(Float32))

"""
    wood_constants(kappa, m)

(a, b, D) of Wood's rejection for vMF(·, κ) in m dimensions: c = √(4κ²+(m−1)²), b = (c−2κ)/(m−1), computed as
(m−1)/(c+2κ) to avoid cancellation, a = (m−1+2κ+c)/4, D = 4ab/(1+b) − (m−1) log(m−1). Original: `sampleω`.
"""
function wood_constants(kappa::T, m::Integer) where {T<:AbstractFloat}
    c = sqrt(4kappa^2 + T(m - 1)^2)
    b = T(m - 1) / (c + 2kappa)
    a = (T(m - 1) + 2kappa + c) / 4
    a, b, 4a * b / (1 + b) - T(m - 1) * log(T(m - 1))
end

"""
    wood_cosine(b, epsilon)

w = (1 − (1+b)ε)/(1 − (1−b)ε), the component of the sample along the mean direction. It is computed as
(1−ε−bε)/(1−ε+bε), which avoids cancellation.
"""
function wood_cosine(b::Real, epsilon::Real)
    rest, pull = 1 - epsilon, b * epsilon
    (rest - pull) / (rest + pull)
end

"""
    ring_radius(b, epsilon, convention)

√(1 − w²), the length of the sample across the mean direction: 2√(bε(1−ε))/(1−ε+bε) in EXACT, which avoids
cancellation, and √((1−w)(1+w) + 10·eps(Float32)) in the original.
"""
function ring_radius(b::Real, epsilon::Real, convention::Convention)
    rest, pull = 1 - epsilon, b * epsilon
    convention.norm_eps === :machine || return 2 * sqrt(pull * rest) / (rest + pull)
    w = wood_cosine(b, epsilon)
    sqrt((1 - w) * (1 + w) + oftype(w, SAMPLING_EPS))
end

"""
    sample_vmf(mu, kappa, epsilon, v; convention)

Samples of vMF(mu, kappa) from injected draws: epsilon (n,) accepted Beta((k−1)/2, (k−1)/2) draws, v (k−1, n) normal
draws; mu (k, n), kappa (n,) → (k, n). Original: `samplez`.
"""
function sample_vmf(mu::AbstractMatrix{T}, kappa::AbstractVector{T}, epsilon::AbstractVector{T}, v::AbstractMatrix{T};
                    convention::Convention = EXACT) where {T}
    k, n = size(mu)
    direction = normalize(v; convention = convention)
    z = Matrix{T}(undef, k, n)
    for i in 1:n
        _, b, _ = wood_constants(kappa[i], k)
        z[1, i] = wood_cosine(b, epsilon[i])
        z[2:end, i] .= ring_radius(b, epsilon[i], convention) .* view(direction, :, i)
    end
    householder(z, mu; convention = convention)
end

"""
    draw_epsilon(rng, kappa, m)

One accepted Beta((m−1)/2, (m−1)/2) draw of Wood's rejection at concentration kappa: proposals are drawn until
(m−1) log t − t + D ≥ log u with t = 2ab/(1−(1−b)ε). A Beta variable with half-integer parameters is a ratio of χ².
"""
function draw_epsilon(rng::AbstractRNG, kappa::T, m::Integer) where {T}
    while true
        first_ = sum(abs2(randn(rng)) for _ in 1:m-1)
        second = sum(abs2(randn(rng)) for _ in 1:m-1)
        epsilon = first_ / (first_ + second)
        wood_accepts(epsilon, rand(rng), Float64(kappa), m) && return T(epsilon)
    end
end

"""Wood's rule: accept ε if (m−1) log t − t + D ≥ log u, t = 2ab/(1−(1−b)ε)."""
function wood_accepts(epsilon::Float64, u::Float64, kappa::Float64, m::Integer)
    a, b, D = wood_constants(kappa, m)
    t = 2a * b / (1 - (1 - b) * epsilon)
    (m - 1) * log(t) - t + D >= log(u)
end

"""
    sample_vmf(draws, mu, kappa; convention)

Samples of vMF(mu, kappa); `draws` is a `Philox`, whose numbers are the same in every version of Julia and in Python, or
one of Julia's own generators. mu (k, n), kappa (n,) → (k, n).
"""
function sample_vmf(rng::AbstractRNG, mu::AbstractMatrix{T}, kappa::AbstractVector{T};
                    convention::Convention = EXACT) where {T}
    k, n = size(mu)
    epsilon = T[draw_epsilon(rng, kappa[i], k) for i in 1:n]
    sample_vmf(mu, kappa, epsilon, randn(rng, T, k - 1, n); convention = convention)
end

"""
    PriorDraws(components, epsilon, v)

The random numbers for n samples of the prior: components (n,) indices from 1 of pseudo-inputs, epsilon (n,) accepted
Beta draws, v (k−1, n) normal draws.
"""
struct PriorDraws{T<:AbstractFloat}
    components::Vector{Int}
    epsilon::Vector{T}
    v::Matrix{T}
end

"""
    sample_prior(model, draws; convention)
    sample_prior(draws, model, n; convention)

n samples (k, n) of the VampPrior: for each a random pseudo-input u, then a draw of vMF(mu(u), kappa(u)). Original: `sampleVamp`.
"""
function sample_prior(model::SVAE{T}, draws::PriorDraws{T}; convention::Convention = EXACT) where {T}
    mu, kappa = encode(model, model.pseudo_inputs[:, draws.components]; convention = convention)
    sample_vmf(mu, kappa, draws.epsilon, draws.v; convention = convention)
end

function sample_prior(rng::AbstractRNG, model::SVAE{T}, n::Integer; convention::Convention = EXACT) where {T}
    mu, kappa = pseudo_codes(model; convention = convention)
    components = rand(rng, axes(mu, 2), n)
    sample_vmf(rng, mu[:, components], kappa[components]; convention = convention)
end

"""
    draw_prior(draws, model, n)

The `PriorDraws` of n samples from a `Philox` or a generator of Julia's, for a training step or for a replay in another language.
"""
function draw_prior(rng::AbstractRNG, model::SVAE{T}, n::Integer) where {T}
    _, kappa = pseudo_codes(model; convention = ORIGINAL)
    components = rand(rng, 1:length(kappa), n)
    k = latent_dim(model)
    PriorDraws{T}(components, T[draw_epsilon(rng, kappa[c], k) for c in components], randn(rng, T, k - 1, n))
end
