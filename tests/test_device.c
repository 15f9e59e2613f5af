/* Which device a name means, over lists made up here, and a machine without a Vulkan driver.
 * ctest: quick */
#include "engine/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const pm_device_info machine[] = {
    {.index = 1, .name = "llvmpipe (LLVM 15)", .kind = "software", .usable = true},
    {.index = 3, .name = "Intel(R) UHD 770", .kind = "integrated", .usable = true},
    {.index = 4, .name = "GeForce RTX 4090", .kind = "discrete", .usable = false, .why = "too old"},
    {.index = 0, .name = "Radeon RX 7600", .kind = "discrete", .usable = true},
    {.index = 2, .name = "Radeon RX 7600 XT", .kind = "discrete", .usable = true},
    {.index = 5, .name = "AMD Ryzen Radeon", .kind = "cpu", .usable = true},
};
static const pm__device_choice all = {.infos = machine, .n = 6, .note = ""};

static uint32_t choose(const pm__device_choice *from, const char *name, bool require_gpu) {
    const pm_device_desc desc = {.name = name, .require_gpu = require_gpu};
    const pm_device_info *found = NULL;
    if (pm__device_choose(from, &desc, &found) != PM_OK)
        fail_msg("%s", pm_last_error());
    return found->index;
}

static void refuse(const pm__device_choice *from, const char *name, bool require_gpu,
                   pm_status wanted, const char *part) {
    const pm_device_desc desc = {.name = name, .require_gpu = require_gpu};
    const pm_device_info *found = NULL;
    assert_int_equal(pm__device_choose(from, &desc, &found), wanted);
    assert_null(found);
    if (strstr(pm_last_error(), part) == NULL)
        fail_msg("'%s' lacks '%s'", pm_last_error(), part);
}

static void test_default(void **state) {
    (void)state;
    assert_int_equal(choose(&all, NULL, false), 0);
    assert_int_equal(choose(&all, NULL, true), 0);
    pm__device_choice some = {.infos = machine, .n = 2, .note = ""};
    assert_int_equal(choose(&some, NULL, false), 3);
    some.n = 1;
    assert_int_equal(choose(&some, NULL, false), 1);
    refuse(&some, NULL, true, PM_NO_DEVICE, "llvmpipe (LLVM 15) is a software driver");
    const pm__device_choice bare = {.infos = machine + 5, .n = 1, .note = "no Vulkan loader"};
    refuse(&bare, NULL, false, PM_NO_DEVICE, "no Vulkan loader; use --device cpu");
    const pm__device_choice old = {.infos = machine + 2, .n = 1, .note = ""};
    refuse(&old, NULL, false, PM_NO_DEVICE, "use --device cpu");
}

static void test_named(void **state) {
    (void)state;
    assert_int_equal(choose(&all, "3", false), 3);
    assert_int_equal(choose(&all, "5", false), 5);
    assert_int_equal(choose(&all, "uhd", false), 3);
    assert_int_equal(choose(&all, "LLVM", false), 1);
    assert_int_equal(choose(&all, "7600 xt", false), 2);
    assert_int_equal(choose(&all, "radeon rx 7600", false),
                     0); /* a whole name, and a part of another */
    refuse(&all, "radeon", false, PM_ARGUMENT, "0: Radeon RX 7600, 2: Radeon RX 7600 XT");
    refuse(&all, "r", false, PM_ARGUMENT, "3: Intel(R) UHD 770");
    refuse(&all, "ryzen", false, PM_NO_DEVICE, "none fits 'ryzen'; there are 1: llvmpipe");
    refuse(&all, "6", false, PM_NO_DEVICE, "5: cpu");
    refuse(&all, "99999999999999999999", false, PM_NO_DEVICE, "none fits");
    refuse(&all, "4090", false, PM_NO_DEVICE, "too old");
    refuse(&all, "7600", false, PM_ARGUMENT, "0: Radeon RX 7600, 2: Radeon RX 7600 XT");
    assert_int_equal(choose(&all, "770", false), 3);
    refuse(&all, "5", true, PM_NO_DEVICE, "the CPU path");
    refuse(&all, "1", true, PM_NO_DEVICE, "software driver");
}

/* Two cards of one kind have one name: only the index tells them apart. */
static void test_twins(void **state) {
    (void)state;
    static const pm_device_info twins[] = {
        {.index = 0, .name = "Arc A770", .kind = "discrete", .usable = true},
        {.index = 1, .name = "Arc A770", .kind = "discrete", .usable = true},
    };
    const pm__device_choice from = {.infos = twins, .n = 2, .note = ""};
    refuse(&from, "Arc A770", false, PM_ARGUMENT, "0: Arc A770, 1: Arc A770");
    assert_int_equal(choose(&from, "1", false), 1);
    assert_int_equal(choose(&from, NULL, false), 0);
}

static void test_cpu(void **state) {
    (void)state;
    pm_device *device = NULL;
    pm_device_desc desc = {.name = "CPU"};
    assert_int_equal(pm_device_open(&desc, &device), PM_OK);
    assert_string_equal(pm_device_get_info(device)->kind, "cpu");
    assert_int_equal(pm_device_get_info(device)->index, PM_NO_INDEX);
    pm_device_close(device);
    device = NULL;
    desc.require_gpu = true;
    assert_int_equal(pm_device_open(&desc, &device), PM_NO_DEVICE);
    desc = (pm_device_desc){.name = ""};
    assert_int_equal(pm_device_open(&desc, &device), PM_ARGUMENT);
    assert_null(device);
    pm_device_close(NULL);
}

/* Nothing falls back to the CPU path unasked, and the note says why there is nothing else. */
static void test_no_driver(void **state) {
    (void)state;
    pm_device_info *list = NULL;
    size_t n = 0;
    const char *note = NULL;
    assert_int_equal(pm_device_list(&list, &n, &note), PM_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].kind, "cpu");
    assert_int_equal(list[0].index, 0);
    assert_true(note[0] != '\0');
    pm_device *device = NULL;
    assert_int_equal(pm_device_open(NULL, &device), PM_NO_DEVICE);
    assert_null(device);
    assert_non_null(strstr(pm_last_error(), note));
    assert_non_null(strstr(pm_last_error(), "use --device cpu"));
    const pm_device_desc desc = {.name = "0"};
    assert_int_equal(pm_device_open(&desc, &device), PM_OK);
    assert_string_equal(pm_device_get_info(device)->kind, "cpu");
    assert_int_equal(pm_device_get_info(device)->index, 0);
    pm_device_close(device);
    pm_device_list_free(list);
    pm_device_list_free(NULL);
}

int main(void) {
    setenv("VK_ICD_FILENAMES", "/nonexistent", 1); /* the loader's, old and new */
    setenv("VK_DRIVER_FILES", "/nonexistent", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),   cmocka_unit_test(test_named),
        cmocka_unit_test(test_twins),     cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_no_driver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
