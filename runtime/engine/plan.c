#include "internal.h"

#include "../base/checked.h"
#include "../base/grow.h"

#include <stdlib.h>
#include <string.h>

/* pm_plan_free gets the first member. */
typedef struct report {
    pm_plan plan;
    pm_plan_buffer *buffers;
    size_t buffer_capacity;
    pm_plan_heap *heaps;
    size_t heap_capacity;
    pm__arena arena; /* names */
} report;

static pm_status keep_name(report *r, const char *name, const char **out) {
    *out = pm__arena_string(&r->arena, name, strlen(name));
    return *out != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* The heap of that name, new if there is none yet: buffers and heaps come in any order. */
static pm_status find_heap(report *r, const char *name, pm_plan_heap **out) {
    for (size_t i = 0; i < r->plan.n_heap; i++) {
        *out = &r->heaps[i];
        if (strcmp(r->heaps[i].name, name) == 0)
            return PM_OK;
    }
    PM_TRY(pm__grow("plan", &r->heaps, &r->heap_capacity, r->plan.n_heap, sizeof *r->heaps));
    pm_plan_heap heap = {0};
    PM_TRY(keep_name(r, name, &heap.name));
    *out = &r->heaps[r->plan.n_heap++];
    **out = heap;
    return PM_OK;
}

static pm_status add_buffer(void *user, const char *name, const char *heap_name, uint64_t bytes) {
    report *r = user;
    pm_plan_heap *heap;
    PM_TRY(find_heap(r, heap_name, &heap));
    PM_TRY(
        pm__grow("plan", &r->buffers, &r->buffer_capacity, r->plan.n_buffer, sizeof *r->buffers));
    pm_plan_buffer buffer = {.heap = heap->name, .bytes = bytes};
    PM_TRY(keep_name(r, name, &buffer.name));
    r->buffers[r->plan.n_buffer++] = buffer;
    heap->needed = pm__add_most_u64(heap->needed, bytes);
    return PM_OK;
}

static pm_status add_heap(void *user, const char *name, uint64_t free_bytes) {
    pm_plan_heap *heap;
    PM_TRY(find_heap(user, name, &heap));
    heap->free = free_bytes;
    return PM_OK;
}

static pm_status fill(report *r, const pm_model *model, const pm_session_desc *desc) {
    static const pm_session_desc defaults = {0};
    const pm__plan_sink sink = {.buffer = add_buffer, .heap = add_heap, .user = r};
    pm__limits limits;
    uint32_t n_ctx;
    PM_TRY(pm__session_limits(desc != NULL ? desc : &defaults, model->def.n_ctx_train, &limits,
                              &n_ctx));
    const pm__device_handle *handle = &model->device->handle;
    PM_TRY(handle->backend->plan(handle->device, &model->def, &model->graph, &limits, &sink));
    r->plan.buffers = r->buffers;
    r->plan.heaps = r->heaps;
    r->plan.fits = true;
    for (size_t i = 0; i < r->plan.n_heap; i++)
        r->plan.fits = r->plan.fits && r->heaps[i].needed <= r->heaps[i].free;
    return PM_OK;
}

pm_status pm_session_plan(pm_model *model, const pm_session_desc *desc, pm_plan **out) {
    if (model->device == NULL || model->def.arch == NULL)
        return pm__fail(PM_ARGUMENT, "plan: the model was opened for its vocabulary only");
    report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return pm__fail_memory("plan", sizeof *r);
    const pm_status status = fill(r, model, desc);
    if (status != PM_OK) {
        pm_plan_free(&r->plan);
        return status;
    }
    *out = &r->plan;
    return PM_OK;
}

void pm_plan_free(pm_plan *plan) {
    if (plan == NULL)
        return;
    report *r = (report *)plan;
    free(r->buffers);
    free(r->heaps);
    pm__arena_finish(&r->arena);
    free(r);
}
