"""Conversion of every numeric argument (tensor, masked, object, nested) to a NumPy array, or an error."""

from __future__ import annotations

import contextlib
import numbers
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscore._core.net import CONVERSION
from pyscore.errors import InvalidInput, InvalidType, ShapeError

__all__ = ["plain_numbers"]

_CONVERT = "Convert text, dates and objects to float64 columns first, or leave them out."
_HALF = "`{name}` must be float32 or float64; got {kind}, which has {bits} bits{more}. Pass {name}.{cast} first."


KEPT: set[type] = set()
"""Subclasses of ndarray that are returned unchanged (`pyscore.backends.stochastic` has one)."""


def plain_numbers(name: str, value: Any, *, missing: bool = False) -> NDArray[Any]:
    """Return `value` as a NumPy array of real numbers: booleans, integers, float32, float64 or wider.

    Tensors are detached and copied to the host. Masked entries, None and NA are NaN where `missing` allows them.
    Objects are converted if each one is a real number (Python's integers, Decimal and Fraction included).

    Raises
    ------
    InvalidInput
        If `value` is sparse, holds text, dates, complex numbers, records or other objects, is of a float type of
        16 or fewer bits, or has masked entries where `missing` does not allow them.
    InvalidType
        If it cannot be turned into an array at all.
    ShapeError
        If nested sequences have different lengths.
    """
    if type(value) in KEPT:
        return value
    if type(value) is not np.ndarray:
        value = _tensor(name, value)
        _refuse_sparse(name, value)
        value = _unmasked(name, value, missing)
    raw = _asarray(name, value)
    if raw.dtype.kind == "O":
        raw = _objects(name, raw, missing)
    if raw.dtype.kind == "V" and raw.dtype.names:
        raise InvalidInput(
            f"`{name}` must be an array of numbers; got a structured array with the fields "
            f"{', '.join(raw.dtype.names[:8])}. Pass a DataFrame, whose columns are found by name, or "
            f"numpy.lib.recfunctions.structured_to_unstructured({name})."
        )
    if raw.dtype.kind not in "fiub":
        raise InvalidInput(f"`{name}` must be an array of numbers; got dtype {raw.dtype}. {_CONVERT}")
    if raw.dtype == np.float16:
        raise InvalidInput(
            _HALF.format(
                name=name, kind="float16", bits=11, more=" and overflows at 65504", cast="astype('float32')"
            )
        )
    if raw.dtype.kind == "f" and raw.dtype.itemsize > 8:
        raw = _double(name, raw)
    return raw


# ── tensors ──


