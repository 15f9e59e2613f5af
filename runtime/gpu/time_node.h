/* time_node.h: how long kernels take for one node, at sizes of real models. Shows no Vulkan type,
 * as gpu.h. */
#ifndef PM_GPU_TIME_NODE_H
#define PM_GPU_TIME_NODE_H

#include "run_node.h"

typedef struct pm__timer pm__timer;

/* Lays out what the trial's node works on in the device's memory: each weight several times, so
 * that none of it is left in a cache from the launch before. Of a matrix the operand may have fewer
 * rows than the tensor: they are repeated. The trial outlives the timer.
 * errors  OUT_OF_MEMORY, UNSUPPORTED: not even one copy fits, or no kernel reaches it */
pm_status pm__timer_create(const pm__device_handle *handle, pm__trial *trial, pm__timer **out);
void pm__timer_destroy(pm__timer *timer);

/* Bytes and operations of one launch, or more where the matrix has several parts. */
pm__cost pm__timer_cost(const pm__timer *timer);

/* Runs a kernel (row of kernels.def) for about `budget` seconds, one launch after the other.
 * seconds  out: least time of one node
 * errors   those of lowering, compiling and running */
pm_status pm__timer_time(pm__timer *timer, int kernel, double budget, double *seconds);
/* Runs it once over the operands as they are; `after` of the trial's operands gets what the node
 * writes. */
pm_status pm__timer_run(pm__timer *timer, int kernel);

#endif
