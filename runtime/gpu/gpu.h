/* gpu.h: the floor that runs graphs on Vulkan. Of gpu/, higher floors include this header,
 * run_node.h, quarantine.h, measure.h, time_node.h and tuning.h alone; they show no Vulkan type. */
#ifndef PM_GPU_GPU_H
#define PM_GPU_GPU_H

#include "../graph/backend.h"

/* All Vulkan devices, best first within a kind but with the loader's index. *note: why the list is
 * empty, or "". Free with pm__gpu_list_free. Never fails for lack of Vulkan, only for lack of
 * memory. */
pm_status pm__gpu_list(pm_device_info **list, size_t *n, const char **note);
void pm__gpu_list_free(pm_device_info *list);

/* index  as pm__gpu_list gives it
 * desc   cache_dir, n_thread, submit_ms, max_memory_bytes and one_dispatch count here */
pm_status pm__gpu_open(uint32_t index, const pm_device_desc *desc, pm__device_handle *out);
/* Whether a device was opened here. */
bool pm__gpu_is(const pm__device_handle *handle);

#endif
