"""Tables on disk as a stream of blocks of rows: Parquet, CSV and Arrow files, or folders and patterns of them.

Memory is bounded by a block, whatever the size of a file: a Parquet row group is decoded page by page, a CSV
file parsed megabyte by megabyte. (An Arrow file is read by the record batches that it was written in.)
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from pyscore.errors import DataUnavailable, InvalidInput
from pyscore.fingerprints import fingerprint, state

__all__ = ["Block", "InputFile", "find_files", "inspect", "inspect_all", "read_blocks"]

Kind = Literal["parquet", "csv", "tsv", "arrow"]
SUFFIXES: dict[str, Kind] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".arrows": "arrow",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
CSV_BYTES = 1 << 21
"""What the CSV reader parses at a time."""
READ_AHEAD = 1 << 16
"""Buffer of each column of a Parquet file; without one a whole column chunk would be read at once."""


@dataclass(frozen=True)
class InputFile:
    """One file of the input, and what identifies it."""

    path: str
    kind: Kind
    size: int
    rows: int | None
    """As the file itself says; None if it must be read to know."""
    types: tuple[tuple[str, pa.DataType], ...] = ()
    """How the columns of a CSV file are to be parsed."""
    kept: tuple[tuple[str, pa.DataType], ...] = ()
    """Columns to be carried along, and the types that they are to have: those of the first file."""
    fingerprint: tuple[Any, ...] = ()
    """What tells whether the file is another one now; see `fingerprints`."""

    def identity(self) -> list[Any]:
        """What must be the same for a run to be resumed."""
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
    """How much of the file has been read, where its number of rows is not known."""


# ── which files ──


def find_files(source: str | os.PathLike[str]) -> list[str]:
    """Return the files that a path, a folder or a pattern names, in the order in which they are read.

    Folders are searched to their depths; what begins with ``.`` or ``_`` is left aside. Numbers in names count
    as numbers: part.2 comes before part.10.

    Raises
    ------
    DataUnavailable
        If there are none.
    InvalidInput
        If a file is named whose kind is unknown.
    """
    text = os.fspath(source)
    path = Path(text)
    if path.is_file():
        if _kind(text) is None:
            raise InvalidInput(f"`path` must end in .csv, .tsv, .parquet, .arrow or .feather; got {text!r}.")
        return [text]
    if path.is_dir():
        found = [str(p) for p in path.rglob("*") if not _hidden(p.relative_to(path))]
    elif glob.has_magic(text):
        found = glob.glob(text, recursive=True)
    else:
        raise DataUnavailable(f"there is no file {text!r}. Check the path.")
    files = sorted((f for f in found if _kind(f) and os.path.isfile(f)), key=_natural)
    if not files:
        raise DataUnavailable(
            f"{text!r} holds no table: no file that ends in {', '.join(SUFFIXES)}. Check the path."
        )
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _kind(name: str) -> Kind | None:
    stem, suffix = os.path.splitext(name.lower())
    if suffix in COMPRESSED:
        kind = SUFFIXES.get(os.path.splitext(stem)[1])
        return kind if kind in ("csv", "tsv") else None
    return SUFFIXES.get(suffix)


# ── what is in them ──


def inspect_all(paths: Sequence[str], features: Sequence[str], keep: Sequence[str] = ()) -> list[InputFile]:
    """`inspect` for each file; the columns kept get the types that they have in the first one."""
    files = [inspect(path, features, keep) for path in paths]
    return [replace(file, kept=files[0].kept) for file in files]


def inspect(path: str, features: Sequence[str], keep: Sequence[str] = ()) -> InputFile:
    """Look at the schema of a file: it must have the columns, and the features must be numbers.

    Raises
    ------
    InvalidInput
        Naming the column that is missing, comes twice or holds no numbers (with its first text and the row).
    """
    kind = _kind(path) or "parquet"
    try:
        found = fingerprint(path)
        schema, rows = _schema(path, kind)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    wanted = [*features, *keep]
    lacking = [name for name in wanted if name not in schema.names]
    if lacking:
        raise InvalidInput(f"{path!r} lacks the column(s) {_some(lacking)}. It has {_some(schema.names)}.")
    twice = [name for name in wanted if schema.names.count(name) > 1]
    if twice:
        raise InvalidInput(f"{path!r} has the column {twice[0]!r} more than once. Rename one of them.")
    types: tuple[tuple[str, pa.DataType], ...] = ()
    kept = tuple((name, _plain(schema.field(name).type)) for name in keep)
    if kind in ("csv", "tsv"):
        boolean = {name for name in features if pa.types.is_boolean(schema.field(name).type)}
        types = tuple((name, pa.bool_() if name in boolean else pa.float64()) for name in features)
        types += tuple((name, pa.string()) for name in keep if name not in features)
        kept = tuple((name, dict(types)[name]) for name in keep)  # a CSV file has no types: texts as they stand
    file = InputFile(os.path.abspath(path), kind, found[0], rows, types, kept, tuple(found))
    for name in features:
        if not _is_number(schema.field(name).type):
            raise _no_number(file, name, schema.field(name).type)
    return file


def _schema(path: str, kind: Kind) -> tuple[pa.Schema, int | None]:
    if kind == "parquet":
        with _open_parquet(path) as file:
            return file.schema_arrow, file.metadata.num_rows
    if kind == "arrow":
        from pyarrow import dataset

        with pa.OSFile(path) as raw:
            reader = _open_arrow(raw, None)
            whole = hasattr(reader, "num_record_batches")
            rows = dataset.dataset(path, format="ipc").count_rows() if whole else None
            return reader.schema, rows
    with _open_text(path)[1] as stream, csv.open_csv(stream, parse_options=_dialect(kind)) as reader:
        return reader.schema, None


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return _is_number(kind.value_type)
    floating = types.is_floating(kind) and not types.is_float16(kind)
    return bool(
        floating
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )


def _no_number(file: InputFile, name: str, kind: pa.DataType) -> InvalidInput:
    """The error for a column that is not of numbers, with the first value that is none and its row."""
    where = ""
    if file.kind in ("csv", "tsv"):
        found = _first_text(file, name)
        where = f", the first of them {found[1]!r} at row {found[0]} (the first row is 0)" if found else ""
        kind_name = "text"
    else:
        kind_name = str(kind)
        values = (value.as_py() for block in _read(file, [name], 0) for value in block.column(0))
        first = next((value for value in values if value is not None), None)
        where = f", the first of them {first!r}" if first is not None else ""
    return InvalidInput(
        f"column {name!r} of {file.path!r} must hold numbers; it holds {kind_name}{where}. "
        "Encode it as numbers of 32 or 64 bits, and refit if it was another kind of column then."
    )


def _first_text(file: InputFile, name: str) -> tuple[int, str] | None:
    """Row and text of the first entry of a CSV column that is not a number."""
    row = 0
    stream = _open_text(file.path)[1]
    options = csv.ConvertOptions(
        include_columns=[name], column_types={name: pa.string()}, strings_can_be_null=True
    )
    with stream, csv.open_csv(stream, parse_options=_dialect(file.kind), convert_options=options) as reader:
        for batch in reader:
            for text in batch.column(0).to_pylist():
                if text is not None and not _is_numeral(text):
                    return row, text
                row += 1
    return None


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


# ── their rows ──


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
    files : of `inspect`
    columns : names; the batches have these columns and no others
    rows : int
    start : (file, row)
        Where to begin; what stands before is skipped by row groups, as far as a format has them.
    threads : bool
        Decode columns in parallel.

    Raises
    ------
    InvalidInput
        If a file cannot be parsed, naming column and row of a text among numbers.
    """
    for number in range(start[0], len(files)):
        file = files[number]
        first = start[1] if number == start[0] else 0
        try:
            for batch, share in _whole(_read_from(file, columns, first, rows, threads), rows):
                yield Block(_with_types(batch, file), number, file.path, first, share)
                first += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _diagnosis(file, error) from error


