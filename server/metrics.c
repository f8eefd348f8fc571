// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include "core/base/memory.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LABELS_SIZE = 320, BUCKETS_MOST = 16 };

/* Upper bounds, as numbers and as the text of the label `le`; +Inf is always added. */
struct buckets {
    size_t count;
    double bounds[BUCKETS_MOST];
    const char *texts[BUCKETS_MOST];
};

static const struct buckets buckets_NONE = {0};
static const struct buckets buckets_SECONDS = {
    16,
    {.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 30, 60},
    {"0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5", "7.5", "10",
     "30", "60"},
};
static const struct buckets buckets_SHORT = {
    13,
    {.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
    {"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
     "1"},
};
static const struct buckets buckets_BATCH = {
    9,
    {1, 2, 4, 8, 16, 32, 64, 128, 256},
    {"1", "2", "4", "8", "16", "32", "64", "128", "256"},
};

enum kind { COUNTER, GAUGE, HISTOGRAM };
static const char *const kind_words[] = {"counter", "gauge", "histogram"};

static const struct description {
    enum kind kind;
    const char *name, *help;
    const struct buckets *buckets;
} descriptions[SRV_M_COUNT] = {
#define SRV_METRICS_ROW(symbol, kind, name, help, buckets) [symbol] = {kind, name, help, &buckets_##buckets},
    SRV_METRICS_MAP(SRV_METRICS_ROW)
#undef SRV_METRICS_ROW
};

struct series {
    char *labels;      /* owned, without braces; "" for none */
    uint64_t *buckets; /* owned, [buckets->count + 1], not cumulative; NULL for counters and gauges */
    double value;      /* the sum for histograms */
    uint64_t count;
};

struct family {
    struct series *series; /* owned */
    size_t count, capacity;
};

struct srv_metrics {
    pthread_mutex_t mutex;
    double start_time;
    struct family families[SRV_M_COUNT];
};

enum efm_status srv_metrics_create(struct srv_metrics **metrics, struct efm_error *error)
{
    struct srv_metrics *made = efm_allocate_array(1, sizeof *made);
    if (made == NULL)
        return efm_error_set(error, EFM_E_MEMORY, "there is no memory for the metrics");
    if (pthread_mutex_init(&made->mutex, NULL) != 0) {
        efm_free(made);
        return efm_error_set(error, EFM_E_INTERNAL, "the metrics cannot have a lock");
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    made->start_time = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    *metrics = made;
    return EFM_OK;
}

static void release_series(struct series *series)
{
    efm_free(series->labels);
    efm_free(series->buckets);
}

void srv_metrics_destroy(struct srv_metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (size_t f = 0; f < SRV_M_COUNT; f++) {
        for (size_t i = 0; i < metrics->families[f].count; i++)
            release_series(&metrics->families[f].series[i]);
        efm_free(metrics->families[f].series);
    }
    pthread_mutex_destroy(&metrics->mutex);
    efm_free(metrics);
}

static struct series *find(struct family *family, const char *labels)
{
    for (size_t i = 0; i < family->count; i++) {
        if (strcmp(family->series[i].labels, labels) == 0)
            return &family->series[i];
    }
    return NULL;
}

/* The series of these labels, made when new; NULL when the family is full or memory is short. */
static struct series *find_or_add(struct family *family, const struct description *description,
                                  const char *labels)
{
    struct series *series = find(family, labels);
    if (series != NULL)
        return series;
    if (family->count >= SRV_METRICS_SERIES)
        return NULL;
    if (!efm_array_grow(&family->series, family->count, &family->capacity, sizeof *family->series))
        return NULL;
    struct series added = {.labels = efm_copy_string(labels)};
    if (description->kind == HISTOGRAM)
        added.buckets = efm_allocate_array(description->buckets->count + 1, sizeof *added.buckets);
    if (added.labels == NULL || (description->kind == HISTOGRAM && added.buckets == NULL)) {
        release_series(&added);
        return NULL;
    }
    series = &family->series[family->count++];
    *series = added;
    return series;
}

static bool format_labels(char out[LABELS_SIZE], const char *format, va_list arguments)
{
    int length = vsnprintf(out, LABELS_SIZE, format, arguments);
    return length >= 0 && length < LABELS_SIZE;
}

enum change { ADD, SET, OBSERVE };

static void change(struct srv_metrics *metrics, enum srv_metric metric, enum change what, double value,
                   const char *format, va_list arguments)
{
    char labels[LABELS_SIZE];
    if (metrics == NULL || !isfinite(value) || !format_labels(labels, format, arguments))
        return;
    const struct description *description = &descriptions[metric];
    if ((description->kind == HISTOGRAM) != (what == OBSERVE) ||
        (description->kind == COUNTER && (what == SET || value < 0)))
        return;
    pthread_mutex_lock(&metrics->mutex);
    struct series *series = find_or_add(&metrics->families[metric], description, labels);
    if (series != NULL) {
        series->value = what == SET ? value : series->value + value;
        series->count++;
        if (what == OBSERVE) {
            size_t bucket = 0;
            while (bucket < description->buckets->count && value > description->buckets->bounds[bucket])
                bucket++;
            series->buckets[bucket]++;
        }
    }
    pthread_mutex_unlock(&metrics->mutex);
}

void srv_metrics_add(struct srv_metrics *metrics, enum srv_metric metric, double value, const char *labels,
                     ...)
{
    va_list arguments;
    va_start(arguments, labels);
    change(metrics, metric, ADD, value, labels, arguments);
    va_end(arguments);
}

void srv_metrics_set(struct srv_metrics *metrics, enum srv_metric metric, double value, const char *labels,
                     ...)
{
    va_list arguments;
    va_start(arguments, labels);
    change(metrics, metric, SET, value, labels, arguments);
    va_end(arguments);
}

void srv_metrics_observe(struct srv_metrics *metrics, enum srv_metric metric, double value,
                         const char *labels, ...)
{
    va_list arguments;
    va_start(arguments, labels);
    change(metrics, metric, OBSERVE, value, labels, arguments);
    va_end(arguments);
}

void srv_metrics_remove(struct srv_metrics *metrics, enum srv_metric metric, const char *labels, ...)
{
    char text[LABELS_SIZE];
    va_list arguments;
    va_start(arguments, labels);
    bool fits = format_labels(text, labels, arguments);
    va_end(arguments);
    if (metrics == NULL || !fits)
        return;
    pthread_mutex_lock(&metrics->mutex);
    struct family *family = &metrics->families[metric];
    struct series *series = find(family, text);
    if (series != NULL) {
        release_series(series);
        size_t after = family->count - (size_t)(series - family->series) - 1;
        memmove(series, series + 1, after * sizeof *series);
        family->count--;
    }
    pthread_mutex_unlock(&metrics->mutex);
}

/* Whole numbers without a point; others with as many digits as a double keeps in both directions. */
static void render_number(double value, struct efm_buffer *out)
{
    if (value == floor(value) && fabs(value) < 9007199254740992.0)
        efm_buffer_format(out, " %.0f\n", value);
    else
        efm_buffer_format(out, " %.15g\n", value);
}

static void render_sample(const struct description *description, const char *suffix, const char *labels,
                          double value, struct efm_buffer *out)
{
    efm_buffer_format(out, labels[0] == '\0' ? "%s%s" : "%s%s{%s}", description->name, suffix, labels);
    render_number(value, out);
}

static void render_histogram(const struct description *description, const struct series *series,
                             struct efm_buffer *out)
{
    const char *comma = series->labels[0] == '\0' ? "" : ",";
    uint64_t below = 0;
    for (size_t i = 0; i <= description->buckets->count; i++) {
        const char *bound = i == description->buckets->count ? "+Inf" : description->buckets->texts[i];
        below += series->buckets[i];
        efm_buffer_format(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", description->name, series->labels, comma,
                          bound, (unsigned long long)below);
    }
    render_sample(description, "_sum", series->labels, series->value, out);
    render_sample(description, "_count", series->labels, (double)series->count, out);
}

static void render_head(const char *name, const char *help, const char *kind, struct efm_buffer *out)
{
    efm_buffer_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* The second number of /proc/self/statm, in bytes. */
static double resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    unsigned long long total, resident;
    int found = fscanf(file, "%llu %llu", &total, &resident);
    fclose(file);
    return found == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : 0;
}

static double open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL)
        return 0;
    double count = -1; // the folder's own descriptor
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void render_process(double start_time, struct efm_buffer *out)
{
    struct timespec used = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    const struct {
        const char *name, *kind, *help;
        double value;
    } rows[] = {
        {"process_resident_memory_bytes", "gauge", "Resident memory of the process", resident_bytes()},
        {"process_cpu_seconds_total", "counter", "User and system time of the process",
         (double)used.tv_sec + (double)used.tv_nsec * 1e-9},
        {"process_open_fds", "gauge", "Open file descriptors of the process", open_files()},
        {"process_start_time_seconds", "gauge", "Start of the process since the Unix epoch", start_time},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        render_head(rows[i].name, rows[i].help, rows[i].kind, out);
        efm_buffer_append_string(out, rows[i].name);
        render_number(rows[i].value, out);
    }
}

void srv_metrics_render(struct srv_metrics *metrics, struct efm_buffer *out)
{
    pthread_mutex_lock(&metrics->mutex);
    for (size_t f = 0; f < SRV_M_COUNT; f++) {
        const struct description *description = &descriptions[f];
        const struct family *family = &metrics->families[f];
        render_head(description->name, description->help, kind_words[description->kind], out);
        for (size_t i = 0; i < family->count; i++) {
            if (description->kind == HISTOGRAM)
                render_histogram(description, &family->series[i], out);
            else
                render_sample(description, "", family->series[i].labels, family->series[i].value, out);
        }
    }
    pthread_mutex_unlock(&metrics->mutex);
    render_process(metrics->start_time, out);
}
