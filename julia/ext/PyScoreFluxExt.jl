# The same model as Flux layers. Zygote differentiates it, which checks the hand-written passes independently.

module PyScoreFluxExt

using Flux: Flux, Chain, withgradient
using Flux.Zygote: jacobian
using PyScore
using PyScore: Convention, EXACT, PriorDraws, SVAE, norm_eps, wood_cosine

# Zygote cannot differentiate code that writes into arrays, so these are the core's functions without mutation.

unit(v, e) = v ./ sqrt.(sum(abs2, v; dims = 1) .+ e)

"""A plain function of each activation, which Zygote can differentiate."""
plain(::PyScore.Swish) = a -> a * PyScore.sigmoid(a)
plain(::PyScore.Relu) = Flux.relu
plain(::PyScore.LeakyRelu) = a -> Flux.leakyrelu(a, oftype(a, 0.01))
plain(::PyScore.Elu) = Flux.elu
plain(::PyScore.Tanh) = tanh
plain(::PyScore.Sigmoid) = PyScore.sigmoid
plain(::PyScore.Softplus) = Flux.softplus
plain(::PyScore.Identity) = identity
function plain(::PyScore.Gelu)
    isdefined(Flux.NNlib, :gelu_erf) || throw(ArgumentError(
        "gelu needs an NNlib that has `gelu_erf`: its `gelu` is the tanh approximation, another function."))
    Flux.NNlib.gelu_erf
end

dense(layer::PyScore.Dense) = Flux.Dense(copy(layer.W), copy(layer.b), plain(layer.σ))

function PyScore.flux_model(model::SVAE)
    q, g = Chain(map(dense, model.encoder)...), Chain(map(dense, model.decoder)...)
    (q = q, mu_head = dense(model.mu_head), kappa_head = dense(model.kappa_head), g = g,
     pseudo_inputs = copy(model.pseudo_inputs))
end

function PyScore.load_flux!(model::SVAE, flux)
    layers = [flux.q.layers..., flux.g.layers..., flux.mu_head, flux.kappa_head]
    arrays = vcat(([layer.weight, layer.bias] for layer in layers)..., [flux.pseudo_inputs])
    foreach(copyto!, PyScore.parameters(model), arrays)
    model
end

"""(mu, kappa) of the Flux layers; kappa is (1, n)."""
function encode(flux, x, convention)
    h = flux.q(x)
    unit(flux.mu_head(h), norm_eps(eltype(x), convention)), PyScore.sigmoid.(flux.kappa_head(h)) .* 100
end

PyScore.zygote_jacobian_decoder(flux, z; keywords...) =
    cat((jacobian(flux.g, z[:, i])[1] for i in axes(z, 2))...; dims = 3)
PyScore.zygote_jacobian_encoder(flux, x; convention::Convention = EXACT) =
    cat((jacobian(v -> vec(encode(flux, reshape(v, :, 1), convention)[1]), x[:, i])[1] for i in axes(x, 2))...; dims = 3)

function sample(mu, kappa, draws, convention)
    k, T = size(mu, 1), eltype(mu)
    b = T(k - 1) ./ (sqrt.(4 .* kappa .^ 2 .+ T(k - 1)^2) .+ 2 .* kappa)
    w = wood_cosine.(b, transpose(draws.epsilon))
    ring = PyScore.ring_radius.(b, transpose(draws.epsilon), Ref(convention))
    straight = vcat(w, ring .* unit(draws.v, norm_eps(T, convention)))
    e1 = T.((1:k) .== 1)
    r = unit(e1 .- mu, norm_eps(T, convention))
    straight .- 2 .* sum(straight .* r; dims = 1) .* r
end

function kernel_mean(x, y, c, within, convention)
    K = c ./ (c .+ max.(1 .- transpose(x) * y, 0))
    within || return sum(K) / length(K)
    n = size(x, 2)
    diagonal = convention.mmd_diagonal === :removed ? sum(c ./ (c .+ max.(1 .- sum(abs2, x; dims = 1), 0))) : zero(c)
    (sum(K) - diagonal) / (n * (n - 1))
end

function PyScore.flux_wloss(flux, x, draws::PriorDraws, beta, c; convention::Convention = EXACT)
    width = eltype(x)(c)
    mu, _ = encode(flux, x, convention)
    z = sample(encode(flux, flux.pseudo_inputs[:, draws.components], convention)..., draws, convention)
    discrepancy = kernel_mean(mu, mu, width, true, convention) + kernel_mean(z, z, width, true, convention) -
                  2 * kernel_mean(mu, z, width, false, convention)
    sum(abs2, x .- flux.g(mu)) / length(x) + eltype(x)(beta) * discrepancy
end

function PyScore.flux_train_step!(flux, state, x, draws::PriorDraws, beta, c; convention::Convention = EXACT)
    loss, gradients = withgradient(m -> PyScore.flux_wloss(m, x, draws, beta, c; convention = convention), flux)
    Flux.update!(state, flux, gradients[1])
    loss
end

end
