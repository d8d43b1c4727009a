/* Faults below the file operations of a process, for LD_PRELOAD. See faults.py for what the variables mean.

   An operation counts if its path lies under TORTURE_PREFIX, the rest of the path fits the pattern TORTURE_MATCH, and
   its name is in TORTURE_OPS. At the one numbered TORTURE_NTH it fails with TORTURE_ERRNO, or TORTURE_SIGNAL is sent
   to the process before it; TORTURE_HALF lets the first half of a write through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char prefix[PATH_MAX], match[PATH_MAX], ops[256], log_file[PATH_MAX];
static long nth, fault, sent, forever, half;
static volatile long counted, armed, broken;

static void text(const char *name, char *into, size_t size) {
    const char *value = getenv(name);
    snprintf(into, size, "%s", value ? value : "");
}

static long number(const char *name) {
    const char *value = getenv(name);
    return value ? atol(value) : 0;
}

/* Read the variables, count from nothing. */
void torture_arm(void) {
    armed = 0;
    text("TORTURE_PREFIX", prefix, sizeof prefix);
    text("TORTURE_MATCH", match, sizeof match);
    text("TORTURE_OPS", ops, sizeof ops);
    text("TORTURE_LOG", log_file, sizeof log_file);
    nth = number("TORTURE_NTH");
    fault = number("TORTURE_ERRNO");
    sent = number("TORTURE_SIGNAL");
    forever = number("TORTURE_FOREVER");
    half = number("TORTURE_HALF");
    counted = broken = 0;
    armed = prefix[0] != 0;
}

__attribute__((constructor)) static void begin(void) { torture_arm(); }

static void absolute(int folder, const char *path, char *into) {
    char base[PATH_MAX] = "", link[64];
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) base[0] = 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            long length = readlink(link, base, sizeof base - 1);
            base[length < 0 ? 0 : length] = 0;
        }
    }
    if (snprintf(into, PATH_MAX, path[0] == '/' ? "%s%s" : "%s/%s", base, path) >= PATH_MAX) into[0] = 0;
}

static void of_descriptor(int descriptor, char *into) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = readlink(link, into, PATH_MAX - 1);
    into[length < 0 ? 0 : length] = 0;
}

static void note(const char *op, const char *rest) {
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s\t%s\n", op, rest);
    int file = syscall(SYS_openat, AT_FDCWD, log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file >= 0) {
        syscall(SYS_write, file, line, length);
        syscall(SYS_close, file);
    }
}

static int takes_space(const char *op) {
    return strcmp(op, "rename") && strcmp(op, "unlink") && strcmp(op, "fsync");
}

/* What becomes of an operation: 0 go on, 1 fail with errno set, 2 half of it. */
static int meets(const char *op, const char *path) {
    size_t length = strlen(prefix);
    if (strncmp(path, prefix, length) || path[length] != '/') return 0;
    const char *rest = path + length + 1;
    if (log_file[0]) note(op, rest);
    if (broken && (takes_space(op) || (fault != ENOSPC && fault != EDQUOT))) {
        errno = fault;
        return 1;
    }
    if (!nth || (ops[0] && !strstr(ops, op)) || (match[0] && fnmatch(match, rest, 0))) return 0;
    if (__sync_add_and_fetch(&counted, 1) != nth) return 0;
    if (half && !strcmp(op, "write")) return 2;
    if (sent) {
        kill(getpid(), sent);
        return 0;
    }
    broken = forever;
    errno = fault;
    return 1;
}

static int meets_path(const char *op, int folder, const char *path) {
    char whole[PATH_MAX];
    if (!armed || !path) return 0;
    absolute(folder, path, whole);
    return meets(op, whole);
}

static int meets_descriptor(const char *op, int descriptor) {
    char whole[PATH_MAX];
    if (!armed) return 0;
    int before = errno;
    of_descriptor(descriptor, whole);
    int found = meets(op, whole);
    if (!found) errno = before;
    return found;
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPENS(name, folder, ...) \
    NEXT(name); \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    } \
    if (writes(flags) && meets_path("open", folder, path) == 1) return -1; \
    return next(__VA_ARGS__, flags, mode)

