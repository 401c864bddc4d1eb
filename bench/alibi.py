"""alibi-detect's MMD as a contestant: a worker in another interpreter, which times its own calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pyscore._core.checks import Array
from pyscore.bench.harness import Elsewhere
from pyscore.errors import BackendUnavailable

__all__ = ["VARIABLE", "AlibiMMD", "interpreter"]

VARIABLE = "PYSCORE_ALIBI_PYTHON"
"""Names the interpreter that has alibi-detect, unless this one has."""
WORKER = Path(__file__).with_name("alibi_worker.py")


def interpreter() -> str:
    """Return the Python that has alibi-detect.

    Raises
    ------
    BackendUnavailable
        If there is none.
    """
    if util.find_spec("alibi_detect") is not None:
        return sys.executable
    named = os.environ.get(VARIABLE)
    if named is None:
        raise BackendUnavailable(
            "alibi-detect: not installed (it asks for NumPy below 2, so that it needs an environment of its own: "
            f"let {VARIABLE} name the Python of one)"
        )
    if not Path(named).is_file():
        raise BackendUnavailable(f"alibi-detect: {VARIABLE} must name a Python; there is none at {named!r}")
    return named


class AlibiMMD:
    """`alibi_detect.utils.pytorch.distance.mmd2` with the IMQ kernel, on the rows last given to `take`.

    Raises
    ------
    BackendUnavailable
        If there is no interpreter with alibi-detect, or its worker ends.
    """

    def __init__(self, threads: int) -> None:
        command = [interpreter(), str(WORKER), str(threads)]
        # Threads of OpenMP that spin while they wait would take the processors of the other contestants.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        self._resources = ExitStack()
        self._errors = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (see close)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=environment, text=True
        )
        try:
            self.version = str(self._read()["version"])
        except BackendUnavailable:
            self.close()
            raise

    def take(self, x: Array, y: Array, c: float) -> float:
        """Give it other rows; return MMD², once, as a first call."""
        with tempfile.TemporaryDirectory() as folder:
            files = {name: str(Path(folder) / f"{name}.npy") for name in ("x", "y")}
            np.save(files["x"], x)
            np.save(files["y"], y)
            return float(self._ask(**files, c=c)["value"])

    def __call__(self) -> Elsewhere:
        """MMD² of those rows, and the seconds that it took."""
        answer = self._ask(call=1)
        return Elsewhere(float(answer["seconds"]), float(answer["value"]))

    def _ask(self, **content: Any) -> dict[str, Any]:
        if self._process.stdin is None:  # it is a pipe, see above; for the type checker
            raise BackendUnavailable("alibi-detect: the worker has no input")
        self._process.stdin.write(json.dumps(content) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            raise BackendUnavailable(f"alibi-detect: the worker ended: {said[-1] if said else 'it said nothing'}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the worker."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._resources.close()

    def __enter__(self) -> AlibiMMD:
        """Return the contestant itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker."""
        self.close()
