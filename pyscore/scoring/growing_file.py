"""One file out of many tables, which grows while they are still being made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from pyscore._core.files import create_file, finish_file

__all__ = ["WRITERS", "Joined", "parquet_options"]

ROW_GROUP = 1 << 17
"""Rows of a group in the result, whatever the tables were."""

Write = Callable[[pa.Table], None]


class Joined:
    """A file that grows at its end; its bytes depend on the rows, not on how they were cut into tables."""

    def __init__(
        self,
        path: Path,
        suffix: str,
        schema: pa.Schema,
        first: Sequence[Path] = (),
        permissions_of: Path | None = None,
    ) -> None:
        """Begin with the tables of some Parquet files; the permissions are those of another file, if it exists."""
        self._schema = schema
        self._held = pa.Table.from_batches([], schema)  # `empty_table` would load pandas
        with contextlib.ExitStack() as stack:
            self._out = stack.enter_context(create_file(path, like=permissions_of))
            self._writer = stack.enter_context(contextlib.ExitStack())  # closed before the file is
            self._write = self._writer.enter_context(WRITERS[suffix](self._out, schema))
            for each in first:
                self.add(parquet.read_table(each))
            self._open = stack.pop_all()

    def add(self, table: pa.Table) -> None:
        """Write what fills groups, hold the rest, and wait until the disk has it, which `finish` need not then."""
        held = pa.concat_tables([self._held, table.replace_schema_metadata(self._schema.metadata)])
        while held.num_rows >= ROW_GROUP:
            self._write(held.slice(0, ROW_GROUP))
            held = held.slice(ROW_GROUP)
        self._held = held
        finish_file(self._out)

    def finish(self) -> None:
        """Write what is left, and wait until the disk has it."""
        with self._open:
            if self._held.num_rows:
                self._write(self._held)
            self._writer.close()
            finish_file(self._out)

    def close(self) -> None:
        """Stop without a result, unless it is finished; the file is of no use then."""
        with contextlib.suppress(Exception):  # what went wrong is known by now, or does not matter
            self._open.close()


def parquet_options(schema: pa.Schema, *, checksums: bool = True) -> dict[str, Any]:
    """Dictionaries and Snappy for the texts and integers that were kept, nothing for floating numbers.

    Scores have no value twice; Snappy would make them smaller by a quarter, and a run longer by some 6 %. Every
    page has its checksum, except in files that have another one.
    """
    other = [field for field in schema if not pa.types.is_floating(field.type)]
    nested = any(pa.types.is_nested(field.type) for field in other)  # their columns have names of their own
    codec = "snappy" if nested else {field.name: "snappy" for field in other}
    dictionaries = [field.name for field in other] or False
    return {"use_dictionary": dictionaries, "compression": codec or "none", "write_page_checksum": checksums}


@contextlib.contextmanager
def _to_parquet(out: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    with parquet.ParquetWriter(out, schema, **parquet_options(schema)) as writer:
        yield lambda table: writer.write_table(table, row_group_size=ROW_GROUP)


@contextlib.contextmanager
def _to_csv(out: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    with csv.CSVWriter(out, schema) as writer:

        def write(table: pa.Table) -> None:
            for batch in table.to_batches():
                if batch.num_rows:  # PyArrow 19 writes what stands before an empty batch a second time
                    writer.write_batch(batch)

        yield write


@contextlib.contextmanager
def _to_arrow(out: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    with ipc.new_file(out, schema) as writer:
        yield lambda table: writer.write_table(table, max_chunksize=ROW_GROUP)


WRITERS = {".parquet": _to_parquet, ".csv": _to_csv, ".arrow": _to_arrow, ".feather": _to_arrow}
