// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/store_place.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

void place_make(struct place *place)
{
    const char *base = getenv("TMPDIR");
    snprintf(place->folder, sizeof place->folder, "%s/efmd-store-XXXXXX", base != NULL ? base : P_tmpdir);
    assert_non_null(mkdtemp(place->folder));
}

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *where)
{
    (void)facts;
    (void)kind;
    (void)where;
    return remove(path);
}

void place_remove(struct place *place)
{
    nftw(place->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *place_path(const struct place *place, const char *name)
{
    static _Thread_local char paths[4][400];
    static _Thread_local int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", place->folder, name);
    return path;
}

bool place_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

uint8_t *place_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

void place_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void place_copy(const char *from, const char *to)
{
    size_t size;
    uint8_t *bytes = place_read(from, &size);
    if (bytes != NULL)
        place_write(to, bytes, size);
    free(bytes);
}
