"""Columns of the files that a run writes and the results page reads; loads no torch."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

__all__ = [
    "ABLATION_SCHEMA",
    "BASELINE_NAMES",
    "BASELINE_SCHEMA",
    "FIT_ONLY",
    "NOT_SWITCHED",
    "PARTLY_SWITCHED",
    "SCHEMA",
    "BaselineName",
]

SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("difficulty", pa.string()),
        ("split", pa.int64()),
        ("stack", pa.string()),
        ("config_hash", pa.string()),
        ("hidden_dim", pa.int64()),
        ("latent_dim", pa.int64()),
        ("n_components", pa.int64()),
        ("beta", pa.float64()),
        ("c", pa.float64()),
        ("steps", pa.int64()),
        ("learning_rate", pa.float64()),
        ("seed", pa.int64()),
        ("train_convention", pa.string()),
        ("convention", pa.string()),
        ("score", pa.string()),
        ("auc_train", pa.float64()),
        ("auc_test", pa.float64()),
        ("auc_known1", pa.float64()),
        ("auc_known5", pa.float64()),
        ("mean_log_density", pa.float64()),
        ("mmd", pa.float64()),
        ("p_value", pa.float64()),
        ("width", pa.float64()),
        ("train_disc", pa.float64()),
        ("rows_train", pa.int64()),
        ("rows_test", pa.int64()),
        ("seconds_train", pa.float64()),
        ("seconds_score", pa.float64()),
        ("backend", pa.string()),
        ("version", pa.string()),
        ("failure", pa.string()),
    ]
)
"""Columns of a result file: one row for each dataset, split, model, scoring convention and score."""

ABLATION_SCHEMA = SCHEMA.append(pa.field("switched", pa.string()))
"""`switched` names the field that was switched; "" marks rows for comparison that are not in ``results/``."""

BASELINE_SCHEMA = pa.schema(
    [
        SCHEMA.field(name)
        for name in ("dataset", "difficulty", "split", "train_convention", "score", "auc_train", "auc_test")
    ]
)
"""Columns of a file of baselines: one row a baseline, which is the `score`, on one split."""


class BaselineName(NamedTuple):
    """What a baseline is called elsewhere."""

    method: str
    """In `pyscore.detectors.baselines.BASELINES`."""
    label: str
    """On the page of results and in its figures."""


BASELINE_NAMES = {
    "knn": BaselineName("kNN", "kNN"),
    "isolation_forest": BaselineName("isolation forest", "isolation forest"),
    "pca": BaselineName("PCA reconstruction", "PCA"),
    "ppca": BaselineName("PPCA", "PPCA"),
}
"""The baselines of the experiment by their names in the files."""

NOT_SWITCHED = {
    "known_anomalies": "the sets of ORIGINAL hold normal rows alone, and there is no AUC of one class",
}
"""Scoring fields without rows in the ablation, and why. The ablation says nothing about what they change."""

FIT_ONLY = ("width_distance", "mmd_variance", "p_value", "goodness_rows")
"""Scoring fields that change the goodness of fit and no score; their rows repeat the AUCs of the results."""
_ANY, _PROPOSED = "those selected by any score", "those selected by `proposed`"
PARTLY_SWITCHED = {
    **dict.fromkeys(FIT_ONLY, _ANY),
    **dict.fromkeys(("projection", "corrected_volume"), _PROPOSED),
}
"""Scoring fields that are switched on some of the models only, and on which ones."""
