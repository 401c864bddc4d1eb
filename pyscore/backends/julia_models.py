"""Models in files that Julia saved: `SVAEvampmeans` and Flux `Chain`s of `Dense` layers, read and written.

Julia's weights are (out, in), as ours; its pseudo-inputs are (d, p) and become (p, d).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from pyscore._core import checks as check
from pyscore._core.checks import Array
from pyscore._core.files import atomic_write
from pyscore.backends import _bson
from pyscore.backends.julia_values import BadValue, BSONFile, Struct, Unknown
from pyscore.errors import InvalidInput, ModelFileError, ShapeError
from pyscore.reference import network
from pyscore.reference.model import SVAE

__all__ = ["Chain", "Layer", "read_model", "write_model"]

LARGEST_FILE = 1 << 31
"""Bytes: BSON counts its length in 32 bits."""
ACTIVATIONS = {
    "identity": "identity", "linear": "identity", "swish": "swish", "relu": "relu", "leakyrelu": "leaky_relu",
    "elu": "elu", "gelu_erf": "gelu", "tanh": "tanh", "tanh_fast": "tanh", "σ": "sigmoid", "sigmoid": "sigmoid",
    "sigmoid_fast": "sigmoid", "softplus": "softplus",
}  # fmt: skip
"""Julia's name of a function → ours."""
WRITTEN = {
    "identity": "Base.#identity", "swish": "NNlib.#swish", "relu": "NNlib.#relu",
    "leaky_relu": "NNlib.#leakyrelu", "elu": "NNlib.#elu", "gelu": "NNlib.#gelu_erf", "tanh": "Base.#tanh",
    "sigmoid": "NNlib.#σ", "softplus": "NNlib.#softplus",
}  # fmt: skip
SVAE_FIELDS = ("q", "g", "zdim", "hue", "μzfromhidden", "κzfromhidden", "pseudo_inputs")
"""The original's fields, in its order."""
ANY = "?"
"""An activation that the file does not name (an anonymous function, or `Flux.state`)."""


class Layer(NamedTuple):
    """A Dense layer a ↦ σ(W a + b)."""

    weight: Array
    """(out, in)."""
    bias: Array
    """(out,)."""
    activation: str
    """A name of `pyscore.network.ACTIVATIONS`."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Dense layers, one after the other, as a Flux `Chain` has them. Rows are samples.

    Examples
    --------
    >>> import numpy as np
    >>> from pyscore.backends.julia_models import Chain, Layer
    >>> double = Chain((Layer(2 * np.eye(2), np.zeros(2), "relu"),))
    >>> double([[1.0, -1.0]])
    array([[2., 0.]])
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidInput("`layers` must hold at least one layer; got none.")
        width = self.input_dim
        for index, (weight, bias, activation) in enumerate(self.layers):
            check.choice("activation", activation, network.ACTIVATIONS)
            if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
                raise ShapeError(
                    f"layer {index} must take {width} numbers and have a bias for each output; "
                    f"got weight {weight.shape}, bias {bias.shape}."
                )
            width = weight.shape[0]

    @property
    def input_dim(self) -> int:
        """Numbers that the first layer takes."""
        return int(self.layers[0].weight.shape[-1])

    @property
    def output_dim(self) -> int:
        """Numbers that the last layer gives."""
        return int(self.layers[-1].weight.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the parameters."""
        return self.layers[0].weight.dtype

    def __call__(self, x: ArrayLike) -> Array:
        """Return the output (n, out) for rows x (n, in), in float64."""
        a = check.matrix("x", x, self.input_dim)
        for weight, bias, activation in self.layers:
            a = network.ACTIVATIONS[activation].value(a @ weight.T.astype(np.float64) + bias)
        return a

    def jacobian(self, x: ArrayLike) -> Array:
        """Return the Jacobian (n, out, in) at rows x (n, in), in float64."""
        a = check.matrix("x", x, self.input_dim)
        tangents = np.broadcast_to(np.eye(self.input_dim), (len(a), self.input_dim, self.input_dim))
        for weight, bias, activation in self.layers:
            act = network.ACTIVATIONS[activation]
            a = a @ weight.T.astype(np.float64) + bias
            tangents = act.first(a)[:, :, None] * (weight.astype(np.float64) @ tangents)
            a = act.value(a)
        return tangents

    def to_torch(self) -> Any:
        """Return the layers as a `torch.nn.Sequential` of the same type, for `pyscore.ManifoldScorer`."""
        import torch

        modules: list[Any] = []
        for weight, bias, activation in self.layers:
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=getattr(torch, str(weight.dtype)))
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(np.array(weight)))
                linear.bias.copy_(torch.from_numpy(np.array(bias)))
            modules.append(linear)
            if activation != "identity":
                modules.append(_torch_activation(activation))
        return torch.nn.Sequential(*modules)


