"""One door to every file of models that pyscore writes: what it holds decides what comes back."""

from __future__ import annotations

import os

from pyscore._core.files import read_tensors, tensor_kind
from pyscore.detectors.model_file import restore
from pyscore.detectors.standardised import StandardisedDetector
from pyscore.detectors.svae import SVAEDetector
from pyscore.errors import ModelFileError, PyscoreError
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FittedModel
from pyscore.training.saved_models import load_stack, model_of_checkpoint

__all__ = ["load_model"]


def load_model(
    path: str | os.PathLike[str],
) -> FittedModel | SVAEDetector | StandardisedDetector | SVAE | list[SVAE | None]:
    """Read a file of models that pyscore wrote, whatever it holds.

    Parameters
    ----------
    path : path of a ``.safetensors`` file

    Returns
    -------
    SVAEDetector, SVAEEnsemble, ExpertEnsemble
        Of the `save` of a detector: it has a threshold and the scores of its training rows.
    FittedModel
        Of `pyscore fit` and `FittedModel.save`: a model with the columns and the standardisation of its table.
    SVAE
        Of a checkpoint, as the training stood, and of the toy problem of `pyscore results`.
    list of SVAE or None
        Of a stack of `pyscore reproduce`, in its order; None for a model whose training failed.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or of a newer version.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> pyscore.fit(x, pyscore.TrainConfig(steps=20)).save("model.safetensors")
    >>> pyscore.load_model("model.safetensors").scores(x[:2], ["proposed"]).shape
    (2, 1)
    """
    kind = tensor_kind(path)
    if kind == "detector":
        from pyscore.detectors.detector_file import read_detector

        return read_detector(path, StandardisedDetector)  # type: ignore[type-abstract]
    if kind == "stack":
        return load_stack(path)
    if kind == "checkpoint":
        return model_of_checkpoint(path)
    if kind == "toy":
        return _toy(path)
    fitted = FittedModel.load(path)  # says what is wrong with a file of another kind
    return restore(SVAEDetector, fitted, path) if fitted.detector else fitted


def _toy(path: str | os.PathLike[str]) -> SVAE:
    """The model of Figure 1, which `pyscore.experiment.toy` writes."""
    _, arrays = read_tensors(path, "toy", 1, unsigned=(1,))
    try:
        return SVAE.from_parameters(arrays, "swish")
    except PyscoreError as error:
        raise ModelFileError(f"{str(path)!r} is not a valid toy model: {error}") from None
