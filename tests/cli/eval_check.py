"""eval_check.py - checks of natsl eval that share no code with it. Scores by RULER's rules, written from their description: strip, control
characters become line breaks, strip; the share of expected outputs that occur in the lower-cased prediction (any of them: qa).

  score DIR            predictions under DIR/synthetic/*/pred against results.json and summary.csv there
  make DIR SEED        predictions with RULER's fields, as a model might have made them, and SEED.want: their scores
  compare DIR WANT     results.json and summary.csv of natsl eval --score-only against those scores
  mqar DATA PRED HIDDEN.h5 MODEL.h5    one sample's predictions against final rows of natsl score and the model's head
  tokens DATA OUT.h5   the sample's ids as a token file
  loss DIR SCORES.h5 TASK   loss by position against the log-probabilities of natsl score
  same ONE TWO         two directories have the same scores
"""
import csv
import glob
import json
import math
import os
import random
import sys

CONTROL = {c: "\n" for c in range(32)}


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def clean(pred):
    return pred.strip().translate(CONTROL).strip()


def score(task, samples):
    """Percent, and predictions of which nothing is left."""
    total = 0.0
    for s in samples:
        pred = clean(s["pred"]).lower()
        found = [1.0 if ref.lower() in pred else 0.0 for ref in s["outputs"]]
        total += max(found) if task.startswith("qa") else sum(found) / len(found)
    return round(total / len(samples) * 100, 2), sum(not clean(s["pred"]) for s in samples)


def natsl_scores(root):
    """{(task, length): (score, nulls, samples)} of results.json, which must be those of summary.csv."""
    with open(os.path.join(root, "results.json")) as f:
        cells = json.load(f)["tasks"]
    found = {(c["task"], c["length"]): (c["score"], c["nulls"], c["samples"]) for c in cells}
    for length in {c["length"] for c in cells}:
        with open(os.path.join(root, "synthetic", str(length), "pred", "summary.csv"), newline="") as f:
            rows = list(csv.reader(f))
        tasks, scores, nulls = (rows[i][1:] for i in (1, 2, 3))
        assert rows[0] == [str(i) for i in range(len(tasks) + 1)], rows[0]
        for task, percent, null in zip(tasks, scores, nulls):
            want = found[task, length]
            assert (float(percent), null) == (want[0], f"{want[1]}/{want[2]}"), (task, length, percent, null, want)
    return found


def same(got, want):
    assert got.keys() == want.keys(), (got.keys(), want.keys())
    for key, (percent, nulls, n) in want.items():
        assert got[key] == (percent, nulls, n), (key, got[key], want[key])
    print(f"{len(want)} scores, {sum(n for _, _, n in want.values())} samples")


def command_score(root):
    want = {}
    for path in glob.glob(os.path.join(root, "synthetic", "*", "pred", "*.jsonl")):
        parts = path.split(os.sep)
        task = parts[-1][: -len(".jsonl")]
        samples = lines(path)
        want[task, int(parts[-3])] = score(task, samples) + (len(samples),)
    assert want
    same(natsl_scores(root), want)


