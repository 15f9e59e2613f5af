#include "kernel_harness.h"

#include "runtime/base/checked.h"
#include "runtime/gpu/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUFFER_BYTES = 32 << 20,
    GUARD_BYTES = 256,
    MOST_PARTS = 64,
    MOST_SPOTS = PM__MOST_OPERANDS + 2 * MOST_PARTS,
    MOST_INDEX = 16,
    GRID_BYTES = 256 * PM__GRID_STRIDE,
};

pm_status pm__harness_init(pm__harness *harness, uint32_t index) {
    *harness = (pm__harness){0};
    char cache_dir[4096];
    const char *build =
        getenv("PUMICE_BUILD"); /* else many pipelines compile the same text again */
    snprintf(cache_dir, sizeof cache_dir, "%s%s", build != NULL ? build : "",
             build != NULL ? "/kernel-cache" : "");
    const pm_device_desc desc = {.cache_dir = cache_dir};
    PM_TRY(pm__gpu_create(index, &desc, &harness->gpu));
    PM_TRY(pm__queue_init(&harness->queue, harness->gpu));
    PM_TRY(pm__pipelines_init(&harness->pipelines, harness->gpu));
    return pm__buffer_init(harness->gpu, &harness->buffer, "operands", BUFFER_BYTES,
                           PM__MEMORY_READBACK);
}

void pm__harness_finish(pm__harness *harness) {
    if (harness->gpu == NULL)
        return;
    pm__buffer_finish(harness->gpu, &harness->buffer);
    if (harness->pipelines.gpu != NULL)
        pm__pipelines_finish(&harness->pipelines);
    if (harness->queue.gpu != NULL)
        pm__queue_finish(&harness->queue);
    pm__gpu_destroy(harness->gpu);
    *harness = (pm__harness){0};
}

/* ---- a stage: the buffer, divided among the operands ----------------------------------------- */

/* Bytes of the buffer that hold all or a part of an operand. */
typedef struct spot {
    size_t offset, bytes;
    const unsigned char *data; /* [bytes] before the run */
    pm__operand *operand;      /* where they go afterwards; NULL for packed weights */
} spot;

typedef struct stage {
    pm__harness *harness;
    pm__trial *trial;
    size_t used;
    spot spots[MOST_SPOTS];
    uint32_t n_spot;
    pm__region grids;
    pm__region activations[MOST_INDEX], caches[MOST_INDEX];
    pm__weight_part parts[MOST_PARTS];
    uint32_t n_part;
    pm__weight_place weights[MOST_INDEX];
    uint32_t *packed[MOST_PARTS * 2];
    uint32_t n_packed;
    pm__places places;
    pm__program program;
    pm__recording recording;
} stage;

static pm_status take(stage *s, size_t bytes, size_t *offset) {
    const size_t unit = (size_t)s->harness->gpu->caps.offset_alignment;
    *offset = pm__round_up(s->used + GUARD_BYTES, unit);
    s->used = *offset + bytes + GUARD_BYTES;
    if (s->used > BUFFER_BYTES)
        return pm__fail(PM_FAILURE, "harness: operands take more than %d bytes", BUFFER_BYTES);
    return PM_OK;
}

/* The region includes the guard after it, so that a kernel can reach it. */
static pm_status add_spot(stage *s, const void *data, size_t bytes, pm__operand *operand,
                          pm__region *region) {
    if (s->n_spot == MOST_SPOTS)
        return pm__fail(PM_FAILURE, "harness: more than %d places", MOST_SPOTS);
    spot *to = &s->spots[s->n_spot++];
    *to = (spot){.bytes = bytes, .data = data, .operand = operand};
    PM_TRY(take(s, bytes, &to->offset));
    *region = (pm__region){
        .buffer = s->harness->buffer.buffer, .offset = to->offset, .bytes = bytes + GUARD_BYTES};
    return PM_OK;
}

