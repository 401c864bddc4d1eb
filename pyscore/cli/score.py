"""`pyscore score`: rows in blocks, with progress."""

from __future__ import annotations

import pandas as pd

from pyscore.cli.output import row_progress
from pyscore.convention import Convention
from pyscore.fitted import FittedModel

__all__ = ["score_in_blocks"]

BLOCK_ROWS = 20_000


def score_in_blocks(
    fitted: FittedModel,
    frame: pd.DataFrame,
    names: list[str] | None,
    *,
    convention: Convention,
    backend: str,
    seed: int,
) -> pd.DataFrame:
    """Score a frame block by block: a row's scores do not depend on its block."""
    parts = []
    with row_progress("scoring", len(frame)) as advance:
        for start in range(0, len(frame), BLOCK_ROWS):
            block = frame.iloc[start : start + BLOCK_ROWS]
            parts.append(fitted.scores(block, names, convention=convention, backend=backend, seed=seed))
            advance(len(block))
    return pd.concat(parts, ignore_index=True)
