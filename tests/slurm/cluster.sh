# tests/slurm/cluster.sh - sourced: a Slurm of our own on this machine, as root: munged, slurmctld and one slurmd that claims
# to have CLUSTER_CPUS processors, so that jobs of several ranks run side by side on any machine. All its files, keys, sockets and ports
# are its own: it touches no Slurm that is installed, and several can run at once.
# shellcheck shell=bash

# cluster_missing: prints what is missing to start one; nothing when all is there. (srun --mpi=list needs a running one.)
cluster_missing()
{
    local command
    [ "$(id -u)" -eq 0 ] || { echo "root"; return; }
    for command in munged slurmctld slurmd sbatch srun scontrol; do
        command -v "$command" >/dev/null || { echo "$command (Debian: slurm-wlm, munge)"; return; }
    done
    grep -q ' /sys/fs/cgroup' /proc/self/mounts || echo "control groups, mounted on /sys/fs/cgroup, for slurmd" # not in every container
}

# port_free N: nobody listens there, nor on the next one.
port_free()
{
    local port
    for port in "$1" $(($1 + 1)); do
        ! grep -qiE "^ *[0-9]+: [0-9A-F]+:$(printf '%04X' "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null || return 1
    done
}

# cluster_up DIR: DIR is empty and has a short name (sockets). Sets SLURM_CONF. Fails with the ends of the daemons' logs.
cluster_up()
{
    cluster=$1
    local cpus=${CLUSTER_CPUS:-16} port try host
    host=$(hostname -s)
    export SLURM_CONF=$cluster/slurm.conf
    mkdir -p "$cluster"/{munge,state,spool,log,pid,tmp} && chmod 700 "$cluster/munge" || return 1
    for try in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        port_free "$port" && break
    done
    (umask 077 && head -c 1024 /dev/urandom >"$cluster/munge/key") || return 1
    # --force: the directories of temporary files are writable for all, which munged does not like
    munged --force --socket="$cluster/munge/sock" --key-file="$cluster/munge/key" --seed-file="$cluster/munge/seed" \
        --pid-file="$cluster/pid/munged.pid" --log-file="$cluster/log/munged.log" 2>>"$cluster/log/munged.err" || return 1
    # cred_expire: a requeued job waits a little longer than this before it starts again (default, and where it is below 5: 120 s).
    # KillWait: seconds between SIGTERM and SIGKILL. MinJobAge: finished jobs stay visible.
    cat >"$SLURM_CONF" <<TEXT
ClusterName=natsl
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$cluster/munge/sock,cred_expire=5
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool
TmpFS=$cluster/tmp
SlurmctldPidFile=$cluster/pid/slurmctld.pid
SlurmdPidFile=$cluster/pid/slurmd.pid
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,default_queue_depth=1000,batch_sched_delay=0,sched_min_interval=10000
ReturnToService=2
KillWait=5
OverTimeLimit=0
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=30
JobRequeue=1
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=00:10:00 State=UP OverSubscribe=NO
TEXT
    slurmctld -c -f "$SLURM_CONF" 2>>"$cluster/log/slurmctld.err" &&
        slurmd -N n1 -f "$SLURM_CONF" 2>>"$cluster/log/slurmd.err" || return 1
    for try in {1..100}; do
        [ "$(sinfo -h -N -o %T 2>/dev/null)" != idle ] || return 0
        sleep 0.1
    done
    echo "the node is not idle after 10 s (tries: $try)"
    return 1
}

# A process that has ended but was not waited for counts as gone.
alive() { case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in '' | Z* | X*) return 1 ;; esac; }

# gone PID: waits up to 10 s.
gone()
{
    local try
    for try in {1..100}; do
        alive "$1" || return 0
        sleep 0.1
    done
    return 1
}

# cluster_down: ends jobs, then the daemons by their process ids, then whatever still runs with this cluster's configuration.
cluster_down()
{
    [ -n "${cluster:-}" ] || return 0
    local file pid jobs
    mapfile -t jobs < <(timeout 10 squeue -h -r -o %A 2>/dev/null)
    if [ ${#jobs[@]} -gt 0 ]; then
        timeout 10 scancel "${jobs[@]}" 2>/dev/null
        for _ in {1..60}; do
            [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
            sleep 0.2
        done
    fi
    for file in "$cluster"/pid/{slurmd,slurmctld,munged}.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill -TERM "$pid" 2>/dev/null
        gone "$pid" || kill -KILL "$pid" 2>/dev/null
    done
    for file in /proc/[0-9]*/environ; do
        pid=${file//[!0-9]/}
        if [ "$pid" != "$$" ] && { tr '\0' '\n' <"$file" | grep -qxF "SLURM_CONF=$cluster/slurm.conf"; } 2>/dev/null; then
            kill -KILL "$pid" 2>/dev/null
        fi
    done
    rm -rf -- "$cluster"
    cluster=
}
