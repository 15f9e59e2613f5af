/* context.c: what a context allocates, and how it is set up. Its steps are in step.c. */
#include "context.h"

#include "../base/checked.h"
#include "../base/clock.h"
#include "../base/log.h"
#include "ahead.h"
#include "tuning.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- layout ---------------------------------------------------------------------------------- */

static const char *const STEP = "step";

static pm_status in_reach(const pm__gpu *gpu, const char *what, uint64_t bytes, const char *flag) {
    if (bytes <= gpu->caps.most_range)
        return PM_OK;
    return pm__fail(PM_OUT_OF_MEMORY,
                    "gpu: %s: %" PRIu64 " bytes, %s can bind %" PRIu64 "; use a smaller %s", what,
                    bytes, gpu->info.name, gpu->caps.most_range, flag);
}

static pm_status add_caches(pm__gpu_context *context) {
    const pm__graph *g = context->graph;
    context->caches = calloc(g->n_cache + 1, sizeof *context->caches);
    if (context->caches == NULL)
        return pm__fail_memory("gpu: caches", g->n_cache * sizeof *context->caches);
    for (uint32_t i = 0; i < g->n_cache; i++) {
        const uint64_t bytes = pm__limits_cache_bytes(&context->limits, g->caches[i]);
        PM_TRY(in_reach(context->device->gpu, g->caches[i]->name, bytes, "-c"));
        PM_TRY(pm__needs_append(&context->needs, context->device->gpu, "cache", bytes,
                                &context->caches[i]));
    }
    return PM_OK;
}

static pm_status add_states(pm__gpu_context *context) {
    const pm__graph *g = context->graph;
    context->states = calloc(g->n_state + 1, sizeof *context->states);
    if (context->states == NULL)
        return pm__fail_memory("gpu: states", g->n_state * sizeof *context->states);
    for (uint32_t i = 0; i < g->n_state; i++) {
        const uint64_t bytes = pm__limits_state_bytes(&context->limits, g->states[i]);
        PM_TRY(in_reach(context->device->gpu, g->states[i]->name, bytes, "number of sequences"));
        PM_TRY(pm__needs_append(&context->needs, context->device->gpu, "state", bytes,
                                &context->states[i]));
    }
    return PM_OK;
}

static pm__lowering lowering_of(pm__gpu_context *context, const pm__class_state *class,
                                const pm__places *places) {
    return (pm__lowering){
        .gpu = context->device->gpu,
        .graph = class->graph,
        .limits = &context->limits,
        .places = places,
        .n_row = class->n_row,
        .n_out = class->n_out,
        .pipelines = &context->pipelines,
        .encoder = class == &context->classes[PM__CLASS_ENCODE],
    };
}

/* What a class runs: the graph, or one with fewer nodes. */
static pm_status fuse_class(pm__gpu_context *context, pm__class_state *class) {
    class->graph = context->graph;
    if (context->limits.unfused)
        return PM_OK;
    const pm__places places = {.weights = context->weights->places};
    const pm__lowering lowering = lowering_of(context, class, &places);
    PM_TRY(pm__lower_fuse(&lowering, &class->fused));
    class->graph = &class->fused;
    return PM_OK;
}

/* Places the activations of a class; *regions are relative to the arena until there is memory. */
static pm_status plan_class(pm__gpu_context *context, pm__class_state *class) {
    if (class->n_row == 0)
        return PM_OK;
    PM_TRY(fuse_class(context, class));
    const pm__graph *g = class->graph;
    const pm__gpu *gpu = context->device->gpu;
    class->activations = calloc(g->n_activation + 1, sizeof *class->activations);
    if (class->activations == NULL)
        return pm__fail_memory("gpu: activations", g->n_activation * sizeof *class->activations);
    pm__plan plan = {0};
    pm_status status =
        pm__plan_init(&plan, g, class->n_row, class->n_out, gpu->caps.offset_alignment);
    for (uint32_t i = 0; status == PM_OK && i < g->n_activation; i++) {
        status = in_reach(gpu, g->activations[i]->name, plan.sizes[i], "-b");
        class->activations[i] = (pm__region){.offset = plan.offsets[i], .bytes = plan.sizes[i]};
    }
    if (status == PM_OK && plan.arena_bytes > context->activation_bytes)
        context->activation_bytes = plan.arena_bytes;
    pm__plan_finish(&plan);
    return status;
}

