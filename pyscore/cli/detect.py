"""Which rows? What `pyscore score` prints and writes of a detector: the most anomalous rows first, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from pyscore._core import checks as check
from pyscore.cli.options import TableOptions
from pyscore.cli.output import emit, note_resumption, print_frame
from pyscore.cli.progress import score_progress
from pyscore.cli.terminal import print_note
from pyscore.data.table_files import InputFile
from pyscore.detectors.load import load_model
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.detectors.streamed import DetectorScorer, selection_cutoff
from pyscore.detectors.svae import SVAEDetector
from pyscore.errors import InvalidInput
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.stream import open_input, scored_blocks, stream

__all__ = ["NUMBER", "MostAnomalous", "detect", "detect_with", "open_model"]

NUMBER = "row number"
"""Column of the number of a row, counted from 0 over all tables."""


class MostAnomalous:
    """Keeps the rows of the highest (or lowest) scores of all blocks that it sees, or all rows."""

    def __init__(self, top: int, by: str, *, lowest: bool = False, everything: bool = False) -> None:
        self.top = check.integer("top", top, at_least=1)
        self.by, self.lowest, self.everything = by, lowest, everything
        self.rows = 0
        self._kept: list[pd.DataFrame] = []

    def see(self, block: pa.RecordBatch) -> None:
        """Take in a block."""
        frame = block.to_pandas()
        frame.insert(0, NUMBER, range(self.rows, self.rows + len(frame)))
        self.rows += len(frame)
        self._kept.append(frame if self.everything else self._first(frame))
        if not self.everything and len(self._kept) > 1:
            self._kept = [self._first(pd.concat(self._kept, ignore_index=True))]

    def _first(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows to show, in their order; of equal ones the first."""
        return frame.sort_values(self.by, ascending=self.lowest, kind="stable").head(self.top)

    def frame(self, columns: list[str]) -> pd.DataFrame:
        """What was kept; the given columns if nothing was seen."""
        if not self._kept:
            return pd.DataFrame(columns=[NUMBER, *columns])
        return pd.concat(self._kept, ignore_index=True)


def open_model(path: Path) -> FittedModel | SVAEDetector | StandardisedDetector:
    """Read a detector, or a fitted model; other files of models are refused as `FittedModel.load` does."""
    loaded = load_model(path)
    return loaded if isinstance(loaded, SVAEDetector | StandardisedDetector) else FittedModel.load(path)


def detect_with(path: Path, tables: list[str], output: str | None, reading: TableOptions, **options: Any) -> None:
    """`detect` with the detector of a file."""
    detector = open_model(path)
    if isinstance(detector, FittedModel):
        raise InvalidInput(f"{str(path)!r} holds a model without a detector.")
    if reading.impute is not None and detector.impute is None:
        raise InvalidInput(
            "`impute` is 'median', but this detector has learnt no medians. Refit it with "
            "`pyscore fit --impute median`."
        )
    detect(detector, tables, output, reading=reading, **options)


def detect(
    detector: StandardisedDetector | SVAEDetector,
    tables: list[str],
    output: str | None,
    *,
    top: int,
    fdr: float | None,
    keep: tuple[str, ...],
    threads: int | None,
    scheduler: str | None,
    reading: TableOptions,
    json: bool,
) -> None:
    """Score the rows of tables with a detector; write the scores, or print the most anomalous rows."""
    scorer = DetectorScorer(detector, keep)
    facts: dict[str, Any] = {"detector": type(detector).__name__, "threshold": detector.threshold_}
    if fdr is not None:
        scorer = scorer.with_cutoff(_cutoff(scorer, open_input(tables, scorer, reading), fdr, threads, scheduler))
        facts = {"detector": type(detector).__name__, "fdr": fdr, "largest p-value selected": scorer.cutoff}
    if output is not None:
        with score_progress("scoring") as progress:
            result = stream(
                scorer, tables, output, reading=reading, threads=threads, scheduler=scheduler, progress=progress
            )
        note_resumption(result)
        emit({"scores": output, "rows": result.rows, **facts}, json=json)
        return
    features = tuple(name for name in scorer.features if name not in scorer.written)
    wide = DetectorScorer(detector, keep if json else (*keep, *features), scorer.cutoff)
    found, flagged = MostAnomalous(top, "score", everything=json), 0
    with score_progress("scoring") as progress:
        blocks = scored_blocks(wide, open_input(tables, wide, reading), threads=threads, scheduler=scheduler)
        for block in blocks:
            found.see(block.table)
            flagged += int(pa.compute.sum(block.table["anomaly"]).as_py() or 0)
            progress(found.rows, None)
    frame = found.frame(list(wide.columns))
    facts |= {"rows in all": found.rows, "anomalies": flagged}
    if json:
        emit({**facts, "rows": frame.to_dict("records")}, json=True)
        return
    if len(features) == len(scorer.features):
        frame["because of"] = _reasons(detector, frame[list(features)])
    shown = frame[[NUMBER, *keep, *(n for n in ("score", "p_value", "anomaly", "because of") if n in frame)]]
    rule = f"p-value at most {scorer.cutoff:.3g}, fdr {fdr:g}" if fdr else f"score above {detector.threshold_:.4g}"
    print_frame(
        shown,
        title=f"{len(shown)} most anomalous of {found.rows} rows; {flagged} are anomalies ({rule})",
        caption="score: higher = more anomalous; because of: the feature that weighs most",
    )


def _cutoff(
    scorer: DetectorScorer, files: list[InputFile], fdr: float, threads: int | None, scheduler: str | None
) -> float:
    """The largest p-value that is selected at a false discovery rate, after one walk over the tables."""
    if not 0.0 < check.real("fdr", fdr, above=0.0) < 1.0:
        raise InvalidInput(f"`fdr` must lie between 0 and 1, both excluded; got {fdr!r}.")
    if scorer.detector.calibration_scores_ is None:
        raise InvalidInput("`--fdr` needs p-values: fit again with `pyscore fit --calibration 0.2`.")
    with score_progress("p-values") as progress:
        rows = 0

        def values() -> Any:
            nonlocal rows
            for block in scored_blocks(scorer, files, threads=threads, scheduler=scheduler):
                rows += block.table.num_rows
                progress(rows, None)
                yield block.table["p_value"].to_numpy()

        cutoff = selection_cutoff(values(), fdr)
    if cutoff == 0.0:
        held = len(scorer.detector.calibration_scores_)
        print_note(
            f"no row is selected at a false discovery rate of {fdr:g}. {held} rows were held back for p-values, "
            f"so that none is below {1 / (held + 1):.2g}: fit on more rows, or ask for a higher rate."
        )
    return cutoff


def _reasons(detector: StandardisedDetector | SVAEDetector, rows: pd.DataFrame) -> list[str]:
    """The feature that weighs most in each row's score."""
    if not len(rows):
        return []
    named = hasattr(detector, "feature_names_in_")
    lines = detector.explain(rows if named else rows.to_numpy(float))
    weights = lines["contribution"].to_numpy().reshape(len(rows), -1)
    names = lines["feature"].to_numpy()[: weights.shape[1]]
    return [str(name) for name in names[weights.argmax(axis=1)]]
