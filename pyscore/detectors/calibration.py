"""From anomaly scores to decisions: thresholds, probabilities, conformal p-values, selection.

Everything here takes anomaly scores, **higher = more anomalous** (the negative of a log-density), and assumes
nothing about their distribution but that calibration rows and future normal rows are exchangeable. Ties and
+inf (a row of singular volume) are allowed, NaN is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.net import netted
from pyscore.errors import InvalidInput

__all__ = [
    "FalsePositiveThreshold",
    "benjamini_hochberg",
    "conformal_p_values",
    "false_positive_threshold",
    "linear_probability",
    "prediction_confidence",
    "quantile_threshold",
    "unify_probability",
]

LATTICE = 8  # units in the last place: p-values are fractions, and p·m/i ≤ fdr must hold where it is an equality


# ── thresholds ──


@netted
def quantile_threshold(scores: ArrayLike, quantile: float) -> float:
    """Threshold t = the `quantile` of the scores (linear interpolation); a row is flagged if its score > t.

    PyOD's contamination is ``quantile=1 - contamination``. The threshold is never above the largest finite score,
    so that rows of infinite score are flagged however many they are.

    Raises
    ------
    InvalidInput
        If `quantile` is outside [0, 1], or there is no finite score, or one is NaN.

    Examples
    --------
    >>> pyscore.calibration.quantile_threshold([0.0, 1.0, 2.0, 3.0, 4.0], 0.75)
    3.0
    """
    scores = _scores("scores", scores)
    if not 0.0 <= (share := check.real("quantile", quantile, at_least=0.0)) <= 1.0:
        raise InvalidInput(f"`quantile` must be between 0 and 1; got {quantile!r}.")
    halves = 0.5 * _clipped(scores)  # whose differences cannot overflow
    return 2.0 * float(np.percentile(halves, 100 * share))


@dataclass(frozen=True, kw_only=True)
class FalsePositiveThreshold:
    """A threshold for a required false-positive rate, and what the calibration rows can guarantee.

    Examples
    --------
    >>> scores = np.arange(100.0)  # of 100 normal rows
    >>> found = pyscore.calibration.false_positive_threshold(scores, 0.05)
    >>> found.sufficient, found.rows_needed
    (True, 59)
    """

    threshold: float
    """A row is flagged if its score is above it."""
    rate: float
    """The rate that was required."""
    confidence: float | None
    """Probability over the calibration rows that the rate is kept; None: it is kept on average over them."""
    n: int
    """Calibration rows."""
    rank: int
    """The threshold is the rank-th largest calibration score."""
    guaranteed: float
    """The smallest rate that this threshold guarantees; above `rate` if the rows do not suffice."""
    smallest: float
    """The smallest rate that n rows can guarantee, by the largest score as threshold."""
    rows_needed: int
    """The fewest calibration rows that suffice for `rate`."""

    @property
    def sufficient(self) -> bool:
        """Whether n calibration rows suffice for the rate required."""
        return self.n >= self.rows_needed

    def __str__(self) -> str:
        how = "on average" if self.confidence is None else f"with confidence {self.confidence:.4g}"
        wanted = f"a false-positive rate of {self.rate:.3g} {how}"
        if self.sufficient:
            return (
                f"{self.n} calibration rows suffice for {wanted}: the threshold {self.threshold:.6g} is their "
                f"{_ordinal(self.rank)}largest score and guarantees {self.guaranteed:.3g}."
            )
        return (
            f"{self.n} calibration rows do not suffice for {wanted}: {self.rows_needed} are needed. The threshold "
            f"{self.threshold:.6g} is their largest score and guarantees only {self.guaranteed:.3g}."
        )


@netted
def false_positive_threshold(
    scores: ArrayLike, rate: float, *, confidence: float | None = 0.95
) -> FalsePositiveThreshold:
    """Smallest order statistic t of normal rows' scores with P(score > t) ≤ rate, kept with a confidence.

    With the j-th largest of n scores as threshold the false-positive rate is at most a Beta(j, n−j+1) variable
    (exactly one for continuous scores, less under ties), so that P(rate kept) ≥ P(Binomial(n, rate) ≥ j): j is
    the largest that satisfies it. Even j = 1 guarantees no less than 1 − (1−confidence)^(1/n), so
    n ≥ log(1−confidence)/log(1−rate) rows are needed: 59 for 5 % and 299 for 1 % with confidence 95 %.
    With ``confidence=None`` the rate is kept on average over calibration sets: j = ⌊rate·(n+1)⌋, n ≥ 1/rate − 1.

    Parameters
    ----------
    scores : (n,) array
        Of rows that are normal and were not trained on. Anomalies among them raise the threshold: the rate is
        kept, power is lost.
    rate : float in (0, 1)
    confidence : float in (0, 1), or None

    Returns
    -------
    FalsePositiveThreshold
        Printed, it states whether n suffices. If not, its threshold is the largest score.

    Examples
    --------
    >>> scores = np.arange(100.0)  # of 100 normal rows
    >>> pyscore.calibration.false_positive_threshold(scores, 0.05).threshold
    98.0
    """
    scores = _scores("scores", scores)
    rate, n = _fraction("rate", rate), scores.size
    if confidence is None:
        needed = math.ceil(1 / rate - 1 - 1e-9)
        rank = min(n, math.floor(rate * (n + 1) * (1 + 1e-12)))
    else:
        confidence = _fraction("confidence", confidence)
        needed = math.ceil(math.log1p(-confidence) / math.log1p(-rate) - 1e-9)
        rank = _binomial_rank(n, rate, confidence)
    rank = max(1, rank) if n >= needed else 1
    return FalsePositiveThreshold(
        threshold=float(np.partition(scores, n - rank)[n - rank]),
        rate=rate,
        confidence=confidence,
        n=n,
        rank=rank,
        guaranteed=_guaranteed(rank, n, confidence),
        smallest=_guaranteed(1, n, confidence),
        rows_needed=needed,
    )


def _binomial_rank(n: int, rate: float, confidence: float) -> int:
    """The largest j ≤ n with P(Binomial(n, rate) ≥ j) = I_rate(j, n−j+1) ≥ confidence, by bisection; 0 if none.

    A tie, as at rate and confidence ½ with odd n, counts, however the libraries round.
    """
    low, high, enough = 0, n + 1, confidence * (1 - 1e-12)
    while high - low > 1:
        j = (low + high) // 2
        low, high = (j, high) if special.betainc(j, n - j + 1, rate) >= enough else (low, j)
    return low


def _guaranteed(rank: int, n: int, confidence: float | None) -> float:
    if confidence is None:
        return rank / (n + 1)
    return float(special.betaincinv(rank, n - rank + 1, confidence))


# ── conformal p-values ──


@netted
def conformal_p_values(calibration: ArrayLike, scores: ArrayLike) -> Array:
    """Split-conformal p-values (1 + #{calibration scores ≥ s}) / (n + 1), one for each score s.

    For a normal row P(p ≤ t) ≤ t for every t, whatever the model and with ties. The smallest possible value is
    1/(n+1).

    Parameters
    ----------
    calibration : (n,) array, scores of normal rows that were not trained on
    scores : (m,) array

    Returns
    -------
    (m,) array in (0, 1]

    Examples
    --------
    >>> pyscore.calibration.conformal_p_values([0.0, 1.0, 2.0], [1.5, 9.0]).tolist()
    [0.5, 0.25]
    """
    calibration = np.sort(_scores("calibration", calibration))
    scores = _scores("scores", scores, empty=True)
    as_large = calibration.size - np.searchsorted(calibration, scores, side="left")
    return (1.0 + as_large) / (calibration.size + 1.0)


@netted
def benjamini_hochberg(p_values: ArrayLike, fdr: float) -> NDArray[np.bool_]:
    """Benjamini and Hochberg's selection: the i smallest p-values, i the largest with p_(i) ≤ fdr·i/m.

    Conformal p-values of one calibration set are positively dependent (PRDS: Bates et al., 2023), so that the
    expected fraction of normal rows among those selected is at most `fdr` times the fraction of normal rows.

    Returns
    -------
    (m,) boolean array

    Examples
    --------
    >>> pyscore.calibration.benjamini_hochberg([0.001, 0.9, 0.04], fdr=0.1).tolist()
    [True, False, True]
    """
    p = check.vector("p_values", p_values, "m")
    if not ((p >= 0) & (p <= 1)).all():
        raise InvalidInput("`p_values` must lie between 0 and 1, without NaN. Are they p-values, not scores?")
    fdr = _fraction("fdr", fdr)
    if p.size == 0:
        return np.zeros(0, dtype=bool)
    adjusted = stats.false_discovery_control(p, method="bh")
    selected: NDArray[np.bool_] = adjusted <= fdr * (1 + LATTICE * np.finfo(float).eps)
    return selected


# ── probabilities, as PyOD defines them ──


@netted
def linear_probability(train: ArrayLike, scores: ArrayLike) -> Array:
    """Probability (s − min) / (max − min) by the range of the finite training scores, clipped to [0, 1].

    Examples
    --------
    >>> pyscore.calibration.linear_probability([0.0, 4.0], [1.0, 9.0]).tolist()
    [0.25, 1.0]
    """
    train, scores = _clipped(_scores("train", train)), _scores("scores", scores, empty=True)
    low, high = 0.5 * train.min(), 0.5 * train.max()  # halves, whose difference cannot overflow
    if high == low:
        return np.clip(scores - 2 * low, 0.0, 1.0)
    return np.clip((0.5 * scores - low) / (high - low), 0.0, 1.0)


@netted
def unify_probability(train: ArrayLike, scores: ArrayLike) -> Array:
    """Probability max(0, erf((s − mean) / (√2·deviation))) by the finite training scores; Kriegel et al., 2011.

    Examples
    --------
    >>> pyscore.calibration.unify_probability([0.0, 2.0], [1.0, 3.0]).round(3).tolist()
    [0.0, 0.954]
    """
    train, scores = _scores("train", train), _scores("scores", scores, empty=True)
    _clipped(train)  # the same complaint
    finite = train[np.isfinite(train)]
    unit = 2.0 ** max(0, math.frexp(float(np.abs(finite).max()))[1] - 400)  # 1, but where squares would overflow
    finite, scores = finite / unit, scores / unit
    deviation = finite.std()
    scaled = (scores - finite.mean()) / ((deviation if deviation > 0 else 1.0) * math.sqrt(2))
    return np.clip(special.erf(scaled), 0.0, 1.0)


@netted
def prediction_confidence(train: ArrayLike, scores: ArrayLike, threshold: float, contamination: float) -> Array:
    """Probability that the same row would be labelled the same by another training set; Perini et al., 2020.

    Of n training scores, i are ≤ s; the chance of being an outlier, 1 − BinomialCDF(n − ⌊n·contamination⌋; n,
    (1+i)/(2+n)), or what is left of it to 1 for a row that is not flagged.

    Examples
    --------
    >>> train = np.arange(10.0)
    >>> pyscore.calibration.prediction_confidence(train, [20.0], 8.5, contamination=0.1).round(3).tolist()
    [0.419]
    """
    train, scores = np.sort(_scores("train", train)), _scores("scores", scores, empty=True)
    if not 0.0 <= (share := check.real("contamination", contamination, at_least=0.0)) <= 1.0:
        raise InvalidInput(f"`contamination` must lie between 0 and 1; got {contamination!r}.")
    if not isinstance(threshold, float | int | np.floating) or np.isnan(threshold):
        raise InvalidInput(f"`threshold` must be a number; got {check.shown(threshold)}.")
    n = train.size
    posterior = (1 + np.searchsorted(train, scores, side="right")) / (2 + n)
    outlier = 1 - stats.binom.cdf(n - int(n * share), n, posterior)
    return np.where(scores > threshold, outlier, 1 - outlier)


# ── checks ──


def _scores(name: str, scores: ArrayLike, *, empty: bool = False) -> Array:
    out = check.vector(name, scores)
    if out.size == 0 and not empty:
        raise InvalidInput(f"`{name}` must hold at least one score; got none.")
    if np.isnan(out).any():
        raise InvalidInput(f"`{name}` must not hold NaN; got {int(np.isnan(out).sum())} of {out.size}.")
    return out


def _clipped(scores: Array) -> Array:
    """Infinite scores become the largest (or smallest) finite one."""
    finite = scores[np.isfinite(scores)]
    if finite.size == 0:
        raise InvalidInput(
            f"all {scores.size} scores are infinite: nothing can be ranked. The model's volumes have collapsed; "
            "train it anew with another `beta`, or with fewer latent dimensions."
        )
    return np.clip(scores, finite.min(), finite.max())


def _fraction(name: str, value: float) -> float:
    if not 0.0 < (share := check.real(name, value, above=0.0)) < 1.0:
        raise InvalidInput(f"`{name}` must lie between 0 and 1, both excluded; got {value!r}.")
    return share


def _ordinal(rank: int) -> str:
    if rank == 1:
        return ""
    endings = {1: "st", 2: "nd", 3: "rd"} if rank % 100 // 10 != 1 else {}
    return f"{rank}{endings.get(rank % 10, 'th')} "
