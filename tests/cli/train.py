"""train.py - what train.sh asks about trainings.

train.py write FILE [PATH=JSON ...]   a small training, with members set: phases.0.steps=3; PATH= removes one
train.py same A.h5 B.h5               the same bits: every dataset, and attributes but those of `training`
train.py near A.h5 B.h5 LIMIT         weights: norm of the difference relative to the norm
train.py log DIR STEPS [EVENT ...]    whole lines, steps from 1 to STEPS, checkpoints that follow one another, these events
train.py last DIR KEY                 the value in the last line of a step
train.py falls DIR PART               the last loss is below that part of the first
"""
import json
import os
import sys

import h5py
import numpy as np

MODEL = dict(hidden_size=32, num_hidden_layers=2, vocab_size=256, head_dim=16, num_heads=2, num_attn_heads=2, expand_v=1,
             nats_block_size=64, gdn_layers=[0], attn_apply_pos_encoding=False)
TEXT = dict(kind="text", files=["text.txt"])
NEEDLE = dict(kind="needle", keys=2, questions=[1, 2])


def write(path, *changes):
    spec = dict(model=MODEL, seed=5, optimizer=dict(learning_rate=0.004, warmup_steps=2), data=[NEEDLE, TEXT],
                phases=[dict(steps=6, windows=2, tokens=700)], checkpoint=dict(every_steps=1))
    for change in changes:
        name, value = change.split("=", 1)
        *inside, last = [int(k) if k.isdigit() else k for k in name.split(".")]
        at = spec
        for k in inside:
            at = at.setdefault(k, {}) if isinstance(at, dict) else at[k]
        if value == "":
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(json.loads(value))
        else:
            at[last] = json.loads(value)
    with open(path, "w") as f:
        json.dump(spec, f)
    return 0


def content(path):
    found = {}
    with h5py.File(path, "r") as f:
        def look(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = item[()]
            found.update({f"{name}@{k}": np.asarray(v) for k, v in item.attrs.items()})
        f.visititems(look)
        found.update({f"@{k}": np.asarray(v) for k, v in f.attrs.items()})
    return found


def same(a, b):
    x, y = content(a), content(b)
    bad = [k for k in sorted(x.keys() | y.keys()) if k not in x or k not in y or x[k].tobytes() != y[k].tobytes()]
    print(f"{a} {b}: {len(x)} things, {len(bad)} differ: {' '.join(bad[:5])}")
    return 1 if bad or not x else 0


def near(a, b, limit):
    x, y = content(a), content(b)
    names = [k for k in x if "@" not in k]
    difference = np.sqrt(sum(float(np.sum((x[k].astype(np.float64) - y[k]) ** 2)) for k in names))
    norm = np.sqrt(sum(float(np.sum(x[k].astype(np.float64) ** 2)) for k in names))
    print(f"{a} {b}: difference {difference / norm:.3g}, expected at most {limit}")
    return 0 if names and difference / norm <= float(limit) else 1


def lines(directory):
    with open(os.path.join(directory, "log.jsonl"), "rb") as f:
        text = f.read()
    assert text.endswith(b"\n"), "the last line has no end"
    read = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in text.splitlines()]
    assert all(isinstance(line["event"], str) and isinstance(line["step"], int) for line in read)
    return read


def log(directory, steps, *events):
    read, at = lines(directory), 0
    for line in read:
        if line["event"] in ("start", "resume"):
            assert line["step"] <= at, f"begins at {line['step']} after {at}"
            at = line["step"]
        elif line["event"] in ("step", "checkpoint", "validation"):
            assert at <= line["step"] <= at + 1, f"{line['event']} {line['step']} after {at}"
            at = line["step"]
    assert at == int(steps), f"ends at step {at}, expected {steps}"
    missing = set(events) - {line["event"] for line in read}
    assert not missing, f"no {missing}"
    return 0


def steps_of(directory):
    return [line for line in lines(directory) if line["event"] == "step"]


def last(directory, key):
    print(steps_of(directory)[-1][key])
    return 0


def falls(directory, part):
    loss = [line["loss"] for line in steps_of(directory)]
    print(loss)
    return 0 if len(loss) > 1 and loss[-1] < float(part) * loss[0] else 1


sys.exit({f.__name__: f for f in (write, same, near, log, last, falls)}[sys.argv[1]](*sys.argv[2:]))
