/* problem.h - what an error must look like.
 *
 *     test_expect_problem(&daemon, &request, 422, "invalid_parameter");
 *
 * Threads: one. */
#ifndef TEST_PROBLEM_H
#define TEST_PROBLEM_H

#include "tests/support/client.h"

/* Fails unless the reply is problem+json with this status and code, complete, with a string `error`, and with
 * the request id of the header. */
void test_check_problem(const struct test_reply *reply, int status, const char *code);

/* The same of a request: sends, checks, releases. */
void test_expect_problem(const struct test_daemon *daemon, const struct test_request *request, int status,
                         const char *code);

#endif
