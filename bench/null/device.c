/* device.c: a Vulkan device whose work takes no time, so that all that is left is the host's own.
 * For LD_PRELOAD before pumice or llama-bench; bench/host builds and uses it.
 *
 * On top of ../shared/vktools/vknull.c, which pretends memory, command buffers and submissions over
 * a real driver's compiler: fills of a few bytes are done, so that submissions end with the word
 * that pumice looks for, and each submission that writes the ring of drawn tokens adds a token to
 * it. The ring is the buffer of NULL_RING bytes. */
#define vkGetInstanceProcAddr base_instance_proc
#define vkGetDeviceProcAddr   base_device_proc
#include "vknull.c"
#include <stdbool.h>
#undef vkGetInstanceProcAddr
#undef vkGetDeviceProcAddr

enum { MOST_FILLS = 64, MOST_FILL_BYTES = 64, MOST_SETS = 64, RING_SLOTS = 16 };

/* vknull.c reads the first member. */
typedef struct buffer {
    VkDeviceSize bytes;
    char *memory;
} buffer;

typedef struct fill {
    const buffer *to;
    VkDeviceSize offset, bytes;
    uint32_t word;
} fill;

typedef struct commands {
    fill fills[MOST_FILLS];
    uint32_t n_fill;
    bool draws; /* binds the ring */
} commands;

static const buffer *ring;
static VkDeviceSize ring_bytes;
static uint32_t n_drawn;
static uint64_t ring_sets[MOST_SETS];
static uint32_t n_ring_set;

/* ---- memory ---------------------------------------------------------------------------------- */

static VkResult create_buffer(VkDevice device, const VkBufferCreateInfo *info,
                              const void *callbacks, uint64_t *out) {
    (void)device, (void)callbacks;
    buffer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    made->bytes = info->size;
    if (info->size == ring_bytes)
        ring = made;
    *out = (uint64_t)(uintptr_t)made;
    return VK_SUCCESS;
}

static VkResult bind_memory(VkDevice device, uint64_t of, uint64_t memory, VkDeviceSize offset) {
    (void)device;
    ((buffer *)(uintptr_t)of)->memory = (char *)(uintptr_t)memory + offset;
    return VK_SUCCESS;
}

/* ---- commands -------------------------------------------------------------------------------- */

static VkResult allocate_commands(VkDevice device, const VkCommandBufferAllocateInfo *info,
                                  VkCommandBuffer *out) {
    (void)device;
    for (uint32_t i = 0; i < info->commandBufferCount; i++)
        out[i] = calloc(1, sizeof(commands));
    return VK_SUCCESS;
}

static VkResult begin_commands(VkCommandBuffer of, const void *info) {
    (void)info;
    *(commands *)of = (commands){0};
    return VK_SUCCESS;
}

static void fill_buffer(VkCommandBuffer of, uint64_t to, VkDeviceSize offset, VkDeviceSize bytes,
                        uint32_t word) {
    commands *c = (commands *)of;
    if (bytes <= MOST_FILL_BYTES && c->n_fill < MOST_FILLS)
        c->fills[c->n_fill++] = (fill){(const buffer *)(uintptr_t)to, offset, bytes, word};
}

static void update_sets(VkDevice device, uint32_t n, const VkWriteDescriptorSet *writes,
                        uint32_t n_copy, const void *copies) {
    (void)device, (void)n_copy, (void)copies;
    for (uint32_t i = 0; i < n; i++)
        if (ring != NULL && writes[i].pBufferInfo != NULL && n_ring_set < MOST_SETS &&
            (uint64_t)writes[i].pBufferInfo->buffer == (uint64_t)(uintptr_t)ring)
            ring_sets[n_ring_set++] = (uint64_t)writes[i].dstSet;
}

static void bind_sets(VkCommandBuffer of, int point, uint64_t layout, uint32_t first, uint32_t n,
                      const uint64_t *sets, uint32_t n_offset, const uint32_t *offsets) {
    (void)point, (void)layout, (void)first, (void)n_offset, (void)offsets;
    for (uint32_t i = 0; i < n_ring_set && n > 0; i++)
        if (ring_sets[i] == sets[0])
            ((commands *)of)->draws = true;
}

static void dispatch_indirect(VkCommandBuffer of, uint64_t grids, VkDeviceSize offset) {
    (void)of, (void)grids, (void)offset;
    n_disp++;
}

