"""Score rows with a GAN, which has no encoder: the toy parabola of the paper (Figure 1).

x = (t², t) + e with t ~ N(0.5, 0.5²) and e ~ N(0, 0.1² I). The scorer finds the code of a row by projection.

python examples/gan_parabola.py             (under a minute; prints AUCs and writes gan_parabola.png)
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import softplus
from torch.optim import swa_utils

from pyscore import ManifoldScorer
from pyscore.reference import roc_auc
from pyscore.scoring.plots import save_figure

NOISE = 0.1


def parabola(n, generator):
    t = 0.5 + 0.5 * torch.randn(n, generator=generator)
    return torch.stack([t**2, t], dim=1) + NOISE * torch.randn(n, 2, generator=generator)


def mlp(inputs, outputs, hidden=48):
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


def train(x, steps):
    """Non-saturating GAN. A generated row is G(z) + noise: the very model that the score assumes."""
    g, d = mlp(1, 2), mlp(2, 1)
    average = swa_utils.AveragedModel(g, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.995))
    g_step = torch.optim.Adam(g.parameters(), lr=1e-3, betas=(0.0, 0.99))
    d_step = torch.optim.Adam(d.parameters(), lr=4e-3, betas=(0.0, 0.99))
    decays = [torch.optim.lr_scheduler.LinearLR(step, 1.0, 0.05, steps) for step in (g_step, d_step)]
    for _ in range(steps):
        real = x[torch.randint(len(x), (256,))].requires_grad_()
        fake = g(torch.randn(256, 1)) + NOISE * torch.randn(256, 2)
        on_real = d(real)
        (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)  # R1, which keeps it stable
        loss = softplus(-on_real).mean() + softplus(d(fake.detach())).mean() + 0.02 * slope.square().sum(1).mean()
        d_step.zero_grad()
        loss.backward()
        d_step.step()
        loss = softplus(-d(fake)).mean()
        g_step.zero_grad()
        loss.backward()
        g_step.step()
        average.update_parameters(g)
        for decay in decays:
            decay.step()
    return average.module


def draw(scorer, x, title, picture, side):
    """Contours of two scores over the plane, beside the manifold and the data."""
    a, b = np.meshgrid(np.linspace(-1.0, 4.0, side), np.linspace(-2.0, 3.0, side))
    grid = np.column_stack([a.ravel(), b.ravel()])
    scores = scorer.score_table(grid, ["reconstruction", "proposed"])
    curve = scorer.decode(np.linspace(-3, 3, 200)[:, None])
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, 2), scores, strict=True):
        values = scores[name].to_numpy().reshape(a.shape)
        top = np.ceil(values.max())
        levels = np.linspace(top - 20, top, 11)
        filled = axes.contourf(a, b, np.maximum(values, levels[0]), levels, cmap="Blues")
        axes.plot(*x[:300].T, ".", color="0.35", ms=2, label="data")
        axes.plot(*curve.T, color="#d55e00", lw=2, label="G(z), |z| < 3")
        axes.set(title=f"`{name}`: log-density, nats", xlabel="x1", ylabel="x2", xlim=(-1, 4), ylim=(-2, 3))
        axes.legend(loc="upper right", frameon=False)
        figure.colorbar(filled, ax=axes)
    return save_figure(figure, Path(picture))


def main(steps=2500, picture="gan_parabola.png", side=70):
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(1)
    x_train, normal = parabola(2000, draws), parabola(300, draws)
    # Anomalies near the manifold, but where no data are: further along the parabola. And anywhere in the plane.
    t = torch.cat([-1.0 - 0.5 * torch.rand(75, generator=draws), 1.9 + 0.5 * torch.rand(75, generator=draws)])
    along = torch.stack([t**2, t], dim=1) + NOISE * torch.randn(150, 2, generator=draws)
    anywhere = torch.rand(150, 2, generator=draws) * 5 - torch.tensor([1.0, 2.0])
    x_test = torch.cat([normal, along, anywhere]).numpy()
    labels = np.repeat([0, 1], [300, 300])

    generator = train(x_train, steps)

    scorer = ManifoldScorer(generator, prior="normal", sigma2=NOISE**2).fit(x_train.numpy())
    found = scorer.project(x_test)  # z' = argmin ‖x − G(z)‖, for all rows at once
    print(f"decoder: {scorer.path}; projection: {found.iterations.mean():.0f} steps a row, "
          f"largest |J'e| {found.gradient_norm.max():.1e}")  # fmt: skip
    densities = scorer.score_table(x_test, ["reconstruction", "prior", "proposed"])
    for name in densities:
        print(f"AUC of {name:16s} {roc_auc(-densities[name], labels):.3f}")
    print("picture:", draw(scorer, x_train.numpy(), "GAN on the toy parabola", picture, side))
    return roc_auc(-densities["proposed"], labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2500)
    main(parser.parse_args().steps)
