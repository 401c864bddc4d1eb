"""From the output folder of an experiment to selection, tests, claims and page, on runs whose numbers are chosen."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_runs as runs
from command_line import run as run_command
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pyscore.convention import EXACT, ORIGINAL, Convention
from pyscore.data import datasets as data
from pyscore.errors import DataUnavailable, InvalidInput
from pyscore.experiment import (
    figures,
    results_page,
    selection,
    toy,
)
from pyscore.experiment import (
    page_tables as results_tables,
)
from pyscore.experiment import (
    paper_claims as claims,
)
from pyscore.experiment import result_tables as summary_module
from pyscore.experiment import (
    term_analysis as anatomy,
)
from pyscore.experiment.result_tables import Setting, read_summary, settings, summarise, write_summary
from pyscore.experiment.run_reader import BASELINE_SCHEMA, base_name, figure3_grid, main_grid, read_study
from pyscore.experiment.schema import ABLATION_SCHEMA, SCHEMA
from pyscore.experiment.significance import duel, merge_twins, ranking
from pyscore.scoring import plots

TOY_MODEL = Path(__file__).parents[1] / "docs" / "results" / results_page.TOY_FILE
PAPER = Setting("ORIGINAL", 10_000, 1e-4, "ORIGINAL")
BREAST = "breast-cancer-wisconsin"
TERMS = ("log_likelihood", "log_prior", "decoder_volume", "proposed", anatomy.RESIDUAL)


@pytest.fixture(scope="session")
def toy_maps():
    return toy.density_maps(toy.toy_model(TOY_MODEL))


@pytest.fixture(autouse=True)
def quick_maps(request, monkeypatch):
    """Pages of the tests share one set of maps: a second each is saved."""
    if "toy_maps" in request.fixturenames or "folder" in request.fixturenames:
        maps = request.getfixturevalue("toy_maps")
        monkeypatch.setattr(toy, "density_maps", lambda model: maps)


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    runs.write_run(folder)
    return folder


@pytest.fixture(scope="session")
def full_summary(full_run):
    return summarise(read_study(full_run))


@pytest.fixture
def folder(tmp_path):
    """A folder for tables that has the toy model, so that nothing is trained."""
    path = tmp_path / "results"
    path.mkdir()
    shutil.copy(TOY_MODEL, path)
    return path


def page_of(run, folder):
    return page_from(summarise(read_study(run)), folder)


def page_from(summary, folder, **changes):
    write_summary(folder, dataclasses.replace(summary, **changes))
    return results_page.build_page(folder)


def results_page_written(run, folder, tmp_path):
    write_summary(folder, summarise(read_study(run)))
    return results_page.write_page(folder, tmp_path / "page.md")


def drawn(page):
    """Lay out every figure, without a file."""
    for draw in page.figures.values():
        draw().draw_without_rendering()
    return page


def verdict(page, claim, setting=PAPER):
    rows = page.verdicts
    return rows[(rows["claim"] == claim) & (rows["setting"] == setting.label)].iloc[0]


# ── selection ──


def one_group(n, **columns):
    frame = runs.rows("yeast", 0, runs.configs()[:n], conventions=("ORIGINAL",), scores=("proposed",))
    return frame.assign(**columns)


def test_each_criterion_takes_the_highest_of_its_column():
    frame = one_group(4, auc_train=[0.1, 0.9, 0.3, 0.4], auc_known5=[0.9, 0.1, 0.2, 0.3],
                      auc_known1=[0.1, 0.2, 0.8, 0.3], mean_log_density=[-4.0, -3.0, -2.0, -1.0])  # fmt: skip
    chosen = {name: selection.select(frame, name) for name in selection.CRITERIA}
    places = {"supervised": 1, "five known": 0, "one known": 2, "unsupervised": 3}
    for name, place in places.items():
        assert len(chosen[name]) == 1
        assert chosen[name]["config_hash"].iloc[0] == frame["config_hash"].iloc[place]
        assert chosen[name]["candidates"].iloc[0] == 4


def test_a_tie_goes_to_the_smaller_model_and_is_counted():
    frame = one_group(8, auc_train=0.5)
    chosen = selection.select(frame.sample(frac=1, random_state=3), "supervised").iloc[0]
    smallest = frame.sort_values(list(selection.CONFIG)).iloc[0]
    assert [chosen[c] for c in selection.CONFIG] == [smallest[c] for c in selection.CONFIG]
    assert chosen["tied"] == 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("criterion", list(selection.CRITERIA))
def test_a_model_without_a_finite_mean_density_is_never_selected(criterion, value):
    frame = one_group(3, auc_train=[0.9, 0.5, 0.4], auc_known5=[0.9, 0.5, 0.4], auc_known1=[0.9, 0.5, 0.4],
                      mean_log_density=[value, -1.0, -2.0])  # fmt: skip
    assert selection.select(frame, criterion)["config_hash"].iloc[0] == frame["config_hash"].iloc[1]
    nothing = frame.assign(mean_log_density=value)
    assert selection.select(nothing, criterion).empty


def test_a_failed_model_is_never_selected():
    frame = one_group(2, auc_train=[0.9, 0.5], failure=["the loss became nan", None])
    assert selection.select(frame, "supervised")["auc_train"].iloc[0] == 0.5


def test_unknown_criterion():
    with pytest.raises(InvalidInput, match="criterion"):
        selection.select(one_group(1), "luck")


@hypothesis_settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=12))
def test_selection_agrees_with_a_loop(draws):
    frame = one_group(8).sample(n=len(draws), replace=True, random_state=0).reset_index(drop=True)
    frame["dataset"] = [name for name, _ in draws]
    frame["auc_train"] = [value / 3 for _, value in draws]
    chosen = selection.select(frame, "supervised")
    for name, part in frame.groupby("dataset"):
        best = part[part["auc_train"] == part["auc_train"].max()]
        row = chosen[chosen["dataset"] == name].iloc[0]
        assert row["auc_train"] == part["auc_train"].max()
        assert row["tied"] == len(best)
        assert row["candidates"] == len(part)


def test_median_and_oracle():
    table = selection.references(one_group(4, auc_test=[0.1, 0.2, 0.4, 0.9])).set_index("criterion")["auc_test"]
    assert table["median"] == pytest.approx(0.3, abs=1e-15)
    assert table["oracle"] == 0.9


# ── comparison ──


def test_duel_counts_and_tests():
    first, second = pd.Series(range(1, 10), dtype=float), pd.Series(np.zeros(9))
    result = duel(first, second)
    assert (result.wins, result.ties, result.losses, result.n) == (9, 0, 0, 9)
    assert result.p_value == 2 / 2**9  # exact: one of 2⁹ sign patterns on either side
    tied = duel(second, second)
    assert (tied.ties, tied.difference) == (9, 0.0)
    assert np.isnan(tied.p_value)
    assert duel(first, pd.Series([np.nan] * 9)).n == 0


def test_waveform_is_one_problem():
    matrix = pd.DataFrame({"a": [0.2, 0.4, 0.9]}, index=["waveform-1", "waveform-2", "yeast"])
    merged = merge_twins(matrix)
    assert list(merged.index) == ["waveform", "yeast"]
    assert merged.loc["waveform", "a"] == pytest.approx(0.3, abs=1e-15)


def test_critical_difference_of_demsar():
    # Demšar (2006), table 5a: q_0.05 = 2.569 for 4 methods; his example has 14 datasets and CD = 1.25
    rng = np.random.default_rng(0)
    result = ranking(pd.DataFrame(rng.random((14, 4))))
    assert result.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=5e-4)
    assert result.ranks.sum() == pytest.approx(10)


def test_nemenyi_agrees_with_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    matrix = pd.DataFrame(np.random.default_rng(1).normal(size=(9, 6)) + np.arange(6) / 2, columns=list("uvwxyz"))
    mine = ranking(matrix)
    names = list(mine.ranks.index)
    theirs = posthocs.posthoc_nemenyi_friedman(matrix).loc[names, names]
    np.testing.assert_allclose(mine.nemenyi_p, theirs, atol=1e-12)  # both ask SciPy for one tail probability
    close = (mine.nemenyi_p.loc["z"] > 0.05).drop("z")
    assert set(mine.indistinguishable("z")) == set(close.index[close])


def test_ranking_wants_a_full_table():
    with pytest.raises(InvalidInput, match="1 gaps"):
        ranking(pd.DataFrame([[0.1, 0.2, np.nan], [0.1, 0.2, 0.3]]))
    assert ranking(pd.DataFrame(np.ones((3, 3)))).friedman_p == 1.0


@pytest.mark.parametrize(
    ("ranks", "critical", "bars"),
    [([1, 2, 3], 1.5, [(1, 2), (2, 3)]), ([1, 2, 3], 5, [(1, 3)]), ([1, 2, 3], 0.5, []), ([1, 1, 4], 1, [(1, 1)])],
)
def test_bars_of_the_diagram_join_what_cannot_be_told_apart(ranks, critical, bars):
    assert figures._cliques(np.array(ranks, float), critical) == bars


# ── the folder ──


def test_grid_of_figure_3():
    grid = figure3_grid()
    assert len(grid) == len({tuple(g.values()) for g in grid}) == 96
    assert {g["latent_dim"] for g in grid} == set(range(2, 10))
    assert {(g["hidden_dim"], g["n_components"]) for g in grid} == {(64, 16)}


@pytest.mark.parametrize("field", Convention.fields())
def test_base_of_a_switched_convention(field):
    assert base_name(EXACT.switched(field).name) == "EXACT"
    assert base_name(ORIGINAL.switched(field).name) == "ORIGINAL"


def test_only_the_sweep_has_other_latent_dimensions(full_run):
    study = read_study(full_run)
    assert set(study.models["latent_dim"]) == set(range(2, 10))
    assert set(main_grid(study.models)["latent_dim"]) == {2, 4, 9}
    assert not study.unread


def test_what_cannot_be_read_is_said(tmp_path, folder):
    runs.write_run(tmp_path / "run", ("yeast", "haberman"), (0,), sweep=False)
    results = tmp_path / "run" / "results"
    (results / "torn.parquet").write_bytes((results / "yeast-0.parquet").read_bytes()[:-50])
    (results / ".haberman-1.parquet.abc.tmp").write_bytes(b"half")
    page = page_of(tmp_path / "run", folder)
    assert "Could not be read: results/torn.parquet" in page.text
    assert "Not run at all: breast-cancer-wisconsin, cardiotocography" in page.text


def test_a_stack_that_was_written_twice_counts_once(tmp_path):
    runs.write_run(tmp_path, ("yeast",), (0,), sweep=False)
    once = len(read_study(tmp_path).models)
    shutil.copy(tmp_path / "results" / "yeast-0.parquet", tmp_path / "results" / "yeast-again.parquet")
    assert len(read_study(tmp_path).models) == once


def test_no_folder_and_no_result(tmp_path):
    with pytest.raises(DataUnavailable, match="there is no folder"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(DataUnavailable, match="no result yet"):
        read_study(tmp_path)


# ── the summary ──


def test_tables_come_back_to_the_bit(full_summary, tmp_path):
    written = full_summary
    write_summary(tmp_path, written)
    read = read_summary(tmp_path)
    for field in dataclasses.fields(written):
        if not field.init:  # a cache
            continue
        if field.name == "manifest":
            assert read.manifest == written.manifest
        else:
            before, after = getattr(written, field.name), getattr(read, field.name)
            pd.testing.assert_frame_equal(before, after, check_dtype=False, check_exact=True)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5e6
    (tmp_path / "runs.csv").unlink()
    with pytest.raises(DataUnavailable, match="runs.csv"):
        read_summary(tmp_path)


def test_mean_auc_is_that_of_the_selected_models(full_run, full_summary, folder):
    write_summary(folder, full_summary)
    matrix = read_summary(folder).matrix(PAPER, "supervised")
    rows = read_study(full_run).models
    rows = rows[(rows["dataset"] == "yeast") & (rows["score"] == "proposed") & (rows["convention"] == "ORIGINAL")]
    by_hand = [part.loc[part["auc_train"].idxmax(), "auc_test"] for _, part in rows.groupby("split")]
    assert matrix.loc["yeast", "proposed"] == pytest.approx(np.mean(by_hand), abs=1e-15)
    base = pd.concat([runs.baseline_rows("yeast", split) for split in range(2)])
    assert matrix.loc["yeast", "knn"] == pytest.approx(base[base["score"] == "knn"]["auc_test"].mean(), abs=1e-15)


def test_a_split_that_is_half_there_is_left_out(tmp_path, folder):
    runs.write_run(tmp_path / "run", ("yeast",), (0, 1), sweep=False)
    path = tmp_path / "run" / "results" / "yeast-1.parquet"
    runs.write(pd.read_parquet(path).head(24), path)  # two models of eight
    page = page_of(tmp_path / "run", folder)
    assert "Left out, since the run is still at them: yeast split 1 (2 models)." in page.text
    assert set(read_summary(folder).selected["split"]) == {0}


def test_ablation_finds_the_effects_that_were_put_in(full_summary, folder):
    write_summary(folder, full_summary)
    ablation = read_summary(folder).ablation
    proposed = ablation[ablation["score"] == "proposed"]
    for i, name in enumerate(("volume_weight", "jacobian", "prior_density"), start=1):
        changes = proposed.loc[proposed["switched"] == name, ["mean_change", "supervised_change"]]
        assert len(changes) == 20  # ten datasets, two conventions
        np.testing.assert_allclose(changes, 0.01 * i, atol=1e-15)
    assert not ablation.loc[ablation["score"] == "prior", "mean_change"].any()
    table = results_tables.ablation_means(ablation)
    assert table["all models"].tolist() == ["+0.030", "+0.020", "+0.010"] * 2
    assert "`volume_weight → 2.0`" in table.loc[table["base"] == "ORIGINAL / EXACT", "field switched"].tolist()
    assert "`volume_weight → 1.0`" in table.loc[table["base"] == "ORIGINAL / ORIGINAL", "field switched"].tolist()


def test_scores_that_search_are_those_of_the_model_that_proposed_selects(tmp_path, folder):
    run = tmp_path / "run"
    runs.write_run(run, splits=(0,), sweep=False, ablation=False)
    for dataset in data.DATASETS:
        frame = runs.rows(dataset, 0, runs.configs())
        runs.write(runs.searching(frame), run / "ablation" / f"{dataset}.parquet", ABLATION_SCHEMA)
    page = page_of(run, folder)
    matrix = read_summary(folder).matrix(PAPER, "unsupervised")
    np.testing.assert_allclose(matrix["projected"] - matrix["proposed"], 0.01, atol=1e-15)
    assert verdict(page, "projection")["verdict"] == "not run", "there is no `proposed` on the same rows"
    for on_the_sample, found, count in ((0.0, "holds", "10 of 10 (9 of 9)"), (0.02, "does not hold", "0 of 10")):
        study = read_study(run)
        parts = sampled(summarise(study).selected, on_the_sample)
        page = page_from(summarise(study, parts), folder)
        assert verdict(page, "projection")["verdict"] == found
        assert verdict(page, "projection")["count"].startswith(count)
        page = page_from(summarise(study, parts[parts["dataset"] != "yeast"]), folder)
        assert verdict(page, "projection")["verdict"] == "open", "one of the ten cannot be compared"


def sampled(selected, change):
    """What the anatomy says of `proposed` on the sample: its AUC on all rows, changed."""
    rows = selected[(selected["score"] == "proposed") & selected["criterion"].isin(selection.SELECTIONS)]
    parts = [rows.assign(term=name, auc=0.5, auc_without=0.5, spread=1.0, gap=0.0) for name in TERMS]
    parts.append(rows.assign(term=anatomy.SAMPLED, auc=rows["auc_test"] + change))
    return pd.concat(parts).reindex(columns=list(anatomy.COLUMNS))


def test_scores_of_a_sample_are_neither_ranked_nor_in_bold(full_summary):
    summary = dataclasses.replace(full_summary)
    matrix = summary.matrix(PAPER, "supervised").assign(importance=0.999)
    summary._matrices[PAPER, "supervised"] = matrix
    cells = results_tables.auc_cells(summary, PAPER, "supervised")
    assert not cells["importance"].str.contains("**", regex=False).any()
    assert cells.iloc[:-1, 1:].map(lambda text: text.startswith("**")).any(axis=1).all()
    assert "importance" not in results_tables.rank_scores(summary, PAPER, "supervised").ranks


def test_a_place_in_the_null_is_large_where_the_fit_is_bad():
    p_values = [0.01, 0.04, 0.5, 0.96, 1.01]
    assert summary_module._passed(ORIGINAL, p_values) == 3 / 5
    assert summary_module._passed(EXACT, p_values) == 3 / 5
    assert summary_module._passed(ORIGINAL, [1.01] * 4) == 0.0
    assert summary_module._passed(EXACT, [0.01] * 4) == 0.0


def test_where_proposed_loses_the_terms_say_why(full_summary):
    rows = full_summary.selected
    one = PAPER.of(rows[(rows["score"] == "proposed") & (rows["criterion"] == "supervised")])
    one = one[one["dataset"] == "yeast"].head(1)
    parts = pd.concat([one.assign(term=name, spread=1.0, gap=0.0, auc=0.2, auc_without=0.3) for name in TERMS])
    parts.loc[parts["term"] == "decoder_volume", "auc_without"] = 0.25
    summary = dataclasses.replace(full_summary, anatomy=parts.reindex(columns=list(anatomy.COLUMNS)))
    (text,) = results_tables.lost_duels(summary, PAPER, "supervised")
    assert text.startswith("yeast (supervised, ORIGINAL / ORIGINAL): `proposed` 0.200, reconstruction 0.")
    assert text.endswith("without the prior the sum has 0.300, which is still below.")


def test_training_by_the_other_convention_is_a_row_of_the_ablation(tmp_path, folder):
    run = tmp_path / "run"
    runs.write_run(run, ("yeast",), (0,), sweep=False, ablation=False)
    frame = runs.rows("yeast", 0, runs.configs())
    exact = frame.assign(train_convention="EXACT", switched="", auc_test=frame["auc_test"] + 0.05)
    name = EXACT.switched("mmd_diagonal").name
    one = exact.assign(train_convention=name, switched="mmd_diagonal", auc_test=frame["auc_test"] + 0.02)
    runs.write(pd.concat([exact, one]), run / "ablation" / "training.parquet", ABLATION_SCHEMA)
    page = page_of(run, folder)
    ablation = read_summary(folder).ablation
    rows = ablation[(ablation["score"] == "proposed") & (ablation["convention"] == "EXACT")]
    changes = rows.set_index(["train_convention", "switched"])["mean_change"]
    assert changes["ORIGINAL", "all training fields"] == pytest.approx(0.05, abs=1e-15)
    assert changes["EXACT", "mmd_diagonal"] == pytest.approx(-0.03, abs=1e-15)
    assert "`mmd_diagonal → kept`" in page.text


def test_baselines_are_those_of_the_same_standardisation(tmp_path, folder):
    run = tmp_path / "run"
    runs.write_run(run, ("yeast",), (0,), sweep=False, ablation=False)
    own = runs.baseline_rows("yeast", 0).assign(train_convention="ORIGINAL", auc_test=0.5)
    runs.write(own, run / "baselines" / "yeast-0.parquet", BASELINE_SCHEMA)
    other = own.assign(train_convention="EXACT", auc_test=0.9)
    runs.write(other, run / "baselines" / "yeast-0-EXACT.parquet", BASELINE_SCHEMA)
    page_of(run, folder)
    assert read_summary(folder).matrix(PAPER, "supervised").loc["yeast", "knn"] == 0.5


def test_a_score_without_a_value_is_not_a_failed_model(tmp_path, folder):
    run = tmp_path / "run"
    frame = runs.rows("yeast", 0, runs.configs())
    frame.loc[frame["score"] == "importance", ["failure", "auc_test"]] = ["the score of 3 rows is NaN", np.nan]
    runs.write(frame, run / "results" / "yeast.parquet")
    page = page_of(run, folder)
    assert "8 models, 0 more failed" in page.text
    assert "| the score of 3 rows is NaN | importance | 8 |" in page.text
    assert "importance" not in read_summary(folder).matrix(PAPER, "supervised")


def test_facts_of_the_manifest(tmp_path, folder):
    runs.write_run(tmp_path, ("yeast",), (0,), sweep=False)
    manifest = {"runs": {"a": {"machine": "x, 2 cores", "versions": {"numpy": "2.3"}, "grid": {"name": "paper"}}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    page = page_of(tmp_path, folder)
    assert "machine: x, 2 cores;" in page.text
    assert "versions: numpy 2.3." in page.text
    (tmp_path / "manifest.json").write_text("[]{")
    assert "Could not be read: manifest.json" in page_of(tmp_path, folder).text


# ── claims ──


def test_counts_of_a_clear_case(full_summary, folder):
    page = page_from(full_summary, folder)
    assert verdict(page, "supervised")["verdict"] == "holds"
    assert verdict(page, "supervised")["count"] == "10 of 10 (9 of 9)"
    assert verdict(page, "supervised")["p_value"] == 2 / 2**9
    assert verdict(page, "projection")["verdict"] == "not run"
    assert "    - ORIGINAL / ORIGINAL: **10 of 10 (9 of 9)**, mean AUC 0." in page.text
    assert verdict(page, "supervised")["detail"].endswith("Wilcoxon p = 0.004 over 9 problems")
    assert [s.label for s in settings(read_summary(folder))] == ["ORIGINAL / ORIGINAL", "ORIGINAL / EXACT"]


@pytest.mark.parametrize(("losses", "supervised", "unsupervised"), [
    (0, "holds", "holds"), (1, "does not hold", "holds"), (2, "does not hold", "does not hold"),
])  # fmt: skip
def test_one_auc_turns_a_verdict(full_summary, folder, losses, supervised, unsupervised):
    worse = (full_summary.selected["score"] == "proposed") & full_summary.selected["dataset"].isin(
        data.DATASETS[:losses]
    )
    changed = full_summary.selected.assign(auc_test=full_summary.selected["auc_test"].mask(worse, 0.1))
    page = page_from(full_summary, folder, selected=changed)
    assert verdict(page, "supervised")["verdict"] == supervised
    assert verdict(page, "unsupervised")["verdict"] == unsupervised
    assert verdict(page, "supervised")["wins"] == 10 - losses
    assert f"ORIGINAL / ORIGINAL: **{10 - losses} of 10" in page.text
    for name in data.DATASETS[:losses]:
        assert name in verdict(page, "supervised")["detail"]


def test_what_is_not_run_leaves_a_claim_open_unless_it_is_lost(tmp_path, folder):
    runs.write_run(tmp_path / "run", data.DATASETS[:4], (0,), sweep=False)
    page = page_of(tmp_path / "run", folder)
    assert verdict(page, "supervised")["verdict"] == "open"
    assert verdict(page, "few labels")["verdict"] == "open"
    assert verdict(page, "peak")["verdict"] == "not run"
    losing = {**runs.MEANS, "proposed": 0.3}
    runs.write_run(tmp_path / "lost", data.DATASETS[:4], (0,), sweep=False, means=losing)
    page = page_of(tmp_path / "lost", folder)
    assert verdict(page, "unsupervised")["verdict"] == "does not hold"
    assert verdict(page, "no failures")["verdict"] == "does not hold"
    assert "below both on breast-cancer-wisconsin" in verdict(page, "no failures")["detail"]


@pytest.mark.parametrize(("best", "expected"), [(5, "holds"), (9, "does not hold")])
def test_peak_of_figure_3(full_summary, best, expected):
    sweep = full_summary.sweep
    height = 0.9 - 0.02 * (sweep["latent_dim"] - best).abs()
    sweep = sweep.assign(auc_test=np.where(sweep["score"] == "proposed", height, 0.7))
    summary = dataclasses.replace(full_summary, sweep=sweep)
    assert claims.peak(summary, PAPER).verdict == expected
    assert claims.peak(summary, PAPER).count == f"peak at k = {best}"
    assert claims.insensitive(summary, PAPER).verdict == "holds"
    gap = dataclasses.replace(full_summary, sweep=sweep[sweep["latent_dim"] != 7])
    assert claims.peak(gap, PAPER).verdict == "open"
    nothing = dataclasses.replace(full_summary, sweep=sweep.head(0))
    assert claims.peak(nothing, PAPER).verdict == claims.insensitive(nothing, PAPER).verdict == "not run"


def test_every_claim_quotes_the_paper():
    assert len({claim.name for claim in claims.CLAIMS}) == len(claims.CLAIMS)
    for claim in claims.CLAIMS:
        assert claim.where.startswith("section")
        assert claim.rule


# ── the page ──


def test_same_input_same_bytes(full_run, folder, tmp_path):
    page = results_page_written(full_run, folder, tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_summary(folder, summarise(read_study(full_run)))
    assert results_page.build_page(folder).text == page.text == (tmp_path / "page.md").read_text()
    assert {name: (folder / name).read_bytes() for name in before} == before
    for name in ("figure2-original-exact", "ranks-original-exact-supervised"):
        plots.save_figure(page.figures[name](), folder / "again.svg")
        assert (folder / "again.svg").read_bytes() == before[f"{name}.svg"]


def test_the_page_shows_every_figure_and_says_what_it_is_about(full_summary, folder):
    page = page_from(full_summary, folder)
    for name in ("figure1", "figure2-original-exact", "figure3-original-original", "ranks-original-exact-supervised",
                 "ablation-original-exact", "settings"):  # fmt: skip
        assert name in page.figures
        assert f"](results/{name}.svg)" in page.text
    assert page.text.count("](results/") == len(page.figures)
    words = page.text.replace("|", " ").replace("*", " ").split()
    assert not {"nan", "NaN", "None", "inf", "-inf"} & set(words)
    for name in data.NOTES:
        assert f"- {name}: " in page.text
    assert page.text.count("ORIGINAL / EXACT") > 5


def test_a_run_that_has_only_begun(tmp_path, folder):
    run = tmp_path / "run"
    runs.write_run(
        run, ("yeast",), (0, 1), sweep=False, baselines=False, ablation=False, conventions=("ORIGINAL",)
    )
    runs.write_run(run, ("haberman",), (0,), sweep=False, baselines=False, ablation=False)
    (run / "manifest.json").unlink()
    page = drawn(page_of(run, folder))
    assert verdict(page, "supervised")["count"] == "2 of 2"
    assert verdict(page, "supervised", Setting("ORIGINAL", 10_000, 1e-4, "EXACT"))["count"] == "1 of 1"
    assert verdict(page, "kNN")["verdict"] == "not run"
    for text in ("8 of the ten datasets have no result", "No: baselines, ablation.", "haberman 1, yeast 2"):
        assert text in page.text


def test_columns_without_a_value(tmp_path, folder):
    run = tmp_path / "run"
    for dataset in ("yeast", "haberman", "pendigits"):
        frame = runs.rows(dataset, 0, runs.configs())
        frame[["auc_known1", "auc_known5", "mmd", "p_value", "train_disc", "seconds_train"]] = np.nan
        if dataset == "haberman":
            frame.loc[frame["score"] == "proposed", "mean_log_density"] = -np.inf
        if dataset == "pendigits":
            frame = frame.drop(columns=["width", "backend"])
        runs.write(frame, run / "results" / f"{dataset}.parquet")
    page = drawn(page_of(run, folder))
    assert verdict(page, "few labels")["verdict"] == "not run"
    assert verdict(page, "supervised")["count"] == "2 of 2"
    assert "No model could be selected: proposed on haberman (ORIGINAL / ORIGINAL, supervised)" in page.text
    assert "Not measured." in page.text


def test_failed_models_are_counted_with_their_reasons(tmp_path, folder):
    run = tmp_path / "run"
    frame = runs.rows("yeast", 0, runs.configs())
    broken = frame["config_hash"].isin(frame.loc[frame["beta"] == 1.0, "config_hash"])
    frame.loc[broken, "failure"] = "the loss became nan at step 17"
    frame.loc[broken, ["auc_train", "auc_test", "mean_log_density"]] = np.nan
    runs.write(frame, run / "results" / "yeast.parquet")
    runs.write(frame.assign(dataset="haberman", failure="no space left"), run / "results" / "haberman.parquet")
    page = page_of(run, folder)
    assert "| no space left | all | 8 |" in page.text
    assert "| the loss became nan at step 17 | all | 4 |" in page.text
    assert "4 models, 12 more failed" in page.text
    (run / "results" / "yeast.parquet").unlink()
    with pytest.raises(InvalidInput, match="every model"):
        page_of(run, folder)


def test_other_training_is_a_setting_of_its_own(tmp_path, folder):
    run = tmp_path / "run"
    runs.write_run(run, data.DATASETS[:3], (0,), sweep=False)
    for dataset in data.DATASETS[:3]:
        frame = runs.rows(dataset, 0, runs.configs(), conventions=("EXACT",), train="EXACT")
        runs.write(frame.assign(steps=2000, learning_rate=1e-3), run / "results" / f"exact-{dataset}.parquet")
    page = page_of(run, folder)
    labels = list(dict.fromkeys(page.verdicts["setting"]))
    assert labels == ["ORIGINAL / ORIGINAL", "ORIGINAL / EXACT", "EXACT / EXACT (2,000 steps, rate 0.001)"]
    assert "figure2-exact-exact-2-000-steps-rate-0-001" in page.figures
    (run / "results" / f"exact-{data.DATASETS[0]}.parquet").unlink()
    (run / "results" / f"exact-{data.DATASETS[1]}.parquet").unlink()
    page = page_of(run, folder)
    assert "figure2-exact-exact-2-000-steps-rate-0-001" not in page.figures, "one of three datasets"
    others = page.text.split("### Other training")[1]
    assert f"| EXACT / EXACT (2,000 steps, rate 0.001) | {data.DATASETS[2]} | 0." in others


def test_models_that_were_really_trained(tmp_path, folder):
    from pyscore import TrainConfig, load_dataset, train
    from pyscore.detectors import evaluation

    split = load_dataset("breast-cancer").split(0)
    frames = []
    for k in (2, 4):
        model = train(
            split.x_train, TrainConfig(steps=20, seed=k), latent_dim=k, hidden_dim=8, n_components=2
        ).model
        sides = {
            side: evaluation.auc_rows(
                model, x, y, ["reconstruction", "prior", "proposed"], convention=EXACT, backend="numpy"
            )
            for side, x, y in (("train", split.x_train, split.y_train), ("test", split.x_test, split.y_test))
        }
        frame = sides["train"].rename(columns={"auc": "auc_train"}).assign(auc_test=sides["test"]["auc"])
        frames.append(frame.assign(
            dataset="breast-cancer", difficulty="easy", split=0, hidden_dim=8, latent_dim=k, n_components=2, beta=1.0,
            c=0.1, steps=20, learning_rate=1e-3, seed=k, train_convention="EXACT", config_hash=str(k), failure=None,
        ))  # fmt: skip
    run = tmp_path / "run"
    runs.write(pd.concat(frames), run / "results" / "real.parquet", SCHEMA)
    page = page_of(run, folder)
    best = max(f.loc[f["score"] == "proposed", "auc_test"].iloc[0] for f in frames)
    auc = page.auc.set_index(["criterion", "score"])["mean"]
    assert auc["oracle", "proposed"] == best
    assert set(page.verdicts["verdict"]) == {"not run"}  # none of the paper's ten


# ── the toy problem ──


def test_true_density_is_a_density():
    from scipy.integrate import quad
    from scipy.stats import norm

    x1, x2 = np.meshgrid(np.linspace(-1.5, 9, 150), np.linspace(-3, 4, 100))
    values = toy.true_density(np.column_stack([x1.ravel(), x2.ravel()]))
    cell = (x1[0, 1] - x1[0, 0]) * (x2[1, 0] - x2[0, 0])
    assert values.sum() * cell == pytest.approx(1, abs=1e-6)  # the tail beyond z = 3 has 5e-11, cells are σ/3 wide
    point = np.array([[0.3, 0.6]])
    exact, _ = quad(
        lambda z: norm.pdf(0.3, z * z, 0.1) * norm.pdf(0.6, z, 0.1) * norm.pdf(z, 0.5, np.sqrt(0.15)), -2, 3,
        epsabs=1e-13, points=[0.55],
    )  # fmt: skip
    assert toy.true_density(point)[0] == pytest.approx(exact, rel=1e-10)


def test_rows_of_the_toy_problem_have_its_moments():
    x = toy.parabola(200_000, seed=1)
    # E z = ½, E z² = 0.15 + ¼; 5 standard errors
    np.testing.assert_allclose(x.mean(axis=0), [0.4, 0.5], atol=5 * x.std(axis=0).max() / np.sqrt(200_000))


def test_the_proposed_density_is_where_the_data_are(toy_maps):
    mass, distance = toy.off_data_mass(toy_maps), toy.total_variation(toy_maps)
    assert mass["proposed"] < 0.01 < mass["reconstruction"] < mass["prior"]
    assert distance["proposed"] < distance["reconstruction"] < distance["prior"]
    truth = toy_maps._replace(scores={"truth": toy_maps.true})
    assert toy.total_variation(truth)["truth"] == 0
    assert toy.off_data_mass(truth)["truth"] == pytest.approx(0.01, abs=1e-3)


def test_toy_model_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "TOY", toy.TrainConfig(steps=5, seed=3))
    path = tmp_path / "toy.safetensors"
    first = toy.toy_model(path)
    monkeypatch.setattr(toy, "train", None)  # would fail if it were called
    assert toy.toy_model(path).digest() == first.digest()


def test_figures_are_saved_to_the_same_bytes(toy_maps, tmp_path):
    for name in ("a", "b"):
        plots.save_figure(figures.toy_maps(toy_maps), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


# ── the command ──


def test_command(folder, tmp_path, capsys):
    page, run = tmp_path / "results.md", tmp_path / "run"
    runs.write_run(run, data.DATASETS[:2], (0,), sweep=False, ablation=False, conventions=("EXACT",))
    status, out, err = run_command(capsys, "results", run, "-o", page, "--tables", folder, "--json")
    assert status == 0, err
    shown = json.loads(out)
    assert shown["verdicts"][0] | {"claim": "supervised", "verdict": "open", "wins": 2.0} == shown["verdicts"][0]
    before = page.read_bytes()
    assert run_command(capsys, "results", "--from-summary", folder, "-o", page, "--check")[0] == 0
    page.write_bytes(before.replace(b"2 of 2", b"3 of 2"))
    status, _, err = run_command(capsys, "results", "--from-summary", folder, "-o", page, "--check")
    assert status == 1
    assert "is not what the tables" in " ".join(err.split())
    status, out, _ = run_command(capsys, "results", "--from-summary", folder, "-o", page)
    assert status == 0
    assert "supervised" in out
    assert page.read_bytes() == before


def test_command_refuses_two_sources_or_none(tmp_path, capsys):
    assert run_command(capsys, "results")[0] == 2
    status, _, err = run_command(capsys, "results", tmp_path, "--from-summary", tmp_path)
    assert status == 2
    assert "either" in err
