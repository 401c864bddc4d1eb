"""Reading of tables on disk as blocks of rows: Parquet, CSV and Arrow files, or folders and patterns of them.

All commands and `data.tables` read tables through this file. One block is in memory at a time, however large a
file is: a Parquet row group is decoded page by page, and a CSV file is parsed megabyte by megabyte. An Arrow file
is read by the record batches with which it was written.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import ipc, parquet

from pyscore._core.fingerprints import fingerprint, state
from pyscore.data import text_tables
from pyscore.data.arrow_numbers import is_number, plain_type
from pyscore.data.compressed import COMPRESSED, READ_ERRORS, member_of
from pyscore.data.feature_columns import left_out, own_features
from pyscore.data.kept_columns import unified
from pyscore.data.own_results import without_results
from pyscore.data.read_options import ReadOptions, TableNote
from pyscore.data.text_tables import TextForm
from pyscore.errors import DataUnavailable, InvalidInput, OutOfMemory, PyscoreError

__all__ = [
    "Block",
    "InputFile",
    "Source",
    "block_rows",
    "find_files",
    "inspect",
    "inspect_all",
    "read_blocks",
    "tell_notes",
    "tell_results",
]

MACHINE = (
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.ESTALE,
    errno.ENOENT,
)
"""Errors of the operating system that are not caused by the content of a file."""

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, a folder or a pattern, or several of these."""
Kind = Literal["parquet", "csv", "tsv", "arrow"]
SUFFIXES: dict[str, Kind] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".arrows": "arrow",
}  # fmt: skip
KNOWN = f"{', '.join(SUFFIXES)} (.csv and .tsv also with {', '.join(COMPRESSED)})"
READ_AHEAD = 1 << 16
"""Bytes of the buffer of each Parquet column; without a buffer a whole column chunk is read at once."""
BLOCK_BYTES = 1 << 23
"""Bytes of a block in float64: large enough that the cost of a call does not matter, small for any memory."""
CHUNK = 1 << 10
"""Blocks are multiples of this number of rows. Results of BLAS depend, in their last bits, on the number of rows
in a call; scores that use BLAS are computed for this many rows at a time, counted from the start of the file."""
RUN_ROWS, RUN_GROUPS = 1 << 20, 256
"""At most this many rows and row groups are opened together, because each row group costs memory."""


@dataclass(frozen=True)
class InputFile:
    """One file of the input, with what an inspection found."""

    path: str
    kind: Kind
    size: int
    rows: int | None
    """Number of rows that the file states; None if only reading it can tell."""
    types: tuple[tuple[str, pa.DataType], ...] = ()
    """Types as which the columns of a text table are parsed."""
    kept: tuple[tuple[str, pa.DataType], ...] = ()
    """Columns that are copied to the output, with their types there."""
    features: tuple[str, ...] = ()
    """Names of the features: those asked for, or all that the file has."""
    form: TextForm | None = None
    """Form of a text table."""
    notes: tuple[str, ...] = ()
    """Which columns were left out, and why."""
    fingerprint: tuple[Any, ...] = ()
    """Tells whether the file has changed; see `_core.fingerprints`."""

    def identity(self) -> list[Any]:
        """What identifies the file; a run can be resumed only if it is the same."""
        return [self.path, self.rows, *self.fingerprint]

    def unchanged(self) -> bool:
        """Whether the file is still the one that was inspected."""
        try:
            return state(self.path) == list(self.fingerprint[:4])
        except OSError:
            return False


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one file."""

    batch: pa.RecordBatch
    file: int
    """Number of the file in the input."""
    path: str
    first: int
    """Number of the first row in its file, counted from 0."""
    share: float = 0.0
    """Fraction of the file that has been read, where its number of rows is not known."""
    form: TextForm | None = None
    """Form of the file, if it is a text table."""

    def where(self, row: int, name: str) -> tuple[str, str | None]:
        """Return the place of a value in words for a message, and the text of its cell."""
        found = None if self.form is None else text_tables.locate(self.path, self.form, self.first + row)
        if found is None or self.form is None:
            return f"column {name!r} of {self.path!r}, row {self.first + row} (the first row is 0),", None
        line, fields = found
        place = self.form.names.index(name)
        return f"column {name!r} of {self.path!r}, line {line},", fields[place] if place < len(fields) else ""


# ── which files ──


def find_files(source: Source) -> list[str]:
    """Return the files of a path, a folder or a pattern, or of several of these, in the order of reading.

    Folders are searched with all their subfolders; names that begin with ``.`` or ``_`` are skipped. Numbers in
    names are sorted as numbers: part.2 comes before part.10.

    Raises
    ------
    DataUnavailable
        If there are none.
    InvalidInput
        If a file is of an unknown kind, is named twice, or is a pipe or a device.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    if not sources:
        raise InvalidInput(
            "there must be at least one table to read; got none. Name a file, a folder or a pattern."
        )
    files = [file for each in sources for file in _files_of(os.fspath(each))]
    twice = [file for file, count in Counter(map(os.path.realpath, files)).items() if count > 1]
    if twice and len(sources) > 1:
        raise InvalidInput(f"{twice[0]!r} is named twice, so that its rows would be read twice. Name it once.")
    return files


