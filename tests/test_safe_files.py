"""Model files that may come from anywhere: 10,000 mutated ones are each an error or the same model.

Two kinds of mutation: damage, which the checksum notices whatever it hits; and an author of ill will, who
writes a checksum that fits, so that only the checks of the fields stand between the file and the program.
"""

import copy
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyscore._core import files as storage
from pyscore._core.files import atomic_write, pack_tensors
from pyscore.convention import EXACT
from pyscore.data.preprocessing import Imputer, Standardiser
from pyscore.errors import InvalidInput, ModelFileError
from pyscore.reference.model import SVAE
from pyscore.scoring import fitted
from pyscore.scoring.fitted import FittedModel, fit
from pyscore.training.config import TrainConfig

COLUMNS = ("a", "κ, µ", '"quoted"')


def small(columns=COLUMNS, imputer=True):
    model = SVAE.initialise(3, 2, 4, 1, seed=7)
    scaler = Standardiser(np.array([0.1, -2.0, 1e100]), np.array([1.0, 5e-324, 1e-3]), columns)
    medians = Imputer(np.array([0.5, 0.0, -1.0])) if imputer else None
    return FittedModel(
        model, scaler, EXACT, {"steps": 3, "rates": [0.1, 1e-300], "of": {"c": None}}, imputer=medians
    )


DATA = small().to_bytes()


def same(one, two):
    """Semantically equal: every array to the bit, every text and number."""
    return (one.digest(), one.training) == (two.digest(), two.training)


def signed(data):
    """The file with a checksum that fits."""
    found = re.search(rb'sha256\\": \\"([0-9a-f]{64})\\"', data)
    if found is None:
        return data
    begin, end = found.span(1)
    digest = hashlib.sha256(data[:begin] + b"0" * 64 + data[end:]).hexdigest()
    return data[:begin] + digest.encode() + data[end:]


# ── how files are mutated ────────────────────────────────────────────────────────────────────────────────


def damaged(rng, data):
    """1 to 4 places changed, deleted, inserted or cut off, half of them in the header."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        header = 8 + int.from_bytes(data[:8], "little")
        place = int(rng.integers(max(1, min(len(changed), header if rng.random() < 0.5 else len(data)))))
        kind = rng.integers(6)
        if kind == 0 and changed:
            changed[min(place, len(changed) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1 and changed:
            changed[min(place, len(changed) - 1)] = int(rng.integers(256))
        elif kind == 2:
            del changed[place : place + int(rng.integers(1, 20))]
        elif kind == 3:
            changed[place:place] = rng.bytes(int(rng.integers(1, 20)))
        elif kind == 4:
            del changed[place:]
        elif changed:  # digits and brackets make sizes and offsets wrong
            changed[min(place, len(changed) - 1)] = int(rng.choice(list(b'0123456789{}[],:"-e.')))
    return bytes(changed)


WILD = [
    None, True, False, 0, 1, -1, 2, 3, 2**31, 2**61, 2**62, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "x", "NaN", "\ud800", "\x00", "κ" * 50, "F64", "I64", "swish", "relu", [], [0], [1], [[]], [2, 3],
    [2**61, 8], [0, 2**61, 2**61], [1] * 100, [None], ["a", "a", "b"], ["a", "b", "c"], {}, {"": {}}, {"a": [1]},
]  # fmt: skip


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def places(value, path=()):
    """Every place of a JSON value, as a path."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        yield from places(entry, (*path, key))


def replaced(value, path, new):
    """A copy with another value at the path; `new` is applied to the old one."""
    if not path:
        return new(value)
    other = dict(value) if isinstance(value, dict) else list(value)
    other[path[0]] = replaced(other[path[0]], path[1:], new)
    return other


def removed(value, path):
    """A copy without the entry at the path."""

    def without(container):
        if isinstance(container, dict):
            return {k: v for k, v in container.items() if k != path[-1]}
        return [v for i, v in enumerate(container) if i != path[-1]]

    return replaced(value, path[:-1], without) if path else None


def turned(value):
    """A list backwards: a shape transposed, columns exchanged."""
    return value[::-1] if isinstance(value, list) else value


