/* ctest: gpu */
/* test_gpu_device.c: which devices there are, in which order and why; opening them, and failing to.
 */
#include "devices.h"
#include "gpu/adapter.h"
#include "gpu/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- machines without Vulkan ----------------------------------------------------------------- */

/* Runs body in a process of its own; its result is the number of the line that failed, or 0. */
static void in_child(int (*body)(void)) {
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body());
    int state;
    assert_int_equal(waitpid(child, &state, 0), child);
    assert_true(WIFEXITED(state));
    assert_int_equal(WEXITSTATUS(state), 0);
}

/* 0 if the list is empty, the note has the word, and opening says NO_DEVICE with the same note. */
static int expect_none(const char *word) {
    pm_device_info *list = NULL;
    size_t n = 99;
    const char *note = NULL;
    if (pm__gpu_list(&list, &n, &note) != PM_OK)
        return 1;
    if (n != 0 || strstr(note, word) == NULL)
        return 2;
    pm__gpu_list_free(list);
    pm__gpu *gpu = NULL;
    const pm_device_desc desc = {.cache_dir = ""};
    if (pm__gpu_create(0, &desc, &gpu) != PM_NO_DEVICE || gpu != NULL)
        return 3;
    return strstr(pm_last_error(), note) == NULL ? 4 : 0;
}

static int without_loader(void) {
    /* No file can be opened any more, so the loader is not found either. */
    const struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_NOFILE, &none) != 0 ? 9 : expect_none("no Vulkan loader");
}

static int without_driver(void) {
    setenv("VK_ICD_FILENAMES", "/nowhere/none.json", 1);
    setenv("VK_DRIVER_FILES", "/nowhere/none.json", 1);
    return expect_none("no driver");
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate_fails(VkInstance instance, uint32_t *n,
                                                      VkPhysicalDevice *devices) {
    (void)instance;
    (void)n;
    (void)devices;
    return VK_ERROR_INITIALIZATION_FAILED;
}

static int with_broken_driver(void) {
    pm_device_info *list;
    size_t n;
    const char *note;
    if (pm__gpu_list(&list, &n, &note) != PM_OK)
        return 1;
    pm__gpu_list_free(list);
    if (n == 0)
        return 0;
    vkEnumeratePhysicalDevices = enumerate_fails;
    return expect_none("failed to start");
}

/* First, while this process has not opened the loader. */
static void no_loader(void **state) {
    (void)state;
    in_child(without_loader);
}

static void no_driver(void **state) {
    (void)state;
    in_child(without_driver);
}

static void broken_driver(void **state) {
    (void)state;
    in_child(with_broken_driver);
}

/* ---- machines made up ------------------------------------------------------------------------ */

static pm__adapter make_adapter(VkPhysicalDeviceType type, VkDriverId driver, uint8_t uuid,
                                uint64_t bytes) {
    pm__adapter adapter = {.unified = type != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU};
    adapter.properties.deviceType = type;
    adapter.properties.apiVersion = VK_MAKE_API_VERSION(0, 1, 2, 5);
    snprintf(adapter.properties.deviceName, sizeof adapter.properties.deviceName, "card %u", uuid);
    snprintf(adapter.driver.driverName, sizeof adapter.driver.driverName, "driver %u",
             (unsigned)driver);
    adapter.driver.driverID = driver;
    memset(adapter.id.deviceUUID, uuid, sizeof adapter.id.deviceUUID);
    adapter.memory.memoryHeapCount = 1;
    adapter.memory.memoryHeaps[0] = (VkMemoryHeap){bytes, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    adapter.caps.tiers[PM__TIER_PLAIN] = true;
    adapter.caps.subgroup_min = adapter.caps.subgroup_max = 2;
    adapter.caps.subgroup_arithmetic = true;
    return adapter;
}

static const char *why(const pm__adapters *set, uint32_t index, pm__arena *texts) {
    pm_device_info info;
    assert_int_equal(pm__adapter_describe(set, index, texts, &info), PM_OK);
    assert_int_equal(info.index, index);
    return info.why;
}

static void best_and_twins(void **state) {
    (void)state;
    const VkPhysicalDeviceType discrete = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    pm__adapter items[] = {
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_CPU, VK_DRIVER_ID_MESA_LLVMPIPE, 7, 64ull << 30),
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, VK_DRIVER_ID_MESA_RADV, 6,
                     96ull << 30),
        make_adapter(discrete, VK_DRIVER_ID_AMD_PROPRIETARY, 5, 24ull << 30),
        make_adapter(discrete, VK_DRIVER_ID_MESA_DOZEN, 5, 25ull << 30),
        make_adapter(discrete, VK_DRIVER_ID_MESA_RADV, 5, 23ull << 30),
        make_adapter(discrete, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 4, 12ull << 30),
        make_adapter(discrete, VK_DRIVER_ID_NVIDIA_PROPRIETARY, 4, 12ull << 30),
    };
    const pm__adapters set = {.items = items, .n = PM__COUNT(items), .note = ""};
    pm__arena texts = {0};
    assert_string_equal(why(&set, 0, &texts), "software driver: used when named");
    assert_string_equal(why(&set, 1, &texts),
                        "integrated GPU: not the best one here, used when named");
    assert_non_null(strstr(why(&set, 2, &texts), "the same GPU as device 4"));
    assert_non_null(strstr(why(&set, 3, &texts), "the same GPU as device 4"));
    assert_string_equal(why(&set, 4, &texts), "discrete GPU: the best one here");
    /* Two equal cards of one driver are two cards. */
    assert_string_equal(why(&set, 5, &texts),
                        "discrete GPU: not the best one here, used when named");
    assert_string_equal(why(&set, 6, &texts),
                        "discrete GPU: not the best one here, used when named");
    pm__arena_finish(&texts);
}