def _torch_activation(name: str) -> Any:
    from torch import nn

    classes: dict[str, Callable[[], Any]] = {
        "swish": nn.SiLU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU,
        "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
    }  # fmt: skip
    return classes[name]()


# ── Reading ──


class JuliaFile(Protocol):
    """A file whose values are viewed one by one."""

    root: dict[str, Any]

    def view(self, raw: Any) -> Any: ...


def read_model(
    path: str | os.PathLike[str], *, activation: str | None = None, name: str | None = None
) -> SVAE | Chain:
    """Read the model in a BSON file; see `pyscore.flux.load`.

    Raises
    ------
    ModelFileError
        If the file holds no model, several, or one that is not understood; the text names the place.
    """
    if activation is not None:
        check.choice("activation", activation, network.ACTIVATIONS)
    shown = repr(os.fspath(path))
    try:
        file = _open(Path(path), shown)
        chosen, raw = _pick(file, name)
        return _Interpreter(file, activation).model(chosen, raw)
    except (BadValue, _bson.MalformedBSON) as trouble:
        raise ModelFileError(f"{shown} cannot be read as a model of Julia's: {trouble}.") from None
    except (ShapeError, InvalidInput) as trouble:
        raise ModelFileError(f"{shown} does not hold a model that pyscore knows: {trouble}") from None


def _open(path: Path, shown: str) -> JuliaFile:
    if not path.is_file():
        raise ModelFileError(f"{shown} is not a file.")
    if path.stat().st_size > LARGEST_FILE:
        raise ModelFileError(
            f"{shown} has {path.stat().st_size:,} bytes; a BSON file has at most {LARGEST_FILE:,}."
        )
    with path.open("rb") as file:
        start = file.read(8)
        if start[:4] != b"HDF5" and start != b"\x89HDF\r\n\x1a\n":
            data = start + file.read()
            if data[:3] == b"7JL":
                raise ModelFileError(
                    f"{shown} was written by Julia's `serialize`, which only the same Julia and packages can "
                    'read. There, write it anew: `using Serialization, BSON; BSON.bson("model.bson", '
                    f"model = deserialize({shown}))`."
                )
            return BSONFile(data)
    raise ModelFileError(
        f"{shown} is a JLD2 (HDF5) file, which pyscore does not read. Write the model as BSON, in Julia: "
        f'`using JLD2, BSON; BSON.bson("model.bson", model = load({shown}, "model"))`.'
    )


def _pick(file: JuliaFile, name: str | None) -> tuple[str, Any]:
    """Return name and value of the model: the one that is asked for, or the only one there is."""
    if set(SVAE_FIELDS[:2]) <= set(file.root):
        return "the file", file.root
    if name is not None:
        if name not in file.root:
            raise BadValue(f"it has no {name!r}; it has {', '.join(map(repr, file.root))}")
        return name, file.root[name]
    found = [key for key, raw in file.root.items() if _is_model(file, file.view(raw))]
    if len(found) == 1:
        return found[0], file.root[found[0]]
    have = ", ".join(f"{key!r} ({_describe(file.view(raw))})" for key, raw in file.root.items()) or "nothing"
    if not found:
        raise BadValue(f"it holds no SVAEvampmeans and no Chain of Dense layers; it has {have}")
    raise BadValue(f"it holds several models, {', '.join(map(repr, found))}: pass name=…")


