"""Threads that score different models through one backend do not hand each other their layers."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pyscore.backends import get_backend
from pyscore.backends.numba_ import NumbaBackend
from pyscore.convention import EXACT
from pyscore.reference.model import SVAE
from pyscore.scoring.scores import score_terms


@pytest.fixture
def nervous():
    """Threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("name", ["numpy", "torch", "numba"])
def test_one_backend_many_models(name, nervous):
    engine = get_backend(name)
    x = np.random.default_rng(0).standard_normal((3, 5))
    models = [SVAE.initialise(5, 2, 8, 2, seed=seed) for seed in range(4)]
    scores = ["proposed", "proposed_encoder", "latent_reconstruction"]
    alone = [score_terms(model, x, scores, convention=EXACT, backend=engine) for model in models]

    def again(index):
        found = score_terms(models[index], x, scores, convention=EXACT, backend=engine)
        return bool((found == alone[index]).all(axis=None))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, [i % 4 for i in range(400)]))


def test_another_thread_in_the_middle_of_packing(monkeypatch):
    """What a switch of threads does at the worst moment, without the threads."""
    engine = NumbaBackend(None)
    mine, other = (SVAE.initialise(5, 2, 8, 2, seed=seed) for seed in (0, 1))
    z = np.array([[0.6, 0.8]], np.float32)
    wanted = {model: NumbaBackend(None).decode(model, z) for model in (mine, other)}
    pack = engine._kernels.pack
    interruptions = [lambda: engine.decode(other, z)]

    def interrupted(*arguments):
        packed = pack(*arguments)
        if interruptions:
            interruptions.pop()()
        return packed

    monkeypatch.setattr(engine._kernels, "pack", interrupted)
    for model in (mine, other, mine):
        np.testing.assert_array_equal(engine.decode(model, z), wanted[model])
