"""grad.py WANT.h5 GOT.h5 [LIMIT] : gradient files, each tensor within LIMIT (1e-4) relative in norm, the loss within 1e-6.
grad.py --numeric MODEL.h5 TOKENS.h5 GOT.h5 : against finite differences of oracle.py's loss, in float64, along one random direction
per tensor. The gate's straight-through gradient is no derivative: tensors upstream of a gate (all of earlier layers, the
layer's first norm, the gate itself, the embeddings) are left out. Every tensor of the model must be there."""
import os
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import oracle  # noqa: E402

LIMIT = 1e-4  # float32 through a few layers and back against float64: 1e-5 were measured
NUMERIC_LIMIT = 3e-4  # one number per tensor; relative to norm times direction


def gradients(path):
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found, float(f.attrs["loss"])


def compare(want_path, got_path, limit):
    (want, want_loss), (got, loss) = gradients(want_path), gradients(got_path)
    bad = [f"loss {loss}, expected {want_loss}"] if not abs(loss - want_loss) <= 1e-6 * abs(want_loss) else []
    bad += [f"only in one file: {name}" for name in sorted(set(want) ^ set(got))]
    for name in sorted(set(want) & set(got)):
        w, g = want[name], got[name]
        if g.dtype != np.float64 or g.shape != w.shape:
            bad.append(f"{name}: {g.dtype}{g.shape}, expected float64{w.shape}")
            continue
        error = np.linalg.norm(g - w) / max(np.linalg.norm(w), 1e-30)
        if not error <= limit:
            bad.append(f"{name}: error {error:.3g}, expected at most {limit:g}")
    return bad, len(want)


def numeric(model, tokens_path, got_path):
    c, weights = oracle.load_model(model)
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    with h5py.File(tokens_path, "r") as f:
        tokens = f["tokens"][()].astype(np.int64)
    got, loss = gradients(got_path)
    rng = np.random.default_rng(5)

    def loss_of(w):
        logits = oracle.forward(c, w, tokens)[1][:-1]
        top = logits.max(-1)
        return float(np.mean(top + np.log(np.exp(logits - top[:, None]).sum(-1))
                             - logits[np.arange(len(tokens) - 1), tokens[1:]]))

    last_gate = max([i for i in range(c.num_hidden_layers) if i not in c.gdn_layers], default=-1)
    bad, checked = [], 0
    if not abs(loss - loss_of(weights)) <= 1e-5 * abs(loss):
        bad.append(f"loss {loss}, expected {loss_of(weights)}")
    for name, value in weights.items():
        gradient = got[name.replace(".", "/")]
        layer = int(name.split(".")[2]) if ".layers." in name else -1
        upstream = name == "model.embeddings.weight" or (".layers." in name and layer < last_gate)
        upstream = upstream or (layer == last_gate and name.endswith(("attn_norm.weight", "nats_layer.weight")))
        if last_gate >= 0 and upstream:
            continue
        # mostly along the gradient, so that the sum of products does not cancel
        norm = np.linalg.norm(gradient)  # zero for a tensor that the configuration leaves unused
        direction = gradient / (norm or 1.0) + 0.3 * rng.standard_normal(value.shape) / np.sqrt(value.size)
        h = 1e-4
        sides = [loss_of({**weights, name: value + s * h * direction}) for s in (-2, -1, 1, 2)]
        want = (sides[0] - 8 * sides[1] + 8 * sides[2] - sides[3]) / (12 * h)
        error = abs(np.sum(gradient * direction) - want) / max(norm, 1e-6)
        checked += 1
        if not error <= NUMERIC_LIMIT:
            bad.append(f"{name}: error {error:.3g}, expected at most {NUMERIC_LIMIT:g}")
    return bad, checked


def main():
    if sys.argv[1] == "--numeric":
        bad, checked = numeric(*sys.argv[2:5])
    else:
        bad, checked = compare(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else LIMIT)
    print("\n".join(bad + [f"{checked} tensors, {len(bad)} differ"]))
    return 1 if bad or not checked else 0


sys.exit(main())
