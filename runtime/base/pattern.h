/* pattern.h: address space in which a piece of memory stands again and again: bytes as many as a
 * model has, of which only the piece is held. */
#ifndef PM_BASE_PATTERN_H
#define PM_BASE_PATTERN_H

#include <stdint.h>

#include "file_map.h"

typedef struct pm__pattern {
    int fd;        /* of memory without a name */
    uint8_t *data; /* the piece, to be written before it is laid out */
    size_t bytes;  /* whole pages */
} pm__pattern;

/* Bytes of a page: sizes and offsets below are multiples of it. */
size_t pm__page_bytes(void);

/* errors  OUT_OF_MEMORY, FAILURE (no memory without a name can be had). A failed init leaves
 *         nothing to finish. */
pm_status pm__pattern_init(pm__pattern *pattern, size_t bytes);
/* What was laid out stays. Idempotent. */
void pm__pattern_finish(pm__pattern *pattern);

/* Addresses that nothing is behind yet; given back by pm__file_map_finish().
 * errors  OUT_OF_MEMORY */
pm_status pm__pattern_reserve(pm__file_map *map, size_t bytes);
/* Bytes [at, at + bytes) of the map become copies of the pattern, of which the first one begins at
 * `offset`.
 * errors  OUT_OF_MEMORY */
pm_status pm__pattern_lay(const pm__pattern *pattern, size_t offset, const pm__file_map *map,
                          size_t at, size_t bytes);

#endif
