"""What `SVAEDetector.save` keeps beside the model, and how it comes back: every field is checked."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.backends import BACKENDS
from pyscore.convention import Convention
from pyscore.errors import ModelFileError, PyscoreError
from pyscore.scoring import scores
from pyscore.scoring.fitted import FittedModel

if TYPE_CHECKING:
    from pyscore.detectors.svae import SVAEDetector

__all__ = ["restore", "state_of"]

Kind = TypeVar("Kind", bound="SVAEDetector")
HISTORY = ["loss", "mse", "mmd"]
VALIDATION = ["step", "validation_loss"]


def state_of(detector: SVAEDetector) -> FittedModel:
    """Return the fitted model together with the detector's parameters, threshold, scores and histories."""
    parameters = {k: v for k, v in detector.get_params().items() if k != "callbacks"}
    parameters["random_state"] = detector.seed_
    if isinstance(detector.convention, Convention):
        parameters["convention"] = detector.convention.to_dict()
    header = {
        "parameters": parameters,
        "named_columns": hasattr(detector, "feature_names_in_"),
        "best_step": detector.best_step_,
        "typical_terms": detector.typical_terms_,
        "tuning": None if detector.tuning_ is None else detector.tuning_.to_dict("list"),
    }
    arrays: dict[str, Array] = {
        "threshold": np.array([detector.threshold_, detector.contamination_]),
        "decision_scores": detector.decision_scores_,
        "history": detector.history_[HISTORY].to_numpy(np.float64),
    }
    if detector.calibration_scores_ is not None:
        arrays["calibration_scores"] = detector.calibration_scores_
    if detector.validation_history_ is not None:
        arrays["validation_history"] = detector.validation_history_[VALIDATION].to_numpy(np.float64)
    return dataclasses.replace(detector.model_, detector=header, arrays=arrays)


def restore(cls: type[Kind], fitted: FittedModel, path: str | os.PathLike[str]) -> Kind:
    """Return the detector of a file.

    Raises
    ------
    ModelFileError
        If the file holds no detector, or one whose parts do not fit.
    """
    if not fitted.detector:
        raise ModelFileError(
            f"{str(path)!r} holds a model without a detector: no threshold and no training scores. "
            "Read it with FittedModel.load, or fit an SVAEDetector."
        )
    try:
        return _restored(cls, fitted)
    except (KeyError, TypeError, ValueError, AttributeError, PyscoreError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid detector: {error}.") from None


def _restored(cls: type[Kind], fitted: FittedModel) -> Kind:
    header, arrays = fitted.detector, fitted.arrays
    parameters = dict(header["parameters"])
    if isinstance(parameters["convention"], dict):
        parameters["convention"] = Convention.from_dict(parameters["convention"])
    detector = cls(**parameters)
    check.choice("score_name", detector.score_name, scores.SCORES)
    check.choice("backend", detector.backend, BACKENDS)
    columns = fitted.standardiser.columns
    detector.model_ = dataclasses.replace(fitted, detector={}, arrays={})
    detector.n_features_in_ = len(columns)
    if header["named_columns"]:
        detector.feature_names_in_ = np.array(columns, dtype=object)
    detector.seed_ = check.integer("random_state", parameters["random_state"], at_least=0)
    detector.best_step_ = check.integer("best_step", header["best_step"], at_least=0)
    terms = scores.SCORES[detector.score_name].terms
    detector.typical_terms_ = {term: float(header["typical_terms"][term]) for term in terms}
    detector.tuning_ = None if header["tuning"] is None else pd.DataFrame(header["tuning"])
    detector.decision_scores_ = _scores(arrays, "decision_scores")
    held = "calibration_scores" in arrays
    detector.calibration_scores_ = _scores(arrays, "calibration_scores") if held else None
    detector.history_ = pd.DataFrame(check.array("history", arrays["history"], ("n", 3)), columns=HISTORY)
    detector.validation_history_ = None
    if "validation_history" in arrays:
        table = check.array("validation_history", arrays["validation_history"], ("n", 2))
        detector.validation_history_ = pd.DataFrame(table, columns=VALIDATION).astype({"step": np.int64})
    threshold, detector.contamination_ = map(float, check.vector("threshold", arrays["threshold"], 2))
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN")
    detector.threshold_ = threshold
    detector.labels_ = (detector.decision_scores_ > threshold).astype(np.int64)
    return detector


def _scores(arrays: dict[str, Array], name: str) -> Array:
    values = check.vector(name, arrays[name])
    if values.size == 0 or np.isnan(values).any():
        raise ValueError(f"{name} must hold scores, without NaN")
    return values
