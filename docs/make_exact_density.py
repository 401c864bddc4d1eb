"""Tables and pictures of docs/exact-density.md; arguments: errors, masses, maps, trained (by default all)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from pyscore._core.files import atomic_write
from pyscore.scoring.plots import COLOURS, save_figure
from pyscore.studies import exact_density as ed
from pyscore.studies.manifolds import Ellipsoid, Manifold, Parabola, SwissRoll, circle, ellipse, sphere
from pyscore.training.config import TrainConfig

DOCS = Path(__file__).parent
PAGE = DOCS / "exact-density.md"
SIGMAS = (0.2, 0.1, 0.05, 0.02, 0.01)
ROWS = 500
MAP_NATS = 10.0
SEEDS = (0, 1, 2)
CONFIG = TrainConfig(beta=0.1, steps=1500, learning_rate=5e-3)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────


def errors() -> None:
    """Table of errors, and the plot of convergence."""
    manifolds = {name: make() for name, make in ed.MANIFOLDS.items()}
    parts = [ed.error_table(m, SIGMAS, n=ROWS).assign(manifold=name) for name, m in manifolds.items()]
    table = pd.concat(parts, ignore_index=True)
    write_table("errors", _error_rows(table))
    save_figure(_convergence(table), DOCS / "images" / "exact-density-convergence.svg")


def masses() -> None:
    """Tables of total mass."""
    manifolds = {name: make() for name, make in ed.MANIFOLDS.items()}
    write_table("masses", _mass_rows(manifolds))
    write_table("quirks", _quirk_rows(manifolds))


def _error_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for name, part in table.groupby("manifold", sort=False):
        by_score = {score: p.set_index("sigma") for score, p in part.groupby("score")}
        exact, original, laplace = by_score["exact"], by_score["original"], by_score["laplace"]
        small = [s for s in SIGMAS if s <= 0.05]
        row = {"manifold": str(name)}
        row["EXACT, on the manifold"] = f"{exact.on_manifold[0.1]:.1e} → {exact.on_manifold[0.01]:.1e}"
        row["order"] = f"{ed.slope(small, exact.on_manifold[small]):.2f}"
        row["EXACT, noisy rows"] = f"{exact.noisy[0.1]:.1e} → {exact.noisy[0.01]:.1e}"
        row["order "] = f"{ed.slope(small, exact.noisy[small]):.2f}"
        row["laplace, noisy rows"] = f"{laplace.noisy[0.1]:.1e} → {laplace.noisy[0.01]:.1e}"
        row["ORIGINAL, bias"] = f"{original.bias[0.1]:.2f} → {original.bias[0.01]:.2f}"
        row["ORIGINAL, deviation"] = f"{original.deviation[0.1]:.2f} → {original.deviation[0.01]:.2f}"
        row["truth known to"] = f"{part.integral_error.max():.0e}"
        rows.append(row)
    return rows


def _mass_rows(manifolds: dict[str, Manifold]) -> list[dict[str, str]]:
    rows = []
    for name, m in manifolds.items():
        row = {"manifold": name}
        for sigma in (0.2, 0.1, 0.05):
            row[f"EXACT − 1, σ = {sigma}"] = f"{ed.total_mass(m, sigma) - 1:.1e}"
        row["tube formula, σ = 0.05"] = f"{0.05**2 * m.expected_curvature():.1e}"
        for sigma in (0.2, 0.1, 0.05):
            row[f"ORIGINAL, σ = {sigma}"] = f"{ed.total_mass(m, sigma, 'original'):.2f}"
        rows.append(row)
    return rows


def _quirk_rows(manifolds: dict[str, Manifold]) -> list[dict[str, str]]:
    rows = []
    for name, m in manifolds.items():
        if isinstance(m, Ellipsoid):
            rows.append({"manifold": name} | {k: f"{v:.6f}" for k, v in ed.quirk_masses(m, 0.1).items()})
    return rows


def _convergence(table: pd.DataFrame) -> Figure:
    """Error of the three scores against σ, a line for each manifold."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    wanted = [
        ("exact", "on_manifold", "EXACT, rows on the manifold", 2),
        ("exact", "noisy", "EXACT, noisy rows", 1),
        ("laplace", "noisy", "laplace, noisy rows", 2),
    ]
    sigmas = np.array(SIGMAS)
    names = list(table["manifold"].unique())
    colours = dict(zip(names, [*COLOURS, "#000000", "#8c8c8c"], strict=True))
    for axes, (score, column, title, order) in zip(panels, wanted, strict=True):
        for name, part in table[table["score"] == score].groupby("manifold", sort=False):
            if part[column].min() > 1e-11:
                axes.loglog(part["sigma"], part[column], "o-", ms=3, color=colours[name])
        for name, part in table[table["score"] == "original"].groupby("manifold", sort=False):
            axes.loglog(part["sigma"], part["deviation"], ":", lw=1, color=colours[name])
        guide = 1e-3 * sigmas**order  # below the lines
        axes.loglog(sigmas, guide, "--", color="0.5", lw=1)
        axes.annotate(
            f"slope {order}", (sigmas[0], guide[0]), (0, -12), textcoords="offset points", ha="right", fontsize=9
        )
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="σ", ylim=(1e-8, 10))
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("root mean square error, nats")
    handles = [Line2D([], [], color=c, label=n) for n, c in colours.items()]
    handles.append(Line2D([], [], color="0.3", ls=":", lw=1, label="ORIGINAL, deviation\nof its error"))
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9)
    return figure


# ── maps ─────────────────────────────────────────────────────────────────────────────────────────────────


