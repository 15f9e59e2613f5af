/* energy.h: what a device has used, where the system tells: counters and power readings of amdgpu,
 * xe and i915 (hwmon), NVIDIA's library, and of processors RAPL. */
#ifndef PM_TOOLS_ENERGY_H
#define PM_TOOLS_ENERGY_H

#include <pthread.h>

#include "common.h"

enum { PM__MOST_PACKAGES = 16 };

typedef struct pm__energy {
    const char *source; /* "hwmon energy1_input"; "": nobody tells */
    char paths[PM__MOST_PACKAGES][PM__PATH_SIZE];
    double ranges[PM__MOST_PACKAGES]; /* joules after which a counter begins anew; 0: it does not */
    double last[PM__MOST_PACKAGES], sum[PM__MOST_PACKAGES];
    size_t n;             /* counters */
    double unit;          /* joules, or watts, of one */
    void *library, *nvml; /* NVIDIA's, and its handle of the device */
    int (*read_nvml)(void *device, unsigned long long *millijoules);
    int (*close_nvml)(void);
    bool is_power; /* paths[0] says watts, which a thread adds up */
    bool leaving;
    pthread_t thread;
    pthread_mutex_t lock;
} pm__energy;

/* Looks for the counters of a device, below `root` ("" but in tests). */
void pm__energy_init(pm__energy *energy, const pm_device_info *device, const char *root);
/* Joules so far, from a beginning of its own; NAN where nobody tells. */
double pm__energy_joules(pm__energy *energy);
void pm__energy_finish(pm__energy *energy);

#endif
