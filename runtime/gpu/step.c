/* step.c: a step's way: the host fills a mirror of the step buffer, a few copies carry it over, the
 * recorded program runs, the drawn tokens come back through the ring. */
#include "context.h"

#include "../base/checked.h"
#include "../base/log.h"

#include <assert.h>
#include <string.h>

/* ---- the mirror ------------------------------------------------------------------------------ */

static char *mirror_at(pm__gpu_context *context, const pm__spot *spot) {
    return (char *)context->buffers[context->mirror].map + spot->offset;
}

/* Adds [offset, offset + bytes) of a spot to the copies of the next load. */
static void mark(pm__gpu_context *context, const pm__spot *spot, VkDeviceSize offset,
                 VkDeviceSize bytes) {
    if (bytes == 0)
        return;
    context->copies[context->n_copy++] = (VkBufferCopy){
        .srcOffset = spot->offset + offset,
        .dstOffset = spot->offset + offset,
        .size = bytes,
    };
}

pm_status pm__gpu_context_set_sampler(void *self, uint32_t seq,
                                      const struct pm_step_sampler *sampler) {
    pm__gpu_context *context = self;
    assert(context->n_flight == 0 && seq < context->limits.n_seq);
    PM_TRY(pm__queue_wait(&context->device->queue, context->load_value));
    char *to = mirror_at(context, &context->step[PM__STEP_SAMPLERS]);
    memcpy(to + seq * sizeof *sampler, sampler, sizeof *sampler);
    context->samplers_changed = true;
    return PM_OK;
}

static uint32_t pages_of_sequence(const pm__limits *limits) {
    return (limits->n_ctx + PM_PAGE - 1) / PM_PAGE;
}

pm_status pm__gpu_context_set_pages(void *self, uint32_t seq, uint32_t first, uint32_t n,
                                    const uint32_t *pages) {
    pm__gpu_context *context = self;
    const uint32_t n_page = pages_of_sequence(&context->limits);
    assert(context->n_flight == 0 && seq < context->limits.n_seq && first + n <= n_page);
    PM_TRY(pm__queue_wait(&context->device->queue, context->load_value));
    const uint32_t low = seq * n_page + first;
    char *to = mirror_at(context, &context->step[PM__STEP_PAGES]);
    memcpy(to + low * sizeof *pages, pages, n * sizeof *pages);
    if (low < context->pages_low)
        context->pages_low = low;
    if (low + n > context->pages_high)
        context->pages_high = low + n;
    return PM_OK;
}

static pm_status write_rows(pm__gpu_context *context, const pm__step *step) {
    const struct pm_step_head head = {
        .n_row = step->n_row,
        .n_out = step->n_out,
        .step = context->step_number,
        .n_sample = step->sample ? step->n_out : 0,
    };
    char *rows = mirror_at(context, &context->step[PM__STEP_ROWS]);
    memcpy(rows, &head, sizeof head);
    PM_TRY(pm__step_load_rows(step, (struct pm_step_row *)(void *)(rows + sizeof head)));
    mark(context, &context->step[PM__STEP_ROWS], 0, sizeof head + step->n_row * sizeof *step->rows);
    memcpy(mirror_at(context, &context->step[PM__STEP_OUTS]), step->outs,
           step->n_out * sizeof *step->outs);
    mark(context, &context->step[PM__STEP_OUTS], 0, step->n_out * sizeof *step->outs);
    return PM_OK;
}

/* The rows' tokens at their places, one copy for each run of positions. */
static void write_history(pm__gpu_context *context, const pm__step *step) {
    const uint64_t n_ctx = context->limits.n_ctx;
    uint32_t *history = (uint32_t *)(void *)mirror_at(context, &context->step[PM__STEP_HISTORY]);
    uint64_t low = 0, high = 0;
    for (uint32_t i = 0; i < step->n_row; i++) {
        const uint64_t at = step->rows[i].seq * n_ctx + step->rows[i].pos;
        history[at] = step->rows[i].token;
        if (at != high) {
            mark(context, &context->step[PM__STEP_HISTORY], low * 4, (high - low) * 4);
            low = at;
        }
        high = at + 1;
    }
    mark(context, &context->step[PM__STEP_HISTORY], low * 4, (high - low) * 4);
}

/* Rows of one sequence are neighbours. */
static uint32_t count_runs(const pm__step *step) {
    uint32_t n = 1;
    for (uint32_t i = 1; i < step->n_row; i++)
        n += step->rows[i].seq != step->rows[i - 1].seq;
    return n;
}

static uint32_t groups_of(const pm__grid *grid, const pm__step *step) {
    const uint32_t counts[] = {
        [PM__GRID_ROWS] = step->n_row,
        [PM__GRID_OUTS] = step->n_out,
        [PM__GRID_RUNS] = grid->count == PM__GRID_RUNS ? count_runs(step) : 0,
        [PM__GRID_SAMPLES] = step->sample ? step->n_out : 0,
    };
    return pm__grid_groups(grid, counts[grid->count]);
}

