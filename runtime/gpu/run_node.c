#include "run_node.h"

#include "../base/checked.h"
#include "gpu.h"
#include "kernels.h"
#include "record.h"
#include "weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_BUFFER_BYTES = 32 << 20,
    GUARD_BYTES = 256,
    MOST_PARTS = 64,
    MOST_SPOTS = PM__MOST_OPERANDS + 2 * MOST_PARTS + 1,
    GRID_BYTES = 256 * PM__GRID_STRIDE,
};

struct pm__runner {
    pm__gpu_device *device;
    pm__pipelines pipelines; /* of all trials so far */
    pm__buffer buffer;       /* grows with what trials need */
};

bool pm__gpu_kernel(const pm__device_handle *handle, int kernel, pm__kernel_info *out) {
    static const char *const tiers[] = {
#define PM_TIER(NAME, name, what) #name,
#include "tiers.def"
#undef PM_TIER
    };
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    if (kernel < 0 || (size_t)kernel >= n)
        return false;
    const pm__kernel *row = &table[kernel];
    const pm__caps *caps = &((const pm__gpu_device *)handle->device)->gpu->caps;
    *out = (pm__kernel_info){.name = row->name,
                             .tier = tiers[row->tier],
                             .op = row->op,
                             .from_rows = row->from_rows,
                             .available = pm__kernel_fits(caps, row, row->op),
                             .at_home = pm__kernel_is_at_home(caps, row),
                             .quarantined = caps->quarantined[kernel],
                             .variant = row->variant};
    return true;
}

bool pm__gpu_takes(int kernel, const pm__node *node) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    return table[kernel].takes(node);
}

double pm__gpu_bound(int kernel, const pm__node *node) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    return pm__kernel_bound(&table[kernel], node);
}

int pm__gpu_choose(const pm__device_handle *handle, pm__op op, const pm__node *node,
                   uint32_t n_row) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    const pm__caps *caps = &((const pm__gpu_device *)handle->device)->gpu->caps;
    const pm__kernel *chosen = pm__kernel_choose(caps, op, node, n_row);
    return chosen != NULL ? (int)(chosen - table) : PM__KERNEL_NONE;
}

int pm__gpu_default(const pm__device_handle *handle, pm__op op, const pm__node *node,
                    uint32_t n_row) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    const pm__caps *caps = &((const pm__gpu_device *)handle->device)->gpu->caps;
    const pm__kernel *chosen = pm__kernel_default(caps, op, node, n_row);
    return chosen != NULL ? (int)(chosen - table) : PM__KERNEL_NONE;
}

pm_status pm__runner_create(const pm__device_handle *handle, pm__runner **out) {
    pm__runner *runner = calloc(1, sizeof *runner);
    if (runner == NULL)
        return pm__fail_memory("check", sizeof *runner);
    runner->device = handle->device;
    const pm_status status = pm__pipelines_init(&runner->pipelines, runner->device->gpu);
    if (status != PM_OK) {
        pm__runner_destroy(runner);
        return status;
    }
    *out = runner;
    return PM_OK;
}

void pm__runner_destroy(pm__runner *runner) {
    if (runner == NULL)
        return;
    pm__buffer_finish(runner->device->gpu, &runner->buffer);
    if (runner->pipelines.gpu != NULL)
        pm__pipelines_finish(&runner->pipelines);
    free(runner);
}

/* ---- a stage: the buffer, divided among the operands ----------------------------------------- */

/* Bytes of the buffer that hold all or a part of an operand. */
typedef struct spot {
    size_t offset, bytes;
    const unsigned char *data; /* [bytes] before the run */
    pm__operand *operand;      /* where they go afterwards; NULL for packed weights */
} spot;

/* The node, with tensors numbered by operand so that tables of places stay small. */
typedef struct stage {
    pm__runner *runner;
    pm__trial *trial;
    pm__tensor tensors[PM__MOST_OPERANDS];
    pm__node node;
    pm__graph graph;
    size_t used;
    spot spots[MOST_SPOTS];
    uint32_t n_spot;
    pm__region grids;
    pm__region activations[PM__MOST_OPERANDS], caches[PM__MOST_OPERANDS], states[PM__MOST_OPERANDS];
    pm__weight_part parts[MOST_PARTS];
    uint32_t n_part;
    pm__weight_place weights[PM__MOST_OPERANDS];
    uint32_t *packed[2 * MOST_PARTS + 1];
    uint32_t n_packed;
    pm__places places;
    pm__program program;
    pm__recording recording;
} stage;

