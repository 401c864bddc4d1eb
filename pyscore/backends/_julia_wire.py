"""The wire format between pyscore and its Julia worker; the format is described in `julia/worker/wire.jl`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyscore.convention import Convention
from pyscore.errors import InvalidInput

__all__ = ["MAGIC", "PREFIX", "ModelToken", "decode", "encode"]

MAGIC = b"PYSC"
PREFIX = struct.Struct("<4sI")
"""Magic and length of the header."""

_CODES: dict[str, np.dtype[Any]] = {"f": np.dtype("<f4"), "d": np.dtype("<f8"), "l": np.dtype("<i8")}
_CODE_OF = {dtype: code for code, dtype in _CODES.items()}


@dataclass(frozen=True)
class ModelToken:
    """Stands for a model that the worker holds."""

    token: str


@dataclass
class _Header:
    parts: list[bytes]
    arrays: list[memoryview] = field(default_factory=list)


def encode(kind: str, value: Any) -> list[bytes | memoryview]:
    """Return a frame as buffers: prefix with header, then the bytes of each array, not copied."""
    header = _Header([kind.encode()])
    _put(header, value)
    text = b"".join(header.parts)
    return [PREFIX.pack(MAGIC, len(text)) + text, *header.arrays]


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw


def _put(header: _Header, value: Any) -> None:
    parts = header.parts
    if value is None:
        parts.append(b"n")
    elif isinstance(value, bool | np.bool_):
        parts.append(struct.pack("<c?", b"b", value))
    elif isinstance(value, int | np.integer):
        parts.append(struct.pack("<cq", b"i", int(value)))
    elif isinstance(value, float | np.floating):
        parts.append(struct.pack("<cd", b"f", float(value)))
    elif isinstance(value, str):
        parts.append(b"s" + _string(value))
    elif isinstance(value, ModelToken):
        parts.append(b"m" + _string(value.token))
    elif isinstance(value, np.ndarray):
        _put_array(header, value)
    elif isinstance(value, Convention):
        _put(header, value.to_dict())
    elif isinstance(value, tuple | list):
        parts.append(struct.pack("<cI", b"t", len(value)))
        for item in value:
            _put(header, item)
    elif isinstance(value, Mapping):
        parts.append(struct.pack("<cI", b"d", len(value)))
        for name, item in value.items():
            parts.append(_string(name))
            _put(header, item)
    else:
        raise InvalidInput(
            f"an argument of a Julia call must be an array, a number, a string, None or a Convention; "
            f"got {type(value).__name__}."
        )


def _put_array(header: _Header, array: np.ndarray[Any, Any]) -> None:
    """Axes go reversed: the (n, d) array in C order is Julia's (d, n), byte for byte."""
    dtype = np.dtype("<i8") if array.dtype.kind in "iub" else array.dtype
    if dtype not in _CODE_OF:
        raise InvalidInput(f"an array for Julia must be float32, float64 or of integers; got {array.dtype}.")
    packed = np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)
    code = _CODE_OF[dtype].encode()
    lengths = packed.shape[::-1]
    header.parts.append(struct.pack(f"<ccB{len(lengths)}Q", b"a", code, len(lengths), *lengths))
    if packed.size:
        header.arrays.append(packed.data.cast("B"))


def decode(header: bytes) -> tuple[str, Any, list[np.ndarray[Any, Any]]]:
    """Return kind, value and the value's arrays, which are yet to be filled with the bytes that follow."""
    arrays: list[np.ndarray[Any, Any]] = []
    reader = _Reader(header, arrays)
    kind = reader.take(1).decode()
    return kind, reader.value(), arrays


class _Reader:
    def __init__(self, header: bytes, arrays: list[np.ndarray[Any, Any]]) -> None:
        self.header, self.arrays, self.place = header, arrays, 0

    def take(self, count: int) -> bytes:
        piece = self.header[self.place : self.place + count]
        self.place += count
        return piece

    def unpack(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        return self.take(self.unpack("I")).decode(errors="replace")

    def value(self) -> Any:
        tag = self.take(1)
        if tag == b"n":
            return None
        if tag == b"t":
            return tuple(self.value() for _ in range(self.unpack("I")))
        if tag == b"a":
            dtype = _CODES[self.take(1).decode()]
            lengths: list[int] = [self.unpack("Q") for _ in range(self.unpack("B"))]
            array: np.ndarray[Any, Any] = np.empty(lengths[::-1], dtype=dtype)
            self.arrays.append(array)
            return array
        readers = {b"b": "?", b"i": "q", b"f": "d"}
        return self.string() if tag == b"s" else self.unpack(readers[tag])
