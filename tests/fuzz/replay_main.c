// SPDX-License-Identifier: Apache-2.0
// Feeds every file of the folders and files named as arguments to a fuzz target: what the fuzzer once found
// stays found. Each input lies in a block of its exact size, so that a sanitizer sees a read past its end.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    int status = 1;
    uint8_t *data = NULL;
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (file == NULL || fstat(fileno(file), &info) != 0)
        goto done;
    size_t size = (size_t)info.st_size;
    data = malloc(size);
    if (data == NULL && size > 0)
        goto done;
    if (size > 0 && fread(data, 1, size, file) != size)
        goto done;
    (void)LLVMFuzzerTestOneInput(data, size);
    status = 0;
done:
    if (status != 0)
        fprintf(stderr, "%s: cannot be read\n", path);
    free(data);
    if (file != NULL)
        fclose(file);
    return status;
}

static int replay_folder(const char *path, size_t *count)
{
    int status = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char name[4096];
        int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        struct stat info;
        if (length < 0 || (size_t)length >= sizeof name || stat(name, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        status |= replay_file(name);
        ++*count;
    }
    closedir(folder);
    return status;
}

int main(int argument_count, char **arguments)
{
    size_t count = 0;
    int status = 0;
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argument_count; ++i) {
        struct stat info;
        if (stat(arguments[i], &info) == 0 && S_ISREG(info.st_mode)) {
            status |= replay_file(arguments[i]);
            ++count;
        } else {
            status |= replay_folder(arguments[i], &count);
        }
    }
    printf("%zu inputs replayed\n", count);
    if (count == 0) {
        fprintf(stderr, "there was nothing to replay\n");
        status = 1;
    }
    return status;
}
