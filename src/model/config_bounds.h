/* config_bounds.h - upper bounds of a configuration's numbers. No real model meets them; products of a few of them still fit int64.
 * For who reads configurations: config.c, and src/hf, which checks the keys of others before they become natsl's.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_config.c */
#ifndef NATSL_CONFIG_BOUNDS_H
#define NATSL_CONFIG_BOUNDS_H

#define NATSL_MAX_DIM   (1 << 24)
#define NATSL_MAX_HEADS (1 << 14)
#define NATSL_MAX_CONV  256
#define NATSL_MAX_REAL                                                                                                 \
    1e15 /* of numbers that are not counted: an angle's base, a share, a small number beside a norm */
#define NATSL_MAX_REAL_TEXT "1e15"

#endif
