"""The parts of `pyscore unreliable`, small: files, tables, figures, and the loaders of images."""

import gzip
import struct

import numpy as np
import pandas as pd
import pytest
import torch

from pyscore.cli.app import main as command
from pyscore.errors import DataIntegrityError, DataUnavailable, InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring.plots import save_figure
from pyscore.studies.unreliable import figures, images, plane, repeats, report, tabular
from pyscore.studies.unreliable.adversarial import Budget


def main(arguments):
    """Run the command line, which ends by SystemExit(0)."""
    with pytest.raises(SystemExit) as ended:
        command(arguments)
    return ended.value.code


TINY = Budget(restarts=6, steps=30, rounds=2)


def test_the_plane():
    chosen = [plane.ARCHITECTURES[0], plane.ARCHITECTURES[4], plane.ARCHITECTURES[-1]]
    runs = plane.run_plane(steps=120, restarts=1, budget=TINY, architectures=chosen)
    table = plane.summary(runs, resolution=41)
    assert list(table["data"]) == ["gaussian"] * 3 + ["parabola"] * 3
    assert table["blind_area"].between(0, 1).all()
    assert np.isfinite(table["range_bound"]).tolist() == [False, False, True] * 2
    far = np.array([[1e4, 1e4]])
    for run in runs:
        _, errors = plane.error_map(run.model, 5.0, 3)
        assert errors[0, 2] == pytest.approx(run.model.error([[5.0, -5.0]])[0], rel=1e-12)  # rows are x₂
    assert runs[2].model.error(far)[0] > (np.sqrt(2) * 1e4 - table["range_bound"][2]) ** 2 * (1 - 1e-12)
    assert figures.plane_figure(runs).axes
    assert len(figures.bounded_figure(runs[1], runs[2]).axes) == 3
    with pytest.raises(InvalidInput, match="`shape` must be one of"):
        plane.plane_data("circle")


@pytest.fixture(scope="module")
def image_run():
    return images.run_images(steps=150, budget=TINY)


def test_images(image_run):
    model, x = image_run.model, image_run.held_out
    assert model.error(x).mean() < 0.8 * np.sum((x - x.mean(axis=0)) ** 2, axis=1).mean()
    assert image_run.pixels.near.shape == (6, 64)
    if image_run.pixels.found.any():
        assert np.nanmin(image_run.pixels.near) >= 0
        assert np.nanmax(image_run.pixels.near) <= 1
    found = images.latent_map(image_run, resolution=5)
    z = np.array([[found.axes[0][1], found.axes[1][3]]])
    assert found.error[3, 1] == pytest.approx(model.error(model.decode(z))[0], rel=1e-12)
    assert figures.images_figure(image_run, shown=3).subfigs


def test_the_convolutional_model_has_the_derivatives_it_says(image_run):
    model, h = image_run.model, 1e-6
    z = model.encode(image_run.held_out[:3]) + 1e-3
    shifts = h * np.eye(2)
    slope = np.stack([(model.decode(z + s) - model.decode(z - s)) / (2 * h) for s in shifts], axis=2)
    assert np.abs(model.decoder_jacobian(z) - slope).max() < 1e-7
    assert not model.decoder_bend(z, image_run.held_out[:3]).any()
    error = model.torch_error()(torch.as_tensor(image_run.held_out)).numpy()
    np.testing.assert_allclose(error, model.error(image_run.held_out), rtol=1e-12)


def test_images_repeat_to_the_bit():
    x = images.load_digits().images[:50]
    first, again = (
        images.ConvolutionalAutoencoder(8, seed=2).train(x, steps=5, seed=3).error(x) for _ in range(2)
    )
    assert np.array_equal(first, again)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_from_idx_files(tmp_path, rng, packed):
    pixels, labels = rng.integers(0, 256, (30, 8, 8), np.uint8), rng.integers(0, 10, 30, np.uint8)
    write = (
        (lambda p, raw: p.with_name(p.name + ".gz").write_bytes(gzip.compress(raw)))
        if packed
        else type(tmp_path).write_bytes
    )
    write(tmp_path / "train-images-idx3-ubyte", idx(pixels))
    write(tmp_path / "train-labels.idx1-ubyte", idx(labels))
    digits = images.load_mnist(tmp_path)
    assert digits.side == 8
    assert np.array_equal(digits.images, pixels.reshape(30, 64) / 255)
    assert np.array_equal(digits.labels, labels)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda raw: raw[:-1], DataIntegrityError, "Is it truncated"),
        (lambda raw: raw[:6], DataIntegrityError, "must begin with the idx header"),
        (lambda raw: b"\x00\x00\x0d" + raw[3:], DataIntegrityError, "must begin with the idx header"),
        (lambda raw: None, DataUnavailable, "there is no train-images-idx3-ubyte"),
        (lambda raw: idx(np.zeros((3, 8, 8), np.uint8)), DataIntegrityError, "must belong together"),
        (lambda raw: idx(np.zeros((30, 8, 6), np.uint8)), DataIntegrityError, "must belong together"),
    ],
)
def test_damaged_mnist_files_are_refused(tmp_path, damage, error, message):
    raw = damage(idx(np.zeros((30, 8, 8), np.uint8)))
    if raw is not None:
        (tmp_path / "train-images-idx3-ubyte").write_bytes(raw)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(30, np.uint8)))
    with pytest.raises(error, match=message):
        images.load_mnist(tmp_path)


def test_a_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((3, 8, 8), np.uint8)))[:-9])
    with pytest.raises(DataIntegrityError, match="truncated gzip"):
        images.read_idx(path, 3)


