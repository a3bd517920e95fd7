#!/usr/bin/env bash
# tests/cli/score.sh - the golden models through the program: against the oracle, on 1 and 3 ranks, with both kernel sets,
# from files and standard input; then saved contexts and the log.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: nothing can be compared"
    exit 1
fi
compare=$(dirname -- "${BASH_SOURCE[0]}")/compare.py

for case in hybrid allnats options attn centred; do
    m=$GOLDEN/$case-model.h5 t=$GOLDEN/$case-tokens.h5
    for kernels in fast ref; do
        for ranks in 0 3; do
            out=$case-$kernels-$ranks.h5
            accepted "$ranks" score --model "$m" "$t" --out "$out" --write hidden,state --kernels "$kernels" --threads 2 || continue
            expect "$out against the oracle" "$PYTHON" "$compare" "$GOLDEN/$case-score.h5" "$out"
        done
        expect "$case-$kernels: the same bits on 1 and 3 ranks" "$PYTHON" "$compare" --exact "$case-$kernels-0.h5" "$case-$kernels-3.h5"
    done
    accepted 3 score --model "$m" "$t" --out "$case-passes.h5" --write state,hidden --pass-tokens 100 --stage-tokens 64 --threads 1
    expect "$case: the same bits in passes" "$PYTHON" "$compare" --exact "$case-fast-0.h5" "$case-passes.h5"
done

# attributes: what they should be from the log-probabilities; the same bits on 1 and 3 ranks
expect "attributes" "$PYTHON" -c '
import h5py, numpy as np
a, b = (h5py.File(f, "r") for f in ("hybrid-fast-0.h5", "hybrid-fast-3.h5"))
mean = a["logprobs"][()].astype(np.float64).mean()
for f in (a, b):
    assert f.attrs["tokens"] == 332 and f.attrs["seconds"] > 0
    assert abs(f.attrs["mean_logprob"] - mean) < 1e-9, (f.attrs["mean_logprob"], mean)
    assert abs(f.attrs["perplexity"] / np.exp(-mean) - 1) < 1e-9
assert a.attrs["mean_logprob"] == b.attrs["mean_logprob"] and a.attrs["perplexity"] == b.attrs["perplexity"]'

# a forced choice
accepted 3 score --model "$GOLDEN/hybrid-model.h5" "$GOLDEN/hybrid-tokens.h5" --out soft.h5 --route softmax
accepted 3 score --model "$GOLDEN/hybrid-model.h5" "$GOLDEN/hybrid-tokens.h5" --out line.h5 --route linear
expect "routes" "$PYTHON" -c '
import h5py
s, l = (h5py.File(f, "r")["softmax_chunks/3"][()] for f in ("soft.h5", "line.h5"))
assert s.shape == l.shape == (5, 2) and s.min() == 1 and l.max() == 0'

# text: a file, standard input, and the same bytes as tokens
"$NATSL" init --config "$SOURCE/jobs/configs/byte-small.json" --seed 5 --out byte.h5 --quiet || exit 1
head -c 3000 "$SOURCE/LICENSE" >text.txt
printf 'caf\xc3\xa9 \xff\xfe\x00\x80 end' >>text.txt # not UTF-8, and a NUL
"$PYTHON" -c '
import h5py, numpy as np
with h5py.File("text.h5", "w") as f: f["tokens"] = np.fromfile("text.txt", np.uint8)'
accepted 0 score --model byte.h5 text.txt --out text-0.h5
grep -q 'bits per byte' .out || complain "no bits per byte in the report"
accepted 3 score --model byte.h5 text.txt --out text-3.h5
accepted 3 score --model byte.h5 text.h5 --out tokens-3.h5
accepted 5 score --model byte.h5 text.txt --out text-5.h5
for ranks in 0 3; do
    input=text.txt
    accepted "$ranks" score --model byte.h5 - --out "stdin-$ranks.h5"
    input=/dev/null
done
for other in text-3 tokens-3 text-5 stdin-0 stdin-3; do
    expect "$other: the same bits" "$PYTHON" "$compare" --exact text-0.h5 "$other.h5"
done

# a document read in two parts, its context saved between them by 3 ranks and continued by 2
head -c 1000 text.txt >first.txt
tail -c +1001 text.txt >second.txt
accepted 0 read --model byte.h5 text.txt --out whole.h5 --quiet
accepted 3 read --model byte.h5 first.txt --out part.h5
accepted 2 read --model byte.h5 second.txt --context part.h5 --out both.h5
expect "contexts in one go and in two" "$PYTHON" -c '
import h5py, numpy as np
a, b = (h5py.File(f, "r") for f in ("whole.h5", "both.h5"))
assert a.attrs["position"] == b.attrs["position"] == 3014, a.attrs["position"]
assert a.attrs["kept_chunks"] == b.attrs["kept_chunks"] and a.attrs["chunks"] == b.attrs["chunks"] > 0
assert np.abs(a["last_hidden"][()] - b["last_hidden"][()]).max() < 1e-4'
for file in byte.h5 text.h5 text-0.h5 whole.h5 text.txt; do accepted 0 info "$file"; done
accepted 0 info whole.h5
grep -q '^tokens  *3014$' .out || complain "info: not the context's tokens"
accepted 3 info text-0.h5
[ "$(grep -c '^tokens ' .out)" -eq 1 ] || complain "every rank printed"

# the log: whole JSON lines, from start to end
accepted 3 score --model byte.h5 text.txt --out log.h5 --log-json log.json --quiet
[ ! -s .out ] || complain "--quiet, but something on standard output"
expect "the log" "$PYTHON" -c '
import json
lines = [json.loads(line) for line in open("log.json")]
s, e = lines[0], lines[-1]
assert s["event"] == "start" and s["ranks"] == 3 and s["command"] == "score" and sum(s["hosts"].values()) == 3, s
assert s["threads"] >= 1 and s["blas_core"] and "--out" in s["arguments"], s
assert e["event"] == "end" and e["status"] == 0 and e["tokens"] == 3014 and e["perplexity"] > 1, e
assert e["halo_bytes"] > 0 and e["state_bytes"] > 0 and e["peak_bytes"] > 0 and sum(e["phase_seconds"].values()) > 0, e'
refused 5 'log-json: cannot write' score --model byte.h5 text.txt --out r.h5 --log-json no/such/directory/log.json
on 3 score --model byte.h5 nothing.txt --out r.h5 --log-json error.json
expect "the log of an error" "$PYTHON" -c '
import json
e = [json.loads(line) for line in open("error.json")][-1]
assert e["event"] == "end" and e["status"] == 3 and "nothing.txt" in e["error"], e'
finish
