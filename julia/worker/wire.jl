# The wire format between pyscore and its worker; pyscore/backends/_julia_wire.py is the Python side.
#
# A frame is "PYSC", the length of its header (UInt32), the header, then the bytes of its arrays in order.
# Everything is little-endian. A header is a kind (one byte) and tagged values:
#   n nothing | b Bool | i Int64 | f Float64 | s string | m model (its token, a string)
#   t tuple: UInt32 count, values | d dictionary: UInt32 count, (string, value) pairs
#   a array: element type (one byte: f Float32, d Float64, l Int64), number of axes (one byte), UInt64 lengths
# A string is a UInt32 length and UTF-8. Lengths of axes are in Julia's order: the (n, d) array that Python holds in
# C order is the (d, n) array of Julia, byte for byte.
#
# Kinds: C call (name, positional values as a tuple, keywords as a dictionary) → B begun, any number of P progress
# (text, part done; NaN for a message), then R result (value, tuple of warnings) or E error (type, message, backtrace).

const MAGIC = UInt32(0x43535950)   # "PYSC"
const ELEMENTS = Dict{UInt8,DataType}(UInt8('f') => Float32, UInt8('d') => Float64, UInt8('l') => Int64)

"""A model named by its token; `resolve` replaces it by the model that `put_model` stored."""
struct ModelToken
    token::String
end

"""Thrown when pyscore has closed its end of the pipe; the worker then ends."""
struct Hangup <: Exception end

"""Read exactly `count` bytes from the file descriptor `fd` to `target`. It blocks, since the worker has nothing else to do."""
function readbytes(fd::Cint, target::Ptr{UInt8}, count::Integer)
    done = 0
    while done < count
        got = ccall(:read, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), fd, target + done, count - done)
        got == 0 && throw(Hangup())
        if got < 0
            Libc.errno() == Libc.EINTR && continue
            throw(SystemError("read from pyscore", Libc.errno()))
        end
        done += got
    end
end

struct PollRequest
    fd::Cint
    events::Cshort
    answered::Cshort
end

"""Wait until `fd` can be read; throw `Hangup` after `seconds` without input."""
function waitfor(fd::Cint, seconds::Real)
    POLLIN = Cshort(1)
    stop = time() + seconds
    while true
        request = Ref(PollRequest(fd, POLLIN, Cshort(0)))
        milliseconds = clamp(1000 * (stop - time()), 0, 1e9)
        ready = ccall(:poll, Cint, (Ref{PollRequest}, Culong, Cint), request, 1, ceil(Cint, milliseconds))
        ready > 0 && return
        ready < 0 && Libc.errno() != Libc.EINTR && throw(SystemError("poll of pyscore's pipe", Libc.errno()))
        time() >= stop && throw(Hangup())
    end
end

function writebytes(fd::Cint, source::Ptr{UInt8}, count::Integer)
    done = 0
    while done < count
        put = ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), fd, source + done, count - done)
        if put < 0
            Libc.errno() == Libc.EINTR && continue
            Libc.errno() == Libc.EPIPE && throw(Hangup())
            throw(SystemError("write to pyscore", Libc.errno()))
        end
        done += put
    end
end

function readframe(fd::Cint)
    prefix = Vector{UInt32}(undef, 2)
    GC.@preserve prefix readbytes(fd, Ptr{UInt8}(pointer(prefix)), 8)
    prefix[1] == MAGIC || error("bad frame: it begins with $(repr(prefix[1]))")
    header = Vector{UInt8}(undef, prefix[2])
    GC.@preserve header readbytes(fd, pointer(header), length(header))
    io = IOBuffer(header)
    kind = Char(read(io, UInt8))
    arrays = Array[]
    value = getvalue(io, arrays)
    for array in arrays
        GC.@preserve array readbytes(fd, Ptr{UInt8}(pointer(array)), sizeof(array))
    end
    kind, value
end

getstring(io::IO) = String(read(io, read(io, UInt32)))

"""Read the next value of a header. Arrays are allocated and appended to `arrays`; the payload fills them later."""
function getvalue(io::IO, arrays::Vector{Array})
    tag = Char(read(io, UInt8))
    tag == 'n' && return nothing
    tag == 'b' && return read(io, UInt8) != 0
    tag == 'i' && return read(io, Int64)
    tag == 'f' && return read(io, Float64)
    tag == 's' && return getstring(io)
    tag == 'm' && return ModelToken(getstring(io))
    tag == 't' && return ntuple(_ -> getvalue(io, arrays), Int(read(io, UInt32)))
    tag == 'd' && return Dict{Symbol,Any}(Symbol(getstring(io)) => getvalue(io, arrays) for _ in 1:read(io, UInt32))
    tag == 'a' || error("bad frame: unknown tag $(repr(tag))")
    element = ELEMENTS[read(io, UInt8)]
    lengths = ntuple(_ -> Int(read(io, UInt64)), Int(read(io, UInt8)))
    array = Array{element}(undef, lengths)
    push!(arrays, array)
    array
end

function writeframe(fd::Cint, kind::Char, value)
    io, arrays = IOBuffer(), Array[]
    write(io, MAGIC, UInt32(0), UInt8(kind))
    putvalue(io, arrays, value)
    header = take!(io)
    GC.@preserve header begin
        unsafe_store!(Ptr{UInt32}(pointer(header) + 4), UInt32(length(header) - 8))
        writebytes(fd, pointer(header), length(header))
    end
    for array in arrays
        GC.@preserve array writebytes(fd, Ptr{UInt8}(pointer(array)), sizeof(array))
    end
end

putstring(io::IO, text::AbstractString) = write(io, UInt32(sizeof(text)), String(text))

putvalue(io::IO, ::Vector{Array}, ::Nothing) = write(io, 'n')
putvalue(io::IO, ::Vector{Array}, value::Bool) = write(io, 'b', UInt8(value))
putvalue(io::IO, ::Vector{Array}, value::Integer) = write(io, 'i', Int64(value))
putvalue(io::IO, ::Vector{Array}, value::AbstractFloat) = write(io, 'f', Float64(value))
putvalue(io::IO, ::Vector{Array}, value::AbstractString) = (write(io, 's'); putstring(io, value))
function putvalue(io::IO, arrays::Vector{Array}, value::Tuple)
    write(io, 't', UInt32(length(value)))
    foreach(item -> putvalue(io, arrays, item), value)
end
function putvalue(io::IO, arrays::Vector{Array}, value::Array{T}) where {T<:Union{Float32,Float64,Int64}}
    code = T === Float32 ? 'f' : T === Float64 ? 'd' : 'l'
    write(io, 'a', code, UInt8(ndims(value)))
    foreach(n -> write(io, UInt64(n)), size(value))
    push!(arrays, value)
end
putvalue(io::IO, arrays::Vector{Array}, value::AbstractArray{<:Integer}) = putvalue(io, arrays, Array{Int64}(value))
putvalue(io::IO, arrays::Vector{Array}, value::AbstractArray{T}) where {T<:AbstractFloat} =
    putvalue(io, arrays, Array{T}(value))
