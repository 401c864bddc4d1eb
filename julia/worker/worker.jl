# Starts the worker; pyscore/backends/julia_.py runs it as
#   julia --project=<this package> worker.jl READ_FD WRITE_FD PID IDLE
# with two pipes of its own, its process id, and the seconds after which an idle worker ends. Standard output is not part of
# the protocol, so any code may print.

using PyScore

PyScore.Worker.serve(parse.(Int, ARGS[1:3])...; idle = parse(Float64, ARGS[4]))