def _tensor(name: str, value: Any) -> Any:
    """Turn a torch tensor into an array and return anything else unchanged. torch is not imported for this."""
    torch: Any = sys.modules.get("torch")
    kind_of_tensor: Any = getattr(torch, "Tensor", None)
    if kind_of_tensor is None or not isinstance(value, kind_of_tensor):
        return value
    kind = str(value.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.is_nested:
        layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        way = "to_padded_tensor(0)" if value.is_nested else "to_dense()"
        raise InvalidInput(f"`{name}` must be dense; got a {layout} tensor. Pass {name}.{way}.")
    if value.is_meta:
        raise InvalidInput(
            f"`{name}` must hold numbers; got a tensor on the device 'meta', which has only a shape."
        )
    if value.is_quantized:
        raise InvalidInput(f"`{name}` must be float32 or float64; got {kind}. Pass {name}.dequantize().")
    if value.dtype in (torch.bfloat16, torch.float16) or (value.is_floating_point() and value.element_size() == 1):
        bits = 11 if value.dtype == torch.float16 else 8 if value.dtype == torch.bfloat16 else 4
        raise InvalidInput(_HALF.format(name=name, kind=kind, bits=bits, more="", cast="float()"))
    try:
        return value.detach().resolve_conj().resolve_neg().cpu().numpy()
    except CONVERSION as error:
        raise InvalidType(
            f"`{name}` must be an array of numbers; got a tensor ({type(value).__name__}, {kind}) whose values "
            f"cannot be read: {_first_line(error)}."
        ) from error


# ── sparse, masked, nested ──


def _refuse_sparse(name: str, value: Any) -> None:
    module = type(value).__module__.split(".")[0]
    if (module == "scipy" and hasattr(value, "toarray")) or (module == "sparse" and hasattr(value, "todense")):
        raise InvalidInput(
            f"`{name}` must be dense; got a sparse matrix ({type(value).__name__}). "
            f"Pass {name}.{'toarray' if module == 'scipy' else 'todense'}()."
        )


def _unmasked(name: str, value: Any, missing: bool) -> Any:
    """Turn masked entries into NaN, also those of arrays in a list, whose masks NumPy would drop."""
    if isinstance(value, list | tuple):
        return _nested(name, value)
    if not isinstance(value, np.ma.MaskedArray):
        return value
    if not np.ma.is_masked(value):
        return np.asarray(value)
    if not missing:
        raise InvalidInput(f"`{name}` must hold a number everywhere; got a masked array. Impute the gaps first.")
    if value.dtype.kind not in "fiub" or value.dtype == np.float16:
        return np.asarray(value)  # its type is refused later
    filled: NDArray[Any] = np.ma.filled(value.astype(np.float64), np.nan)
    return filled


def _nested(name: str, value: list[Any] | tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    """Convert tensors and masked arrays in nested lists and refuse sparse ones; masked entries become None."""
    if all(isinstance(row, int | float | str | np.generic) for row in value):
        return value
    return [_entry(name, row) for row in value]


def _entry(name: str, row: Any) -> Any:
    if isinstance(row, list | tuple):
        return _nested(name, row)
    if isinstance(row, np.ma.MaskedArray):  # np.ma.masked is one, too
        return row.tolist() if np.ma.is_masked(row) else np.asarray(row)
    row = _tensor(name, row)
    _refuse_sparse(name, row)
    return row


def _asarray(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" in str(error) or "sequence" in str(error):
            raise ShapeError(
                f"`{name}` must be an array of numbers; got nested sequences of different lengths."
            ) from None
        raise InvalidInput(_gives_none(name, value, error)) from error
    except CONVERSION as error:
        raise InvalidType(_gives_none(name, value, error)) from error


def _gives_none(name: str, value: Any, error: Exception) -> str:
    return f"`{name}` must be an array of numbers; {_kind_of(value)} gives none: {_first_line(error)}."


# ── objects ──


def _objects(name: str, raw: NDArray[Any], missing: bool) -> NDArray[np.float64]:
    """Convert an array of objects, each of which must be a real number, to float64."""
    out = np.empty(raw.shape, np.float64)
    flat, source = out.ravel(), raw.ravel()
    for i, entry in enumerate(source):
        flat[i] = _number(name, entry, raw, i, missing)
    return flat.reshape(raw.shape)


def _number(name: str, entry: Any, raw: NDArray[Any], i: int, missing: bool) -> float:
    if isinstance(entry, float | int | np.integer | np.bool_) or (
        isinstance(entry, numbers.Real | np.floating) or type(entry).__name__ == "Decimal"
    ):
        try:
            return float(entry)
        except CONVERSION:
            pass
        raise InvalidInput(
            f"`{name}` must hold numbers that float64 can hold, below 1.8e308; got one of {_digits(entry)}"
            f"{_place(raw, i)}."
        )
    if raw.ndim == 0:
        raise InvalidInput(f"`{name}` must be an array of numbers; got dtype object. {_CONVERT}")
    if _is_missing(entry):
        if missing:
            return float("nan")
        raise InvalidInput(
            f"`{name}` must hold a number everywhere; got {type(entry).__name__}{_place(raw, i)}. "
            "Impute the gaps first."
        )
    text = (
        f"`{name}` must be an array of numbers; got dtype object with {_shown(entry)} of type "
        f"{type(entry).__name__}{_place(raw, i)}"
    )
    if isinstance(entry, str | bytes):
        raise InvalidInput(f"{text}. {_CONVERT}")
    raise InvalidType(f"{text} (the argument must be a string or a number, says Python). {_CONVERT}")


def _is_missing(entry: Any) -> bool:
    return type(entry).__name__ in ("NAType", "NaTType", "MaskedConstant") or entry is None


def _place(raw: NDArray[Any], i: int) -> str:
    at = np.unravel_index(i, raw.shape) if raw.ndim else ()
    names = ("row", "column") if len(at) <= 2 else tuple(f"axis {j}" for j in range(len(at)))
    return " at " + ", ".join(f"{label} {place}" for label, place in zip(names, at, strict=False)) if at else ""


def _digits(entry: Any) -> str:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if isinstance(entry, int):
            return f"about {int(entry.bit_length() * 0.30103) + 1} digits"
    return f"type {type(entry).__name__}"


def _double(name: str, raw: NDArray[Any]) -> NDArray[np.float64]:
    """Convert longer floats to float64; raise where a finite number would become infinite."""
    with np.errstate(over="ignore", under="ignore"):
        out = raw.astype(np.float64)
    if (np.isinf(out) & np.isfinite(raw)).any():
        raise InvalidInput(
            f"`{name}` must hold numbers that float64 can hold, below 1.8e308; got a larger {raw.dtype}."
        )
    return out


def _kind_of(value: Any) -> str:
    return f"{'an' if type(value).__name__[:1].lower() in 'aeiou' else 'a'} {type(value).__name__}"


def _shown(entry: Any) -> str:
    if isinstance(entry, str | bytes):
        return repr(entry[:40])
    return "a value"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
