#!/usr/bin/env bash
# tests/slurm/jobs.sh - the job scripts under a real Slurm that is started here and ended again (cluster.sh): they finish with
# srun --mpi=pmix, arrays and their last jobs make one result, and jobs that are stopped by their time limit, by scontrol requeue or by
# scancel go on and end with the same bits. Exit code 77: skipped, with the reason.
# shellcheck disable=SC2034,SC2317
# shellcheck source-path=SCRIPTDIR source=../cli/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../cli/common.sh"
# shellcheck source-path=SCRIPTDIR source=cluster.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/cluster.sh"

skipped() { echo "skipped: needs $1"; exit 77; }
missing=$(cluster_missing)
[ -z "$missing" ] || skipped "$missing"
# Whatever happens, the daemons end. A second signal while they do must not cut that short.
trap 'trap "" INT TERM HUP; cluster_down' EXIT
trap 'echo "interrupted"; exit 1' INT TERM HUP
if ! cluster_up "$(mktemp -d "${TMPDIR:-/tmp}/natsl-XXXXXX")"; then
    tail -n 20 "$cluster"/log/*
    exit 1
fi
srun --mpi=list 2>&1 | grep -q pmix || skipped "Slurm's PMIx plugin (Debian: slurm-wlm-basic-plugins)"

# The program, with a note of its process ids, to be stopped at a known moment.
mkdir .pids
cat >.natsl <<'TEXT'
#!/bin/bash
[ "$1" = --version ] || echo $$ >"$PIDS/$SLURM_JOB_ID.$SLURM_PROCID"
exec "$REAL" "$@"
TEXT
chmod +x .natsl
export PIDS=$SCRATCH/.pids REAL=$NATSL NATSL_HOME=$SOURCE BIND=none LAUNCHER=srun
unset RANKS THREADS SETUP REQUEUE MAX_REQUEUES SRUN_OPTIONS CHECKPOINT CHECKPOINT_EVERY
scripts=$SOURCE/jobs needle=$SOURCE/jobs/models/needle.h5
program=$NATSL

# submit NAME SBATCH_WORDS...: its number in $job; output in NAME.log
submit()
{
    local name=$1
    shift
    job=$(NATSL=$SCRATCH/.natsl sbatch --parsable --output="$SCRATCH/$name.log" "$@" 2>.err) || complain "sbatch $name failed"
}

field() { scontrol show job --oneliner "$1" 2>/dev/null | grep -o " $2=[^ ]*" | head -n 1 | cut -d = -f 2; } # JOB KEY

# until_true SECONDS COMMAND...; looks every $often seconds
often=0.05
until_true()
{
    local limit=$1 end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || { complain "not within $limit s: $*"; return 1; }
        sleep "$often"
    done
}

over() { case $(field "$1" JobState) in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY) ;; *) return 1 ;; esac; }

# ends NAME JOB STATE EXIT RESTARTS: how the job has ended (the last is a pattern); its output when not so
ends()
{
    cases=$((cases + 1)) case_name=$1
    local got often=0.3 # scontrol costs more than a look at a file
    until_true 240 over "$2"
    got="$(field "$2" JobState) $(field "$2" ExitCode) $(field "$2" Restarts)"
    # shellcheck disable=SC2053
    if [[ $got != $3\ $4\ $5 ]]; then
        complain "job $2 ended with $got, expected $3 $4 $5"
        sed 's/^/    /' "$1".log | tail -n 60
    fi
}

said() { cases=$((cases + 1)) case_name=$1; grep -Eq -- "$2" "$1.log" || { complain "no line matches $2"; sed 's/^/    /' "$1.log"; }; }

# signal_ranks SIGNAL JOB RANKS
signal_ranks()
{
    local rank
    for ((rank = 0; rank < $3; rank++)); do kill -"$1" "$(cat ".pids/$2.$rank")" || complain "rank $rank has ended already"; done
}

has_line() { grep -q -- "$1" "$2" 2>/dev/null; }
has_file() { compgen -G "$1" >/dev/null; }

# --- training, stopped by its time limit ---------------------------------------------------------------------------------
# Slurm looks at time limits every 30 s and sends the signal up to so much early: a limit of a minute and 25 s before it mean
# between 5 and 35 s after the start. Meanwhile the ranks are stopped, which costs no processor time.
cat >train.json <<'TEXT'
{"model": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 256, "head_dim": 16, "num_heads": 2, "num_attn_heads": 2,
  "expand_v": 1, "nats_block_size": 64, "gdn_layers": [0], "attn_apply_pos_encoding": false},
 "seed": 5, "optimizer": {"learning_rate": 0.004, "warmup_steps": 2}, "data": [{"kind": "needle", "keys": 2}],
 "phases": [{"steps": 30, "windows": 2, "tokens": 512}], "checkpoint": {"every_minutes": 0}}
TEXT
CONFIG=train.json OUT=run submit train --ntasks=2 --time=1 --signal=B:TERM@25 "$scripts/train.sbatch" --log-every 1
train=$job
until_true 60 has_line '"step": 3,\|"step":3,' run/log.jsonl
signal_ranks STOP "$train" 2
{ until_true 60 has_line '^== signal at' train.log; signal_ranks CONT "$train" 2; } >.watch 2>&1 &
watch=$!

# --- scores, uninterrupted and not -----------------------------------------------------------------------------------------
cat "$SOURCE/LICENSE" "$SOURCE/README.md" >book.txt
export MODEL=$needle DOC=book.txt CHECKPOINT_EVERY=0
OUT=whole.h5 submit whole --ntasks=4 "$scripts/score.sbatch" --pass-tokens 2K
whole=$job
ends whole "$whole" COMPLETED 0:0 0
said whole '^== launcher srun --mpi=pmix .*--ntasks=4'
said whole '^ *rank 3 on '
said whole '^ *natsl [0-9]'

# interrupted NAME COMMAND...: when the job has saved something, its ranks are stopped, and the command is run on its number
interrupted()
{
    local name=$1
    shift
    OUT=$name.h5 CHECKPOINT_EVERY=0.3 submit "$name" --ntasks=2 "$scripts/score.sbatch" --pass-tokens 2K
    until_true 60 has_file "$name.h5.checkpoint/*.h5"
    signal_ranks STOP "$job" 2
    cases=$((cases + 1)) case_name="$name"
    "$@" "$job" >.out 2>.err || complain "$* failed"
}
interrupted requeued scontrol requeue
requeued=$job # Slurm wakes the ranks itself
interrupted cancelled scancel --signal=TERM
cancelled=$job
signal_ranks CONT "$cancelled" 2
interrupted signalled scancel --signal=TERM --batch
signalled=$job
until_true 60 has_line '^== signal at' signalled.log
signal_ranks CONT "$signalled" 2
# Ended for good: it must not queue itself again.
interrupted dropped scancel
dropped=$job

# --- an array over lengths and its last job; questions to a context -----------------------------------------------------------
# submitted NAME SCRIPT OPTIONS...: its array in $array, the last job in $job
submitted()
{
    local name=$1
    shift
    NATSL=$SCRATCH/.natsl bash "$scripts/$1" submit --output="$SCRATCH/$name.log" "${@:2}" >.out 2>.err || complain "$name: submit failed"
    array=$(sed -n 's/^job \([0-9]*\): array.*/\1/p' .out)
    job=$(sed -n 's/^job \([0-9]*\): merge.*/\1/p' .out)
}
samples=(--samples 4 --max-new 6)
export SUITE=ruler LENGTHS=1K,2K TASKS=niah_single_1,niah_multikey_3
OUT=results submitted eval eval.sbatch --ntasks=4 -- "${samples[@]}"
eval=$job
# A srun that cannot start MPI here: said aloud, then mpirun.
OUT=book.ctx.h5 DOC=train.json LAUNCHER=auto SRUN_OPTIONS=--mpi=none submit read --ntasks=2 "$scripts/read.sbatch"
ends read "$job" COMPLETED 0:0 0
said read '--mpi=none does not make one MPI job of 2 ranks'
said read '^== launcher mpirun -n 2'
printf 'What is the seed?\n\nsay "\\%%s"\nAnd what are the phases?\n' >questions.txt
export CONTEXT=book.ctx.h5 QUESTIONS=questions.txt MAX_NEW=8
OUT=answers.jsonl ELEMENTS=3 submitted ask ask.sbatch --ntasks=2
ask=$job
# An element that fails: its last job must not wait for ever, and nothing that looks whole is left.
printf 'no model\n' >bad.h5
MODEL=bad.h5 OUT=none.jsonl ELEMENTS=1 submitted bad ask.sbatch --ntasks=1
bad=$job
OUT=scaling CONFIG='' MODEL=$GOLDEN/hybrid-model.h5 TOKENS=2K WEAK_TOKENS=512 RANK_COUNTS=2 REPEAT=1 submit scaling --ntasks-per-node=2 \
    "$scripts/scaling.sbatch" --seconds 0.01
