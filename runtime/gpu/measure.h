/* measure.h: what a device can do at most, by measuring: bytes copied within its memory,
 * multiply-adds of fp32. Shows no Vulkan type, as gpu.h. */
#ifndef PM_GPU_MEASURE_H
#define PM_GPU_MEASURE_H

#include "../graph/backend.h"

/* Takes about half a second, and memory meanwhile: what can be had, at most 512 MiB.
 * errors  UNSUPPORTED: no memory is free for it; those of compiling and running */
pm_status pm__gpu_measure(const pm__device_handle *handle, pm_device_speed *out);

/* speed.c: what was measured, in the cache directory, for this device and driver. What cannot be
 * kept is measured again. */
void pm__gpu_keep_speed(const pm__device_handle *handle, const pm_device_speed *speed);
bool pm__gpu_recall_speed(const pm__device_handle *handle, pm_device_speed *out);

#endif
