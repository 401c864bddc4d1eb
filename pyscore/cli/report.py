"""`pyscore report`: one HTML page of all results."""

from __future__ import annotations

from pathlib import Path

from pyscore.bench.report import write_report
from pyscore.cli.output import emit, spinner

__all__ = ["run_report"]


def run_report(results: Path, target: Path) -> None:
    """Write the page and say where it is."""
    with spinner("writing the report"):
        page = write_report(results, target)
    emit({"page": str(target), "kilobytes": len(page.encode()) // 1000}, json=False)
