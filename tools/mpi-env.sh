# tools/mpi-env.sh - sourced by scripts that run several ranks on one small machine (tests, tools/quickstart), not by
# cluster jobs. Every variable already set by the caller stays as it is.
# shellcheck shell=bash

# More ranks than cores: waiting ranks must give up the core, and no two jobs may be bound to the same one.
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"

# For the same reason threads that wait for others sleep: GNU OpenMP's would else spin for what are most of a short run's cycles.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# Ranks of one machine talk through shared memory. Asked for by name, nothing for a network is loaded and tried; Debian's psm2
# library alone sleeps 0.2 s in every process to measure the clock.
export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}"

# Open MPI refuses root unless told twice; containers and CI run as root.
if [ "$(id -u)" -eq 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# Containers with a system-call filter often refuse process_vm_readv, by which Open MPI copies large messages between
# ranks of a node; it then fails at the first of them. A filter is taken as a refusal: copying twice is slower, not wrong.
if [ -r /proc/self/status ] && grep -qE '^Seccomp:[[:space:]]*2' /proc/self/status; then
    export OMPI_MCA_btl_vader_single_copy_mechanism="${OMPI_MCA_btl_vader_single_copy_mechanism:-none}"
fi
