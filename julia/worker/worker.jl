# Starts the worker; pyscore/backends/julia_.py runs it as
#   julia --project=<this package> worker.jl READ_FD WRITE_FD PID
# with two pipes of its own and its process id. Standard output is no part of the protocol: anything may print.

using PyScore

PyScore.Worker.serve(parse.(Int, ARGS)...)
