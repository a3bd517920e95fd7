#!/usr/bin/env bash
# tests/cli/resume.sh - score and read with --checkpoint: stopped by signals and killed, gone on with on other numbers of
# ranks, they end with the very bits of a run without a break and leave nothing behind; a damaged
# checkpoint is named, and the one before is used; another run's checkpoints are refused.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    skip "no Python with numpy and h5py"
    exit 0
fi
tiny_config 256 >config.json
"$NATSL" init --config config.json --seed 3 --out m.h5 --quiet || exit 1
cat "$SOURCE/LICENSE" "$SOURCE/README.md" "$SOURCE/LICENSE" | head -c 30100 >doc.txt # not whole chunks
[ "$(wc -c <doc.txt)" -eq 30100 ] || exit 1
head -c 1000 "$SOURCE/README.md" >before.txt
# Passes of one tile, and a checkpoint whenever there can be one: many moments to meet. Their bits are those of one pass.
often=(--pass-tokens 512 --checkpoint-every 0.001)
score=(score --model m.h5 doc.txt --write hidden,state --out)
same() { expect "$1" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact "$2" "$3"; }

# start RANKS ARGUMENTS...: in the background as $pid
start()
{
    local launch=()
    [ "$1" -eq 0 ] || launch=("$MPIRUN" -n "$1")
    shift
    env --default-signal=INT,TERM,USR1 "${launch[@]}" "$NATSL" "$@" </dev/null >.out 2>.err &
    pid=$!
}

# until_newer DIR: there is a checkpoint newer than the file .mark, or the run has ended
until_newer()
{
    local i
    for i in $(seq 3000); do
        [ -z "$(find "$1" -name 'checkpoint-*.h5' -newer .mark 2>/dev/null)" ] || return 0
        [ -r "/proc/$pid/stat" ] && ! grep -qs ') Z ' "/proc/$pid/stat" || return 1
        sleep 0.02
    done
    complain "no checkpoint in $1 after a minute"
}

