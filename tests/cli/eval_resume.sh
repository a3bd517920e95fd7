#!/usr/bin/env bash
# tests/cli/eval_resume.sh - natsl eval --checkpoint: stopped or killed inside a sample, it goes on there, on other numbers of ranks and
# groups, and ends with the predictions of a run without a break: generated answers, several questions about one haystack, recall in token
# ids, losses of documents. Nothing is left. A checkpoint of something else is refused, a damaged one passed over.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
tiny_config 264 >tiny.json
"$NATSL" init --config tiny.json --seed 1 --out m.h5 --quiet || exit 1
"$NATSL" init --config tiny.json --seed 2 --out other.h5 --quiet || exit 1
{ cat "$SOURCE/README.md" "$SOURCE/LICENSE"; } | head -c 12500 >text.txt
eval=(eval --model m.h5 --quiet --max-new 3)
often=(--checkpoint ck --checkpoint-every 0.001 --pass-tokens 512)

# stopped NAME SIGNAL RANKS WAIT ARGUMENTS...: a signal to the last rank when WAIT directories of samples have a checkpoint
stopped()
{
    local signal=$2 ranks=$3 wait=$4 i launch=()
    cases=$((cases + 1)) case_name="$1: SIG$signal (ranks: $ranks)"
    shift 4
    [ "$ranks" -eq 0 ] || launch=("$MPIRUN" -n "$ranks")
    touch .mark
    env --default-signal=INT,TERM,USR1 "${launch[@]}" "$NATSL" "$@" "${often[@]}" </dev/null >.out 2>.err &
    pid=$!
    for i in $(seq 3000); do
        [ "$(find ck -name 'checkpoint-*.h5' -newer .mark -printf '%h\n' 2>/dev/null | sort -u | wc -l)" -lt "$wait" ] || break
        [ -r "/proc/$pid/stat" ] && ! grep -qs ') Z ' "/proc/$pid/stat" || break
        sleep 0.01
    done
    [ "$i" -lt 3000 ] || complain "no checkpoint after half a minute"
    kill -"$signal" "$(victims "$ranks" | tail -n 1)"
    ended
    if [ "$signal" = KILL ]; then
        [ "$code" -eq 137 ] || complain "exit code $code, expected 137"
    else
        [ "$code" -eq 6 ] || complain "exit code $code, expected 6"
        [ "$(grep -c '^natsl: interrupted; [0-9]* of [0-9]* samples are finished and kept in got.*, what was read of others in ck; the same command goes on$' .err)" -eq 1 ] ||
            complain "expected one line that says what is kept"
    fi
    [ -n "$(find ck -name 'checkpoint-*.h5')" ] || complain "nothing of a sample is kept"
}

# same A B: the same predictions; nothing is left in ck
same()
{
    (cd "$1" && find . -name '[0-9]*.jsonl' -not -name '*.runs.jsonl' | sort) >.files
    expect "there are predictions in $1" test -s .files
    while read -r file; do expect "$file of $1 and $2" cmp "$1/$file" "$2/$file"; done <.files
    expect "no checkpoint is left" test -z "$(ls -A ck)"
}
goes_on() { expect "it went on inside a sample" grep -q "^going on from ck/$1/\.\.\., after [0-9]* tokens of sample [0-9]* of $2\$" .err.kept; }

# One sample at a time, on other numbers of ranks each time
two=(eval --max-new 3 --suite niah --haystack "$SOURCE/LICENSE" --lengths 16K --samples 2)
one=("${two[@]}" --model m.h5 --quiet)
accepted 0 "${one[@]}" --out want
stopped first TERM 0 1 "${one[@]}" --out got
stopped second USR1 2 1 "${one[@]}" --out got --ranks-per-sample 2
stopped third KILL 3 1 "${one[@]}" --out got --ranks-per-sample 3
damaged=$(find ck -name 'checkpoint-*.h5' | sort | tail -n 1)
printf x | dd of="$damaged" bs=1 seek=5000 conv=notrunc status=none
cp -r ck ck2
cases=$((cases + 1)) case_name="another model's checkpoints"
on 2 "${two[@]}" --model other.h5 --out other --checkpoint ck2 --quiet --ranks-per-sample 2
[ "$code" -eq 2 ] && grep -q '^natsl: ck2/.*: of another run: it has model=' .err || complain "exit code $code, expected 2 and a line"
accepted 2 "${two[@]}" --model m.h5 --out got --ranks-per-sample 2 --checkpoint ck
cp .err .err.kept
expect "the damaged one is named" grep -q "^warning: $damaged: damaged" .err.kept
goes_on niah-16384-[01] niah
same want got

