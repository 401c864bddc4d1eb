"""Training: seeds, resuming, divergence, and that it learns."""

import subprocess
import sys

import numpy as np
import pytest

from pyscore.convention import ORIGINAL
from pyscore.errors import InvalidInput, ModelFileError, TrainingDiverged
from pyscore.reference.model import SVAE
from pyscore.training.compiled import CompiledTrainer
from pyscore.training.config import BACKENDS, TrainConfig
from pyscore.training.draws import RandomDraws
from pyscore.training.torch_trainer import Trainer
from pyscore.training.train import new_run, train


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, 2 * np.pi, 300)
    return np.column_stack([np.cos(angle), np.sin(angle), 0.5 * np.cos(2 * angle)]) + rng.normal(0, 0.05, (300, 3))


SIZES = {"latent_dim": 2, "hidden_dim": 16, "n_components": 3}
both = pytest.mark.parametrize("backend", BACKENDS)


@both
def test_the_loss_falls(x, backend):
    trained = train(x, TrainConfig(steps=400, learning_rate=3e-3), backend=backend, **SIZES)
    mse = trained.history["mse"]
    assert mse[-50:].mean() < 0.5 * mse[:20].mean()
    assert list(trained.history.columns) == ["loss", "mse", "mmd"]
    assert len(trained.history) == 400
    np.testing.assert_allclose(trained.history["loss"], mse + trained.history["mmd"], rtol=1e-4, atol=1e-5)


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_seed_same_bits(x, dtype, backend):
    options = {"dtype": dtype, "backend": backend, **SIZES}
    runs = [train(x, TrainConfig(steps=25, seed=s), **options).model.digest() for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_bits_do_not_depend_on_the_threads(x):
    import torch

    before = torch.get_num_threads()
    digests = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        digests.append(train(x, TrainConfig(steps=10), backend="torch", **SIZES).model.digest())
        assert torch.get_num_threads() == threads, "training leaves the caller's threads alone"
    torch.set_num_threads(before)
    assert digests[0] == digests[1]


@both
@pytest.mark.parametrize("convention", ["EXACT", "ORIGINAL"])
def test_an_interrupted_run_resumes_to_the_same_bits(x, tmp_path, convention, backend, monkeypatch):
    monkeypatch.setattr(CompiledTrainer, "stride", 7)
    config = TrainConfig(steps=60, convention=ORIGINAL if convention == "ORIGINAL" else TrainConfig().convention)
    start = SVAE.initialise(3, 2, 16, 3)
    whole = new_run(start, x, config, backend=backend).run()

    class Interrupt(Exception):
        pass

    def stop(done, total, loss):
        if done >= 45:
            raise Interrupt

    path = tmp_path / "run.ckpt"
    with pytest.raises(Interrupt):
        new_run(start, x, config, backend=backend).run(callback=stop, checkpoint=path, every=20)
    resumed = new_run(start, x, config, backend=backend)
    seen = []
    result = resumed.run(callback=lambda done, total, loss: seen.append(done), checkpoint=path, every=20)
    assert seen[0] == {"torch": 41, "numba": 42}[backend], "goes on after the checkpoint of step 40"
    assert result.model.digest() == whole.model.digest()
    np.testing.assert_array_equal(result.history, whole.history)
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


@both
def test_a_foreign_checkpoint_is_refused(x, tmp_path, backend):
    path = tmp_path / "run.ckpt"
    start = SVAE.initialise(3, 2, 16, 3)
    new_run(start, x, TrainConfig(steps=5), backend=backend).run(checkpoint=path)
    with pytest.raises(InvalidInput, match="belongs to another run: its config differ"):
        new_run(start, x, TrainConfig(steps=5, beta=2.0), backend=backend).run(checkpoint=path)
    with pytest.raises(InvalidInput, match="its data differ"):
        new_run(start, x + 1, TrainConfig(steps=5), backend=backend).run(checkpoint=path)
    with pytest.raises(InvalidInput, match="its architecture differ"):
        new_run(SVAE.initialise(3, 2, 17, 3), x, TrainConfig(steps=5), backend=backend).run(checkpoint=path)
    other = next(name for name in BACKENDS if name != backend)
    with pytest.raises(InvalidInput, match="its backend, architecture differ"):
        new_run(start, x, TrainConfig(steps=5), backend=other).run(checkpoint=path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelFileError, match="truncated or corrupt"):
        new_run(start, x, TrainConfig(steps=5), backend=backend).run(checkpoint=path)


@both
def test_more_steps_go_on_from_a_finished_run(x, tmp_path, backend):
    path = tmp_path / "run.ckpt"
    start = SVAE.initialise(3, 2, 16, 3)
    new_run(start, x, TrainConfig(steps=10), backend=backend).run(checkpoint=path)
    longer = new_run(start, x, TrainConfig(steps=20), backend=backend).run(checkpoint=path)
    assert longer.model.digest() == new_run(start, x, TrainConfig(steps=20), backend=backend).run().model.digest()


@both
def test_a_loss_that_is_not_finite_stops_the_run(x, backend):
    with pytest.raises(TrainingDiverged, match=r"became (nan|inf|NaN) at step \d+. Lower `learning_rate`"):
        train(x * 1e3, TrainConfig(steps=300, learning_rate=1e15), backend=backend, **SIZES)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"beta": -1}, "`beta` must be a finite number of at least 0; got -1"),
        ({"c": 0}, "`c` must be a finite number above 0; got 0"),
        ({"steps": -5}, "`steps` must be an integer of at least 0; got -5"),
        ({"batch_size": 1}, "`batch_size` must be an integer of at least 2; got 1. The MMD needs pairs"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number above 0; got nan"),
    ],
)
def test_bad_configuration(fields, match):
    with pytest.raises(InvalidInput, match=match):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (np.zeros((0, 3)), "`x` must have at least 2 rows to train on; got 0"),
        (np.zeros((1, 3)), "`x` must have at least 2 rows to train on; got 1"),
        (np.array([[0, 1, 2], [0, np.nan, 1]]), "got NaN at row 1, column 1"),
    ],
)
def test_bad_rows(rows, match):
    with pytest.raises(InvalidInput, match=match):
        train(rows, TrainConfig(steps=1), **SIZES)


