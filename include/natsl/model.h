/* natsl/model.h - a model's weights, once per node.
 * MPI: the library is initialised by the caller (MPI_THREAD_FUNNELED or more). */
#ifndef NATSL_MODEL_H
#define NATSL_MODEL_H

#include <mpi.h>
#include <natsl/config.h>
#include <natsl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A model in memory. One process per node reads the file; the ranks of a node share one copy. */
typedef struct natsl_model natsl_model;

/** Reads `path` and checks it: every tensor's presence, type, shape, and that all values are finite. `weights`: how matrices are
 * held (vectors, convolutions and the gate's rows always as float32). *out is written on success
 * only. Collective on comm; path equal on all ranks. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. Close with natsl_model_close
 * after the contexts that use it. */
natsl_status natsl_model_open(MPI_Comm comm, const char *path, natsl_storage weights, natsl_model **out);

/** A model with random weights, never in a file: those that `natsl init` with this configuration and seed writes, so the digest is the
 * same, too. The ranks of a node fill one copy together. Collective on comm; config and seed equal on all ranks.
 * NATSL_ERR_NOMEM. Close with natsl_model_close. */
natsl_status natsl_model_random(MPI_Comm comm, const natsl_config *config, uint64_t seed, natsl_storage weights,
                                natsl_model **out);

/** Frees the model and sets *model to NULL. Collective on the communicator it was opened with. Accepts NULL. */
void natsl_model_close(natsl_model **model);

/** Configuration (borrowed from the model). Not collective. */
const natsl_config *natsl_model_config(const natsl_model *model);

/** Kind of the model's tokenizer: "byte"; "json", a Hugging Face tokenizer.json; or "none" when its file names none. Borrowed. Not
 * collective. */
const char *natsl_model_tokenizer(const natsl_model *model);
/** The tokenizer.json of the kind "json", on every rank: *length bytes, NUL-terminated; NULL of another kind. Borrowed. Not collective. */
const char *natsl_model_tokenizer_json(const natsl_model *model, size_t *length);

/** Number of parameters (published tensors' elements). Not collective. */
int64_t natsl_model_parameters(const natsl_model *model);

/** Bytes of weights that this node holds, and a digest of them (equal on all ranks; stored in context files). */
size_t natsl_model_bytes(const natsl_model *model);
uint64_t natsl_model_digest(const natsl_model *model);

#ifdef __cplusplus
}
#endif
#endif
