"""Schemas of JSON files: one check for every file of results, with an error that names the file and the field.

A schema is a function of a value and of its place in the file. It raises `Wrong` or returns nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pyscore.errors import InvalidInput

__all__ = [
    "Schema",
    "Wrong",
    "check",
    "fields",
    "flag",
    "listing",
    "mapping",
    "number",
    "optional",
    "scalar",
    "text",
]

Schema = Callable[[Any, str], None]
MOST_ITEMS = 1_000_000
_HALF = re.compile("[\ud800-\udfff]")


class Wrong(ValueError):
    """A value is not what its place in the file must hold."""

    def __init__(self, place: str, wanted: str, value: Any) -> None:
        super().__init__(f"`{place or 'it'}` must be {wanted}; got {_shown(value)}")


def check(value: Any, schema: Schema, file: str, kind: str, advice: str) -> None:
    """Check the content of a file.

    Raises
    ------
    InvalidInput
        "`<file>` is a damaged file of <kind>: `rows[3].seconds` must be …; got …. <advice>"
    """
    try:
        schema(value, "")
    except Wrong as error:
        raise InvalidInput(f"`{file}` is a damaged file of {kind}: {error}. {advice}") from None


def _shown(value: Any) -> str:
    """Return a short form of a value; of a list or an object only what it is."""
    names = {dict: "an object", list: "a list", type(None): "null"}
    if type(value) in names:
        return names[type(value)]
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def text(most: int = 10_000) -> Schema:
    """Text of at most so many characters."""

    def schema(value: Any, place: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise Wrong(place, f"text of at most {most:,} characters", value)
        if _HALF.search(value):
            raise Wrong(place, "text without halves of surrogate pairs", value)

    return schema


def number(
    least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf, whole: bool = False,
    finite: bool = True,
) -> Schema:  # fmt: skip
    """Return the schema of a number in [least, most] and above `above`.

    `finite=False` also accepts NaN and infinity.
    """
    kind = "a whole number" if whole else "a number"
    bounds = [f"at least {least:g}"] * (least > -math.inf) + [f"at most {most:g}"] * (most < math.inf)
    bounds += [f"above {above:g}"] * (above > -math.inf)
    wanted = " ".join([kind, " and ".join(bounds)]).strip()

    def schema(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise Wrong(place, wanted, value)
        if not finite and isinstance(value, float) and not math.isfinite(value):
            return
        if isinstance(value, int) and abs(value) > 10**300:
            raise Wrong(place, f"{wanted} that a float can hold", value)
        if not (math.isfinite(value) and least <= value <= most and value > above):
            raise Wrong(place, wanted, value)

    return schema


def flag(value: Any, place: str) -> None:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise Wrong(place, "true or false", value)


def scalar(value: Any, place: str) -> None:
    """Accept text, a number, true, false or null."""
    if value is None or isinstance(value, bool):
        return
    (text() if isinstance(value, str) else number(finite=False))(value, place)


def optional(schema: Schema) -> Schema:
    """Return a schema that accepts null and whatever `schema` accepts."""
    return lambda value, place: None if value is None else schema(value, place)


def listing(schema: Schema, least: int = 0, most: int = MOST_ITEMS) -> Schema:
    """Return the schema of a list of so many items."""

    def whole(value: Any, place: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise Wrong(place, f"a list of {least:,} to {most:,} items", value)
        for index, item in enumerate(value):
            schema(item, f"{place}[{index}]")

    return whole


def mapping(schema: Schema, most: int = MOST_ITEMS) -> Schema:
    """Return the schema of an object with any field names, whose values all have one schema."""

    def whole(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) > most:
            raise Wrong(place, f"an object of at most {most:,} fields", value)
        for name, item in value.items():
            text(1000)(name, f"a name in {place}")
            schema(item, _inner(place, name))

    return whole


def fields(
    required: Mapping[str, Schema], others: Mapping[str, Schema] | None = None, rest: Schema | None = None
) -> Schema:
    """Return the schema of an object with these fields.

    `others` may be missing; `rest` checks fields not named here.
    """
    known = {**required, **(others or {})}

    def whole(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise Wrong(place, f"an object with {', '.join(required) or 'fields'}", value)
        if lacking := [name for name in required if name not in value]:
            raise Wrong(place, f"an object with {', '.join(required)}", f"one without {', '.join(lacking)}")
        for name, item in value.items():
            if name not in known:
                text(1000)(name, f"a name in {place or 'it'}")
            schema = known.get(name, rest)
            if schema is not None:
                schema(item, _inner(place, name))

    return whole


def _inner(place: str, name: str) -> str:
    return f"{place}.{name}"[:200] if place else name[:200]
