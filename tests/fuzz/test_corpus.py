"""The corpus of the fuzzers, replayed; and that a target notices what must not be."""

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("fuzz_targets", HERE / "targets.py")
targets = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(targets)
FILES = [(name, path) for name in targets.TARGETS for path in sorted((targets.CORPUS / name).iterdir())]


def test_every_target_has_a_corpus():
    assert {name for name, _ in FILES} == set(targets.TARGETS)


@pytest.mark.parametrize(("name", "path"), FILES, ids=[f"{name}-{path.name}" for name, path in FILES])
def test_the_corpus_gives_values_or_our_errors(name, path):
    with targets.quiet():
        targets.TARGETS[name](path.read_bytes())


def test_a_target_notices_an_error_of_another_kind(monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("x")

    monkeypatch.setattr("pyscore.bench.report.collect", broken)
    with pytest.raises(KeyError):
        targets.report(b"@@a.json@@{}")


def test_a_target_notices_a_script(monkeypatch):
    monkeypatch.setattr("pyscore.bench.report._policy", lambda page: "<script>1</script>")
    with pytest.raises(AssertionError):
        targets.report(b"@@a.json@@{}")
