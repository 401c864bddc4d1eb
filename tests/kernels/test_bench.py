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


def test_bare_products_count_what_a_step_multiplies():
    from pyscore.bench_training import bare_products
    from pyscore.model import SVAE

    run, count = bare_products(SVAE.initialise(30, 9, 64, 16, seed=0), models=2, batch=100)
    run()
    encoder = 30 * 64 + 2 * 64 * 64 + 64 * 9 + 64
    decoder = 9 * 64 + 2 * 64 * 64 + 64 * 30
    assert count == 3 * (200 * encoder + 100 * decoder)
