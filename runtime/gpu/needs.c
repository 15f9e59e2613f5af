#include "needs.h"

#include "../base/checked.h"
#include "../base/grow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pm__needs_finish(pm__needs *needs) {
    free(needs->items);
    *needs = (pm__needs){0};
}

pm_status pm__needs_add(pm__needs *needs, const char *name, VkDeviceSize bytes,
                        pm__memory_use use) {
    PM_TRY(pm__grow("gpu: plan", &needs->items, &needs->capacity, needs->n, sizeof *needs->items));
    pm__need *need = &needs->items[needs->n++];
    *need = (pm__need){.bytes = bytes, .use = use};
    snprintf(need->name, sizeof need->name, "%s", name);
    return PM_OK;
}

pm_status pm__needs_append(pm__needs *needs, const pm__gpu *gpu, const char *name,
                           VkDeviceSize bytes, pm__spot *spot) {
    if (bytes > gpu->caps.most_allocation)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "gpu: %s: %" PRIu64 " bytes in one piece, %s allows %" PRIu64
                        "; use a smaller -c or -b",
                        name, (uint64_t)bytes, gpu->info.name, gpu->caps.most_allocation);
    if (needs->n > 0 && strcmp(needs->items[needs->n - 1].name, name) == 0) {
        pm__need *last = &needs->items[needs->n - 1];
        const VkDeviceSize offset = pm__round_up(last->bytes, gpu->caps.offset_alignment);
        if (offset + bytes <= gpu->caps.most_allocation) {
            last->bytes = offset + bytes;
            *spot = (pm__spot){.need = needs->n - 1, .offset = offset, .bytes = bytes};
            return PM_OK;
        }
    }
    *spot = (pm__spot){.need = needs->n, .bytes = bytes};
    return pm__needs_add(needs, name, bytes, PM__MEMORY_DEVICE);
}

pm_status pm__needs_check(const pm__needs *needs, pm__gpu *gpu, const char *what) {
    VkDeviceSize needed[VK_MAX_MEMORY_HEAPS] = {0};
    for (uint32_t i = 0; i < needs->n; i++) {
        VkDeviceSize taken;
        uint32_t heap;
        PM_TRY(pm__buffer_plan(gpu, needs->items[i].bytes, needs->items[i].use, &taken, &heap));
        needed[heap] += taken;
    }
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++) {
        const uint64_t free_bytes = pm__heap_free(gpu, heap);
        if (needed[heap] > free_bytes)
            return pm__fail(PM_OUT_OF_MEMORY,
                            "gpu: %s needs %" PRIu64 " bytes of %s on %s, %" PRIu64
                            " are free; use a smaller model, a smaller -c or -b, or --device cpu",
                            what, (uint64_t)needed[heap], pm__heap_name(gpu, heap), gpu->info.name,
                            free_bytes);
    }
    return PM_OK;
}

pm_status pm__needs_allocate(const pm__needs *needs, pm__gpu *gpu, pm__buffer *buffers) {
    for (uint32_t i = 0; i < needs->n; i++)
        PM_TRY(pm__buffer_init(gpu, &buffers[i], needs->items[i].name, needs->items[i].bytes,
                               needs->items[i].use));
    return PM_OK;
}

pm_status pm__needs_report(const pm__needs *needs, pm__gpu *gpu, const pm__plan_sink *sink) {
    for (uint32_t i = 0; i < needs->n; i++) {
        VkDeviceSize taken;
        uint32_t heap;
        PM_TRY(pm__buffer_plan(gpu, needs->items[i].bytes, needs->items[i].use, &taken, &heap));
        PM_TRY(sink->buffer(sink->user, needs->items[i].name, pm__heap_name(gpu, heap), taken));
    }
    return PM_OK;
}
