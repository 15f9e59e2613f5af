/* ctest: gpu */
/* test_gpu_memory.c: buffers of each use carry bytes; the plan tells the truth; failures are said
 * and leave nothing behind; memory types of machines that are not here. */
#include "devices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- bytes there and back -------------------------------------------------------------------- */

enum { N_BYTE = 70001 * 4 };

static void copy(pm__gpu *gpu, VkCommandBuffer commands, void *user) {
    const pm__buffer *chain = user;
    const VkBufferCopy all = {.size = N_BYTE};
    for (int i = 0; i < 2; i++) {
        pm__full_barrier(gpu, commands);
        gpu->vk.vkCmdCopyBuffer(commands, chain[i].buffer, chain[i + 1].buffer, 1, &all);
    }
}

static void init(pm__gpu *gpu, pm__buffer *buffer, const char *name, pm__memory_use use) {
    pm__room room, now;
    pm__placement at;
    pm__room_init(&room, gpu);
    assert_int_equal(pm__buffer_place(gpu, name, N_BYTE, use, &room, &at), PM_OK);
    assert_int_equal(pm__buffer_init_at(gpu, buffer, name, N_BYTE, use, &at), PM_OK);
    const uint32_t heap = at.heap;
    assert_int_equal(buffer->heap, heap);
    assert_int_equal(buffer->bytes, N_BYTE);
    assert_int_equal(buffer->taken, at.taken);
    assert_int_equal(buffer->map != NULL, at.mapped);
    assert_true(at.taken >= N_BYTE);
    pm__room_init(&now, gpu);
    if (!gpu->memory_budget) /* which moves with what other programs take and give back */
        assert_true(now.heaps[heap] <= room.heaps[heap]);
    assert_true(pm__heap_free(gpu, heap) > 0);
    assert_true(pm__heap_free(gpu, heap) <= gpu->memory.memoryHeaps[heap].size);
    assert_true(strncmp(pm__heap_name(gpu, heap), "device ", 7) == 0 ||
                strncmp(pm__heap_name(gpu, heap), "host ", 5) == 0);
}

static void check_round_trip(pm__gpu *gpu) {
    pm__buffer chain[3];
    init(gpu, &chain[0], "from", PM__MEMORY_UPLOAD);
    init(gpu, &chain[1], "between", PM__MEMORY_DEVICE);
    init(gpu, &chain[2], "to", PM__MEMORY_READBACK);
    assert_non_null(chain[0].map);
    assert_non_null(chain[2].map);
    assert_true(chain[1].map != NULL || !gpu->unified);
    uint32_t *words = chain[0].map;
    for (uint32_t i = 0; i < N_BYTE / 4; i++)
        words[i] = i * 2654435761u;
    memset(chain[2].map, 0, N_BYTE);
    pm__run_once(gpu, copy, chain);
    assert_memory_equal(chain[0].map, chain[2].map, N_BYTE);
    for (int i = 0; i < 3; i++) {
        pm__buffer_finish(gpu, &chain[i]);
        pm__buffer_finish(gpu, &chain[i]);
        assert_null(chain[i].map);
    }
}

static void round_trip(void **state) {
    (void)state;
    pm__each_gpu("", check_round_trip);
}

/* ---- failures -------------------------------------------------------------------------------- */

static struct VolkDeviceTable real;
static int n_alive; /* buffers and memories */

