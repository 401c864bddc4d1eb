"""Comparison of methods over datasets: counts of wins, Wilcoxon's signed ranks, Friedman's and Nemenyi's tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyscore.errors import InvalidInput

__all__ = ["TWINS", "Duel", "Ranking", "duel", "merge_twins", "ranking"]

TWINS = {"waveform-1": "waveform", "waveform-2": "waveform"}
"""Datasets that hold the same points → the name under which they count as one."""


def merge_twins(matrix: pd.DataFrame) -> pd.DataFrame:
    """Replace datasets that hold the same points by their mean, since tests need independent datasets."""
    return matrix.groupby(matrix.index.map(lambda name: TWINS.get(name, name))).mean()


@dataclass(frozen=True)
class Duel:
    """How two methods compare over datasets."""

    wins: int
    ties: int
    losses: int
    difference: float
    """Mean over the datasets; NaN if there is none."""
    p_value: float
    """Two-sided p-value of Wilcoxon's signed-rank test; NaN if all differences are zero."""

    @property
    def n(self) -> int:
        """Number of datasets that have a value of both methods."""
        return self.wins + self.ties + self.losses


def duel(first: pd.Series, second: pd.Series) -> Duel:
    """Compare two methods on the datasets that have a value of both; a win is a higher value of the first.

    Notes
    -----
    Zero differences are dropped before the ranks are formed, as Wilcoxon did. The smallest p-value that n
    differences can give is 2^(1−n), so with fewer than six nothing is significant at 5 %.
    """
    from scipy.stats import wilcoxon

    d = (first - second).dropna().to_numpy(np.float64)
    nonzero = d[d != 0]
    p = float(wilcoxon(nonzero).pvalue) if nonzero.size else float("nan")
    mean = float(d.mean()) if d.size else float("nan")
    return Duel(int((d > 0).sum()), int((d == 0).sum()), int((d < 0).sum()), mean, p)


@dataclass(frozen=True)
class Ranking:
    """Average ranks (1 = best) and whether they differ."""

    ranks: pd.Series
    datasets: int
    friedman_p: float
    nemenyi_p: pd.DataFrame
    """Pairwise, methods by methods."""
    critical_difference: float
    """Average ranks closer than this do not differ at the 5 % level."""

    def indistinguishable(self, method: str) -> list[str]:
        """Methods whose average rank is within the critical difference of that one's."""
        near = (self.ranks - self.ranks[method]).abs() < self.critical_difference
        return [str(name) for name in self.ranks.index[near] if name != method]


def ranking(matrix: pd.DataFrame, alpha: float = 0.05) -> Ranking:
    """Rank methods within each dataset, and test the ranks.

    CD = q_α·√(k(k+1)/(6N)) for k methods and N datasets, q_α the upper quantile of the studentised range of k
    with infinite degrees of freedom, over √2.

    Parameters
    ----------
    matrix : DataFrame, datasets by methods, higher = better, nothing missing
    alpha : level of the critical difference

    Raises
    ------
    InvalidInput
        If a value is missing, or there are fewer than 3 methods or 2 datasets, where the test is not defined.

    References
    ----------
    Demšar (2006), Statistical comparisons of classifiers over multiple data sets, section 3.2.2.
    """
    from scipy.stats import friedmanchisquare, studentized_range

    n, k = matrix.shape
    if k < 3 or n < 2 or matrix.isna().to_numpy().any():
        raise InvalidInput(
            "`matrix` must hold a value of at least 3 methods on each of at least 2 datasets; got "
            f"{k} methods, {n} datasets, {int(matrix.isna().to_numpy().sum())} gaps."
        )
    ranks = matrix.rank(axis=1, ascending=False).mean().sort_values(kind="stable")
    distance = np.abs(np.subtract.outer(ranks.to_numpy(), ranks.to_numpy())) / np.sqrt(k * (k + 1) / (6 * n))
    p = studentized_range.sf(distance * np.sqrt(2), k, np.inf)
    differ = (matrix.nunique(axis=1) > 1).any()  # otherwise Friedman's statistic is 0/0
    return Ranking(
        ranks=ranks,
        datasets=n,
        friedman_p=float(friedmanchisquare(*matrix.to_numpy().T).pvalue) if differ else 1.0,
        nemenyi_p=pd.DataFrame(p, ranks.index, ranks.index),
        critical_difference=float(studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2))
        * float(np.sqrt(k * (k + 1) / (6 * n))),
    )
