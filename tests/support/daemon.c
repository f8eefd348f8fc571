// SPDX-License-Identifier: Apache-2.0
#include "tests/support/daemon.h"

#include "tests/support/check.h"
#include "tests/support/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 48 };

double test_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void test_sleep(double seconds)
{
    struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&wait, NULL);
}

double test_patience(void)
{
    const char *text = getenv("TEST_PATIENCE");
    double factor = text != NULL ? strtod(text, NULL) : 1;
    return factor >= 1 ? factor : 1;
}

static void remove_folder(const char *path, int depth)
{
    DIR *folder = depth < 8 ? opendir(path) : NULL;
    if (folder == NULL)
        return;
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char name[4096];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int length = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof name || lstat(name, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            remove_folder(name, depth + 1);
        else
            unlink(name);
    }
    closedir(folder);
    rmdir(path);
}

/* Runs in the child; never returns. */
static void run_program(const struct test_daemon *daemon, const char *const *arguments)
{
    char port_file[320];
    const char *program = getenv("EFMD");
    const char *all[MAX_ARGUMENTS + 1] = {program,       "--listen",    "127.0.0.1:0", "--state-dir",
                                          daemon->state, "--port-file", port_file};
    size_t count = 7;
    snprintf(port_file, sizeof port_file, "%s/port", daemon->folder);
    for (size_t i = 0; arguments != NULL && arguments[i] != NULL && count < MAX_ARGUMENTS; ++i)
        all[count++] = arguments[i];
    all[count] = NULL;
    int log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(program, (char *const *)all);
    _exit(127);
}

/* The number in a file of the folder; 0 while there is none. */
static unsigned read_port_file(const struct test_daemon *daemon, const char *name)
{
    char path[320];
    unsigned port = 0;
    snprintf(path, sizeof path, "%s/%s", daemon->folder, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    int found = fscanf(file, "%u", &port);
    fclose(file);
    return found == 1 ? port : 0;
}

static bool read_port(struct test_daemon *daemon)
{
    daemon->port = read_port_file(daemon, "port");
    snprintf(daemon->own_url, sizeof daemon->own_url, "http://127.0.0.1:%u", daemon->port);
    snprintf(daemon->url, sizeof daemon->url, "%s", daemon->own_url);
    return daemon->port != 0;
}

static bool is_ready(const struct test_daemon *daemon)
{
    struct test_reply reply;
    bool ready =
        test_send_quietly(daemon, &(struct test_request){.path = "/readyz"}, &reply) && reply.status == 200;
    test_reply_release(&reply);
    return ready;
}

/* ---- a proxy ---- */

/* Runs in the child; never returns. */
static void run_proxy(const struct test_daemon *daemon, const char *program, const char *port_file)
{
    const char *log = getenv("TEST_PROXY_LOG");
    int own_log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (own_log < 0 || dup2(own_log, 1) < 0 || dup2(own_log, 2) < 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execl(program, program, daemon->own_url, port_file, log, (char *)NULL);
    _exit(127);
}

static void start_proxy(struct test_daemon *daemon)
{
    const char *program = getenv("TEST_PROXY");
    char port_file[320];
    unsigned port = 0;
    if (program == NULL || program[0] == '\0')
        return;
    snprintf(port_file, sizeof port_file, "%s/proxy-port", daemon->folder);
    unlink(port_file);
    daemon->proxy = fork();
    assert_true(daemon->proxy >= 0);
    if (daemon->proxy == 0)
        run_proxy(daemon, program, port_file);
    double give_up = test_now() + 30 * test_patience();
    while (port == 0 && test_now() < give_up) {
        test_sleep(0.01);
        port = read_port_file(daemon, "proxy-port");
    }
    if (port == 0) {
        test_daemon_show_log(daemon);
        fail_msg("%s was not ready in time", program);
    }
    snprintf(daemon->url, sizeof daemon->url, "http://127.0.0.1:%u", port);
}

static void stop_proxy(struct test_daemon *daemon)
{
    if (daemon->proxy <= 0)
        return;
    kill(daemon->proxy, SIGTERM);
    waitpid(daemon->proxy, NULL, 0);
    daemon->proxy = 0;
}

/* ---- life ---- */

static void launch(struct test_daemon *daemon, const char *const *arguments)
{
    char port_file[320];
    if (getenv("EFMD") == NULL)
        fail_msg("the environment variable EFMD must name the program");
    snprintf(port_file, sizeof port_file, "%s/port", daemon->folder);
    unlink(port_file);
    daemon->pid = fork();
    assert_true(daemon->pid >= 0);
    if (daemon->pid == 0)
        run_program(daemon, arguments);
    double give_up = test_now() + 20 * test_patience();
    bool ready = false;
    while (!ready && test_now() < give_up) {
        if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
            daemon->pid = 0;
            break;
        }
        ready = read_port(daemon) && is_ready(daemon);
        if (!ready)
            test_sleep(0.01);
    }
    if (!ready) {
        test_daemon_show_log(daemon);
        fail_msg("%s", daemon->pid == 0 ? "efmd ended before it was ready" : "efmd was not ready in time");
    }
    start_proxy(daemon);
}

void test_daemon_start(struct test_daemon *daemon, const char *const *arguments)
{
    const char *place = getenv("TMPDIR");
    memset(daemon, 0, sizeof *daemon);
    snprintf(daemon->folder, sizeof daemon->folder, "%s/efmd-test-XXXXXX",
             place != NULL && place[0] != '\0' ? place : P_tmpdir);
    assert_non_null(mkdtemp(daemon->folder));
    snprintf(daemon->state, sizeof daemon->state, "%s/state", daemon->folder);
    snprintf(daemon->log, sizeof daemon->log, "%s/log", daemon->folder);
    launch(daemon, arguments);
}

void test_daemon_signal(struct test_daemon *daemon, int signal)
{
    assert_true(daemon->pid > 0);
    assert_int_equal(kill(daemon->pid, signal), 0);
}

int test_daemon_wait(struct test_daemon *daemon, double seconds)
{
    double give_up = test_now() + seconds;
    int status = 0;
    assert_true(daemon->pid > 0);
    while (test_now() < give_up) {
        if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid) {
            daemon->pid = 0;
            stop_proxy(daemon);
            return status;
        }
        test_sleep(0.005);
    }
    test_daemon_show_log(daemon);
    kill(daemon->pid, SIGKILL);
    waitpid(daemon->pid, &status, 0);
    daemon->pid = 0;
    stop_proxy(daemon);
    fail_msg("efmd did not end within %.0f seconds", seconds);
    return status;
}