static pm_status add_plane(stage *s, size_t words, uint32_t **out, pm__region *region) {
    *out = calloc(words, sizeof **out);
    if (*out == NULL)
        return pm__fail_memory("harness: planes", words * sizeof **out);
    s->packed[s->n_packed++] = *out;
    return add_spot(s, *out, words * sizeof **out, NULL, region);
}

static pm_status add_part(stage *s, const pm__operand *w, uint32_t first, uint32_t n) {
    if (s->n_part == MOST_PARTS)
        return pm__fail(PM_FAILURE, "harness: more than %d parts", MOST_PARTS);
    const pm__tensor *t = w->tensor;
    const uint32_t n_quant = pm__type_quant_words(t->type, t->n_col);
    const uint32_t n_scale = pm__type_scale_words(t->type, t->n_col);
    pm__weight_part *part = &s->parts[s->n_part++];
    *part = (pm__weight_part){.first_row = first, .n_row = n};
    uint32_t *quants = NULL, *scales = NULL;
    PM_TRY(add_plane(s, (size_t)n_quant * n, &quants, &part->quants));
    if (n_scale > 0)
        PM_TRY(add_plane(s, (size_t)n_scale * n, &scales, &part->scales));
    uint64_t row_bytes = 0;
    pm__type_row_bytes(t->type, t->n_col, &row_bytes);
    for (uint32_t r = 0; r < n; r++)
        pm__type_pack(t->type, w->data + (first + r) * row_bytes, t->n_col,
                      quants + (size_t)r * n_quant,
                      n_scale > 0 ? scales + (size_t)r * n_scale : NULL);
    return PM_OK;
}

static pm_status add_weight(stage *s, const pm__operand *w) {
    const uint32_t n_row = w->tensor->n_row;
    const bool whole = s->trial->part_rows == 0 || n_row == 1;
    const uint32_t step = whole ? n_row : s->trial->part_rows;
    pm__weight_place *place = &s->weights[w->tensor->index];
    place->parts = &s->parts[s->n_part];
    place->n_part = pm__ceil_div(n_row, step);
    for (uint32_t first = 0; first < n_row; first += step)
        PM_TRY(add_part(s, w, first, n_row - first < step ? n_row - first : step));
    return PM_OK;
}

static pm_status add_operand(stage *s, pm__operand *operand) {
    const pm__tensor *t = operand->tensor;
    switch (t->kind) {
    case PM__WEIGHT:
        return add_weight(s, operand);
    case PM__ACTIVATION:
        return add_spot(s, operand->data, operand->bytes, operand, &s->activations[t->index]);
    case PM__CACHE:
        return add_spot(s, operand->data, operand->bytes, operand, &s->caches[t->index]);
    case PM__STEP:
        break;
    }
    return add_spot(s, operand->data, operand->bytes, operand, &s->places.step[t->index]);
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
    s->places.weights = s->weights;
    s->places.activations = s->activations;
    s->places.caches = s->caches;
    for (uint32_t i = 0; i < s->trial->n_operand; i++)
        PM_TRY(add_operand(s, &s->trial->operands[i]));
    PM_TRY(add_head(s));
    size_t offset;
    PM_TRY(take(s, GRID_BYTES, &offset));
    s->grids = (pm__region){s->harness->buffer.buffer, offset, GRID_BYTES};
    return PM_OK;
}

/* ---- one run --------------------------------------------------------------------------------- */

static void write_grids(const stage *s) {
    const uint32_t counts[] = {[PM__GRID_ROWS] = s->trial->n_row,
                               [PM__GRID_OUTS] = s->trial->n_out,
                               [PM__GRID_SAMPLES] = s->trial->n_sample};
    for (uint32_t i = 0; i < s->program.n_grid; i++) {
        const pm__grid *grid = &s->program.grids[i];
        uint32_t groups[3] = {grid->others[0], grid->others[1], grid->others[2]};
        const uint32_t n = counts[grid->count];
        groups[grid->axis] = grid->one ? n > 0 : pm__ceil_div(n, grid->rows_per_group);
        memcpy((char *)s->harness->buffer.map + s->grids.offset + (size_t)i * PM__GRID_STRIDE,
               groups, sizeof groups);
    }
}

