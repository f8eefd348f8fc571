// SPDX-License-Identifier: Apache-2.0
#include "core/base/words.h"

#include <string.h>

const char *efm_word_at(const char *const *words, size_t count, size_t index)
{
    return index < count ? words[index] : "unknown";
}

bool efm_word_find(const char *const *words, size_t count, const char *word, size_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) {
            *index = i;
            return true;
        }
    return false;
}