/* A grid entry for each launch there can be: every node once a part of its weight, in pieces. */
static VkDeviceSize grid_bytes(const pm__gpu_context *context) {
    return ((uint64_t)context->graph->n_node + PM__MOST_PIECES * context->weights->n_part) *
           PM__GRID_STRIDE;
}

static pm_status add_step(pm__gpu_context *context) {
    const pm__gpu *gpu = context->device->gpu;
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++) {
        if (part == PM__STEP_RING)
            continue;
        const uint64_t bytes = pm__limits_step_bytes(&context->limits, (pm__step_part)part);
        PM_TRY(in_reach(gpu, "step", bytes, "-c"));
        PM_TRY(pm__needs_append(&context->needs, gpu, STEP, bytes, &context->step[part]));
    }
    const pm__spot *first = &context->step[0], *last = first;
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++) {
        if (context->classes[c].n_row == 0)
            continue;
        last = &context->classes[c].grids;
        PM_TRY(pm__needs_append(&context->needs, gpu, STEP, grid_bytes(context),
                                &context->classes[c].grids));
    }
    if (first->need != last->need)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "gpu: the step buffer passes %" PRIu64 " bytes; use a smaller -c",
                        gpu->caps.most_allocation);
    return PM_OK;
}

/* Buffers the host shares with the device. */
static pm_status add_shared(pm__gpu_context *context) {
    const pm__limits *limits = &context->limits;
    const uint64_t ring = pm__limits_step_bytes(limits, PM__STEP_RING);
    const uint64_t row = 4ull * context->graph->logits->n_col;
    const VkDeviceSize mirror = context->needs.items[context->step[0].need].bytes;
    context->mirror = context->needs.n;
    PM_TRY(pm__needs_add(&context->needs, "step upload", mirror, PM__MEMORY_UPLOAD));
    context->ring = context->needs.n;
    context->step[PM__STEP_RING] = (pm__spot){.need = context->ring, .bytes = ring};
    PM_TRY(pm__needs_add(&context->needs, "ring", ring, PM__MEMORY_READBACK));
    context->logits = context->needs.n;
    return pm__needs_add(&context->needs, "logits readback", row * limits->n_out,
                         PM__MEMORY_READBACK);
}

/* States are written as a step goes on, so that a step could not be run again. */
static const char *why_no_stack(const pm__gpu_context *context) {
    if (context->graph->n_state > 0)
        return "this model carries a state from token to token";
    if (context->limits.unfused)
        return "nodes are run one by one";
    return context->limits.profile ? "launches are profiled" : NULL;
}

/* Whether layers are to be one launch. */
static bool may_stack(const pm__gpu_context *context) {
    return context->device->gpu->one_dispatch && why_no_stack(context) == NULL;
}

static pm_status add_stack(pm__gpu_context *context) {
    const pm__gpu *gpu = context->device->gpu;
    const uint32_t n_step = (uint32_t)(grid_bytes(context) / PM__GRID_STRIDE);
    if (!may_stack(context))
        return PM_OK;
    PM_TRY(pm__needs_append(&context->needs, gpu, "stack", pm__stack_table_bytes(n_step),
                            &context->table));
    PM_TRY(pm__needs_append(&context->needs, gpu, "stack", pm__stack_meeting_bytes(),
                            &context->meetings));
    context->report = context->needs.n;
    return pm__needs_add(&context->needs, "stack report", 16, PM__MEMORY_READBACK);
}

/* Drivers that run on the CPU do few rows in pieces (lower.c), and where a row alone must have the
 * bits of a row among others each row is on its own. */
static bool has_few(const pm__gpu_context *context) {
    const pm__limits *limits = &context->limits;
    return limits->n_seq > 1 && limits->n_seq <= PM__MOST_FEW_ROWS && !limits->deterministic &&
           !context->device->gpu->caps.software;
}

