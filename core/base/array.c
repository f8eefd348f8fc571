// SPDX-License-Identifier: Apache-2.0
/* A file of its own, so that a test's --wrap=efm_allocate_array reaches what is allocated here. */
#include "core/base/memory.h"

#include <string.h>

bool efm_array_grow(void *array, size_t count, size_t *capacity, size_t size)
{
    enum { FIRST = 16 };
    size_t wanted = FIRST;
    if (count < *capacity)
        return true;
    if (*capacity > 0 && !efm_size_multiply(*capacity, 2, &wanted))
        return false;
    void *items, *larger = efm_allocate_array(wanted, size);
    if (larger == NULL)
        return false;
    memcpy(&items, array, sizeof items); // the pointer is of another type
    if (count > 0)
        memcpy(larger, items, count * size);
    efm_free(items);
    memcpy(array, &larger, sizeof larger);
    *capacity = wanted;
    return true;
}