/* ---- submissions ----------------------------------------------------------------------------- */

/* A slot: token, hash of its logits, number of the step. */
static void draw(void) {
    uint32_t *slot =
        (uint32_t *)ring->memory + n_drawn % RING_SLOTS * (ring_bytes / RING_SLOTS / 4);
    slot[0] = 100 + n_drawn % 26;
    slot[1] = 7;
    slot[2] = n_drawn++;
    slot[3] = 0;
}

static void get_queue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out) {
    (void)device, (void)family, (void)index;
    static char queue;
    *out = (VkQueue)&queue;
}

static VkResult submit(VkQueue queue, uint32_t n, const VkSubmitInfo *infos, VkFence fence) {
    (void)queue, (void)fence;
    n_submit++;
    for (uint32_t i = 0; ring != NULL && i < n; i++) {
        for (uint32_t k = 0; k < infos[i].commandBufferCount; k++) {
            const commands *c = (const commands *)infos[i].pCommandBuffers[k];
            for (uint32_t f = 0; f < c->n_fill; f++)
                memcpy(c->fills[f].to->memory + c->fills[f].offset, &c->fills[f].word, 4);
            if (c->draws)
                draw();
        }
    }
    return VK_SUCCESS;
}

static VkResult read_queries(VkDevice device, uint64_t pool, uint32_t first, uint32_t n,
                             size_t bytes, void *out) {
    (void)device, (void)pool, (void)first, (void)n;
    memset(out, 0, bytes);
    return VK_SUCCESS;
}

/* ---- who is asked ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void *function;
} ours[] = {
    {"vkCreateBuffer", create_buffer},
    {"vkBindBufferMemory", bind_memory},
    {"vkAllocateCommandBuffers", allocate_commands},
    {"vkBeginCommandBuffer", begin_commands},
    {"vkCmdFillBuffer", fill_buffer},
    {"vkCmdDispatchIndirect", dispatch_indirect},
    {"vkUpdateDescriptorSets", update_sets},
    {"vkCmdBindDescriptorSets", bind_sets},
    {"vkGetDeviceQueue", get_queue},
    {"vkQueueSubmit", submit},
    {"vkWaitSemaphores", ok},
    {"vkWaitSemaphoresKHR", ok},
    {"vkGetQueryPoolResults", read_queries},
    {"vkCmdResetQueryPool", nop},
};

static PFN_vkGetInstanceProcAddr real_instance_proc;

/* Others that are loaded before the program may ask before this library is set up. */
static void *real_dlopen(const char *path, int mode) {
    static void *(*real)(const char *path, int mode);
    if (real == NULL)
        real = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return real(path, mode);
}

/* The loader is everybody's, so that whoever asks for it by handle finds the functions below. */
__attribute__((constructor)) static void find_loader(void) {
    const char *bytes = getenv("NULL_RING");
    ring_bytes = bytes != NULL ? (VkDeviceSize)atoll(bytes) : 0;
    void *loader = real_dlopen("libvulkan.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (loader == NULL)
        return;
    real_instance_proc = (PFN_vkGetInstanceProcAddr)dlsym(loader, "vkGetInstanceProcAddr");
    r_gdpa = (PFN_vkGetDeviceProcAddr)dlsym(loader, "vkGetDeviceProcAddr");
}

void *dlopen(const char *path, int mode) {
    return real_dlopen(path != NULL && strstr(path, "libvulkan.so") != NULL ? NULL : path, mode);
}

static PFN_vkVoidFunction exchange(const char *name, PFN_vkVoidFunction real) {
    for (size_t i = 0; ring_bytes > 0 && real != NULL && i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(ours[i].name, name) == 0)
            return (PFN_vkVoidFunction)ours[i].function;
    return wrap(name, real);
}

PFN_vkVoidFunction vkGetDeviceProcAddr(VkDevice device, const char *name) {
    return exchange(name, r_gdpa(device, name));
}

PFN_vkVoidFunction vkGetInstanceProcAddr(VkInstance instance, const char *name) {
    if (strcmp(name, "vkGetDeviceProcAddr") == 0)
        return (PFN_vkVoidFunction)vkGetDeviceProcAddr;
    if (strcmp(name, "vkGetInstanceProcAddr") == 0)
        return (PFN_vkVoidFunction)vkGetInstanceProcAddr;
    return exchange(name, real_instance_proc(instance, name));
}