def _files_of(text: str) -> list[str]:
    path = Path(text)
    if path.is_file():
        if _kind(text) is None:
            raise InvalidInput(f"`path` must end in {KNOWN}; got {text!r}.")
        return [text]
    if path.is_dir():
        found = [str(p) for p in path.rglob("*") if not _hidden(p.relative_to(path))]
    elif path.exists():
        raise InvalidInput(
            f"{text!r} is a pipe or a device, which cannot be read twice. Write it to a file first."
        )
    elif glob.has_magic(text):
        found = glob.glob(text, recursive=True)
    else:
        raise DataUnavailable(f"there is no file {text!r}. Check the path.")
    files = sorted((f for f in found if os.path.isfile(f) and _kind(f)), key=_natural)
    if not files:
        raise DataUnavailable(f"{text!r} holds no table: no file that ends in {KNOWN}. Check the path.")
    tables, results = without_results(files)
    tell_results(results)
    return tables


def tell_results(results: Sequence[str]) -> None:
    """Warn which files were left out because they are results of `pyscore score`."""
    if results:
        more = f" and {len(results) - 1} more" if len(results) > 1 else ""
        warnings.warn(
            f"{results[0]!r}{more} left out: results of `pyscore score`. Name such a file itself to read it.",
            TableNote,
            stacklevel=4,
        )


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _kind(name: str) -> Kind | None:
    stem, suffix = os.path.splitext(name.lower())
    if suffix in COMPRESSED:
        inner = os.path.splitext(stem)[1]
        if suffix == ".zip" and inner not in SUFFIXES:
            inner = os.path.splitext((member_of(name) or "").lower())[1]
        kind = SUFFIXES.get(inner)
        return kind if kind in ("csv", "tsv") else None
    return SUFFIXES.get(suffix)


# ── what is in them ──


def inspect_all(
    paths: Sequence[str],
    features: Sequence[str] | None,
    keep: Sequence[str] = (),
    options: ReadOptions | None = None,
) -> list[InputFile]:
    """Inspect each file; kept columns get a type that can hold their values in all files.

    Raises
    ------
    InvalidInput
        As `inspect`; also if there is no such type for a kept column.
    """
    first = inspect(paths[0], features, keep, options)
    files = [first, *(inspect(path, first.features, keep, options) for path in paths[1:])]
    kept = unified([(file.path, file.kept) for file in files])
    return [replace(file, kept=kept) for file in files]


def tell_notes(files: Sequence[InputFile]) -> None:
    """Warn, once for each note, of what was left out of the files."""
    for note in dict.fromkeys(note for file in files for note in file.notes):
        warnings.warn(note, TableNote, stacklevel=3)


