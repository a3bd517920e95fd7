#!/usr/bin/env bash
# same_bits.sh - one real text of more than 100 000 tokens scored on 1, 2, 3, 5 and 8 ranks, in other passes and with other
# threads: the log-probabilities, the last logits and the states are the same, bit for bit.
set -euo pipefail
[ -n "$PYTHON" ] || { echo "skipped: no Python with numpy and h5py"; exit 0; }

# The licences that every Debian carries: real English text. Elsewhere the sources of natsl stand in.
text=$SCRATCH/text.txt
find /usr/share/common-licenses -type f -print0 2>/dev/null | sort -z | xargs -0 -r cat >"$text" || true
[ "$(wc -c <"$text")" -ge 100000 ] || find "$SOURCE/src" "$SOURCE/tests" -name '*.[ch]' -print0 | sort -z | xargs -0 cat >"$text"
truncate -s 105000 "$text"
cat >"$SCRATCH/config.json" <<'TEXT'
{"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 256, "head_dim": 8, "num_heads": 4, "num_attn_heads": 4, "gdn_layers": [0]}
TEXT
"$NATSL" init --config "$SCRATCH/config.json" --seed 3 --out "$SCRATCH/m.h5" --quiet
score() # NAME RANKS OPTION...
{
    local name=$1 ranks=$2
    shift 2
    "$MPIRUN" -n "$ranks" "$NATSL" score --model "$SCRATCH/m.h5" "$text" --out "$SCRATCH/$name.h5" --write state --quiet "$@"
}
score r1 1
for ranks in 2 3 5 8; do score "r$ranks" "$ranks"; done
score passes 3 --pass-tokens 20000 --threads 2
score stages 2 --stage-tokens 1024
score equal 5 --balance off
score balanced2 2 --balance on
score balanced8 8 --balance on
score balanced_passes 3 --balance on --pass-tokens 9000
score balanced_stages 5 --balance on --pass-tokens 30000 --stage-tokens 1024 --route learned
"$PYTHON" -B - "$SCRATCH" <<'TEXT'
import sys
import h5py
import numpy as np

def everything(path):
    out = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, item: out.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
    return out

want = everything(sys.argv[1] + "/r1.h5")
assert len(want["logprobs"]) == 104999 and np.isfinite(want["logprobs"]).all()
assert 0.05 < want["softmax_chunks/1"].mean() < 0.95, "the gate must choose both"
for name in ["r2", "r3", "r5", "r8", "passes", "stages", "equal", "balanced2", "balanced8", "balanced_passes", "balanced_stages"]:
    got = everything(f"{sys.argv[1]}/{name}.h5")
    assert got.keys() == want.keys(), name
    for key in want:
        assert got[key].tobytes() == want[key].tobytes(), f"{name}: {key} differs"
print("same bits on 1, 2, 3, 5 and 8 ranks, in passes, in stages and in ranges of equal cost")
TEXT

# Layers of softmax attention: all before a token, shared key heads; a window shorter than a pass, with an output gate.
cat >"$SCRATCH/config.json" <<'TEXT'
{"hidden_size": 32, "num_hidden_layers": 4, "vocab_size": 256, "head_dim": 8, "num_heads": 2, "num_attn_heads": 2, "intermediate_size": 64,
 "gdn_layers": [0], "attn": [{"layers": [1], "num_heads": 4, "num_kv_heads": 2, "qk_norm": true},
                             {"layers": [3], "num_heads": 2, "window_size": 1000, "output_gate": true, "rotary_dim": 4}]}
TEXT
"$NATSL" init --config "$SCRATCH/config.json" --seed 4 --out "$SCRATCH/m.h5" --quiet
truncate -s 9000 "$text"
score a1 1
score a2 2 --pass-tokens 2048 --threads 2
score a3 3 --stage-tokens 1024 --balance on
score a5 5 --pass-tokens 3000
score a8 8
for name in a2 a3 a5 a8; do
    "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact "$SCRATCH/a1.h5" "$SCRATCH/$name.h5" || exit 1
done
echo "the same with layers of softmax attention"
