/* files.h - HDF5 and text files of natsl: model, tokens, results. Formats: README.md, "Files".
 * Everything read here is hostile until checked: sizes before they are multiplied or allocated.
 * Collective functions end with the same status and text on all ranks. Tests: tests/cli/bad_input.sh,
 * tests/mpi/test_files.c, tests/mpi/test_results.c */
#ifndef NATSL_FILES_H
#define NATSL_FILES_H

#include "layout.h"
#include "tokenizer.h"
#include <mpi.h>
#include <natsl/config.h>
#include <natsl/status.h>

/** What kind of natsl file a path is. */
typedef enum natsl_file_kind {
    NATSL_FILE_OTHER = 0, /* readable, but not HDF5: text */
    NATSL_FILE_MODEL,
    NATSL_FILE_TOKENS,
    NATSL_FILE_RESULT,
    NATSL_FILE_CONTEXT,
    NATSL_FILE_GRAD,
    NATSL_FILE_HDF5 /* HDF5, but none of these */
} natsl_file_kind;

/** Looks at a file. NATSL_ERR_INPUT when it cannot be opened or is a damaged HDF5 file. Not collective. */
natsl_status natsl_file_kind_of(const char *path, natsl_file_kind *kind);

/** Most ids that may end a text. */
#define NATSL_MAX_EOS 16

/** What a model file says beside its tensors. */
typedef struct natsl_model_info {
    natsl_config config;
    /* "byte"; "json": the dataset tokenizer_json has a tokenizer.json; or "none": documents are token files.
     * A file that says nothing (oracle.py's) is "byte" where vocab_size is 256 or more, else "none". */
    char tokenizer[16];
    int32_t bos_token;                 /* begins a text; -1: the file does not say */
    int32_t eos_tokens[NATSL_MAX_EOS]; /* each ends a text */
    int32_t n_eos;
    double kept_share; /* share of chunks that the gate keeps in typical texts, (0,1]; 0: the file does not say */
} natsl_model_info;

/** Reads and checks attributes and the presence, type and shape of every tensor. Not collective (rank 0 calls). */
natsl_status natsl_model_file_info(const char *path, natsl_model_info *info);

/** The tokenizer.json that a model of kind "json" carries, on all ranks: *json [*length], NUL-terminated (free with natsl_free); NULL and
 * 0 of another kind. path, kind: equal on all ranks. Rank 0 reads. Collective on comm. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_model_file_tokenizer(MPI_Comm comm, const char *path, const char *kind, char **json, size_t *length);

/** Reads every tensor of `layout` into the store [layout->store_bytes] (float64 and float16 files too) and refuses
 * non-finite values, naming the tensor and index. Needs memory for the largest tensor. Not collective: one rank per node
 * calls it. */
natsl_status natsl_model_file_read(const char *path, const natsl_layout *layout, void *store);

/** Writes a whole model file: temporary name beside `path`, flushed, renamed. `origin` is stored as a root attribute
 * (where the weights came from). Not collective. */
natsl_status natsl_model_file_write(const char *path, const natsl_config *config, const char *tokenizer,
                                    const char *origin, const natsl_layout *layout, const float *flat);

/** "model.layers.0.x" as HDF5 path "model/layers/0/x", in name [sizeof tensor->name]. */
void natsl_tensor_object_name(const natsl_tensor *tensor, char *name);

/** Writes a gradient file, all ranks together: root attributes format = natsl-grad, format_version, config, tokens, loss; every
 * tensor's gradient under its name as in a model file, float64. flat [layout->floats] is equal on all ranks, and each writes
 * its share of the rows. Temporary name, flushed, renamed. Collective on comm. NATSL_ERR_IO. */
natsl_status natsl_grad_file_write(MPI_Comm comm, const char *path, const natsl_config *config,
                                   const natsl_layout *layout, const float *flat, int64_t tokens, double loss);

/** A document being read: a token file, a text file, or standard input. */
typedef struct natsl_doc natsl_doc;

/** Opens `path` and learns its length in tokens. "-" is standard input: rank 0 reads it to its end into a file in
 * TMPDIR that all ranks open and that is then unlinked (NATSL_ERR_USAGE when a rank on another node cannot). tokenizer: of
 * text; NULL or one of bytes: a token per byte, read where it stands. Another one's tokens are made now, by all ranks together, and kept
 * in a temporary file on each node (TMPDIR, 4 bytes per token): any rank may ask for any of them, and a text may be longer than
 * memory. special: with the tokenizer's special tokens around them. Collective on comm. NATSL_ERR_INPUT: cannot open, empty (0
 * tokens), wrong type; NATSL_ERR_IO. */
natsl_status natsl_doc_open(MPI_Comm comm, const char *path, const natsl_model_info *model,
                            const natsl_tokenizer *tokenizer, int special, natsl_doc **out);
/** A token file, or a text of bytes, on this rank alone. Not collective. */
natsl_status natsl_doc_open_alone(const char *path, const natsl_model_info *model, natsl_doc **out);
/** Opens a text, or "-" as above, for natsl_tokenize: its descriptor (the caller closes it) and bytes, 1 or more. NATSL_ERR_INPUT: it is an
 * HDF5 file. Collective on comm. */
natsl_status natsl_text_open(MPI_Comm comm, const char *path, int *fd, int64_t *length);
int64_t natsl_doc_length(const natsl_doc *doc); /* tokens, >= 1 */
/** Reads tokens [first, first+count) into ids. Each is checked against the vocabulary: NATSL_ERR_INPUT names the
 * first bad position. Not collective: each rank reads its own range. */
natsl_status natsl_doc_read(natsl_doc *doc, int64_t first, int64_t count, int32_t *ids);
void natsl_doc_close(natsl_doc **doc);

/** A result file being written by all ranks together, under a temporary name until natsl_result_commit. */
typedef struct natsl_result natsl_result;

/** Creates the temporary file with all datasets at their final size: logprobs [length-1] float32, softmax_chunks/<l>
 * [length/chunk, Hn] uint8 for NAtS-L layers, logits_last [V], and with write_hidden hidden [length, D], with
 * write_state state/<l> [Hv, dk, dv] and block_state/<l>. Collective. NATSL_ERR_IO when the place cannot be written. */
natsl_status natsl_result_create(MPI_Comm comm, const char *path, const natsl_config *config, int64_t length,
                                 int write_hidden, int write_state, natsl_result **out);
/** The following write one rank's part at once, without waiting for other ranks (independent parallel HDF5). After a
 * failure commit fails, too. */
natsl_status natsl_result_logprobs(natsl_result *r, int64_t first, int64_t count, const float *values);
natsl_status natsl_result_hidden(natsl_result *r, int64_t first, int64_t count, const float *rows);
natsl_status natsl_result_choices(natsl_result *r, int layer, int64_t first_chunk, int64_t count, const uint8_t *keep);
natsl_status natsl_result_logits_last(natsl_result *r, const float *logits);
natsl_status natsl_result_state(natsl_result *r, int layer, const float *state, const float *block_state);
/** Stores a number as root attribute (perplexity, tokens). Collective; equal on all ranks. */
natsl_status natsl_result_attribute(natsl_result *r, const char *name, double value);
/** The same with a text. */
natsl_status natsl_result_text(natsl_result *r, const char *name, const char *text);
/** Closes, flushes to disk, renames to the final name. Collective: on any rank's failure nothing appears under the
 * final name and the temporary is removed. Always frees and sets *r to NULL. */
natsl_status natsl_result_commit(natsl_result **r);
/** Closes and removes the temporary file. Collective. Accepts NULL. */
void natsl_result_abandon(natsl_result **r);

#endif
