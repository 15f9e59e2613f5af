#include "memory.h"

#include "../base/checked.h"
#include "../base/log.h"
#include "../base/system.h"

#include <stdio.h>

/* ---- which type ------------------------------------------------------------------------------ */

enum {
    LOCAL = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    VISIBLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
    COHERENT = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    CACHED = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    MAPPABLE = VISIBLE | COHERENT
};

static const VkMemoryType *type_of(const pm__gpu *gpu, uint32_t type) {
    return &gpu->memory.memoryTypes[type];
}

/* A host-visible window of 256 MiB into a larger memory is too small to live in. */
static bool in_largest_local_heap(const pm__gpu *gpu, uint32_t type) {
    const VkDeviceSize bytes = gpu->memory.memoryHeaps[type_of(gpu, type)->heapIndex].size;
    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &gpu->memory.memoryHeaps[i];
        if (heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && heap->size > bytes)
            return false;
    }
    return true;
}

static int score_device(const pm__gpu *gpu, uint32_t type) {
    const VkMemoryPropertyFlags flags = type_of(gpu, type)->propertyFlags;
    const bool mappable = (flags & MAPPABLE) == MAPPABLE;
    if (!(flags & LOCAL)) /* never across the bus without being asked; where memory is shared it is
                             no loss */
        return gpu->unified && mappable ? 1 : 0;
    if (mappable && (gpu->unified || in_largest_local_heap(gpu, type)))
        return 4;
    return flags & VISIBLE ? 2 : 3;
}

/* 0: cannot serve this use; else the more the better. */
static int score(const pm__gpu *gpu, uint32_t type, pm__memory_use use) {
    const VkMemoryPropertyFlags flags = type_of(gpu, type)->propertyFlags;
    /* Types of extensions (protected, lazily allocated, uncached for debugging) are none of ours.
     */
    if (flags & ~(VkMemoryPropertyFlags)(LOCAL | MAPPABLE | CACHED))
        return 0;
    if (use == PM__MEMORY_DEVICE)
        return score_device(gpu, type);
    if ((flags & MAPPABLE) != MAPPABLE)
        return 0;
    /* Device memory behind the bus is scarce, and slow for the host to read. */
    const int place = flags & LOCAL && !gpu->unified ? 1 : 3;
    const bool cached = flags & CACHED;
    return place + (cached == (use == PM__MEMORY_READBACK));
}

/* Types that can serve, best first; equal ones in the driver's order, as the specification wants.
 */
static uint32_t rank_types(const pm__gpu *gpu, uint32_t allowed, pm__memory_use use,
                           uint32_t types[VK_MAX_MEMORY_TYPES]) {
    uint32_t n = 0;
    for (uint32_t type = 0; type < gpu->memory.memoryTypeCount; type++) {
        const int value = allowed & 1u << type ? score(gpu, type, use) : 0;
        if (value == 0)
            continue;
        uint32_t place = n++;
        for (; place > 0 && score(gpu, types[place - 1], use) < value; place--)
            types[place] = types[place - 1];
        types[place] = type;
    }
    return n;
}

/* ---- heaps ----------------------------------------------------------------------------------- */

const char *pm__heap_name(const pm__gpu *gpu, uint32_t heap) {
    return gpu->heap_names[heap];
}

static uint64_t less(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

uint64_t pm__heap_free(const pm__gpu *gpu, uint32_t heap) {
    const VkDeviceSize size = gpu->memory.memoryHeaps[heap].size;
    uint64_t left = less(size, gpu->taken[heap]);
    if (gpu->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU)
        left = pm__least_u64(left, less(pm__system_addresses_free(), PM__DRIVER_ADDRESSES / 8));
    if (!gpu->memory_budget)
        return left;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT,
    };
    VkPhysicalDeviceMemoryProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = &budget,
    };
    vkGetPhysicalDeviceMemoryProperties2(gpu->physical, &properties);
    /* Drivers count what we have taken late or not at all. */
    return pm__least_u64(left, less(budget.heapBudget[heap], budget.heapUsage[heap]));
}

bool pm__heap_is_limited(const pm__gpu *gpu, uint32_t heap) {
    return gpu->unified || gpu->memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

/* ---- room ------------------------------------------------------------------------------------ */

static uint64_t limit_left(const pm__gpu *gpu) {
    uint64_t taken = 0;
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++)
        taken += pm__heap_is_limited(gpu, heap) ? gpu->taken[heap] : 0;
    return gpu->most_bytes != 0 ? less(gpu->most_bytes, taken) : UINT64_MAX;
}

void pm__room_init(pm__room *room, const pm__gpu *gpu) {
    *room = (pm__room){.limit = limit_left(gpu)};
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++)
        room->heaps[heap] = pm__heap_free(gpu, heap);
}

static bool has_room(const pm__gpu *gpu, const pm__room *room, uint32_t heap, uint64_t bytes) {
    return bytes <= room->heaps[heap] && (bytes <= room->limit || !pm__heap_is_limited(gpu, heap));
}

