"""Text tables: detection of their form from the first rows, reading by Arrow, and errors that name the line.

Arrow parses the numbers. Columns are passed to it by place, so that names may be anything. Arrow's errors do not
tell the line; after one, the file is read again, line by line, to find it.
"""

from __future__ import annotations

import contextlib
import csv as textcsv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa
from pyarrow import csv

from pyscore.data.compressed import READ_ERRORS, open_bytes
from pyscore.data.read_options import MISSING, ReadOptions
from pyscore.errors import InvalidInput

__all__ = [
    "TextForm",
    "column_types",
    "locate",
    "look",
    "no_number",
    "read_text",
    "wrong_encoding",
    "wrong_number",
    "wrong_row",
]

CSV_BYTES = 1 << 21
"""Bytes that are parsed at a time; more where rows are long."""
LOOKED_AT = 20
"""Rows that are read to detect the form of a table."""
LONGEST_FIELD = 1 << 31
DELIMITERS = (";", "\t", "|", ",", " ")
OTHER_KINDS = {
    b"PAR1": "a Parquet file (.parquet)", b"ARROW1": "an Arrow file (.arrow)", b"\x1f\x8b": "compressed (.csv.gz)",
    b"PK\x03\x04": "a zip archive, or a spreadsheet (.zip, .xlsx)", b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls)",
    b"BZh": "compressed (.csv.bz2)", b"\xfd7zXZ": "compressed (.csv.xz)",
    b"\x28\xb5\x2f\xfd": "compressed (.csv.zst)",
    b"\x89HDF": "an HDF5 file", b"%PDF": "a PDF file",
}  # fmt: skip
"""First bytes of other kinds of files, which may have the ending of a text file by mistake."""


@dataclass(frozen=True)
class TextForm:
    """The form of a text table."""

    delimiter: str
    decimal: str
    null: tuple[str, ...]
    encoding: str
    names: tuple[str, ...]
    """Names of the columns, one for each field of a row."""
    header: bool
    skip: int
    """Rows before the first row of data, empty ones included."""
    block: int
    """Bytes parsed at a time."""
    empty: bool = False
    """Whether there is no row of data."""
    void_end: bool = False
    """Whether the last field has no name, and no value in the first rows."""
    first_rows: tuple[tuple[str, ...], ...] = ()


# ── the form ──


def look(path: str, kind: str, options: ReadOptions, expected: Sequence[str] = ()) -> TextForm:
    """Detect the form of a text table from its first rows.

    Parameters
    ----------
    path : str
    kind : "csv" or "tsv"
    options : ReadOptions
    expected : names of columns; a first row that holds them is a header, even if all names are numbers

    Raises
    ------
    InvalidInput
        If the table is empty, of another encoding, has rows of other lengths than the header, or seems to have
        another delimiter.
    """
    encoding = options.encoding or _mark(path) or "utf-8"
    delimiter = options.delimiter or ("\t" if kind == "tsv" else ",")
    if delimiter == options.decimal:
        raise InvalidInput(f"`decimal` is {options.decimal!r}, as is the delimiter of {path!r}: give `delimiter`.")
    form = TextForm(
        delimiter, options.decimal, _nulls(options), encoding, (), options.header is not False, 0, CSV_BYTES
    )
    lines = _first_lines(path, encoding)
    rows = list(islice(_rows(path, form, "surrogateescape"), LOOKED_AT + 1))
    if not rows:
        raise InvalidInput(f"the table {path!r} is empty: it has no header and no row.")
    _check_delimiter(path, rows, lines, form)
    if options.header is False:
        names = [f"x{j}" for j in range(len(rows[0][1]))]
    else:
        names = list(rows[0][1])
        form = replace(form, skip=rows[0][0])
        _check_encoding(path, encoding, names)
        _check_header(path, names, options.header, expected)
        rows = rows[1:]
    names, void_end = _fit_to_rows(names, rows)
    for line, fields in rows:
        if len(fields) != len(names):
            raise _wrong_length(path, form, line, fields, len(names), lines)
    longest = max([len(line) for line in lines], default=0) * 4
    values = tuple(tuple(fields) for _, fields in rows)
    block = max(CSV_BYTES, 2 * longest)
    return replace(form, names=tuple(names), block=block, empty=not rows, void_end=void_end, first_rows=values)


def _nulls(options: ReadOptions) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*MISSING, *options.null)))  # without duplicates: Arrow stores them for each column


