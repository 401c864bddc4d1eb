"""Scores of tables larger than memory: read, standardised and scored block by block, on all cores, in order.

One thread reads and decodes, a pool scores, the caller's thread writes, and bounded queues lie between them, so
that memory depends on the size of a block and the number of threads alone. With the numba backend a row's scores
are the same to the bit whatever the blocks, the threads and the places where a run was resumed.
"""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Unpack

import numpy as np
import pyarrow as pa

from pyscore import reference
from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.waiting import result_of
from pyscore._core.waiting import start as start_in
from pyscore.data.arrow_numbers import arrow_column
from pyscore.data.kept_columns import check_writable
from pyscore.data.own_results import without_results
from pyscore.data.read_options import ReadOptions
from pyscore.data.table_files import (
    BLOCK_BYTES,
    CHUNK,
    Block,
    InputFile,
    Source,
    find_files,
    inspect_all,
    read_blocks,
    tell_notes,
    tell_results,
)
from pyscore.errors import InvalidInput, NumericalWarning
from pyscore.scoring import scores as scoring
from pyscore.scoring.fitted import FittedModel, Impute
from pyscore.scoring.options import ScoreKeywords, ScoreOptions
from pyscore.scoring.prepared_rows import RowBuffer, standardised_rows
from pyscore.scoring.resumable_output import Parts, check_target, open_parts

__all__ = [
    "BlockScorer",
    "Progress",
    "Scored",
    "Scorer",
    "StreamResult",
    "open_input",
    "score_files",
    "scored_blocks",
    "stream",
]

NARROWEST = 64
"""Rows of a block, at least, of tables so wide that `CHUNK` of them are no small block."""
READ_AHEAD = 2
"""Blocks that are read while those before them are scored and written."""
PART_ROWS, PART_BYTES, PART_SECONDS = 1 << 20, 1 << 24, 15.0
"""A part is closed after so many rows, or so much, or so long: what a killed run may lose, and what is held. Each
part costs the disk two waits, one to be safe and one to be deleted, as long as tens of thousands of rows take."""


Progress = Callable[[int, float | None], None]
"""Is told how many rows are done, and how many there are (estimated where files do not say; None: unknown)."""


_rows = RowBuffer()  # the rows of a block are not needed once it is scored


@dataclass(frozen=True)
class Scored:
    """The scores of one block."""

    table: pa.RecordBatch
    """Columns kept, then one float64 column a score."""
    file: int
    end: int
    """Row of the file after the last one."""
    share: float
    singular: Array
    """Numbers of the rows of the file whose Jacobian is singular to working precision, or that have no density."""


