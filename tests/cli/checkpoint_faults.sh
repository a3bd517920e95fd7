#!/usr/bin/env bash
# tests/cli/checkpoint_faults.sh - checkpoints that cannot be written or read: the disk is full, the directory goes away, the disk has
# errors. The reading goes on and says so; what was saved stays; the result is that of a run without any of it. Needs fault_shim.c (SHIM).
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    skip "no Python with numpy and h5py"
    exit 0
fi
tiny_config 256 >config.json
"$NATSL" init --config config.json --seed 3 --out m.h5 --quiet || exit 1
cat "$SOURCE/LICENSE" "$SOURCE/README.md" | head -c 12100 >doc.txt
host=$(uname -n)
host=${host%%.*}
score=(score --model m.h5 doc.txt --out r.h5 --checkpoint-every 0.001 --pass-tokens 512)
accepted 0 score --model m.h5 doc.txt --out want.h5 --quiet

# faulty RANKS "RANK CALL N WHAT [TIMES]" FILE ARGUMENTS...: score with a fault in files whose path has FILE in it; .err, .out, $code
faulty()
{
    local ranks=$1 fault=$2 file=$3 start=$SECONDS launch=()
    shift 3
    cases=$((cases + 1)) case_name="$fault in $file: $* (ranks: $ranks)"
    [ "$ranks" -eq 0 ] || launch=("$MPIRUN" -n "$ranks")
    code=0
    timeout -k 5 60 "${launch[@]}" env LD_PRELOAD="$SHIM" NATSL_SHIM="$fault" NATSL_SHIM_FILE="$file" \
        NATSL_SHIM_DIRECTORY="$SCRATCH/gone" "$NATSL" "${score[@]}" "$@" >.out 2>.err || code=$?
    [ $((SECONDS - start)) -le 30 ] || complain "$((SECONDS - start)) s, expected an end within 30"
}

# whole PATTERN: it ended well, with a warning that matches, the result is there with the right bits and nothing else is
whole()
{
    [ "$code" -eq 0 ] || complain "exit code $code, expected 0"
    ! grep -q '^natsl: ' .err || complain "an error though it succeeded"
    grep -Eq "^warning: $1; no checkpoint at token [0-9]+, the reading goes on\$" .err || complain "no warning matches '$1'"
    "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact want.h5 r.h5 >.cmp 2>&1 || complain "other bits: $(head -c 200 .cmp)"
    [ -z "$(find . -name '*.tmp-*' -o -name 'checkpoint-*')" ] || complain "left: $(find . -name '*.tmp-*' -o -name 'checkpoint-*' | tr '\n' ' ')"
    rm -f r.h5
}

# --- no room: from the beginning, for a while, on another rank; and where the room is not reserved --------------------------------
faulty 3 "0 fallocate 1 ENOSPC" checkpoint- --checkpoint ck
whole "ck/checkpoint-[0-9]+.h5: no room for [0-9]+ bytes: No space left on device \(rank 0 on $host.*\)"
grep -Eq '^checkpoints 0 in .* removed: the result is there; [1-9][0-9]* more could not be written$' .out || complain "the report does not say so"
faulty 2 "0 fallocate 12 ENOSPC 1" checkpoint- --checkpoint ck # and goes on with checkpoints afterwards
whole "ck/checkpoint-[0-9]+.h5: no room for .*"
grep -Eq '^checkpoints [1-9][0-9]* in .*; 1 more could not be written$' .out || complain "other checkpoints are not told of"
faulty 2 "1 pwrite 3 ENOSPC" checkpoint- --checkpoint ck
whole "ck/checkpoint-[0-9]+.h5: writing .* failed: No space left on device \(rank 1 on $host.*\)"
faulty 0 "-1 fsync 1 EIO" checkpoint- --checkpoint ck
whole "ck/checkpoint-[0-9]+.h5: .*"

