"""`pyscore score`: rows in blocks, with progress."""

from __future__ import annotations

from typing import Literal

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
    sigma2: float | Literal["residual"] = 1.0,
    convention: Convention,
    backend: str,
    seed: int,
    projection: bool = False,
) -> pd.DataFrame:
    """Score a frame block by block: a row's scores do not depend on its block; and report its projection."""
    variance = fitted.noise_variance(sigma2)
    parts = []
    with row_progress("scoring", len(frame)) as advance:
        for start in range(0, len(frame), BLOCK_ROWS):
            block = frame.iloc[start : start + BLOCK_ROWS]
            part = fitted.scores(block, names, sigma2=variance, convention=convention, backend=backend, seed=seed)
            if projection:
                part = part.join(fitted.projection_report(block, convention=convention))
            parts.append(part)
            advance(len(block))
    return pd.concat(parts, ignore_index=True)
