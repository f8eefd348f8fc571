/* zips.h - zip archives for the tests of core/data, written by hand so that each field can be wrong. */
#ifndef EFM_TESTS_DATA_ZIPS_H
#define EFM_TESTS_DATA_ZIPS_H

#include "tests/unit/data/samples.h"

/* A member; what is zero is filled in as it should be. */
struct zip_member {
    const char *name;
    const void *data;
    size_t size;
    bool deflated;
    unsigned flags, method; /* method: in place of stored or deflated */
    unsigned mode;          /* of Unix */
    size_t promised;        /* the unpacked size in the directory */
    size_t place;           /* of the local header in the directory, and none is written */
    bool wrong_checksum;
};

static inline void append_number(struct efm_buffer *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        efm_buffer_append(out, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

/* The part that local header and directory have in common: flags to sizes. */
static inline void append_zip_fields(struct efm_buffer *out, const struct zip_member *member, size_t packed)
{
    unsigned method = member->method != 0 ? member->method : member->deflated ? 8 : 0;
    uint32_t checksum = (uint32_t)crc32(0, member->data, (uInt)member->size) ^ member->wrong_checksum;
    append_number(out, 20, 2);
    append_number(out, member->flags, 2);
    append_number(out, method, 2);
    append_number(out, 0x00210000, 4); /* 1 January 1980 */
    append_number(out, checksum, 4);
    append_number(out, packed, 4);
    append_number(out, member->promised != 0 ? member->promised : member->size, 4);
    append_number(out, strlen(member->name), 2);
    append_number(out, 0, 2);
}

/* Raw deflate. */
static inline void append_deflated(struct efm_buffer *out, const void *data, size_t size)
{
    z_stream stream = {.next_in = (z_const Bytef *)data, .avail_in = (uInt)size};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&stream, size);
    uint8_t *packed = malloc(room);
    assert_non_null(packed);
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    efm_buffer_append(out, packed, stream.total_out);
    deflateEnd(&stream);
    free(packed);
}

static inline void append_zip_entry(struct efm_buffer *directory, const struct zip_member *member,
                                    size_t packed, size_t place)
{
    efm_buffer_append(directory, "PK\1\2\x1e\3", 6);
    append_zip_fields(directory, member, packed);
    append_number(directory, 0, 6);
    append_number(directory, (uint32_t)member->mode << 16, 4);
    append_number(directory, place, 4);
    efm_buffer_append_string(directory, member->name);
}

static inline void append_zip_end(struct efm_buffer *out, const struct efm_buffer *directory, size_t count)
{
    size_t place = out->size;
    efm_buffer_append(out, directory->data, directory->size);
    efm_buffer_append(out, "PK\5\6\0\0\0\0", 8);
    append_number(out, count, 2);
    append_number(out, count, 2);
    append_number(out, directory->size, 4);
    append_number(out, place, 4);
    append_number(out, 0, 2);
    assert_int_equal(out->status, EFM_OK);
}

static inline void append_zip(struct efm_buffer *out, const struct zip_member *members, size_t count)
{
    struct efm_buffer directory = new_buffer();
    size_t packed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct zip_member *member = &members[i];
        size_t place = out->size;
        struct efm_buffer data = new_buffer();
        if (member->deflated)
            append_deflated(&data, member->data, member->size);
        else
            efm_buffer_append(&data, member->data, member->size);
        if (member->place == 0) {
            packed = data.size;
            efm_buffer_append(out, "PK\3\4", 4);
            append_zip_fields(out, member, packed);
            efm_buffer_append_string(out, member->name);
            efm_buffer_append(out, data.data, data.size);
        }
        append_zip_entry(&directory, member, packed, member->place != 0 ? member->place - 1 : place);
        efm_buffer_release(&data);
    }
    append_zip_end(out, &directory, count);
    efm_buffer_release(&directory);
}

#endif
