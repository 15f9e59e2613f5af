#include "time_node.h"

#include "../base/checked.h"
#include "kernels.h"
#include "stopwatch.h"
#include "weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_COPIES = 16,
    LEAST_LAUNCHES = 4,
    MOST_PARTS = 32,
    COPY_BYTES = 192 << 20, /* of weights, where there is room: more than caches hold */
    COPY_SOFTWARE_BYTES = 48 << 20,
    GRID_BYTES = 64 * PM__GRID_STRIDE,
};

/* One plane of a part of a weight: what comes first, then rows again and again. */
typedef struct plane {
    pm__buffer buffer;
    VkDeviceSize head_bytes, row_bytes;
    uint32_t n_row;
} plane;

/* A weight, as often as there are copies. */
typedef struct laid_weight {
    uint32_t operand;
    uint32_t n_copy, n_part;
    plane *planes;          /* [n_copy * n_part][2], the second empty where a type has no scales */
    pm__weight_part *parts; /* [n_copy * n_part] */
} laid_weight;

struct pm__timer {
    pm__gpu_device *device;
    pm__trial *trial;
    uint32_t n_launch;
    laid_weight weights[PM__MOST_OPERANDS];
    uint32_t n_weight;
    pm__buffer data[PM__MOST_OPERANDS]; /* of operands that are no weights */
    pm__buffer head;                    /* of the step, where no operand has it */
    pm__buffer grids, staging;
    VkCommandBuffer commands;
    pm__pipelines pipelines;
    pm__tensor tensors[PM__MOST_OPERANDS][LEAST_LAUNCHES + MOST_COPIES];
    pm__node nodes[LEAST_LAUNCHES + MOST_COPIES];
    pm__graph graph;
    pm__weight_place places_of_weights[PM__MOST_OPERANDS * (LEAST_LAUNCHES + MOST_COPIES)];
    pm__region activations[PM__MOST_OPERANDS], caches[PM__MOST_OPERANDS], states[PM__MOST_OPERANDS];
    pm__places places;
};

/* ---- copies to and from the device ----------------------------------------------------------- */

static pm_status reserve_staging(pm__timer *t, VkDeviceSize bytes) {
    pm__gpu *gpu = t->device->gpu;
    if (bytes <= t->staging.bytes)
        return PM_OK;
    pm__buffer_finish(gpu, &t->staging);
    return pm__buffer_init(gpu, &t->staging, "staging", bytes, PM__MEMORY_READBACK);
}

static pm_status begin(pm__timer *t) {
    PM_TRY(pm__queue_begin(&t->device->queue, t->commands, false));
    pm__queue_barrier(&t->device->queue, t->commands);
    return PM_OK;
}

static void copy(pm__timer *t, VkBuffer from, VkDeviceSize from_at, VkBuffer to, VkDeviceSize to_at,
                 VkDeviceSize bytes) {
    const VkBufferCopy region = {from_at, to_at, bytes};
    t->device->gpu->vk.vkCmdCopyBuffer(t->commands, from, to, 1, &region);
}

static pm_status end(pm__timer *t) {
    pm__queue *queue = &t->device->queue;
    pm__queue_barrier(queue, t->commands);
    PM_TRY(pm__queue_end(queue, t->commands));
    PM_TRY(pm__queue_submit(queue, t->commands));
    return pm__queue_wait(queue, queue->submitted);
}

/* ---- weights --------------------------------------------------------------------------------- */

typedef struct row_words {
    uint32_t quants, scales, table;
} row_words;

static row_words words_of(const pm__tensor *t) {
    row_words words = {pm__type_quant_words(t->type, t->n_col),
                       pm__type_scale_words(t->type, t->n_col), 0};
    if (words.scales > 0)
        pm__type_table(t->type, &words.table);
    return words;
}

static uint32_t rows_of_part(const pm__gpu *gpu, const pm__tensor *t) {
    const row_words words = words_of(t);
    const uint64_t row = 4ull * (words.quants > words.scales ? words.quants : words.scales);
    const uint64_t most = gpu->caps.most_range < gpu->caps.most_allocation
                              ? gpu->caps.most_range
                              : gpu->caps.most_allocation;
    const uint64_t n = (most - 4ull * words.table) / (row > 0 ? row : 1);
    return n < t->n_row ? (uint32_t)n : t->n_row;
}

