/* machine.h - how fast the machine is: measured on a stage of one layer in a fraction of a second, or told by a file of natsl bench.
 * Owns: nothing. MPI: natsl_machine_find is collective. Tests: tests/unit/test_cost.c (files), tests/cli/plan.sh */
#ifndef NATSL_MACHINE_H
#define NATSL_MACHINE_H

#include "cost.h"
#include <mpi.h>
#include <natsl/context.h>

/** Speeds of this process alone: every phase of a NAtS-L layer (or of a Gated DeltaNet layer, where there is no other) with
 * `config`'s sizes and small random weights, on one tile per thread, twice; the better counts. machine->per_s and ->threads
 * are set (threads: no more than cores that this process may use). options: threads (> 0), kernels, kept. Not collective. NATSL_ERR_NOMEM. */
natsl_status natsl_machine_probe(const natsl_config *config, const natsl_options *options, natsl_storage weights,
                                 natsl_cost_machine *machine);

/** The machine of a job, equal on all its ranks: from the file that the environment variable NATSL_MACHINE names (as natsl bench
 * --json writes it), else probed: by all ranks at the same time, the slowest of each speed; or by rank 0 alone where ranks share
 * cores. Also how many ranks and cores a node has. Between ranks usual values are assumed unless the file says more.
 * Collective. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_machine_find(MPI_Comm comm, const natsl_config *config, const natsl_options *options,
                                natsl_storage weights, natsl_cost_machine *machine);

/** What a file of natsl bench says (JSON text): speeds by kind from its longest prefill, else from machine.peak_gflops; messages
 * from machine. *kept_share: of that prefill, NaN when it has none. NATSL_ERR_INPUT names `source` and what was expected. Not
 * collective. */
natsl_status natsl_machine_parse(const char *text, size_t length, const char *source, natsl_cost_machine *machine,
                                 double *kept_share);
/** The same from a file. */
natsl_status natsl_machine_read(const char *path, natsl_cost_machine *machine, double *kept_share);

#endif
