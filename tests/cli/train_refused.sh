#!/usr/bin/env bash
# tests/cli/train_refused.sh - what natsl train does not take: configurations, data, directories, checkpoints, options; and memory
# that runs out anywhere. One line, the right exit code, no hang, nothing left behind.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: the files cannot be made"
    exit 1
fi
train=("$PYTHON" -B "$(dirname -- "${BASH_SOURCE[0]}")/train.py")
head -c 9000 "$SOURCE/README.md" >text.txt
printf x >short.txt
mkdir out

spec() { "${train[@]}" write "$@" || exit 1; }
# A line that is wrong is wrong on every rank: 3 ranks are asked where one of them reads, writes or decides.
rank_counts="0"
# bad PATTERN PATH=JSON...: a small training with these members set
bad()
{
    local pattern=$1
    shift
    spec bad.json "$@"
    refused 3 "$pattern" train --config bad.json --out out
}

spec good.json phases.0.steps=1
accepted 0 train --config good.json --out done --quiet # what follows is refused for its own reasons only

# --- the file ------------------------------------------------------------------------------------------------------------
rank_counts="0 3"
refused 3 'none.json: No such file' train --config none.json --out out
refused 3 'out: .*directory' train --config out --out out
rank_counts="0"
: >empty.json
refused 3 'empty.json: line' train --config empty.json --out out
printf '{"model": ' >cut.json
refused 3 'cut.json: line 1' train --config cut.json --out out
printf '[1, 2]' >list.json
refused 3 'list.json: expected an object' train --config list.json --out out
printf '{"model": 1, "model": 2}' >twice.json
refused 3 'twice.json: line 1: duplicate' train --config twice.json --out out
printf '{"seed": 1}\0{}' >zero.json
refused 3 'zero.json: a zero byte' train --config zero.json --out out
head -c 100000 /dev/zero | tr '\0' '[' >deep.json
refused 3 'deep.json: line 1' train --config deep.json --out out
head -c 1100000 /dev/zero | tr '\0' ' ' >long.json
refused 3 'long.json: more than' train --config long.json --out out
sed 's/"seed": 5/"seed": NaN/' good.json >nan.json
refused 3 'nan.json: line 1' train --config nan.json --out out
sed 's/"seed": 5/"seed": 1e999/' good.json >huge.json
refused 3 'huge.json: line 1: .*overflow' train --config huge.json --out out

# --- members -----------------------------------------------------------------------------------------------------------------
bad 'bad.json: modle: not a known key' modle=1
bad 'bad.json: optimizer.rate: not a known key' optimizer.rate=1
bad 'bad.json: model: missing' model=
bad 'bad.json: phases: missing' phases=
bad 'bad.json: phases: expected a list' phases='[]'
bad 'bad.json: phases\[0\]: expected an object' phases='[3]'
bad 'bad.json: phases\[0\].steps: missing' phases.0.steps=
bad 'bad.json: phases\[0\].steps: expected a whole number, 1 to' phases.0.steps=0
bad 'bad.json: phases\[0\].steps: expected a whole number' phases.0.steps=1e308
bad 'bad.json: phases\[0\].steps: expected a whole number' phases.0.steps=9000000000000000000
bad 'bad.json: phases: too many steps' phases.0.steps=999999999999 'phases.1={"steps": 999999999999, "windows": 1, "tokens": 64}'
bad 'bad.json: phases\[0\].windows: expected a whole number, 1 to' phases.0.windows=-2
bad 'bad.json: phases\[0\].windows: expected a whole number' 'phases.0.windows="two"'
bad 'bad.json: phases\[0\].tokens: expected numbers of tokens, 2 to' phases.0.tokens=1
bad 'bad.json: phases\[0\].tokens: expected numbers of tokens' phases.0.tokens='[700, -700]'
bad 'bad.json: phases\[0\].tokens: expected a number of tokens, or a list of 1 to 16' phases.0.tokens='[]'
bad 'bad.json: phases\[0\].tokens: expected a number' phases.0.tokens="[$(seq -s, 2 18)]"
bad 'bad.json: phases\[0\].tokens: expected numbers' phases.0.tokens=700.5
bad 'bad.json: seed: expected a whole number' seed=-1
bad 'bad.json: seed: expected a whole number' seed=1.5
bad 'bad.json: optimizer: expected an object' optimizer='[]'
bad 'bad.json: optimizer.learning_rate: expected a number' optimizer.learning_rate=1e308
bad 'bad.json: optimizer.learning_rate: expected a number' optimizer.learning_rate=-1
bad 'bad.json: optimizer.beta1: expected a number' optimizer.beta1=1
bad 'bad.json: optimizer.epsilon: expected a number' optimizer.epsilon=0
bad 'bad.json: optimizer.clip: expected a number' 'optimizer.clip="1"'
bad 'bad.json: gate.choice: expected argmax or gumbel' 'gate.choice="softmax"'
bad 'bad.json: gate.temperature: expected a number' gate.temperature=0
bad 'bad.json: gate.kept_weight: expected a number' gate.kept_weight=true
bad 'bad.json: checkpoint.keep: expected a whole number, 1 to' checkpoint.keep=0
bad 'bad.json: checkpoint.every_minutes: expected a number' checkpoint.every_minutes=-1
bad 'bad.json: validation.every: missing' validation='{"windows": 1, "tokens": 700}'
bad 'bad.json: validation.tokens: expected numbers' validation='{"every": 1, "windows": 1, "tokens": 0}'
bad 'bad.json: model: expected a configuration' model=7
bad 'bad.json: model: .*No such file' 'model="none.json"'
bad 'hidden_size' model.hidden_size=-4
bad 'bad.json: init: expected a text' init=7

