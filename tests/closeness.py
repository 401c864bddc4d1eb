"""Closeness as k·eps(dtype)·scale, with a message that says where and by how much."""

import numpy as np

from pyscore.backends.tolerance import error_in_eps, record


def assert_close(got, want, k, scale=1.0, dtype=np.float64, what=""):
    """Fail if any error is above k·eps(dtype)·scale, naming the worst place."""
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
    return float(error.max()) if error.size else 0.0