def maps() -> None:
    """True density, EXACT and ORIGINAL over a plane, one colour scale a row."""
    cases: list[tuple[Manifold, float, float]] = [
        (circle(), 0.1, 3.0), (ellipse(), 0.1, 3.0), (Parabola(), 0.1, 2.6), (SwissRoll(), 0.05, 1.9)
    ]  # fmt: skip
    figure = Figure(figsize=(9.6, 12.2), layout="constrained")
    panels = figure.subplots(len(cases), 3)
    for row, (manifold, sigma, reach) in zip(panels, cases, strict=True):
        side, x = _plane(manifold, reach)
        truth = manifold.log_density(x, sigma).value
        scored = ed.log_densities(manifold, x, sigma, ["exact", "original"])
        mass = ed.total_mass(manifold, sigma, "original") if manifold.input_dim == 2 else None
        offset = np.log(mass) if mass else np.max(scored["original"]) - np.max(truth)
        shown = {
            f"{manifold.name}, σ = {sigma}: true": truth,
            "EXACT": scored["exact"],
            f"ORIGINAL / {np.exp(offset):.1f}": scored["original"] - offset,
        }
        top = float(np.max(truth))
        for axes, (title, values) in zip(row, shown.items(), strict=True):
            grid = values.reshape(len(side[1]), len(side[0]))
            image = axes.imshow(
                grid, origin="lower", extent=(side[0][0], side[0][-1], side[1][0], side[1][-1]),
                vmin=top - MAP_NATS, vmax=top, cmap="viridis", interpolation="none",
            )  # fmt: skip
            axes.set_title(title, fontsize=10)
            axes.tick_params(labelsize=7)
        figure.colorbar(image, ax=row, label="log-density, nats", shrink=0.85)
    save_figure(figure, DOCS / "images" / "exact-density-maps.svg")


def _plane(manifold: Manifold, reach: float) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Nodes of the two axes, and the rows of the plane (of a Swiss roll: the plane at height 0)."""
    if isinstance(manifold, Parabola):
        side = np.linspace(-0.7, 2 * reach - 0.7, 121), np.linspace(1 - reach, 1 + reach, 121)
    else:
        side = np.linspace(-reach, reach, 121), np.linspace(-reach, reach, 121)
    a, b = (g.ravel() for g in np.meshgrid(*side))
    x = np.column_stack([a, b]) if manifold.input_dim == 2 else np.column_stack([a, 0 * a, b])
    return side, x


# ── trained models ───────────────────────────────────────────────────────────────────────────────────────


def trained() -> None:
    """Scores of trained models beside the true log-density."""
    cases: list[tuple[Manifold, int]] = [(circle(), 2), (Parabola(), 2), (sphere(), 3)]
    figure = Figure(figsize=(11, 10.2), layout="constrained")
    panels = figure.subplots(3, len(ed.TRAINED), sharex="row")
    rows = []
    for line, (manifold, latent_dim) in zip(panels, cases, strict=True):
        runs = [
            ed.train_and_score(
                manifold, 0.1, TrainConfig(**{**CONFIG.to_dict(), "seed": seed, "convention": CONFIG.convention}),
                latent_dim=latent_dim,
            )
            for seed in SEEDS
        ]  # fmt: skip
        rows += _trained_rows(manifold.name, runs)
        for axes, name in zip(line, ed.TRAINED, strict=True):
            truth, scored = runs[0].truth, runs[0].scores[name]
            axes.plot(truth, scored, ".", ms=2, alpha=0.5, color=COLOURS[0])
            ends = np.quantile(truth, [0, 1])
            axes.plot(ends, ends, color=COLOURS[1], lw=1)
            low, high = np.quantile(np.concatenate([truth, scored]), [0.005, 1])
            axes.set_ylim(low - 0.5, high + 0.5)
            axes.set_title(f"{manifold.name}\n{name}", fontsize=9)
            axes.tick_params(labelsize=7)
    for axes in panels[-1]:
        axes.set_xlabel("true log p(x), nats", fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("score, nats", fontsize=8)
    shrink(save_figure(figure, DOCS / "images" / "exact-density-trained.png"))
    write_table("trained", rows)


def shrink(path: Path) -> None:
    """Write a PNG again with a palette of 32 colours: thousands of dots make a large file otherwise."""
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(32)
    with atomic_write(path) as file:
        small.save(file, format="PNG", optimize=True)


def _trained_rows(name: str, runs: list[ed.TrainedDensity]) -> list[dict[str, str]]:
    """Mean over the seeds, one row a score."""
    rows = []
    sigma = np.mean([run.sigma for run in runs])
    for score in ed.TRAINED:
        mean = pd.DataFrame([ed.agreement(run.truth, run.scores[score]) for run in runs]).mean()
        row = {"data (σ = 0.1)": f"{name} (σ̂ = {sigma:.3f})", "score": score}
        row |= {"Pearson": f"{mean['pearson']:.3f}", "Spearman": f"{mean['spearman']:.3f}"}
        rows.append(row | {"bias, nats": f"{mean['bias']:+.2f}", "rms error, nats": f"{mean['rms']:.2f}"})
    return rows


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────


def write_table(name: str, rows: list[dict[str, str]]) -> None:
    """Replace what stands between the markers of that name by a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(h.strip() for h in head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row[h] for h in head) + " |" for row in rows]
    text = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: made by make_exact_density.py -->\n", f"<!-- /{name} -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    with atomic_write(PAGE) as file:
        file.write((before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after).encode())


PARTS: dict[str, Callable[[], None]] = {"errors": errors, "masses": masses, "maps": maps, "trained": trained}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
