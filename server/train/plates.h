/* plates.h - the samples of a training, read from the files that its spec names. Threads: any. */
#ifndef SRV_TRAIN_PLATES_H
#define SRV_TRAIN_PLATES_H

#include "api/train.h"

/* Paths are relative to `folder`, which is open. Each dataset is owned by the caller (efm_dataset_unref), NULL for N(0, I).
 * EFM_E_SHAPE when the plates are of two shapes; others as efm_dataset_read, with the path in front of the message. */
EFM_MUST_CHECK enum efm_status srv_train_plates_read(struct efm_dataset *datasets[2],
                                                     const struct api_train *train, int folder,
                                                     struct efm_error *error);

/* EFM_E_SHAPE, naming both, when two plates of data are of two shapes. */
EFM_MUST_CHECK enum efm_status srv_train_plates_check(struct efm_dataset *const datasets[2],
                                                      struct efm_error *error);

/* Of the plate that is data. */
const struct efm_shape *srv_train_plates_shape(struct efm_dataset *const datasets[2]);

#endif
