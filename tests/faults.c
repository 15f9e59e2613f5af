/* faults.c: wrappers around the loader's entry points. volk keeps those of instances in variables
 * and takes those of devices from vkGetDeviceProcAddr, so both can be exchanged from here, and so
 * can vkGetInstanceProcAddr, by which pumice asks for newer ones. */
#include "faults.h"

#include "devices.h"
#include "gpu/newer.h"
#include "live_objects.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- orders ---------------------------------------------------------------------------------- */

typedef struct order {
    atomic_uint n; /* calls so far */
    uint32_t nth;  /* 0: none fails */
    bool all_after;
    VkResult result;
} order;

static order orders[PM__CALL_COUNT];
static uint32_t killed_job, hanging_job; /* 0: none */
static atomic_uint n_injected;
static pm__fake_memory fake; /* n_type 0: the truth */

const char *pm__fault_call_name(pm__fault_call call) {
#define NAME(name) "vk" #name,
    static const char *const names[] = {PM__FAULT_CALLS(NAME)};
#undef NAME
    return names[call];
}

uint32_t pm__faults_count(pm__fault_call call) {
    return atomic_load(&orders[call].n);
}

void pm__faults_fail(pm__fault_call call, uint32_t nth, VkResult result) {
    orders[call].nth = nth;
    orders[call].all_after = false;
    orders[call].result = result;
}

void pm__faults_fail_from(pm__fault_call call, uint32_t nth, VkResult result) {
    pm__faults_fail(call, nth, result);
    orders[call].all_after = true;
}

void pm__faults_kill_job(uint32_t nth) {
    killed_job = nth;
}

void pm__faults_hang(uint32_t nth) {
    hanging_job = nth;
}

uint32_t pm__faults_injected(void) {
    return atomic_load(&n_injected);
}

void pm__faults_set_memory(const pm__fake_memory *memory) {
    fake = memory != NULL ? *memory : (pm__fake_memory){0};
}

void pm__faults_reset(void) {
    for (int i = 0; i < PM__CALL_COUNT; i++)
        orders[i] = (order){.nth = 0};
    killed_job = hanging_job = 0;
    n_injected = 0;
    fake = (pm__fake_memory){0};
    pm__live_reset();
}

/* VK_SUCCESS: the call is to be made. */
static VkResult take_order(pm__fault_call call) {
    order *o = &orders[call];
    const uint32_t n = atomic_fetch_add(&o->n, 1) + 1;
    if (o->nth == 0 || n < o->nth || (n > o->nth && !o->all_after))
        return VK_SUCCESS;
    atomic_fetch_add(&n_injected, 1);
    return o->result;
}

/* Handles are pointers or numbers, as the machine wants. */
static uint64_t number_of(const void *handle, size_t size) {
    uint64_t number = 0;
    memcpy(&number, handle, size);
    return number;
}

#define NUMBER(handle) number_of(&(handle), sizeof(handle))

/* What a failed call leaves is undefined. */
static void spoil(void *result, size_t size) {
    memset(result, 0xdb, size);
}

/* ---- devices --------------------------------------------------------------------------------- */

/* The driver's own functions that are called from here, of one device. */
#define DEVICE_FUNCTIONS(X)                                                                        \
    PM__FAULT_DEVICE_CALLS(X)                                                                      \
    X(DestroyBuffer)                                                                               \
    X(DestroyCommandPool)                                                                          \
    X(DestroyDescriptorPool)                                                                       \
    X(DestroyDescriptorSetLayout)                                                                  \
    X(DestroyDevice)                                                                               \
    X(DestroyFence)                                                                                \
    X(DestroyPipeline)                                                                             \
    X(DestroyPipelineCache)                                                                        \
    X(DestroyPipelineLayout)                                                                       \
    X(DestroyQueryPool)                                                                            \
    X(DestroySemaphore)                                                                            \
    X(DestroyShaderModule)                                                                         \
    X(FreeCommandBuffers)                                                                          \
    X(FreeMemory)                                                                                  \
    X(GetBufferMemoryRequirements)

#define MEMBER(name) PFN_vk##name name;
typedef struct functions {
    DEVICE_FUNCTIONS(MEMBER)
} functions;
#undef MEMBER

/* The loader begins every device, queue and command buffer with the address of the device's
 * functions: whose it is can be told from it. */
