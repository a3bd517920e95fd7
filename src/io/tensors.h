/* tensors.h - what model, gradient and checkpoint files have in common: a model's head and its tensors. Private to src/io. */
#ifndef NATSL_TENSORS_H
#define NATSL_TENSORS_H

#include "files.h"
#include "h5.h"

/** Root attributes format, format_version, config, origin, kept_share (where > 0), and the group tokenizer (unless "none" or NULL).
 * Collective where the file is parallel. */
natsl_status natsl_model_head_put(const natsl_h5_out *out, const natsl_config *config, const char *tokenizer,
                                  const char *origin, double kept_share);

/** Every tensor of flat [layout->floats] under its name, as file type `type`; in a parallel file each rank writes its share of the
 * rows. A rank in trouble goes on with the others' steps: *mine gets its status, unless it holds another failure already.
 * Collective where the file is parallel; returns what all ranks agree on. */
natsl_status natsl_tensors_put(natsl_h5_out *out, const natsl_layout *layout, hid_t type, const float *flat,
                               natsl_status *mine);

/** One tensor, whole: to [tensor->count]. NATSL_ERR_INPUT: not there, another shape, or a number that is not finite. Not
 * collective. */
natsl_status natsl_tensor_get(hid_t file, const char *path, const natsl_tensor *tensor, float *to);

#endif
