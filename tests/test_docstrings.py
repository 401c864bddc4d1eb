"""Every public function and class has one short example in its docstring, and each example gives what it shows.

Public is what `pyscore` exports and what the API pages show. Exceptions and protocols need no example: a user meets
the first and writes the second, but calls neither. The examples may use `np` and `pyscore` without importing them.
"""

import ast
import doctest
import importlib
import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import pyscore
from pyscore.errors import BackendUnavailable

API = Path(__file__).parents[1] / "docs" / "api"
ENTRY = re.compile(r"^::: (\S+)\n((?: .*\n?|\n(?= ))*)", re.MULTILINE)
NO_TORCH = (BackendUnavailable, ModuleNotFoundError)


def reached(dotted):
    """The module or object that a dotted name stands for."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            place = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            place = getattr(place, name)
        return place
    raise AssertionError(f"docs/api shows {dotted}, which is not there.")


def shown_names():
    """Dotted names of all that `pyscore` exports and the API pages show."""
    yield from (f"pyscore.{name}" for name in pyscore.__all__)
    for page in sorted(API.glob("*.md")):
        for dotted, options in ENTRY.findall(page.read_text() + "\n"):
            try:
                place = reached(dotted)
            except NO_TORCH:  # its test says so
                place = None
            if not inspect.ismodule(place):
                yield dotted
                continue
            chosen = re.search(r"members: \[(.*?)\]", options)
            names = chosen[1].split(", ") if chosen else place.__all__
            yield from (f"{dotted}.{name}" for name in names)


def needs_example(thing):
    if inspect.isclass(thing):
        return not issubclass(thing, BaseException | Warning) and not getattr(thing, "_is_protocol", False)
    return inspect.isroutine(thing)


def public():
    """Home → object, once for all names that lead to it; a name that needs torch, where there is none → itself."""
    found = {}
    for dotted in shown_names():
        try:
            thing = reached(dotted)
        except NO_TORCH:
            found[dotted] = dotted
            continue
        if needs_example(thing):
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return found


PUBLIC = public()


def docstring(thing):
    return inspect.cleandoc((reached(thing) if isinstance(thing, str) else thing).__doc__ or "")


def has_example(thing):
    return ">>>" in docstring(thing)


def test_every_public_name_has_an_example():
    assert len(PUBLIC) > 70
    assert [name for name, thing in PUBLIC.items() if not has_example(thing)] == []


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_an_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)  # noqa: NPY002 (for libraries that an example may call)
    assert not problems(docstring(PUBLIC[name]), name)


def problems(text, name="example"):
    """Run the examples of a docstring; return the report of those that fail."""
    said = []
    example = doctest.DocTestParser().get_doctest(text, {"np": np, "pyscore": pyscore}, name, None, 0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script.*", DeprecationWarning)
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    return "".join(said)


def test_a_wrong_example_is_found():
    assert "Expected" in problems(">>> 1 + 1\n3\n")
    assert "NameError" in problems(">>> nothing_of_this_name\n")
    assert not problems(">>> np.eye(1).tolist()\n[[1.0]]\n")


def test_a_name_without_an_example_is_found():
    def bare():
        """Do nothing."""

    assert needs_example(bare)
    assert not has_example(bare)
    assert not needs_example(pyscore.PyscoreError)


def test_examples_are_short():
    """At most eight statements; what needs more is a page of the guides."""
    for name, thing in PUBLIC.items():
        lines = doctest.DocTestParser().get_examples(docstring(thing))
        assert sum(len(ast.parse(line.source).body) for line in lines) <= 8, name