def tampered(rng, data):
    """The fields of the header, the table of contents or the numbers changed, under a checksum that fits."""
    length = int.from_bytes(data[:8], "little")
    index = json.loads(data[8 : 8 + length])
    header = json.loads(index["__metadata__"]["pyscore"])
    body = bytearray(data[8 + length :])
    for _ in range(rng.integers(1, 3)):
        which = index if rng.random() < 0.5 else header
        paths = list(places(which))
        path = paths[rng.integers(len(paths))]
        kind = rng.integers(8)
        if kind <= 2:
            which = replaced(which, path, lambda _: WILD[rng.integers(len(WILD))])
        elif kind == 3:
            which = removed(which, path) or {}
        elif kind == 4 and path and isinstance(path[-1], str):  # another name
            name = str(rng.choice(["", "x", "mu.bias", "columns", "__proto__", path[-1] + "\ud800"]))
            which = replaced(
                which, path[:-1], lambda v, old=path[-1], name=name: {name if k == old else k: v[k] for k in v}
            )
        elif kind == 5:  # numbers a little off: offsets that overlap or leave gaps, shapes that do not fit
            off = int(rng.choice([-8, -4, -1, 1, 4, 8, 2**33]))
            which = replaced(which, path, lambda v, off=off: v + off if type(v) in (int, float) else turned(v))
        elif kind == 6 and len(body) >= 8:  # bits of the numbers: NaN, infinity, zero, subnormal
            at = int(rng.integers(len(body) // 4)) * 4
            value = rng.choice([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-45, 3.4e38])
            body[at : at + 4] = np.float32(value).tobytes()
        elif kind == 7:
            which = replaced(which, path, lambda v: {"deep": deep(int(rng.choice([3, 9, 700])))})
        if not isinstance(which, dict):
            which = {}
        if "format" in which or which is header:
            header = which
        else:
            index = which
        if kind == 7:
            break
    if isinstance(index.get("__metadata__"), dict) and "pyscore" in index["__metadata__"] and rng.random() < 0.95:
        index["__metadata__"] = {**index["__metadata__"], "pyscore": json.dumps(header)}
    text = json.dumps(index).encode()
    if rng.random() < 0.03:  # a name twice
        text = text.replace(b"{", b'{"mu.bias": 1, ', 1)
    return signed(len(text).to_bytes(8, "little") + text + bytes(body))


# ── what must hold for each ──────────────────────────────────────────────────────────────────────────────


def outcome(data):
    """None for an error of pyscore, else the model; any other exception fails the test."""
    try:
        return FittedModel.from_bytes(data)
    except ModelFileError as error:
        text = str(error)
    assert len(text) < 1500
    assert text.encode()  # printable: no half of a surrogate pair
    return None


def valid(model):
    """A model that an honest author could have written."""
    d = model.model.input_dim
    rows = [model.standardiser.mean, model.standardiser.deviation]
    rows += [] if model.imputer is None else [model.imputer.median]
    assert all(row.shape == (d,) and row.dtype == np.float64 and np.isfinite(row).all() for row in rows)
    assert (model.standardiser.deviation > 0).all()
    assert all(np.isfinite(a).all() and a.dtype.kind == "f" for a in model.model.parameters().values())
    names = model.standardiser.columns
    assert len(set(names)) == len(names) == d
    assert all(isinstance(name, str) and name.encode() is not None for name in names)
    with np.errstate(all="ignore"):
        assert model.model.decode(model.model.encode(np.zeros((2, d)))[0]).shape == (2, d)
    assert copy.deepcopy(model.training) == model.training
    again = FittedModel.from_bytes(model.to_bytes())  # and it can be written, which deep nesting could not
    assert same(again, model)


def test_an_unchanged_file_is_the_same_model():
    assert same(FittedModel.from_bytes(DATA), small())
    assert same(FittedModel.from_bytes(signed(DATA)), small())
    assert signed(DATA) == DATA


def test_every_single_bit_of_a_file_matters():
    rng = np.random.default_rng(0)
    for place in rng.choice(8 * len(DATA), 2000, replace=False):
        data = bytearray(DATA)
        data[place // 8] ^= 1 << (place % 8)
        assert outcome(bytes(data)) is None, f"bit {place % 8} of byte {place // 8} was not noticed"


def fuzz_damage(count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        data = damaged(rng, DATA)
        assert data == DATA or outcome(data) is None


def fuzz_tampering(count):
    """Number of models that came out; other numbers and names make another valid model, which no reader can refuse."""
    rng = np.random.default_rng(2)
    models = 0
    for i in range(count):
        model = outcome(signed(damaged(rng, DATA)) if i % 5 == 0 else tampered(rng, DATA))
        if model is not None:
            models += 1
            valid(model)
    return models


def test_4000_damaged_files_are_errors():
    fuzz_damage(4000)


def test_4000_tampered_files_are_errors_or_valid_models():
    assert 200 < fuzz_tampering(4000) < 2000


BUGS = {
    "no checksum": (storage, "_verify", lambda *_: None),
    "no checks of the fields": (fitted, "_fields", lambda header: None),
    "no checks of the names": (fitted, "check_names", tuple),
    "no checks of the rows": (fitted, "_row", lambda tensors, name: tensors.pop(name)),
    "no checks of the parts against each other": (fitted, "_consistent", lambda fitted: None),
    "no checks of the nesting": (fitted, "_too_deep", lambda *_: False),
    "no checks of the shapes of parameters": (SVAE, "__post_init__", lambda self: None),
    "lax JSON": (storage, "_json", lambda text, broken, what: json.loads(text)),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_fuzzing_finds_a_missing_check(monkeypatch, bug):
    monkeypatch.setattr(*BUGS[bug])

    def fuzz():
        fuzz_damage(1000)
        fuzz_tampering(1500)

    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a missing check lets through
        fuzz()


def test_memory_is_bounded_by_the_size_of_the_file():
    rng = np.random.default_rng(4)
    bombs = [
        b'{"__metadata__": {}, "a": [' + b"[]," * 300_000 + b"0]}",
        b'{"a":' * 100_000,
        b'"' + b"x" * 10**6 + b'"',
    ]
    files = [len(bomb).to_bytes(8, "little") + bomb for bomb in bombs]
    files += [tampered(rng, DATA) for _ in range(300)] + [damaged(rng, DATA) for _ in range(300)]
    outcome(DATA)
    tracemalloc.start()
    try:
        for data in files:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            outcome(data)
            assert tracemalloc.get_traced_memory()[1] - before < 40 * len(data) + 500_000
    finally:
        tracemalloc.stop()


def test_no_allocation_before_the_checks(tmp_path):
    """A table of contents that claims 64 GiB, read by a process that may have 2 GiB."""
    index = json.loads(DATA[8 : 8 + int.from_bytes(DATA[:8], "little")])
    index["mu.weight"].update(shape=[2**31, 8], data_offsets=[0, 2**36])
    text = json.dumps(index).encode()
    (tmp_path / "huge.safetensors").write_bytes(signed(len(text).to_bytes(8, "little") + text + DATA[-400:]))
    code = """if True:
        import resource, sys, time
        from pyscore import FittedModel
        from pyscore.errors import ModelFileError
        resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
        begin = time.perf_counter()
        try:
            FittedModel.load(sys.argv[1])
        except ModelFileError as error:
            assert "does not fit the file" in str(error), error
            print("refused")
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "huge.safetensors"], capture_output=True, text=True
    )
    assert done.stdout == "refused\n", done.stderr


# ── nothing of a file is executed ────────────────────────────────────────────────────────────────────────


class Bomb:
    def __reduce__(self):
        return os.system, ("touch " + os.environ["PYSCORE_BOMB"],)


@pytest.mark.parametrize("where", ["file", "metadata", "tensor"])
def test_a_pickle_in_a_model_file_stays_bytes(tmp_path, monkeypatch, where):
    monkeypatch.setenv("PYSCORE_BOMB", str(tmp_path / "exploded"))
    payload = pickle.dumps(Bomb())
    if where == "file":
        data = payload
    elif where == "metadata":
        text = json.dumps({"__metadata__": {"pyscore": payload.decode("latin1")}}).encode()
        data = len(text).to_bytes(8, "little") + text
    else:
        data = signed(DATA[: -len(payload)] + payload)
    outcome(data)
    assert not (tmp_path / "exploded").exists()


def test_the_readers_use_nothing_that_executes():
    """Of the modules that read model files, none so much as names a way to run what it reads."""
    for module in (storage, fitted):
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert not re.search(
            r"\b(pickle|eval|exec|__import__|torch\.load|yaml|marshal|shelve|allow_pickle)\b", source
        )


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────


def packed(version, **changes):
    one = small(imputer=False)
    header = {
        "pyscore_version": "0.1.0", "activation": "swish", "columns": list(COLUMNS),
        "convention": EXACT.to_dict(), "training": {},
    }  # fmt: skip
    return pack_tensors("model", version, header | changes, one.model.parameters() | one._scaler())


def version_1():
    """A file as version 1 had it: without a checksum."""
    data = packed(1)
    length = int.from_bytes(data[:8], "little")
    text = re.sub(rb'\\"sha256\\": \\"[0-9a-f]{64}\\", ', b"", data[8 : 8 + length])
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_files_of_version_1_are_read():
    model = FittedModel.from_bytes(version_1())
    assert model.imputer is None
    assert model.digest() == small(imputer=False).digest()


def test_a_file_of_version_1_with_a_checksum_has_it_checked():
    assert FittedModel.from_bytes(packed(1)).imputer is None
    data = bytearray(packed(1))
    data[-1] ^= 1
    with pytest.raises(ModelFileError, match=r"its checksum does not match: it was damaged, or edited by hand"):
        FittedModel.from_bytes(bytes(data))


def test_a_checksum_cannot_be_left_out_of_version_2():
    data = version_1()
    with pytest.raises(ModelFileError, match=r"lacks its checksum"):
        FittedModel.from_bytes(data.replace(b'version\\": 1', b'version\\": 2'))


def test_a_newer_version_says_what_to_do():
    with pytest.raises(
        ModelFileError, match=r"format version 7, newer than 2, the last one known; upgrade pyscore"
    ):
        FittedModel.from_bytes(packed(7))


def test_a_field_of_the_future_is_not_ignored():
    with pytest.raises(ModelFileError, match=r"it has an unknown field 'threshold'"):
        FittedModel.from_bytes(packed(2, threshold=0.5))


# ── other columns ────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_of_other_columns_is_refused_by_name():
    model = small(("a", "b", "c"))
    with pytest.raises(InvalidInput, match=r"the table lacks the column\(s\) b, c. It has c2, a"):
        model.scores(pd.DataFrame({"c2": [1.0], "a": [1.0]}), backend="numpy")


# ── imputation ───────────────────────────────────────────────────────────────────────────────────────────


def test_medians_are_learnt_kept_and_used(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc"))
    frame.iloc[3, 0] = frame.iloc[7, 2] = np.nan
    with pytest.raises(InvalidInput, match=r"got NaN at row 3, column a"):
        fit(frame, TrainConfig(steps=2))
    fit(frame, TrainConfig(steps=2), impute="median").save(tmp_path / "m.safetensors")
    model = FittedModel.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(model.imputer.median, frame.median())
    with pytest.raises(InvalidInput, match=r"got NaN at row 3, column a"):
        model.scores(frame, backend="numpy")
    filled = model.scores(frame, ["proposed"], impute="median", backend="numpy")
    np.testing.assert_array_equal(
        filled, model.scores(frame.fillna(frame.median()), ["proposed"], backend="numpy")
    )
    frame.iloc[5, 1] = np.inf
    with pytest.raises(InvalidInput, match=r"got inf at row 5, column b"):
        model.scores(frame, impute="median", backend="numpy")


def test_medians_that_were_not_learnt():
    with pytest.raises(
        InvalidInput, match=r"this model has learnt no medians. Refit it with `pyscore fit --impute"
    ):
        small(imputer=False).scores(np.zeros((2, 3)), impute="median", backend="numpy")
    with pytest.raises(InvalidInput, match=r"column 'b' has no value at all, so it has no median"):
        fit(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan] * 2}), impute="median")
    with pytest.raises(InvalidInput, match=r"`impute` must be one of 'median'; got 'mean'"):
        small().scores(np.zeros((2, 3)), impute="mean", backend="numpy")


# ── links and devices ────────────────────────────────────────────────────────────────────────────────────


def test_a_link_stays_a_link(tmp_path):
    real, link = tmp_path / "store" / "v1.safetensors", tmp_path / "model.safetensors"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link.symlink_to(real)
    small().save(link)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert real.read_bytes() == DATA
    assert os.listdir(real.parent) == ["v1.safetensors"]  # the temporary file was beside it, and is gone
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "store"]


def test_a_link_to_a_file_that_is_not_there_yet(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_bytes() == b"x"


def test_links_that_lead_nowhere_and_devices_are_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "no folder" / "file")
    os.mkfifo(tmp_path / "pipe")
    for name, why in {
        "loop": "leads back to itself",
        "gone": "There is no folder",
        "pipe": "a device or a pipe",
    }.items():
        with pytest.raises(InvalidInput, match=why), atomic_write(tmp_path / name):
            pass
    assert sorted(os.listdir(tmp_path)) == ["gone", "loop", "pipe"]
