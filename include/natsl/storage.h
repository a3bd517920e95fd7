/* natsl/storage.h - how numbers lie in memory: weights, kept keys and values. All arithmetic is in float32.
 * MPI: none. */
#ifndef NATSL_STORAGE_H
#define NATSL_STORAGE_H

#ifdef __cplusplus
extern "C" {
#endif

/** bfloat16: the upper half of a float32, rounded to nearest even; half the memory, 8 bits of mantissa. */
typedef enum natsl_storage { NATSL_F32 = 0, NATSL_BF16 } natsl_storage;

#ifdef __cplusplus
}
#endif
#endif
