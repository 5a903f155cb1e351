/* Stands between a program and the C library, for files under one folder: the N-th call of a kind fails, or the process
 * is killed there. Loaded by LD_PRELOAD.
 *
 *   FAULT_UNDER   the folder, absolute
 *   FAULT_LOG     a file that gets a line for each such call: its kind
 *   FAULT         "KIND N WHAT": KIND of open, write, sync, rename, link, truncate, mkdir, any; WHAT of
 *                   kill    the process ends before the call
 *                   tear    half of a write is done, then the process ends
 *                   error   this call alone answers EIO
 *                   full    this call and all that follow answer ENOSPC
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int calls, full;

static int is_under(const char *path) {
    const char *folder = getenv("FAULT_UNDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_file_under(int file) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_under(path);
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What becomes of a call: 0 it is made, 1 it fails with errno set, 2 half of it is made before the end. */
static int fate(const char *kind) {
    const char *log = getenv("FAULT_LOG"), *fault = getenv("FAULT");
    if (log) {
        int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        char line[32];
        int length = snprintf(line, sizeof line, "%s\n", kind);
        if (file < 0 || syscall(SYS_write, file, line, length) != length) abort();
        syscall(SYS_close, file);
    }
    char wanted[16], what[16];
    int at;
    if (!fault || sscanf(fault, "%15s %d %15s", wanted, &at, what) != 3) return 0;
    if (atomic_load(&full)) return errno = ENOSPC, 1;
    if (strcmp(wanted, "any") && strcmp(wanted, kind)) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 != at) return 0;
    if (!strcmp(what, "tear") && !strcmp(kind, "write")) return 2;
    if (!strcmp(what, "full")) return atomic_store(&full, 1), errno = ENOSPC, 1;
    if (!strcmp(what, "error")) return errno = EIO, 1;
    end();
    return 1;
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int file, const void *bytes, size_t length) {
    int fated = is_file_under(file) ? fate("write") : 0;
    if (fated == 1) return -1;
    ssize_t done = syscall(SYS_write, file, bytes, fated ? length / 2 : length);
    if (fated) end();
    return done;
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (is_file_under(file) && fate("write")) return -1;
    return NEXT(ssize_t (*)(int, const struct iovec *, int), "writev")(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t at) {
    if (is_file_under(file) && fate("write")) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(file, bytes, length, at);
}

/* The fast ways of copying a file are not there: copies go through write. */
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t length, unsigned flags) {
    return errno = ENOSYS, -1;
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t length) { return errno = EINVAL, -1; }

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && is_under(path) && fate("open")) return -1;
    return NEXT(int (*)(const char *, int, mode_t), name)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened("open64", path, flags, mode);
}

int fsync(int file) {
    if (is_file_under(file) && fate("sync")) return -1;
    return NEXT(int (*)(int), "fsync")(file);
}

int fdatasync(int file) {
    if (is_file_under(file) && fate("sync")) return -1;
    return NEXT(int (*)(int), "fdatasync")(file);
}

int rename(const char *from, const char *to) {
    if (is_under(to) && fate("rename")) return -1;
    return NEXT(int (*)(const char *, const char *), "rename")(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    if (is_under(to) && fate("link")) return -1;
    return NEXT(int (*)(int, const char *, int, const char *, int), "linkat")(a, from, b, to, flags);
}

int ftruncate64(int file, off64_t length) {
    if (is_file_under(file) && fate("truncate")) return -1;
    return NEXT(int (*)(int, off64_t), "ftruncate64")(file, length);
}

int mkdir(const char *path, mode_t mode) {
    if (is_under(path) && fate("mkdir")) return -1;
    return NEXT(int (*)(const char *, mode_t), "mkdir")(path, mode);
}