typedef struct device {
    const void *key; /* NULL: this place is free */
    VkDevice handle;
    functions real;
    bool lost, hangs, killed; /* killed: a job of it was */
    pm__fake_memory fake;
    VkPhysicalDeviceMemoryProperties memory; /* the true one */
    uint32_t served_by[PM__FAKE_TYPES];
} device;

static device devices[8];

static device *device_of(const void *handle) {
    const void *key = *(const void *const *)handle;
    for (size_t i = 0; i < PM__COUNT(devices); i++)
        if (devices[i].key == key)
            return &devices[i];
    abort();
}

static void lose(device *d) {
    if (!d->lost && !d->hangs)
        d->real.DeviceWaitIdle(d->handle);
    d->lost = true;
}

/* VK_SUCCESS: the call is to be made. */
static VkResult take(pm__fault_call call, device *d) {
    const VkResult result = take_order(call);
    if (result == VK_ERROR_DEVICE_LOST)
        lose(d);
    return result;
}

/* The same for calls that notice a loss. */
static VkResult take_lost(pm__fault_call call, device *d) {
    const VkResult result = take(call, d);
    return d->lost ? VK_ERROR_DEVICE_LOST : result;
}

/* ---- what is created and destroyed alike ----------------------------------------------------- */

#define CREATE_AND_DESTROY(X)                                                                      \
    X(Buffer)                                                                                      \
    X(CommandPool)                                                                                 \
    X(DescriptorPool)                                                                              \
    X(DescriptorSetLayout)                                                                         \
    X(Fence)                                                                                       \
    X(PipelineCache)                                                                               \
    X(PipelineLayout)                                                                              \
    X(QueryPool)                                                                                   \
    X(Semaphore)                                                                                   \
    X(ShaderModule)

