#include "units.h"
#include "kernels.h"

#include "../base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- features -------------------------------------------------------------------------------- */

void pm__chain(void **next, void *structure) {
    VkBaseOutStructure *base = structure;
    base->pNext = *next;
    *next = structure;
}

static void set_types(pm__units *units) {
    units->dot8.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
    units->small.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES;
    units->model.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES;
    units->addresses.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES;
    units->coop.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
    units->coop2.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV;
    units->sized.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES;
}

void pm__units_ask(pm__units *units, const pm__units_known *known, void **next) {
    *units = (pm__units){0};
    set_types(units);
    if (known->dot8)
        pm__chain(next, &units->dot8);
    if (known->core12) {
        pm__chain(next, &units->small);
        pm__chain(next, &units->model);
        pm__chain(next, &units->addresses);
    }
    if (known->coop)
        pm__chain(next, &units->coop);
    if (known->coop2)
        pm__chain(next, &units->coop2);
}

void pm__units_switch_on(pm__units *units, const pm__caps *caps, bool one_dispatch, void **next) {
    *units = (pm__units){0};
    set_types(units);
    units->dot8.shaderIntegerDotProduct = VK_TRUE;
    units->small.shaderFloat16 = VK_TRUE;
    units->small.shaderInt8 = caps->units.int8;
    units->model.vulkanMemoryModel = VK_TRUE;
    units->model.vulkanMemoryModelDeviceScope = VK_TRUE; /* other kernels' atomics have it */
    units->addresses.bufferDeviceAddress = VK_TRUE;
    units->coop.cooperativeMatrix = VK_TRUE;
    units->coop2.cooperativeMatrixFlexibleDimensions = VK_TRUE;
    units->coop2.cooperativeMatrixConversions = VK_TRUE;
    units->coop2.cooperativeMatrixPerElementOperations = VK_TRUE;
    units->coop2.cooperativeMatrixWorkgroupScope = caps->units.coop2_workgroup > 0;
    if (caps->tiers[PM__TIER_DOT8])
        pm__chain(next, &units->dot8);
    if (caps->tiers[PM__TIER_COOP]) {
        pm__chain(next, &units->small);
        pm__chain(next, &units->coop);
    }
    if (caps->tiers[PM__TIER_COOP] || one_dispatch)
        pm__chain(next, &units->model);
    if (one_dispatch)
        pm__chain(next, &units->addresses);
    if (caps->tiers[PM__TIER_COOP2]) {
        units->sized.maintenance4 = VK_TRUE;
        pm__chain(next, &units->sized);
        pm__chain(next, &units->coop2);
    }
}