def _is_model(file: JuliaFile, value: Any) -> bool:
    if isinstance(value, Struct):
        return value.short in ("SVAEvampmeans", "Chain", "Dense")
    return isinstance(value, dict) and ("layers" in value or set(SVAE_FIELDS[:2]) <= set(value))


def _describe(value: Any) -> str:
    if isinstance(value, Struct):
        return value.name
    if isinstance(value, Unknown):
        return value.what
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"


class _Interpreter:
    """Turns the values of a file into a model; the names of places are for messages."""

    def __init__(self, file: JuliaFile, activation: str | None) -> None:
        self.view, self.default = file.view, activation

    def model(self, place: str, raw: Any) -> SVAE | Chain:
        value = self.view(raw)
        if isinstance(value, Struct) and value.short == "SVAEvampmeans":
            if len(value.fields) != len(SVAE_FIELDS):
                raise BadValue(
                    f"{place}: an SVAEvampmeans with {len(value.fields)} fields; "
                    f"it must have {', '.join(SVAE_FIELDS)}"
                )
            return self.svae(place, dict(zip(value.names or SVAE_FIELDS, value.fields, strict=True)))
        if isinstance(value, dict) and set(SVAE_FIELDS[:2]) <= set(value):
            return self.svae(place, value)
        return Chain(tuple(self.settled(place, self.layers(place, raw))))

    def svae(self, place: str, fields: dict[str, Any]) -> SVAE:
        missing = [f for f in ("q", "g", "μzfromhidden", "κzfromhidden", "pseudo_inputs") if f not in fields]
        if missing:
            raise BadValue(f"{place}: an SVAEvampmeans without {', '.join(missing)}")
        encoder, decoder = (self.layers(f"{place}.{f}", fields[f]) for f in ("q", "g"))
        heads = [self.layers(f"{place}.{f}", fields[f])[0] for f in ("μzfromhidden", "κzfromhidden")]
        if (len(encoder), len(decoder)) != (3, 4):
            raise BadValue(
                f"{place}: {len(encoder)} encoder and {len(decoder)} decoder layers; an SVAE has 3 and 4"
            )
        if decoder[-1].activation == ANY:
            decoder[-1] = decoder[-1]._replace(activation="identity")
        *inner, last = self.settled(f"{place}.g", decoder)
        used = {layer.activation for layer in [*self.settled(f"{place}.q", encoder), *inner]}
        if len(used) != 1 or last.activation != "identity":
            raise BadValue(
                f"{place}: the activations are {', '.join(sorted(used))} and, last, {last.activation}; "
                "an SVAE has one, and a linear last layer"
            )
        named = [(f"encoder.{i}", layer) for i, layer in enumerate(encoder)]
        named += [("mu", heads[0]), ("kappa", heads[1])]
        named += [(f"decoder.{i}", layer) for i, layer in enumerate([*inner, last])]
        arrays: dict[str, ArrayLike] = {}
        for name, layer in named:
            arrays |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
        inputs = self.array(f"{place}.pseudo_inputs", fields["pseudo_inputs"], 2).T
        # The original's T is the type of the pseudo-inputs alone.
        kind = np.result_type(inputs, *(a for a in arrays.values()))
        arrays["pseudo_inputs"] = inputs
        cast = {name: np.ascontiguousarray(value, dtype=kind) for name, value in arrays.items()}
        return SVAE.from_parameters(cast, used.pop())

    def layers(self, place: str, raw: Any) -> list[Layer]:
        """Return the Dense layers of a Chain, of a Dense layer, or of what `Flux.state` makes of them."""
        found: list[Layer] = []
        for where, part in self.parts(place, raw):
            value = self.view(part)
            if isinstance(value, Struct) and value.short == "Dense":
                if len(value.fields) != 3:
                    raise BadValue(f"{where}: a Dense with {len(value.fields)} fields; it must have 3")
                found.append(self.dense(where, *value.fields))
            elif isinstance(value, dict) and "weight" in value:
                found.append(self.dense(where, value["weight"], value.get("bias"), value.get("σ")))
            elif isinstance(value, Struct) and value.short == "Dropout":
                continue  # it does nothing outside training
            elif value == () or (isinstance(value, dict) and not value):
                continue  # a layer without parameters, in `Flux.state`
            elif found and found[-1].activation == "identity" and self.function(value) is not None:
                found[-1] = found[-1]._replace(activation=self.function(value) or ANY)
            else:
                raise BadValue(
                    f"{where}: {_describe(value)}; a layer must be a Dense or the name of an activation"
                )
        if not found:
            raise BadValue(f"{place}: there is no Dense layer")
        return found

    def parts(self, place: str, raw: Any, depth: int = 0) -> Iterable[tuple[str, Any]]:
        """The layers of nested Chains, one after the other, with their places."""
        value = self.view(raw)
        inside = None
        if isinstance(value, Struct) and value.short == "Chain" and len(value.fields) == 1:
            inside = self.view(value.fields[0])
        elif isinstance(value, dict) and "layers" in value:
            inside = self.view(value["layers"])
        elif isinstance(value, tuple | list) and value:
            inside = value
        if inside is None:
            return [(place, raw)]
        if depth > 20:
            raise BadValue(f"{place}: Chains are nested more than 20 deep")
        items = list(inside.values()) if isinstance(inside, dict) else inside
        if not isinstance(items, tuple | list):
            raise BadValue(f"{place}: a Chain of {_describe(inside)}")
        return [found for i, item in enumerate(items, 1) for found in self.parts(f"{place}[{i}]", item, depth + 1)]

    def dense(self, place: str, weight: Any, bias: Any, activation: Any) -> Layer:
        W = self.array(f"{place}.weight", weight, 2)
        shown = self.view(bias)
        if shown is False or shown is None or (isinstance(shown, Struct) and shown.short == "Zeros"):
            b = np.zeros(W.shape[0], W.dtype)  # Dense(…; bias = false)
        else:
            b = self.array(f"{place}.bias", bias, 1)
        name = self.function(self.view(activation))
        if name is None:
            raise BadValue(f"{place}: an activation that is {_describe(self.view(activation))}")
        return Layer(W, b, name)

    def function(self, value: Any) -> str | None:
        """Our name of an activation, `ANY` for one without a name, None for what is no function."""
        if value is None or value == () or (isinstance(value, dict) and not value):
            return ANY
        if not isinstance(value, Struct):
            return None
        if value.short.startswith("(anonymous"):
            return ANY
        # swish is of the type #swish (typeof(swish) in later versions of Julia).
        name = value.short.removeprefix("typeof(").removesuffix(")").rpartition(".")[2].lstrip("#")
        if name in ACTIVATIONS:
            return ACTIVATIONS[name]
        if name == "gelu":
            raise BadValue("gelu, which is a tanh approximation in NNlib; pyscore's is NNlib's gelu_erf")
        return None

    def settled(self, place: str, layers: list[Layer]) -> list[Layer]:
        """Give the layers whose activation has no name the one that the caller said."""
        if all(layer.activation != ANY for layer in layers):
            return layers
        if self.default is None:
            raise BadValue(
                f"{place}: the file does not name the activation (an anonymous function, or Flux.state): "
                "pass activation=…"
            )
        return [x._replace(activation=self.default) if x.activation == ANY else x for x in layers]

    def array(self, place: str, raw: Any, axes: int) -> Array:
        value = self.view(raw)
        if isinstance(value, Struct) and value.short in ("TrackedArray", "TrackedVector", "TrackedMatrix"):
            names = value.names or ("tracker", "data", "grad")
            fields = dict(zip(names, value.fields, strict=False))
            value = self.view(fields.get("data"))
        if isinstance(value, Struct) and "Cu" in value.short:
            raise BadValue(f"{place}: an array on a GPU ({value.name}); save cpu(model) instead")
        if not isinstance(value, np.ndarray) or value.dtype not in (np.float32, np.float64):
            raise BadValue(f"{place}: {_describe(value)}; it must be an array of Float32 or Float64")
        if value.ndim != axes:
            raise BadValue(f"{place}: an array of shape {value.shape}; it must have {axes} axes")
        if not np.isfinite(value).all():
            raise BadValue(f"{place}: an array with NaN or infinities")
        return np.ascontiguousarray(value)


