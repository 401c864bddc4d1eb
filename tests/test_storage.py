"""Files: nothing half-written stays behind; a damaged model file gives a ModelFileError, whatever the damage."""

import errno
import hashlib
import json
import os
import re
import resource
import socket
import stat
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pyscore._core import files as storage
from pyscore._core.files import atomic_write, read_tensors, write_json, write_tensors
from pyscore._core.plain_files import read_json
from pyscore.convention import EXACT, ORIGINAL
from pyscore.data.preprocessing import Standardiser
from pyscore.errors import InvalidInput, ModelFileError, WriteError
from pyscore.reference.model import SVAE
from pyscore.scoring.fitted import FittedModel
from pyscore.training.config import TrainConfig
from pyscore.training.torch_trainer import Trainer

# ── atomic_write ─────────────────────────────────────────────────────────────────────────────────────────


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Interrupted:
    """Stops a write with an exception of the block's own."""

    def __init__(self, exception):
        self.exception = exception

    def __call__(self, path, monkeypatch):
        with atomic_write(path) as file:
            file.write(b"half")
            file.flush()
            raise self.exception


class FailingCall:
    """Stops a write with a full disk in one of the calls to the operating system."""

    def __init__(self, name):
        self.name = name

    def __call__(self, path, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(os, self.name, full_disk)
            with atomic_write(path) as file:
                file.write(b"new")


def beyond_the_size_limit(path, monkeypatch):
    """A write that the operating system itself refuses half-way, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with atomic_write(path) as file:
            file.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


FAILURES = {
    "an error in the block": (Interrupted(ValueError("x")), ValueError),
    "Ctrl-C": (Interrupted(KeyboardInterrupt()), KeyboardInterrupt),
    "exit": (Interrupted(SystemExit(1)), SystemExit),
    "full disk in the block": (Interrupted(OSError(errno.ENOSPC, "full")), OSError),
    "full disk in fsync": (FailingCall("fsync"), OSError),
    "full disk in open": (FailingCall("open"), OSError),
    "full disk in replace": (FailingCall("replace"), OSError),
    "file size limit": (beyond_the_size_limit, OSError),
}


@pytest.mark.parametrize("old", [None, b"old contents"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch, failure, old):
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    write, exception = FAILURES[failure]
    with pytest.raises(exception):
        write(path, monkeypatch)
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["file.bin"])
    assert old is None or path.read_bytes() == old


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path, "w") as file:
        file.write("κ")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "κ"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_write_obeys_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_json(tmp_path / "a.json", {})
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "a.json").chmod(mode)
    before = (tmp_path / "a.json").stat()
    write_json(tmp_path / "a.json", {"new": 1})
    after = (tmp_path / "a.json").stat()
    assert before.st_ino != after.st_ino
    assert stat.S_IMODE(after.st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_root_replaces_keeps_its_owner(tmp_path):
    write_json(tmp_path / "a.json", {})
    os.chown(tmp_path / "a.json", 1234, 2345)
    (tmp_path / "a.json").chmod(0o640)
    write_json(tmp_path / "a.json", {"new": 1})
    after = (tmp_path / "a.json").stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (1234, 2345, 0o640)


def test_without_its_group_a_file_is_closed_to_the_group(tmp_path, monkeypatch):
    """What the old group might do, the writer's own group must not."""
    write_json(tmp_path / "a.json", {})
    (tmp_path / "a.json").chmod(0o664)
    own = storage.os.stat(tmp_path / "a.json")
    other = os.stat_result((*own[:5], own.st_gid + 1, *own[6:]))
    monkeypatch.setattr(os, "chown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no")))
    handle = os.open(tmp_path / "new", os.O_WRONLY | os.O_CREAT)
    storage._copy_permissions(handle, other)
    os.close(handle)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o604


