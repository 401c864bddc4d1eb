"""Figures and tables of the pages: python docs/make_pages.py [tables] [figures] [scaling] [rooms].

A table stands in its page between two comments that name it. `tests/test_docs.py` holds every table to what is
computed here; the figures are of the toy model of the results page, docs/results/toy.safetensors, and of the
measurements in bench/results.json.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pyscore import convention, reference
from pyscore._core.files import atomic_write
from pyscore.backends import BACKENDS
from pyscore.bench import record
from pyscore.bench.report_plots import draw_scaling
from pyscore.convention import EXACT, Convention
from pyscore.experiment.toy import TOY, WINDOW, parabola, toy_model, true_density
from pyscore.reference.model import SVAE
from pyscore.scoring.plots import COLOURS, save_figure
from pyscore.scoring.scores import SCORES, score_terms

DOCS = Path(__file__).parent
ROOT = DOCS.parent
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results.json"
ROOMS = (
    "cli", "bench", "experiment", "studies", "detectors", "scoring", "training", "data", "backends", "kernels",
    "reference", "_core", "convention", "errors",
)  # fmt: skip
"""Folders of the code, from top to bottom; the contracts in pyproject.toml are the same list."""
FLOORS = (
    ("cli",), ("bench",), ("experiment", "studies"), ("detectors",), ("scoring",), ("training",),
    ("data", "backends"), ("reference",), ("_core",), ("convention", "errors"),
)  # fmt: skip
"""The same, floor by floor; kernels and julia stand beside them."""
EQUATION = re.compile(r"Equation \(\d+\)|Section [\d.]+\d|Davidson 2018|Sutherland 2017|Tolstikhin 2018")
SIDE = 161
SHOWN_NATS = 12.0
POINTS = {"A": (0.25, 0.5), "B": (1.0, 1.6)}
"""Rows of the explanation: where data are, and off the manifold; a third one is found by `rows`."""

TERMS = {
    "log_likelihood": "log N(x; f(z), σ²I)",
    "log_prior": "log p(z)",
    "decoder_volume": "−log vol J_f(z)",
}


class Toy(NamedTuple):
    """The trained toy model and the variance of its residuals."""

    model: SVAE
    sigma2: float

    def terms(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Terms of `proposed` of rows x (n, 2), and their sum."""
        table = score_terms(self.model, x, ["proposed"], sigma2=self.sigma2, backend="numpy")
        return {name: table[name].to_numpy() for name in table} | {"proposed": table.sum(axis=1).to_numpy()}


def load_toy() -> Toy:
    """Read the toy model; σ² as in Figure 1, the variance of the training residuals."""
    path = DOCS / "results" / "toy.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `pyscore results` writes it.")
    model, data = toy_model(path), parabola(seed=TOY.seed)
    return Toy(model, float(np.var(data - model.decode(model.encode(data, convention=EXACT)[0]))))


