"""`ExpertEnsemble`: detectors of different kinds, each heard by how rare its score is among the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.detectors.experts import EXPERTS, Expert, restored
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.detectors.surprise import Surprise
from pyscore.errors import InvalidInput
from pyscore.training.config import Callback

__all__ = ["ExpertEnsemble"]


class ExpertEnsemble(StandardisedDetector):
    """Mean surprise −log p_e(x) of several experts, p_e the conformal p-value of expert e's score of a row.

    Each expert orders rows on a scale of its own. It takes part by the ranks of its scores among the training
    rows, so that none can drown the others.

    **Signs and labels** are PyOD's: `decision_function` higher = more anomalous, 1 = anomaly; `score_samples` is
    the negative, higher = more normal.

    Parameters
    ----------
    experts : sequence of names
        Out of ``"svae"`` (a spherical autoencoder, by its `laplace` log-density), ``"forest"`` (isolation forest),
        ``"extended_forest"``, ``"neighbours"`` (mean distance to the 5 nearest of at most 2,048 training rows),
        ``"covariance"`` (robust Mahalanobis distance, MCD), ``"clusters"`` (distance to the nearest large cluster,
        CBLOF) and ``"mixture"`` (density of a mixture of four Gaussians). One name is a detector, too.
    sigma2 : float
        Variance of the noise of the autoencoder, in standardised units.
    steps : int
        Training steps of the autoencoder.
    contamination : float in (0, 0.5]
        Fraction of the training rows that `threshold_` flags.
    random_state : int, RandomState, Generator or None
        Seed of all draws; the same integer gives the same bits on one machine.
    calibration_fraction : float
        Part of the rows that nothing is fitted on, kept for `p_values`, `select` and
        ``set_threshold(false_positive_rate=…)``.
    impute : None or "median"
        Fill missing values with the medians of the training rows; by default they are an error.
    callbacks : callable, optional
        Called as ``callback(steps done, steps in all, loss)`` while the autoencoder is trained.

    Attributes
    ----------
    decision_scores_, threshold_, labels_, calibration_scores_, n_features_in_, feature_names_in_
        As in `SVAEDetector`.
    experts_ : dict of name → expert

    Examples
    --------
    >>> import numpy as np
    >>> from pyscore import ExpertEnsemble
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> detector = ExpertEnsemble(experts=("forest", "neighbours")).fit(x)
    >>> detector.decision_function([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]]).argmax()
    np.int64(1)
    """

    def __init__(
        self,
        *,
        experts: Sequence[str] = ("neighbours", "covariance"),
        sigma2: float = 1.0,
        steps: int = 3000,
        contamination: float = 0.1,
        random_state: Any = 0,
        calibration_fraction: float = 0.0,
        impute: str | None = None,
        callbacks: Callback | None = None,
    ) -> None:
        self.experts = experts
        self.sigma2 = sigma2
        self.steps = steps
        self.contamination = contamination
        self.random_state = random_state
        self.calibration_fraction = calibration_fraction
        self.impute = impute
        self.callbacks = callbacks

    experts_: dict[str, Expert]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.experts, str) or not len(self.experts) or len(set(self.experts)) < len(self.experts):
            raise InvalidInput(f"`experts` must be a sequence of different names; got {self.experts!r}.")
        for name in self.experts:
            check.choice("experts", name, EXPERTS)
        check.real("sigma2", self.sigma2, above=0.0)
        check.integer("steps", self.steps, at_least=1)

    def _learn(self, x: Array, seed: int) -> None:
        options: dict[str, Any] = {"sigma2": self.sigma2, "steps": self.steps, "callback": self.callbacks}
        self.experts_ = {
            name: EXPERTS[name](x, seed, **(options if name == "svae" else {})) for name in self.experts
        }
        self.scales_ = {name: Surprise.of(expert.anomaly(x)) for name, expert in self.experts_.items()}

    def _surprises(self, x: Array) -> dict[str, Array]:
        return {name: self.scales_[name](expert.anomaly(x)) for name, expert in self.experts_.items()}

    def _state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        arrays: dict[str, Array] = {}
        for name, expert in self.experts_.items():
            arrays |= {f"{name}.{key}": array for key, array in expert.arrays().items()}
            arrays[f"{name}.known"] = self.scales_[name].known
        return {}, arrays

    def _restore(self, fields: dict[str, Any], arrays: dict[str, Array], d: int) -> None:
        if fields:
            raise ValueError("its members have fields that are not known")
        self.experts_, self.scales_ = {}, {}
        for name in self.experts:
            own = {key.removeprefix(f"{name}."): a for key, a in arrays.items() if key.startswith(f"{name}.")}
            known = check.vector("known", own.pop("known"))
            if not known.size or np.isnan(known).any():
                raise ValueError(f"known of {name} must hold scores without NaN")
            self.scales_[name] = Surprise.of(known)
            self.experts_[name] = restored(name, own, d)
