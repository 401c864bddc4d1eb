"""The members of an `ExpertEnsemble`: what each learns from standardised rows, and how it is kept in a file.

An expert gives rows anomaly scores, higher = more anomalous, on a scale of its own; a row's score does not depend
on the rows that are scored with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import EXACT
from pyscore.detectors.compiled_experts import mean_distance, squared_length
from pyscore.detectors.hyperplane_forest import Forest, extended_forest, isolation_forest
from pyscore.reference.model import SVAE
from pyscore.scoring import scores

__all__ = [
    "EXPERTS",
    "Clusters",
    "DensityModel",
    "Expert",
    "Mixture",
    "Neighbours",
    "RobustCovariance",
    "restored",
]

REFERENCES = 2048
"""Training rows that new rows are compared with, drawn from all."""
NEIGHBOURS = 5


class Expert(Protocol):
    """One of an ensemble."""

    def anomaly(self, x: Array) -> Array:
        """Scores (n,) of standardised rows x (n, d), higher = more anomalous."""

    def arrays(self) -> dict[str, Array]:
        """What a file holds of it."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Mean distance to the nearest of some training rows; one that equals the row is the row itself."""

    references: Array
    """(d, m): a column is a training row."""
    count: int

    @classmethod
    def fit(cls, x: Array, seed: int) -> Neighbours:
        """Keep at most `REFERENCES` of the rows x (n, d), drawn by the seed."""
        chosen = np.random.default_rng(seed).permutation(len(x))[:REFERENCES]
        references = np.ascontiguousarray(x[np.sort(chosen)].T)
        return cls(references, max(1, min(NEIGHBOURS, references.shape[1] - 1)))

    def anomaly(self, x: Array) -> Array:
        """Mean distances (n,)."""
        return mean_distance(np.ascontiguousarray(x, np.float64), self.references, self.count)

    def arrays(self) -> dict[str, Array]:
        """References, and how many of them count."""
        return {"references": self.references, "count": np.array([self.count], np.float64)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> Neighbours:
        """Build it from what a file holds; raises ValueError if it is not usable."""
        references = check.array("references", arrays["references"], (d, "m"))
        check.finite("references", references)
        (count,) = check.vector("count", arrays["count"], 1)
        if count not in range(1, max(2, references.shape[1])):
            raise ValueError("count must be a whole number, at least 1 and less than the number of references")
        return cls(np.ascontiguousarray(references, np.float64), int(count))


@dataclass(frozen=True, eq=False)
class RobustCovariance:
    """Squared Mahalanobis distance by the location and covariance of the closest half of the rows (MCD)."""

    centre: Array
    """(d,)."""
    factor: Array
    """(d, r), a square root of the inverse covariance."""

    @classmethod
    def fit(cls, x: Array, seed: int) -> RobustCovariance:
        """scikit-learn's `MinCovDet`; directions without variance, in which all rows agree, do not count."""
        import warnings

        from sklearn.covariance import MinCovDet
        from threadpoolctl import threadpool_limits

        with warnings.catch_warnings(), threadpool_limits(limits=1):  # sums over threads have other roundings
            warnings.simplefilter("ignore")  # of a covariance without full rank, which is handled here
            fitted = MinCovDet(random_state=seed).fit(x)
        values, vectors = np.linalg.eigh(fitted.covariance_)
        kept = values > max(float(values.max()), 1e-300) * len(values) * np.finfo(np.float64).eps
        return cls(fitted.location_, np.ascontiguousarray(vectors[:, kept] / np.sqrt(values[kept])))

    def anomaly(self, x: Array) -> Array:
        """Squared distances (n,)."""
        return squared_length(np.ascontiguousarray(x, np.float64), self.centre, self.factor)

    def arrays(self) -> dict[str, Array]:
        """Centre and factor."""
        return {"centre": self.centre, "factor": self.factor}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> RobustCovariance:
        """Build it from what a file holds; raises ValueError if it is not usable."""
        centre, factor = (
            check.vector("centre", arrays["centre"], d),
            check.array("factor", arrays["factor"], (d, "r")),
        )
        check.finite("centre", centre)
        check.finite("factor", factor)
        return cls(np.ascontiguousarray(centre), np.ascontiguousarray(factor))


@dataclass(frozen=True, eq=False)
class Clusters:
    """Distance to the centre of the nearest large cluster (CBLOF without weights: He, Xu, Deng 2003)."""

    centres: Array
    """(d, c), those of the large clusters: a column is a centre."""

    @classmethod
    def fit(cls, x: Array, seed: int) -> Clusters:
        """k-means of 8 clusters; the largest that hold 90 % of the rows, or all before a drop by 5, are large.

        The rule is PyOD's; where it finds no place to part the clusters, which is an error there, all are large.
        """
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        distinct = len(np.unique(x, axis=0))
        with threadpool_limits(limits=1):  # sums over threads have other roundings
            fitted = KMeans(n_clusters=min(8, distinct), random_state=seed).fit(x)
        sizes = np.bincount(fitted.labels_, minlength=len(fitted.cluster_centers_))
        order = np.argsort(-sizes)
        held, drops = np.cumsum(sizes[order]), sizes[order[:-1]] / np.maximum(sizes[order[1:]], 1)
        enough = np.flatnonzero(held[:-1] >= 0.9 * len(x)) + 1
        steep = np.flatnonzero(drops >= 5.0) + 1
        for places in (np.intersect1d(enough, steep), enough, steep, np.array([len(sizes)])):
            if len(places):
                large = np.sort(order[: places[0]])
                break
        return cls(np.ascontiguousarray(fitted.cluster_centers_[large].T))

    def anomaly(self, x: Array) -> Array:
        """Distances (n,)."""
        return mean_distance(np.ascontiguousarray(x, np.float64), self.centres, 1, skip_own=False)

    def arrays(self) -> dict[str, Array]:
        """Centres."""
        return {"centres": self.centres}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> Clusters:
        """Build it from what a file holds; raises ValueError if it is not usable."""
        centres = check.array("centres", arrays["centres"], (d, "c"))
        check.finite("centres", centres)
        if not centres.shape[1]:
            raise ValueError("there must be at least one centre")
        return cls(np.ascontiguousarray(centres, np.float64))


@dataclass(frozen=True, eq=False)
class Mixture:
    """−log Σ_c w_c N(x; μ_c, Σ_c) of a mixture of Gaussians with full covariances."""

    centres: Array
    """(c, d)."""
    factors: Array
    """(c, d, d), F_c F_cᵀ = Σ_c⁻¹."""
    offsets: Array
    """(c,), log w_c + log det F_c − (d/2) log 2π."""

    @classmethod
    def fit(cls, x: Array, seed: int) -> Mixture:
        """scikit-learn's `GaussianMixture` of 4 components (fewer for under 8 rows), variances plus 1e-4."""
        import warnings

        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        with warnings.catch_warnings(), threadpool_limits(limits=1):  # sums over threads have other roundings
            warnings.simplefilter("ignore")  # of fewer distinct rows than components, and of EM's last steps
            fitted = GaussianMixture(max(1, min(4, len(x) // 2)), reg_covar=1e-4, random_state=seed).fit(x)
        factors = np.ascontiguousarray(fitted.precisions_cholesky_)
        log_det = np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
        offsets = np.log(fitted.weights_) + log_det - 0.5 * x.shape[1] * np.log(2 * np.pi)
        return cls(np.ascontiguousarray(fitted.means_), factors, offsets)

    def anomaly(self, x: Array) -> Array:
        """−log density (n,), nats."""
        x = np.ascontiguousarray(x, np.float64)
        parts = [
            offset - 0.5 * squared_length(x, centre, factor)
            for centre, factor, offset in zip(self.centres, self.factors, self.offsets, strict=True)
        ]
        return -np.asarray(np.logaddexp.reduce(parts, axis=0))

    def arrays(self) -> dict[str, Array]:
        """Centres, factors and offsets."""
        return {"centres": self.centres, "factors": self.factors, "offsets": self.offsets}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> Mixture:
        """Build it from what a file holds; raises ValueError if it is not usable."""
        centres = check.array("centres", arrays["centres"], ("c", d))
        factors = check.array("factors", arrays["factors"], (len(centres), d, d))
        offsets = check.vector("offsets", arrays["offsets"], len(centres))
        for name, array in (("centres", centres), ("factors", factors), ("offsets", offsets)):
            check.finite(name, array)
        if not len(centres):
            raise ValueError("there must be at least one component")
        return cls(np.ascontiguousarray(centres), np.ascontiguousarray(factors), offsets)


@dataclass(frozen=True, eq=False)
class DensityModel:
    """−log p(x) of a spherical autoencoder by Laplace's approximation at the projection."""

    model: SVAE
    sigma2: float

    @classmethod
    def fit(cls, x: Array, seed: int, *, sigma2: float = 1.0, **options: Any) -> DensityModel:
        """Train a model with the defaults of `SVAEDetector`; `options` are `steps` and `callback`."""
        from pyscore.training.config import TrainConfig
        from pyscore.training.train import train

        config = TrainConfig(steps=options.get("steps", 3000), seed=seed)
        trained = train(x, config, latent_dim=min(4, x.shape[1]), callback=options.get("callback"))
        return cls(trained.model, sigma2)

    def anomaly(self, x: Array) -> Array:
        """−log p (n,), nats."""
        values = scores.score(self.model, x, "laplace", sigma2=self.sigma2, convention=EXACT, backend="numba")
        return -values

    def arrays(self) -> dict[str, Array]:
        """Parameters of the network, and σ²."""
        return {**self.model.parameters(), "sigma2": np.array([self.sigma2])}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Array], d: int) -> DensityModel:
        """Build it from what a file holds; raises ValueError if it is not usable."""
        (sigma2,) = check.vector("sigma2", arrays["sigma2"], 1)
        check.real("sigma2", float(sigma2), above=0.0)
        model = SVAE.from_parameters({n: a for n, a in arrays.items() if n != "sigma2"}, "swish")
        if model.input_dim != d:
            raise ValueError(f"the model must have {d} inputs, not {model.input_dim}")
        if not all(np.isfinite(array).all() for array in model.parameters().values()):
            raise ValueError("a parameter of the model is not finite")
        return cls(model, float(sigma2))


EXPERTS: dict[str, Callable[..., Expert]] = {
    "svae": DensityModel.fit,
    "forest": isolation_forest,
    "extended_forest": extended_forest,
    "neighbours": Neighbours.fit,
    "covariance": RobustCovariance.fit,
    "clusters": Clusters.fit,
    "mixture": Mixture.fit,
}
"""Name → how it is fitted to standardised rows and a seed."""

_KINDS: dict[str, Any] = {
    "svae": DensityModel,
    "forest": Forest,
    "extended_forest": Forest,
    "neighbours": Neighbours,
    "covariance": RobustCovariance,
    "clusters": Clusters,
    "mixture": Mixture,
}


def restored(name: str, arrays: dict[str, Array], d: int) -> Expert:
    """The expert of that name out of what a file holds; raises KeyError or ValueError if it is not usable."""
    expert: Expert = _KINDS[name].of_arrays(arrays, d)
    return expert
