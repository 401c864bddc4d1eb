"""A run that goes on from the parts of an earlier one: their bits, its input and the folder are what they were."""

import json
import os
import shutil
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stream_runs import scores_of, small, stop_after, table, write

from pyscore._core import files as storage
from pyscore._core.fingerprints import fingerprint
from pyscore.errors import InvalidInput
from pyscore.scoring import resumable_output as parts
from pyscore.scoring.stream import score_files


@pytest.fixture(scope="module")
def rows():
    return table()


@pytest.fixture(scope="module")
def expected(rows):
    return small().scores(rows.to_pandas(), ["proposed"], backend="numba")["proposed"].to_numpy()


def again(source, target):
    return score_files(small(), source, target, block_rows=1024)


# ── the parts ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["out.parquet", "out/"])
@pytest.mark.parametrize("where", [0, 0.1, 0.3, 0.5, 0.7, 0.9, -1])
def test_one_flipped_bit_of_a_finished_part_is_found(tmp_path, monkeypatch, rows, expected, target, where):
    source, target = write(tmp_path / "t.parquet", rows), f"{tmp_path}/{target}"
    stop_after(monkeypatch, 4, source, target)
    part = next(tmp_path.glob(".out*.parts/part-000001-*.parquet"))
    data = bytearray(part.read_bytes())
    data[where if where == -1 else int(where * len(data))] ^= 4
    part.write_bytes(data)
    result = again(source, target)
    assert result.resumed == 1024  # the part before it
    np.testing.assert_array_equal(scores_of(result.path), expected)


def test_a_part_that_was_exchanged_for_that_of_another_run_is_not_used(tmp_path, monkeypatch, rows, expected):
    source, other = write(tmp_path / "t.parquet", rows), write(tmp_path / "u.parquet", table(seed=1))
    stop_after(monkeypatch, 4, source, tmp_path / "out.parquet")
    stop_after(monkeypatch, 4, other, tmp_path / "other.parquet")
    foreign = next((tmp_path / ".other.parquet.parts").glob("part-000001-*"))
    next((tmp_path / ".out.parquet.parts").glob("part-000001-*")).unlink()
    shutil.copy(foreign, tmp_path / ".out.parquet.parts")
    assert again(source, tmp_path / "out.parquet").resumed == 1024
    np.testing.assert_array_equal(scores_of(tmp_path / "out.parquet"), expected)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "3", "", '{"input": NaN}', "\udcff"])
def test_a_damaged_manifest_starts_the_run_anew(tmp_path, monkeypatch, rows, expected, text):
    source = write(tmp_path / "t.parquet", rows)
    stop_after(monkeypatch, 3, source, tmp_path / "out.parquet")
    manifest = tmp_path / ".out.parquet.parts" / ".manifest.json"
    manifest.write_bytes(text.encode("utf-8", "surrogateescape"))
    result = again(source, tmp_path / "out.parquet")
    assert result.resumed == 0
    assert "manifest is damaged" in result.restarted or "differ" in result.restarted
    np.testing.assert_array_equal(scores_of(result.path), expected)


@pytest.mark.parametrize("target", ["out.parquet", "out/"])
def test_pages_of_a_result_carry_checksums(tmp_path, rows, target):
    result = score_files(small(), write(tmp_path / "t.parquet", rows), f"{tmp_path}/{target}")
    path = result.path if result.path.is_file() else next(result.path.iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # among the scores
    path.write_bytes(data)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_an_input_page_with_a_wrong_checksum_is_no_input(tmp_path, rows):
    path = tmp_path / "t.parquet"
    pq.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"t.parquet'.*CRC checksum"):
        score_files(small(), path, tmp_path / "out.parquet")
    assert os.listdir(tmp_path) == ["t.parquet"]


# ── the input ────────────────────────────────────────────────────────────────────────────────────────────


def same_size_and_time(path, old, new):
    """Put other bytes where a file was, as `cp -p` does; its size and its time of modification stay."""
    times = os.stat(path)
    assert len(old) == len(new)
    path.write_bytes(new)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.arrow"])