static uint64_t bytes_of_weights(const pm__timer *t) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < t->trial->n_operand; i++) {
        const pm__tensor *tensor = t->trial->operands[i].tensor;
        const row_words words = words_of(tensor);
        if (tensor->kind == PM__WEIGHT)
            all += 4ull * (words.quants + words.scales) * tensor->n_row;
    }
    return all;
}

/* Packs the rows that the operand has into the staging buffer: quants, then table and scales.
 * n_given  out, rows */
static pm_status pack(pm__timer *t, const pm__operand *o, const row_words *words,
                      uint32_t *n_given) {
    const pm__tensor *w = o->tensor;
    uint64_t row_bytes = 0;
    pm__type_row_bytes(w->type, w->n_col, &row_bytes);
    *n_given = (uint32_t)(o->bytes / row_bytes);
    const uint32_t n = *n_given;
    PM_TRY(
        reserve_staging(t, 4 * ((VkDeviceSize)n * (words->quants + words->scales) + words->table)));
    uint32_t *quants = t->staging.map, *scales = quants + (size_t)n * words->quants;
    uint32_t n_table = 0;
    const uint32_t *table = pm__type_table(w->type, &n_table);
    if (words->scales > 0)
        for (uint32_t i = 0; i < n_table; i++)
            *scales++ = table[i];
    for (uint32_t r = 0; r < n; r++)
        pm__type_pack(w->type, o->data + r * row_bytes, w->n_col,
                      quants + (size_t)r * words->quants,
                      words->scales > 0 ? scales + (size_t)r * words->scales : NULL);
    return PM_OK;
}

/* Fills a plane from `from` of the staging buffer, doubling what is there. */
static pm_status fill_plane(pm__timer *t, const plane *p, VkDeviceSize from, uint32_t n_given) {
    const VkBuffer to = p->buffer.buffer;
    const uint32_t n = pm__least_u32(n_given, p->n_row);
    const VkDeviceSize first = p->head_bytes + n * p->row_bytes;
    PM_TRY(begin(t));
    copy(t, t->staging.buffer, from, to, 0, first);
    for (uint32_t done = n; done < p->n_row;) {
        const uint32_t more = pm__least_u32(done, p->n_row - done);
        /* A copy may not read and write one place: the rows there are go behind themselves. */
        pm__queue_barrier(&t->device->queue, t->commands);
        copy(t, to, p->head_bytes, to, p->head_bytes + done * p->row_bytes, more * p->row_bytes);
        done += more;
    }
    return end(t);
}

static pm_status add_plane(pm__timer *t, plane *p, uint32_t head, uint32_t row, uint32_t n_row) {
    *p = (plane){.head_bytes = 4ull * head, .row_bytes = 4ull * row, .n_row = n_row};
    return pm__buffer_init(t->device->gpu, &p->buffer, "measured weight",
                           p->head_bytes + n_row * p->row_bytes, PM__MEMORY_DEVICE);
}

static pm_status lay_part(pm__timer *t, laid_weight *w, uint32_t i, uint32_t first, uint32_t n) {
    const row_words words = words_of(t->trial->operands[w->operand].tensor);
    plane *quants = &w->planes[2 * i], *scales = &w->planes[2 * i + 1];
    PM_TRY(add_plane(t, quants, 0, words.quants, n));
    if (words.scales > 0)
        PM_TRY(add_plane(t, scales, words.table, words.scales, n));
    w->parts[i] = (pm__weight_part){
        .first_row = first,
        .n_row = n,
        .quants = {quants->buffer.buffer, 0, quants->buffer.bytes},
        .scales = {scales->buffer.buffer, 0, words.scales > 0 ? scales->buffer.bytes : 0}};
    return PM_OK;
}

