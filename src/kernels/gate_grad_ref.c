/* gate_grad_ref.c - gradients of decays, of the gate's choice, of the rotary embedding and of the embedding table; both sets use
 * these: a few numbers per token or one pass over memory. Owns: nothing. Contract: kernels.h. Source: oracle_grad.py
 * choose, mixer, rotary. */
#include "kernels_impl.h"

#include <math.h>

static double sigmoid(double x) { return 0.5 * (1.0 + tanh(0.5 * x)); }

void natsl_kernel_decay_beta_grad_ref(size_t m, size_t heads, const float *ab, size_t ldab, const float *a_log,
                                      const float *dt_bias, int neg_eigval, float *dab, size_t lddab, float *da_log,
                                      float *ddt_bias)
{
    for (size_t h = 0; h < heads; ++h) {
        double rate = -exp((double)a_log[h]), drate = 0.0, dbias = 0.0;
        for (size_t i = 0; i < m; ++i) {
            double z = (double)ab[i * ldab + h] + (double)dt_bias[h], b = (double)ab[i * ldab + heads + h];
            float *ddecay = &dab[i * lddab + h], *dbeta = &dab[i * lddab + heads + h];
            double softplus = log1p(exp(-fabs(z))) + fmax(z, 0.0), dz = (double)*ddecay * rate * sigmoid(z);
            drate += (double)*ddecay * softplus;
            dbias += dz;
            *ddecay = (float)dz;
            *dbeta = (float)((double)*dbeta * (neg_eigval ? 2.0 : 1.0) * sigmoid(b) * sigmoid(-b));
        }
        da_log[h] = (float)((double)da_log[h] + drate * rate); /* d rate / d a_log = rate */
        ddt_bias[h] = (float)((double)ddt_bias[h] + dbias);
    }
}

void natsl_kernel_gate_grad_ref(size_t heads, size_t d, const float *sum, size_t count, const float *w,
                                const uint8_t *keep, const double *dchosen, const float *noise, double temperature,
                                double hint, double hint_weight, float *drow, float *dw, double *share)
{
    const double n = (double)count;
    for (size_t j = 0; j < d; ++j) drow[j] = 0.0f;
    for (size_t h = 0; h < heads; ++h) {
        const float *w0 = w + 2 * h * d, *w1 = w0 + d; /* scores of softmax and linear */
        double diff = 0.0;
        for (size_t j = 0; j < d; ++j) diff += (double)sum[j] / n * ((double)w0[j] - (double)w1[j]);
        const double told = hint_weight * (sigmoid(diff) - hint);
        diff = (diff + (noise ? (double)noise[h] : 0.0)) / temperature;
        share[h] = sigmoid(diff);
        /* of a softmax of two: p (1 - p), the same for both, with the sign of the one chosen */
        double slope = share[h] * sigmoid(-diff) / temperature, g = dchosen[h] * slope * (keep[h] ? 1.0 : -1.0) + told;
        for (size_t j = 0; j < d; ++j) {
            double pooled = (double)sum[j] / n;
            drow[j] = (float)((double)drow[j] + g * ((double)w0[j] - (double)w1[j]) / n);
            dw[2 * h * d + j] = (float)((double)dw[2 * h * d + j] + g * pooled);
            dw[(2 * h + 1) * d + j] = (float)((double)dw[(2 * h + 1) * d + j] - g * pooled);
        }
    }
}

void natsl_kernel_rotary_grad_ref(size_t m, size_t heads, size_t d, float *dx, size_t lddx, int64_t pos0, double theta)
{
    size_t half = d / 2;
    for (size_t j = 0; j < half; ++j) {
        double freq = pow(theta, -((double)j / (double)half));
        for (size_t i = 0; i < m; ++i) {
            double angle = (double)(pos0 + (int64_t)i) * freq;
            double cosine = cos(angle), sine = sin(angle);
            for (size_t h = 0; h < heads; ++h) { /* a rotation's transpose turns back */
                float *p = dx + i * lddx + h * d + j;
                double y1 = (double)p[0], y2 = (double)p[half];
                p[0] = (float)(y1 * cosine + y2 * sine);
                p[half] = (float)(y2 * cosine - y1 * sine);
            }
        }
    }
}

void natsl_kernel_embed_grad_ref(size_t m, const int32_t *ids, size_t l0, size_t l1, const float *dy, size_t lddy,
                                 float *dtable, size_t lddt)
{
    for (size_t i = 0; i < m; ++i) {
        float *row = dtable + (size_t)ids[i] * lddt;
        for (size_t l = l0; l < l1; ++l) row[l] += dy[i * lddy + l];
    }
}
