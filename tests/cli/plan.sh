#!/usr/bin/env bash
# plan.sh - natsl plan, the prediction of --dry-run and of the report, and the memory plan against what a run took.
source "$(dirname -- "$0")/common.sh"

config=$SOURCE/jobs/configs/byte-small.json
cat >"$SCRATCH/tiny.json" <<'TEXT'
{"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 256, "head_dim": 8, "num_heads": 4, "num_attn_heads": 4, "gdn_layers": [0]}
TEXT
"$NATSL" init --config "$SCRATCH/tiny.json" --seed 3 --out "$SCRATCH/tiny.h5" --quiet || exit 1
find "$SOURCE/src" "$SOURCE/tests" -name '*.[ch]' -print0 | sort -z | xargs -0 cat >"$SCRATCH/text.txt"
truncate -s 9000 "$SCRATCH/text.txt"

# value FILE EXPRESSION: of a JSON file in $d, or of the last line of a log in $log.
value() { "$PYTHON" -B -c "import json,sys; text=open(sys.argv[1]).read(); d=json.loads(text if sys.argv[1].endswith('.json') else text.splitlines()[-1]); print($2)" "$1"; }

fails() # WORDS STATUS ARGUMENTS...
{
    local words=$1 want=$2 status=0
    shift 2
    case_name="natsl $*"
    cases=$((cases + 1))
    "$NATSL" "$@" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || status=$?
    [ "$status" -eq "$want" ] || complain "exit code $status, expected $want"
    grep -qF -e "$words" "$SCRATCH/.err" || complain "stderr does not say '$words'"
}
works() # ARGUMENTS...
{
    case_name="natsl $*"
    cases=$((cases + 1))
    "$NATSL" "$@" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || complain "exit code $?"
}

fails "expected one of --config and --model" 2 plan
fails "not both" 2 plan --config "$config" --model "$SCRATCH/tiny.h5"
fails "expected one" 2 plan --config "$config" --gflops 10 --machine "$config"
fails "--tokens: '0'" 2 plan --config "$config" --tokens 0
fails "--ranks: ''" 2 plan --config "$config" --ranks 1,
fails "--kept-share" 2 plan --config "$config" --kept-share 1.5
fails "expected machine.peak_gflops" 3 plan --config "$config" --machine "$config"
fails "No such file" 3 plan --config "$config" --machine "$SCRATCH/none.json"
echo '{"machine": {"peak_gflops": 1e999}}' >"$SCRATCH/bad.json"
fails "expected JSON as natsl bench writes it" 3 plan --config "$config" --machine "$SCRATCH/bad.json"
fails "passes times layers times ranks" 2 plan --config "$config" --gflops 10 --tokens 1000G --ranks 100000 --pass-tokens 64K
fails "is no directory" 5 plan --config "$config" --gflops 10 --json "$SCRATCH/text.txt/x.json"

works plan --config "$config" --gflops 100 --threads 4 --tokens 64K,1M --ranks 1,4,256 --json "$SCRATCH/plan.json"
grep -q "what --state-pass auto would choose" "$SCRATCH/.out" || complain "no legend"
works plan --config "$config" --gflops 100 --tokens 64K --ranks 3 --state-pass relay --quiet
[ ! -s "$SCRATCH/.out" ] || complain "--quiet prints"
works plan --config "$SCRATCH/tiny.json" --tokens 4K --ranks 2 # measures this machine
cat >"$SCRATCH/machine.json" <<'TEXT'
{"machine": {"peak_gflops": 400.0, "threads": 2, "ranks": 4, "latency_us": 7.0, "bandwidth_gbytes_per_s": 3.0}, "prefill": []}
TEXT
works plan --model "$SCRATCH/tiny.h5" --machine "$SCRATCH/machine.json" --ranks 2 --tokens 4K
grep -q "95 GFLOP/s" "$SCRATCH/.out" || complain "a rank has a quarter of the peak"
grep -q "7 us and 3 GB/s" "$SCRATCH/.out" || complain "messages as the machine says"

if [ -n "$PYTHON" ]; then
    case_name="the JSON of natsl plan"
    cases=$((cases + 1))
    [ "$(value "$SCRATCH/plan.json" "len(d['runs'])")" = 10 ] || complain "expected 10 runs (no scan on one rank)"
    [ "$(value "$SCRATCH/plan.json" "all(r['seconds'] > 0 and 0 < r['efficiency'] <= 1 and r['rank_bytes'] > 1e6 for r in d['runs'])")" = True ] ||
        complain "seconds, efficiency or memory out of range"
    [ "$(value "$SCRATCH/plan.json" "sorted({r['auto'] for r in d['runs']}) == [False, True]")" = True ] || complain "auto chooses nothing"
fi

# Predicted before, told after; with the machine from a file nothing is measured.
for ranks in 1 3; do
    case_name="the report on $ranks ranks"
    cases=$((cases + 1))
    NATSL_MACHINE=$SCRATCH/machine.json "$MPIRUN" -n "$ranks" "$NATSL" score --model "$SCRATCH/tiny.h5" "$SCRATCH/text.txt" \
        --out "$SCRATCH/r.h5" --balance on --log-json "$SCRATCH/log" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || complain "exit code $?"
    grep -q "^predicted .* for those that were kept" "$SCRATCH/.out" || complain "no prediction"
    "$MPIRUN" -n "$ranks" "$NATSL" score --model "$SCRATCH/tiny.h5" "$SCRATCH/text.txt" --dry-run >"$SCRATCH/.out" 2>"$SCRATCH/.err" ||
        complain "--dry-run: exit code $?"
    grep -q "^predicted .* tokens/s, efficiency" "$SCRATCH/.out" || complain "--dry-run predicts nothing"
    [ -z "$PYTHON" ] || [ "$(value "$SCRATCH/log" "d['predicted_seconds'] > 0 and abs(d['predicted_seconds'] / d['seconds'] - 1 - d['prediction_error']) < 0.2")" = True ] ||
        complain "the log's last line does not tell the error"
done

# What memory was planned for the chunks that were kept, and what was resident. Sanitizers and debug builds have memory of their own.
if [ -n "$PYTHON" ] && [ -z "$NATSL_SANITIZE" ] && [ "$NATSL_BUILD_TYPE" != Debug ]; then
    cat >"$SCRATCH/middle.json" <<'TEXT'
{"hidden_size": 512, "num_hidden_layers": 4, "vocab_size": 8000, "head_dim": 64, "num_heads": 4, "num_attn_heads": 8, "expand_v": 2, "gdn_layers": [0, 2]}
TEXT
    "$NATSL" init --config "$SCRATCH/middle.json" --seed 3 --out "$SCRATCH/middle.h5" --quiet || exit 1
    for ranks in 1 2 4; do
        case_name="memory on $ranks ranks"
        cases=$((cases + 1))
        "$MPIRUN" -n "$ranks" "$NATSL" score --model "$SCRATCH/middle.h5" "$SCRATCH/text.txt" --out "$SCRATCH/r.h5" \
            --log-json "$SCRATCH/log" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || complain "exit code $?"
        error=$(value "$SCRATCH/log" "round(100 * (d['planned_bytes_kept'] / d['resident_bytes'] - 1), 1)")
        [ "$(value "$SCRATCH/log" "abs($error) < 10")" = True ] || complain "planned $error % more than was resident, expected 10 % at most"
        echo "$ranks ranks: planned memory is $error % off"
    done
fi
echo "$cases cases, $failures failures"
[ "$failures" -eq 0 ]
