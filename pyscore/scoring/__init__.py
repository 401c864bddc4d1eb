"""Scores of rows: sums of named terms, models with their files, streams and explanations."""

from pyscore._core.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "FittedModel": "fitted",
        "fit": "fitted",
        "score": "scores",
        "score_table": "scores",
        "score_terms": "scores",
        "SCORES": "scores",
        "score_files": "stream",
        "score_dask": "dask",
    },
)
