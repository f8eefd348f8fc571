// SPDX-License-Identifier: Apache-2.0
#include "core/data/tar_entry.h"

#include "core/data/data_internal.h"

#include <string.h>

enum {
    AT_NAME = 0,
    AT_SIZE = 124,
    AT_CHECKSUM = 148,
    AT_TYPE = 156,
    AT_MAGIC = 257,
    AT_PREFIX = 345,
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
    uint64_t stored, sum = 0;
    if (!read_number(header + AT_CHECKSUM, 8, &stored))
        return false;
    /* the field itself counts as spaces */
    for (size_t i = 0; i < EFM_TAR_BLOCK; i++)
        sum += header[i];
    for (size_t i = AT_CHECKSUM; i < AT_CHECKSUM + 8; i++)
        sum = sum - header[i] + ' ';
    if (stored == sum)
        return true;
    /* some old writers summed signed bytes */
    int64_t signed_sum = (int64_t)sum;
    for (size_t i = 0; i < EFM_TAR_BLOCK; i++)
        if (header[i] >= 128 && (i < AT_CHECKSUM || i >= AT_CHECKSUM + 8))
            signed_sum -= 256;
    return (int64_t)stored == signed_sum;
}

bool efm_tar_is_end(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, EFM_TAR_BLOCK - 1) == 0;
}

bool efm_tar_probe(const uint8_t *bytes, size_t size)
{
    return size >= EFM_TAR_BLOCK &&
           (efm_tar_is_end(bytes) || memcmp(bytes + AT_MAGIC, "ustar", 5) == 0 || checksum_holds(bytes));
}

/* The name of an entry: announced before, or prefix and name of the header. */
static void compose_name(const struct efm_tar_pending *pending, const uint8_t *header, char *name)
{
    if (pending->has_name) {
        memcpy(name, pending->name, sizeof pending->name);
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

/* What an entry that is no extension is good for. */
static enum efm_status classify(struct efm_tar_entry *entry, char type, struct efm_error *error)
{
    const size_t length = strlen(entry->name);
    enum efm_status status = efm_archive_check_name("tar", entry->name, length, error);
    if (status != EFM_OK)
        return status;
    if (type == 'S')
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the sparse tar entry %s is not read",
                             efm_show_name(entry->name, length).text);
    bool is_file = type == '0' || type == '\0' || type == '7';
    bool is_directory = entry->name[length - 1] == '/'; /* as archives before ustar wrote them */
    if (is_file && !is_directory && !efm_archive_name_is_hidden(entry->name))
        entry->kind = EFM_TAR_FILE;
    return EFM_OK;
}

enum efm_status efm_tar_read_header(struct efm_tar_entry *entry, struct efm_tar_pending *pending,
                                    const uint8_t *header, struct efm_error *error)
{
    if (!checksum_holds(header))
        return efm_error_set(error, EFM_E_FORMAT, "the tar is damaged: wrong checksum");
    if (!read_number(header + AT_SIZE, 12, &entry->size))
        return efm_error_set(error, EFM_E_FORMAT, "the tar is damaged: no size");
    const char type = (char)header[AT_TYPE];
    entry->kind = type == 'L' ? EFM_TAR_NAME : type == 'x' ? EFM_TAR_PAX : EFM_TAR_SKIPPED;
    if (type == 'L' || type == 'K' || type == 'x' || type == 'g')
        return EFM_OK;
    if (pending->has_size)
        entry->size = pending->size;
    if (type >= '2' && type <= '6') /* links, devices, directories and pipes have no data behind them */
        entry->size = 0;
    compose_name(pending, header, entry->name);
    pending->has_name = pending->has_size = false;
    return classify(entry, type, error);
}

enum efm_status efm_tar_take_name(struct efm_tar_pending *pending, const uint8_t *data, size_t size,
                                  struct efm_error *error)
{
    size_t length = bounded_length(data, size);
    if (length > EFM_TAR_MAX_NAME)
        return efm_error_set(error, EFM_E_LIMIT, "a name in the tar is longer than %d bytes",
                             EFM_TAR_MAX_NAME);
    memcpy(pending->name, data, length);
    pending->name[length] = '\0';
    pending->has_name = true;
    return EFM_OK;
}

static enum efm_status take_record(struct efm_tar_pending *pending, const uint8_t *key, size_t key_length,
                                   const uint8_t *value, size_t length, struct efm_error *error)
{
    if (key_length == 4 && memcmp(key, "path", 4) == 0) {
        if (memchr(value, 0, length) != NULL)
            return efm_error_set(error, EFM_E_FORMAT, "a name in the tar holds a zero byte");
        return efm_tar_take_name(pending, value, length, error);
    }
    if (key_length != 4 || memcmp(key, "size", 4) != 0)
        return EFM_OK;
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9' || number > UINT64_MAX / 10 - 1)
            return efm_error_set(error, EFM_E_FORMAT, "a size in the tar is damaged");
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    pending->size = number;
    pending->has_size = true;
    return EFM_OK;
}

/* pax: records "LENGTH KEY=VALUE\n", where LENGTH counts the whole record. */
enum efm_status efm_tar_take_pax(struct efm_tar_pending *pending, const uint8_t *data, size_t size,
                                 struct efm_error *error)
{
    if (size > EFM_TAR_MAX_PAX)
        return efm_error_set(error, EFM_E_LIMIT, "an extended header in the tar is longer than %d bytes",
                             EFM_TAR_MAX_PAX);
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
        enum efm_status status = take_record(pending, key, (size_t)(equals - key), equals + 1,
                                             (size_t)(data + length - 1 - (equals + 1)), error);
        if (status != EFM_OK)
            return status;
        data += length;
    }
    return EFM_OK;
}
