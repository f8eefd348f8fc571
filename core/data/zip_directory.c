// SPDX-License-Identifier: Apache-2.0
/* The directory of a zip archive, before libzip reads it: it takes memory for as many members as an archive speaks of,
 * tries every end of a directory near the end of the file, and puts the names into a table whose hash is known, so that
 * names can be made to fall together and each takes as long as all before it. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <string.h>

enum {
    END = 22,
    LOCATOR64 = 20,
    END64 = 56,
    ENTRY = 46, /* and then name, extra and comment */
    ENTRY_NAME_LENGTH = 28,
    ENTRY_EXTRA_LENGTH = 30,
    ENTRY_COMMENT_LENGTH = 32,
    MAX_ENDS =
        8, /* there is one, rarely another by chance; in archives made to be slow there are thousands */
    MAX_SKIPPED = 65536, /* members that are no samples */
    MAX_CROWD = 1024,    /* names in one place of the table; by chance there are ten */
    MAX_FOREIGN = 65536, /* names that libzip may convert first, so that their place is not known here */
};

/* What an end record says. */
struct directory {
    uint64_t count, place, size;
};

/* The directory of the end record at `at`: by the 64-bit record when there is one, as in libzip. */
static struct directory read_end(const uint8_t *bytes, size_t at)
{
    const uint8_t *end = bytes + at;
    const struct directory plain = {efm_little_endian(end + 10, 2), efm_little_endian(end + 16, 4),
                                    efm_little_endian(end + 12, 4)};
    if (at < LOCATOR64 || memcmp(end - LOCATOR64, "PK\6\7", 4) != 0)
        return plain;
    const uint64_t place = efm_little_endian(end - LOCATOR64 + 8, 8);
    if (at < END64 || place > at - END64 || memcmp(bytes + place, "PK\6\6", 4) != 0)
        return plain; /* libzip refuses it */
    const uint8_t *end64 = bytes + place;
    const uint64_t here = efm_little_endian(end64 + 24, 8), all = efm_little_endian(end64 + 32, 8);
    return (struct directory){here > all ? here : all, efm_little_endian(end64 + 48, 8),
                              efm_little_endian(end64 + 40, 8)};
}

/* Where libzip puts a name; *foreign when it may be another name by then. */
static uint32_t hash_of(const uint8_t *name, size_t length, bool *foreign)
{
    uint32_t hash = 5381;
    for (size_t i = 0; i < length && name[i] != 0; i++) {
        hash = hash * 33 + name[i];
        *foreign = *foreign || name[i] < ' ' || name[i] > '~';
    }
    return hash;
}

/* Walks over the entries as far as they are sound (libzip refuses the others) and counts them; with a table of
 * `mask` + 1 places also how many fall together. */
static enum efm_status walk(const uint8_t *bytes, size_t size, const struct directory *directory,
                            uint16_t *table, uint32_t mask, size_t *count, struct efm_error *error)
{
    size_t at = (size_t)directory->place, foreigners = 0;
    *count = 0;
    if (directory->place > size || directory->size > size - directory->place)
        return EFM_OK;
    const size_t end = at + (size_t)directory->size;
    while (end - at >= ENTRY && memcmp(bytes + at, "PK\1\2", 4) == 0) {
        const uint8_t *entry = bytes + at;
        const size_t name = (size_t)efm_little_endian(entry + ENTRY_NAME_LENGTH, 2);
        const size_t whole = ENTRY + name + (size_t)efm_little_endian(entry + ENTRY_EXTRA_LENGTH, 2) +
                             (size_t)efm_little_endian(entry + ENTRY_COMMENT_LENGTH, 2);
        if (whole > end - at)
            break;
        at += whole;
        ++*count;
        if (table == NULL)
            continue;
        bool foreign = false;
        uint16_t *crowd = &table[hash_of(entry + ENTRY, name, &foreign) & mask];
        foreigners += foreign;
        if (++*crowd > MAX_CROWD)
            return efm_error_set(error, EFM_E_FORMAT,
                                 "the names in the zip archive were made to be slow to read");
        if (foreigners > MAX_FOREIGN)
            return efm_error_set(error, EFM_E_LIMIT,
                                 "the zip archive holds more than %d names that are not ASCII", MAX_FOREIGN);
    }
    return EFM_OK;
}

/* The table has at most three quarters of its places taken, as that of libzip. */
static enum efm_status check_names(const uint8_t *bytes, size_t size, const struct directory *directory,
                                   size_t count, struct efm_error *error)
{
    uint32_t places = 256;
    while (places < UINT32_C(1) << 31 && (uint64_t)places * 3 / 4 < count)
        places *= 2;
    uint16_t *table = efm_allocate_array(places, sizeof *table);
    if (table == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a zip archive");
    enum efm_status status = walk(bytes, size, directory, table, places - 1, &count, error);
    efm_free(table);
    return status;
}

static enum efm_status check_directory(const uint8_t *bytes, size_t size, const struct directory *directory,
                                       size_t limit, struct efm_error *error)
{
    size_t count;
    if (directory->count > size / ENTRY)
        return efm_error_set(error, EFM_E_FORMAT,
                             "the zip archive promises %llu members and is too small for them",
                             (unsigned long long)directory->count);
    enum efm_status status = walk(bytes, size, directory, NULL, 0, &count, error);
    if (status != EFM_OK)
        return status;
    /* some archivers write more than the field can say */
    count = count > (size_t)directory->count ? count : (size_t)directory->count;
    if (count > limit)
        return efm_error_set(error, EFM_E_LIMIT, "the zip archive holds %zu members, more than %zu", count,
                             limit);
    return count > MAX_CROWD ? check_names(bytes, size, directory, count, error) : EFM_OK;
}

enum efm_status efm_zip_check_directory(const uint8_t *bytes, size_t size,
                                        const struct efm_dataset_options *options, struct efm_error *error)
{
    const size_t reach = END + 65535 + LOCATOR64;
    size_t ends = 0, limit;
    if (size < END)
        return efm_error_set(error, EFM_E_FORMAT, "the zip archive is truncated");
    if (!efm_size_add(options->max_count, MAX_SKIPPED, &limit))
        limit = SIZE_MAX;
    for (size_t at = size > reach ? size - reach : 0; at <= size - END; at++) {
        const uint8_t *next = memchr(bytes + at, 'P', size - END - at + 1);
        if (next == NULL)
            break;
        at = (size_t)(next - bytes);
        if (memcmp(next, "PK\5\6", 4) != 0)
            continue;
        if (++ends > MAX_ENDS)
            return efm_error_set(error, EFM_E_FORMAT, "the zip archive ends more than once");
        const struct directory directory = read_end(bytes, at);
        enum efm_status status = check_directory(bytes, size, &directory, limit, error);
        if (status != EFM_OK)
            return status;
    }
    if (ends == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the zip archive is truncated: its directory is missing");
    return EFM_OK;
}