static void fill(const stage *s) {
    unsigned char *map = s->harness->buffer.map;
    memset(map, 0xff, s->used);
    for (uint32_t i = 0; i < s->n_spot; i++)
        memcpy(map + s->spots[i].offset, s->spots[i].data, s->spots[i].bytes);
    write_grids(s);
}

static pm_status check_guards(const stage *s) {
    const unsigned char *map = s->harness->buffer.map;
    for (uint32_t i = 0; i < s->n_spot; i++) {
        const spot *at = &s->spots[i];
        const char *name = at->operand != NULL ? at->operand->tensor->name : "a weight's plane";
        for (size_t b = 0; b < GUARD_BYTES; b++)
            if (map[at->offset + at->bytes + b] != 0xff || map[at->offset - 1 - b] != 0xff)
                return pm__fail(PM_CHECK_FAILED, "harness: bytes were written outside %s", name);
        if (at->operand == NULL && memcmp(map + at->offset, at->data, at->bytes) != 0)
            return pm__fail(PM_CHECK_FAILED, "harness: %s was written", name);
    }
    return PM_OK;
}

/* Takes the results of the first run, compares those of later ones with them. */
static pm_status collect(const stage *s, int run) {
    const unsigned char *map = s->harness->buffer.map;
    for (uint32_t i = 0; i < s->n_spot; i++) {
        const spot *at = &s->spots[i];
        if (at->operand == NULL)
            continue;
        if (run == 0)
            memcpy(at->operand->after, map + at->offset, at->bytes);
        else if (memcmp(at->operand->after, map + at->offset, at->bytes) != 0)
            return pm__fail(PM_CHECK_FAILED, "harness: run %d left other bits in %s than the first",
                            run + 1, at->operand->tensor->name);
    }
    return PM_OK;
}

static pm_status run_once(stage *s, int run) {
    pm__queue *queue = &s->harness->queue;
    fill(s);
    PM_TRY(pm__recording_submit(&s->recording, s->trial->n_row));
    PM_TRY(pm__queue_wait(queue, queue->submitted));
    PM_TRY(check_guards(s));
    return collect(s, run);
}

static pm_status prepare(stage *s) {
    pm__harness *harness = s->harness;
    PM_TRY(lay_out(s));
    const pm__lowering lowering = {.gpu = harness->gpu,
                                   .graph = s->trial->graph,
                                   .limits = &s->trial->limits,
                                   .places = &s->places,
                                   .n_row = s->trial->n_row,
                                   .n_out = s->trial->n_out,
                                   .pipelines = &harness->pipelines};
    PM_TRY(pm__lower(&lowering, &s->program));
    s->trial->kernel = harness->pipelines.items[s->program.dispatches[0].pipeline].desc.name;
    PM_TRY(pm__pipelines_build(&harness->pipelines, NULL, NULL));
    if (s->program.n_grid * PM__GRID_STRIDE > GRID_BYTES)
        return pm__fail(PM_FAILURE, "harness: %u grids", s->program.n_grid);
    const pm__recording_desc desc = {.queue = &harness->queue,
                                     .program = &s->program,
                                     .pipelines = &harness->pipelines,
                                     .grids = s->grids,
                                     .n_row = s->trial->n_row};
    return pm__recording_init(&s->recording, &desc);
}

pm_status pm__harness_run(pm__harness *harness, pm__trial *trial, int times) {
    stage s = {.harness = harness, .trial = trial};
    pm_status status = prepare(&s);
    for (int run = 0; run < times && status == PM_OK; run++)
        status = run_once(&s, run);
    pm__recording_finish(&s.recording);
    pm__program_finish(&s.program);
    for (uint32_t i = 0; i < s.n_packed; i++)
        free(s.packed[i]);
    return status;
}
