// SPDX-License-Identifier: Apache-2.0
/* Loaded before a daemon (LD_PRELOAD): makes its n-th operation fail, as a file that both sides map says.
 *
 *   FAULTS_PLAN    a file of `struct plan`, armed and read by faults.py
 *   FAULTS_BELOW   the folder whose files are meant, an absolute path
 *
 * Calls of the system are those on files below the folder, by whomever: the daemon or SQLite. Allocations are those that
 * the program itself asks for, told by the address that the call returns to: the libraries that it loads get what they ask
 * for. Nothing is counted until the plan is armed. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same numbers stand in faults.py. */
enum fault {
    FULL = 1,   /* ENOSPC of whatever needs room: writes, new names, longer files */
    IO = 2,     /* EIO of everything */
    SHORT = 3,  /* half of a write is written, and the next write gets ENOSPC */
    SYNC = 4,   /* EIO of fsync and fdatasync */
    MEMORY = 5, /* no memory, for the program itself */
};

enum operation { WRITE, NAME, REMOVE, RESIZE, SYNCING, ALLOCATE };

enum { FRAMES = 12 };

struct plan {
    _Atomic int64_t armed, fault, number /* from 1 */, stays, seen, struck;
    char what[80];           /* the first that failed */
    uint64_t frames[FRAMES]; /* who asked for it: addresses within the program, 0 elsewhere */
};

static struct plan *plan;
static const char *below;
static size_t below_length;
static uintptr_t program_begin, program_end;
static atomic_bool full_next;
static _Thread_local bool inside; /* what the shim itself does is not counted */

static int find_program(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD)
            continue;
        const uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        program_begin = program_begin == 0 || begin < program_begin ? begin : program_begin;
        program_end = begin + part->p_memsz > program_end ? begin + part->p_memsz : program_end;
    }
    return 1; /* the first one is the program */
}

__attribute__((constructor)) static void prepare(void)
{
    void *frames[1];
    const char *path = getenv("FAULTS_PLAN");
    below = getenv("FAULTS_BELOW");
    if (path == NULL || below == NULL)
        return;
    below_length = strlen(below);
    dl_iterate_phdr(find_program, NULL);
    (void)backtrace(frames, 1); /* loads what it needs now */
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *mapped =
        file < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) {
        fprintf(stderr, "faults: %s cannot be mapped\n", path);
        abort();
    }
    close(file);
    plan = mapped;
}

/* ---- the plan ---- */

static void note(const char *call, const char *path)
{
    void *frames[2 * FRAMES];
    inside = true;
    snprintf(plan->what, sizeof plan->what, "%s %s", call, path);
    const int count = backtrace(frames, 2 * FRAMES);
    for (int i = 0, kept = 0; i < count && kept < FRAMES; i++) {
        const uintptr_t address = (uintptr_t)frames[i];
        if (address >= program_begin && address < program_end)
            plan->frames[kept++] = address - program_begin;
    }
    inside = false;
}

static bool concerns(enum fault fault, enum operation operation)
{
    switch (fault) {
    case FULL:
        return operation == WRITE || operation == NAME || operation == RESIZE;
    case IO:
        return operation != ALLOCATE;
    case SHORT:
        return operation == WRITE;
    case SYNC:
        return operation == SYNCING;
    case MEMORY:
        return operation == ALLOCATE;
    }
    return false;
}

/* Counts it, and says whether it fails; then errno is set. */
static bool strikes(enum operation operation, const char *call, const char *path)
{
    const enum fault fault = (enum fault)atomic_load(&plan->fault);
    if (!concerns(fault, operation))
        return false;
    const int64_t turn = atomic_fetch_add(&plan->seen, 1) + 1;
    const int64_t number = atomic_load(&plan->number);
    if (turn < number || (turn > number && !atomic_load(&plan->stays)))
        return false;
    if (turn == number)
        note(call, path);
    atomic_fetch_add(&plan->struck, 1);
    errno = operation == ALLOCATE ? ENOMEM : fault == FULL || fault == SHORT ? ENOSPC : EIO;
    return true;
}