static void size_classes(pm__gpu_context *context) {
    const pm__limits *limits = &context->limits;
    const uint32_t most[PM__CLASS_COUNT] = {
        [PM__CLASS_ONE] = 1,
        [PM__CLASS_BATCH] = limits->n_batch,
        [PM__CLASS_FEW] = has_few(context) ? limits->n_seq : 0,
        [PM__CLASS_ENCODE] = context->graph->has_encoder ? limits->n_batch : 0,
    };
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++) {
        context->classes[c].n_row = most[c];
        context->classes[c].n_out = pm__least_u32(most[c], limits->n_out);
    }
}

static pm_status lay_out(pm__gpu_context *context) {
    size_classes(context);
    PM_TRY(add_caches(context));
    PM_TRY(add_states(context));
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++)
        PM_TRY(plan_class(context, &context->classes[c]));
    PM_TRY(pm__needs_append(&context->needs, context->device->gpu, "activations",
                            context->activation_bytes, &context->arena));
    PM_TRY(add_step(context));
    PM_TRY(add_stack(context));
    return add_shared(context);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static pm_status allocate(pm__gpu_context *context) {
    pm__gpu *gpu = context->device->gpu;
    pm__room room, left;
    pm__room_init(&room, gpu);
    left = room;
    PM_TRY(pm__needs_place(&context->needs, gpu, &left));
    PM_TRY(pm__needs_check(&context->needs, NULL, gpu, &room, "the session"));
    context->buffers = calloc(context->needs.n, sizeof *context->buffers);
    context->copies =
        calloc(context->limits.n_batch + PM__STEP_PART_COUNT + 2, sizeof *context->copies);
    if (context->buffers == NULL || context->copies == NULL)
        return pm__fail_memory("gpu: session", context->needs.n * sizeof *context->buffers);
    PM_TRY(pm__needs_allocate(&context->needs, gpu, context->buffers));
    const pm__region arena = pm__spot_region(&context->arena, context->buffers);
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++) {
        const pm__class_state *class = &context->classes[c];
        for (uint32_t i = 0; class->n_row > 0 && i < class->graph->n_activation; i++) {
            class->activations[i].buffer = arena.buffer;
            class->activations[i].offset += arena.offset;
        }
    }
    return PM_OK;
}

static pm_status lower_class(pm__gpu_context *context, pm__class_state *class) {
    if (class->n_row == 0)
        return PM_OK;
    pm__places places = {
        .weights = context->weights->places,
        .activations = class->activations,
        .caches = context->cache_regions,
        .states = context->state_regions,
    };
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        places.step[part] = pm__spot_region(&context->step[part], context->buffers);
    const pm__lowering lowering = lowering_of(context, class, &places);
    PM_TRY(pm__lower(&lowering, &class->program));
    if (class->program.n_grid * PM__GRID_STRIDE > class->grids.bytes)
        return pm__fail(PM_FAILURE, "gpu: %" PRIu32 " distinct grids, there is room for %" PRIu64,
                        class->program.n_grid, (uint64_t) class->grids.bytes / PM__GRID_STRIDE);
    return PM_OK;
}

/* Also without buffers, for what the launches will be. */
static pm_status lower_all(pm__gpu_context *context) {
    const pm__graph *g = context->graph;
    context->cache_regions = calloc(g->n_cache + 1, sizeof *context->cache_regions);
    context->state_regions = calloc(g->n_state + 1, sizeof *context->state_regions);
    if (context->cache_regions == NULL || context->state_regions == NULL)
        return pm__fail_memory("gpu: session", g->n_cache * sizeof *context->cache_regions);
    for (uint32_t i = 0; i < g->n_cache; i++)
        context->cache_regions[i] = pm__spot_region(&context->caches[i], context->buffers);
    for (uint32_t i = 0; i < g->n_state; i++)
        context->state_regions[i] = pm__spot_region(&context->states[i], context->buffers);
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++)
        PM_TRY(lower_class(context, &context->classes[c]));
    return PM_OK;
}

