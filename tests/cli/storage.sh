#!/usr/bin/env bash
# storage.sh - matrices and kept keys held as bfloat16. With --weights bf16 natsl computes exactly what it computes from a model file
# whose matrices were rounded to bfloat16 beforehand; with --kept bf16 choices stay and log-probabilities move a little; both give the
# same bits on any number of ranks and survive a saved context; matrices take half the memory. What they do to the perplexity of a
# real text is printed.
set -euo pipefail
[ -n "$PYTHON" ] || { echo "skipped: no Python with numpy and h5py"; exit 0; }
model=$GOLDEN/hybrid-model.h5 tokens=$GOLDEN/hybrid-tokens.h5
score() # NAME RANKS MODEL DOC OPTION...
{
    local name=$1 ranks=$2 from=$3 doc=$4
    shift 4
    "$MPIRUN" -n "$ranks" "$NATSL" score --model "$from" "$doc" --out "$name.h5" --quiet --log-json "$name.json" "$@"
}
cat >round.py <<'TEXT'
"""round.py FROM.h5 TO.h5: a model with its matrices rounded to bfloat16, to nearest even."""
import shutil, sys
import h5py
import numpy as np

shutil.copy(sys.argv[1], sys.argv[2])
with h5py.File(sys.argv[2], "r+") as f:
    def rounded(name, item):
        if not isinstance(item, h5py.Dataset) or item.ndim != 2 or "nats_layer" in name:
            return  # vectors, convolutions and the gate's rows stay float32
        bits = item[()].astype(np.float32).view(np.uint32)
        bits = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
        item[...] = bits.view(np.float32)
    f.visititems(rounded)
TEXT
"$PYTHON" -B round.py "$model" rounded.h5
score want 1 rounded.h5 "$tokens" --write state
score plain 1 "$model" "$tokens" --write state
for ranks in 1 3; do
    score "weights$ranks" "$ranks" "$model" "$tokens" --weights bf16 --write state
    score "kept$ranks" "$ranks" "$model" "$tokens" --kept bf16 --write state
    "$PYTHON" -B "$SOURCE/tests/cli/compare.py" want.h5 "weights$ranks.h5" --exact
done
"$PYTHON" -B "$SOURCE/tests/cli/compare.py" kept1.h5 kept3.h5 --exact
score refs 2 "$model" "$tokens" --weights bf16 --kept bf16 --kernels ref --write state
"$PYTHON" -B - <<'TEXT'
import json
import h5py
import numpy as np

def last(path):
    return json.loads(open(path).read().splitlines()[-1])

plain, kept = h5py.File("plain.h5"), h5py.File("kept1.h5")
moved = np.abs(plain["logprobs"][()] - kept["logprobs"][()]).max()
assert 0 < moved < 0.1, f"--kept bf16 moves log-probabilities by up to {moved}"
for layer in plain["softmax_chunks"]:
    if layer == min(plain["softmax_chunks"]):  # later layers see moved rows: their gates may rightly differ
        assert (plain["softmax_chunks"][layer][()] == kept["softmax_chunks"][layer][()]).all()
a, b, c = last("plain.json"), last("weights1.json"), last("kept1.json")
assert 0.5 <= b["weight_bytes"] / a["weight_bytes"] < 0.6, (a["weight_bytes"], b["weight_bytes"])
print(f"hybrid model: perplexity {a['perplexity']:.6g}, weights bf16 {b['perplexity']:.6g}, kept bf16 {c['perplexity']:.6g}")
TEXT

# what a document would take if every chunk were kept: half
for type in f32 bf16; do
    "$NATSL" score --model "$model" "$tokens" --kept "$type" --weights "$type" --dry-run | grep -o '([0-9.]* [KMG]*iB if every chunk were kept)' >"plan.$type"
done
[ -s plan.f32 ] && ! cmp -s plan.f32 plan.bf16 || { echo "FAILED: the plan does not know --kept"; exit 1; }

# saved with one storage and one number of ranks, loaded with others: the file holds float32
"$MPIRUN" -n 2 "$NATSL" read --model "$model" "$tokens" --out c.h5 --kept bf16 --quiet
for type in f32 bf16; do
    "$MPIRUN" -n 3 "$NATSL" read --model "$model" --context c.h5 "$tokens" --out "$type.ctx.h5" --kept "$type" --quiet
done
"$PYTHON" -B - <<'TEXT'
import h5py
import numpy as np

checked = 0
with h5py.File("c.h5") as c, h5py.File("f32.ctx.h5") as a, h5py.File("bf16.ctx.h5") as b:
    def look(name, item):
        global checked
        if not isinstance(item, h5py.Dataset) or not name.endswith("/units"):
            return
        units = item[()]
        assert (units.view(np.uint32) & 0xFFFF == 0).all(), f"{name} is not in bfloat16"
        for f in (a, b):  # what the context held comes first, and unchanged
            assert f[name].shape[0] > len(units) and f[name][:len(units)].tobytes() == units.tobytes(), name
        assert (b[name][()].view(np.uint32) & 0xFFFF == 0).all()
        checked += units.size
    c.visititems(look)
assert checked > 0
TEXT

# a real text
"$NATSL" init --config "$SOURCE/jobs/configs/byte-small.json" --seed 84 --out byte.h5 --quiet
find /usr/share/common-licenses -type f -print0 2>/dev/null | sort -z | xargs -0 -r cat >text.txt || true
[ "$(wc -c <text.txt)" -ge 20000 ] || cat "$SOURCE"/src/*/*.c >text.txt
truncate -s 20000 text.txt
score f32 2 byte.h5 text.txt
score bf16 2 byte.h5 text.txt --weights bf16
score both 2 byte.h5 text.txt --weights bf16 --kept bf16
"$PYTHON" -B - <<'TEXT'
import json
p = {n: json.loads(open(n + ".json").read().splitlines()[-1])["perplexity"] for n in ("f32", "bf16", "both")}
print(f"byte model, random weights, 20000 bytes of English: perplexity {p['f32']:.6g}, weights bf16 {p['bf16']:.6g}, "
      f"weights and kept bf16 {p['both']:.6g}")
for name in ("bf16", "both"):
    assert abs(p[name] / p["f32"] - 1) < 0.01, (name, p)
TEXT
echo "storage: as promised"