static const pm__tensor *renumbered(stage *s, const pm__tensor *t) {
    for (uint32_t i = 0; i < s->trial->n_operand; i++)
        if (s->trial->operands[i].tensor == t)
            return &s->tensors[i];
    return NULL;
}

static void copy_node(stage *s) {
    for (uint32_t i = 0; i < s->trial->n_operand; i++) {
        s->tensors[i] = *s->trial->operands[i].tensor;
        if (s->tensors[i].kind != PM__STEP)
            s->tensors[i].index = i;
    }
    s->node = *s->trial->node;
    for (int k = 0; k < PM__MOST_INPUTS; k++)
        s->node.in[k] = renumbered(s, s->trial->node->in[k]);
    s->node.out = renumbered(s, s->trial->node->out);
    s->graph.nodes = &s->node;
    s->graph.n_node = 1;
}

static uint32_t rows_of_part(const stage *s, uint32_t n_row) {
    return s->trial->part_rows == 0 || n_row == 1 ? n_row : s->trial->part_rows;
}

static size_t with_guards(const stage *s, size_t bytes) {
    return bytes + 2 * GUARD_BYTES + (size_t)s->runner->device->gpu->caps.offset_alignment;
}

/* Bytes that all of it takes at most. */
static size_t needed_bytes(const stage *s) {
    size_t all = with_guards(s, GRID_BYTES) + with_guards(s, sizeof(struct pm_step_head));
    for (uint32_t i = 0; i < s->trial->n_operand; i++) {
        const pm__operand *o = &s->trial->operands[i];
        const pm__tensor *t = o->tensor;
        if (o->placed)
            continue;
        if (t->kind != PM__WEIGHT) {
            all += with_guards(s, o->bytes);
            continue;
        }
        const size_t words = (size_t)pm__type_quant_words(t->type, t->n_col) +
                             pm__type_scale_words(t->type, t->n_col);
        uint32_t n_table = 0;
        pm__type_table(t->type, &n_table);
        all += 4 * words * t->n_row + (4 * (size_t)n_table + 2 * with_guards(s, 0)) *
                                          pm__ceil_div(t->n_row, rows_of_part(s, t->n_row));
    }
    return all;
}

static pm_status reserve_buffer(stage *s) {
    pm__gpu *gpu = s->runner->device->gpu;
    const uint64_t needed = needed_bytes(s);
    if (needed <= s->runner->buffer.bytes)
        return PM_OK;
    if (needed > gpu->caps.most_allocation)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "check: '%s' needs %" PRIu64 " bytes, a buffer of this device has %" PRIu64,
                        s->trial->node->name, needed, gpu->caps.most_allocation);
    pm__buffer_finish(gpu, &s->runner->buffer);
    return pm__buffer_init(gpu, &s->runner->buffer, "check",
                           needed > LEAST_BUFFER_BYTES ? needed : LEAST_BUFFER_BYTES,
                           PM__MEMORY_READBACK);
}

static size_t take(stage *s, size_t bytes) {
    const size_t unit = (size_t)s->runner->device->gpu->caps.offset_alignment;
    const size_t offset = (size_t)pm__round_up(s->used + GUARD_BYTES, unit);
    s->used = offset + bytes + GUARD_BYTES;
    return offset;
}

/* The region includes the guard after it, so that a kernel can reach it. */
static void add_spot(stage *s, const void *data, size_t bytes, pm__operand *operand,
                     pm__region *region) {
    spot *to = &s->spots[s->n_spot++];
    *to = (spot){.bytes = bytes, .data = data, .operand = operand, .offset = take(s, bytes)};
    *region = (pm__region){s->runner->buffer.buffer, to->offset, bytes + GUARD_BYTES};
}

static pm_status add_plane(stage *s, size_t words, uint32_t **out, pm__region *region) {
    *out = calloc(words, sizeof **out);
    if (*out == NULL)
        return pm__fail_memory("check: planes", words * sizeof **out);
    s->packed[s->n_packed++] = *out;
    add_spot(s, *out, words * sizeof **out, NULL, region);
    return PM_OK;
}

