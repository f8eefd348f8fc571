// SPDX-License-Identifier: Apache-2.0
// Messages to the service manager, read from a socket of the test's own.
#include "server/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static int listen_at(const char *address)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    const size_t length = strlen(address);
    memcpy(where.sun_path, address, length);
    if (address[0] == '@')
        where.sun_path[0] = '\0';
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(file >= 0);
    assert_int_equal(
        bind(file, (struct sockaddr *)&where, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
        0);
    return file;
}

static void expect_message(int file, const char *message)
{
    char text[64] = "";
    const ssize_t got = recv(file, text, sizeof text - 1, MSG_DONTWAIT);
    assert_int_equal(got, strlen(message));
    assert_string_equal(text, message);
}

static void a_message_arrives_at_a_path(void **state)
{
    char folder[] = P_tmpdir "/efmd-notify-XXXXXX", path[64];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    int file = listen_at(path);
    assert_true(srv_notify(path, "READY=1"));
    expect_message(file, "READY=1");
    assert_true(srv_notify(path, "STOPPING=1\nSTATUS=x"));
    expect_message(file, "STOPPING=1\nSTATUS=x");
    close(file);
    assert_false(srv_notify(path, "READY=1")); // nobody there
    unlink(path);
    rmdir(folder);
}

static void a_message_arrives_at_an_abstract_name(void **state)
{
    char name[64];
    (void)state;
    snprintf(name, sizeof name, "@efmd-notify-%d", (int)getpid());
    int file = listen_at(name);
    assert_true(srv_notify(name, "READY=1"));
    expect_message(file, "READY=1");
    close(file);
}

static void a_bad_address_is_no_harm(void **state)
{
    char longest[200];
    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    assert_false(srv_notify(NULL, "READY=1"));
    assert_false(srv_notify("", "READY=1"));
    assert_false(srv_notify("@", "READY=1"));
    assert_false(srv_notify("relative", "READY=1"));
    assert_false(srv_notify(longest, "READY=1"));
    assert_false(srv_notify("/nowhere/at/all", "READY=1"));
}

/* A full queue of messages makes nobody wait. */
static void nobody_waits_for_a_manager_that_does_not_read(void **state)
{
    char name[64];
    bool sent = true;
    (void)state;
    snprintf(name, sizeof name, "@efmd-full-%d", (int)getpid());
    int file = listen_at(name);
    for (int i = 0; i < 100000 && sent; i++)
        sent = srv_notify(name, "WATCHDOG=1");
    assert_false(sent);
    close(file);
}

static void the_watchdog_is_fed_twice_as_often_as_it_asks(void **state)
{
    char own[32];
    (void)state;
    snprintf(own, sizeof own, "%ld", (long)getpid());
    assert_true(srv_notify_watchdog("30000000", NULL) == 15);
    assert_true(srv_notify_watchdog("500000", own) == 0.25);
    assert_true(srv_notify_watchdog("500000", "1") == 0);
    assert_true(srv_notify_watchdog("500000", "") == 0);
    assert_true(srv_notify_watchdog(NULL, NULL) == 0);
    static const char *const bad[] = {"", "0", "x", "-5", "5x", " 5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_true(srv_notify_watchdog(bad[i], NULL) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_arrives_at_a_path),
        cmocka_unit_test(a_message_arrives_at_an_abstract_name),
        cmocka_unit_test(a_bad_address_is_no_harm),
        cmocka_unit_test(nobody_waits_for_a_manager_that_does_not_read),
        cmocka_unit_test(the_watchdog_is_fed_twice_as_often_as_it_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