# Two groups of two ranks, each with a sample under way; then one group
stopped groups TERM 4 2 "${one[@]}" --out got2 --ranks-per-sample 2
accepted 0 "${one[@]}" --out got2 --checkpoint ck
same want got2

# Several questions about one haystack: what it holds is read once
kv=("${eval[@]}" --suite kv --lengths 8K --samples 3 --questions 3)
accepted 0 "${kv[@]}" --out want3
stopped kv TERM 0 1 "${kv[@]}" --out got3
accepted 2 eval --model m.h5 --max-new 3 --suite kv --lengths 8K --samples 3 --questions 3 --out got3 --checkpoint ck
cp .err .err.kept
goes_on kv-8192-0-shared kv
same want3 got3

# A short haystack, and what is longer behind it: that is what is kept. An empty directory, as a run that was killed in its first checkpoint
# leaves it, changes nothing.
"$PYTHON" -B - "$SOURCE/README.md" <<'PYTHON' || exit 1
import json
import sys
text = open(sys.argv[1], encoding="utf-8").read().encode("ascii", "replace").decode()
with open("behind.jsonl", "w") as file:
    for i in range(3):
        at = 4000 + 9000 * i
        file.write(json.dumps({"context": text[:4000], "input": text[at:at + 9000], "answer": ["x"]}) + "\n")
PYTHON
behind=("${eval[@]}" --suite jsonl behind.jsonl --metric all)
accepted 0 "${behind[@]}" --out want6
stopped behind TERM 2 1 "${behind[@]}" --out got6 --ranks-per-sample 2
accepted 3 "${behind[@]}" --out got6 --ranks-per-sample 3 --checkpoint ck
same want6 got6
length=$(basename -- want6/behind/*.runs.jsonl .runs.jsonl)
mkdir -p "ck/behind-$length-0" "ck/behind-$length-1"
accepted 0 "${behind[@]}" --out got7 --checkpoint ck
same want6 got7

# Recall in token ids; losses of documents, in bins
mqar=("${eval[@]}" --suite mqar --lengths 8K --samples 1)
accepted 0 "${mqar[@]}" --out want4
stopped mqar TERM 2 1 "${mqar[@]}" --out got4 --ranks-per-sample 2
accepted 0 "${mqar[@]}" --out got4 --checkpoint ck
same want4 got4
loss=(eval --model m.h5 --quiet --suite perplexity text.txt)
accepted 0 "${loss[@]}" --out want5
stopped perplexity TERM 2 1 "${loss[@]}" --out got5 --ranks-per-sample 2
accepted 3 "${loss[@]}" --out got5 --ranks-per-sample 3 --checkpoint ck
same want5 got5

# A checkpoint that the second group cannot write: a warning and an event of its own, and the reading goes on
ln -s "$SCRATCH/no-such-directory/x" ck/niah-8192-1
accepted 2 eval --model m.h5 --max-new 3 --suite niah --haystack "$SOURCE/LICENSE" --lengths 8K --samples 2 --quiet --out got8 "${often[@]}" --log-json .log.json
cp .err .err.kept
expect "a warning" grep -q '^warning: .*ck/niah-8192-1.*; no checkpoint at token' .err.kept
expect "the second group's event" grep -Eq '"event":"checkpoint_failed".*"rank":1' .log.json
expect "and their number" grep -Eq '"event":"end".*"checkpoints_failed":[1-9]' .log.json
rm ck/niah-8192-1
expect "nothing else is left" test -z "$(ls -A ck)"

refused 2 '--checkpoint: r: is --out, too' eval --model m.h5 --suite kv --lengths 2K --out r --checkpoint r
refused 2 '--checkpoint: got8/\.: is --out, too, expected a directory of its own' eval --model m.h5 --suite kv --lengths 2K --out got8 --checkpoint got8/.
refused 2 '--checkpoint-every: needs .* expected --checkpoint DIR' "${one[@]}" --out r --checkpoint-every 5
finish
