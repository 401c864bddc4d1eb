"""The search for adversarial anomalies: points far from all training rows that a score calls normal.

An *adversarial anomaly* of a score s (higher = more anomalous), for a radius R and a threshold t, is a point x:

    D(x) = min_i ‖x − x_i‖ ≥ R   and   s(x) < t,

By default R is the largest distance of a training row to its nearest neighbour, so x is more isolated than every
training row, and t is the smallest score of a normal row, so x looks more normal than every normal row. ADAM moves
many points at once, with a falling step, to minimise max(0, log 2s(x)/t). After each step a point is projected out
of the ball around its nearest training row. If points succeed, the search is repeated at twice the distance, until
none succeeds; then distances in between are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pyscore._core import checks as check
from pyscore._core.checks import Array, Latent
from pyscore.backends.torch_functions import one_thread
from pyscore.errors import InvalidInput
from pyscore.reference import normalize, sampling

__all__ = [
    "Adversaries",
    "Budget",
    "differentiable",
    "isolation_radius",
    "nearest_distance",
    "range_starts",
    "search",
]

DifferentiableScore = Callable[[Tensor], Tensor]
"""Float64 points (m, d) → anomaly scores (m,), higher = more anomalous, differentiable."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much work a search does."""

    restarts: int = 64
    """Number of points that are moved at the same time."""
    steps: int = 300
    """Number of ADAM steps for each target distance."""
    rounds: int = 16
    """Largest number of target distances."""
    refresh: int = 10
    """Steps after which the nearest training row is searched anew."""
    rate: float = 0.3
    """ADAM's first step, in units of a point's own distance over √d."""
    betas: tuple[float, float] = (0.5, 0.9)
    """ADAM's decay rates. They forget quickly, because near a zero of the score the gradient of its logarithm
    grows without bound."""

    def __post_init__(self) -> None:
        for name in ("restarts", "steps", "rounds", "refresh"):
            check.integer(name, getattr(self, name), at_least=1)
        check.real("rate", self.rate, above=0.0)


@dataclass(frozen=True, eq=False)
class Adversaries:
    """The result of a search. Rows are restarts; a restart that found nothing has NaN."""

    radius: float
    threshold: float
    near: Array
    """(m, d) first adversarial anomaly of each restart."""
    near_distance: Array
    """(m,) its distance D."""
    near_score: Array
    """(m,) its score."""
    far: Array
    """(m, d) farthest adversarial anomaly of each restart."""
    far_distance: Array
    """(m,)."""
    far_score: Array
    """(m,)."""
    reach: float
    """Largest distance at which any point with a score below the threshold was seen, also below the radius."""
    exhausted: bool
    """Whether the last round still succeeded, so that the budget ended the search."""

    @property
    def found(self) -> Array:
        """(m,) whether a restart found an adversarial anomaly."""
        return np.isfinite(self.near_distance)

    @property
    def success_rate(self) -> float:
        """Share of the restarts that found an adversarial anomaly."""
        return float(self.found.mean())

    def summary(self) -> dict[str, Any]:
        """Return the figures of a table row."""
        return {
            "radius": self.radius,
            "threshold": self.threshold,
            "restarts": len(self.found),
            "success_rate": self.success_rate,
            "reach": self.reach,
            "reach_in_radii": self.reach / self.radius,
            "exhausted": self.exhausted,
        }


def nearest_distance(x: ArrayLike, rows: ArrayLike) -> Array:
    """D(x) = min_i ‖x − x_i‖ (m,) for points x (m, d) and training rows (n, d), exact at any distance."""
    rows = check.matrix("rows", rows)
    x = check.matrix("x", x, rows.shape[1])
    return _nearest(torch.as_tensor(x), torch.as_tensor(rows))[0].numpy()


