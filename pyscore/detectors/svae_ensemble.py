"""`SVAEEnsemble`: a stack of spherical autoencoders that votes, as an estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.detectors.ensemble import Member, check_trim, fit_members
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.reference.model import SVAE
from pyscore.training.config import Progress, TrainConfig

__all__ = ["SVAEEnsemble"]


class SVAEEnsemble(StandardisedDetector):
    """Mean over a grid of models of −log p_error − log p_density, two conformal p-values of each model.

    No criterion that was tried knows without labels which model of a grid is good; all of them can be heard. See
    `pyscore.detectors.ensemble` for what it is made of.

    **Signs and labels** are PyOD's: `decision_function` higher = more anomalous, 1 = anomaly; `score_samples` is
    the negative, higher = more normal.

    Parameters
    ----------
    grid : dict, optional
        Values of ``latent_dims``, ``betas`` and ``cs``; by default `pyscore.detectors.ensemble.GRID`, 36 models.
    trim : float in [0, 1)
        Share of the rows to set aside after a first fit; `kept_` says which stayed.
    hidden_dim, n_components, steps, learning_rate, batch_size
        Of every model; see `SVAEDetector`.
    contamination, random_state, calibration_fraction, impute
        See `SVAEDetector`.
    threads : int, optional
        Models trained at the same time, by default one a core; the bits do not depend on it.
    callbacks : callable, optional
        Called as ``callback(model-steps done, model-steps in all)``.

    Attributes
    ----------
    members_ : tuple of `pyscore.detectors.ensemble.Member`
    kept_ : (n,) array of bool
        Whether a row was trained on; not kept in a file.
    decision_scores_, threshold_, labels_, calibration_scores_, n_features_in_, feature_names_in_
        As in `SVAEDetector`.

    Examples
    --------
    >>> import numpy as np
    >>> from pyscore import SVAEEnsemble
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> grid = {"latent_dims": (2,), "betas": (1.0,), "cs": (0.1, 1.0)}
    >>> len(SVAEEnsemble(grid=grid, steps=20).fit(x).members_)
    2
    """

    def __init__(
        self,
        *,
        grid: dict[str, tuple[float, ...]] | None = None,
        trim: float = 0.0,
        hidden_dim: int = 32,
        n_components: int = 4,
        steps: int = 3000,
        learning_rate: float = 1e-3,
        batch_size: int = 100,
        contamination: float = 0.1,
        random_state: Any = 0,
        calibration_fraction: float = 0.0,
        impute: str | None = None,
        threads: int | None = None,
        callbacks: Progress | None = None,
    ) -> None:
        self.grid = grid
        self.trim = trim
        self.hidden_dim = hidden_dim
        self.n_components = n_components
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.contamination = contamination
        self.random_state = random_state
        self.calibration_fraction = calibration_fraction
        self.impute = impute
        self.threads = threads
        self.callbacks = callbacks

    members_: tuple[Member, ...]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_trim(self.trim)

    def _learn(self, x: Array, seed: int) -> None:
        config = TrainConfig(
            steps=self.steps, learning_rate=self.learning_rate, batch_size=self.batch_size, seed=seed
        )
        self.members_, self.kept_ = fit_members(
            x, config, grid=self.grid, trim=self.trim, hidden_dim=self.hidden_dim,
            n_components=self.n_components, threads=self.threads, callback=self.callbacks,
        )  # fmt: skip

    def _surprises(self, x: Array) -> dict[str, Array]:
        return {f"model {i}": member.surprise(x) for i, member in enumerate(self.members_)}

    def _state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        arrays: dict[str, Array] = {}
        for i, member in enumerate(self.members_):
            own = {f"parameter.{name}": array for name, array in member.model.parameters().items()}
            own |= {"variance": member.variance, "error": member.error, "density": member.density}
            arrays |= {f"{i}.{name}": array for name, array in own.items()}
        return {"members": len(self.members_)}, arrays

    def _restore(self, fields: dict[str, Any], arrays: dict[str, Array], d: int) -> None:
        if set(fields) != {"members"}:
            raise ValueError("its members must have a number, and nothing else")
        count = check.integer("members", fields["members"], at_least=1)
        if count > len(arrays):
            raise ValueError(f"the members must be {count}; there are {len(arrays)} arrays")
        members = []
        for i in range(count):
            own = {key.removeprefix(f"{i}."): a for key, a in arrays.items() if key.startswith(f"{i}.")}
            variance = check.vector("variance", own.pop("variance"), d)
            error, density = check.vector("error", own.pop("error")), check.vector("density", own.pop("density"))
            for name, array in (("variance", variance), ("error", error), ("density", density)):
                check.finite(name, array)
            if not (variance > 0).all() or not error.size or not density.size:
                raise ValueError("variance must be positive, and error and density hold values")
            model = SVAE.from_parameters({n.removeprefix("parameter."): a for n, a in own.items()}, "swish")
            if model.input_dim != d or not all(np.isfinite(a).all() for a in model.parameters().values()):
                raise ValueError(f"a model must have {d} inputs and finite parameters")
            members.append(Member(model, variance, error, density))
        self.members_ = tuple(members)
