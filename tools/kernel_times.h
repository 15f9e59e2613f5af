/* kernel_times.h: times of kernels for people and for programs; what bench --kernels and tune
 * share. */
#ifndef PM_TOOLS_KERNEL_TIMES_H
#define PM_TOOLS_KERNEL_TIMES_H

#include "report.h"

/* Opens the device and a model without its weights. */
int pm__kernel_times_open(pm__cli *cli, const pm__options *options);

void pm__kernel_times_head(FILE *to);
void pm__kernel_times_print(FILE *to, const pm_kernel_time *time, const pm_device_speed *speed);
cJSON *pm__kernel_times_json(const pm_kernel_time *time, const pm_device_speed *speed);

/* The choices in use. */
cJSON *pm__tuned_json(const pm_tuned *tuned);
void pm__tuned_print(FILE *to, const pm_tuned *tuned);

/* pumice bench --kernels */
int pm__bench_kernels(const pm__options *options);

#endif
