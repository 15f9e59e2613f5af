/* test_energy.c: which counters of a device are found, and what they come to: over folders made to
 * look like the system's.
 * ctest: quick */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "folders.h"
#include "tools/energy.h"

#define RAPL "sys/class/powercap/intel-rapl:"

static char root[PM__FOLDER_SIZE];

/* Writes a file below the root, folders included. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    char *slash = strchr(whole + strlen(root) + 1, '/');
    for (; slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void take_away(const char *path) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s/%s", root, path);
    assert_int_equal(unlink(whole), 0);
}

static pm_device_info device(const char *kind, const char *pci) {
    pm_device_info info = {.kind = kind};
    snprintf(info.pci, sizeof info.pci, "%s", pci);
    return info;
}

static void tells_nothing(const pm_device_info *info) {
    static pm__energy energy;
    pm__energy_init(&energy, info, root);
    assert_true(isnan(pm__energy_joules(&energy)));
    assert_string_equal(energy.source, "");
    pm__energy_finish(&energy);
}

static void test_processors(void **state) {
    (void)state;
    const pm_device_info cpu = device("cpu", "");
    static pm__energy energy;
    tells_nothing(&cpu);
    put(RAPL "0/energy_uj", "1000000\n");
    put(RAPL "0/max_energy_range_uj", "9000000\n");
    put(RAPL "1/energy_uj", "500\n");
    pm__energy_init(&energy, &cpu, root);
    assert_string_equal(energy.source, "rapl");
    const double start = pm__energy_joules(&energy);
    put(RAPL "0/energy_uj", "3500000\n");
    put(RAPL "1/energy_uj", "1000500\n");
    assert_true(fabs(pm__energy_joules(&energy) - start - 3.5) < 1e-9);
    put(RAPL "0/energy_uj", "500000\n"); /* it began anew at 9 J */
    assert_true(fabs(pm__energy_joules(&energy) - start - 3.5 - 6.0) < 1e-9);
    put(RAPL "1/energy_uj", "nothing\n");
    assert_true(isnan(pm__energy_joules(&energy)));
    pm__energy_finish(&energy);
    pm__energy_finish(&energy);
}

static void test_gpu_counter(void **state) {
    (void)state;
    static const char path[] = "sys/bus/pci/devices/0000:03:00.0/hwmon/hwmon4/energy1_input";
    const pm_device_info there = device("discrete", "0000:03:00.0");
    const pm_device_info other = device("discrete", "0000:04:00.0");
    const pm_device_info nowhere = device("discrete", "");
    static pm__energy energy;
    put(path, "2000000\n");
    tells_nothing(&other);
    tells_nothing(&nowhere);
    pm__energy_init(&energy, &there, root);
    assert_string_equal(energy.source, "hwmon energy1_input");
    const double start = pm__energy_joules(&energy);
    put(path, "2750000\n");
    assert_true(fabs(pm__energy_joules(&energy) - start - 0.75) < 1e-9);
    pm__energy_finish(&energy);
    take_away(path);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Watts are added up by the clock, so no more is said of the sum than that it grows, and not by
 * more than the time that has passed allows. */
static void test_gpu_power(void **state) {
    (void)state;
    static const char path[] = "sys/bus/pci/devices/0000:03:00.0/hwmon/hwmon4/power1_average";
    const struct timespec moment = {.tv_nsec = 100000000};
    const pm_device_info there = device("integrated", "0000:03:00.0");
    static pm__energy energy;
    double joules = 0;
    put(path, "40000000\n");
    const double start = seconds_now();
    pm__energy_init(&energy, &there, root);
    assert_string_equal(energy.source, "hwmon power1_average");
    for (int i = 0; i < 300 && !(joules > 0); i++) {
        nanosleep(&moment, NULL);
        joules = pm__energy_joules(&energy);
    }
    assert_true(joules > 0 && joules <= 40.0 * (seconds_now() - start));
    pm__energy_finish(&energy);
}

static int make_root(void **state) {
    (void)state;
    pm__folder_init(root);
    return 0;
}

static int remove_root(void **state) {
    char command[PM__FOLDER_SIZE + 8];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_processors),
                                       cmocka_unit_test(test_gpu_counter),
                                       cmocka_unit_test(test_gpu_power)};
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
