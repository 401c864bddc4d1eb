"""Stacked training: equal to the single trainer, to itself in other company, and to the torch stack."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from closeness import assert_close
from replay import MovedStep

from pyscore.backends.stochastic import K
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.errors import InvalidInput
from pyscore.kernels.cpu import train as kernel
from pyscore.reference.model import SVAE
from pyscore.reference.network import ACTIVATIONS
from pyscore.reference.sampling import STREAMS, TrainingDraws
from pyscore.training.compiled import step_options
from pyscore.training.config import TrainConfig
from pyscore.training.draws import RandomDraws
from pyscore.training.stack import train_stack
from pyscore.training.torch_trainer import Trainer
from pyscore.training.train import train

SHAPES = [(30, 9, 64, 16, 100), (7, 2, 20, 1, 33), (10, 4, 32, 4, 100), (3, 3, 5, 2, 2), (40, 5, 17, 20, 31)]
"""d, k, h, p, batch size: the paper's, and ones that are no multiple of anything."""
STEP_K = 4
"""A trained parameter differs from the other trainer's by less than STEP_K·eps a step, in units of the largest
parameter (or 1); measured 1.5 in float64 and 0.8 in float32."""
LOSS_K = 32
"""The same of a recorded loss, in units of the largest; measured 15 and 11."""


def rows(d: int, n: int = 150, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(d).standard_normal((n, d)).astype(dtype)


def largest_difference(a: SVAE, b: SVAE) -> float:
    pairs = zip(a.parameters().values(), b.parameters().values(), strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs)


def compiled_gradients(model: SVAE, x: np.ndarray, config: TrainConfig) -> tuple[dict, np.ndarray]:
    state = kernel.initial_state(model.parameters(), model.activation)
    options = step_options(config, model.activation)
    _, failure, history, gradient = kernel.train_steps(state, x, options, np.ones(2), 0, 1)
    assert failure is None
    return kernel.parameters(state, gradient), history[0]


def assert_step_agrees(model: SVAE, x: np.ndarray, config: TrainConfig) -> None:
    """Losses and gradients of the compiled step are those of automatic differentiation, to K times their spread."""
    trainer = Trainer(model, x, config)
    trainer.step()
    wanted = trainer.gradients()
    got, losses = compiled_gradients(model, x, config)
    moved = MovedStep(model, x, config, RandomDraws(config.seed), x.dtype)
    eps = np.finfo(x.dtype).eps
    assert_close(losses, trainer.history().to_numpy()[0], K, moved.losses(config.beta) / eps, x.dtype, "losses")
    for name, spread in moved.gradients(config.beta).items():
        assert_close(got[name], wanted[name], K, spread / eps, x.dtype, f"gradient of {name}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_automatic_differentiation(shape: tuple[int, ...]) -> None:
    d, k, h, p, size = shape
    model = SVAE.initialise(d, k, h, p, seed=3, dtype=np.float64)
    assert_step_agrees(model, rows(d), TrainConfig(batch_size=size, seed=3, beta=2.0))


@pytest.mark.parametrize("field", ["norm_eps", "mmd_diagonal", "pseudo_input_gradient"])
def test_gradients_under_the_originals_training_fields(field: str) -> None:
    convention = EXACT.switched(field)
    model = SVAE.initialise(10, 4, 32, 4, seed=1, dtype=np.float64)
    assert_step_agrees(model, rows(10), TrainConfig(seed=1, convention=convention))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_gradients_of_every_activation(activation: str) -> None:
    model = SVAE.initialise(6, 3, 16, 2, seed=2, activation=activation, dtype=np.float64)
    assert_step_agrees(model, rows(6), TrainConfig(batch_size=20, seed=2))


def test_a_wrong_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SVAE.initialise(6, 3, 16, 2, seed=2, dtype=np.float64)
    original = kernel.parameters
    monkeypatch.setattr(kernel, "parameters", lambda s, g: {n: a * (1 + 1e-10) for n, a in original(s, g).items()})
    with pytest.raises(AssertionError, match="gradient of .* eps·scale"):
        assert_step_agrees(model, rows(6), TrainConfig(batch_size=20))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=lambda c: c.name)
def test_a_stack_of_one_is_the_single_trainer(convention: Convention, dtype: type) -> None:
    """The one that differentiates automatically (by default `train` is itself a stack of one)."""
    sizes = {"latent_dim": 4, "hidden_dim": 32, "n_components": 4, "dtype": dtype}
    x, eps = rows(10, dtype=dtype), np.finfo(dtype).eps
    for steps in (1, 10, 60):
        config = TrainConfig(steps=steps, seed=5, convention=convention)
        single = train(x, config, backend="torch", **sizes)
        (member,) = train_stack(x, [config], **sizes)
        scale = max(1.0, *(float(np.abs(value).max()) for value in single.model.parameters().values()))
        assert largest_difference(member.model, single.model) <= STEP_K * eps * steps * scale
        wanted = single.history.to_numpy()
        apart = np.abs(member.history.to_numpy() - wanted).max()
        assert apart <= LOSS_K * eps * steps * np.abs(wanted).max()


def test_train_is_a_stack_of_one() -> None:
    config, sizes = TrainConfig(steps=10, seed=5), {"latent_dim": 4, "hidden_dim": 32, "n_components": 4}
    (member,) = train_stack(rows(10), [config], **sizes)
    assert member.model.digest() == train(rows(10), config, **sizes).model.digest()


def grid(steps: int = 30, **fields: object) -> list[TrainConfig]:
    return [
        TrainConfig(steps=steps, beta=beta, c=c, seed=10 + i, **fields)
        for i, (beta, c) in enumerate([(0.01, 0.001), (0.1, 0.01), (1.0, 0.1), (10.0, 1.0)])
    ]


def test_company_order_and_threads_do_not_change_a_bit() -> None:
    x = rows(10, dtype=np.float32)
    together = train_stack(x, grid(), threads=2)
    alone = [train_stack(x, [config], threads=1)[0] for config in grid()]
    backwards = train_stack(x, grid()[::-1], threads=1)[::-1]
    digests = [[m.model.digest() for m in stack] for stack in (together, alone, backwards)]
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests[0])) == 4


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL], ids=lambda c: c.name)
def test_the_torch_stack_agrees(convention: Convention) -> None:
    compiled, batched = (
        train_stack(rows(10), grid(convention=convention), dtype=np.float64, backend=backend)
        for backend in ("numba", "torch")
    )
    for one, other in zip(compiled, batched, strict=True):
        assert largest_difference(one.model, other.model) <= 1e-10
        assert np.abs(one.history.to_numpy() - other.history.to_numpy()).max() <= 1e-9


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_divergence_is_reported_and_stays_with_its_model(backend: str, place: int) -> None:
    """β·MMD overflows float32 in the second step; the other model is what it is without that company.

    To the bit in compiled code, to rounding in torch, whose sums are split up otherwise in a larger stack.
    """
    x, good = rows(6, dtype=np.float32), TrainConfig(steps=6, seed=1)
    configs = [good]
    configs.insert(place, TrainConfig(steps=6, seed=2, beta=3e38))
    stack = train_stack(x, configs, backend=backend, n_components=2)
    lost = stack.pop(place)
    assert lost.model is None
    assert "at step 1" in lost.failure
    assert len(lost.history) == 1
    assert np.isfinite(lost.history.to_numpy()).all()
    (left,), (alone,) = stack, train_stack(x, [good], backend=backend, n_components=2)
    assert left.failure is None
    if backend == "numba":
        assert left.model.digest() == alone.model.digest()
        pd.testing.assert_frame_equal(left.history, alone.history, check_exact=True)
        return
    eps = float(np.finfo(np.float32).eps)
    assert largest_difference(left.model, alone.model) <= STEP_K * eps * good.steps
    losses, scale = left.history - alone.history, alone.history.abs().to_numpy().max()
    assert losses.abs().to_numpy().max() <= LOSS_K * eps * scale