static pm_status add_part(stage *s, const pm__operand *w, uint32_t first, uint32_t n) {
    if (s->n_part == MOST_PARTS)
        return pm__fail(PM_FAILURE, "check: '%s' has more than %d parts", w->tensor->name,
                        MOST_PARTS);
    const pm__tensor *t = w->tensor;
    const uint32_t n_quant = pm__type_quant_words(t->type, t->n_col);
    const uint32_t n_scale = pm__type_scale_words(t->type, t->n_col);
    pm__weight_part *part = &s->parts[s->n_part++];
    *part = (pm__weight_part){.first_row = first, .n_row = n};
    uint32_t *quants = NULL, *scales = NULL;
    uint32_t n_table = 0;
    const uint32_t *table = pm__type_table(t->type, &n_table);
    PM_TRY(add_plane(s, (size_t)n_quant * n, &quants, &part->quants));
    if (n_scale > 0)
        PM_TRY(add_plane(s, n_table + (size_t)n_scale * n, &scales, &part->scales));
    for (uint32_t i = 0; i < n_table; i++)
        *scales++ = table[i];
    uint64_t row_bytes = 0;
    pm__type_row_bytes(t->type, t->n_col, &row_bytes);
    for (uint32_t r = 0; r < n; r++)
        pm__type_pack(t->type, w->data + (first + r) * row_bytes, t->n_col,
                      quants + (size_t)r * n_quant,
                      n_scale > 0 ? scales + (size_t)r * n_scale : NULL);
    return PM_OK;
}

static pm_status add_weight(stage *s, uint32_t i) {
    const pm__operand *w = &s->trial->operands[i];
    pm__weight_place *place = &s->weights[i];
    if (w->placed) {
        *place = ((const pm__gpu_weights *)s->trial->weights)->places[w->tensor->index];
        return PM_OK;
    }
    const uint32_t n_row = w->tensor->n_row;
    const uint32_t step = rows_of_part(s, n_row);
    place->parts = &s->parts[s->n_part];
    place->n_part = pm__ceil_div(n_row, step);
    for (uint32_t first = 0; first < n_row; first += step)
        PM_TRY(add_part(s, w, first, n_row - first < step ? n_row - first : step));
    return PM_OK;
}

static pm_status add_operand(stage *s, uint32_t i) {
    pm__operand *o = &s->trial->operands[i];
    switch (o->tensor->kind) {
    case PM__WEIGHT:
        return add_weight(s, i);
    case PM__ACTIVATION:
        add_spot(s, o->data, o->bytes, o, &s->activations[i]);
        return PM_OK;
    case PM__CACHE:
        add_spot(s, o->data, o->bytes, o, &s->caches[i]);
        return PM_OK;
    case PM__STATE:
        add_spot(s, o->data, o->bytes, o, &s->states[i]);
        return PM_OK;
    case PM__STEP:
        break;
    }
    add_spot(s, o->data, o->bytes, o, &s->places.step[o->tensor->index]);
    return PM_OK;
}

/* A kernel may look at the head of the step although its node does not name it. */
static pm_status add_head(stage *s) {
    if (s->places.step[PM__STEP_ROWS].bytes > 0)
        return PM_OK;
    uint32_t *words;
    PM_TRY(add_plane(s, sizeof(struct pm_step_head) / 4, &words, &s->places.step[PM__STEP_ROWS]));
    const struct pm_step_head head = {
        .n_row = s->trial->n_row, .n_out = s->trial->n_out, .n_sample = s->trial->n_sample};
    memcpy(words, &head, sizeof head);
    return PM_OK;
}

