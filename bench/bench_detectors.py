"""Test AUCs of detectors, and of combinations of them, by the rule of docs/results/detector-rule.md.

    python bench/bench_detectors.py run FOLDER CACHE            # scores of every part; what is there stays
    python bench/bench_detectors.py table CACHE -o detectors.csv    # AUCs, means, ranks and tests out of them

FOLDER holds tables of ADBench as for bench_development.py. CACHE keeps one file a table and protocol: scores of
all parts on training and test rows, the labels of the test rows, and the seconds.
"""

import argparse
import itertools
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from bench_development import load
from scipy import stats

from pyscore.backends import get_backend
from pyscore.convention import EXACT
from pyscore.data.preprocessing import Standardiser
from pyscore.data.tables import write_table
from pyscore.detectors.compiled_experts import mean_distance
from pyscore.detectors.ensemble import Member
from pyscore.detectors.hyperplane_forest import extended_forest, isolation_forest
from pyscore.detectors.surprise import Surprise
from pyscore.reference import normal_dimensions, roc_auc
from pyscore.scoring.scores import residual_rows, residual_variance, score
from pyscore.training.config import TrainConfig
from pyscore.training.stack import train_stack

warnings.simplefilter("ignore")
SEEDS = 2
MOST_NORMAL, MOST_ANOMALOUS = 1000, 300
SIGMAS = ("1", "residual", "robust")


# ── parts ──


def forest(x, test, seed):
    fitted = isolation_forest(x, seed)
    return lambda rows: fitted.anomaly(rows)


def extended(x, test, seed):
    fitted = extended_forest(x, seed)
    return lambda rows: fitted.anomaly(rows)


def knn(x, test, seed):
    columns, k = np.ascontiguousarray(x.T), min(5, len(x) - 1)
    return lambda rows: mean_distance(np.ascontiguousarray(rows), columns, k)


def mcd(x, test, seed):
    from sklearn.covariance import MinCovDet

    fitted = MinCovDet(random_state=seed).fit(x)
    return fitted.mahalanobis


def pyod(module, name, **options):
    def fit(x, test, seed):
        import importlib

        kind = getattr(importlib.import_module(f"pyod.models.{module}"), name)
        return kind(random_state=seed, **options).fit(x).decision_function

    return fit


def lof(x, test, seed):
    from sklearn.neighbors import LocalOutlierFactor

    fitted = LocalOutlierFactor(n_neighbors=min(20, len(x) - 1), novelty=True).fit(x)
    return lambda rows: -fitted.negative_outlier_factor_ if rows is x else -fitted.score_samples(rows)


