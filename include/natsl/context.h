/* natsl/context.h - what a model remembers of the text read so far, and the one operation that makes it grow.
 * A context lives on all ranks of a communicator. Tokens are counted from 0 over the whole text (int64).
 * MPI: functions are collective on the context's communicator unless said; arguments are equal on all ranks unless said.
 * After an error the context may only be destroyed, unless a function refused its arguments (NATSL_ERR_USAGE). */
#ifndef NATSL_CONTEXT_H
#define NATSL_CONTEXT_H

#include <natsl/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum natsl_kernel_set { NATSL_KERNELS_FAST = 0, NATSL_KERNELS_REF } natsl_kernel_set;
typedef enum natsl_route { NATSL_LEARNED = 0, NATSL_ALL_SOFTMAX, NATSL_ALL_LINEAR } natsl_route;

/** How kept keys and values reach other ranks: in place through shared memory where ranks share a node, else by messages. */
typedef enum natsl_exchange { NATSL_EXCHANGE_AUTO = 0, NATSL_EXCHANGE_MESSAGES } natsl_exchange;

/** How the delta rule's states reach the next ranks. Relay: from range to range, exact: answers have the same bits for any number of
 * ranks. Scan: ranges are summarised as maps of the state, all at once, and composed in log2(ranks) steps: more arithmetic,
 * less waiting, equal to rounding. Auto: relay below 32 ranks, else by counted costs, so that a scan is taken where it costs
 * less time. */
typedef enum natsl_state_pass { NATSL_STATE_AUTO = 0, NATSL_STATE_RELAY, NATSL_STATE_SCAN } natsl_state_pass;

/** Which rank reads how much: later tokens attend to more kept chunks and cost more. On: ranges of equal predicted cost; off: of equal
 * length; auto: of equal cost where the prediction says that it helps. Results have the same bits. */
typedef enum natsl_balance { NATSL_BALANCE_AUTO = 0, NATSL_BALANCE_ON, NATSL_BALANCE_OFF } natsl_balance;

/** How to compute. Zero means default for every member. */
typedef struct natsl_options {
    int threads; /**< OpenMP threads per rank, 0: OMP_NUM_THREADS; the smallest of all ranks' numbers counts */
    natsl_kernel_set kernels;    /**< fast, or the plain reference kernels (slow, for checks) */
    natsl_route route;           /**< force every chunk's choice in NAtS-L layers, to measure what the gate buys */
    natsl_storage kept;          /**< how kept keys and values are held */
    natsl_state_pass state_pass; /**< how states go from rank to rank */
    natsl_exchange exchange;     /**< read kept keys of ranks on the node in place, or force messages */
    natsl_balance balance;       /**< ranges of equal cost or of equal length */
    double
        kept_share; /**< share of chunks that the gate is expected to keep, (0,1]; 0: what the model's file says, else half */
    int64_t
        pass_tokens; /**< most tokens read at once by all ranks together; bounds the residual rows in memory. 0: automatic */
    int64_t
        stage_tokens; /**< tokens of one rank that pass through a layer together; bounds its buffers. 0: automatic */
} natsl_options;

typedef struct natsl_context natsl_context;

/** An empty context (position 0). The model is borrowed and must outlive it; comm is the model's communicator or
 * one of some of its ranks, which then read a text of their own. OpenBLAS is set to one thread: natsl spreads its own work over OpenMP threads. */
natsl_status natsl_context_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options,
                                  natsl_context **out);
/** Frees the context and sets *context to NULL. Accepts NULL. */
void natsl_context_destroy(natsl_context **context);
/** An independent copy. */
natsl_status natsl_context_copy(const natsl_context *context, natsl_context **out);

/** Tokens read so far. Not collective. */
int64_t natsl_context_position(const natsl_context *context);

/** Where an extension's tokens come from and where its results go. Each function is called on a rank for parts of its own
 * range, in ascending order, from the calling thread; NULL: not wanted (tokens is required). Beyond its range a rank asks
 * for the token after it; and one rank scores the window's first token, whose logprobs index lies before the window.
 * A status other than NATSL_OK ends the extension on all ranks with that status. */
typedef struct natsl_stream {
    void *user;
    /** ids[0..count) = tokens first .. first+count of the whole text; may be asked for twice. */
    natsl_status (*tokens)(void *user, int64_t first, int64_t count, int32_t *ids);
    /** values[i] = natural log of p(token[first+i+1] | token[0..first+i]); the indices of a result file's logprobs. */
    natsl_status (*logprobs)(void *user, int64_t first, int64_t count, const float *values);
    /** rows [count, hidden_size] after the final norm. */
    natsl_status (*hidden)(void *user, int64_t first, int64_t count, const float *rows);
    /** keep [count, num_nats_head] of complete chunks of a NAtS-L layer: 1 = kept for softmax attention. Not called for layers
     * that keep every chunk (softmax attention alone). */
    natsl_status (*choices)(void *user, int layer, int64_t first_chunk, int64_t count, const uint8_t *keep);
    /** Progress, on every rank: tokens of the window that this rank knows to be done. */
    void (*progress)(void *user, int64_t done, int64_t total);
    /** Asked on every rank after each pass. Nonzero on any rank: the extension ends early, between two passes, with NATSL_OK;
     * natsl_context_position says where (at most two passes later, because those have begun on some ranks). The log-probability of
     * the token after that has then been given; the extension that goes on from there says so by goes_on. Read on like
     * this, all results have the same bits as without the break. */
    int (*pause)(void *user);
    int goes_on; /**< 1: the extension before this one was paused; the first token's log-probability is not given again */
} natsl_stream;