static void note_compiled(pm__gpu_context *context) {
    const pm__pipelines *set = &context->pipelines;
    pm__compile_info *info = &context->compiled;
    info->n_pipeline = set->n;
    info->seconds = set->ended - set->begun;
    for (uint32_t i = 0; i < set->n; i++) {
        info->shader_seconds += set->items[i].shader_seconds;
        info->driver_seconds += set->items[i].seconds;
    }
}

static pm_status compile_all(pm__gpu_context *context) {
    const double start = pm__clock_seconds();
    PM_TRY(pm__pipelines_init(&context->pipelines, context->device->gpu));
    pm__ahead_take(context->device, &context->pipelines);
    context->compiled.n_ahead = context->pipelines.n;
    context->compiled.wait_seconds = pm__clock_seconds() - start;
    PM_TRY(lower_all(context));
    const double lowered = pm__clock_seconds();
    PM_TRY(pm__pipelines_build(&context->pipelines, NULL, NULL));
    context->compiled.wait_seconds += pm__clock_seconds() - lowered;
    note_compiled(context);
    return PM_OK;
}

static pm_status record_class(pm__gpu_context *context, pm__class_state *class) {
    if (class->n_row == 0)
        return PM_OK;
    const pm__recording_desc desc = {
        .queue = &context->device->queue,
        .program = &class->program,
        .pipelines = &context->pipelines,
        .grids = pm__spot_region(&class->grids, context->buffers),
        .n_row = class->n_row,
        .profile = context->limits.profile,
    };
    PM_TRY(pm__recording_init(&class->recording, &desc));
    return context->limits.profile ? pm__profile_create(class, &class->profile) : PM_OK;
}

/* So that grids nobody has loaded yet, or whose load was killed, launch nothing. */
static pm_status clear_step(pm__gpu_context *context) {
    pm__queue *queue = &context->device->queue;
    const VkBuffer step = context->buffers[context->step[0].need].buffer;
    PM_TRY(pm__queue_begin(queue, context->load, false));
    queue->gpu->vk.vkCmdFillBuffer(context->load, step, 0, VK_WHOLE_SIZE, 0);
    pm__queue_barrier(queue, context->load);
    PM_TRY(pm__queue_end(queue, context->load));
    PM_TRY(pm__queue_submit(queue, context->load));
    return pm__queue_wait(queue, queue->submitted);
}

static pm_status make_stack(pm__gpu_context *context) {
    pm__class_state *one = &context->classes[PM__CLASS_ONE];
    if (!may_stack(context)) {
        if (context->device->gpu->one_dispatch)
            pm__log(context->limits.unfused ? PM_LOG_INFO : PM_LOG_WARN,
                    "one dispatch: %s; layers are launched kernel by kernel",
                    why_no_stack(context));
        return PM_OK;
    }
    pm__region arena = pm__spot_region(&context->arena, context->buffers);
    VkDeviceSize end = 0;
    for (uint32_t i = 0; i < one->graph->n_activation; i++)
        end = pm__most_u64(end, one->activations[i].offset + one->activations[i].bytes);
    arena.bytes = end - arena.offset;
    const pm__stack_desc desc = {
        .queue = &context->device->queue,
        .pipelines = &context->pipelines,
        .program = &one->program,
        .grids = pm__spot_region(&one->grids, context->buffers),
        .rows = pm__spot_region(&context->step[PM__STEP_ROWS], context->buffers),
        .arena = arena,
        .table = pm__spot_region(&context->table, context->buffers),
        .meetings = pm__spot_region(&context->meetings, context->buffers),
        .report = &context->buffers[context->report],
        .n_ctx = context->limits.n_ctx,
    };
    return pm__stack_init(&context->stack, &desc);
}

static pm_status set_up(pm__gpu_context *context) {
    PM_TRY(lay_out(context));
    PM_TRY(allocate(context));
    PM_TRY(compile_all(context));
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++)
        PM_TRY(record_class(context, &context->classes[c]));
    PM_TRY(pm__queue_allocate(&context->device->queue, 1, &context->load));
    PM_TRY(clear_step(context));
    return make_stack(context);
}

