# The functions that pyscore may call, by the names of pyscore/reference. Arrays arrive with their axes reversed: rows of
# Python are columns here. A Jacobian (n, d, k) arrives as (k, d, n) and is permuted to (d, k, n) for the core.

"""(k, d, n) ↔ (d, k, n)."""
turn(jacobian::AbstractArray{T,3}) where {T} = permutedims(jacobian, (2, 1, 3))

"""Apply f to a width or to each of an array of widths."""
widths(f, c::Real, ::Type{T}) where {T} = fill(T(f(c)))
widths(f, c::AbstractArray, ::Type{T}) where {T} = T[f(w) for w in c]

layer(W::Matrix, b::Vector, σ) = Dense(permutedims(W), b, σ)

"""
Store a model under its token, given the number of encoder layers, the name of its activation and its arrays in the
order of `SVAE.parameters()`.
"""
function put_model(models::Dict{String,Any}, token::String, encoder_layers::Integer, activation::String, arrays...)
    σ, e, count = PyScore.activation(activation), Int(encoder_layers), length(arrays) ÷ 2
    follows(i) = i in (e + 1, e + 2, count) ? PyScore.Identity() : σ
    layers = [layer(arrays[2i-1], arrays[2i], follows(i)) for i in 1:count]
    models[token] = SVAE(layers[1:e], layers[e+1], layers[e+2], layers[e+3:end], arrays[end])
    nothing
end

"""Layers from the names of their activations and their arrays W, b, W, b …: a decoder or any chain of Dense layers."""
chain(activations::Tuple, arrays...) =
    [layer(arrays[2i-1], arrays[2i], PyScore.activation(name)) for (i, name) in enumerate(activations)]

"""The arrays of a model, in the order and the orientation in which `put_model` takes them."""
function model_arrays(m::SVAE)
    layers = [m.encoder; [m.mu_head, m.kappa_head]; m.decoder]
    (Iterators.flatten((permutedims(l.W), l.b) for l in layers)..., m.pseudo_inputs)
end

prior_draws(::SVAE{T}, components, epsilon, v) where {T} = PyScore.PriorDraws{T}(components .+ 1, epsilon, v)

"""
Train by ADAM from step 0 with injected draws. x (d, N); batches and components (n, steps), from 0; epsilon (n, steps),
v (k−1, n, steps). Returns the losses (3, steps): loss, reconstruction, MMD, then the arrays of the trained model.
"""
function train_replay(model::SVAE{T}, x, batches, components, epsilon, v; beta, c, rate = 1e-4,
                      convention = EXACT) where {T}
    trained, losses = PyScore.copymodel(model), Matrix{T}(undef, 3, size(batches, 2))
    state = PyScore.Adam(trained; rate = rate)
    for s in axes(batches, 2)
        draws = prior_draws(model, components[:, s], epsilon[:, s], v[:, :, s])
        losses[:, s] .= PyScore.train_step!(trained, state, x[:, batches[:, s] .+ 1], draws, beta, c;
                                            convention = convention)
    end
    (losses, model_arrays(trained)...)
end

"""Run ADAM on recorded gradients (…, steps). Returns the parameters after each step, and the two moments after the last."""
function adam_replay(x::Array{T}, gradients::Array{T}; rate = 1e-4) where {T}
    array, state = copy(x), PyScore.Adam([x]; rate = rate)
    out = similar(gradients)
    for s in axes(gradients, ndims(gradients))
        PyScore.adam_step!([array], [copy(selectdim(gradients, ndims(gradients), s))], state)
        copyto!(selectdim(out, ndims(out), s), array)
    end
    out, state.m[1], state.v[1]
end

