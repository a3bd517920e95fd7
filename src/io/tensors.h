/* tensors.h - what model, gradient and checkpoint files have in common: a model's head and its tensors. Private to src/io. */
#ifndef NATSL_TENSORS_H
#define NATSL_TENSORS_H

#include "dtype.h"
#include "files.h"
#include "h5.h"

/** Root attributes format, format_version, config, origin, kept_share (where > 0), and the group tokenizer (unless "none" or NULL; "json"
 * is an attribute, and the caller writes the dataset tokenizer_json).
 * Collective where the file is parallel. */
natsl_status natsl_model_head_put(const natsl_h5_out *out, const natsl_config *config, const char *tokenizer,
                                  const char *origin, double kept_share);

/** Every tensor of flat [layout->floats] under its name, as file type `type`; in a parallel file each rank writes its share of the
 * rows. A rank in trouble goes on with the others' steps: *mine gets its status, unless it holds another failure already.
 * Collective where the file is parallel; returns what all ranks agree on. */
natsl_status natsl_tensors_put(natsl_h5_out *out, const natsl_layout *layout, hid_t type, const float *flat,
                               natsl_status *mine);

/** The HDF5 type of numbers as they stand in a file: float32, or one of the two floating-point types of 16 bits. The caller closes
 * it. */
hid_t natsl_tensor_type(natsl_dtype dtype);
/** The other way round: of a dataset of floating-point numbers. Of other sizes than these, which HDF5 turns into float32: F32. */
natsl_dtype natsl_tensor_dtype(hid_t dataset);

/** Opens a tensor's dataset and checks its shape. Close with H5Dclose. NATSL_ERR_INPUT. Not collective. */
natsl_status natsl_tensor_open(hid_t file, const char *path, const natsl_tensor *tensor, hid_t *dataset);
/** All its numbers as they are stored, in `dtype`'s bytes (natsl_tensor_dtype): to [count * bytes]. NATSL_ERR_INPUT. */
natsl_status natsl_tensor_read(hid_t dataset, const char *path, const natsl_tensor *tensor, natsl_dtype dtype,
                               void *to);

/** One tensor, whole: to [tensor->count]. NATSL_ERR_INPUT: not there, another shape, or a number that is not finite. Not
 * collective. */
natsl_status natsl_tensor_get(hid_t file, const char *path, const natsl_tensor *tensor, float *to);

#endif
