/* loss_curve.h - the loss over the steps of a training, as a picture. Threads: pure. */
#ifndef SRV_TRAIN_LOSS_CURVE_H
#define SRV_TRAIN_LOSS_CURVE_H

#include "core/base/buffer.h"

#include <stdint.h>

struct srv_loss_point {
    uint64_t step;
    double loss;
};

/* Appends a PNG of points [count] in order of their steps: the losses themselves light, smoothed dark, the loss on a logarithmic
 * axis. Losses that are not above 0 are left out; without any the frame is empty. EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status srv_loss_curve_render(const struct srv_loss_point *points, size_t count,
                                                     struct efm_buffer *png, struct efm_error *error);

#endif
