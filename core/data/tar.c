// SPDX-License-Identifier: Apache-2.0
/* tar: ustar, with GNU long names and pax records for names and sizes. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 512,
    MAX_NAME = 4096,
    MAX_PAX = 65536,
    AT_NAME = 0,
    AT_SIZE = 124,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
};

/* One file that will be a sample. */
struct member {
    char *name; /* owned */
    const uint8_t *bytes;
    size_t size;
};

/* An archive on the way through. A name or size announced by an extension entry holds for the next one. */
struct archive {
    const uint8_t *bytes;
    size_t size, at;
    const struct efm_dataset_options *options;
    char next_name[MAX_NAME + 1];
    bool has_next_name;
    uint64_t next_size;
    bool has_next_size;
    struct member *members; /* owned */
    size_t count, capacity;
};

static size_t bounded_length(const uint8_t *text, size_t size)
{
    const uint8_t *end = memchr(text, 0, size);
    return end != NULL ? (size_t)(end - text) : size;
}

/* Octal with spaces around it, or base 256 when the first bit is set. */
static bool read_number(const uint8_t *field, size_t size, uint64_t *number)
{
    uint64_t value = 0;
    if (field[0] & 0x80) {
        if (field[0] != 0x80)
            return false;
        for (size_t i = 1; i < size; i++) {
            if (value >> 56 != 0)
                return false;
            value = value << 8 | field[i];
        }
        *number = value;
        return true;
    }
    size_t i = 0;
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0');
    for (; i < size; i++)
        if (field[i] != ' ' && field[i] != 0)
            return false;
    *number = value;
    return true;
}

static bool checksum_holds(const uint8_t *header)
{
    uint64_t stored;
    if (!read_number(header + AT_CHECKSUM, 8, &stored))
        return false;
    /* the field itself counts as spaces; some old writers summed signed bytes */
    int64_t sum = 0, signed_sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        uint8_t byte = i >= AT_CHECKSUM && i < AT_CHECKSUM + 8 ? ' ' : header[i];
        sum += byte;
        signed_sum += (int8_t)byte;
    }
    return stored == (uint64_t)sum || (int64_t)stored == signed_sum;
}

static bool is_zero_block(const uint8_t *block)
{
    for (size_t i = 0; i < BLOCK; i++)
        if (block[i] != 0)
            return false;
    return true;
}

static bool probe(const uint8_t *bytes, size_t size)
{
    return size >= BLOCK &&
           (is_zero_block(bytes) || memcmp(bytes + AT_MAGIC, "ustar", 5) == 0 || checksum_holds(bytes));
}

/* Where the entry's name leads: nothing absolute, nothing upwards. */
static enum efm_status check_name(const char *name, struct efm_error *error)
{
    size_t length = strlen(name);
    if (length == 0)
        return efm_error_set(error, EFM_E_FORMAT, "an entry of the tar has no name");
    if (name[0] == '/')
        return efm_error_set(error, EFM_E_FORMAT, "the tar entry %s has an absolute name",
                             efm_show_name(name, length).text);
    for (const char *part = name; part != NULL;) {
        const char *slash = strchr(part, '/');
        size_t part_length = slash != NULL ? (size_t)(slash - part) : strlen(part);
        if (part_length == 2 && memcmp(part, "..", 2) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the tar entry %s leads out of the archive",
                                 efm_show_name(name, length).text);
        part = slash != NULL ? slash + 1 : NULL;
    }
    return EFM_OK;
}

/* The name of an entry: announced before, or prefix and name of the header. */
static void compose_name(struct archive *archive, const uint8_t *header, char name[MAX_NAME + 1])
{
    if (archive->has_next_name) {
        memcpy(name, archive->next_name, sizeof archive->next_name);
        return;
    }
    size_t used = 0;
    /* GNU archives ("ustar  ") keep other things where POSIX has the prefix */
    if (memcmp(header + AT_MAGIC, "ustar\0", 6) == 0 && header[AT_PREFIX] != 0) {
        used = bounded_length(header + AT_PREFIX, 155);
        memcpy(name, header + AT_PREFIX, used);
        name[used++] = '/';
    }
    size_t length = bounded_length(header + AT_NAME, 100);
    memcpy(name + used, header + AT_NAME, length);
    name[used + length] = '\0';
}