def _with_types(batch: pa.RecordBatch, file: InputFile) -> pa.RecordBatch:
    """Give the columns kept the types that they have in the first file."""
    for name, kind in file.kept:
        at = batch.schema.get_field_index(name)
        if batch.schema.field(at).type == kind:
            continue
        try:
            batch = batch.set_column(at, name, batch.column(at).cast(kind))
        except pa.ArrowException as error:
            raise InvalidInput(
                f"column {name!r} of {file.path!r} cannot be kept: it holds {batch.schema.field(at).type}, but "
                f"{kind} in the first file ({error})."
            ) from None
    return batch


Batches = Iterator[tuple[pa.RecordBatch, float]]


def _whole(batches: Batches, rows: int) -> Batches:
    """Cut and join batches to `rows` rows each; those that have them already pass untouched."""
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
    source = _arrow(file, columns) if file.kind == "arrow" else _csv(file, columns)
    for batch, share in source:
        here = min(skip, batch.num_rows)
        skip -= here
        if here < batch.num_rows:
            yield batch.slice(here), share


def _read(file: InputFile, columns: Sequence[str], skip: int) -> Iterator[pa.RecordBatch]:
    return (batch for batch, _ in _read_from(file, columns, skip, 1024, False))


def _parquet(file: InputFile, columns: Sequence[str], skip: int, rows: int, threads: bool) -> Batches:
    with _open_parquet(file.path, buffer_size=READ_AHEAD) as reader:
        group, count = 0, reader.metadata.num_row_groups
        while group < count and skip >= (size := reader.metadata.row_group(group).num_rows):
            group, skip = group + 1, skip - size
        groups = range(group, count)
        for batch in reader.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=threads):
            here = min(skip, batch.num_rows)
            skip -= here
            if here < batch.num_rows:
                yield batch.slice(here).select(list(columns)), 0.0


def _open_parquet(path: str, **options: Any) -> parquet.ParquetFile:
    """Open a Parquet file whose pages are checked against their checksums, where it has them."""
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


def _open_text(path: str) -> tuple[pa.NativeFile, pa.NativeFile]:
    """The bytes of a file, and the text in them."""
    raw = pa.OSFile(path)
    compression = COMPRESSED.get(os.path.splitext(path.lower())[1])
    return raw, pa.CompressedInputStream(raw, compression) if compression else raw


def _dialect(kind: Kind) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True)


def _csv(file: InputFile, columns: Sequence[str]) -> Batches:
    raw, stream = _open_text(file.path)
    options = csv.ConvertOptions(include_columns=list(columns), column_types=dict(file.types))
    read = csv.ReadOptions(block_size=CSV_BYTES)
    opened: Callable[..., Any] = csv.open_csv
    with (
        stream,
        opened(stream, read_options=read, parse_options=_dialect(file.kind), convert_options=options) as reader,
    ):
        for batch in reader:
            yield batch, raw.tell() / max(1, file.size)


def _diagnosis(file: InputFile, error: Exception) -> InvalidInput:
    """What is wrong with a file that its reader stumbled over; a text among numbers is named by column and row."""
    if "conversion error" in str(error):
        numbers = [name for name, kind in file.types if not pa.types.is_string(kind)]
        found = [(text[0], name) for name in numbers if (text := _first_text(file, name))]
        if found:
            return _no_number(file, min(found)[1], pa.string())
    return _unreadable(file.path, error)


def _unreadable(path: str, error: Exception) -> InvalidInput:
    return InvalidInput(f"cannot parse {path!r}: {error}. Is it damaged, or of another kind?")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
