"""Tables of many rows, the headlines, and what they say where we lose."""

from types import SimpleNamespace

import pytest

from pyscore.bench import pivots, record, tables
from pyscore.bench.record import Row
from pyscore.cli import bench as command
from pyscore.cli.app import main


def row(suite, work, contestant, seconds, *, base=False, **facts):
    return Row(suite, work, contestant, [seconds] * 3, count=10, unit="row", base=base, error=1.0, facts=facts)


def judged(contestant, work="a: proposed", seconds=1.0, *, auc=0.5, same=True, ranks=True, base=False):
    facts = {"auc": auc, "auc equal": same, "ranks equal": ranks, "memory_mb": 3.0}
    return row("datasets", work, contestant, seconds, base=base, **facts)


DATASETS = [
    judged("numpy float64", base=True),
    judged("numba float32", seconds=0.25),
    judged("numpy float64", "b: proposed", base=True),
    judged("numba float32", "b: proposed", 0.5, auc=0.375, same=False, ranks=False),
    judged("numpy float64", "b: prior", base=True),
    judged("numba float32", "b: prior", 2.0),
]
PEERS = [
    row("peers", "a: rows to scores", "pyscore proposed", 1.0, base=True, auc=0.7),
    row("peers", "a: rows to scores", "pyscore reconstruction", 2.0, auc=0.6),
    row("peers", "a: rows to scores", "PyOD VAE", 30.0, auc=0.8),
    row("peers", "a: rows to scores", "PyOD VAE, batches of 4096", 3.0, auc=0.8),
    row("peers", "b: rows to scores", "pyscore proposed", 1.0, base=True, auc=0.9),
    row("peers", "b: rows to scores", "PyOD VAE", 10.0, auc=0.8),
    row("peers", "a: MMD of codes and prior", "kernel", 1.0, base=True),
    row("peers", "a: MMD of codes and prior", "alibi-detect", 0.5),
]  # fmt: skip


def a_record(rows, missing=()):
    return record.describe(rows, "pyscore bench all", {"asked": 2}, not_measured=list(missing))


def test_datasets_down_contestants_across():
    found = dict(pivots.score_tables(DATASETS))
    speed = found["`proposed` on each dataset, times as fast as NumPy"]
    assert speed.to_numpy().tolist() == [["a", "10.0 rows/s", "4.00×"], ["b", "10.0 rows/s", "2.00×"]]
    assert found["AUC of `proposed`"]["numba float32"].tolist() == ["equal", "0.3750"]
    caption = next(caption for caption in found if caption.startswith("Times as fast as NumPy, median"))
    medians = found[caption].set_index("score")["numba float32"]
    assert found[caption]["fastest"].tolist() == ["numba float32", "numpy float64"]
    assert medians.to_dict() == {"`proposed`": "2.67×", "`prior`": "0.500×"}, "1 over the median of the times"


def test_ranks_and_auc_are_counted():
    first, second = pivots.agreement(DATASETS)
    assert first.startswith("3 rows compared with NumPy in float64: all ranks are equal in 2, the AUC in 2")
    assert "another AUC: 0." in first
    assert "at most 1.2e-01: b: proposed on numba float32" in second
    broken = [judged("numpy float64", base=True), judged("x", same=False)]
    assert "another AUC: 1." in pivots.agreement(broken)[0]


def test_where_we_lose_names_scores_peers_and_auc():
    said = tables.losses(a_record(DATASETS + PEERS))
    assert "numba float32 is slower than NumPy at prior (2.00×)." in said
    faster = [PEERS[0], row("peers", "a: rows to scores", "pyscore reconstruction", 0.5)]
    assert not tables.losses(a_record(faster)), "two scores of ours are no rivals"
    assert "a: MMD of codes and prior: alibi-detect is 2.00 times as fast as kernel." in said
    assert [text for text in said if text.startswith("PyOD VAE")] == [
        "PyOD VAE has a higher AUC than both scores of ours on 1 of 2 datasets: a (0.800 beside 0.700)."
    ]


def test_where_numba_loses_to_another_backend_is_said():
    assert not any("is faster than numba" in text for text in tables.losses(a_record(DATASETS)))
    torch = judged("torch float32", seconds=0.125)
    said = tables.losses(a_record([DATASETS[0], DATASETS[1], torch, *DATASETS[2:]]))
    assert "torch float32 is faster than numba at proposed (1 of 2 datasets, up to 2.00×)." in said


