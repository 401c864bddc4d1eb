"""Every name of pyscore that README, pages and docstrings use is reached after a plain `import pyscore`."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyscore

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = sorted(p for folder in ("pyscore", "kernels", "bench") for p in (ROOT / folder).rglob("*.py"))
NAME = re.compile(r"(?<![\w./'-])pyscore(?:\.[A-Za-z_]\w*)+")
FILES = {"safetensors", "toml", "md", "py", "json", "csv", "parquet", "bench"}
"""Last words of names of files, and formats of files, which are no attributes."""


def names_of_pages():
    for page in PAGES:
        for name in NAME.findall(page.read_text()):
            yield page.name, name


def names_of_docstrings():
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in NAME.findall(ast.get_docstring(node) or ""):
                    yield path.relative_to(ROOT).as_posix(), name


def unresolved(pairs):
    """Names that a fresh interpreter cannot reach by attributes alone."""
    names = sorted({name for _, name in pairs if name.rsplit(".", 1)[1] not in FILES})
    code = (
        "import sys, warnings, pyscore\n"
        "warnings.simplefilter('ignore')\n"
        "for name in sys.argv[1:]:\n"
        "    place = pyscore\n"
        "    for part in name.split('.')[1:]:\n"
        "        try:\n"
        "            place = getattr(place, part)\n"
        "        except AttributeError:\n"
        "            print(name)\n"
        "            break\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    missing = set(done.stdout.split())
    return sorted({(where, name) for where, name in pairs if name in missing})


def test_names_of_the_pages():
    pairs = list(names_of_pages())
    assert len(pairs) > 50
    assert unresolved(pairs) == []


def test_names_of_the_docstrings():
    pairs = list(names_of_docstrings())
    assert len(pairs) > 20
    assert unresolved(pairs) == []


def test_a_name_that_is_not_there_is_found():
    assert unresolved([("here", "pyscore.stacked.train_stack")]) == [("here", "pyscore.stacked.train_stack")]


def test_the_old_name_of_load_dataset_says_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"pyscore\.load is now pyscore\.load_dataset"):
        assert pyscore.load is pyscore.load_dataset


def test_load_model_reads_models_and_detectors(tmp_path):
    x = np.random.default_rng(0).standard_normal((60, 3))
    config = pyscore.TrainConfig(steps=20)
    pyscore.fit(x, config).save(tmp_path / "model.safetensors")
    pyscore.SVAEDetector(steps=20).fit(x).save(tmp_path / "detector.safetensors")
    model = pyscore.load_model(tmp_path / "model.safetensors")
    detector = pyscore.load_model(tmp_path / "detector.safetensors")
    assert isinstance(model, pyscore.FittedModel)
    assert isinstance(detector, pyscore.SVAEDetector)
    assert np.isfinite(detector.decision_function(x)).all()


def test_load_model_reads_every_kind_of_file(tmp_path):
    """A checkpoint of both engines, a stack with a model that failed, the toy problem; and it names what is foreign."""
    from pyscore._core.files import read_tensors, write_tensors
    from pyscore.experiment.grid import Options, StackTask
    from pyscore.experiment.store import save_models
    from pyscore.experiment.toy import KIND, VERSION
    from pyscore.training.saved_models import MODEL

    x = np.random.default_rng(0).standard_normal((60, 3))
    same = lambda a, b: all(np.array_equal(v, b.parameters()[k]) for k, v in a.parameters().items())  # noqa: E731
    config = pyscore.TrainConfig(steps=5, batch_size=8)
    for backend in ("numba", "torch"):
        path = tmp_path / f"{backend}.safetensors"
        trained = pyscore.train(
            x,
            config,
            latent_dim=2,
            hidden_dim=5,
            n_components=3,
            activation="tanh",
            backend=backend,
            checkpoint=path,
        )
        back = pyscore.load_model(path)
        assert same(trained.model, back)
        assert back.activation == "tanh"
    header, arrays = read_tensors(path, "checkpoint", 2)
    old = {name: value for name, value in arrays.items() if not name.startswith(MODEL)}
    write_tensors(tmp_path / "old.safetensors", "checkpoint", 2, header, old)
    with pytest.raises(pyscore.errors.ModelFileError, match="checkpoint of an earlier version"):
        pyscore.load_model(tmp_path / "old.safetensors")
    assert pyscore.train(
        x, config, latent_dim=2, hidden_dim=5, n_components=3, activation="tanh", backend="torch",
        checkpoint=tmp_path / "old.safetensors",
    ).model.digest() == trained.model.digest()  # fmt: skip
    task = StackTask(
        dataset="breast-cancer",
        hidden_dim=5,
        latent_dim=2,
        n_components=3,
        betas=(0.1,),
        cs=(0.1,),
        options=Options(),
    )
    save_models(tmp_path / "stack.safetensors", task, [None, trained.model])
    failed, model = pyscore.load_model(tmp_path / "stack.safetensors")
    assert failed is None
    assert same(model, trained.model)
    write_tensors(tmp_path / "toy.safetensors", KIND, VERSION, {}, trained.model.parameters())
    assert same(pyscore.load_model(tmp_path / "toy.safetensors"), trained.model)
    write_tensors(tmp_path / "odd.safetensors", "recipe", 1, {}, {"a": np.zeros(1)})
    (tmp_path / "text.safetensors").write_text("hello, this is no model")
    for name in ("odd", "text", "none"):
        with pytest.raises(pyscore.errors.ModelFileError, match=name):
            pyscore.load_model(tmp_path / f"{name}.safetensors")


def test_nothing_stands_outside_the_rooms():
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "pyscore"], capture_output=True, text=True, check=False
    ).stdout.split()
    entries = {name.split("/")[1] for name in tracked} or {p.name for p in (ROOT / "pyscore").glob("[!_.]*")}
    files = {"__init__.py", "__main__.py", "convention.py", "errors.py", "py.typed"}
    rooms = {
        "_core", "backends", "cli", "data", "detectors", "experiment", "reference", "scoring", "studies", "training",
    }  # fmt: skip
    assert entries - files - rooms == set()
