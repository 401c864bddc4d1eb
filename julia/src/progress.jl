# Progress of long computations, logged as ProgressLogging.jl does: at a level just below Info, with the keyword
# `progress`. A plain Julia session does not show it. The worker sends it to Python.

const PROGRESS_LEVEL = Logging.LogLevel(-1)
const last_progress = Ref(0.0)

"""
    progress(what, done, total; seconds = 1)

Log that `done` of `total` are done, at most once in `seconds` seconds. Call it from one thread only.
"""
function progress(what::String, done::Integer, total::Integer; seconds::Real = 1)
    now = time()
    done == 1 && (last_progress[] = now)
    (now - last_progress[] < seconds) && return
    last_progress[] = now
    Logging.@logmsg PROGRESS_LEVEL what progress = done / total
    nothing
end
