/* adamw.c - see adamw.h. */
#include "adamw.h"

#include <math.h>
#include <string.h>

/* A gradient's square must be a float. */
#define MOST_NORM 0x1p62

natsl_status natsl_adamw_create(const natsl_layout *layout, const natsl_shards *shards,
                                const natsl_adamw_settings *settings, natsl_adamw *a)
{
    *a = (natsl_adamw){.layout = layout, .shards = shards, .settings = *settings};
    a->weights = natsl_calloc(shards->each * (size_t)shards->size, sizeof(float), "weights in training");
    a->first = natsl_calloc(shards->each, sizeof(float), "moments of gradients");
    a->second = natsl_calloc(shards->each, sizeof(float), "moments of gradients");
    if (a->weights && a->first && a->second) return NATSL_OK;
    natsl_adamw_free(a);
    return NATSL_ERR_NOMEM;
}

void natsl_adamw_free(natsl_adamw *a)
{
    natsl_free(a->weights);
    natsl_free(a->first);
    natsl_free(a->second);
    memset(a, 0, sizeof *a);
}

/** Weights [i0, i1) of the flat array, which lie in this rank's shard. */
static void update(natsl_adamw *a, const float *flat, size_t i0, size_t i1, double scale, double rate, double decay)
{
    const natsl_adamw_settings *s = &a->settings;
    const double t = (double)a->steps;
    const float b1 = (float)s->beta1, b2 = (float)s->beta2, eps = (float)s->epsilon, scaled = (float)scale;
    const float c1 = (float)(1.0 / (1.0 - pow(s->beta1, t))), c2 = (float)(1.0 / (1.0 - pow(s->beta2, t)));
    const float keep = (float)(1.0 - rate * decay), step = (float)rate;
    const size_t from = (size_t)a->shards->rank * a->shards->each;
#pragma omp parallel for simd schedule(static)
    for (size_t i = i0; i < i1; i++) {
        const float g = flat[i] * scaled;
        const float m = a->first[i - from] = b1 * a->first[i - from] + (1.0f - b1) * g;
        const float v = a->second[i - from] = b2 * a->second[i - from] + (1.0f - b2) * g * g;
        a->weights[i] = keep * a->weights[i] - step * (m * c1) / (sqrtf(v * c2) + eps);
    }
}

void natsl_adamw_step(natsl_adamw *a, const float *flat, double learning_rate, double *norm)
{
    const natsl_shards *s = a->shards;
    const size_t from = (size_t)s->rank * s->each, to = from + s->each;
    double sum = 0.0;
    for (size_t i = from; i < to; i++) sum += (double)flat[i] * (double)flat[i];
    *norm = sqrt(natsl_shards_sum_real(s, sum));
    const double scale = a->settings.clip > 0.0 && *norm > a->settings.clip ? a->settings.clip / *norm : 1.0;
    if (!isfinite(*norm) || scale * *norm > MOST_NORM) return;
    a->steps++;
    for (size_t k = 0; k < a->layout->count; k++) {
        const natsl_tensor *t = &a->layout->tensors[k];
        const size_t i0 = t->offset > from ? t->offset : from;
        const size_t i1 = t->offset + t->count < to ? t->offset + t->count : to;
        if (i0 < i1) update(a, flat, i0, i1, scale, learning_rate, t->decays ? a->settings.weight_decay : 0.0);
    }
    natsl_shards_gather(s, a->weights);
}
