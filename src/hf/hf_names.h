/* hf_names.h - which tensors a directory of a family has, and where in them natsl's own stand: Qwen's programs keep several of natsl's
 * projections as the rows of one.
 * Owns: the tables. MPI: none. Source: transformers 5.24.0, models/qwen3_next/modeling_qwen3_next.py (Qwen3NextGatedDeltaNet,
 * fix_query_key_value_ordering), models/qwen3_5/modeling_qwen3_5.py (Qwen3_5GatedDeltaNet). Tests: tests/unit/test_hf_config.c,
 * tests/cli/import.sh */
#ifndef NATSL_HF_NAMES_H
#define NATSL_HF_NAMES_H

#include "hf_config.h"
#include "layout.h"

/** Where the tensors of a model of Qwen's begin: in its own directory, and in one with a part for pictures. */
#define NATSL_HF_PREFIX      "model."
#define NATSL_HF_PREFIX_TEXT "model.language_model."

/** A tensor of the directory: one of natsl's, or rows of several. */
typedef struct natsl_hf_tensor {
    char name[96];
    int rank;
    size_t shape[3]; /* PyTorch's */
    size_t count;    /* numbers */
    size_t parts;    /* of natsl's tensors */
} natsl_hf_tensor;

/** Where one of natsl's tensors stands: its row r is row `at` + r / block * stride + r % block of `tensor`. */
typedef struct natsl_hf_place {
    size_t tensor;
    size_t at, block, stride;
} natsl_hf_place;

typedef struct natsl_hf_names {
    natsl_hf_place *places;   /* [count of the layout], in its order */
    natsl_hf_tensor *tensors; /* [count] */
    size_t count;
} natsl_hf_names;

/** Fills *out for all tensors of the layout. `prefix`: one of the two above, for Qwen's families. NATSL_ERR_INPUT when a size overflows,
 * NATSL_ERR_NOMEM. Release with natsl_hf_names_free. */
natsl_status natsl_hf_names_create(natsl_hf_family family, const char *prefix, const natsl_config *config,
                                   const natsl_layout *layout, natsl_hf_names *out);
void natsl_hf_names_free(natsl_hf_names *names);

/** Row of its tensor where row r of natsl's stands. */
static inline size_t natsl_hf_row(const natsl_hf_place *p, size_t r)
{
    return p->at + r / p->block * p->stride + r % p->block;
}

/** Whether a tensor of the directory is one that natsl has no use for: further tokens guessed ahead (mtp.), pictures (model.visual.). */
int natsl_hf_is_left_out(natsl_hf_family family, const char *name);

#endif
