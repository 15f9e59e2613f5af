/* quarantine.h: what checks found out about a device with its driver: which kernels failed and are
 * not used, and which sets of operations passed. Kept as a small text file of the cache directory,
 * named by device, driver, their versions and ours, and the text of all shaders. */
#ifndef PM_GPU_QUARANTINE_H
#define PM_GPU_QUARANTINE_H

#include "../graph/backend.h"

struct pm__gpu;
struct pm__quarantine;

/* Opened with the device; sets its caps.quarantined. A file that is not as this one writes it is
 * ignored with a warning. */
pm_status pm__quarantine_create(struct pm__gpu *gpu);
void pm__quarantine_destroy(struct pm__quarantine *quarantine);

/* False: there is no cache directory, so what is added lasts as long as the device is open. */
bool pm__quarantine_is_kept(const pm__device_handle *handle);
/* kernel  row of kernels.def; it is not chosen any more */
void pm__quarantine_add(const pm__device_handle *handle, int kernel, const char *why);
/* The same for as long as the device is open. */
void pm__quarantine_set_aside(const pm__device_handle *handle, int kernel, const char *why);
/* Why a kernel is in quarantine, or NULL. */
const char *pm__quarantine_why(const pm__device_handle *handle, int kernel);
/* Forgets all. errors  FAILURE: the file cannot be removed */
pm_status pm__quarantine_clear(const pm__device_handle *handle);

/* set  a hash of what was checked */
bool pm__quarantine_has_checked(const pm__device_handle *handle, uint64_t set);
void pm__quarantine_note_checked(const pm__device_handle *handle, uint64_t set);

#endif
