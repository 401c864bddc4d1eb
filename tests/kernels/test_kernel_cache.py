"""Where compiled kernels are kept, and what happens where nothing can be: always the right numbers, never a crash."""

import compileall
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pyscore._core import cache_folders
from pyscore._core.cache_folders import kernel_folders

SCRIPT = """
import sys, warnings
warnings.simplefilter("always")
import numpy as np
import pyscore
from pyscore.errors import WriteError
from pyscore.kernels.cpu import _kernel_cache, log_prior
from pyscore.kernels.cpu._compile import compiled
if "edited" in sys.argv:
    _kernel_cache._sources = lambda: [b"another text"]
if "full" in sys.argv:
    def full(path):
        raise WriteError("the disk is full")
    _kernel_cache.atomic_write = full
if "nowhere" in sys.argv:
    _kernel_cache.kernel_folders.__globals__["_temporary"] = lambda: None

@compiled
def kernel(x, out):
    work = np.zeros(3)
    for i in range(3):
        work[i] = min(x[i], 2.0)
    out[0] = work.sum()

out = np.zeros(1)
if "service" in sys.argv:  # an account without an entry in the list of users; the files were read before
    import os, numba
    numba.njit(lambda x: np.zeros(3).sum() + min(x, 2.0))(1.0)
    assert not _kernel_cache._places.cache_info().currsize
    os.setgroups([]), os.setgid(65533), os.setuid(65533)
kernel(np.arange(1.0, 4.0), out)
assert out[0] == 5.0
if "real" in sys.argv:
    kernel, x = sys.modules["pyscore.kernels.cpu.log_prior"]._run, np.eye(3, dtype=np.float32)
    found = log_prior(x, x[:1], np.full(1, 2.0), pyscore.reference.log_vmf_normaliser(np.full(1, 2.0), 3))
    assert np.allclose(found, pyscore.reference.log_prior(x, x[:1], [2.0]))
import numba
print(pyscore.__file__)
print("disabled", numba.config.DISABLE_JIT, isinstance(numba.njit(lambda: 1), type(lambda: 1)))
print("hits", sum(kernel.stats.cache_hits.values()), "misses", sum(kernel.stats.cache_misses.values()))
"""
NO_FOLDER = "/dev/null/none"
"""A folder that not even root can make."""


def run(*options, **variables):
    """Run a kernel in a fresh process, and return its lines: what it says on stderr comes last."""
    keep = {
        k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR")
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *options], env=keep | variables, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A user's cache that holds the kernel."""
    folder = tmp_path_factory.mktemp("cache")
    assert "hits 0 misses 1" in run(XDG_CACHE_HOME=str(folder))
    return folder


def test_the_second_process_finds_the_kernel_in_the_users_cache(warm):
    said = run(XDG_CACHE_HOME=str(warm))
    assert "hits 1 misses 0" in said
    assert "Compiled kernels are" not in said
    (file,) = warm.rglob("*.kernel")
    assert file.parent.parent == warm / "pyscore" / "kernels"
    assert f"numba-{__import__('numba').__version__}" in file.parent.name


def test_the_users_choice_is_taken_without_a_word(warm, tmp_path):
    shutil.copytree(warm / "pyscore" / "kernels", tmp_path / "pyscore")
    (tmp_path / "pyscore").chmod(0o777)  # who may write there is the user's business
    said = run(NUMBA_CACHE_DIR=str(tmp_path), XDG_CACHE_HOME=NO_FOLDER)
    assert "hits 1 misses 0" in said
    assert "Warning" not in said


def test_a_change_in_any_file_is_noticed(warm):
    """After an edit of the QR, say, the entry point must not come out of the cache: its own file did not change."""
    assert "hits 0 misses 1" in run("edited", XDG_CACHE_HOME=str(warm))


def test_a_damaged_file_is_made_again(warm, tmp_path):
    shutil.copytree(warm, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.kernel"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert "hits 0 misses 1" in run(XDG_CACHE_HOME=str(tmp_path))
    assert "hits 1 misses 0" in run(XDG_CACHE_HOME=str(tmp_path))


def test_without_a_home_the_kernels_are_temporary_and_a_note_says_so(warm, tmp_path):
    folder = tmp_path / f"pyscore-{os.geteuid()}"
    shutil.copytree(warm / "pyscore" / "kernels", folder)
    folder.chmod(0o700)
    said = run(XDG_CACHE_HOME=NO_FOLDER, TMPDIR=str(tmp_path))
    assert "hits 1 misses 0" in said
    assert f"Compiled kernels are kept in {folder} until that is emptied. Set NUMBA_CACHE_DIR" in said


def test_where_no_folder_can_be_written_each_process_compiles(tmp_path):
    said = run("nowhere", XDG_CACHE_HOME=NO_FOLDER)
    assert "hits 0 misses 1" in said
    assert "Compiled kernels are not kept: every process makes its own. Set NUMBA_CACHE_DIR" in said


def test_a_full_disk_costs_a_note(tmp_path):
    said = run("full", XDG_CACHE_HOME=str(tmp_path))
    assert "hits 0 misses 1" in said
    assert "a compiled kernel is not kept for the next process: the disk is full" in said


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, monkeypatch):
    """What lies in the folder is run as code."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_folders.tempfile, "gettempdir", lambda: str(tmp_path))
    own = tmp_path / "cache" / "pyscore" / "kernels"
    assert kernel_folders() == ((own,), own, None)
    own.chmod(0o777)
    temporary = tmp_path / f"pyscore-{os.geteuid()}"
    read, write, note = kernel_folders()
    assert read == (temporary,)
    assert write == temporary
    assert f"{own} cannot be used: it belongs to another user, or others may write to it" in note
    temporary.rmdir()
    (tmp_path / "elsewhere").mkdir()
    temporary.symlink_to(tmp_path / "elsewhere")  # planted by somebody
    assert kernel_folders()[:2] == ((), None)


def test_a_cache_that_may_only_be_read_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_folders.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(
        cache_folders, "_unwritable", lambda folder, private: None if "pyscore-" in str(folder) else "no"
    )
    read, write, note = kernel_folders(str(tmp_path / "named"))
    assert read[0] == tmp_path / "named" / "pyscore"
    assert write == tmp_path / f"pyscore-{os.geteuid()}"
    assert "named/pyscore cannot be used: no" in note


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.setattr(cache_folders.platformdirs, "user_cache_dir", lambda *args, **rest: "~/.cache/pyscore")
    assert cache_folders.user_cache() is None
    assert "this user has no home folder" in kernel_folders()[2]


def test_numba_that_is_switched_off_compiles_ours_alone(warm):
    """Debuggers and coverage switch Numba off for a user's functions; these have no Python to run."""
    assert "disabled 1 True\nhits 1 misses 0" in run(XDG_CACHE_HOME=str(warm), NUMBA_DISABLE_JIT="1")
    assert "disabled 1 True\nhits 0 misses 1" in run(
        "edited", "real", XDG_CACHE_HOME=str(warm), NUMBA_DISABLE_JIT="1"
    )


