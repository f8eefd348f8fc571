// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct srv_metrics *metrics;
static char text[1 << 20];

static int setup(void **state)
{
    struct efm_error error = {0};
    (void)state;
    return srv_metrics_create(&metrics, &error) == EFM_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    srv_metrics_destroy(metrics);
    return 0;
}

static const char *rendered(void)
{
    struct efm_buffer out = efm_buffer_limited(sizeof text - 1);
    srv_metrics_render(metrics, &out);
    assert_int_equal(out.status, EFM_OK);
    memcpy(text, out.data, out.size);
    text[out.size] = '\0';
    efm_buffer_release(&out);
    return text;
}

static void assert_line(const char *line)
{
    char framed[512];
    snprintf(framed, sizeof framed, "\n%s\n", line);
    if (strstr(rendered(), framed) == NULL)
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static void counters_and_gauges_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        srv_metrics_add(metrics, SRV_M_HTTP_REQUESTS, 1, "method=\"%s\",route=\"%s\",code=\"%d\"", "GET",
                        "/v1/models/{name}", 200);
    assert_line("efm_http_requests_total{method=\"GET\",route=\"/v1/models/{name}\",code=\"200\"} 3");
    srv_metrics_add(metrics, SRV_M_HTTP_IN_FLIGHT, 2, "");
    srv_metrics_add(metrics, SRV_M_HTTP_IN_FLIGHT, -1, "");
    assert_line("efm_http_requests_in_flight 1");
    srv_metrics_set(metrics, SRV_M_QUEUE_BYTES, 9007199254740991.0, "");
    assert_line("efm_queue_bytes 9007199254740991");
    srv_metrics_set(metrics, SRV_M_QUEUE_BYTES, 0.1, "");
    assert_line("efm_queue_bytes 0.1");
}

static void a_counter_never_falls(void **state)
{
    (void)state;
    srv_metrics_add(metrics, SRV_M_REJECTED, 5, "reason=\"full\"");
    srv_metrics_add(metrics, SRV_M_REJECTED, -1, "reason=\"full\"");
    srv_metrics_set(metrics, SRV_M_REJECTED, 1, "reason=\"full\"");
    srv_metrics_add(metrics, SRV_M_REJECTED, NAN, "reason=\"full\"");
    assert_line("efm_rejected_total{reason=\"full\"} 5");
}

static void histograms_count_into_cumulative_buckets(void **state)
{
    (void)state;
    const double values[] = {1, 2, 2, 3, 64, 1000};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        srv_metrics_observe(metrics, SRV_M_BATCH, values[i], "");
    assert_line("efm_batch_images_bucket{le=\"1\"} 1");
    assert_line("efm_batch_images_bucket{le=\"2\"} 3"); // the bound belongs to the bucket
    assert_line("efm_batch_images_bucket{le=\"4\"} 4");
    assert_line("efm_batch_images_bucket{le=\"64\"} 5");
    assert_line("efm_batch_images_bucket{le=\"256\"} 5");
    assert_line("efm_batch_images_bucket{le=\"+Inf\"} 6");
    assert_line("efm_batch_images_sum 1072");
    assert_line("efm_batch_images_count 6");
    srv_metrics_observe(metrics, SRV_M_HTTP_SECONDS, 0.02, "route=\"/livez\"");
    assert_line("efm_http_request_duration_seconds_bucket{route=\"/livez\",le=\"0.01\"} 0");
    assert_line("efm_http_request_duration_seconds_bucket{route=\"/livez\",le=\"0.025\"} 1");
    assert_line("efm_http_request_duration_seconds_sum{route=\"/livez\"} 0.02");
}

static void a_removed_series_is_gone(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        srv_metrics_set(metrics, SRV_M_MODEL_BYTES, i, "model=\"m%d\"", i);
    srv_metrics_remove(metrics, SRV_M_MODEL_BYTES, "model=\"m%d\"", 7);
    srv_metrics_remove(metrics, SRV_M_MODEL_BYTES, "model=\"never\"");
    assert_null(strstr(rendered(), "model=\"m7\""));
    assert_line("efm_model_memory_bytes{model=\"m6\"} 6");
    assert_line("efm_model_memory_bytes{model=\"m8\"} 8");
    srv_metrics_set(metrics, SRV_M_MODEL_BYTES, 70, "model=\"m%d\"", 7);
    assert_line("efm_model_memory_bytes{model=\"m7\"} 70");
}