static enum efm_status take_long_name(struct archive *archive, const uint8_t *data, size_t size,
                                      struct efm_error *error)
{
    size_t length = bounded_length(data, size);
    if (length > MAX_NAME)
        return efm_error_set(error, EFM_E_LIMIT, "a name in the tar is longer than %d bytes", MAX_NAME);
    memcpy(archive->next_name, data, length);
    archive->next_name[length] = '\0';
    archive->has_next_name = true;
    return EFM_OK;
}

static enum efm_status take_record(struct archive *archive, const uint8_t *key, size_t key_length,
                                   const uint8_t *value, size_t length, struct efm_error *error)
{
    if (key_length == 4 && memcmp(key, "path", 4) == 0) {
        if (memchr(value, 0, length) != NULL)
            return efm_error_set(error, EFM_E_FORMAT, "a name in the tar holds a zero byte");
        return take_long_name(archive, value, length, error);
    }
    if (key_length != 4 || memcmp(key, "size", 4) != 0)
        return EFM_OK;
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9' || number > UINT64_MAX / 10 - 1)
            return efm_error_set(error, EFM_E_FORMAT, "a size in the tar is damaged");
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    archive->next_size = number;
    archive->has_next_size = true;
    return EFM_OK;
}

/* pax: records "LENGTH KEY=VALUE\n", where LENGTH counts the whole record. */
static enum efm_status take_pax(struct archive *archive, const uint8_t *data, size_t size,
                                struct efm_error *error)
{
    if (size > MAX_PAX)
        return efm_error_set(error, EFM_E_LIMIT, "an extended header in the tar is longer than %d bytes",
                             MAX_PAX);
    const uint8_t *end = data + size;
    while (data < end) {
        size_t length = 0, digits = 0, left = (size_t)(end - data);
        while (digits < left && digits < 6 && data[digits] >= '0' && data[digits] <= '9')
            length = length * 10 + (size_t)(data[digits++] - '0');
        bool valid = digits > 0 && digits < left && data[digits] == ' ' && length <= left &&
                     length > digits + 2 && data[length - 1] == '\n';
        const uint8_t *key = data + digits + 1;
        const uint8_t *equals = valid ? memchr(key, '=', length - digits - 2) : NULL;
        if (equals == NULL)
            return efm_error_set(error, EFM_E_FORMAT, "an extended header in the tar is damaged");
        enum efm_status status = take_record(archive, key, (size_t)(equals - key), equals + 1,
                                             (size_t)(data + length - 1 - (equals + 1)), error);
        if (status != EFM_OK)
            return status;
        data += length;
    }
    return EFM_OK;
}

static enum efm_status grow(struct archive *archive, struct efm_error *error)
{
    if (archive->count == archive->options->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "the tar holds more than %zu images",
                             archive->options->max_count);
    if (archive->count < archive->capacity)
        return EFM_OK;
    size_t capacity = archive->capacity == 0 ? 64 : archive->capacity * 2;
    struct member *members = efm_allocate_array(capacity, sizeof *members);
    if (members == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a tar");
    if (archive->count > 0)
        memcpy(members, archive->members, archive->count * sizeof *members);
    efm_free(archive->members);
    archive->members = members;
    archive->capacity = capacity;
    return EFM_OK;
}

static enum efm_status take_file(struct archive *archive, const char *name, const uint8_t *data, size_t size,
                                 struct efm_error *error)
{
    while (name[0] == '.' && name[1] == '/') {
        name += 2;
        while (name[0] == '/')
            name++;
    }
    const char *slash = strrchr(name, '/');
    const char *base = slash != NULL ? slash + 1 : name;
    if (base[0] == '.') /* hidden, and the "._" companions that one desktop writes */
        return EFM_OK;
    enum efm_status status = grow(archive, error);
    if (status != EFM_OK)
        return status;
    char *copy = efm_copy_string(name);
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a tar");
    archive->members[archive->count++] = (struct member){copy, data, size};
    return EFM_OK;
}

/* What an entry is good for; its data has been found to lie within the archive. */
static enum efm_status take_entry(struct archive *archive, const uint8_t *header, const uint8_t *data,
                                  size_t size, struct efm_error *error)
{
    char type = (char)header[AT_TYPE];
    if (type == 'L')
        return take_long_name(archive, data, size, error);
    if (type == 'x')
        return take_pax(archive, data, size, error);
    if (type == 'K' || type == 'g')
        return EFM_OK;

    char name[MAX_NAME + 1];
    compose_name(archive, header, name);
    archive->has_next_name = archive->has_next_size = false;
    enum efm_status status = check_name(name, error);
    if (status != EFM_OK)
        return status;
    if (type == 'S')
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the sparse tar entry %s is not read",
                             efm_show_name(name, strlen(name)).text);
    if (type == '0' || type == '\0' || type == '7') {
        bool is_directory = name[strlen(name) - 1] == '/'; /* as archives before ustar wrote them */
        return is_directory ? EFM_OK : take_file(archive, name, data, size, error);
    }
    return EFM_OK;
}

