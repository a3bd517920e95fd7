# jobs/common.sh - sourced by the job scripts beside it: finds natsl, chooses how ranks are started, says on what they run, passes
# signals on, requeues. Not a script of its own. jobs/README.md explains; these variables hold for all jobs (export them, or
# write them before sbatch: VARIABLE=value sbatch ...):
#
#   NATSL_HOME     the repository (default: the directory that sbatch is called in)
#   NATSL          the program (default: build/release/bin/natsl of NATSL_HOME, else the natsl in PATH)
#   SETUP          file that is sourced first, for `module load` and the like (default: none)
#   RANKS          ranks (default: the job's tasks)
#   THREADS        threads of a rank (default: the job's --cpus-per-task, else 1)
#   BIND           cores: ranks keep to cores of their own (default); none: wherever the system puts them
#   LAUNCHER       srun: srun --mpi=pmix; mpirun; auto: srun, and mpirun where srun does not make one MPI job of all ranks (default)
#   SRUN_OPTIONS, MPIRUN_OPTIONS    more words for either (default: none)
#   REQUEUE        yes: a job that was interrupted and saved its work queues itself again (default); no: it ends with code 6
#   MAX_REQUEUES   how often at most (default: 100)
#   OPENBLAS_CORETYPE               the processor that OpenBLAS takes this one for (default: natsl chooses; README.md)
#
# What a script's own arguments are natsl gets too: sbatch jobs/score.sbatch --pass-tokens 256K
# shellcheck shell=bash disable=SC2015,SC2034

job_pid='' job_signalled=no job_told=no job_code=0 job_launcher=()
exec {job_log}>&1 # what a trap says must not go where a function's output goes

job_say() { printf '== %s\n' "$*" >&"$job_log"; }

# job_fail CODE TEXT...
job_fail()
{
    local code=$1
    shift
    echo "job: $*" >&2
    exit "$code"
}

# job_need VARIABLE MEANING: one that has no default.
job_need() { [ -n "${!1:-}" ] || job_fail 2 "$1 is not set, expected $2 (the head of the script says more)"; }

# job_need_file VARIABLE MEANING
job_need_file()
{
    job_need "$1" "$2"
    [ -r "${!1}" ] || job_fail 2 "$1: cannot read ${!1} in $PWD, expected $2"
}

# job_need_documents: what DOC names, in job_docs: one file, several with blanks between them, or @list. natsl says which of several it
# cannot read, and leaves them out if it is told so.
job_need_documents()
{
    local one
    job_need DOC "a document, several with blanks between them, or @list"
    job_docs=("$DOC")
    [ -e "$DOC" ] || read -rd '' -a job_docs <<<"$DOC" || true
    [ "${#job_docs[@]}" -gt 1 ] || [[ $DOC == @* ]] || job_need_file DOC "a document"
    for one in "${job_docs[@]}"; do
        [[ $one != @* ]] || [ -r "${one#@}" ] || job_fail 2 "DOC: cannot read ${one#@} in $PWD, expected a list of documents"
    done
}

# The name under which Slurm knows this job alone: the number of one element may be that of its whole array.
job_name()
{
    if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then echo "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; else echo "${SLURM_JOB_ID:-none}"; fi
}

# RUNNING, or what Slurm is about to do with the job; nothing when it does not say.
job_state() { scontrol show job --oneliner "$(job_name)" 2>/dev/null | sed -n 's/.* JobState=\([A-Z_]*\).*/\1/p' | head -n 1; }

# On a signal to this script, natsl gets SIGUSR1: srun and mpirun both pass that one on at once, while they answer SIGTERM by
# killing. When Slurm is ending the job, it has sent its own signal to the ranks, and a second one would end them without saving.
job_on_signal()
{
    job_signalled=yes
    local state
    state=$(job_state)
    if [ -n "$state" ] && [ "$state" != RUNNING ]; then
        job_say "signal at $(date -u +%FT%TZ); Slurm is ending the job ($state)"
    elif [ -n "$job_pid" ]; then
        job_say "signal at $(date -u +%FT%TZ): natsl is asked to save and stop"
        job_told=yes
        kill -USR1 "$job_pid" 2>/dev/null || true
    else
        job_say "signal at $(date -u +%FT%TZ), before natsl was started"
    fi
}

