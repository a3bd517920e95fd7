#!/usr/bin/env bash
# tests/cli/faults.sh - what happens when a rank crashes, is killed, hangs or is slow, when writing fails on one rank, when the
# directory goes away, when weights are no numbers: always an end within 30 s, with the right exit code and a line that says
# which rank on which host and what; no result and no temporary file is left. --watchdog. Needs fault_shim.c (SHIM).
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
unset OMPI_MCA_odls_base_sigkill_timeout # here ranks die, and mpirun must end the others

"$NATSL" init --config "$SOURCE/jobs/configs/byte-small.json" --seed 1 --out m.h5 --quiet || exit 1
yes 'a line of text that is read until something fails' | head -c 2000 >.short.txt
host=$(uname -n)
host=${host%%.*}

# faulty RANKS "RANK CALL N WHAT" ARGUMENTS...: natsl with a fault; .err, $code, and the seconds it took in $took.
faulty()
{
    local ranks=$1 fault=$2 start=$SECONDS
    shift 2
    cases=$((cases + 1)) case_name="$fault: $* (ranks: $ranks)"
    code=0
    if [ "$ranks" -eq 0 ]; then
        timeout -k 5 60 env LD_PRELOAD="$SHIM" NATSL_SHIM="$fault" NATSL_SHIM_DIRECTORY="$SCRATCH/gone" "$NATSL" "$@" \
            >.out 2>.err || code=$?
    else
        timeout -k 5 60 "$MPIRUN" -n "$ranks" env LD_PRELOAD="$SHIM" NATSL_SHIM="$fault" \
            NATSL_SHIM_DIRECTORY="$SCRATCH/gone" "$NATSL" "$@" >.out 2>.err || code=$?
    fi
    took=$((SECONDS - start))
    [ "$took" -le 30 ] || complain "$took s, expected an end within 30"
}

# ended CODE PATTERN: the exit code, one line that matches beside the one of a rank that was interrupted by the end, and nothing left.
ended()
{
    [ "$code" -eq "$1" ] || complain "exit code $code, expected $1"
    [ "$(grep '^natsl: ' .err | grep -vc '^natsl: interrupted, nothing was saved$')" -eq 1 ] || complain "expected one line natsl: ..."
    grep -Eq -- "^natsl: $2" .err || complain "no line matches '$2'"
    ! compgen -G 'r.h5*' >/dev/null || complain "left $(compgen -G 'r.h5*' | tr '\n' ' ')"
    rm -f r.h5*
}

# stopped RANK: the process of that rank of the job $pid once it is at work, stopped.
stopped()
{
    local i p
    victim=
    for i in $(seq 300); do
        for p in $(pgrep -P "$pid"); do
            if tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1"; then victim=$p; fi
        done
        if [ -n "$victim" ] && compgen -G 'r.h5.tmp-*' >/dev/null; then
            kill -STOP "$victim"
            return
        fi
        sleep 0.05
    done
    complain "it did not begin"
}

score=(score --model m.h5 .short.txt --out r.h5 --pass-tokens 1024 --quiet)
read=(read --model m.h5 .short.txt --out r.h5 --pass-tokens 1024 --quiet)

# --- a rank that crashes or is killed -------------------------------------------------------------------------------------------
faulty 2 "1 recv 2 segv" "${score[@]}" --log-json .log.json
ended 139 "rank 1 on $host.*: segmentation fault \(SIGSEGV\) at address 0x8 while reading, layer [0-9]"
grep -Eq '^ +#[0-9]+ 0x[0-9a-f]+ main\+|\(main\+|bin/natsl' .err || complain "no calls down to main"
faulty 0 "-1 pwrite 2 abort" "${score[@]}" --log-json .log.json
ended 134 "aborted \(SIGABRT\) while reading"
tail -n 1 .log.json | grep -q '"event": "end", "status": 134' || complain "the log does not end in status 134"
faulty 2 "1 recv 2 kill" "${score[@]}"
[ "$code" -eq 137 ] || complain "exit code $code, expected 137"
grep -Eq "rank 1 .* on node $host.* exited on signal 9" .err || complain "mpirun does not name the rank"
! compgen -G 'r.h5*' >/dev/null || complain "left $(compgen -G 'r.h5*' | tr '\n' ' ')"

