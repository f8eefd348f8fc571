/* store_place.h - a folder for one test, and what a test does to files. */
#ifndef TESTS_STORE_PLACE_H
#define TESTS_STORE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct place {
    char folder[200];
};

void place_make(struct place *place);
void place_remove(struct place *place); /* with all that is in it */
/* FOLDER/name; borrowed until the fourth call after it, by one thread. */
const char *place_path(const struct place *place, const char *name);

bool place_exists(const char *path);
/* The bytes of a file with a NUL behind them, to be freed; NULL when it is not there. */
uint8_t *place_read(const char *path, size_t *size);
void place_write(const char *path, const void *bytes, size_t size);
/* A copy, as a crash would leave it; nothing when `from` is not there. */
void place_copy(const char *from, const char *to);

#endif
