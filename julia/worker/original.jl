# Calls of the original package, FewShotAnomalyDetection.jl, with a model of pyscore, in Julia projects that have it.

const ORIGINAL_PACKAGE = "FewShotAnomalyDetection"

"""Load the package from the active project; the error says how to add it."""
function original_package()
    id = Base.identify_package(ORIGINAL_PACKAGE)
    id === nothing && throw(ArgumentError(
        "the Julia project $(Base.active_project()) has no $ORIGINAL_PACKAGE. Add it (Julia 1.0 to 1.5, Flux 0.8): " *
        "`] add https://github.com/honzabim/FewShotAnomalyDetection.jl` in `julia --project=$(dirname(Base.active_project()))`."))
    Base.require(id)
end

"""Make a model of the original, with the original's Flux, from one of pyscore."""
function original_model(F::Module, model::SVAE{T}) where {T}
    Flux = F.Flux
    tracked = isdefined(Flux, :param) ? Flux.param : identity
    functions = Dict{DataType,Any}(PyScore.Swish => Flux.swish, PyScore.Identity => identity, PyScore.Relu => Flux.relu,
                                   PyScore.Tanh => tanh, PyScore.Sigmoid => Flux.σ)
    function dense(layer, σ = functions[typeof(layer.σ)])
        Flux.Dense(tracked(copy(layer.W)), tracked(copy(layer.b)), σ)
    end
    q, g = Flux.Chain(map(dense, model.encoder)...), Flux.Chain(map(dense, model.decoder)...)
    m = F.SVAEvampmeans(q, g, PyScore.hidden_dim(model), PyScore.latent_dim(model), size(model.pseudo_inputs, 2), T)
    m.μzfromhidden = Flux.Chain(dense(model.mu_head, identity), x -> F.normalizecolumns(x))
    m.κzfromhidden = dense(model.kappa_head, x -> Flux.σ.(x) .* 100)
    m.pseudo_inputs = tracked(copy(model.pseudo_inputs))
    m
end

"""The plain value of a result of the original, which Tracker may wrap."""
untracked(F::Module, x) = isdefined(F.Flux, :Tracker) ? F.Flux.Tracker.data(x) : x
flat(F::Module, x::Number) = [untracked(F, x)]
flat(F::Module, x) = reduce(vcat, (flat(F, each) for each in untracked(F, x)))

"""
    original(model, name, x)

(n,) values of the original's function `name` at the columns of x (d, n). `log_pz_jacobian_decoder` gets their codes.
"""
function original(model::SVAE{T}, name::String, x::Matrix{T}) where {T}
    F = original_package()
    Base.invokelatest(original_values, F, model, name, x)
end

function original_values(F::Module, model::SVAE{T}, name::String, x::Matrix{T}) where {T}
    m = original_model(F, model)
    f = getfield(F, Symbol(name))
    # One vector at a time, as in the original's own loops, because its matrix methods fail for one column.
    values = map(axes(x, 2)) do i
        name == "log_pz_jacobian_decoder" || return flat(F, f(m, x[:, i]))
        flat(F, f(m, vec(untracked(F, F.zparams(m, x[:, i])[1]))))
    end
    T[first(value) for value in values]
end
