#include "device.h"

#include "../base/hash.h"
#include "../base/log.h"
#include "../base/threads.h"
#include "adapter.h"
#include "pipeline.h"
#include "quarantine.h"
#include "tuning.h"
#include "units.h"

#include <shaderc/shaderc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- results --------------------------------------------------------------------------------- */

static pm_status fail_lost(pm__gpu *gpu, const char *what) {
    gpu->lost = true;
    return pm__fail(
        PM_DEVICE_LOST,
        "%s: device '%s' is lost: the driver gave up on this submission or the GPU was reset; "
        "lower --submit-ms (now %.0f), update the driver (%s), or take another --device",
        what, gpu->info.name != NULL ? gpu->info.name : "", gpu->submit_seconds * 1e3,
        gpu->info.driver != NULL ? gpu->info.driver : "");
}

static const char *result_text(VkResult result) {
    switch (result) {
    case VK_TIMEOUT:
        return "timed out";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "the driver failed to start; vulkaninfo says more";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_FEATURE_NOT_PRESENT:
        return "the driver lacks what it announced; update it";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "too many objects; close other sessions";
    case VK_ERROR_INVALID_SHADER_NV:
        return "the driver refused the shader; update it";
    default:
        return "the driver failed; update it or take another --device";
    }
}

pm_status pm__gpu_check(pm__gpu *gpu, VkResult result, const char *what) {
    if (gpu->lost || result == VK_ERROR_DEVICE_LOST)
        return fail_lost(gpu, what);
    switch (result) {
    case VK_SUCCESS:
        return PM_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return pm__fail(PM_OUT_OF_MEMORY, "%s: out of host memory; try a smaller -c or -b", what);
    case VK_ERROR_MEMORY_MAP_FAILED:
        return pm__fail(PM_OUT_OF_MEMORY,
                        "%s: no room in the address space; try a smaller -c or -b", what);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_FRAGMENTATION:
        return pm__fail(PM_OUT_OF_MEMORY,
                        "%s: out of device memory; try a smaller -c or -b, or another --device",
                        what);
    default:
        return pm__fail(PM_FAILURE, "%s: %s (VkResult %d)", what, result_text(result), (int)result);
    }
}

uint64_t pm__gpu_key(const pm__gpu *gpu) {
    const VkPhysicalDeviceProperties *p = &gpu->properties;
    const uint32_t numbers[] = {p->vendorID, p->deviceID, p->driverVersion, p->apiVersion,
                                (uint32_t)gpu->driver.driverID};
    uint64_t key = pm__hash_string(PM__HASH_START, PM_VERSION);
    key = pm__hash(key, numbers, sizeof numbers);
    key = pm__hash(key, gpu->id.deviceUUID, VK_UUID_SIZE);
    key = pm__hash(key, gpu->id.driverUUID, VK_UUID_SIZE);
    return pm__hash_string(key, gpu->driver.driverInfo);
}

/* Drivers with a watchdog give up after some ten seconds; what takes longer than this is no
 * work. */
static const double SILENCE_SECONDS = 120.0;

/* ---- create ---------------------------------------------------------------------------------- */

static void copy_adapter(pm__gpu *gpu, const pm__adapter *adapter) {
    gpu->physical = adapter->physical;
    gpu->properties = adapter->properties;
    gpu->driver = adapter->driver;
    gpu->id = adapter->id;
    gpu->memory = adapter->memory;
    gpu->queue_family = adapter->queue_family;
    gpu->caps = adapter->caps;
    gpu->unified = adapter->unified;
    gpu->memory_budget = adapter->memory_budget;
    for (uint32_t i = 0; i < gpu->memory.memoryHeapCount; i++) {
        const bool local = gpu->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        snprintf(gpu->heap_names[i], sizeof gpu->heap_names[i], "%s %u", local ? "device" : "host",
                 i);
    }
}

static void use_timeline_extension(struct VolkDeviceTable *vk) {
    vk->vkGetSemaphoreCounterValue = vk->vkGetSemaphoreCounterValueKHR;
    vk->vkSignalSemaphore = vk->vkSignalSemaphoreKHR;
    vk->vkWaitSemaphores = vk->vkWaitSemaphoresKHR;
}

enum { MOST_EXTENSIONS = 5 + PM__UNIT_EXTENSIONS };

