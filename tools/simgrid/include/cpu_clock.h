/* cpu_clock.h - makes natsl's phase clocks count processor time: here all ranks share one thread, and the machine may do other
 * things meanwhile. Included before core.c only. */
#ifndef NATSL_SIMGRID_CPU_CLOCK_H
#define NATSL_SIMGRID_CPU_CLOCK_H
#include <time.h>
#undef CLOCK_MONOTONIC
#define CLOCK_MONOTONIC CLOCK_THREAD_CPUTIME_ID
#endif
