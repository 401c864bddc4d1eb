"""Test AUCs on the tables that the ensemble was chosen on, none of which is one of the paper's ten.

    python bench/bench_development.py FOLDER -o development.csv    # rows that are there stay

FOLDER holds tables of ADBench (github.com/Minqi824/ADBench, adbench/datasets/Classical), NAME.npz with X and y;
the number before the name is left out. At most 2,500 normal rows and 600 anomalies of each are drawn; they are
split, contaminated and standardised as the paper's experiment does it. No method sees a label.

docs/results/development.csv holds the figures that the choice was made by. Its models had other seeds than those
of `SVAEEnsemble`, so that a new run differs from it by chance: by 0.003 on tables of a thousand rows, by 0.1 on
Hepatitis, whose test set holds sixteen.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from pyscore.convention import EXACT
from pyscore.data import datasets as data
from pyscore.data.tables import write_table
from pyscore.detectors.baselines import BASELINES
from pyscore.detectors.ensemble import fit_members, mean_surprise
from pyscore.reference import roc_auc
from pyscore.scoring.scores import score
from pyscore.training.config import TrainConfig

MOST_NORMAL, MOST_ANOMALOUS = 2500, 600
BESIDE = ("kNN", "isolation forest")
TRIMS = (0.1, 0.25)


def load(path, most_normal=MOST_NORMAL, most_anomalous=MOST_ANOMALOUS):
    """A table as a dataset of normal rows and anomalies, constant columns left out."""
    found = np.load(path, allow_pickle=False)
    x, y = found["X"].astype(float), found["y"].ravel().astype(int)
    rng = np.random.default_rng(1)
    normal, anomalous = (
        rows[rng.permutation(len(rows))[:most]]
        for rows, most in ((x[y == 0], most_normal), (x[y == 1], most_anomalous))
    )
    keep = normal.std(axis=0) > 0
    columns = tuple(f"x{i}" for i in range(keep.sum()))
    return data.Dataset(path.stem, normal[:, keep], anomalous[:, keep], columns)


def areas(split):
    """AUC of each method: the ensemble, trimmed or not, its models alone, and the baselines."""
    x, y = split.x_train, split.y_test
    first = fit_members(x, TrainConfig(seed=0))
    found = {"SVAE ensemble untrimmed": roc_auc(mean_surprise(first.members, split.x_test), y)}
    surprise = mean_surprise(first.members, x)
    for trim in TRIMS:
        kept = surprise <= np.quantile(surprise, 1.0 - trim)  # what `trim` does; the first stack serves both
        second = fit_members(x[kept], TrainConfig(seed=0))
        found[f"SVAE ensemble, a share of {trim} trimmed"] = roc_auc(
            mean_surprise(second.members, split.x_test), y
        )
    alone = [
        score(one.model, split.x_test, "proposed", convention=EXACT, backend="numba") for one in first.members
    ]
    found["median model by proposed"] = float(np.median([roc_auc(-values, y) for values in alone]))
    means = [np.mean(score(one.model, x, "proposed", convention=EXACT, backend="numba")) for one in first.members]
    found["proposed of the highest mean density"] = roc_auc(-alone[int(np.argmax(means))], y)
    return found | {name: roc_auc(BASELINES[name].fit(x, 0)(split.x_test), y) for name in BESIDE}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    for path in sorted(options.folder.glob("*.npz")):
        if len(table) and (table["table"] == path.stem).any():
            continue
        split = load(path).split(0)
        sizes = {"rows": len(split.x_train), "features": split.x_train.shape[1]}
        rows = [{"table": path.stem, **sizes, "method": m, "auc": round(v, 6)} for m, v in areas(split).items()]
        print(path.stem, {row["method"]: round(row["auc"], 3) for row in rows}, flush=True)
        table = pd.concat([table, pd.DataFrame(rows)], ignore_index=True)
        write_table(options.output, table)


if __name__ == "__main__":
    main()