static void end(struct test_daemon *daemon)
{
    test_daemon_signal(daemon, SIGTERM);
    int status = test_daemon_wait(daemon, 45 * test_patience());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        test_daemon_show_log(daemon);
        fail_msg("efmd ended with wait status 0x%x", (unsigned)status);
    }
}

void test_daemon_restart(struct test_daemon *daemon, const char *const *arguments)
{
    end(daemon);
    launch(daemon, arguments);
}

void test_daemon_relaunch(struct test_daemon *daemon, const char *const *arguments)
{
    assert_int_equal(daemon->pid, 0);
    launch(daemon, arguments);
}

void test_daemon_stop(struct test_daemon *daemon)
{
    if (daemon->pid > 0)
        end(daemon);
    if (daemon->folder[0] != '\0')
        remove_folder(daemon->folder, 0);
    daemon->folder[0] = '\0';
}

double test_daemon_metric(const struct test_daemon *daemon, const char *name, const char *label)
{
    struct test_reply reply;
    struct test_daemon itself = *daemon;
    double sum = 0;
    size_t length = strlen(name);
    snprintf(itself.url, sizeof itself.url, "%s", daemon->own_url);
    test_send(&itself, &(struct test_request){.path = "/metrics"}, &reply);
    assert_int_equal(reply.status, 200);
    for (char *line = (char *)reply.body; line != NULL && *line != '\0';) {
        char *end_of_line = strchr(line, '\n');
        if (end_of_line != NULL)
            *end_of_line++ = '\0';
        const char *value = strrchr(line, ' ');
        if (strncmp(line, name, length) == 0 && (line[length] == ' ' || line[length] == '{') &&
            value != NULL && (label == NULL || strstr(line, label) != NULL))
            sum += strtod(value, NULL);
        line = end_of_line;
    }
    test_reply_release(&reply);
    return sum;
}

bool test_daemon_settles(const struct test_daemon *daemon, const char *name, double value, double seconds)
{
    double give_up = test_now() + seconds * test_patience();
    do {
        if (test_daemon_metric(daemon, name, NULL) == value)
            return true;
        test_sleep(0.01);
    } while (test_now() < give_up);
    return false;
}

void test_daemon_show_log(const struct test_daemon *daemon)
{
    char block[4096];
    FILE *file = fopen(daemon->log, "rb");
    if (file == NULL)
        return;
    if (fseek(file, -20000, SEEK_END) != 0)
        rewind(file);
    fprintf(stderr, "---- the end of the log of efmd\n");
    for (size_t count = fread(block, 1, sizeof block, file); count > 0;
         count = fread(block, 1, sizeof block, file))
        fwrite(block, 1, count, stderr);
    fprintf(stderr, "----\n");
    fclose(file);
}
