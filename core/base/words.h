/* words.h - the words of an enumeration that is written as an X-macro list of (symbol, word, meaning).
 *
 *     EFM_DEFINE_WORDS(efm_map, EFM_MAP_MAP)      in one source file
 *
 * defines what the header declares:
 *
 *     const char *efm_map_name(enum efm_map value);                                "unknown" beyond the last
 *     enum efm_status efm_map_parse(const char *word, enum efm_map *value);        EFM_E_NOT_FOUND, leaving *value alone
 *
 * Threads: pure. */
#ifndef EFM_BASE_WORDS_H
#define EFM_BASE_WORDS_H

#include "core/base/status.h"

#include <stdbool.h>
#include <stddef.h>

const char *efm_word_at(const char *const *words, size_t count, size_t index);
EFM_MUST_CHECK bool efm_word_find(const char *const *words, size_t count, const char *word, size_t *index);

#define EFM_WORD_OF(symbol, word, meaning) word,
#define EFM_WORD_COUNT(noun) (sizeof noun##_words / sizeof noun##_words[0]) /* after EFM_DEFINE_WORDS */
#define EFM_DEFINE_WORDS(noun, MAP)                                                                          \
    static const char *const noun##_words[] = {MAP(EFM_WORD_OF)};                                            \
    const char *noun##_name(enum noun value)                                                                 \
    {                                                                                                        \
        return efm_word_at(noun##_words, EFM_WORD_COUNT(noun), (size_t)value);                               \
    }                                                                                                        \
    enum efm_status noun##_parse(const char *word, enum noun *value)                                         \
    {                                                                                                        \
        size_t index;                                                                                        \
        if (!efm_word_find(noun##_words, EFM_WORD_COUNT(noun), word, &index))                                \
            return EFM_E_NOT_FOUND;                                                                          \
        *value = (enum noun)index;                                                                           \
        return EFM_OK;                                                                                       \
    }

#endif
