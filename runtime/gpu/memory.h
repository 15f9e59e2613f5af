/* memory.h: buffers, one allocation each; regions are parts of them. */
#ifndef PM_GPU_MEMORY_H
#define PM_GPU_MEMORY_H

#include "device.h"

typedef enum pm__memory_use {
    /* Read and written by kernels; mapped where the host reaches the device's memory (unified, large
     * BAR). */
    PM__MEMORY_DEVICE,
    PM__MEMORY_UPLOAD,  /* written by the host, coherent */
    PM__MEMORY_READBACK /* read by the host, coherent and cached where possible */
} pm__memory_use;

typedef struct pm__buffer {
    const char *name;
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize bytes;
    uint32_t heap;
    void *map; /* NULL where the host cannot see it */
} pm__buffer;

typedef struct pm__region {
    VkBuffer buffer;
    VkDeviceSize offset, bytes;
} pm__region;

/* Usage: storage, transfer both ways, indirect. bytes at most caps.most_allocation.
 * errors  OUT_OF_MEMORY: names the buffer, needed and free bytes of the heap */
pm_status pm__buffer_init(pm__gpu *gpu, pm__buffer *buffer, const char *name, VkDeviceSize bytes,
                          pm__memory_use use);
void pm__buffer_finish(pm__gpu *gpu, pm__buffer *buffer); /* idempotent */

/* Bytes a buffer of this size really takes and the heap it goes to, without allocating it. */
pm_status pm__buffer_plan(pm__gpu *gpu, VkDeviceSize bytes, pm__memory_use use, VkDeviceSize *taken,
                          uint32_t *heap);
/* "device 0", "host 1" ...: name of a heap; free bytes by VK_EXT_memory_budget, else its size. */
const char *pm__heap_name(const pm__gpu *gpu, uint32_t heap);
uint64_t pm__heap_free(const pm__gpu *gpu, uint32_t heap);

#endif
