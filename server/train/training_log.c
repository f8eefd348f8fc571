// SPDX-License-Identifier: Apache-2.0
#include "server/train/training_log.h"

#include "core/base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 512, STEPS_A_LINE = 100, LINES_A_TRAINING = 200 };
static const double SECONDS_A_LINE = 1;

enum efm_status srv_training_log_open(struct srv_training_log *log, int folder, const char *name,
                                      struct efm_error *error)
{
    *log = (struct srv_training_log){.file = -1};
    int file = openat(folder, name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file < 0)
        return efm_error_set(error, EFM_E_IO, "the file %.150s cannot be made: %m", name);
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        bool taken = errno == EWOULDBLOCK;
        close(file);
        return taken ? efm_error_set(error, EFM_E_EXISTS, "another training writes %.150s", name)
                     : efm_error_set(error, EFM_E_IO, "the file %.150s cannot be locked", name);
    }
    log->file = file;
    return EFM_OK;
}

void srv_training_log_close(struct srv_training_log *log)
{
    if (log->file >= 0)
        close(log->file);
    log->file = -1;
}

static void put(const struct srv_training_log *log, const char *line, int length)
{
    ssize_t written = length > 0 && length < LINE ? write(log->file, line, (size_t)length) : 0;
    (void)written;
}

void srv_training_log_begin(struct srv_training_log *log, bool anew, uint64_t steps, size_t batch, double now)
{
    struct stat facts;
    char last = '\n';
    log->batch = batch;
    /* a short training has a curve too */
    log->every = steps / LINES_A_TRAINING < STEPS_A_LINE ? steps / LINES_A_TRAINING : STEPS_A_LINE;
    log->begun = log->written = now;
    if (anew && ftruncate(log->file, 0) != 0)
        put(log, "\n", 1); /* what is old stays; it ends with the start event that follows */
    /* a line that a killed training left torn */
    else if (!anew && fstat(log->file, &facts) == 0 && facts.st_size > 0 &&
             pread(log->file, &last, 1, facts.st_size - 1) == 1 && last != '\n')
        put(log, "\n", 1);
}

void srv_training_log_event(struct srv_training_log *log, const char *event, uint64_t step, double now,
                            const char *members, ...)
{
    char line[LINE], more[LINE / 2] = "";
    if (members != NULL) {
        va_list arguments;
        va_start(arguments, members);
        vsnprintf(more, sizeof more, members, arguments);
        va_end(arguments);
    }
    put(log, line,
        snprintf(line, sizeof line, "{\"event\":\"%s\",\"step\":%llu,\"seconds\":%.3f%s%s}\n", event,
                 (unsigned long long)step, now - log->begun, more[0] == '\0' ? "" : ",", more));
}

/* JSON has no word for what is not finite. */
static const char *number(double value, char out[32])
{
    snprintf(out, 32, isfinite(value) ? "%.7g" : "null", value);
    return out;
}

void srv_training_log_step(struct srv_training_log *log, const struct efm_trainer_report *report, double now)
{
    char loss[32], rate[32], norm[32], speed[32];
    const double seconds = now - log->written;
    log->loss += report->loss;
    log->count++;
    if (seconds < SECONDS_A_LINE && log->count < log->every)
        return;
    srv_training_log_event(log, "step", report->step, now,
                           "\"loss\":%s,\"rate\":%s,\"gradient_norm\":%s,\"images_per_second\":%s",
                           number(log->loss / (double)log->count, loss), number(report->rate, rate),
                           number(report->gradient_norm, norm),
                           number((double)log->count * (double)log->batch / seconds, speed));
    log->written = now;
    log->loss = 0;
    log->count = 0;
}

/* ---- reading back ---- */

static enum efm_status read_text(int file, char **text, size_t *size, struct efm_error *error)
{
    struct stat facts;
    if (fstat(file, &facts) != 0)
        return efm_error_set(error, EFM_E_IO, "the log of the training cannot be read: %m");
    char *read = efm_allocate((size_t)facts.st_size + 1);
    if (read == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "no memory to read the log of the training");
    size_t done = 0;
    while (done < (size_t)facts.st_size) {
        ssize_t got = pread(file, read + done, (size_t)facts.st_size - done, (off_t)done);
        if (got <= 0)
            break; /* what there is makes a curve too */
        done += (size_t)got;
    }
    *text = read;
    *size = done;
    return EFM_OK;
}

/* Takes one line into points [*count]; a start takes back the steps behind it. */
static void read_line(const char *line, size_t length, struct srv_loss_point *points, size_t *count)
{
    json_t *root = json_loadb(line, length, 0, NULL);
    const char *event = json_string_value(json_object_get(root, "event"));
    const json_t *step = json_object_get(root, "step"), *loss = json_object_get(root, "loss");
    if (event != NULL && json_is_integer(step) && json_integer_value(step) >= 0) {
        uint64_t at = (uint64_t)json_integer_value(step);
        bool is_start = strcmp(event, "start") == 0;
        while (is_start && *count > 0 && points[*count - 1].step > at)
            --*count;
        if (strcmp(event, "step") == 0 && json_is_number(loss))
            points[(*count)++] = (struct srv_loss_point){at, json_number_value(loss)};
    }
    json_decref(root);
}

enum efm_status srv_training_log_losses(const struct srv_training_log *log, struct srv_loss_point **points,
                                        size_t *count, struct efm_error *error)
{
    char *text = NULL;
    size_t size = 0, lines = 1;
    *points = NULL;
    *count = 0;
    enum efm_status status = read_text(log->file, &text, &size, error);
    if (status != EFM_OK)
        return status;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    *points = efm_allocate_array(lines, sizeof **points);
    if (*points == NULL) {
        efm_free(text);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the curve of the loss");
    }
    for (size_t begin = 0, end; begin < size; begin = end + 1) {
        const char *stop = memchr(text + begin, '\n', size - begin);
        end = stop != NULL ? (size_t)(stop - text) : size;
        read_line(text + begin, end - begin, *points, count);
    }
    efm_free(text);
    return EFM_OK;
}
