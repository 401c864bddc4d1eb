"""How far rounding may move a result: stochastic arithmetic on the float64 reference.

A comparison is good to k·eps·scale only if `scale` knows how the function magnifies rounding at these very inputs.
`spread` finds it out: the reference runs a few dozen times, and in each run every input and the result r of every
operation become r(1 + uξ), ξ uniform in [−1, 1] and u the unit roundoff of the type in question (in a sum, once a
term). The largest deviation, in units of eps, is the scale. It knows nothing of the machine that it runs on.

The idea is Parker's Monte Carlo arithmetic (1997) and CESTAC of Vignes (1993). Verificarlo and Verrou bring it to
compiled programs, noisefloat to a number class of its own; none goes through NumPy's matrix products and
decompositions, which is all that is needed here. `pyscore.backends.stochastic_torch` is the same for automatic
differentiation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from pyscore._core import arrays
from pyscore._core.checks import Array

__all__ = ["DRAWS", "K", "Noise", "Rounded", "rounding", "scale_of", "spread"]

K = 8.0
"""Allowed error in units of the spread, everywhere."""
DRAWS = 24
"""Runs whose largest deviation is the spread: all 24 are below half a standard deviation in 1 of 10¹⁰ cases."""
LONGEST = 128
"""Terms that are added one after another, at most."""

_EXACT = frozenset(
    {np.negative, np.positive, np.absolute, np.fabs, np.maximum, np.minimum, np.fmax, np.fmin, np.sign}
    | {np.copysign, np.ldexp, np.frexp, np.floor, np.ceil, np.rint, np.conjugate}
)  # fmt: skip


class Noise:
    """Random rounding to a type.

    Within an operation equal numbers round equally, as they do in any real arithmetic: the errors of a hundred
    copies of one row don't average out.

    Parameters
    ----------
    dtype : the floating type that is imitated
    seed : int or sequence of int
    """

    def __init__(self, dtype: Any, seed: int | Sequence[int]) -> None:
        info = np.finfo(dtype)
        self.unit = float(info.eps) / 2
        self.tiny, self.subnormal = float(info.smallest_normal), float(info.smallest_subnormal)
        self._keys = np.random.default_rng(seed)

    def uniform(self, a: Array) -> Array:
        """ξ of one operation: looked up by a hash of each entry's first 44 bits of mantissa, in [−1, 1)."""
        word = np.array(a, np.float64, order="C").view(np.uint64)
        word >>= np.uint64(8)
        word *= self._keys.integers(2**64, dtype=np.uint64) | np.uint64(1)
        word >>= np.uint64(64 - _BITS)
        return np.asarray(_UNIFORM[word.view(np.int64)]).reshape(np.shape(a))

    def relative(self, a: Array) -> Array:
        """Each entry a(1 + uξ); plus a subnormal number where the type would underflow.

        In float64 that is less than the distance to the next number, taken as often as is right on average.
        """
        if self.unit < np.finfo(np.float64).eps:
            gap = np.spacing(np.abs(a))
            with np.errstate(invalid="ignore"):
                moved = a + gap * np.floor(self.unit * a / gap * self.uniform(a) + 0.5 * (1 + self.uniform(a)))
        else:
            moved = a * (1 + self.unit * self.uniform(a))
        low = (a != 0) & (np.abs(a) < self.tiny)
        if low.any():
            moved = np.where(low, moved + self.subnormal * self.uniform(a), moved)
        return moved

    def summed(self, total: Array, squares: Array, terms: int) -> Array:
        """Return a sum of so many terms, each addition rounded; `squares` is the sum of the squared terms.

        There is a partial sum for each term, of the size of the total, or of √squares where it cancels. (Whatever
        adds more than 128 numbers here splits the sum: NumPy, torch, Julia and BLAS alike.)
        """
        size = np.sqrt(min(terms, LONGEST) / 3 * (total * total + squares))
        return total + self.unit * size * self.uniform(total)

    def normwise(self, a: Array) -> Array:
        """Each matrix A + u·max|A|·ξ: the backward error of a decomposition."""
        if a.ndim < 2 or a.size == 0:
            return self.relative(a)
        largest = np.max(np.abs(a), axis=(-2, -1), keepdims=True)
        return a + self.unit * largest * self.uniform(a)


_BITS = 12
_UNIFORM = np.random.default_rng(0).uniform(-1, 1, 1 << _BITS)

_noise: ContextVar[Noise | None] = ContextVar("_noise", default=None)


@contextlib.contextmanager
def rounding(noise: Noise) -> Iterator[Noise]:
    """Within it, operations on `Rounded` arrays round at random."""
    token = _noise.set(noise)
    try:
        yield noise
    finally:
        _noise.reset(token)


