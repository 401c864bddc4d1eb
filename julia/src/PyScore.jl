"""
    PyScore

Anomaly scores of spherical VampPrior autoencoders in Julia: the reference that pyscore calls through its worker.
The core needs only Julia's standard library. Columns are samples; log-densities are in nats, higher = more normal.
The functions have the names of `pyscore/reference`; `PyScore.Original` has those of FewShotAnomalyDetection.jl.
"""
module PyScore

using LinearAlgebra: I, Symmetric, diag, dot, eigen, eigvals, norm, svd, svdvals
using Logging: Logging
using Random: Random, AbstractRNG

export Convention, ORIGINAL, EXACT, Dense, Philox, SVAE

include("convention.jl")
include("special.jl")
include("progress.jl")
include("threads.jl")
include("activation.jl")
include("sums.jl")
include("sphere.jl")
include("model.jl")
include("likelihood.jl")
include("vmf.jl")
include("prior.jl")
include("jacobian.jl")
include("volume.jl")
include("importance.jl")
include("mmd.jl")
include("goodness.jl")
include("sampling.jl")
include("philox.jl")
include("training.jl")
include("minimise.jl")
include("corrected.jl")
include("roc.jl")
include("original.jl")
include("flux.jl")
include("../worker/serve.jl")
end