# --- no room for a third one beside two: the older one makes room, once -----------------------------------------------------------
faulty 2 "0 fallocate 60 ENOSPC 1" checkpoint- --checkpoint ck --log-json .log.json
[ "$code" -eq 0 ] && ! grep -q '^warning' .err || complain "exit code $code or a warning, expected the checkpoint in the older one's room"
! grep -q 'checkpoint_failed' .log.json || complain "the log has a failed checkpoint"
rm -f r.h5

# --- a signal when there is no room: that is an error, and what was saved before stays --------------------------------------------
cases=$((cases + 1)) case_name="a signal without room"
"$MPIRUN" -n 2 env --default-signal=TERM "$NATSL" "${score[@]}" --checkpoint kept --quiet >.out 2>.err &
pid=$!
for _ in $(seq 2000); do compgen -G 'kept/checkpoint-*.h5' >/dev/null && break; sleep 0.01; done
kill -TERM "$(victims 2 | tail -n 1)"
ended
[ "$code" -eq 6 ] || complain "exit code $code, expected 6"
before=$(ls kept)
"$MPIRUN" -n 2 env --default-signal=TERM LD_PRELOAD="$SHIM" NATSL_SHIM="0 fallocate 1 ENOSPC" NATSL_SHIM_FILE=checkpoint- \
    "$NATSL" "${score[@]}" --checkpoint kept --resume >.out 2>.err &
pid=$!
for _ in $(seq 2000); do grep -q '^warning: ' .err && break; sleep 0.01; done
kill -TERM "$(victims 2 | tail -n 1)"
ended
[ "$code" -eq 5 ] || complain "exit code $code, expected 5"
grep -q '^natsl: kept/checkpoint-.*: no room for .*; interrupted: what was read since the last checkpoint is not saved' .err || complain "no line that says so"
[ "$(ls kept)" = "$(tail -n 1 <<<"$before")" ] || complain "kept has $(ls kept | tr '\n' ' '), had $(tr '\n' ' ' <<<"$before")"
[ ! -e r.h5 ] || complain "a result"

# --- a checkpoint cannot be read: the one before; none: code 3 ----------------------------------------------------------------------
"$MPIRUN" -n 2 env --default-signal=TERM "$NATSL" "${score[@]}" --checkpoint two --quiet >.out 2>.err &
pid=$!
for _ in $(seq 2000); do [ "$(find two -name 'checkpoint-*.h5' 2>/dev/null | wc -l)" -ge 2 ] && break; sleep 0.01; done
kill -TERM "$(victims 2 | tail -n 1)"
ended
newest=$(ls two | tail -n 1)
cp -r two three
faulty 2 "1 pread 1 EIO" "$newest" --checkpoint two --resume --quiet
[ "$code" -eq 0 ] || complain "exit code $code, expected 0"
grep -Eq "^warning: two/$newest: cannot be read back: Input/output error \(rank 1 on $host.*\); going on from the one before\$" .err || complain "no warning names it"
"$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact want.h5 r.h5 >.cmp 2>&1 || complain "other bits"
rm -f r.h5
faulty 2 "0 pread 1 EIO" three/checkpoint- --checkpoint three --resume --quiet
[ "$code" -eq 3 ] || complain "exit code $code, expected 3"
grep -q '^natsl: three/checkpoint-.*: Input/output error.*; no checkpoint in three is whole' .err || complain "no line that says so"
[ "$(ls three | wc -l)" -eq 2 ] && [ ! -e r.h5 ] || complain "checkpoints are gone, or there is a result"
rm -rf three kept

# --- the directory goes away: it is made again; its parent, too: nothing can be saved -------------------------------------------------
mkdir gone
faulty 2 "0 pwrite 40 gone" gone/checkpoint- --checkpoint gone --quiet
[ "$code" -eq 0 ] || complain "exit code $code, expected 0"
"$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact want.h5 r.h5 >.cmp 2>&1 || complain "other bits"
rm -rf r.h5 gone
mkdir gone
faulty 2 "0 pwrite 40 gone" gone/ck/checkpoint- --checkpoint gone/ck
whole "--checkpoint: gone/ck: No such file or directory.*"
finish
