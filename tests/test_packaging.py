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
