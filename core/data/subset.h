/* subset.h - a part of a dataset: the samples of one label, a range of them.
 *
 *     struct efm_labels labels;
 *     efm_labels_read(&labels, bytes, size, &error);                     train-labels-idx1-ubyte.gz
 *     struct efm_selection threes = {.labels = &labels, .label = 3, .count = -1000};
 *     efm_dataset_select(&subset, dataset, &threes, &error);             all threes but the last 1000
 *     efm_labels_release(&labels);
 *
 * Threads: pure functions. */
#ifndef EFM_DATA_SUBSET_H
#define EFM_DATA_SUBSET_H

#include "core/data/dataset.h"

/* One label a sample, as IDX of unsigned bytes in one dimension has them. */
struct efm_labels {
    uint8_t *values; /* owned [count] */
    size_t count;
};

/* From a whole IDX file in memory, plain or gzipped; borrowed for the call. EFM_E_FORMAT, EFM_E_UNSUPPORTED, EFM_E_LIMIT
 * for more than a dataset may have, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_labels_read(struct efm_labels *labels, const uint8_t *bytes, size_t size,
                                               struct efm_error *error);
void efm_labels_release(struct efm_labels *labels);

struct efm_selection {
    const struct efm_labels *labels; /* NULL: samples of any label; else one for each sample */
    uint8_t label;
    int64_t first; /* among those of the label; negative: from their end */
    int64_t count; /* from there; 0: to the end; negative: to as many before the end */
};

/* A dataset of copies of what is selected, in the same order; `dataset` is borrowed. EFM_E_SHAPE when there is not one label
 * a sample, EFM_E_NOT_FOUND when nothing is selected, EFM_E_ARGUMENT for a range past the end, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_dataset_select(struct efm_dataset **subset,
                                                  const struct efm_dataset *dataset,
                                                  const struct efm_selection *selection,
                                                  struct efm_error *error);

#endif
