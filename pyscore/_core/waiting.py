"""Waiting for the threads of a pool, which may die before they can say of what."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from pyscore.errors import OutOfMemory

__all__ = ["result_of", "start"]

LOOK_AGAIN = 2.0
"""Seconds after which a wait looks whether the threads that it waits for are alive."""
T = TypeVar("T")


def start(pool: ThreadPoolExecutor, call: Callable[..., T], *arguments: Any) -> Future[T]:
    """Let a pool make a call.

    Raises
    ------
    OutOfMemory
        If the system allows no other thread.
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
    """Return the result of a call that a pool makes, or raise its error.

    Raises
    ------
    OutOfMemory
        If a thread of the pool has ended: without memory it cannot even keep the error, and the result that it
        owes would be waited for without end.
    """
    while True:
        try:
            return future.result(LOOK_AGAIN)
        except NotYet:
            if future.done():  # an error of the call's own
                raise
            if not all(thread.is_alive() for thread in pool._threads):
                raise OutOfMemory(
                    f"a thread of this process ({pool._thread_name_prefix}) ended without its result: there is "
                    "not enough memory. Use fewer threads, fewer columns, or a machine with more."
                ) from None
