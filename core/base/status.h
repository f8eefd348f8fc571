/* status.h - how a function of efmd says what went wrong.
 *
 * Every fallible function returns an enum efm_status and takes a caller-owned struct efm_error of
 * fixed size, so that reporting an error never needs memory. The first error wins: a cleanup path
 * cannot overwrite the message of the failure that started it.
 *
 *     struct efm_error error = {0};
 *     if (efm_model_load(&model, bytes, size, &error) != EFM_OK)
 *         fprintf(stderr, "%s: %s\n", efm_status_name(error.status), error.message);
 *
 * Threads: an efm_error belongs to one thread. `error` may be NULL everywhere.
 */
#ifndef EFM_BASE_STATUS_H
#define EFM_BASE_STATUS_H

#define EFM_MUST_CHECK __attribute__((warn_unused_result))
#define EFM_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))

/* symbol, stable word, what it means to the caller */
#define EFM_STATUS_MAP(X)                                                                                    \
    X(EFM_OK, "ok", "success")                                                                               \
    X(EFM_E_ARGUMENT, "argument", "a value is outside of what the function accepts")                         \
    X(EFM_E_MEMORY, "memory", "an allocation failed; nothing was changed")                                   \
    X(EFM_E_IO, "io", "the operating system refused a read or a write")                                      \
    X(EFM_E_FORMAT, "format", "the bytes are malformed or truncated")                                        \
    X(EFM_E_UNSUPPORTED, "unsupported", "well-formed, but a kind that is not handled")                       \
    X(EFM_E_LIMIT, "limit", "larger than the limit that the caller set")                                     \
    X(EFM_E_SHAPE, "shape", "the dimensions of two things do not fit together")                              \
    X(EFM_E_NOT_FOUND, "not_found", "there is nothing of that name")                                         \
    X(EFM_E_EXISTS, "exists", "the name is taken")                                                           \
    X(EFM_E_FULL, "full", "no room now; try again later")                                                    \
    X(EFM_E_CANCELLED, "cancelled", "the caller withdrew the work")                                          \
    X(EFM_E_DEADLINE, "deadline", "the time allowed for the work has passed")                                \
    X(EFM_E_NUMERIC, "numeric", "a result is not finite")                                                    \
    X(EFM_E_INTERNAL, "internal", "a promise inside the program was broken")

enum efm_status {
#define EFM_STATUS_ENUM(symbol, word, meaning) symbol,
    EFM_STATUS_MAP(EFM_STATUS_ENUM)
#undef EFM_STATUS_ENUM
};

struct efm_error {
    enum efm_status status; /* EFM_OK while nothing has gone wrong */
    char message[256];      /* one sentence without a full stop, for the user of the service */
};

/* Records the first error and returns `status`; later calls leave the record alone. */
enum efm_status efm_error_set(struct efm_error *error, enum efm_status status, const char *format, ...)
    EFM_PRINTF(3, 4);

/* Forgets the record, so that the struct may be used again. */
void efm_error_clear(struct efm_error *error);

/* The stable word of a status ("format"), borrowed for ever. */
const char *efm_status_name(enum efm_status status);

/* One line on what the status means, borrowed for ever. */
const char *efm_status_meaning(enum efm_status status);

#endif