static uint32_t wanted_extensions(const pm__adapter *adapter, const char *names[MOST_EXTENSIONS]) {
    uint32_t n = 0;
    if (adapter->memory_budget)
        names[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (adapter->portability)
        names[n++] = "VK_KHR_portability_subset";
    if (adapter->timeline_extension)
        names[n++] = VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME;
    if (adapter->subgroup_extension)
        names[n++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (adapter->caps.statistics)
        names[n++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    return n + pm__units_extensions(&adapter->caps, adapter->properties.apiVersion, names + n);
}

static pm_status create_device(pm__gpu *gpu, const pm__adapter *adapter) {
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE,
    };
    void *optional = gpu->caps.statistics ? &executables : NULL;
    pm__units units;
    pm__units_switch_on(&units, &gpu->caps, gpu->one_dispatch, &optional);
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = optional,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE,
    };
    const VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
        .pNext = gpu->caps.subgroup_control ? &size_control : optional,
        .timelineSemaphore = VK_TRUE,
    };
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = gpu->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const char *names[MOST_EXTENSIONS];
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &timeline,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = wanted_extensions(adapter, names),
        .ppEnabledExtensionNames = names,
    };
    VkDevice opened = VK_NULL_HANDLE; /* a call that fails may leave anything in it */
    PM_TRY(pm__gpu_check(gpu, vkCreateDevice(gpu->physical, &info, NULL, &opened),
                         "gpu: opening the device"));
    gpu->device = opened;
    volkLoadDeviceTable(&gpu->vk, gpu->device);
    if (adapter->timeline_extension)
        use_timeline_extension(&gpu->vk);
    gpu->vk.vkGetDeviceQueue(gpu->device, gpu->queue_family, 0, &gpu->queue);
    return PM_OK;
}

/* Research, asked for in so many words: a device without it says so, and goes on. */
static void ask_for_one_dispatch(pm__gpu *gpu, const pm_device_desc *desc) {
    const pm__unit_caps *units = &gpu->caps.units;
    gpu->one_dispatch = desc->one_dispatch && units->memory_model && units->addresses;
    if (desc->one_dispatch && !gpu->one_dispatch)
        pm__log(PM_LOG_WARN, "one dispatch: %s has no %s; layers are launched kernel by kernel",
                gpu->info.name,
                units->memory_model ? "addresses of buffers" : "memory model of Vulkan");
}

static pm_status create_rest(pm__gpu *gpu, const pm__adapter *adapter, const pm_device_desc *desc) {
    PM_TRY(create_device(gpu, adapter));
    gpu->compiler = shaderc_compiler_initialize();
    if (gpu->compiler == NULL)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "gpu: the shader compiler (shaderc) got no memory to start");
    PM_TRY(pm__shader_cache_create(desc->cache_dir, &gpu->shaders));
    PM_TRY(pm__quarantine_create(gpu));
    PM_TRY(pm__tuning_create(gpu));
    pm__pipeline_cache_create(gpu);
    return PM_OK;
}

static pm_status choose(const pm__adapters *set, uint32_t index, const pm__adapter **out) {
    if (set->n == 0)
        return pm__fail(PM_NO_DEVICE, "gpu: no Vulkan device: %s", set->note);
    if (index >= set->n)
        return pm__fail(
            PM_NO_DEVICE,
            "gpu: no device %u: there are %u, numbered from 0; --list-devices shows them", index,
            set->n);
    const pm__adapter *adapter = &set->items[index];
    if (adapter->unusable[0] != '\0')
        return pm__fail(PM_NO_DEVICE, "gpu: device %u '%s' %s", index,
                        adapter->properties.deviceName, adapter->unusable);
    *out = adapter;
    return PM_OK;
}

static pm_status create_from(pm__adapters *set, uint32_t index, const pm_device_desc *desc,
                             pm__gpu *gpu) {
    const pm__adapter *adapter = NULL;
    PM_TRY(choose(set, index, &adapter));
    PM_TRY(pm__adapter_describe(set, index, &gpu->texts, &gpu->info));
    copy_adapter(gpu, adapter);
    gpu->instance = set->instance;
    set->instance = VK_NULL_HANDLE;
    gpu->n_thread = desc->n_thread != 0 ? desc->n_thread : (uint32_t)pm__thread_count();
    gpu->most_bytes = desc->max_memory_bytes;
    gpu->silence_seconds = SILENCE_SECONDS;
    ask_for_one_dispatch(gpu, desc);
    gpu->submit_seconds = (desc->submit_ms != 0 ? desc->submit_ms : 100) * 1e-3;
    return create_rest(gpu, adapter, desc);
}

