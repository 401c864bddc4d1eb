"""What a file of measurements must hold for tables, plots and comparisons to be made of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyscore._core.schema import Wrong, check, fields, flag, listing, mapping, number, optional, scalar, text

__all__ = ["check_record"]

NAME = text(1000)
SECONDS = number(1e-12, 1e12)
"""From far below the resolution of any clock to 30,000 years."""
COUNT = number(1e-12, 1e30)
"""So far from 0 that every ratio of two rates is a positive, finite number."""
FACTS = {
    "sweep": NAME, "size": number(above=0, most=1e30), "dataset": NAME, "auc": number(0, 1, finite=False),
    "auc equal": flag, "ranks equal": flag, "memory_mb": number(0, 1e12),
}  # fmt: skip
ROW = fields(
    {"suite": NAME, "work": NAME, "contestant": NAME, "seconds": listing(SECONDS, least=1)},
    {
        "count": COUNT, "unit": NAME, "base": flag,
        "target": optional(number(0, 1e30)), "error": optional(number(finite=False)),
        "facts": fields({}, FACTS, rest=scalar), "notes": text(),
    },
)  # fmt: skip
MACHINE = fields(
    {"processor": NAME, "cpus": optional(number(whole=True)), "platform": NAME, "threads": mapping(scalar)},
    {
        "load": optional(listing(number(), least=1)), "memory_gb": optional(number()), "gpu": optional(NAME),
        "runs": listing(text()),
    },
    rest=scalar,
)  # fmt: skip
COMPILED = fields({"compiled": number(0, 1e12), "cached": number(0, 1e12)}, rest=number(0, 1e12))
RECORD = fields(
    {
        "rows": listing(ROW), "machine": MACHINE, "versions": mapping(NAME), "command": text(), "date": NAME,
        "commit": text(),
    },
    {"compile_seconds": mapping(COMPILED), "not_measured": listing(text())},
)  # fmt: skip


def check_record(content: Any, file: str) -> None:
    """Check the content of a file of `record.write`.

    Raises
    ------
    InvalidInput
        Naming file and field.
    """
    check(content, _record, file, "measurements", "Measure again.")


def _record(content: Any, place: str) -> None:
    RECORD(content, place)
    rows = content["rows"]
    seen: dict[tuple[str, str, str], int] = {}
    for index, row in enumerate(rows):
        first = seen.setdefault((row["suite"], row["work"], row["contestant"]), index)
        if first != index:
            raise Wrong(f"rows[{index}]", f"other work, or of another contestant, than rows[{first}]", "the same")
        _related(row.get("facts", {}), f"rows[{index}].facts")
    _bases(rows)


def _related(facts: dict[str, Any], place: str) -> None:
    """Some facts mean something only beside others."""
    for name, others in (("sweep", ["size"]), ("auc equal", ["auc", "ranks equal"])):
        for other in others:
            if name in facts and other not in facts:
                raise Wrong(place, f"an object that has {other!r} beside {name!r}", "one without it")


def _bases(rows: Iterable[dict[str, Any]]) -> None:
    """An AUC that is not equal to the base's needs a base with an AUC."""
    rows = list(rows)
    with_auc = {(row["suite"], row["work"]) for row in rows if row.get("base") and "auc" in row.get("facts", {})}
    for index, row in enumerate(rows):
        facts = row.get("facts", {})
        if not row.get("base") and facts.get("auc equal") is False and (row["suite"], row["work"]) not in with_auc:
            raise Wrong(f"rows[{index}]", "of a work whose base has an 'auc'", "one without")
