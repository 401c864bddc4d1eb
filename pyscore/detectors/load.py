"""One door to every model file: a detector where the file holds one, else the model with its columns."""

from __future__ import annotations

import os

from pyscore.detectors.model_file import restore
from pyscore.detectors.svae import SVAEDetector
from pyscore.scoring.fitted import FittedModel

__all__ = ["load_model"]


def load_model(path: str | os.PathLike[str]) -> FittedModel | SVAEDetector:
    """Read a file that `pyscore fit`, `FittedModel.save` or `SVAEDetector.save` wrote.

    Parameters
    ----------
    path : path of a ``.safetensors`` file

    Returns
    -------
    SVAEDetector
        If the file holds a detector: it has a threshold and the scores of its training rows.
    FittedModel
        If it holds a model with the columns and the standardisation of its table.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or of a newer version, or holds something else: a checkpoint of a
        training, the models of an experiment.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((60, 3))
    >>> pyscore.fit(x, pyscore.TrainConfig(steps=20)).save("model.safetensors")
    >>> pyscore.load_model("model.safetensors").scores(x[:2], ["proposed"]).shape
    (2, 1)
    """
    fitted = FittedModel.load(path)
    return restore(SVAEDetector, fitted, path) if fitted.detector else fitted
