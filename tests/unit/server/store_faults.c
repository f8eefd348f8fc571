// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/server/store_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static _Thread_local struct {
    bool armed, stays, reached, full_next, met_sync;
    enum fault fault;
    int left;
} plan;

void faults_arm(enum fault fault, int number, bool stays)
{
    plan.fault = fault;
    plan.left = number;
    plan.stays = stays;
    plan.reached = plan.full_next = plan.met_sync = false;
    plan.armed = true;
}

bool faults_disarm(void)
{
    plan.armed = false;
    return plan.reached;
}

bool faults_met_sync(void)
{
    return plan.met_sync;
}

/* Counts one call of a sort that the plan concerns, and says whether it is to fail. */
static bool strikes(void)
{
    if (plan.left > 0) {
        plan.left--;
        return false;
    }
    bool first = !plan.reached;
    plan.reached = true;
    return first || plan.stays;
}

static bool call_fails(bool sync)
{
    if (!plan.armed || plan.fault == FAULT_MEMORY || !strikes())
        return false;
    plan.met_sync |= sync;
    errno = plan.fault == FAULT_FULL && !sync ? ENOSPC : EIO;
    return true;
}

/* ---- calls of the system: their names in the C library, which differ where offsets have 64 bits ---- */

ssize_t faulty_write(int file, const void *bytes, size_t size) __asm__("write");
ssize_t faulty_pwrite(int file, const void *bytes, size_t size, int64_t at) __asm__("pwrite");
ssize_t faulty_pwrite64(int file, const void *bytes, size_t size, int64_t at) __asm__("pwrite64");
int faulty_fsync(int file) __asm__("fsync");
int faulty_fdatasync(int file) __asm__("fdatasync");
int faulty_ftruncate(int file, int64_t size) __asm__("ftruncate");
int faulty_ftruncate64(int file, int64_t size) __asm__("ftruncate64");
int faulty_renameat(int from, const char *name, int to, const char *other) __asm__("renameat");
int faulty_renameat2(int from, const char *name, int to, const char *other,
                     unsigned flags) __asm__("renameat2");
int faulty_linkat(int from, const char *name, int to, const char *other, int flags) __asm__("linkat");
int faulty_unlinkat(int folder, const char *name, int flags) __asm__("unlinkat");
int faulty_mkdirat(int folder, const char *name, mode_t mode) __asm__("mkdirat");
int faulty_open(const char *path, int flags, ...) __asm__("open64");
int faulty_openat(int folder, const char *path, int flags, ...) __asm__("openat64");

/* How many bytes of a write are to be written; -1 with errno for none. */
static ssize_t admit(int file, size_t size)
{
    if (file <= STDERR_FILENO) /* of cmocka */
        return (ssize_t)size;
    if (plan.armed && plan.full_next) {
        plan.full_next = plan.stays;
        errno = ENOSPC;
        return -1;
    }
    if (!call_fails(false))
        return (ssize_t)size;
    if (plan.fault != FAULT_SHORT)
        return -1;
    plan.full_next = true;
    return (ssize_t)size / 2;
}

ssize_t faulty_write(int file, const void *bytes, size_t size)
{
    ssize_t admitted = admit(file, size);
    return admitted < 0 ? -1 : syscall(SYS_write, file, bytes, (size_t)admitted);
}

ssize_t faulty_pwrite64(int file, const void *bytes, size_t size, int64_t at)
{
    ssize_t admitted = admit(file, size);
    return admitted < 0 ? -1 : syscall(SYS_pwrite64, file, bytes, (size_t)admitted, at);
}

ssize_t faulty_pwrite(int file, const void *bytes, size_t size, int64_t at)
{
    return faulty_pwrite64(file, bytes, size, at);
}

/* No sync is carried out: what a crash of the machine does cannot be seen here. */
int faulty_fsync(int file)
{
    (void)file;
    return call_fails(true) ? -1 : 0;
}

int faulty_fdatasync(int file)
{
    return faulty_fsync(file);
}

