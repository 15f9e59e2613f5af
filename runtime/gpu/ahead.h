/* ahead.h: pipelines of a session that is expected, made while the weights of its model are
 * read. */
#ifndef PM_GPU_AHEAD_H
#define PM_GPU_AHEAD_H

#include "weights.h"

/* Begins with what a context of this graph will run, in the place of what was expected before. The
 * graph is not needed afterwards.
 * errors  those of lowering; what cannot be compiled shows when the context is made */
pm_status pm__ahead_begin(pm__gpu_device *device, const pm__model_def *def, const pm__graph *g,
                          const pm__limits *limits);
/* Waits, and hands over what there is into an empty set. */
void pm__ahead_take(pm__gpu_device *device, pm__pipelines *set);
/* Waits, and forgets it. */
void pm__ahead_drop(pm__gpu_device *device);

#endif
