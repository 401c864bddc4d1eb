"""The worker process: errors, deaths, time limits, what it prints, and that none is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from julia_transport import TRANSPORT, gone, wait_until

from pyscore.backends._julia_worker import MODELS_HELD
from pyscore.backends.julia_ import julia_backend
from pyscore.errors import InvalidInput, JuliaError
from pyscore.reference.model import SVAE

pytestmark = pytest.mark.julia


def once_it_runs(backend, act):
    """Do something when the worker has taken up its next call of `spin` or `pause`."""

    def told(text, part):
        backend.worker.progress = None
        act()

    backend.worker.progress = told


def test_nothing_starts_before_the_first_call(own):
    assert own.worker.pid is None
    own.normalize(np.eye(3))
    first = own.worker.pid
    own.normalize(np.eye(3))
    assert own.worker.pid == first
    assert own.worker.starts == 1


@pytest.mark.parametrize("value", [
    np.arange(24.0).reshape(2, 3, 4), np.zeros((0, 5)), np.float32([[1, 2], [3, 4]]), np.arange(5), np.array(3.5),
    (1, 2.5, "κ", None, True, (np.eye(2), "x")), -(2**62), "",
])  # fmt: skip
def test_values_come_back_as_they_went(value, julia):
    got = julia.call("echo", value)

    def same(a, b):
        if isinstance(a, tuple):
            return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
        if isinstance(a, np.ndarray):
            return b.dtype == a.dtype and np.array_equal(a, b) and b.shape == a.shape
        return type(a) is type(b) and a == b

    assert same(value, got)


@pytest.mark.parametrize("value", [object(), np.array(["a"]), np.array([1 + 2j]), np.float16([1])])
def test_values_that_have_no_place_on_the_wire(value, julia):
    with pytest.raises(InvalidInput, match="for Julia must be|of a Julia call must be"):
        julia.call("echo", value)
    assert julia.call("echo", 1) == 1


def test_julia_exceptions_arrive_with_message_and_backtrace(julia):
    pid = julia.worker.pid
    with pytest.raises(JuliaError, match="ErrorException in `raise`: no such μ") as caught:
        julia.call("raise", "no such μ")
    assert "error.jl" in caught.value.__notes__[0]
    with pytest.raises(JuliaError, match="no function `nonsense`"):
        julia.call("nonsense")
    with pytest.raises(JuliaError, match="DimensionMismatch"):
        julia.call("latent_error", np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(JuliaError, match="`volume_weight`|no field"):
        julia.call("normalize", np.eye(2), convention={"colour": "blue"})
    assert julia.call("echo", 1) == 1
    assert pid in (None, julia.worker.pid), "an exception must not cost the worker its life"


def test_what_julia_prints_does_not_disturb(own):
    assert own.call("say", "PYSC" * 1000) is None
    assert own.call("echo", 2) == 2


def test_deaths_between_calls_go_unnoticed(own):
    """200 calls, the worker killed before 10 of them: every result is right and nobody hears of it."""
    rng, pids = np.random.default_rng(0), set()
    model = SVAE.initialise(4, 2, 8, 2, dtype=np.float64)
    for i in range(200):
        if i % 20 == 7:
            os.kill(own.worker.pid, signal.SIGKILL)
        z = rng.normal(size=(3, 2))
        if i % 2:
            assert np.array_equal(own.call("echo", z), z)
        else:
            np.testing.assert_allclose(own.decode(model, z), model.decode(z), atol=1e-14)
        pids.add(own.worker.pid)
    assert own.worker.starts == 11
    assert len(pids) == 11
    own.close()
    assert all(gone(pid) for pid in pids)


def test_a_death_during_a_call_is_an_error_and_the_next_call_succeeds(own):
    pids = []
    for i in range(10):
        own.call("echo", i)
        pids.append(own.worker.pid)
        once_it_runs(own, lambda: os.kill(own.worker.pid, signal.SIGKILL))
        with pytest.raises(JuliaError, match="died during `spin`"):
            own.call("spin", 1e4)
        assert own.call("spin", 0.01) is None
    assert own.worker.starts == 11
    assert all(gone(pid) for pid in pids)


def test_a_call_that_hangs_is_ended():
    backend = julia_backend(TRANSPORT)
    backend.call("echo", 1)
    pid = backend.worker.pid
    backend.worker.timeout = 0.3
    with pytest.raises(JuliaError, match=r"did not answer `spin` within 0\.3 s"):
        backend.call("spin", 1e4)
    assert gone(pid)
    backend.worker.timeout = 3600
    assert backend.call("echo", 1) == 1
    backend.close()


def test_the_error_shows_what_the_worker_printed(own):
    own.call("say", "last words")
    once_it_runs(own, lambda: os.kill(own.worker.pid, signal.SIGKILL))
    with pytest.raises(JuliaError, match="last words"):
        own.call("spin", 1e4)


def test_an_interrupted_call_does_not_answer_the_next(own):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    own.call("echo", 1)
    # A moment later, when Python waits for the answer.
    once_it_runs(own, threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start)
    with pytest.raises(KeyboardInterrupt):
        own.call("pause", 1e4)
    signal.signal(signal.SIGINT, before)
    assert own.call("echo", 2) == 2


def test_many_threads_share_one_worker(julia):
    arrays = [np.full((50, 3), float(i)) for i in range(8)]
    failures = []

    def work(array):
        for _ in range(20):
            if not np.array_equal(julia.call("echo", array), array):
                failures.append(array[0, 0])

    threads = [threading.Thread(target=work, args=(a,)) for a in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_worker_outlives_the_thread_that_asked_for_it(own):
    """PR_SET_PDEATHSIG looks at the thread, so a thread of its own starts the workers."""
    thread = threading.Thread(target=own.call, args=("echo", 1))
    thread.start()
    thread.join()
    pid = own.worker.pid
    time.sleep(0.2)
    assert own.call("echo", 2) == 2
    assert own.worker.pid == pid


def test_models_changed_in_place_are_new_models(julia, rng):
    model = SVAE.initialise(4, 2, 8, 2, dtype=np.float64)
    z = rng.normal(size=(3, 2))
    before = julia.decode(model, z)
    model.decoder[-1].bias[:] += 1
    np.testing.assert_allclose(julia.decode(model, z), before + 1, atol=1e-14)


def test_more_models_than_the_worker_holds(own, rng):
    z = rng.normal(size=(2, 2))
    models = [SVAE.initialise(3, 2, 4, 2, seed=s, dtype=np.float64) for s in range(MODELS_HELD + 3)]
    for model in models + models[:2]:
        np.testing.assert_allclose(own.decode(model, z), model.decode(z), atol=1e-14)
    assert len(own.worker._process.models) == MODELS_HELD


def test_a_forked_child_leaves_the_parents_worker_alone(own):
    own.call("echo", 1)
    pid = own.worker.pid
    program = (  # in a fresh interpreter: this one has threads, with which forking is no good
        f"import os, warnings; warnings.simplefilter('ignore'); TRANSPORT = {TRANSPORT!r}\n"
        "from pyscore.backends.julia_ import julia_backend\n"
        "b = julia_backend(TRANSPORT); b.call('echo', 1); mine = b.worker.pid\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ok = b.call('echo', 2) == 2 and b.worker.pid != mine; b.close(); os._exit(0 if ok else 1)\n"
        "_, status = os.waitpid(child, 0)\n"
        "assert status == 0 and b.call('echo', 3) == 3 and b.worker.pid == mine\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert own.worker.pid == pid


STARTS_ONE = (
    "import sys, time, os\n"
    "from pyscore.backends.julia_ import julia_backend\n"
    f"b = julia_backend({TRANSPORT!r}); b.call('echo', 1)\n"
    "print(b.worker.pid, flush=True)\n"
)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "1 / 0", "os._exit(0)"])
def test_no_worker_is_left_when_python_ends(ending):
    result = subprocess.run(
        [sys.executable, "-c", STARTS_ONE + ending], capture_output=True, text=True, check=False
    )
    pid = int(result.stdout)
    wait_until(lambda: gone(pid))


@pytest.mark.parametrize("busy", ["time.sleep(1e4)", "b.call('spin', 1e4)"])
def test_no_worker_is_left_when_python_is_killed(busy):
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE + busy], stdout=subprocess.PIPE, text=True) as python:
        pid = int(python.stdout.readline())
        time.sleep(0.3)
        assert not gone(pid)
        python.kill()
    wait_until(lambda: gone(pid))