def _mark(path: str) -> str | None:
    """Return the encoding that the byte order mark of a text file gives, or None."""
    with open_bytes(path) as (stream, _):
        start = stream.read(6)
    for mark, kind in OTHER_KINDS.items():
        if start.startswith(mark):
            raise InvalidInput(
                f"{path!r} is not text: by its first bytes it is {kind}. Give it that ending, or convert it."
            )
    if start.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    return "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else None


def _fit_to_rows(names: list[str], rows: list[tuple[int, list[str]]]) -> tuple[list[str], bool]:
    """Make the names fit rows that end in an empty field; return them, and whether that field is a column."""
    lengths = {len(fields) for _, fields in rows}
    void = all(not fields or not fields[-1].strip() for _, fields in rows)
    if lengths == {len(names) + 1} and void:
        return [*names, ""], True
    if names[-1] == "" and lengths == {len(names) - 1}:
        return names[:-1], False
    return names, bool(rows) and void and lengths == {len(names)} and names[-1] in ("", f"x{len(names) - 1}")


def _check_header(path: str, names: list[str], header: bool | None, expected: Sequence[str]) -> None:
    """Raise if the first row holds data instead of names."""
    if header or (expected and set(expected) <= set(names)):
        return
    counted = names in ([str(j) for j in range(len(names))], ["", *map(str, range(len(names) - 1))])
    numbers = [name for name in names if name.strip()]
    if numbers and not counted and all(_is_numeral(name) for name in numbers):
        raise InvalidInput(
            f"the first row of {path!r} holds nothing but numbers ({_some(names)}), so it holds no names. "
            "Pass --no-header if the table has none, or --header if these are the names."
        )


# ── another delimiter ──


def _first_lines(path: str, encoding: str) -> list[str]:
    """The first lines, not split into fields."""
    with _text(path, encoding, "replace") as text:
        return [line.rstrip("\r\n") for line in islice(text, LOOKED_AT + 1)]


def _check_delimiter(path: str, rows: list[Any], lines: list[str], form: TextForm) -> None:
    """Raise if a table has one column, but several with another delimiter."""
    if len(rows[0][1]) == 1 and (hint := _suggestion(lines, form)):
        raise InvalidInput(f"{path!r} has one column if {form.delimiter!r} separates them. {hint}")


def _suggestion(lines: list[str], form: TextForm) -> str:
    """Suggest another delimiter or decimal mark for the first lines; empty if those given fit."""
    lines = [line for line in lines if line.strip()]
    best, most = form.delimiter, 1
    for delimiter in DELIMITERS:
        if delimiter == form.delimiter:
            continue
        lengths = {len(line.split(delimiter)) for line in lines}
        if len(lengths) == 1 and (length := lengths.pop()) > most:
            best, most = delimiter, length
    if best == form.delimiter:
        return ""
    cells = [cell for line in lines[1:] for cell in line.split(best)]
    comma = best != "," and any(_has_comma(cell) for cell in cells)
    marks = f"`{_visible(best)}`" + (" with decimal commas" if comma else "")
    flags = f"--delimiter {'tab' if best == chr(9) else repr(best)}" + (" --decimal ','" if comma else "")
    return f"It looks like {marks}: pass {flags}."


def _visible(delimiter: str) -> str:
    return {"\t": "tab", " ": "space"}.get(delimiter, delimiter)


def _has_comma(cell: str) -> bool:
    return re.fullmatch(r'\s*"?[+-]?\d+,\d+([eE][+-]?\d+)?"?\s*', cell) is not None


def _wrong_length(
    path: str, form: TextForm, line: int, fields: list[str], wanted: int, lines: list[str]
) -> InvalidInput:
    what = "the header has" if form.header else "the first row has"
    hint = _suggestion(lines, form) or (
        "Correct the file: every row must have one field for each name."
        if form.header
        else "Correct the file: every row must have as many fields."
    )
    return InvalidInput(
        f"line {line} of {path!r} has {_fields(len(fields))}, but {what} {_fields(wanted)}. {hint}"
    )


def _fields(count: int) -> str:
    return f"{count} field{'' if count == 1 else 's'}"


# ── rows, by Arrow ──


def _parse_options(form: TextForm) -> csv.ParseOptions:
    return csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=True)


