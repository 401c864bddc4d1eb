# The worker's loop: it reads calls from one pipe and writes answers to another until pyscore closes the pipe.

module Worker

using LinearAlgebra: BLAS
using Logging: Logging, AbstractLogger, Info, Warn, with_logger
using ..PyScore: PyScore, Convention, Dense, EXACT, Original, Philox, SVAE

include("wire.jl")
include("original.jl")
include("exposed.jl")

"""Collects the warnings of a call, which pyscore then issues, and sends progress and messages immediately."""
struct Collector <: AbstractLogger
    messages::Vector{String}
    send::Function
end
# Progress is logged just below Info, with the keyword `progress`, as ProgressLogging.jl does.
Logging.min_enabled_level(::Collector) = PyScore.PROGRESS_LEVEL
Logging.shouldlog(::Collector, arguments...) = true
Logging.catch_exceptions(::Collector) = false
function Logging.handle_message(c::Collector, level, message, arguments...; samples = nothing, progress = nothing,
                                keywords...)
    if progress isa Real
        c.send(string(message), Float64(progress))
    elseif level >= Warn
        push!(c.messages, samples === nothing ? string(message) : string(message, rows(samples)))
    elseif level >= Info
        c.send(string(message), NaN)
    end
end

"""The first samples as text, counted from 0 as in Python."""
rows(samples) = string(" (rows ", join(samples[1:min(5, end)] .- 1, ", "), length(samples) > 5 ? ", …)" : ")")

resolve(value, models) = value
resolve(token::ModelToken, models) = models[token.token]
resolve(values::Tuple, models) = map(value -> resolve(value, models), values)

"""Keywords of a call: the convention arrives as a dictionary of its fields."""
function keywords(dictionary::Dict{Symbol,Any})
    named = Pair{Symbol,Any}[]
    for (name, value) in dictionary
        push!(named, name => name === :convention ? convention(value) : value)
    end
    named
end
convention(fields::Dict{Symbol,Any}) =
    Convention(; (name => value isa AbstractString ? Symbol(value) : value for (name, value) in fields)...)

"""Compute one call; return the kind and the value of the answer. An exception becomes an answer of kind E."""
function answer((name, positional, named), models::Dict{String,Any}, send::Function = (text, part) -> nothing)
    warnings = String[]
    try
        result = with_logger(Collector(warnings, send)) do
            name == "put_model" && return put_model(models, positional...)
            name == "forget_model" && return (pop!(models, positional[1], nothing); nothing)
            haskey(EXPOSED, name) || throw(ArgumentError("the Julia worker has no function `$name`."))
            Base.invokelatest(EXPOSED[name], resolve(positional, models)...; keywords(named)...)
        end
        return 'R', (result, Tuple(warnings))
    catch exception
        exception isa InterruptException && rethrow()
        trace = sprint(Base.show_backtrace, catch_backtrace())
        return 'E', (string(typeof(exception)), sprint(showerror, exception), trace)
    end
end

"""Ask Linux to kill this process when the thread that started it ends, even during a computation."""
function die_with_parent(parent::Integer)
    Sys.islinux() || return
    PR_SET_PDEATHSIG, SIGKILL = 1, 9
    ccall(:prctl, Cint, (Cint, Culong, Culong, Culong, Culong), PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    # The parent may have gone before the request was made.
    ccall(:getppid, Cint, ()) == parent || exit(0)
end

"""
    serve(input, output, parent; idle = Inf)

Send the versions, then answer calls from file descriptor `input` on `output` until pyscore closes the pipe, or until there
was no call for `idle` seconds. `parent` is the process id of pyscore.
"""
function serve(input::Integer, output::Integer, parent::Integer; idle::Real = Inf)
    die_with_parent(parent)
    # Blocks of samples use the threads; BLAS must not start further ones.
    Threads.nthreads() > 1 && BLAS.set_num_threads(1)
    read_fd, write_fd, models = Cint(input), Cint(output), Dict{String,Any}()
    send(text::String, part::Float64) = writeframe(write_fd, 'P', (text, part))
    try
        writeframe(write_fd, 'R', ((string(VERSION), "PyScore"), ()))
        while true
            waitfor(read_fd, idle)
            kind, call = readframe(read_fd)
            kind == 'C' || error("bad frame: kind $(repr(kind)) is no call")
            writeframe(write_fd, 'B', nothing)
            reply = answer(call, models, send)
            flush(stdout)   # so that pyscore finds it if this process dies later
            writeframe(write_fd, reply...)
        end
    catch exception
        exception isa Hangup || rethrow()
    end
end

# Type inference at precompilation makes each start half a second faster.
precompile(serve, (Int, Int, Int))
precompile(readframe, (Cint,))
precompile(answer, (Tuple{String,Tuple,Dict{Symbol,Any}}, Dict{String,Any}, Function))
for value in (Nothing, String, Bool, Int, Float64, Vector{Float64}, Matrix{Float64}, Array{Float64,3}, Tuple)
    precompile(putvalue, (IOBuffer, Vector{Array}, value))
end

end
