#include "measure.h"

#include "../base/checked.h"
#include "../base/clock.h"
#include "gpu.h"
#include "stopwatch.h"
#include "weights.h"

#include <string.h>

enum {
    MOST_BYTES = 256 << 20, /* of either buffer: more than caches hold */
    MOST_SOFTWARE_BYTES = 64 << 20,
    LEAST_BYTES = 1 << 20,
    LAUNCHES = 8,
    WORKGROUP = 64,
    COPIES = 4, /* elements an invocation copies */
    TURNS = 256,
    FMA_GROUPS = 4096,
    FMA_SOFTWARE_GROUPS = 64,
    FMA_TURN_FLOPS = 2 * 32,
    MOST_GROUPS_X = 32768
};

static const double BUDGET = 0.15;

typedef struct bench {
    pm__gpu_device *device;
    pm__buffer a, b, grids;
    VkDeviceSize bytes;
    pm__pipelines pipelines;
    pm__node nodes[LAUNCHES]; /* launches of one node are thought to write apart */
    pm__dispatch dispatches[LAUNCHES];
    pm__program program;
    pm__recording recording;
    VkCommandBuffer commands;
} bench;

/* As large as can be had, halving. */
static pm_status reserve(bench *b) {
    pm__gpu *gpu = b->device->gpu;
    pm_status status = PM_OUT_OF_MEMORY;
    const uint64_t most = gpu->caps.software ? MOST_SOFTWARE_BYTES : MOST_BYTES;
    for (uint64_t bytes = most; bytes >= LEAST_BYTES && status == PM_OUT_OF_MEMORY; bytes /= 2) {
        if (bytes > gpu->caps.most_range || bytes > gpu->caps.most_allocation)
            continue;
        b->bytes = bytes;
        status = pm__buffer_init(gpu, &b->a, "measurement", bytes, PM__MEMORY_DEVICE);
        if (status == PM_OK)
            status = pm__buffer_init(gpu, &b->b, "measurement", bytes, PM__MEMORY_DEVICE);
        if (status == PM_OUT_OF_MEMORY)
            pm__buffer_finish(gpu, &b->a);
    }
    PM_TRY(status);
    return pm__buffer_init(gpu, &b->grids, "grids", PM__GRID_STRIDE, PM__MEMORY_UPLOAD);
}

/* ---- kernels --------------------------------------------------------------------------------- */

static void finish_kernel(bench *b) {
    pm__recording_finish(&b->recording);
    if (b->pipelines.gpu != NULL)
        pm__pipelines_finish(&b->pipelines);
    memset(&b->pipelines, 0, sizeof b->pipelines);
}

/* LAUNCHES of the kernel, from one buffer to the other and back. */
static pm_status time_kernel(bench *b, const pm__pipeline_desc *desc, const uint32_t groups[3],
                             double *seconds) {
    pm__gpu *gpu = b->device->gpu;
    uint32_t pipeline;
    PM_TRY(pm__pipelines_init(&b->pipelines, gpu));
    PM_TRY(pm__pipelines_request(&b->pipelines, desc, &pipeline));
    PM_TRY(pm__pipelines_build(&b->pipelines, NULL, NULL));
    memcpy(b->grids.map, groups, 3 * sizeof *groups);
    const pm__region regions[] = {{b->a.buffer, 0, b->bytes}, {b->b.buffer, 0, b->bytes}};
    for (uint32_t i = 0; i < LAUNCHES; i++)
        b->dispatches[i] = (pm__dispatch){.node = &b->nodes[i],
                                          .pipeline = pipeline,
                                          .bindings = {regions[i % 2], regions[(i + 1) % 2]},
                                          .n_binding = 2,
                                          .read_mask = 1,
                                          .write_mask = 2};
    b->program = (pm__program){.dispatches = b->dispatches, .n_dispatch = LAUNCHES};
    const pm__recording_desc recording = {.queue = &b->device->queue,
                                          .program = &b->program,
                                          .pipelines = &b->pipelines,
                                          .grids = {b->grids.buffer, 0, PM__GRID_STRIDE},
                                          .n_row = 1};
    PM_TRY(pm__recording_init(&b->recording, &recording));
    PM_TRY(pm__time_best(&b->recording, 1, BUDGET, seconds));
    *seconds /= LAUNCHES;
    return PM_OK;
}

/* A kernel of shaders/measure, and what each of its groups comes to. */
typedef struct probe {
    const char *name, *file;
    uint32_t constant;
    uint32_t groups[3];
    double amount; /* bytes, or operations */
} probe;

