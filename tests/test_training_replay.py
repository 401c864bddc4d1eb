"""Replay of the recorded training runs: the original's losses, gradients and parameters.

Everything is compared to K times the spread of a float64 replay under random rounding (`replay`): the losses and
gradients of one step entry by entry, the parameters of a run array by array. ADAM divides a gradient by its own
size, so that rounding noise in a gradient near 1e-8 moves its parameter by up to a whole step of 1e-4, in either
direction; from then on the runs are different runs of the same training, and the spread says how different.
"""

import golden_files as golden
import numpy as np
import pytest
from closeness import assert_close
from replay import assert_run_close, moved, recorded_run, trainer

from pyscore.backends.stochastic import K
from pyscore.convention import ORIGINAL

RUNS = golden.cases("model_")
STEPS = (1, 2, 10, 100)


def recorded(case):
    arrays = golden.load(case)
    if "tr_loss" not in arrays:
        pytest.skip("no training in this subset")
    return arrays


@pytest.mark.parametrize("case", RUNS)
def test_losses_and_parameters(case):
    arrays = recorded(case)
    run, (exact, spread) = trainer(case, golden.RecordedDraws(arrays)), recorded_run(case, STEPS)
    for step in range(1, STEPS[-1] + 1):
        run.step()
        if step in STEPS:
            want = golden.parameters(arrays, f"tr_step{step}_")
            assert_run_close(run.model().parameters(), want, exact[step], f"{case}, step {step}")
    want = np.column_stack([arrays[name] for name in ("tr_loss", "tr_mse", "tr_mmd")])
    dtype = golden.model(arrays).dtype
    assert_close(run.history().to_numpy(), want, K, spread / np.finfo(dtype).eps, dtype, f"{case}: losses")


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("case", RUNS)
def test_gradients_of_one_step(case, beta):
    arrays = recorded(case)
    if f"grad_b{beta}_mu_W" not in arrays:
        pytest.skip("no gradients in this subset")
    c = float(golden.facts(case)["grad_gamma"])
    run = trainer(case, golden.RecordedLoss(arrays), beta=beta, c=c)
    run.step()
    dtype, got = golden.model(arrays).dtype, run.gradients()
    want, spread = golden.parameters(arrays, f"grad_b{beta}_"), moved(case, c).gradients(beta)
    for name, gradient in want.items():
        scale = spread[name] / np.finfo(dtype).eps
        assert_close(got[name], gradient, K, scale, dtype, f"{case}, beta {beta}: {name}")


@pytest.mark.parametrize("case", RUNS)
def test_single_losses(case):
    arrays = recorded(case)
    if "wloss" not in arrays:
        pytest.skip("no single losses in this subset")
    dtype = golden.model(arrays).dtype
    for j, c in enumerate(map(float, arrays["gammas"])):
        perturbed = moved(case, c)
        for i, beta in enumerate(map(float, arrays["betas"])):
            run = trainer(case, golden.RecordedLoss(arrays), beta=beta, c=c)
            got = [float(t.detach()) for t in run.loss(run.draws.step(0))]
            want = [arrays[name][i, j] for name in ("wloss", "decomposed_mse", "decomposed_mmd")]
            scale = perturbed.losses(beta) / np.finfo(dtype).eps
            assert_close(got, want, K, scale, dtype, f"{case}, beta {beta}, c {c}: loss, mse, mmd")


def test_the_pseudo_input_gradient_of_the_original_is_needed():
    """With the sum over repeated draws, which is right, the recorded run is left at the first step (Q1)."""
    import dataclasses

    arrays = golden.load("model_03_i8_h32_l2_k16_f64")
    run = trainer("model_03_i8_h32_l2_k16_f64", golden.RecordedLoss(arrays), beta=1.0, c=0.1)
    run.config = dataclasses.replace(
        run.config, convention=dataclasses.replace(ORIGINAL, pseudo_input_gradient="sum")
    )
    run.step()
    want = golden.parameters(arrays, "grad_b1.0_")
    got = run.gradients()
    assert np.abs(got["pseudo_inputs"] - want["pseudo_inputs"]).max() > 0.01
    assert np.abs(got["decoder.0.weight"] - want["decoder.0.weight"]).max() < 1e-12
