/* stopwatch.h: how long launches take, for measurements. */
#ifndef PM_GPU_STOPWATCH_H
#define PM_GPU_STOPWATCH_H

#include "record.h"

/* Runs a recording and waits for it. The segments' time where the device has timestamps, else that
 * from here to here.
 * seconds  out */
pm_status pm__time_run(pm__recording *recording, uint32_t n_row, double *seconds);
/* The least of runs until `budget` seconds are over; at least one, after one that does not count:
 * some drivers compile then. */
pm_status pm__time_best(pm__recording *recording, uint32_t n_row, double budget, double *seconds);

#endif