# job_use LAUNCHER RANKS: the words before natsl, in job_launcher.
job_use()
{
    local words=() per_node nodes
    job_launcher=()
    if [ "$1" = srun ]; then
        read -ra words <<<"${SRUN_OPTIONS:-}"
        # srun does not take --cpus-per-task over from the job (since Slurm 22.05). Without --kill-on-bad-exit the ranks that
        # are left wait for one that has died until the time limit.
        job_launcher=(srun --mpi=pmix --kill-on-bad-exit=1 --ntasks="$2" --cpus-per-task="$THREADS")
        if [ "$2" -lt "$RANKS" ]; then # as few nodes as hold them
            per_node=$(((RANKS + ${SLURM_JOB_NUM_NODES:-1} - 1) / ${SLURM_JOB_NUM_NODES:-1}))
            nodes=$((($2 + per_node - 1) / per_node))
            job_launcher+=(--nodes="$nodes")
        fi
        if [ "$BIND" = cores ]; then job_launcher+=(--cpu-bind=cores); else job_launcher+=(--cpu-bind=none); fi
    else
        read -ra words <<<"${MPIRUN_OPTIONS:-}"
        job_launcher=(mpirun -n "$2")
        if [ "$BIND" = cores ]; then
            job_launcher+=(--map-by "slot:PE=$THREADS" --bind-to core)
        else
            job_launcher+=(--bind-to none)
        fi
    fi
    job_launcher+=("${words[@]}")
}

# job_probe LAUNCHER: starts natsl --version on all ranks. One version, said once, and a line of every rank's place: they are one
# MPI job. Ranks that do not know of each other would each say it.
job_probe()
{
    job_use "$1" "$RANKS"
    # shellcheck disable=SC2016
    job_probed=$("${job_launcher[@]}" bash -c '
        cpus=$(sed -n "s/^Cpus_allowed_list:[[:space:]]*//p" /proc/self/status)
        echo "rank ${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-${SLURM_PROCID:-0}}} on $(hostname) cores ${cpus:-unknown}"
        exec "$0" --version' "$NATSL" 2>&1 </dev/null) || return 1
    [ "$(grep -c '^natsl [0-9]' <<<"$job_probed")" -eq 1 ] && [ "$(grep -c '^rank [0-9]* on ' <<<"$job_probed")" -eq "$RANKS" ]
}

# The launcher that works, or the end of the job. Never the other one silently.
job_choose_launcher()
{
    local launcher
    for launcher in ${LAUNCHER/auto/srun mpirun}; do
        case $launcher in
        srun | mpirun) ;;
        *) job_fail 2 "LAUNCHER: '$LAUNCHER', expected srun, mpirun or auto" ;;
        esac
        if ! command -v "$launcher" >/dev/null; then
            job_say "there is no $launcher here"
        elif job_probe "$launcher"; then
            job_kind=$launcher
            return
        elif [ "$job_signalled" = yes ]; then
            job_requeue
        else
            job_say "${job_launcher[*]} does not make one MPI job of $RANKS ranks; it said:"
            head -n 40 <<<"$job_probed" | sed 's/^/    /'
        fi
    done
    job_fail 7 "no launcher starts natsl on $RANKS ranks (LAUNCHER=$LAUNCHER)"
}

# Threads stay on cores only where every rank has cores of its own; else those of all ranks of a node would share the first ones.
job_bind_threads()
{
    local shared
    shared=$(grep '^rank [0-9]* on ' <<<"$job_probed" | cut -d ' ' -f 3- | sort | uniq -d | head -n 1)
    if [ "$BIND" = cores ] && [ -z "$shared" ]; then
        export OMP_PROC_BIND="${OMP_PROC_BIND:-close}" OMP_PLACES="${OMP_PLACES:-cores}"
    else
        export OMP_PROC_BIND="${OMP_PROC_BIND:-false}"
        [ "$BIND" != cores ] || [ "$RANKS" -eq 1 ] || job_say "ranks are not bound to cores of their own: several are $shared"
    fi
}

