"""Scores of Dask DataFrames, and of files on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from pyscore.data.table_files import Block, InputFile, read_blocks
from pyscore.errors import BackendUnavailable, InvalidInput
from pyscore.scoring.fitted import FittedModel, Impute
from pyscore.scoring.options import ScoreKeywords, ScoreOptions
from pyscore.scoring.scores import check_names

if TYPE_CHECKING:
    from pyscore.scoring.stream import BlockScorer, Scored

__all__ = ["score_dask", "scored_on_cluster"]

PATIENCE = 20.0
"""Seconds to wait for a scheduler."""
SPAN_ROWS = 1 << 18
"""Rows of a task on a cluster, at least: what a lost worker costs."""


def score_dask(
    fitted: FittedModel,
    frame: Any,
    names: Iterable[str] | str | None = ("proposed",),
    *,
    impute: Impute | None = None,
    keep: Sequence[str] = (),
    **options: Unpack[ScoreKeywords],
) -> Any:
    """Log-densities (nats, higher = more normal) of the rows of a Dask DataFrame, partition by partition; lazy.

    Parameters
    ----------
    fitted : FittedModel
        Sent to the workers once, not with every partition.
    frame : dask.dataframe.DataFrame
        Columns are found by name, in any order.
    names : names of scores, one name, or None for all that the convention defines
    impute, **options
        See `FittedModel.scores`.
    keep : names of columns to carry along

    Returns
    -------
    dask.dataframe.DataFrame
        With the index and the divisions of `frame`: the columns kept, then one float64 column a score.

    Raises
    ------
    InvalidInput
        At once if a column is missing or a name unknown; when computed, if a value is missing or not finite,
        naming column and row.
    BackendUnavailable
        If Dask is not installed.

    Examples
    --------
    >>> import dask.dataframe, pandas as pd
    >>> table = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 3)), columns=["a", "b", "c"])
    >>> fitted = pyscore.fit(table, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> frame = dask.dataframe.from_pandas(table, npartitions=2)
    >>> pyscore.scoring.score_dask(fitted, frame).compute().shape
    (60, 1)
    """
    dask = _dask()
    given = ScoreOptions(**options).by(fitted.convention)
    engine = given.engine  # by name, so that a worker finds its own
    given = replace(given, backend=engine.name, dtype=engine.dtype, sigma2=fitted.noise_variance(given.sigma2))
    chosen = check_names((names,) if isinstance(names, str) else names, given.chosen)
    fitted.require_imputer(impute)
    keep = tuple(dict.fromkeys(map(str, keep)))
    chosen = list(dict.fromkeys(chosen))
    have = [str(column) for column in frame.columns]
    lacking = [name for name in (*fitted.standardiser.columns, *keep) if name not in have]
    if lacking:
        raise InvalidInput(
            f"the frame lacks the column(s) {', '.join(lacking[:8])}. It has {', '.join(have[:8])}."
        )
    if clash := [name for name in keep if name in chosen]:
        raise InvalidInput(f"`keep` has a column {clash[0]!r}, which is the name of a score, too. Rename it.")
    if twice := [name for name in (*fitted.standardiser.columns, *keep) if have.count(name) > 1]:
        raise InvalidInput(f"column names must differ; got {twice[0]!r} more than once. Rename them.")
    meta = _kept(frame._meta, list(keep)).assign(**{name: pd.Series(dtype=np.float64) for name in chosen})
    model = dask.delayed(fitted, name=f"pyscore-model-{fitted.digest()}", pure=True, traverse=False)
    return frame.map_partitions(
        _score_partition, model, keep=list(keep), meta=meta, names=chosen, impute=impute, **given.keywords()
    )


def _kept(frame: pd.DataFrame, keep: list[str]) -> pd.DataFrame:
    """Columns by the texts of their labels."""
    place = {str(label): j for j, label in enumerate(frame.columns)}
    return frame.iloc[:, [place[name] for name in keep]]


def _score_partition(frame: pd.DataFrame, fitted: FittedModel, *, keep: list[str], **options: Any) -> pd.DataFrame:
    """Score one partition, on one thread: Dask has one for each partition under way."""
    kept = _kept(frame, keep)
    if not len(frame):
        return kept.assign(**{name: np.empty(0) for name in options["names"]})
    try:
        with _one_thread(options["backend"]):
            scores = fitted.scores(frame, **options)
    except InvalidInput as error:
        raise InvalidInput(
            f"in the partition whose index goes from {frame.index[0]!r} to {frame.index[-1]!r}: {error}"
        ) from None
    return pd.concat([kept, scores.set_axis(frame.index)], axis=1)


@contextlib.contextmanager
def _one_thread(backend: str) -> Iterator[None]:
    if backend != "numba":
        yield
        return
    from numba import get_num_threads, set_num_threads

    before = get_num_threads()
    set_num_threads(1)
    try:
        yield
    finally:
        set_num_threads(before)


# ── files on a cluster ──


@dataclass(frozen=True)
class _Span:
    """Rows `first` … `last` of a Parquet file, for a worker to read."""

    file: InputFile
    number: int
    first: int
    last: int


def scored_on_cluster(
    scorer: BlockScorer, files: Sequence[InputFile], start: tuple[int, int], rows: int, scheduler: str
) -> Iterator[Scored]:
    """Yield the scores of files in order, computed by the workers of a cluster.

    Workers read Parquet files themselves; what can't be entered in the middle, CSV and Arrow, is read here.
    """
    _dask()
    import distributed

    connect: Any = distributed.Client  # untyped
    try:
        client = connect(scheduler, set_as_default=False, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"`scheduler` {scheduler!r} cannot be reached: {error}. Give the address that `dask scheduler` prints."
        ) from None
    with client:
        scattered = client.scatter(scorer, broadcast=True, hash=False)
        threads = sum(client.nthreads().values())
        if not threads:
            raise InvalidInput(
                f"`scheduler` {scheduler!r} has no workers. Start some with `dask worker {scheduler}`."
            )
        waiting: deque[Any] = deque()
        for task in _tasks(scorer, files, start, rows):
            function = _score_span if isinstance(task, _Span) else _score_block
            waiting.append(client.submit(function, scattered, task, rows, pure=False))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _tasks(
    scorer: BlockScorer, files: Sequence[InputFile], start: tuple[int, int], rows: int
) -> Iterator[_Span | Block]:
    for number in range(start[0], len(files)):
        first = start[1] if number == start[0] else 0
        if files[number].kind == "parquet":
            yield from _spans(files[number], number, first)
        else:
            yield from read_blocks(files[: number + 1], scorer.columns, rows, start=(number, first))


def _spans(file: InputFile, number: int, first: int) -> Iterator[_Span]:
    """Cut a file near its row groups, at multiples of `CHUNK`, which is where the bits of a row are decided."""
    from pyscore.data.table_files import CHUNK

    with parquet.ParquetFile(file.path) as reader:
        sizes = [reader.metadata.row_group(i).num_rows for i in range(reader.metadata.num_row_groups)]
    total = sum(sizes)
    for edge in np.cumsum(sizes, dtype=np.int64).tolist():
        last = min(total, -(-edge // CHUNK) * CHUNK)
        if last - first >= SPAN_ROWS or (last == total and last > first):
            yield _Span(file, number, first, last)
            first = last


def _score_span(scorer: BlockScorer, span: _Span, rows: int) -> Scored:
    """Read and score rows, block by block; runs on a worker."""
    from pyscore.scoring.stream import Scored

    scored: list[Scored] = []
    with _one_thread(scorer.options.engine.name):
        for block in read_blocks([span.file], scorer.columns, rows, start=(0, span.first), threads=False):
            here = min(block.batch.num_rows, span.last - block.first)
            scored.append(scorer(Block(block.batch.slice(0, here), span.number, block.path, block.first)))
            if scored[-1].end >= span.last:
                break
    table = pa.Table.from_batches([block.table for block in scored]).combine_chunks().to_batches()[0]
    singular = np.concatenate([block.singular for block in scored])
    return Scored(table, span.number, span.last, 0.0, singular)


def _score_block(scorer: BlockScorer, block: Block, rows: int) -> Scored:
    """Score rows that were read elsewhere; runs on a worker."""
    with _one_thread(scorer.options.engine.name):
        return scorer(block)


def _dask() -> Any:
    try:
        import dask
        import distributed  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(f"{error}. Install it: pip install 'pyscore-anomaly[dask]'.") from None
    return dask