static void software_only(void **state) {
    (void)state;
    pm__adapter items[] = {
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, VK_DRIVER_ID_MESA_TURNIP, 3, 1 << 30),
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_CPU, VK_DRIVER_ID_MESA_LLVMPIPE, 7, 1 << 30),
    };
    snprintf(items[0].unusable, sizeof items[0].unusable, "has Vulkan 1.0");
    const pm__adapters set = {.items = items, .n = PM__COUNT(items), .note = ""};
    pm__arena texts = {0};
    pm_device_info info;
    assert_int_equal(pm__adapter_describe(&set, 0, &texts, &info), PM_OK);
    assert_false(info.usable);
    assert_string_equal(info.why, "has Vulkan 1.0");
    assert_false(info.tiers[PM__TIER_PLAIN].available);
    assert_int_equal(pm__adapter_describe(&set, 1, &texts, &info), PM_OK);
    assert_true(info.usable);
    assert_string_equal(info.kind, "software");
    assert_string_equal(info.api, "1.2.5");
    assert_string_equal(info.why, "software driver: used because no GPU was found");
    assert_true(info.tiers[PM__TIER_PLAIN].available);
    assert_false(info.tiers[PM__TIER_SUBGROUP].available);
    assert_string_equal(info.tiers[PM__TIER_SUBGROUP].why,
                        "subgroups of 2 lanes are too small to be of use");
    for (int tier = PM__TIER_DOT8; tier < PM__TIER_COUNT; tier++)
        assert_false(info.tiers[tier].available);
    pm__arena_finish(&texts);
}

static pm_tier_info tier_of(pm__adapter *adapter, pm__tier tier) {
    static pm__arena texts;
    const pm__adapters set = {.items = adapter, .n = 1, .note = ""};
    pm_device_info info;
    pm__arena_finish(&texts);
    assert_int_equal(pm__adapter_describe(&set, 0, &texts, &info), PM_OK);
    return info.tiers[tier];
}

static const char *tier_why(pm__adapter *adapter, pm__tier tier, bool available) {
    const pm_tier_info info = tier_of(adapter, tier);
    assert_int_equal(info.available, available);
    return info.why;
}