# --- data ---------------------------------------------------------------------------------------------------------------------
bad 'bad.json: phases\[0\]: no data' data=
bad 'bad.json: data\[0\].kind' data='[{"files": ["text.txt"]}]'
bad 'bad.json: data\[0\].files: none.txt' data='[{"kind": "text", "files": ["none.txt"]}]'
bad 'bad.json: phases\[0\].data\[0\].files: none.txt' phases.0.data='[{"kind": "text", "files": ["none.txt"]}]'
bad 'bad.json: data\[0\].files: 1 tokens' data='[{"kind": "text", "files": ["short.txt"]}]'
bad 'bad.json: data\[0\].weight' data='[{"kind": "text", "files": ["text.txt"], "weight": 0}]'
bad 'bad.json: data\[0\].word' data='[{"kind": "needle", "word": 0}]'
bad 'bad.json: data\[0\]: windows of 100 tokens are too short' phases.0.tokens=100
bad 'bad.json: validation.data\[0\]: windows of 90 tokens are too short' validation='{"every": 1, "windows": 1, "tokens": 90}'
bad 'bad.json: validation.data: no source holds anything back' \
    validation='{"every": 1, "windows": 1, "tokens": 700, "data": [{"kind": "text", "files": ["text.txt"], "validation": 0}]}'
cp "$GOLDEN"/tokenizer/{qwen,digits}.json .
in_tokens() { bad "$1" model.vocab_size=620 phases.0.tokens=80 "${@:2}"; }
in_tokens 'bad.json: data\[0\]: windows of 80 tokens are too short for this source, expected at least [12]..$' 'tokenizer="qwen.json"'
in_tokens 'bad.json: data\[0\].key_kind: the model.s tokenizer cannot write' 'tokenizer="digits.json"'
in_tokens 'bad.json: data\[0\].files: .*none.txt: No such' 'tokenizer="qwen.json"' \
    data='[{"kind": "needle", "haystack": "text", "files": ["none.txt"]}]'
in_tokens 'bad.json: data\[0\].kind: expected another kind: needles need a byte' 'tokenizer="none"'
bad 'bad.json: data\[0\].special_tokens: expected false' data='[{"kind": "needle", "special_tokens": true}]'
"$PYTHON" -c 'import json; json.dump(json.load(open("good.json"))["model"], open("model.json", "w"))'
accepted 0 init --config model.json --seed 1 --tokenizer none --out untold.h5 --quiet
bad 'bad.json: data\[0\].files: text.txt: text for a model without a tokenizer' 'init="untold.h5"' \
    data='[{"kind": "text", "files": ["text.txt"]}]'