static pm_status measure_probe(bench *b, const probe *p, double *per_second) {
    const pm__pipeline_desc desc = {.name = p->name,
                                    .file = p->file,
                                    .spec = {WORKGROUP, p->constant},
                                    .n_spec = 2,
                                    .n_binding = 2};
    double seconds = 0;
    const pm_status status = time_kernel(b, &desc, p->groups, &seconds);
    if (status != PM_OK)
        pm__queue_drain(&b->device->queue);
    finish_kernel(b);
    if (status == PM_OK)
        *per_second = p->amount * p->groups[0] * p->groups[1] * p->groups[2] / seconds;
    return status;
}

static pm_status measure_copy_kernel(bench *b, double *bytes_per_second) {
    const uint32_t n = (uint32_t)(b->bytes / (16 * WORKGROUP * COPIES));
    const uint32_t n_x = pm__least_u32(n, MOST_GROUPS_X);
    const probe copy = {.name = "copy",
                        .file = "measure/copy.comp",
                        .constant = COPIES,
                        .groups = {n_x, n / n_x, 1},
                        .amount = 2.0 * 16 * WORKGROUP * COPIES};
    return measure_probe(b, &copy, bytes_per_second);
}

static pm_status measure_fma(bench *b, double *flops_per_second) {
    const uint32_t most = (uint32_t)(b->bytes / (16 * WORKGROUP));
    const uint32_t wanted = b->device->gpu->caps.software ? FMA_SOFTWARE_GROUPS : FMA_GROUPS;
    const probe fma = {.name = "fma",
                       .file = "measure/fma.comp",
                       .constant = TURNS,
                       .groups = {pm__least_u32(most, wanted), 1, 1},
                       .amount = (double)FMA_TURN_FLOPS * TURNS * WORKGROUP};
    return measure_probe(b, &fma, flops_per_second);
}

/* ---- the driver's own copy ------------------------------------------------------------------- */

static pm_status time_transfer(bench *b, double *seconds) {
    pm__queue *queue = &b->device->queue;
    const VkBufferCopy all = {.size = b->bytes};
    PM_TRY(pm__queue_allocate(queue, 1, &b->commands));
    PM_TRY(pm__queue_begin(queue, b->commands, true));
    for (uint32_t i = 0; i < LAUNCHES; i++) {
        pm__queue_barrier(queue, b->commands);
        queue->gpu->vk.vkCmdCopyBuffer(b->commands, i % 2 ? b->b.buffer : b->a.buffer,
                                       i % 2 ? b->a.buffer : b->b.buffer, 1, &all);
    }
    PM_TRY(pm__queue_end(queue, b->commands));
    const double begun = pm__clock_seconds();
    for (int run = 0; run < 4 || pm__clock_seconds() - begun < BUDGET; run++) {
        const double start = pm__clock_seconds();
        PM_TRY(pm__queue_submit(queue, b->commands));
        PM_TRY(pm__queue_wait(queue, queue->submitted));
        const double passed = (pm__clock_seconds() - start) / LAUNCHES;
        if (run == 1 || (run > 1 && passed < *seconds)) /* the first one touches new memory */
            *seconds = passed;
    }
    return PM_OK;
}

static pm_status measure_transfer(bench *b, double *bytes_per_second) {
    pm__queue *queue = &b->device->queue;
    double seconds = 0;
    const pm_status status = time_transfer(b, &seconds);
    if (status != PM_OK)
        pm__queue_drain(queue);
    if (b->commands != NULL)
        queue->gpu->vk.vkFreeCommandBuffers(queue->gpu->device, queue->pool, 1, &b->commands);
    b->commands = NULL;
    *bytes_per_second = 2.0 * (double)b->bytes / seconds;
    return status;
}

/* ---- both ------------------------------------------------------------------------------------ */

static pm_status measure(bench *b, pm_device_speed *out) {
    double by_kernel, by_driver;
    PM_TRY(reserve(b));
    PM_TRY(measure_transfer(b, &by_driver));
    PM_TRY(measure_copy_kernel(b, &by_kernel));
    PM_TRY(measure_fma(b, &out->flops_per_second));
    out->copy_bytes_per_second = by_kernel > by_driver ? by_kernel : by_driver;
    return PM_OK;
}

pm_status pm__gpu_measure(const pm__device_handle *handle, pm_device_speed *out) {
    bench b = {.device = handle->device};
    pm_device_speed speed = {0};
    const pm_status status = measure(&b, &speed);
    pm__gpu *gpu = b.device->gpu;
    pm__buffer_finish(gpu, &b.a);
    pm__buffer_finish(gpu, &b.b);
    pm__buffer_finish(gpu, &b.grids);
    if (status == PM_OK)
        *out = speed;
    return status;
}