# sent by somebody else: the line is the same, without an address
cases=$((cases + 1)) case_name="a rank gets SIGSEGV"
yes 'a line of text that is read until something fails' | head -c 60000 >.long.txt
"$MPIRUN" -n 3 "$NATSL" score --model m.h5 .long.txt --out r.h5 --quiet >.out 2>.err &
pid=$! start=$SECONDS
stopped 2
kill -SEGV "$victim"
kill -CONT "$victim"
code=0
wait "$pid" || code=$?
[ $((SECONDS - start)) -le 30 ] || complain "it took $((SECONDS - start)) s"
ended 139 "rank 2 on $host.*: segmentation fault \(SIGSEGV\) while [a-z]"

# --- a rank that hangs, or is slow ------------------------------------------------------------------------------------------------
faulty 3 "1 recv 2 hang" "${score[@]}" --watchdog 1 --log-json .log.json
ended 8 "no rank made progress for 1 s \(--watchdog\): the job ends; where each rank was stands above$"
for r in 0 1 2; do
    grep -Eq "^rank $r on $host.*: process [0-9]+ is at: reading, layer [0-9]" .err || complain "rank $r does not say where it is"
done
grep -q ' pause+' .err || grep -q '(pause+' .err || complain "the calls of rank 1 do not show where it hangs"
tail -n 1 .log.json | grep -q '"event": "end", "status": 8' || complain "the log does not end in status 8"
faulty 0 "-1 pwrite 2 hang" "${read[@]}" --watchdog 0.5
ended 8 'no rank made progress for 0.5 s'

cases=$((cases + 1)) case_name="a rank that is stopped for good"
"$MPIRUN" -n 2 "$NATSL" score --model m.h5 .long.txt --out r.h5 --quiet --watchdog 1.5 >.out 2>.err &
pid=$! start=$SECONDS
stopped 1
code=0
wait "$pid" || code=$?
[ $((SECONDS - start)) -le 30 ] || complain "it took $((SECONDS - start)) s"
ended 8 "no rank made progress .* no answer from rank 1 on $host"

# One that only waits is not ended while another works: rank 1 has no part of a text of one chunk, which takes rank 0 longer than
# the time allowed. And a rank that is stopped for less than that changes nothing.
case_name="a rank that waits for one at work"
if [ -n "${PYTHON:-}" ]; then
    cat >deep.json <<'JSON'
{"hidden_size": 64, "num_hidden_layers": 64, "vocab_size": 264, "head_dim": 32, "num_heads": 2, "num_attn_heads": 2,
 "nats_block_size": 512}
