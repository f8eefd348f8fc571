// SPDX-License-Identifier: Apache-2.0
#include "core/base/status.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

enum efm_status efm_error_set(struct efm_error *error, enum efm_status status, const char *format, ...)
{
    if (error == NULL || error->status != EFM_OK)
        return status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->status = status;
    return status;
}

void efm_error_clear(struct efm_error *error)
{
    if (error == NULL)
        return;
    error->status = EFM_OK;
    error->message[0] = '\0';
}

const char *efm_status_name(enum efm_status status)
{
    static const char *const names[] = {
#define EFM_STATUS_NAME(symbol, word, meaning) word,
        EFM_STATUS_MAP(EFM_STATUS_NAME)
#undef EFM_STATUS_NAME
    };
    return (size_t)status < sizeof names / sizeof names[0] ? names[status] : "unknown";
}

const char *efm_status_meaning(enum efm_status status)
{
    static const char *const meanings[] = {
#define EFM_STATUS_MEANING(symbol, word, meaning) meaning,
        EFM_STATUS_MAP(EFM_STATUS_MEANING)
#undef EFM_STATUS_MEANING
    };
    return (size_t)status < sizeof meanings / sizeof meanings[0] ? meanings[status] : "unknown status";
}
