"""The benchmark of the kernels: its arithmetic, and one small row of it for real."""

import numpy as np

from pyscore.bench import kernels, tables
from pyscore.bench.record import Record, Row, base_of


def test_a_missed_target_is_marked():
    rows = [
        Row("kernels", "work", "kernel", [0.002] * 3, base=True, error=0.5, notes="a note"),
        Row("kernels", "work", "other", [0.008] * 3, target=5.0, notes="a note"),
    ]
    assert tables.ratio(rows[1], rows[0]) == 4.0
    text = tables.render(
        Record(rows, {"processor": "p", "cpus": 1, "platform": "q", "threads": {}}, {}, "", "", "")
    )
    assert "4.00×!" in text
    assert "a note" in text


def test_a_row_measures_and_is_right():
    rows = kernels.mmd_rows(3, 64, 1.0, 3)
    assert base_of(rows).contestant == "kernel"
    assert all(row.error < 8 for row in rows)
    assert np.isfinite([row.rate for row in rows]).all()


def test_bare_products_count_what_a_step_multiplies():
    from pyscore.bench.training import bare_products
    from pyscore.reference.model import SVAE

    run, count = bare_products(SVAE.initialise(30, 9, 64, 16, seed=0), models=2, batch=100)
    run()
    encoder = 30 * 64 + 2 * 64 * 64 + 64 * 9 + 64
    decoder = 9 * 64 + 2 * 64 * 64 + 64 * 30
    assert count == 3 * (200 * encoder + 100 * decoder)