def codes(n: int) -> np.ndarray:
    """Evenly spaced codes (n, 2) on the circle."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def rows(toy: Toy) -> dict[str, np.ndarray]:
    """The three rows; C is the least likely point of the manifold that the autoencoder reconstructs within σ."""
    points = toy.model.decode(codes(720))
    inside = np.all([(points[:, i] > low) & (points[:, i] < high) for i, (low, high) in enumerate(WINDOW)], axis=0)
    back = toy.model.decode(toy.model.encode(points, convention=EXACT)[0])
    good = points[inside & (np.sum((points - back) ** 2, axis=1) < toy.sigma2)]
    least = good[int(np.argmin(true_density(good)))]
    return {name: np.array(place) for name, place in POINTS.items()} | {"C": least}


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────


def figures() -> None:
    """Draw both figures of scores.md."""
    toy = load_toy()
    save_figure(draw_terms(toy), DOCS / "images" / "scores-terms.png")
    save_figure(draw_volume(toy), DOCS / "images" / "scores-volume.png")


def draw_terms(toy: Toy) -> Figure:
    """Three terms and their sum over the plane, in nats below the highest value of the panel."""
    x1, x2 = (np.linspace(*edges, SIDE) for edges in WINDOW)
    grid = np.stack(np.meshgrid(x1, x2), axis=-1).reshape(-1, 2)
    truth = true_density(grid).reshape(SIDE, SIDE)
    curve = toy.model.decode(codes(720))
    figure = Figure(figsize=(10.6, 3.1), layout="constrained", dpi=110)
    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    titles = {**TERMS, "proposed": "proposed: their sum"}
    values = toy.terms(grid)
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        log_density = values[name].reshape(SIDE, SIDE)
        image = axes.imshow(
            log_density - log_density.max(), origin="lower", extent=(*WINDOW[0], *WINDOW[1]),
            vmin=-SHOWN_NATS, vmax=0, cmap="viridis", interpolation="none",
        )  # fmt: skip
        axes.contour(x1, x2, truth, levels=[truth.max() * 0.01], colors="w", linewidths=1.2)
        axes.plot(*curve.T, color=COLOURS[1], lw=0.9)
        for label, point in rows(toy).items():
            mark(axes, label, point)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=WINDOW[0], ylim=WINDOW[1], xlabel="$x_1$")
    panels[0].set_ylabel("$x_2$")
    figure.colorbar(image, ax=panels, shrink=0.85, pad=0.01, label="nats below the maximum", extend="min")
    return figure


def scaling() -> None:
    """Draw time over n of performance.md."""
    measured = [row for row in record.read(RESULTS).rows if row.suite == "scaling"]
    figure = Figure(figsize=(10.6, 3.6), layout="constrained", dpi=110)
    for axes, kernel in zip(figure.subplots(1, 3), ("log_volume", "proposed", "mmd_imq"), strict=True):
        axis = f"n of {kernel}"
        draw_scaling(axes, [row for row in measured if row.facts.get("sweep") == axis], axis)
    save_figure(figure, DOCS / "images" / "scaling.png")


def mark(axes: Axes, label: str, point: np.ndarray) -> None:
    """Put a lettered dot."""
    axes.plot(*point, "o", ms=12, mfc="w", mec="k", mew=0.8)
    axes.text(*point, label, ha="center", va="center_baseline", fontsize=8)


def draw_volume(toy: Toy) -> Figure:
    """Evenly spaced codes and where the decoder puts them; volume and prior along the circle."""
    figure = Figure(figsize=(10.6, 3.4), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3)
    z, fine = codes(72), codes(720)
    colours = np.arange(72) / 72
    left.scatter(*z.T, c=colours, cmap="twilight", s=16)
    left.set(title="evenly spaced codes z", aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    data = parabola(seed=TOY.seed)
    middle.plot(*data[:400].T, ".", color="0.8", ms=3, zorder=0)
    middle.plot(*toy.model.decode(fine).T, color="0.4", lw=0.8, zorder=1)
    middle.scatter(*toy.model.decode(z).T, c=colours, cmap="twilight", s=16, zorder=2)
    middle.set(title="decoded: f(z), and data", xlabel="$x_1$", ylabel="$x_2$")
    for label, point in rows(toy).items():
        mark(middle, label, point)
    angle = np.arange(720) / 2
    tangent = np.column_stack([-fine[:, 1], fine[:, 0]])[:, :, None]
    volume = reference.log_volume(toy.model.decoder_jacobian(fine) @ tangent)
    prior = reference.log_prior(fine, *toy.model.encode_pseudo_inputs(convention=EXACT))
    right.plot(angle, volume, color=COLOURS[0], lw=1.8, label="log vol J_f")
    right.plot(angle, prior, color=COLOURS[1], lw=1.8, ls="--", label="log p(z)")
    right.plot(angle, prior - volume, color=COLOURS[2], lw=1.8, ls=":", label="log p(z) − log vol J_f")
    right.set(title="along the circle", xlabel="angle of z, degrees", ylabel="nats", ylim=(-12, 3))
    right.set_xticks(range(0, 361, 90))
    right.legend(frameon=False, fontsize=8)
    return figure


def rooms() -> None:
    """Draw the folders of architecture.md."""
    save_figure(draw_rooms(), DOCS / "images" / "rooms.png")


def draw_rooms() -> Figure:
    """Folders as boxes, floor by floor: what stands higher imports what stands lower."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained", dpi=110)
    axes = figure.subplots()
    height = len(FLOORS)
    for floor, names in enumerate(FLOORS):
        width = 6.0 / len(names)
        for i, name in enumerate(names):
            _box(axes, i * width, height - floor, width, name, COLOURS[0])
    _box(axes, 6.6, 4, 2.0, "kernels", COLOURS[1])
    _box(axes, 6.6, 5, 2.0, "julia", COLOURS[2])
    axes.annotate("", (6.5, 4.4), (6.0, 4.4), arrowprops={"arrowstyle": "->"})
    axes.annotate("", (6.5, 5.3), (6.0, 4.6), arrowprops={"arrowstyle": "->"})
    axes.annotate("imports", (-0.35, 0.9), (-0.35, height + 0.7), ha="center", fontsize=9,
                  arrowprops={"arrowstyle": "->"})  # fmt: skip
    axes.set(xlim=(-0.8, 8.8), ylim=(0.7, height + 1.1))
    axes.set_axis_off()
    return figure


