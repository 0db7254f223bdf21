/* Makes syncs and writes of chosen files fail with EIO, for a program that this library is preloaded into.
 *
 * FAIL_SYNC and FAIL_WRITE name files. While such a file is there, its content is a part of a path: calls on open
 * files whose path contains it fail.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *variable, int fd) {
    const char *order = getenv(variable);
    if (order == NULL)
        return 0;
    int file = open(order, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    char part[256];
    ssize_t part_length = read(file, part, sizeof part - 1);
    close(file);
    if (part_length <= 0)
        return 0;
    part[part_length] = '\0';

    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t path_length = readlink(link, path, sizeof path - 1);
    if (path_length <= 0)
        return 0;
    path[path_length] = '\0';
    return strstr(path, part) != NULL;
}

static int refuse(void) {
    errno = EIO;
    return -1;
}

int fdatasync(int fd) { return fails("FAIL_SYNC", fd) ? refuse() : (int)syscall(SYS_fdatasync, fd); }

int fsync(int fd) { return fails("FAIL_SYNC", fd) ? refuse() : (int)syscall(SYS_fsync, fd); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return fails("FAIL_WRITE", fd) ? refuse() : syscall(SYS_pwrite64, fd, bytes, count, offset);
}
