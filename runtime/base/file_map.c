#include "file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pm_status map_descriptor(pm__file_map *map, int fd, const char *path) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return pm__fail(PM_BAD_FILE, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return pm__fail(PM_BAD_FILE, "%s: %s, not a regular file; give the path of a file", path,
                        S_ISDIR(info.st_mode) ? "a directory" : "a pipe or device");
    if (info.st_size == 0) {
        *map = (pm__file_map){0};
        return PM_OK;
    }
    void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED && errno == ENOMEM)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "%s: the system refused %lld bytes of memory to map the file; ulimit -v "
                        "shows a limit",
                        path, (long long)info.st_size);
    if (data == MAP_FAILED)
        return pm__fail(PM_BAD_FILE, "%s: cannot be mapped: %s", path, strerror(errno));
    *map = (pm__file_map){.data = data, .size = (size_t)info.st_size};
    return PM_OK;
}

pm_status pm__file_map_init(pm__file_map *map, const char *path) {
    /* Without O_NONBLOCK the open of a pipe without a writer would wait for one. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return pm__fail(PM_BAD_FILE, "%s: %s", path, strerror(errno));
    const pm_status status = map_descriptor(map, fd, path);
    close(fd);
    return status;
}

void pm__file_map_finish(pm__file_map *map) {
    if (map->data != NULL)
        munmap((void *)(uintptr_t)map->data, map->size);
    *map = (pm__file_map){0};
}