bad 'bad.json: data\[0\].kind: expected another kind: needles need a byte' 'init="untold.h5"'
bad 'none.h5' 'init="none.h5"'
bad 'text.txt' 'init="text.txt"'
bad 'done/model.h5: .*expected' 'init="done/model.h5"' model.hidden_size=48

# --- options ----------------------------------------------------------------------------------------------------------------------
refused 2 '^natsl: train: --out is missing' train --config good.json
refused 2 '^natsl: train: --config is missing' train --out out
refused 2 '^natsl: --balance: train' train --config good.json --out out --balance on
refused 2 '^natsl: --state-pass: train' train --config good.json --out out --state-pass scan
refused 2 '^natsl: --weights: train' train --config good.json --out out --weights bf16
refused 2 '^natsl: --pass-tokens: train' train --config good.json --out out --pass-tokens 640
refused 2 'set --stage-tokens 700 or more' train --config good.json --out out --stage-tokens 64
refused 2 '^natsl: --log-every' train --config good.json --out out --log-every -1
rank_counts="0 3"
refused 2 '^natsl: --group: [13] ranks are no multiple of 2' train --config good.json --out out --group 2
refused 2 '^natsl: --group: [13] ranks are no multiple of 2' train --config good.json --dry-run --group 2

# --- directories --------------------------------------------------------------------------------------------------------------
refused 5 'text.txt: is no directory' train --config good.json --out text.txt
refused 5 'none/out: No such file' train --config good.json --out none/out
if [ "$(id -u)" -ne 0 ]; then
    mkdir -m 555 locked
    refused 5 'locked: cannot be written' train --config good.json --out locked
else
    skip "a directory that cannot be written to: root may write anywhere"
fi
mkdir log-is-directory
mkdir log-is-directory/log.jsonl
refused 5 'log.jsonl: Is a directory' train --config good.json --out log-is-directory

# --- checkpoints -----------------------------------------------------------------------------------------------------------------
name=checkpoint-00000001.h5
whole=done/$name
size=$(stat -c %s "$whole")
for damage in truncated head empty text; do
    mkdir "$damage"
    : >"$damage/log.jsonl"
    case $damage in
    truncated) head -c $((size / 2)) "$whole" >"$damage/$name" ;;
    head) head -c 2000 "$whole" >"$damage/$name" ;;
    empty) : >"$damage/$name" ;;
    text) cp text.txt "$damage/$name" ;;
    esac
    refused 3 "$damage/$name: " train --config good.json --out "$damage"
    rank_counts="0"
done
mkdir renamed plain other changed
cp "$whole" renamed/checkpoint-00000009.h5
cp done/model.h5 "plain/$name"
cp "$whole" "other/$name"
cp "$whole" "changed/$name"
refused 3 'checkpoint-00000009.h5: says step 1' train --config good.json --out renamed
refused 3 "plain/$name: .*training" train --config good.json --out plain
spec other.json phases.0.steps=1 model.head_dim=8
refused 3 "other/$name: a checkpoint of a model with another configuration" train --config other.json --out other
refused 3 "other/$name: a checkpoint of a model with another configuration" train --config other.json --out other --changed
"$PYTHON" - "$whole" <<'PYTHON' || exit 1
import os, shutil, sys
import h5py
import numpy as np

def damaged(name, change):
    os.mkdir(name)
    path = os.path.join(name, os.path.basename(sys.argv[1]))
    shutil.copy(sys.argv[1], path)
    with h5py.File(path, "r+") as f:
        change(f)

def poke(name, value):
    def change(f): f[name][7] = value
    return change

