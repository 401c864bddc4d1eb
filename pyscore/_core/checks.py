"""Checks of arguments, each raising an error that says what was wanted, what came and what to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyscore._core.arrays import plain_numbers
from pyscore._core.net import CONVERSION
from pyscore.errors import InvalidInput, ShapeError

__all__ = ["LARGEST", "Array", "array", "choice", "integer", "matrix", "real", "vector"]

Array = NDArray[Any]
"""A floating array; docstrings give its shape."""
LARGEST = 1e15
"""Largest magnitude of a standardised value: sums of its square must not overflow in float32."""
_ORDINALS = {1: "one axis", 2: "two axes", 3: "three axes", 4: "four axes"}


def array(
    name: str,
    value: ArrayLike,
    shape: tuple[int | str | None, ...],
    *,
    dtype: Any = np.float64,
    why: str = "",
    missing: bool = False,
) -> Array:
    """Return `value` as a floating array of the wanted shape. `plain_numbers` says which types it may have.

    An integer in `shape` is a length that is required. A string is the letter by which messages name a free axis;
    axes with the same letter must have the same length. With `missing`, masked entries, None and NA become NaN;
    otherwise they raise.
    """
    raw = plain_numbers(name, value, missing=missing)
    wanted = "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
    if raw.ndim != len(shape):
        raise ShapeError(
            f"`{name}` must have {_ORDINALS.get(len(shape), str(len(shape)) + ' axes')}, {wanted}; "
            f"got shape {raw.shape}.{' ' + why if why else ''}"
        )
    lengths: dict[str, int] = {}
    for got, want in zip(raw.shape, shape, strict=True):
        if got != (want if isinstance(want, int) else lengths.setdefault(want or "", got) if want else got):
            raise ShapeError(f"`{name}` must have shape {wanted}; got {raw.shape}.{' ' + why if why else ''}")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite
        out: Array = raw.astype(dtype, copy=False)
    return out


def numbers(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float64 array of whatever shape it has."""
    return plain_numbers(name, value).astype(np.float64, copy=False)


def matrix(name: str, value: ArrayLike, columns: int | str = "d", **options: Any) -> Array:
    """Return `value` as an (n, `columns`) array, rows being samples."""
    return array(name, value, ("n", columns), **options)


def vector(name: str, value: ArrayLike, length: int | str = "n", **options: Any) -> Array:
    """Return `value` as a (`length`,) array."""
    return array(name, value, (length,), **options)


def finite(name: str, value: Array, *, limit: float | None = None, columns: Collection[str] | None = None) -> None:
    """Raise unless every entry is a finite number (below `limit` in magnitude); name the first bad place."""
    with np.errstate(invalid="ignore"):  # NaN if any entry is NaN; max and min need no temporary array
        largest = max(value.max(initial=0.0), -value.min(initial=0.0))
    if largest <= (np.finfo(value.dtype).max if limit is None else limit):
        return
    bad = ~np.isfinite(value)
    if limit is not None:
        with np.errstate(invalid="ignore"):
            bad |= np.abs(value) > limit
    place = np.argwhere(bad)[0]
    what = "NaN" if np.isnan(value[tuple(place)]) else repr(float(value[tuple(place)]))
    where = f"row {place[0]}"
    if value.ndim > 1:
        label = list(columns)[place[1]] if columns is not None else place[1]
        where += f", column {label}"
    bound = f" of at most {limit:g} in magnitude" if limit is not None else ""
    raise InvalidInput(
        f"`{name}` must hold finite numbers{bound}; got {what} at {where} ({int(bad.sum())} such values in all). "
        "Drop or impute those rows first."
    )


def real(name: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> float:
    """Return `value` as a finite float above (or at least) a bound."""
    try:
        plain = isinstance(value, int | float) or plain_numbers(name, value).ndim == 0
        number = float(value) if plain else float("nan")
    except (*CONVERSION, InvalidInput):
        number = float("nan")
    low = above is not None and not number > above
    low |= at_least is not None and not number >= at_least
    if low or not np.isfinite(number):
        bound = f" above {above:g}" if above is not None else ""
        bound += f" of at least {at_least:g}" if at_least is not None else ""
        raise InvalidInput(f"`{name}` must be a finite number{bound}; got {shown(value)}.")
    return number


def integer(name: str, value: Any, *, at_least: int, hint: str = "") -> int:
    """Return `value` as an int of at least `at_least`."""
    good = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not good or value < at_least:
        raise InvalidInput(
            f"`{name}` must be an integer of at least {at_least}; got {shown(value)}.{' ' + hint if hint else ''}"
        )
    return int(value)


def floating(name: str, value: Any) -> np.dtype[Any]:
    """Return `value` as float32 or float64."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if value is None or dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InvalidInput(f"`{name}` must be float32 or float64; got {shown(value)}.")
    return dtype


def choice(name: str, value: Any, allowed: Collection[str]) -> Any:
    """Return `value` if it is one of the names allowed."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {shown(value)}.")
    return value


def shown(value: Any) -> str:
    """A value as messages print it: its repr, on one line and shortened."""
    try:
        text = repr(value)
    except CONVERSION:  # an integer of more than 4300 digits, or an object's own __repr__
        return f"{type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__})"


Latent = Literal["sphere", "euclidean"]
