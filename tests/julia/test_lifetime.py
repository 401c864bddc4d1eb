"""How long a Julia lives, who shares it, and what a pickled backend is on the other side."""

import copy
import gc
import multiprocessing
import pickle
import threading

import numpy as np
import pytest
from julia_transport import TRANSPORT, gone, wait_until

from pyscore.backends import flux, get_backend
from pyscore.backends.julia_ import julia_backend
from pyscore.reference.model import SVAE

pytestmark = pytest.mark.julia


def test_a_dropped_backend_ends_its_julia():
    backend = julia_backend(TRANSPORT)
    backend.call("echo", 1)
    pid = backend.worker.pid
    model = flux.SVAEvampmeans(SVAE.initialise(4, 2, 8, 2), backend=backend)
    del backend
    gc.collect()
    assert not gone(pid), "the model still holds it"
    del model
    gc.collect()
    assert gone(pid)


def test_a_closed_one_starts_again(own):
    own.call("echo", 1)
    pid = own.worker.pid
    with own:
        assert own.call("echo", 2) == 2
    assert gone(pid)
    assert own.worker.pid is None
    assert own.call("echo", 3) == 3
    assert own.worker.starts == 2


def test_an_idle_julia_ends_and_nobody_hears_of_it():
    with julia_backend(TRANSPORT, idle_timeout=0.2) as backend:
        assert backend.call("echo", 1) == 1
        pid = backend.worker.pid
        wait_until(lambda: gone(pid))
        assert backend.call("echo", 2) == 2
        assert backend.worker.pid != pid


def test_one_julia_for_all_who_ask_by_name():
    backend = get_backend("julia")
    assert backend is get_backend("julia", dtype="float64")
    assert backend is get_backend("julia", dtype=np.float64, device="cpu")
    single = get_backend("julia", dtype="float32")
    assert single is not backend
    assert single.worker is backend.worker
    assert flux.SVAEvampmeans(4, 8, 2, 3, "swish", "Dense", 2).backend is single


def test_both_types_hold_their_own_copy_of_a_model():
    model = SVAE.initialise(4, 2, 8, 2, dtype=np.float64)
    z = np.array([[0.6, 0.8]])
    for _ in range(2):
        for dtype, eps in (("float64", 1e-14), ("float32", 1e-5)):
            got = get_backend("julia", dtype=dtype).decode(model, z)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, model.decode(z), atol=eps)


@pytest.mark.parametrize("copied", [lambda b: pickle.loads(pickle.dumps(b)), copy.deepcopy, copy.copy])
def test_a_pickled_backend_is_made_anew(own, copied):
    own.call("echo", 1)
    other = copied(own)
    assert other.worker is not own.worker
    assert (other.transport, other.dtype, other._options) == (own.transport, own.dtype, own._options)
    assert other.call("echo", 2) == 2
    assert other.worker.pid != own.worker.pid
    other.close()


@pytest.mark.parametrize("name", ["numpy", "torch", "numba", "julia"])
def test_every_backend_can_be_pickled(name):
    backend = get_backend(name, dtype="float64")
    again = pickle.loads(pickle.dumps(backend))
    v = np.random.default_rng(0).normal(size=(5, 3))
    assert (again.name, again.dtype) == (backend.name, backend.dtype)
    assert np.array_equal(again.normalize(v), backend.normalize(v))


def _log_pz(task):
    model, x = task
    return flux.log_pz(model, x), model.backend.worker.pid


def test_models_cross_to_other_processes(julia, rng):
    model = flux.SVAEvampmeans(SVAE.initialise(4, 2, 8, 2, dtype=np.float64))
    parts = [rng.normal(size=(3, 4)) for _ in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_log_pz, [(model, part) for part in parts])
    for (values, pid), part in zip(found, parts, strict=True):
        assert np.array_equal(values, flux.log_pz(model, part))
        assert pid != model.backend.worker.pid
        wait_until(lambda pid=pid: gone(pid))


def test_two_at_once(rng):
    """Two Julias and the shared one, called from three threads."""
    with julia_backend(TRANSPORT) as a, julia_backend(TRANSPORT, dtype="float32") as b:
        backends, failures = [a, b, get_backend("julia")], []

        def work(backend, seed):
            for i in range(20):
                value = np.full((4, 3), 100 * seed + i, dtype=backend.dtype)
                if not np.array_equal(backend.call("echo", value), value):
                    failures.append((seed, i))

        threads = [threading.Thread(target=work, args=(b, i)) for i, b in enumerate(backends)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len({b.worker.pid for b in backends}) == 3
