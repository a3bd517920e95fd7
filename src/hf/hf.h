/* hf.h - models of Hugging Face directories into natsl's model files, and back.
 * Owns: nothing. MPI: none; one process works, alone. Tests: tests/cli/import.sh, tests/unit/test_safetensors.c */
#ifndef NATSL_HF_H
#define NATSL_HF_H

#include "dtype.h"
#include "hf_config.h"
#include <natsl/config.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Which tokenizer an imported model gets. */
typedef enum natsl_hf_tokenizer {
    NATSL_HF_TOKENIZER_AUTO = 0, /* tokenizer.json, else what natsl.json says, else none */
    NATSL_HF_TOKENIZER_BYTE,     /* tokens are bytes */
    NATSL_HF_TOKENIZER_NONE
} natsl_hf_tokenizer;

/** What was read or written. */
typedef struct natsl_hf_report {
    natsl_config config;
    natsl_hf_family family;
    int64_t parameters;
    size_t bytes;        /* of all tensors, as stored */
    size_t dtypes[3];    /* tensors of each natsl_dtype */
    size_t shards;       /* files of tensors */
    size_t left_out;     /* tensors that import has not taken: hf_names.h */
    char tokenizer[8];   /* "byte", "json", "none" */
    char complaint[512]; /* why its tokenizer.json cannot be used: texts cannot be read then; "": it can */
} natsl_hf_report;

/** Reads the directory and writes the model file `out`, tensors in the types that they have: temporary name, flushed, renamed. All but
 * the values is checked before anything is written; values must be finite. `out` NULL: only the checks. 4 MiB of a tensor
 * (a row, where that is more) are in memory at a time, and the directory's texts. Not collective. NATSL_ERR_INPUT, NATSL_ERR_IO, NATSL_ERR_NOMEM, NATSL_ERR_USAGE. */
natsl_status natsl_hf_import(const char *directory, const char *out, natsl_hf_tokenizer tokenizer,
                             natsl_hf_report *report);

/** Writes a model file as a directory: tensors in the types that they have (others than 32 and 16 bits as float32), in files of at
 * most shard_bytes where a tensor allows it; the texts that import kept as they were, else a config.json in natsl's own class; natsl.json
 * where there is more to say. The directory appears whole: `out` must not exist yet, or be empty. `out` NULL: only the checks. Memory for
 * the largest tensor, twice where it has parts. Asks `interrupted` (may be NULL) now and then; NATSL_INTERRUPTED when it says so. Not collective. Otherwise
 * as import. */
natsl_status natsl_hf_export(const char *model, const char *out, size_t shard_bytes, int (*interrupted)(void),
                             natsl_hf_report *report);

/* ---- shared by both; private to src/hf --------------------------------------------------------------------------------- */

/** A text of the directory that a model file keeps as it is. */
typedef struct natsl_hf_text {
    const char *file;   /* in the directory */
    const char *object; /* dataset of bytes in the model file */
    size_t limit;       /* most bytes */
    int json;           /* must be JSON */
} natsl_hf_text;

/** Ended by a NULL file. Of some the place is known. */
extern const natsl_hf_text natsl_hf_texts[];
enum { NATSL_HF_TEXT_CONFIG = 0, NATSL_HF_TEXT_GENERATION, NATSL_HF_TEXT_TOKENIZER };
/** What natsl adds where the other files have no place for it: tokenizer, origin, kept_share. */
#define NATSL_HF_OWN_FILE "natsl.json"

#endif
