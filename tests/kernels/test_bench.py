"""The benchmark of the kernels: its arithmetic, and one small row of it for real."""

import json

import numpy as np

from pyscore import bench_kernels as bench


def test_contestants_take_turns():
    calls = []
    times = bench.measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4, "one call of each is warm-up, then in turns"
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3}


def test_a_missed_target_is_marked(tmp_path):
    row = bench.Measurement(
        "work", "other", 5.0, 2.0, 8.0, 0.5, None, "a note", {"kernel": [0.002], "other": [0.008]}
    )
    assert row.ratio == 4.0
    text = bench.render([row], {})
    assert "4.00!" in text
    assert "a note" in text
    bench.write_json(tmp_path / "bench.json", [row], {})
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written["rows"][0]["ratio"] == 4.0
    assert {"machine", "versions"} <= set(written)


def test_a_row_measures_and_is_right():
    rows = bench.mmd_rows(3, 64, 1.0, 3)
    assert all(row.kernel_ms > 0 and row.against_ms > 0 for row in rows)
    assert all(row.error is None or row.error < 8 for row in rows)
    assert np.isfinite([row.ratio for row in rows]).all()
