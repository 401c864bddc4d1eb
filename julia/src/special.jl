# log Γ and the modified Bessel function, which the standard library lacks.
# Everything here is Float64; Float32 callers round the result.

"""
    loggamma(x)

log Γ(x) for x > 0. For integers and half-integers up to 30, as spheres need them, it is the logarithm of a product
that starts at Γ(1) = 1 or Γ(½) = √π. Other x use Stirling's series above 10, and Γ(x) = Γ(x+m)/(x(x+1)…(x+m−1)) below.
Absolute error about 2e-15·max(1, |log Γ|).
"""
function loggamma(x::Real)
    x > 0 || throw(DomainError(x, "loggamma needs a positive argument."))
    y = Float64(x)
    if y <= 30.0 && isinteger(2y)
        first_ = isinteger(y) ? 1.0 : 0.5
        product = prod(first_:1.0:y-1.0)                 # 1 when empty
        return log(isinteger(y) ? product : sqrt(π) * product)
    end
    product = 1.0
    while y < 10.0
        product *= y
        y += 1.0
    end
    w = 1.0 / (y * y)
    # B₂ₙ/(2n(2n−1)) for n = 1…8; the first term left out is below 2e-17 at y = 10.
    tail = evalpoly(w, (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400))
    (y - 0.5) * log(y) - y + 0.5 * log(2π) + tail / y - log(product)
end

"""
    use_asymptotics(nu, kappa)

True where Hankel's expansion of I_ν(κ) reaches full precision: κ above 50 and above ν².
"""
use_asymptotics(nu::Float64, kappa::Float64) = kappa > max(50.0, nu * nu)

"""
    hankel_sum(nu, kappa)

√(2πκ) e^(−κ) I_ν(κ) = Σ_j (−1)^j a_j(ν)/κ^j (DLMF 10.40.1), for `use_asymptotics(nu, kappa)`.
"""
function hankel_sum(nu::Float64, kappa::Float64)
    total, term, j = 1.0, 1.0, 1
    while j < 200
        next = -term * (4nu * nu - (2j - 1)^2) / (8j * kappa)
        # The series diverges eventually: stop at the smallest term, or when the sum no longer changes.
        (abs(next) >= abs(term) && 2j - 1 > 2nu) && break
        term = next
        total += term
        abs(term) < 1e-18 * abs(total) && break
        j += 1
    end
    total
end

"""
    log_0f1(nu, kappa)

log Σ_j (κ²/4)^j / (j! (ν+1)_j), so that I_ν(κ) = (κ/2)^ν / Γ(ν+1) · exp(log_0f1). It is 0 at κ = 0,
so a density near κ = 0 can use it without a pole. All terms are positive, so nothing cancels.
Error about 1e-15·max(1, κ), for ν from 0 to 100 and κ from 0 to 1e5.
"""
function log_0f1(nu::Real, kappa::Real)
    v, k = Float64(nu), Float64(kappa)
    if use_asymptotics(v, k)
        return k - 0.5 * log(2π * k) + log(hankel_sum(v, k)) - v * log(0.5k) + loggamma(v + 1)
    end
    q = 0.25 * k * k
    total, term, scale = 0.0, 1.0, 0.0   # the term j = 0 is left out, for log1p at small κ
    j = 1
    while true
        term *= q / (j * (j + v))
        total += term
        # Terms grow while j(j+ν) < q; stop when they are small and falling.
        term < 1e-17 * total && j * (j + v) > q && break
        if total > 1e250
            total *= 1e-250
            term *= 1e-250
            scale += log(1e250)
        end
        (term == 0.0 || isnan(term)) && break
        j += 1
    end
    scale == 0.0 ? log1p(total) : scale + log(total)
end

"""
    log_bessel(nu, kappa)

log I_ν(κ) for κ > 0.
"""
log_bessel(nu::Real, kappa::Real) = nu * log(0.5 * Float64(kappa)) - loggamma(nu + 1) + log_0f1(nu, kappa)

"""
    bessel_ratio(nu, kappa)

I_{ν+1}(κ)/I_ν(κ): the mean resultant length of a vMF distribution in 2ν+2 dimensions. Gauss's continued
fraction 1/(2(ν+1)/κ + 1/(2(ν+2)/κ + …)) is evaluated from its far end inwards, where each step damps earlier errors.
Hankel's expansion is used where κ is large.
"""
function bessel_ratio(nu::Real, kappa::Real)
    v, k = Float64(nu), Float64(kappa)
    k == 0.0 && return 0.0
    use_asymptotics(v + 1, k) && return hankel_sum(v + 1, k) / hankel_sum(v, k)
    # The error of stopping at step j is multiplied by the product of r² with r = 1/(y + √(1+y²)), y = (ν+j)/κ.
    steps, reach = 1, 1.0
    while reach > 1e-9
        y = (v + steps) / k
        reach /= y + sqrt(1.0 + y * y)
        steps += 1
    end
    ratio = 0.0
    for j in steps:-1:1
        ratio = 1.0 / (2(v + j) / k + ratio)
    end
    ratio
end