JSON
    "$NATSL" init --config deep.json --seed 1 --out deep.h5 --quiet || complain "no model"
    head -c 400 .long.txt >.chunk.txt
    deep=(score --model deep.h5 .chunk.txt --out r.h5 --kernels ref --log-json .log.json)
    accepted 2 "${deep[@]}" --quiet
    # a third of what reading takes on this machine just now: its pieces are a hundred times shorter
    allowed=$("$PYTHON" -c '
import json
print([json.loads(line) for line in open(".log.json")][-1]["seconds"] / 3)')
    accepted 2 "${deep[@]}" --quiet --watchdog "$allowed"
    rm -f r.h5
else
    skip "a rank that waits: needs Python"
fi

# same: r.h5 has the numbers of want.h5, which was made without --watchdog
same()
{
    if [ -n "${PYTHON:-}" ]; then
        "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact want.h5 r.h5 >.cmp 2>&1 || complain "other numbers: $(head -c 200 .cmp)"
    elif command -v h5diff >/dev/null; then
        h5diff -q r.h5 want.h5 /logprobs >/dev/null || complain "other numbers"
    fi
    rm -f r.h5
}

cases=$((cases + 1)) case_name="a rank that is stopped for a second"
head -c 20000 .long.txt >.slow.txt
slow=(score --model m.h5 .slow.txt --quiet)
"$NATSL" "${slow[@]}" --out want.h5 || complain "exit code $?"
"$MPIRUN" -n 2 "$NATSL" "${slow[@]}" --out r.h5 --watchdog 20 >.out 2>.err &
pid=$!
stopped 1
sleep 1
kill -CONT "$victim"
code=0
wait "$pid" || code=$?
[ "$code" -eq 0 ] || complain "exit code $code, expected 0"
same

# It runs for a tenth of the time, in pieces: slower than the time allowed, but it moves.
cases=$((cases + 1)) case_name="a rank that is slow but moves"
"$MPIRUN" -n 2 "$NATSL" "${slow[@]}" --out r.h5 --watchdog 3 >.out 2>.err &
pid=$!
stopped 1
for _ in $(seq 9); do
    sleep 0.4
    kill -CONT "$victim" 2>/dev/null || break
    sleep 0.06
    kill -STOP "$victim" 2>/dev/null || break
done
kill -CONT "$victim" 2>/dev/null
code=0
wait "$pid" || code=$?
[ "$code" -eq 0 ] || complain "exit code $code, expected 0"
same

# --- writing that fails on one rank ---------------------------------------------------------------------------------------------
faulty 3 "1 pwrite 2 EIO" "${score[@]}"
ended 5 "r.h5: writing logprobs failed: Input/output error \(rank 1 on $host.*\)$"
faulty 2 "1 pwrite 1 ENOSPC" "${score[@]}"
ended 5 "r.h5: writing .* failed: No space left on device \(rank 1 on $host.*\)$"
faulty 2 "0 pwrite 1 EIO" "${read[@]}" # HDF5's own data: the other rank waits in HDF5
ended 5 "rank 0 on $host.*: r.h5: writing HDF5's own data failed: Input/output error$"
faulty 2 "1 fsync 1 EIO" "${read[@]}"
ended 5 "r.h5: flushing failed: .*\(rank 1 on $host.*\)$"
faulty 0 "-1 rename 1 EIO" "${score[@]}"
ended 5 "r.h5: cannot be written: Input/output error$"
mkdir gone
faulty 2 "1 pwrite 2 gone" score --model m.h5 .short.txt --out gone/r.h5 --pass-tokens 1024 --quiet
ended 5 "gone/r.h5: cannot be written: No such file or directory \(rank 0 on $host.*\)$"
[ ! -e gone ] || complain "gone is there again"

# --- reading fails ----------------------------------------------------------------------------------------------------------------
"$NATSL" export m.h5 --out hf --quiet || exit 1
NATSL_SHIM_FILE=model.safetensors faulty 0 "-1 pread 7 EIO" import hf --out r.h5 --quiet
ended 5 "hf/model.safetensors: reading it: Input/output error$"
NATSL_SHIM_FILE=model.safetensors faulty 2 "0 pread 7 EIO" import hf --out r.h5 --quiet
ended 5 "hf/model.safetensors: reading it: Input/output error \(rank 0 on $host.*\)$"

# --- numbers that are none --------------------------------------------------------------------------------------------------------
if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" - <<'TEXT' || exit 1
import shutil, h5py, numpy as np
for name in "nan", "large":
    shutil.copy("m.h5", f"{name}.h5")
with h5py.File("nan.h5", "r+") as f:
    f["model/layers/1/attn/o_proj/weight"][3, 2] = np.nan
with h5py.File("large.h5", "r+") as f: # finite, but its products are not
    for part in "gate", "up", "down":
        f[f"model/layers/1/mlp/{part}_proj/weight"][...] *= 1e22
TEXT
    for command in score read; do
        rank_counts=0 refused 3 'nan\.h5: tensor model\.layers\.1\.attn\.o_proj\.weight: value [0-9]+ is NaN' "$command" --model nan.h5 .short.txt --out r.h5
        refused 3 'layer 1 gives tokens 0 to [0-9]+ values that are not finite' "$command" --model large.h5 .short.txt --out r.h5
    done
    rank_counts=0 refused 3 'layer 1 gives .* not finite' generate --model large.h5 --prompt text --max-new 3
fi
finish
