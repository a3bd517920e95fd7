"""compare.py WANT.h5 GOT.h5 [--exact]: a result file of natsl against the oracle's (or another of natsl's, bit by bit).
Every dataset of WANT must be in GOT with the same shape; choices must be equal; NaN is a difference."""
import sys

import h5py
import numpy as np

# float32 over a few layers against float64: 5e-6 were measured; the rest is room for other CPUs' kernels.
LOGPROB_TOLERANCE = 1e-4  # absolute, each value
NORM_TOLERANCE = 1e-4  # all else: norm of the difference relative to the norm of what is wanted


def datasets(path):
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def main():
    exact = "--exact" in sys.argv
    want_path, got_path = [a for a in sys.argv[1:] if a != "--exact"]
    want, got = datasets(want_path), datasets(got_path)
    bad = 0
    for name, w in want.items():
        kind = name.split("/")[0]
        if name not in got or got[name].shape != w.shape:
            print(f"{name}: {got[name].shape if name in got else 'missing'}, expected {w.shape}")
            bad += 1
            continue
        g = got[name]
        if exact or kind == "softmax_chunks":
            same = g.tobytes() == w.tobytes() if exact else np.array_equal(g, w)
            if not same:
                print(f"{name}: differs in {np.sum(g != w)} of {w.size} values")
                bad += 1
            continue
        difference = g.astype(np.float64) - w
        if kind == "logprobs":
            error, limit = float(np.abs(difference).max(initial=0.0)), LOGPROB_TOLERANCE
        else:
            error, limit = float(np.linalg.norm(difference)) / max(float(np.linalg.norm(w)), 1e-30), NORM_TOLERANCE
        if not error <= limit:
            print(f"{name}: error {error:.3g}, expected at most {limit:g}")
            bad += 1
    print(f"{len(want)} datasets, {bad} differ")
    return 1 if bad or not want else 0


sys.exit(main())
