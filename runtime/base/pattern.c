#define _GNU_SOURCE /* memfd_create, MAP_ANONYMOUS, MAP_NORESERVE */
#include "pattern.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

size_t pm__page_bytes(void) {
    const long bytes = sysconf(_SC_PAGESIZE);
    return bytes > 0 ? (size_t)bytes : 4096;
}

/* Memory with a descriptor; elsewhere than on Linux a file that has lost its name. */
static int open_memory(void) {
#ifdef MFD_CLOEXEC
    return memfd_create("pumice", MFD_CLOEXEC);
#else
    FILE *file = tmpfile();
    const int fd = file != NULL ? dup(fileno(file)) : -1;
    if (file != NULL)
        fclose(file);
    return fd;
#endif
}

/* Written once, so that memory that is not there is an error here and no signal later. */
static bool fill_with_zeros(int fd, size_t bytes) {
    static const char zeros[1 << 16];
    while (bytes > 0) {
        const ssize_t n = write(fd, zeros, bytes < sizeof zeros ? bytes : sizeof zeros);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes -= (size_t)n;
    }
    return true;
}

pm_status pm__pattern_init(pm__pattern *pattern, size_t bytes) {
    *pattern = (pm__pattern){.fd = open_memory(), .bytes = bytes};
    if (pattern->fd < 0)
        return pm__fail(PM_FAILURE, "pattern: no memory without a name can be had: %s",
                        strerror(errno));
    void *data = MAP_FAILED;
    if (fill_with_zeros(pattern->fd, bytes))
        data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pattern->fd, 0);
    if (data == MAP_FAILED) {
        close(pattern->fd);
        *pattern = (pm__pattern){.fd = -1};
        return pm__fail_memory("pattern", bytes);
    }
    pattern->data = data;
    return PM_OK;
}

void pm__pattern_finish(pm__pattern *pattern) {
    if (pattern->data == NULL)
        return;
    munmap(pattern->data, pattern->bytes);
    close(pattern->fd);
    *pattern = (pm__pattern){.fd = -1};
}

pm_status pm__pattern_reserve(pm__file_map *map, size_t bytes) {
    *map = (pm__file_map){0};
    void *data = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return pm__fail_memory("pattern: addresses", bytes);
    *map = (pm__file_map){.data = data, .size = bytes};
    return PM_OK;
}

pm_status pm__pattern_lay(const pm__pattern *pattern, size_t offset, const pm__file_map *map,
                          size_t at, size_t bytes) {
    uint8_t *to = (uint8_t *)(uintptr_t)map->data + at;
    while (bytes > 0) {
        const size_t left = pattern->bytes - offset;
        const size_t n = bytes < left ? bytes : left;
        if (mmap(to, n, PROT_READ, MAP_SHARED | MAP_FIXED, pattern->fd, (off_t)offset) ==
            MAP_FAILED)
            return pm__fail_memory("pattern: addresses", n);
        to += n;
        bytes -= n;
        offset = 0;
    }
    return PM_OK;
}