def inspect(
    path: str, features: Sequence[str] | None, keep: Sequence[str] = (), options: ReadOptions | None = None
) -> InputFile:
    """Check that a file has the wanted columns and that its features are numbers.

    Parameters
    ----------
    path : str
    features : names, or None for all columns but those kept
    keep : names of further columns
    options : ReadOptions

    Raises
    ------
    InvalidInput
        If a column is missing, comes twice or does not hold numbers; the message names it and its first bad value.
    """
    kind, options = _kind(path) or "parquet", options or ReadOptions()
    try:
        found = fingerprint(path)
        file = InputFile(os.path.abspath(path), kind, found[0], None, fingerprint=tuple(found))
        if kind in ("csv", "tsv"):
            return _inspect_text(file, path, features, keep, options)
        schema, rows = _schema(path, kind)
    except READ_ERRORS as error:
        raise _unreadable(path, error) from error
    file = replace(file, rows=rows)
    names = schema.names
    if features is None:
        features, notes = own_features(path, names, keep, _pandas_index(schema), schema.types)
        file = replace(file, notes=notes)
    place = _places(path, names, [*features, *keep])
    types = schema.types
    file = replace(
        file, features=tuple(features), kept=tuple((name, plain_type(types[place[name]])) for name in keep)
    )
    for name in features:
        if not is_number(types[place[name]]):
            raise _no_number(file, name, types[place[name]])
    return file


def _inspect_text(
    file: InputFile, path: str, features: Sequence[str] | None, keep: Sequence[str], options: ReadOptions
) -> InputFile:
    form = text_tables.look(path, file.kind, options, features or ())
    file = replace(file, form=form, rows=0 if form.empty else None)
    if features is None:
        features, notes = own_features(path, form.names, keep, (), None, form.first_rows, form.void_end)
    else:
        left = left_out(path, form.names, (), None, form.first_rows, form.void_end)
        wanted = {*features, *keep}
        notes = tuple(note for place, note in left.items() if form.names[place] not in wanted)
    file = replace(file, notes=notes)
    place = _places(path, form.names, [*features, *keep])
    try:
        found = text_tables.column_types(path, form, [place[name] for name in features])
    except READ_ERRORS as error:
        raise _diagnosis(file, error) from error
    types: dict[str, pa.DataType] = {}
    for name, kind in zip(features, found, strict=True):
        if not is_number(kind):
            found_text = text_tables.wrong_number(path, form, [(name, place[name], pa.float64())])
            raise found_text or InvalidInput(
                f"column {name!r} of {path!r} must hold numbers; it holds {kind}. Encode it as numbers, or "
                "leave it out."
            )
        types[name] = kind if pa.types.is_boolean(kind) else pa.float64()
    for name in keep:
        types.setdefault(name, pa.string())  # a text table has no types: kept columns are copied as text
    return replace(
        file,
        features=tuple(features),
        types=tuple(types.items()),
        kept=tuple((name, types[name]) for name in keep),
    )


def _places(path: str, names: Sequence[str], wanted: Sequence[str]) -> dict[str, int]:
    """Return the place of each column by name; raise if a wanted one is missing or comes twice."""
    counts = Counter(names)
    if lacking := [name for name in wanted if name not in counts]:
        raise InvalidInput(f"{path!r} lacks the column(s) {_some(lacking)}. It has {_some(names)}.")
    if twice := [name for name in wanted if counts[name] > 1]:
        raise InvalidInput(f"{path!r} has the column {twice[0]!r} more than once. Rename one of them.")
    return {name: place for place, name in enumerate(names)}


