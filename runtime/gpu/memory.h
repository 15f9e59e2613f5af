/* memory.h: buffers, one allocation each; regions are parts of them. */
#ifndef PM_GPU_MEMORY_H
#define PM_GPU_MEMORY_H

#include "device.h"

typedef enum pm__memory_use {
    /* Read and written by kernels; mapped where the host reaches the device's memory (unified,
     * large BAR). */
    PM__MEMORY_DEVICE,
    PM__MEMORY_UPLOAD,  /* written by the host, coherent */
    PM__MEMORY_READBACK /* read by the host, coherent and cached where possible */
} pm__memory_use;

typedef struct pm__buffer {
    const char *name;
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize bytes, taken; /* as asked for; of the allocation */
    uint32_t heap;
    void *map; /* NULL where the host cannot see it */
} pm__buffer;

typedef struct pm__region {
    VkBuffer buffer;
    VkDeviceSize offset, bytes;
} pm__region;

/* ---- room ------------------------------------------------------------------------------------ */

/* What may still be taken, while buffers are placed one after the other. */
typedef struct pm__room {
    uint64_t heaps[VK_MAX_MEMORY_HEAPS];
    uint64_t limit; /* of all limited heaps together; UINT64_MAX: no limit */
} pm__room;

void pm__room_init(pm__room *room, const pm__gpu *gpu);

/* Where a buffer goes. */
typedef struct pm__placement {
    VkDeviceSize taken; /* bytes of the allocation */
    uint32_t type, heap;
    bool mapped; /* the host will see it */
} pm__placement;

/* The best memory type whose heap has room, and its room less what the buffer takes. Where none has
 * room, the best type, so that the sum of what a heap is to hold passes what it has. Allocates
 * nothing. */
pm_status pm__buffer_place(pm__gpu *gpu, const char *name, VkDeviceSize bytes, pm__memory_use use,
                           pm__room *room, pm__placement *out);

/* ---- buffers --------------------------------------------------------------------------------- */

/* Usage: storage, transfer both ways, indirect. bytes at most caps.most_allocation. Placed by the
 * room there is now.
 * errors  OUT_OF_MEMORY: names the buffer, needed and free bytes of the heap */
pm_status pm__buffer_init(pm__gpu *gpu, pm__buffer *buffer, const char *name, VkDeviceSize bytes,
                          pm__memory_use use);
/* The same where it was placed before (NULL: placed now). A heap that turns out to be full leaves
 * the buffer to the next best type, and that is a warning. */
pm_status pm__buffer_init_at(pm__gpu *gpu, pm__buffer *buffer, const char *name, VkDeviceSize bytes,
                             pm__memory_use use, const pm__placement *at);
void pm__buffer_finish(pm__gpu *gpu, pm__buffer *buffer); /* idempotent */

/* ---- heaps ----------------------------------------------------------------------------------- */

/* "device 0", "host 1" ... */
const char *pm__heap_name(const pm__gpu *gpu, uint32_t heap);
/* By VK_EXT_memory_budget, else its size, less what was taken through here. */
uint64_t pm__heap_free(const pm__gpu *gpu, uint32_t heap);
/* Whether what it holds counts against gpu->most_bytes: the device's own memory, and where memory
 * is shared all of it. */
bool pm__heap_is_limited(const pm__gpu *gpu, uint32_t heap);

#endif