@dataclass(frozen=True)
class Scorer:
    """All that is needed to score a block; it can be sent to another process."""

    fitted: FittedModel
    names: tuple[str, ...]
    options: ScoreOptions = field(default_factory=ScoreOptions)
    impute: Impute | None = None
    keep: tuple[str, ...] = ()
    projection: bool = False
    """Whether the columns of `projection_report` are written, too."""

    def __post_init__(self) -> None:
        options = self.options.by(self.fitted.convention)
        engine = options.engine  # by name, so that another process finds its own
        variance = self.fitted.noise_variance(options.sigma2)
        options = replace(options, backend=engine.name, dtype=engine.dtype, sigma2=variance)
        object.__setattr__(self, "options", options)
        names = scoring.check_names(self.names or None, options.chosen)
        object.__setattr__(self, "names", tuple(dict.fromkeys(names)))
        object.__setattr__(self, "keep", tuple(dict.fromkeys(self.keep)))
        self.fitted.require_imputer(self.impute)
        if clash := [name for name in self.keep if name in self.written]:
            raise InvalidInput(f"`keep` has a column {clash[0]!r}, which is the name of a result, too. Rename it.")

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that are scored."""
        return self.fitted.standardiser.columns

    @property
    def results(self) -> tuple[str, ...]:
        """Columns by which a table of results is known as one."""
        return (*scoring.SCORES, *scoring.PROJECTION_COLUMNS)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to be read."""
        return tuple(dict.fromkeys((*self.features, *self.keep)))

    @property
    def written(self) -> tuple[str, ...]:
        """Columns that are computed."""
        return self.names + (scoring.PROJECTION_COLUMNS if self.projection else ())

    @property
    def once(self) -> bool:
        """Whether each row is scored on its own, so that its bits depend on no others."""
        return scoring.passes_once(self.names, self.options) and not self.projection

    def identity(self) -> dict[str, Any]:
        """What decides the scores, besides the rows."""
        from pyscore._core.version import __version__

        return {
            "model": self.fitted.digest(),
            "scores": list(self.names),
            "convention": self.options.chosen.to_dict(),
            "backend": [self.options.engine.name, str(self.options.engine.dtype)],
            "seed": self.options.seed,
            "impute": self.impute,
            "keep": list(self.keep),
            "sigma2": np.asarray(self.options.sigma2, np.float64).tolist(),
            "projection": self.projection,
            "pyscore version": __version__,
        }

    def __call__(self, block: Block) -> Scored:
        """Score a block."""
        engine, names, once = self.options.engine, self.names, self.once
        imputer = self.fitted.require_imputer(self.impute)
        dtype = engine.dtype if once else np.dtype(np.float64)
        x = standardised_rows(block, self.fitted, imputer, dtype, _rows, compiled=engine.name == "numba")
        model = self.fitted.model
        step = len(x) if once else CHUNK
        pieces, singular = [], []
        for start in range(0, len(x), step):
            with reference.singular_rows() as rows:
                terms = scoring.terms_checked(model, x[start : start + step], names, self.options)
                piece = scoring.sums(terms, names)
            if self.projection:
                report = scoring.projection_report(
                    model, x[start : start + step], convention=self.options.convention, backend=engine
                )
                piece |= {name: report[name].to_numpy() for name in scoring.PROJECTION_COLUMNS}
            pieces.append(piece)
            singular += [block.first + start + r for r in rows]
        columns = [block.batch.column(name) for name in self.keep]
        columns += [arrow_column(np.concatenate([p[name] for p in pieces])) for name in self.written]
        table = pa.RecordBatch.from_arrays(columns, names=[*self.keep, *self.written])
        bad = np.unique(np.concatenate(singular)) if singular else np.empty(0, np.int64)
        return Scored(table, block.file, block.first + len(x), block.share, bad)


@dataclass(frozen=True)
class StreamResult:
    """What `score_files` did."""

    path: Path
    rows: int
    resumed: int
    """Rows that an earlier run had scored."""
    restarted: str | None
    """Why parts that were there could not be used."""
    singular: int


class BlockScorer(Protocol):
    """What scores blocks: a `Scorer`, or that of a detector."""

    @property
    def options(self) -> ScoreOptions:
        """What computes."""

    @property
    def keep(self) -> tuple[str, ...]:
        """Columns to carry along."""

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that are scored."""

    @property
    def results(self) -> tuple[str, ...]:
        """Columns by which a table of results is known as one."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns to be read."""

    @property
    def written(self) -> tuple[str, ...]:
        """Columns that are computed."""

    @property
    def once(self) -> bool:
        """Whether each row is scored on its own, so that its bits depend on no others."""

    def identity(self) -> dict[str, Any]:
        """What decides the scores, besides the rows."""

    def __call__(self, block: Block) -> Scored:
        """Score a block."""


def open_input(source: Source, scorer: BlockScorer, reading: ReadOptions | None = None) -> list[InputFile]:
    """Find the files of a source and look at their columns; raises as `find_files` and `inspect`."""
    return _inspected(input_files(source, scorer), source, scorer, reading)


def input_files(source: Source, scorer: BlockScorer) -> list[str]:
    """Find the files of a source, and leave out results that lie in its folders; raises as `find_files`."""
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    named = [os.fspath(each) for each in sources if os.path.isfile(each)]
    found = find_files(source)
    among, results = without_results([f for f in found if f not in named], scorer.features, scorer.results)
    tell_results(results)
    return [file for file in found if file in named or file in among]


def _inspected(
    paths: Sequence[str], source: Source, scorer: BlockScorer, reading: ReadOptions | None
) -> list[InputFile]:
    files = inspect_all(paths, scorer.features, scorer.keep, reading)
    tell_notes(files)
    if not any(file.rows is None or file.rows for file in files):
        raise InvalidInput(f"the table {_named(source)} is empty: 0 rows.")
    return files


def _named(source: Source) -> str:
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else ", ".join(map(repr, source))


