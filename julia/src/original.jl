# A thin layer with the names, the argument order and the column orientation of FewShotAnomalyDetection.jl, so that a
# script written for it reads the same. Everything is computed under the ORIGINAL convention; no value is tracked by
# an AD package, so `Flux.Tracker.data(x)` and `x.data` have no counterpart.

"""
    PyScore.Original

`using PyScore.Original` in place of `using FewShotAnomalyDetection`; `Original.IPMeasures` in place of IPMeasures.jl
(May 2019). Departures: a matrix with one column is accepted where the original raises a MethodError, and
`log_vmf_c(matrix, matrix, κ)` returns all columns where the original returns the last.
"""
module Original

using Random: AbstractRNG, GLOBAL_RNG
using ..PyScore: PyScore, Dense, ORIGINAL, SVAE

export SVAEvampmeans, correctedjacodeco, decomposed_wloss, householderrotation, huentropy, infer, jacobian_decoder,
       jacobian_encoder, jacodeco, k_imq, kldiv, log_normal, log_px, log_pxexpectedz, log_pz, log_pz_from_z,
       log_pz_jacobian_decoder, log_pz_jacobian_encoder, log_vmf_c, log_vmf_wo_c, manifoldz, mmd_imq,
       normalizecolumns, pairwisecos, pz, pz_from_z, sampleVamp, samplehsuniform, samplez, vmfentropy, wloss,
       zfromx, zparams

"""
    SVAEvampmeans(inputDim, hiddenDim, latentDim, numLayers, nonlinearity, layerType, num_pseudoinputs, T = Float32)
    SVAEvampmeans(model::SVAE)

The model under its original fields: `m.q(x)`, `m.g(z)`, `m.zdim`, `m.hue`, `m.pseudo_inputs`. `nonlinearity` is the name
of an activation, `layerType` is "Dense", and T is the type of all parameters (in the original of the pseudo-inputs alone).
"""
struct SVAEvampmeans{T<:AbstractFloat}
    model::SVAE{T}
end

function SVAEvampmeans(inputDim::Integer, hiddenDim::Integer, latentDim::Integer, numLayers::Integer,
                       nonlinearity::String, layerType::String, num_pseudoinputs::Integer, T::Type = Float32)
    layerType == "Dense" || throw(ArgumentError("`layerType` must be \"Dense\"; got $(repr(layerType))."))
    names = Dict("leakyrelu" => "leaky_relu", "σ" => "sigmoid", "linear" => "identity")
    SVAEvampmeans(SVAE{T}(inputDim, hiddenDim, latentDim, num_pseudoinputs; layers = numLayers,
                          activation = get(names, nonlinearity, nonlinearity)))
end

function Base.getproperty(m::SVAEvampmeans, name::Symbol)
    model = getfield(m, :model)
    name === :model && return model
    name === :q && return x -> columnwise(x -> PyScore.hidden(model.encoder, x), x)
    name === :g && return z -> columnwise(z -> PyScore.decode(model, z), z)
    name === :zdim && return PyScore.latent_dim(model)
    name === :hue && return eltype(model.pseudo_inputs)(huentropy(PyScore.latent_dim(model)))
    name === :μzfromhidden && return h -> columnwise(h -> normalizecolumns(PyScore.affine(model.mu_head, h)), h)
    name === :κzfromhidden && return h -> PyScore.sigmoid.(PyScore.affine(model.kappa_head, asmatrix(h))) .* 100
    getproperty(model, name)
end

asmatrix(x::AbstractMatrix) = x
asmatrix(x::AbstractVector) = reshape(x, :, 1)
"""Apply a function of a matrix to a matrix, or to one column as a vector."""
columnwise(f, x::AbstractMatrix) = f(x)
columnwise(f, x::AbstractVector) = vec(f(asmatrix(x)))
"""The values for the columns of a matrix, or the one value for a vector."""
each(values::AbstractVector, ::AbstractMatrix) = values
each(values::AbstractVector, ::AbstractVector) = only(values)

normalizecolumns(m::AbstractMatrix) = PyScore.normalize(m; convention = ORIGINAL)
householderrotation(zprime, μ) = PyScore.householder(zprime, μ; convention = ORIGINAL)

