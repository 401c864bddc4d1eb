"""Choosing a transport and starting it, each in an interpreter of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from julia_transport import JULIA, TRANSPORT

SHOW = (
    "import logging, sys\n"
    "logging.basicConfig(level=logging.INFO, stream=sys.stderr, format='%(message)s')\n"
    "from pyscore.backends.julia_ import julia_backend\n"
    "from pyscore.errors import BackendUnavailable, InvalidInput, JuliaError\n"
)


def python(program, *, path=None, keep=False, **environment):
    """Run a program with these variables set, without those of juliacall unless kept, and with PATH cut to `path`."""
    clean = {k: v for k, v in os.environ.items() if keep or not k.startswith(("PYTHON_JULIA", "JULIA"))}
    clean |= environment | ({} if path is None else {"PATH": path})
    return subprocess.run(
        [sys.executable, "-c", SHOW + program], env=clean, capture_output=True, text=True, check=False
    )


def test_importing_starts_nothing():
    result = python("assert not {'juliacall', 'juliapkg', 'torch'} & set(sys.modules)")
    assert result.returncode == 0, result.stderr


def test_auto_without_any_julia_names_both_and_the_commands(tmp_path):
    result = python(
        "try: julia_backend()\nexcept BackendUnavailable as e: print(e)",
        path="/nowhere",
        PYTHON_JULIAPKG_PROJECT=str(tmp_path),
    )
    assert "PYTHON_JULIACALL_EXE" in result.stdout
    assert "no `julia` on the PATH" in result.stdout
    assert "juliaup" in result.stdout
    assert "import juliacall" in result.stdout
    assert not any(tmp_path.iterdir()), "nothing may be downloaded unasked"


def test_auto_takes_the_executable_and_says_so(tmp_path):
    fake = tmp_path / "bin" / "julia"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho a fake julia >&2\nexit 3\n")
    fake.chmod(0o755)
    result = python(
        "b = julia_backend(); print(b.transport)\ntry: b.call('echo', 1)\nexcept JuliaError as e: print(e)",
        path=f"{fake.parent}:/usr/bin:/bin",
        PYTHON_JULIAPKG_PROJECT=str(tmp_path / "none"),
    )
    assert result.stdout.startswith("executable\n"), result.stderr
    assert "ended while starting" in result.stdout
    assert "a fake julia" in result.stdout
    assert "transport 'executable'" in result.stderr


def test_auto_takes_juliacall_when_its_julia_is_named():
    result = python("print(julia_backend().transport)", PYTHON_JULIACALL_EXE="/nowhere/julia")
    assert result.stdout == "juliacall\n", result.stderr
    assert "transport 'juliacall'" in result.stderr


def test_auto_takes_juliacall_when_its_julia_was_resolved(tmp_path):
    (tmp_path / "pyjuliapkg").mkdir()
    (tmp_path / "pyjuliapkg" / "meta.json").write_text("{}")
    result = python("print(julia_backend().transport)", PYTHON_JULIAPKG_PROJECT=str(tmp_path))
    assert result.stdout == "juliacall\n", result.stderr


def test_juliacall_with_a_wrong_executable_ends_in_an_error_that_shows_it(tmp_path):
    result = python(
        "b = julia_backend('juliacall', executable='/nowhere/julia', project='/nowhere')\n"
        "try: b.call('echo', 1)\nexcept JuliaError as e: print(e)"
    )
    assert "Julia by juliacall ended while starting" in result.stdout, result.stderr
    assert "/nowhere" in result.stdout


def test_juliacall_needs_both_or_none():
    result = python("try: julia_backend('juliacall', executable='/x')\nexcept InvalidInput as e: print(e)")
    assert "must be given together" in result.stdout


def test_the_child_gets_its_environment(tmp_path):
    """A fake juliacall shows what the child was given, and that nothing was imported before it."""
    (tmp_path / "juliacall.py").write_text(
        "import os, sys\n"
        "print('before:', {'torch', 'numba', 'pyscore', 'numpy'} & set(sys.modules))\n"
        "for name in ('EXE', 'PROJECT', 'HANDLE_SIGNALS', 'STARTUP_FILE'):\n"
        "    print(name, os.environ.get('PYTHON_JULIACALL_' + name))\n"
        "sys.exit(9)\n"
    )
    result = python(
        "b = julia_backend('juliacall', executable='/a/julia', project='/a/project')\n"
        "try: b.call('echo', 1)\nexcept JuliaError as e: print(e)",
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )
    for line in ("before: set()", "EXE /a/julia", "PROJECT /a/project", "HANDLE_SIGNALS yes", "STARTUP_FILE no"):
        assert line in result.stdout, result.stdout + result.stderr


def test_a_start_that_hangs_is_ended(tmp_path):
    fake = tmp_path / "julia"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    result = python(
        f"b = julia_backend('executable', executable={str(fake)!r}, start_timeout=0.3)\n"
        "try: b.call('echo', 1)\nexcept JuliaError as e: print(e)"
    )
    assert "did not answer within 0.3 s while starting" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'telepathy'", "`transport` must be one of"),
        ("'executable', executable='/nowhere/julia'", "no executable '/nowhere/julia'"),
        ("'executable', timeout=0", "`timeout` must be"),
        ("'executable', executable=sys.executable, dtype='int64'", "`dtype` must be float32 or float64"),
    ],
)
def test_bad_arguments(arguments, message):
    result = python(f"try: julia_backend({arguments})\nexcept Exception as e: print(type(e).__name__, e)")
    assert message in result.stdout, result.stderr


@pytest.mark.julia
def test_starting_is_announced():
    result = python(f"julia_backend({TRANSPORT!r}).call('echo', 1)", keep=True)
    assert f"starting Julia by {TRANSPORT}" in result.stderr
    assert "runs as process" in result.stderr


@pytest.mark.julia
@pytest.mark.skipif(JULIA is None, reason="the variables are those of the executable")
def test_the_users_julia_environment_does_not_interfere(tmp_path):
    result = python(
        "print(julia_backend('executable').call('echo', 1))",
        JULIA_LOAD_PATH=str(tmp_path),
        JULIA_PROJECT=str(tmp_path),
    )
    assert result.stdout == "1\n", result.stderr


@pytest.mark.julia
@pytest.mark.skipif(JULIA is None, reason="runs the executable whatever the transport is")
def test_package_tests_pass():
    """`julia/test/runtests.jl`: closed forms, differences, both routes, type stability."""
    package = Path(__file__).resolve().parents[2] / "julia"
    command = [
        JULIA,
        "--startup-file=no",
        f"--project={package}",
        str(package / "test" / "runtests.jl"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "Pass" in result.stdout


@pytest.mark.julia
@pytest.mark.skipif(JULIA is None, reason="runs the executable whatever the transport is")
@pytest.mark.parametrize(("name", "said"), [("readme", "blocks of README.md ran"), ("quality", "Pass")])
def test_the_page_for_julians_and_the_checks_of_quality(name, said):
    """README.md's blocks; ambiguities, unbound type parameters, piracy."""
    package = Path(__file__).resolve().parents[2] / "julia"
    command = [JULIA, "--startup-file=no", f"--project={package}", str(package / "test" / f"{name}.jl")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert said in result.stdout