def _nearest(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to and index of the nearest row.

    It uses differences, because |x|² + |y|² − 2xy cancels far away.
    """
    distances = torch.cdist(x, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.min(dim=1)


def isolation_radius(rows: ArrayLike) -> float:
    """Largest distance of a row to its nearest other row; a point farther away is more isolated than every row.

    Copies of a row count as one row.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.unique(check.matrix("rows", rows), axis=0)
    if len(rows) < 2:
        raise InvalidInput(f"`rows` must hold at least 2 different rows; got {len(rows)}.")
    distances, _ = NearestNeighbors(n_neighbors=2).fit(rows).kneighbors(rows)
    return float(distances[:, 1].max())


def differentiable(score: Callable[[Array], Array], *, step: float = 1e-5) -> DifferentiableScore:
    """Make a NumPy score (m, d) → (m,) differentiable by central differences, with 2d evaluations per gradient.

    Parameters
    ----------
    score : the anomaly score, higher = more anomalous
    step : float, of the difference, relative to max(1, ‖x‖∞)
    """

    class Differences(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return torch.as_tensor(np.asarray(score(x.detach().numpy()), np.float64))

        @staticmethod
        def backward(ctx: Any, *outer: Tensor) -> Tensor:
            (saved,) = ctx.saved_tensors
            x = saved.numpy()
            m, d = x.shape
            h = step * np.maximum(1.0, np.abs(x).max(axis=1, initial=0.0))
            shifts = h[:, None, None] * np.eye(d)
            around = np.concatenate([x[:, None] + shifts, x[:, None] - shifts]).reshape(-1, d)
            up, down = np.asarray(score(around), np.float64).reshape(2, m, d)
            slope = np.nan_to_num((up - down) / (2 * h[:, None]))
            return torch.as_tensor(slope) * outer[0][:, None]

    return Differences.apply


def search(
    score: DifferentiableScore,
    rows: ArrayLike,
    threshold: float,
    *,
    radius: float | None = None,
    starts: ArrayLike | None = None,
    bounds: tuple[float, float] | None = None,
    positive: bool = True,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Adversaries:
    """Search for adversarial anomalies of a score (see the module for what they are).

    Parameters
    ----------
    score : differentiable anomaly score, higher = more anomalous; see `differentiable` for NumPy ones
    rows : (n, d) array, the training rows that a point must be far from
    threshold : float, a point must score below it: the smallest score of a normal row
    radius : float, optional; by default `isolation_radius(rows)`
    starts : (s, d) array, optional
        Points to start from besides random ones, for example points on a decoder's range; at most half of the
        restarts use them.
    bounds : smallest and largest value of a feature, optional; points are clipped to them (for pixels)
    positive : whether scores are positive, like errors; the search then minimises their logarithm
    budget : Budget
    seed : of the random starts
    progress : called with the number of each round as it ends

    Returns
    -------
    Adversaries
        All its distances and scores were computed again from the points found.

    Raises
    ------
    InvalidInput
        If the threshold of a positive score is not positive, or rows are not finite.
    """
    rows = check.matrix("rows", rows)
    check.finite("rows", rows)
    budget = budget or Budget()
    radius = isolation_radius(rows) if radius is None else check.real("radius", radius, above=0.0)
    threshold = check.real("threshold", threshold, **({"above": 0.0} if positive else {}))
    hunt = _Hunt(score, torch.as_tensor(rows), threshold, bounds, positive, budget)
    x = _starts(rows, radius, starts, budget.restarts, sampling.generator(seed, "unreliable", 2))
    with one_thread():
        return _escalate(hunt, x, radius, progress)


def _starts(rows: Array, radius: float, given: ArrayLike | None, m: int, rng: np.random.Generator) -> Array:
    """Start from the given points, and from rows moved by 1 to 10 radii, half of them outward, half at random."""
    d = rows.shape[1]
    chosen = rows[rng.integers(len(rows), size=m)]
    direction = rng.standard_normal((m, d))
    outward = chosen - rows.mean(axis=0)
    direction[::2] = np.where(np.any(outward, axis=1, keepdims=True), outward, direction)[::2]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x = chosen + radius * 10 ** rng.random((m, 1)) * direction
    if given is not None:
        given = check.matrix("starts", given, d)[: m // 2]
        x[: len(given)] = given
    return x


@dataclass(frozen=True, eq=False)
class _Hunt:
    """The search on one score."""

    score: DifferentiableScore
    rows: Tensor
    threshold: float
    bounds: tuple[float, float] | None
    positive: bool
    budget: Budget

    def excess(self, score: Tensor) -> Tensor:
        """How far a score is above the threshold, on the scale that the search minimises."""
        if self.positive:
            return torch.log(score + 1e-300) - np.log(0.5 * self.threshold)
        return score - self.threshold + 0.1 * abs(self.threshold)

    def clip(self, x: Tensor) -> Tensor:
        return x if self.bounds is None else x.clamp(*self.bounds)

    def descend(self, start: Array, target: float) -> tuple[Array, Array, Array]:
        """Return the points (m, d) closest to success at this target, with their distances and scores."""
        steps = self.budget.steps
        origin = self.clip(torch.as_tensor(start))
        distance, index = _nearest(origin, self.rows)
        scale = distance.clamp(min=target)[:, None] / np.sqrt(start.shape[1])
        step_sizes = torch.zeros_like(origin).requires_grad_()  # steps in units of each point's distance
        optimiser = torch.optim.Adam([step_sizes], lr=self.budget.rate, betas=self.budget.betas)
        fall = 1e-7 ** (1 / steps)  # the last steps must be small enough to reach a small error
        best = start.copy(), np.full(len(start), -1.0), np.full(len(start), np.inf)
        for step in range(steps):
            x = origin + scale * step_sizes
            if step % self.budget.refresh == 0:
                distance, index = _nearest(x.detach(), self.rows)
                self._keep(best, x, distance, target)
            optimiser.zero_grad()
            torch.relu(self.excess(self.score(x))).sum().backward()  # type: ignore[no-untyped-call]
            if step_sizes.grad is not None:
                step_sizes.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimiser.step()
            for group in optimiser.param_groups:
                group["lr"] *= fall
            with torch.no_grad():
                moved = self._push_out(origin + scale * step_sizes, self.rows[index], target)
                step_sizes.copy_((moved - origin) / scale)
        x = origin + scale * step_sizes.detach()
        self._keep(best, x, _nearest(x, self.rows)[0], target)
        return best

    def _push_out(self, x: Tensor, nearest: Tensor, target: float) -> Tensor:
        """Project onto the outside of the ball around the nearest row, and into the bounds."""
        away = x - nearest
        length = torch.linalg.vector_norm(away, dim=1, keepdim=True).clamp(min=1e-300)
        return self.clip(nearest + away * (1.01 * target / length).clamp(min=1.0))

    def _keep(self, best: tuple[Array, Array, Array], x: Tensor, distance: Tensor, target: float) -> None:
        """Keep a row if it scores below the threshold and is farther than what was kept, up to the target."""
        points, distances, scores = best
        with torch.no_grad():
            value = self.score(x).numpy()
        far = distance.numpy()
        better = (value < self.threshold) & (np.minimum(far, target) > np.minimum(distances, target))
        points[better], distances[better], scores[better] = x.detach().numpy()[better], far[better], value[better]


def _escalate(hunt: _Hunt, x: Array, radius: float, progress: Callable[[int], None] | None) -> Adversaries:
    """Search at the radius, then twice as far each round; after a failure, at distances in between."""
    m, d = x.shape
    near, far = _Best.empty(m, d), _Best.empty(m, d)
    centre = hunt.rows.numpy().mean(axis=0)
    active, target, growth, reach = np.arange(m), radius, 2.0, 0.0
    for index in range(hunt.budget.rounds):
        points, distance, score = hunt.descend(x, target)
        reach = max(reach, float(distance.max(initial=0.0)))
        good = distance >= target
        rows = active[good]
        if index == 0:
            near.put(rows, points[good], distance[good], score[good])
        far.put(rows, points[good], distance[good], score[good])
        if progress is not None:
            progress(index)
        if good.any():
            active = rows
        elif index == 0 or growth < 1.1:
            break
        else:  # too far: try half the way, on a logarithmic scale
            target, growth = target / growth, np.sqrt(growth)
        target *= growth
        x = centre + growth * (far.points[active] - centre)
    if not near.found.any():  # nothing was found: try distances below the radius
        for nearer in (0.5, 0.25, 0.125):
            reach = max(reach, float(hunt.descend(x, nearer * radius)[1].max(initial=0.0)))
    exhausted = bool(near.found.any() and growth == 2.0)
    return Adversaries(
        radius, hunt.threshold, near.points, near.distance, near.score, far.points, far.distance, far.score,
        max(reach, float(np.nanmax(far.distance, initial=0.0))), exhausted,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Best:
    """The best point of each restart so far; NaN if there is none."""

    points: Array
    distance: Array
    score: Array

    @classmethod
    def empty(cls, m: int, d: int) -> _Best:
        return cls(np.full((m, d), np.nan), np.full(m, np.nan), np.full(m, np.nan))

    @property
    def found(self) -> Array:
        return np.isfinite(self.distance)

    def put(self, rows: Array, points: Array, distance: Array, score: Array) -> None:
        self.points[rows], self.distance[rows], self.score[rows] = points, distance, score


def range_starts(
    encode: Callable[[Array], Array],
    decode: Callable[[Array], Array],
    rows: ArrayLike,
    count: int,
    *,
    latent: Latent = "euclidean",
    seed: int = 0,
) -> Array:
    """Points (count, d) on a decoder's range: codes of rows, stretched up to 100-fold, or any of the sphere."""
    rng = sampling.generator(seed, "unreliable", 3)
    rows = check.matrix("rows", rows)
    z = encode(rows[rng.integers(len(rows), size=count)])
    if latent == "sphere":
        return decode(normalize(rng.standard_normal(z.shape)))
    centre = z.mean(axis=0)
    return decode(centre + (z - centre) * 100 ** rng.random((count, 1)))