def score_files(
    fitted: FittedModel,
    source: Source,
    target: str | os.PathLike[str],
    names: Iterable[str] | str | None = ("proposed",),
    *,
    impute: Impute | None = None,
    reading: ReadOptions | None = None,
    keep: Sequence[str] = (),
    projection: bool = False,
    threads: int | None = None,
    block_rows: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[ScoreKeywords],
) -> StreamResult:
    """Score the rows of tables on disk, in bounded memory.

    Parameters
    ----------
    fitted : FittedModel
    source : path
        A Parquet, CSV or Arrow file, a folder of them, or a pattern such as ``data/*.parquet``; or a list of
        such. Columns are found by name.
    target : path
        A .parquet, .csv or .arrow file; or a folder, which gets the parts as they are written.
    names : names of scores, one name, or None for all that the convention defines
    impute : {"median"}, optional
        Fill missing values with the medians learnt at fit; by default they are an error.
    reading : ReadOptions, optional
        How tables of text are read: delimiter, decimal mark, encoding, …
    keep : names of columns to carry along, identifiers say
    projection : bool
        Whether to write the columns of `scores.projection_report`, too.
    threads : int, optional
        Threads that score (numba); by default as many as Numba has.
    block_rows : int, optional
        Rows a block, rounded up to a multiple of 1,024; by default 4 MB of them.
    scheduler : str, optional
        Address of a Dask scheduler whose workers score, and read what is Parquet: they must see the same paths.
    progress : callable (rows, total), optional
    **options
        Fields of `ScoreOptions`: ``sigma2``, ``convention``, ``backend``, ``dtype``, ``seed``.

    Returns
    -------
    StreamResult

    Raises
    ------
    InvalidInput
        Naming file, row and column of what is missing, no number or not finite; if the target is one of the input
        files, before anything is read; if another run is at the target; or if the input changes under way.
    WriteError
        If the target cannot be written: before the run, if that can be told, or when the disk is full.

    Notes
    -----
    A run that was killed is taken up where it was by the same call, if model, input and options are the same.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(np.random.default_rng(0).standard_normal((60, 3)), columns=["a", "b", "c"])
    >>> table.to_parquet("rows.parquet")
    >>> fitted = pyscore.fit(table, pyscore.TrainConfig(steps=5), latent_dim=2, hidden_dim=8)
    >>> result = pyscore.scoring.score_files(fitted, "rows.parquet", "scores.parquet")
    >>> pd.read_parquet("scores.parquet").shape
    (60, 1)
    """
    names = (names,) if isinstance(names, str) else tuple(names or ())
    scorer = Scorer(fitted, names, ScoreOptions(**options), impute, tuple(keep), projection)
    return stream(
        scorer, source, target, reading=reading, threads=threads, block_rows=block_rows, scheduler=scheduler,
        progress=progress,
    )  # fmt: skip


