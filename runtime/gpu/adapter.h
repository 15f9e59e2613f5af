/* adapter.h: what the drivers say of each physical device, before one is opened. */
#ifndef PM_GPU_ADAPTER_H
#define PM_GPU_ADAPTER_H

#include "device.h"

typedef struct pm__adapter {
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceDriverProperties driver; /* driverName "" where the driver does not say */
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t queue_family;
    pm__caps caps;
    bool unified;
    bool memory_budget, portability;             /* extensions to enable */
    bool timeline_extension, subgroup_extension; /* to enable where the version lacks them */
    char pci[40];                                /* "0000:03:00.0", or "" */
    char unusable[128];                          /* why it cannot run pumice, or "" */
} pm__adapter;

/* The physical devices of one instance, in the loader's order. */
typedef struct pm__adapters {
    VkInstance instance; /* may be taken: set it to NULL */
    pm__adapter *items;
    uint32_t n;
    const char *note; /* why there are none, or ""; a constant */
} pm__adapters;

/* No loader or no driver is PM_OK with n = 0 and a note. */
pm_status pm__adapters_init(pm__adapters *set);
void pm__adapters_finish(pm__adapters *set);

/* Fills *out; texts live in the arena. */
pm_status pm__adapter_describe(const pm__adapters *set, uint32_t index, pm__arena *texts,
                               pm_device_info *out);

#endif