@both
def test_zero_steps_is_the_initial_model(x, backend):
    trained = train(x, TrainConfig(steps=0), backend=backend, **SIZES)
    assert trained.model.digest() == SVAE.initialise(3, 2, 16, 3).digest()


def test_the_engine_is_chosen_by_what_is_asked_for(x):
    start = SVAE.initialise(3, 2, 16, 3)
    assert isinstance(new_run(start, x), CompiledTrainer)
    assert isinstance(new_run(start, x, draws=RandomDraws(0)), Trainer)
    assert isinstance(new_run(start, x, device="meta"), Trainer)
    with pytest.raises(InvalidInput, match=r"`draws` must be None with backend='numba'.*Use 'torch'"):
        new_run(start, x, backend="numba", draws=RandomDraws(0))
    with pytest.raises(InvalidInput, match=r"`device` must be 'cpu', not 'cuda', with backend='numba'"):
        new_run(start, x, backend="numba", device="cuda")
    with pytest.raises(InvalidInput, match=r"`backend` must be one of"):
        new_run(start, x, backend="flux")


def test_the_callback_sees_steps_and_the_last_loss(x):
    seen = []
    trained = train(x, TrainConfig(steps=450), callback=lambda *now: seen.append(now), **SIZES)
    assert [now[:2] for now in seen] == [(200, 450), (400, 450), (450, 450)]
    assert [now[2] for now in seen] == trained.history["loss"][[199, 399, 449]].tolist()


def test_training_on_the_cpu_does_not_load_torch(tmp_path):
    code = """
import sys
import numpy as np
from pyscore import fit
fit(np.random.default_rng(0).standard_normal((20, 3)))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


WIDE = """if True:
    import resource
    import numpy as np
    from pyscore.training.config import TrainConfig
    from pyscore.training.train import train
    x = np.random.default_rng(0).normal(size=(200, 40_000))
    config = TrainConfig(steps=1)
    train(x[:, :8], config, latent_dim=2)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 30), now + (2 << 30)))
    model = train(x, config, latent_dim=2).model
    assert model.input_dim == 40_000
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_grows_with_the_columns_not_with_their_square():
    """40,000 columns fit into 2 GB; their square would be 6.4 GB."""
    subprocess.run([sys.executable, "-c", WIDE], check=True)