def _schema(path: str, kind: Kind) -> tuple[pa.Schema, int | None]:
    if kind == "parquet":
        with _open_parquet(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    from pyarrow import dataset

    with pa.OSFile(path) as raw:
        reader = _open_arrow(raw, None)
        whole = hasattr(reader, "num_record_batches")
        rows = dataset.dataset(path, format="ipc").count_rows() if whole else None
        return reader.schema, rows


def _pandas_index(schema: pa.Schema) -> list[str]:
    """Columns in which pandas stored the index of the rows."""
    try:
        metadata = schema.pandas_metadata or {}
    except (ValueError, RecursionError):  # damaged, or another program's
        return []
    found = metadata.get("index_columns") if isinstance(metadata, dict) else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _no_number(file: InputFile, name: str, kind: pa.DataType) -> InvalidInput:
    """Return the error for a column that does not hold numbers, with its first value."""
    values = (value.as_py() for block in _read(file, [name], 0) for value in block.column(0))
    first = next((value for value in values if value is not None), None)
    where = f", the first of them {repr(first)[:80]}" if first is not None else ""
    return InvalidInput(
        f"column {name!r} of {file.path!r} must hold numbers; it holds {kind}{where}. "
        "Encode it as numbers of 32 or 64 bits, and refit if it was another kind of column then."
    )


# ── their rows ──


def block_rows(columns: int) -> int:
    """Number of rows of that many columns in a block of about `BLOCK_BYTES`."""
    return max(64, BLOCK_BYTES // (8 * max(1, columns)))


def read_blocks(
    files: Sequence[InputFile],
    columns: Sequence[str],
    rows: int,
    *,
    start: tuple[int, int] = (0, 0),
    threads: bool = True,
) -> Iterator[Block]:
    """Yield the rows of files in order, `rows` at a time (the last block of a file is shorter).

    Parameters
    ----------
    files : results of `inspect`
    columns : names; the batches have these columns and no others
    rows : int
    start : (file, row)
        Where to begin. Formats with row groups skip whole groups before it without reading them.
    threads : bool
        Decode columns in parallel.

    Raises
    ------
    InvalidInput
        If a file cannot be parsed; for text among numbers the message names the column and the line.
    """
    for number in range(start[0], len(files)):
        file = files[number]
        first = start[1] if number == start[0] else 0
        try:
            for batch, share in _whole(_read_from(file, columns, first, rows, threads), rows):
                yield Block(_with_types(batch, file), number, file.path, first, share, file.form)
                first += batch.num_rows
        except READ_ERRORS as error:
            raise _diagnosis(file, error) from error


def _with_types(batch: pa.RecordBatch, file: InputFile) -> pa.RecordBatch:
    """Cast the kept columns to their common types."""
    for name, kind in file.kept:
        at = batch.schema.get_field_index(name)
        if batch.schema.field(at).type != kind:
            batch = batch.set_column(at, name, batch.column(at).cast(kind))
    return batch


Batches = Iterator[tuple[pa.RecordBatch, float]]


def _whole(batches: Batches, rows: int) -> Batches:
    """Cut and join batches to `rows` rows each; a batch that already has them is yielded unchanged."""
    waiting: list[pa.RecordBatch] = []
    held, share = 0, 0.0
    for batch, share in batches:
        at = 0
        if not waiting and batch.num_rows == rows:
            yield batch, share
            continue
        while at < batch.num_rows:
            piece = batch.slice(at, rows - held)
            waiting.append(piece)
            at, held = at + piece.num_rows, held + piece.num_rows
            if held == rows:
                yield pa.concat_batches(waiting), share
                waiting, held = [], 0
    if held:
        yield pa.concat_batches(waiting), share


def _read_from(file: InputFile, columns: Sequence[str], skip: int, rows: int, threads: bool) -> Batches:
    """Batches of any length, from row `skip` on."""
    if file.kind == "parquet":
        yield from _parquet(file, columns, skip, rows, threads)
        return
    if file.form is not None:
        if not file.form.empty:
            place = {name: j for j, name in enumerate(file.form.names)}
            types = dict(file.types)
            fields = [(name, place[name], types[name]) for name in columns]
            for batch, read in text_tables.read_text(file.path, file.form, fields, skip):
                yield batch, read / max(1, file.size)
        return
    for batch, share in _arrow(file, columns):
        here = min(skip, batch.num_rows)
        skip -= here
        if here < batch.num_rows:
            yield batch.slice(here), share


def _read(file: InputFile, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    return (batch for batch, _ in _read_from(file, columns, skip, 1024, False))


def _parquet(file: InputFile, columns: Sequence[str], skip: int, rows: int, threads: bool) -> Batches:
    wanted = list(columns)
    with _open_parquet(file.path, buffer_size=READ_AHEAD) as reader:
        metadata = reader.metadata
        sizes = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        for groups, before in _runs(sizes, skip):
            skip = before
            for batch in reader.iter_batches(rows, row_groups=groups, columns=wanted, use_threads=threads):
                here = min(skip, batch.num_rows)
                skip -= here
                if here < batch.num_rows:
                    yield batch.slice(here).select(wanted), 0.0


def _runs(sizes: Iterator[int], skip: int) -> Iterator[tuple[range, int]]:
    """Yield row groups to open together and the rows to skip in them; groups before `skip` are left out."""
    first, held, before = 0, 0, skip
    group = -1
    for group, size in enumerate(sizes):
        if not held and group == first and before >= size:
            first, before = group + 1, before - size
            continue
        held += size
        if held >= RUN_ROWS or group - first + 1 >= RUN_GROUPS:
            yield range(first, group + 1), before
            first, held, before = group + 1, 0, 0
    if first <= group:
        yield range(first, group + 1), before


def _open_parquet(path: str, **options: Any) -> parquet.ParquetFile:
    """Open a Parquet file; pages that have checksums are checked against them."""
    return parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True, **options)


def _open_arrow(raw: pa.NativeFile, options: ipc.IpcReadOptions | None) -> Any:
    """Reader of an Arrow file, or of an Arrow stream in a file."""
    try:
        return ipc.open_file(raw, options=options)
    except pa.ArrowInvalid:
        raw.seek(0)
        return ipc.open_stream(raw, options=options)


def _arrow(file: InputFile, columns: Sequence[str]) -> Batches:
    with pa.OSFile(file.path) as raw:
        names = _open_arrow(raw, None).schema.names
        raw.seek(0)
        reader = _open_arrow(raw, ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns]))
        if hasattr(reader, "num_record_batches"):
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            yield batch.select(list(columns)), raw.tell() / max(1, file.size)


