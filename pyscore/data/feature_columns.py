"""Choice of the features of a table when the user names none: all columns but row numbers and empty last ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from pyscore.errors import InvalidInput

__all__ = ["left_out", "own_features"]


def own_features(
    path: str,
    names: Sequence[str],
    others: Sequence[str] = (),
    index: Sequence[str] = (),
    types: Sequence[pa.DataType] | None = None,
    first_rows: Sequence[Sequence[str]] = (),
    void_end: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the features, and a note on each column that was left out.

    Parameters
    ----------
    path : str, for messages
    names : of all columns
    others : columns that are not features, such as labels
    index : columns in which pandas stored the index of the rows
    types : types of the columns, for files that have types
    first_rows : first rows of a text file
    void_end : bool
        Whether the last column of a text file has no name and no value.

    Raises
    ------
    InvalidInput
        If a name comes twice, or if a column without a name is neither row numbers nor an empty last column.
    """
    left = left_out(path, names, index, types, first_rows, void_end)
    kept = set(others)
    left = {place: note for place, note in left.items() if names[place] not in kept}
    features = [name for place, name in enumerate(names) if place not in left and name not in kept]
    for place, name in enumerate(names):
        if place not in left and not name.strip():
            raise InvalidInput(
                f"column {place + 1} of {path!r} has no name. Give it one in the header, or take the column out."
            )
    if twice := [name for name, count in Counter(features).items() if count > 1]:
        raise InvalidInput(f"{path!r} has the column {twice[0]!r} more than once. Rename one of them.")
    return tuple(features), tuple(left.values())


def left_out(
    path: str,
    names: Sequence[str],
    index: Sequence[str] = (),
    types: Sequence[pa.DataType] | None = None,
    first_rows: Sequence[Sequence[str]] = (),
    void_end: bool = False,
) -> dict[int, str]:
    """Return the places of columns that cannot be features, each with the reason.

    Arguments as in `own_features`.
    """
    left = {
        place: f"column {name!r} of {path!r} is the index of the rows (pandas); it is left out."
        for place, name in enumerate(names)
        if name in index
    }
    for place, name in enumerate(names):  # a table that pandas wrote and read again has several
        if not (_unnamed(place, name) and _is_index(place, types, first_rows)):
            break
        called, which = f" (called {name!r})" if name else "", "first" if place == 0 else "next"
        left[place] = f"the {which} column of {path!r} has no name{called}: it numbers the rows, and is left out."
    if void_end:
        left[len(names) - 1] = f"the last column of {path!r} is empty and has no name; it is left out."
    return left


def _unnamed(place: int, name: str) -> bool:
    """Whether the first column has no name, or one has the name that pandas gives to such a first column."""
    nameless = place == 0 and (not name.strip() or re.fullmatch(r"Unnamed: \d+", name) is not None)
    return nameless or re.fullmatch(r"Unnamed: 0(\.\d+)*", name) is not None


def _is_index(place: int, types: Sequence[pa.DataType] | None, first_rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column looks like an index: whole numbers, or text."""
    if types is not None:
        return not pa.types.is_floating(types[place])
    cells = [row[place].strip() for row in first_rows if place < len(row)]
    return all(re.fullmatch(r"[+-]?\d*[.,]\d+([eE].*)?", cell) is None for cell in cells)
