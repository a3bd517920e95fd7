/* init.c - see init.h. */
#include "init.h"

#include "rng.h"

#include <math.h>
#include <string.h>

/** In (0, 1): never an end. */
static double uniform(natsl_rng *rng) { return ((double)(natsl_rng_next(rng) >> 11) + 0.5) * 0x1p-53; }

/** Box-Muller. */
static double normal(natsl_rng *rng)
{
    const double radius = sqrt(-2.0 * log(uniform(rng)));
    return radius * cos(6.283185307179586476925 * uniform(rng));
}

static natsl_rng stream_of(uint64_t seed, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    natsl_rng rng = {seed ^ h};
    (void)natsl_rng_next(&rng);
    return rng;
}

static int ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

void natsl_init_tensor(const natsl_config *config, const natsl_tensor *t, uint64_t seed, float *values)
{
    const double bound = 1.0 / sqrt((double)config->conv_size);
    natsl_rng rng = stream_of(seed, t->name);
    const int decay = ends_with(t->name, "A_log"), dt = ends_with(t->name, "dt_bias");
    const int conv = strstr(t->name, "conv1d") != NULL, norm = strstr(t->name, "norm") && t->rank == 1;
    const int zero = ends_with(t->name, "_proj.bias") || (config->norm_zero_centred && !strstr(t->name, "o_norm"));
    for (size_t k = 0; k < t->count; k++) {
        double v;
        if (decay) {
            v = log(16.0 * uniform(&rng));
        } else if (dt) {
            double step = exp(log(0.001) + uniform(&rng) * log(0.1 / 0.001));
            if (step < 1e-4) step = 1e-4;
            v = step + log(-expm1(-step));
        } else if (conv) {
            v = bound * (2.0 * uniform(&rng) - 1.0);
        } else {
            v = zero && t->rank == 1 ? 0.0 : norm ? 1.0 : 0.02 * normal(&rng);
        }
        values[k] = (float)v;
    }
}

void natsl_init_weights(const natsl_config *config, const natsl_layout *layout, uint64_t seed, float *flat)
{
    memset(flat, 0, layout->floats * sizeof *flat);
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < layout->count; i++)
        natsl_init_tensor(config, &layout->tensors[i], seed, flat + layout->tensors[i].offset);
}