class Rounded(np.ndarray):
    """A float64 array each operation on which rounds at random, inside `rounding`."""

    def elementary(self, function: Callable[..., Array], *rest: Any) -> Any:
        """function(self, *rest) as one operation, good to a rounding of its result."""
        return _rounded(_moved(function(_plain(self), *rest)))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **keywords: Any) -> Any:
        """Run it on plain arrays, and move what comes out."""
        plain = [_plain(a) for a in inputs]
        if out is not None:
            keywords["out"] = tuple(map(_plain, out))
        result = getattr(ufunc, method)(*plain, **keywords)
        if result is None:
            return None
        results = result if isinstance(result, tuple) else (result,)
        if ufunc is np.matmul or (ufunc is np.add and method == "reduce"):
            results = (_sum_moved(ufunc, method, plain, keywords, results[0]),)
        elif ufunc not in _EXACT:
            results = tuple(map(_moved, results))
        if out is not None:
            for target, value in zip(keywords["out"], results, strict=True):
                target[...] = value
            return out[0] if len(out) == 1 else out
        return tuple(map(_rounded, results)) if isinstance(result, tuple) else _rounded(results[0])

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Run it; what decomposes or contracts matrices outside ufuncs has its inputs and outputs moved."""
        inside = function is not np.einsum and not function.__module__.startswith("numpy.linalg")
        if not inside:
            noise = _noise.get()
            if noise is not None:
                args = tuple(_rounded(noise.normwise(_plain(a))) if isinstance(a, Rounded) else a for a in args)
        result = super().__array_function__(function, types, args, kwargs)
        if isinstance(result, tuple):
            parts = [_rounded(r if inside else _moved(_plain(r))) for r in result]
            return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
        return _rounded(result if inside else _moved(_plain(result)))


arrays.KEPT.add(Rounded)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Rounded) else value


def _moved(value: Any) -> Any:
    noise = _noise.get()
    if noise is None or not isinstance(value, np.ndarray | np.floating) or value.dtype.kind != "f":
        return value
    return noise.relative(np.asarray(value))


def _sum_moved(ufunc: np.ufunc, method: str, inputs: list[Any], keywords: dict[str, Any], total: Any) -> Any:
    noise = _noise.get()
    if noise is None or np.asarray(total).dtype.kind != "f":
        return total
    options = {name: value for name, value in keywords.items() if name != "out"}
    squares = getattr(ufunc, method)(*(np.square(a) for a in inputs), **options)
    inputs = [np.asarray(a) for a in inputs]
    terms = inputs[0].shape[-1] if ufunc is np.matmul else inputs[0].size // max(np.size(total), 1)
    return noise.summed(np.asarray(total), squares, terms)


def _rounded(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.floating) and value.dtype.kind == "f":
        return np.asarray(value).view(Rounded)
    return value


def spread(
    evaluate: Callable[..., Any],
    arguments: Sequence[Any],
    dtype: Any,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Array:
    """Largest deviation of `evaluate(*arguments)` under random rounding to `dtype`, entry by entry.

    Parameters
    ----------
    evaluate : function of NumPy arrays that returns an array, in float64
    arguments : its arguments; floating arrays and floats of several digits are moved, everything else is passed on
    dtype : the type whose rounding is imitated
    draws, seed : how many runs, and their seed

    Returns
    -------
    Array of the result's shape, at least u·|result|. Infinite where a run gave NaN or infinity and the result is
    finite, or the other way round: rounding alone decides there.
    """
    exact = np.asarray(_plain(evaluate(*map(_wide, arguments))), np.float64)
    worst = np.zeros(exact.shape)
    for draw in range(draws):
        with rounding(Noise(dtype, [seed, draw])), np.errstate(all="ignore"):
            moved = evaluate(*(_rounded(_moved(_wide(a))) for a in arguments))
        moved = np.asarray(_plain(moved), np.float64)
        with np.errstate(invalid="ignore"):
            deviation = np.where(moved == exact, 0.0, np.abs(moved - exact))
        same = np.isnan(moved) & np.isnan(exact)
        worst = np.maximum(worst, np.where(same, 0.0, np.where(np.isnan(deviation), np.inf, deviation)))
    unit = float(np.finfo(dtype).eps) / 2
    return np.maximum(worst, np.where(np.isfinite(exact), unit * np.abs(exact), 0.0))


def scale_of(evaluate: Callable[..., Any], arguments: Sequence[Any], dtype: Any, **options: Any) -> Array:
    """`spread` in units of eps(dtype): what `pyscore.backends.tolerance.error_in_eps` divides by."""
    return spread(evaluate, arguments, dtype, **options) / float(np.finfo(dtype).eps)


def _wide(value: Any) -> Any:
    return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
