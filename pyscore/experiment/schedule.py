"""Running many jobs in this process, one after the other; and what every way of running them shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyscore.data import Split
from pyscore.experiment.jobs import Job
from pyscore.experiment.runs import Place, Progress, StackResult, split_of
from pyscore.experiment.store import Store, out_of_disk

__all__ = [
    "BROKEN",
    "ELSEWHERE",
    "FINISHED",
    "FINISHED_BEFORE",
    "Report",
    "Splits",
    "Watch",
    "Writer",
    "execute",
    "take",
]


FINISHED, FINISHED_BEFORE = "finished", "finished before"
ELSEWHERE, BROKEN = "another process works on it", "broken"
"""Last phases of a job, as a `Watch` is told."""


@dataclass
class Report:
    """What became of the stacks of one call."""

    finished: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Finished before."""
    elsewhere: list[str] = field(default_factory=list)
    """Another process is working on them."""
    failed_models: int = 0
    unwritten: dict[str, str] = field(default_factory=dict)
    """Computed, but a full disk did not take them, with the reason."""
    broken: dict[str, str] = field(default_factory=dict)
    """Not computed, with the reason: a worker that died time and again, say."""

    @property
    def complete(self) -> bool:
        """Whether everything was computed and written, here or elsewhere."""
        return not (self.unwritten or self.broken)

    def to_dict(self) -> dict[str, object]:
        """Return counts and reasons."""
        counts = {name: len(getattr(self, name)) for name in ("finished", "skipped", "elsewhere")}
        return {**counts, "failed_models": self.failed_models, "unwritten": self.unwritten, "broken": self.broken}


Watch = Callable[[Job, str, float], None]
"""Called with (job, phase, share that is done)."""


class Writer:
    """Saves results; what a full disk refuses is kept in memory and tried again."""

    def __init__(self, store: Store, report: Report) -> None:
        self.store, self.report = store, report
        self._waiting: dict[str, tuple[Job, StackResult]] = {}

    def save(self, job: Job, result: StackResult) -> None:
        """Write, after whatever waits."""
        self._waiting[job.name] = job, result
        self.retry()

    def retry(self) -> None:
        """Try all that waits once more."""
        for name, (job, result) in list(self._waiting.items()):
            try:
                job.save(self.store, result)
            except OSError as error:
                if not out_of_disk(error):
                    raise
                if name not in self.report.unwritten:
                    self.report.unwritten[name] = str(error)
                    self.store.log({"stack": name, "event": "not written", "reason": str(error)})
                continue
            del self._waiting[name]
            self.report.unwritten.pop(name, None)
            self.report.finished.append(name)
            failed = result.rows.loc[result.rows["failure"].notna(), ["config_hash", "failure"]]
            gone = [i for i, model in enumerate(result.models) if model is None]
            self.report.failed_models += len(gone)
            for config_hash, reason in failed.drop_duplicates().itertuples(index=False):
                self.store.log({"stack": name, "event": "failed", "model": config_hash, "reason": reason})


def take(job: Job, store: Store, report: Report, seen: Watch) -> int | None:
    """Claim a job that is to be done; returns what `Store.release` wants, or None if there is no need."""
    path = job.path(store)
    held = None if path.is_file() else store.try_claim(job.name)
    if held is not None and not path.is_file():  # not finished between the two questions either
        return held
    if held is not None:
        store.release(job.name, held)
    done = path.is_file()
    (report.skipped if done else report.elsewhere).append(job.name)
    seen(job, FINISHED_BEFORE if done else ELSEWHERE, 1.0)
    return None


class Splits:
    """Rows of a task's split; those of the last one are kept, since jobs come split by split."""

    def __init__(self) -> None:
        self._last: tuple[object, Split] | None = None

    def of(self, job: Job) -> Split:
        """Load and split, or return what is kept."""
        task = job.task
        key = (task.dataset, task.difficulty, task.split, task.options.train_convention)
        if self._last is None or self._last[0] != key:
            self._last = key, split_of(task)
        return self._last[1]


def execute(
    jobs: Sequence[Job], store: Store, *, place: Place | None = None, watch: Watch | None = None
) -> Report:
    """Do the jobs that are not finished in this process, one after the other."""
    report, splits, place = Report(), Splits(), place or Place()
    writer = Writer(store, report)
    seen = watch or (lambda job, phase, share: None)
    for job in jobs:
        held = take(job, store, report, seen)
        if held is None:
            continue
        try:
            writer.save(job, job.work(splits.of(job), job.inputs(store), place, _progress(seen, job)))
            seen(job, FINISHED, 1.0)
        finally:
            store.release(job.name, held)
    writer.retry()
    return report


def _progress(seen: Watch, job: Job) -> Progress:
    return lambda phase, share: seen(job, phase, share)
