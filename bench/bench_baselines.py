"""Test AUCs of all baselines on the paper's ten datasets, none of which sees a label.

    PYSCORE_DATA=FOLDER python bench/bench_baselines.py -o docs/results/others.csv    # rows that are there stay

Splits, contamination and standardisation are those of `pyscore evaluate` under EXACT; the seed of the split is the
seed of the method. `docs/make_pages.py tables` makes the table of docs/which-score.md from the file.
"""

import argparse
import functools
import time
from pathlib import Path

import pandas as pd

from pyscore.data import datasets as data
from pyscore.data.tables import write_table
from pyscore.detectors import evaluation
from pyscore.detectors.baselines import BASELINES, HEAVY, Baseline, stack_ensemble

HEAVY["SVAE ensemble untrimmed"] = Baseline(functools.partial(stack_ensemble, trim=0.0))  # to compare with only


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--methods", default=",".join([*BASELINES, *HEAVY]))
    parser.add_argument("--datasets", default=",".join(data.DATASETS))
    parser.add_argument("--splits", default="0")
    options = parser.parse_args()
    table = pd.read_csv(options.output) if options.output.exists() else pd.DataFrame()
    for method in options.methods.split(","):
        for name in options.datasets.split(","):
            for split in map(int, options.splits.split(",")):
                key = {"dataset": name, "split": split, "method": method}
                if len(table) and (table[list(key)] == pd.Series(key)).all(axis=1).any():
                    continue
                start = time.perf_counter()
                rows = evaluation.baseline_rows(data.load_dataset(name).split(split), split, [method])
                row = {**key, "auc": rows["auc"].iloc[0], "seconds": round(time.perf_counter() - start, 1)}
                print(row, flush=True)
                table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
                write_table(options.output, table)


if __name__ == "__main__":
    main()
