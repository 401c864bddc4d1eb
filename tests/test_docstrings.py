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

API = Path(__file__).parents[1] / "docs" / "api"
ENTRY = re.compile(r"^::: (\S+)\n((?: .*\n?|\n(?= ))*)", re.MULTILINE)
WITHOUT_EXAMPLE = {
    "pyscore.backends.available_backends",
    "pyscore.backends.get_backend",
    "pyscore.detectors.calibration.FalsePositiveThreshold",
    "pyscore.detectors.calibration.benjamini_hochberg",
    "pyscore.detectors.calibration.conformal_p_values",
    "pyscore.detectors.calibration.false_positive_threshold",
    "pyscore.detectors.calibration.linear_probability",
    "pyscore.detectors.calibration.prediction_confidence",
    "pyscore.detectors.calibration.quantile_threshold",
    "pyscore.detectors.calibration.unify_probability",
    "pyscore.detectors.ensemble.StackEnsemble",
    "pyscore.detectors.ensemble.tail",
    "pyscore.detectors.manifold.ManifoldScorer",
    "pyscore.detectors.priors.GaussianMixture",
    "pyscore.detectors.priors.StandardNormal",
    "pyscore.detectors.priors.UniformSphere",
    "pyscore.detectors.priors.VMFMixture",
    "pyscore.scoring.dask.score_dask",
    "pyscore.scoring.explain.explain",
    "pyscore.scoring.fitted.FittedModel",
    "pyscore.scoring.fitted.PendingVariance",
    "pyscore.scoring.fitted.check_names",
    "pyscore.scoring.fitted.fit",
    "pyscore.scoring.plots.plot_explanation",
    "pyscore.scoring.scores.Score",
    "pyscore.scoring.scores.available_scores",
    "pyscore.scoring.scores.project",
    "pyscore.scoring.scores.projection_report",
    "pyscore.scoring.scores.residual_variance",
    "pyscore.scoring.scores.score",
    "pyscore.scoring.scores.score_table",
    "pyscore.scoring.scores.score_terms",
    "pyscore.scoring.stream.score_files",
}
"""Names that still lack an example. It may only become shorter: the first test fails where an entry needs none."""


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
            place = reached(dotted)
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
    """Home → object, each once, whatever number of names lead to it."""
    found = {}
    for dotted in shown_names():
        thing = reached(dotted)
        if needs_example(thing):
            found[f"{thing.__module__}.{thing.__qualname__}"] = thing
    return found


PUBLIC = public()


def has_example(thing):
    return ">>>" in (thing.__doc__ or "")


def test_every_public_name_has_an_example():
    assert len(PUBLIC) > 70
    assert {name for name, thing in PUBLIC.items() if not has_example(thing)} == WITHOUT_EXAMPLE


@pytest.mark.parametrize("name", sorted(name for name, thing in PUBLIC.items() if has_example(thing)))
def test_an_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.random.seed(0)  # noqa: NPY002 (for libraries that an example may call)
    assert not problems(PUBLIC[name].__doc__, name)


def problems(text, name="example"):
    """Run the examples of a docstring; return the report of those that fail."""
    said = []
    example = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(text), {"np": np, "pyscore": pyscore}, name, None, 0
    )
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
        lines = doctest.DocTestParser().get_examples(inspect.cleandoc(thing.__doc__ or ""))
        assert sum(len(ast.parse(line.source).body) for line in lines) <= 8, name
