"""`pyscore report`: one HTML page of all results."""

from __future__ import annotations

from pathlib import Path

from pyscore._core.output_guard import check_output
from pyscore.bench.report import write_report
from pyscore.cli.options import Output
from pyscore.cli.output import emit
from pyscore.cli.progress import spinner

__all__ = ["report"]

PAGES = (".html", ".htm")


def report(results: Path, /, *, output: Output = Path("report.html")) -> None:
    """Write the page and say where it is.

    Parameters
    ----------
    results
        Folder with files of `pyscore bench --json`, `pyscore verify --json` and tables of `pyscore results`.
    output
        The page.
    """
    others = [path for path in results.rglob("*") if path.suffix.lower() not in PAGES]
    check_output(output, others, suffixes=PAGES)
    with spinner("writing the report"):
        page = write_report(results, output)
    emit({"page": str(output), "kilobytes": len(page.encode()) // 1000}, json=False)
