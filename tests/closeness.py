"""Closeness as k·eps(dtype)·scale, with a message that says where and by how much."""

import numpy as np

from pyscore.backends.contract import DRAWS
from pyscore.backends.stochastic import K, scale_of
from pyscore.backends.tolerance import error_in_eps, record

PLANTED = 4.0
"""An error of so many times what is allowed must be seen by every comparison."""


def assert_close(got, want, k, scale=1.0, dtype=np.float64, what=""):
    """Fail if any error is above k·eps(dtype)·scale, naming the worst place, or if a planted error isn't seen."""
    assert np.shape(got) == np.shape(want), f"{what}: shape {np.shape(got)}, wanted {np.shape(want)}"
    error = error_in_eps(got, want, scale, dtype)
    record(what, float(error.max(initial=0)), k)
    if error.size and error.max() > k:
        place = np.unravel_index(np.argmax(error), error.shape)
        raise AssertionError(
            f"{what}: {error.max():.3g} eps·scale at {tuple(map(int, place))}, allowed {k}; "
            f"got {np.asarray(got)[place]!r}, wanted {np.asarray(want)[place]!r}; "
            f"{int((error > k).sum())} of {error.size} beyond"
        )
    if error.size:
        assert error_in_eps(planted(got, want, k, scale, dtype), want, scale, dtype).max() > k, (
            f"{what}: an error of {PLANTED} times the allowed one passes"
        )
    return float(error.max()) if error.size else 0.0


def planted(got, want, k, scale, dtype):
    """`got` with an error of PLANTED times the allowed one at the place with the loosest finite bound.

    Where nothing finite is wanted anywhere, the error is a number in the place of the first NaN or infinity.
    """
    wrong = np.array(got, np.float64)
    allowed = np.broadcast_to(k * np.finfo(dtype).eps * np.asarray(scale, np.float64), wrong.shape)
    usable = np.where(np.isfinite(allowed) & np.isfinite(wrong) & np.isfinite(want), allowed, -1.0)
    place = np.unravel_index(np.argmax(usable), wrong.shape)
    step = PLANTED * usable[place]
    if usable[place] >= 0:  # no less than what float64 can hold beside the number
        wrong[place] += max(step, float(np.spacing(abs(wrong[place]))))
    elif not np.isfinite(want).any():
        wrong.flat[0] = 0.0
    return wrong


def assert_conditioned(got, want, evaluate, arguments, dtype=np.float64, what="", draws=DRAWS):
    """Fail if any error is above K times the spread of `evaluate(*arguments)` under random rounding to dtype.

    With want=None the wanted is the float64 value of `evaluate` itself, on arguments as they are in dtype.
    """
    if want is None:
        wide = (
            a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arguments
        )
        want = evaluate(*wide)
    return assert_close(got, want, K, scale_of(evaluate, arguments, dtype, draws=draws), dtype, what)