@contextlib.contextmanager
def _opened(
    path: str, form: TextForm, places: Sequence[int], types: dict[int, pa.DataType]
) -> Iterator[tuple[Any, Any]]:
    """Open Arrow's reader of the columns at `places`, with a function that returns the bytes read so far."""
    read = csv.ReadOptions(
        block_size=form.block,
        column_names=[str(j) for j in range(len(form.names))],
        skip_rows_after_names=form.skip,
        encoding=form.encoding,
    )
    convert = csv.ConvertOptions(
        include_columns=[str(j) for j in places],
        column_types={str(j): kind for j, kind in types.items()},
        null_values=list(form.null),
        decimal_point=form.decimal,
    )
    with (
        open_bytes(path) as (stream, tell),
        csv.open_csv(
            stream, read_options=read, parse_options=_parse_options(form), convert_options=convert
        ) as reader,
    ):
        yield reader, tell


def column_types(path: str, form: TextForm, places: Sequence[int]) -> list[pa.DataType]:
    """Types that Arrow infers for columns from the first megabytes."""
    if form.empty:
        return [pa.null()] * len(places)
    for attempt in _growing(form):
        with (
            contextlib.suppress(_TooLong),
            _rows_of_any_length(),
            _opened(path, attempt, places, {}) as (reader, _),
        ):
            return list(reader.schema.types)
    raise _endless(path)


