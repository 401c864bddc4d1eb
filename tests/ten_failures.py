"""Print the comparisons that failed on another machine under bounds measured on one: python tests/ten_failures.py

For each: a recorded value, ours, their difference, the spread of the reference under random rounding, the bound of
K times that, and how many bounds away an error planted at PLANTED times the bound is found. docs/portability.md has
the table of one machine; the differences are another machine's own, the spreads are the same everywhere.
"""

import golden_files as golden
import numpy as np
from closeness import PLANTED, planted
from original_forms import criterion_scale
from replay import MovedStep, moved, trainer

from pyscore import reference
from pyscore.backends.stochastic import K
from pyscore.backends.tolerance import error_in_eps
from pyscore.convention import ORIGINAL
from pyscore.reference.model import SVAE
from pyscore.training.config import TrainConfig
from pyscore.training.draws import RandomDraws
from pyscore.training.torch_trainer import Trainer

HEAD = (
    "comparison",
    "recorded",
    "ours",
    "difference",
    "spread",
    "bound",
    "error, in bounds",
    "planted, in bounds",
)


def line(what, want, got, scale, dtype):
    """One row: the entry whose error is largest in units of its bound."""
    want, got, scale = (np.asarray(a, float).ravel() for a in (want, got, scale))
    errors = error_in_eps(got, want, scale, dtype) / K
    i, eps = int(np.argmax(errors)), float(np.finfo(dtype).eps)
    wrong = planted(want, want, K, scale, dtype)  # the recording itself, with an error
    seen = float((error_in_eps(wrong, want, scale, dtype) / K).max())
    values = abs(got[i] - want[i]), scale[i] * eps, K * scale[i] * eps
    return (
        what,
        f"{want[i]:.9g}",
        f"{got[i]:.9g}",
        *(f"{v:.2g}" for v in values),
        f"{errors[i]:.2g}",
        f"{seen:.2g}",
    )


def gradients(kind):
    """Both parameters that were named, for the four weights of the MMD."""
    case = f"model_03_i8_h32_l2_k16_{kind}"
    arrays, dtype = golden.load(case), golden.model(golden.load(case)).dtype
    c = float(golden.facts(case)["grad_gamma"])
    for beta in (0.01, 0.1, 1.0, 10.0):
        run = trainer(case, golden.RecordedLoss(arrays), beta=beta, c=c)
        run.step()
        want, got, spread = (
            golden.parameters(arrays, f"grad_b{beta}_"),
            run.gradients(),
            moved(case, c).gradients(beta),
        )
        for name in ("mu.bias", "encoder.1.bias"):
            what = f"gradient of {name}, β = {beta}, {kind}"
            yield line(what, want[name], got[name], spread[name] / np.finfo(dtype).eps, dtype)


def losses():
    case = "model_03_i8_h32_l2_k16_f32"
    arrays, dtype = golden.load(case), np.float32
    for j, c in enumerate(map(float, arrays["gammas"])):
        run = trainer(case, golden.RecordedLoss(arrays), beta=1.0, c=c)
        got = float(run.loss(run.draws.step(0))[2].detach())
        scale = moved(case, c).losses(1.0)[2] / np.finfo(dtype).eps
        yield line(f"MMD of one batch, c = {c:g}, f32", arrays["decomposed_mmd"][0, j], got, scale, dtype)


def widths():
    g = golden.load("ipmeasures_sphere_f64")
    x, y = g["gg_z1"].T, g["gg_z2"].T
    got = reference.imq_width_criterion(x, y, convention=ORIGINAL)
    yield line(
        "width criterion of the script, 241 widths", g["gg_crit"], got, criterion_scale(x, y, ORIGINAL), float
    )


def stacked():
    from test_stacked import compiled_gradients, rows

    model, x = SVAE.initialise(6, 3, 16, 2, seed=2, activation="sigmoid", dtype=np.float64), rows(6)
    config = TrainConfig(batch_size=20, seed=2)
    run = Trainer(model, x, config)
    run.step()
    want, (got, _) = run.gradients(), compiled_gradients(model, x, config)
    spread = MovedStep(model, x, config, RandomDraws(2), float).gradients(config.beta)
    lines = [
        line(f"stacked gradient of {n}, sigmoid", want[n], got[n], s / 2**-52, float) for n, s in spread.items()
    ]
    yield max(lines, key=lambda cells: float(cells[6]))


def table():
    """Markdown, a line at a time."""
    yield "| " + " | ".join(HEAD) + " |"
    yield "|---|" + "---:|" * (len(HEAD) - 1)
    for part in (gradients("f64"), gradients("f32"), losses(), widths(), stacked()):
        for cells in part:
            assert float(cells[6]) <= 1 <= PLANTED / 2 <= float(cells[7]), cells
            yield "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for text in table():
        print(text, flush=True)
