#!/usr/bin/env bash
# oracle.sh - fresh random models and texts, made and scored by tests/oracle/oracle.py, then by natsl on 1 to 5 ranks with both
# kernel sets: log-probabilities within 1e-4, hidden rows and states within 1e-4 relative in norm, choices equal.
# NATSL_TEST_SEED=n tries others; where the oracle's two scores of a chunk nearly tie, a choice may then rightly differ.
set -euo pipefail
[ -n "$PYTHON" ] || { echo "skipped: no Python with numpy and h5py"; exit 0; }
oracle=("$PYTHON" -B "$SOURCE/tests/oracle/oracle.py")

# NAME SEED LENGTH VOCABULARY KEY=JSON...: other sizes and switches than the golden cases, and another seed each.
first_seed=${NATSL_TEST_SEED:-20260203}
case_number=0
check()
{
    local length=$1 vocabulary=$2 seed set ranks
    shift 2
    case_number=$((case_number + 1))
    seed=$((first_seed + case_number))
    "${oracle[@]}" random m.h5 --seed "$seed" --set "vocab_size=$vocabulary" "$@"
    "${oracle[@]}" tokens t.h5 --seed "$seed" --length "$length" --vocab "$vocabulary"
    "${oracle[@]}" score m.h5 t.h5 want.h5
    for ranks in 1 2 3 5; do
        set=fast
        [ $((ranks % 2)) -eq 1 ] || set=ref
        "$MPIRUN" -n "$ranks" "$NATSL" score --model m.h5 t.h5 --out got.h5 --write hidden,state --kernels "$set" --quiet
        "$PYTHON" -B "$SOURCE/tests/cli/compare.py" want.h5 got.h5 >compare.log ||
            { cat compare.log; echo "FAILED: seed $seed (NATSL_TEST_SEED=$first_seed), $ranks ranks, $set kernels, $*"; exit 1; }
    done
    echo "seed $seed: $*"
}
check 300 90 hidden_size=40 num_hidden_layers=3 gdn_layers='[0]' nats_block_size=16 head_dim=12 num_heads=3 num_attn_heads=3 num_v_heads=6
check 411 70 hidden_size=56 num_hidden_layers=2 gdn_layers='[]' nats_block_size=100 conv_size=3 use_gate=false allow_neg_eigval=true
check 270 70 hidden_size=32 num_hidden_layers=2 gdn_layers='[1]' nats_block_size=7 use_short_conv=false attn_qk_norm=false num_nats_head=1
check 650 64 hidden_size=32 num_hidden_layers=2 gdn_layers='[]' nats_block_size=290 attn_apply_pos_encoding=true attn_with_short_conv=false expand_v=1.5
check 128 64 hidden_size=48 num_hidden_layers=3 gdn_layers='[0,1,2]' tie_word_embeddings=true intermediate_size=100 conv_size=1
check 333 64 hidden_size=40 num_hidden_layers=4 gdn_layers='[0]' num_attn_heads=2 nats_block_size=24 intermediate_size=60 norm_zero_centred=true \
    'attn=[{"layers": [1], "num_heads": 5, "window_size": 40, "qkv_bias": true}, {"layers": [3], "num_heads": 6, "num_kv_heads": 2, "head_dim": 14, "rotary_dim": 6, "output_gate": true, "qk_norm": true}]'
check 700 64 hidden_size=32 num_hidden_layers=1 gdn_layers='[]' nats_block_size=290 'attn={"layers": [0], "num_heads": 4, "num_kv_heads": 1, "window_size": 300, "rotary_dim": 0}'
# (one token: oracle.py itself needs a complete chunk in NAtS-L layers)
check 1 64 hidden_size=32 num_hidden_layers=1 gdn_layers='[0]'
check 65 64 hidden_size=32 num_hidden_layers=1 gdn_layers='[]' decay_for_non_gdn_blocks=false nats_block_size=1