function zparams(m::SVAEvampmeans, x)
    μ, κ = PyScore.encode(m.model, asmatrix(x); convention = ORIGINAL)
    x isa AbstractVector ? (vec(μ), κ) : (μ, reshape(κ, 1, :))
end

"""κ for each of n columns, from one number or n."""
concentrations(κ::Number, n::Integer) = fill(κ, n)
concentrations(κ, n::Integer) = length(κ) == 1 ? fill(first(κ), n) : vec(κ)

samplez(m::SVAEvampmeans, μz, κz; rng::AbstractRNG = GLOBAL_RNG) = columnwise(μz) do μ
    PyScore.sample_vmf(rng, μ, convert(Vector{eltype(μ)}, concentrations(κz, size(μ, 2))); convention = ORIGINAL)
end
zfromx(m::SVAEvampmeans, x) = samplez(m, zparams(m, x)...)
infer(m::SVAEvampmeans, x) = m.g(zfromx(m, x))
sampleVamp(m::SVAEvampmeans, n::Integer; rng::AbstractRNG = GLOBAL_RNG) =
    PyScore.sample_prior(rng, m.model, n; convention = ORIGINAL)

"""Loss of a batch; `d(x, y)` is the discrepancy, `(x, y) -> mmd_imq(x, y, γ)` in the paper."""
function decomposed_wloss(m::SVAEvampmeans, x, β, d)
    z, _ = zparams(m, x)
    sum(abs2, x .- m.g(z)) / length(x), d(z, sampleVamp(m, size(z, 2)))
end
function wloss(m::SVAEvampmeans, x, β, d)
    reconstruction, Ω = decomposed_wloss(m, x, β, d)
    reconstruction + β * Ω
end

log_normal(x, μ = zero(x)) =
    reshape(PyScore.log_likelihood(asmatrix(x), asmatrix(μ); convention = ORIGINAL), x isa AbstractVector ? (1,) : (1, :))
log_pxexpectedz(m::SVAEvampmeans, x) = log_normal(x, m.g(zparams(m, x)[1]))
log_pxexpectedz(m::SVAEvampmeans, x, z) = log_normal(x, m.g(z))

log_pz_from_z(m::SVAEvampmeans, z) = each(PyScore.log_prior(m.model, asmatrix(z); convention = ORIGINAL), z)
log_pz(m::SVAEvampmeans, x) = log_pz_from_z(m, zparams(m, x)[1])
pz_from_z(m::SVAEvampmeans, z) = exp.(log_pz_from_z(m, z))
pz(m::SVAEvampmeans, x) = exp.(log_pz(m, x))

jacobian_decoder(m::SVAEvampmeans, z::AbstractVector) =
    PyScore.jacobian_decoder(m.model, asmatrix(z); convention = ORIGINAL, route = :loop)[:, :, 1]
jacobian_encoder(m::SVAEvampmeans, x::AbstractVector) =
    PyScore.jacobian_encoder(m.model, asmatrix(x); convention = ORIGINAL, route = :loop)[:, :, 1]
log_pz_jacobian_decoder(m::SVAEvampmeans, z; route::Symbol = :loop) =
    each(PyScore.log_prior_jacobian_decoder(m.model, asmatrix(z); convention = ORIGINAL, route = route), z)
log_pz_jacobian_encoder(m::SVAEvampmeans, x; route::Symbol = :loop) =
    each(PyScore.log_prior_jacobian_encoder(m.model, asmatrix(x); convention = ORIGINAL, route = route), x)

"""Importance-sampled log p(x) as the original computes it, with k draws."""
function log_px(m::SVAEvampmeans, x, k::Int = 100)
    μ, κ = PyScore.encode(m.model, asmatrix(x); convention = ORIGINAL)
    draws = samplez(m, repeat(μ, inner = (1, k)), repeat(κ, inner = k))
    values = PyScore.log_importance(m.model, asmatrix(x), reshape(draws, size(μ, 1), k, :); convention = ORIGINAL)
    each(values, x)
end

pairwisecos(x, y = x) = PyScore.cosine_distance.(transpose(x) * y)
k_imq(x::AbstractMatrix, c) = PyScore.imq_kernel_mean(x, c; convention = ORIGINAL)
k_imq(x::AbstractVector, c) = zero(eltype(x))
k_imq(x, y, c) = PyScore.imq_kernel_mean(asmatrix(x), asmatrix(y), c)
mmd_imq(x, y, c) = k_imq(x, c) + k_imq(y, c) - 2 * k_imq(x, y, c)