#define CREATE(Name)                                                                               \
    static VKAPI_ATTR VkResult VKAPI_CALL Create##Name(                                            \
        VkDevice handle, const Vk##Name##CreateInfo *info, const VkAllocationCallbacks *callbacks, \
        Vk##Name *out) {                                                                           \
        device *d = device_of(handle);                                                             \
        VkResult result = take(PM__CALL_Create##Name, d);                                          \
        if (result == VK_SUCCESS)                                                                  \
            result = d->real.Create##Name(handle, info, callbacks, out);                           \
        if (result == VK_SUCCESS)                                                                  \
            pm__live_add(&(pm__live_object){                                                       \
                .kind = PM__OBJECT_##Name, .handle = NUMBER(*out), .key = d->key});                \
        else                                                                                       \
            spoil(out, sizeof *out);                                                               \
        return result;                                                                             \
    }

#define DESTROY(Name)                                                                              \
    static VKAPI_ATTR void VKAPI_CALL Destroy##Name(VkDevice handle, Vk##Name gone,                \
                                                    const VkAllocationCallbacks *callbacks) {      \
        device *d = device_of(handle);                                                             \
        if (!pm__live_remove(PM__OBJECT_##Name, d->key, NUMBER(gone)))                             \
            return;                                                                                \
        if (PM__OBJECT_##Name == PM__OBJECT_CommandPool)                                           \
            pm__live_remove_children(NUMBER(gone), d->key);                                        \
        d->real.Destroy##Name(handle, gone, callbacks);                                            \
    }

CREATE_AND_DESTROY(CREATE)
CREATE_AND_DESTROY(DESTROY)
DESTROY(Pipeline)

static VKAPI_ATTR VkResult VKAPI_CALL CreateComputePipelines(
    VkDevice handle, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *infos,
    const VkAllocationCallbacks *callbacks, VkPipeline *out) {
    device *d = device_of(handle);
    VkResult result = take(PM__CALL_CreateComputePipelines, d);
    memset(out, 0, n * sizeof *out);
    if (result == VK_SUCCESS)
        result = d->real.CreateComputePipelines(handle, cache, n, infos, callbacks, out);
    for (uint32_t i = 0; i < n; i++)
        if (out[i] != VK_NULL_HANDLE)
            pm__live_add(&(pm__live_object){
                .kind = PM__OBJECT_Pipeline, .handle = NUMBER(out[i]), .key = d->key});
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL AllocateCommandBuffers(
    VkDevice handle, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out) {
    device *d = device_of(handle);
    VkResult result = take(PM__CALL_AllocateCommandBuffers, d);
    if (result == VK_SUCCESS)
        result = d->real.AllocateCommandBuffers(handle, info, out);
    if (result != VK_SUCCESS)
        memset(out, 0, info->commandBufferCount * sizeof *out);
    for (uint32_t i = 0; result == VK_SUCCESS && i < info->commandBufferCount; i++)
        pm__live_add(&(pm__live_object){.kind = PM__OBJECT_CommandBuffer,
                                        .handle = NUMBER(out[i]),
                                        .parent = NUMBER(info->commandPool),
                                        .key = d->key});
    return result;
}

static VKAPI_ATTR void VKAPI_CALL FreeCommandBuffers(VkDevice handle, VkCommandPool pool,
                                                     uint32_t n, const VkCommandBuffer *commands) {
    device *d = device_of(handle);
    for (uint32_t i = 0; i < n; i++)
        if (pm__live_remove(PM__OBJECT_CommandBuffer, d->key, NUMBER(commands[i])))
            d->real.FreeCommandBuffers(handle, pool, 1, &commands[i]);
}

static VKAPI_ATTR VkResult VKAPI_CALL AllocateDescriptorSets(
    VkDevice handle, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out) {
    device *d = device_of(handle);
    const VkResult result = take(PM__CALL_AllocateDescriptorSets, d);
    if (result == VK_SUCCESS)
        return d->real.AllocateDescriptorSets(handle, info, out);
    memset(out, 0, info->descriptorSetCount * sizeof *out);
    return result;
}

/* ---- commands and waits ---------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL BeginCommandBuffer(VkCommandBuffer commands,
                                                         const VkCommandBufferBeginInfo *info) {
    device *d = device_of(commands);
    const VkResult result = take(PM__CALL_BeginCommandBuffer, d);
    return result != VK_SUCCESS ? result : d->real.BeginCommandBuffer(commands, info);
}

static VKAPI_ATTR VkResult VKAPI_CALL EndCommandBuffer(VkCommandBuffer commands) {
    device *d = device_of(commands);
    const VkResult result = take(PM__CALL_EndCommandBuffer, d);
    return result != VK_SUCCESS ? result : d->real.EndCommandBuffer(commands);
}

static VKAPI_ATTR VkResult VKAPI_CALL QueueSubmit(VkQueue queue, uint32_t n,
                                                  const VkSubmitInfo *infos, VkFence fence) {
    device *d = device_of(queue);
    const VkResult result = take_lost(PM__CALL_QueueSubmit, d);
    const uint32_t number = pm__faults_count(PM__CALL_QueueSubmit);
    if (result != VK_SUCCESS)
        return result;
    if (number == hanging_job)
        d->hangs = true;
    if (d->hangs || number == killed_job)
        atomic_fetch_add(&n_injected, 1);
    if (d->hangs)
        return VK_SUCCESS;
    if (number != killed_job)
        return d->real.QueueSubmit(queue, n, infos, fence);
    d->killed = true;
    VkSubmitInfo *empty = calloc(n, sizeof *empty);
    if (empty == NULL)
        abort();
    memcpy(empty, infos, n * sizeof *empty);
    for (uint32_t i = 0; i < n; i++)
        empty[i].commandBufferCount = 0;
    const VkResult submitted = d->real.QueueSubmit(queue, n, empty, fence);
    free(empty);
    return submitted;
}

static VkResult time_out(void) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    nanosleep(&millisecond, NULL);
    return VK_TIMEOUT;
}

static VKAPI_ATTR VkResult VKAPI_CALL WaitSemaphores(VkDevice handle,
                                                     const VkSemaphoreWaitInfo *info,
                                                     uint64_t timeout) {
    device *d = device_of(handle);
    const VkResult result = take_lost(PM__CALL_WaitSemaphores, d);
    if (result != VK_SUCCESS)
        return result;
    if (!d->hangs)
        return d->real.WaitSemaphores(handle, info, timeout);
    if (timeout == UINT64_MAX)
        pm__live_note("it waits without a bound", "vkWaitSemaphores");
    /* What was submitted before is finished in time. */
    const VkResult waited = d->real.WaitSemaphores(handle, info, 10000000);
    return waited == VK_TIMEOUT ? time_out() : waited;
}

static VKAPI_ATTR VkResult VKAPI_CALL WaitForFences(VkDevice handle, uint32_t n,
                                                    const VkFence *fences, VkBool32 all,
                                                    uint64_t timeout) {
    device *d = device_of(handle);
    const VkResult result = take_lost(PM__CALL_WaitForFences, d);
    if (result != VK_SUCCESS)
        return result;
    return d->hangs ? time_out() : d->real.WaitForFences(handle, n, fences, all, timeout);
}

static VKAPI_ATTR VkResult VKAPI_CALL DeviceWaitIdle(VkDevice handle) {
    device *d = device_of(handle);
    const VkResult result = take_lost(PM__CALL_DeviceWaitIdle, d);
    if (result != VK_SUCCESS)
        return result;
    if (!d->hangs)
        return d->real.DeviceWaitIdle(handle);
    pm__live_note("it waits without a bound", "vkDeviceWaitIdle");
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL GetSemaphoreCounterValue(VkDevice handle,
                                                               VkSemaphore semaphore,
                                                               uint64_t *value) {
    device *d = device_of(handle);
    const VkResult result = take_lost(PM__CALL_GetSemaphoreCounterValue, d);
    if (result == VK_SUCCESS)
        return d->real.GetSemaphoreCounterValue(handle, semaphore, value);
    spoil(value, sizeof *value);
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL SignalSemaphore(VkDevice handle,
                                                      const VkSemaphoreSignalInfo *info) {
    device *d = device_of(handle);
    const VkResult result = take(PM__CALL_SignalSemaphore, d);
    return result != VK_SUCCESS ? result : d->real.SignalSemaphore(handle, info);
}

static VKAPI_ATTR VkResult VKAPI_CALL GetQueryPoolResults(VkDevice handle, VkQueryPool pool,
                                                          uint32_t first, uint32_t n, size_t size,
                                                          void *data, VkDeviceSize stride,
                                                          VkQueryResultFlags flags) {
    device *d = device_of(handle);
    const VkResult result = take_lost(PM__CALL_GetQueryPoolResults, d);
    if (result != VK_SUCCESS) {
        spoil(data, size);
        return result;
    }
    /* A job that was not done writes no timestamps. */
    const bool waits = flags & VK_QUERY_RESULT_WAIT_BIT;
    if (waits && (d->hangs || d->killed))
        flags &= ~(VkQueryResultFlags)VK_QUERY_RESULT_WAIT_BIT;
    const VkResult got =
        d->real.GetQueryPoolResults(handle, pool, first, n, size, data, stride, flags);
    if (got != VK_NOT_READY || !waits)
        return got;
    pm__live_note("it waits without a bound", "vkGetQueryPoolResults");
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL GetPipelineCacheData(VkDevice handle, VkPipelineCache cache,
                                                           size_t *n_byte, void *data) {
    device *d = device_of(handle);
    const VkResult result = take(PM__CALL_GetPipelineCacheData, d);
    if (result == VK_SUCCESS)
        return d->real.GetPipelineCacheData(handle, cache, n_byte, data);
    if (data == NULL)
        spoil(n_byte, sizeof *n_byte);
    return result;
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum {
    MAPPABLE = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    TYPE_FLAGS = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | MAPPABLE | VK_MEMORY_PROPERTY_HOST_CACHED_BIT
};

/* The true type that gives all of what the shown one promises, the host's view first of all. */
static uint32_t type_that_serves(const VkPhysicalDeviceMemoryProperties *memory,
                                 VkMemoryPropertyFlags wanted) {
    uint32_t best = 0;
    int best_score = -1;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        if (wanted & MAPPABLE & ~flags || flags & ~(VkMemoryPropertyFlags)TYPE_FLAGS)
            continue;
        const int score = !(wanted & ~flags) + !(flags & ~wanted);
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}

static void serve_types(device *d) {
    for (uint32_t i = 0; i < d->fake.n_type; i++)
        d->served_by[i] = type_that_serves(&d->memory, d->fake.types[i].flags);
}

/* Room in a shown heap. */
static bool has_room(const device *d, uint32_t heap, VkDeviceSize bytes) {
    const VkDeviceSize used = d->fake.heaps[heap].others_bytes + pm__live_heap_bytes(d->key, heap);
    return used <= d->fake.heaps[heap].bytes && bytes <= d->fake.heaps[heap].bytes - used;
}

static VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice handle,
                                                     const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkDeviceMemory *out) {
    device *d = device_of(handle);
    const bool shown = d->fake.n_type > 0;
    const uint32_t type = info->memoryTypeIndex;
    const uint32_t heap = shown ? d->fake.types[type].heap : d->memory.memoryTypes[type].heapIndex;
    VkMemoryAllocateInfo real = *info;
    VkResult result = take(PM__CALL_AllocateMemory, d);
    if (result == VK_SUCCESS && shown) {
        real.memoryTypeIndex = d->served_by[type];
        if (!has_room(d, heap, info->allocationSize))
            result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if (result == VK_SUCCESS)
        result = d->real.AllocateMemory(handle, &real, callbacks, out);
    if (result == VK_SUCCESS)
        pm__live_add(&(pm__live_object){.kind = PM__OBJECT_DeviceMemory,
                                        .handle = NUMBER(*out),
                                        .key = d->key,
                                        .bytes = info->allocationSize,
                                        .type = type,
                                        .heap = heap});
    else
        spoil(out, sizeof *out);
    return result;
}

static VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice handle, VkDeviceMemory memory,
                                             const VkAllocationCallbacks *callbacks) {
    device *d = device_of(handle);
    if (pm__live_remove(PM__OBJECT_DeviceMemory, d->key, NUMBER(memory)))
        d->real.FreeMemory(handle, memory, callbacks);
}

static VKAPI_ATTR void VKAPI_CALL GetBufferMemoryRequirements(VkDevice handle, VkBuffer buffer,
                                                              VkMemoryRequirements *out) {
    device *d = device_of(handle);
    d->real.GetBufferMemoryRequirements(handle, buffer, out);
    const uint32_t bits = out->memoryTypeBits;
    if (d->fake.n_type == 0)
        return;
    out->memoryTypeBits = 0;
    for (uint32_t i = 0; i < d->fake.n_type; i++)
        if (bits & 1u << d->served_by[i])
            out->memoryTypeBits |= 1u << i;
}

static VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory(VkDevice handle, VkBuffer buffer,
                                                       VkDeviceMemory memory, VkDeviceSize offset) {
    device *d = device_of(handle);
    const VkResult result = take(PM__CALL_BindBufferMemory, d);
    return result != VK_SUCCESS ? result : d->real.BindBufferMemory(handle, buffer, memory, offset);
}

static VKAPI_ATTR VkResult VKAPI_CALL MapMemory(VkDevice handle, VkDeviceMemory memory,
                                                VkDeviceSize offset, VkDeviceSize size,
                                                VkMemoryMapFlags flags, void **data) {
    device *d = device_of(handle);
    VkResult result = take(PM__CALL_MapMemory, d);
    pm__live_object found;
    const bool hidden = pm__live_find(PM__OBJECT_DeviceMemory, d->key, NUMBER(memory), &found) &&
                        d->fake.n_type > 0 &&
                        !(d->fake.types[found.type].flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
    if (hidden)
        pm__live_note("memory the host cannot see", "vkMapMemory");
    if (result == VK_SUCCESS && hidden)
        result = VK_ERROR_MEMORY_MAP_FAILED;
    if (result == VK_SUCCESS)
        return d->real.MapMemory(handle, memory, offset, size, flags, data);
    spoil(data, sizeof *data);
    return result;
}

/* ---- instances and physical devices ---------------------------------------------------------- */

#define INSTANCE_FUNCTIONS(X)                                                                      \
    X(EnumerateInstanceVersion)                                                                    \
    X(EnumerateInstanceExtensionProperties)                                                        \
    X(CreateInstance)                                                                              \
    X(DestroyInstance)                                                                             \
    X(EnumeratePhysicalDevices)                                                                    \
    X(EnumerateDeviceExtensionProperties)                                                          \
    X(CreateDevice)                                                                                \
    X(GetInstanceProcAddr)                                                                         \
    X(GetDeviceProcAddr)                                                                           \
    X(GetPhysicalDeviceProperties)                                                                 \
    X(GetPhysicalDeviceProperties2)                                                                \
    X(GetPhysicalDeviceMemoryProperties)                                                           \
    X(GetPhysicalDeviceMemoryProperties2)

#define MEMBER(name) PFN_vk##name name;
static struct { INSTANCE_FUNCTIONS(MEMBER) } loader;
#undef MEMBER

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateInstanceVersion(uint32_t *version) {
    const VkResult result = take_order(PM__CALL_EnumerateInstanceVersion);
    if (result == VK_SUCCESS)
        return loader.EnumerateInstanceVersion(version);
    spoil(version, sizeof *version);
    return result;
}

/* Ends an enumeration that gives `n` of them, or their number. */
static VkResult end_list(VkResult ordered, VkResult result, uint32_t *n, bool number_only) {
    if (ordered < VK_SUCCESS) {
        spoil(n, sizeof *n);
        return ordered;
    }
    if (ordered != VK_INCOMPLETE || number_only || result != VK_SUCCESS || *n == 0)
        return result;
    --*n;
    return VK_INCOMPLETE;
}

static VKAPI_ATTR VkResult VKAPI_CALL
EnumerateInstanceExtensionProperties(const char *layer, uint32_t *n, VkExtensionProperties *list) {
    const VkResult ordered = take_order(PM__CALL_EnumerateInstanceExtensionProperties);
    const VkResult result = ordered < VK_SUCCESS
                                ? ordered
                                : loader.EnumerateInstanceExtensionProperties(layer, n, list);
    return end_list(ordered, result, n, list == NULL);
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo *info,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkInstance *out) {
    VkResult result = take_order(PM__CALL_CreateInstance);
    if (result == VK_SUCCESS)
        result = loader.CreateInstance(info, callbacks, out);
    if (result == VK_SUCCESS)
        pm__live_add(&(pm__live_object){.kind = PM__OBJECT_Instance, .handle = NUMBER(*out)});
    else
        spoil(out, sizeof *out);
    return result;
}

static VKAPI_ATTR void VKAPI_CALL DestroyInstance(VkInstance instance,
                                                  const VkAllocationCallbacks *callbacks) {
    if (pm__live_remove(PM__OBJECT_Instance, NULL, NUMBER(instance)))
        loader.DestroyInstance(instance, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance instance, uint32_t *n,
                                                               VkPhysicalDevice *list) {
    const VkResult ordered = take_order(PM__CALL_EnumeratePhysicalDevices);
    const VkResult result =
        ordered < VK_SUCCESS ? ordered : loader.EnumeratePhysicalDevices(instance, n, list);
    return end_list(ordered, result, n, list == NULL);
}

static void set_name(VkExtensionProperties *extension, const char *name) {
    *extension = (VkExtensionProperties){.specVersion = 1};
    snprintf(extension->extensionName, sizeof extension->extensionName, "%s", name);
}

/* The driver's extensions with VK_EXT_memory_budget, or without it, as the false memory says. */
static VkResult list_extensions(VkPhysicalDevice physical, const char *layer, uint32_t *n,
                                VkExtensionProperties **out) {
    VkResult result = loader.EnumerateDeviceExtensionProperties(physical, layer, n, NULL);
    VkExtensionProperties *list = calloc(*n + 1, sizeof *list);
    if (list == NULL)
        abort();
    if (result == VK_SUCCESS)
        result = loader.EnumerateDeviceExtensionProperties(physical, layer, n, list);
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < *n; i++)
        if (fake.n_type == 0 ||
            strcmp(list[i].extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) != 0)
            list[n_kept++] = list[i];
    if (fake.n_type > 0 && fake.budget)
        set_name(&list[n_kept++], VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    *n = n_kept;
    *out = list;
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateDeviceExtensionProperties(
    VkPhysicalDevice physical, const char *layer, uint32_t *n, VkExtensionProperties *list) {
    const VkResult ordered = take_order(PM__CALL_EnumerateDeviceExtensionProperties);
    if (ordered < VK_SUCCESS)
        return end_list(ordered, ordered, n, list == NULL);
    uint32_t n_all = 0;
    VkExtensionProperties *all;
    VkResult result = list_extensions(physical, layer, &n_all, &all);
    if (list != NULL && *n < n_all) {
        n_all = *n;
        result = VK_INCOMPLETE;
    }
    if (list != NULL)
        memcpy(list, all, n_all * sizeof *all);
    *n = n_all;
    free(all);
    return end_list(ordered, result, n, list == NULL);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties(VkPhysicalDevice physical,
                                                              VkPhysicalDeviceProperties *out) {
    loader.GetPhysicalDeviceProperties(physical, out);
    if (fake.n_type > 0)
        out->deviceType = fake.kind;
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceProperties2(VkPhysicalDevice physical,
                                                               VkPhysicalDeviceProperties2 *out) {
    loader.GetPhysicalDeviceProperties2(physical, out);
    if (fake.n_type > 0)
        out->properties.deviceType = fake.kind;
}

static void show_memory(VkPhysicalDeviceMemoryProperties *out) {
    *out = (VkPhysicalDeviceMemoryProperties){
        .memoryHeapCount = fake.n_heap,
        .memoryTypeCount = fake.n_type,
    };
    for (uint32_t i = 0; i < fake.n_heap; i++)
        out->memoryHeaps[i] = (VkMemoryHeap){fake.heaps[i].bytes, fake.heaps[i].flags};
    for (uint32_t i = 0; i < fake.n_type; i++)
        out->memoryTypes[i] = (VkMemoryType){fake.types[i].flags, fake.types[i].heap};
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties *out) {
    if (fake.n_type > 0)
        show_memory(out);
    else
        loader.GetPhysicalDeviceMemoryProperties(physical, out);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties2(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *out) {
    if (fake.n_type == 0) {
        loader.GetPhysicalDeviceMemoryProperties2(physical, out);
        return;
    }
    show_memory(&out->memoryProperties);
    const pm__fault_memory memory = pm__faults_memory();
    for (VkBaseOutStructure *next = out->pNext; next != NULL; next = next->pNext) {
        if (next->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT ||
            !fake.budget)
            continue;
        VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = (void *)next;
        for (uint32_t i = 0; i < fake.n_heap; i++) {
            budget->heapBudget[i] = fake.heaps[i].bytes - fake.heaps[i].others_bytes;
            budget->heapUsage[i] = memory.live_heap_bytes[i];
        }
    }
}

/* ---- opening devices ------------------------------------------------------------------------- */

static bool really_has(VkPhysicalDevice physical, const char *name) {
    uint32_t n = 0;
    bool found = false;
    loader.EnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    VkExtensionProperties *list = calloc(n + 1, sizeof *list);
    if (list == NULL)
        abort();
    loader.EnumerateDeviceExtensionProperties(physical, NULL, &n, list);
    for (uint32_t i = 0; i < n; i++)
        found = found || strcmp(list[i].extensionName, name) == 0;
    free(list);
    return found;
}

/* Without the extension that is only shown. */
static VkResult create_real(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                            const VkAllocationCallbacks *callbacks, VkDevice *out) {
    const char *names[64];
    VkDeviceCreateInfo real = *info;
    real.enabledExtensionCount = 0;
    real.ppEnabledExtensionNames = names;
    if (info->enabledExtensionCount > PM__COUNT(names))
        abort();
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        const char *name = info->ppEnabledExtensionNames[i];
        if (strcmp(name, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) != 0 || really_has(physical, name))
            names[real.enabledExtensionCount++] = name;
    }
    return loader.CreateDevice(physical, &real, callbacks, out);
}

/* Casts that say that they are meant: all functions of Vulkan are found as one type. */
#define LOAD(name)                                                                                 \
    d->real.name = (PFN_vk##name)(void (*)(void))loader.GetDeviceProcAddr(handle, "vk" #name);

static void add_device(VkPhysicalDevice physical, VkDevice handle) {
    device *d = NULL;
    for (size_t i = 0; i < PM__COUNT(devices) && d == NULL; i++)
        if (devices[i].key == NULL)
            d = &devices[i];
    if (d == NULL)
        abort();
    *d = (device){.handle = handle, .fake = fake};
    memcpy(&d->key, handle, sizeof d->key);
    DEVICE_FUNCTIONS(LOAD)
#define LOAD_OLD(name)                                                                             \
    if (d->real.name == NULL)                                                                      \
        d->real.name =                                                                             \
            (PFN_vk##name)(void (*)(void))loader.GetDeviceProcAddr(handle, "vk" #name "KHR");
    LOAD_OLD(GetSemaphoreCounterValue)
    LOAD_OLD(SignalSemaphore)
    LOAD_OLD(WaitSemaphores)
#undef LOAD_OLD
    loader.GetPhysicalDeviceMemoryProperties(physical, &d->memory);
    serve_types(d);
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice physical,
                                                   const VkDeviceCreateInfo *info,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkDevice *out) {
    VkResult result = take_order(PM__CALL_CreateDevice);
    if (result == VK_SUCCESS)
        result = create_real(physical, info, callbacks, out);
    if (result != VK_SUCCESS) {
        spoil(out, sizeof *out);
        return result;
    }
    pm__live_add(&(pm__live_object){.kind = PM__OBJECT_Device, .handle = NUMBER(*out)});
    add_device(physical, *out);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice handle,
                                                const VkAllocationCallbacks *callbacks) {
    if (handle == VK_NULL_HANDLE || !pm__live_remove(PM__OBJECT_Device, NULL, NUMBER(handle)))
        return;
    device *d = device_of(handle);
    pm__live_remove_orphans(d->key);
    d->real.DestroyDevice(handle, callbacks);
    d->key = NULL;
}

typedef struct entry {
    const char *name;
    PFN_vkVoidFunction function;
} entry;

#define ENTRY(name) {"vk" #name, (PFN_vkVoidFunction)name},
static const entry entries[] = {
    DEVICE_FUNCTIONS(ENTRY) /* those of devices older than Vulkan 1.2: */
    {"vkGetSemaphoreCounterValueKHR", (PFN_vkVoidFunction)GetSemaphoreCounterValue},
    {"vkSignalSemaphoreKHR", (PFN_vkVoidFunction)SignalSemaphore},
    {"vkWaitSemaphoresKHR", (PFN_vkVoidFunction)WaitSemaphores},
};
#undef ENTRY

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice handle,
                                                                  const char *name) {
    const PFN_vkVoidFunction real = loader.GetDeviceProcAddr(handle, name);
    for (size_t i = 0; real != NULL && i < PM__COUNT(entries); i++)
        if (strcmp(entries[i].name, name) == 0)
            return entries[i].function;
    return real;
}

/* ---- asked for by name ----------------------------------------------------------------------- */

/* The loader's, as they were found last: they take physical devices of any instance. */
#define MEMBER(name) PFN_vk##name name;
static struct { PM__FAULT_NAMED_CALLS(MEMBER) } named;
#undef MEMBER

static VKAPI_ATTR VkResult VKAPI_CALL GetPhysicalDeviceCooperativeMatrixPropertiesKHR(
    VkPhysicalDevice physical, uint32_t *n, VkCooperativeMatrixPropertiesKHR *list) {
    const VkResult ordered = take_order(PM__CALL_GetPhysicalDeviceCooperativeMatrixPropertiesKHR);
    const VkResult result =
        ordered < VK_SUCCESS
            ? ordered
            : named.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, n, list);
    return end_list(ordered, result, n, list == NULL);
}

static VKAPI_ATTR VkResult VKAPI_CALL
GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(
    VkPhysicalDevice physical, uint32_t *n,
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list) {
    const VkResult ordered =
        take_order(PM__CALL_GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV);
    const VkResult result =
        ordered < VK_SUCCESS
            ? ordered
            : named.GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, n,
                                                                                     list);
    return end_list(ordered, result, n, list == NULL);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance,
                                                                    const char *name) {
    const PFN_vkVoidFunction real = loader.GetInstanceProcAddr(instance, name);
#define OURS(function)                                                                             \
    if (real != NULL && strcmp(name, "vk" #function) == 0) {                                       \
        named.function = (PFN_vk##function)(void (*)(void))real;                                   \
        return (PFN_vkVoidFunction)function;                                                       \
    }
    PM__FAULT_NAMED_CALLS(OURS)
#undef OURS
    return real;
}

/* ---- set-up ---------------------------------------------------------------------------------- */

bool pm__faults_install(void) {
    static bool installed;
    if (installed)
        return true;
    /* The runtime finds the loader's functions when it first needs them, and then for good. */
    pm_device_info *list;
    size_t n;
    const char *note;
    if (pm__gpu_list(&list, &n, &note) != PM_OK)
        return false;
    pm__gpu_list_free(list);
    if (n == 0)
        return false;
#define EXCHANGE(name)                                                                             \
    loader.name = vk##name;                                                                        \
    vk##name = name;
    INSTANCE_FUNCTIONS(EXCHANGE)
#undef EXCHANGE
    installed = true;
    pm__keep_drivers();
    return true;
}
