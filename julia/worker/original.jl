# The original package itself, FewShotAnomalyDetection.jl, on a model of ours: for projects that have it.

const ORIGINAL_PACKAGE = "FewShotAnomalyDetection"

"""The package, loaded from the project that runs; an error says how to add it."""
function original_package()
    id = Base.identify_package(ORIGINAL_PACKAGE)
    id === nothing && throw(ArgumentError(
        "the Julia project $(Base.active_project()) has no $ORIGINAL_PACKAGE. Add it (Julia 1.0 to 1.5, Flux 0.8): " *
        "`] add https://github.com/honzabim/FewShotAnomalyDetection.jl` in `julia --project=$(dirname(Base.active_project()))`."))
    Base.require(id)
end

"""A model of the original from one of ours, with the original's Flux: its layers, then the functions of its heads."""
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

"""Plain numbers of a result, which may be tracked, a row or an array of arrays."""
untracked(F::Module, x) = isdefined(F.Flux, :Tracker) ? F.Flux.Tracker.data(x) : x
flat(F::Module, x::Number) = [untracked(F, x)]
flat(F::Module, x) = reduce(vcat, (flat(F, each) for each in untracked(F, x)))

"""
    original(model, name, x)

(n,) values of the original's function `name` at columns x (d, n): of a code for `log_pz_jacobian_decoder`.
"""
function original(model::SVAE{T}, name::String, x::Matrix{T}) where {T}
    F = original_package()
    Base.invokelatest(original_values, F, model, name, x)
end

function original_values(F::Module, model::SVAE{T}, name::String, x::Matrix{T}) where {T}
    m = original_model(F, model)
    f = getfield(F, Symbol(name))
    # One at a time, as its own loops do: with one column its matrix methods raise errors.
    values = map(axes(x, 2)) do i
        name == "log_pz_jacobian_decoder" || return flat(F, f(m, x[:, i]))
        flat(F, f(m, vec(untracked(F, F.zparams(m, x[:, i])[1]))))
    end
    T[first(value) for value in values]
end