static VKAPI_ATTR VkResult VKAPI_CALL count_create(VkDevice device, const VkBufferCreateInfo *info,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkBuffer *out) {
    const VkResult result = real.vkCreateBuffer(device, info, callbacks, out);
    n_alive += result == VK_SUCCESS;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL count_destroy(VkDevice device, VkBuffer buffer,
                                                const VkAllocationCallbacks *callbacks) {
    n_alive--;
    real.vkDestroyBuffer(device, buffer, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL count_allocate(VkDevice device,
                                                     const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkDeviceMemory *out) {
    const VkResult result = real.vkAllocateMemory(device, info, callbacks, out);
    n_alive += result == VK_SUCCESS;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL count_free(VkDevice device, VkDeviceMemory memory,
                                             const VkAllocationCallbacks *callbacks) {
    n_alive--;
    real.vkFreeMemory(device, memory, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_fails(VkDevice device, const VkBufferCreateInfo *info,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkBuffer *out) {
    (void)device, (void)info, (void)callbacks, (void)out;
    return VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_fails(VkDevice device,
                                                     const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkDeviceMemory *out) {
    (void)device, (void)info, (void)callbacks, (void)out;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR VkResult VKAPI_CALL bind_fails(VkDevice device, VkBuffer buffer,
                                                 VkDeviceMemory memory, VkDeviceSize offset) {
    (void)device, (void)buffer, (void)memory, (void)offset;
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR VkResult VKAPI_CALL map_fails(VkDevice device, VkDeviceMemory memory,
                                                VkDeviceSize offset, VkDeviceSize size,
                                                VkMemoryMapFlags flags, void **data) {
    (void)device, (void)memory, (void)offset, (void)size, (void)flags, (void)data;
    return VK_ERROR_MEMORY_MAP_FAILED;
}

static void expect_failure(pm__gpu *gpu, pm_status wanted) {
    pm__buffer buffer;
    assert_int_equal(pm__buffer_init(gpu, &buffer, "kettle", N_BYTE, PM__MEMORY_UPLOAD), wanted);
    assert_non_null(strstr(pm_last_error(), "kettle"));
    assert_int_equal(n_alive, 0);
    assert_true(buffer.buffer == VK_NULL_HANDLE && buffer.memory == VK_NULL_HANDLE);
    gpu->vk.vkCreateBuffer = count_create;
    gpu->vk.vkAllocateMemory = count_allocate;
    gpu->vk.vkBindBufferMemory = real.vkBindBufferMemory;
    gpu->vk.vkMapMemory = real.vkMapMemory;
}

static void check_failures(pm__gpu *gpu) {
    real = gpu->vk;
    n_alive = 0;
    gpu->vk.vkDestroyBuffer = count_destroy;
    gpu->vk.vkFreeMemory = count_free;
    gpu->vk.vkCreateBuffer = create_fails;
    expect_failure(gpu, PM_OUT_OF_MEMORY);
    gpu->vk.vkAllocateMemory = allocate_fails;
    expect_failure(gpu, PM_OUT_OF_MEMORY);
    const char *sentence = pm_last_error();
    assert_non_null(strstr(sentence, "needs 280"));
    assert_non_null(strstr(sentence, "free"));
    assert_non_null(strstr(sentence, "-c"));
    gpu->vk.vkBindBufferMemory = bind_fails;
    expect_failure(gpu, PM_OUT_OF_MEMORY);
    gpu->vk.vkMapMemory = map_fails;
    expect_failure(gpu, PM_OUT_OF_MEMORY);
    gpu->vk = real;
}

static void failures(void **state) {
    (void)state;
    pm__each_gpu("", check_failures);
}

static void check_sizes(pm__gpu *gpu) {
    pm__buffer buffer;
    const VkDeviceSize sizes[] = {0, gpu->caps.most_allocation + 1, UINT64_MAX};
    for (size_t i = 0; i < PM__COUNT(sizes); i++) {
        assert_int_equal(pm__buffer_init(gpu, &buffer, "kettle", sizes[i], PM__MEMORY_DEVICE),
                         PM_OUT_OF_MEMORY);
        assert_non_null(strstr(pm_last_error(), "kettle"));
    }
}

static void sizes(void **state) {
    (void)state;
    pm__each_gpu("", check_sizes);
}

/* ---- machines made up ------------------------------------------------------------------------ */

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    H = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    X = VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD,
    MOST_TYPES = 7
};

typedef struct machine {
    const char *name;
    bool unified;
    uint32_t heap_mib[3]; /* 0: no such heap */
    VkMemoryHeapFlags heap_flags[3];
    struct {
        VkMemoryPropertyFlags flags;
        uint32_t heap;
    } types[MOST_TYPES];
    uint32_t n_type;
    uint32_t wanted[3]; /* type for device, upload, readback */
} machine;

static const machine machines[] = {
    {"discrete, window of 256 MiB",
     false,
     {24000, 32000, 256},
     {L, 0, L},
     {{0, 1}, {L, 0}, {H, 1}, {H | C, 1}, {L | H, 2}},
     5,
     {1, 2, 3}},
    {"discrete, whole memory visible",
     false,
     {16000, 24000, 0},
     {0, L, 0},
     {{L, 1}, {H, 0}, {L | H, 1}, {H | C, 0}, {L | H | X, 1}, {H | C | X, 0}},
     6,
     {2, 1, 3}},
    {"integrated, one heap",
     true,
     {8000, 0, 0},
     {L, 0, 0},
     {{L, 0}, {L | H, 0}, {L | H | C, 0}},
     3,
     {1, 1, 2}},
    {"integrated, memory split in two",
     true,
     {6000, 3000, 0},
     {0, L, 0},
     {{L, 1}, {H, 0}, {L | H, 1}, {H | C, 0}},
     4,
     {2, 1, 3}},
    {"nothing cached", true, {6000, 0, 0}, {L, 0, 0}, {{L | H, 0}}, 1, {0, 0, 0}},
};

static uint32_t taken_type;
static uint32_t full_types; /* bits of types that have no room */

static VKAPI_ATTR VkResult VKAPI_CALL fake_create(VkDevice device, const VkBufferCreateInfo *info,
                                                  const VkAllocationCallbacks *callbacks,
                                                  VkBuffer *out) {
    (void)device, (void)info, (void)callbacks;
    memset(out, 1, sizeof *out);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL fake_destroy(VkDevice device, VkBuffer buffer,
                                               const VkAllocationCallbacks *callbacks) {
    (void)device, (void)buffer, (void)callbacks;
}

static VKAPI_ATTR void VKAPI_CALL fake_needs(VkDevice device, VkBuffer buffer,
                                             VkMemoryRequirements *out) {
    (void)device, (void)buffer;
    *out = (VkMemoryRequirements){.size = N_BYTE, .alignment = 16, .memoryTypeBits = ~0u};
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_allocate(VkDevice device,
                                                    const VkMemoryAllocateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDeviceMemory *out) {
    (void)device, (void)callbacks;
    if (full_types & 1u << info->memoryTypeIndex)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    taken_type = info->memoryTypeIndex;
    memset(out, 1, sizeof *out);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_bind(VkDevice device, VkBuffer buffer,
                                                VkDeviceMemory memory, VkDeviceSize offset) {
    (void)device, (void)buffer, (void)memory, (void)offset;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_map(VkDevice device, VkDeviceMemory memory,
                                               VkDeviceSize offset, VkDeviceSize size,
                                               VkMemoryMapFlags flags, void **data) {
    (void)device, (void)memory, (void)offset, (void)size, (void)flags;
    *data = &taken_type;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL fake_free(VkDevice device, VkDeviceMemory memory,
                                            const VkAllocationCallbacks *callbacks) {
    (void)device, (void)memory, (void)callbacks;
}

static void make_machine(pm__gpu *gpu, const machine *m) {
    *gpu = (pm__gpu){.unified = m->unified};
    gpu->caps.most_allocation = 1u << 30;
    gpu->info.name = m->name;
    for (uint32_t i = 0; i < 3 && m->heap_mib[i] != 0; i++)
        gpu->memory.memoryHeaps[gpu->memory.memoryHeapCount++] =
            (VkMemoryHeap){(VkDeviceSize)m->heap_mib[i] << 20, m->heap_flags[i]};
    for (uint32_t i = 0; i < m->n_type; i++)
        gpu->memory.memoryTypes[i] = (VkMemoryType){m->types[i].flags, m->types[i].heap};
    gpu->memory.memoryTypeCount = m->n_type;
    gpu->vk.vkCreateBuffer = fake_create;
    gpu->vk.vkDestroyBuffer = fake_destroy;
    gpu->vk.vkGetBufferMemoryRequirements = fake_needs;
    gpu->vk.vkAllocateMemory = fake_allocate;
    gpu->vk.vkBindBufferMemory = fake_bind;
    gpu->vk.vkMapMemory = fake_map;
    gpu->vk.vkFreeMemory = fake_free;
}

static void types(void **state) {
    (void)state;
    full_types = 0;
    for (size_t i = 0; i < PM__COUNT(machines); i++) {
        pm__gpu gpu;
        make_machine(&gpu, &machines[i]);
        for (uint32_t use = 0; use < 3; use++) {
            pm__buffer buffer;
            assert_int_equal(pm__buffer_init(&gpu, &buffer, "b", N_BYTE, (pm__memory_use)use),
                             PM_OK);
            if (taken_type != machines[i].wanted[use])
                fail_msg("%s: use %u has type %u", machines[i].name, use, taken_type);
            const bool visible = machines[i].types[taken_type].flags & H;
            assert_int_equal(visible, buffer.map != NULL);
            pm__buffer_finish(&gpu, &buffer);
        }
    }
}

/* A full device heap: a discrete GPU says so; where memory is shared anyway, the other heap is
 * taken. */
static void full_heap(void **state) {
    (void)state;
    pm__gpu gpu;
    pm__buffer buffer;
    make_machine(&gpu, &machines[0]);
    full_types = 1u << 1 | 1u << 4;
    assert_int_equal(pm__buffer_init(&gpu, &buffer, "b", N_BYTE, PM__MEMORY_DEVICE),
                     PM_OUT_OF_MEMORY);
    make_machine(&gpu, &machines[3]);
    full_types = 1u << 0 | 1u << 2;
    assert_int_equal(pm__buffer_init(&gpu, &buffer, "b", N_BYTE, PM__MEMORY_DEVICE), PM_OK);
    assert_int_equal(buffer.heap, 0);
    pm__buffer_finish(&gpu, &buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(failures),  cmocka_unit_test(sizes),
        cmocka_unit_test(types),      cmocka_unit_test(full_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
