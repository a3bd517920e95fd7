#!/usr/bin/env bash
# state_pass.sh - one text scored with states passed by scan and by relay, on 2, 3 and 5 ranks, in one pass and in several: equal to
# rounding, and the plan says which it is.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd "$SCRATCH" || exit 1

cat >config.json <<'TEXT'
{"hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 256, "head_dim": 16, "num_heads": 4, "num_attn_heads": 4, "gdn_layers": [0, 1]}
TEXT
cat >compare.py <<'TEXT'
import sys
import h5py
import numpy as np

relay, scan = (h5py.File(path, "r") for path in sys.argv[1:3])
a, b = (f["logprobs"][()].astype(np.float64) for f in (relay, scan))
assert len(a) == 19999 and np.isfinite(a).all() and np.isfinite(b).all()
assert (np.abs(a - b) <= 1e-5 * np.maximum(1.0, np.abs(a))).all(), np.abs(a - b).max()
assert (relay["softmax_chunks/2"][()] == scan["softmax_chunks/2"][()]).all()
states = [f"{kind}/{layer}" for kind in ("state", "block_state") if kind in relay for layer in relay[kind]]
assert len(states) == 4, states
for name in states:
    a, b = (f[name][()].astype(np.float64) for f in (relay, scan))
    assert np.linalg.norm(a) > 0 and np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(a), name
# a scan that never ran would give the same bits
same = relay["logprobs"][()].tobytes() == scan["logprobs"][()].tobytes()
assert same == (sys.argv[3] == "same"), f"the same bits: {same}"
TEXT
find "$SOURCE/src" -name '*.[ch]' -print0 | sort -z | xargs -0 cat | head -c 20000 >text.txt
accepted 0 init --config config.json --seed 3 --out m.h5 --quiet
score() # NAME RANKS OPTION...
{
    local name=$1 ranks=$2
    shift 2
    accepted "$ranks" score --model m.h5 text.txt --out "$name.h5" --write state --quiet --threads 1 "$@"
}
score relay 3 --state-pass relay
score auto 3
expect "auto relays on few ranks" "$PYTHON" -B compare.py relay.h5 auto.h5 same
score scan2 2 --state-pass scan
expect "2 ranks: nothing to summarise" "$PYTHON" -B compare.py relay.h5 scan2.h5 same
for ranks in 3 5; do
    score "scan$ranks" "$ranks" --state-pass scan
    expect "$ranks ranks" "$PYTHON" -B compare.py relay.h5 "scan$ranks.h5" different
    score "passes$ranks" "$ranks" --state-pass scan --pass-tokens 7000
    expect "$ranks ranks, several passes" "$PYTHON" -B compare.py relay.h5 "passes$ranks.h5" different
done
score ref 3 --state-pass scan --kernels ref --pass-tokens 7000
expect "reference kernels" "$PYTHON" -B -c '
import h5py, numpy as np
a, b = (h5py.File(f, "r")["logprobs"][()] for f in ("relay.h5", "ref.h5"))
assert np.abs(a - b).max() < 1e-4'

# the plan, and what was sent
plan() # PATTERN RANKS OPTION...
{
    local pattern=$1 ranks=$2
    shift 2
    accepted "$ranks" score --model m.h5 text.txt --dry-run "$@"
    grep -Eq "^state pass  $pattern" .out || complain "the plan does not say '$pattern'"
}
plan 'relay$' 5
plan 'relay$' 5 --state-pass relay
plan 'scan$' 5 --state-pass scan
plan 'scan in 2 of 3 passes' 5 --state-pass scan --pass-tokens 9984 --threads 1 # and 32 tokens
plan 'relay: a scan wants three' 2 --state-pass scan
plan 'relay: a scan wants three' 5 --state-pass scan --stage-tokens 1024 --pass-tokens 10000
accepted 5 score --model m.h5 text.txt --out log.h5 --state-pass scan --threads 1 --log-json log.json
plan 'scan$' 5 --state-pass scan --threads 1
expect "states sent as planned" "$PYTHON" -c '
import json, re
end = [json.loads(line) for line in open("log.json")][-1]
assert end["phase_seconds"]["summary"] > 0, end
# 3 layers, 4 heads, dk 16, dv 32, 5 ranks: steps of 1, 2, 4 ranks: 3 + 1 + 0 pairs, 1 + 2 + 1 states
assert end["state_bytes"] == 3 * 4 * 16 * 4 * (4 * (16 + 32) + 4 * 32), end["state_bytes"]'
finish
