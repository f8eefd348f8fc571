/* warm.h - a model's first evaluation, before anybody waits for it: kernels are chosen and made, pages are there.
 * Threads: any; it computes on the caller's thread and a team of its own. */
#ifndef SRV_ENGINE_WARM_H
#define SRV_ENGINE_WARM_H

#include "core/model/model.h"

/* Evaluates one point, and then a batch of `batch` when that takes little, in a working space as a worker of `threads` threads has
 * (0: 1). EFM_E_MEMORY, and what making a working space may say. */
EFM_MUST_CHECK enum efm_status srv_warm_model(const struct efm_model *model, size_t batch, size_t threads,
                                              struct efm_error *error);

#endif