static pm_status lay_weight(pm__timer *t, uint32_t operand, uint32_t n_copy) {
    const pm__operand *o = &t->trial->operands[operand];
    const uint32_t n_row = o->tensor->n_row, most = rows_of_part(t->device->gpu, o->tensor);
    if (most == 0 || pm__ceil_div(n_row, most) > MOST_PARTS)
        return pm__fail(PM_UNSUPPORTED, "tune: '%s' is too large for bindings of this device",
                        o->tensor->name);
    laid_weight *w = &t->weights[t->n_weight++];
    *w = (laid_weight){.operand = operand, .n_copy = n_copy, .n_part = pm__ceil_div(n_row, most)};
    w->planes = calloc((size_t)2 * n_copy * w->n_part, sizeof *w->planes);
    w->parts = calloc((size_t)n_copy * w->n_part, sizeof *w->parts);
    if (w->planes == NULL || w->parts == NULL)
        return pm__fail_memory("tune", (size_t)2 * n_copy * w->n_part * sizeof *w->planes);
    const row_words words = words_of(o->tensor);
    uint32_t n_given;
    PM_TRY(pack(t, o, &words, &n_given));
    const VkDeviceSize scales_at = 4ull * n_given * words.quants;
    for (uint32_t i = 0; i < n_copy * w->n_part; i++) {
        const uint32_t first = i % w->n_part * most;
        PM_TRY(lay_part(t, w, i, first, pm__least_u32(most, n_row - first)));
        PM_TRY(fill_plane(t, &w->planes[2 * i], 0, n_given));
        if (words.scales > 0)
            PM_TRY(fill_plane(t, &w->planes[2 * i + 1], scales_at, n_given));
    }
    return PM_OK;
}

/* ---- everything else ------------------------------------------------------------------------- */

static bool is_data(const pm__operand *o) {
    return o->tensor->kind != PM__WEIGHT;
}

static pm_status lay_data(pm__timer *t) {
    pm__gpu *gpu = t->device->gpu;
    for (uint32_t i = 0; i < t->trial->n_operand; i++) {
        const pm__operand *o = &t->trial->operands[i];
        if (!is_data(o))
            continue;
        PM_TRY(pm__buffer_init(gpu, &t->data[i], "measured operand", pm__round_up(o->bytes, 16),
                               PM__MEMORY_DEVICE));
        const pm__region region = {t->data[i].buffer, 0, t->data[i].bytes};
        switch (o->tensor->kind) {
        case PM__ACTIVATION:
            t->activations[i] = region;
            break;
        case PM__CACHE:
            t->caches[i] = region;
            break;
        case PM__STATE:
            t->states[i] = region;
            break;
        case PM__WEIGHT:
        case PM__STEP:
            t->places.step[o->tensor->index] = region;
            break;
        }
    }
    if (t->places.step[PM__STEP_ROWS].bytes > 0)
        return PM_OK;
    PM_TRY(pm__buffer_init(gpu, &t->head, "measured step", sizeof(struct pm_step_head),
                           PM__MEMORY_DEVICE));
    t->places.step[PM__STEP_ROWS] = (pm__region){t->head.buffer, 0, t->head.bytes};
    return PM_OK;
}

/* The operands as the trial has them. */
static pm_status load_data(pm__timer *t) {
    const struct pm_step_head head = {
        .n_row = t->trial->n_row, .n_out = t->trial->n_out, .n_sample = t->trial->n_sample};
    for (uint32_t i = 0; i < t->trial->n_operand; i++) {
        const pm__operand *o = &t->trial->operands[i];
        if (!is_data(o))
            continue;
        PM_TRY(reserve_staging(t, o->bytes));
        memcpy(t->staging.map, o->data, o->bytes);
        PM_TRY(begin(t));
        copy(t, t->staging.buffer, 0, t->data[i].buffer, 0, o->bytes);
        PM_TRY(end(t));
    }
    if (t->head.bytes == 0)
        return PM_OK;
    memcpy(t->staging.map, &head, sizeof head);
    PM_TRY(begin(t));
    copy(t, t->staging.buffer, 0, t->head.buffer, 0, sizeof head);
    return end(t);
}

