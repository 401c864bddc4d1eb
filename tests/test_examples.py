"""The worked examples run, with a few steps; in full they are for people (see their first lines)."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SHORT = {
    "vae_breast_cancer": ({"steps": 60}, "compiled"),
    "gan_parabola": ({"steps": 60, "side": 6}, "compiled"),
    "conv_vae_digits": ({"steps": 25}, "torch.func"),
}


def load(name):
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_example(name, tmp_path, capsys):
    options, path = SHORT[name]
    picture = tmp_path / f"{name}.png"
    auc = load(name).main(**options, picture=picture)
    out = capsys.readouterr().out
    assert f"decoder: {path}" in out
    assert "AUC of proposed" in out
    assert picture.stat().st_size > 10_000
    assert 0.5 < auc <= 1  # hardly trained, and yet better than chance
