"""alibi-detect's MMD in an interpreter of its own: it asks for NumPy below 2, unlike pyscore's.

Started by `pyscore.bench.alibi` with that interpreter; imports nothing of pyscore. One JSON object a line comes in
({"x": file, "y": file, "c": width} or {"call": 1}), one goes out: {"value": MMD², "seconds": of that call}.
"""

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Answer lines until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print must not end among the answers
    import alibi_detect
    import numpy as np
    import torch
    from alibi_detect.utils.pytorch.distance import mmd2, squared_pairwise_distance

    torch.set_num_threads(int(sys.argv[1]))

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    answer(version=alibi_detect.__version__)
    x = y = torch.empty(0)
    c = 1.0

    def imq(a: Any, b: Any, infer_sigma: bool = False) -> Any:  # of unit vectors: 1 − a·b = |a − b|²/2
        return c / (c + squared_pairwise_distance(a, b) / 2)

    for line in sys.stdin:
        asked = json.loads(line)
        if "x" in asked:
            x, y = (torch.from_numpy(np.load(asked[name])) for name in ("x", "y"))
            c = asked["c"]
        with torch.no_grad():
            start = time.perf_counter()
            value = float(mmd2(x, y, imq))
            answer(value=value, seconds=time.perf_counter() - start)


if __name__ == "__main__":
    main()