def stream(
    scorer: BlockScorer,
    source: Source,
    target: str | os.PathLike[str],
    *,
    reading: ReadOptions | None = None,
    threads: int | None = None,
    block_rows: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> StreamResult:
    """Score the rows of tables on disk by whatever scores blocks; see `score_files`."""
    paths = input_files(source, scorer)
    check_target(target, paths)
    files = _inspected(paths, source, scorer, reading)
    if files[0].kept:
        check_writable(files[0].kept, _suffix(target))
    identity = {**scorer.identity(), "input": [file.identity() for file in files]}
    identity["reading"] = (reading or ReadOptions()).identity()
    with open_parts(target, identity) as parts:
        restarted = parts.resume()
        before = parts.rows
        start = (parts.done[-1].file, parts.done[-1].row) if parts.done else (0, 0)
        blocks = scored_blocks(scorer, files, start, threads, block_rows, scheduler)
        _write(parts, blocks, functools.partial(_tell, progress, files))
        if changed := [file.path for file in files if not file.unchanged()]:
            raise InvalidInput(f"{changed[0]!r} changed while it was read. Run again once it is complete.")
        if not parts.done:
            raise InvalidInput(f"the table {_named(source)} is empty: 0 rows.")
        parts.finish()
    singular = sum(part.singular for part in parts.done)
    if singular:
        warnings.warn(
            f"the Jacobian of {singular} of {parts.rows} rows is singular to working precision, or a term of "
            "their density overflows. Rows without a finite log-density count as −inf, the most anomalous.",
            NumericalWarning,
            stacklevel=2,
        )
    return StreamResult(parts.target, parts.rows, before, restarted, singular)


def _suffix(target: str | os.PathLike[str]) -> str:
    """Kind of file that is written; a folder gets parts in Parquet."""
    text = os.fspath(target)
    folder = text.endswith(("/", os.sep)) or os.path.isdir(text)
    return ".parquet" if folder else Path(text).suffix.lower()


def _write(parts: Parts, blocks: Iterator[Scored], tell: Callable[[int, Scored], None]) -> None:
    """Gather blocks to parts."""
    held: list[Scored] = []
    rows, size, since = 0, 0, time.monotonic()

    def close(*, last: bool = False) -> None:
        singular = sum(len(block.singular) for block in held)
        table = pa.Table.from_batches([block.table for block in held])
        parts.write(table, file=held[-1].file, row=held[-1].end, singular=singular, last=last)

    for block in blocks:
        held.append(block)
        rows, size = rows + block.table.num_rows, size + block.table.nbytes
        if rows >= PART_ROWS or size >= PART_BYTES or time.monotonic() - since > PART_SECONDS:
            close()
            held, rows, size, since = [], 0, 0, time.monotonic()
        tell(parts.rows + rows, block)
    if held:
        close(last=True)


def _tell(progress: Progress | None, files: Sequence[InputFile], rows: int, block: Scored) -> None:
    """Report progress; files that do not know their rows are taken to have as many a byte as those read."""
    if progress is None:
        return
    known = [file.rows for file in files if file.rows is not None]
    if len(known) == len(files):
        progress(rows, sum(known))
        return
    read = sum(file.size for file in files[: block.file]) + block.share * files[block.file].size
    progress(rows, rows * sum(file.size for file in files) / read if read else None)


def scored_blocks(
    scorer: BlockScorer,
    files: Sequence[InputFile],
    start: tuple[int, int] = (0, 0),
    threads: int | None = None,
    block_rows: int | None = None,
    scheduler: str | None = None,
) -> Iterator[Scored]:
    """Yield the scores of the rows of files, block by block, in order; see `score_files`."""
    d = len(scorer.features)
    rows = block_rows or BLOCK_BYTES // (8 * d)
    narrow = block_rows is None and rows < CHUNK and scorer.once
    rows = max(NARROWEST, rows) if narrow else -(-max(1, rows) // CHUNK) * CHUNK
    if scheduler is not None:
        from pyscore.scoring.dask import scored_on_cluster

        yield from scored_on_cluster(scorer, files, start, rows, scheduler)
        return
    workers = _workers(scorer.options.engine.name, threads)
    blocks = _ahead(read_blocks(files, scorer.columns, rows, start=start, threads=workers > 1), READ_AHEAD)
    first = next(blocks, None)
    if first is None:
        return
    yield scorer(first)  # alone: kernels are compiled and weights packed once, before threads share them
    pool = ThreadPoolExecutor(
        workers, "pyscore-score", initializer=_one_thread_each, initargs=(scorer.options.engine.name,)
    )
    try:
        waiting: deque[Any] = deque()
        for block in blocks:
            waiting.append(start_in(pool, scorer, block))
            if len(waiting) > workers + 2:
                yield result_of(waiting.popleft(), pool)
        while waiting:
            yield result_of(waiting.popleft(), pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(items: Iterator[Block], count: int) -> Iterator[Block]:
    """Yield items, of which up to `count` are made in a thread of its own before they are asked for."""
    pool = ThreadPoolExecutor(1, "pyscore-read")  # one thread: items are made one after the other, in order
    try:
        waiting = deque(start_in(pool, next, items, None) for _ in range(count))
        while (item := result_of(waiting.popleft(), pool)) is not None:
            waiting.append(start_in(pool, next, items, None))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _workers(backend: str, threads: int | None) -> int:
    """Threads that score: all cores for kernels that leave the GIL; one for backends with threads of their own."""
    if threads is not None:
        check.integer("threads", threads, at_least=1)
    if backend != "numba":
        return 1
    from numba import get_num_threads

    return threads or get_num_threads()


def _one_thread_each(backend: str) -> None:
    if backend == "numba":
        from numba import set_num_threads

        set_num_threads(1)  # of this thread: blocks are shared out, not tiles
