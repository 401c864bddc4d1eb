"""A small model, its rows, and runs over them that end before they are done."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyscore.convention import EXACT
from pyscore.data.preprocessing import Standardiser
from pyscore.reference.model import SVAE
from pyscore.scoring import stream as streaming
from pyscore.scoring.fitted import FittedModel

COLUMNS = ("a", "b", "c")


def small():
    rng = np.random.default_rng(5)
    scaler = Standardiser(rng.normal(size=3), rng.uniform(0.5, 2, size=3), COLUMNS)
    return FittedModel(SVAE.initialise(3, 2, 4, 2, seed=3), scaler, EXACT)


def table(n=5000, seed=0):
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=n) for name in COLUMNS}
    return pa.table({**columns, "id": [f"row {i}" for i in range(n)]})


def write(path, rows):
    pq.write_table(rows, path, row_group_size=1300)
    return path


def scores_of(path):
    """The scores in a file or folder of Parquet."""
    paths = sorted(p for p in path.iterdir() if p.suffix == ".parquet") if path.is_dir() else [path]
    return pd.concat([pd.read_parquet(p) for p in paths])["proposed"].to_numpy()


class Killed(BaseException):
    """Ends a run as a signal does: nothing of pyscore's catches it."""


def stop_after(monkeypatch, blocks, source, target, **options):
    """Score, and stop after so many blocks of 1,024 rows, each a part."""
    count = 0
    scored = streaming.Scorer.__call__

    def counted(self, block):
        nonlocal count
        count += 1
        if count > blocks:
            raise Killed
        return scored(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "PART_ROWS", 1024)
        patch.setattr(streaming.Scorer, "__call__", counted)
        with pytest.raises(Killed):
            streaming.score_files(small(), source, target, threads=1, block_rows=1024, **options)
