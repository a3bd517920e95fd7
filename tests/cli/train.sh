#!/usr/bin/env bash
# tests/cli/train.sh - natsl train: the same bits however often a run was killed; signals; groups; all data; checkpoints are
# models. What it refuses: train_refused.sh.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: nothing can be compared"
    exit 1
fi
train=("$PYTHON" -B "$(dirname -- "${BASH_SOURCE[0]}")/train.py")
head -c 12000 "$SOURCE/README.md" >text.txt
head -c 900 "$SOURCE/LICENSE" >doc.txt
log_each=(--log-every 1 --quiet)

spec() { "${train[@]}" write "$@" || exit 1; }

# no_rest DIR: nothing half-written.
no_rest() { ! compgen -G "$1/*.tmp-*" >/dev/null || complain "$1 has $(compgen -G "$1/*.tmp-*" | tr '\n' ' ')"; }

# --- once through ----------------------------------------------------------------------------------------------------------
spec t.json validation='{"every": 3, "windows": 2, "tokens": [500, 700]}'
accepted 0 train --config t.json --out a "${log_each[@]}"
[ ! -s .out ] || complain "--quiet, but something on standard output"
expect "log" "${train[@]}" log a 6 start step validation checkpoint end
expect "two checkpoints" test "$(cd a && echo *)" = "checkpoint-00000005.h5 checkpoint-00000006.h5 log.jsonl model.h5"
expect "the loss falls" "${train[@]}" falls a 0.98
accepted 0 info a/checkpoint-00000006.h5
accepted 0 info a/model.h5
accepted 0 score --model a/checkpoint-00000006.h5 doc.txt --out s1.h5
accepted 2 score --model a/model.h5 doc.txt --out s2.h5
expect "checkpoint and model score alike" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact s1.h5 s2.h5
accepted 0 train --config t.json --out a "${log_each[@]}" # nothing is left to do
expect "log of a finished training" "${train[@]}" log a 6 resume
accepted 0 train --config t.json --out a2 "${log_each[@]}" --threads 2
expect "the same bits again, with other threads" "${train[@]}" same a/model.h5 a2/model.h5
accepted 2 train --config t.json --out b "${log_each[@]}"
accepted 2 train --config t.json --out b2 "${log_each[@]}"
expect "the same bits again on 2 ranks" "${train[@]}" same b/model.h5 b2/model.h5
accepted 2 train --config t.json --out c "${log_each[@]}" --group 2
expect "2 groups and 1 rank" "${train[@]}" near a/model.h5 b/model.h5 1e-3
expect "a group of 2 and 1 rank" "${train[@]}" near a/model.h5 c/model.h5 1e-3
spec seed.json seed=6 phases.0.steps=1
spec one.json phases.0.steps=1
accepted 0 train --config seed.json --out s6 --quiet
accepted 0 train --config one.json --out s5 --quiet
if "${train[@]}" near s5/model.h5 s6/model.h5 0.1 >.out; then complain "another seed gives the same weights"; fi

# --- killed, and started again --------------------------------------------------------------------------------------------
# lines DIR: of its log
lines() { if [ -r "$1/log.jsonl" ]; then wc -l <"$1/log.jsonl"; else echo 0; fi; }

# start RANKS DIR T.json [ARGUMENTS...]: in the background as $pid; its ranks are found by ranks_of.
start()
{
    local ranks=$1 out=$2 config=$3
    shift 3
    local launch=()
    [ "$ranks" -eq 0 ] || launch=("$MPIRUN" -n "$ranks")
    began=$(lines "$out")
    env --default-signal=INT,TERM,USR1 "${launch[@]}" "$NATSL" train --config "$config" --out "$out" "${log_each[@]}" "$@" \
        </dev/null >.out 2>.err &
    pid=$!
}

# until_lines DIR N: its log has N lines more than at the start, or the run has ended.
until_lines()
{
    local i
    for i in $(seq 6000); do
        [ "$(lines "$1")" -lt $((began + $2)) ] || return 0
        [ -r "/proc/$pid/stat" ] && ! grep -q ') Z ' "/proc/$pid/stat" || return 1
        sleep 0.01
    done
    complain "no $2 lines in $1/log.jsonl after a minute"
}

RANDOM=$$ # another moment every time; the seed is in the message
# Long enough that a signal meets the work; the noise of the choices must also be drawn again as it was.
spec long.json phases.0.steps=16 phases.0.windows=6 gate='{"choice": "gumbel", "temperature": 0.5}'
for ranks in 0 2; do
    cases=$((cases + 1)) case_name="SIGKILL at random moments (ranks: $ranks, RANDOM=$$)"
    accepted "$ranks" train --config long.json --out "whole$ranks" "${log_each[@]}"
    for _ in 1 2 3; do
        start "$ranks" "killed$ranks" long.json
        until_lines "killed$ranks" $((3 + RANDOM % 4)) && sleep "0.0$((RANDOM % 5))"
        # shellcheck disable=SC2046
        kill -KILL $(victims "$ranks") 2>/dev/null
        ended
    done
    [ "$code" -ne 0 ] || complain "it ended before it was killed"
    accepted "$ranks" train --config long.json --out "killed$ranks" "${log_each[@]}"
    expect "the same bits after 3 kills (ranks: $ranks)" "${train[@]}" same "whole$ranks/model.h5" "killed$ranks/model.h5"
    expect "log of a killed training" "${train[@]}" log "killed$ranks" 16 resume end
    no_rest "killed$ranks"
done

# saved_line DIR STEP...: one line that says what was saved
saved_line()
{
    [ "$(grep -c '^natsl: ' .err)" -eq 1 ] || complain "expected one line"
    local step
    step=$(sed -n "s|^natsl: interrupted after step \([0-9]*\), which is saved in $1; the same command goes on\$|\1|p" .err)
    [ -n "$step" ] && [ -s "$1/checkpoint-$(printf %08d "$step").h5" ] || complain "step '$step' is not saved"
}

# Saving is left to the signal here.
spec signal.json phases.0.steps=16 phases.0.windows=6 gate='{"choice": "gumbel", "temperature": 0.5}' checkpoint='{"keep": 1}'
for way in "0 TERM" "0 INT" "0 USR1" "2 TERM" "2 mpirun"; do
    read -r ranks signal <<<"$way"
    cases=$((cases + 1)) case_name="SIG$signal (ranks: $ranks)"
    out=signal-$ranks-$signal
    start "$ranks" "$out" signal.json
    until_lines "$out" 3
    case $signal in
    mpirun) kill -USR1 "$pid" ;; # which it passes on at once
    *) kill -"$signal" "$(victims "$ranks" | tail -n 1)" ;; # one rank is enough
    esac
    ended
    [ "$code" -eq 6 ] || complain "exit code $code, expected 6"
    saved_line "$out"
    no_rest "$out"
    accepted "$ranks" train --config signal.json --out "$out" "${log_each[@]}"
    expect "the same bits after SIG$signal (ranks: $ranks)" "${train[@]}" same "whole$ranks/model.h5" "$out/model.h5"
    expect "log after SIG$signal" "${train[@]}" log "$out" 16 start resume end
done

# mpirun kills ranks soon, whatever they do; whatever comes of it, the directory is sound.
cases=$((cases + 1)) case_name="SIGTERM to mpirun"
start 2 mpirun signal.json
until_lines mpirun 2
kill -TERM "$pid"
ended
accepted 2 train --config signal.json --out mpirun "${log_each[@]}"
expect "the same bits after SIGTERM to mpirun" "${train[@]}" same whole2/model.h5 mpirun/model.h5

# While a checkpoint is being written: a model that takes longer to write than to train.
spec wide.json model.hidden_size=512 model.gdn_layers='[0, 1]' phases.0.steps=4 phases.0.windows=1 phases.0.tokens=64 \
    data='[{"kind": "text", "files": ["text.txt"]}]'
accepted 0 train --config wide.json --out wide --quiet
met=0
for _ in 1 2 3 4 5 6; do
    cases=$((cases + 1)) case_name="SIGKILL while a checkpoint is written"
    start 0 cut wide.json
    while [ -r "/proc/$pid/stat" ] && ! grep -q ') Z ' "/proc/$pid/stat" && ! compgen -G 'cut/*.tmp-*' >/dev/null; do :; done
    kill -KILL "$pid" 2>/dev/null
    ended
    ! compgen -G 'cut/*.tmp-*' >/dev/null || met=$((met + 1))
    [ "$met" -lt 2 ] || break
done
[ "$met" -ge 1 ] || complain "no kill met a file being written"
accepted 0 train --config wide.json --out cut --quiet
expect "the same bits after writing was cut short" "${train[@]}" same wide/model.h5 cut/model.h5
no_rest cut
cases=$((cases + 1)) case_name="another run in the same directory"
spec endless.json phases.0.steps=100000 checkpoint='{"keep": 1}'
start 0 busy endless.json
until_lines busy 2
"$NATSL" train --config endless.json --out busy --quiet 2>.err2
[ $? -eq 2 ] && grep -q 'another training runs there' .err2 || complain "a second run was not refused: $(cat .err2)"
kill -TERM "$pid"
ended
[ "$code" -eq 6 ] || complain "exit code $code, expected 6"

# --- the gate -----------------------------------------------------------------------------------------------------------------
for route in softmax linear; do accepted 0 train --config one.json --out "$route" --route "$route" "${log_each[@]}"; done
expect "--route softmax keeps all" test "$("${train[@]}" last softmax kept)" = 1.0
expect "--route linear keeps none" test "$("${train[@]}" last linear kept)" = 0.0
spec free.json phases.0.steps=40 phases.0.windows=1 checkpoint='{}' gate='{"choice": "gumbel"}'
spec held.json phases.0.steps=40 phases.0.windows=1 checkpoint='{}' gate='{"choice": "gumbel", "kept_weight": 30}'
accepted 0 train --config free.json --out free "${log_each[@]}"
accepted 0 train --config held.json --out held "${log_each[@]}"
expect "kept_weight lowers the kept share" "$PYTHON" -c 'import sys; a, b = map(float, sys.argv[1:]); sys.exit(not b < 0.5 * a)' \
    "$("${train[@]}" last free expected_kept)" "$("${train[@]}" last held expected_kept)"

# --- data -----------------------------------------------------------------------------------------------------------------------
"$PYTHON" - <<'PYTHON' || exit 1
import h5py, numpy as np
with h5py.File("tokens.h5", "w") as f:
    f["tokens"] = (np.arange(9000) * 7 % 61).astype(np.int32)
PYTHON
needle='"haystack": "text", "files": ["text.txt"], "values": [1, 3], "restate": 1, "loss": "all"'
spec kinds.json phases='[{"steps": 2, "windows": 3, "tokens": [600, 800], "kept_weight": 1},
    {"steps": 2, "windows": 2, "tokens": 500, "data": [{"kind": "text", "files": ["tokens.h5", "text.txt"]}]},
    {"steps": 2, "windows": 1, "tokens": [64, 300, 900], "data": [{"kind": "text", "files": ["text.txt"], "validation": 0.2}]}]' \
    data="[{\"kind\": \"needle\", $needle}, {\"kind\": \"copy\", \"length\": [5, 40]}, {\"kind\": \"text\", \"files\": [\"text.txt\"], \"weight\": 3}]" \
    validation='{"every": 2, "windows": 3, "tokens": 600, "data": [{"kind": "needle"}]}'
spec mqar.json model.vocab_size=64 data='[{"kind": "mqar", "pairs": [2, 8]}, {"kind": "text", "files": ["tokens.h5"]}]' \
    phases='[{"steps": 3, "windows": 4, "tokens": [64, 128]}]' validation='{"every": 3, "windows": 4, "tokens": 128}'
for name in kinds mqar; do
    accepted 0 train --config "$name.json" --out "$name" "${log_each[@]}"
    accepted 3 train --config "$name.json" --out "$name-3" "${log_each[@]}"
    expect "$name: 3 groups and 1 rank" "${train[@]}" near "$name/model.h5" "$name-3/model.h5" 1e-3
done
expect "log of phases" "${train[@]}" log kinds 6 validation end
expect "the last phase" test "$("${train[@]}" last kinds phase)" = 2
accepted 0 info mqar/model.h5

# Made texts in the tokens of a tokenizer.json: gone on with as well as in one go; the model carries the tokenizer, and eval asks in it.
cp "$GOLDEN/tokenizer/qwen.json" .
spec tokens.json tokenizer='"qwen.json"' model.vocab_size=620 gate.hint_weight=0.5 checkpoint.every_steps=2 checkpoint.keep=9 \
    phases='[{"steps": 4, "windows": 4, "tokens": [500, 800]}]' validation='{"every": 4, "windows": 6, "tokens": 600}' \
    data="[{\"kind\": \"needle\", $needle, \"special_tokens\": true}, {\"kind\": \"copy\"}, {\"kind\": \"needle\", \"keys\": 2},
        {\"kind\": \"text\", \"files\": [\"text.txt\"]}]"
for ranks in 0 2; do
    accepted "$ranks" train --config tokens.json --out "tokens$ranks" "${log_each[@]}"
    mkdir "tokens-on$ranks"
    cp "tokens$ranks/checkpoint-00000002.h5" "tokens-on$ranks"
    accepted "$ranks" train --config tokens.json --out "tokens-on$ranks" "${log_each[@]}" --threads 2
    expect "made texts in tokens: the same bits after a break (ranks: $ranks)" "${train[@]}" same "tokens$ranks/model.h5" "tokens-on$ranks/model.h5"
done
expect "made texts in tokens: 2 groups and 1 rank" "${train[@]}" near tokens0/model.h5 tokens2/model.h5 1e-3
expect "answers are asked for in validation" grep -Eq '"event":"validation".*"answers":[1-9]' tokens0/log.jsonl
accepted 0 eval --model tokens0/model.h5 --suite ruler --tasks niah_single_1 --lengths 500 --samples 1 --max-new 4 --out asked --quiet

# Weights from a file: after one step without rate they are those of the file.
spec init.json init='"../a/model.h5"' optimizer='{"learning_rate": 0}' phases.0.steps=1
mkdir -p below
mv init.json below/
cp text.txt below/
accepted 2 train --config below/init.json --out from "${log_each[@]}"
expect "init" "${train[@]}" near a/model.h5 from/model.h5 0
# A model that names no tokenizer gets none by training, however large its vocabulary is; what it says of its last tokens stays.
"$PYTHON" -c 'import json; json.dump(json.load(open("one.json"))["model"], open("model.json", "w"))'
accepted 0 init --config model.json --seed 1 --tokenizer none --out untold.h5 --quiet
"$PYTHON" -c 'import h5py, numpy as np; h5py.File("untold.h5", "r+").attrs["eos_token_id"] = np.array([7, 9])'
spec untold.json init='"untold.h5"' phases.0.steps=1 data='[{"kind": "text", "files": ["tokens.h5"]}]'
accepted 2 train --config untold.json --out untold --quiet
accepted 0 info untold/model.h5
grep -Eq 'tokenizer +none' .out && grep -Eq 'ends +with token 7 or 9' .out || complain "another tokenizer than that of init, or other last tokens"
accepted 2 train --config t.json --dry-run
grep -Eq '^memory +weights .* per rank' .out || complain "--dry-run does not say what memory it takes"

# --- the figure ---------------------------------------------------------------------------------------------------------------
if ! "$PYTHON" -c 'import matplotlib' 2>/dev/null; then
    skip "tools/plot-train: no matplotlib"
else
    for figure in f.svg f.png; do
        expect "$figure" "$PYTHON" "$SOURCE/tools/plot-train" killed2 kinds --out "$figure"
        [ -s "$figure" ] || complain "no figure"
    done
    mkdir none
    for wrong in "kinds --out g.pdf" "kinds --out nowhere/g.svg" "none --out g.svg" "text.txt --out g.svg"; do
        cases=$((cases + 1)) case_name="plot-train $wrong" code=0
        # shellcheck disable=SC2086
        "$PYTHON" "$SOURCE/tools/plot-train" $wrong >.out 2>.err || code=$?
        [ "$code" -ge 2 ] && [ "$(grep -c '^plot-train: ' .err)" -eq 1 ] || complain "exit code $code, expected a line"
    done
    [ ! -e g.svg ] && ! compgen -G 'tmp*' >/dev/null || complain "something left behind"
fi
finish
