"""`pyscore verify --model FILE --data TABLE`: the agreement on a model and rows of the user's."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyscore.backends import flux
from pyscore.backends.julia_models import Chain, Layer
from pyscore.errors import InvalidInput
from pyscore.reference.model import SVAE
from pyscore.scoring import verify_model as module
from pyscore.scoring.verify_model import verify_model


@pytest.fixture
def model():
    return SVAE.initialise(6, 3, 16, 4, activation="tanh", dtype=np.float64)


@pytest.fixture
def x():
    return np.random.default_rng(2).normal(size=(30, 6))


def test_every_quantity_is_within_its_bound(model, x):
    table = verify_model(model, x, ["numpy", "torch"])
    assert table["ok"].all(), table[~table["ok"]]
    assert set(table["convention"]) == {"EXACT", "ORIGINAL"} or set(table["convention"]) == {"exact", "original"}
    noise = table[table["noise"] > 0]
    assert set(noise["quantity"]) <= {"encoder_volume"}, "only the ambient encoder's volume is noise"
    assert len(table) == 2 * 5 * 3
    exact = table[(table["backend"] == "numpy")]
    assert (exact["difference"] == 0).all()


def test_a_wrong_backend_is_found(model, x, monkeypatch):
    """A change of one part in a hundred thousand in one term."""
    honest = module._through

    def wrong(model, x, backend, dtype):
        terms = honest(model, x, backend, dtype)
        if backend == "torch":
            key = next(k for k in terms if k[0] == "log_prior")
            terms[key] = terms[key] * (1 + 1e-5)
        return terms

    monkeypatch.setattr(module, "_through", wrong)
    table = verify_model(model, x, ["torch"], ["float64"])
    assert table.loc[~table["ok"], "quantity"].tolist() == ["log_prior"]


def test_a_chain(x):
    rng = np.random.default_rng(0)
    chain = Chain((Layer(rng.normal(size=(8, 6)) / 3, np.zeros(8), "swish"),
                   Layer(rng.normal(size=(7, 8)) / 3, np.ones(7), "identity")))  # fmt: skip
    table = verify_model(chain, x, ["numpy", "torch", "numba"])
    assert set(table["quantity"]) == {"output", "log_volume"}
    assert set(table["backend"]) == {"numpy", "torch"}
    assert table["ok"].all(), table[~table["ok"]]


def test_rows_of_another_width(model, x):
    with pytest.raises(InvalidInput, match="must have the 6 columns"):
        verify_model(model, x[:, :5], ["numpy"])


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pyscore", "verify", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.julia
def test_the_command_writes_a_table_and_a_page(model, x, tmp_path):
    flux.save(tmp_path / "m.bson", model)
    pd.DataFrame(x, columns=[*"abcde", "<f>"]).to_csv(tmp_path / "rows.csv", index=False)
    files = tmp_path / "v.json", tmp_path / "v.html"
    result = command("--model", tmp_path / "m.bson", "--data", tmp_path / "rows.csv", "--backends", "numpy,julia",
                     "--json", files[0], "--html", files[1])  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(files[0].read_text())
    assert found["out of bounds"] == 0
    assert {row["backend"] for row in found["rows"]} == {"numpy", "julia"}
    page = files[1].read_text()
    assert "<script" not in page
    assert page.count("<tr>") > len(found["rows"])


@pytest.mark.julia
def test_the_original_is_called_by_name(model, x, tmp_path):
    """A stand-in of ours with the original's names: what it computes stands beside ours; without it, how to add it."""
    project = tmp_path / "a project"
    for name, text in PACKAGES.items():
        folder = project / name / "src"
        folder.mkdir(parents=True)
        (folder / f"{name}.jl").write_text(text)
    (project / "Project.toml").write_text("")
    from pyscore.backends.julia_ import julia_backend
    from pyscore.errors import JuliaError
    from pyscore.scoring.verify_original import original_outputs

    with pytest.raises(JuliaError, match="has no FewShotAnomalyDetection. Add it"):
        original_outputs(model, x, project)
    with pytest.raises(InvalidInput, match="a folder with a Project.toml"):
        original_outputs(model, x, tmp_path)
    identity = "7f0b3c0e-0000-4000-8000-00000000000"
    (project / "Project.toml").write_text(
        "[deps]\n" + "".join(f'{name} = "{identity}{i}"\n' for i, name in enumerate(PACKAGES))
    )
    (project / "Manifest.toml").write_text("".join(
        f'[[{name}]]\npath = "{name}"\nuuid = "{identity}{i}"\nversion = "0.1.0"\n'
        + ('deps = ["Flux"]\n' if i else "") for i, name in enumerate(PACKAGES)))  # fmt: skip
    for i, name in enumerate(PACKAGES):
        needs = f'[deps]\nFlux = "{identity}0"\n' if i else ""
        (project / name / "Project.toml").write_text(
            f'name = "{name}"\nuuid = "{identity}{i}"\nversion = "0.1.0"\n{needs}'
        )
    got = original_outputs(model, x, project)
    np.testing.assert_allclose(got["log_pz"], 7 * model.encode(x)[0][:, 0], atol=1e-6)
    np.testing.assert_allclose(got["log_pz_jacobian_decoder"], model.decode(model.encode(x)[0])[:, 0], atol=1e-6)
    assert julia_backend is not None
    assert Path(project).is_dir()


PACKAGES = {
    "Flux": """module Flux
struct Dense; W; b; s; end
(d::Dense)(x) = d.s.(d.W * x .+ d.b)
Dense(W, b) = Dense(W, b, identity)
struct Chain; layers; end
Chain(xs...) = Chain(xs)
(c::Chain)(x) = foldl((y, l) -> l isa Dense && l.s isa Function && length(l.b) == 1 && false ? y : l(y), c.layers; init = x)
swish(x) = x / (1 + exp(-x))
relu(x) = max(zero(x), x)
σ(x) = 1 / (1 + exp(-x))
end
""",
    "FewShotAnomalyDetection": """module FewShotAnomalyDetection
using Flux
mutable struct SVAEvampmeans; q; g; zdim; hue; μzfromhidden; κzfromhidden; pseudo_inputs; end
SVAEvampmeans(q, g, h::Integer, k::Integer, p::Integer, T = Float32) = SVAEvampmeans(q, g, k, 0, nothing, nothing, nothing)
normalizecolumns(m) = m ./ sqrt.(sum(m .^ 2, dims = 1) .+ eps(eltype(m)))
zparams(m, x) = (m.μzfromhidden(m.q(x)), nothing)
log_pz(m, x) = 7 * zparams(m, x)[1][1]
log_pxexpectedz(m, x) = reshape([sum(x)], 1, 1)
log_pz_jacobian_encoder(m, x) = sum(m.pseudo_inputs)
log_pz_jacobian_decoder(m, z) = m.g(z)[1]
end
""",
}