static pm_status read_data(pm__timer *t) {
    for (uint32_t i = 0; i < t->trial->n_operand; i++) {
        const pm__operand *o = &t->trial->operands[i];
        if (!is_data(o))
            continue;
        PM_TRY(reserve_staging(t, o->bytes));
        PM_TRY(begin(t));
        copy(t, t->data[i].buffer, 0, t->staging.buffer, 0, o->bytes);
        PM_TRY(end(t));
        memcpy(o->after, t->staging.map, o->bytes);
    }
    return PM_OK;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static const pm__tensor *tensor_of(pm__timer *t, const pm__tensor *tensor, uint32_t launch) {
    for (uint32_t i = 0; i < t->trial->n_operand; i++)
        if (t->trial->operands[i].tensor == tensor)
            return &t->tensors[i][launch];
    return NULL;
}

/* Each launch has its copy of the weights; all have the rest together, so that each waits for the
 * one before. */
static void make_nodes(pm__timer *t) {
    for (uint32_t l = 0; l < t->n_launch; l++) {
        for (uint32_t i = 0; i < t->trial->n_operand; i++) {
            t->tensors[i][l] = *t->trial->operands[i].tensor;
            if (t->tensors[i][l].kind == PM__WEIGHT)
                t->tensors[i][l].index = l * PM__MOST_OPERANDS + i;
            else if (t->tensors[i][l].kind != PM__STEP)
                t->tensors[i][l].index = i;
        }
        t->nodes[l] = *t->trial->node;
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            t->nodes[l].in[k] = tensor_of(t, t->trial->node->in[k], l);
        t->nodes[l].out = tensor_of(t, t->trial->node->out, l);
        for (uint32_t i = 0; i < t->n_weight; i++) {
            const laid_weight *w = &t->weights[i];
            t->places_of_weights[l * PM__MOST_OPERANDS + w->operand] = (pm__weight_place){
                .parts = &w->parts[(size_t)(l % w->n_copy) * w->n_part], .n_part = w->n_part};
        }
    }
    t->graph.nodes = t->nodes;
    t->graph.n_node = t->n_launch;
    t->places.weights = t->places_of_weights;
    t->places.activations = t->activations;
    t->places.caches = t->caches;
    t->places.states = t->states;
}

/* ---- life ------------------------------------------------------------------------------------ */

static pm_status lay_weights(pm__timer *t) {
    const uint64_t wanted = t->device->gpu->caps.software ? COPY_SOFTWARE_BYTES : COPY_BYTES;
    const uint64_t bytes = bytes_of_weights(t);
    uint64_t n_copy = bytes > 0 ? (wanted + bytes - 1) / bytes : 1;
    n_copy = n_copy < MOST_COPIES ? n_copy : MOST_COPIES;
    t->n_launch = pm__most_u32((uint32_t)n_copy, LEAST_LAUNCHES);
    for (uint32_t i = 0; i < t->trial->n_operand; i++)
        if (!is_data(&t->trial->operands[i]))
            PM_TRY(lay_weight(t, i, (uint32_t)n_copy));
    return PM_OK;
}

static pm_status set_up(pm__timer *t) {
    pm__gpu *gpu = t->device->gpu;
    PM_TRY(pm__queue_allocate(&t->device->queue, 1, &t->commands));
    PM_TRY(pm__pipelines_init(&t->pipelines, gpu));
    PM_TRY(pm__buffer_init(gpu, &t->grids, "grids", GRID_BYTES, PM__MEMORY_UPLOAD));
    PM_TRY(reserve_staging(t, 1 << 20));
    PM_TRY(lay_weights(t));
    PM_TRY(lay_data(t));
    make_nodes(t);
    return load_data(t);
}

pm_status pm__timer_create(const pm__device_handle *handle, pm__trial *trial, pm__timer **out) {
    pm__timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return pm__fail_memory("tune", sizeof *t);
    t->device = handle->device;
    t->trial = trial;
    const pm_status status = set_up(t);
    if (status != PM_OK) {
        pm__timer_destroy(t);
        return status;
    }
    *out = t;
    return PM_OK;
}

void pm__timer_destroy(pm__timer *t) {
    if (t == NULL)
        return;
    pm__gpu *gpu = t->device->gpu;
    pm__queue_drain(&t->device->queue);
    for (uint32_t i = 0; i < t->n_weight; i++) {
        laid_weight *w = &t->weights[i];
        for (uint32_t k = 0; w->planes != NULL && k < 2 * w->n_copy * w->n_part; k++)
            pm__buffer_finish(gpu, &w->planes[k].buffer);
        free(w->planes);
        free(w->parts);
    }
    for (uint32_t i = 0; i < PM__MOST_OPERANDS; i++)
        pm__buffer_finish(gpu, &t->data[i]);
    pm__buffer_finish(gpu, &t->head);
    pm__buffer_finish(gpu, &t->grids);
    pm__buffer_finish(gpu, &t->staging);
    if (t->commands != NULL)
        gpu->vk.vkFreeCommandBuffers(gpu->device, t->device->queue.pool, 1, &t->commands);
    if (t->pipelines.gpu != NULL)
        pm__pipelines_finish(&t->pipelines);
    free(t);
}

pm__cost pm__timer_cost(const pm__timer *t) {
    return pm__node_cost(t->trial->node, t->trial->n_row, t->trial->n_out, t->trial->limits.n_ctx);
}

/* ---- runs ------------------------------------------------------------------------------------ */

typedef struct take {
    pm__program program;
    pm__recording recording;
} take;

static pm_status write_grids(pm__timer *t, const pm__program *program) {
    const uint32_t counts[] = {[PM__GRID_ROWS] = t->trial->n_row,
                               [PM__GRID_OUTS] = t->trial->n_out,
                               [PM__GRID_RUNS] = t->trial->n_run,
                               [PM__GRID_SAMPLES] = t->trial->n_sample};
    if (program->n_grid * PM__GRID_STRIDE > GRID_BYTES)
        return pm__fail(PM_FAILURE, "tune: %" PRIu32 " grids", program->n_grid);
    for (uint32_t i = 0; i < program->n_grid; i++) {
        const pm__grid *grid = &program->grids[i];
        uint32_t groups[3] = {grid->others[0], grid->others[1], grid->others[2]};
        groups[grid->axis] = pm__grid_groups(grid, counts[grid->count]);
        memcpy((char *)t->grids.map + (size_t)i * PM__GRID_STRIDE, groups, sizeof groups);
    }
    return PM_OK;
}

static pm_status prepare(pm__timer *t, int kernel, uint32_t n_launch, take *out) {
    size_t n;
    t->graph.n_node = n_launch;
    const pm__lowering lowering = {.gpu = t->device->gpu,
                                   .graph = &t->graph,
                                   .limits = &t->trial->limits,
                                   .places = &t->places,
                                   .n_row = t->trial->n_row,
                                   .n_out = t->trial->n_out,
                                   .kernel = &pm__kernel_table(&n)[kernel],
                                   .pipelines = &t->pipelines};
    PM_TRY(pm__lower(&lowering, &out->program));
    if (out->program.n_dispatch == 0)
        return pm__fail(PM_UNSUPPORTED, "tune: '%s' is not launched", t->trial->node->name);
    PM_TRY(write_grids(t, &out->program));
    PM_TRY(pm__pipelines_build(&t->pipelines, NULL, NULL));
    const pm__recording_desc desc = {.queue = &t->device->queue,
                                     .program = &out->program,
                                     .pipelines = &t->pipelines,
                                     .grids = {t->grids.buffer, 0, GRID_BYTES},
                                     .n_row = t->trial->n_row};
    return pm__recording_init(&out->recording, &desc);
}

/* Pipelines that could not be built would be tried again with every later kernel. */
static void finish(pm__timer *t, take *of, pm_status status) {
    pm__queue_drain(&t->device->queue);
    pm__recording_finish(&of->recording);
    pm__program_finish(&of->program);
    if (status == PM_OK)
        return;
    pm__gpu *gpu = t->device->gpu;
    pm__pipelines_finish(&t->pipelines);
    t->pipelines = (pm__pipelines){.gpu = gpu};
}

static pm_status time_launches(pm__timer *t, int kernel, uint32_t n_launch, double budget,
                               double *seconds) {
    take one = {0};
    pm_status status = prepare(t, kernel, n_launch, &one);
    if (status == PM_OK)
        status = pm__time_best(&one.recording, t->trial->n_row, budget, seconds);
    *seconds /= n_launch;
    finish(t, &one, status);
    return status;
}

pm_status pm__timer_time(pm__timer *t, int kernel, double budget, double *seconds) {
    *seconds = 0;
    /* One alone tells enough of a kernel that takes long. */
    PM_TRY(time_launches(t, kernel, 1, 0, seconds));
    return *seconds > budget / t->n_launch ? PM_OK
                                           : time_launches(t, kernel, t->n_launch, budget, seconds);
}

pm_status pm__timer_run(pm__timer *t, int kernel) {
    take one = {0};
    double seconds;
    PM_TRY(load_data(t));
    pm_status status = prepare(t, kernel, 1, &one);
    if (status == PM_OK)
        status = pm__time_run(&one.recording, t->trial->n_row, &seconds);
    finish(t, &one, status);
    return status == PM_OK ? read_data(t) : status;
}