static pm_status lay_out(stage *s) {
    PM_TRY(reserve_buffer(s));
    s->places.weights = s->weights;
    s->places.activations = s->activations;
    s->places.caches = s->caches;
    s->places.states = s->states;
    for (uint32_t i = 0; i < s->trial->n_operand; i++)
        PM_TRY(add_operand(s, i));
    PM_TRY(add_head(s));
    s->grids = (pm__region){s->runner->buffer.buffer, take(s, GRID_BYTES), GRID_BYTES};
    return PM_OK;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void write_grids(const stage *s) {
    const uint32_t counts[] = {[PM__GRID_ROWS] = s->trial->n_row,
                               [PM__GRID_OUTS] = s->trial->n_out,
                               [PM__GRID_RUNS] = s->trial->n_run,
                               [PM__GRID_SAMPLES] = s->trial->n_sample};
    for (uint32_t i = 0; i < s->program.n_grid; i++) {
        const pm__grid *grid = &s->program.grids[i];
        uint32_t groups[3] = {grid->others[0], grid->others[1], grid->others[2]};
        groups[grid->axis] = pm__grid_groups(grid, counts[grid->count]);
        memcpy((char *)s->runner->buffer.map + s->grids.offset + (size_t)i * PM__GRID_STRIDE,
               groups, sizeof groups);
    }
}

static void fill(const stage *s) {
    unsigned char *map = s->runner->buffer.map;
    memset(map, 0xff, s->used);
    for (uint32_t i = 0; i < s->n_spot; i++)
        memcpy(map + s->spots[i].offset, s->spots[i].data, s->spots[i].bytes);
    write_grids(s);
}

static pm_status check_guards(const stage *s) {
    const unsigned char *map = s->runner->buffer.map;
    for (uint32_t i = 0; i < s->n_spot; i++) {
        const spot *at = &s->spots[i];
        const char *name = at->operand != NULL ? at->operand->tensor->name : "a weight's plane";
        for (size_t b = 0; b < GUARD_BYTES; b++)
            if (map[at->offset + at->bytes + b] != 0xff || map[at->offset - 1 - b] != 0xff)
                return pm__fail(PM_CHECK_FAILED, "bytes were written outside %s", name);
        if (at->operand == NULL && memcmp(map + at->offset, at->data, at->bytes) != 0)
            return pm__fail(PM_CHECK_FAILED, "%s was written", name);
    }
    return PM_OK;
}

/* Takes the results of the first run, compares those of later ones with them. */
static pm_status collect(const stage *s, int run) {
    const unsigned char *map = s->runner->buffer.map;
    for (uint32_t i = 0; i < s->n_spot; i++) {
        const spot *at = &s->spots[i];
        if (at->operand == NULL)
            continue;
        if (run == 0)
            memcpy(at->operand->after, map + at->offset, at->bytes);
        else if (memcmp(at->operand->after, map + at->offset, at->bytes) != 0)
            return pm__fail(PM_CHECK_FAILED, "run %d left other bits in %s than the first", run + 1,
                            at->operand->tensor->name);
    }
    return PM_OK;
}

static pm_status run_once(stage *s, int run) {
    pm__queue *queue = &s->runner->device->queue;
    fill(s);
    PM_TRY(pm__recording_submit(&s->recording, s->trial->n_row));
    PM_TRY(pm__queue_wait(queue, queue->submitted));
    PM_TRY(check_guards(s));
    return collect(s, run);
}

static pm_status lower(stage *s) {
    pm__runner *runner = s->runner;
    pm__caps *caps = &runner->device->gpu->caps;
    size_t n_kernel;
    const pm__kernel *table = pm__kernel_table(&n_kernel);
    const pm__lowering lowering = {
        .gpu = runner->device->gpu,
        .graph = &s->graph,
        .limits = &s->trial->limits,
        .places = &s->places,
        .n_row = s->trial->n_row,
        .n_out = s->trial->n_out,
        .kernel = s->trial->kernel != PM__KERNEL_NONE ? &table[s->trial->kernel] : NULL,
        .pipelines = &runner->pipelines};
    const uint32_t most_group_x = caps->most_group_x;
    if (s->trial->most_group_x != 0)
        caps->most_group_x = s->trial->most_group_x;
    const pm_status status = pm__lower(&lowering, &s->program);
    caps->most_group_x = most_group_x;
    PM_TRY(status);
    s->trial->kernel = (int)(s->program.dispatches[0].kernel - table);
    if (s->program.n_grid * PM__GRID_STRIDE > GRID_BYTES)
        return pm__fail(PM_FAILURE, "check: %u grids", s->program.n_grid);
    return PM_OK;
}

/* What could not be built would be tried again with every later trial. */
static pm_status build(pm__runner *runner) {
    const pm_status status = pm__pipelines_build(&runner->pipelines, NULL, NULL);
    if (status != PM_OK) {
        pm__gpu *gpu = runner->pipelines.gpu;
        pm__pipelines_finish(&runner->pipelines);
        PM_TRY(pm__pipelines_init(&runner->pipelines, gpu));
    }
    return status;
}

static pm_status prepare(stage *s) {
    copy_node(s);
    PM_TRY(lay_out(s));
    PM_TRY(lower(s));
    PM_TRY(build(s->runner));
    const pm__recording_desc desc = {.queue = &s->runner->device->queue,
                                     .program = &s->program,
                                     .pipelines = &s->runner->pipelines,
                                     .grids = s->grids,
                                     .n_row = s->trial->n_row};
    return pm__recording_init(&s->recording, &desc);
}

pm_status pm__runner_run(pm__runner *runner, pm__trial *trial, int times) {
    stage s = {.runner = runner, .trial = trial};
    pm_status status = prepare(&s);
    for (int run = 0; run < times && status == PM_OK; run++)
        status = run_once(&s, run);
    if (status != PM_OK)
        pm__queue_drain(&runner->device->queue); /* a part may be submitted */
    pm__recording_finish(&s.recording);
    pm__program_finish(&s.program);
    for (uint32_t i = 0; i < s.n_packed; i++)
        free(s.packed[i]);
    return status;
}
