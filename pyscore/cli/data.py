"""`pyscore data`: the paper's ten datasets."""

from __future__ import annotations

from cyclopts import App

from pyscore.cli.options import Json
from pyscore.cli.output import emit, print_frame
from pyscore.cli.progress import file_progress
from pyscore.data import datasets

__all__ = ["data"]

data = App(name="data", help_format="markdown")


@data.command
def fetch(*names: str, json: Json = False) -> None:
    """Download datasets (all ten by default), check them by SHA-256 and cache them.

    Parameters
    ----------
    names
        Names of datasets; see `pyscore data list`.
    """
    chosen = names or datasets.DATASETS
    with file_progress("fetching", chosen) as advance:
        folders = {name: str(datasets.fetch(name)) for name in advance(chosen)}
    emit(folders, json=json)


@data.command(name="list")
def list_datasets(*, json: Json = False) -> None:
    """List the datasets with their sizes and whether they are on this machine."""
    frame = datasets.overview()
    if json:
        emit(frame.to_dict("records"), json=True)
    else:
        shown = frame.drop(columns="note")
        print_frame(shown, title="datasets: rows of normal data, features, anomalies by difficulty")
        emit(datasets.NOTES, json=False)


@data.command
def where(*, json: Json = False) -> None:
    """Print the folder of the dataset files (PYSCORE_DATA, or the cache)."""
    emit({"folder": str(datasets.location())}, json=json)