damaged("nan", poke("training/first_moment", np.nan))
damaged("inf", poke("training/second_moment", np.inf))
damaged("no-moment", lambda f: f.__delitem__("training/second_moment"))
damaged("no-text", lambda f: f.__delitem__("training/configuration"))
damaged("minus", lambda f: f["training"].attrs.__setitem__("step", -1))
damaged("updates", lambda f: f["training"].attrs.__setitem__("updates", 5))
PYTHON
refused 3 "nan/$name: .*not finite" train --config good.json --out nan
refused 3 "inf/$name: .*not finite" train --config good.json --out inf
refused 3 "no-moment/$name: .*second_moment" train --config good.json --out no-moment
refused 3 "no-text/$name: .*configuration" train --config good.json --out no-text
refused 3 "minus/$name: step -1" train --config good.json --out minus
refused 3 "updates/$name: .*updates" train --config good.json --out updates
spec more.json phases.0.steps=2
rank_counts="0 3"
refused 2 'was trained by another configuration than more.json; give --changed' train --config more.json --out changed
accepted 2 train --config more.json --out changed --changed --quiet
spec fewer.json phases.0.steps=1 seed=4
rank_counts="0"
refused 2 'beyond the 1 steps' train --config fewer.json --out changed --changed
# The newest is damaged by one byte: it is named, and the one before is used. With both damaged there is no way on.
mkdir flipped
cp "$whole" "flipped/$name"
cp "$whole" flipped/checkpoint-00000002.h5
flip() { printf '\377' | dd of="$1" bs=1 seek=$((size / 2)) conv=notrunc status=none; }
flip flipped/checkpoint-00000002.h5
accepted 2 train --config good.json --out flipped --quiet
cp .err .err.kept
expect "the damaged one is named" grep -q '^warning: flipped/checkpoint-00000002.h5: damaged' .err.kept
expect "it went on from the one before" grep -q '"event":"resume","step":1' flipped/log.jsonl
mkdir both
: >both/log.jsonl
for n in 1 2; do cp "$whole" "both/checkpoint-0000000$n.h5" && flip "both/checkpoint-0000000$n.h5"; done
cases=$((cases + 1)) case_name="all checkpoints damaged"
on 0 train --config good.json --out both
[ "$code" -eq 3 ] && [ "$(grep -c '^warning: both/checkpoint-00000002.h5: damaged' .err)" -eq 1 ] &&
    [ "$(grep -c '^natsl: both/checkpoint-00000001.h5: damaged.*no checkpoint in both is whole' .err)" -eq 1 ] ||
    complain "exit code $code, expected 3 and both named"
# Not names of checkpoints: the training begins.
mkdir names
for odd in checkpoint-5.h5 checkpoint-00000005.h5.old "checkpoint- 0000005.h5" checkpoint-00000000.h5 checkpoint--0000005.h5 \
    checkpoint-99999999999999999999999.h5; do : >"names/$odd"; done
accepted 0 train --config good.json --out names --quiet
expect "it began" grep -q '"event":"start"' names/log.jsonl
# More than an HDF5 attribute can hold
{ cat good.json; head -c 70000 /dev/zero | tr '\0' ' '; } >wide.json
accepted 0 train --config wide.json --out wide --quiet
accepted 0 train --config wide.json --out wide --quiet

# --- memory ------------------------------------------------------------------------------------------------------------------------
# The n-th allocation fails, in every rank: exit code 4 and one line, or the run ends well.
spec fault.json phases.0.steps=1 phases.0.windows=1 validation='{"every": 1, "windows": 1, "tokens": 700}'
well=0
fault() # RANKS N
{
    rm -rf "fault$1"
    cases=$((cases + 1)) case_name="NATSL_FAULT=$2 (ranks: $1)"
    NATSL_FAULT=$2 on "$1" train --config fault.json --out "fault$1" --quiet
    if [ "$code" -eq 0 ]; then
        well=$((well + 1))
    elif [ "$code" -ne 4 ]; then
        complain "exit code $code, expected 0 or 4"
    elif [ "$(grep -c '^natsl: out of memory' .err)" -ne 1 ]; then
        complain "expected one line about memory"
    fi
    ! compgen -G "fault$1/*.tmp-*" >/dev/null || complain "a temporary file is left"
}
for n in $(seq 1 60); do fault 0 "$n"; done
for n in $(seq 1 6 60); do fault 2 "$n"; done
[ "$well" -lt 70 ] || complain "no allocation failed"
# And while a run goes on from a checkpoint
accepted 0 train --config good.json --out again --quiet
for n in $(seq 20 5 70); do
    cases=$((cases + 1)) case_name="NATSL_FAULT=$n, going on"
    NATSL_FAULT=$n on 0 train --config good.json --out again --quiet
    [ "$code" -eq 0 ] || [ "$code" -eq 4 ] || complain "exit code $code, expected 0 or 4"
done
accepted 0 train --config good.json --out again --quiet
finish
