// SPDX-License-Identifier: Apache-2.0
/* The names of files in archives: nothing is ever written under them, but what leads out of an archive was made to harm. */
#include "core/data/data_internal.h"

#include <string.h>

struct efm_shown_name efm_show_name(const char *name, size_t length)
{
    struct efm_shown_name shown = {{0}};
    size_t kept = length > 80 ? 80 : length;
    for (size_t i = 0; i < kept; i++)
        shown.text[i] = name[i] >= ' ' && name[i] <= '~' ? name[i] : '?';
    if (kept < length)
        memcpy(shown.text + kept, "...", 4);
    return shown;
}

enum efm_status efm_archive_check_name(const char *archive, const char *name, size_t length,
                                       struct efm_error *error)
{
    if (length == 0)
        return efm_error_set(error, EFM_E_FORMAT, "an entry of the %s has no name", archive);
    if (name[0] == '/')
        return efm_error_set(error, EFM_E_FORMAT, "the %s entry %s has an absolute name", archive,
                             efm_show_name(name, length).text);
    for (size_t at = 0, end; at <= length; at = end + 1) {
        const char *slash = memchr(name + at, '/', length - at);
        end = slash != NULL ? (size_t)(slash - name) : length;
        if (end - at == 2 && memcmp(name + at, "..", 2) == 0)
            return efm_error_set(error, EFM_E_FORMAT, "the %s entry %s leads out of the archive", archive,
                                 efm_show_name(name, length).text);
    }
    return EFM_OK;
}

const char *efm_archive_plain_name(const char *name)
{
    while (name[0] == '.' && name[1] == '/') {
        name += 2;
        while (name[0] == '/')
            name++;
    }
    return name;
}

bool efm_archive_name_is_hidden(const char *name)
{
    const char *slash = strrchr(name, '/');
    return (slash != NULL ? slash[1] : name[0]) == '.';
}
