/* A library to be preloaded: the n-th call that writes below a folder fails, as if the disk did.

   cc -shared -fPIC -o faults.so faults.c -ldl
   FAULTS_BELOW=/tmp/x LD_PRELOAD=./faults.so python …

   faults_arm(n, error, mode) makes the n-th call from then on fail with `error`; mode 1: and all after it that take
   room (a disk that is full stays full); mode 2: writes write half of what they were given; -1 disarms.
   faults_count() is how many calls there were since, faults_what() the name of the first that failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long at = -1, count = 0;
static int with = 0, mode = 0;
static const char *what = "";

void faults_arm(long n, int error, int how) {
    pthread_mutex_lock(&lock);
    at = n, with = error, mode = how, count = 0, what = "";
    pthread_mutex_unlock(&lock);
}
long faults_count(void) { return count; }
const char *faults_what(void) { return what; }

static int below(const char *path) {
    const char *folder = getenv("FAULTS_BELOW");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path);
}

/* 0: go on; 1: fail; 2: write half */
static int judge(const char *name, int room) {
    int verdict = 0;
    pthread_mutex_lock(&lock);
    long now = count++;
    if (at >= 0 && (now == at || (mode == 1 && now > at && room) || (mode == 2 && now >= at))) {
        if (mode == 2) verdict = room == 2 ? 2 : 0;
        else verdict = 1;
        if (verdict && !*what) what = name;
    }
    pthread_mutex_unlock(&lock);
    return verdict;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(name, room) do { if (judge(name, room) == 1) { errno = with; return -1; } } while (0)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); mode_t m = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); m = va_arg(a, mode_t); va_end(a); } \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR) && below(path)) FAIL("open", flags & O_CREAT); \
        return real(path, flags, m); }
OPEN(open)
OPEN(open64)

#define WRITE(name, call, bytes, half) { REAL(name); \
    if (fd_below(fd)) { int v = judge(#name, 2); if (v == 1) { errno = with; return -1; } \
        if (v == 2 && (bytes) > 1) return half; } return call; }
ssize_t write(int fd, const void *data, size_t n) WRITE(write, real(fd, data, n), n, real(fd, data, n / 2))
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t o)
    WRITE(pwrite64, real(fd, data, n, o), n, real(fd, data, n / 2, o))
ssize_t pwrite(int fd, const void *data, size_t n, off_t o)
    WRITE(pwrite, real(fd, data, n, o), n, real(fd, data, n / 2, o))
ssize_t writev(int fd, const struct iovec *v, int n) WRITE(writev, real(fd, v, n), 0, 0)

int fsync(int fd) { REAL(fsync); if (fd_below(fd)) FAIL("fsync", 1); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); if (fd_below(fd)) FAIL("fdatasync", 1); return real(fd); }
int fchmod(int fd, mode_t m) { REAL(fchmod); if (fd_below(fd)) FAIL("fchmod", 0); return real(fd, m); }
int chmod(const char *p, mode_t m) { REAL(chmod); if (below(p)) FAIL("chmod", 0); return real(p, m); }
int ftruncate64(int fd, off64_t n) { REAL(ftruncate64); if (fd_below(fd)) FAIL("ftruncate", 1); return real(fd, n); }
int rename(const char *a, const char *b) { REAL(rename); if (below(b)) FAIL("rename", 1); return real(a, b); }
int mkdir(const char *p, mode_t m) { REAL(mkdir); if (below(p)) FAIL("mkdir", 1); return real(p, m); }
int unlink(const char *p) { REAL(unlink); if (below(p)) FAIL("unlink", 0); return real(p); }
int rmdir(const char *p) { REAL(rmdir); if (below(p)) FAIL("rmdir", 0); return real(p); }
int close(int fd) {
    REAL(close);
    if (fd_below(fd)) {
        int v = judge("close", 1);
        int r = real(fd); /* as Linux does: it is closed, whatever it says */
        if (v == 1) { errno = with; return -1; }
        return r;
    }
    return real(fd);
}
