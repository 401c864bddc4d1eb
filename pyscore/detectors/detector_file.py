"""Files of the detectors that are kept as arrays: written by their `save`, every field checked when read."""

from __future__ import annotations

import importlib
import os
from typing import Any, TypeVar

import numpy as np

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.files import atomic_write, pack_tensors, read_tensors
from pyscore.data.preprocessing import LARGEST, Imputer, Standardiser
from pyscore.detectors.model_file import number, same_names, scores_of
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.errors import ModelFileError, PyscoreError
from pyscore.scoring.fitted import check_names

__all__ = ["DETECTOR_VERSION", "detector_bytes", "read_detector", "write_detector"]

DETECTOR_VERSION = 1
CLASSES = {"ExpertEnsemble": "expert_ensemble", "SVAEEnsemble": "svae_ensemble"}
"""Names that a file may hold, and the modules that define them."""
FIELDS = ("pyscore_version", "class", "parameters", "columns", "named_columns", "members")
MEMBER = "member."
UNWRITTEN = ("callbacks",)
Kind = TypeVar("Kind", bound=StandardisedDetector)


def write_detector(detector: StandardisedDetector, path: str | os.PathLike[str]) -> None:
    """Write a fitted detector as safetensors, with a checksum, atomically."""
    data = detector_bytes(detector)
    with atomic_write(path) as file:
        file.write(data)


def detector_bytes(detector: StandardisedDetector) -> bytes:
    """Contents of a file of `write_detector`."""
    from pyscore._core.version import __version__

    fields, members = detector._state()
    parameters = {name: value for name, value in detector.get_params().items() if name not in UNWRITTEN}
    scaler = detector.standardiser_
    header = {
        "pyscore_version": __version__,
        "class": type(detector).__name__,
        "parameters": {**parameters, "random_state": detector.seed_},
        "columns": list(scaler.columns),
        "named_columns": hasattr(detector, "feature_names_in_"),
        "members": fields,
    }
    arrays: dict[str, Array] = {
        "scaler.mean": scaler.mean,
        "scaler.deviation": scaler.deviation,
        "typical": detector.typical_,
        "decision_scores": detector.decision_scores_,
        "threshold": np.array([detector.threshold_, detector.contamination_]),
    }
    if detector.imputer_ is not None:
        arrays["imputer.median"] = detector.imputer_.median
    if detector.calibration_scores_ is not None:
        arrays["calibration_scores"] = detector.calibration_scores_
    arrays |= {f"{MEMBER}{name}": array for name, array in members.items()}
    return pack_tensors("detector", DETECTOR_VERSION, header, arrays)


def read_detector(path: str | os.PathLike[str], kind: type[Kind]) -> Kind:
    """Read a file of `write_detector` that holds a detector of a kind, or of one below it.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged in any bit, foreign, of a newer version, inconsistent, or of another kind.
    """
    header, arrays = read_tensors(path, "detector", DETECTOR_VERSION)
    try:
        same_names("its header", header, FIELDS)
        name = header["class"]
        if name not in CLASSES:
            raise ValueError(f"it holds a detector of an unknown kind, {str(name)[:80]!r}")
        found = getattr(importlib.import_module(f"pyscore.detectors.{CLASSES[name]}"), name)
        if not issubclass(found, kind):
            raise ValueError(
                f"it holds a detector of the kind {name}, not {kind.__name__}; read it with {name}.load"
            )
        detector: Kind = _restored(found, header, arrays)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError, PyscoreError) as error:
        said = str(error).rstrip(".")[:1000]
        raise ModelFileError(f"{str(path)!r} is not a valid detector: {said}.") from error
    return detector


def _restored(kind: type[Kind], header: dict[str, Any], arrays: dict[str, Array]) -> Kind:
    given = header["parameters"]
    same_names("its parameters", given, [n for n in kind().get_params() if n not in UNWRITTEN])
    detector = kind(**{name: _tuples(value) for name, value in given.items()})
    detector._check_parameters()
    for name, wanted in (("pyscore_version", str), ("columns", list), ("named_columns", bool), ("members", dict)):
        if not isinstance(header[name], wanted):
            raise TypeError(f"{name} must be a {wanted.__name__}, not a {type(header[name]).__name__}")
    columns = check_names(header["columns"])
    d = len(columns)
    mean, deviation = _row("scaler.mean", arrays, d), _row("scaler.deviation", arrays, d)
    if not (deviation > 0).all():
        raise ValueError("a deviation of the scaler is not positive")
    detector.standardiser_ = Standardiser(mean, deviation, columns)
    detector.imputer_ = Imputer(_row("imputer.median", arrays, d)) if "imputer.median" in arrays else None
    if (detector.imputer_ is None) != (detector.impute is None):
        raise ValueError("medians must be there if, and only if, gaps are to be filled")
    detector.typical_ = _row("typical", arrays, d)
    detector.n_features_in_ = d
    if header["named_columns"]:
        detector.feature_names_in_ = np.array(columns, dtype=object)
    detector.seed_ = check.integer("random_state", given["random_state"], at_least=0)
    members = {n.removeprefix(MEMBER): a for n, a in arrays.items() if n.startswith(MEMBER)}
    detector._restore(header["members"], members, d)
    detector.decision_scores_ = scores_of(arrays, "decision_scores")
    held = "calibration_scores" in arrays
    detector.calibration_scores_ = scores_of(arrays, "calibration_scores") if held else None
    threshold, flagged = map(float, check.vector("threshold", arrays["threshold"], 2))
    if np.isnan(threshold) or not 0.0 <= number("contamination", flagged) <= 1.0:
        raise ValueError("the threshold must be a number, and the fraction of flagged rows between 0 and 1")
    detector.threshold_, detector.contamination_ = threshold, flagged
    detector.labels_ = (detector.decision_scores_ > threshold).astype(np.int64)
    return detector


def _tuples(value: Any) -> Any:
    """What was a tuple before it was JSON, in a parameter or in the entries of one."""
    if isinstance(value, dict):
        return {name: _tuples(entry) for name, entry in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _row(name: str, arrays: dict[str, Array], d: int) -> Array:
    row = check.vector(name, arrays[name], d)
    check.finite(name, row, limit=LARGEST)
    return np.asarray(row, np.float64)