def _box(axes: Axes, left: float, bottom: float, width: float, name: str, colour: str) -> None:
    box = (left + 0.04, bottom + 0.06)
    axes.add_patch(Rectangle(box, width - 0.08, 0.84, facecolor=colour, alpha=0.18, edgecolor=colour))
    axes.text(left + width / 2, bottom + 0.47, name, ha="center", va="center", fontsize=10)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────


def table(header: list[str], body: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def points_table() -> str:
    """Terms of the three rows."""
    toy = load_toy()
    places = rows(toy)
    x = np.array(list(places.values()))
    terms = toy.terms(x) | {"true log p(x)": np.log(true_density(x))}
    where = {"A": "among the data", "B": "off the manifold", "C": "well reconstructed, beyond the data"}
    names = [*TERMS, "proposed", "true log p(x)"]
    header = ["row", *(name if " " in name else f"`{name}`" for name in names)]
    body = [
        [f"**{name}**, {where[name]}", *(f"{terms[t][i]:.1f}".replace("-", "−") for t in names)]
        for i, name in enumerate(places)
    ]
    return table(header, body)


def scores_table() -> str:
    """Every score."""
    body = [
        [f"`{name}`", s.formula.replace("|", "∣"), s.equation, f"`{s.original}`" if s.original != "–" else "–"]
        for name, s in SCORES.items()
    ]
    return table(["score", "formula", "equation", "column of the original"], body)


def conventions_table() -> str:
    """Every field of `Convention`, with the sentence that stands under it in the code."""
    said = _sentences(Convention)
    body = [
        [
            f"`{f.name}`",
            str(f.metadata["kind"]),
            f"`{f.metadata['original']}`",
            f"`{f.metadata['exact']}`",
            said[f.name].replace("|", "∣"),
        ]
        for f in fields(Convention)
    ]
    return table(["field", "kind", "ORIGINAL", "EXACT", "ORIGINAL does …, or EXACT does …"], body)


def _sentences(cls: type) -> dict[str, str]:
    """Field → the string literal below it, without the word for its kind."""
    tree = next(n for n in ast.walk(ast.parse(inspect.getsource(convention)))
                if isinstance(n, ast.ClassDef) and n.name == cls.__name__)  # fmt: skip
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = re.sub(r"^(scoring|training)( \(.*?\))?\. ", "", " ".join(text.split()))
    return found


def backends_table() -> str:
    """Every backend."""
    return table(["name", "computes with"], [[f"`{name}`", b.summary] for name, b in BACKENDS.items()])


def demo_table() -> str:
    """The AUCs of the README, which `make demo` prints."""
    return _readme(r"<!-- demo table -->\n(.*?)\n<!-- /demo table -->")


def datasets_table() -> str:
    """The AUCs of the README on two of the ten datasets."""
    return _readme(r"\n(\| dataset \| `reconstruction` EXACT .*?\n)\n")


def others_table() -> str:
    """Test AUCs of the methods that see no label, out of what bench/bench_baselines.py writes."""
    rows = pd.read_csv(DOCS / "results" / "others.csv")
    aucs = rows.groupby(["method", "dataset"], sort=False)["auc"].mean().unstack()
    aucs = aucs[rows["dataset"].unique()].loc[rows["method"].unique()]
    ranks = aucs.rank(axis=0, ascending=False).mean(axis=1)
    aucs["mean"] = aucs.mean(axis=1)

    def cell(text: str, best: bool) -> str:
        return f"**{text}**" if best else text

    body = []
    for method, row in aucs.iterrows():
        line = [cell(f"{value:.3f}", value == aucs[name].max()) for name, value in row.items()]
        body.append([str(method), *line, cell(f"{ranks[method]:.1f}", ranks[method] == ranks.min())])
    return table(["method", *aucs.columns, "mean rank"], body)


def _readme(pattern: str) -> str:
    found = re.search(pattern, README.read_text(), re.DOTALL)
    if found is None:
        raise LookupError(f"README.md has no table that matches {pattern!r}.")
    return found[1].strip()


def rooms_table() -> str:
    """The folders of the code from top to bottom, each with the first line of its docstring."""
    body = []
    for room in ROOMS:
        folder = ROOT / ("pyscore" if room not in {"bench", "kernels"} else "") / room
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        said = ast.get_docstring(ast.parse(file.read_text())) or ""
        body.append([f"`{file.relative_to(ROOT).as_posix().removesuffix('__init__.py')}`", said.splitlines()[0]])
    return table(["folder", "holds"], body)


def twins_table() -> str:
    """Every equation of `pyscore.reference`, and the files that compute it in Python, Julia and the kernels."""
    julia = {path.name: path.read_text() for path in sorted((ROOT / "julia" / "src").glob("*.jl"))}
    julia.pop("original.jl")
    body = []
    for path in sorted((ROOT / "pyscore" / "reference").glob("*.py")):
        for function in ast.parse(path.read_text()).body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            said = " ".join((ast.get_docstring(function) or "").split())
            original = re.search(r"Original: ([^`.]*`[^`]+`)", said)
            equation = re.search(
                r"Equation \(\d+\)|Section [\d.]+\d|Davidson 2018|Sutherland 2017|Tolstikhin 2018", said
            )
            if original is None and equation is None:
                continue
            name = function.name
            twin = [
                f"`{n}`" for n, text in julia.items() if re.search(rf"^(function )?{name}\(", text, re.MULTILINE)
            ]
            kernels = [_kernel(folder, name) for folder in ("cpu", "cuda")]
            cells = [
                f"`{path.name}`",
                f"`{name}`",
                equation[0] if equation else "–",
                original[1] if original else "–",
            ]
            body.append([*cells, ", ".join(twin) or "–", *kernels])
    return table(
        ["file", "function", "equation", "original", "`julia/src`", "`kernels/cpu`", "`kernels/cuda`"], body
    )


def _kernel(folder: str, name: str) -> str:
    """The file of `kernels/` that exports a function of this name."""
    for path in sorted((ROOT / "kernels" / folder).glob("[!_]*.py")):
        if re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE):
            return f"`{path.name}`"
    return "–"


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "rooms": ("architecture.md", rooms_table),
    "twins": ("architecture.md", twins_table),
    "points": ("scores.md", points_table),
    "scores": ("scores.md", scores_table),
    "demo": ("which-score.md", demo_table),
    "datasets": ("which-score.md", datasets_table),
    "others": ("which-score.md", others_table),
    "conventions": ("julia.md", conventions_table),
    "backends": ("performance.md", backends_table),
}


def committed(name: str) -> str:
    """The table as it stands in its page."""
    return _find(name)[2].strip()


def _find(name: str) -> re.Match[str]:
    page = TABLES[name][0]
    found = re.search(
        rf"(<!-- {name}: made by make_pages.py -->\n)(.*?)(<!-- /{name} -->)", (DOCS / page).read_text(), re.DOTALL
    )
    if found is None:
        raise LookupError(f"{page} has no place for the table {name!r}.")
    return found


def tables() -> None:
    """Write every table into its page."""
    for name, (page, make) in TABLES.items():
        found = _find(name)
        text = found.string[: found.end(1)] + f"\n{make()}\n\n" + found.string[found.start(3) :]
        with atomic_write(DOCS / page) as file:
            file.write(text.encode())


if __name__ == "__main__":
    parts = {"tables": tables, "figures": figures, "scaling": scaling, "rooms": rooms}
    for part in sys.argv[1:] or parts:
        parts[part]()