int faulty_ftruncate64(int file, int64_t size)
{
    return call_fails(false) ? -1 : (int)syscall(SYS_ftruncate, file, size);
}

int faulty_ftruncate(int file, int64_t size)
{
    return faulty_ftruncate64(file, size);
}

int faulty_renameat2(int from, const char *name, int to, const char *other, unsigned flags)
{
    return call_fails(false) ? -1 : (int)syscall(SYS_renameat2, from, name, to, other, flags);
}

int faulty_renameat(int from, const char *name, int to, const char *other)
{
    return faulty_renameat2(from, name, to, other, 0);
}

int faulty_linkat(int from, const char *name, int to, const char *other, int flags)
{
    return call_fails(false) ? -1 : (int)syscall(SYS_linkat, from, name, to, other, flags);
}

int faulty_unlinkat(int folder, const char *name, int flags)
{
    return call_fails(false) ? -1 : (int)syscall(SYS_unlinkat, folder, name, flags);
}

int faulty_mkdirat(int folder, const char *name, mode_t mode)
{
    return call_fails(false) ? -1 : (int)syscall(SYS_mkdirat, folder, name, mode);
}

static int open_one(int folder, const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) != 0 && call_fails(false))
        return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

int faulty_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list more;
    va_start(more, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(more, mode_t);
    va_end(more);
    return open_one(AT_FDCWD, path, flags, mode);
}

int faulty_openat(int folder, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list more;
    va_start(more, flags);
    if ((flags & O_CREAT) != 0)
        mode = va_arg(more, mode_t);
    va_end(more);
    return open_one(folder, path, flags, mode);
}

/* ---- memory ---- */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static bool memory_fails(void)
{
    return plan.armed && plan.fault == FAULT_MEMORY && strikes();
}

void *__wrap_efm_allocate(size_t size)
{
    return memory_fails() ? NULL : __real_efm_allocate(size);
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return memory_fails() ? NULL : __real_efm_allocate_array(count, size);
}

char *__wrap_efm_copy_string(const char *text)
{
    return memory_fails() ? NULL : __real_efm_copy_string(text);
}

static sqlite3_mem_methods sqlite_memory;

static void *sqlite_allocate(int size)
{
    return memory_fails() ? NULL : sqlite_memory.xMalloc(size);
}

static void *sqlite_reallocate(void *block, int size)
{
    return memory_fails() ? NULL : sqlite_memory.xRealloc(block, size);
}

void faults_init(void)
{
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory), SQLITE_OK);
    sqlite3_mem_methods ours = sqlite_memory;
    ours.xMalloc = sqlite_allocate;
    ours.xRealloc = sqlite_reallocate;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
    assert_int_equal(sqlite3_initialize(), SQLITE_OK);
}

/* ---- all of them ---- */

const struct fault_plan faults_all[] = {
    {"full", FAULT_FULL, false},     {"full to the end", FAULT_FULL, true},
    {"error", FAULT_IO, false},      {"errors to the end", FAULT_IO, true},
    {"short", FAULT_SHORT, false},   {"short to the end", FAULT_SHORT, true},
    {"memory", FAULT_MEMORY, false}, {"no memory to the end", FAULT_MEMORY, true},
};
const int faults_count = sizeof faults_all / sizeof faults_all[0];

int faults_next(int which, int number)
{
    if (faults_all[which].fault != FAULT_MEMORY || number < 20)
        return number + 1;
    return number + (faults_all[which].stays ? 37 : 13);
}

void faults_explain(int which, enum efm_status status, const struct efm_error *error)
{
    enum fault fault = faults_all[which].fault;
    bool fits = fault == FAULT_MEMORY ? status == EFM_E_MEMORY
                : fault == FAULT_IO   ? status == EFM_E_IO
                                      : status == EFM_E_FULL || status == EFM_E_IO;
    if (!fits)
        fail_msg("%s: %s: %s", faults_all[which].name, efm_status_name(status), error->message);
    assert_int_equal(error->status, status);
    assert_true(error->message[0] != '\0');
}