static void write_grids(pm__gpu_context *context, const pm__class_state *class,
                        const pm__step *step) {
    char *table = mirror_at(context, &class->grids);
    for (uint32_t i = 0; i < class->program.n_grid; i++) {
        const pm__grid *grid = &class->program.grids[i];
        uint32_t groups[3] = {grid->others[0], grid->others[1], grid->others[2]};
        groups[grid->axis] = groups_of(grid, step);
        memcpy(table + (size_t)i * PM__GRID_STRIDE, groups, sizeof groups);
    }
    mark(context, &class->grids, 0, (VkDeviceSize) class->program.n_grid * PM__GRID_STRIDE);
}

static void mark_settings(pm__gpu_context *context) {
    if (context->samplers_changed)
        mark(context, &context->step[PM__STEP_SAMPLERS], 0, context->step[PM__STEP_SAMPLERS].bytes);
    if (context->pages_low < context->pages_high)
        mark(context, &context->step[PM__STEP_PAGES], 4 * (VkDeviceSize)context->pages_low,
             4 * (VkDeviceSize)(context->pages_high - context->pages_low));
    context->samplers_changed = false;
    context->pages_low = UINT32_MAX;
    context->pages_high = 0;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static pm_status begin_load(pm__gpu_context *context) {
    pm__queue *queue = &context->device->queue;
    PM_TRY(pm__queue_wait(queue, context->load_value));
    PM_TRY(pm__queue_begin(queue, context->load, false));
    pm__queue_barrier(queue, context->load);
    return PM_OK;
}

static void copy(pm__gpu_context *context, VkBuffer from, VkBuffer to, uint32_t n,
                 const VkBufferCopy *regions) {
    context->device->gpu->vk.vkCmdCopyBuffer(context->load, from, to, n, regions);
}

static pm_status end_load(pm__gpu_context *context) {
    pm__queue *queue = &context->device->queue;
    pm__queue_barrier(queue, context->load);
    PM_TRY(pm__queue_end(queue, context->load));
    PM_TRY(pm__queue_submit(queue, context->load));
    context->load_value = queue->submitted;
    return PM_OK;
}

pm_status pm__gpu_context_copy_page(void *self, uint32_t from, uint32_t to) {
    pm__gpu_context *context = self;
    assert(context->n_flight == 0);
    PM_TRY(begin_load(context));
    for (uint32_t i = 0; i < context->graph->n_cache; i++) {
        const pm__region *cache = &context->cache_regions[i];
        const pm__cache_layout at =
            pm__limits_cache_layout(&context->limits, context->graph->caches[i]);
        const VkDeviceSize quants = PM_PAGE * at.quants_row, scales = PM_PAGE * at.scales_row;
        const VkDeviceSize second = cache->offset + at.scales;
        const VkBufferCopy regions[] = {
            {cache->offset + from * quants, cache->offset + to * quants, quants},
            {second + from * scales, second + to * scales, scales},
        };
        copy(context, cache->buffer, cache->buffer, scales > 0 ? 2 : 1, regions);
    }
    return end_load(context);
}

pm_status pm__gpu_context_copy_state(void *self, uint32_t from, uint32_t to) {
    pm__gpu_context *context = self;
    assert(context->n_flight == 0 && from < context->limits.n_seq && to < context->limits.n_seq);
    PM_TRY(begin_load(context));
    for (uint32_t i = 0; i < context->graph->n_state && from != to; i++) {
        const pm__region *state = &context->state_regions[i];
        const VkDeviceSize bytes = 4ull * context->graph->states[i]->n_col;
        const VkBufferCopy region = {state->offset + from * bytes, state->offset + to * bytes,
                                     bytes};
        copy(context, state->buffer, state->buffer, 1, &region);
    }
    return end_load(context);
}

pm_status pm__gpu_context_read_logits(void *self, uint32_t first, uint32_t n, float *logits) {
    pm__gpu_context *context = self;
    assert(context->n_flight == 0 && first + n <= context->n_out);
    const pm__tensor *t = context->graph->logits;
    const pm__region *from = &context->classes[context->present].activations[t->index];
    const pm__buffer *to = &context->buffers[context->logits];
    const VkBufferCopy region = {
        .srcOffset = from->offset + 4ull * first * t->n_col,
        .size = 4ull * n * t->n_col,
    };
    PM_TRY(begin_load(context));
    copy(context, from->buffer, to->buffer, 1, &region);
    PM_TRY(end_load(context));
    PM_TRY(pm__queue_wait(&context->device->queue, context->load_value));
    memcpy(logits, to->map, region.size);
    return PM_OK;
}

/* ---- a stack as one launch ------------------------------------------------------------------- */

static bool uses_stack(const pm__gpu_context *context) {
    return context->stack.works && context->present == PM__CLASS_ONE;
}

static pm__recording *present_recording(pm__gpu_context *context) {
    return uses_stack(context) ? &context->stack.recording
                               : &context->classes[context->present].recording;
}

static pm_status measure(pm__gpu_context *context) {
    return uses_stack(context) ? pm__stack_measure(&context->stack)
                               : pm__recording_measure(present_recording(context));
}

/* What it takes to run a step of one row again. */
static void keep_step(pm__gpu_context *context, const pm__step *step) {
    context->n_collected = 0;
    if (!uses_stack(context))
        return;
    context->row = step->rows[0];
    context->out = step->n_out > 0 ? step->outs[0] : 0;
    context->begun = *step;
    context->begun.rows = &context->row;
    context->begun.outs = &context->out;
}

/* The step collected next, `number`, and those after it went wrong: single launches take their
 * place. Each writes what it writes at the same places. */
static pm_status run_singly(pm__gpu_context *context, uint32_t number) {
    const uint32_t n = context->n_flight;
    pm__log(PM_LOG_WARN,
            "one dispatch: %u workgroups did not meet in time on %s; the step is run again, and "
            "from now on layers are launched kernel by kernel",
            context->stack.n_group, context->device->gpu->info.name);
    PM_TRY(pm__queue_wait(&context->device->queue, context->device->queue.submitted));
    pm__stack_finish(&context->stack);
    context->row.pos += context->n_collected;
    if (context->n_collected > 0)
        context->row.token = context->token;
    context->step_number = number;
    context->n_flight = 0;
    const pm__step step = context->begun;
    PM_TRY(pm__gpu_context_begin(context, &step));
    for (uint32_t i = 0; i < n; i++)
        PM_TRY(pm__gpu_context_submit(context));
    return PM_OK;
}

/* What a step is says how its rows are computed, and not how many they are. */
static pm__class class_of(const pm__gpu_context *context, const pm__step *step) {
    if (step->encode)
        return PM__CLASS_ENCODE;
    if (step->among == PM__FEW && context->classes[PM__CLASS_FEW].n_row > 0)
        return PM__CLASS_FEW;
    return step->n_row == 1 && step->among == PM__ALONE ? PM__CLASS_ONE : PM__CLASS_BATCH;
}

/* ---- steps ----------------------------------------------------------------------------------- */

pm_status pm__gpu_context_begin(void *self, const pm__step *step) {
    pm__gpu_context *context = self;
    assert(context->n_flight == 0);
    assert(step->n_row > 0 && step->n_row <= context->limits.n_batch);
    assert(step->n_out <= context->limits.n_out);
    PM_TRY(measure(context));
    context->present = class_of(context, step);
    keep_step(context, step);
    context->n_row = step->n_row;
    context->n_out = step->n_out;
    context->sample = step->sample;
    PM_TRY(pm__queue_wait(&context->device->queue, context->load_value));
    context->n_copy = 0;
    context->n_pos = 0;
    for (uint32_t i = 0; i < step->n_row; i++)
        context->n_pos = pm__most_u32(context->n_pos, step->rows[i].pos + 1);
    PM_TRY(write_rows(context, step));
    PM_TRY(begin_load(context));
    write_history(context, step);
    write_grids(context, &context->classes[context->present], step);
    mark_settings(context);
    copy(context, context->buffers[context->mirror].buffer,
         context->buffers[context->step[0].need].buffer, context->n_copy, context->copies);
    return end_load(context);
}

pm_status pm__gpu_context_submit(void *self) {
    pm__gpu_context *context = self;
    assert(context->n_flight < PM_RING);
    PM_TRY(pm__recording_submit(present_recording(context), context->n_row));
    const uint32_t slot = (context->first_flight + context->n_flight) % PM_RING;
    context->flights[slot] = (pm__flight){
        .value = context->device->queue.submitted,
        .step = context->step_number++,
    };
    context->n_flight++;
    return PM_OK;
}

pm_status pm__gpu_context_collect(void *self, struct pm_step_drawn *drawn) {
    pm__gpu_context *context = self;
    assert(context->n_flight > 0);
    pm__flight flight = context->flights[context->first_flight];
    PM_TRY(pm__queue_wait(&context->device->queue, flight.value));
    if (uses_stack(context) && pm__stack_has_failed(&context->stack)) {
        PM_TRY(run_singly(context, flight.step));
        flight = context->flights[context->first_flight];
        PM_TRY(pm__queue_wait(&context->device->queue, flight.value));
    }
    context->first_flight = (context->first_flight + 1) % PM_RING;
    context->n_flight--;
    if (context->limits.profile)
        PM_TRY(pm__profile_take(context));
    const size_t bytes = context->n_out * sizeof *drawn;
    const size_t slot = flight.step % PM_RING;
    const char *ring = context->buffers[context->ring].map;
    if (context->sample)
        memcpy(drawn, ring + slot * context->limits.n_out * sizeof *drawn, bytes);
    else
        memset(drawn, 0, bytes);
    context->n_collected++;
    context->token = context->n_out > 0 ? drawn[0].token : 0;
    return PM_OK;
}
