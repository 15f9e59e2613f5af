#include "adapter.h"

#include "../base/checked.h"
#include "../base/log.h"
#include "../base/system.h"
#include "pipeline.h"
#include "units.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t gib = 1ull << 30;

/* ---- instance -------------------------------------------------------------------------------- */

/* The global entry points are the loader's trampolines and serve every instance, so they are set
 * once. */
static pthread_mutex_t loader_lock = PTHREAD_MUTEX_INITIALIZER;
static bool loader_ready, instance_calls_ready;

static bool loader_init(void) {
    pthread_mutex_lock(&loader_lock);
    if (!loader_ready)
        loader_ready = volkInitialize() == VK_SUCCESS;
    const bool ready = loader_ready;
    pthread_mutex_unlock(&loader_lock);
    return ready;
}

static void load_instance_calls(VkInstance instance) {
    pthread_mutex_lock(&loader_lock);
    if (!instance_calls_ready)
        volkLoadInstanceOnly(instance);
    instance_calls_ready = true;
    pthread_mutex_unlock(&loader_lock);
}

static bool has_extension(const VkExtensionProperties *list, uint32_t n, const char *name) {
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return true;
    return false;
}

static void warn_of_list(VkResult result) {
    pm__log(PM_LOG_WARN,
            "gpu: the loader could not list its extensions (VkResult %d); devices that need one "
            "(MoltenVK) are not listed",
            (int)result);
}

/* Drivers that are no full Vulkan (MoltenVK) are only listed to those who ask for them. */
static pm_status find_portability_enumeration(bool *found) {
    uint32_t n = 0;
    *found = false;
    VkResult result = vkEnumerateInstanceExtensionProperties(NULL, &n, NULL);
    VkExtensionProperties *list = NULL;
    if (result == VK_SUCCESS && n > 0) {
        list = calloc(n, sizeof *list);
        if (list == NULL)
            return pm__fail_memory("gpu: instance extensions", n * sizeof *list);
        result = vkEnumerateInstanceExtensionProperties(NULL, &n, list);
    }
    if (result < VK_SUCCESS)
        warn_of_list(result);
    *found = list != NULL && result >= VK_SUCCESS &&
             has_extension(list, n, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    free(list);
    return PM_OK;
}

static const char *instance_note(VkResult result) {
    switch (result) {
    case VK_ERROR_INCOMPATIBLE_DRIVER:
        return "the Vulkan loader found no driver; install one (Debian: mesa-vulkan-drivers, or "
               "the maker's own)";
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "the Vulkan drivers ran out of memory while starting; close other programs";
    default:
        return "the Vulkan loader or a driver failed to start; vulkaninfo says more";
    }
}

/* Drivers and their compilers hang or end the process where they can have no address space. */
static pm_status check_addresses(void) {
    const uint64_t left = pm__system_addresses_free();
    if (left >= PM__DRIVER_ADDRESSES)
        return PM_OK;
    return pm__fail(PM_OUT_OF_MEMORY,
                    "gpu: %" PRIu64 " MiB of address space are left to this process (ulimit -v), "
                    "Vulkan drivers need %d; raise the limit, or use --device cpu",
                    left >> 20, PM__DRIVER_ADDRESSES >> 20);
}

/* instance stays NULL, with a note, where there is no Vulkan. */
static pm_status instance_create(VkInstance *instance, const char **note) {
    bool portability;
    *note = "";
    if (!instance_calls_ready) /* later the drivers have what they need */
        PM_TRY(check_addresses());
    if (!loader_init()) {
        *note = "no Vulkan loader (libvulkan.so.1) was found; install it (Debian: libvulkan1)";
        return PM_OK;
    }
    if (volkGetInstanceVersion() < VK_API_VERSION_1_1) {
        *note = "the Vulkan loader is older than Vulkan 1.1; update it";
        return PM_OK;
    }
    PM_TRY(find_portability_enumeration(&portability));
    const char *extension = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "pumice",
        .pEngineName = "pumice",
        .apiVersion = VK_API_VERSION_1_3, /* a loader of 1.1 or later accepts any */
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .flags = portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledExtensionCount = portability ? 1 : 0,
        .ppEnabledExtensionNames = &extension,
    };
    const VkResult result = vkCreateInstance(&info, NULL, instance);
    if (result == VK_SUCCESS) {
        load_instance_calls(*instance);
        return PM_OK;
    }
    *instance = VK_NULL_HANDLE;
    *note = instance_note(result);
    return PM_OK;
}