# ── Writing ──


def write_model(path: str | os.PathLike[str], model: SVAE | Chain) -> None:
    """Write a model as BSON that BSON.jl and `read_model` read; see `pyscore.flux.save`."""
    if isinstance(model, Chain):
        document: Any = _chain(model.layers)
    elif isinstance(model, SVAE):
        document = _svae(model)
    else:
        raise InvalidInput(f"`model` must be an SVAEvampmeans, an SVAE or a Chain; got {type(model).__name__}.")
    data = _bson.encode({"model": document})
    if len(data) > LARGEST_FILE:
        raise InvalidInput(
            f"`model` is too large for BSON, which counts its length in 32 bits; got {len(data):,}."
        )
    with atomic_write(path) as file:
        file.write(data)


def _svae(model: SVAE) -> dict[str, Any]:
    """The original's fields; the heads are their Dense layers alone, without the functions that follow them."""

    def dense(layers: Iterable[network.Dense], last: str) -> list[Layer]:
        out = [Layer(*layer, model.activation) for layer in layers]
        return [*out[:-1], out[-1]._replace(activation=last)]

    return {
        "q": _chain(dense(model.encoder, model.activation)),
        "g": _chain(dense(model.decoder, "identity")),
        "zdim": model.latent_dim,
        "μzfromhidden": _dense(Layer(*model.mu, "identity")),
        "κzfromhidden": _dense(Layer(*model.kappa, "identity")),
        "pseudo_inputs": _array(model.pseudo_inputs.T),
    }