pm_status pm__gpu_create(uint32_t index, const pm_device_desc *desc, pm__gpu **out) {
    pm__gpu *gpu = calloc(1, sizeof *gpu);
    if (gpu == NULL)
        return pm__fail_memory("gpu: device", sizeof *gpu);
    pm__adapters set;
    pm_status status = pm__adapters_init(&set);
    if (status == PM_OK)
        status = create_from(&set, index, desc, gpu);
    if (status == PM_OK)
        *out = gpu;
    else
        pm__gpu_destroy(gpu);
    pm__adapters_finish(&set);
    return status;
}

static void close_vulkan(pm__gpu *gpu) {
    if (gpu->device != VK_NULL_HANDLE) {
        gpu->vk.vkDeviceWaitIdle(gpu->device);
        gpu->vk.vkDestroyPipelineCache(gpu->device, gpu->pipeline_cache, NULL);
        gpu->vk.vkDestroyDevice(gpu->device, NULL);
    }
    if (gpu->instance != VK_NULL_HANDLE)
        vkDestroyInstance(gpu->instance, NULL);
    gpu->device = VK_NULL_HANDLE;
    gpu->pipeline_cache = VK_NULL_HANDLE;
    gpu->instance = VK_NULL_HANDLE;
}

/* ---- reopening ------------------------------------------------------------------------------- */

static bool same_device(const pm__gpu *gpu, const pm__adapter *adapter) {
    const VkPhysicalDeviceProperties *was = &gpu->properties, *is = &adapter->properties;
    return was->vendorID == is->vendorID && was->deviceID == is->deviceID &&
           strcmp(was->deviceName, is->deviceName) == 0 &&
           memcmp(gpu->id.deviceUUID, adapter->id.deviceUUID, VK_UUID_SIZE) == 0;
}

static bool same_driver(const pm__gpu *gpu, const pm__adapter *adapter) {
    return gpu->properties.driverVersion == adapter->properties.driverVersion &&
           gpu->driver.driverID == adapter->driver.driverID &&
           strcmp(gpu->driver.driverInfo, adapter->driver.driverInfo) == 0;
}

/* Some drivers give all their devices the same identity: then the place in the list counts. */
static pm_status find_again(const pm__gpu *gpu, const pm__adapters *set, const pm__adapter **out) {
    const pm__adapter *found = NULL;
    for (uint32_t i = 0; i < set->n; i++)
        if (same_device(gpu, &set->items[i]) && (found == NULL || i == gpu->info.index))
            found = &set->items[i];
    if (found == NULL)
        return pm__fail(PM_NO_DEVICE, "gpu: device '%s' is not there any more%s%s", gpu->info.name,
                        set->note[0] != '\0' ? ": " : "", set->note);
    if (!same_driver(gpu, found))
        return pm__fail(PM_NO_DEVICE,
                        "gpu: the driver of device '%s' is another one now, and its results may be "
                        "others; start again with it",
                        gpu->info.name);
    *out = found;
    return PM_OK;
}

static pm_status reopen_from(pm__gpu *gpu, pm__adapters *set) {
    const pm__adapter *adapter = NULL;
    PM_TRY(find_again(gpu, set, &adapter));
    gpu->physical = adapter->physical;
    gpu->instance = set->instance;
    set->instance = VK_NULL_HANDLE;
    gpu->lost = false;
    PM_TRY(create_device(gpu, adapter));
    pm__pipeline_cache_create(gpu);
    return PM_OK;
}

pm_status pm__gpu_reopen(pm__gpu *gpu) {
    pm__adapters set;
    close_vulkan(gpu);
    gpu->lost = true;
    PM_TRY(pm__adapters_init(&set));
    const pm_status status = reopen_from(gpu, &set);
    gpu->lost = status != PM_OK;
    pm__adapters_finish(&set);
    return status;
}

void pm__gpu_destroy(pm__gpu *gpu) {
    if (gpu == NULL)
        return;
    close_vulkan(gpu);
    shaderc_compiler_release(gpu->compiler);
    pm__quarantine_destroy(gpu->quarantine);
    pm__tuning_destroy(gpu);
    pm__shader_cache_destroy(gpu->shaders);
    pm__arena_finish(&gpu->texts);
    free(gpu);
}
