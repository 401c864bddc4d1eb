"""`pyscore reproduce`: the paper's experiment, with progress, and its status."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json as jsonlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pyscore import __version__, data
from pyscore.cli.output import emit, print_frame, task_progress
from pyscore.errors import InvalidInput
from pyscore.experiment import cluster
from pyscore.experiment.grid import GRIDS, Options, StackTask, tasks_of
from pyscore.experiment.runs import Place, cores
from pyscore.experiment.schedule import Report, Watch, execute
from pyscore.experiment.store import Store, read_results

__all__ = ["reproduce", "show_status"]


def reproduce(
    folder: Path,
    *,
    datasets: list[str] | None,
    splits: list[int],
    grid: str,
    options: Options,
    jobs: int,
    scheduler: str | None,
    place: Place,
    json: bool,
) -> None:
    """Run what is not finished; exit with 1 if something was not computed or not written."""
    if jobs < 1:
        raise InvalidInput(f"`--jobs` must be at least 1; got {jobs}.")
    tasks = tasks_of(GRIDS[grid], datasets or data.DATASETS, splits, options)
    for name in dict.fromkeys(task.dataset for task in tasks):
        data.load(name)  # complains now rather than in an hour
    store = Store(folder)
    _announce(store, tasks, grid, options)
    with _progress(tasks) as watch:
        if scheduler is not None:
            with cluster.connect(scheduler) as client:
                report = cluster.execute_on(client, tasks, store, place=place, watch=watch)
        elif jobs > 1:
            threads = place.threads or max(1, cores() // jobs)
            with cluster.local_cluster(jobs) as client:
                placed = dataclasses.replace(place, threads=threads)
                report = cluster.execute_on(client, tasks, store, place=placed, watch=watch)
        else:
            report = execute(tasks, store, place=place, watch=watch)
    _finish(folder, report, json)


def _announce(store: Store, tasks: Sequence[StackTask], grid: str, options: Options) -> None:
    """Enter a run into the manifest, and say what the folder holds that is not part of it."""
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    splits = list(dict.fromkeys(task.split for task in tasks))
    stacks = [task.name for task in tasks]
    key = hashlib.sha256("\n".join(stacks).encode()).hexdigest()[:16]
    others = [run for name, run in store.runs().items() if name != key and run["options"] != _plain(options)]
    store.add_run(
        key,
        {
            "grid": dataclasses.asdict(GRIDS[grid]),
            "datasets": datasets,
            "splits": splits,
            "options": _plain(options),
            "stacks": stacks,
            "notes": {name: data.NOTES[name] for name in datasets if name in data.NOTES},
            "versions": _versions(),
        },
    )
    if others:
        differ = sorted({k for run in others for k, v in run["options"].items() if v != _plain(options).get(k)})
        emit_note(
            f"{str(store.folder)!r} also holds stacks of {len(others)} run(s) with other options "
            f"({', '.join(differ)}): they have other hashes, stay as they are and do not count as finished here."
        )


def _plain(options: Options) -> dict[str, Any]:
    plain: dict[str, Any] = jsonlib.loads(jsonlib.dumps(dataclasses.asdict(options)))
    return plain


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    packages = ("numpy", "scipy", "pandas", "numba", "torch", "scikit-learn", "pyarrow")
    return {"pyscore": __version__, "python": platform.python_version(), **{p: version(p) for p in packages}}


def emit_note(text: str) -> None:
    """Print a remark on stderr."""
    sys.stderr.write(f"note: {text}\n")


def _cost(task: StackTask) -> float:
    """Multiplications of a stack, in some unit: what the time left is extrapolated from."""
    h, d, k = task.hidden_dim, 20, task.latent_dim
    return len(task.betas) * len(task.cs) * (task.options.steps * (4 * h * h + 4 * h * (d + k)) + 3e7)


@contextlib.contextmanager
def _progress(tasks: Sequence[StackTask]) -> Iterator[Watch]:
    """Show progress over all stacks, weighted by their cost."""
    cost = {task.name: _cost(task) for task in tasks}
    done = dict.fromkeys(cost, 0.0)
    finished: set[str] = set()
    with task_progress("stacks", len(tasks), sum(cost.values())) as (update, skip):

        def watch(task: StackTask, phase: str, share: float) -> None:
            name = task.name
            if phase.startswith(("finished before", "another")):
                skip(cost[name])  # takes no time, so that it must not count for the time left
            else:
                step, done[name] = share * cost[name] - done[name], share * cost[name]
                update(step, None, f"{task.dataset} {task.split} h{task.hidden_dim} k{task.latent_dim} "
                       f"p{task.n_components}: {phase}")  # fmt: skip
            if share >= 1.0 and name not in finished:
                finished.add(name)
                update(0.0, len(finished), None)

        yield watch


def _finish(folder: Path, report: Report, json: bool) -> None:
    """Say what became of the stacks."""
    emit({"output": str(folder), **report.to_dict()}, json=json)
    if report.unwritten or report.broken:
        sys.exit(1)


def show_status(folder: Path, *, json: bool) -> None:
    """Print, for each run of a folder and dataset, how many stacks are done and missing and how many models failed."""
    if not (folder / "manifest.json").is_file():
        raise InvalidInput(f"there is no run in {str(folder)!r}. Start one with `pyscore reproduce -o {folder}`.")
    store = Store(folder)
    done = {path.stem for path in (folder / "results").glob("*.parquet")}
    failed = _failed_models(folder) if done else {}
    rows = []
    for key, run in store.runs().items():
        for name in run["datasets"]:
            stacks = [s for s in run["stacks"] if s.startswith(f"{name}-easy-")]
            there = [s for s in stacks if s in done]
            rows.append(
                {
                    "run": key[:8],
                    "grid": run["grid"]["name"],
                    "steps": run["options"]["steps"],
                    "dataset": name,
                    "stacks": len(stacks),
                    "done": len(there),
                    "missing": len(stacks) - len(there),
                    "failed_models": sum(failed.get(s, 0) for s in there),
                }
            )
    frame = pd.DataFrame(rows)
    if json:
        emit({"output": str(folder), "rows": frame.to_dict("records")}, json=True)
    else:
        print_frame(frame, title=f"{folder}: stacks done and missing")


def _failed_models(folder: Path) -> dict[str, int]:
    """Number of models without training, by stack."""
    rows = read_results(folder)
    failed = rows[rows["failure"].notna() & (rows["rows_train"] == 0)]
    return dict(failed.groupby("stack")["config_hash"].nunique())
