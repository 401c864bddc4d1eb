"""Cut the committed subset out of the complete golden files; a deliberate act, never part of the tests.

    python tests/golden/make_subset.py ../shared/golden

No file that holds rows of a dataset is taken. Arrays are copied bit for bit; big ones that repeat what
another case shows are left out. `manifest.json` records the provenance, and the SHA-256 of every file.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TRAINING = ("tr_", "after100_")
CASES = {
    "model_03_i8_h32_l2_k16_f64": (),
    "model_03_i8_h32_l2_k16_f32": (),
    "model_05_i10_h32_l4_k1_f32": ("grad_",),
    "model_06_i10_h64_l9_k16_f64": (
        *TRAINING,
        "grad_",
        "log_px_v",
        "log_px_e",
        "log_px_o",
        "log_px_z",
        "pairwisecos",
    ),
    "jacodeco_svae_added_methods_f64": (),
    "jacodeco_vae_f32": (),
    "ipmeasures_sphere_f64": (),
    "evalcurves": (),
    "adam_f32": (),
    "adam_f64": (),
    "scalars_f32": (),
    "scalars_f64": (),
    "standartize_toy": (),
}
"""Case → prefixes of the arrays left out."""


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz whose bytes depend on the arrays alone (no time stamps)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def main(source: Path) -> None:
    """Write the subset and its manifest."""
    index = json.loads((source / "INDEX.json").read_text())["cases"]
    manifest = {
        "source": "original Julia code of Smidl, Bim, Pevny (2019) on Julia 1.5.3; see README.md",
        "cases": {},
    }
    for case, dropped in CASES.items():
        with np.load(source / f"{case}.npz") as data:
            arrays = {n: data[n] for n in data.files if n != "__meta__" and not n.startswith(dropped or ("\0",))}
        write_npz(HERE / f"{case}.npz", arrays)
        facts = {
            key: value for key, value in index[case].items() if key not in ("arrays", "file", "bytes", "sha256")
        }
        raw = (HERE / f"{case}.npz").read_bytes()
        manifest["cases"][case] = {
            **facts,
            "complete_sha256": index[case]["sha256"],
            "sha256": hashlib.sha256(raw).hexdigest(),
            "bytes": len(raw),
        }
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    print("total", sum(entry["bytes"] for entry in manifest["cases"].values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