scaling=$job

# what they must come to, computed without Slurm meanwhile
accepted 0 eval --model "$needle" --suite ruler --lengths "$LENGTHS" --tasks "$TASKS" "${samples[@]}" --out results.want --quiet
accepted 2 train --config train.json --out run.want --quiet --log-every 1

for name in requeued cancelled signalled; do
    ends "$name" "${!name}" COMPLETED 0:0 1
    said "$name" '^going on from .*checkpoint-'
    expect "$name: the same bits" "$PYTHON" "$SOURCE/tests/cli/compare.py" whole.h5 "$name.h5" --exact
done
ends dropped "$dropped" CANCELLED "*" 0
said dropped 'Slurm is ending the job'
expect "nothing that looks whole is left of it" test ! -e dropped.h5
said cancelled 'the job queues itself again'
said signalled 'natsl is asked to save and stop'

ends eval "$eval" COMPLETED 0:0 0
for file in niah_single_1/1024 niah_single_1/2048 niah_multikey_3/1024 niah_multikey_3/2048; do
    expect "$file of the array" cmp "results.want/$file.jsonl" "results/$file.jsonl"
done
expect "results of both lengths" "$PYTHON" -c '
import json
read = lambda d: json.load(open(d + "/results.json"))
got, want = read("results"), read("results.want")
assert len(got["tasks"]) == 4 and len(got["lengths"]) == 2, got
assert got["lengths"] == want["lengths"] and got["average"] == want["average"] and got["settings"] == want["settings"]
pick = lambda r: [(t["task"], t["length"], t["samples"], t["score"], t["by_depth"]) for t in r["tasks"]]
assert pick(got) == pick(want)'
expect "one report of both" grep -q '2K' results/report.html
ends ask "$ask" COMPLETED 0:0 0
expect "an answer to each question, in their order" "$PYTHON" -c '
import json
answers = [json.loads(line) for line in open("answers.jsonl")]
assert [a["index"] for a in answers] == list(range(4)), answers
assert all(a["count"] == 8 and a["text"] for a in answers), answers'
# shellcheck disable=SC2016
expect "the same answer as alone" bash -c '"$0" generate --model "$1" --context "$2" --prompt "And what are the phases?
" --max-new 8 --json --quiet | sed "s/^{/{\"index\":3,/" | cmp - <(tail -n 1 answers.jsonl)' "$program" "$needle" "$CONTEXT"
expect "no parts are left" test ! -e answers.jsonl.parts
ends bad "$array" FAILED 3:0 0
ends bad "$bad" CANCELLED 0:0 0
expect "no answers" test ! -e none.jsonl
ends scaling "$scaling" COMPLETED 0:0 0
# One rank is made up from the two that were measured, so that what the table must say is known.
expect "a table of what was measured, and efficiencies that are right" "$PYTHON" - "$SOURCE" <<'TEXT'
import json, subprocess, sys
table = json.load(open("scaling/scaling.json"))
assert [(r["ranks"], r["tokens"]) for r in table["strong"] + table["weak"]] == [(2, 2048), (2, 1024)], table
bench = json.load(open("scaling/ranks-2.json"))
for run in bench["prefill"]:
    run["ranks"] = 1
    if run["tokens"] == 2048: run["seconds"] *= 1.5
    else: run["tokens"], run["gflops"] = 512, run["gflops"] * 0.8
json.dump(bench, open("scaling/ranks-1.json", "w"))
subprocess.run([sys.executable, sys.argv[1] + "/tools/plot-scaling", "--measured", "scaling/ranks-2.json", "scaling/ranks-1.json",
                "--weak", "512", "--table", "scaling/both.json"], check=True)
table = json.load(open("scaling/both.json"))
got = [(r["ranks"], r["tokens"], round(r["efficiency"], 6)) for r in table["strong"] + table["weak"]]
assert got == [(1, 2048, 1), (2, 2048, 0.75), (1, 512, 1), (2, 1024, 0.625)], got
TEXT

# --- the training again ------------------------------------------------------------------------------------------------------
wait "$watch"
cat .watch
ends train "$train" COMPLETED 0:0 "[1-9]" # once more where other work has slowed it down
said train 'the job queues itself again'
expect "it went on where it was" grep -q '"event": *"resume"' run/log.jsonl
expect "the same model as without a break" "$PYTHON" "$SOURCE/tests/cli/train.py" same run/model.h5 run.want/model.h5
finish