LIMIT = """
import resource
import numpy as np
from pyscore.errors import OutOfMemory
from pyscore.kernels.cpu import _kernel_cache, log_prior
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + _kernel_cache.COMPILER_BYTES // 2,) * 2)
try:
    log_prior(np.eye(3), np.eye(3), np.ones(3), np.ones(3))
except OutOfMemory as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says how much address space is used")
def test_a_limit_on_memory_is_an_error_and_no_abort_of_the_compiler(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LIMIT], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "needs 400 MB of address space; the limit of this process (ulimit -v) leaves" in done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package as an installation has it."""
    import pyscore
    from pyscore import kernels

    folder = tmp_path_factory.mktemp("copy")
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pyscore.__file__).parent, folder / "pyscore", ignore=leave)
    shutil.copytree(
        Path(kernels.__file__).parent, folder / "pyscore" / "kernels", ignore=leave, dirs_exist_ok=True
    )
    return folder


def test_from_a_zip(copy, warm, tmp_path):
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(copy.rglob("*.py")):
            file.write(path, path.relative_to(copy))
    said = run(PYTHONPATH=str(archive), XDG_CACHE_HOME=str(warm))
    assert said.startswith(str(archive))
    assert "hits 1 misses 0" in said  # the same files, so the same kernels


def test_from_byte_code_alone(copy, tmp_path):
    shutil.copytree(copy, tmp_path / "code")
    assert compileall.compile_dir(tmp_path / "code", quiet=1, legacy=True)
    for path in (tmp_path / "code").rglob("*.py"):
        path.unlink()
    for said in ("hits 0 misses 1", "hits 1 misses 0"):
        found = run(PYTHONPATH=str(tmp_path / "code"), XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert found.startswith(str(tmp_path / "code"))
        assert said in found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root becomes another user")
def test_a_service_account_with_a_read_only_installation(warm, tmp_path):
    """Uid 65,533 has no entry in the list of users, no home, and may write nowhere but to the temporary files."""
    nobody = 65533
    folder = Path("/tmp") / f"pyscore-test-{os.getpid()}"
    folder.mkdir()
    try:
        shutil.copytree(warm / "pyscore" / "kernels", folder / f"pyscore-{nobody}")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody, nobody)
        said = run("service", TMPDIR=str(folder))
    finally:
        shutil.rmtree(folder)
    assert "hits 1 misses 0" in said
    assert "this user has no home folder. Compiled kernels are kept in" in said


FORBID = """
import importlib.abc, sys
class Forbidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Forbidden())
"""


def test_numba_is_not_imported_unless_it_computes(tmp_path):
    """Importing pyscore, reading a model, the numpy backend and `doctor` work where Numba is broken."""
    import numpy as np

    from pyscore.convention import EXACT
    from pyscore.data.preprocessing import Standardiser
    from pyscore.reference.model import SVAE
    from pyscore.scoring.fitted import FittedModel

    x = np.random.default_rng(0).normal(size=(50, 3))
    model = FittedModel(SVAE.initialise(3, 2, 4, 2), Standardiser.fit(x, ("a", "b", "c")), EXACT)
    model.save(tmp_path / "m.safetensors")
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c", comments="")
    script = """
import pyscore
from pyscore.cli.app import main
import numpy as np
x = np.loadtxt("t.csv", delimiter=",", skiprows=1)
model = pyscore.FittedModel.load("m.safetensors")
assert np.isfinite(model.scores(x, backend="numpy").to_numpy()).all()
for line in (["doctor", "--json"], ["score", "m.safetensors", "t.csv", "--backend", "numpy", "-o", "s.csv", "--scores", "all"],
             ["explain", "m.safetensors", "t.csv", "--backend", "numpy", "--row", "1"]):
    try:
        main(line)
    except SystemExit as end:
        assert not end.code, line
"""
    done = subprocess.run(
        [sys.executable, "-c", FORBID + script], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    written = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=1, ndmin=2)
    assert np.allclose(written, model.scores(x, None, backend="numpy").to_numpy())