# no_rest DIR MOST OUT: at most so many files in DIR, all of them checkpoints, and nothing half-written
no_rest()
{
    local files=("$1"/*)
    [ -e "${files[0]}" ] || files=()
    [ "${#files[@]}" -le "$2" ] || complain "${#files[@]} files in $1, expected at most $2: ${files[*]}"
    ! compgen -G "*.tmp-*" >/dev/null && ! compgen -G "$1/*.tmp-*" >/dev/null || complain "a temporary file is left: $(echo ./*.tmp-* "$1"/*.tmp-*)"
}

accepted 0 "${score[@]}" w.h5 --quiet

# --- signals -------------------------------------------------------------------------------------------------------------------
# stopped NAME SIGNAL WHOM RANKS DIR ARGUMENTS...: a signal to rank `last` or to mpirun, in the middle; a checkpoint, one line, exit code 6
stopped()
{
    local signal=$2 whom=$3 ranks=$4 directory=$5
    cases=$((cases + 1)) case_name="$1: SIG$signal to $whom (ranks: $ranks)"
    shift 5
    touch .mark
    start "$ranks" "$@" --checkpoint "$directory" "${often[@]}" --quiet
    until_newer "$directory" || complain "it ended before it was stopped"
    if [ "$whom" = mpirun ]; then kill -"$signal" "$pid"; else kill -"$signal" "$(victims "$ranks" | tail -n 1)"; fi
    ended
    if [ "$whom" = mpirun ]; then # which makes a code of its own
        [ "$code" -ne 0 ] || complain "exit code 0"
    else
        [ "$code" -eq 6 ] || complain "exit code $code, expected 6"
    fi
    [ "$(grep -c '^natsl: interrupted after [0-9]* of 30100 tokens, which are saved in '"$directory"'; the same command with --resume goes on$' .err)" -eq 1 ] ||
        complain "expected one line that says what was saved"
    no_rest "$directory" 2
}

stopped first TERM last 2 s "${score[@]}" r.h5
[ ! -e r.h5 ] || complain "a result, though it was stopped"
cp -r s kept # for damage below
stopped second USR1 mpirun 3 s "${score[@]}" r.h5 --resume
stopped third INT last 0 s "${score[@]}" r.h5 --resume
accepted 2 "${score[@]}" r.h5 --checkpoint s --resume
cp .err .err.kept
expect "it said where it goes on" grep -q '^going on from s/checkpoint-[0-9]*.h5, after [0-9]* of 30100 tokens$' .err.kept
no_rest s 0
same "the same bits after three stops" w.h5 r.h5
expect "the same attributes" "$PYTHON" -c '
import h5py
w, r = (h5py.File(name, "r").attrs for name in ("w.h5", "r.h5"))
assert all(w[k] == r[k] for k in ("tokens", "mean_logprob", "perplexity", "config"))'
# A job that is started again finds its result, and leaves it alone; one about something else does not take it for its own.
touch -d '2001-01-01' r.h5
for ranks in 0 2; do
    accepted "$ranks" "${score[@]}" r.h5 --checkpoint s --resume
    expect "nothing was left to do" test "$(stat -c %Y r.h5)" -lt 1000000000
done
accepted 0 score --model m.h5 doc.txt --write hidden --out r.h5 --checkpoint s --resume --quiet
expect "less to write is another run" test "$(stat -c %Y r.h5)" -gt 1000000000

accepted 0 "${score[@]}" n.h5 --checkpoint new --resume --checkpoint-every 0
cp .err .err.kept
expect "it said that it begins" grep -q '^no checkpoint in new: beginning at the first token$' .err.kept
same "the same bits in one run" w.h5 n.h5

# A context: from nothing, and after another one that ends inside a chunk
accepted 0 read --model m.h5 before.txt --out before.h5 --quiet
for context in "" before.h5; do
    more=(--model m.h5 doc.txt)
    [ -z "$context" ] || more+=(--context "$context")
    accepted 2 read "${more[@]}" --out "want$context.ctx.h5" --quiet
    stopped "read $context" TERM last 2 c read "${more[@]}" --out got.ctx.h5
    accepted 3 read "${more[@]}" --out got.ctx.h5 --checkpoint c --resume --quiet
    no_rest c 0
    same "the same context after ${context:-nothing}" "want$context.ctx.h5" got.ctx.h5
done
accepted 0 info got.ctx.h5

# --- what SIGKILL leaves (kills.sh has the kills) ----------------------------------------------------------------------------------
cases=$((cases + 1)) case_name="leftovers of a killed run"
touch .mark
start 0 "${score[@]}" k.h5 --checkpoint k --resume "${often[@]}" --quiet
until_newer k || complain "it ended before it was killed"
kill -KILL "$pid" 2>/dev/null
ended
[ "$code" -eq 137 ] || complain "exit code $code, expected 137"
: >k.h5.tmp-99999 # as a run leaves it that was killed before its first checkpoint
: >k/checkpoint-00000512.h5.tmp-99999
semaphore=/dev/shm/sem.OMPIO_checkpoint-00000512.h5.tmp-99999 # and Open MPI, while it opened that
[ ! -d /dev/shm ] || : >"$semaphore"
accepted 2 "${score[@]}" k.h5 --checkpoint k --resume --quiet
no_rest k 0
[ ! -e "$semaphore" ] || complain "$semaphore is left"
same "the same bits after SIGKILL" w.h5 k.h5

# --- damage ----------------------------------------------------------------------------------------------------------------------
mapfile -t two < <(cd kept && ls)
expect "two checkpoints are kept" test "${#two[@]}" -eq 2
newest=${two[1]} older=${two[0]}
size=$(stat -c %s "kept/$newest")
flip() { # FILE BYTE
    "$PYTHON" -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b ^ 1 << 4]))' "$1" "$2"
}
# one place in the data, one in HDF5's own tables, one in the seal; and the end cut off
for damage in $((size * 3 / 4)) 40 $((size - 20)) cut; do
    rm -rf d && cp -r kept d
    if [ "$damage" = cut ]; then truncate -s $((size - 100)) "d/$newest"; else flip "d/$newest" "$damage"; fi
    accepted 2 "${score[@]}" d.h5 --checkpoint d --resume --quiet
    cp .err .err.kept
    expect "the damaged one is named (byte $damage)" grep -q "^warning: d/$newest: damaged.*; going on from the one before\$" .err.kept
    same "the same bits in spite of damage (byte $damage)" w.h5 d.h5
    rm -f d.h5
done
cp -r kept all && flip "all/$newest" 5000 && flip "all/$older" 5000
cases=$((cases + 1)) case_name="all checkpoints damaged"
on 2 "${score[@]}" d.h5 --checkpoint all --resume --quiet
[ "$code" -eq 3 ] && grep -q "^natsl: all/$older: damaged.*no checkpoint in all is whole" .err && [ ! -e d.h5 ] ||
    complain "exit code $code, expected 3 and a line"
# HDF5 itself would find nothing wrong here: the numbers are.
rm -rf nan && mkdir nan && cp "kept/$newest" nan && "$PYTHON" -c '
import h5py, sys
with h5py.File(sys.argv[1], "r+") as f: f["result/logprobs"][7] = float("nan")' "nan/$newest"
refused 3 "nan/$newest: damaged: no checksum" "${score[@]}" d.h5 --checkpoint nan --resume

# --- what belongs to another run ----------------------------------------------------------------------------------------------------
"$NATSL" init --config config.json --seed 4 --out other.h5 --quiet
sed 's/License/license/' doc.txt >other.txt
other='give --checkpoint another directory'
refused 2 "kept/$newest: of another run: it has model=[0-9a-f]*, this one model=.*$other" score --model other.h5 doc.txt --write hidden,state --out d.h5 --checkpoint kept --resume
rank_counts=0
refused 2 "it has document=[0-9a-f]*, this one document=.*$other" score --model m.h5 other.txt --write hidden,state --out d.h5 --checkpoint kept --resume
refused 2 "it has tokens=30100, this one tokens=1000" score --model m.h5 before.txt --out d.h5 --checkpoint kept --resume
refused 2 "it has route=learned, this one route=linear" "${score[@]}" d.h5 --checkpoint kept --resume --route linear
refused 2 "it has kept=f32, this one kept=bf16" "${score[@]}" d.h5 --checkpoint kept --resume --kept bf16
refused 2 "it has write=hidden,state, this one write=" score --model m.h5 doc.txt --out d.h5 --checkpoint kept --resume
refused 2 "it has command=score, this one command=read" read --model m.h5 doc.txt --out d.h5 --checkpoint kept --resume
refused 2 '--checkpoint: kept: has checkpoints already; give --resume' "${score[@]}" d.h5 --checkpoint kept
refused 2 'before.h5 is also read' read --model m.h5 doc.txt --context before.h5 --out before.h5 --checkpoint c
refused 2 '--resume: needs .* expected --checkpoint DIR' "${score[@]}" d.h5 --resume
refused 2 '--checkpoint-every: needs .* expected --checkpoint DIR' "${score[@]}" d.h5 --checkpoint-every 5
refused 5 '--checkpoint: doc.txt: is no directory' "${score[@]}" d.h5 --checkpoint doc.txt
refused 5 '--checkpoint: no/such: ' "${score[@]}" d.h5 --checkpoint no/such
cases=$((cases + 1)) case_name="a second run in the same directory"
exec 8<kept
flock -n 8 && on 0 "${score[@]}" d.h5 --checkpoint kept --resume
exec 8<&-
[ "$code" -eq 2 ] && grep -q '^natsl: --checkpoint: kept: another run has its checkpoints there' .err || complain "exit code $code, expected 2"
finish
