/* gpu.c: the floor's face: a Vulkan device as a pm__backend. */
#include "gpu.h"

#include "context.h"

#include <stdlib.h>

static void backend_close(void *device) {
    pm__gpu_device *self = device;
    if (self == NULL)
        return;
    pm__queue_finish(&self->queue);
    pm__gpu_destroy(self->gpu);
    free(self);
}

static pm_status backend_weights_create(void *device, const pm__model_def *def,
                                        pm_progress_fn progress, void *user, void **out) {
    pm__gpu_weights *weights;
    PM_TRY(pm__gpu_weights_plan(device, def, &weights));
    const pm_status status = pm__gpu_weights_load(weights, progress, user);
    if (status != PM_OK) {
        pm__gpu_weights_destroy(weights);
        return status;
    }
    *out = weights;
    return PM_OK;
}

static void backend_weights_destroy(void *weights) {
    pm__gpu_weights_destroy(weights);
}

static pm_status backend_plan(void *device, const pm__model_def *def, const pm__graph *g,
                              const pm__limits *limits, const pm__plan_sink *sink) {
    pm__gpu *gpu = ((pm__gpu_device *)device)->gpu;
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++)
        PM_TRY(sink->heap(sink->user, pm__heap_name(gpu, heap), pm__heap_free(gpu, heap)));
    pm__gpu_weights *weights;
    PM_TRY(pm__gpu_weights_plan(device, def, &weights));
    pm_status status = pm__needs_report(&weights->needs, gpu, sink);
    if (status == PM_OK)
        status = pm__gpu_context_report(weights, g, limits, sink);
    pm__gpu_weights_destroy(weights);
    return status;
}

static const pm__backend backend = {
    .close = backend_close,
    .weights_create = backend_weights_create,
    .weights_destroy = backend_weights_destroy,
    .plan = backend_plan,
    .context_create = pm__gpu_context_create,
    .context_destroy = pm__gpu_context_destroy,
    .context_get_info = pm__gpu_context_get_info,
    .set_sampler = pm__gpu_context_set_sampler,
    .set_pages = pm__gpu_context_set_pages,
    .copy_page = pm__gpu_context_copy_page,
    .begin = pm__gpu_context_begin,
    .submit = pm__gpu_context_submit,
    .collect = pm__gpu_context_collect,
    .read_logits = pm__gpu_context_read_logits,
};

pm_status pm__gpu_open(uint32_t index, const pm_device_desc *desc, pm__device_handle *out) {
    pm__gpu_device *self = calloc(1, sizeof *self);
    if (self == NULL)
        return pm__fail_memory("gpu: device", sizeof *self);
    pm_status status = pm__gpu_create(index, desc, &self->gpu);
    if (status == PM_OK)
        status = pm__queue_init(&self->queue, self->gpu);
    if (status != PM_OK) {
        backend_close(self);
        return status;
    }
    *out = (pm__device_handle){.backend = &backend, .device = self, .info = &self->gpu->info};
    return PM_OK;
}

bool pm__gpu_is(const pm__device_handle *handle) {
    return handle->backend == &backend;
}
