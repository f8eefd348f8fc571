// SPDX-License-Identifier: Apache-2.0
/* The secret of webhooks and what is signed with it: Standard Webhooks 1.0. */
#include "api/parameters.h"
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "server/jobs/webhooks.h"
#include "server/store/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_LEAST = 24, SECRET_FRESH = 32, TEXT_MOST = 256 };

static const char MARK[] = "whsec_";

enum efm_status srv_webhook_secret_parse(struct srv_webhook_secret *secret, const char *text,
                                         struct efm_error *error)
{
    static const char white[] = " \t\r\n";
    struct api_problem problem = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    *secret = (struct srv_webhook_secret){0};
    text += strspn(text, white);
    const size_t length = strcspn(text, white);
    bool good = strncmp(text, MARK, sizeof MARK - 1) == 0 &&
                text[length + strspn(text + length, white)] == '\0' &&
                api_base64_decode(text + sizeof MARK - 1, length - (sizeof MARK - 1), &bytes, &size, &problem,
                                  NULL) &&
                size >= SECRET_LEAST && size <= SRV_WEBHOOK_SECRET;
    if (good) {
        memcpy(secret->key, bytes, size);
        secret->size = size;
    }
    if (bytes != NULL)
        explicit_bzero(bytes, size);
    efm_free(bytes);
    if (good)
        return EFM_OK;
    return efm_error_set(error, EFM_E_FORMAT,
                         "the secret of webhooks must be whsec_ and base64 of 24 to 64 bytes");
}

static enum efm_status read_secret(struct srv_webhook_secret *secret, int folder, const char *path,
                                   struct efm_error *error)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int64_t changed;
    char text[TEXT_MOST + 1];
    enum efm_status status = srv_storage_read(folder, path, TEXT_MOST, &bytes, &size, &changed, error);
    if (status != EFM_OK)
        return status;
    memcpy(text, bytes, size);
    text[size] = '\0';
    explicit_bzero(bytes, size);
    efm_free(bytes);
    status = srv_webhook_secret_parse(secret, text, error);
    explicit_bzero(text, sizeof text);
    return status;
}

static enum efm_status draw_secret(struct srv_webhook_secret *secret, struct efm_error *error)
{
    secret->size = SECRET_FRESH;
    if (getrandom(secret->key, SECRET_FRESH, 0) != SECRET_FRESH)
        return efm_error_set(error, EFM_E_IO, "the system gave no random numbers");
    return EFM_OK;
}

static bool write_all(int file, const void *bytes, size_t size)
{
    const bool written = file >= 0 && write(file, bytes, size) == (ssize_t)size && fsync(file) == 0;
    return (file < 0 || close(file) == 0) && written;
}

/* In a file that only the daemon's user reads, from the first byte on. */
static enum efm_status store_secret(const struct srv_webhook_secret *secret, int folder, const char *name,
                                    struct efm_error *error)
{
    char temporary[64];
    struct efm_buffer text = efm_buffer_limited(TEXT_MOST);
    snprintf(temporary, sizeof temporary, "%s.new", name);
    efm_buffer_append_string(&text, MARK);
    api_base64_encode(&text, secret->key, secret->size);
    efm_buffer_append_string(&text, "\n");
    unlinkat(folder, temporary, 0);
    bool good = text.status == EFM_OK &&
                write_all(openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), text.data,
                          text.size) &&
                renameat(folder, temporary, folder, name) == 0 && fsync(folder) == 0;
    const int reason = errno;
    if (text.data != NULL)
        explicit_bzero(text.data, text.size);
    efm_buffer_release(&text);
    if (good)
        return EFM_OK;
    unlinkat(folder, temporary, 0);
    return efm_error_set(error, EFM_E_IO, "the secret of webhooks cannot be written: %s", strerror(reason));
}

enum efm_status srv_webhook_secret_read(struct srv_webhook_secret *secret, const char *file,
                                        const char *state_dir, struct efm_error *error)
{
    static const char name[] = "webhook.secret";
    int folder = -1;
    *secret = (struct srv_webhook_secret){0};
    if (file[0] != '\0')
        return read_secret(secret, AT_FDCWD, file, error);
    if (state_dir == NULL || state_dir[0] == '\0')
        return draw_secret(secret, error);
    enum efm_status status = srv_storage_folder(state_dir, &folder, error);
    if (status != EFM_OK)
        return status;
    if (faccessat(folder, name, F_OK, 0) == 0) {
        status = read_secret(secret, folder, name, error);
    } else {
        status = draw_secret(secret, error);
        if (status == EFM_OK)
            status = store_secret(secret, folder, name, error);
    }
    close(folder);
    return status;
}

/* Of a digest, which is short enough to need no memory. */
static void encode_sum(const uint8_t sum[EFM_SHA256_SIZE], char out[45])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t bytes[EFM_SHA256_SIZE + 1] = {0};
    memcpy(bytes, sum, EFM_SHA256_SIZE);
    for (size_t i = 0; i < sizeof bytes / 3; i++) {
        const uint32_t bits =
            (uint32_t)bytes[3 * i] << 16 | (uint32_t)bytes[3 * i + 1] << 8 | bytes[3 * i + 2];
        for (size_t k = 0; k < 4; k++)
            out[4 * i + k] = digits[bits >> (18 - 6 * k) & 63];
    }
    out[43] = '=';
    out[44] = '\0';
}

void srv_webhook_sign(const struct srv_webhook_secret *secret, const char *id, int64_t timestamp,
                      const void *body, size_t size, char out[SRV_WEBHOOK_SIGNATURE])
{
    char moment[32], text[45];
    uint8_t sum[EFM_SHA256_SIZE];
    snprintf(moment, sizeof moment, ".%lld.", (long long)timestamp);
    const struct efm_sha256_part parts[] = {{id, strlen(id)}, {moment, strlen(moment)}, {body, size}};
    efm_hmac_sha256(secret->key, secret->size, parts, 3, sum);
    encode_sum(sum, text);
    snprintf(out, SRV_WEBHOOK_SIGNATURE, "v1,%s", text);
}
