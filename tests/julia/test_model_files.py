"""Models that Julia saved: files of real BSON.jl beside this one (see files/make.jl), our own, and broken ones."""

import copy
import struct
from pathlib import Path

import numpy as np
import pytest

from pyscore.backends import _bson, flux
from pyscore.backends.julia_models import Chain, Layer, read_model, write_model
from pyscore.errors import InvalidInput, ModelFileError
from pyscore.reference.model import SVAE
from pyscore.reference.network import ACTIVATIONS

FILES = Path(__file__).with_name("files")


class Numbers:
    """(−1)^i·i/97 in the order in which files/make.jl asks for arrays."""

    def __init__(self, start=0):
        self.count = start

    def array(self, *size):
        i = np.arange(self.count + 1, self.count + 1 + int(np.prod(size)))
        self.count = int(i[-1])
        return np.float32((-1.0) ** i * i / 97).reshape(size, order="F")

    def layer(self, out, inputs, activation="identity"):
        return Layer(self.array(out, inputs), self.array(out), activation)


def expected():
    """(svae, chain) of the files, and the numbers that come next."""
    n, (d, h, k, p) = Numbers(), (5, 4, 2, 3)
    encoder = [n.layer(h, d), n.layer(h, h), n.layer(h, h)]
    decoder = [n.layer(h, k), n.layer(h, h), n.layer(h, h), n.layer(d, h)]
    named = {f"encoder.{i}": layer for i, layer in enumerate(encoder)}
    named |= {f"decoder.{i}": layer for i, layer in enumerate(decoder)}
    named |= {"mu": n.layer(k, h), "kappa": n.layer(1, h)}
    arrays = {
        f"{name}.{part}": getattr(layer, part) for name, layer in named.items() for part in ("weight", "bias")
    }
    arrays["pseudo_inputs"] = n.array(d, p).T
    chain = Chain((n.layer(3, 2, "relu"), n.layer(3, 3, "tanh"), n.layer(2, 3, "sigmoid")))
    return SVAE.from_parameters(arrays), chain, n


