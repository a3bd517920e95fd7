/* span.c - a stage's tokens as an affine map of the delta rule's state, S -> A S + B: A is the product of the chunks' transitions,
 * B what they make of an empty state. Chunks that the gate keeps only decay the past (or leave it). Columns of A and B are
 * states like any other: A's start from the identity and see no values, B's start from zero. Source: oracle.py
 * gated_delta_rule, which is linear in state and values together. Tests: tests/mpi/test_scan.c */
#include "stage.h"

#include "place.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Contributions of the past die out in A as decays and projections pile up. Below this they can no longer be seen in a
 * state of float32 (2^-24), and entries not much smaller would be subnormal numbers, which many processors multiply very slowly. */
#define FORGOTTEN 0x1p-96f

/** Whether all entries of s [rows,n] are smaller than FORGOTTEN. Magnitudes of floats order as their bits do; NaN is large. */
static int forgotten(size_t rows, size_t n, const float *s, size_t ld)
{
    uint32_t most = 0, limit;
    const float least = FORGOTTEN;
    memcpy(&limit, &least, sizeof limit);
    for (size_t i = 0; i < rows; i++) {
        for (size_t k = 0; k < n; k++) {
            uint32_t bits;
            memcpy(&bits, s + i * ld + k, sizeof bits);
            bits &= 0x7fffffffu;
            most = most > bits ? most : bits;
        }
    }
    return most < limit;
}

/** Carries columns of A (v_column NULL) or B (v_column: their values at row 0) of head h through the run's chunks. */
static void span_columns(natsl_stage *s, const natsl_layer *layer, size_t h, size_t n, const float *v_column,
                         float *state, size_t ld)
{
    const natsl_config *c = s->config;
    const size_t heads = (size_t)c->num_v_heads, dk = (size_t)c->head_dim, kd = (size_t)c->key_dim, n_in = s->n_in;
    const size_t key_head = h / (heads / (size_t)c->num_heads);
    const int nats = layer->shape.kind == NATSL_LAYER_NATS;
    const size_t nats_head = nats ? h / (heads / (size_t)c->num_nats_head) : 0;
    float *scratch = natsl_stage_scratch(s, omp_get_thread_num());
    for (int64_t j = 0; j < s->n_chunks; j++) {
        const int64_t begin = (s->chunk0 + j) * s->grid.chunk, end = begin + s->grid.chunk;
        const int kept = nats && s->keep[(size_t)j * (size_t)c->num_nats_head + nats_head];
        if (end > s->last) break; /* open */
        if (kept && !c->decay_for_non_gdn_blocks) continue;
        float total = 0.0f;
        for (int64_t b = begin; b < end; b += NATSL_DELTA_BLOCK) {
            const size_t row = (size_t)(b - s->base), m = (size_t)natsl_min64(NATSL_DELTA_BLOCK, end - b);
            const size_t at = h * s->capacity + row;
            total += s->g[at + m - 1];
            if (kept) continue;
            s->kernels->delta_apply(m, m, dk, n, NULL, 0, s->qkv + row * n_in + kd + key_head * dk, n_in,
                                    v_column ? v_column + row * n_in : NULL, n_in, s->g + at,
                                    s->t + at * NATSL_DELTA_BLOCK, NULL, state, state, ld, NULL, 0, scratch);
        }
        if (kept) {
            const float decay = expf(total);
            for (size_t i = 0; i < dk; i++) {
                for (size_t k = 0; k < n; k++) state[i * ld + k] *= decay;
            }
        }
        if (v_column || !forgotten(dk, n, state, ld)) continue;
        for (size_t i = 0; i < dk; i++) memset(state + i * ld, 0, n * sizeof(float));
        break; /* without values nothing comes back */
    }
}

void natsl_stage_summarise(natsl_stage *s, const natsl_layer *layer, size_t h0, size_t h1, float *a, float *b)
{
    const double start = natsl_now_s();
    const size_t dk = (size_t)s->config->head_dim, dv = (size_t)s->config->head_v_dim, kd = (size_t)s->config->key_dim;
    /* No wider than a value head: the scratch of the delta rule is made for that. */
    const size_t wide = dv < NATSL_STATE_COLUMNS ? dv : NATSL_STATE_COLUMNS;
    const size_t a_blocks = (dk + wide - 1) / wide, blocks = a_blocks + (dv + wide - 1) / wide;
    natsl_at(natsl_phase_names[NATSL_PHASE_SUMMARY]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = h0 * blocks; i < h1 * blocks; i++) {
        const double begin = natsl_now_s();
        const size_t h = i / blocks, block = i % blocks;
        const int of_a = block < a_blocks;
        const size_t c0 = (of_a ? block : block - a_blocks) * wide, ld = of_a ? dk : dv;
        const size_t n = ld - c0 < wide ? ld - c0 : wide;
        float *state = (of_a ? a : b) + h * dk * ld + c0;
        for (size_t k = 0; k < dk; k++) {
            memset(state + k * ld, 0, n * sizeof(float));
            if (of_a && k >= c0 && k < c0 + n) state[k * ld + k - c0] = 1.0f;
        }
        span_columns(s, layer, h, n, of_a ? NULL : s->qkv + 2 * kd + h * dv + c0, state, ld);
        s->clocks[omp_get_thread_num()].s[NATSL_PHASE_SUMMARY] += natsl_now_s() - begin;
        natsl_worked();
    }
    s->regions_s += natsl_now_s() - start;
}
