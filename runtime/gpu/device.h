/* device.h: one opened Vulkan device: its queue, its limits, what its driver can do. */
#ifndef PM_GPU_DEVICE_H
#define PM_GPU_DEVICE_H

#include "../base/arena.h"
#include "gpu.h"
#include "run_node.h"

#define VK_NO_PROTOTYPES
#include <volk.h>

typedef enum pm__tier {
#define PM_TIER(NAME, name, what) PM__TIER_##NAME,
#include "tiers.def"
#undef PM_TIER
    PM__TIER_COUNT
} pm__tier;

/* Cooperative matrices: C [m, n] += A [m, k] B [k, n]. */
typedef struct pm__shape {
    uint32_t m, n, k;
} pm__shape;

/* Types of A and B, and of C. */
typedef enum pm__shape_kind {
    PM__SHAPES_F16_F32,
    PM__SHAPES_F16_F16,
    PM__SHAPES_S8_S32,
    PM__SHAPE_KINDS
} pm__shape_kind;

enum { PM__MOST_SHAPES = 8 };

typedef struct pm__shapes {
    pm__shape items[PM__MOST_SHAPES]; /* as the driver has them, best first */
    uint32_t n;
} pm__shapes;

/* Integer dot products and matrix units; of them the tiers follow. */
typedef struct pm__unit_caps {
    bool dot8;
    bool float16, int8, memory_model; /* of shaders, for matrices of such elements */
    bool addresses;                   /* shaders may read buffers by their addresses */
    bool coop, coop2;
    pm__shapes shapes[PM__SHAPE_KINDS]; /* of a subgroup */
    pm__shape coop2_grain;    /* what sizes of f16 to f32 are multiples of, in a subgroup */
    uint32_t coop2_most;      /* that they may be */
    uint32_t coop2_workgroup; /* size of a workgroup that shares matrices, or 0 */
    uint32_t coop2_shared;    /* bytes of its shared memory that the driver takes for that */
    pm__shape coop2_workgroup_grain;
} pm__unit_caps;

/* What the kernels and the planner may count on; all bytes. */
typedef struct pm__caps {
    /* Of one storage-buffer binding: min(maxStorageBufferRange, maxMemoryAllocationSize, 2 GiB). */
    uint64_t most_range;
    uint64_t most_allocation;  /* of one buffer: min(1 GiB, maxMemoryAllocationSize) */
    uint64_t offset_alignment; /* of a binding; at least 16, so that uvec4 loads are aligned */
    uint32_t most_group_x;
    uint32_t most_turns;                 /* of all loops of an invocation together */
    uint32_t most_invocations;           /* of a workgroup */
    uint32_t most_bindings;              /* of a kernel; only attention with sinks or biases by
                                            distance takes more than PM__USUAL_BINDINGS */
    uint32_t subgroup_min, subgroup_max; /* equal where the size cannot be chosen */
    bool subgroup_control; /* a pipeline may require a subgroup size and full subgroups */
    bool subgroup_sized;   /* every subgroup of a kernel of the coop tiers has subgroup_min lanes */
    bool subgroup_arithmetic;
    bool timeline;
    bool statistics;          /* the driver tells of the code it makes of a pipeline */
    double timestamp_seconds; /* of one tick; 0: no timestamps */
    uint64_t timestamp_mask;  /* bits of a timestamp that count */
    bool dot8_accelerated;    /* the dot products of the dot8 tier */
    pm__unit_caps units;
    bool tiers[PM__TIER_COUNT];
    bool software;                      /* it runs on the CPU */
    bool quarantined[PM__MOST_KERNELS]; /* row i of kernels.def failed a check with this driver */
    const struct pm__tuning *tuning;    /* kernels measured to be fastest; NULL: defaults alone */
} pm__caps;

typedef struct pm__gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    /* Every device-level call goes through it, so that a test can make any of them fail. Where the
     * device is older than Vulkan 1.2, the timeline functions here are those of the extension. */
    struct VolkDeviceTable vk;
    VkPhysicalDeviceMemoryProperties memory;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceIDProperties id;
    pm__caps caps;
    pm_device_info info; /* its texts are in `texts` */
    pm__arena texts;
    char heap_names[VK_MAX_MEMORY_HEAPS][24];
    bool unified;          /* the device's memory is the host's */
    bool unmapped;         /* device memory is not mapped even where it could be; for tests */
    bool one_dispatch;     /* asked for, and the driver has what it takes; see stack.h */
    uint32_t most_meeting; /* workgroups that the check of a stack begins with; 0: its own choice */
    bool believes;         /* without a check. Both for tests */
    bool memory_budget;    /* VK_EXT_memory_budget */
    uint64_t taken[VK_MAX_MEMORY_HEAPS]; /* bytes of buffers, in memory.c */
    uint64_t most_bytes;                 /* that limited heaps may hold together; 0: no limit */
    uint32_t spill_said;                 /* heaps that buffers came to and were said to */
    uint32_t n_thread;
    double submit_seconds;  /* time budget of one submission */
    double silence_seconds; /* after which a device that has not finished is given up */
    struct pm__shader_cache *shaders;
    struct pm__quarantine *quarantine;
    struct pm__tuning *tuning;
    struct shaderc_compiler *compiler;
    VkPipelineCache pipeline_cache;
    uint64_t pipeline_cache_hash; /* of what is on disk; 0: nothing */
    bool lost;                    /* sticky */
} pm__gpu;

/* What drivers want of a limited address space before they are loaded; an eighth of it later on,
 * for their compilers. */
enum { PM__DRIVER_ADDRESSES = 512 << 20 };

/* Turns a VkResult into a status with a sentence: "<what>: <reason>, <what to try>". Marks the
 * device lost where it is; afterwards every result is DEVICE_LOST, since drivers report success
 * after a reset. */
pm_status pm__gpu_check(pm__gpu *gpu, VkResult result, const char *what);

/* Of the device, its driver, their versions and ours: for names of files about them. */
uint64_t pm__gpu_key(const pm__gpu *gpu);

/* Opens and closes the device itself; gpu.c wraps it into a pm__device_handle. */
pm_status pm__gpu_create(uint32_t index, const pm_device_desc *desc, pm__gpu **out);
/* Closes a lost device and opens the same one anew, by the same driver and with the same caps;
 * everything made on it must be destroyed before. After a failure it is lost as before.
 * errors  NO_DEVICE: it is not there any more, or has another driver; those of opening */
pm_status pm__gpu_reopen(pm__gpu *gpu);
void pm__gpu_destroy(pm__gpu *gpu);
/* Marks a device lost that never finishes: nothing of it is waited for or destroyed any more, and
 * closing it takes no time. It keeps its memory until the program ends. */
void pm__gpu_abandon(pm__gpu *gpu);

#endif