def same(a, b):
    if isinstance(a, SVAE):
        return a.digest() == b.digest()
    return len(a.layers) == len(b.layers) and all(
        x.activation == y.activation and x.weight.dtype == y.weight.dtype
        and np.array_equal(x.weight, y.weight) and np.array_equal(x.bias, y.bias)
        for x, y in zip(a.layers, b.layers, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("version", ["0.8", "0.14"])
def test_files_of_julia(version):
    """0.8: Tracker's arrays and BSON.jl 0.2; 0.14: plain ones and BSON.jl 0.3. Equal to the bit."""
    svae, chain, _ = expected()
    assert same(read_model(FILES / f"svae-{version}.bson"), svae)
    assert same(read_model(FILES / f"chain-{version}.bson"), chain)


def test_named_layers_no_bias_and_an_activation_as_a_layer():
    n = expected()[2]
    first = n.layer(3, 2, "softplus")
    second = Layer(n.array(2, 3), np.zeros(2, np.float32), "leaky_relu")
    assert same(read_model(FILES / "named-0.14.bson"), Chain((first, second)))


def test_an_array_that_is_shared_is_followed():
    model = read_model(FILES / "shared-0.14.bson")
    assert np.array_equal(model.layers[0].weight, model.layers[1].weight)
    assert [layer.activation for layer in model.layers] == ["tanh", "identity"]


def test_flux_state_needs_the_activation():
    path = FILES / "state-0.14.bson"
    with pytest.raises(ModelFileError, match="does not name the activation.*pass activation="):
        read_model(path)
    chain = expected()[1]
    want = Chain(tuple(layer._replace(activation="relu") for layer in chain.layers))
    assert same(read_model(path, activation="relu"), want)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_written_and_read_again(tmp_path, activation, dtype):
    path = tmp_path / "model é.bson"
    rng = np.random.default_rng(0)
    svae = SVAE.initialise(6, 3, 8, 4, activation=activation, dtype=dtype)
    layers = [Layer(*(rng.normal(size=s).astype(dtype) for s in ((4, 3), (4,))), a) for a in (activation,)]
    layers += [Layer(*(rng.normal(size=s).astype(dtype) for s in ((2, 4), (2,))), "identity")]
    for model in (svae, Chain(tuple(layers))):
        write_model(path, model)
        assert same(read_model(path), model)


def test_a_chain_computes(close):
    chain = expected()[1]
    x = np.random.default_rng(1).normal(size=(7, 2))
    want = x
    for layer in chain.layers:
        want = ACTIVATIONS[layer.activation].value(want @ layer.weight.T.astype(float) + layer.bias)
    close(chain(x), want, 4, 2.3e-16, 10.0, "output")
    h = 1e-6
    for j in range(2):
        step = h * np.eye(2)[j]
        close(
            chain.jacobian(x)[:, :, j], (chain(x + step) - chain(x - step)) / (2 * h), 1e8, 2.3e-16, 10.0, "slope"
        )


def test_a_chain_in_torch(close):
    torch = pytest.importorskip("torch")
    for name in ACTIVATIONS:
        chain = Chain(tuple(layer._replace(activation=name) for layer in expected()[1].layers))
        x = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
        with torch.no_grad():
            got = chain.to_torch()(torch.from_numpy(x)).numpy()
        close(got, chain(x), 64, 1.2e-7, np.abs(chain(x)).max() + 1, name)


# ── what is not such a file ──

TREE = _bson.decode((FILES / "svae-0.14.bson").read_bytes())


def changed(act):
    tree = copy.deepcopy(TREE)
    act(tree)
    return _bson.encode(tree)


def first_dense(tree):
    return tree["model"]["data"][0]["data"][0]["data"][0]


def rename(tree, name):
    first_dense(tree)["type"]["name"] = name


def with_activation(name):
    def act(tree):
        layer = first_dense(tree)
        layer["data"][2] = {"tag": "struct", "type": {"tag": "datatype", "name": name, "params": []}, "data": []}

    return act


def references(tree):
    tree["_backrefs"] = [{"tag": "backref", "ref": 2}, {"tag": "backref", "ref": 1}]
    first_dense(tree)["data"][0] = {"tag": "backref", "ref": 1}


def setting(key, value):
    def act(tree):
        layer = first_dense(tree)
        layer["data"][0][key] = value

    return act


BROKEN = [
    (lambda t: t.pop("model"), "holds no SVAEvampmeans and no Chain of Dense layers; it has 'epoch'"),
    (lambda t: t.update(other=t["model"]), "holds several models, 'model', 'other': pass name="),
    (lambda t: t["model"]["data"].pop(), "with 6 fields; it must have q, g, zdim"),
    (lambda t: rename(t, ["Flux", "Conv"]), r"model.q\[1\]: Flux.Conv; a layer must be a Dense"),
    (with_activation(["NNlib", "#selu"]), "an activation that is NNlib.#selu"),
    (with_activation(["NNlib", "#gelu"]), "gelu, which is a tanh approximation in NNlib"),
    (with_activation(["NNlib", "#relu"]), "the activations are relu, swish and, last, identity"),
    (references, "references that lead back to themselves"),
    (lambda t: first_dense(t)["data"].__setitem__(0, {"tag": "backref", "ref": 99}), "a reference to part 99"),
    (setting("size", [4, 6]), r"an array of size \[4, 6\] with 80 bytes"),
    (setting("size", [-4, -5]), "an array of size"),
    (setting("size", "x"), "the size of an array that is no list"),
    (setting("size", [10**9, 10**9, 10**9]), "an array of size"),
    (setting("data", bytes(80)[:-4] + struct.pack("<f", np.nan)), "an array with NaN or infinities"),
    (setting("type", {"tag": "datatype", "name": ["Core", "Int32"], "params": []}), "must be an array of Float32"),
    (setting("type", {"tag": "datatype", "name": [], "params": []}), "a type without a name"),
    (setting("type", {"tag": "datatype", "name": ["CuArrays", "CuArray"], "params": []}), "an array of CuArrays"),
    (setting("tag", "ref"), "a ref"),
    (lambda t: t["model"]["data"].__setitem__(0, 3), "model.q: a int"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "said"), BROKEN)
def test_what_is_wrong_is_named(tmp_path, act, said):
    path = tmp_path / "m.bson"
    path.write_bytes(changed(act))
    with pytest.raises(ModelFileError, match=said):
        read_model(path)


def test_every_cut_and_many_flips_end_in_one_error(tmp_path):
    """A file cut anywhere, or with any byte changed, is a model or a ModelFileError, never another exception."""
    data = (FILES / "svae-0.14.bson").read_bytes()
    path, rng = tmp_path / "m.bson", np.random.default_rng(7)
    for end in rng.integers(0, len(data), 100):
        path.write_bytes(data[:end])
        with pytest.raises(ModelFileError):
            read_model(path)
    for _ in range(400):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_model(path)
        except ModelFileError:
            continue


def test_nesting_without_end(tmp_path):
    deep = b""
    for _ in range(5000):
        deep = struct.pack("<i", len(deep) + 8) + b"\x03a\0" + deep + b"\0" if deep else b"\x05\0\0\0\0"
    path = tmp_path / "m.bson"
    path.write_bytes(deep)
    with pytest.raises(ModelFileError, match="nested more than 200 deep|does not fit|cannot be read"):
        read_model(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"7JL\n\x04\0\0\0....", "written by Julia's `serialize`.*BSON.bson"),
        (b"HDF5-based Julia Data Format, version 0.1.1", "is a JLD2 .HDF5. file.*BSON.bson"),
        (b"", "cannot be read as a model of Julia's"),
        (b"hello, world", "cannot be read as a model of Julia's"),
    ],
)
def test_other_files(tmp_path, data, said):
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=said):
        read_model(path)
    with pytest.raises(ModelFileError, match="is not a file"):
        read_model(tmp_path)


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(InvalidInput, match="must be an SVAEvampmeans, an SVAE or a Chain; got int"):
        flux.save(tmp_path / "m.bson", 3)


@pytest.mark.julia
def test_scores_of_a_file_of_julia(julia, close):
    """Loaded, computed in Julia, and by the reference."""
    from pyscore import ORIGINAL
    from pyscore.scoring.scores import score

    model = flux.load(FILES / "svae-0.14.bson", backend=julia)
    x = np.random.default_rng(3).normal(size=(9, 5))
    for function, name in ((flux.log_pxexpectedz, "reconstruction"), (flux.log_pz, "prior")):
        want = score(model.model, x, name, convention=ORIGINAL, backend="numpy")
        close(function(model, x), want, 4096, 2.3e-16, 100.0, name)
