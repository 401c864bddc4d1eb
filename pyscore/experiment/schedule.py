"""Running many stacks in this process, one after the other; and what every way of running them shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pyscore.data import Split
from pyscore.experiment.grid import StackTask
from pyscore.experiment.runs import Place, Progress, StackResult, run_stack, split_of
from pyscore.experiment.store import Store, out_of_disk

__all__ = ["Report", "Watch", "Writer", "execute", "take"]


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

    def to_dict(self) -> dict[str, object]:
        """Return counts and reasons."""
        counts = {name: len(getattr(self, name)) for name in ("finished", "skipped", "elsewhere")}
        return {**counts, "failed_models": self.failed_models, "unwritten": self.unwritten, "broken": self.broken}


Watch = Callable[[StackTask, str, float], None]
"""Called with (task, phase, share that is done)."""


class Writer:
    """Saves results; what a full disk refuses is kept in memory and tried again."""

    def __init__(self, store: Store, report: Report) -> None:
        self.store, self.report = store, report
        self._waiting: dict[str, tuple[StackTask, StackResult]] = {}

    def save(self, task: StackTask, result: StackResult) -> None:
        """Write, after whatever waits."""
        self._waiting[task.name] = task, result
        self.retry()

    def retry(self) -> None:
        """Try all that waits once more."""
        for name, (task, result) in list(self._waiting.items()):
            try:
                self.store.save(task, *result)
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


def take(task: StackTask, store: Store, report: Report, seen: Watch) -> int | None:
    """Claim a stack that is to be computed; returns what `Store.release` wants, or None if there is no need."""
    held = None if store.done(task) else store.try_claim(task.name)
    if held is not None and not store.done(task):  # not finished between the two questions either
        return held
    if held is not None:
        store.release(task.name, held)
    done = store.done(task)
    (report.skipped if done else report.elsewhere).append(task.name)
    seen(task, "finished before" if done else "another process works on it", 1.0)
    return None


def execute(
    tasks: Sequence[StackTask], store: Store, *, place: Place | None = None, watch: Watch | None = None
) -> Report:
    """Run the stacks that are not finished in this process, one after the other."""
    report = Report()
    writer = Writer(store, report)
    seen = watch or (lambda task, phase, share: None)
    splits: dict[tuple[str, str, int], Split] = {}
    for task in tasks:
        held = take(task, store, report, seen)
        if held is None:
            continue
        try:
            key = (task.dataset, task.difficulty, task.split)
            if key not in splits:
                splits = {key: split_of(task)}
            writer.save(task, run_stack(task, splits[key], place=place, progress=_progress(seen, task)))
            seen(task, "finished", 1.0)
        finally:
            store.release(task.name, held)
    writer.retry()
    return report


def _progress(seen: Watch, task: StackTask) -> Progress:
    return lambda phase, share: seen(task, phase, share)
