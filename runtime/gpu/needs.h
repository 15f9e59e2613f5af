/* needs.h: which buffers a set of tensors needs, worked out before anything is allocated. Planning
 * and allocating read the same list, so what is planned is what is taken. */
#ifndef PM_GPU_NEEDS_H
#define PM_GPU_NEEDS_H

#include "memory.h"

typedef struct pm__need {
    char name[32];
    VkDeviceSize bytes;
    pm__memory_use use;
    pm__placement at; /* once placed */
} pm__need;

typedef struct pm__needs {
    pm__need *items;
    uint32_t n;
    size_t capacity;
} pm__needs;

/* A place in the buffer of a need. */
typedef struct pm__spot {
    uint32_t need;
    VkDeviceSize offset, bytes;
} pm__spot;

void pm__needs_finish(pm__needs *needs);
pm_status pm__needs_add(pm__needs *needs, const char *name, VkDeviceSize bytes, pm__memory_use use);
/* Appends `bytes` to the last need if it is called `name` and stays within caps.most_allocation,
 * else to a new one. Spots begin at multiples of caps.offset_alignment. */
pm_status pm__needs_append(pm__needs *needs, const pm__gpu *gpu, const char *name,
                           VkDeviceSize bytes, pm__spot *spot);

/* Gives every need its place, the first ones first, and takes it from the room. */
pm_status pm__needs_place(pm__needs *needs, pm__gpu *gpu, pm__room *room);
/* Whether what was placed, and `extra` besides (may be NULL), fits a room.
 * what    "the session"
 * errors  OUT_OF_MEMORY: needed and free bytes of the heap that is too small, and what would help
 */
pm_status pm__needs_check(const pm__needs *needs, const pm__needs *extra, const pm__gpu *gpu,
                          const pm__room *room, const char *what);
/* What was placed, there.
 * buffers  out, [needs->n], all zero before */
pm_status pm__needs_allocate(const pm__needs *needs, pm__gpu *gpu, pm__buffer *buffers);
pm_status pm__needs_report(const pm__needs *needs, const pm__gpu *gpu, pm_plan_part part,
                           const pm__plan_sink *sink);

static inline pm__region pm__spot_region(const pm__spot *spot, const pm__buffer *buffers) {
    return (pm__region){.buffer = buffers != NULL ? buffers[spot->need].buffer : VK_NULL_HANDLE,
                        .offset = spot->offset,
                        .bytes = spot->bytes};
}

#endif
