/* result_impl.h - a result file under way: shared by result.c (the whole file) and result_part.c (what has been written so far, into
 * a checkpoint and out of it). Private to src/io. */
#ifndef NATSL_RESULT_IMPL_H
#define NATSL_RESULT_IMPL_H

#include "result_part.h"

/** Rows of a dataset that this rank has written. */
typedef struct natsl_result_rows {
    hid_t dataset;
    int64_t first, count;
} natsl_result_rows;

struct natsl_result {
    natsl_h5_out out;
    natsl_config config;
    int64_t length;
    natsl_status status; /* of this rank's writes so far: a file that misses some is never committed */
    char error[1024];    /* the first failure's text */
    hid_t logprobs, logits_last, hidden;
    hid_t choices[NATSL_MAX_LAYERS], state[NATSL_MAX_LAYERS], block_state[NATSL_MAX_LAYERS];
    int noting; /* rows written are noted */
    natsl_result_rows *notes;
    size_t n_notes, notes_room;
};

/** Notes rows as written by this rank. NATSL_ERR_NOMEM. Not collective. */
natsl_status natsl_result_note(natsl_result *r, hid_t dataset, int64_t first, int64_t count);

#endif
