"""What is fuzzed: bytes go in; a value or a PyscoreError must come out, nothing else.

A corpus of small files lies in ``corpus/<target>``; what a fuzzer found is added to it, and `test_corpus.py` replays
all of it in the normal suite. `make fuzz` looks for more (atheris, coverage-guided).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tempfile
import warnings
from pathlib import Path

from pyscore.errors import PyscoreError

CORPUS = Path(__file__).parent / "corpus"


@contextlib.contextmanager
def quiet():
    """Warnings of libraries about odd values are no findings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _signed(data: bytes) -> bytes:
    """Put the right checksum where one stands, so that the checks behind it are reached."""
    found = re.search(rb"[0-9a-f]{64}", data[:4096])
    if found is None:
        return data
    blank = data.replace(found[0], b"0" * 64)
    return data.replace(found[0], hashlib.sha256(blank).hexdigest().encode())


def model(data: bytes) -> None:
    """A model file, its checksum made right."""
    from pyscore.scoring.fitted import FittedModel

    data = _signed(data)
    with contextlib.suppress(PyscoreError), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(data)
        FittedModel.load(path)


SUFFIXES = ("csv", "tsv", "csv.gz", "parquet", "arrow")


def table(data: bytes) -> None:
    """A table: the first byte says of which kind the file calls itself."""
    from pyscore.data.tables import read_table

    if not data:
        return
    with contextlib.suppress(PyscoreError), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t.{SUFFIXES[data[0] % len(SUFFIXES)]}"
        path.write_bytes(data[1:])
        read_table(path)


def _files(data: bytes) -> dict[str, bytes]:
    """Cut bytes into files: ``@@name@@`` begins each."""
    parts = re.split(rb"@@([A-Za-z0-9._-]{1,30})@@", data)
    return {name.decode(): content for name, content in zip(parts[1::2], parts[2::2], strict=True)}


def report(data: bytes) -> None:
    """A folder of results: the page of it holds no script but its own, and nothing that a browser obeys."""
    from pyscore.bench.report import build_report

    with contextlib.suppress(PyscoreError), tempfile.TemporaryDirectory() as folder:
        for name, content in _files(data).items():
            (Path(folder) / name).write_bytes(content)
        page = build_report(folder)
        assert page.count("<script") == 1
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def results(data: bytes) -> None:
    """The tables of an experiment, the manifest of a run, and measurements: read, and made into tables."""
    from pyscore.bench import record, tables
    from pyscore.bench.compare import compare
    from pyscore.experiment.result_checks import check_facts, check_frame, check_manifest, check_runs
    from pyscore.experiment.result_tables import _WANTED, _read_csv

    files = _files(data)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.write_bytes(content)
            if path.stem in _WANTED and path.suffix == ".csv":
                with contextlib.suppress(PyscoreError):
                    check_frame(_read_csv(path), _WANTED[path.stem], name)
            with contextlib.suppress(PyscoreError):
                found = record.read(path)
                assert isinstance(tables.render(found) + tables.markdown_block(found), str)
                compare(found, found)
            with contextlib.suppress(ValueError, RecursionError):
                value = json.load(io.BytesIO(content))
                for check in (check_manifest, check_runs, check_facts):
                    with contextlib.suppress(PyscoreError):
                        check(value, name)


TARGETS = {"model": model, "table": table, "results": results, "report": report}