# job_settings: defaults of the variables above, and what is wrong with the others.
job_settings()
{
    RANKS=${RANKS:-${SLURM_NTASKS:-${SLURM_JOB_NUM_NODES:-1}}}
    THREADS=${THREADS:-${SLURM_CPUS_PER_TASK:-1}}
    BIND=${BIND:-cores} LAUNCHER=${LAUNCHER:-auto} REQUEUE=${REQUEUE:-yes} MAX_REQUEUES=${MAX_REQUEUES:-100}
    local name
    for name in RANKS THREADS MAX_REQUEUES; do
        [[ ${!name} =~ ^[0-9]{1,6}$ ]] || job_fail 2 "$name: '${!name}', expected a whole number"
    done
    [ "$RANKS" -gt 0 ] && [ "$THREADS" -gt 0 ] || job_fail 2 "RANKS, THREADS: $RANKS and $THREADS, expected 1 or more"
    case $BIND in cores | none) ;; *) job_fail 2 "BIND: '$BIND', expected cores or none" ;; esac
    case $REQUEUE in yes | no) ;; *) job_fail 2 "REQUEUE: '$REQUEUE', expected yes or no" ;; esac
}

# job_start: called once, after a script's variables were looked at and before natsl.
job_start()
{
    if [ -n "${SETUP:-}" ]; then
        [ -r "$SETUP" ] || job_fail 2 "SETUP: cannot read $SETUP"
        set +eu # module systems do not stand either
        # shellcheck disable=SC1090
        source "$SETUP"
        set -eu
    fi
    if [ -z "${NATSL:-}" ]; then
        NATSL=$NATSL_HOME/build/release/bin/natsl
        [ -x "$NATSL" ] || NATSL=$(command -v natsl) ||
            job_fail 2 "no build/release/bin/natsl in $NATSL_HOME and no natsl in PATH: build it, or set NATSL"
    fi
    [ -x "$NATSL" ] || job_fail 2 "NATSL: $NATSL is not a program"
    export OMP_NUM_THREADS=$THREADS

    job_say "job $(job_name) (${SLURM_JOB_NAME:-not under Slurm}), start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date -u +%FT%TZ)"
    job_say "nodes ${SLURM_JOB_NODELIST:-$(hostname)}; $RANKS ranks of $THREADS threads"
    job_say "repository $NATSL_HOME, commit $(git -C "$NATSL_HOME" describe --always --dirty 2>/dev/null || echo unknown)"
    job_say "program $NATSL; $(srun --version 2>/dev/null || echo "no Slurm"); modules ${LOADEDMODULES:-none}"
    job_choose_launcher
    job_bind_threads
    sed -n '/^natsl [0-9]/,$p' <<<"$job_probed" | grep -v '^rank ' | sed 's/^/   /'
    job_say "launcher ${job_launcher[*]}"
    job_say "threads OMP_NUM_THREADS=$OMP_NUM_THREADS OMP_PROC_BIND=$OMP_PROC_BIND OMP_PLACES=${OMP_PLACES:-}" \
        "OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-chosen by natsl}"
    grep '^rank [0-9]* on ' <<<"$job_probed" | sort -k 2n | head -n 16 | sed 's/^/   /'
    [ "$RANKS" -le 16 ] || echo "   ... and $((RANKS - 16)) more"
}

# job_natsl ARGUMENTS...: natsl by job_launcher; its exit code is in job_code, whatever it is. Standard output is the caller's.
job_natsl()
{
    local before=0
    [ "$job_signalled" = no ] || { job_code=6; return 0; }
    "${job_launcher[@]}" "$NATSL" "$@" </dev/null &
    job_pid=$!
    # One that came before the line above found nobody to tell.
    if [ "$job_signalled" = yes ] && [ "$job_told" = no ]; then kill -USR1 "$job_pid" 2>/dev/null || true; fi
    # A signal to this script ends `wait`, not natsl.
    while :; do
        job_code=0
        wait "$job_pid" || job_code=$?
        [ "$job_code" -gt 128 ] && kill -0 "$job_pid" 2>/dev/null || break
        before=$job_code
    done
    if [ "$job_code" -eq 127 ] && [ "$before" -ne 0 ]; then job_code=$before; fi # it had ended at the same moment
    job_pid=''
    # Asked to stop before it could answer signals, as MPI started: nothing was begun, and nothing is wrong.
    if [ "$job_signalled" = yes ] && [ "$job_code" -gt 128 ]; then job_code=6; fi
}

