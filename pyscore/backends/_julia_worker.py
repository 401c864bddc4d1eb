"""A Julia worker process: started when first needed, reused, replaced when it dies, gone when Python is.

Calls and answers travel on two pipes of their own; the worker's standard output and error go to a temporary
file, whose end becomes part of the error when something goes wrong.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import subprocess
import tempfile
import threading
import time
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import IO, Any

from pyscore.backends import _julia_wire as wire
from pyscore.backends._julia_wire import ModelToken
from pyscore.errors import JuliaError, NumericalWarning

__all__ = ["HeldModel", "JuliaWorker", "Progress", "Spawn"]

logger = logging.getLogger(__name__)

PIPE_BYTES = 1 << 20
MODELS_HELD = 32
WorkerCall = tuple[str, tuple[Any, ...], dict[str, Any]]
Progress = Callable[[str, float], None]
"""What Julia is at, and the part of it that is done (NaN for a message)."""
Spawn = Callable[[int, int], tuple[list[str], dict[str, str]]]
"""Read and write descriptor of the worker → its command and its environment."""


class _Died(Exception):
    """The pipe broke; `begun` says whether the worker had taken up the call."""

    def __init__(self, begun: bool) -> None:
        self.begun = begun


class _TimedOut(Exception):
    """No answer in time."""


# ── Starting processes ───────────────────────────────────────────────────────────────────────────────────
#
# The worker asks Linux to kill it when its parent is gone (PR_SET_PDEATHSIG), and "parent" means the *thread*
# that started it. So one thread starts all workers and lives as long as Python does.

_orders: SimpleQueue[tuple[Future[subprocess.Popen[bytes]], Callable[[], subprocess.Popen[bytes]]]] | None = None
_orders_lock = threading.Lock()


def _start(job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    global _orders
    with _orders_lock:
        if _orders is None:
            _orders = SimpleQueue()
            threading.Thread(target=_serve_orders, args=(_orders,), name="pyscore-julia", daemon=True).start()
        queue = _orders
    future: Future[subprocess.Popen[bytes]] = Future()
    queue.put((future, job))
    return future.result()


def _serve_orders(queue: Any) -> None:
    while True:
        future, job = queue.get()
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)


def _after_fork() -> None:
    """In a forked child: it has no such thread, no worker of its own, and no thread that holds a lock."""
    global _orders, _orders_lock
    _orders, _orders_lock = None, threading.Lock()
    for worker in list(_workers):
        worker.forget()


_workers: weakref.WeakSet[JuliaWorker] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ── One process ──────────────────────────────────────────────────────────────────────────────────────────


class _Process:
    """A running worker with its pipes."""

    def __init__(self, spawn: Spawn) -> None:
        to_worker, self.write_fd = os.pipe()
        self.read_fd, from_worker = os.pipe()
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `kill`)
        self.models: OrderedDict[str, None] = OrderedDict()
        self.ended = False
        command, environment = spawn(to_worker, from_worker)
        try:
            self.popen = _start(
                lambda: subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=self.log,
                    stderr=self.log,
                    pass_fds=(to_worker, from_worker),
                    start_new_session=True,  # Ctrl-C is for Python, which then ends the worker
                )
            )
        except OSError as error:
            self._close_pipes()
            raise JuliaError(f"Julia could not be started: {error}. The command was {command[0]!r}.") from error
        finally:
            os.close(to_worker)
            os.close(from_worker)
        os.set_blocking(self.write_fd, False)
        _enlarge(self.write_fd)
        _enlarge(self.read_fd)
        self._readable = select.poll()
        self._readable.register(self.read_fd, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(self.write_fd, select.POLLOUT)

    def alive(self) -> bool:
        """Whether the worker still holds its end of the pipes."""
        return self.popen.poll() is None and not any(
            event & (select.POLLERR | select.POLLHUP) for _, event in self._writable.poll(0)
        )

    def send(self, buffers: list[bytes | memoryview], deadline: float) -> None:
        views = [memoryview(buffer) for buffer in buffers]
        while views:
            _wait(self._writable, deadline)
            try:
                written = os.writev(self.write_fd, views[:64])
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise _Died(begun=False) from None
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if views and written:
                views[0] = views[0][written:]

    def receive(self, deadline: float, *, begun: bool) -> tuple[str, Any]:
        prefix = bytearray(wire.PREFIX.size)
        self._fill(memoryview(prefix), deadline, begun)
        magic, length = wire.PREFIX.unpack(prefix)
        if magic != wire.MAGIC:
            raise _Died(begun=True)
        header = bytearray(length)
        self._fill(memoryview(header), deadline, begun)
        kind, value, arrays = wire.decode(bytes(header))
        for array in arrays:
            if array.size:
                self._fill(array.data.cast("B"), deadline, begun)
        return kind, value

    def _fill(self, target: memoryview, deadline: float, begun: bool) -> None:
        while len(target):
            _wait(self._readable, deadline)
            got = os.readv(self.read_fd, [target])
            if got == 0:
                raise _Died(begun)
            target = target[got:]

    def output_tail(self, size: int = 4000) -> str:
        """Return the end of what the worker printed."""
        end = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, end - size))
        return self.log.read().decode(errors="replace").strip()

    def _close_pipes(self) -> None:
        for fd in (self.write_fd, self.read_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    def kill(self) -> None:
        """End the process at once and wait until it is gone."""
        if self.ended:
            return
        self.ended = True
        self.popen.kill()
        self.popen.wait()
        self._close_pipes()
        self.log.close()

    def abandon(self) -> None:
        """In a forked child: drop the parent's pipes and leave its worker alone."""
        self.ended = True
        self._close_pipes()
        self.popen.returncode = 0  # so that Popen does not look for a child that is not ours


