"""Julia beside torch, forks, notebooks and folders with blanks; each in a Python of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from julia_transport import JULIA, TRANSPORT

from pyscore.backends import julia_
from pyscore.backends.julia_ import julia_backend

pytestmark = pytest.mark.julia

START = f"""
import gc, os, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np
TRANSPORT = {TRANSPORT!r}
from pyscore.backends.julia_ import julia_backend
v = np.arange(1.0, 13.0).reshape(4, 3)
"""


def python(program, **options):
    result = subprocess.run(
        [sys.executable, "-c", START + program], capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


TORCH = "import torch\nassert float((torch.ones(64, 64) @ torch.ones(64, 64)).sum()) == 64**3\n"
CALL = "b = julia_backend(TRANSPORT)\nassert np.allclose(b.normalize(v), v / np.linalg.norm(v, axis=1)[:, None])\n"


@pytest.mark.parametrize("order", [TORCH + CALL + TORCH, CALL + TORCH + CALL], ids=["torch first", "julia first"])
def test_torch_in_the_same_python(order):
    python(order)


def test_a_fork_while_another_thread_is_calling():
    """The child inherits a lock that is held by a thread which it does not have; it gets a Julia of its own."""
    python(
        CALL + "b.call('echo', 1)\n"
        "begun = threading.Event()\n"
        "b.worker.progress = lambda text, part: begun.set()\n"
        "thread = threading.Thread(target=lambda: b.call('spin', 3.0)); thread.start()\n"
        "begun.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    b.worker.progress = None\n"
        "    ok = b.worker.pid is None and b.call('echo', 2) == 2\n"
        "    b.close(); os._exit(0 if ok else 1)\n"
        "_, status = os.waitpid(child, 0)\n"
        "thread.join()\n"
        "assert status == 0, status\n"
        "assert b.call('echo', 3) == 3 and b.worker.starts == 1\n"
    )


def test_a_forked_child_that_drops_the_backend_leaves_the_parents_julia():
    python(
        CALL + "mine = b.worker.pid\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    del b; gc.collect(); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "assert b.call('echo', 3) == 3 and b.worker.pid == mine\n"
    )


def test_a_pool_that_forks():
    python(
        CALL + "import multiprocessing\n"
        "def work(i):\n"
        "    return b.call('echo', i), b.worker.pid\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    found = pool.map(work, range(6))\n"
        "assert [i for i, _ in found] == list(range(6))\n"
        "assert b.worker.pid not in {pid for _, pid in found}\n"
    )


def test_a_notebook():
    """What a Jupyter kernel is: a running event loop, streams without a file descriptor, cells in a thread."""
    said = python(
        "import asyncio, io\n"
        "class Stream(io.StringIO):\n"
        "    def fileno(self): raise io.UnsupportedOperation('fileno')\n"
        "real = sys.stdout\n"
        "sys.stdout, sys.stderr = Stream(), Stream()\n"
        "sys.stdin = None\n"
        "async def cell():\n"
        "    b = julia_backend(TRANSPORT)\n"
        "    b.call('say', 'not for the notebook')\n"
        "    got = await asyncio.to_thread(b.call, 'echo', 7)\n"
        "    return got, b.call('echo', 8)\n"
        "print(asyncio.run(cell()), sys.stdout.getvalue() == sys.stderr.getvalue() == '', file=real)\n"
    )
    assert said == "(7, 8) True\n"


def test_ctrl_c_in_a_script():
    """Python ends by the signal, and its Julia with it."""
    program = (
        CALL + "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "b.worker.progress = lambda text, part: threading.Timer(.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "pid = b.worker.pid\n"
        "try:\n    b.call('spin', 1e4)\n"
        "except KeyboardInterrupt:\n"
        "    b.worker.progress = None\n"
        "    assert not os.path.exists(f'/proc/{pid}')\n"
        "    assert b.call('echo', 5) == 5\n"
        "    print('interrupted')\n"
    )
    assert python(program) == "interrupted\n"


@pytest.mark.skipif(JULIA is None, reason="needs the executable")
def test_folders_with_blanks(tmp_path, monkeypatch):
    folder = tmp_path / "a folder with blanks, é"
    package = shutil.copytree(julia_.package_folder(), folder / "julia package")
    starter = folder / "my julia"
    starter.write_text(f'#!/bin/sh\nexec "{JULIA}" "$@"\n')
    starter.chmod(0o755)
    monkeypatch.setattr(julia_, "package_folder", lambda: Path(package))
    with julia_backend("executable", executable=starter, project=package) as backend:
        v = np.array([[3.0, 4.0]])
        assert np.array_equal(backend.normalize(v), v / 5)
        assert backend.call("versions")[0].startswith("1.")


def test_threads_of_julia():
    """JULIA_NUM_THREADS reaches the worker, and changes no bit."""
    program = (
        "from pyscore.reference.model import SVAE\n"
        "from pyscore.convention import EXACT, ORIGINAL\n"
        "b = julia_backend(TRANSPORT)\n"
        "m = SVAE.initialise(7, 3, 16, 4, dtype=np.float64)\n"
        "x = np.random.default_rng(0).normal(size=(700, 7))\n"
        "print(b.call('threads'))\n"
        "mu, kappa = b.encode(m, x)\n"
        "out = [mu, kappa, b.decode(m, mu)]\n"
        "for c in (EXACT, ORIGINAL):\n"
        "    out += [b.decoder_log_volume(m, mu, convention=c), b.encoder_log_volume(m, x, convention=c)]\n"
        "import hashlib; print(hashlib.sha256(b''.join(a.tobytes() for a in out)).hexdigest())\n"
    )
    import os

    said = [python(program, env=os.environ | {"JULIA_NUM_THREADS": str(n)}).split() for n in (1, 2)]
    # Julia 1.5 takes no more threads than there are cores.
    assert [int(count) for count, _ in said] == [1, min(2, os.cpu_count() or 1)]
    assert said[0][1] == said[1][1]
