"""Output folders of an experiment that never ran: AUCs drawn around chosen means, in the schema of the study."""

import hashlib
import itertools
import json

import numpy as np
import pandas as pd

from pyscore.data.datasets import DATASETS
from pyscore.experiment.run_reader import figure3_grid
from pyscore.experiment.schema import ABLATION_SCHEMA, BASELINE_SCHEMA, SCHEMA

SCORES = ("reconstruction", "prior", "joint", "proposed_encoder", "proposed", "importance")
SMALL = {"hidden_dim": (32, 64), "latent_dim": (2, 4), "n_components": (4,), "beta": (0.1, 1.0), "c": (0.1,)}
MEANS = {"reconstruction": 0.70, "prior": 0.65, "joint": 0.75, "proposed_encoder": 0.70, "proposed": 0.80}


def configs(grid=SMALL):
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def rows(
    dataset, split, models, *, conventions=("ORIGINAL", "EXACT"), train="ORIGINAL", means=MEANS, scores=SCORES
):
    """Rows of one dataset and split; the numbers depend on what they are about, not on the order of calls."""
    out = []
    for config, convention, score in itertools.product(models, conventions, scores):
        key = repr((dataset, split, sorted(config.items()), score)).encode()
        digest = hashlib.sha256(repr((dataset, split, sorted(config.items()))).encode()).hexdigest()[:16]
        rng = np.random.default_rng(list(key))
        auc = means.get(score, 0.6) + 0.03 * rng.standard_normal(5)
        if convention == "EXACT":  # the same models, a little better
            auc += 0.02 + 0.002 * rng.standard_normal(5)
        auc = np.clip(auc, 0, 1)
        out.append(
            {
                **dict.fromkeys(SCHEMA.names), "dataset": dataset, "difficulty": "easy", "split": split,
                "stack": "s", "config_hash": digest, **config, "steps": 10_000, "learning_rate": 1e-4,
                "seed": split, "train_convention": train, "convention": convention, "score": score,
                "auc_train": auc[0], "auc_test": auc[1], "auc_known1": auc[2], "auc_known5": auc[3],
                "mean_log_density": -10 * rng.random(), "mmd": 0.01, "p_value": rng.random(), "width": 0.1,
                "train_disc": 0.6, "rows_train": 100, "rows_test": 50, "seconds_train": 2.0, "seconds_score": 0.5,
                "backend": "numba", "version": "0.1.0",
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def write(frame, path, schema=SCHEMA):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [name for name in schema.names if name in frame]
    types = pa.schema([schema.field(name) for name in columns])
    pq.write_table(pa.Table.from_pandas(frame[columns], schema=types, preserve_index=False), path)


def write_run(folder, datasets=DATASETS, splits=(0, 1), *, sweep=True, ablation=True, baselines=True, **kwargs):
    """Write a whole output folder."""
    for dataset, split in itertools.product(datasets, splits):
        frame = rows(dataset, split, configs(), **kwargs)
        write(frame, folder / "results" / f"{dataset}-{split}.parquet")
        if baselines:
            write(
                baseline_rows(dataset, split), folder / "baselines" / f"{dataset}-{split}.parquet", BASELINE_SCHEMA
            )
        if ablation:
            write(switched(frame), folder / "ablation" / f"{dataset}-{split}.parquet", ABLATION_SCHEMA)
        if sweep and dataset == "breast-cancer-wisconsin":
            write(rows(dataset, split, figure3_grid(), **kwargs), folder / "results" / f"sweep-{split}.parquet")
    manifest = {"runs": {"abc": {"grid": "small"}}, "machine": "a machine", "commit": "0123abc"}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def baseline_rows(dataset, split):
    rng = np.random.default_rng(list(f"{dataset}{split}".encode()))
    names = ["knn", "isolation_forest", "pca", "ppca"]
    aucs = 0.72 + 0.03 * rng.standard_normal((4, 2))
    frame = pd.DataFrame({"dataset": dataset, "split": split, "score": names})
    return frame.assign(auc_train=aucs[:, 0], auc_test=aucs[:, 1])


def searching(frame, score="projected", gain=0.01):
    """Rows to compare with, of a score that is measured beside the grid: a little better than `proposed`."""
    own = frame[frame["score"] == "proposed"].assign(score=score, switched="")
    return own.assign(auc_test=own["auc_test"] + gain)


def switched(frame, fields=("volume_weight", "jacobian", "prior_density")):
    """An ablation whose effects are known: each field moves `proposed` by 0.01 times its place."""
    parts = []
    for i, field in enumerate(fields, start=1):
        moved = frame.assign(switched=field)
        moved.loc[moved["score"] == "proposed", "auc_test"] += 0.01 * i
        parts.append(moved)
    return pd.concat(parts, ignore_index=True)