static void use_room(const pm__gpu *gpu, pm__room *room, uint32_t heap, uint64_t bytes) {
    room->heaps[heap] = less(room->heaps[heap], bytes);
    if (room->limit != UINT64_MAX && pm__heap_is_limited(gpu, heap))
        room->limit = less(room->limit, bytes);
}

/* ---- buffers --------------------------------------------------------------------------------- */

/* pm__gpu_check, its sentence naming the floor and the buffer. */
static pm_status check_buffer(pm__gpu *gpu, VkResult result, const pm__buffer *buffer) {
    char what[96];
    if (result == VK_SUCCESS && !gpu->lost)
        return PM_OK;
    snprintf(what, sizeof what, "gpu: buffer '%s'", buffer->name);
    return pm__gpu_check(gpu, result, what);
}

static VkResult create_buffer(pm__gpu *gpu, VkDeviceSize bytes, VkBuffer *out,
                              VkMemoryRequirements *needs) {
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                 (gpu->one_dispatch ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0u),
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    const VkResult result = gpu->vk.vkCreateBuffer(gpu->device, &info, NULL, out);
    if (result == VK_SUCCESS)
        gpu->vk.vkGetBufferMemoryRequirements(gpu->device, *out, needs);
    else
        *out = VK_NULL_HANDLE;
    return result;
}

static pm_status fail_full(const pm__gpu *gpu, const char *name, uint64_t bytes, uint32_t heap) {
    pm__room room;
    pm__room_init(&room, gpu);
    uint64_t left = room.heaps[heap];
    const char *why = left < bytes ? "" : " by what the driver says, but it gives none";
    if (pm__heap_is_limited(gpu, heap) && room.limit < left) {
        left = room.limit;
        why = left < bytes ? " under the limit (--max-vram)" : why;
    }
    return pm__fail(
        PM_OUT_OF_MEMORY,
        "gpu: memory: buffer '%s' needs %llu bytes (%.1f MiB) of heap '%s', which has %llu bytes "
        "(%.1f MiB) free%s; try a smaller -c or -b, a smaller model, or another --device",
        name, (unsigned long long)bytes, pm__mib(bytes), pm__heap_name(gpu, heap),
        (unsigned long long)left, pm__mib(left), why);
}

static pm_status check_size(const pm__gpu *gpu, const char *name, VkDeviceSize bytes) {
    if (bytes > 0 && bytes <= gpu->caps.most_allocation)
        return PM_OK;
    return pm__fail(
        PM_OUT_OF_MEMORY,
        "gpu: memory: buffer '%s' of %llu bytes: device '%s' takes 1 to %llu bytes a buffer; try a "
        "smaller -c or -b",
        name, (unsigned long long)bytes, gpu->info.name,
        (unsigned long long)gpu->caps.most_allocation);
}

static bool maps(const pm__gpu *gpu, uint32_t type, pm__memory_use use) {
    return (type_of(gpu, type)->propertyFlags & MAPPABLE) == MAPPABLE &&
           !(use == PM__MEMORY_DEVICE && gpu->unmapped);
}

static pm_status choose(const pm__gpu *gpu, const char *name, const VkMemoryRequirements *needs,
                        pm__memory_use use, pm__room *room, pm__placement *out) {
    uint32_t types[VK_MAX_MEMORY_TYPES];
    const uint32_t n = rank_types(gpu, needs->memoryTypeBits, use, types);
    if (n == 0)
        return pm__fail(PM_FAILURE, "gpu: memory: device '%s' has no memory type for buffer '%s'",
                        gpu->info.name, name);
    uint32_t type = types[0];
    for (uint32_t i = n; i-- > 0;)
        if (has_room(gpu, room, type_of(gpu, types[i])->heapIndex, needs->size))
            type = types[i];
    const uint32_t heap = type_of(gpu, type)->heapIndex;
    use_room(gpu, room, heap, needs->size);
    *out = (pm__placement){
        .taken = needs->size, .type = type, .heap = heap, .mapped = maps(gpu, type, use)};
    return PM_OK;
}

pm_status pm__buffer_place(pm__gpu *gpu, const char *name, VkDeviceSize bytes, pm__memory_use use,
                           pm__room *room, pm__placement *out) {
    VkBuffer buffer;
    VkMemoryRequirements needs;
    const pm__buffer named = {.name = name};
    PM_TRY(check_size(gpu, name, bytes));
    PM_TRY(check_buffer(gpu, create_buffer(gpu, bytes, &buffer, &needs), &named));
    gpu->vk.vkDestroyBuffer(gpu->device, buffer, NULL);
    return choose(gpu, name, &needs, use, room, out);
}

/* ---- taking them ----------------------------------------------------------------------------- */