def read_text(
    path: str, form: TextForm, columns: Sequence[tuple[str, int, pa.DataType]], skip: int
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield batches from row `skip` on, each with the number of bytes of the file read so far.

    Parameters
    ----------
    columns : name, place and type of each column
    """
    names = [name for name, _, _ in columns]
    places = [place for _, place, _ in columns]
    types = {place: kind for _, place, kind in columns}
    if form.void_end and (end := len(form.names) - 1) not in types:
        places, types = [*places, end], {**types, end: pa.null()}  # read, so that a value in it raises
    done = skip
    for attempt in _growing(form):
        before = done
        try:
            with _rows_of_any_length(), _opened(path, attempt, places, types) as (reader, tell):
                for batch in reader:
                    here = min(before, batch.num_rows)
                    before -= here
                    if here == batch.num_rows:
                        continue
                    piece = batch.slice(here)
                    arrays = [piece.column(k) for k in range(len(names))]
                    yield pa.RecordBatch.from_arrays(arrays, names=names), tell()
                    done += piece.num_rows
            return
        except _TooLong:
            continue
    raise _endless(path)


class _TooLong(Exception):
    """A row is longer than the block that is parsed."""


@contextlib.contextmanager
def _rows_of_any_length() -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        if "straddling" in str(error):
            raise _TooLong from error
        raise


def _growing(form: TextForm) -> Iterator[TextForm]:
    """Yield the form with larger and larger blocks."""
    while form.block < 1 << 31:
        yield form
        form = replace(form, block=min(4 * form.block, (1 << 31) - 1) if form.block < (1 << 31) - 1 else 1 << 31)


def _endless(path: str) -> InvalidInput:
    return InvalidInput(f"a row of {path!r} is longer than 2 GB, or a quotation mark in it is never closed.")


# ── which line ──


@contextlib.contextmanager
def _text(path: str, encoding: str, errors: str) -> Iterator[io.TextIOWrapper]:
    with open_bytes(path) as (stream, _):
        text = io.TextIOWrapper(
            stream, encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors=errors, newline=""
        )
        try:
            yield text
        finally:
            with contextlib.suppress(ValueError):
                text.detach()


def _rows(path: str, form: TextForm, errors: str = "replace") -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, counted from 1; empty lines are skipped."""
    before = textcsv.field_size_limit(LONGEST_FIELD)
    try:
        with _text(path, form.encoding, errors) as text:
            reader = textcsv.reader(text, delimiter=form.delimiter)
            line = 1
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
    except textcsv.Error as error:
        raise InvalidInput(f"cannot parse {path!r}: {error}. Is it a table of text?") from error
    except UnicodeError as error:  # UTF-16 without its mark
        raise InvalidInput(
            f"cannot read {path!r} as {form.encoding}: {error}. Pass another --encoding."
        ) from error
    finally:
        textcsv.field_size_limit(before)


def _data_rows(path: str, form: TextForm) -> Iterator[tuple[int, list[str]]]:
    return islice(_rows(path, form), int(form.header), None)


def locate(path: str, form: TextForm, row: int) -> tuple[int, list[str]] | None:
    """Return the line and the fields of row number `row` of the data, counted from 0."""
    with contextlib.suppress(InvalidInput, *READ_ERRORS):
        return next(islice(_data_rows(path, form), row, None), None)
    return None


def _check_encoding(path: str, encoding: str, names: Sequence[str]) -> None:
    if any("\udc80" <= character <= "\udcff" for name in names for character in name):
        raise wrong_encoding(path, encoding)
    if any("\0" in name for name in names):
        raise InvalidInput(
            f"{path!r} is not text in {encoding}: its header has zero bytes. Pass --encoding utf-16-le or -be."
        )


def wrong_encoding(path: str, encoding: str) -> InvalidInput:
    """Return the error for a file that is not text in the encoding."""
    return InvalidInput(
        f"{path!r} is not text in {encoding}: {_line_of(path, encoding)}. If it is a table of text, pass its "
        "encoding, such as --encoding latin-1, cp1252 or utf-16."
    )


def _line_of(path: str, encoding: str) -> str:
    """Say which line has the first byte that is not valid in the encoding."""
    with contextlib.suppress(*READ_ERRORS), open_bytes(path) as (stream, _):
        text = io.BufferedReader(io.BytesIO(stream.read(1 << 26)))
        for number, line in enumerate(text, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError as error:
                return f"line {number} has the byte 0x{error.object[error.start]:02x}"
    return "it cannot be decoded"


# ── what is wrong in it ──


def wrong_row(path: str, form: TextForm) -> InvalidInput | None:
    """Return the error for the first row with a wrong number of fields, or None."""
    wanted = len(form.names)
    for line, fields in _data_rows(path, form):
        filled = len(fields) == wanted and form.void_end and fields[-1] not in form.null
        if len(fields) != wanted or filled:
            names = wanted - form.void_end
            return _wrong_length(path, form, line, fields, names, _first_lines(path, form.encoding))
    return None


def wrong_number(
    path: str, form: TextForm, columns: Sequence[tuple[str, int, pa.DataType]]
) -> InvalidInput | None:
    """Return the error for the first cell that does not fit its column, or None."""
    tests = [(name, j, _is_truth if pa.types.is_boolean(kind) else _Numeral(form)) for name, j, kind in columns]
    nulls = frozenset(form.null)
    for number, (line, fields) in enumerate(_data_rows(path, form)):
        for name, j, good in tests:
            if j < len(fields) and fields[j] not in nulls and not good(fields[j]):
                if number == 0 and form.header and len(fields) > 1 and not any(map(_has_digit, fields)):
                    return InvalidInput(
                        f"line {line} of {path!r} holds no number at all ({_some(fields)}). If it is a second "
                        "line of names, or of units, delete it; else encode the columns as numbers."
                    )
                return no_number(path, form, name, line, fields[j])
    return None


def no_number(path: str, form: TextForm, name: str, line: int, text: str) -> InvalidInput:
    """Return the error for a cell that is not a number, with advice for its form."""
    shown = text if len(text) <= 80 else text[:79] + "…"
    digits = _has_digit(text)
    if form.decimal == "," and _is_numeral(text):
        hint = "If the point is its decimal mark, leave --decimal out."
    elif re.fullmatch(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?\s*|\s*\d{1,2}:\d{2}(:.*)?\s*", text):
        hint = "Turn dates and times into numbers, or leave the column out."
    elif form.delimiter == "," and _has_comma(text):
        hint = "Write numbers with a decimal point, and without separators of thousands."
    elif form.decimal == "." and _has_comma(text):
        hint = "If the comma is its decimal mark, pass --decimal ','."
    elif re.fullmatch(r"\s*[+-]?\d{1,3}([.,' _]\d{3})+([.,]\d+)?\s*", text):
        hint = "Write numbers without separators of thousands."
    elif digits and len(text.strip()) <= 20:
        hint = "Write it as a plain number, without units, other signs or other digits than 0 to 9."
    elif len(text.strip()) <= 10:
        hint = f"If it means that the value is missing, pass --null {shown!r} (and --impute median to fill it)."
    else:
        hint = "Encode the column as numbers, or leave it out."
    return InvalidInput(f"column {name!r} of {path!r} must hold numbers; line {line} has {shown!r}. {hint}")


class _Numeral:
    """Whether Arrow reads a text as a number."""

    def __init__(self, form: TextForm) -> None:
        self._comma = form.decimal == ","

    def __call__(self, text: str) -> bool:
        if self._comma:
            if "." in text:
                return False
            text = text.replace(",", ".")
        return _is_numeral(text)


def _is_numeral(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text.isascii()


def _has_digit(text: str) -> bool:
    return any(character.isdigit() for character in text)


def _is_truth(text: str) -> bool:
    return text.strip().lower() in ("true", "false", "0", "1")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