# job_requeue: the job goes on later, from what was saved.
job_requeue()
{
    local state
    state=$(job_state)
    if [ -n "$state" ] && [ "$state" != RUNNING ]; then
        job_say "interrupted; Slurm is ending the job ($state)"
    elif [ "$REQUEUE" = no ]; then
        job_say "interrupted; the same command goes on from what was saved"
    elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$MAX_REQUEUES" ]; then
        job_fail 6 "interrupted, and requeued $SLURM_RESTART_COUNT times already (MAX_REQUEUES); the same command goes on from what was saved"
    else
        job_say "interrupted after $((SECONDS - job_start_s)) s; the job queues itself again"
        scontrol requeue "$(job_name)" ||
            job_fail 6 "scontrol requeue was refused; the same command goes on from what was saved"
    fi
    exit 6
}

# job_check: after job_natsl. Interrupted: requeues; an error: ends the job with its code.
job_check()
{
    case $job_code in
    0) ;;
    6) job_requeue ;;
    *) job_fail "$job_code" "natsl ended with code $job_code after $((SECONDS - job_start_s)) s (README.md, \"Exit codes\")" ;;
    esac
}

job_done() { job_say "done after $((SECONDS - job_start_s)) s, $(date -u +%FT%TZ)"; }

# job_submit SCRIPT COUNT SBATCH_OPTIONS...: an array of COUNT elements, then SCRIPT once more on one rank with JOB_PART=merge, when
# all of them are done. Prints the number of that last job last. It is cancelled when an element fails: submit again, and only
# what is missing is computed.
job_submit()
{
    local script=$1 count=$2 array merge option
    shift 2
    command -v sbatch >/dev/null || job_fail 2 "there is no sbatch here"
    [[ $count =~ ^[1-9][0-9]{0,5}$ ]] || job_fail 2 "an array of '$count' elements, expected a whole number"
    for option in "$@"; do
        case $option in -a* | --array* | --parsable | -d* | --dependency*) job_fail 2 "$option: is set by submit itself" ;; esac
    done
    array=$(sbatch --parsable --array="0-$((count - 1))${AT_ONCE:+%$AT_ONCE}" "$@" "$script" "${job_arguments[@]}") || exit 2
    array=${array%%;*} # a cluster's name may follow
    echo "job $array: array of $count"
    merge=$(JOB_PART=merge sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes "$@" --nodes=1 --ntasks=1 \
        "$script" "${job_arguments[@]}") || { scancel "$array"; exit 2; }
    echo "job ${merge%%;*}: merge, after job $array"
}

# job_split_arguments submit SBATCH_OPTIONS... -- NATSL_OPTIONS...: into job_options and job_arguments.
job_split_arguments()
{
    shift
    job_options=() job_arguments=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        job_options+=("$1")
        shift
    done
    [ $# -eq 0 ] || job_arguments=("${@:2}")
}

# job_checkpoint_options: natsl's options for checkpoints, in job_checkpoint, from CHECKPOINT, CHECKPOINT_EVERY and OUT.
job_checkpoint_options()
{
    CHECKPOINT=${CHECKPOINT:-$OUT.checkpoint}
    CHECKPOINT_EVERY=${CHECKPOINT_EVERY:-300}
    [[ $CHECKPOINT_EVERY =~ ^[0-9]{1,9}([.][0-9]{1,3})?$ ]] || job_fail 2 "CHECKPOINT_EVERY: '$CHECKPOINT_EVERY', expected seconds"
    job_checkpoint=(--checkpoint "$CHECKPOINT" --checkpoint-every "$CHECKPOINT_EVERY" --resume)
}

# A signal that comes while the job starts must not end it without a word.
trap job_on_signal TERM USR1
job_start_s=$SECONDS
job_settings
