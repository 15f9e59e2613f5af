/* device.h: one opened Vulkan device: its queue, its limits, what its driver can do. */
#ifndef PM_GPU_DEVICE_H
#define PM_GPU_DEVICE_H

#include "gpu.h"

#define VK_NO_PROTOTYPES
#include <volk.h>

typedef enum pm__tier {
#define PM_TIER(NAME, name, what) PM__TIER_##NAME,
#include "tiers.def"
#undef PM_TIER
    PM__TIER_COUNT
} pm__tier;

/* What the kernels and the planner may count on; all bytes. */
typedef struct pm__caps {
    uint64_t most_range;      /* of one storage-buffer binding: min(maxStorageBufferRange,
                                 maxMemoryAllocationSize, 2 GiB) */
    uint64_t most_allocation; /* of one buffer: min(1 GiB, maxMemoryAllocationSize) */
    uint64_t offset_alignment;
    uint32_t most_group_x;
    uint32_t most_invocations; /* of a workgroup */
    uint32_t shared_bytes;
    uint32_t subgroup_min, subgroup_max; /* equal where the size cannot be chosen */
    bool subgroup_control; /* a pipeline may require a subgroup size and full subgroups */
    bool subgroup_arithmetic;
    bool timeline;
    double timestamp_seconds; /* of one tick; 0: no timestamps */
    bool tiers[PM__TIER_COUNT];
} pm__caps;

typedef struct pm__gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    struct VolkDeviceTable
        vk; /* every device-level call goes through it, so that a test can make any of them fail */
    VkPhysicalDeviceMemoryProperties memory;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceDriverProperties driver;
    pm__caps caps;
    pm_device_info info;
    uint32_t n_thread;
    double submit_seconds; /* time budget of one submission */
    struct pm__shader_cache *shaders;
    VkPipelineCache pipeline_cache;
    bool lost; /* sticky */
} pm__gpu;

/* Turns a VkResult into a status with a sentence: "<what>: <reason>". Marks the device lost where
 * it is. */
pm_status pm__gpu_check(pm__gpu *gpu, VkResult result, const char *what);

/* Opens and closes the device itself; gpu.c wraps it into a pm__device_handle. */
pm_status pm__gpu_create(uint32_t index, const pm_device_desc *desc, pm__gpu **out);
void pm__gpu_destroy(pm__gpu *gpu);

#endif