int open(const char *path, int flags, ...) { OPENS(open, AT_FDCWD, path); }
int open64(const char *path, int flags, ...) { OPENS(open64, AT_FDCWD, path); }
int openat(int folder, const char *path, int flags, ...) { OPENS(openat, folder, folder, path); }
int openat64(int folder, const char *path, int flags, ...) { OPENS(openat64, folder, folder, path); }

FILE *fopen(const char *path, const char *mode) {
    NEXT(fopen);
    if (strpbrk(mode, "wa+") && meets_path("open", AT_FDCWD, path) == 1) return NULL;
    return next(path, mode);
}

FILE *fopen64(const char *path, const char *mode) {
    NEXT(fopen64);
    if (strpbrk(mode, "wa+") && meets_path("open", AT_FDCWD, path) == 1) return NULL;
    return next(path, mode);
}

/* Half of a write is done; a signal then follows it, else a full disk shows at the next one. */
static ssize_t torn(ssize_t done) {
    if (sent) kill(getpid(), sent);
    broken = forever;
    return done;
}

#define WRITES(name, ...) \
    NEXT(name); \
    int found = meets_descriptor("write", descriptor); \
    if (found == 1) return -1; \
    if (found == 2) return torn(next(descriptor, bytes, (count + 1) / 2, ##__VA_ARGS__)); \
    return next(descriptor, bytes, count, ##__VA_ARGS__)

ssize_t write(int descriptor, const void *bytes, size_t count) { WRITES(write); }
ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t at) { WRITES(pwrite, at); }
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t at) { WRITES(pwrite64, at); }

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    NEXT(writev);
    if (meets_descriptor("write", descriptor) == 1) return -1;
    return next(descriptor, parts, count);
}

ssize_t sendfile(int descriptor, int from, off_t *at, size_t count) {
    NEXT(sendfile);
    return meets_descriptor("write", descriptor) == 1 ? -1 : next(descriptor, from, at, count);
}

ssize_t sendfile64(int descriptor, int from, off64_t *at, size_t count) {
    NEXT(sendfile64);
    return meets_descriptor("write", descriptor) == 1 ? -1 : next(descriptor, from, at, count);
}

int ftruncate(int descriptor, off_t size) {
    NEXT(ftruncate);
    return meets_descriptor("truncate", descriptor) == 1 ? -1 : next(descriptor, size);
}

int ftruncate64(int descriptor, off64_t size) {
    NEXT(ftruncate64);
    return meets_descriptor("truncate", descriptor) == 1 ? -1 : next(descriptor, size);
}

int fallocate(int descriptor, int mode, off_t at, off_t size) {
    NEXT(fallocate);
    return meets_descriptor("truncate", descriptor) == 1 ? -1 : next(descriptor, mode, at, size);
}

int posix_fallocate(int descriptor, off_t at, off_t size) {
    NEXT(posix_fallocate);
    return meets_descriptor("truncate", descriptor) == 1 ? errno : next(descriptor, at, size);
}

int fsync(int descriptor) {
    NEXT(fsync);
    return meets_descriptor("fsync", descriptor) == 1 ? -1 : next(descriptor);
}

int fdatasync(int descriptor) {
    NEXT(fdatasync);
    return meets_descriptor("fsync", descriptor) == 1 ? -1 : next(descriptor);
}

int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    return meets_path("mkdir", AT_FDCWD, path) == 1 ? -1 : next(path, mode);
}

int rename(const char *from, const char *to) {
    NEXT(rename);
    return meets_path("rename", AT_FDCWD, to) == 1 ? -1 : next(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    NEXT(renameat);
    return meets_path("rename", to_folder, to) == 1 ? -1 : next(from_folder, from, to_folder, to);
}

int unlink(const char *path) {
    NEXT(unlink);
    return meets_path("unlink", AT_FDCWD, path) == 1 ? -1 : next(path);
}

int unlinkat(int folder, const char *path, int flags) {
    NEXT(unlinkat);
    return meets_path("unlink", folder, path) == 1 ? -1 : next(folder, path, flags);
}

int rmdir(const char *path) {
    NEXT(rmdir);
    return meets_path("unlink", AT_FDCWD, path) == 1 ? -1 : next(path);
}
