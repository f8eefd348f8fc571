// SPDX-License-Identifier: Apache-2.0
/* zip, by libzip, once zip_directory.c has looked at what libzip would believe before anybody is asked. */
#include "core/data/data_internal.h"

#include "core/base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>
#include <zlib.h>

enum {
    LOCAL_HEADER = 30,
    LOCAL_FLAGS = 6,
    LOCAL_METHOD = 8,
    LOCAL_NAME_LENGTH = 26,
    MAX_NAME = 4096,        /* as in a tar */
    MAX_MEMBER = 256 << 20, /* no picture within the limits of image.h is larger */
    MAX_RATIO = 1040,       /* deflate makes at most 1032 bytes of one */
    FLAG_ENCRYPTED = 1,
};

/* One file that will be a sample. */
struct member {
    char *name; /* owned */
    zip_uint64_t index;
    size_t size; /* unpacked */
};

struct archive {
    zip_t *zip; /* owned */
    const struct efm_dataset_options *options;
    struct member *members; /* owned */
    size_t count, capacity;
    uint64_t unpacked, max_unpacked; /* over all members */
    uint8_t *bytes;                  /* owned: the member lent last */
    size_t room;
};

static bool probe(const uint8_t *bytes, size_t size)
{
    return size >= 4 && (memcmp(bytes, "PK\3\4", 4) == 0 || memcmp(bytes, "PK\5\6", 4) == 0);
}

static enum efm_status fail_libzip(const char *name, zip_error_t *reason, struct efm_error *error)
{
    const int code = zip_error_code_zip(reason);
    /* libzip passes on what zlib says, and says nothing at all where it lacks memory in some places */
    bool is_memory = code == ZIP_ER_MEMORY || code == ZIP_ER_OK ||
                     (code == ZIP_ER_ZLIB && zip_error_code_system(reason) == Z_MEM_ERROR);
    if (is_memory)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to read a zip archive");
    if (name == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the zip archive is damaged or truncated: %s",
                             zip_error_strerror(reason));
    return efm_error_set(error, EFM_E_FORMAT, "%s: the zip member is damaged: %s",
                         efm_show_name(name, strlen(name)).text, zip_error_strerror(reason));
}

/* ---- before libzip ---- */

size_t efm_zip_start_size(const uint8_t *bytes, size_t size)
{
    if (size >= 4 && memcmp(bytes, "PK\5\6", 4) == 0)
        return 4; /* an empty one */
    if (size < LOCAL_HEADER)
        return LOCAL_HEADER;
    return LOCAL_HEADER + (size_t)efm_little_endian(bytes + LOCAL_NAME_LENGTH, 2);
}

enum efm_status efm_zip_check_start(const uint8_t *bytes, size_t size, struct efm_error *error)
{
    if (memcmp(bytes, "PK\5\6", 4) == 0)
        return efm_error_set(error, EFM_E_FORMAT, "the zip archive is empty: there are no images in it");
    if (size < LOCAL_HEADER || size < efm_zip_start_size(bytes, size))
        return efm_error_set(error, EFM_E_FORMAT, "the zip archive is truncated");
    size_t length = (size_t)efm_little_endian(bytes + LOCAL_NAME_LENGTH, 2);
    const char *name = (const char *)bytes + LOCAL_HEADER;
    unsigned method = (unsigned)efm_little_endian(bytes + LOCAL_METHOD, 2);
    if (length > MAX_NAME)
        return efm_error_set(error, EFM_E_LIMIT, "a name in the zip is longer than %d bytes", MAX_NAME);
    if (efm_little_endian(bytes + LOCAL_FLAGS, 2) & FLAG_ENCRYPTED)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the zip member %s is encrypted",
                             efm_show_name(name, length).text);
    if (method != ZIP_CM_STORE && method != ZIP_CM_DEFLATE)
        return efm_error_set(
            error, EFM_E_UNSUPPORTED,
            "the zip member %s is compressed by method %u; only stored and deflated ones are read",
            efm_show_name(name, length).text, method);
    return efm_archive_check_name("zip", name, length, error);
}

