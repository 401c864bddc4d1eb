"""Running stacks on the workers of a Dask cluster, on this machine or on others.

This process holds the claims and writes the files. A worker receives a job with its rows, and sends result rows
and models back, so workers need pyscore but neither the output folder nor the datasets. If a worker dies, the
scheduler gives its stack to another worker, at most three times.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyscore.data.datasets import Split
from pyscore.errors import BackendUnavailable, ClusterError
from pyscore.experiment.jobs import Job
from pyscore.experiment.runs import Place, StackResult
from pyscore.experiment.schedule import Report, Splits, Watch, Writer
from pyscore.experiment.store import Store

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["connect", "execute_on", "local_cluster"]

WAITING_PER_THREAD = 2
"""Stacks handed out for each thread of the workers: one to compute and one waiting."""


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise BackendUnavailable(
            f"`--jobs` above 1 and `--scheduler` need Dask ({error}). Install it with "
            "`pip install 'pyscore-anomaly[dask]'`, or leave both options out."
        ) from None
    return distributed


@contextlib.contextmanager
def local_cluster(jobs: int) -> Iterator[Client]:
    """Start worker processes of one thread each on this machine; a worker that dies is replaced."""
    distributed = _distributed()
    with (
        distributed.LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port; 8787 may be another cluster's
            memory_limit=0,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    """Connect to a scheduler.

    Raises
    ------
    ClusterError
        If there is no scheduler at that address.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"there is no Dask scheduler at {address!r} ({error}). Start one with `dask scheduler`, workers with "
            "`dask worker ADDRESS`, and give the address that it prints."
        ) from None
    with client:
        yield client


def _work(job: Job, split: Split, inputs: tuple[Any, ...], place: Place) -> StackResult:
    """Run one job on a worker."""
    import numba

    numba.set_num_threads(min(place.threads or 1, numba.config.NUMBA_NUM_THREADS))
    return job.work(split, inputs, place, None)


def execute_on(
    client: Client,
    jobs: Sequence[Job],
    store: Store,
    *,
    place: Place | None = None,
    watch: Watch | None = None,
) -> Report:
    """Run the unfinished stacks on the workers of a client; this process writes the files.

    Raises
    ------
    ClusterError
        If the connection to the scheduler is lost. Finished stacks have been written by then.
    """
    distributed = _distributed()
    place = place or Place()
    place = replace(place, threads=place.threads or 1)
    report, splits = Report(), Splits()
    waiting = deque(jobs)
    out: dict[Future[Any], Job] = {}
    completed = distributed.as_completed()
    with Writer(store, report, watch) as writer:
        try:
            while waiting or out:
                while waiting and len(out) < _room(client):
                    job = waiting.popleft()
                    if writer.take(job) and (inputs := writer.inputs(job)) is not None:
                        future = client.submit(_work, job, splits.of(job), inputs, place, pure=False)
                        out[future] = job
                        completed.add(future)
                        writer.seen(job, "sent to a worker", 0.0)
                if out:
                    future = next(completed)
                    _collect(future, out.pop(future), writer)
        finally:
            for future in out:
                future.cancel()  # type: ignore[no-untyped-call]
    return report


def _room(client: Client) -> int:
    """How many stacks may be handed out at the moment, since the number of workers changes."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return max(1, WAITING_PER_THREAD * sum(worker["nthreads"] for worker in workers))


def _collect(future: Future[Any], job: Job, writer: Writer) -> None:
    """Write the result of a finished future, or record why there is none."""
    if future.status == "finished":
        writer.save(job, future.result())
        return
    if future.status in ("cancelled", "lost"):
        raise ClusterError("the connection to the Dask scheduler was lost. Call again to go on where it stopped.")
    writer.give_up(job, future.exception())  # type: ignore[no-untyped-call]
