/* file_map.h: a file as a span of read-only bytes. */
#ifndef PM_BASE_FILE_MAP_H
#define PM_BASE_FILE_MAP_H

#include "status.h"

typedef struct pm__file_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} pm__file_map;

/* Maps a regular file. BAD_FILE for a directory, a pipe, a device, a missing or unreadable file;
 * OUT_OF_MEMORY where it does not fit into the address space (ulimit -v). */
pm_status pm__file_map_init(pm__file_map *map, const char *path);
void pm__file_map_finish(pm__file_map *map);

#endif
