// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"
#include "server/cores.h"
#include "server/memory_limit.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 16 };

static struct srv_config config;
static enum srv_config_action action;
static struct efm_error error;

/* Reads with the given arguments and environment, both ended by NULL. */
static enum efm_status read_with(const char *const *arguments, const char *const *environment)
{
    char *all[MOST] = {(char *)"efmd"};
    int count = 1;
    for (; arguments != NULL && *arguments != NULL; arguments++)
        all[count++] = (char *)*arguments;
    efm_error_clear(&error);
    return srv_config_read(&config, &action, count, all, (char *const *)environment, &error);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_refused(enum efm_status status, const char *word)
{
    assert_int_equal(status, EFM_E_ARGUMENT);
    if (strstr(error.message, word) == NULL)
        fail_msg("no \"%s\" in: %s", word, error.message);
}

/* A file in a fresh folder. */
static char folder[96], path[128];

static int make_folder(void **state)
{
    (void)state;
    const char *place = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.60s/efmd-config-XXXXXX", place != NULL ? place : P_tmpdir);
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/efmd.conf", folder);
    unlink(path);
    return rmdir(folder);
}

static const char *write_file(const char *text)
{
    snprintf(path, sizeof path, "%s/efmd.conf", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void defaults_are_those_of_the_table(void **state)
{
    (void)state;
    assert_int_equal(read_with(NULL, NULL), EFM_OK);
    assert_int_equal(action, SRV_CONFIG_RUN);
    assert_string_equal(config.listen, "127.0.0.1:8080");
    assert_string_equal(config.state_dir, "");
    assert_int_equal(config.queue, 256);
    const uint64_t eighth = srv_config_memory() / 8 >> 20 << 20;
    assert_int_equal(config.max_body, eighth < 1ull << 30 ? eighth : 1ull << 30);
    assert_int_equal(config.max_pixels, 16777216);
    assert_true(config.timeout == 300.0);
}

static void flags_are_taken_in_both_forms(void **state)
{
    (void)state;
    assert_int_equal(read_with(ARGUMENTS("--queue", "7", "--max-body=3M", "--timeout", "0.25",
                                         "--state-dir=/var/lib/efmd x"),
                               NULL),
                     EFM_OK);
    assert_int_equal(config.queue, 7);
    assert_int_equal(config.max_body, 3 << 20);
    assert_true(config.timeout == 0.25);
    assert_string_equal(config.state_dir, "/var/lib/efmd x");
    assert_int_equal(read_with(ARGUMENTS("--max-body", "2048k"), NULL), EFM_OK);
    assert_int_equal(config.max_body, 2 << 20);
    assert_int_equal(read_with(ARGUMENTS("--queue", "1", "--queue", "2"), NULL), EFM_OK);
    assert_int_equal(config.queue, 2); // the last one counts
}

static void flag_beats_environment_beats_file(void **state)
{
    (void)state;
    write_file("# a comment\n\n  queue = 11 \nbatch=12\r\n helpers\t=\t3\n");
    const char *const environment[] = {"PATH=/bin", "EFM_BATCH=22", "EFM_HELPERS=4", NULL};
    assert_int_equal(read_with(ARGUMENTS("--config", path, "--helpers", "5"), environment), EFM_OK);
    assert_int_equal(config.queue, 11);
    assert_int_equal(config.batch, 22);
    assert_int_equal(config.helpers, 5);
    char variable[256];
    snprintf(variable, sizeof variable, "EFM_CONFIG=%s", path);
    assert_int_equal(read_with(NULL, (const char *const[]){variable, NULL}), EFM_OK);
    assert_int_equal(config.queue, 11);
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    assert_refused(read_with(ARGUMENTS("--quue", "7"), NULL), "\"--quue\"");
    assert_refused(read_with(ARGUMENTS("queue"), NULL), "unexpected argument \"queue\"");
    assert_refused(read_with(ARGUMENTS("--"), NULL), "unexpected argument");
    assert_refused(read_with(ARGUMENTS("--queue"), NULL), "--queue needs a value");
    assert_refused(read_with(ARGUMENTS("--queue", "0"), NULL),
                   "--queue must be a whole number in 1..100000, not \"0\" (on the command line)");
    assert_refused(read_with(ARGUMENTS("--queue", "-1"), NULL), "not \"-1\"");
    assert_refused(read_with(ARGUMENTS("--queue", "7x"), NULL), "not \"7x\"");
    assert_refused(read_with(ARGUMENTS("--queue", "99999999999999999999999"), NULL), "--queue");
    assert_refused(read_with(ARGUMENTS("--max-body", "20000000000G"), NULL), "--max-body");
    assert_refused(read_with(ARGUMENTS("--max-body", "1T"), NULL), "suffixes K, M, G");
    assert_refused(read_with(ARGUMENTS("--timeout", "nan"), NULL), "--timeout");
    assert_refused(read_with(ARGUMENTS("--timeout", "1.2.3"), NULL), "--timeout");
    assert_refused(read_with(ARGUMENTS("--timeout="), NULL), "--timeout");
    assert_refused(read_with(ARGUMENTS("--log-level", "loud"), NULL), "debug, info, warning or error");
    assert_refused(read_with(ARGUMENTS("--state-dir", "a\nb"), NULL), "control characters");
    assert_refused(read_with(NULL, (const char *const[]){"EFM_QUEUE=many", NULL}), "in the environment");
    assert_refused(read_with(NULL, (const char *const[]){"EFM_QUUE=1", NULL}), "EFM_QUUE");
    char long_text[400];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_refused(read_with(ARGUMENTS("--state-dir", long_text), NULL), "--state-dir");
}

/* Of Services named efm, efm-demo and efm-max-body. */
static void services_of_kubernetes_are_no_options(void **state)
{
    static const char *const passed[] = {"EFM_SERVICE_HOST=10.0.0.1",
                                         "EFM_SERVICE_PORT=80",
                                         "EFM_SERVICE_PORT_HTTP=80",
                                         "EFM_PORT=tcp://10.0.0.1:80",
                                         "EFM_PORT_8080_TCP=tcp://10.0.0.1:8080",
                                         "EFM_PORT_8080_TCP_ADDR=10.0.0.1",
                                         "EFM_PORT_53_UDP_PROTO=udp",
                                         "EFM_DEMO_PORT=udp://10.0.0.1:80",
                                         "EFM_DEMO_SERVICE_PORT_HTTP=80",
                                         "EFM_PORT_X_PORT_1_TCP_PORT=1",
                                         "EFM_MAX_BODY_SERVICE_HOST=10.0.0.1",
                                         "EFM_MAX_BODY=2M"};
    static const char *const refused[] = {"EFM_PORT=80",     "EFM_PORT=",           "EFM_PORT_TCP=1",
                                          "EFM_PORT_80=1",   "EFM_PORT_80_SCT=1",   "EFM_PORT_8x_TCP=1",
                                          "EFM_SERVICE=1",   "EFM_SERVICE_HOSTS=1", "EFM_SERVICE_PORTS=1",
                                          "EFM_PORT_80_TC=P"};
    (void)state;
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++)
        assert_int_equal(read_with(NULL, (const char *const[]){passed[i], NULL}), EFM_OK);
    assert_int_equal(config.max_body, 2 << 20);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        assert_refused(read_with(NULL, (const char *const[]){refused[i], NULL}), "is not an option");
}

static void files_are_refused_by_line(void **state)
{
    (void)state;
    char text[4000] = "queue = 1\n# ";
    assert_refused(read_with(ARGUMENTS("--config", "/nonexistent/efmd.conf"), NULL), "/nonexistent");
    write_file("queue = 1\nquue = 2\n");
    assert_refused(read_with(ARGUMENTS("--config", path), NULL), "line 2");
    write_file("queue = 1\n\nbatch = zero\n");
    assert_refused(read_with(ARGUMENTS("--config", path), NULL), "line 3");
    write_file("queue\n");
    assert_refused(read_with(ARGUMENTS("--config", path), NULL), "name = value");
    memset(text + 12, 'x', sizeof text - 13);
    write_file(text);
    assert_refused(read_with(ARGUMENTS("--config", path), NULL), "longer than");
}

static void actions_are_found(void **state)
{
    (void)state;
    const char *const bad[] = {"EFM_QUUE=1", NULL};
    assert_int_equal(read_with(ARGUMENTS("--help"), bad), EFM_OK);
    assert_int_equal(action, SRV_CONFIG_HELP);
    assert_int_equal(read_with(ARGUMENTS("--version"), bad), EFM_OK);
    assert_int_equal(action, SRV_CONFIG_VERSION);
    assert_int_equal(read_with(ARGUMENTS("--queue", "3", "--print-config"), NULL), EFM_OK);
    assert_int_equal(action, SRV_CONFIG_PRINT);
    assert_int_equal(config.queue, 3);
    assert_int_equal(read_with(ARGUMENTS("--check-config"), NULL), EFM_OK);
    assert_int_equal(action, SRV_CONFIG_CHECK);
    assert_refused(read_with(ARGUMENTS("--check-config"), bad), "EFM_QUUE");
}

static void the_listen_option_is_taken_apart(void **state)
{
    static const struct {
        const char *text, *address;
        unsigned port;
    } good[] = {{"127.0.0.1:8080", "127.0.0.1", 8080},
                {"0.0.0.0:0", "0.0.0.0", 0},
                {"[::1]:65535", "::1", 65535},
                {"[::]:80", "::", 80}};
    static const char *const bad[] = {"8080",       ":8080",      "localhost:80", "127.0.0.1",
                                      "127.0.0.1:", "1.2.3.4:-1", "1.2.3.4:x",    "127.0.0.1:65536",
                                      "::1:80",     "[::1]",      "[]:80",        "[1.2.3.4]:80",
                                      "",           "[::1:80"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char address[SRV_CONFIG_ADDRESS];
        uint16_t port;
        assert_int_equal(read_with(ARGUMENTS("--listen", good[i].text), NULL), EFM_OK);
        assert_int_equal(srv_config_listen(&config, address, &port, &error), EFM_OK);
        assert_string_equal(address, good[i].address);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(read_with(ARGUMENTS("--listen", bad[i]), NULL), "--listen");
}

static void what_is_rendered_can_be_read(void **state)
{
    (void)state;
    assert_int_equal(read_with(ARGUMENTS("--queue", "9", "--max-body", "5M", "--max-image-body", "1500",
                                         "--timeout", "0.125", "--state-dir", "/srv/a b#c"),
                               NULL),
                     EFM_OK);
    struct srv_config before = config;
    struct efm_buffer out = efm_buffer_limited(65536);
    srv_config_render(&config, &out);
    assert_int_equal(efm_buffer_append(&out, "", 1), EFM_OK);
    const char *text = (const char *)out.data;
    assert_non_null(strstr(text, "\nmax-body = 5M\n"));
    assert_non_null(strstr(text, "\nmax-image-body = 1500\n"));
    assert_non_null(strstr(text, "\ntimeout = 0.125\n"));
    write_file(text);
    efm_buffer_release(&out);
    assert_int_equal(read_with(ARGUMENTS("--config", path), NULL), EFM_OK);
    assert_memory_equal(&before, &config, sizeof config);
}

static void help_names_every_option(void **state)
{
    (void)state;
    struct efm_buffer out = efm_buffer_limited(65536);
    srv_config_render_help(&out);
    assert_int_equal(efm_buffer_append(&out, "", 1), EFM_OK);
#define IS_NAMED(kind, member, flag, fallback, low, high, help)                                              \
    assert_non_null(strstr((const char *)out.data, "--" flag " "));
    SRV_CONFIG_MAP(IS_NAMED)
    assert_non_null(strstr((const char *)out.data, "--config FILE"));
    efm_buffer_release(&out);
}

static void write_at(const char *root, const char *name, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, name);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_at(const char *root, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, name);
    unlink(full);
    for (char *slash = strrchr(full, '/'); strlen(full) > strlen(root); slash = strrchr(full, '/')) {
        *slash = '\0';
        if (rmdir(full) != 0 || strlen(full) <= strlen(root))
            break;
    }
}

static void the_cpu_quota_is_the_tightest_one(void **state)
{
    char groups[128];
    (void)state;
    write_at(folder, "membership", "0::/a/b\n");
    snprintf(groups, sizeof groups, "%s/membership", folder);
    assert_true(isinf(srv_cores_quota(folder, groups)));
    assert_true(isinf(srv_cores_quota(folder, "/nonexistent")));
    write_at(folder, "a/b/cpu.max", "max 100000\n");
    assert_true(isinf(srv_cores_quota(folder, groups)));
    write_at(folder, "a/cpu.max", "150000 100000\n");
    assert_true(srv_cores_quota(folder, groups) == 1.5);
    write_at(folder, "a/b/cpu.max", "50000 100000\n");
    assert_true(srv_cores_quota(folder, groups) == 0.5);
    // a container sees its own group as the root, whatever the membership says
    write_at(folder, "membership", "0::/not/here\n");
    write_at(folder, "cpu.max", "300000 100000\n");
    assert_true(srv_cores_quota(folder, groups) == 3.0);
    remove_at(folder, "cpu.max");
    remove_at(folder, "a/b/cpu.max");
    remove_at(folder, "a/cpu.max");

    write_at(folder, "membership", "5:memory:/x\n4:cpu,cpuacct:/c\n");
    write_at(folder, "cpu,cpuacct/c/cpu.cfs_quota_us", "-1\n");
    write_at(folder, "cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
    assert_true(isinf(srv_cores_quota(folder, groups)));
    write_at(folder, "cpu,cpuacct/c/cpu.cfs_quota_us", "250000\n");
    assert_true(srv_cores_quota(folder, groups) == 2.5);
    remove_at(folder, "cpu,cpuacct/c/cpu.cfs_quota_us");
    remove_at(folder, "cpu,cpuacct/c/cpu.cfs_period_us");
    remove_at(folder, "membership");
    mkdir(folder, 0700); // gone with the last file, perhaps
}

static void the_memory_limit_is_the_tightest_one(void **state)
{
    char groups[128];
    (void)state;
    snprintf(groups, sizeof groups, "%s/membership", folder);
    write_at(folder, "membership", "0::/a/b\n");
    assert_true(isinf(srv_memory_limit(folder, groups)));
    assert_true(isinf(srv_memory_limit(folder, "/nonexistent")));
    write_at(folder, "a/b/memory.max", "max\n");
    assert_true(isinf(srv_memory_limit(folder, groups)));
    write_at(folder, "a/memory.max", "2147483648\n");
    assert_true(srv_memory_limit(folder, groups) == 2147483648);
    write_at(folder, "a/b/memory.max", "536870912\n");
    assert_true(srv_memory_limit(folder, groups) == 536870912);
    // a container sees its own group as the root, whatever the membership says
    write_at(folder, "membership", "0::/not/here\n");
    write_at(folder, "memory.max", "1048576\n");
    assert_true(srv_memory_limit(folder, groups) == 1048576);
    static const char *const odd[] = {"", "\n", "0\n", "-1\n", "x\n", "5x\n", "99999999999999999999999\n"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; ++i) {
        write_at(folder, "memory.max", odd[i]);
        assert_true(isinf(srv_memory_limit(folder, groups)));
    }
    remove_at(folder, "memory.max");
    remove_at(folder, "a/b/memory.max");
    remove_at(folder, "a/memory.max");
    // version 1: a large number is none, and the machine's memory is less than that
    write_at(folder, "membership", "5:memory:/x\n4:cpu,cpuacct:/c\n");
    write_at(folder, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(srv_memory_limit(folder, groups) > 1e18);
    write_at(folder, "memory/x/memory.limit_in_bytes", "268435456\n");
    assert_true(srv_memory_limit(folder, groups) == 268435456);
    remove_at(folder, "memory/x/memory.limit_in_bytes");
    remove_at(folder, "memory/memory.limit_in_bytes");
    remove_at(folder, "membership");
    mkdir(folder, 0700); // gone with the last file, perhaps
    assert_true(srv_config_memory() >= 1 << 20 && srv_config_memory() < 1ull << 60);
}

static void the_defaults_are_shares_of_the_memory(void **state)
{
    const uint64_t mib = 1 << 20;
    (void)state;
    const struct srv_config fresh = {.memory_budget = 8192 * mib,
                                     .queue_bytes = 1024 * mib,
                                     .max_body = 1024 * mib,
                                     .train_memory = 8192 * mib};
    struct srv_config shares = fresh;
    srv_config_follow_memory(&shares, 64 * 1024 * mib);
    assert_memory_equal(&shares, &fresh, sizeof fresh);
    srv_config_follow_memory(&shares, 2048 * mib + 5);
    assert_int_equal(shares.memory_budget, 1024 * mib);
    assert_int_equal(shares.queue_bytes, 256 * mib);
    assert_int_equal(shares.max_body, 256 * mib);
    assert_int_equal(shares.train_memory, 512 * mib);
    srv_config_follow_memory(&shares, 1000);
    assert_int_equal(shares.memory_budget, mib);
    assert_int_equal(shares.queue_bytes, mib);
    assert_int_equal(shares.max_body, mib);
    // who says a number means it
    assert_int_equal(
        read_with(ARGUMENTS("--memory-budget", "4096G", "--queue-bytes", "512G", "--max-body", "256G"), NULL),
        EFM_OK);
    assert_int_equal(config.memory_budget, 4096 * 1024 * mib);
    assert_int_equal(config.queue_bytes, 512 * 1024 * mib);
    assert_int_equal(config.max_body, 256 * 1024 * mib);
}

/* Both versions beside each other, and paths as containers see them. */
static void the_cpu_quota_of_mixed_groups(void **state)
{
    char groups[128];
    (void)state;
    snprintf(groups, sizeof groups, "%s/membership", folder);
    // version 1 by the short name of the controller, which is a link on real systems; above the group there is less
    write_at(folder, "membership", "12:cpuset:/q\n4:cpu,cpuacct:/pod/c\n0::/user.slice\n");
    write_at(folder, "cpu/pod/c/cpu.cfs_quota_us", "400000\n");
    write_at(folder, "cpu/pod/c/cpu.cfs_period_us", "100000\n");
    assert_true(srv_cores_quota(folder, groups) == 4);
    write_at(folder, "cpu/pod/cpu.cfs_quota_us", "200000\n");
    write_at(folder, "cpu/pod/cpu.cfs_period_us", "50000\n");
    assert_true(srv_cores_quota(folder, groups) == 4);
    write_at(folder, "cpu/pod/cpu.cfs_quota_us", "100000\n");
    assert_true(srv_cores_quota(folder, groups) == 2);
    // the same process in version 2
    write_at(folder, "user.slice/cpu.max", "120000 100000\n");
    assert_true(srv_cores_quota(folder, groups) == 1.2);
    // a container whose group is the root of what it sees, in version 1
    write_at(folder, "membership", "4:cpu,cpuacct:/docker/0123\n");
    write_at(folder, "cpu/cpu.cfs_quota_us", "70000\n");
    write_at(folder, "cpu/cpu.cfs_period_us", "100000\n");
    assert_true(srv_cores_quota(folder, groups) == 0.7);
    // what is no quota
    static const char *const odd[] = {"", "\n", "max\n", "0 100000\n", "-5 100000\n", "5 0\n", "x y\n"};
    write_at(folder, "membership", "0::/user.slice\n");
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; ++i) {
        write_at(folder, "user.slice/cpu.max", odd[i]);
        assert_true(isinf(srv_cores_quota(folder, groups)));
    }
    static const char *const lines[] = {"", "\n", ":::\n", "0:\n", "0::\n", "0::user.slice\n", "nonsense\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; ++i) {
        write_at(folder, "membership", lines[i]);
        assert_true(isinf(srv_cores_quota(folder, groups)));
    }
    static const char *const written[] = {"cpu/pod/c/cpu.cfs_quota_us", "cpu/pod/c/cpu.cfs_period_us",
                                          "cpu/pod/cpu.cfs_quota_us",   "cpu/pod/cpu.cfs_period_us",
                                          "cpu/cpu.cfs_quota_us",       "cpu/cpu.cfs_period_us",
                                          "user.slice/cpu.max",         "membership"};
    for (size_t i = 0; i < sizeof written / sizeof written[0]; ++i)
        remove_at(folder, written[i]);
    mkdir(folder, 0700); // gone with the last file, perhaps
}

static void cores_are_shared_out(void **state)
{
    static const struct {
        unsigned cores, workers, threads, got_workers, got_threads;
    } cases[] = {
        {2, 0, 0, 1, 2}, {1, 0, 0, 1, 1}, {64, 0, 0, 1, 64}, {96, 0, 0, 2, 48}, {8, 2, 0, 2, 4},
        {8, 0, 2, 4, 2}, {8, 3, 0, 3, 2}, {2, 4, 0, 4, 1},   {2, 0, 8, 1, 8},   {2, 3, 2, 3, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        unsigned workers = cases[i].workers, threads = cases[i].threads;
        srv_cores_share(cases[i].cores, &workers, &threads);
        assert_int_equal(workers, cases[i].got_workers);
        assert_int_equal(threads, cases[i].got_threads);
    }
}

static void cores_are_those_that_the_process_may_use(void **state)
{
    cpu_set_t before, one;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    const unsigned cores = srv_config_cores();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(cores, 1);
}

static void there_is_a_core(void **state)
{
    (void)state;
    assert_in_range(srv_config_cores(), 1, (uintmax_t)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_table),
        cmocka_unit_test(flags_are_taken_in_both_forms),
        cmocka_unit_test_setup_teardown(flag_beats_environment_beats_file, make_folder, remove_folder),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(services_of_kubernetes_are_no_options),
        cmocka_unit_test_setup_teardown(files_are_refused_by_line, make_folder, remove_folder),
        cmocka_unit_test(actions_are_found),
        cmocka_unit_test(the_listen_option_is_taken_apart),
        cmocka_unit_test_setup_teardown(what_is_rendered_can_be_read, make_folder, remove_folder),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test_setup_teardown(the_cpu_quota_is_the_tightest_one, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_cpu_quota_of_mixed_groups, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_memory_limit_is_the_tightest_one, make_folder, remove_folder),
        cmocka_unit_test(the_defaults_are_shares_of_the_memory),
        cmocka_unit_test(cores_are_shared_out),
        cmocka_unit_test(cores_are_those_that_the_process_may_use),
        cmocka_unit_test(there_is_a_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
