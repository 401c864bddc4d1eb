"""What `SVAEDetector.save` keeps beside the model, and how it comes back: every field is checked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore.convention import Convention
from pyscore.errors import ModelFileError, PyscoreError
from pyscore.scoring import scores
from pyscore.scoring.fitted import FittedModel

if TYPE_CHECKING:
    from pyscore.detectors.svae import SVAEDetector

__all__ = ["restore", "state_of"]

Kind = TypeVar("Kind", bound="SVAEDetector")
NEWER: dict[str, object] = {"impute": None}
"""Parameters that files of earlier versions lack, and what a detector without them does."""
OLDER = ("tune",)
"""Parameters of earlier versions, which are left aside; so is the field ``tuning`` of the header."""
FIELDS = ("parameters", "named_columns", "best_step", "typical_terms")
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
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, PyscoreError) as error:
        said = str(error).rstrip(".")[:1000]
        raise ModelFileError(f"{str(path)!r} is not a valid detector: {said}.") from error


def _restored(cls: type[Kind], fitted: FittedModel) -> Kind:
    header, arrays = {k: v for k, v in fitted.detector.items() if k != "tuning"}, fitted.arrays
    same_names("its header", header, FIELDS)
    detector = _with_parameters(cls, header["parameters"])
    parameters = detector.get_params()
    columns = fitted.standardiser.columns
    detector.model_ = dataclasses.replace(fitted, detector={}, arrays={})
    detector.n_features_in_ = len(columns)
    if _flag("named_columns", header["named_columns"]):
        detector.feature_names_in_ = np.array(columns, dtype=object)
    detector.seed_ = check.integer("random_state", parameters["random_state"], at_least=0)
    detector.best_step_ = check.integer("best_step", header["best_step"], at_least=0)
    terms = scores.SCORES[detector.score_name].terms
    same_names("typical_terms", header["typical_terms"], terms)
    detector.typical_terms_ = {term: number(term, header["typical_terms"][term]) for term in terms}
    detector.decision_scores_ = scores_of(arrays, "decision_scores")
    held = "calibration_scores" in arrays
    detector.calibration_scores_ = scores_of(arrays, "calibration_scores") if held else None
    detector.history_ = pd.DataFrame(check.array("history", _array(arrays, "history"), ("n", 3)), columns=HISTORY)
    detector.validation_history_ = None
    if "validation_history" in arrays:
        table = check.array("validation_history", arrays["validation_history"], ("n", 2))
        check.finite("validation_history", table[:, 0], limit=2.0**53)
        detector.validation_history_ = pd.DataFrame(table, columns=VALIDATION).astype({"step": np.int64})
    threshold, flagged = map(float, check.vector("threshold", _array(arrays, "threshold"), 2))
    if np.isnan(threshold):
        raise ValueError("the threshold is NaN")
    if not 0.0 <= flagged <= 1.0:
        raise ValueError(f"the fraction of flagged rows must lie between 0 and 1, not {flagged:g}")
    detector.contamination_ = flagged
    detector.threshold_ = threshold
    detector.labels_ = (detector.decision_scores_ > threshold).astype(np.int64)
    return detector


def _with_parameters(cls: type[Kind], given: Any) -> Kind:
    """A detector of the parameters of a file, none of which may lack, be unknown, or be unusable."""
    if not isinstance(given, dict):
        raise TypeError(f"its parameters must be an object, not a {type(given).__name__}")
    parameters = {**NEWER, **{name: value for name, value in given.items() if name not in OLDER}}
    same_names("its parameters", parameters, [n for n in cls().get_params() if n != "callbacks"])
    for name, value in parameters.items():
        if not (value is None or isinstance(value, str | bool | int | float) or name == "convention"):
            raise TypeError(f"its parameter {name!r} must be a number or a text, not a {type(value).__name__}")
    if isinstance(parameters["convention"], dict):
        parameters["convention"] = Convention.from_dict(parameters["convention"])
    detector = cls(**parameters)
    detector._check_parameters()
    if detector.impute is not None and not isinstance(detector.impute, str):
        raise TypeError("its parameter 'impute' must be a text or null")
    return detector


def same_names(what: str, given: Any, wanted: Collection[str]) -> None:
    """Raise for a name that lacks, or that is not known: neither has a default."""
    if not isinstance(given, dict):
        raise TypeError(f"{what} must be an object, not a {type(given).__name__}")
    if lacking := [name for name in wanted if name not in given]:
        raise ValueError(f"{what} lacks the field {lacking[0]!r}")
    if unknown := [name for name in given if name not in wanted]:
        raise ValueError(f"{what} has an unknown field {unknown[0][:80]!r}")


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not a {type(value).__name__}")
    return value


def number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not a {type(value).__name__}")
    return float(value)


def _array(arrays: dict[str, Array], name: str) -> Array:
    if name not in arrays:
        raise ValueError(f"the array {name!r} is missing")
    return arrays[name]


def scores_of(arrays: dict[str, Array], name: str) -> Array:
    values = check.vector(name, _array(arrays, name))
    if values.size == 0 or np.isnan(values).any() or np.isneginf(values).any():
        raise ValueError(f"{name} must hold scores, without NaN and −inf")
    return values