static void a_family_is_bounded(void **state)
{
    (void)state;
    char label[400];
    for (int i = 0; i < SRV_METRICS_SERIES + 10; i++)
        srv_metrics_add(metrics, SRV_M_IMAGES, 1, "model=\"m%d\",operation=\"transfer\"", i);
    rendered();
    size_t count = 0;
    for (const char *at = strstr(text, "\nefm_images_total{"); at != NULL;
         at = strstr(at + 1, "\nefm_images_total{"))
        count++;
    assert_int_equal(count, SRV_METRICS_SERIES);
    memset(label, 'x', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    srv_metrics_add(metrics, SRV_M_EVALUATIONS, 1, "model=\"%s\"", label); // too long: not cut, not kept
    assert_null(strstr(rendered(), "\nefm_function_evaluations_total{"));
}

static void without_metrics_nothing_happens(void **state)
{
    (void)state;
    srv_metrics_add(NULL, SRV_M_IMAGES, 1, "");
    srv_metrics_remove(NULL, SRV_M_IMAGES, "model=\"m\"");
    srv_metrics_destroy(NULL);
}

static void the_process_is_measured(void **state)
{
    (void)state;
    static const char *const names[] = {"process_resident_memory_bytes", "process_cpu_seconds_total",
                                        "process_open_fds", "process_start_time_seconds"};
    rendered();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char line[80];
        double value = 0;
        snprintf(line, sizeof line, "\n%s ", names[i]);
        const char *at = strstr(text, line);
        assert_non_null(at);
        assert_int_equal(sscanf(at + strlen(line), "%lf", &value), 1);
        assert_true(value > 0);
    }
}

static void *count_up(void *argument)
{
    (void)argument;
    for (int i = 0; i < 5000; i++) {
        srv_metrics_add(metrics, SRV_M_IMAGES, 1, "model=\"m%d\",operation=\"transfer\"", i % 5);
        srv_metrics_observe(metrics, SRV_M_STEP_SECONDS, 0.001, "");
    }
    return NULL;
}

static void threads_lose_nothing(void **state)
{
    pthread_t threads[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, NULL), 0);
    rendered();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_line("efm_images_total{model=\"m3\",operation=\"transfer\"} 4000");
    assert_line("efm_step_seconds_count 20000");
}

/* Runs the linter of Prometheus; 127 when it is not installed. */
static int run_promtool(const char *input, size_t size, char *said, size_t said_size)
{
    int in = memfd_create("metrics", MFD_CLOEXEC), out = memfd_create("said", MFD_CLOEXEC);
    assert_true(in >= 0 && out >= 0);
    assert_int_equal(write(in, input, size), (ssize_t)size);
    lseek(in, 0, SEEK_SET);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execlp("promtool", "promtool", "check", "metrics", (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    ssize_t got = pread(out, said, said_size - 1, 0);
    said[got < 0 ? 0 : got] = '\0';
    close(in);
    close(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void prometheus_has_nothing_to_say(void **state)
{
    (void)state;
    char said[4096];
    for (int round = 0; round < 2; round++) { // first with families that have no series yet
        rendered();
        int status = run_promtool(text, strlen(text), said, sizeof said);
        if (status == 127)
            skip();
        if (status != 0 || said[0] != '\0')
            fail_msg("promtool said %d: %s", status, said);
#define ONE_OF_EACH(symbol, kind, name, help, buckets) TOUCH_##kind(symbol)
#define TOUCH_COUNTER(symbol) srv_metrics_add(metrics, symbol, 1, "model=\"m\"");
#define TOUCH_GAUGE(symbol) srv_metrics_set(metrics, symbol, 1, "model=\"m\"");
#define TOUCH_HISTOGRAM(symbol) srv_metrics_observe(metrics, symbol, 1, "model=\"m\"");
        SRV_METRICS_MAP(ONE_OF_EACH)
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counters_and_gauges_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_counter_never_falls, setup, teardown),
        cmocka_unit_test_setup_teardown(histograms_count_into_cumulative_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_series_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_family_is_bounded, setup, teardown),
        cmocka_unit_test(without_metrics_nothing_happens),
        cmocka_unit_test_setup_teardown(the_process_is_measured, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(prometheus_has_nothing_to_say, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
