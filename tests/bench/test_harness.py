"""Turns, noise, records and comparison, with times that are chosen."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pyscore.bench import harness, record, tables
from pyscore.bench.compare import FLOOR, compare
from pyscore.bench.record import Row
from pyscore.cli.app import main
from pyscore.errors import InvalidInput

THREADS = {"asked": 2}


@pytest.fixture
def clock(monkeypatch):
    """A clock that ticks as it is told: one length for each call that is timed."""

    def set_times(seconds):
        ticks = itertools.chain.from_iterable((0.0, s) for s in seconds)
        monkeypatch.setattr(harness.time, "perf_counter", lambda: next(ticks))

    return set_times


def row(contestant="a", seconds=(1.0, 1.0, 1.0), work="w", **more):
    return Row("kernels", work, contestant, list(seconds), **more)


def a_record(*rows, **machine):
    found = record.describe(rows, "pyscore bench kernels", THREADS)
    found.machine.update(machine)
    return found


def test_contestants_take_turns_and_warm_up_is_apart(clock):
    clock([9.0, 1.0, 8.0, 2.0] + [1.0, 2.0] * 3)
    calls, first = [], {}
    contestants = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = harness.measure(contestants, 3, warm_up=first)
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert times == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert first == {"a": 9.0, "b": 8.0}


def test_a_short_call_fills_a_repeat_by_being_made_again(clock):
    clock([9.0, harness.SHORT / 4] + [harness.SHORT] * 3)
    calls = []
    times = harness.measure({"a": lambda: calls.append("a")}, 3)
    assert len(calls) == 2 + 3 * 4
    assert times == {"a": [harness.SHORT / 4] * 3}
    clock([9.0, 0.0] + [0.0] * 3 * harness.ATTEMPTS)
    calls.clear()
    times = harness.measure({"a": lambda: calls.append("a")}, 3)
    assert len(calls) == 2 + 3 * harness.ATTEMPTS * harness.MOST, "below the clock's tick: never steady"
    assert harness.is_noisy(times["a"])


def test_a_noisy_measurement_is_repeated_and_the_steadiest_one_kept(clock):
    noisy, steady = [1.0, 5.0, 9.0], [2.0, 2.0, 2.0]
    clock([1.0, 1.0, *noisy, *steady])
    assert harness.measure({"a": lambda: None}, 3) == {"a": steady}
    clock([1.0, 1.0, *noisy, *noisy, *steady])
    assert harness.measure({"a": lambda: None}, 3) == {"a": steady}
    clock([1.0, 1.0, *noisy, *noisy, *noisy])
    assert harness.is_noisy(harness.measure({"a": lambda: None}, 3)["a"])


def test_no_more_processors_than_threads():
    before = os.sched_getaffinity(0)
    with harness.few_processors(1):
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert len(os.sched_getaffinity(0)) == 1
    assert child.stdout.strip() == "1"
    assert os.sched_getaffinity(0) == before


def test_a_slow_contestant_sits_out_after_three(clock):
    clock([5.0, 5.0, 1.0, 1.0] + [5.0, 1.0] * 3 + [1.0] * 2)
    times = harness.measure({"slow": lambda: None, "fast": lambda: None}, 5, budget=10.0)
    assert {name: len(t) for name, t in times.items()} == {"slow": 3, "fast": 5}


def test_a_contestant_of_another_process_brings_its_own_seconds(clock):
    clock([9.0] * 5)
    assert harness.measure({"far": lambda: harness.Elsewhere(0.5, None)}, 3) == {"far": [0.5] * 3}


def test_spread_is_the_interquartile_range_over_the_median():
    assert harness.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert row(seconds=[1.0, 1.0]).noisy, "two times say nothing about noise"
    assert not row().noisy


def test_a_record_survives_the_file(tmp_path):
    written = a_record(row(count=10, unit="row", facts={"auc": 0.5}, target=2.0, error=1.5), row("b", base=True))
    record.write(tmp_path / "r.json", written)
    assert record.read(tmp_path / "r.json") == written
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["rows"][0]["rate"] == 10
    assert {"machine", "versions", "commit", "date", "command"} <= set(content)
    assert content["machine"]["threads"] == THREADS


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "pyscore.bench", "version": 1, "rows": [{}]}', "\x00"]
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="Measure again|cannot be read"):
        record.read(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        record.read(tmp_path / "none.json")


def test_files_of_different_suites_become_one(tmp_path, capsys):
    first, second = a_record(row(), load=[0.5]), a_record(row(work="x"), load=[1.5])
    for name, written in (("a", first), ("b", second)):
        record.write(tmp_path / f"{name}.json", written)
    with pytest.raises(SystemExit):
        main(
            ["bench", "merge", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "-o", str(tmp_path / "c.json")]
        )
    both = record.read(tmp_path / "c.json")
    assert [each.work for each in both.rows] == ["w", "x"]
    assert [("load at the end 0.5" in run, "load at the end 1.5" in run) for run in both.machine["runs"]] == [
        (True, False),
        (False, True),
    ]
    assert "of it: pyscore bench kernels" in tables.render(both)
    with pytest.raises(InvalidInput, match="different work"):
        record.merge([first, first])
    with pytest.raises(InvalidInput, match="one processor"):
        record.merge([first, a_record(row(work="y"), processor="another")])
    with pytest.raises(InvalidInput, match="one number of threads"):
        record.merge([first, a_record(row(work="y"), threads={"asked": 1})])
    of_two = record.merge([replace(first, commit="a" * 40), replace(second, commit="b" * 40 + "+")])
    assert "commit aaaaaaaaaa, bbbbbbbbbb+:" in tables.short_block(of_two), (
        "no commit is lost, nor that one was dirty"
    )


def verdicts(old, new):
    return dict(zip(*(compare(old, new)[c] for c in ("contestant", "verdict")), strict=True))


def test_only_changes_beyond_both_spreads_count():
    steady, wide = [1.0] * 5, [0.9, 0.95, 1.0, 1.05, 1.1]
    assert verdicts(a_record(row(seconds=steady)), a_record(row(seconds=[1 + FLOOR / 2] * 5))) == {"a": "same"}
    assert verdicts(a_record(row(seconds=steady)), a_record(row(seconds=[1.08] * 5))) == {"a": "slower"}
    assert verdicts(a_record(row(seconds=wide)), a_record(row(seconds=[1.08] * 5))) == {"a": "same"}
    assert verdicts(a_record(row(seconds=[1.2] * 5)), a_record(row(seconds=steady))) == {"a": "faster"}


def test_other_amounts_of_work_and_missing_rows_are_said_not_judged():
    old = a_record(row(seconds=[1.0] * 3, count=10), row("b"))
    new = a_record(row(seconds=[2.0] * 3, count=20), row("c"))
    assert verdicts(old, new) == {"a": "other size", "b": "gone", "c": "added"}


def test_on_another_machine_only_the_shares_are_compared():
    def of(base, other, processor):
        return a_record(row("kernel", [base] * 3, base=True), row("b", [other] * 3), processor=processor)

    assert verdicts(of(1.0, 4.0, "x"), of(2.0, 8.0, "y")) == {"kernel / b": "same"}
    assert verdicts(of(1.0, 4.0, "x"), of(2.0, 4.0, "y")) == {"kernel / b": "slower"}


def test_where_numpy_is_the_base_the_others_are_ours():
    def of(numpy, numba, processor):
        rows = [
            Row("scores", "proposed", name, [seconds] * 3, base=name == "numpy")
            for name, seconds in (("numpy", numpy), ("numba", numba))
        ]
        return a_record(*rows, processor=processor)

    assert verdicts(of(1.0, 0.10, "x"), of(1.0, 0.05, "y")) == {"numba / numpy": "faster"}
    assert verdicts(of(1.0, 0.10, "x"), of(1.0, 0.20, "y")) == {"numba / numpy": "slower"}


def test_the_command_says_by_its_status_that_something_is_slower(tmp_path, capsys):
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, seconds in zip(paths, (1.0, 3.0), strict=True):
        record.write(path, a_record(row(seconds=[seconds] * 3)))
    with pytest.raises(SystemExit) as stop:
        main(["bench", "compare", *map(str, paths), "--json"])
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["rows"][0]["ratio"] == 3.0
    with pytest.raises(SystemExit) as stop:
        main(["bench", "compare", str(paths[0]), str(paths[0])])
    assert stop.value.code == 0
    assert "slower" in capsys.readouterr().out


def test_where_we_lose_is_said():
    rows = [row("kernel", [2.0] * 3, base=True), row("fast", [1.0] * 3), row("near", [6.0] * 3, target=5.0)]
    said = tables.losses(a_record(*rows, row("kernel", base=True, work="x"), row("slow", [9.0] * 3, work="x")))
    assert said == [
        "w: fast is 2.00 times as fast as kernel.",
        "w: 3.00 times as fast as near, where 5 was asked for.",
    ]


def test_a_page_is_filled_between_its_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nformer text\n{tables.END}\nafter\n")
    written = a_record(row("kernel", base=True), row("b", [3.0] * 3))
    assert not tables.update_page(page, written, check=True)
    assert "former text" in page.read_text()
    assert not tables.update_page(page, written)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "3.00×" in text
    assert "former text" not in text
    assert tables.update_page(page, written, check=True)
    page.write_text("no markers")
    with pytest.raises(InvalidInput, match="must have one line"):
        tables.update_page(page, written)


@pytest.mark.parametrize(("page", "short"), [("docs/performance.md", False), ("README.md", True)])
def test_the_tables_of_the_pages_are_those_of_the_committed_file(page, short):
    root = Path(__file__).parents[2]
    committed = record.read(root / "bench" / "results.json")
    assert tables.update_page(root / page, committed, check=True, short=short), (
        f"run `pyscore bench table bench/results.json --update {page}{' --short' * short}`"
    )


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_openmp_sleeps_while_it_waits(before, after):
    """Unless the user says otherwise; and the record says what it was. In a process that has no torch yet."""
    environment = {name: value for name, value in os.environ.items() if name != harness.WAIT_POLICY}
    environment |= {harness.WAIT_POLICY: before} if before else {}
    code = "import json; from pyscore.bench.harness import pin_threads; print(json.dumps(pin_threads(1)))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    pinned = json.loads(run.stdout)
    assert pinned[harness.WAIT_POLICY] == after
    assert pinned["torch"] == 1