def _enlarge(fd: int) -> None:
    """Ask for a larger pipe buffer, where the system has one to give."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _wait(poll: select.poll, deadline: float) -> None:
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(min(remaining, 1e6) * 1000):
        raise _TimedOut


# ── The worker as its users see it ───────────────────────────────────────────────────────────────────────


class JuliaWorker:
    """Calls Julia functions in a worker process.

    Parameters
    ----------
    spawn : function that gives command and environment of a new worker
    describe : str, for log and error messages
    timeout : float, seconds a call may take
    start_timeout : float, seconds that starting may take
    """

    def __init__(self, spawn: Spawn, describe: str, *, timeout: float, start_timeout: float) -> None:
        self._spawn, self.describe = spawn, describe
        self.timeout, self.start_timeout = timeout, start_timeout
        self.progress: Progress | None = None
        self._held: list[_Process] = []  # the running process, if there is one; `_end` knows the list alone
        self._lock = threading.RLock()
        self.starts = 0
        self.julia_version = ""
        _workers.add(self)
        # When the worker is collected, and when Python ends.
        weakref.finalize(self, _end, self._held)

    @property
    def _process(self) -> _Process | None:
        return self._held[0] if self._held else None

    @property
    def pid(self) -> int | None:
        """Process id of the worker, or None before the first call."""
        process = self._process
        return process.popen.pid if process else None

    def close(self) -> None:
        """End the worker; the next call starts another."""
        _end(self._held)

    def forget(self) -> None:
        """In a forked child: leave the parent's worker to the parent."""
        self._lock = threading.RLock()
        for process in self._held:
            process.abandon()
        self._held.clear()

    def call(self, name: str, *args: Any, **keywords: Any) -> Any:
        """Call a function of `julia/worker/exposed.jl`.

        A worker that died since the last call is replaced without a word; one that dies or hangs during this
        call gives a `JuliaError`, and the next call starts a fresh one.

        Raises
        ------
        JuliaError
            With Julia's message, or the end of what the worker printed.
        """
        models = {a.token: a for a in args if isinstance(a, HeldModel)}
        wired = tuple(ModelToken(a.token) if isinstance(a, HeldModel) else a for a in args)
        with self._lock:
            try:
                for last in (False, True):
                    process = self._running()
                    try:
                        for model in models.values():
                            self._hold(process, model)
                        return self._exchange(process, (name, wired, keywords), self.timeout)
                    except _Died as death:
                        tail = self._bury(process)
                        if death.begun or last:
                            raise JuliaError(
                                f"the Julia worker died during `{name}`. The next call starts a new one. "
                                f"It printed last:\n{tail or '(nothing)'}"
                            ) from None
                        logger.info("the Julia worker died between two calls; starting another")
                    except _TimedOut:
                        tail = self._bury(process)
                        raise JuliaError(
                            f"Julia did not answer `{name}` within {self.timeout:g} s and was ended. Give "
                            f"julia_backend a larger `timeout`. It printed last:\n{tail or '(nothing)'}"
                        ) from None
            except JuliaError:
                raise
            except BaseException:
                # Ctrl-C, say: the answer to this call would be taken for that of the next.
                self.close()
                raise
        raise AssertionError("unreachable")

    def _running(self) -> _Process:
        if self._process is not None and not self._process.alive():
            self._bury(self._process)
        if self._process is None:
            self._held[:] = [self._begin()]
        return self._held[0]

    def _begin(self) -> _Process:
        logger.info(
            "starting %s; Julia compiles each function at its first call, which takes seconds", self.describe
        )
        self.starts += 1
        process = _Process(self._spawn)
        try:
            _, ((self.julia_version, _package), _) = process.receive(
                time.monotonic() + self.start_timeout, begun=False
            )
        except (_Died, _TimedOut) as trouble:
            why = "ended" if isinstance(trouble, _Died) else f"did not answer within {self.start_timeout:g} s"
            tail = process.output_tail()
            process.kill()
            raise JuliaError(f"{self.describe} {why} while starting. It printed:\n{tail or '(nothing)'}") from None
        except BaseException:
            process.kill()
            raise
        logger.info("Julia %s runs as process %d", self.julia_version, process.popen.pid)
        return process

    def _bury(self, process: _Process) -> str:
        tail = process.output_tail()
        process.kill()
        self._held.clear()
        return tail

    def _hold(self, process: _Process, model: HeldModel) -> None:
        """Give the worker a model that it does not hold yet; let the longest unused one go beyond 32."""
        if model.token in process.models:
            process.models.move_to_end(model.token)
            return
        self._exchange(process, ("put_model", (model.token, *model.contents()), {}), self.timeout)
        process.models[model.token] = None
        if len(process.models) > MODELS_HELD:
            oldest, _ = process.models.popitem(last=False)
            self._exchange(process, ("forget_model", (oldest,), {}), self.timeout)

    def _exchange(self, process: _Process, call: WorkerCall, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        process.send(wire.encode("C", call), deadline)
        kind, value = process.receive(deadline, begun=False)
        while kind in ("B", "P"):
            if kind == "P":
                self._report(*value)
            kind, value = process.receive(deadline, begun=True)
        if kind == "E":
            exception, message, trace = value
            error = JuliaError(f"Julia raised {exception} in `{call[0]}`: {message}")
            error.add_note(f"Julia backtrace:{trace}")
            raise error
        result, messages = value
        for message in messages:
            warnings.warn(message, NumericalWarning, stacklevel=4)
        return result

    def _report(self, text: str, part: float) -> None:
        """Pass on what Julia says during a call: `part` is the part done, or NaN for a message."""
        if self.progress is not None:
            self.progress(text, part)
        elif math.isnan(part):
            logger.info("Julia: %s", text)
        else:
            logger.info("Julia: %s, %.0f %% done", text, 100 * part)


def _end(held: list[_Process]) -> None:
    while held:
        held.pop().kill()


class HeldModel:
    """A model as an argument of a call: its token and, when the worker does not hold it yet, its arrays."""

    def __init__(self, token: str, contents: Callable[[], tuple[Any, ...]]) -> None:
        self.token, self.contents = token, contents