def test_the_headlines_are_medians_over_the_datasets():
    found = pivots.headlines(a_record(DATASETS + PEERS)).set_index("beside")
    assert found.loc["PyOD VAE"].tolist() == ["scores of rows", "20.0×", "10.0 … 30.0"]
    assert found.loc["alibi-detect", "times as fast"] == "0.500×"
    assert found.loc["numpy float64"].tolist() == ["`proposed`, numba float32", "3.00×", "2.00 … 4.00"]
    assert "pyscore reconstruction" not in found.index


def test_two_pieces_of_work_in_one_line_keep_their_own_base():
    rows = [
        row("peers", "a: log-volumes", "kernel", 1.0, base=True),
        row("peers", "a: log-volumes", "torch.func", 4.0),
        row("peers", "a: log-volumes beside JAX", "kernel", 2.0, base=True),
        row("peers", "a: log-volumes beside JAX", "JAX", 6.0),
    ]
    ((_, table),) = pivots.peer_tables(rows)
    assert table.iloc[0].to_dict() == {
        "dataset": "a", "kernel": "10.0 rows/s", "torch.func": "4.00×", "kernel beside JAX": "5.00 rows/s",
        "JAX": "3.00×",
    }  # fmt: skip


def test_noise_is_marked_in_the_headlines():
    noisy = Row("datasets", "a: proposed", "numpy float64", [1.0, 4.0, 9.0], count=10, unit="row", base=True)
    rows = [noisy, judged("numba float32"), *DATASETS[2:4]]
    line = pivots.headlines(a_record(rows)).set_index("beside").loc["numpy float64"]
    assert line.tolist() == ["`proposed`, numba float32", "3.00×~", "2.00 … 4.00~"]


def test_every_suite_is_in_the_page_and_nothing_else_is_needed():
    kernels = [row("kernels", "w", "kernel", 1.0, base=True), row("kernels", "w", "other", 9.0)]
    sweep = [
        row("scaling", f"log_volume over n, n={n}", "numba float32", n / 1e6, base=True, sweep="n", size=n)
        for n in (10, 100, 1000)
    ]
    text = tables.markdown_block(a_record(kernels + sweep + DATASETS + PEERS, ["cuda: no GPU"]))
    for heading in ("### Kernels", "### Scaling", "### Datasets", "### Peers", "### Where we lose"):
        assert heading in text
    assert "slope 1.00" in text
    assert "not measured: cuda: no GPU" in text
    assert "PyOD VAE | " in tables.short_block(a_record(DATASETS + PEERS))


@pytest.fixture
def children(monkeypatch):
    """Suites in processes that are not started: each would leave one row."""
    asked, start = [], command.subprocess.run

    def run(arguments, **options):
        if arguments[0] != command.sys.executable:
            return start(arguments, **options)
        suite, file = arguments[4], arguments[arguments.index("--json") + 1]
        asked.append(arguments[3:])
        record.write(file, record.describe([row(suite, "w", "a", 1.0)], "x", {suite: 1}, not_measured=["cuda"]))
        return SimpleNamespace(returncode=int(suite == "broken"))

    monkeypatch.setattr(command.subprocess, "run", run)
    return asked


def test_all_suites_end_in_one_file(children, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "all", "--quick", "--threads", "1", "--json", str(tmp_path / "r.json")])
    assert stop.value.code == 0
    written = record.read(tmp_path / "r.json")
    assert [each.suite for each in written.rows] == list(command.SUITES)
    assert written.command == "pyscore bench all --threads 1 --quick"
    assert written.not_measured == ["cuda"]
    assert written.machine["threads"] == dict.fromkeys(command.SUITES, 1)
    assert all(arguments[0] == "bench" and "--quick" in arguments for arguments in children)
    assert "command: pyscore bench all" in capsys.readouterr().out


def test_a_suite_that_fails_is_no_silent_gap_and_costs_no_other(children, tmp_path):
    file = tmp_path / "r.json"
    with pytest.raises(command.PyscoreError, match=r"1 of 3 suites failed: `pyscore bench broken`"):
        command.run_suites(["kernels", "broken", "scores"], file, threads=1, quick=True)
    written = record.read(file)
    assert [each.suite for each in written.rows] == ["kernels", "scores"]
    assert any("bench broken" in text for text in written.not_measured)