/** Reads `count` >= 0 more tokens. Every token but the text's first gets its log-probability. */
natsl_status natsl_context_extend(natsl_context *context, int64_t count, const natsl_stream *stream);

/** The same with arrays, for short texts: tokens [count] equal on all ranks. logprobs [count] or NULL, filled on all ranks:
 * logprobs[i] belongs to tokens[i] (0 for the text's first token). */
natsl_status natsl_context_extend_array(natsl_context *context, int64_t count, const int32_t *tokens, float *logprobs);

/** One token, by the one-token form of every kernel: for generation. Kept keys stay where they are; every rank reads its share
 * of every weight matrix. The same bits for any number of ranks and threads as long as one rank holds all of a layer's kept
 * chunks; where several do (the context was read or loaded by several), equal up to rounding. NATSL_ERR_USAGE for an id outside
 * the vocabulary; NATSL_ERR_INPUT when the weights overflow: the context is then good for nothing but natsl_context_destroy. */
natsl_status natsl_context_next(natsl_context *context, int32_t token);

/** logits [vocab_size], on all ranks: scores of the token after the last one read. NATSL_ERR_USAGE at position 0. */
natsl_status natsl_context_logits(natsl_context *context, float *logits);

/** Gated DeltaNet state of a layer, [num_v_heads, head_k_dim, head_v_dim] on all ranks: after the last token, and (block_state,
 * may be NULL) at the start of the open chunk. NATSL_ERR_USAGE for layers of softmax attention, which have none. */
natsl_status natsl_context_state(natsl_context *context, int layer, float *state, float *block_state);

/** Writes the context to a file (parallel HDF5; under a temporary name, then renamed). */
natsl_status natsl_context_save(natsl_context *context, const char *path);
/** Reads a context saved by any number of ranks. NATSL_ERR_INPUT when the file is damaged or belongs to another model. */
natsl_status natsl_context_load(MPI_Comm comm, const natsl_model *model, const natsl_options *options, const char *path,
                                natsl_context **out);

/** What extending has cost so far, summed over all ranks (bytes, chunks) or the largest of them (seconds, memory). */
typedef struct natsl_stats {
    int64_t halo_bytes, state_bytes, kept_bytes, directory_bytes; /**< sent between ranks */
    int64_t row_bytes;           /**< the same by single tokens: parts of rows, and of softmaxes over kept chunks */
    int64_t kept_chunks, chunks; /**< (chunk, head, NAtS-L layer) triples: kept, and complete in all */
    size_t peak_bytes;           /**< largest resident memory of a rank so far */
    size_t weight_bytes, stage_bytes, residual_bytes, kept_store_bytes; /**< of the rank with most */
    size_t
        resident_bytes; /**< after the last long extension, of the rank with most: private pages, and shared ones divided by sharers */
    double wait_s;           /**< largest time a rank spent waiting for others */
    double phase_s[16];      /**< by natsl_stats_phase_name; largest of all ranks */
    double phase_mean_s[16]; /**< the same, mean of all ranks: their sum is no more than the time that reading took */
} natsl_stats;
natsl_status natsl_context_stats(natsl_context *context, natsl_stats *stats);
/** Name of phase i, NULL past the last. Not collective. */
const char *natsl_stats_phase_name(int i);

/** The plan for a document of `tokens` tokens: filled without reading or allocating anything. Not collective. */
typedef struct natsl_plan {
    int ranks, threads;
    int64_t pass_tokens, stage_tokens, passes;
    size_t weight_bytes, stage_bytes, residual_bytes, context_bytes; /**< per rank; weights per node */
    size_t kept_bytes_all; /**< per rank, if every chunk were kept (of layers of softmax attention they are) */
    int64_t scan_passes;   /**< passes that pass states by scan; the others relay */
    size_t scan_bytes;     /**< per rank, for them: summaries under way */
    size_t kept_bytes;     /**< per rank, at the expected share of kept chunks */
    size_t other_bytes;    /**< per rank: messages under way, directory of kept chunks, counts */
    size_t baseline_bytes; /**< of a process before it opens a model: libraries, MPI. natsl_plan_make leaves it 0 */
    double kept_share;     /**< that share */
    int balanced;          /**< ranges have equal cost: natsl_plan_ranges needs the weights below */
    int64_t weight_each, weight_per_chunk; /**< of a chunk: what it costs is each + per_chunk * its index */
    int64_t halo_bytes, state_bytes, kept_bytes_all_sent; /**< all ranks together; kept: if every chunk were kept */
} natsl_plan;
natsl_status natsl_plan_make(const natsl_config *config, natsl_storage weights, int ranks, const natsl_options *options,
                             int64_t tokens, natsl_plan *plan);
/** Tokens [first[r], first[r+1]) of pass `pass` belong to rank r; first [ranks+1]. Not collective. */
void natsl_plan_ranges(const natsl_config *config, const natsl_plan *plan, int64_t tokens, int64_t pass,
                       int64_t *first);

#ifdef __cplusplus
}
#endif
#endif