static enum efm_status open_archive(struct archive *archive, const uint8_t *bytes, size_t size,
                                    struct efm_error *error)
{
    zip_error_t reason;
    zip_error_init(&reason);
    enum efm_status status = EFM_OK;
    zip_source_t *source = zip_source_buffer_create(bytes, size, 0, &reason);
    if (source != NULL)
        archive->zip = zip_open_from_source(source, ZIP_RDONLY, &reason);
    if (archive->zip == NULL) {
        status = fail_libzip(NULL, &reason, error);
        zip_source_free(source); /* NULL is fine */
    }
    zip_error_fini(&reason);
    return status;
}

/* ---- members ---- */

/* Directories, links and other things that a Unix wrote down, what desktops add, hidden files. */
static bool is_sample(zip_t *zip, zip_uint64_t index, const char *name)
{
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    if (name[strlen(name) - 1] == '/' || strncmp(name, "__MACOSX/", 9) == 0)
        return false;
    if (zip_file_get_external_attributes(zip, index, 0, &system, &attributes) == 0 &&
        system == ZIP_OPSYS_UNIX) {
        unsigned kind = attributes >> 16 & S_IFMT;
        if (kind != 0 && kind != S_IFREG)
            return false;
    }
    return !efm_archive_name_is_hidden(name);
}

static enum efm_status check_member(struct archive *archive, const char *name, const zip_stat_t *about,
                                    struct efm_error *error)
{
    const struct efm_shown_name shown = efm_show_name(name, strlen(name));
    const zip_uint64_t wanted =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((about->valid & wanted) != wanted)
        return efm_error_set(error, EFM_E_FORMAT, "the zip member %s is not described", shown.text);
    if (about->encryption_method != ZIP_EM_NONE)
        return efm_error_set(error, EFM_E_UNSUPPORTED, "the zip member %s is encrypted", shown.text);
    if (about->comp_method != ZIP_CM_STORE && about->comp_method != ZIP_CM_DEFLATE)
        return efm_error_set(
            error, EFM_E_UNSUPPORTED,
            "the zip member %s is compressed by method %u; only stored and deflated ones are read",
            shown.text, about->comp_method);
    if (about->size > MAX_MEMBER)
        return efm_error_set(error, EFM_E_LIMIT, "the zip member %s unpacks to %llu bytes, more than %d",
                             shown.text, (unsigned long long)about->size, MAX_MEMBER);
    if (about->comp_method == ZIP_CM_STORE ? about->size != about->comp_size
                                           : about->size / MAX_RATIO > about->comp_size)
        return efm_error_set(error, EFM_E_FORMAT, "the zip member %s cannot unpack to %llu bytes from %llu",
                             shown.text, (unsigned long long)about->size,
                             (unsigned long long)about->comp_size);
    archive->unpacked += about->size; /* of at most 2^32 members of at most 2^28 bytes */
    if (archive->unpacked > archive->max_unpacked)
        return efm_error_set(error, EFM_E_LIMIT, "the zip archive unpacks to more than %llu bytes",
                             (unsigned long long)archive->max_unpacked);
    return EFM_OK;
}

static enum efm_status grow(struct archive *archive, struct efm_error *error)
{
    if (archive->count == archive->options->max_count)
        return efm_error_set(error, EFM_E_LIMIT, "the zip archive holds more than %zu images",
                             archive->options->max_count);
    if (!efm_array_grow(&archive->members, archive->count, &archive->capacity, sizeof *archive->members))
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a zip archive");
    return EFM_OK;
}

