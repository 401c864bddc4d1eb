"""Fuzz one target with atheris for some seconds: ``python tests/fuzz/run.py report 600``.

The corpus grows in a folder of its own (``.fuzz/<target>``); a crash is written there, too, as ``crash-…``. Put it
into ``corpus/<target>``, and mend what it shows.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pyscore", "json"]):
    import targets

    with targets.quiet():  # the targets import what they need; that must not count as the time of an input
        for seed in (targets.CORPUS / sys.argv[1]).iterdir():
            targets.TARGETS[sys.argv[1]](seed.read_bytes())

FOLDER = Path(".fuzz")


def main() -> None:
    """Run the fuzzer; it ends the process with status 0 unless something was found."""
    name, seconds = sys.argv[1], sys.argv[2]
    found = FOLDER / name
    found.mkdir(parents=True, exist_ok=True)
    target = targets.TARGETS[name]

    def once(data: bytes) -> None:
        with targets.quiet():
            target(data)

    options = [
        f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-timeout=300", "-max_len=8192", f"-artifact_prefix={found}/",
        "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(found), str(targets.CORPUS / name)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
