/* device_list.c: which devices there are, which one is best, and why. */
#include "adapter.h"
#include "kernels.h"
#include "units.h"

#include "../base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- order ----------------------------------------------------------------------------------- */

static bool is_software(const pm__adapter *adapter) {
    return adapter->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

static const char *kind_of(const pm__adapter *adapter) {
    switch (adapter->properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "software";
    default:
        return "virtual";
    }
}

static int kind_rank(const pm__adapter *adapter) {
    switch (adapter->properties.deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 3;
    default:
        return 2;
    }
}

/* Between drivers of one GPU, least first: Mesa's for AMD, NVIDIA's own for NVIDIA, layers over
 * other interfaces last. */
static int driver_rank(const pm__adapter *adapter) {
    switch (adapter->driver.driverID) {
    case VK_DRIVER_ID_MESA_RADV:
    case VK_DRIVER_ID_NVIDIA_PROPRIETARY:
    case VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA:
        return 0;
    case VK_DRIVER_ID_AMD_OPEN_SOURCE:
    case VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS:
        return 1;
    case VK_DRIVER_ID_AMD_PROPRIETARY:
        return 2;
    case VK_DRIVER_ID_MESA_DOZEN:
        return 9;
    default:
        return 5;
    }
}

/* The same driver never shows one GPU twice, but some give all their cards one UUID. */
static bool same_gpu(const pm__adapter *a, const pm__adapter *b) {
    if (is_software(a) || is_software(b) || a->driver.driverID == b->driver.driverID)
        return false;
    if (a->unusable[0] != '\0' || b->unusable[0] != '\0')
        return false;
    if (a->id.deviceLUIDValid && b->id.deviceLUIDValid &&
        memcmp(a->id.deviceLUID, b->id.deviceLUID, VK_LUID_SIZE) == 0)
        return true;
    static const uint8_t none[VK_UUID_SIZE] = {0};
    return memcmp(a->id.deviceUUID, b->id.deviceUUID, VK_UUID_SIZE) == 0 &&
           memcmp(a->id.deviceUUID, none, VK_UUID_SIZE) != 0;
}

/* The device that shows the same GPU through a better driver, or `index` itself. */
static uint32_t preferred(const pm__adapters *set, uint32_t index) {
    uint32_t best = index;
    for (uint32_t i = 0; i < set->n; i++) {
        if (i == index || !same_gpu(&set->items[i], &set->items[index]))
            continue;
        const int rank = driver_rank(&set->items[i]), best_rank = driver_rank(&set->items[best]);
        if (rank < best_rank || (rank == best_rank && i < best))
            best = i;
    }
    return best;
}

/* What kernels can use: unified devices reach every heap. */
static uint64_t memory_bytes(const pm__adapter *adapter) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < adapter->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &adapter->memory.memoryHeaps[i];
        if (adapter->unified || heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)
            bytes += heap->size;
    }
    return bytes;
}

/* Usable first; then by kind; then each GPU's best driver; then by memory; then as the loader has
 * them. */
static bool comes_before(const pm__adapters *set, uint32_t a, uint32_t b) {
    const pm__adapter *x = &set->items[a], *y = &set->items[b];
    const bool usable_x = x->unusable[0] == '\0', usable_y = y->unusable[0] == '\0';
    if (usable_x != usable_y)
        return usable_x;
    if (kind_rank(x) != kind_rank(y))
        return kind_rank(x) < kind_rank(y);
    const bool first_x = preferred(set, a) == a, first_y = preferred(set, b) == b;
    if (first_x != first_y)
        return first_x;
    const uint64_t bytes_x = memory_bytes(x), bytes_y = memory_bytes(y);
    return bytes_x != bytes_y ? bytes_x > bytes_y : a < b;
}

static uint32_t best_of(const pm__adapters *set) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < set->n; i++)
        if (comes_before(set, i, best))
            best = i;
    return best;
}

/* ---- words ----------------------------------------------------------------------------------- */

PM__PRINTF(2, 3) static const char *text(pm__arena *arena, const char *fmt, ...) {
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    pm__utf8_make_plain(line); /* it may quote a driver */
    return pm__arena_string(arena, line, strlen(line));
}

static const char *driver_text(pm__arena *arena, const pm__adapter *adapter) {
    const VkPhysicalDeviceProperties *p = &adapter->properties;
    const VkPhysicalDeviceDriverProperties *driver = &adapter->driver;
    if (driver->driverName[0] == '\0')
        return text(arena, "driver 0x%x of vendor 0x%x", p->driverVersion, p->vendorID);
    return text(arena, "%s%s%s", driver->driverName, driver->driverInfo[0] != '\0' ? " " : "",
                driver->driverInfo);
}

static const char *why_text(pm__arena *arena, const pm__adapters *set, uint32_t index) {
    const pm__adapter *adapter = &set->items[index];
    if (adapter->unusable[0] != '\0')
        return text(arena, "%s", adapter->unusable);
    const uint32_t twin = preferred(set, index);
    if (twin != index)
        return text(arena, "the same GPU as device %u, whose driver is preferred: used when named",
                    twin);
    const bool best = best_of(set) == index;
    if (is_software(adapter))
        return text(arena, "%s",
                    best ? "software driver: used because no GPU was found"
                         : "software driver: used when named");
    return text(arena, "%s GPU: %s", kind_of(adapter),
                best ? "the best one here" : "not the best one here, used when named");
}