static enum efm_status fail_truncated(struct efm_error *error)
{
    return efm_error_set(error, EFM_E_FORMAT, "the tar is truncated");
}

/* Reads the entry at the current place and moves past it; *ended at the closing block of zeros. */
static enum efm_status step(struct archive *archive, bool *ended, struct efm_error *error)
{
    if (archive->size - archive->at < BLOCK)
        return fail_truncated(error);
    const uint8_t *header = archive->bytes + archive->at;
    *ended = is_zero_block(header);
    if (*ended)
        return EFM_OK;
    if (!checksum_holds(header))
        return efm_error_set(error, EFM_E_FORMAT, "the tar is damaged at byte %zu: wrong checksum",
                             archive->at);
    uint64_t size;
    if (!read_number(header + AT_SIZE, 12, &size))
        return efm_error_set(error, EFM_E_FORMAT, "the tar is damaged at byte %zu: no size", archive->at);
    char type = (char)header[AT_TYPE];
    bool is_extension = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    if (archive->has_next_size && !is_extension)
        size = archive->next_size;
    if (type >= '2' && type <= '6') /* links, devices, directories and pipes have no data behind them */
        size = 0;
    archive->at += BLOCK;
    if (size > archive->size - archive->at)
        return fail_truncated(error);
    const uint8_t *data = archive->bytes + archive->at;
    size_t padded = ((size_t)size + BLOCK - 1) / BLOCK * BLOCK;
    if (padded > archive->size - archive->at)
        return fail_truncated(error);
    archive->at += padded;
    return take_entry(archive, header, data, (size_t)size, error);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum efm_status sort_members(struct archive *archive, struct efm_error *error)
{
    if (archive->count == 0)
        return EFM_OK;
    qsort(archive->members, archive->count, sizeof *archive->members, compare_names);
    for (size_t i = 1; i < archive->count; i++) {
        const char *name = archive->members[i].name;
        if (strcmp(archive->members[i - 1].name, name) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the tar holds two files of the name %s",
                                 efm_show_name(name, strlen(name)).text);
    }
    return EFM_OK;
}

static enum efm_status fetch(void *context, size_t index, const char **name, const uint8_t **bytes,
                             size_t *size, struct efm_error *error)
{
    const struct archive *archive = context;
    (void)error;
    *name = archive->members[index].name;
    *bytes = archive->members[index].bytes;
    *size = archive->members[index].size;
    return EFM_OK;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    struct archive archive = {.bytes = bytes, .size = size, .options = options};
    enum efm_status status = EFM_OK;
    bool ended = false;
    while (status == EFM_OK && !ended)
        status = step(&archive, &ended, error);
    if (status == EFM_OK && (archive.has_next_name || archive.has_next_size))
        status = fail_truncated(error);
    if (status == EFM_OK)
        status = sort_members(&archive, error);
    if (status == EFM_OK) {
        struct efm_image_files files = {&archive, archive.count, fetch};
        status = efm_dataset_from_files(dataset, efm_tar_reader.format, &files, options, error);
    }
    for (size_t i = 0; i < archive.count; i++)
        efm_free(archive.members[i].name);
    efm_free(archive.members);
    return status;
}

const struct efm_dataset_reader efm_tar_reader = {"tar", probe, read_samples};