def gmm(x, test, seed):
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(min(4, len(x) // 2), reg_covar=1e-4, random_state=seed).fit(x)
    return lambda rows: -fitted.score_samples(rows)


def named(name):
    def fit(x, test, seed):
        from pyscore.detectors.baselines import baseline

        return baseline(name).fit(x, seed)

    return fit


EXPERTS = {
    "forest": forest, "extended forest": extended, "kNN": knn, "MCD": mcd, "CBLOF": pyod("cblof", "CBLOF"),
    "LOF": lof, "GMM": gmm, "ECOD": named("ECOD"), "PPCA": named("PPCA"),
    "PCA reconstruction": named("PCA reconstruction"),
}  # fmt: skip


def sigmas(model, x):
    """σ² of the residuals at the projection, and the robust one."""
    engine = get_backend("numba", dtype=np.float64)
    rows = residual_rows(x)
    squared = np.sum((rows - model.decode(engine.project(model, rows, convention=EXACT).z)) ** 2, axis=1)
    freedom = normal_dimensions(x.shape[1], model.latent_dim, "sphere")
    return {
        "1": 1.0,
        "residual": max(1e-4, residual_variance(model, x)),
        "robust": max(1e-4, float(np.median(squared) / stats.chi2.median(freedom))),
    }


def svae(x, test):
    """Scores of one model of two seeds, and surprises of four models."""
    d, out = x.shape[1], {}
    started = time.perf_counter()
    trained = train_stack(x, [TrainConfig(seed=s) for s in range(SEEDS)], latent_dim=min(4, d))
    for seed, k in enumerate((2, 8), start=SEEDS):
        trained += train_stack(x, [TrainConfig(seed=seed)], latent_dim=min(k, d))
    seconds = {"four models, fit": time.perf_counter() - started}
    models = [one.model for one in trained if one.model is not None]
    surprises = {sigma: [] for sigma in SIGMAS}
    for seed, model in enumerate(models):
        for sigma, value in sigmas(model, x).items():
            for name in ("proposed", "corrected", "laplace") if seed < SEEDS else ("laplace",):
                pair = [
                    -score(model, rows, name, sigma2=value, convention=EXACT, backend="numba")
                    for rows in (x, test)
                ]
                if seed < SEEDS:
                    out[f"one SVAE, {name}, {sigma}, seed {seed}"] = pair
                if name == "laplace":
                    surprises[sigma].append([Surprise.of(pair[0])(rows) for rows in pair])
    for sigma in SIGMAS:
        both = zip(*surprises[sigma], strict=True)
        out[f"four SVAE, laplace, {sigma}"] = [np.mean(column, axis=0) for column in both]
    members = [Member.of(model, x) for model in models]
    members = [m for m in members if np.isfinite([m.error, m.density]).all()]
    out["four SVAE, two p-values"] = [np.mean([m.surprise(rows) for m in members], axis=0) for rows in (x, test)]
    return out, seconds


def measure(x, test, *, models):
    """Scores of every part on both sets of rows, and seconds of fit and score."""
    found, seconds = svae(x, test) if models else ({}, {})
    for name, fit in EXPERTS.items():
        started = time.perf_counter()
        try:
            scorer = fit(x, test, 0)
            fitted = time.perf_counter()
            rows = np.asarray(scorer(test), float)
            seconds |= {f"{name}, fit": fitted - started, f"{name}, score": time.perf_counter() - fitted}
            found[name] = [np.asarray(scorer(x), float), rows]
        except Exception as error:
            print("   ", name, "failed:", error)
    return found, seconds


def run(folder, cache, *, models=True):
    cache.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.npz")):
        split = load(path, MOST_NORMAL, MOST_ANOMALOUS).split(0)
        for protocol in ("contaminated", "clean"):
            target = cache / f"{path.stem}.{protocol}.npz"
            if target.exists():
                continue
            x, test = split.x_train, split.x_test
            if protocol == "clean":
                scaler = Standardiser.fit(x[split.y_train == 0])
                x, test = scaler.transform(x[split.y_train == 0]), scaler.transform(test)
            started = time.perf_counter()
            found, seconds = measure(x, test, models=models)
            arrays = {f"train/{n}": pair[0] for n, pair in found.items()}
            arrays |= {f"test/{n}": pair[1] for n, pair in found.items()}
            arrays |= {f"seconds/{n}": np.array(value) for n, value in seconds.items()}
            np.savez(target, y=split.y_test, size=np.array(x.shape), **arrays)
            print(path.stem, protocol, x.shape, round(time.perf_counter() - started), "s", flush=True)


# ── what comes out ──


ALONE = ("forest", "extended forest", "kNN", "MCD", "CBLOF")
BESIDE = ("LOF", "GMM", "ECOD", "PPCA", "PCA reconstruction")
PROTOCOLS = ("contaminated", "clean")


def aucs(cache):
    """AUC of every part and combination: one line a table, protocol and method."""
    files = {path.stem: np.load(path) for path in sorted(cache.glob("*.npz"))}
    names = {stem.split(".")[0] for stem in files}
    whole = sorted(name for name in names if all(f"{name}.{p}" in files for p in PROTOCOLS))
    files = {stem: file for stem, file in files.items() if stem.split(".")[0] in whole}
    lines = [line for stem, file in files.items() for line in _single(stem, file)]
    table = pd.DataFrame(lines)
    mean = table.groupby(["method", "protocol"])["auc"].mean().groupby("method").mean()
    kinds = [mean[mean.index.str.startswith(kind)] for kind in ("one SVAE", "four SVAE")]
    best = [kind.idxmax() for kind in kinds if len(kind)]
    pool = [*ALONE, *best]
    for stem, file in files.items():
        lines += _combined(stem, file, pool)
    return pd.DataFrame(lines), best


def _parts(file):
    """Name → scores of training and test rows; a single model by its seeds."""
    return {
        key.removeprefix("test/"): (file[key.replace("test/", "train/", 1)], file[key])
        for key in file.files
        if key.startswith("test/")
    }


def _line(stem, file, method, auc, parts=1):
    table, protocol = stem.split(".")
    rows, features = file["size"]
    return {
        "table": table, "protocol": protocol, "rows": rows, "features": features, "method": method,
        "parts": parts, "auc": round(float(auc), 6),
    }  # fmt: skip


def _single(stem, file):
    parts, y = _parts(file), file["y"]
    seeds = {}
    for name, (_, test) in parts.items():
        seeds.setdefault(name.split(", seed")[0], []).append(roc_auc(_finite(test), y))
    return [_line(stem, file, name, np.mean(values)) for name, values in seeds.items()]


def _finite(values):
    return np.where(np.isnan(values), np.inf, values)


def _combined(stem, file, pool):
    parts, y = _parts(file), file["y"]
    lines = []
    for size in (2, 3):
        for members in itertools.combinations(pool, size):
            if {"forest", "extended forest"} <= set(members) or sum("SVAE" in m for m in members) > 1:
                continue
            found = {"mean surprise": [], "mean rank": []}
            for seed in range(SEEDS) if any(m.startswith("one SVAE") for m in members) else (0,):
                said = []
                for member in members:
                    name = f"{member}, seed {seed}" if member.startswith("one SVAE") else member
                    said.append(Surprise.of(parts[name][0])(parts[name][1]))
                found["mean surprise"].append(roc_auc(np.mean(said, axis=0), y))
                found["mean rank"].append(roc_auc(-np.mean(np.exp(-np.array(said)), axis=0), y))
            for how, values in found.items():
                lines.append(_line(stem, file, f"{how}: {' + '.join(members)}", np.mean(values), size))
    return lines


def ranking(table, against=("forest", "extended forest", "kNN", "MCD", "CBLOF", *BESIDE)):
    """One line a method: mean AUC and rank of each protocol, and a test against the best single baseline."""
    lines = {}
    for protocol in PROTOCOLS:
        wide = table[table["protocol"] == protocol].pivot_table(index="table", columns="method", values="auc")
        best = wide[list(against)].mean().idxmax()
        ranks = wide.rank(axis=1, ascending=False).mean()
        for method in wide:
            gap = wide[method] - wide[best]
            p = stats.wilcoxon(gap).pvalue if (gap != 0).any() else 1.0
            lines.setdefault(method, {})[protocol] = {
                "mean": wide[method].mean(), "rank": ranks[method], "wins": int((gap > 0).sum()),
                "losses": int((gap < 0).sum()), "p": p, "against": best,
            }  # fmt: skip
    rows = [
        {"method": method, "parts": int(table.loc[table["method"] == method, "parts"].iloc[0])}
        | {"both": np.mean([found[p]["mean"] for p in PROTOCOLS])}
        | {f"{key} {p}": found[p][key] for p in PROTOCOLS for key in found[p]}
        for method, found in lines.items()
    ]
    return pd.DataFrame(rows).sort_values("both", ascending=False, ignore_index=True)


def seconds(cache):
    """Mean seconds of fit and score, over all tables and protocols."""
    files = [np.load(path) for path in cache.glob("*.npz")]
    names = [key for key in files[0].files if key.startswith("seconds/")]
    return pd.Series({name.removeprefix("seconds/"): np.mean([file[name] for file in files]) for name in names})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="what")
    work = commands.add_parser("run")
    work.add_argument("folder", type=Path)
    work.add_argument("cache", type=Path)
    work.add_argument("--without-models", action="store_true", help="leave the spherical autoencoders out")
    print_ = commands.add_parser("table")
    print_.add_argument("cache", type=Path)
    print_.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.what == "run":
        run(options.folder, options.cache, models=not options.without_models)
        return
    table, best = aucs(options.cache)
    write_table(options.output, table)
    found = ranking(table)
    print(len(found), "methods; best SVAE, one and many:", best)
    pd.set_option(
        "display.width", 250, "display.max_rows", 500, "display.max_columns", 30, "display.max_colwidth", 70
    )
    print(found.round(3).to_string())
    print(seconds(options.cache).round(3).to_string())


if __name__ == "__main__":
    main()