/* ---- one physical device --------------------------------------------------------------------- */

/* Everything asked of a driver besides what a pm__adapter keeps. */
typedef struct adapter_query {
    VkExtensionProperties *extensions;
    uint32_t n_extension;
    VkResult listed; /* of listing them */
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDeviceSubgroupSizeControlProperties size_control;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control_features;
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables;
    VkPhysicalDeviceShaderIntegerDotProductProperties dot8;
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci;
    pm__units units;
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV coop2;
} adapter_query;

static pm_status read_extensions(VkPhysicalDevice physical, adapter_query *query) {
    uint32_t n = 0;
    query->listed = vkEnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    if (query->listed != VK_SUCCESS || n == 0)
        return PM_OK;
    query->extensions = calloc(n, sizeof *query->extensions);
    if (query->extensions == NULL)
        return pm__fail_memory("gpu: device extensions", n * sizeof *query->extensions);
    query->listed = vkEnumerateDeviceExtensionProperties(physical, NULL, &n, query->extensions);
    if (query->listed >= VK_SUCCESS)
        query->n_extension = n;
    return PM_OK;
}

static bool has(const pm__adapter *adapter, const adapter_query *query, uint32_t core_since,
                const char *name) {
    return adapter->properties.apiVersion >= core_since ||
           has_extension(query->extensions, query->n_extension, name);
}