def test_draws_are_those_of_the_sampling_module() -> None:
    from pyscore.kernels.cpu.training_draws import batch_and_components, vmf_draws

    seeds, kappa = np.array([3, 2**40 + 1]), np.random.default_rng(0).uniform(0.1, 99, (2, 57))
    for k in (2, 3, 4, 9):
        rows_, components = batch_and_components(seeds, STREAMS["train"], 7, 12_345, 16, 57)
        epsilon, v = vmf_draws(seeds, STREAMS["train"], 7, kappa, k)
        for member, seed in enumerate(seeds.tolist()):
            draws = TrainingDraws(seed, 7)
            assert np.array_equal(rows_[member], draws.batch(12_345, 57))
            assert np.array_equal(components[member], draws.components(16, 57))
            wanted = draws.vmf(kappa[member], k)
            assert np.abs(epsilon[member] - wanted.epsilon).max() <= 8 * np.finfo(float).eps
            assert np.abs(v[member] - wanted.v).max() <= 64 * np.finfo(float).eps


def test_the_proposals_are_a_symmetric_beta() -> None:
    """Moments of Beta(m/2, m/2), m = k−1: mean ½, variance 1/(4(m+1)); five standard errors of 20,000 draws."""
    n = 20_000
    for k in (2, 4, 9):
        g, u = TrainingDraws(1, 0)._proposals(2, n, k)
        epsilon = 0.5 * (1 + g[:, 0] / np.linalg.norm(g, axis=1))
        variance = 1 / (4 * k)
        assert abs(epsilon.mean() - 0.5) <= 5 * np.sqrt(variance / n)
        assert abs(epsilon.var() - variance) <= 5 * variance * np.sqrt(2 / n)
        assert abs(u.mean() - 0.5) <= 5 * np.sqrt(1 / 12 / n)
        assert abs(np.corrcoef(epsilon, u)[0, 1]) <= 5 / np.sqrt(n)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"configs": [TrainConfig(steps=1), TrainConfig(steps=2)]},
            "`configs` of one stack must agree in `steps`",
        ),
        ({"configs": [3]}, "`configs` must hold TrainConfig objects"),
        ({"x": np.full((5, 10), np.nan)}, "`x`"),
        ({"x": np.zeros((1, 10))}, "`x` must have at least 2 rows"),
        ({"backend": "fortran"}, "`backend`"),
        ({"device": "cuda"}, "`device` must be 'cpu'"),
        ({"threads": 0}, "`threads`"),
    ],
)
def test_errors_name_the_argument(change: dict, message: str) -> None:
    arguments = {"x": rows(10), "configs": [TrainConfig(steps=1)], **change}
    with pytest.raises(InvalidInput, match=message):
        train_stack(arguments.pop("x"), arguments.pop("configs"), **arguments)


def test_an_empty_stack_and_no_steps() -> None:
    assert train_stack(rows(10), []) == []
    (member,) = train_stack(rows(10), [TrainConfig(steps=0)])
    assert member.failure is None
    assert len(member.history) == 0


def test_progress_reaches_the_end_and_an_error_in_it_stops_the_stack() -> None:
    seen: list[tuple[int, int]] = []
    train_stack(rows(10), grid(), callback=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (120, 120)

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stack(rows(10), grid(steps=100_000), callback=fail)
