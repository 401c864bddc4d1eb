# Properties of the core that need nothing but the standard library: closed forms, differences, both routes against
# each other, Float32 against Float64, type stability. Golden numbers are compared from Python (tests/julia).

using LinearAlgebra, Logging, Random, Test
using PyScore
using PyScore.Original
const P = PyScore
const MACHINE = P.Convention(norm_eps = :machine)

small(T = Float64; d = 7, h = 12, k = 3, p = 4) = SVAE{T}(d, h, k, p; rng = MersenneTwister(1))
sphere(rng, k, n) = P.normalize(randn(rng, k, n))
"""Largest difference between an analytic gradient and central differences of f in the entries of `array`."""
function worst_difference(f, array, gradient; h = 1e-5)
    maximum(eachindex(array)) do i
        kept = array[i]
        array[i] = kept + h
        ahead = f()
        array[i] = kept - h
        back = f()
        array[i] = kept
        abs((ahead - back) / 2h - gradient[i])
    end
end

@testset "PyScore" begin
    rng = MersenneTwister(7)

    @testset "convention" begin
        @test P.Convention() == EXACT
        @test ORIGINAL.volume_weight == 2 && ORIGINAL.jacobian === :ambient
        @test all(getfield(ORIGINAL, f) != getfield(EXACT, f) for f in fieldnames(Convention))
        @test_throws ArgumentError P.Convention(jacobian = :sideways)
        @test_throws ArgumentError P.Convention(colour = :blue)
    end

    @testset "special functions" begin
        @test all(P.loggamma(n) ≈ log(factorial(big(n - 1))) for n in 3:40)
        @test P.loggamma(0.5) ≈ log(π) / 2
        @test all(P.loggamma(x + 1) ≈ P.loggamma(x) + log(x) for x in (0.1, 1.3, 7.77, 9.99, 25.3, 100.2))
        # Half an odd order is elementary: I_½(κ) = √(2/πκ) sinh κ.
        for kappa in (1e-8, 1e-3, 1.0, 49.0, 51.0, 300.0)
            exact = Float64(log(sqrt(2 / (big(π) * big(kappa))) * sinh(big(kappa))))
            @test abs(P.log_bessel(0.5, kappa) - exact) < 1e-15 * (abs(exact) + kappa + 10)
            @test P.bessel_ratio(0.5, kappa) ≈ Float64(coth(big(kappa)) - 1 / big(kappa)) rtol = 4e-15
        end
        # Across the border of series and expansion, and by the recurrence I_{ν−1} − I_{ν+1} = (2ν/κ) I_ν.
        for nu in (0.0, 1.0, 3.5, 31.5), kappa in (0.5, 60.0, 990.0, 1000.0, 1e4)
            above, below = P.bessel_ratio(nu + 1, kappa), P.bessel_ratio(nu, kappa)
            @test 1 / below - above ≈ 2(nu + 1) / kappa rtol = 1e-12
            @test log(below) ≈ P.log_bessel(nu + 1, kappa) - P.log_bessel(nu, kappa) atol = 4e-16 * (kappa + 100)
        end
    end

    @testset "von Mises-Fisher" begin
        for k in (2, 3, 4, 9)
            @test P.log_vmf_normaliser(0.0, k) ≈ -P.uniform_sphere_entropy(k)
            @test P.vmf_kl(0.0, k) == 0
            @test P.vmf_kl(1e-4, k) ≈ (1e-4)^2 / 2k rtol = 1e-6   # κ²/2k for κ → 0
            @test P.vmf_entropy(20.0, k) ≈ P.uniform_sphere_entropy(k) - P.vmf_kl(20.0, k)
        end
        # It integrates to one on the circle.
        angles = range(0, 2π; length = 2001)[1:2000]
        z = [cos.(angles) sin.(angles)]'
        density = exp.(P.log_vmf(Matrix(z), repeat([1.0, 0.0], 1, 2000), fill(30.0, 2000)))
        @test sum(density) * 2π / 2000 ≈ 1
    end

    @testset "sphere" begin
        mu, z = sphere(rng, 4, 20), randn(rng, 4, 20)
        e1 = [1.0; zeros(3)]
        @test P.householder(repeat(e1, 1, 20), mu) ≈ mu
        @test P.householder(P.householder(z, mu), mu) ≈ z
        @test P.householder(z[:, 1:1], reshape(e1, 4, 1)) == z[:, 1:1]
        frame = P.tangent_frame([mu e1 -e1])
        @test all(frame[:, :, i]' * frame[:, :, i] ≈ I for i in 1:22)
        @test maximum(maximum(abs, frame[:, :, i]' * mu[:, i]) for i in 1:20) < 1e-15
    end

    @testset "both routes of the Jacobians, and differences" begin
        model = small()
        z, x = sphere(rng, 3, 300), randn(rng, 7, 300)
        for convention in (EXACT, ORIGINAL)
            decoder = P.jacobian_decoder(model, z; convention = convention)
            @test decoder ≈ P.jacobian_decoder(model, z; convention = convention, route = :loop)
            encoder = P.jacobian_encoder(model, x; convention = convention)
            @test encoder ≈ P.jacobian_encoder(model, x; convention = convention, route = :loop)
            @test P.log_volume_decoder(model, z; convention = convention) ≈
                  P.log_volume_decoder(model, z; convention = convention, route = :loop)
        end
        @test P.log_volume_encoder(model, x) ≈ P.log_volume_encoder(model, x; route = :loop)
        ambient, h = P.jacobian_decoder(model, z; convention = ORIGINAL), 1e-6
        for j in 1:3
            step = h .* ((1:3) .== j)
            @test ambient[:, j, :] ≈ (P.decode(model, z .+ step) .- P.decode(model, z .- step)) ./ 2h rtol = 1e-7
        end
        # Restricting to the tangent space: log det(TᵀGT) = log det G + log(zᵀG⁻¹z).
        G = [ambient[:, :, i]' * ambient[:, :, i] for i in 1:5]
        expected = [(logdet(G[i]) + log(z[:, i]' * (G[i] \ z[:, i]))) / 2 for i in 1:5]
        @test P.log_volume_decoder(model, z[:, 1:5]) ≈ expected
    end

    @testset "log-volume" begin
        J = randn(rng, 8, 3, 10)
        @test P.log_volume(J) ≈ P.log_volume(J; route = :loop)
        @test P.log_volume(2 .* J) ≈ P.log_volume(J) .+ 3log(2)
        @test P.log_volume(permutedims(J, (2, 1, 3))) ≈ P.log_volume(J)
        Q = Matrix(qr(randn(rng, 8, 8)).Q)
        @test P.log_volume(cat((Q * J[:, :, i] for i in 1:10)...; dims = 3)) ≈ P.log_volume(J)
        J[:, 2, 4] .= 0
        volumes = @test_logs (:warn,) P.log_volume(J)
        @test volumes[4] == -Inf && all(isfinite, volumes[[1:3; 5:10]])
    end

    @testset "gradient of the loss ($name)" for (name, convention) in (("exact", EXACT), ("eps", MACHINE))
        model, x = small(), randn(rng, 7, 20)
        draws = P.draw_prior(rng, model, 20)
        gradient = P.wloss_gradient(model, x, draws, 2.0, 0.3; convention = convention)
        f() = P.wloss(model, x, draws, 2.0, 0.3; convention = convention)
        for (array, g) in zip(P.parameters(model), P.parameters(gradient))
            @test worst_difference(f, array, g) < 1e-7
        end
        last_ = P.Convention(pseudo_input_gradient = :last, norm_eps = convention.norm_eps)
        other = P.wloss_gradient(model, x, draws, 2.0, 0.3; convention = last_)
        @test other.encoder[1].W == gradient.encoder[1].W && other.pseudo_inputs != gradient.pseudo_inputs
    end

    @testset "training descends" begin
        model, x = small(), randn(rng, 7, 50)
        state = P.Adam(model; rate = 1e-2)
        losses = [P.train_step!(model, state, x, P.draw_prior(rng, model, 50), 0.1, 0.1)[1] for _ in 1:60]
        @test sum(losses[51:60]) < 0.9 * sum(losses[1:10])
    end

    @testset "sampling" begin
        mu = repeat(sphere(rng, 4, 1), 1, 20_000)
        z = P.sample_vmf(rng, mu, fill(9.0, 20_000))
        @test vec(sum(abs2, z; dims = 1)) ≈ ones(20_000)
        @test sum(z .* mu) / 20_000 ≈ P.bessel_ratio(1, 9.0) atol = 0.01
    end

    @testset "maximum mean discrepancy" begin
        x, y = sphere(rng, 3, 300), sphere(rng, 3, 290)
        K(a, b) = 0.2 ./ (0.2 .+ max.(1 .- a' * b, 0))
        off = sum(K(x, x)) - tr(K(x, x))
        @test P.imq_kernel_mean(x, 0.2) ≈ off / (300 * 299)
        @test P.imq_kernel_mean(x, y, 0.2) ≈ sum(K(x, y)) / (300 * 290)
        @test P.mmd_imq(x, y, 0.2) ≈ P.mmd_imq(y, x, 0.2)
        @test P.mmd(x, y; width = 0.2) ≈ P.mmd_imq(x, y, 0.2)   # exact convention: one estimator
    end

    @testset "projection and Laplace" begin
        model, codes = small(), sphere(rng, 3, 10)
        x = P.decode(model, codes)
        z, gradients, _ = P.project(model, x, P.normalize(codes .+ 0.05 .* randn(rng, 3, 10)))
        @test maximum(gradients) < 1e-10
        @test vec(sum(abs2, z; dims = 1)) ≈ ones(10)
        @test P.decode(model, z) ≈ x atol = 1e-6
        @test P.log_laplace([0.0], reshape([2.0 0; 0 3], 2, 2, 1)) ≈ [log(2π) - log(6) / 2]
    end

    @testset "area under the curve" begin
        @test P.roc_auc([1, 2, 3, 4], [0, 0, 1, 1]) == 1
        @test P.roc_auc([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5
        @test P.roc_auc([1, 2, 2, 3], [0, 0, 1, 1]) == 0.875
        @test_throws ArgumentError P.roc_auc([1, 2], [1, 1])
        @test_throws ArgumentError P.roc_auc([1, NaN], [0, 1])
    end

    @testset "Float32 follows Float64" begin
        model32 = small(Float32)
        model64 = SVAE((map(l -> Dense(Float64.(l.W), Float64.(l.b), l.σ), ls) for ls in (model32.encoder,))...,
                       Dense(Float64.(model32.mu_head.W), Float64.(model32.mu_head.b)),
                       Dense(Float64.(model32.kappa_head.W), Float64.(model32.kappa_head.b)),
                       map(l -> Dense(Float64.(l.W), Float64.(l.b), l.σ), model32.decoder), Float64.(model32.pseudo_inputs))
        x = randn(rng, Float32, 7, 40)
        z = P.encode(model32, x)[1]
        for (a, b) in ((P.encode(model32, x)[1], P.encode(model64, Float64.(x))[1]),
                       (P.decode(model32, z), P.decode(model64, Float64.(z))),
                       (P.log_prior(model32, z), P.log_prior(model64, Float64.(z))),
                       (P.log_prior_jacobian_decoder(model32, z), P.log_prior_jacobian_decoder(model64, Float64.(z))),
                       (P.log_prior_jacobian_encoder(model32, x), P.log_prior_jacobian_encoder(model64, Float64.(x))))
            @test eltype(a) === Float32
            @test a ≈ b rtol = 1e-4
        end
    end

    @testset "types are inferred ($T)" for T in (Float32, Float64)
        model, x, z = small(T), randn(rng, T, 7, 9), P.normalize(randn(rng, T, 3, 9))
        draws = P.draw_prior(rng, model, 9)
        mu_u, kappa_u = @inferred P.encode(model, model.pseudo_inputs)
        @inferred P.decode(model, z)
        @inferred P.normalize(z)
        @inferred P.householder(z, z)
        @inferred P.tangent_frame(z)
        @inferred P.log_likelihood(x, x)
        @inferred P.log_prior(z, mu_u, kappa_u)
        @inferred P.log_vmf(z, z, fill(T(3), 9))
        @inferred P.vmf_entropy(T(3), 4)
        @inferred P.jacobian_decoder(model, z)
        @inferred P.jacobian_encoder(model, x)
        @inferred P.log_volume(randn(rng, T, 5, 3, 2))
        @inferred P.log_volume_decoder(model, z)
        @inferred P.log_volume_encoder(model, x)
        @inferred P.log_prior_jacobian_decoder(model, z)
        @inferred P.log_prior_jacobian_encoder(model, x)
        @inferred P.log_importance(model, x, randn(rng, T, 3, 5, 9))
        @inferred P.mmd_imq(z, z, 0.1)
        @inferred P.sample_prior(model, draws)
        @inferred P.wloss(model, x, draws, 1.0, 0.1)
        @inferred P.wloss_gradient(model, x, draws, 1.0, 0.1)
        @inferred P.train_step!(model, P.Adam(model), x, draws, 1.0, 0.1)
        @inferred P.posterior_hessian(model, x, z)
    end

    @testset "the original's names" begin
        m = SVAEvampmeans(7, 12, 3, 3, "swish", "Dense", 4)
        x = randn(rng, Float32, 7, 6)
        μ, κ = zparams(m, x)
        @test size(κ) == (1, 6) && eltype(μ) === Float32
        @test zparams(m, x[:, 2])[1] ≈ μ[:, 2]
        @test size(m.q(x)) == (12, 6) && size(m.g(μ[:, 1])) == (7,)
        @test log_pz(m, x)[3] ≈ log_pz(m, x[:, 3])
        @test log_pz_jacobian_decoder(m, μ)[2] ≈ log_pz_jacobian_decoder(m, μ[:, 2])
        J = jacobian_decoder(m, μ[:, 2])
        @test log_pz_jacobian_decoder(m, μ[:, 2]) ≈ log_pz_from_z(m, μ[:, 2]) - 2sum(log, svdvals(J)) rtol = 1e-4
        @test size(log_pxexpectedz(m, x)) == (1, 6) && length(log_px(m, x)) == 6
        @test size(sampleVamp(m, 8)) == (3, 8) && size(samplez(m, μ, κ)) == (3, 6)
        @test wloss(m, x, 0.0, (a, b) -> mmd_imq(a, b, 0.1)) ≈ sum(abs2, x .- m.g(μ)) / length(x)
        @test k_imq([1.0, 2.0], 0.1) == 0
        @test log_vmf_c(μ, μ, 3f0)[2] ≈ log_vmf_c(μ[:, 2], μ[:, 2], 3f0)
        @test length(correctedjacodeco(m, x, μ)) == 6 && size(manifoldz(m, x, 5)) == (3, 6)
        M = Original.IPMeasures
        @test M.mmd(M.IMQKernel(0.1), μ, μ, M.pairwisel2) isa Real
        @test M.crit_mmd2_var(M.IMQKernel(0.1), μ, μ, M.pairwisecos) isa Float64
    end
end
