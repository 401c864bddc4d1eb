"""`pyscore verify`: it passes on what is right, fails on what is wrong, and says which."""

import json

import numpy as np
import pytest

from pyscore.backends import get_backend
from pyscore.backends import verify as verification
from pyscore.backends.contract import KERNELS
from pyscore.backends.golden import CHECKS, NOT_COMPARED
from pyscore.backends.tolerance import error_in_eps, ulps
from pyscore.cli.app import main
from pyscore.errors import InvalidInput

FUNCTIONS = {spec.name for spec in KERNELS} | {"encode"}


def test_every_function_backend_and_dtype():
    table = verification.verify(["numpy", "torch"], seeds=1)
    assert set(table["function"]) == FUNCTIONS
    assert set(zip(table["backend"], table["dtype"], strict=True)) == {
        ("numpy", "float64"),
        ("torch", "float64"),
        ("torch", "float32"),
    }
    assert table["ok"].all()
    assert (table["error"] <= table["bound"]).all()
    assert table.loc[table["backend"] == "numpy", "error"].max() == 0


def test_the_originals_outputs_are_compared():
    table = verification.verify(["numpy"], seeds=1).set_index("function")
    assert set(CHECKS) | set(NOT_COMPARED) == FUNCTIONS
    compared = table.loc[list(CHECKS), "golden"]
    assert (compared < 1e-11).all(), "float64 recordings of the original"
    assert table.loc[list(NOT_COMPARED), "golden"].isna().all()


def test_a_wrong_backend_is_found_out(monkeypatch, tmp_path, capsys):
    backend = get_backend("torch", dtype="float64")
    right = type(backend).log_prior
    monkeypatch.setattr(type(backend), "log_prior", lambda self, *a, **k: right(self, *a, **k) * (1 + 1e-9))
    target = tmp_path / "verify.json"
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--backends", "torch", "--dtype", "float64", "--seeds", "1", "--json", str(target)])
    assert stop.value.code == 1
    assert "out of bounds  1" in capsys.readouterr().out
    rows = json.loads(target.read_text())["rows"]
    assert [row["function"] for row in rows if not row["ok"]] == ["log_prior"]


def test_the_command_passes_and_lists_the_bit_equal_functions(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--backends", "torch", "--dtype", "float64", "--seeds", "1"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "out of bounds  0" in out
    assert "equal to NumPy to the last bit, torch float64" in out


def test_unknown_backend():
    with pytest.raises(InvalidInput, match="`backend` must be one of"):
        verification.verify(["tpu"])


def test_units():
    one = np.float32(1)
    assert ulps(np.array([np.nextafter(one, np.float32(2))]), [1.0]) == 1
    assert error_in_eps([1 + 2**-52], [1.0]).item() == 1
    assert error_in_eps([np.nan, np.inf, 1.0], [np.nan, np.inf, np.nan]).tolist() == [0, 0, np.inf]
