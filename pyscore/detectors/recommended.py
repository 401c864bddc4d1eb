"""The detector that we recommend, and all detectors by the name that the command line knows them by."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from pyscore._core import checks as check
from pyscore.detectors.expert_ensemble import ExpertEnsemble
from pyscore.detectors.svae import SVAEDetector
from pyscore.detectors.svae_ensemble import SVAEEnsemble
from pyscore.errors import InvalidInput

__all__ = ["DETECTORS", "Detector", "make_detector"]

Detector = ExpertEnsemble
"""The recommended detector, with its defaults: neighbours and covariance (docs/results/detector-rule.md)."""

DETECTORS: dict[str, Callable[..., Any]] = {
    "recommended": Detector,
    "svae": SVAEDetector,
    "svae-ensemble": SVAEEnsemble,
    "svae-forest-neighbours": partial(ExpertEnsemble, experts=("svae", "extended_forest", "neighbours")),
    "isolation-forest": partial(ExpertEnsemble, experts=("forest",)),
    "extended-forest": partial(ExpertEnsemble, experts=("extended_forest",)),
    "neighbours": partial(ExpertEnsemble, experts=("neighbours",)),
    "covariance": partial(ExpertEnsemble, experts=("covariance",)),
    "clusters": partial(ExpertEnsemble, experts=("clusters",)),
    "mixture": partial(ExpertEnsemble, experts=("mixture",)),
    "neighbours-covariance-clusters": partial(ExpertEnsemble, experts=("neighbours", "covariance", "clusters")),
}
"""Name → how the detector is made."""


def make_detector(name: str, **options: Any) -> Any:
    """Return the detector of that name, with options out of its parameters.

    Raises
    ------
    InvalidInput
        If the name is unknown, or an option is not one that the detector has or heeds.
    """
    make = DETECTORS[check.choice("detector", name, DETECTORS)]
    detector = make()
    known = set(inspect.signature(type(detector)).parameters)
    if isinstance(detector, ExpertEnsemble) and "svae" not in detector.experts:
        known -= {"steps", "sigma2"}
    if unknown := [option for option in options if option not in known]:
        text = ", ".join(f"`{option}`" for option in unknown)
        raise InvalidInput(
            f"the detector {name!r} has no option {text}. Leave it out, or choose another detector."
        )
    return detector.set_params(**options)