static enum efm_status take_member(struct archive *archive, zip_uint64_t index, struct efm_error *error)
{
    zip_stat_t about;
    const char *name = zip_get_name(archive->zip, index, ZIP_FL_ENC_RAW);
    if (name == NULL || zip_stat_index(archive->zip, index, 0, &about) != 0)
        return fail_libzip(NULL, zip_get_error(archive->zip), error);
    size_t length = strlen(name);
    if (length > MAX_NAME)
        return efm_error_set(error, EFM_E_LIMIT, "a name in the zip is longer than %d bytes", MAX_NAME);
    enum efm_status status = efm_archive_check_name("zip", name, length, error);
    if (status != EFM_OK || !is_sample(archive->zip, index, name))
        return status;
    status = check_member(archive, name, &about, error);
    if (status == EFM_OK)
        status = grow(archive, error);
    if (status != EFM_OK)
        return status;
    char *copy = efm_copy_string(efm_archive_plain_name(name));
    if (copy == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the names in a zip archive");
    archive->members[archive->count++] = (struct member){copy, index, (size_t)about.size};
    return EFM_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static enum efm_status list(struct archive *archive, struct efm_error *error)
{
    const zip_int64_t count = zip_get_num_entries(archive->zip, 0);
    enum efm_status status = EFM_OK;
    for (zip_int64_t i = 0; i < count && status == EFM_OK; i++) {
        status = i % 1024 == 0 ? efm_dataset_ask(archive->options, error) : EFM_OK;
        if (status == EFM_OK)
            status = take_member(archive, (zip_uint64_t)i, error);
    }
    if (status != EFM_OK || archive->count == 0)
        return status;
    qsort(archive->members, archive->count, sizeof *archive->members, compare_names);
    for (size_t i = 1; i < archive->count; i++) {
        const char *name = archive->members[i].name;
        if (strcmp(archive->members[i - 1].name, name) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the zip archive holds two files of the name %s",
                                 efm_show_name(name, strlen(name)).text);
    }
    return EFM_OK;
}

/* ---- unpacking ---- */

static enum efm_status make_room(struct archive *archive, size_t size, struct efm_error *error)
{
    if (archive->room >= size)
        return EFM_OK;
    efm_free(archive->bytes);
    archive->room = 0;
    archive->bytes = efm_allocate(size);
    if (archive->bytes == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory for a zip member of %zu bytes", size);
    archive->room = size;
    return EFM_OK;
}

/* Exactly the promised size, and not a byte after it: reading on is also what makes libzip look at the checksum. */
static enum efm_status unpack(struct archive *archive, zip_file_t *file, const struct member *member,
                              struct efm_error *error)
{
    size_t have = 0;
    uint8_t more;
    while (have < member->size) {
        zip_int64_t got = zip_fread(file, archive->bytes + have, member->size - have);
        if (got < 0)
            return fail_libzip(member->name, zip_file_get_error(file), error);
        if (got == 0)
            return efm_error_set(error, EFM_E_FORMAT, "%s: the zip member ends too early",
                                 efm_show_name(member->name, strlen(member->name)).text);
        have += (size_t)got;
    }
    zip_int64_t rest = zip_fread(file, &more, 1);
    if (rest < 0)
        return fail_libzip(member->name, zip_file_get_error(file), error);
    if (rest > 0)
        return efm_error_set(error, EFM_E_FORMAT,
                             "%s: the zip member unpacks to more than the %zu bytes it promises",
                             efm_show_name(member->name, strlen(member->name)).text, member->size);
    return EFM_OK;
}

static enum efm_status fetch(void *context, size_t index, const char **name, const uint8_t **bytes,
                             size_t *size, struct efm_error *error)
{
    struct archive *archive = context;
    const struct member *member = &archive->members[index];
    enum efm_status status = make_room(archive, member->size, error);
    if (status != EFM_OK)
        return status;
    zip_file_t *file = zip_fopen_index(archive->zip, member->index, 0);
    if (file == NULL)
        return fail_libzip(member->name, zip_get_error(archive->zip), error);
    status = unpack(archive, file, member, error);
    zip_fclose(file);
    *name = member->name;
    *bytes = archive->bytes;
    *size = member->size;
    return status;
}

static enum efm_status read_samples(struct efm_dataset **dataset, const uint8_t *bytes, size_t size,
                                    const struct efm_dataset_options *options, struct efm_error *error)
{
    struct archive archive = {.options = options};
    archive.max_unpacked = size > options->max_decoded_bytes ? size : options->max_decoded_bytes;
    enum efm_status status = efm_zip_check_start(bytes, size, error);
    if (status == EFM_OK)
        status = efm_zip_check_directory(bytes, size, options, error);
    if (status == EFM_OK)
        status = open_archive(&archive, bytes, size, error);
    if (status == EFM_OK)
        status = list(&archive, error);
    if (status == EFM_OK) {
        struct efm_image_files files = {&archive, archive.count, fetch};
        status = efm_dataset_from_files(dataset, efm_zip_reader.format, &files, options, error);
    }
    for (size_t i = 0; i < archive.count; i++)
        efm_free(archive.members[i].name);
    efm_free(archive.members);
    efm_free(archive.bytes);
    if (archive.zip != NULL)
        zip_discard(archive.zip);
    return status;
}

const struct efm_dataset_reader efm_zip_reader = {"zip", probe, read_samples};
