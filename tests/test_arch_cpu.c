/* test_arch_cpu.c: every architecture on the reference executor against another implementation.
 * ctest: quick */
#include "arch.h"
#include "cpu/cpu.h"

#include <stdio.h>

int main(void) {
    pm__device_handle cpu;
    if (pm__cpu_open(0, 0, &cpu) != PM_OK) {
        fprintf(stderr, "%s\n", pm_last_error());
        return 1;
    }
    const pm__arch_run run = {.device = &cpu, .nmse = 1e-8, .difference = 1e-3};
    const int status = pm__arch_tests(&run);
    cpu.backend->close(cpu.device);
    return status;
}
