"""Detection of results of `pyscore score` among the tables of a folder, so that they are not read as input."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa
from pyarrow import ipc, parquet

__all__ = ["PART", "RESULT", "is_result", "without_results"]

RESULT, PART = b"pyscore.result", b"pyscore.part"
"""Metadata keys that mark Parquet and Arrow files of scores, and parts of such files."""
HEADER = 1 << 20
"""Bytes of a text file that are read to find the names of its columns."""


def without_results(
    files: Sequence[str], features: Sequence[str] = (), scores: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Split the files of a folder into tables and results; if all are results, they count as tables.

    Parameters
    ----------
    files : paths
    features : columns that a table must have, where they are known
    scores : names of scores; a text file with a column of that name and without some feature is a result
    """
    results = [file for file in files if is_result(file, features, scores)]
    if len(results) == len(files):
        return list(files), []
    return [file for file in files if file not in results], results


def is_result(path: str, features: Sequence[str] = (), scores: Sequence[str] = ()) -> bool:
    """Whether a file is a result. Metadata tell, or, for a text file, the names of its columns."""
    suffix = os.path.splitext(path.lower())[1]
    try:
        if suffix in (".parquet", ".pq"):
            return _marked(parquet.read_metadata(path).metadata)
        if suffix in (".arrow", ".feather", ".ipc", ".arrows"):
            return _marked(_arrow_schema(path).metadata)
        if suffix in (".csv", ".tsv"):
            names = _header(path, "\t" if suffix == ".tsv" else ",")
            return not names.issuperset(features) and bool(names.intersection(scores))
    except (OSError, pa.ArrowException, UnicodeError):  # the reader of the file will report what is wrong with it
        return False
    return False


def _marked(metadata: dict[bytes, bytes] | None) -> bool:
    return not (metadata or {}).keys().isdisjoint((RESULT, PART))


def _arrow_schema(path: str) -> pa.Schema:
    with pa.OSFile(path) as raw:
        try:
            return ipc.open_file(raw).schema
        except pa.ArrowInvalid:
            raw.seek(0)
            return ipc.open_stream(raw).schema


def _header(path: str, delimiter: str) -> set[str]:
    with open(path, "rb") as file:
        line = file.readline(HEADER)
    return {name.strip().strip('"') for name in line.decode("utf-8-sig").split(delimiter)}