static pm__gpu_context *create_empty(const pm__gpu_weights *weights, const pm__graph *g,
                                     const pm__limits *limits) {
    pm__gpu_context *context = calloc(1, sizeof *context);
    if (context == NULL) {
        pm__fail_memory("gpu: session", sizeof *context);
        return NULL;
    }
    context->device = weights->device;
    context->weights = weights;
    context->graph = g;
    context->limits = *limits;
    context->pages_low = UINT32_MAX;
    context->samplers_changed = true;
    return context;
}

pm_status pm__gpu_context_create(void *weights, const pm__graph *g, const pm__limits *limits,
                                 void **out) {
    pm__gpu_context *context = create_empty(weights, g, limits);
    if (context == NULL)
        return PM_OUT_OF_MEMORY;
    const pm_status status = set_up(context);
    if (status != PM_OK) {
        pm__gpu_context_destroy(context);
        return status;
    }
    *out = context;
    return PM_OK;
}

void pm__gpu_context_destroy(void *self) {
    pm__gpu_context *context = self;
    if (context == NULL)
        return;
    pm__gpu *gpu = context->device->gpu;
    if (context->buffers != NULL)
        pm__queue_drain(&context->device->queue);
    pm__stack_finish(&context->stack);
    for (uint32_t c = 0; c < PM__CLASS_COUNT; c++) {
        pm__profile_destroy(context->classes[c].profile);
        pm__recording_finish(&context->classes[c].recording);
        pm__program_finish(&context->classes[c].program);
        pm__graph_finish(&context->classes[c].fused);
        free(context->classes[c].activations);
    }
    if (context->load != NULL)
        gpu->vk.vkFreeCommandBuffers(gpu->device, context->device->queue.pool, 1, &context->load);
    pm__pipelines_finish(&context->pipelines);
    if (context->buffers != NULL)
        for (uint32_t i = 0; i < context->needs.n; i++)
            pm__buffer_finish(gpu, &context->buffers[i]);
    free(context->buffers);
    free(context->caches);
    free(context->states);
    free(context->cache_regions);
    free(context->state_regions);
    free(context->copies);
    pm__needs_finish(&context->needs);
    free(context);
}

pm_status pm__gpu_context_report(const pm__gpu_weights *weights, const pm__graph *g,
                                 const pm__limits *limits, pm__room *room,
                                 const pm__plan_sink *sink) {
    pm__gpu_context *context = create_empty(weights, g, limits);
    if (context == NULL)
        return PM_OUT_OF_MEMORY;
    pm_status status = lay_out(context);
    if (status == PM_OK)
        status = pm__needs_place(&context->needs, context->device->gpu, room);
    if (status == PM_OK)
        status = pm__needs_report(&context->needs, context->device->gpu, PM_PLAN_SESSION, sink);
    pm__gpu_context_destroy(context);
    return status;
}

pm_status pm__gpu_context_request(const pm__gpu_weights *weights, const pm__graph *g,
                                  const pm__limits *limits, pm__pipelines *set) {
    pm__gpu_context *context = create_empty(weights, g, limits);
    if (context == NULL)
        return PM_OUT_OF_MEMORY;
    context->pipelines = *set;
    pm_status status = lay_out(context);
    if (status == PM_OK)
        status = lower_all(context);
    *set = context->pipelines;
    context->pipelines = (pm__pipelines){0};
    pm__gpu_context_destroy(context);
    return status;
}

void pm__gpu_context_get_info(const void *self, pm__context_info *out) {
    const pm__gpu_context *context = self;
    const pm__recording *one = context->stack.works ? &context->stack.recording
                                                    : &context->classes[PM__CLASS_ONE].recording;
    *out = (pm__context_info){
        .n_dispatch = one->desc.program->n_dispatch,
        .n_barrier = one->n_barrier,
        .n_submit = one->n_segment,
        .most_rows = pm__recording_most_rows(&context->classes[PM__CLASS_BATCH].recording),
        .most_ahead = context->limits.profile ? 1 : PM_RING,
        .alone_differs = !context->limits.deterministic,
        .few_differ = context->classes[PM__CLASS_FEW].n_row > 0,
        .compiled = context->compiled,
    };
}
