/* omp.h - OpenMP's calls for a build without it: simulated ranks have one thread. */
#ifndef NATSL_SIMGRID_OMP_H
#define NATSL_SIMGRID_OMP_H
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_num_threads(void) { return 1; }
#endif
