"""Isolation forests as arrays: scikit-learn's, and the extended one, whose splits are hyperplanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.detectors.compiled_experts import mean_depth

__all__ = ["Forest", "extended_forest", "isolation_forest"]

TREES, SAMPLE = 100, 256


def average_path(n: Any) -> Any:
    """Mean path length 2·H(n−1) − 2(n−1)/n of a search in vain in a binary tree of n rows; 0, 1 for n = 1, 2."""
    n = np.asarray(n, np.float64)
    many = np.maximum(n, 3.0)
    path = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, path))


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees of splits Σ_j weight_j·x[feature_j] ≤ threshold, one after the other in the same arrays.

    The anomaly score is 2^(−mean path length / c(rows of a tree)), in (0, 1): higher = more anomalous.
    """

    feature: NDArray[np.int32]
    """(nodes, m)."""
    weight: Array
    """(nodes, m)."""
    threshold: Array
    """(nodes,)."""
    child: NDArray[np.int32]
    """(nodes, 2), −1 in leaves; a child stands behind its parent."""
    length: Array
    """(nodes,), path length of a row that ends there."""
    roots: NDArray[np.int32]
    """(trees,)."""
    sample: int
    """Rows of a tree."""

    def anomaly(self, x: Array) -> Array:
        """Scores (n,) of rows x (n, d)."""
        x = np.ascontiguousarray(x, np.float64)
        depth = mean_depth(x, self.feature, self.weight, self.threshold, self.child, self.length, self.roots)
        return np.asarray(2.0 ** (-depth / max(1.0, float(average_path(self.sample)))))

    def arrays(self) -> dict[str, Array]:
        """What a file holds of it."""
        return {
            "feature": self.feature.astype(np.int64),
            "weight": self.weight,
            "threshold": self.threshold,
            "child": self.child.astype(np.int64),
            "length": self.length,
            "roots": self.roots.astype(np.int64),
            "sample": np.array([self.sample], np.int64),
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> Forest:
        """Build it from what a file holds.

        Raises
        ------
        ValueError
            If an array is missing, or a walk through the trees could leave the arrays or not end.
        """
        feature = check.array("feature", _whole("feature", arrays), ("n", "m")).astype(np.int32)
        child = check.array("child", _whole("child", arrays), (len(feature), 2)).astype(np.int32)
        weight = check.array("weight", arrays["weight"], feature.shape)
        threshold, length = (check.vector(name, arrays[name], len(feature)) for name in ("threshold", "length"))
        roots = check.vector("roots", _whole("roots", arrays), "t").astype(np.int32)
        (sample,) = check.vector("sample", _whole("sample", arrays), 1)
        for name, array in (("weight", weight), ("threshold", threshold), ("length", length)):
            check.finite(name, array)
        place = np.arange(len(child))[:, None]
        leaf = (child == -1).all(axis=1)
        if not (leaf[:, None] | ((child > place) & (child < len(child)))).all():
            raise ValueError("a child of the forest must stand behind its parent, or be −1 in both places")
        if not len(roots) or not ((roots >= 0) & (roots < len(child))).all():
            raise ValueError("the roots of the forest must be nodes")
        if not ((feature >= 0) & (feature < d)).all():
            raise ValueError(f"the forest must split by features below {d}")
        if not sample >= 1:
            raise ValueError("a tree of the forest must have at least one row")
        return cls(feature, weight, threshold, child, length, roots, int(sample))


def _whole(name: str, arrays: dict[str, Array]) -> Array:
    """The array of a file that must hold integers, as numbers that the checks accept."""
    if arrays[name].dtype.kind not in "iu" or np.abs(arrays[name]).max(initial=0) >= 1 << 31:
        raise ValueError(f"{name} must hold integers of 32 bits")
    return arrays[name].astype(np.float64)


def isolation_forest(x: Array, seed: int) -> Forest:
    """scikit-learn's `IsolationForest` of 100 trees, fitted to rows x (n, d), as arrays.

    The score is the negative of its `score_samples` for rows that are float32 numbers; it rounds all others to
    float32 before it compares them, which is not done here.
    """
    from sklearn.ensemble import IsolationForest

    fitted = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLE, len(x)), random_state=seed).fit(x)
    parts: list[tuple[Array, ...]] = []
    roots, nodes = [], 0
    for estimator, columns in zip(fitted.estimators_, fitted.estimators_features_, strict=True):
        tree = estimator.tree_
        depth = np.zeros(tree.node_count)
        inner = np.flatnonzero(tree.children_left >= 0)
        for node in inner:  # parents come first
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        child = np.column_stack([tree.children_left, tree.children_right])
        length = depth + average_path(tree.n_node_samples)
        feature = np.where(tree.feature >= 0, np.asarray(columns)[tree.feature], 0)
        parts.append((feature, tree.threshold, np.where(child >= 0, child + nodes, -1), length))
        roots.append(nodes)
        nodes += tree.node_count
    feature, threshold, child, length = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Forest(
        feature[:, None].astype(np.int32), np.ones((nodes, 1)), np.asarray(threshold, np.float64),
        child.astype(np.int32), length, np.array(roots, np.int32), fitted.max_samples_,
    )  # fmt: skip


def extended_forest(x: Array, seed: int, *, trees: int = TREES, directions: int | None = None) -> Forest:
    """The extended isolation forest: each node splits by a random hyperplane through a random point of its box.

    Parameters
    ----------
    x : (n, d) array
    seed : int
    trees : int
    directions : int, optional
        Features that take part in a hyperplane, by default all d (the extension level d − 1).

    Notes
    -----
    Hariri, Carrasco Kind, Brunner 2021: normal ~ N(0, I), a point uniform in the box of the node's rows, rows with
    (x − point)·normal ≤ 0 to the left; trees of 256 rows, as deep as ⌈log₂ 256⌉.
    """
    rng = np.random.default_rng(seed)
    n, d = x.shape
    m, sample = min(directions or d, d), min(SAMPLE, n)
    deepest = int(np.ceil(np.log2(max(2, sample))))
    nodes: list[tuple[NDArray[np.int64], Array, float]] = []
    child: list[list[int]] = []
    length: list[float] = []
    roots = []

    def grow(rows: Array, depth: int) -> int:
        here = len(nodes)
        nodes.append((np.arange(m), np.zeros(m), 0.0))
        child.append([-1, -1])
        length.append(depth + float(average_path(len(rows))))
        if depth >= deepest or len(rows) <= 1 or (rows == rows[0]).all():
            return here
        low, high = rows.min(axis=0), rows.max(axis=0)
        chosen = np.sort(rng.permutation(d)[:m]) if m < d else np.arange(d)
        normal = rng.standard_normal(m)
        threshold = float(np.sum(normal * (low + (high - low) * rng.random(d))[chosen]))
        left = np.sum(rows[:, chosen] * normal, axis=1) <= threshold
        nodes[here] = (chosen, normal, threshold)
        child[here] = [grow(rows[left], depth + 1), grow(rows[~left], depth + 1)]
        return here

    for _ in range(trees):
        roots.append(grow(x[rng.permutation(n)[:sample]], 0))
    feature, weight, threshold = (np.array(column) for column in zip(*nodes, strict=True))
    return Forest(
        feature.astype(np.int32), weight, threshold, np.array(child, np.int32), np.array(length),
        np.array(roots, np.int32), sample,
    )  # fmt: skip
