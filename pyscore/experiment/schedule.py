"""Running jobs in this process one after the other, and what this has in common with running them on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from pyscore.data.datasets import Split
from pyscore.errors import DataUnavailable, InvalidInput, ModelFileError
from pyscore.experiment.jobs import Job
from pyscore.experiment.runs import Place, Progress, StackResult, failed_models, split_of
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
]


FINISHED, FINISHED_BEFORE = "finished", "finished before"
ELSEWHERE, BROKEN = "another process works on it", "broken"
"""Last phase of a job, as `Watch` receives it."""


@dataclass
class Report:
    """The outcome of the stacks of one call."""

    finished: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Stacks that were finished before."""
    elsewhere: list[str] = field(default_factory=list)
    """Stacks on which another process is working."""
    failed_models: int = 0
    unwritten: dict[str, str] = field(default_factory=dict)
    """Stacks that were computed but could not be written to a full disk, with the reason."""
    unclaimed: dict[str, str] = field(default_factory=dict)
    """Stacks that were computed without a claim because the disk was full, with the reason."""
    broken: dict[str, str] = field(default_factory=dict)
    """Stacks that were not computed, with the reason, for example a worker that died several times."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Stacks computed again because a file of their results was damaged and moved aside, with the reason."""

    @property
    def complete(self) -> bool:
        """Whether everything was computed and written, here or elsewhere."""
        return not (self.unwritten or self.broken)

    def to_dict(self) -> dict[str, object]:
        """Return counts and reasons."""
        counts = {name: len(getattr(self, name)) for name in ("finished", "skipped", "elsewhere")}
        reasons = {name: getattr(self, name) for name in ("unwritten", "unclaimed", "broken", "damaged")}
        return {**counts, "failed_models": self.failed_models, **reasons}


Watch = Callable[[Job, str, float], None]
"""Called with (job, phase, share that is done)."""


class Writer:
    """Claims jobs and writes their results. Results that a full disk refuses stay in memory and are tried again.

    A claim is held until the result is written or the context is left, so that no other process computes a result
    that only waits for disk space. If a full disk has no room for the claim itself, the job is computed without it
    and claimed before it is written.
    """

    def __init__(self, store: Store, report: Report, seen: Watch | None = None) -> None:
        self.store, self.report = store, report
        self.seen: Watch = seen or (lambda job, phase, share: None)
        self._held: dict[str, int] = {}
        self._waiting: dict[str, tuple[Job, StackResult]] = {}

    def __enter__(self) -> Self:
        self.store.sweep()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.retry()
        finally:
            for name in list(self._held):
                self._release(name)

    def take(self, job: Job) -> bool:
        """Claim a job; return whether this process is to do it."""
        if not self._finished(job):
            try:
                claimed = self._claim(job)
            except OSError as error:
                if not out_of_disk(error):
                    raise
                self._note(self.report.unclaimed, job.name, "not claimed", error)
                return True
            if claimed and not self._finished(job):  # another process may have finished it in between
                self._set_aside(job)
                return True
        self._release(job.name)
        done = self._finished(job)
        (self.report.skipped if done else self.report.elsewhere).append(job.name)
        self.seen(job, FINISHED_BEFORE if done else ELSEWHERE, 1.0)
        return False

    def _finished(self, job: Job) -> bool:
        """Whether the result of a job exists, is undamaged, and belongs to the present options."""
        there = job.path(self.store).is_file()
        return there and job.damage(self.store) is None and not job.outdated(self.store)

    def _set_aside(self, job: Job) -> None:
        """Rename the damaged files of a job that is to be done again."""
        rows = job.path(self.store)
        while (found := job.damage(self.store)) is not None:
            if found[0] != rows and rows.exists():  # rows first, because rows mean that the models exist
                self.store.set_aside(rows, f"{found[0].name} is damaged")
            self.report.damaged[job.name] = self.store.set_aside(*found)

    def inputs(self, job: Job) -> tuple[Any, ...] | None:
        """Read what a job needs. A damaged file ends this job, with its reason, and no other job."""
        try:
            return job.inputs(self.store)
        except (DataUnavailable, InvalidInput, ModelFileError) as error:
            self.give_up(job, error)
            return None

    def save(self, job: Job, result: StackResult) -> None:
        """Write a result, after those that are still waiting."""
        self._waiting[job.name] = job, result
        self.retry()
        self.seen(job, FINISHED, 1.0)

    def give_up(self, job: Job, error: BaseException) -> None:
        """Record why a job has no result."""
        self._note(self.report.broken, job.name, "broken", f"{type(error).__name__}: {error}")
        self._release(job.name)
        self.seen(job, BROKEN, 1.0)

    def retry(self) -> None:
        """Try again to write all results that are waiting."""
        for name, (job, result) in list(self._waiting.items()):
            try:
                if not self._claim(job):
                    self._note(self.report.unwritten, name, "not written", ELSEWHERE)
                    continue
                job.save(self.store, result)
            except OSError as error:
                if not out_of_disk(error):
                    raise
                self._note(self.report.unwritten, name, "not written", error)
                continue
            del self._waiting[name]
            self._release(name)
            self.report.unwritten.pop(name, None)
            self.report.finished.append(name)
            self._count_failures(name, result.rows)

    def _count_failures(self, name: str, rows: pd.DataFrame) -> None:
        self.report.failed_models += sum(failed_models(rows).values())
        failed = rows.loc[rows["failure"].notna(), ["config_hash", "failure"]]
        for config_hash, reason in failed.drop_duplicates().itertuples(index=False):
            self.store.log({"stack": name, "event": "failed", "model": config_hash, "reason": reason})

    def _claim(self, job: Job) -> bool:
        """Whether this process holds the claim of a job, after trying to take it."""
        if job.name not in self._held and (held := self.store.try_claim(job.name)) is not None:
            self._held[job.name] = held
        return job.name in self._held

    def _release(self, name: str) -> None:
        if (held := self._held.pop(name, None)) is not None:
            self.store.release(name, held)

    def _note(self, where: dict[str, str], name: str, event: str, reason: object) -> None:
        """Report and log a reason, once."""
        if name not in where:
            where[name] = str(reason)
            self.store.log({"stack": name, "event": event, "reason": where[name]})


class Splits:
    """Loads the rows of a task's split and keeps the last ones, since consecutive jobs share a split."""

    def __init__(self) -> None:
        self._last: tuple[object, Split] | None = None

    def of(self, job: Job) -> Split:
        """Return the rows of a job's split."""
        task = job.task
        key = (task.dataset, task.difficulty, task.split, task.options.train_convention)
        if self._last is None or self._last[0] != key:
            self._last = key, split_of(task)
        return self._last[1]


def execute(
    jobs: Sequence[Job], store: Store, *, place: Place | None = None, watch: Watch | None = None
) -> Report:
    """Do the unfinished jobs in this process, one after the other."""
    report, splits, place = Report(), Splits(), place or Place()
    with Writer(store, report, watch) as writer:
        for job in jobs:
            if writer.take(job) and (inputs := writer.inputs(job)) is not None:
                progress = _progress(writer.seen, job)
                writer.save(job, job.work(splits.of(job), inputs, place, progress))
    return report


def _progress(seen: Watch, job: Job) -> Progress:
    return lambda phase, share: seen(job, phase, share)