def command_make(root, seed):
    rng = random.Random(int(seed))
    words = ["Ärger", "ΩMEGA", "Москва", "naïve", "7654321", "Café", "ẾTỄ", "Ｚ", "x" * 40, "a,b", 'quo"te', "12"]
    want = {}
    for length in (4096, 8192):
        folder = os.path.join(root, "synthetic", str(length), "pred")
        os.makedirs(folder)
        for task in ("niah_single_1", "niah_multivalue", "vt", "cwe", "qa_1", "qa_2"):
            samples = []
            for i in range(32):  # shares of 32 end in 0.125, which rounds to the even digit
                outputs = rng.sample(words, rng.randint(1, 5))
                said = [rng.choice((str.upper, str.lower, str))(w) for w in outputs if rng.random() < 0.6]
                said += rng.sample(words, rng.randint(0, 2))
                pred = rng.choice(("", " \t", "\x01", "The answer: ")) + rng.choice((" ", "\x00\x02", "\n", ", ")).join(said)
                if rng.random() < 0.15:
                    pred = rng.choice(("", "\n\n", "\x03 \x04", "\u3000\u00a0"))
                # upstream's index of needles is a place in the text: neither ascending nor unique
                index = rng.randint(0, 30) * 1000 if task.startswith("niah") else i
                samples.append(dict(index=index, pred=pred, input="...", outputs=outputs, others={}, truncation=-1,
                                    length=length))
            parts = [samples[:10], samples[10:]] if task == "cwe" else [samples]  # of a run in chunks
            for k, part in enumerate(parts):
                name = f"{task}-{k}.jsonl" if len(parts) > 1 else f"{task}.jsonl"
                with open(os.path.join(folder, name), "w") as f:
                    for s in part:
                        f.write(json.dumps(s, ensure_ascii=rng.random() < 0.5) + "\n")
            want[f"{task} {length}"] = score(task, samples) + (len(samples),)
    with open(f"{seed}.want", "w") as f:
        json.dump(want, f)


def command_compare(root, want):
    with open(want) as f:
        pairs = {(k.split()[0], int(k.split()[1])): tuple(v) for k, v in json.load(f).items()}
    same(natsl_scores(root), pairs)


def command_tokens(data, out):
    import h5py

    with h5py.File(out, "w") as f:
        f["tokens"] = lines(data)[0]["inputs"]


def command_mqar(data, pred, hidden, model):
    import h5py
    import numpy as np

    sample, answer = lines(data)[0], lines(pred)[0]
    asked = [i for i, label in enumerate(sample["labels"]) if label != -100]
    with h5py.File(hidden) as h, h5py.File(model) as m:
        logits = h["hidden"][()].astype(np.float64)[asked] @ m["lm_head/weight"][()].astype(np.float64).T
    assert [int(v) for v in answer["outputs"]] == [sample["labels"][i] for i in asked]
    got = [int(v) for v in answer["pred"].split()]
    assert len(got) == len(asked)
    for row, token in zip(logits, got):
        assert row[token] >= row.max() - 1e-5, (token, row.argmax())
    assert answer["hits"] == [int(g == sample["labels"][i]) for g, i in zip(got, asked)]
    for d, want in zip(answer["depth"], answer["outputs"]):
        assert str(sample["inputs"][round(d * len(sample["inputs"])) + 1]) == want
    print(len(asked), "answers")


def command_loss(root, scores, task):
    import h5py

    with h5py.File(scores) as f:
        values = f["logprobs"][()].astype(float)  # [i]: of the token at position i + 1
    with open(os.path.join(root, "results.json")) as f:
        cell = [c for c in json.load(f)["tasks"] if c["task"] == task][0]
    n = 0
    for bin_ in cell["by_position"]:
        part = [-values[p - 1] for p in range(max(1, bin_["from"]), min(bin_["to"], len(values) + 1))]
        assert len(part) == bin_["tokens"], bin_
        assert abs(sum(part) / len(part) - bin_["loss"]) < 2e-5 * bin_["loss"], (bin_, sum(part) / len(part))
        n += len(part)
    assert n == len(values) == cell["loss_tokens"], (n, len(values))
    assert abs(math.exp(-sum(values) / n) / cell["perplexity"] - 1.0) < 1e-3
    with h5py.File(os.path.join(root, "results.h5")) as f:
        for got, bin_ in zip(f["loss_by_position"][0, 0], cell["by_position"], strict=True):
            assert abs(got - bin_["loss"]) < 1e-5 * got, (got, bin_)  # JSON has fewer digits
    print(len(cell["by_position"]), "bins")


def command_same(one, two):
    same(natsl_scores(one), natsl_scores(two))


if __name__ == "__main__":
    globals()["command_" + sys.argv[1]](*sys.argv[2:])
