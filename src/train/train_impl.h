/* train_impl.h - one window under way: shared by train.c (window, loss, sums) and train_layer.c (one layer there and back).
 * Private to src/train. */
#ifndef NATSL_TRAIN_IMPL_H
#define NATSL_TRAIN_IMPL_H

#include "context_impl.h"
#include "grad.h"
#include "train.h"

struct natsl_trainer {
    MPI_Comm all;   /* duplicate */
    MPI_Comm comm;  /* this rank's group */
    int rank, size; /* in the group */
    int group, groups;
    int prev, next; /* ranks with the ranges before and after this one; -1: none */
    int reads;      /* whether this rank has a range at all */
    const natsl_model *model;
    const natsl_config *config;
    natsl_options options; /* with defaults filled in */
    int64_t capacity;      /* tokens of the longest window */
    int64_t tokens;        /* of the window in hand */
    int64_t *first;        /* [P+1] of it */
    int64_t most;          /* tokens of this rank, of the longest window */
    natsl_stage stage;
    natsl_backward back;
    natsl_gradients gradients;
    natsl_shards shards;
    float *flat; /* [shards] */
    natsl_train_sums sums;
    float **x;               /* [layers+1][rows, D] input rows; the last: output of the last layer */
    float **states, **halos; /* [layers] as they came in: [Hv,dk,dv], [conv_size-1, conv_channels] */
    natsl_saved *saved;      /* [layers] what the last saved_layers keep of their forward pass */
    int saved_layers;
    float *dx;                       /* [rows, D] */
    float *state, *current, *dstate; /* [Hv,dk,dv] in work */
    float *halo_out, *dhalo;
    int32_t *ids, *targets; /* [rows] */
    /* kept units of one layer: of all ranges up to this one, in rank order, then by head, then by chunk */
    uint8_t *keep;             /* [chunks up to this range's end, Hn] */
    int64_t *chunks;           /* [units] */
    float *units, *unit_grads; /* [units, .] */
    float *unit_inbox;         /* [own units, .] */
    uint8_t **
        own_keep; /* [layers] this range's own choices and units, from the forward pass on: sent again for the other one */
    float **own_units;
    natsl_unit_list *lists;       /* [P, Hn] */
    int64_t *block;               /* [P+1] where each rank's units begin */
    uint64_t noise_stream;        /* of the window */
    natsl_route route;            /* the same */
    natsl_sends sends, announced; /* of the layer in work; of own choices and units, until the step ends */
    double forward_s, backward_s, sum_s;
};

/** Between the passes: posts all own choices and units that later ranges will need again, so that in the backward pass, where
 * those are ahead, they never wait for this one to get to a layer. */
void natsl_train_announce(natsl_trainer *t);
/** x[layer] to x[layer+1]. */
void natsl_train_forward(natsl_trainer *t, int layer);
/** dx: from the gradient of x[layer+1] to that of x[layer]; adds to the weights' gradients. */
void natsl_train_backward(natsl_trainer *t, int layer);

/** Complete chunks of rank r's range: only the text's last one may be open. */
static inline int64_t natsl_train_chunks(const natsl_trainer *t, int r)
{
    return t->first[r + 1] / t->stage.grid.chunk - t->first[r] / t->stage.grid.chunk;
}

#endif
