"""What the package promises about itself: a light import, declared dependencies, one version."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pyscore

ROOT = Path(__file__).parents[1]
HEAVY = {"scipy", "torch", "numba", "pandas", "matplotlib", "sklearn", "juliacall", "pyarrow", "rich", "cyclopts"}


def fresh(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_is_light():
    loaded = set(fresh("import pyscore, sys; print(*{m.split('.')[0] for m in sys.modules})").split())
    assert not loaded & HEAVY


def test_the_list_of_commands_loads_no_command():
    """`pyscore --help` is there at once: it imports cyclopts and rich, and no NumPy."""
    code = """
import contextlib, io, sys
from pyscore.cli.app import COMMANDS, GROUPS, app, main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main(["--help"])
assert all(name in out.getvalue() for name in (*COMMANDS, *GROUPS)), out.getvalue()
print(*sys.modules)
"""
    loaded = set(fresh(code).split())
    assert not {m.partition(".")[0] for m in loaded} & (HEAVY - {"rich", "cyclopts"} | {"numpy", "narwhals"})
    assert {m for m in loaded if m.startswith("pyscore.cli.")} == {
        "pyscore.cli.app", "pyscore.cli.net", "pyscore.cli.terminal"
    }  # fmt: skip


@pytest.mark.parametrize("name", pyscore.__all__)
def test_every_public_name_loads(name):
    assert getattr(pyscore, name) is not None
    assert name in dir(pyscore)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = pyscore.frobnicate


def test_the_version_stands_once_in_each_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == pyscore.__version__
    assert f"## {pyscore.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {pyscore.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_every_requirement_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.match(r"[\w-]+", requirement).group().lower() for requirement in wanted}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert names <= pinned, f"not in constraints.txt: {sorted(names - pinned)}"
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_only_one_file_imports_cuda_and_one_juliacall():
    sources = {
        path: path.read_text() for folder in ("pyscore", "kernels") for path in (ROOT / folder).rglob("*.py")
    }
    for pattern, allowed in (
        (r"^\s*from numba import cuda", "_target.py"),
        (r"^\s*(import|from) juliacall", "julia"),
    ):
        users = [str(p) for p, text in sources.items() if re.search(pattern, text, re.MULTILINE)]
        assert all(allowed in user for user in users), users


def test_no_test_sets_a_limit_of_its_own_on_a_process():
    """A busy machine breaks such limits; pytest's own, in pyproject.toml, ends what hangs."""
    limited = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and any(keyword.arg == "timeout" for keyword in node.keywords):
                called = ast.unparse(node.func)
                if called.startswith("subprocess.") or called.endswith(
                    (".wait", ".join", ".communicate", ".result")
                ):
                    limited.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
    assert not limited, limited


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
import numpy as np
import pyscore
from pyscore.errors import BackendUnavailable
x = np.random.default_rng(0).normal(size=(60, 4))
trained = pyscore.train(x, pyscore.TrainConfig(steps=3, batch_size=8), hidden_dim=4, latent_dim=2, n_components=2)
assert np.isfinite(pyscore.score(trained.model, x, "proposed", backend="numba")).all()
detector = pyscore.SVAEDetector(steps=3).fit(x)
assert len(detector.decision_scores_) == 60
assert "torch" in pyscore.available_backends()["torch"]
for ask in (
    lambda: pyscore.ManifoldScorer,
    lambda: pyscore.get_backend("torch"),
    lambda: pyscore.train(x, pyscore.TrainConfig(steps=3), backend="torch"),
    lambda: pyscore.train_stack(x, [pyscore.TrainConfig(steps=3)], backend="torch"),
):
    try:
        ask()
    except BackendUnavailable as error:
        assert "pip install torch" in str(error), error
    else:
        raise SystemExit("no error")
from pyscore.cli.app import main
try:
    main(["unreliable", "linear"])
except SystemExit as end:
    print("status", end.code, "torch" in sys.modules)
"""


def test_without_torch_models_are_trained_and_scored_and_the_rest_says_what_to_install(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("status ")
    assert not done.stdout.startswith(("status 0", "status None"))
    assert "pip install torch" in done.stderr
    assert "Traceback" not in done.stderr
