"""Explanations: they add up, in the right units and signs; the figure; the command."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import colors

from pyscore import ExpertEnsemble, SVAEDetector
from pyscore.cli.app import main
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data.preprocessing import Standardiser
from pyscore.errors import InvalidInput
from pyscore.reference import project
from pyscore.reference.model import SVAE
from pyscore.scoring import scores
from pyscore.scoring.explain import FEATURE_COLUMNS, explain
from pyscore.scoring.fitted import FittedModel
from pyscore.scoring.plots import ANOMALY, GREY, NORMAL, plot_explanation, save_figure

N, D = 12, 5


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(N, D)) * [1, 10, 0.01, 1000, 1] + [0, 5, 1, -4000, 2]
    return pd.DataFrame(x, columns=["age", "height", "dose", "weight", "score"], index=[f"p{i}" for i in range(N)])


@pytest.fixture(scope="module")
def fitted(frame):
    model = SVAE.initialise(D, 3, 6, 2, seed=1, dtype=np.float64)
    return FittedModel(model, Standardiser.fit(frame.to_numpy(), tuple(frame.columns)), EXACT)


def per_row(lines, column):
    return lines[column].to_numpy().reshape(N, D)


def test_contributions_sum_to_the_varying_part_of_the_likelihood(fitted, frame):
    lines = explain(fitted, frame, backend="numpy")
    likelihood = fitted.scores(frame, ["reconstruction"], backend="numpy")["reconstruction"].to_numpy()
    total = per_row(lines, "contribution").sum(axis=1)
    # k = 8: d squares and their sum, against the same in another order, and the constant
    scale = np.abs(likelihood) + 0.5 * D * np.log(2 * np.pi)
    assert (np.abs(total + likelihood + 0.5 * D * np.log(2 * np.pi)) <= 8 * np.finfo(float).eps * scale).all()


def test_units_signs_and_sigmas(fitted, frame):
    lines = explain(fitted, frame, backend="numpy")
    assert list(lines.columns[: len(FEATURE_COLUMNS)]) == list(FEATURE_COLUMNS)
    x, deviation = frame.to_numpy(), fitted.standardiser.deviation
    standard = fitted.standardiser.transform(x)
    x_hat = fitted.model.decode(fitted.model.encode(standard)[0])
    np.testing.assert_array_equal(per_row(lines, "value"), x)
    np.testing.assert_array_equal(per_row(lines, "sigmas"), standard - x_hat)
    np.testing.assert_allclose(
        per_row(lines, "expected"), x_hat * deviation + fitted.standardiser.mean, rtol=1e-12
    )
    np.testing.assert_allclose(per_row(lines, "residual"), x - per_row(lines, "expected"), rtol=1e-9)
    np.testing.assert_array_equal(np.sign(lines["residual"]), np.sign(lines["sigmas"]))
    np.testing.assert_array_equal(lines["contribution"], 0.5 * lines["sigmas"] ** 2)
    assert list(lines["row"][: D + 1]) == ["p0"] * D + ["p1"]
    assert list(lines["feature"][:D]) == list(frame.columns)


@pytest.mark.parametrize("name", scores.available_scores())
def test_the_terms_are_the_scores(name, fitted, frame):
    lines = explain(fitted, frame, name, seed=3, backend="numpy")
    expected = fitted.scores(frame, [name], seed=3, backend="numpy")[name].to_numpy()
    # A feature called "score" does not get in the way: it is a line, not a column.
    np.testing.assert_array_equal(lines["score"].to_numpy()[::D], expected)
    terms = [c for c in lines.columns if c not in (*FEATURE_COLUMNS, "score")]
    assert terms == list(scores.SCORES[name].terms)
    np.testing.assert_allclose(lines[terms].sum(axis=1), lines["score"], rtol=1e-14)


def test_the_projected_score_is_explained_at_the_projection(fitted, frame):
    standard, model = fitted.standardiser.transform(frame.to_numpy()), fitted.model
    z = project(standard, model.encode(standard)[0], model.decode, model.decoder_jacobian, model.decoder_bend).z
    lines = explain(fitted, frame, "projected", backend="numpy")
    np.testing.assert_array_equal(per_row(lines, "sigmas"), standard - model.decode(z))
    total = per_row(lines, "contribution").sum(axis=1) + lines["projected_log_likelihood"].to_numpy()[::D]
    np.testing.assert_allclose(total, -0.5 * D * np.log(2 * np.pi), rtol=1e-12)
    assert (total[0] != explain(fitted, frame, backend="numpy")["contribution"][:D].sum()).all()


def test_other_conventions_and_bad_names(fitted, frame):
    lines = explain(fitted, frame, convention=ORIGINAL, backend="numpy")
    expected = fitted.scores(frame, ["proposed"], convention=ORIGINAL, backend="numpy")["proposed"].to_numpy()
    np.testing.assert_array_equal(lines["score"].to_numpy()[::D], expected)
    with pytest.raises(InvalidInput, match="`name` must be one of"):
        explain(fitted, frame, "best", backend="numpy")
    with pytest.raises(InvalidInput, match="lacks the column"):
        explain(fitted, frame.drop(columns="age"), backend="numpy")


# ── the detector ──


@pytest.fixture(scope="module")
def detector(frame):
    return SVAEDetector(steps=20, hidden_dim=8, batch_size=10, latent_dim=3).fit(frame)


def test_the_detector_explains_its_own_scores(detector, frame):
    lines = detector.explain(frame)
    np.testing.assert_array_equal(lines["score"].to_numpy()[::D], detector.score_samples(frame))
    for term, median in detector.typical_terms_.items():
        assert median == np.median(lines[term].to_numpy()[::D])
    # float32: the contributions are those of the backend's own reconstruction; k = 64
    likelihood = lines["log_likelihood"].to_numpy()[::D]
    total = per_row(lines, "contribution").sum(axis=1) + 0.5 * D * np.log(2 * np.pi)
    assert (np.abs(total + likelihood) <= 64 * np.finfo(np.float32).eps * np.abs(likelihood)).all()


def test_polars_in_polars_out(detector, frame):
    plain = pl.from_pandas(frame)
    lines = detector.explain(plain)
    assert isinstance(lines, pl.DataFrame)
    assert lines["row"].to_list()[::D] == list(range(N))
    np.testing.assert_array_equal(lines["sigmas"].to_numpy(), detector.explain(frame)["sigmas"])
    assert isinstance(
        plot_explanation(lines.filter(pl.col("row") == 3)), type(plot_explanation(explained(lines, 3)))
    )


def explained(lines, row):
    lines = lines.to_pandas() if isinstance(lines, pl.DataFrame) else lines
    return lines[lines["row"] == row]


def test_an_array_gets_numbered_rows_and_columns(frame):
    x = frame.to_numpy()
    lines = SVAEDetector(steps=2, hidden_dim=4, batch_size=4).fit(x).explain(x[:2])
    assert list(lines["feature"]) == ["x0", "x1", "x2", "x3", "x4"] * 2
    assert list(lines["row"]) == [0] * 5 + [1] * 5


# ── the figure ──


def widths(axes):
    return [patch.get_width() for patch in axes.patches]


def test_figure_shows_the_largest_features_and_gathers_the_rest(detector, frame):
    lines = explained(detector.explain(frame), "p3")
    left, right = plot_explanation(lines, typical=detector.typical_terms_, top=3).axes
    ranked = lines.sort_values("contribution", ascending=False)
    np.testing.assert_allclose(widths(left)[:3], ranked["contribution"][:3])
    assert widths(left)[3] == pytest.approx(ranked["contribution"][3:].sum())
    assert [t.get_text() for t in left.get_yticklabels()] == [*ranked["feature"][:3], "2 others"]
    expected = [ANOMALY if r > 0 else NORMAL for r in ranked["residual"][:3]] + [GREY]
    assert [p.get_facecolor() for p in left.patches] == [colors.to_rgba(c) for c in expected]
    drawn = lines[list(detector.typical_terms_)].iloc[0] - pd.Series(detector.typical_terms_)
    np.testing.assert_allclose(widths(right), [*drawn, drawn.sum()], rtol=1e-9)
    assert [t.get_text() for t in right.get_yticklabels()] == ["log p(x|z)", "log p(z)", "−w·log vol J_f", "sum"]


def test_figure_of_an_infinite_term_and_of_zero_residuals(detector, frame, tmp_path):
    lines = explained(detector.explain(frame), "p3").copy()
    lines["decoder_volume"], lines["score"] = np.inf, -np.inf
    lines[["residual", "sigmas", "contribution"]] = 0.0
    figure = plot_explanation(lines)
    assert np.isfinite(widths(figure.axes[1])).all()
    save_figure(figure, tmp_path / "f.svg")
    assert "−inf" in (tmp_path / "f.svg").read_text()


def test_figure_of_a_detector_shows_its_members_beside_the_threshold(frame):
    ensemble = ExpertEnsemble().fit(frame)
    lines = explained(ensemble.explain(frame), "p3")
    figure = plot_explanation(lines, threshold=ensemble.threshold_)
    members = lines[["neighbours", "covariance"]].iloc[0]
    np.testing.assert_allclose(widths(figure.axes[1]), [*members, members.mean()])
    score = ensemble.decision_function(frame)[list(frame.index).index("p3")]
    assert members.mean() == pytest.approx(score)
    assert figure.get_suptitle() == f"Row p3: anomaly score {score:.2f}, threshold {ensemble.threshold_:.2f}"
    assert "log" not in figure.axes[0].get_xlabel()


def test_figure_of_more_than_one_row_is_refused(detector, frame):
    with pytest.raises(InvalidInput, match=r"of one row of an explanation; got 60 lines of 12 row\(s\)"):
        plot_explanation(detector.explain(frame))
    twice = detector.explain(frame.iloc[[1, 1]])
    with pytest.raises(InvalidInput, match=r"got 10 lines of 1 row\(s\)"):
        plot_explanation(twice)


# ── the command ──


@pytest.fixture
def files(detector, frame, tmp_path):
    detector.save(tmp_path / "d.safetensors")
    frame.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def run(capsys, *arguments):
    try:
        main(["explain", *map(str, arguments)])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    return status, *capsys.readouterr()


def test_command_json(files, detector, frame, capsys):
    status, out, err = run(
        capsys, files / "d.safetensors", files / "t.csv", "--row", 7, "--json", "--backend", "numba"
    )
    assert status == 0, err
    told = json.loads(out)
    lines = explained(detector.explain(frame), "p7")
    assert told["row"] == 7
    assert told["score_name"] == "proposed"
    assert told["convention"] == "EXACT"
    assert told["typical_terms"] == detector.typical_terms_
    assert told["terms"]["score"] == pytest.approx(lines["score"].iloc[0], rel=1e-12)  # CSV holds 17 digits
    assert [f["feature"] for f in told["features"]] == list(frame.columns)
    np.testing.assert_allclose([f["sigmas"] for f in told["features"]], lines["sigmas"], rtol=1e-5)


def test_command_table_and_files(files, capsys):
    paths = files / "d.safetensors", files / "t.csv"
    status, out, _ = run(capsys, *paths, "--row", 0, "-o", files / "e.svg")
    assert status == 0
    assert "row 0, score proposed" in out
    assert "median of training rows" in out
    assert "<svg" in (files / "e.svg").read_text()
    status, out, _ = run(capsys, *paths, "--row", 0, "-o", files / "e.csv", "--score", "joint")
    assert status == 0
    assert "median of training rows" not in out  # those are of another score
    assert list(pd.read_csv(files / "e.csv").columns) == [*FEATURE_COLUMNS, "log_likelihood", "log_prior", "score"]


def test_command_errors(files, capsys):
    paths = files / "d.safetensors", files / "t.csv"
    assert run(capsys, *paths, "--row", 12)[::2][0] == 2
    assert "between 0 and 11" in run(capsys, *paths, "--row", -1)[2]
    status, _, err = run(capsys, *paths, "--row", 0, "-o", files / "e.docx")
    assert status == 2
    assert "must end in" in err
    assert not (files / "e.docx").exists()


def test_command_on_a_model_without_a_detector(fitted, frame, files, capsys):
    fitted.save(files / "m.safetensors")
    status, out, err = run(
        capsys, files / "m.safetensors", files / "t.csv", "--row", 1, "--json", "--backend", "numpy"
    )
    assert status == 0, err
    assert json.loads(out)["typical_terms"] is None