def test_the_svae_error_is_the_score_to_rounding(rng):
    from pyscore.scoring import scores

    model, x = SVAE.initialise(6, 3, 8, 2, seed=3), 100 * rng.standard_normal((20, 6))
    error = tabular.svae_error(model)(torch.as_tensor(x)).numpy()
    likelihood = scores.score(model, x, "reconstruction", backend="numpy")
    assert (
        np.abs(-0.5 * error - 3 * np.log(2 * np.pi) - likelihood).max() <= 64 * np.finfo(float).eps * error.max()
    )


def test_the_command_on_the_embedded_data(tmp_path, monkeypatch, capsys):
    tiny = tabular.Effort(steps=40, budget=TINY, adaptive=Budget(restarts=2, steps=3, rounds=1))
    monkeypatch.setattr(tabular.Effort, "quick", classmethod(lambda cls: tiny))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.MARKERS[0]}\nstale part\n{report.MARKERS[1]}\nafter\n")
    folder = tmp_path / "out"
    options = ["--quick", "--datasets", "breast-cancer", "-o", str(folder), "--page", str(page), "--json"]
    assert main(["unreliable", "tabular", "--repeats", "2", *options]) == 0
    assert '"report"' in capsys.readouterr().out
    attacks, missed = (pd.read_csv(folder / f"tabular-{name}.csv") for name in ("attacks", "missed"))
    assert set(attacks["model"]) == set(tabular.MODELS)
    assert len(attacks) == 2 * 7
    assert set(attacks["seed"]) == {0, 1}
    assert attacks["success_rate"].between(0, 1).all()
    assert np.isfinite(attacks["range_bound"]).tolist() == [m == "SVAE" for m in attacks["model"]]
    assert {"reconstruction", "proposed EXACT", "proposed ORIGINAL", "projected", "laplace"} <= set(
        missed["method"]
    )
    pd.testing.assert_frame_equal(missed, pd.read_parquet(folder / "tabular-missed.parquet"), check_dtype=False)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale part" not in text
    assert "2 seed(s) a dataset" in text
    assert "--repeats 2" in text
    assert "out/missed.svg" in text
    assert (folder / "missed.svg").exists()
    assert "(missed.svg)" in (folder / "report.md").read_text()


def result_of(name, seed, **_):
    """What `run_dataset` would return, made up: 2 points on seed 0, both missed by kNN, 6 on seed 1, none missed."""
    facts = {"dataset": name, "model": "SVAE", "attacked": "reconstruction", "seed": seed, "criterion": "lenient"}
    attack = {**facts, "success_rate": 0.2 + 0.2 * seed, "reach_in_radii": 3.0 - seed, "range_bound": np.inf}
    missed = {**facts, "points_set": "near", "method": "kNN", "points": 2 + 4 * seed, "missed": 1.0 - seed}
    return tabular.Result([attack], [missed], [{"dataset": name, "seed": seed, "method": "kNN", "auc": 0.5}])


def keep(folder, seed, effort=None):
    return repeats.run_kept(folder, "yeast", seed, effort or tabular.Effort(), ("kNN",), lambda text: None)


def test_seeds_are_pooled_by_their_points():
    results = [result_of("yeast", seed) for seed in (0, 1)]
    missed = repeats.pooled_missed(pd.DataFrame([row for r in results for row in r.missed]))
    assert missed[["points", "missed"]].to_numpy().tolist() == [[8, 0.25]]
    attacks = repeats.pooled_attacks(pd.DataFrame([row for r in results for row in r.attacks]))
    assert attacks["success_rate"].tolist() == [pytest.approx(0.3)]
    assert attacks["reach_in_radii"].tolist() == [3.0]
    nothing = pd.DataFrame([{**results[0].missed[0], "points": 0, "missed": np.nan}])
    assert repeats.pooled_missed(nothing)["missed"].isna().all()


def test_what_is_finished_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(repeats, "run_dataset", result_of)
    first = keep(tmp_path, 0)
    monkeypatch.setattr(repeats, "run_dataset", lambda *a, **k: pytest.fail("ran again"))
    assert keep(tmp_path, 0) == first
    monkeypatch.setattr(repeats, "run_dataset", lambda *a, **k: tabular.Result([], [], []))
    assert keep(tmp_path, 1).attacks == []
    assert keep(tmp_path, 0, tabular.Effort.quick()).attacks == []
    (tmp_path / "runs" / "yeast-0.json").write_text("{")
    with pytest.raises(InvalidInput, match="Delete it"):
        keep(tmp_path, 0)


def test_the_linear_command(tmp_path, capsys):
    assert main(["unreliable", "linear", "-o", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "linear.csv")
    assert (table["error_in_rounding_bounds"] < 1).all()
    assert (table["nearest_row"] >= table["bound_on_it"] * (1 - 1e-12)).all()
    angles = pd.read_csv(tmp_path / "linear-training.csv")
    assert angles.groupby("bias")["angle"].last().max() < 1e-3
    assert "report" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "iris"], "`datasets` must be one of"),
        (["--baselines", "oracle"], "`baselines` must be one of"),
        (["--mnist", "nowhere"], "there is no train-images-idx3-ubyte"),
    ],
)
def test_errors_of_the_command(tmp_path, arguments, message, capsys):
    assert main(["unreliable", "images", "-o", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_page_without_markers_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("nothing here")
    with pytest.raises(InvalidInput, match="must have one line"):
        report.update_page(tmp_path / "page.md", [], "")


def test_figures_can_be_written(tmp_path):
    table = pd.DataFrame({"method": ["a", "b"], "group": ["x", "x"], "missed": [0.2, np.nan]})
    assert save_figure(figures.missed_figure(table), tmp_path / "missed.svg").stat().st_size < 300_000
