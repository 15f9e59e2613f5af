#define _GNU_SOURCE /* madvise */
#include "system.h"

#include "checked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* The system reads no more of what one call asks for than the read-ahead of the disk, which is this
 * much unless somebody has set it. */
enum { READ_AHEAD_BYTES = 128 << 10 };

const char pm__system_heap[] = "system memory";

bool pm__system_read(const char *path, const char *key, char *out, size_t size) {
    FILE *file = fopen(path, "r");
    bool found = false;
    char line[256];
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const size_t n = strlen(key);
        if (strncmp(line, key, n) != 0)
            continue;
        const char *value = line + n + strspn(line + n, " \t:");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static bool read_number(const char *path, const char *key, uint64_t *out) {
    char text[64], *end;
    if (!pm__system_read(path, key, text, sizeof text))
        return false;
    *out = strtoull(text, &end, 10);
    return end != text;
}

/* What the control group leaves; file pages it holds can be dropped. A file that says "max" is no
 * limit. */
static uint64_t group_free(void) {
    uint64_t most, used, pages = 0;
    if (!read_number("/sys/fs/cgroup/memory.max", "", &most) ||
        !read_number("/sys/fs/cgroup/memory.current", "", &used))
        return UINT64_MAX;
    read_number("/sys/fs/cgroup/memory.stat", "file ", &pages);
    used -= pm__least_u64(used, pages);
    return most - pm__least_u64(most, used);
}

uint64_t pm__system_memory_free(void) {
    uint64_t kib;
    const uint64_t system =
        read_number("/proc/meminfo", "MemAvailable", &kib) ? kib * 1024 : UINT64_MAX;
    return pm__least_u64(system, group_free());
}

uint64_t pm__system_addresses_free(void) {
    struct rlimit limit;
    uint64_t pages;
    const long page = sysconf(_SC_PAGESIZE);
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || page <= 0 ||
        !read_number("/proc/self/statm", "", &pages))
        return UINT64_MAX;
    return limit.rlim_cur - pm__least_u64(limit.rlim_cur, pages * (uint64_t)page);
}

static void advise(const void *data, size_t n, int advice) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    const uintptr_t begin = at & ~(page - 1);
    const int held = errno;
    if (n > 0)
        (void)madvise((void *)begin, at + n - begin, advice);
    errno = held;
}

void pm__system_read_ahead(const void *data, size_t n) {
    const char *at = data;
    for (size_t i = 0; i < n; i += READ_AHEAD_BYTES)
        advise(at + i, n - i < READ_AHEAD_BYTES ? n - i : READ_AHEAD_BYTES, MADV_WILLNEED);
}

void pm__system_large_pages(void *data, size_t n) {
    advise(data, n, MADV_HUGEPAGE);
}
