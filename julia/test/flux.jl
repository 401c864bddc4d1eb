# The Flux extension against the core: run on Julia ≥ 1.9 in a project that has Flux ≥ 0.14 and this package,
#   julia --project=<project> julia/test/flux.jl

using Flux, PyScore, Random, Test
const P = PyScore

@testset "Flux $(pkgversion(Flux)) on Julia $VERSION ($T)" for (T, tolerance) in ((Float64, 1e-11), (Float32, 2e-3))
    rng = MersenneTwister(3)
    model = SVAE{T}(7, 12, 3, 4; rng = rng)
    x, draws = randn(rng, T, 7, 30), P.draw_prior(rng, model, 30)
    flux = P.flux_model(model)

    @testset "layers and parameters" begin
        @test flux.q(x) ≈ P.hidden(model.encoder, x)
        @test flux.g(P.encode(model, x)[1]) ≈ P.decode(model, P.encode(model, x)[1])
        other = SVAE{T}(7, 12, 3, 4; rng = rng)
        @test P.parameters(other) != P.parameters(model)
        P.load_flux!(other, flux)
        @test P.parameters(other) == P.parameters(model)
        @test all(a !== b for (a, b) in zip(P.parameters(other), P.parameters(model)))
    end

    @testset "Zygote's Jacobians" begin
        z = P.encode(model, x)[1]
        @test P.zygote_jacobian_decoder(flux, z) ≈ P.jacobian_decoder(model, z; convention = ORIGINAL) rtol = tolerance
        @test P.zygote_jacobian_encoder(flux, x) ≈
              P.jacobian_encoder(model, x; convention = P.Convention(encoder_jacobian = :ambient)) rtol = tolerance
    end

    @testset "loss and gradient ($name)" for (name, convention) in
            (("exact", EXACT), ("eps", P.Convention(norm_eps = :machine, mmd_diagonal = :kept)))
        loss, gradients = Flux.withgradient(m -> P.flux_wloss(m, x, draws, 2, 0.3; convention = convention), flux)
        @test loss ≈ P.wloss(model, x, draws, 2, 0.3; convention = convention) rtol = tolerance
        ours = P.flux_model(P.wloss_gradient(model, x, draws, 2, 0.3; convention = convention))
        for (theirs, mine) in zip((gradients[1].q.layers..., gradients[1].g.layers..., gradients[1].mu_head,
                                   gradients[1].kappa_head),
                                  (ours.q.layers..., ours.g.layers..., ours.mu_head, ours.kappa_head))
            @test theirs.weight ≈ mine.weight rtol = tolerance atol = tolerance
            @test theirs.bias ≈ mine.bias rtol = tolerance atol = tolerance
        end
        @test gradients[1].pseudo_inputs ≈ ours.pseudo_inputs rtol = tolerance atol = tolerance
    end

    @testset "training" begin
        # Optimisers.jl keeps eps inside as √v + eps with bias-corrected moments, too: the runs stay together.
        core, state = P.copymodel(model), P.Adam(model)
        layers = P.flux_model(model)
        optimiser = Flux.setup(Flux.Adam(1e-4, (0.9, 0.999), 1e-8), layers)
        for step in 1:20
            draws = P.draw_prior(rng, model, 30)
            loss = P.flux_train_step!(layers, optimiser, x, draws, 0.5, 0.1)
            @test loss ≈ P.train_step!(core, state, x, draws, 0.5, 0.1)[1] rtol = 10tolerance
        end
        trained = P.load_flux!(P.copymodel(model), layers)
        @test all(isapprox.(P.parameters(trained), P.parameters(core); atol = T === Float64 ? 1e-9 : 1e-3))
        @test !isapprox(P.parameters(trained)[1], P.parameters(model)[1]; atol = 1e-4)
    end
end
