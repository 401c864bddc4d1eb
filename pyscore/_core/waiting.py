"""Waiting for the threads of a pool, which may run out of memory and end without reporting an error."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from pyscore.errors import OutOfMemory

__all__ = ["result_of", "start"]

LOOK_AGAIN = 2.0
"""Seconds between two checks whether the threads are still alive."""
T = TypeVar("T")


def start(pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: Any) -> Future[T]:
    """Submit a call to a pool.

    Raises
    ------
    OutOfMemory
        If the system cannot start another thread.
    """
    try:
        return pool.submit(call, *arguments)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise OutOfMemory(
            "the system allows no other thread: there is not enough memory, or a limit is reached (ulimit -u, -v)."
        ) from error


def result_of(future: Future[T], pool: ThreadPoolExecutor) -> T:
    """Return the result of a call that was submitted to `pool`, or raise its error.

    Raises
    ------
    OutOfMemory
        If a thread of the pool has ended. A thread without memory cannot even store its error, so waiting for its
        result would never end.
    """
    while True:
        try:
            return future.result(LOOK_AGAIN)
        except NotYet:
            if future.done():  # the call itself raised a TimeoutError
                raise
            if not all(thread.is_alive() for thread in pool._threads):
                raise OutOfMemory(
                    f"a thread of this process ({pool._thread_name_prefix}) ended without its result: there is "
                    "not enough memory. Use fewer threads, fewer columns, or a machine with more."
                ) from None