static const char *tier_text(pm__arena *arena, const pm__caps *caps, pm__tier tier) {
    if (tier == PM__TIER_PLAIN)
        return "every device has it";
    if (tier > PM__TIER_SUBGROUP)
        return pm__units_text(arena, caps, tier);
    if (!caps->subgroup_arithmetic)
        return "the driver has no subgroup arithmetic in compute shaders";
    if (!caps->tiers[tier])
        return text(arena, "subgroups of %u lanes are too small to be of use", caps->subgroup_min);
    if (caps->subgroup_min == caps->subgroup_max)
        return text(arena, "arithmetic over subgroups of %u lanes", caps->subgroup_max);
    return text(arena, "arithmetic over subgroups of %u to %u lanes", caps->subgroup_min,
                caps->subgroup_max);
}

static pm_status describe_tiers(const pm__adapter *adapter, pm__arena *arena,
                                pm_device_info *info) {
    static const char *const names[] = {
#define PM_TIER(NAME, name, what) #name,
#include "tiers.def"
#undef PM_TIER
    };
    pm_tier_info *tiers = pm__arena_array(arena, PM__TIER_COUNT, sizeof *tiers);
    if (tiers == NULL)
        return PM_OUT_OF_MEMORY;
    const bool usable = adapter->unusable[0] == '\0';
    for (size_t i = 0; i < PM__TIER_COUNT; i++) {
        tiers[i].tier = names[i];
        tiers[i].available = usable && adapter->caps.tiers[i];
        tiers[i].used = usable && pm__kernel_uses_tier(&adapter->caps, (pm__tier)i);
        tiers[i].why = usable ? tier_text(arena, &adapter->caps, (pm__tier)i) : info->why;
        if (tiers[i].why == NULL)
            return PM_OUT_OF_MEMORY;
    }
    info->tiers = tiers;
    info->n_tier = PM__TIER_COUNT;
    return PM_OK;
}

pm_status pm__adapter_describe(const pm__adapters *set, uint32_t index, pm__arena *arena,
                               pm_device_info *out) {
    const pm__adapter *adapter = &set->items[index];
    const uint32_t api = adapter->properties.apiVersion;
    pm_device_info info = {
        .index = index,
        .name = text(arena, "%s", adapter->properties.deviceName),
        .kind = kind_of(adapter),
        .driver = driver_text(arena, adapter),
        .api = text(arena, "%u.%u.%u", VK_API_VERSION_MAJOR(api), VK_API_VERSION_MINOR(api),
                    VK_API_VERSION_PATCH(api)),
        .memory_bytes = memory_bytes(adapter),
        .subgroup_min = adapter->caps.subgroup_min,
        .subgroup_max = adapter->caps.subgroup_max,
        .usable = adapter->unusable[0] == '\0',
        .why = why_text(arena, set, index),
    };
    snprintf(info.pci, sizeof info.pci, "%s", adapter->pci);
    if (info.name == NULL || info.driver == NULL || info.api == NULL || info.why == NULL)
        return PM_OUT_OF_MEMORY;
    PM_TRY(describe_tiers(adapter, arena, &info));
    *out = info;
    return PM_OK;
}

/* ---- list ------------------------------------------------------------------------------------ */

/* What pm__gpu_list hands out is `infos`; the texts are freed with it. */
typedef struct device_list {
    pm__arena texts;
    pm_device_info infos[];
} device_list;

static pm_status describe_all(const pm__adapters *set, device_list *list) {
    for (uint32_t i = 0; i < set->n; i++) {
        uint32_t place = 0;
        for (uint32_t j = 0; j < set->n; j++)
            place += j != i && comes_before(set, j, i);
        PM_TRY(pm__adapter_describe(set, i, &list->texts, &list->infos[place]));
    }
    return PM_OK;
}

pm_status pm__gpu_list(pm_device_info **list, size_t *n, const char **note) {
    pm__adapters set;
    PM_TRY(pm__adapters_init(&set));
    const size_t bytes = sizeof(device_list) + set.n * sizeof(pm_device_info);
    device_list *result = calloc(1, bytes);
    pm_status status = result != NULL ? describe_all(&set, result)
                                      : pm__fail_memory("gpu: list of devices", bytes);
    if (status == PM_OK) {
        *list = result->infos;
        *n = set.n;
        *note = set.note;
    } else if (result != NULL) {
        pm__gpu_list_free(result->infos);
    }
    pm__adapters_finish(&set);
    return status;
}

void pm__gpu_list_free(pm_device_info *list) {
    if (list == NULL)
        return;
    device_list *whole = (device_list *)(void *)((char *)list - offsetof(device_list, infos));
    pm__arena_finish(&whole->texts);
    free(whole);
}
