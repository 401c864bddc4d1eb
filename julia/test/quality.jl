# Checks of Aqua.jl that also run on Julia 1.5: ambiguous methods, unbound type parameters, type piracy.

using PyScore, Test

"""Every method of the package's own functions and those that it adds to others', by module."""
function methods_of(M::Module, found = Method[], seen = Set{Module}())
    M in seen && return found
    push!(seen, M)
    for name in names(M; all = true)
        isdefined(M, name) || continue
        value = getfield(M, name)
        if value isa Module && parentmodule(value) === M && value !== M
            methods_of(value, found, seen)
        elseif value isa Function || value isa Type
            append!(found, filter(m -> Base.moduleroot(m.module) === PyScore, collect(methods(value))))
        end
    end
    unique!(found)
end

"""Whether a type, or a parameter of it, is one of the package's."""
ours(T::Type) = T isa UnionAll ? ours(Base.unwrap_unionall(T)) :
    T isa Union ? ours(T.a) && ours(T.b) :
    T isa DataType && (Base.moduleroot(T.name.module) === PyScore || any(p -> p isa Type && ours(p), T.parameters))
ours(V::TypeVar) = ours(V.ub)
ours(other) = false

@testset "quality" begin
    all_ = methods_of(PyScore)
    @test length(all_) > 150
    @test isempty(detect_ambiguities(PyScore, PyScore.Original, PyScore.Worker; recursive = true))
    @test isempty(detect_unbound_args(PyScore, PyScore.Original, PyScore.Worker; recursive = true))
    base = [m for T in (Base.getproperty, Base.show, Base.:(==), Base.length, Base.iterate) for m in methods(T)
            if Base.moduleroot(m.module) === PyScore]
    pirates = [m for m in base if !any(ours, Base.unwrap_unionall(m.sig).parameters[2:end])]
    @test pirates == []
end
