# Writes the files beside it with real BSON.jl (and JLD2.jl), from stand-ins for Flux, NNlib, Tracker and
# FewShotAnomalyDetection: modules of our own with the original's type names and fields, which is all that a file holds.
#
#   JULIA_LOAD_PATH=<stand-ins made by this script>:<BSON.jl>:@stdlib julia make.jl FOLDER VERSION
#
# VERSION is "0.8" (tracked arrays) or "0.14" (plain ones). The numbers are (−1)^i·i/97 in the order of the arrays.

const FOLDER, VERSION_ = ARGS[1], ARGS[2]

push!(LOAD_PATH, mktempdir())
function standin(name, code)
    mkpath(joinpath(LOAD_PATH[end], name, "src"))
    write(joinpath(LOAD_PATH[end], name, "src", "$name.jl"), "module $name\n$code\nend\n")
end
standin("NNlib", """
swish(x) = x / (1 + exp(-x))
relu(x) = max(zero(x), x)
σ(x) = one(x) / (one(x) + exp(-x))
leakyrelu(x) = max(x * oftype(x, 0.01), x)
softplus(x) = log1p(exp(x))
""")
standin("Tracker", """
mutable struct Tracked{T}
    ref::UInt32
    f::Any
    isleaf::Bool
    data::T
    grad::T
    Tracked{T}(data::T) where {T} = new(0, nothing, true, data, zero(data))
end
struct TrackedArray{T,N,A<:AbstractArray{T,N}}
    tracker::Tracked{A}
    data::A
    grad::A
end
param(x::AbstractArray{T,N}) where {T,N} = TrackedArray{T,N,typeof(x)}(Tracked{typeof(x)}(x), x, zero(x))
""")
fields = VERSION_ == "0.8" ? "struct Dense{F,S,T}\n W::S\n b::T\n σ::F\nend" :
         "struct Dense{F,M<:AbstractMatrix,B}\n weight::M\n bias::B\n σ::F\nend"
tuples = VERSION_ == "0.8" ? "Tuple" : "Union{Tuple,NamedTuple,AbstractVector}"
standin("Flux", "$fields\nstruct Chain{T<:$tuples}\n layers::T\nend\nChain(xs...) = Chain(xs)\n")
standin("FewShotAnomalyDetection", """
mutable struct SVAEvampmeans
    q
    g
    zdim
    hue
    μzfromhidden
    κzfromhidden
    pseudo_inputs
end
normalizecolumns(m) = m ./ sqrt.(sum(m .^ 2, dims = 1) .+ eps(eltype(m)))
""")

using BSON, Flux, NNlib, Tracker, FewShotAnomalyDetection
const FS = FewShotAnomalyDetection

const COUNT = Ref(0)
number() = (COUNT[] += 1; Float32((-1)^COUNT[] * COUNT[] / 97))
array(size...) = Float32[number() for _ in CartesianIndices(size)]
held(x) = VERSION_ == "0.8" ? Tracker.param(x) : x
dense(out, in, σ = identity) = Flux.Dense(held(array(out, in)), held(array(out)), σ)

d, h, k, p = 5, 4, 2, 3
q = Flux.Chain(dense(h, d, NNlib.swish), dense(h, h, NNlib.swish), dense(h, h, NNlib.swish))
g = Flux.Chain(dense(h, k, NNlib.swish), dense(h, h, NNlib.swish), dense(h, h, NNlib.swish), dense(d, h))
μ = Flux.Chain(dense(k, h), x -> FS.normalizecolumns(x))
κ = dense(1, h, x -> NNlib.σ.(x) .* 100)
svae = FS.SVAEvampmeans(q, g, k, 1.8378770664093454f0, μ, κ, held(array(d, p)))
bson(joinpath(FOLDER, "svae-$VERSION_.bson"), model = svae, epoch = 7)

mixed = Flux.Chain(dense(3, 2, NNlib.relu), Flux.Chain(dense(3, 3, tanh), dense(2, 3, NNlib.σ)))
bson(joinpath(FOLDER, "chain-$VERSION_.bson"), decoder = mixed)
if VERSION_ != "0.8"
    named = Flux.Chain((first = Flux.Dense(array(3, 2), array(3), NNlib.softplus),
                        act = Flux.Dense(array(2, 3), false, identity), last = NNlib.leakyrelu))
    bson(joinpath(FOLDER, "named-$VERSION_.bson"), m = named)
    shared = array(3, 3)
    twice = Flux.Chain(Flux.Dense(shared, array(3), tanh), Flux.Dense(shared, array(3), identity))
    bson(joinpath(FOLDER, "shared-$VERSION_.bson"), m = twice, other = shared)
    state(c::Flux.Chain) = (layers = map(state, c.layers),)
    state(l::Flux.Dense) = (weight = l.weight, bias = l.bias, σ = ())
    bson(joinpath(FOLDER, "state-$VERSION_.bson"), model_state = state(mixed))
    # What `pyscore.flux.save` writes, read by BSON.jl and written again.
    if length(ARGS) > 2
        again = BSON.load(ARGS[3])[:model]
        bson(ARGS[4], model = again)
    end
end
println("written with Julia ", VERSION)

# The same by JLD2.jl, where it is in the load path.
if Base.find_package("JLD2") !== nothing
    using JLD2
    jldsave_(path; values...) = jldopen(path, "w") do file
        foreach(((name, value),) -> file[string(name)] = value, pairs(values))
    end
    jldsave_(joinpath(FOLDER, "svae-$VERSION_.jld2"); model = svae, epoch = 7)
    jldsave_(joinpath(FOLDER, "chain-$VERSION_.jld2"); decoder = mixed)
    if VERSION_ != "0.8"
        jldsave_(joinpath(FOLDER, "named-$VERSION_.jld2"); m = named)
        jldsave_(joinpath(FOLDER, "state-$VERSION_.jld2"); model_state = state(mixed))
    end
end