def _type(name: str, *parameters: Any) -> dict[str, Any]:
    return {"tag": "datatype", "name": name.split("."), "params": list(parameters)}


def _array_type(array: Array) -> dict[str, Any]:
    return _type("Core.Array", _type(f"Core.{'Float32' if array.dtype == np.float32 else 'Float64'}"), array.ndim)


def _array(array: Array) -> dict[str, Any]:
    element = _array_type(array)["params"][0]
    data = np.asarray(array, array.dtype.newbyteorder("<")).tobytes(order="F")
    return {"tag": "array", "type": element, "size": list(array.shape), "data": data}


def _dense_type(layer: Layer) -> dict[str, Any]:
    arrays = _array_type(layer.weight), _array_type(layer.bias)
    return _type("Flux.Dense", _type(WRITTEN[layer.activation]), *arrays)


def _dense(layer: Layer) -> dict[str, Any]:
    function = {"tag": "struct", "type": _type(WRITTEN[layer.activation]), "data": []}
    data = [_array(layer.weight), _array(layer.bias), function]
    return {"tag": "struct", "type": _dense_type(layer), "data": data}


def _chain(layers: Iterable[Layer]) -> dict[str, Any]:
    layers = list(layers)
    kinds = _type("Core.Tuple", *(_dense_type(layer) for layer in layers))
    data = {"tag": "tuple", "data": [_dense(layer) for layer in layers]}
    return {"tag": "struct", "type": _type("Flux.Chain", kinds), "data": [data]}