static bool has_dot8(const pm__adapter *adapter, const adapter_query *query) {
    return has(adapter, query, VK_API_VERSION_1_3,
               VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
}

static void read_properties(pm__adapter *adapter, adapter_query *query) {
    query->subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
    query->maintenance3.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
    query->maintenance4.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES;
    query->size_control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
    adapter->id.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES;
    adapter->driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    pm__chain(&all.pNext, &query->subgroup);
    pm__chain(&all.pNext, &query->maintenance3);
    pm__chain(&all.pNext, &adapter->id);
    if (has(adapter, query, VK_API_VERSION_1_2, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME))
        pm__chain(&all.pNext, &adapter->driver);
    if (has(adapter, query, VK_API_VERSION_1_3, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->maintenance4);
    if (has(adapter, query, VK_API_VERSION_1_3, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->size_control);
    query->dot8.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES;
    if (has_dot8(adapter, query))
        pm__chain(&all.pNext, &query->dot8);
    query->coop2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV;
    if (has_extension(query->extensions, query->n_extension,
                      VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->coop2);
    query->pci.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT;
    const bool has_pci =
        has_extension(query->extensions, query->n_extension, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    if (has_pci)
        pm__chain(&all.pNext, &query->pci);
    vkGetPhysicalDeviceProperties2(adapter->physical, &all);
    adapter->driver.pNext = NULL;
    adapter->id.pNext = NULL;
    if (has_pci)
        snprintf(adapter->pci, sizeof adapter->pci, "%04x:%02x:%02x.%x", query->pci.pciDomain,
                 query->pci.pciBus, query->pci.pciDevice, query->pci.pciFunction);
}

static void read_features(pm__adapter *adapter, adapter_query *query) {
    query->timeline.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES;
    query->size_control_features.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES;
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    if (has(adapter, query, VK_API_VERSION_1_2, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->timeline);
    if (has(adapter, query, VK_API_VERSION_1_3, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->size_control_features);
    query->executables.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR;
    if (has_extension(query->extensions, query->n_extension,
                      VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME))
        pm__chain(&all.pNext, &query->executables);
    const VkExtensionProperties *extensions = query->extensions;
    const uint32_t n = query->n_extension;
    const pm__units_known known = {
        .dot8 = has_dot8(adapter, query),
        .core12 = adapter->properties.apiVersion >= VK_API_VERSION_1_2,
        .coop = has_extension(extensions, n, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME),
        .coop2 = adapter->properties.apiVersion >= VK_API_VERSION_1_3 && /* for its SPIR-V */
                 has_extension(extensions, n, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME),
    };
    pm__units_ask(&query->units, &known, &all.pNext);
    vkGetPhysicalDeviceFeatures2(adapter->physical, &all);
}

/* One queue for everything. A family with graphics is preferred: it runs kernels as fast, every
 * driver tests it most, and watchdogs are laxer there than on compute-only queues. Returns the
 * family's valid timestamp bits, or -1 where no family can compute. */
static int choose_queue(pm__adapter *adapter) {
    VkQueueFamilyProperties families[16];
    uint32_t n = PM__COUNT(families);
    vkGetPhysicalDeviceQueueFamilyProperties(adapter->physical, &n, families);
    int best_rank = 0, bits = -1;
    for (uint32_t i = 0; i < n; i++) {
        const VkQueueFlags flags = families[i].queueFlags;
        const int rank = !(flags & VK_QUEUE_COMPUTE_BIT) ? 0
                         : flags & VK_QUEUE_GRAPHICS_BIT ? 2
                                                         : 1;
        if (rank <= best_rank)
            continue;
        best_rank = rank;
        adapter->queue_family = i;
        bits = (int)families[i].timestampValidBits;
    }
    return bits;
}

static void fill_subgroup_caps(pm__caps *caps, const adapter_query *query) {
    const VkPhysicalDeviceSubgroupProperties *subgroup = &query->subgroup;
    const VkPhysicalDeviceSubgroupSizeControlProperties *control = &query->size_control;
    caps->subgroup_control = query->size_control_features.subgroupSizeControl &&
                             query->size_control_features.computeFullSubgroups &&
                             (control->requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                             control->minSubgroupSize > 0;
    caps->subgroup_min = caps->subgroup_control ? control->minSubgroupSize : subgroup->subgroupSize;
    caps->subgroup_max = caps->subgroup_control ? control->maxSubgroupSize : subgroup->subgroupSize;
    caps->subgroup_sized =
        caps->subgroup_control || (control->minSubgroupSize == control->maxSubgroupSize &&
                                   control->minSubgroupSize == subgroup->subgroupSize);
    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    caps->subgroup_arithmetic = (subgroup->supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
                                (subgroup->supportedOperations & needed) == needed;
    caps->tiers[PM__TIER_PLAIN] = true;
    /* Below 4 lanes a shared-memory reduction is as good. */
    caps->tiers[PM__TIER_SUBGROUP] = caps->subgroup_arithmetic && caps->subgroup_min >= 4;
}

static void fill_caps(pm__adapter *adapter, const adapter_query *query, int timestamp_bits) {
    const VkPhysicalDeviceLimits *limits = &adapter->properties.limits;
    pm__caps *caps = &adapter->caps;
    uint64_t most = query->maintenance3.maxMemoryAllocationSize;
    if (query->maintenance4.maxBufferSize > 0)
        most = pm__least_u64(most, query->maintenance4.maxBufferSize);
    caps->most_range = pm__least_u64(pm__least_u64(limits->maxStorageBufferRange, most), 2 * gib);
    caps->most_allocation = pm__least_u64(most, gib);
    caps->offset_alignment = limits->minStorageBufferOffsetAlignment;
    if (caps->offset_alignment < 16)
        caps->offset_alignment = 16;
    caps->most_bindings = limits->maxPerStageDescriptorStorageBuffers;
    caps->most_group_x = limits->maxComputeWorkGroupCount[0];
    /* After so many turns its loops just end; that of Mesa 26 was seen to go on. */
    const bool ends_loops = adapter->driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE &&
                            VK_API_VERSION_MAJOR(adapter->properties.driverVersion) < 26;
    caps->most_turns = ends_loops ? 65535 : UINT32_MAX;
    caps->most_invocations = limits->maxComputeWorkGroupInvocations;
    caps->timeline = query->timeline.timelineSemaphore;
    caps->statistics = query->executables.pipelineExecutableInfo;
    if (timestamp_bits > 0) {
        caps->timestamp_seconds = (double)limits->timestampPeriod * 1e-9;
        caps->timestamp_mask = timestamp_bits >= 64 ? UINT64_MAX : (1ull << timestamp_bits) - 1;
    }
    fill_subgroup_caps(caps, query);
}

static void judge(pm__adapter *adapter, bool can_compute) {
    char *why = adapter->unusable;
    const size_t n = sizeof adapter->unusable;
    const uint32_t api = adapter->properties.apiVersion;
    if (api < VK_API_VERSION_1_1)
        snprintf(why, n, "has Vulkan %u.%u, pumice needs 1.1: update the driver",
                 VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api));
    else if (!can_compute)
        snprintf(why, n, "has no queue that runs compute shaders");
    else if (!adapter->caps.timeline)
        snprintf(why, n, "has no timeline semaphores: update the driver");
    else if (adapter->caps.most_bindings < PM__USUAL_BINDINGS)
        snprintf(why, n, "a shader can use %u storage buffers, pumice needs %d",
                 adapter->caps.most_bindings, PM__USUAL_BINDINGS);
}

static void read_adapter(pm__adapter *adapter, adapter_query *query) {
    read_properties(adapter, query);
    read_features(adapter, query);
    const int timestamp_bits = choose_queue(adapter);
    fill_caps(adapter, query, timestamp_bits);
    judge(adapter, timestamp_bits >= 0);
    const VkPhysicalDeviceType type = adapter->properties.deviceType;
    adapter->caps.software = type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    adapter->unified =
        type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    const VkExtensionProperties *extensions = query->extensions;
    const uint32_t n = query->n_extension;
    adapter->memory_budget = has_extension(extensions, n, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    adapter->portability = has_extension(extensions, n, "VK_KHR_portability_subset");
    const uint32_t api = adapter->properties.apiVersion;
    adapter->timeline_extension = api < VK_API_VERSION_1_2 && adapter->caps.timeline;
    adapter->subgroup_extension = api < VK_API_VERSION_1_3 && adapter->caps.subgroup_control;
}

static pm_status adapter_init(pm__adapter *adapter, VkInstance instance,
                              VkPhysicalDevice physical) {
    *adapter = (pm__adapter){.physical = physical};
    vkGetPhysicalDeviceProperties(physical, &adapter->properties);
    vkGetPhysicalDeviceMemoryProperties(physical, &adapter->memory);
    /* The queries of Vulkan 1.1 must not be put to a device of 1.0. */
    if (adapter->properties.apiVersion < VK_API_VERSION_1_1) {
        judge(adapter, false);
        return PM_OK;
    }
    adapter_query query = {0};
    PM_TRY(read_extensions(physical, &query));
    read_adapter(adapter, &query);
    query.units.coop2_sizes = query.coop2;
    const pm_status status =
        pm__units_fill(instance, physical, &query.units,
                       query.dot8.integerDotProduct4x8BitPackedSignedAccelerated, &adapter->caps);
    /* Without its extensions it would pass for a lesser one. */
    if (query.listed < VK_SUCCESS)
        snprintf(adapter->unusable, sizeof adapter->unusable,
                 "could not list its extensions (VkResult %d): try again, or update the driver",
                 (int)query.listed);
    free(query.extensions);
    return status;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static pm_status read_all(pm__adapters *set, VkPhysicalDevice *physicals, uint32_t n) {
    set->items = calloc(n, sizeof *set->items);
    if (set->items == NULL)
        return pm__fail_memory("gpu: list of devices", n * sizeof *set->items);
    for (uint32_t i = 0; i < n; i++) {
        PM_TRY(adapter_init(&set->items[i], set->instance, physicals[i]));
        set->n++;
    }
    return PM_OK;
}

static pm_status enumerate(pm__adapters *set) {
    uint32_t n = 0;
    VkResult result = vkEnumeratePhysicalDevices(set->instance, &n, NULL);
    if (result != VK_SUCCESS || n == 0) {
        set->note = result == VK_SUCCESS ? instance_note(VK_ERROR_INCOMPATIBLE_DRIVER)
                                         : instance_note(result);
        return PM_OK;
    }
    VkPhysicalDevice *physicals = calloc(n, sizeof(VkPhysicalDevice));
    if (physicals == NULL)
        return pm__fail_memory("gpu: list of devices", n * sizeof(VkPhysicalDevice));
    result = vkEnumeratePhysicalDevices(set->instance, &n, physicals);
    pm_status status = PM_OK;
    if (result < VK_SUCCESS)
        set->note = instance_note(result);
    else
        status = read_all(set, physicals, n);
    free(physicals);
    return status;
}

pm_status pm__adapters_init(pm__adapters *set) {
    *set = (pm__adapters){.note = ""};
    PM_TRY(instance_create(&set->instance, &set->note));
    if (set->instance == VK_NULL_HANDLE)
        return PM_OK;
    const pm_status status = enumerate(set);
    if (status != PM_OK)
        pm__adapters_finish(set);
    return status;
}

void pm__adapters_finish(pm__adapters *set) {
    free(set->items);
    if (set->instance != VK_NULL_HANDLE)
        vkDestroyInstance(set->instance, NULL);
    *set = (pm__adapters){.note = ""};
}
