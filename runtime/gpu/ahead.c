#include "ahead.h"

#include "../base/threads.h"
#include "context.h"

#include <stdlib.h>

struct pm__ahead {
    pm__pipelines pipelines; /* the task's until it was waited for */
    pm__task task;
};

static void prepare(void *user) {
    pm__pipelines_prepare(user);
}

/* By the layout of the weights, which is known before they are there. */
static pm_status request(pm__gpu_device *device, const pm__model_def *def, const pm__graph *g,
                         const pm__limits *limits, pm__pipelines *set) {
    pm__gpu_weights *weights;
    PM_TRY(pm__gpu_weights_plan(device, def, &weights));
    pm__gpu_weights_point(weights);
    const pm_status status = pm__gpu_context_request(weights, g, limits, set);
    pm__gpu_weights_destroy(weights);
    return status;
}

pm_status pm__ahead_begin(pm__gpu_device *device, const pm__model_def *def, const pm__graph *g,
                          const pm__limits *limits) {
    pm__ahead_drop(device);
    device->ahead = calloc(1, sizeof *device->ahead);
    if (device->ahead == NULL)
        return pm__fail_memory("gpu: pipelines", sizeof *device->ahead);
    pm__pipelines *set = &device->ahead->pipelines;
    pm_status status = pm__pipelines_init(set, device->gpu);
    if (status == PM_OK)
        status = request(device, def, g, limits, set);
    if (status == PM_OK)
        pm__task_start(&device->ahead->task, prepare, set);
    else
        pm__ahead_drop(device);
    return status;
}

void pm__ahead_take(pm__gpu_device *device, pm__pipelines *set) {
    if (device->ahead == NULL)
        return;
    pm__task_wait(&device->ahead->task);
    *set = device->ahead->pipelines;
    free(device->ahead);
    device->ahead = NULL;
}

void pm__ahead_drop(pm__gpu_device *device) {
    pm__pipelines set = {0};
    pm__ahead_take(device, &set);
    pm__pipelines_finish(&set);
}
