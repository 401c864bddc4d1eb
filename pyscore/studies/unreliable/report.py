"""The parts of the study, one function each, which writes tables and figures and returns a section in Markdown."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pyscore._core.checks import Array
from pyscore._core.markdown import markdown_table, replace_part, three_figures
from pyscore.data import datasets as data
from pyscore.data.tables import write_table
from pyscore.detectors.baselines import BASELINES
from pyscore.scoring.plots import save_figure
from pyscore.studies.unreliable import cure, figures, images, linear, plane, tabular
from pyscore.studies.unreliable.adversarial import Budget, nearest_distance
from pyscore.studies.unreliable.repeats import pooled_attacks, pooled_missed, run_kept

__all__ = ["MARKERS", "PARTS", "Options", "check_page", "run_part", "update_page"]

MARKERS = "<!-- pyscore unreliable: begin -->", "<!-- pyscore unreliable: end -->"
Progress = Callable[[str], None]


class Options(NamedTuple):
    """Options of a run."""

    folder: Path
    datasets: tuple[str, ...] = data.DATASETS
    baselines: tuple[str, ...] = tuple(BASELINES)
    seed: int = 0
    quick: bool = False
    mnist: Path | None = None
    repeats: int = 1
    """Number of seeds for each dataset: `seed`, `seed` + 1, …."""


class Section(NamedTuple):
    """A section in Markdown, with ``{folder}`` before each figure's name, and its numbers for the summary."""

    text: str
    facts: dict[str, Any]


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame as a Markdown table, floats with three significant digits."""
    return markdown_table(frame, three_figures)


# ── (a) ──


def linear_part(options: Options, progress: Progress) -> Section:
    """PCA and linear autoencoders on the embedded data."""
    progress("linear")
    x = data.load_breast_cancer().split(options.seed).x_train
    k = 3
    subspace = linear.principal_subspace(x, k)
    rng = np.random.default_rng(options.seed)
    direction = rng.standard_normal((1000, k))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    rows = []
    for length in 10.0 ** np.arange(1, 9):
        c = length * direction
        a = subspace.point(c)
        error = np.linalg.norm(a - subspace.reconstruct(a), axis=1)
        distance, bound = nearest_distance(a, x), np.sqrt(linear.distance_bound(x, subspace, c))
        rows.append({
            "length": length,
            "nearest_row": float(distance.min()),
            "bound_on_it": float(bound.min()),
            "largest_error": float(error.max()),
            "error_in_rounding_bounds": float((error / linear.rounding_bound(subspace, c)).max()),
        })  # fmt: skip
    exact = pd.DataFrame(rows)
    angles = _angles(x, k, options.seed)
    write_table(options.folder / "linear.csv", exact)
    write_table(options.folder / "linear-training.csv", angles)
    save_figure(figures.linear_figure(x, subspace, angles), options.folder / "linear.svg")
    last = angles.groupby("bias")["angle"].last()
    text = (
        f"### (a) PCA and linear autoencoders\n\nBreast-cancer data, k = {k}: 1,000 points a = x̄ + cVᵀ of "
        "each length ‖c‖. The largest error stays below the bound on rounding (last column below 1), while the "
        f"nearest training row is as far away as the theorem says.\n\n{markdown(exact)}\n\nA linear autoencoder "
        f"trained by L-BFGS ends {last[True]:.1e} rad from the PCA subspace with a bias, {last[False]:.1e} rad "
        "from that through the origin without.\n\n![PCA and linear autoencoders]({folder}linear.svg)\n"
    )
    return Section(text, {"largest_error_in_rounding_bounds": float(exact["error_in_rounding_bounds"].max())})


def _angles(x: Array, k: int, seed: int) -> pd.DataFrame:
    rows = []
    for bias in (True, False):
        wanted = linear.principal_subspace(x, k, centre=bias).basis
        for steps in (1, 3, 10, 30, 100, 300, 1000):
            model = linear.train_linear_autoencoder(x, k, bias=bias, seed=seed, steps=steps)
            angle = linear.principal_angle(model.decoder.T, wanted)
            rows.append({"bias": bias, "steps": steps, "angle": angle, "gradient_norm": model.gradient_norm})
    return pd.DataFrame(rows)


# ── (b) ──


def plane_part(options: Options, progress: Progress) -> Section:
    """Maps of the plane, and the bounded code beside the unbounded one."""
    budget = Budget(restarts=32, steps=150, rounds=12) if options.quick else None
    steps, restarts = (600, 2) if options.quick else (2000, 5)
    runs = plane.run_plane(
        seed=options.seed,
        steps=steps,
        restarts=restarts,
        budget=budget,
        progress=lambda s: progress(f"plane: {s}"),
    )
    progress("plane: maps")
    table = plane.summary(runs)
    write_table(options.folder / "plane.csv", table)
    save_figure(figures.plane_figure(runs), options.folder / "plane.png")
    of_shape = [run for run in runs if run.shape == plane.SHAPES[0]]
    free = next(run for run in of_shape if run.architecture.label.startswith("swish [2,5"))
    bounded = next(run for run in of_shape if run.architecture.latent == "sphere")
    save_figure(figures.bounded_figure(free, bounded), options.folder / "bounded.png")
    hidden = ["smallest_error", "p95_error", "exhausted"]
    shown = table.drop(columns=hidden)
    text = (
        "### (b) The plane\n\nTwo-dimensional data, standardised; maps of ±20 deviations. `blind_area`: share "
        "of the empty part of the square with an error as small as on 95 % of the data. `success`: share of "
        "the restarts that ended at least one radius (the largest nearest-neighbour distance of the data) from "
        "every point with an error below the smallest (strict) or the 95th percentile (lenient) of the data's; "
        "`reach`: the largest such distance, also below the radius. `range_bound`: B of the "
        f"theorem.\n\n{markdown(shown)}\n\n"
        "![Maps of the reconstruction error]({folder}plane.png)\n\n"
        "![An unbounded code, a code on the circle, and the bound]({folder}bounded.png)\n"
    )
    return Section(text, {"networks": len(table), "largest_reach_lenient": float(table["reach_lenient"].max())})


# ── (c) ──


def images_part(options: Options, progress: Progress) -> Section:
    """The convolutional autoencoder of digits."""
    digits = images.load_mnist(options.mnist) if options.mnist else images.load_digits()
    budget = Budget(restarts=64, steps=150, rounds=10) if options.quick else None
    run = images.run_images(
        digits, steps=600 if options.quick else 2000, budget=budget, seed=options.seed, progress=progress
    )
    progress("images: scores and figure")
    searches = {"strict": run.strict, "lenient": run.free, "lenient, pixels in [0, 1]": run.pixels}
    attacks = pd.DataFrame([{"search": name, **found.summary()} for name, found in searches.items()])
    of_normal = cure.density_scores(run.model, run.held_out, run.prior)
    others = cure.baseline_scorers(run.train, options.baselines, options.seed)
    rows: list[dict[str, Any]] = []
    for name, found in searches.items():
        for which, points in (("near", found.near[found.found]), ("far", found.far[found.found])):
            of_points = cure.density_scores(run.model, points, run.prior) if len(points) else of_normal.iloc[:0]
            shares = cure.missed_rows((of_normal, of_points), others, run.held_out, points)
            rows += [{"search": name, "points_set": which, **share} for share in shares]
    missed = pd.DataFrame(rows)
    write_table(options.folder / "images-attacks.csv", attacks)
    write_table(options.folder / "images-missed.csv", missed)
    save_figure(figures.images_figure(run), options.folder / "images.png")
    wide = missed.assign(group=missed["search"] + ", " + missed["points_set"])
    wide = wide.pivot_table(index="method", columns="group", values="missed", sort=False).reset_index()
    text = (
        f"### (c) Images\n\n{'MNIST' if options.mnist else 'scikit-learn digits'} "
        f"({', '.join(map(str, run.classes))}; {len(run.train)} images of {digits.side}×{digits.side}), a "
        "convolutional autoencoder with a two-dimensional code. How far the search got (thresholds are squared "
        f"errors: {np.sqrt(run.free.threshold):.2f} is the error that a lenient adversary may have, which is "
        f"more than the radius, so that its near points say little):\n\n{markdown(attacks)}\n\nShare of what "
        "was found that looks normal (below the 95th percentile of held-out digits) to each "
        f"score:\n\n{markdown(wide)}\n\n"
        "![Latent maps and adversarial images]({folder}images.png)\n"
    )
    return Section(text, {"reach_in_radii": {n: f.reach / f.radius for n, f in searches.items()}})


# ── (d) ──


def tabular_part(options: Options, progress: Progress) -> Section:
    """Attack every dataset. Tables are written after each one, so that a run that was killed can resume."""
    effort = tabular.Effort.quick() if options.quick else tabular.Effort()
    seeds = range(options.seed, options.seed + options.repeats)
    parts: list[tabular.Result] = []
    for name, seed in itertools.product(options.datasets, seeds):
        note = functools.partial(_note, progress, f"{name}, seed {seed}")
        parts.append(run_kept(options.folder, name, seed, effort, options.baselines, note))
        attacks, missed, aucs = (pd.DataFrame([row for part in parts for row in part[i]]) for i in range(3))
        write_table(options.folder / "tabular-attacks.csv", attacks)
        write_table(options.folder / "tabular-missed.csv", missed)
        write_table(options.folder / "tabular-missed.parquet", missed)
        write_table(options.folder / "tabular-baselines.csv", aucs)
    return tabular_section(options.folder, attacks, missed, aucs)


def tabular_section(folder: Path, attacks: pd.DataFrame, missed: pd.DataFrame, aucs: pd.DataFrame) -> Section:
    """Figure and text of the tables of `tabular_part`."""
    seeds = attacks["seed"].nunique()
    attacks, missed = pooled_attacks(attacks), pooled_missed(missed)
    on_error = missed[missed["attacked"] == "reconstruction"]
    group = on_error["model"] + "\n" + on_error["criterion"] + ", " + on_error["points_set"]
    save_figure(figures.missed_figure(on_error.assign(group=group)), folder / "missed.svg")
    table = attacks.assign(attack=attacks["model"] + ", " + attacks["attacked"] + ", " + attacks["criterion"])
    success = table.pivot_table(index="dataset", columns="attack", values="success_rate", sort=False)
    reach = table.pivot_table(index="dataset", columns="attack", values="reach_in_radii", sort=False)
    pieces = [
        f"### (d) The datasets\n\n{seeds} seed(s) a dataset, each a split, networks and searches of its own; "
        "their points are pooled.\n\nSuccess rate: share of the restarts that ended farther from every training "
        "row than any training row is from its nearest (one radius), with an error below the smallest (strict) "
        "or the 95th percentile (lenient) of the normal training rows'. The last kind of attack is on "
        "`proposed` (EXACT) itself.",
        markdown(success.reset_index()),
        "Reach: the largest distance with an error below the threshold, in radii.",
        markdown(reach.reset_index()),
        "**What the other scores say of these points**: share that ranks below the 95th percentile of held-out "
        "normal rows, that is, looks normal; – where the search found nothing.",
        *_missed_tables(missed),
        "![Shares missed, means over the datasets]({folder}missed.svg)",
        "The baselines without any attack, AUC on the test rows:",
        markdown(aucs.pivot_table(index="method", columns="dataset", values="auc", sort=False).reset_index()),
    ]
    means = on_error[on_error["criterion"] == "lenient"].groupby("method")["missed"].mean()
    return Section("\n\n".join(pieces) + "\n", {"mean_missed_lenient": means.to_dict()})


def _missed_tables(missed: pd.DataFrame) -> Iterable[str]:
    for (model, attacked), part in missed[missed["criterion"] == "lenient"].groupby(
        ["model", "attacked"], sort=False
    ):
        for which in ("near", "far"):
            chosen = part[part["points_set"] == which]
            wide = chosen.pivot_table(index="method", columns="dataset", values="missed", sort=False, dropna=False)
            if not wide.notna().to_numpy().any():
                if which == "near":
                    yield f"{model}, attack on {attacked} (lenient): nothing was found on any dataset."
                continue
            counts = chosen.groupby("dataset", sort=False)["points"].max()
            wide.loc["(points)"] = counts.reindex(wide.columns).astype(float)
            words = "the first point of each restart" if which == "near" else "the farthest point of each restart"
            yield f"{model}, attack on {attacked} (lenient), {words}:"
            yield markdown(wide.reset_index())


def _note(progress: Progress, dataset: str, what: str) -> None:
    progress(f"{dataset}: {what}")


PARTS: dict[str, Callable[[Options, Progress], Section]] = {
    "linear": linear_part,
    "plane": plane_part,
    "images": images_part,
    "tabular": tabular_part,
}


def run_part(name: str, options: Options, progress: Progress) -> Section:
    """Run one part into the folder, which must exist."""
    return PARTS[name](options, progress)


def check_page(page: Path) -> None:
    """Raise as `update_page` does if the page is missing or lacks the markers."""
    replace_part(page, *MARKERS, "", check=True)


def update_page(page: Path, sections: Sequence[str], prefix: str) -> None:
    """Replace the text between the markers of a page by the sections; `prefix` is put before each figure's name.

    Raises
    ------
    InvalidInput
        If there is no such page, or it lacks a marker.
    """
    body = "\n".join(section.replace("{folder}", prefix) for section in sections)
    replace_part(page, *MARKERS, body.rstrip("\n"))
