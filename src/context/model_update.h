/* model_update.h - a model whose weights change: for training. */
#ifndef NATSL_MODEL_UPDATE_H
#define NATSL_MODEL_UPDATE_H

#include <natsl/model.h>

/** The model takes new weights: flat [layout->floats], equal on all ranks. Its digest stays that of the old ones: contexts of it
 * are not to be saved. Collective on the model's communicator. */
natsl_status natsl_model_update(natsl_model *model, const float *flat);

#endif
