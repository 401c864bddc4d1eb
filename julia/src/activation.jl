# Activations: the same nine as in pyscore/reference/network.py, each with its first two derivatives.

"""
    Activation

The elementwise function after a `Dense` layer: `Swish()`, `Relu()`, `LeakyRelu()` (slope 0.01), `Elu()`, `Gelu()` (with
the normal distribution function, not its tanh approximation), `Tanh()`, `Sigmoid()`, `Softplus()`, `Identity()`. At a
kink the derivatives are those from the left.
"""
abstract type Activation end
struct Swish <: Activation end
struct Relu <: Activation end
struct LeakyRelu <: Activation end
struct Elu <: Activation end
struct Gelu <: Activation end
struct Tanh <: Activation end
struct Sigmoid <: Activation end
struct Softplus <: Activation end
struct Identity <: Activation end

"""pyscore's name => activation."""
const ACTIVATIONS = (swish = Swish(), relu = Relu(), leaky_relu = LeakyRelu(), elu = Elu(), gelu = Gelu(),
                     tanh = Tanh(), sigmoid = Sigmoid(), softplus = Softplus(), identity = Identity())

"""
    activation(name)

The activation of that name; an activation is returned as it is.
"""
activation(σ::Activation) = σ
function activation(name::Union{Symbol,AbstractString})
    haskey(ACTIVATIONS, Symbol(name)) || throw(ArgumentError(
        "`activation` must be one of $(join(keys(ACTIVATIONS), ", ")); got $(repr(name))."))
    ACTIVATIONS[Symbol(name)]
end

# Real, not AbstractFloat: Zygote sends dual numbers through broadcasts.
sigmoid(a::Real) = one(a) / (one(a) + exp(-a))

"""Φ(a) of the standard normal distribution, to rounding in both tails."""
normal_cdf(a::T) where {T<:AbstractFloat} =
    T(ccall((:erfc, Base.libm_name), Float64, (Float64,), -Float64(a) / sqrt(2.0)) / 2)
normal_density(a::AbstractFloat) = exp(-a * a / 2) / sqrt(oftype(a, 2π))

"""
    value_and_slope(σ, a)

(σ(a), σ′(a)). For swish the derivative is s + y(1 − s) with s = sigmoid(a) and y = a·s, so one exponential gives both.
"""
@inline function value_and_slope(::Swish, a::AbstractFloat)
    s = sigmoid(a)
    y = a * s
    y, s + y * (one(a) - s)
end
@inline value_and_slope(::Relu, a::AbstractFloat) = a > 0 ? (a, one(a)) : (zero(a), zero(a))
@inline value_and_slope(::LeakyRelu, a::T) where {T<:AbstractFloat} = a > 0 ? (a, one(T)) : (T(0.01) * a, T(0.01))
@inline value_and_slope(::Elu, a::AbstractFloat) = a > 0 ? (a, one(a)) : (expm1(a), exp(a))
@inline function value_and_slope(::Gelu, a::AbstractFloat)
    below = normal_cdf(a)
    a * below, below + a * normal_density(a)
end
@inline function value_and_slope(::Tanh, a::AbstractFloat)
    # 1/cosh² is accurate where 1 − tanh² cancels.
    e = exp(-2abs(a))
    tanh(a), 4e / (1 + e)^2
end
@inline function value_and_slope(::Sigmoid, a::AbstractFloat)
    e = exp(-abs(a))
    sigmoid(a), e / (1 + e)^2
end
@inline value_and_slope(::Softplus, a::AbstractFloat) = max(a, zero(a)) + log1p(exp(-abs(a))), sigmoid(a)
@inline value_and_slope(::Identity, a::AbstractFloat) = a, one(a)

"""σ(a)."""
@inline value(σ::Activation, a::AbstractFloat) = first(value_and_slope(σ, a))

"""σ″(a)."""
@inline function bend(::Swish, a::AbstractFloat)
    s = sigmoid(a)
    s * (1 - s) * (2 + a * (1 - 2s))
end
@inline bend(::Union{Relu,LeakyRelu,Identity}, a::AbstractFloat) = zero(a)
@inline bend(::Elu, a::AbstractFloat) = a > 0 ? zero(a) : exp(a)
@inline bend(::Gelu, a::AbstractFloat) = (2 - a * a) * normal_density(a)
@inline bend(σ::Tanh, a::AbstractFloat) = -2 * tanh(a) * last(value_and_slope(σ, a))
@inline bend(σ::Sigmoid, a::AbstractFloat) = last(value_and_slope(σ, a)) * (1 - 2 * sigmoid(a))
@inline bend(::Softplus, a::AbstractFloat) = last(value_and_slope(Sigmoid(), a))

"""h ← σ(h + b), column by column, in place."""
function activate!(σ::Activation, h::Matrix{T}, b::Vector{T}) where {T}
    @inbounds for i in axes(h, 2), l in axes(h, 1)
        h[l, i] = value(σ, h[l, i] + b[l])
    end
    h
end

"""h ← σ(h + b), column by column, in place; returns σ′(h + b)."""
function activate_with_slope!(σ::Activation, h::Matrix{T}, b::Vector{T}) where {T}
    slope = similar(h)
    @inbounds for i in axes(h, 2), l in axes(h, 1)
        h[l, i], slope[l, i] = value_and_slope(σ, h[l, i] + b[l])
    end
    slope
end
