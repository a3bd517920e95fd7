#!/usr/bin/env bash
# tests/cli/grad.sh - natsl grad: the golden gradients on 1, 2, 3 and 5 ranks with both kernel sets; switches that have no golden case
# against finite differences of the oracle's loss; wrong use.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: nothing can be compared"
    exit 1
fi
check=("$PYTHON" -B "$(dirname -- "${BASH_SOURCE[0]}")/grad.py")

for case in hybrid allnats options; do
    m=$GOLDEN/$case-model.h5 t=$GOLDEN/$case-tokens.h5
    for ranks in 0 2 3 5; do
        set=fast
        [ "$ranks" -ne 2 ] || set=ref
        out=$case-$ranks.h5
        accepted "$ranks" grad --model "$m" "$t" --out "$out" --kernels "$set" --threads 1 || continue
        expect "$out against the oracle" "${check[@]}" "$GOLDEN/$case-grad.h5" "$out"
    done
    expect "$case: 1 and 5 ranks" "${check[@]}" "$case-0.h5" "$case-5.h5" 1e-5
    accepted 3 grad --model "$m" "$t" --out again.h5 --threads 2 --quiet
    [ ! -s .out ] || complain "--quiet, but something on standard output"
    expect "$case: the same bits again, with other threads" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact "$case-3.h5" again.h5
done

# NAME SEED LENGTH VOCABULARY KEY=JSON...: what the golden cases leave out, on 2 ranks
oracle=("$PYTHON" -B "$SOURCE/tests/oracle/oracle.py")
seed=70
numeric()
{
    local length=$1 vocabulary=$2
    shift 2
    seed=$((seed + 1))
    "${oracle[@]}" random m.h5 --seed "$seed" --set "vocab_size=$vocabulary" "$@"
    "${oracle[@]}" tokens t.h5 --seed "$seed" --length "$length" --vocab "$vocabulary"
    accepted 2 grad --model m.h5 t.h5 --out g.h5 --threads 1 --quiet
    expect "finite differences: $*" "${check[@]}" --numeric m.h5 t.h5 g.h5
}
small=(hidden_size=24 num_hidden_layers=1 head_dim=8 intermediate_size=40)
numeric 70 30 "${small[@]}" num_heads=2 num_attn_heads=2 nats_block_size=16 gdn_layers='[]' use_gate=false
numeric 70 30 "${small[@]}" num_heads=2 num_attn_heads=4 nats_block_size=16 gdn_layers='[]' use_short_conv=false attn_qk_norm=false
numeric 71 30 "${small[@]}" num_heads=2 num_attn_heads=2 num_v_heads=4 nats_block_size=20 gdn_layers='[0]' use_gate=false conv_size=2
numeric 80 30 "${small[@]}" num_heads=2 num_attn_heads=2 nats_block_size=20 gdn_layers='[]' attn_apply_pos_encoding=true expand_v=1.5
numeric 90 30 "${small[@]}" num_hidden_layers=2 num_heads=1 num_attn_heads=1 nats_block_size=64 gdn_layers='[0,1]' tie_word_embeddings=true
numeric 75 30 "${small[@]}" num_hidden_layers=2 num_heads=2 num_attn_heads=4 nats_block_size=70 gdn_layers='[0]' decay_for_non_gdn_blocks=false

# what natsl reads with but does not train
refused 2 'layer 2 is a layer of softmax attention' grad --model "$GOLDEN/attn-model.h5" "$GOLDEN/attn-tokens.h5" --out no.h5
"${oracle[@]}" random m.h5 --seed 1 --set "${small[@]}" gdn_layers='[0]' norm_zero_centred=true
refused 2 'norm_zero_centred' grad --model m.h5 t.h5 --out no.h5

m=$GOLDEN/hybrid-model.h5 t=$GOLDEN/hybrid-tokens.h5
accepted 3 grad --model "$m" "$t" --dry-run
grep -q 'in one window' .out || complain "no plan"
grep -Eq '([0-9]+) of \1 layers keep' .out || complain "a small model does not keep all of its forward pass"
accepted 0 grad --model "$m" "$t" --out bf16.h5 --weights bf16 --kept bf16
accepted 0 info hybrid-3.h5
grep -q 'loss 5.0424' .out || complain "info does not say the loss"
accepted 2 grad --model "$m" "$t" --out log.h5 --log-json log.json --quiet
expect "the log" "$PYTHON" -c '
import json
e = [json.loads(line) for line in open("log.json")][-1]
assert e["event"] == "end" and e["status"] == 0 and e["tokens"] == 332 and abs(e["loss"] - 5.0424038) < 1e-4, e
assert e["forward_seconds"] > 0 and e["backward_seconds"] > 0 and e["sum_seconds"] >= 0, e'

"$PYTHON" -c '
import h5py, numpy as np
for name, ids in (("one", [5]), ("bad", [3] * 200 + [96]), ("long", [1] * 1000)):
    with h5py.File(name + ".h5", "w") as f: f["tokens"] = np.array(ids, np.int32)'
refused 2 'two tokens or more' grad --model "$m" one.h5 --out g2.h5
refused 3 'token 200 is 96' grad --model "$m" bad.h5 --out g2.h5
refused 2 'set --stage-tokens [0-9]+ or more' grad --model "$m" long.h5 --out g2.h5 --stage-tokens 256
refused 2 '--pass-tokens: grad reads a text in one pass' grad --model "$m" "$t" --out g2.h5 --pass-tokens 100
refused 2 '--state-pass: grad' grad --model "$m" "$t" --out g2.h5 --state-pass scan
refused 2 '--balance: grad' grad --model "$m" "$t" --out g2.h5 --balance on
refused 2 '--out is missing' grad --model "$m" "$t"
refused 2 'TOKENS.h5 is missing' grad --model "$m" --out g2.h5
refused 3 'nothing.h5' grad --model "$m" nothing.h5 --out g2.h5
refused 5 'no/such' grad --model "$m" "$t" --out no/such/g2.h5
finish
