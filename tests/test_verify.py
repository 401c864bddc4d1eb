"""`pyscore verify`: it passes on what is right, fails on what is wrong, and says which."""

import json

import numpy as np
import pytest

from pyscore.backends import get_backend, golden, original_order
from pyscore.backends import verify as verification
from pyscore.backends.contract import BY_NAME, KERNELS, case
from pyscore.backends.golden import CHECKS, NOT_COMPARED
from pyscore.backends.stochastic import K
from pyscore.backends.tolerance import error_in_eps, ulps
from pyscore.cli.app import main
from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput

FUNCTIONS = {spec.name for spec in KERNELS}


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
    checked = {golden.function_of(recording) for recording in CHECKS}
    assert checked | set(NOT_COMPARED) == FUNCTIONS
    compared = table.loc[list(checked)]
    assert (compared["golden_error"] <= compared["golden_bound"]).all(), "float64 recordings of the original"
    assert table.loc[list(NOT_COMPARED), ["golden", "golden_error"]].isna().all(axis=None)


RECORDING = "model_03_i8_h32_l2_k16_f64"
WRONG = {
    "shifted by a thousand": lambda a: a + 1000,
    "off by a millionth": lambda a: a * (1 + 1e-6),
    "not a number": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, np.nan, a),
    "infinite": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, -np.inf, a),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("recording", CHECKS)
def test_a_wrong_recording_counts(monkeypatch, recording, wrong):
    found, numpy = golden.recorded_case(RECORDING, recording), get_backend("numpy")
    if found is None:
        pytest.skip("not in this subset")
    recorded, scale = found
    assert golden.compare(numpy, RECORDING, recording).error <= K
    changed = recorded._replace(want=WRONG[wrong](recorded.want))
    monkeypatch.setattr(golden, "recorded_case", lambda *a: (changed, scale))
    assert golden.compare(numpy, RECORDING, recording).error > 4 * K


def test_a_wrong_recording_fails_the_command(monkeypatch, capsys):
    monkeypatch.setattr(verification, "KERNELS", [spec for spec in KERNELS if spec.name == "log_prior"])
    monkeypatch.setattr(golden, "compare", lambda *a: golden.Comparison(np.inf, 0.0))
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--backends", "numpy", "--seeds", "1"])
    assert stop.value.code == 1
    assert "out of bounds  1" in capsys.readouterr().out


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


@pytest.mark.parametrize("function", ["sample_vmf", "vmf_entropy", "vmf_kl"])
def test_the_originals_order_gives_the_same_numbers(function):
    drawn = case(function, 33, np.dtype(np.float64), ORIGINAL)
    got = getattr(original_order, function)(drawn.arguments, ORIGINAL)
    np.testing.assert_allclose(got, BY_NAME[function].exact(drawn.arguments, ORIGINAL, np.float64), atol=1e-10)
