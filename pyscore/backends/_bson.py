"""BSON, as far as BSON.jl uses it: bytes to dictionaries, lists and numbers, and back. Nothing is executed."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["MalformedBSON", "decode", "encode"]

DEEPEST = 200
"""Levels of nesting; a Flux model has about fifteen."""

_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _BINARY, _BOOLEAN, _NULL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x0A
_INT32, _INT64 = 0x10, 0x12
_NUMBERS = {_DOUBLE: struct.Struct("<d"), _INT32: struct.Struct("<i"), _INT64: struct.Struct("<q")}
_LENGTH = struct.Struct("<i")


class MalformedBSON(ValueError):
    """The bytes are no BSON; the text says where."""


def decode(data: bytes) -> dict[str, Any]:
    """Return the document that `data` holds; binary fields are bytes.

    Raises
    ------
    MalformedBSON
        If a length is wrong, a field has a type that BSON.jl does not write, or the nesting is too deep.
    """
    document, end = _document(bytes(data), 0, len(data), 0, as_list=False)
    if end != len(data):
        raise MalformedBSON(f"{len(data) - end} bytes follow the document")
    return document


def _length(data: bytes, place: int, end: int, least: int, beside: int) -> int:
    """Return the length at `place`, which does not count `beside` bytes of its own field."""
    if place + 4 > end:
        raise MalformedBSON(f"it ends in a length at byte {place}")
    length: int = _LENGTH.unpack_from(data, place)[0]
    if length < least or place + length + beside > end:
        raise MalformedBSON(f"a length of {length} at byte {place} does not fit")
    return length


def _document(data: bytes, place: int, end: int, depth: int, *, as_list: bool) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise MalformedBSON(f"documents are nested more than {DEEPEST} deep at byte {place}")
    stop = place + _length(data, place, end, 5, 0)
    if data[stop - 1] != 0:
        raise MalformedBSON(f"the document at byte {place} does not end in a zero")
    place += 4
    names: list[str] = []
    values: list[Any] = []
    while data[place] != 0:
        kind = data[place]
        name, place = _name(data, place + 1, stop)
        value, place = _value(data, kind, place, stop - 1, depth)
        names.append(name)
        values.append(value)
        if place >= stop:
            raise MalformedBSON(f"a field runs over the end of its document at byte {place}")
    if place != stop - 1:
        raise MalformedBSON(f"a document ends too early at byte {place}")
    if as_list:
        return values, stop
    if len(set(names)) != len(names):
        raise MalformedBSON(f"a document has a name twice before byte {stop}")
    return dict(zip(names, values, strict=True)), stop


def _name(data: bytes, place: int, end: int) -> tuple[str, int]:
    stop = data.find(b"\0", place, end)
    with contextlib.suppress(UnicodeDecodeError):
        if stop >= 0:
            return data[place:stop].decode(), stop + 1
    raise MalformedBSON(f"there is no name at byte {place}")


def _value(data: bytes, kind: int, place: int, end: int, depth: int) -> tuple[Any, int]:
    if kind in _NUMBERS:
        reader = _NUMBERS[kind]
        if place + reader.size > end:
            raise MalformedBSON(f"it ends in a number at byte {place}")
        return reader.unpack_from(data, place)[0], place + reader.size
    if kind in (_DOCUMENT, _ARRAY):
        return _document(data, place, end, depth + 1, as_list=kind == _ARRAY)
    if kind == _NULL:
        return None, place
    if kind == _BOOLEAN:
        return data[place] != 0, place + 1
    if kind == _STRING:
        length = _length(data, place, end, 1, 4)
        stop = place + 4 + length
        try:
            return data[place + 4 : stop - 1].decode(), stop
        except UnicodeDecodeError:
            raise MalformedBSON(f"the text at byte {place} is not UTF-8") from None
    if kind == _BINARY:
        length = _length(data, place, end, 0, 5)
        start = place + 5
        return data[start : start + length], start + length
    raise MalformedBSON(f"the field before byte {place} has the type 0x{kind:02x}, which BSON.jl does not write")


def encode(document: Mapping[str, Any]) -> bytes:
    """Return the bytes of a document of dictionaries, lists, tuples, text, bytes, numbers, booleans and None."""
    fields = b"".join(_field(str(name), value) for name, value in document.items())
    return _LENGTH.pack(len(fields) + 5) + fields + b"\0"


def _field(name: str, value: Any) -> bytes:
    kind, content = _content(value)
    return bytes([kind]) + name.encode() + b"\0" + content


def _content(value: Any) -> tuple[int, bytes]:
    if value is None:
        return _NULL, b""
    if isinstance(value, bool):
        return _BOOLEAN, bytes([value])
    if isinstance(value, int):
        return _INT64, struct.pack("<q", value)
    if isinstance(value, float):
        return _DOUBLE, struct.pack("<d", value)
    if isinstance(value, str):
        raw = value.encode()
        return _STRING, _LENGTH.pack(len(raw) + 1) + raw + b"\0"
    if isinstance(value, bytes):
        return _BINARY, _LENGTH.pack(len(value)) + b"\0" + value
    if isinstance(value, Mapping):
        return _DOCUMENT, encode(value)
    if isinstance(value, list | tuple):
        return _ARRAY, encode({str(i): item for i, item in enumerate(value)})
    raise TypeError(f"BSON has no place for {type(value).__name__}")