def test_the_umask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    """Files that other threads make in that moment would be open to all."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
    for _ in range(2):
        write_json(tmp_path / "a.json", {})


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    for name in ("x" * 250 + ".json", "é" * 125 + ".json"):
        write_json(tmp_path / name, {"a": 1})
        assert json.loads((tmp_path / name).read_text()) == {"a": 1}
    with pytest.raises(InvalidInput, match="name is too long|name too long"):
        write_json(tmp_path / ("x" * 252 + ".json"), {})
    with pytest.raises(InvalidInput, match="`path` must name a file"):
        write_json(f"{tmp_path}/\0", {})
    assert len(os.listdir(tmp_path)) == 2


def test_a_disk_that_is_full_is_an_error_of_pyscore_with_the_number_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        WriteError, match=r"cannot write '.*a.json': No space left.* The disk is full: make room"
    ) as e:
        write_json(tmp_path / "a.json", {})
    assert isinstance(e.value, OSError)
    assert e.value.errno == errno.ENOSPC


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_plain_file_is_not_waited_for(tmp_path, kind):
    path = tmp_path / "m.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    else:
        path = "/dev/zero"
    with pytest.raises(ModelFileError, match="not a plain file|No such device"):
        FittedModel.load(path)
    with pytest.raises(InvalidInput, match="not a plain file|No such device"):
        read_json(path)


def test_write_names_what_is_wrong_with_the_path(tmp_path):
    with pytest.raises(InvalidInput, match=r"`path` must name a file in an existing folder; got .*It is a folder"):
        write_json(tmp_path, {})
    with pytest.raises(InvalidInput, match=r"There is no folder '.*missing'"):
        write_json(tmp_path / "missing" / "a.json", {})


def test_what_is_not_json_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "c": np.int64(3)})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": [0, 1], "c": 3}
    with pytest.raises(TypeError, match=r"object is not JSON"):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["a"] == 0.5
    assert os.listdir(tmp_path) == ["a.json"]


# ── model files ──────────────────────────────────────────────────────────────────────────────────────────


def fitted(dtype=np.float32, convention=EXACT, activation="swish"):
    model = SVAE.initialise(3, 2, 4, 2, seed=7, dtype=dtype, activation=activation)
    scaler = Standardiser(np.array([0.1, -2.0, 1e100]), np.array([1.0, 5e-324, 1e-3]), ("a", "κ, µ", '"quoted"'))
    return FittedModel(model, scaler, convention, {"steps": 3, "note": "é"})


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    fitted().save(path)
    return path.read_bytes()


@pytest.mark.parametrize("convention", [EXACT, ORIGINAL, EXACT.switched("p_value")], ids=lambda c: c.name)
@pytest.mark.parametrize("activation", ["swish", "identity"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_to_the_bit(tmp_path, dtype, activation, convention):
    path, one = tmp_path / "m.safetensors", fitted(dtype, convention, activation)
    one.save(path)
    two = FittedModel.load(path)
    assert two.model.digest() == one.model.digest()
    assert two.convention == convention
    assert two.training == one.training
    assert two.standardiser.columns == one.standardiser.columns
    assert two.standardiser.mean.tobytes() == one.standardiser.mean.tobytes()
    assert two.standardiser.deviation.tobytes() == one.standardiser.deviation.tobytes()
    two.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_other_readers_of_safetensors_can_read_it(tmp_path):
    fitted().save(tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    for name, value in fitted().model.parameters().items():
        np.testing.assert_array_equal(tensors[name], value)


def test_a_failed_save_keeps_the_old_model(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    fitted().save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left"):
        fitted(np.float64).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_model_of_many_columns_can_be_read_again(tmp_path):
    d = 20_000
    model = SVAE.initialise(d, 2, 2, 1)
    names = tuple(f"a_column_with_a_rather_long_name_like_those_of_users_{i:06}" for i in range(d))
    one = FittedModel(model, Standardiser(np.zeros(d), np.ones(d), names), EXACT)
    one.save(tmp_path / "wide.safetensors")
    assert FittedModel.load(tmp_path / "wide.safetensors").standardiser.columns == names


def load_bytes(folder, data):
    path = folder / "damaged.safetensors"
    path.write_bytes(data)
    return FittedModel.load(path)


def test_truncated_at_every_seventh_byte(tmp_path, model_bytes):
    for length in range(0, len(model_bytes), 7):
        with pytest.raises(ModelFileError, match=r"truncated|corrupt"):
            load_bytes(tmp_path, model_bytes[:length])


def test_anything_appended_is_noticed(tmp_path, model_bytes):
    with pytest.raises(ModelFileError, match=r"truncated or corrupt"):
        load_bytes(tmp_path, model_bytes + b"\0")


# ── files made wrong on purpose ──────────────────────────────────────────────────────────────────────────


def edited(data, change):
    """A model file with `change(index, header, tensors)` applied to its parts (in place, or a new index)."""
    length = int.from_bytes(data[:8], "little")
    index = json.loads(data[8 : 8 + length])
    header = json.loads(index["__metadata__"]["pyscore"])
    body = bytearray(data[8 + length :])
    new = change(index, header, body)
    if new is None:
        index["__metadata__"]["pyscore"] = json.dumps(header)
        new = index
    text = new if isinstance(new, bytes) else json.dumps(new).encode()
    return signed(len(text).to_bytes(8, "little") + text + bytes(body))


def signed(data):
    """The same file with a checksum that fits, as an author of ill will would write it."""
    found = re.search(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"', data)
    if found is None:
        return data
    begin, end = found.span(1)
    digest = hashlib.sha256(data[:begin] + b"0" * 64 + data[end:]).hexdigest()
    return data[:begin] + digest.encode() + data[end:]


def header_field(name, value):
    def change(index, header, body):
        header[name] = value

    return change


def without(name):
    def change(index, header, body):
        del header[name]

    return change


def convention_field(name, value):
    def change(index, header, body):
        header["convention"][name] = value

    return change


def tensor_entry(name, **fields):
    def change(index, header, body):
        index[name].update(fields)

    return change


def renamed(old, new):
    def change(index, header, body):
        index[new] = index.pop(old)

    return change


def raw_header(data):
    return lambda index, header, body: data


def metadata(value):
    return lambda index, header, body: {**index, "__metadata__": value}


def float_at(name, value, kind="<f4"):
    def change(index, header, body):
        begin = index[name]["data_offsets"][0]
        raw = np.array(value, kind).tobytes()
        body[begin : begin + len(raw)] = raw

    return change


def overlap(index, header, body):
    index["encoder.1.weight"]["data_offsets"] = index["encoder.2.weight"]["data_offsets"]


def empty_components(index, header, body):
    begin, end = index["pseudo_inputs"]["data_offsets"]
    del body[begin:end]
    index["pseudo_inputs"].update(shape=[0, 3], data_offsets=[begin, begin])
    for name, entry in index.items():
        if name not in ("__metadata__", "pseudo_inputs") and entry["data_offsets"][0] >= end:
            entry["data_offsets"] = [o - (end - begin) for o in entry["data_offsets"]]


DAMAGE = {
    "version of the future": (
        header_field("version", 3),
        "version 3, newer than 2, the last one known; upgrade pyscore",
    ),
    "version true": (header_field("version", True), "format version is True, not a positive integer"),
    "version as text": (header_field("version", "1"), "format version is '1', not a positive integer"),
    "no version": (without("version"), "format version is None"),
    "another kind": (header_field("format", "pyscore.checkpoint"), "it is a 'pyscore.checkpoint' file"),
    "format is a list": (header_field("format", ["x"] * 10_000), r"it is a .{1,100} file"),
    "no columns": (without("columns"), "its field 'columns' is missing"),
    "columns are a number": (header_field("columns", 3), "field 'columns' must be a list, not a int"),
    "columns are a text": (header_field("columns", "abc"), "field 'columns' must be a list, not a str"),
    "too few columns": (header_field("columns", ["a"]), "columns and scaler must have 3 entries"),
    "activation unknown": (header_field("activation", "sine"), "`activation` must be one of 'swish'.*got 'sine'"),
    "activation is a list": (header_field("activation", ["swish"]), "'activation' must be a str, not a list"),
    "activation is null": (header_field("activation", None), "'activation' must be a str, not a NoneType"),
    "training is a list": (header_field("training", []), "'training' must be a dict, not a list"),
    "no training": (without("training"), "'training' is missing"),
    "convention is a text": (header_field("convention", "EXACT"), "'convention' must be a dict, not a str"),
    "convention field unknown": (convention_field("colour", 1), "a convention has no field 'colour'; it has"),
    "convention value unknown": (convention_field("jacobian", "round"), "`jacobian` must be 'ambient'"),
    "convention value unhashable": (convention_field("jacobian", [[]]), "`jacobian` must be 'ambient'"),
    "weight as text": (convention_field("volume_weight", "abc"), "`volume_weight` must be a finite number"),
    "weight as numeric text": (convention_field("volume_weight", "2.0"), "`volume_weight` must be a finite"),
    "weight null": (convention_field("volume_weight", None), "`volume_weight` must be a finite number"),
    "weight NaN": (convention_field("volume_weight", float("nan")), "not JSON .a number is not finite"),
    "weight huge integer": (
        convention_field("volume_weight", 10**400),
        "metadata is not JSON .an integer has more than 64 bits",
    ),
    "tensor missing": (renamed("mu.bias", "nu.bias"), r"missing \['mu.bias'\], unknown \['nu.bias'\]"),
    "scaler missing": (renamed("scaler.mean", "scaler.median"), "'scaler.mean' is missing"),
    "shape transposed": (tensor_entry("encoder.0.weight", shape=[3, 4]), "must have shape"),
    "shape flat": (tensor_entry("encoder.0.weight", shape=[12]), r"`encoder.0.weight` must have two axes"),
    "shape with a hundred axes": (tensor_entry("kappa.bias", shape=[1] * 100), "tensor 'kappa.bias' is malformed"),
    "shape with empty axes": (tensor_entry("kappa.bias", shape=[0, 999]), "does not fit the file"),
    "shape empty and huge": (
        tensor_entry("kappa.bias", shape=[0, 2**61, 2**61], data_offsets=[0, 0]),
        "has an impossible shape",
    ),
    "shape huge": (tensor_entry("kappa.bias", shape=[2**61, 4]), "does not fit the file"),
    "shape beyond int64": (
        tensor_entry("kappa.bias", shape=[10**300]),
        "header is not JSON .an integer has more than 64 bits",
    ),
    "shape negative": (tensor_entry("kappa.bias", shape=[-1]), "malformed"),
    "shape of floats": (tensor_entry("kappa.bias", shape=[1.0]), "malformed"),
    "shape of booleans": (tensor_entry("kappa.bias", shape=[True]), "malformed"),
    "shape is a text": (tensor_entry("kappa.bias", shape="1"), "malformed"),
    "shape is null": (tensor_entry("kappa.bias", shape=None), "malformed"),
    "offsets exchanged": (tensor_entry("kappa.bias", data_offsets=[4, 0]), "does not fit"),
    "offsets are three": (tensor_entry("kappa.bias", data_offsets=[0, 4, 8]), "malformed"),
    "offsets negative": (tensor_entry("kappa.bias", data_offsets=[-4, 0]), "malformed"),
    "dtype unknown": (tensor_entry("kappa.bias", dtype="BF16"), "malformed"),
    "dtype is a list": (tensor_entry("kappa.bias", dtype=[]), "malformed"),
    "dtype of one tensor": (tensor_entry("kappa.weight", dtype="F64", shape=[1, 2]), "must have shape"),
    "tensors overlap": (overlap, "overlap or leave gaps"),
    "no components": (empty_components, "needs features, hidden units and pseudo-inputs"),
    "weight NaN in the data": (float_at("mu.weight", np.nan), "a parameter is not finite"),
    "weight infinite in the data": (float_at("decoder.3.bias", -np.inf), "a parameter is not finite"),
    "mean infinite": (float_at("scaler.mean", np.inf, "<f8"), "a parameter is not finite"),
    "deviation zero": (float_at("scaler.deviation", 0.0, "<f8"), "a deviation of the scaler is not positive"),
    "deviation negative": (float_at("scaler.deviation", -1.0, "<f8"), "a deviation of the scaler is not positive"),
    "header is a list": (raw_header(b"[]"), "its header is not JSON"),
    "header is nothing": (raw_header(b""), "its header is not JSON"),
    "header is deep": (raw_header(b"[" * 200_000), "its header is not JSON"),
    "header has a huge integer": (raw_header(b'{"a": ' + b"9" * 100_000 + b"}"), "its header is not JSON"),
    "header is not UTF-8": (raw_header(b'{"\xff": 1}'), "its header is not JSON"),
    "metadata is deep": (metadata({"pyscore": "{" * 5 + '"a":' + "[" * 100_000}), "its pyscore metadata is not"),
    "metadata is a list": (metadata(["pyscore"]), "it was not written by pyscore"),
    "metadata is a number": (metadata({"pyscore": 1}), "it was not written by pyscore"),
    "metadata is no object": (metadata({"pyscore": "3"}), "its pyscore metadata is not"),
    "no metadata": (
        lambda index, header, body: {k: v for k, v in index.items() if k[0] != "_"},
        "not written by py",
    ),
    "entry is a list": (lambda index, header, body: {**index, "mu.bias": []}, "tensor 'mu.bias' is malformed"),
    "entry is null": (lambda index, header, body: {**index, "mu.bias": None}, "tensor 'mu.bias' is malformed"),
    "lone surrogate as a name": (renamed("mu.bias", "\ud800"), "missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(tmp_path, model_bytes, damage):
    change, message = DAMAGE[damage]
    with pytest.raises(ModelFileError, match=message) as caught:
        load_bytes(tmp_path, edited(model_bytes, change))
    assert "damaged.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_unedited_file_loads(tmp_path, model_bytes):
    assert load_bytes(tmp_path, edited(model_bytes, lambda *_: None)).model.digest() == fitted().model.digest()


FOREIGN = {
    "empty": b"",
    "text": b"hello, this is a text file, not a model\n" * 10,
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x04\x95" + bytes(100),
    "parquet": b"PAR1" + bytes(100),
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(tmp_path, kind):
    with pytest.raises(ModelFileError, match=r"is not a pyscore model file: "):
        load_bytes(tmp_path, FOREIGN[kind])


def test_foreign_safetensors(tmp_path):
    save_file({"w": np.zeros(3)}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFileError, match=r"not written by pyscore .a safetensors file of another program"):
        FittedModel.load(tmp_path / "other.safetensors")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot read .*none.safetensors': No such file"):
        FittedModel.load(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match=r"cannot read .*: Is a directory"):
        FittedModel.load(tmp_path)


@pytest.mark.parametrize("start", [b"", b"\x93NUMPY\x01\x00", (10).to_bytes(8, "little") + b"{}        "])
def test_a_large_foreign_file_is_not_read_whole(tmp_path, start):
    path = tmp_path / "large.bin"
    path.write_bytes(start)
    os.truncate(path, 1 << 34)  # sparse: 16 GiB that take no room
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=r"is not a pyscore model file"):
            FittedModel.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_model_is_no_checkpoint_and_the_reverse(tmp_path):
    fitted().save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=r"is not a pyscore checkpoint file: it is a 'pyscore.model' file"):
        read_tensors(tmp_path / "m.safetensors", "checkpoint", 1)
    write_tensors(tmp_path / "c.safetensors", "checkpoint", 1, {"step": 0}, {"history": np.empty((0, 3))})
    header, tensors = read_tensors(tmp_path / "c.safetensors", "checkpoint", 1)
    assert header == {"step": 0}
    assert tensors["history"].shape == (0, 3)
    with pytest.raises(ModelFileError, match=r"it is a 'pyscore.checkpoint' file"):
        FittedModel.load(tmp_path / "c.safetensors")


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────


def trainer(seed=0):
    x = np.random.default_rng(0).standard_normal((20, 3))
    return Trainer(SVAE.initialise(3, 2, 4, 2), x, TrainConfig(steps=3, batch_size=5, seed=seed))


@pytest.mark.parametrize(
    ("field", "value"),
    [("step", None), ("step", "3"), ("step", -1), ("step", 4), ("step", 3.0), ("history", np.zeros((3, 2)))],
)
def test_damaged_checkpoints(tmp_path, field, value):
    path, run = tmp_path / "c.safetensors", trainer()
    run.run(checkpoint=path)
    header, tensors = read_tensors(path, "checkpoint", 2)
    (tensors if field == "history" else header)[field] = value
    write_tensors(path, "checkpoint", 2, header, tensors)
    with pytest.raises(ModelFileError, match=r"is not a valid checkpoint: its step count or history is damaged"):
        trainer().load_checkpoint(path)


def test_checkpoint_of_another_run(tmp_path):
    trainer().run(checkpoint=tmp_path / "c")
    with pytest.raises(InvalidInput, match=r"belongs to another run: its config differ"):
        trainer(seed=1).load_checkpoint(tmp_path / "c")
