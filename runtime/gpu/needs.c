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

pm_status pm__needs_place(pm__needs *needs, pm__gpu *gpu, pm__room *room) {
    for (uint32_t i = 0; i < needs->n; i++) {
        pm__need *need = &needs->items[i];
        PM_TRY(pm__buffer_place(gpu, need->name, need->bytes, need->use, room, &need->at));
    }
    return PM_OK;
}

static void sum(const pm__needs *needs, uint64_t heaps[VK_MAX_MEMORY_HEAPS]) {
    for (uint32_t i = 0; i < needs->n; i++)
        heaps[needs->items[i].at.heap] += needs->items[i].at.taken;
}

static pm_status fail_full(const pm__gpu *gpu, const char *what, uint64_t needed, const char *where,
                           uint64_t left) {
    return pm__fail(PM_OUT_OF_MEMORY,
                    "gpu: %s needs %" PRIu64 " bytes of %s on %s, %" PRIu64
                    " are free; use a smaller model, a smaller -c or -b, or --device cpu",
                    what, needed, where, gpu->info.name, left);
}

pm_status pm__needs_check(const pm__needs *needs, const pm__needs *extra, const pm__gpu *gpu,
                          const pm__room *room, const char *what) {
    uint64_t needed[VK_MAX_MEMORY_HEAPS] = {0}, limited = 0;
    sum(needs, needed);
    if (extra != NULL)
        sum(extra, needed);
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++) {
        if (needed[heap] > room->heaps[heap])
            return fail_full(gpu, what, needed[heap], pm__heap_name(gpu, heap), room->heaps[heap]);
        limited += pm__heap_is_limited(gpu, heap) ? needed[heap] : 0;
    }
    return limited <= room->limit
               ? PM_OK
               : fail_full(gpu, what, limited, "what --max-vram allows", room->limit);
}

pm_status pm__needs_allocate(const pm__needs *needs, pm__gpu *gpu, pm__buffer *buffers) {
    gpu->spill_said = 0;
    for (uint32_t i = 0; i < needs->n; i++) {
        const pm__need *need = &needs->items[i];
        PM_TRY(pm__buffer_init_at(gpu, &buffers[i], need->name, need->bytes, need->use, &need->at));
    }
    return PM_OK;
}

pm_status pm__needs_report(const pm__needs *needs, const pm__gpu *gpu, pm_plan_part part,
                           const pm__plan_sink *sink) {
    for (uint32_t i = 0; i < needs->n; i++) {
        const pm__need *need = &needs->items[i];
        const pm_plan_buffer buffer = {.name = need->name,
                                       .heap = pm__heap_name(gpu, need->at.heap),
                                       .bytes = need->at.taken,
                                       .part = part};
        PM_TRY(sink->buffer(sink->user, &buffer));
    }
    return PM_OK;
}