static bool is_armed(void)
{
    return plan != NULL && !inside && atomic_load(&plan->armed) != 0;
}

static bool is_below(const char *path)
{
    return strncmp(path, below, below_length) == 0 &&
           (path[below_length] == '/' || path[below_length] == '\0');
}

/* Of an open file or folder; "" when it lies elsewhere. */
static const char *path_of(int file, char out[512])
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, out, 511);
    out[length < 0 ? 0 : length] = '\0';
    return is_below(out) ? out : "";
}

static bool file_fails(enum operation operation, const char *call, int file)
{
    char path[512];
    if (!is_armed())
        return false;
    const int reason = errno;
    const bool meant = path_of(file, path)[0] != '\0';
    errno = reason;
    return meant && strikes(operation, call, path + below_length);
}

static bool name_fails(enum operation operation, const char *call, int folder, const char *name)
{
    if (!is_armed())
        return false;
    if (name[0] == '/' || folder == AT_FDCWD)
        return is_below(name) && strikes(operation, call, name + below_length);
    char path[512], both[80];
    if (path_of(folder, path)[0] == '\0')
        return false;
    snprintf(both, sizeof both, "%.40s/%.38s", path + below_length, name);
    return strikes(operation, call, both);
}

/* ---- calls of the system: their names in the C library, which differ where offsets have 64 bits ---- */

ssize_t faulty_write(int file, const void *bytes, size_t size) __asm__("write");
ssize_t faulty_pwrite(int file, const void *bytes, size_t size, int64_t at) __asm__("pwrite");
ssize_t faulty_pwrite64(int file, const void *bytes, size_t size, int64_t at) __asm__("pwrite64");
int faulty_fsync(int file) __asm__("fsync");
int faulty_fdatasync(int file) __asm__("fdatasync");
int faulty_ftruncate(int file, int64_t size) __asm__("ftruncate");
int faulty_ftruncate64(int file, int64_t size) __asm__("ftruncate64");
int faulty_rename(const char *name, const char *other) __asm__("rename");
int faulty_renameat(int from, const char *name, int to, const char *other) __asm__("renameat");
int faulty_renameat2(int from, const char *name, int to, const char *other,
                     unsigned flags) __asm__("renameat2");
int faulty_linkat(int from, const char *name, int to, const char *other, int flags) __asm__("linkat");
int faulty_unlink(const char *name) __asm__("unlink");
int faulty_unlinkat(int folder, const char *name, int flags) __asm__("unlinkat");
int faulty_mkdir(const char *name, mode_t mode) __asm__("mkdir");
int faulty_mkdirat(int folder, const char *name, mode_t mode) __asm__("mkdirat");
int faulty_mknod(const char *name, mode_t mode, dev_t device) __asm__("mknod");
int faulty_open(const char *path, int flags, ...) __asm__("open");
int faulty_open64(const char *path, int flags, ...) __asm__("open64");
int faulty_openat(int folder, const char *path, int flags, ...) __asm__("openat");
int faulty_openat64(int folder, const char *path, int flags, ...) __asm__("openat64");

/* How many bytes of a write are to be written; -1 with errno for none. */
static ssize_t admit(const char *call, int file, size_t size)
{
    char path[512];
    if (is_armed() && atomic_load(&plan->fault) == SHORT && atomic_load(&full_next) &&
        path_of(file, path)[0] != '\0') {
        atomic_store(&full_next, false);
        errno = ENOSPC;
        return -1;
    }
    if (!file_fails(WRITE, call, file))
        return (ssize_t)size;
    if (atomic_load(&plan->fault) != SHORT)
        return -1;
    atomic_store(&full_next, true);
    return (ssize_t)size / 2;
}

ssize_t faulty_write(int file, const void *bytes, size_t size)
{
    const ssize_t admitted = admit("write", file, size);
    return admitted < 0 ? -1 : syscall(SYS_write, file, bytes, (size_t)admitted);
}

ssize_t faulty_pwrite64(int file, const void *bytes, size_t size, int64_t at)
{
    const ssize_t admitted = admit("pwrite", file, size);
    return admitted < 0 ? -1 : syscall(SYS_pwrite64, file, bytes, (size_t)admitted, at);
}

