"""`pyscore reproduce`: the paper's experiment, with progress, and its status."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json as jsonlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from cyclopts import Parameter

from pyscore._core.version import __version__
from pyscore.cli.options import ConventionName, Json, Output, names_of
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import spinner, task_progress
from pyscore.cli.terminal import print_note
from pyscore.convention import get_convention
from pyscore.data.datasets import DATASETS, NOTES, load_dataset
from pyscore.errors import InvalidInput
from pyscore.experiment import cluster
from pyscore.experiment.ablation import selected_models, training_tasks
from pyscore.experiment.baseline_runs import write_baselines
from pyscore.experiment.grid import GRIDS, Options, StackTask, tasks_of
from pyscore.experiment.jobs import Job, Rescore, TrainingAblation
from pyscore.experiment.runs import Place, cores, failed_models
from pyscore.experiment.schedule import BROKEN, ELSEWHERE, FINISHED, FINISHED_BEFORE, Report, Watch, execute
from pyscore.experiment.schema import SCHEMA
from pyscore.experiment.store import Store, damage_of_rows, out_of_disk, read_results, read_rows

__all__ = ["reproduce"]


def reproduce(
    *,
    output: Output,
    datasets: str = "all",
    splits: str = "0",
    grid: Literal["paper", "small", "latent"] = "paper",
    steps: int = 10_000,
    learning_rate: float = 1e-4,
    convention: ConventionName = "original",
    costly_rows: int = 300,
    disc_steps: int = 500,
    jobs: int = 1,
    scheduler: str | None = None,
    backend: Literal["numba", "torch"] = "numba",
    device: str = "cpu",
    threads: int | None = None,
    ablation: Literal["scoring", "all"] | None = None,
    status: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Compute what is missing in the output folder, or with `status` say what is.

    Parameters
    ----------
    output
        Folder of the results; made if it is missing.
    datasets
        Names separated by commas (see `pyscore data list`), or "all" for the paper's ten.
    splits
        Seeds of the train/test splits, separated by commas; the paper has five.
    grid
        paper, its 288 configurations; small, 32 of them; latent, the sweep over latent dimensions of Figure 3.
    steps
        Training steps of each model.
    learning_rate
        Of ADAM.
    convention
        Of the training. Every model is scored under both conventions.
    costly_rows
        Rows of training and of test set on which the importance score is evaluated; 0 leaves it out.
    disc_steps
        Training steps of the classifier two-sample test; 0 leaves it out.
    jobs
        Worker processes of a Dask cluster on this machine; 1 computes in this process.
    scheduler
        Address of a Dask scheduler, tcp://host:port, whose workers compute.
    backend
        What trains the models: numba or torch.
    device
        Where torch trains: cpu, cuda, cuda:1.
    threads
        Threads of the training; by default all cores.
    ablation
        Instead: switch each field of the convention alone. scoring, on the models of finished stacks; all, also
        train the small grid with each training field switched.
    status
        Print what is done and missing in the output folder, and compute nothing.
    """
    if status:
        show_status(output, json=json)
        return
    options = Options(
        steps=steps, learning_rate=learning_rate, train_convention=get_convention(convention),
        costly_rows=costly_rows, disc_steps=disc_steps,
    )  # fmt: skip
    request = Request(
        datasets=names_of(datasets, "datasets"),
        splits=[_seed_of_split(text) for text in names_of(splits, "splits") or ["0", "1", "2", "3", "4"]],
        grid=grid,
        options=options,
        jobs=jobs,
        scheduler=scheduler,
        place=Place(backend=backend, device=device, threads=threads),
    )
    if ablation is not None:
        ablate(output, request, training=ablation == "all", json=json)
    else:
        run(output, request, json=json)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be run, and on what."""

    datasets: list[str] | None
    splits: list[int]
    grid: str
    options: Options
    jobs: int = 1
    scheduler: str | None = None
    place: Place = field(default_factory=Place)

    def tasks(self) -> list[StackTask]:
        """All stacks, in the order of work."""
        return tasks_of(GRIDS[self.grid], self.datasets or DATASETS, self.splits, self.options)


def run(folder: Path, request: Request, *, json: bool) -> None:
    """Run what is not finished; exit with 1 if something was not computed or not written."""
    tasks = _checked(request)
    store = Store(folder, tell=print_note)
    try:
        _announce(store, tasks, request)
    except BaseException:
        store.discard()
        raise
    _baselines(tasks, store)
    report = _run([Job(task) for task in tasks], store, request)
    emit({"output": str(folder), **report.to_dict()}, json=json)
    if not report.complete:
        sys.exit(1)


def ablate(folder: Path, request: Request, *, training: bool, json: bool) -> None:
    """Switch each scoring field on the models of finished stacks, and train with each training field switched."""
    tasks = _checked(request)
    store = Store(folder, tell=print_note)
    finished = [task for task in tasks if store.result_path(task).is_file() and not Job(task).damage(store)]
    if not finished:
        raise InvalidInput(
            f"none of the {len(tasks)} stacks asked for is finished in {str(folder)!r}. Call without --ablation "
            "first, with the same options."
        )
    if len(finished) < len(tasks):
        print_note(
            f"{len(tasks) - len(finished)} of {len(tasks)} stacks are not finished: the ablation lacks them."
        )
    rows = pd.concat([read_rows(store.result_path(task)) for task in finished], ignore_index=True)
    fitted, dear = frozenset(selected_models(rows)), frozenset(selected_models(rows, ["proposed"]))
    own = rows.groupby("stack")["config_hash"].agg(frozenset)
    jobs: list[Job] = [Rescore(task, fitted & own[task.name], dear & own[task.name]) for task in finished]
    if training:
        datasets = list(dict.fromkeys(task.dataset for task in tasks))
        variants = training_tasks(datasets, request.splits, request.options)
        jobs += [TrainingAblation(task, switched) for task, switched in variants]
    report = _run(jobs, store, request)
    emit({"output": str(folder), **report.to_dict()}, json=json)
    if not report.complete:
        sys.exit(1)


def _seed_of_split(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(f"`splits` must be whole numbers separated by commas; got {text!r}.") from None


def _checked(request: Request) -> list[StackTask]:
    """Return the tasks; complains of what is wrong now rather than in an hour."""
    if request.jobs < 1:
        raise InvalidInput(f"`--jobs` must be at least 1; got {request.jobs}.")
    tasks = request.tasks()
    for name in dict.fromkeys(task.dataset for task in tasks):
        load_dataset(name)
    return tasks


def _baselines(tasks: Sequence[StackTask], store: Store) -> None:
    firsts = {(task.dataset, task.split): task for task in reversed(tasks)}
    try:
        with spinner("baselines") as note:
            for (dataset, split), task in reversed(firsts.items()):
                note(f"{dataset}, split {split}")
                write_baselines(task, store)
    except OSError as error:
        if not out_of_disk(error):
            raise
        print_note(f"baselines were not written ({error}); call again to get them.")


def _run(jobs: Sequence[Job], store: Store, request: Request) -> Report:
    """Do the jobs here, on processes of this machine, or on a cluster."""
    place = request.place
    with _progress(jobs) as watch:
        if request.scheduler is not None:
            with cluster.connect(request.scheduler) as client:
                return cluster.execute_on(client, jobs, store, place=place, watch=watch)
        if request.jobs > 1:
            place = dataclasses.replace(place, threads=place.threads or max(1, cores() // request.jobs))
            with cluster.local_cluster(request.jobs) as client:
                return cluster.execute_on(client, jobs, store, place=place, watch=watch)
        return execute(jobs, store, place=place, watch=watch)


def _announce(store: Store, tasks: Sequence[StackTask], request: Request) -> None:
    """Enter a run into the manifest, and say what the folder holds that is not part of it."""
    options = request.options
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    stacks = [task.name for task in tasks]
    key = hashlib.sha256("\n".join(stacks).encode()).hexdigest()[:16]
    others = [run for name, run in store.runs().items() if name != key and run["options"] != _plain(options)]
    store.add_run(
        key,
        {
            "grid": dataclasses.asdict(GRIDS[request.grid]),
            "datasets": datasets,
            "splits": request.splits,
            "options": _plain(options),
            "stacks": stacks,
            "notes": {name: NOTES[name] for name in datasets if name in NOTES},
            "versions": _versions(),
        },
    )
    if others:
        differ = sorted({k for run in others for k, v in run["options"].items() if v != _plain(options).get(k)})
        print_note(
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


def _cost(job: Job) -> float:
    """Multiplications of a job, in some unit: what the time left is extrapolated from."""
    task = job.task
    h, d, k = task.hidden_dim, 20, task.latent_dim
    training = 0 if isinstance(job, Rescore) else task.options.steps * (4 * h * h + 4 * h * (d + k))
    return len(task.betas) * len(task.cs) * (training + 3e7)


@contextlib.contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[Watch]:
    """Show progress over all jobs, weighted by their cost."""
    cost = {job.name: _cost(job) for job in jobs}
    done = dict.fromkeys(cost, 0.0)
    finished: set[str] = set()
    with task_progress("stacks", len(cost), sum(cost.values())) as (update, skip):

        def watch(job: Job, phase: str, share: float) -> None:
            name, task = job.name, job.task
            label = (
                f"{task.dataset} {task.split} h{task.hidden_dim} k{task.latent_dim} p{task.n_components}: {phase}"
            )
            if phase in (FINISHED_BEFORE, ELSEWHERE):
                skip(cost[name])  # takes no time, so that it must not count for the time left
            else:
                step, done[name] = share * cost[name] - done[name], share * cost[name]
                update(step, None, label)
            if phase in (FINISHED_BEFORE, ELSEWHERE, FINISHED, BROKEN):
                finished.add(name)
                update(0.0, len(finished), None)

        yield watch


def show_status(folder: Path, *, json: bool) -> None:
    """Print how many stacks are done and missing, and how many models failed, for each run and dataset."""
    if not (folder / "manifest.json").is_file():
        raise InvalidInput(f"there is no run in {str(folder)!r}. Start one with `pyscore reproduce -o {folder}`.")
    store = Store(folder, tell=print_note)
    files = {path.stem: path for path in (folder / "results").glob("*.parquet")}
    damaged = {name for name, path in files.items() if damage_of_rows(path, SCHEMA.names) is not None}
    done = files.keys() - damaged
    failed = failed_models(read_results(folder, skip_damaged=True)) if done else {}
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
                    "damaged": sum(s in damaged for s in stacks),
                    "failed_models": sum(failed.get(s, 0) for s in there),
                }
            )
    frame = pd.DataFrame(rows)
    if json:
        emit({"output": str(folder), "rows": frame.to_dict("records")}, json=True)
    else:
        print_frame(frame, title=f"{folder}: stacks done and missing")