def test_an_input_replaced_by_other_rows_of_the_same_size_and_time(tmp_path, monkeypatch, name):
    def bytes_of(seed):
        rng = np.random.default_rng(seed)
        rows = pa.table({c: rng.integers(1000, 10_000, 4000).astype(float) / 4096 for c in "abc"})
        if name == "t.csv":
            return rows.to_pandas().to_csv(index=False, float_format="%.6f").encode()
        sink = pa.BufferOutputStream()
        if name == "t.parquet":
            pq.write_table(rows, sink, compression="none", use_dictionary=False, write_statistics=False)
        else:
            with pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
        return sink.getvalue().to_pybytes()

    source, target = tmp_path / name, tmp_path / "out.parquet"
    source.write_bytes(bytes_of(0))
    stop_after(monkeypatch, 3, source, target)
    same_size_and_time(source, bytes_of(0), bytes_of(1))
    result = again(source, target)
    assert (result.resumed, result.restarted) == (0, "its input differ")
    kept = scores_of(target)
    score_files(small(), source, tmp_path / "fresh.parquet")
    np.testing.assert_array_equal(kept, scores_of(tmp_path / "fresh.parquet"))


def test_content_tells_where_no_clock_does(tmp_path):
    """Samples of the bytes, for file systems whose clocks are coarse: any byte of the ends, most stretches between."""
    path = tmp_path / "x"
    data = bytes(2_000_000)
    path.write_bytes(data)
    before = fingerprint(path)
    for first, count in ((0, 1), (65_535, 1), (2_000_000 - 65_536, 1), (1_999_999, 1), (970_001, 2_000_000 // 65)):
        changed = bytearray(data)
        changed[first : first + count] = b"x" * count
        path.write_bytes(changed)
        assert fingerprint(path)[4] != before[4], first
    path.write_bytes(data)
    assert fingerprint(path)[4] == before[4]


def test_the_footer_of_a_parquet_file_is_part_of_its_identity(tmp_path):
    """A footer longer than the end that is read of every file."""
    names = [f"a column with a rather long name, number {i}" for i in range(4000)]
    pq.write_table(pa.table({n: [0.5] * 3 for n in names}), tmp_path / "x.parquet")
    before = fingerprint(tmp_path / "x.parquet")[4]
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    length = int.from_bytes(data[-8:-4], "little")
    assert length > 2 * 65_536
    data[-length + 5000] ^= 1
    (tmp_path / "x.parquet").write_bytes(data)
    assert fingerprint(tmp_path / "x.parquet")[4] != before


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────────


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "link to nowhere", "file", "marked by a link"])
@pytest.mark.parametrize("target", ["out.parquet", "out/"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, rows, kind, target):
    planted = tmp_path / (".out.parquet.parts" if target == "out.parquet" else ".out.parts")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "part-000000.parquet").write_bytes(b"precious")
    (theirs / "part-000001-00000000.parquet").write_bytes(b"precious")
    (theirs / ".manifest.json").write_text("{}")
    if kind == "folder":
        shutil.copytree(theirs, planted)
    elif kind == "link to a folder":
        planted.symlink_to(theirs)
    elif kind == "link to nowhere":
        planted.symlink_to(tmp_path / "nowhere")
    elif kind == "file":
        planted.write_bytes(b"precious")
    else:
        shutil.copytree(theirs, planted)
        (theirs / "mark").touch()
        (planted / parts.MARK).symlink_to(theirs / "mark")
    source = write(tmp_path / "t.parquet", rows)
    before = everything(tmp_path)
    with pytest.raises(InvalidInput, match=r"the parts of '.*' would be written to '.*parts', but that .*Move it"):
        score_files(small(), source, f"{tmp_path}/{target}")
    assert everything(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()


def test_links_planted_in_a_folder_of_ours_are_not_followed(tmp_path, monkeypatch, rows, expected):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out.parquet"
    stop_after(monkeypatch, 3, source, target)
    folder, precious = tmp_path / ".out.parquet.parts", tmp_path / "precious"
    precious.write_bytes(b"precious")
    for name in (".manifest.json", ".owner.json", "joined.tmp", "part.tmp", "part-000007-00000000.parquet"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(precious)
    again(source, target)
    assert precious.read_bytes() == b"precious"
    np.testing.assert_array_equal(scores_of(target), expected)
    assert not os.path.lexists(folder)


def test_what_the_user_has_put_into_our_folder_stays(tmp_path, monkeypatch, rows):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out.parquet"
    stop_after(monkeypatch, 3, source, target)
    folder = tmp_path / ".out.parquet.parts"
    (folder / "notes.txt").write_text("mine")
    again(source, target)
    assert os.listdir(folder) == ["notes.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another user")
def test_the_folder_of_another_user_is_not_used(tmp_path, monkeypatch, rows):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out.parquet"
    stop_after(monkeypatch, 3, source, target)
    os.chown(tmp_path / ".out.parquet.parts", 1234, 1234)
    with pytest.raises(InvalidInput, match="belongs to another user"):
        again(source, target)


@pytest.mark.parametrize("target", ["out.parquet", "out.csv", "out.arrow"])
def test_a_result_that_is_replaced_keeps_its_permissions_and_its_parts_are_private(
    tmp_path, monkeypatch, rows, target
):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / target
    target.write_bytes(b"old")
    target.chmod(0o600)
    stop_after(monkeypatch, 3, source, target)
    folder = next(tmp_path.glob(".out*.parts"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again(source, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.unlink()
    old = os.umask(0o027)
    try:
        again(source, target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
    finally:
        os.umask(old)


def test_a_folder_of_results_has_the_permissions_of_the_one_that_was_there(tmp_path, rows):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out"
    target.mkdir(mode=0o750)
    again(source, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert stat.S_IMODE(next(target.iterdir()).stat().st_mode) == 0o666 & ~current_umask()


def current_umask():
    old = os.umask(0)
    os.umask(old)
    return old


@pytest.mark.parametrize("step", range(12))
def test_killed_at_every_step_of_finishing_a_folder(tmp_path, monkeypatch, rows, expected, step):
    """Each rename and each deletion at the end; the same call then completes, or says that the result is there."""
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out"
    monkeypatch.setattr("pyscore.scoring.stream.PART_ROWS", 2048)
    done = []

    class Stopped(BaseException):
        pass

    def counted(real):
        def call(*args, **kwargs):
            done.append(args)
            if len(done) > step:
                raise Stopped
            return real(*args, **kwargs)

        return call

    def finishing(self, real=parts.Parts._finish_folder):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted(os.replace))
            patch.setattr(os, "chmod", counted(os.chmod))
            patch.setattr("pathlib.Path.unlink", counted(parts.Path.unlink))
            real(self)

    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "_finish_folder", finishing)
        patch.setattr(parts, "_remove", lambda folder: None)
        stopped = False
        try:
            score_files(small(), source, f"{target}/", block_rows=1024)
        except Stopped:
            stopped = True
    assert stopped == (step < 10)
    if stopped and not (target.is_dir() and not parts._marked(target)):
        result = score_files(small(), source, f"{target}/", block_rows=1024)
        assert result.resumed == result.rows == 5000
        assert sorted(os.listdir(target)) == ["part-000000.parquet", "part-000001.parquet", "part-000002.parquet"]
    np.testing.assert_array_equal(scores_of(target), expected)
    assert not (tmp_path / ".out.parts").exists()


def test_a_finished_folder_of_another_run_is_not_taken_back(tmp_path, rows):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / "out"
    again(source, f"{target}/")
    (target / parts.MARK).touch()
    (target / parts.MANIFEST).write_text(json.dumps({"another": "run"}))
    with pytest.raises(InvalidInput, match="is not empty"):
        again(source, target)
    assert len(scores_of(target)) == 5000


def test_names_as_long_as_the_file_system_takes(tmp_path, monkeypatch, rows, expected):
    source, target = write(tmp_path / "t.parquet", rows), tmp_path / ("x" * 247 + ".parquet")
    stop_after(monkeypatch, 3, source, target)
    assert again(source, target).resumed > 0
    np.testing.assert_array_equal(scores_of(target), expected)
    assert sorted(os.listdir(tmp_path)) == sorted(["t.parquet", target.name])
    assert storage.hidden_name(target, ".parts") != storage.hidden_name(tmp_path / ("x" * 248), ".parts")