def _diagnosis(file: InputFile, error: Exception) -> PyscoreError:
    """Return the error for a file that Arrow cannot read, with the line and the text where they can be found."""
    if file.form is not None and isinstance(error, pa.ArrowInvalid):
        what, place = str(error), {name: j for j, name in enumerate(file.form.names)}
        if "UTF8" in what:
            return text_tables.wrong_encoding(file.path, file.form.encoding)
        if "Expected" in what or "conversion error to null" in what:
            return text_tables.wrong_row(file.path, file.form) or _unreadable(file.path, error)
        numbers = [(name, place[name], kind) for name, kind in file.types if not pa.types.is_string(kind)]
        found = text_tables.wrong_number(file.path, file.form, numbers) if "conversion error" in what else None
        return found or _unreadable(file.path, error)
    return _unreadable(file.path, error)


def _unreadable(path: str, error: BaseException) -> PyscoreError:
    """Return the error for a file that cannot be read; it says whether the file or the machine is the cause."""
    if isinstance(error, MemoryError):
        return OutOfMemory(f"there is not enough memory to read {path!r} ({error}).")
    if isinstance(error, OSError) and error.errno in MACHINE:
        return DataUnavailable(f"cannot read {path!r}: {error.strerror or error}.")
    return InvalidInput(f"cannot parse {path!r}: {error}. Is it damaged, or of another kind?")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