const EXPOSED = Dict{String,Function}(
    # on arrays
    "normalize" => (v; k...) -> PyScore.normalize(v; k...),
    "householder" => (z, mu; k...) -> PyScore.householder(z, mu; k...),
    "tangent_frame" => z -> turn(PyScore.tangent_frame(z)),
    "sample_vmf" => (mu, kappa, epsilon, v; k...) -> PyScore.sample_vmf(mu, kappa, epsilon, v; k...),
    "log_likelihood" => (x, x_hat, sigma2 = 1.0; k...) -> PyScore.log_likelihood(x, x_hat, sigma2; k...),
    "latent_error" => (z, z_hat) -> PyScore.latent_error(z, z_hat),
    "log_prior" => (z, mu_u, kappa_u = nothing; k...) -> PyScore.log_prior(z, mu_u, kappa_u; k...),
    "log_vmf" => (z, mu, kappa) -> PyScore.log_vmf(z, mu, kappa),
    "log_vmf_normaliser" => (kappa, k) -> PyScore.log_vmf_normaliser.(kappa, k),
    "vmf_entropy" => (kappa, k) -> PyScore.vmf_entropy.(kappa, k),
    "vmf_kl" => (kappa, k) -> PyScore.vmf_kl.(kappa, k),
    "uniform_sphere_entropy" => k -> PyScore.uniform_sphere_entropy(k),
    "log_volume" => (J; route = "batched") -> PyScore.log_volume(J; route = Symbol(route)),
    "log_prior_jacobian_decoder" => function (z, J, mu_u, kappa_u = nothing; convention = EXACT)
        PyScore.log_prior_jacobian_decoder(z, turn(J), mu_u, kappa_u; convention = convention)
    end,
    "log_prior_jacobian_encoder" => function (z, J, mu_u, kappa_u = nothing; convention = EXACT)
        PyScore.log_prior_jacobian_encoder(z, turn(J), mu_u, kappa_u; convention = convention)
    end,
    "log_importance" => (a, p, cosine, kappa, k; o...) -> PyScore.log_importance(a, p, cosine, kappa, k; o...),
    "imq_kernel_mean" => function (x, y = nothing, c = 1.0; convention = EXACT)
        f(w) = y === nothing ? PyScore.imq_kernel_mean(x, w; convention = convention) : PyScore.imq_kernel_mean(x, y, w)
        widths(f, c, eltype(x))
    end,
    "mmd_imq" => (x, y, c = 1.0; k...) -> widths(w -> PyScore.mmd_imq(x, y, w; k...), c, eltype(x)),
    "pairwise_distance" => function (x, y, distance = "cosine"; k...)
        permutedims(PyScore.pairwise_distance(x, y, Symbol(distance); k...))
    end,
    "kernel_mean" => function (x, y = nothing; width, kernel = "imq", distance = "cosine", convention = EXACT)
        o = (width = width, kernel = Symbol(kernel), distance = Symbol(distance), convention = convention)
        y === nothing ? PyScore.kernel_mean(x; o...) : PyScore.kernel_mean(x, y; o...)
    end,
    "mmd" => function (x, y; width, kernel = "imq", distance = "cosine", convention = EXACT)
        PyScore.mmd(x, y; width = width, kernel = Symbol(kernel), distance = Symbol(distance), convention = convention)
    end,
    "mmd_variance" => function (k_xx, k_xy, k_yy; k...)
        PyScore.mmd_variance(permutedims(k_xx), permutedims(k_xy), permutedims(k_yy); k...)
    end,
    "imq_width_criterion" => function (x, y, grid = PyScore.WIDTH_GRID; distance = "cosine", convention = EXACT)
        PyScore.imq_width_criterion(x, y, grid; distance = Symbol(distance), convention = convention)
    end,
    "imq_width" => (x, y; k...) -> PyScore.imq_width(x, y; k...),
    "mmd_null" => (x, y, width; k...) -> PyScore.mmd_null(x, y, width; k...),
    "mmd_p_value" => (null, statistic; k...) -> PyScore.mmd_p_value(null, statistic; k...),
    "log_density_corrected" => function (x, x_hat, z, J; latent = "euclidean", k...)
        PyScore.log_density_corrected(x, x_hat, z, turn(J); latent = Symbol(latent), k...)
    end,
    "log_laplace" => (log_joint, H) -> PyScore.log_laplace(log_joint, H),   # H is symmetric
    "roc_auc" => (scores, labels) -> PyScore.roc_auc(scores, labels),
    # on models
    "encode" => (m, x; k...) -> PyScore.encode(m, x; k...),
    "hidden" => (m, x) -> PyScore.hidden(m.encoder, x),
    "decode" => (m, z) -> PyScore.decode(m, z),
    "affine" => (m, z) -> PyScore.affine(m.decoder[1], z),   # one Dense layer alone, for the bit-equal tests
    "jacobian_decoder" => function (m, z; route = "batched", convention = EXACT)
        turn(PyScore.jacobian_decoder(m, z; route = Symbol(route), convention = convention))
    end,
    "jacobian_encoder" => function (m, x; route = "batched", convention = EXACT)
        turn(PyScore.jacobian_encoder(m, x; route = Symbol(route), convention = convention))
    end,
    "decoder_log_volume" => function (m, z; route = "batched", convention = EXACT)
        PyScore.log_volume_decoder(m, z; route = Symbol(route), convention = convention)
    end,
    "encoder_log_volume" => function (m, x; route = "batched", convention = EXACT)
        PyScore.log_volume_encoder(m, x; route = Symbol(route), convention = convention)
    end,
    "model_log_prior_jacobian_decoder" => function (m, z; route = "batched", convention = EXACT)
        PyScore.log_prior_jacobian_decoder(m, z; route = Symbol(route), convention = convention)
    end,
    "model_log_prior_jacobian_encoder" => function (m, x; route = "batched", convention = EXACT)
        PyScore.log_prior_jacobian_encoder(m, x; route = Symbol(route), convention = convention)
    end,
    "model_log_prior" => (m, z; k...) -> PyScore.log_prior(m, z; k...),
    "model_log_importance" => (m, x, draws; k...) -> PyScore.log_importance(m, x, draws; k...),
    "project" => function (m, x, z; latent = "sphere", k...)
        PyScore.project(m, x, z; latent = Symbol(latent), k...)
    end,
    "chain" => (x, activations, arrays...) -> PyScore.decode(chain(activations, arrays...), x),
    "chain_jacobian" => (x, activations, arrays...) -> turn(PyScore.jacobian(chain(activations, arrays...), x)),
    "original" => original,
    "jacodeco" => (m, x, z) -> Original.jacodeco(Original.SVAEvampmeans(m), x, z),
    "posterior_hessian" => (m, x, z; k...) -> PyScore.posterior_hessian(m, x, z; k...),
    "sample_prior" => function (m, components, epsilon, v; k...)
        PyScore.sample_prior(m, prior_draws(m, components, epsilon, v); k...)
    end,
    "draw_vmf" => (mu, kappa, seed; k...) -> PyScore.sample_vmf(Philox(seed), mu, kappa; k...),
    "draw_prior" => (m, n, seed; k...) -> PyScore.sample_prior(Philox(seed), m, n; k...),
    "decomposed_wloss" => function (m, x, components, epsilon, v; c, k...)
        PyScore.decomposed_wloss(m, x, prior_draws(m, components, epsilon, v), c; k...)
    end,
    "wloss" => function (m, x, components, epsilon, v; beta, c, k...)
        PyScore.wloss(m, x, prior_draws(m, components, epsilon, v), beta, c; k...)
    end,
    "wloss_gradient" => function (m, x, components, epsilon, v; beta, c, k...)
        model_arrays(PyScore.wloss_gradient(m, x, prior_draws(m, components, epsilon, v), beta, c; k...))
    end,
    "train_replay" => train_replay,
    "adam_replay" => adam_replay,
    # for the bridge and its tests
    "echo" => value -> value,
    "pause" => seconds -> (@info("begun"); sleep(seconds); nothing),
    "spin" => function (seconds)
        @info "begun"
        stop = time() + seconds
        while time() < stop end
    end,
    "report" => function (count)
        foreach(i -> PyScore.progress("reporting", i, count; seconds = 0), 1:count)
        @info "a message"
        @warn "a warning"
    end,
    "threads" => () -> Threads.nthreads(),
    "raise" => text -> error(text),
    "say" => text -> (println(text); nothing),
    "versions" => () -> (string(VERSION), string(Sys.BINDIR)),
)