static VkResult allocate(pm__gpu *gpu, pm__buffer *buffer, VkDeviceSize bytes, uint32_t type) {
    if (pm__heap_is_limited(gpu, type_of(gpu, type)->heapIndex) && bytes > limit_left(gpu))
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    const VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = gpu->one_dispatch ? &flags : NULL,
        .allocationSize = bytes,
        .memoryTypeIndex = type,
    };
    const VkResult result = gpu->vk.vkAllocateMemory(gpu->device, &info, NULL, &buffer->memory);
    buffer->heap = type_of(gpu, type)->heapIndex;
    if (result != VK_SUCCESS) {
        buffer->memory = VK_NULL_HANDLE;
        return result;
    }
    buffer->taken = bytes;
    gpu->taken[buffer->heap] += bytes;
    return result;
}

static bool is_full(VkResult result) {
    return result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY;
}

/* Once for every heap that buffers come to, as pm__needs_allocate begins anew. */
static void say_spill(pm__gpu *gpu, const pm__buffer *buffer, uint32_t from) {
    if (buffer->heap == from || gpu->spill_said & 1u << buffer->heap)
        return;
    gpu->spill_said |= 1u << buffer->heap;
    pm__log(PM_LOG_WARN,
            "gpu: memory: heap '%s' has no room for buffer '%s' of %llu bytes; it is in heap '%s', "
            "and so may be others",
            pm__heap_name(gpu, from), buffer->name, (unsigned long long)buffer->taken,
            pm__heap_name(gpu, buffer->heap));
}

/* Tries the type it was placed in, then those that rank behind it; *type is the one that was
 * taken. */
static pm_status allocate_from(pm__gpu *gpu, pm__buffer *buffer, const VkMemoryRequirements *needs,
                               pm__memory_use use, uint32_t *type) {
    uint32_t types[VK_MAX_MEMORY_TYPES];
    const uint32_t n = rank_types(gpu, needs->memoryTypeBits, use, types);
    const uint32_t first = *type;
    uint32_t i = 0;
    while (i < n && types[i] != first)
        i++;
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (; i < n && is_full(result); i++) {
        *type = types[i];
        result = allocate(gpu, buffer, needs->size, *type);
    }
    if (is_full(result))
        return fail_full(gpu, buffer->name, needs->size, type_of(gpu, first)->heapIndex);
    if (result == VK_SUCCESS)
        say_spill(gpu, buffer, type_of(gpu, types[0])->heapIndex);
    return check_buffer(gpu, result, buffer);
}

static pm_status bind_and_map(pm__gpu *gpu, pm__buffer *buffer, pm__memory_use use, uint32_t type) {
    PM_TRY(check_buffer(
        gpu, gpu->vk.vkBindBufferMemory(gpu->device, buffer->buffer, buffer->memory, 0), buffer));
    if (!maps(gpu, type, use))
        return PM_OK;
    return check_buffer(
        gpu, gpu->vk.vkMapMemory(gpu->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->map),
        buffer);
}

/* at  NULL: by the room there is now */
static pm_status fill_buffer(pm__gpu *gpu, pm__buffer *buffer, pm__memory_use use,
                             const pm__placement *at) {
    VkMemoryRequirements needs;
    pm__placement now;
    PM_TRY(check_buffer(gpu, create_buffer(gpu, buffer->bytes, &buffer->buffer, &needs), buffer));
    if (at == NULL) {
        pm__room room;
        pm__room_init(&room, gpu);
        PM_TRY(choose(gpu, buffer->name, &needs, use, &room, &now));
        at = &now;
    }
    uint32_t type = at->type;
    PM_TRY(allocate_from(gpu, buffer, &needs, use, &type));
    return bind_and_map(gpu, buffer, use, type);
}

pm_status pm__buffer_init_at(pm__gpu *gpu, pm__buffer *buffer, const char *name, VkDeviceSize bytes,
                             pm__memory_use use, const pm__placement *at) {
    *buffer = (pm__buffer){.name = name, .bytes = bytes};
    PM_TRY(check_size(gpu, name, bytes));
    const pm_status status = fill_buffer(gpu, buffer, use, at);
    if (status != PM_OK)
        pm__buffer_finish(gpu, buffer);
    return status;
}

pm_status pm__buffer_init(pm__gpu *gpu, pm__buffer *buffer, const char *name, VkDeviceSize bytes,
                          pm__memory_use use) {
    return pm__buffer_init_at(gpu, buffer, name, bytes, use, NULL);
}

void pm__buffer_finish(pm__gpu *gpu, pm__buffer *buffer) {
    if (buffer->buffer != VK_NULL_HANDLE)
        gpu->vk.vkDestroyBuffer(gpu->device, buffer->buffer, NULL);
    if (buffer->memory != VK_NULL_HANDLE) {
        gpu->vk.vkFreeMemory(gpu->device, buffer->memory, NULL); /* unmaps it */
        gpu->taken[buffer->heap] -= buffer->taken;
    }
    *buffer = (pm__buffer){0};
}
