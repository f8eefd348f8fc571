/* store_faults.h - makes the n-th write, sync, change of a name or allocation of the program fail, in SQLite too: the
 * program's own write, fsync and so on are found before those of the C library, by the libraries that it loads as well.
 *
 *     faults_arm(FAULT_FULL, n, false);
 *     status = ...;
 *     if (!faults_disarm()) break;             there were no n calls
 *
 * Threads: only what the arming thread does fails. */
#ifndef TESTS_STORE_FAULTS_H
#define TESTS_STORE_FAULTS_H

#include "core/base/status.h"

#include <stdbool.h>

enum fault {
    FAULT_FULL,  /* ENOSPC; a sync reports EIO */
    FAULT_IO,    /* EIO */
    FAULT_SHORT, /* half is written, and the write after it gets ENOSPC; other calls get EIO */
    FAULT_MEMORY /* allocations of efm_allocate and of SQLite, and no calls of the system */
};

/* Must be called before SQLite is used. */
void faults_init(void);
/* Call number `number`, from 0, fails; with `stays`, all after it too. */
void faults_arm(enum fault fault, int number, bool stays);
/* Whether that call was reached. */
bool faults_disarm(void);
/* Whether a sync was among those that failed: what then says that it is durable, lies. */
bool faults_met_sync(void);

/* ---- all of them, for loops ---- */

struct fault_plan {
    const char *name;
    enum fault fault;
    bool stays;
};
extern const struct fault_plan faults_all[];
extern const int faults_count;

/* Every call of the system; of the allocations, of which SQLite makes hundreds, the first ones and then some. */
int faults_next(int which, int number);
/* Fails the test unless the status and its message say what such a fault is. */
void faults_explain(int which, enum efm_status status, const struct efm_error *error);

#endif