/* What the driver lacks is what is named; texts live until the next. */
static void tiers_above_subgroups(void **state) {
    (void)state;
    pm__adapter item =
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, VK_DRIVER_ID_MESA_RADV, 5, 24ull << 30);
    pm__caps *caps = &item.caps;
    caps->subgroup_min = 32;
    caps->subgroup_max = 64;
    caps->subgroup_control = true;
    caps->tiers[PM__TIER_SUBGROUP] = true;
    pm__units units = {.dot8 = {.shaderIntegerDotProduct = VK_TRUE}};
    assert_int_equal(pm__units_fill(VK_NULL_HANDLE, VK_NULL_HANDLE, &units, false, caps), PM_OK);
    assert_non_null(strstr(tier_why(&item, PM__TIER_DOT8, true), "not accelerated"));
    assert_false(tier_of(&item, PM__TIER_DOT8).used);
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP, false), "VK_KHR_cooperative_matrix"));
    assert_int_equal(pm__units_fill(VK_NULL_HANDLE, VK_NULL_HANDLE, &units, true, caps), PM_OK);
    assert_null(strstr(tier_why(&item, PM__TIER_DOT8, true), "not"));
    assert_true(tier_of(&item, PM__TIER_DOT8).used);
    caps->units.coop = true;
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP, false), "16-bit floats, or not"));
    caps->units.float16 = caps->units.memory_model = true;
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP, false), "with 32-bit sums"));
    caps->units.shapes[PM__SHAPES_F16_F32] = (pm__shapes){{{16, 8, 16}, {8, 8, 8}}, 2};
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP, false), "builds on the subgroup tier"));
    caps->tiers[PM__TIER_COOP] = true;
    caps->units.shapes[PM__SHAPES_S8_S32] = (pm__shapes){{{16, 16, 32}}, 1};
    assert_string_equal(tier_why(&item, PM__TIER_COOP, true),
                        "cooperative matrices of f16 to f32 16x8x16 and others");
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP8, false), "of 8-bit integers"));
    caps->tiers[PM__TIER_COOP8] = true;
    assert_string_equal(tier_why(&item, PM__TIER_COOP8, true),
                        "cooperative matrices of int8 16x16x32");
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP2, false), "VK_NV_cooperative_matrix2"));
    caps->tiers[PM__TIER_COOP2] = true;
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP2, true), "of subgroups"));
    caps->units.coop2_workgroup = 128;
    assert_non_null(strstr(tier_why(&item, PM__TIER_COOP2, true), "of workgroups"));
    caps->tiers[PM__TIER_COOP] = caps->tiers[PM__TIER_COOP2] = false;
    assert_string_equal(tier_why(&item, PM__TIER_COOP8, true), "it builds on the coop tier");
    assert_string_equal(tier_why(&item, PM__TIER_COOP2, false), "it builds on the coop tier");
    caps->tiers[PM__TIER_DOT8] = false;
    assert_string_equal(tier_why(&item, PM__TIER_DOT8, false), "it builds on the subgroup tier");
}

static void names_are_plain(void **state) {
    (void)state;
    pm__adapter item =
        make_adapter(VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU, VK_DRIVER_ID_MESA_TURNIP, 3, 1 << 30);
    const pm__adapters set = {.items = &item, .n = 1, .note = ""};
    pm__arena texts = {0};
    pm_device_info info;
    snprintf(item.properties.deviceName, sizeof item.properties.deviceName,
             "Adreno\xe2\x84\xa2 \x1b[31m\xc2\x9b\xff\n");
    snprintf(item.driver.driverName, sizeof item.driver.driverName, "turnip\x7f");
    assert_int_equal(pm__adapter_describe(&set, 0, &texts, &info), PM_OK);
    assert_string_equal(info.name, "Adreno\xe2\x84\xa2 ?[31m????");
    assert_non_null(strstr(info.driver, "turnip?"));
    pm__arena_finish(&texts);
}

/* ---- the devices here ------------------------------------------------------------------------ */

static void listed(void **state) {
    (void)state;
    pm_device_info *list;
    size_t n;
    const char *note;
    assert_int_equal(pm__gpu_list(&list, &n, &note), PM_OK);
    assert_int_equal(n == 0, note[0] != '\0');
    uint64_t seen = 0;
    bool software = false;
    for (size_t i = 0; i < n; i++) {
        assert_true(list[i].index < n);
        assert_false(seen & 1ull << list[i].index);
        seen |= 1ull << list[i].index;
        assert_true(list[i].name[0] && list[i].driver[0] && list[i].why[0]);
        assert_true(list[i].memory_bytes > 0);
        assert_int_equal(list[i].n_tier, PM__TIER_COUNT);
        assert_string_equal(list[i].tiers[0].tier, "plain");
        assert_string_equal(list[i].tiers[1].tier, "subgroup");
        assert_int_equal(list[i].tiers[0].available, list[i].usable);
        /* Software never comes before a GPU that can be used. */
        const bool is_software = strcmp(list[i].kind, "software") == 0;
        assert_false(software && list[i].usable && !is_software);
        software = software || is_software;
    }
    pm__gpu_list_free(list);
}

