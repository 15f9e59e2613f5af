/* units.h: what a device has for the tiers above subgroups: integer dot products and matrix
 * units. */
#ifndef PM_GPU_UNITS_H
#define PM_GPU_UNITS_H

#include "device.h"
#include "newer.h"

/* The features that these tiers use. Asked for, they say what the driver has; then they are made
 * what is switched on, and then chained again. */
typedef struct pm__units {
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot8;
    VkPhysicalDeviceShaderFloat16Int8Features small;
    VkPhysicalDeviceVulkanMemoryModelFeatures model;
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop;
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV coop2;
    /* Groups of a size that is a constant, in the SPIR-V of coop2; every driver of Vulkan 1.3 has
     * it. */
    VkPhysicalDeviceMaintenance4Features sized;
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV coop2_sizes; /* of what the driver has */
} pm__units;

/* Which of them a driver knows. */
typedef struct pm__units_known {
    bool dot8, core12, coop, coop2; /* core12: small, model, addresses */
} pm__units_known;

/* Puts a structure before *next. */
void pm__chain(void **next, void *structure);

/* Chains the structures of what is known before *next. */
void pm__units_ask(pm__units *units, const pm__units_known *known, void **next);

/* Lists shapes and decides on tiers, in caps that know of subgroups already.
 * errors  OUT_OF_MEMORY. A driver that cannot list its shapes has none */
pm_status pm__units_fill(VkInstance instance, VkPhysicalDevice physical, const pm__units *units,
                         bool dot8_accelerated, pm__caps *caps);

/* Chains what the tiers of these caps, and a stack as one launch, need switched on. */
void pm__units_switch_on(pm__units *units, const pm__caps *caps, bool one_dispatch, void **next);
/* Names of extensions to that end, at most PM__UNIT_EXTENSIONS; returns their number. */
enum { PM__UNIT_EXTENSIONS = 3 };
uint32_t pm__units_extensions(const pm__caps *caps, uint32_t api, const char **names);

/* Why a device has a tier above subgroups, or not. */
const char *pm__units_text(pm__arena *arena, const pm__caps *caps, pm__tier tier);

#endif
