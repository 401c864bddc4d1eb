"""`pyscore report`: one HTML page of all results."""

from __future__ import annotations

from pathlib import Path

from pyscore._core.output_guard import check_output
from pyscore.bench.report import write_report
from pyscore.cli.output import emit, spinner

__all__ = ["run_report"]

PAGES = (".html", ".htm")


def run_report(results: Path, target: Path) -> None:
    """Write the page and say where it is."""
    others = [path for path in results.rglob("*") if path.suffix.lower() not in PAGES]
    check_output(target, others, suffixes=PAGES)
    with spinner("writing the report"):
        page = write_report(results, target)
    emit({"page": str(target), "kilobytes": len(page.encode()) // 1000}, json=False)
