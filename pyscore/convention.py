"""Conventions: one field for each place where the original code departs from the mathematics.

`ORIGINAL` reproduces the Julia code of the paper, `EXACT` follows the mathematics, and any mixture of
the two is a valid convention (``dataclasses.replace(EXACT, prior_density="unit_kappa")``).
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

from pyscore.errors import InvalidInput

__all__ = ["EXACT", "ORIGINAL", "Convention", "get_convention"]

Kind = Literal["scoring", "training"]


def _quirk(kind: Kind, original: object, exact: object) -> Any:
    """Return a dataclass field that defaults to its EXACT value and knows its ORIGINAL one."""
    return dataclasses.field(default=exact, metadata={"kind": kind, "original": original, "exact": exact})


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """One field for each place where the original code's numbers differ from the mathematics.

    A *scoring* field may be switched on a trained model; a *training* field needs a new model.
    Each field below names its ORIGINAL value first, then its EXACT one (the default).
    The numbers (Q…) are those of the list of surprises in the README of the golden files.

    Examples
    --------
    >>> pyscore.Convention(volume_weight=2.0).name
    'EXACT[volume_weight=2.0]'
    >>> pyscore.ORIGINAL.jacobian, pyscore.EXACT.jacobian
    ('ambient', 'tangent')
    """

    volume_weight: float = _quirk("scoring", 2.0, 1.0)
    """scoring. Multiplier of the log-volume in the Jacobian scores; the change of variables has 1 (Q4)."""

    jacobian: Literal["ambient", "tangent"] = _quirk("scoring", "ambient", "tangent")
    """scoring. Decoder Jacobian over all of R^k, although training never moves a code along the radius, or
    over the k−1 tangent directions of the sphere at z (Q3)."""

    encoder_jacobian: Literal["ambient", "tangent"] = _quirk("scoring", "ambient", "tangent")
    """scoring. log_volume of the whole encoder Jacobian J, whose smallest singular value is rounding noise
    because mu lies on the sphere, or log_volume(TᵀJ) with T orthogonal to mu (Q3)."""

    prior_density: Literal["unit_kappa", "vmf_mixture"] = _quirk("scoring", "unit_kappa", "vmf_mixture")
    """scoring. mean_j exp(z·mu_j), or the normalised mixture of vMF(mu_j, kappa_j) (Q5)."""

    importance: Literal["outer_sum", "elementwise"] = _quirk("scoring", "outer_sum", "elementwise")
    """scoring. log Σ_i exp(a_i − q_i)·Σ_j p_j, with a the log-likelihood, q the log-proposal without its
    normaliser and p the prior at the draws (the sum runs over all pairs of draws and is not divided by their
    number), or the importance-sampling estimate (Q2, Q26)."""

    mmd_diagonal: Literal["kept", "removed"] = _quirk("training", "kept", "removed")
    """training. k̄xx sums all n² pairs and divides by n(n−1), or sums the n(n−1) pairs of different points (Q6)."""

    width_distance: Literal["frobenius", "columnwise"] = _quirk("scoring", "frobenius", "columnwise")
    """scoring. The cosine distance of the goodness-of-fit MMD divides by the Frobenius norms of whole
    matrices (IPMeasures of 2019), or by the norm of each point (Q7)."""

    mmd_variance: Literal["swapped", "sutherland"] = _quirk("scoring", "swapped", "sutherland")
    """scoring. The cross terms exchange the row and column sums of K_xy, or use them as Sutherland 2017 does."""

    p_value: Literal["rank", "permutation"] = _quirk("scoring", "rank", "permutation")
    """scoring. Rank of the statistic over the length of the null sample (0.01 … 1.01), or
    (1 + #{null ≥ statistic}) / (1 + n) (Q8)."""

    latent_error_sign: Literal["near", "far"] = _quirk("scoring", "near", "far")
    """scoring. `latent_reconstruction` counts a row as more anomalous the nearer mu(decode(z)) lies to its
    code z, or the farther (Q10)."""

    pseudo_input_gradient: Literal["last", "sum"] = _quirk("training", "last", "sum")
    """training. Where a batch draws a prior component several times, only the last draw moves its
    pseudo-input, or all draws do (Q1)."""

    known_anomalies: Literal["normals", "anomalies"] = _quirk("scoring", "normals", "anomalies")
    """scoring. The 1 or 5 known anomalies are the first columns of the data, which are normal rows, and the
    result is the sum of 5 draws divided by 10; or they are true anomalies and the result is the mean of the
    draws (Q23)."""

    standardise: Literal["jointly", "train"] = _quirk("training", "jointly", "train")
    """training. Mean and deviation come from training rows, test rows and anomalies together, or from the
    training rows alone, contamination included (Q20)."""

    log_two_pi: Literal["float32", "float64"] = _quirk("scoring", "float32", "float64")
    """scoring. `log_likelihood` rounds log 2π to Float32 (1.8378770351409912), or to Float64 (Q13)."""

    norm_eps: Literal["machine", "none"] = _quirk("scoring", "machine", "none")
    """scoring (and used in training). `normalize` divides by √(Σv²+eps) and sampling adds 10·eps(Float32)
    under its root, which makes codes slightly shorter or longer than 1; or codes have norm 1 (Q14)."""

    goodness_rows: Literal["normal", "all"] = _quirk("scoring", "normal", "all")
    """scoring. The goodness of fit of the prior uses the rows labelled normal, or all training rows."""

    projection: Literal["adam", "minimum"] = _quirk("scoring", "adam", "minimum")
    """scoring. `project` takes 100 ADAM steps off the sphere (`manifoldz`), or finds the minimum on it."""

    corrected_volume: Literal["floored", "exact"] = _quirk("scoring", "floored", "exact")
    """scoring. `log_density_corrected` subtracts 2·Σlog(s+1e-6), or log_volume (Q4)."""

    def __post_init__(self) -> None:
        number = isinstance(self.volume_weight, int | float) and not isinstance(self.volume_weight, bool)
        if not number or not 0.0 <= self.volume_weight <= sys.float_info.max:
            raise InvalidInput(
                f"`volume_weight` must be a finite number of at least 0; got {self.volume_weight!r}. "
                "Use 1 (the change of variables) or 2 (the original code)."
            )
        for field in dataclasses.fields(self):
            allowed = (field.metadata["original"], field.metadata["exact"])
            value = getattr(self, field.name)
            if field.name != "volume_weight" and value not in allowed:
                raise InvalidInput(
                    f"`{field.name}` must be {allowed[0]!r} (original) or {allowed[1]!r} (exact); got {value!r}."
                )

    @property
    def name(self) -> str:
        """``"ORIGINAL"``, ``"EXACT"`` or the fields that differ from EXACT, as tables print it."""
        if self == ORIGINAL:
            return "ORIGINAL"
        changed = [
            f"{f.name}={getattr(self, f.name)}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.metadata["exact"]
        ]
        return "EXACT" + (f"[{', '.join(changed)}]" if changed else "")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready dictionary, the inverse of `from_dict`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Convention:
        """Return the convention of a dictionary. Missing fields take their EXACT value; unknown ones raise."""
        unknown = [name for name in fields if name not in cls.fields()]
        if unknown:
            raise InvalidInput(f"a convention has no field {unknown[0]!r}; it has {', '.join(cls.fields())}.")
        return cls(**fields)

    @classmethod
    def fields(cls, kind: Kind | None = None) -> tuple[str, ...]:
        """Return the names of all fields, or of those of one kind."""
        return tuple(f.name for f in dataclasses.fields(cls) if kind in (None, f.metadata["kind"]))

    def switched(self, field: str) -> Convention:
        """Return a copy with one field flipped between its two values, as an ablation needs."""
        try:
            meta = next(f.metadata for f in dataclasses.fields(self) if f.name == field)
        except StopIteration:
            raise InvalidInput(f"`field` must be one of {', '.join(self.fields())}; got {field!r}.") from None
        other = meta["exact"] if getattr(self, field) == meta["original"] else meta["original"]
        return dataclasses.replace(self, **{field: other})


EXACT = Convention()
ORIGINAL = Convention(**{f.name: f.metadata["original"] for f in dataclasses.fields(Convention)})


def get_convention(convention: str | Convention) -> Convention:
    """Return a Convention given itself or its name, ``"exact"`` or ``"original"`` in any case.

    Examples
    --------
    >>> pyscore.convention.get_convention("original") is pyscore.ORIGINAL
    True
    """
    if isinstance(convention, Convention):
        return convention
    named = {"EXACT": EXACT, "ORIGINAL": ORIGINAL}
    try:
        return named[str(convention).upper()]
    except KeyError:
        raise InvalidInput(
            f"`convention` must be 'exact', 'original' or a Convention; got {convention!r}."
        ) from None
