/* job.h - trainings as jobs, for tests of what hangs on them.
 *
 * Errors: every function fails the running cmocka test. Threads: one. */
#ifndef TEST_JOB_H
#define TEST_JOB_H

#include "tests/support/client.h"

enum { TEST_JOB_ID = 64 };

/* A training of a network so small that it takes no time; after "source" and "target". */
#define TEST_SMALL_TRAINING                                                                                  \
    "\"steps\":40,\"batch\":16,\"network\":{\"arch\":\"mlp\",\"hidden\":24,\"hidden2\":40,\"embedding\":16}"

/* Posts a training, with one more header (may be NULL); its id into id[TEST_JOB_ID]. */
void test_post_training(const struct test_daemon *daemon, const char *json, const char *header, char *id);

/* The job as it is now. The caller's. */
json_t *test_get_job(const struct test_daemon *daemon, const char *id);

/* The job once it has ended. The caller's. */
json_t *test_await_job(const struct test_daemon *daemon, const char *id);

/* A member that is text, of a member or (NULL) of the job itself; "" when there is none. */
const char *test_job_text(const json_t *job, const char *member, const char *name);

#endif
