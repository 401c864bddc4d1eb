"""Grids, measures, the classifier two-sample test, the compiled goodness of fit, the ablation, the command."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from closeness import assert_close
from kernel_specs import model
from tiny_runs import OPTIONS, tasks

from pyscore import reference
from pyscore.backends import get_backend
from pyscore.backends.contract import unit
from pyscore.backends.stochastic import K, scale_of
from pyscore.cli.app import main
from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.data import datasets as data
from pyscore.detectors import evaluation
from pyscore.errors import InvalidInput
from pyscore.experiment import ablation, compiled_goodness, goodness, grid, measures, runs, selection
from pyscore.experiment.baseline_runs import baseline_areas
from pyscore.experiment.classifier import CHANCE, HIDDEN, _forward, _gradient, _initialise, _layers, train_disc
from pyscore.experiment.grid import GRIDS, Options, model_seed, tasks_of
from pyscore.experiment.measures import CHEAP, KNOWN, Meter, Rows, _areas, costly_rows, known_auc
from pyscore.experiment.run_reader import read_study
from pyscore.experiment.schema import ABLATION_SCHEMA, NOT_SWITCHED, PARTLY_SWITCHED
from pyscore.experiment.store import read_results
from pyscore.kernels.cpu import kernel_sums
from pyscore.reference import sampling
from pyscore.reference.model import SVAE
from pyscore.training.config import TrainConfig
from pyscore.training.stack import train_stack

BOTH = (ORIGINAL, EXACT)


# ── grid ──


@pytest.mark.parametrize(("d", "models"), [(30, 288), (8, 192), (3, 96)])
def test_size_of_the_papers_grid(d, models):
    paper = GRIDS["paper"]
    assert len(paper.shapes(d)) * len(paper.betas) * len(paper.cs) == models


def test_order_and_number_of_stacks():
    """12,480 models; split by split, fewest rows first."""
    everything = tasks_of(GRIDS["paper"], data.DATASETS, range(5), Options())
    assert sum(len(t.betas) * len(t.cs) for t in everything) == 12_480
    assert [t.split for t in everything] == sorted(t.split for t in everything)
    first = list(dict.fromkeys(t.dataset for t in everything if t.split == 0))
    assert (first[0], first[-1], len(first)) == ("haberman", "magic-telescope", 10)
    assert len({t.hash for t in everything}) == len({t.name for t in everything}) == len(everything)


def test_every_option_is_part_of_the_hash():
    base = Options()
    changed = {
        "steps": 5, "learning_rate": 1e-3, "batch_size": 50, "train_convention": EXACT, "conventions": (EXACT,),
        "costly_rows": 7, "disc_steps": 3,
    }  # fmt: skip
    assert set(changed) == {f.name for f in dataclasses.fields(Options)}
    hashes = {tasks(1, dataclasses.replace(base, **{k: v}))[0].hash for k, v in changed.items()}
    assert len(hashes | {tasks(1, base)[0].hash}) == len(changed) + 1


def test_seeds_are_the_models_own():
    (task,) = tasks(1, betas=GRIDS["paper"].betas, cs=GRIDS["paper"].cs)
    seeds = [config.seed for config in task.configs()]
    assert len(set(seeds)) == 16
    assert seeds[5] == model_seed("breast-cancer", 0, task.shape, 0.1, 0.01)
    assert model_seed("yeast", 0, (32, 4, 1), 1.0, 0.1) == 136634177, "a changed seed makes other models"
    assert model_seed("yeast", 1, (32, 4, 1), 1.0, 0.1) != model_seed("yeast", 0, (32, 4, 1), 1.0, 0.1)


@pytest.mark.parametrize(
    ("names", "splits", "text"),
    [(["iris"], [0], "got iris"), ([], [0], "got none"), (["yeast"], [], "`splits`"), (["yeast"], [-1], "splits")],
)
def test_bad_requests(names, splits, text):
    with pytest.raises(InvalidInput, match=text):
        tasks_of(GRIDS["paper"], names, splits, Options())


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"costly_rows": -1}, {"disc_steps": -2}, {"learning_rate": 0.0}])
def test_bad_options(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Options(**wrong)


# ── measures ──


@pytest.fixture(scope="module")
def split():
    return data.load_dataset("breast-cancer").split(0, convention=ORIGINAL)


@pytest.fixture(scope="module")
def meter(split):
    config = TrainConfig.paper(steps=200, learning_rate=1e-3, convention=ORIGINAL)
    (member,) = train_stack(split.x_train, [config], latent_dim=3, hidden_dim=8, n_components=2, threads=1)
    rows = Rows.of(split, 0)
    return Meter(member.model, split, rows, rows.sample(40, 0), 7)


def test_known_auc_is_the_auc_of_the_known_rows(rng):
    labels = np.array([0] * 30 + [1] * 9)
    scores = rng.integers(0, 12, 39) + 0.0  # with ties
    for count in KNOWN:
        draws = [goodness.known_anomaly_rows(labels, count, np.random.default_rng(i)) for i in range(5)]
        want = np.mean([reference.roc_auc(scores[rows], labels[rows]) for rows in draws])
        assert known_auc(scores, labels, [rows[30:] - 30 for rows in draws]) == pytest.approx(want, rel=1e-15)


def test_costly_rows(rng):
    labels = np.array([0] * 100 + [1] * 60)
    for most, anomalies in ((40, 20), (120, 60), (130, 60), (20, 10)):
        rows = costly_rows(labels, most, rng)
        assert len(set(rows)) == most
        assert labels[rows].sum() == anomalies
        assert (np.diff(rows) > 0).all()
    assert len(costly_rows(labels, 160, rng)) == 160
    few = costly_rows(np.array([0] * 3 + [1] * 60), 40, rng)
    assert len(few) == 40
    assert (few < 3).sum() == 3, "where normals are few, anomalies fill the sample"


@pytest.mark.parametrize("convention", BOTH, ids=lambda c: c.name)
def test_measures_are_those_of_evaluation(meter, split, convention):
    """Training and test rows in one pass are as good as two; the goodness of fit is that of the reference."""
    found = pd.DataFrame(meter.measure(convention)).set_index("score")
    engine = get_backend("numba", dtype=np.float32)
    for part, x, y in (("train", split.x_train, split.y_train), ("test", split.x_test, split.y_test)):
        options = {"convention": convention, "backend": engine}
        want = evaluation.auc_rows(meter.model, x, y, CHEAP, **options).set_index("score")
        assert found.loc[list(CHEAP), f"auc_{part}"].equals(want["auc"].rename(f"auc_{part}"))
        assert (found.loc[list(CHEAP), f"rows_{part}"] == len(x)).all()
        if part == "train":
            assert found.loc[list(CHEAP), "mean_log_density"].equals(want["mean_log_density"])
    assert found.loc["importance", ["rows_train", "rows_test"]].tolist() == [40, 40]
    fit = goodness.goodness_of_fit(meter.model, split.x_train, split.y_train, seed=7, convention=convention)
    assert found["width"].eq(fit.width).all()
    assert found["p_value"].eq(fit.p_value).all()
    assert_close(found["mmd"].iloc[0], fit.mmd, compiled_goodness.TOLERANCE, 4 * (1 + 1 / fit.width))


def test_the_scores_are_those_of_the_reference(meter, split):
    """AUCs of float32 kernels and of float64 NumPy: some pairs of rows may swap."""
    found = pd.DataFrame(meter.areas(EXACT, CHEAP)).set_index("score")
    want = evaluation.auc_rows(meter.model, split.x_test, split.y_test, CHEAP, convention=EXACT, backend="numpy")
    pairs = split.y_test.sum() * (split.y_test == 0).sum()
    assert (found["auc_test"] - want.set_index("score")["auc"]).abs().max() <= 3 / pairs


def test_a_nan_and_an_infinite_density(split):
    rows = Rows.of(split, 0)
    density = np.arange(len(rows.x), dtype=float)
    fine = _areas(density, rows)
    assert np.isfinite(fine["mean_log_density"])
    flat = density.copy()
    flat[3] = -np.inf
    assert _areas(flat, rows)["mean_log_density"] == -np.inf, "such a model cannot be selected"
    assert np.isfinite(_areas(flat, rows)["auc_train"])
    flat[4] = np.nan
    broken = _areas(flat, rows)
    assert np.isnan(broken["auc_test"])
    assert "1 rows" in broken["failure"]


def test_a_model_of_nan_is_a_failed_row(monkeypatch):
    """Its rows say so, at once (its prior could be sampled for minutes in vain), and the others go on."""
    (task,) = tasks(1)
    real = runs.train_stack

    def spoilt(*args, **kwargs):
        members = real(*args, **kwargs)
        flat = {name: np.full_like(value, np.nan) for name, value in members[0].model.parameters().items()}
        return [members[0]._replace(model=SVAE.from_parameters(flat)), members[1]]

    monkeypatch.setattr(runs, "train_stack", spoilt)
    task = dataclasses.replace(task, options=dataclasses.replace(OPTIONS, conventions=(EXACT,)))
    rows = runs.run_stack(task).rows.set_index("beta")
    assert rows.loc[0.1, "failure"].eq("a parameter is not finite after training").all()
    assert rows.loc[0.1, ["auc_train", "mmd"]].isna().all(axis=None)
    assert rows.loc[1.0, "failure"].isna().all()


# ── classifier ──


def test_the_classifier_tells_what_can_be_told(split):
    """Codes that are prior samples: chance, from both sides; a model fresh from its initialisation: less."""
    m = model(np.float64, d=30, p=1)
    sampled = train_disc(m, split.x_train, steps=300, seed=1)
    assert sampled == train_disc(m, split.x_train, steps=300, seed=1)
    assert sampled != train_disc(m, split.x_train, steps=300, seed=2)
    assert sampled < 0.6 < CHANCE
    assert train_disc(m, split.x_train, steps=0, seed=1) > 0.6


def test_prior_samples_are_at_chance(monkeypatch):
    m = model(np.float64, p=2)
    n = 600
    draw = goodness.sample_prior(m, n, np.random.default_rng(5))
    monkeypatch.setattr(SVAE, "encode", lambda self, x, **_: (draw, None))
    monkeypatch.setattr(
        "pyscore.experiment.classifier.sample_prior",
        lambda m, count, rng, **_: draw[np.random.default_rng(6).integers(n, size=count)],
    )
    # The same points on both sides: no classifier is below chance but by the imbalance of their copies, whose
    # relative deviation √(1/2) per point a network of this size cannot follow.
    assert train_disc(m, np.zeros((n, 7)), steps=200, seed=0) == pytest.approx(CHANCE, abs=0.02)


def test_gradient_of_the_classifier(rng):
    k = 3
    values = _initialise(k, rng).astype(np.float64)
    values += 0.1 * rng.standard_normal(values.size)
    x, y = rng.standard_normal((10, k)), np.array([1.0, 0] * 5)

    def loss(at):
        logit = _forward(_layers(at, k), x)[-1]
        return np.mean(np.logaddexp(0, np.where(y == 1, -logit, logit)))

    assert values.size == (k + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN + HIDDEN + 1
    gradient = _gradient(_layers(values, k), x, y)
    for i in rng.integers(values.size, size=30):
        step = np.zeros(values.size)
        step[i] = 1e-6
        assert gradient[i] == pytest.approx((loss(values + step) - loss(values - step)) / 2e-6, abs=1e-8)


# ── compiled goodness of fit ──


@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (33, 17)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_kernel_sums(rng, shape, count):
    d, c = rng.random(shape), 10.0 ** rng.uniform(-9, 2, count)
    found = kernel_sums(d, c)
    k = c[:, None, None] / (c[:, None, None] + d)
    for got, want in zip(found, (k.sum(axis=2), k.sum(axis=1), (k * k).sum(axis=(1, 2))), strict=True):
        assert_close(got, want, 8, want)


def test_kernel_sums_within(rng):
    x = rng.random((20, 1))
    d, c = np.abs(x - x.T), np.array([0.01, 0.1, 3.0])
    k = c[:, None, None] / (c[:, None, None] + d) * (1 - np.eye(20))
    found = kernel_sums(d, c, symmetric=True)
    for got, want in zip(found, (k.sum(axis=2), k.sum(axis=1), (k * k).sum(axis=(1, 2))), strict=True):
        assert_close(got, want, 8, want)
    with pytest.raises(InvalidInput, match="positive"):
        kernel_sums(d, [0.0])
    with pytest.raises(InvalidInput, match="square"):
        kernel_sums(d[:3], [1.0], symmetric=True)


FIELDS = ("width_distance", "mmd_variance")
MIXED = [
    dataclasses.replace(EXACT, **dict(zip(FIELDS, values, strict=True)))
    for values in itertools.product(("frobenius", "columnwise"), ("swapped", "sutherland"))
]


@pytest.mark.parametrize("convention", MIXED, ids=lambda c: c.name)
def test_the_compiled_goodness_is_the_references(rng, convention):
    x, y = unit(rng, 40, 3, np.float64), unit(rng, 40, 3, np.float64)
    for width in (1e-3, 0.1, 10.0):
        want = reference.mmd(x, y[:31], width=width, convention=convention)
        got = compiled_goodness.mmd(x, y[:31], width=width, convention=convention)
        evaluate = functools.partial(reference.mmd, width=width, convention=convention)
        assert_close(got, want, K, scale_of(evaluate, (x, y[:31]), np.float64))
    want = reference.imq_width_criterion(x, y, convention=convention)
    got = compiled_goodness.imq_width_criterion(x, y, convention=convention)
    # A statistic of order 1 and the root of a variance, which cancels to no less than √eps.
    assert_close(got, want, compiled_goodness.TOLERANCE, 1 / np.sqrt(np.finfo(float).eps))
    pairs = x.reshape(4, 10, 3), y.reshape(4, 10, 3)
    null = reference.mmd_null(*pairs, 0.1, convention=convention)
    assert_close(compiled_goodness.mmd_null(*pairs, 0.1, convention=convention), null, 64, 1.0)


# ── ablation and baselines ──


def test_the_ablation_measures_what_a_field_touches(meter):
    """The scores listed are those that change when all are measured; `norm_eps` and noise apart (Q3, Q14)."""
    for base in BOTH:
        before = {row["score"]: row for row in meter.areas(base, (*CHEAP, "importance"))}
        for name in set(Convention.fields("scoring")) - {"norm_eps"}:
            after = {row["score"]: row for row in meter.areas(base.switched(name), (*CHEAP, "importance"))}
            changed = {s for s in before if before[s]["mean_log_density"] != after[s]["mean_log_density"]}
            assert changed <= set(ablation.TOUCHES.get(name, ())), name
            if base is EXACT:
                assert changed == set(ablation.TOUCHES.get(name, ())), name


def test_every_scoring_field_is_part_of_the_ablation():
    covered = {*ablation.TOUCHES, *ablation.FIT_FIELDS, *ablation.DEAR_FIELDS, *NOT_SWITCHED}
    assert covered == set(Convention.fields("scoring"))
    assert not {*NOT_SWITCHED} & {*ablation.TOUCHES, *ablation.FIT_FIELDS, *ablation.DEAR_FIELDS}
    part = {*ablation.FIT_FIELDS, *ablation.DEAR_FIELDS} - {*ablation.TOUCHES}
    assert set(PARTLY_SWITCHED) == part


def test_copies_of_older_runs_are_not_read(tmp_path):
    """They have rows of `known_anomalies`, which was never evaluated: it would seem to change nothing."""
    frame = synthetic_runs.rows("yeast", 0, synthetic_runs.configs())
    synthetic_runs.write(frame, tmp_path / "results" / "a.parquet")
    copies = synthetic_runs.switched(frame, ("known_anomalies", "jacobian"))
    synthetic_runs.write(copies, tmp_path / "ablation" / "a.parquet", ABLATION_SCHEMA)
    assert set(read_study(tmp_path).ablation["switched"]) == {"jacobian"}


def test_a_score_that_cannot_be_computed_is_a_failed_row(meter, monkeypatch):
    """`eigh` of a Hessian that is NaN; the other scores of the same call are measured."""
    real = measures.scoring.score_table

    def table(model, x, names, **kwargs):
        if "prior" in names:
            raise np.linalg.LinAlgError("Eigenvalues did not converge")
        return real(model, x, names, **kwargs)

    monkeypatch.setattr(measures.scoring, "score_table", table)
    good, bad = ablation._areas(meter, EXACT, ["reconstruction", "prior"])
    assert (good["score"], good["failure"], bad["score"]) == ("reconstruction", None, "prior")
    assert 0 < good["auc_test"] < 1
    assert bad["failure"].startswith("not measurable: Eigenvalues did not converge")
    assert all(np.isnan(bad[name]) for name in measures.AREAS)


def test_a_fit_that_cannot_be_measured_is_a_failed_row(meter, monkeypatch):
    def refuse(*_):
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(Meter, "fit", refuse)
    known = {"prior": {"score": "prior", "auc_test": 0.7, "failure": None}}
    (row,) = ablation._switched(meter, "p_value", EXACT.switched("p_value"), known, True)
    assert row["failure"] == "not measurable: singular"
    assert np.isnan([row[name] for name in measures.FIT]).all()
    (task,) = tasks(1)
    rows = runs.run_stack(task).rows
    assert rows["failure"].eq("not measurable: singular").all()
    assert runs.failed_models(rows) == {task.name: 2}


def test_training_variants():
    variants = ablation.training_variants()
    assert [v.switched for v in variants].count("") == 1
    assert len(variants) == 1 + 2 * len(Convention.fields("training"))
    assert len({v.convention for v in variants}) == len(variants)
    found = ablation.training_tasks(["breast-cancer"], [0], Options())
    assert len(found) == 7 * len(GRIDS["small"].shapes(30))


def test_selected_models():
    """They are those of `select`: one with rows that have no density is none of them, however high its AUC."""
    config = synthetic_runs.configs()[:1] * 4
    frame = synthetic_runs.rows("yeast", 0, config, conventions=("EXACT",), scores=("prior",)).assign(
        config_hash=["auc", "density", "flat", "failed"],
        auc_train=[0.9, 0.5, 0.95, np.nan],
        mean_log_density=[-9.0, -1.0, -np.inf, np.nan],
        failure=[None, None, None, "NaN"],
    )
    assert ablation.selected_models(frame) == {"auc", "density"}
    assert ablation.selected_models(frame, ["proposed"]) == set()
    several = pd.concat([synthetic_runs.rows(name, 0, synthetic_runs.configs()) for name in ("yeast", "iris")])
    chosen = [set(selection.select(several, name)["config_hash"]) for name in selection.SELECTIONS]
    assert ablation.selected_models(several) == set.union(*chosen)


def test_baselines(split):
    frame = baseline_areas(split).set_index("score")
    assert list(frame.index) == ["knn", "isolation_forest", "pca", "ppca"]
    assert (frame > 0.65).all(axis=None)  # of 430 and 139 rows, ± 0.04


# ── the command ──


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    tiny = grid.Grid(name="small", hidden_dims=(4,), latent_dims=(2,), n_components=(2,), betas=(1.0,), cs=(0.1,))
    monkeypatch.setitem(GRIDS, "small", tiny)

    def run(*arguments):
        line = ["reproduce", "-o", tmp_path, "--datasets", "breast-cancer", "--grid", "small", "--costly-rows", 20]
        status = 0
        try:
            main([str(a) for a in (*line, "--disc-steps", 5, *arguments)])
        except SystemExit as stop:
            status = int(stop.code or 0)
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def test_reproduce_resume_status_and_ablation(command, tmp_path):
    status, out, err = command("--steps", 5, "--ablation", "scoring")
    assert (status, "none of the 1 stacks" in " ".join(err.split())) == (2, True)
    status, out, _ = command("--steps", 5, "--json")
    assert (status, json.loads(out)["finished"]) == (0, 1)
    status, out, _ = command("--steps", 5, "--json")
    assert (json.loads(out)["finished"], json.loads(out)["skipped"]) == (0, 1)
    status, out, err = command("--steps", 6, "--json")
    assert json.loads(out)["finished"] == 1
    assert "other options (steps)" in " ".join(err.split())
    _, out, _ = command("--status", "--json")
    assert [(r["steps"], r["stacks"], r["done"], r["failed_models"]) for r in json.loads(out)["rows"]] == [
        (5, 1, 1, 0), (6, 1, 1, 0),
    ]  # fmt: skip
    rows = read_results(tmp_path)
    assert set(rows["convention"]) == {"ORIGINAL", "EXACT"}
    assert rows["train_disc"].between(0, 2).all()
    assert len(pd.read_parquet(tmp_path / "baselines" / "breast-cancer-0.parquet")) == 4

    status, out, _ = command("--steps", 5, "--ablation", "scoring", "--json")
    assert (status, json.loads(out)["finished"]) == (0, 1)
    rows = read_results(tmp_path, "ablation")
    fields = {*Convention.fields("scoring"), ""} - {*NOT_SWITCHED}
    assert set(rows["switched"]) == fields
    one = rows[(rows["switched"] == "volume_weight") & (rows["convention"] == "EXACT[volume_weight=2.0]")]
    assert set(one["score"]) == set(ablation.TOUCHES["volume_weight"])
    assert rows.loc[rows["switched"] == "", "score"].value_counts().to_dict() == {
        "projected": 2, "laplace": 2, "corrected": 1,
    }  # fmt: skip
    assert not rows.duplicated(["config_hash", "convention", "score", "switched"]).any()


def test_complaints(command):
    for arguments, text in (
        (["--splits", "a"], "`splits` must be whole numbers"),
        (["--splits", ","], "`splits` must name at least one"),
        (["--jobs", 0], "`--jobs` must be at least 1"),
        (["--status"], "there is no run in"),
    ):
        status, _, err = command(*arguments)
        assert status == 2
        assert text in " ".join(err.split())


def test_streams_are_all_different():
    assert len(set(sampling.STREAMS.values())) == len(sampling.STREAMS)
