/* gpu.c: the floor's face: a Vulkan device as a pm__backend. */
#include "gpu.h"

#include "ahead.h"
#include "context.h"

#include <stdlib.h>

static void backend_close(void *device) {
    pm__gpu_device *self = device;
    if (self == NULL)
        return;
    pm__ahead_drop(self);
    pm__queue_finish(&self->queue);
    pm__gpu_destroy(self->gpu);
    free(self);
}

static pm_status backend_reopen(void *device) {
    pm__gpu_device *self = device;
    pm__ahead_drop(self);
    pm__queue_finish(&self->queue);
    PM_TRY(pm__gpu_reopen(self->gpu));
    return pm__queue_init(&self->queue, self->gpu);
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

static pm_status backend_expect(void *device, const pm__model_def *def, const pm__graph *g,
                                const pm__limits *limits) {
    return pm__ahead_begin(device, def, g, limits);
}

static void backend_weights_destroy(void *weights) {
    pm__gpu_weights_destroy(weights);
}

/* Says what is free of each heap to this model and a session of it. *room: that, less what is
 * spared and what its weights hold already. */
static pm_status report_heaps(const pm__gpu *gpu, const pm__plan_desc *desc, pm__room *room,
                              const pm__plan_sink *sink) {
    const pm__gpu_weights *placed = desc->weights;
    uint64_t held[VK_MAX_MEMORY_HEAPS] = {0}, held_limited = 0;
    pm__room_init(room, gpu);
    for (uint32_t i = 0; placed != NULL && i < placed->needs.n; i++) {
        const pm__buffer *buffer = &placed->buffers[i];
        held[buffer->heap] += buffer->taken;
        held_limited += pm__heap_is_limited(gpu, buffer->heap) ? buffer->taken : 0;
    }
    for (uint32_t heap = 0; heap < gpu->memory.memoryHeapCount; heap++) {
        const uint64_t all = room->heaps[heap] + held[heap];
        const uint64_t usable = pm__plan_usable(all, desc->spare);
        const pm_plan_heap report = {.name = pm__heap_name(gpu, heap),
                                     .free = all,
                                     .limited = pm__heap_is_limited(gpu, heap)};
        room->heaps[heap] = usable > held[heap] ? usable - held[heap] : 0;
        PM_TRY(sink->heap(sink->user, &report));
    }
    if (room->limit != UINT64_MAX)
        sink->limit(sink->user, room->limit + held_limited);
    return PM_OK;
}

static pm_status report_buffers(pm__gpu_weights *weights, bool placed, const pm__plan_desc *desc,
                                pm__room *room, const pm__plan_sink *sink) {
    const pm__gpu *gpu = weights->device->gpu;
    if (!placed)
        PM_TRY(pm__gpu_weights_place(weights, room));
    PM_TRY(pm__needs_report(&weights->needs, gpu, PM_PLAN_WEIGHTS, sink));
    PM_TRY(pm__needs_report(&weights->staging, gpu, PM_PLAN_LOADING, sink));
    return pm__gpu_context_report(weights, desc->graph, desc->limits, room, sink);
}

static pm_status backend_plan(void *device, const pm__plan_desc *desc, const pm__plan_sink *sink) {
    pm__room room;
    PM_TRY(report_heaps(((pm__gpu_device *)device)->gpu, desc, &room, sink));
    if (desc->weights != NULL)
        return report_buffers(desc->weights, true, desc, &room, sink);
    pm__gpu_weights *weights;
    PM_TRY(pm__gpu_weights_plan(device, desc->def, &weights));
    const pm_status status = report_buffers(weights, false, desc, &room, sink);
    pm__gpu_weights_destroy(weights);
    return status;
}

static const pm__backend backend = {
    .close = backend_close,
    .reopen = backend_reopen,
    .expect = backend_expect,
    .weights_create = backend_weights_create,
    .weights_destroy = backend_weights_destroy,
    .plan = backend_plan,
    .context_create = pm__gpu_context_create,
    .context_destroy = pm__gpu_context_destroy,
    .context_get_info = pm__gpu_context_get_info,
    .set_sampler = pm__gpu_context_set_sampler,
    .set_pages = pm__gpu_context_set_pages,
    .copy_page = pm__gpu_context_copy_page,
    .copy_state = pm__gpu_context_copy_state,
    .begin = pm__gpu_context_begin,
    .submit = pm__gpu_context_submit,
    .collect = pm__gpu_context_collect,
    .read_logits = pm__gpu_context_read_logits,
    .profile = pm__gpu_context_profile,
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