uint32_t pm__units_extensions(const pm__caps *caps, uint32_t api, const char **names) {
    uint32_t n = 0;
    if (caps->tiers[PM__TIER_DOT8] && api < VK_API_VERSION_1_3)
        names[n++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    if (caps->tiers[PM__TIER_COOP])
        names[n++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    if (caps->tiers[PM__TIER_COOP2])
        names[n++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
    return n;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* The kind of products that pumice has kernels for, or PM__SHAPE_KINDS. */
static pm__shape_kind kind_of(VkComponentTypeKHR a, VkComponentTypeKHR b, VkComponentTypeKHR c,
                              VkComponentTypeKHR result) {
    if (a != b || c != result)
        return PM__SHAPE_KINDS;
    if (a == VK_COMPONENT_TYPE_FLOAT16_KHR && c == VK_COMPONENT_TYPE_FLOAT32_KHR)
        return PM__SHAPES_F16_F32;
    if (a == VK_COMPONENT_TYPE_FLOAT16_KHR && c == VK_COMPONENT_TYPE_FLOAT16_KHR)
        return PM__SHAPES_F16_F16;
    if (a == VK_COMPONENT_TYPE_SINT8_KHR && c == VK_COMPONENT_TYPE_SINT32_KHR)
        return PM__SHAPES_S8_S32;
    return PM__SHAPE_KINDS;
}

static void take_shape(pm__unit_caps *units, const VkCooperativeMatrixPropertiesKHR *p) {
    const pm__shape_kind kind = kind_of(p->AType, p->BType, p->CType, p->ResultType);
    if (p->scope != VK_SCOPE_SUBGROUP_KHR || p->saturatingAccumulation || kind == PM__SHAPE_KINDS)
        return;
    pm__shapes *shapes = &units->shapes[kind];
    if (shapes->n < PM__MOST_SHAPES)
        shapes->items[shapes->n++] = (pm__shape){p->MSize, p->NSize, p->KSize};
}

static void warn_of_list(VkResult result) {
    pm__log(PM_LOG_WARN,
            "gpu: the driver could not list its cooperative matrices (VkResult %d); its matrix "
            "units are not used",
            (int)result);
}

static pm_status list_shapes(VkInstance instance, VkPhysicalDevice physical, pm__unit_caps *units) {
    const PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    uint32_t n = 0;
    if (get == NULL)
        return PM_OK;
    VkResult result = get(physical, &n, NULL);
    if (result < VK_SUCCESS)
        n = 0; /* a call that failed has left anything there */
    VkCooperativeMatrixPropertiesKHR *list = calloc(n + 1, sizeof *list);
    if (list == NULL)
        return pm__fail_memory("gpu: cooperative matrices", (n + 1) * sizeof *list);
    for (uint32_t i = 0; i < n; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (result == VK_SUCCESS)
        result = get(physical, &n, list);
    if (result < VK_SUCCESS)
        warn_of_list(result);
    for (uint32_t i = 0; i < n && result >= VK_SUCCESS; i++)
        take_shape(units, &list[i]);
    free(list);
    return PM_OK;
}

/* What matrices of any size are made of. Workgroups of more than 128 are for nobody here. */
static void take_flexible(pm__unit_caps *units,
                          const VkCooperativeMatrixFlexibleDimensionsPropertiesNV *p) {
    const pm__shape shape = {p->MGranularity, p->NGranularity, p->KGranularity};
    if (kind_of(p->AType, p->BType, p->CType, p->ResultType) != PM__SHAPES_F16_F32 ||
        p->saturatingAccumulation)
        return;
    if (p->scope == VK_SCOPE_SUBGROUP_KHR)
        units->coop2_grain = shape;
    if (p->scope == VK_SCOPE_WORKGROUP_KHR && p->workgroupInvocations <= 128 &&
        p->workgroupInvocations > units->coop2_workgroup) {
        units->coop2_workgroup = p->workgroupInvocations;
        units->coop2_workgroup_grain = shape;
    }
}

static pm_status list_flexible(VkInstance instance, VkPhysicalDevice physical,
                               pm__unit_caps *units) {
    const PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV get =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV)
            vkGetInstanceProcAddr(
                instance, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    uint32_t n = 0;
    if (get == NULL)
        return PM_OK;
    VkResult result = get(physical, &n, NULL);
    if (result < VK_SUCCESS)
        n = 0; /* a call that failed has left anything there */
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *list = calloc(n + 1, sizeof *list);
    if (list == NULL)
        return pm__fail_memory("gpu: cooperative matrices", (n + 1) * sizeof *list);
    for (uint32_t i = 0; i < n; i++)
        list[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (result == VK_SUCCESS)
        result = get(physical, &n, list);
    if (result < VK_SUCCESS)
        warn_of_list(result);
    for (uint32_t i = 0; i < n && result >= VK_SUCCESS; i++)
        take_flexible(units, &list[i]);
    free(list);
    return PM_OK;
}

/* ---- tiers ----------------------------------------------------------------------------------- */

pm_status pm__units_fill(VkInstance instance, VkPhysicalDevice physical, const pm__units *units,
                         bool dot8_accelerated, pm__caps *caps) {
    pm__unit_caps *u = &caps->units;
    u->dot8 = units->dot8.shaderIntegerDotProduct;
    caps->dot8_accelerated = u->dot8 && dot8_accelerated;
    u->float16 = units->small.shaderFloat16;
    u->int8 = units->small.shaderInt8;
    u->memory_model = units->model.vulkanMemoryModel && units->model.vulkanMemoryModelDeviceScope;
    u->addresses = units->addresses.bufferDeviceAddress;
    u->coop = units->coop.cooperativeMatrix;
    u->coop2 = units->coop2.cooperativeMatrixFlexibleDimensions &&
               units->coop2.cooperativeMatrixConversions &&
               units->coop2.cooperativeMatrixPerElementOperations;
    if (u->coop)
        PM_TRY(list_shapes(instance, physical, u));
    if (u->coop && u->coop2)
        PM_TRY(list_flexible(instance, physical, u));
    if (!units->coop2.cooperativeMatrixWorkgroupScope)
        u->coop2_workgroup = 0;
    u->coop2_most = units->coop2_sizes.cooperativeMatrixFlexibleDimensionsMaxDimension;
    u->coop2_shared = units->coop2_sizes.cooperativeMatrixWorkgroupScopeReservedSharedMemory;
    caps->tiers[PM__TIER_DOT8] = caps->tiers[PM__TIER_SUBGROUP] && u->dot8;
    caps->tiers[PM__TIER_COOP] = caps->tiers[PM__TIER_SUBGROUP] && caps->subgroup_sized &&
                                 u->coop && u->float16 && u->memory_model &&
                                 u->shapes[PM__SHAPES_F16_F32].n > 0;
    caps->tiers[PM__TIER_COOP8] =
        caps->tiers[PM__TIER_COOP] && u->int8 && u->shapes[PM__SHAPES_S8_S32].n > 0;
    caps->tiers[PM__TIER_COOP2] =
        caps->tiers[PM__TIER_COOP] && u->coop2 && (u->coop2_grain.m > 0 || u->coop2_workgroup > 0);
    return PM_OK;
}

/* ---- words ----------------------------------------------------------------------------------- */

static const char *dot8_text(const pm__caps *caps) {
    if (!caps->units.dot8)
        return "the driver has no integer dot products (VK_KHR_shader_integer_dot_product)";
    if (!caps->tiers[PM__TIER_DOT8])
        return "it builds on the subgroup tier";
    return caps->dot8_accelerated ? "dot products of 8-bit integers, accelerated"
                                  : "dot products of 8-bit integers, not accelerated";
}

/* Of kinds from `first` on, before `end`. */
static const char *coop_text(pm__arena *arena, const pm__caps *caps, int first, int end) {
    static const char *const kinds[PM__SHAPE_KINDS] = {
        [PM__SHAPES_F16_F32] = "f16 to f32",
        [PM__SHAPES_F16_F16] = "f16",
        [PM__SHAPES_S8_S32] = "int8",
    };
    char line[256];
    size_t n = (size_t)snprintf(line, sizeof line, "cooperative matrices of");
    for (int kind = first; kind < end; kind++) {
        const pm__shapes *shapes = &caps->units.shapes[kind];
        if (shapes->n == 0 || n >= sizeof line)
            continue;
        const pm__shape *s = &shapes->items[0];
        n +=
            (size_t)snprintf(line + n, sizeof line - n, "%s %s %ux%ux%u%s", kind > first ? "," : "",
                             kinds[kind], s->m, s->n, s->k, shapes->n > 1 ? " and others" : "");
    }
    return pm__arena_string(arena, line, strlen(line));
}

static const char *why_no_coop(const pm__caps *caps) {
    const pm__unit_caps *u = &caps->units;
    if (!u->coop)
        return "the driver has no cooperative matrices (VK_KHR_cooperative_matrix)";
    if (!u->float16 || !u->memory_model)
        return "the driver has no 16-bit floats, or not Vulkan's memory model";
    if (u->shapes[PM__SHAPES_F16_F32].n == 0)
        return "the driver has no cooperative matrices of 16-bit floats with 32-bit sums";
    return "it builds on the subgroup tier, with subgroups of one size";
}

static const char *coop8_text(pm__arena *arena, const pm__caps *caps) {
    if (!caps->tiers[PM__TIER_COOP])
        return "it builds on the coop tier";
    if (!caps->tiers[PM__TIER_COOP8])
        return "the driver has no cooperative matrices of 8-bit integers";
    return coop_text(arena, caps, PM__SHAPES_S8_S32, PM__SHAPES_S8_S32 + 1);
}

static const char *coop2_text(const pm__caps *caps) {
    if (!caps->tiers[PM__TIER_COOP])
        return "it builds on the coop tier";
    if (!caps->tiers[PM__TIER_COOP2])
        return "the driver has no matrices of any size (VK_NV_cooperative_matrix2)";
    return caps->units.coop2_workgroup > 0 ? "matrices of any size, of workgroups"
                                           : "matrices of any size, of subgroups";
}

const char *pm__units_text(pm__arena *arena, const pm__caps *caps, pm__tier tier) {
    switch (tier) {
    case PM__TIER_DOT8:
        return dot8_text(caps);
    case PM__TIER_COOP:
        return caps->tiers[tier] ? coop_text(arena, caps, 0, PM__SHAPES_S8_S32) : why_no_coop(caps);
    case PM__TIER_COOP8:
        return coop8_text(arena, caps);
    default:
        return coop2_text(caps);
    }
}