log_vmf_wo_c(x, μ, κ) = κ * transpose(μ) * x
log_vmf_c(x::AbstractVector, μ::AbstractVector, κ::Number) = log_vmf_wo_c(x, μ, κ) + PyScore.log_vmf_normaliser(κ, length(μ))
log_vmf_c(x::AbstractMatrix, μ::AbstractMatrix, κ::Number) = log_vmf_c(x, μ, fill(κ, size(x, 2)))
log_vmf_c(x::AbstractMatrix, μ::AbstractMatrix, κ::AbstractVector) = PyScore.log_vmf(x, μ, κ)
vmfentropy(m, κ) = PyScore.vmf_entropy.(κ, m)
huentropy(m) = PyScore.uniform_sphere_entropy(m)
kldiv(m::SVAEvampmeans, κ) = .-vmfentropy(m.zdim, κ) .+ m.hue
samplehsuniform(size_...) = normalizecolumns(randn(size_...))

"""Codes after `steps` ADAM steps on the reconstruction error, off the sphere."""
manifoldz(m::SVAEvampmeans, x, steps = 100, z = zparams(m, x)[1]) =
    columnwise(z -> PyScore.project(m.model, asmatrix(x), z; steps = steps, convention = ORIGINAL)[1], z)

"""2Σ log(s + 1e-6) of the decoder at each z: `det(m.g, z)` of jacodeco.jl."""
floored_volume(m::SVAEvampmeans, z) =
    [2 * sum(s -> log(s + 1f-6), PyScore.svdvals(jacobian_decoder(m, z[:, i]))) for i in axes(z, 2)]

function jacodeco(m::SVAEvampmeans, x, z)
    Z = asmatrix(z)
    each(vec(log_normal(Z)) .+ vec(log_pxexpectedz(m, asmatrix(x), Z)) .- floored_volume(m, Z), z)
end
function correctedjacodeco(m::SVAEvampmeans, x, z = manifoldz(m, x))
    X, Z = asmatrix(x), asmatrix(z)
    J = PyScore.jacobian_decoder(m.model, Z; convention = ORIGINAL, route = :loop)
    each(PyScore.log_density_corrected(X, m.g(Z), Z, J; convention = ORIGINAL), z)
end

"""
    Original.IPMeasures

The part of IPMeasures.jl (May 2019) that the scripts use.
"""
module IPMeasures

using ...PyScore: PyScore, ORIGINAL

export GaussianKernel, IMQKernel, RQKernel, crit_mmd2_var, mmd, mmd2_and_variance, pairwisel2

struct GaussianKernel{T<:Number}; γ::T; end
struct IMQKernel{T<:Number}; c::T; end
struct RQKernel{T<:Number}; α::T; end
kernel(k::GaussianKernel) = (kernel = :gaussian, width = k.γ)
kernel(k::IMQKernel) = (kernel = :imq, width = k.c)
kernel(k::RQKernel) = (kernel = :rq, width = k.α)

pairwisel2(x, y = x) = PyScore.pairwise_distance(x, y, :squared_euclidean)
"""Unlike `Original.pairwisecos`, this divides by the Frobenius norms of the whole matrices."""
pairwisecos(x, y = x) = PyScore.pairwise_distance(x, y, :cosine; convention = ORIGINAL)
distance(f) = f === pairwisel2 ? :squared_euclidean : f === pairwisecos ? :cosine :
    throw(ArgumentError("`distfun` must be IPMeasures.pairwisel2 or IPMeasures.pairwisecos; got $f."))

mmd(k, x, y, distfun = pairwisel2) = PyScore.mmd(x, y; kernel(k)..., distance = distance(distfun), convention = ORIGINAL)
mmd2_and_variance(K_XX, K_XY, K_YY, unit_diagonal = false, biased = false) =
    PyScore.mmd_variance(K_XX, K_XY, K_YY; biased = biased, convention = ORIGINAL)
crit_mmd2_var(k::IMQKernel, X, Y, distfun = pairwisel2) =
    only(PyScore.imq_width_criterion(X, Y, [k.c]; distance = distance(distfun), convention = ORIGINAL))

end

end
