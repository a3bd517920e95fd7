/* checkpoint.h - a training under way: a model file (files.h) with one more group `training`. So every checkpoint is also a model
 * that all commands read. Format: README.md, "Files". Tests: tests/mpi/test_adamw.c, tests/cli/train.sh */
#ifndef NATSL_CHECKPOINT_H
#define NATSL_CHECKPOINT_H

#include "files.h"

typedef struct natsl_checkpoint {
    int64_t step;                        /* steps done */
    int64_t updates;                     /* of them, those that changed weights */
    float *weights;                      /* flat [layout->floats], equal on all ranks when writing */
    float *first_moment, *second_moment; /* [last - first] of the flat arrays: this rank's shard */
    size_t first, last;
    double expected;   /* share of chunks that the gate expected to keep in the last step; below 0: it had no choice */
    double kept_share; /* of chunks, as last measured; 0: unknown */
    const natsl_model_info *special; /* written: tokens that begin and end a text; NULL: none */
    const char *json;                /* written: [json_length] the tokenizer.json, with tokenizer "json" */
    size_t json_length;
    char *spec; /* the training's configuration; read: free with natsl_free; written: NULL leaves out the group */
} natsl_checkpoint;

/** Writes it, all ranks together: weights by all, moments each rank its shard; together the shards are the whole array. Temporary
 * name, flushed, renamed; sealed (seal.h) where there is a spec. Collective on comm. NATSL_ERR_IO. */
natsl_status natsl_checkpoint_write(MPI_Comm comm, const char *path, const natsl_config *config, const char *tokenizer,
                                    const char *origin, const natsl_layout *layout, const natsl_checkpoint *c);

/** Reads weights and the moments of [c->first, c->last) into the arrays of *c, the rest into *c. Every number is checked to be
 * finite. NATSL_ERR_INPUT: damaged, or of another model. Not collective. */
natsl_status natsl_checkpoint_read(const char *path, const natsl_config *config, const natsl_layout *layout,
                                   natsl_checkpoint *c);

/** Reads a model's weights into flat [layout->floats]. NATSL_ERR_INPUT as natsl_model_file_read. Not collective. */
natsl_status natsl_model_file_read_flat(const char *path, const natsl_layout *layout, float *flat);

#endif
