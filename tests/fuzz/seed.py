"""Make the first files of the corpus anew: ``python tests/fuzz/seed.py``."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from targets import CORPUS, SUFFIXES

from pyscore.bench import record
from pyscore.bench.record import Row
from pyscore.scoring.fitted import fit
from pyscore.training.config import TrainConfig

ROOT = Path(__file__).parents[2]


def joined(files: dict[str, bytes]) -> bytes:
    return b"".join(b"@@" + name.encode() + b"@@" + content for name, content in files.items())


def write(target: str, name: str, data: bytes) -> None:
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(data)


def measurements() -> bytes:
    rows = [
        Row("kernels", "w", "kernel", [0.5, 0.6], base=True, error=1.0, count=10, unit="row", notes="n"),
        Row("kernels", "w", "other", [0.9], target=9.0, count=10, unit="row", facts={"warm-up": 1.0}),
        Row(
            "datasets",
            "iris: proposed",
            "numpy",
            [0.5],
            base=True,
            unit="row",
            facts={"auc": 0.9, "memory_mb": 3.0},
        ),
        Row(
            "datasets",
            "iris: proposed",
            "numba",
            [0.1],
            unit="row",
            facts={"auc": 0.8, "auc equal": False, "ranks equal": False},
        ),
        Row("peers", "iris: rows", "pyscore", [0.5], base=True, facts={"dataset": "iris", "auc": 0.9}),
        *(
            Row("scaling", f"s{n}", "numba", [1e-3 * n], base=True, facts={"sweep": "n", "size": n})
            for n in (1, 2, 4)
        ),
    ]
    measured = record.describe(rows, "c", {"asked": 2}, compile_seconds={"k": {"compiled": 1.0, "cached": 0.1}})
    measured.machine.update(platform="p", processor="p", cpus=2, load=[1.0, 1.0, 1.0], memory_gb=1.0)
    measured.versions.clear()
    with tempfile.TemporaryDirectory() as folder:
        record.write(f"{folder}/m.json", measured)
        return Path(f"{folder}/m.json").read_bytes()


def main() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(12, 2)).round(3), columns=["a", "b"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        fit(frame, TrainConfig(steps=2), latent_dim=2, hidden_dim=2, n_components=1).save(path)
        write("model", "small", path.read_bytes())
        for number, suffix in enumerate(SUFFIXES):
            path = Path(folder) / f"t.{suffix}"
            if suffix == "parquet":
                frame.to_parquet(path)
            elif suffix == "arrow":
                frame.to_feather(path, compression="uncompressed")
            else:
                frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
            write("table", suffix, bytes([number]) + path.read_bytes())
    measured = measurements()
    check = {
        "function": "f",
        "backend": "b",
        "dtype": "d",
        "ok": True,
        "error": 1.0,
        "bound": 2.0,
        "ulp": None,
        "golden": None,
    }
    verify = json.dumps({"rows": [check], "bit_equal": {"b": ["f"]}}).encode()
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M 0 0"/></svg>'
    write(
        "report",
        "folder",
        joined(
            {"m.json": measured, "v.json": verify, "summary.json": b"{}", "f.svg": svg, "auc.csv": b"a,b\n1,x\n"}
        ),
    )
    write("report", "svg", joined({"summary.json": b"{}", "f.svg": b'<svg onload="x"><script>1</script></svg>'}))
    run = {
        "grid": {"name": "g"},
        "datasets": ["d"],
        "splits": [0],
        "stacks": ["s"],
        "options": {"steps": 1},
        "notes": {},
    }
    manifest = json.dumps({"runs": {"k": {**run, "versions": {"numpy": "1"}}}}).encode()
    summary = (ROOT / "docs" / "results" / "summary.json").read_bytes()
    csv = {
        f"{path.stem}.csv": b"\n".join(path.read_bytes().splitlines()[:3]) + b"\n"
        for path in (ROOT / "docs" / "results").glob("*.csv")
    }
    kept = {
        name: csv[name]
        for name in ("selected.csv", "runs.csv", "ablation.csv", "baselines.csv", "goodness.csv", "signal.csv")
    }
    write("results", "tables", joined(kept))
    write("results", "json", joined({"m.json": measured, "manifest.json": manifest, "summary.json": summary}))


if __name__ == "__main__":
    main()
