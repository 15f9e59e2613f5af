/* test_arch.c: every architecture on the device under test against another implementation; with
 * PUMICE_TEST_SECOND, beside a driver of the same kind that runs all, those with something new.
 * ctest: model */
#include "arch.h"
#include "gpu/gpu.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {
    pm_device_info *list;
    size_t n, first = 0;
    const char *note;
    pm__device_handle gpu;
    if (pm__gpu_list(&list, &n, &note) != PM_OK)
        return 1;
    while (first < n && !list[first].usable)
        first++;
    if (first == n) {
        printf("no usable Vulkan device: skipped. %s\n", note);
        pm__gpu_list_free(list);
        return 77;
    }
    const pm_device_desc desc = {0};
    const pm_status status = pm__gpu_open(list[first].index, &desc, &gpu);
    pm__gpu_list_free(list);
    if (status != PM_OK) {
        fprintf(stderr, "%s\n", pm_last_error());
        return 1;
    }
    const pm__arch_run run = {.device = &gpu,
                              .nmse = 1e-7,
                              .difference = 1e-3,
                              .new_only = getenv("PUMICE_TEST_SECOND") != NULL};
    const int failed = pm__arch_tests(&run);
    gpu.backend->close(gpu.device);
    return failed;
}