static void check_caps(pm__gpu *gpu) {
    const VkPhysicalDeviceLimits *limits = &gpu->properties.limits;
    assert_true(gpu->caps.most_range >= 1u << 27 &&
                gpu->caps.most_range <= 1u << 31); /* 2^27 is Vulkan's least */
    assert_true(gpu->caps.most_range <= limits->maxStorageBufferRange);
    assert_true(gpu->caps.most_allocation >= 1u << 27 && gpu->caps.most_allocation <= 1u << 30);
    assert_true(gpu->caps.offset_alignment >= 16);
    assert_int_equal(gpu->caps.offset_alignment % limits->minStorageBufferOffsetAlignment, 0);
    assert_true(gpu->caps.subgroup_min <= gpu->caps.subgroup_max);
    assert_true(gpu->caps.timeline);
    assert_true(gpu->caps.tiers[PM__TIER_PLAIN]);
    assert_true(gpu->caps.timestamp_seconds == 0.0 || gpu->caps.timestamp_mask != 0);
    assert_non_null(gpu->vk.vkWaitSemaphores);
    assert_non_null(gpu->queue);
    assert_true(gpu->n_thread > 0);
    assert_true(gpu->submit_seconds > 0.0999 && gpu->submit_seconds < 0.1001);
}

static void caps(void **state) {
    (void)state;
    pm__each_gpu("", check_caps);
}

static void check_results(pm__gpu *gpu) {
    assert_int_equal(pm__gpu_check(gpu, VK_SUCCESS, "here"), PM_OK);
    assert_int_equal(pm__gpu_check(gpu, VK_ERROR_OUT_OF_DEVICE_MEMORY, "here"), PM_OUT_OF_MEMORY);
    assert_int_equal(pm__gpu_check(gpu, VK_ERROR_FEATURE_NOT_PRESENT, "here"), PM_FAILURE);
    assert_non_null(strstr(pm_last_error(), "here: "));
    assert_int_equal(pm__gpu_check(gpu, VK_ERROR_DEVICE_LOST, "step 7"), PM_DEVICE_LOST);
    assert_non_null(strstr(pm_last_error(), "step 7"));
    assert_non_null(strstr(pm_last_error(), "--submit-ms"));
    assert_true(gpu->lost);
    assert_int_equal(pm__gpu_check(gpu, VK_SUCCESS, "later"), PM_DEVICE_LOST);
}

static void results(void **state) {
    (void)state;
    pm__each_gpu("", check_results);
}

static void bad_index(void **state) {
    (void)state;
    pm__gpu *gpu = NULL;
    const pm_device_desc desc = {.cache_dir = ""};
    assert_int_equal(pm__gpu_create(4711, &desc, &gpu), PM_NO_DEVICE);
    assert_null(gpu);
}

static VkResult injected;

static VKAPI_ATTR VkResult VKAPI_CALL create_fails(VkPhysicalDevice physical,
                                                   const VkDeviceCreateInfo *info,
                                                   const VkAllocationCallbacks *callbacks,
                                                   VkDevice *out) {
    (void)physical;
    (void)info;
    (void)callbacks;
    (void)out;
    return injected;
}

/* Under a leak checker this also shows that a half-built device is taken down. */
static void opening_fails(void **state) {
    (void)state;
    pm_device_info *list;
    size_t n;
    const char *note;
    assert_int_equal(pm__gpu_list(&list, &n, &note), PM_OK);
    pm__gpu_list_free(list);
    if (n == 0)
        skip();
    const PFN_vkCreateDevice real = vkCreateDevice;
    vkCreateDevice = create_fails;
    pm__gpu *gpu = NULL;
    const pm_device_desc desc = {.cache_dir = ""};
    injected = VK_ERROR_INITIALIZATION_FAILED;
    const pm_status failed = pm__gpu_create(0, &desc, &gpu);
    injected = VK_ERROR_OUT_OF_HOST_MEMORY;
    const pm_status full = pm__gpu_create(0, &desc, &gpu);
    vkCreateDevice = real;
    assert_int_equal(failed, PM_FAILURE);
    assert_int_equal(full, PM_OUT_OF_MEMORY);
    assert_null(gpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_loader),
        cmocka_unit_test(no_driver),
        cmocka_unit_test(broken_driver),
        cmocka_unit_test(best_and_twins),
        cmocka_unit_test(software_only),
        cmocka_unit_test(listed),
        cmocka_unit_test(caps),
        cmocka_unit_test(results),
        cmocka_unit_test(bad_index),
        cmocka_unit_test(opening_fails),
        cmocka_unit_test(tiers_above_subgroups),
        cmocka_unit_test(names_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