ssize_t faulty_pwrite(int file, const void *bytes, size_t size, int64_t at)
{
    return faulty_pwrite64(file, bytes, size, at);
}

int faulty_fsync(int file)
{
    return file_fails(SYNCING, "fsync", file) ? -1 : (int)syscall(SYS_fsync, file);
}

int faulty_fdatasync(int file)
{
    return file_fails(SYNCING, "fdatasync", file) ? -1 : (int)syscall(SYS_fdatasync, file);
}

int faulty_ftruncate64(int file, int64_t size)
{
    return file_fails(RESIZE, "ftruncate", file) ? -1 : (int)syscall(SYS_ftruncate, file, size);
}

int faulty_ftruncate(int file, int64_t size)
{
    return faulty_ftruncate64(file, size);
}

int faulty_renameat2(int from, const char *name, int to, const char *other, unsigned flags)
{
    return name_fails(NAME, "rename", to, other) ? -1
                                                 : (int)syscall(SYS_renameat2, from, name, to, other, flags);
}

int faulty_renameat(int from, const char *name, int to, const char *other)
{
    return faulty_renameat2(from, name, to, other, 0);
}

int faulty_rename(const char *name, const char *other)
{
    return faulty_renameat2(AT_FDCWD, name, AT_FDCWD, other, 0);
}

int faulty_linkat(int from, const char *name, int to, const char *other, int flags)
{
    return name_fails(NAME, "link", to, other) ? -1 : (int)syscall(SYS_linkat, from, name, to, other, flags);
}

int faulty_unlinkat(int folder, const char *name, int flags)
{
    return name_fails(REMOVE, "unlink", folder, name) ? -1 : (int)syscall(SYS_unlinkat, folder, name, flags);
}

int faulty_unlink(const char *name)
{
    return faulty_unlinkat(AT_FDCWD, name, 0);
}

int faulty_mkdirat(int folder, const char *name, mode_t mode)
{
    return name_fails(NAME, "mkdir", folder, name) ? -1 : (int)syscall(SYS_mkdirat, folder, name, mode);
}

int faulty_mkdir(const char *name, mode_t mode)
{
    return faulty_mkdirat(AT_FDCWD, name, mode);
}

int faulty_mknod(const char *name, mode_t mode, dev_t device)
{
    return name_fails(NAME, "mknod", AT_FDCWD, name)
               ? -1
               : (int)syscall(SYS_mknodat, AT_FDCWD, name, mode, device);
}

static bool makes_file(int flags)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

static int open_one(int folder, const char *path, int flags, va_list more)
{
    const mode_t mode = makes_file(flags) ? va_arg(more, mode_t) : 0;
    if (makes_file(flags) && name_fails(NAME, "open", folder, path))
        return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN(name, folder_parameter, folder)                                                                 \
    int name(folder_parameter const char *path, int flags, ...)                                              \
    {                                                                                                        \
        va_list more;                                                                                        \
        va_start(more, flags);                                                                               \
        const int file = open_one(folder, path, flags, more);                                                \
        va_end(more);                                                                                        \
        return file;                                                                                         \
    }
#define NO_FOLDER
#define FOLDER int folder,
OPEN(faulty_open, NO_FOLDER, AT_FDCWD)
OPEN(faulty_open64, NO_FOLDER, AT_FDCWD)
OPEN(faulty_openat, FOLDER, folder)
OPEN(faulty_openat64, FOLDER, folder)

/* ---- memory ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool memory_fails(const char *call, const void *caller)
{
    if (!is_armed() || atomic_load(&plan->fault) != MEMORY || (uintptr_t)caller < program_begin ||
        (uintptr_t)caller >= program_end)
        return false;
    return strikes(ALLOCATE, call, "");
}

void *malloc(size_t size)
{
    return memory_fails("malloc", __builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return memory_fails("calloc", __builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return memory_fails("realloc", __builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memory_fails("aligned_alloc", __builtin_return_address(0)) ? NULL
                                                                      : __libc_memalign(alignment, size);
}
