#include "weights.h"

#include "../base/checked.h"
#include "../base/system.h"
#include "stream.h"

#include <inttypes.h>
#include <stdlib.h>

enum { LEAST_SLOT_BYTES = 4 << 20 };

pm__row_shape pm__weight_shape(const pm__weight *weight) {
    const pm__tensor *t = &weight->tensor;
    uint32_t n_table = 0;
    pm__type_table(t->type, &n_table);
    return (pm__row_shape){
        .quants = 4 * (VkDeviceSize)pm__type_quant_words(t->type, t->n_col),
        .scales = 4 * (VkDeviceSize)pm__type_scale_words(t->type, t->n_col),
        .table = 4 * (VkDeviceSize)n_table,
    };
}

/* Rows of one part: as many as one binding can reach. */
static pm_status rows_of_part(const pm__gpu *gpu, const pm__weight *weight, uint32_t *n_row) {
    const pm__row_shape shape = pm__weight_shape(weight);
    const VkDeviceSize row = shape.quants > shape.scales ? shape.quants : shape.scales;
    VkDeviceSize reach = gpu->caps.most_range;
    if (reach > gpu->caps.most_allocation)
        reach = gpu->caps.most_allocation;
    reach -= reach > shape.table ? shape.table : reach;
    if (row > reach)
        return pm__fail(PM_UNSUPPORTED,
                        "gpu: tensor '%s': one row is %" PRIu64 " bytes, %s can bind %" PRIu64,
                        weight->tensor.name, (uint64_t)row, gpu->info.name, (uint64_t)reach);
    const VkDeviceSize most = reach / row;
    *n_row = most < weight->tensor.n_row ? (uint32_t)most : weight->tensor.n_row;
    return PM_OK;
}

static pm_status add_part(pm__gpu_weights *weights, const pm__weight *weight, uint32_t n_row,
                          pm__part_spots *spots) {
    const pm__gpu *gpu = weights->device->gpu;
    const pm__row_shape shape = pm__weight_shape(weight);
    *spots = (pm__part_spots){0};
    PM_TRY(pm__needs_append(&weights->needs, gpu, "weights", shape.quants * n_row, &spots->quants));
    if (shape.scales == 0)
        return PM_OK;
    return pm__needs_append(&weights->needs, gpu, "weights", shape.table + shape.scales * n_row,
                            &spots->scales);
}

/* Bytes of all rows, without tables. */
static pm__row_shape bytes_of(const pm__gpu_weights *weights, const pm__tensor *t) {
    pm__row_shape all = pm__weight_shape(weights->def->weights[t->index]);
    all.quants *= t->n_row;
    all.scales *= t->n_row;
    return all;
}

/* Whether the planes of the pieces, one after the other, are those of the whole, in one binding,
 * and each piece begins where a binding can. */
static bool is_joined(const pm__gpu_weights *weights, const pm__tensor *whole) {
    const pm__gpu *gpu = weights->device->gpu;
    const VkDeviceSize unit = gpu->caps.offset_alignment;
    const pm__row_shape all = bytes_of(weights, whole);
    VkDeviceSize quants = 0, scales = 0;
    bool fits = all.table == 0;
    for (uint32_t i = 0; i < whole->n_joined; i++) {
        const pm__row_shape piece = bytes_of(weights, whole->joined[i]);
        fits = fits && quants % unit == 0 && scales % unit == 0;
        quants += piece.quants;
        scales += piece.scales;
    }
    return fits && quants == all.quants && scales == all.scales && quants <= gpu->caps.most_range &&
           scales <= gpu->caps.most_range && quants <= gpu->caps.most_allocation &&
           scales <= gpu->caps.most_allocation;
}

static pm_status count_parts(pm__gpu_weights *weights) {
    for (uint32_t i = 0; i < weights->def->n_weight; i++) {
        const pm__tensor *t = &weights->def->weights[i]->tensor;
        uint32_t most = 0;
        if (t->n_joined > 0) {
            weights->places[i].n_part = is_joined(weights, t);
            weights->n_part += weights->places[i].n_part;
            continue;
        }
        PM_TRY(rows_of_part(weights->device->gpu, weights->def->weights[i], &most));
        weights->places[i].n_part = pm__ceil_div(weights->def->weights[i]->tensor.n_row, most);
        weights->n_part += weights->places[i].n_part;
    }
    return PM_OK;
}

pm__part_spots *pm__weight_spots(const pm__gpu_weights *weights, uint32_t i) {
    return &weights->spots[weights->places[i].parts - weights->places[0].parts];
}

/* A piece lies in the planes of its whole, which come with the piece that is met first. */
static pm_status add_piece(pm__gpu_weights *weights, const pm__weight *weight) {
    const pm__tensor *t = &weight->tensor, *whole = t->whole;
    pm__part_spots *all = pm__weight_spots(weights, whole->index),
                   *spots = pm__weight_spots(weights, t->index);
    if (all->quants.bytes == 0)
        PM_TRY(add_part(weights, weights->def->weights[whole->index], whole->n_row, all));
    *spots = *all;
    for (uint32_t i = 0; whole->joined[i] != t; i++) {
        const pm__row_shape before = bytes_of(weights, whole->joined[i]);
        spots->quants.offset += before.quants;
        spots->scales.offset += before.scales;
    }
    const pm__row_shape piece = bytes_of(weights, t);
    spots->quants.bytes = piece.quants;
    spots->scales.bytes = piece.scales;
    return PM_OK;
}

static pm_status add_weight(pm__gpu_weights *weights, uint32_t i) {
    const pm__weight *weight = weights->def->weights[i];
    const pm__tensor *whole = weight->tensor.whole;
    if (weight->tensor.n_joined > 0)
        return PM_OK;
    if (whole != NULL && weights->places[whole->index].n_part == 1)
        return add_piece(weights, weight);
    pm__part_spots *spots = pm__weight_spots(weights, i);
    for (uint32_t p = 0; p < weights->places[i].n_part; p++)
        PM_TRY(add_part(weights, weight, weights->places[i].parts[p].n_row, &spots[p]));
    return PM_OK;
}

static void divide(const pm__gpu_weights *weights, uint32_t i, pm__weight_part *parts) {
    const uint32_t n_row = weights->def->weights[i]->tensor.n_row;
    const uint32_t n_part = weights->places[i].n_part;
    uint32_t most = n_row;
    if (n_part > 1)
        rows_of_part(weights->device->gpu, weights->def->weights[i], &most);
    for (uint32_t p = 0; p < n_part; p++) {
        const uint32_t left = n_row - p * most;
        parts[p] = (pm__weight_part){.first_row = p * most, .n_row = left < most ? left : most};
    }
    weights->places[i].parts = parts;
}

/* Fills places (without buffers), spots and needs. */
static pm_status lay_out(pm__gpu_weights *weights) {
    const pm__model_def *def = weights->def;
    weights->places = calloc(def->n_weight + 1, sizeof *weights->places);
    if (weights->places == NULL)
        return pm__fail_memory("gpu: weights", def->n_weight * sizeof *weights->places);
    PM_TRY(count_parts(weights));
    pm__weight_part *parts = calloc(weights->n_part + 1, sizeof *parts);
    weights->places[0].parts = parts;
    weights->spots = calloc(weights->n_part + 1, sizeof *weights->spots);
    if (parts == NULL || weights->spots == NULL)
        return pm__fail_memory("gpu: weights", weights->n_part * sizeof *parts);
    for (uint32_t i = 0; i < def->n_weight; i++) {
        divide(weights, i, parts);
        parts += weights->places[i].n_part;
    }
    for (uint32_t i = 0; i < def->n_weight; i++)
        PM_TRY(add_weight(weights, i));
    return PM_OK;
}

static VkDeviceSize slot_bytes(const pm__model_def *def) {
    VkDeviceSize most = LEAST_SLOT_BYTES;
    for (uint32_t i = 0; i < def->n_weight; i++) {
        const pm__row_shape shape = pm__weight_shape(def->weights[i]);
        if (def->weights[i]->tensor.n_joined > 0)
            continue;
        if (shape.quants + shape.scales > most)
            most = shape.quants + shape.scales;
    }
    return most;
}

pm_status pm__gpu_weights_place(pm__gpu_weights *weights, pm__room *room) {
    bool mapped = true;
    pm__needs_finish(&weights->staging);
    PM_TRY(pm__needs_place(&weights->needs, weights->device->gpu, room));
    for (uint32_t i = 0; i < weights->needs.n; i++)
        mapped = mapped && weights->needs.items[i].at.mapped;
    if (mapped)
        return PM_OK;
    pm__room meanwhile = *room;
    PM_TRY(pm__needs_add(&weights->staging, "staging", pm__uploader_bytes(slot_bytes(weights->def)),
                         PM__MEMORY_UPLOAD));
    return pm__needs_place(&weights->staging, weights->device->gpu, &meanwhile);
}

/* Where memory was full against expectation, a buffer is not where it was placed. */
static pm_status allocate(pm__gpu_weights *weights) {
    pm__gpu *gpu = weights->device->gpu;
    pm__room room, left;
    pm__room_init(&room, gpu);
    left = room;
    PM_TRY(pm__gpu_weights_place(weights, &left));
    PM_TRY(pm__needs_check(&weights->needs, &weights->staging, gpu, &room, "the model's weights"));
    weights->buffers = calloc(weights->needs.n + 1, sizeof *weights->buffers);
    if (weights->buffers == NULL)
        return pm__fail_memory("gpu: weights", weights->needs.n * sizeof *weights->buffers);
    PM_TRY(pm__needs_allocate(&weights->needs, gpu, weights->buffers));
    for (uint32_t i = 0; i < weights->needs.n; i++)
        weights->needs.items[i].at.heap = weights->buffers[i].heap;
    return PM_OK;
}

/* Drivers that run on the CPU give memory of the process, which nobody has touched yet. */
static void enlarge_pages(pm__gpu_weights *weights) {
    for (uint32_t i = 0; i < weights->needs.n; i++)
        if (weights->buffers[i].map != NULL && weights->device->gpu->caps.software)
            pm__system_large_pages(weights->buffers[i].map, weights->buffers[i].bytes);
}

static bool all_mapped(const pm__gpu_weights *weights) {
    for (uint32_t i = 0; i < weights->needs.n; i++)
        if (weights->buffers[i].map == NULL)
            return false;
    return true;
}

void pm__gpu_weights_point(pm__gpu_weights *weights) {
    pm__weight_part *part = weights->places[0].parts;
    for (uint32_t i = 0; i < weights->n_part; i++, part++) {
        part->quants = pm__spot_region(&weights->spots[i].quants, weights->buffers);
        part->scales = pm__spot_region(&weights->spots[i].scales, weights->buffers);
    }
}

pm_status pm__gpu_weights_load(pm__gpu_weights *weights, pm_progress_fn progress, void *user) {
    PM_TRY(allocate(weights));
    enlarge_pages(weights);
    pm__gpu_weights_point(weights);
    pm__uploader uploader;
    const VkDeviceSize slot = all_mapped(weights) ? 0 : slot_bytes(weights->def);
    pm_status status = pm__uploader_init(&uploader, &weights->device->queue, slot);
    if (status == PM_OK)
        status = pm__weights_stream(weights, &uploader, progress, user);
    pm__uploader_finish(&uploader);
    return status;
}

pm_status pm__gpu_weights_plan(pm__gpu_device *device, const pm__model_def *def,
                               pm__gpu_weights **out) {
    pm__gpu_weights *weights = calloc(1, sizeof *weights);
    if (weights == NULL)
        return pm__fail_memory("gpu: weights", sizeof *weights);
    weights->device = device;
    weights->def = def;
    const pm_status status = lay_out(weights);
    if (status != PM_OK) {
        pm__gpu_weights_destroy(weights);
        return status;
    }
    *out = weights;
    return PM_OK;
}

void pm__gpu_weights_destroy(pm__gpu_weights *weights) {
    if (weights == NULL)
        return;
    if (weights->buffers != NULL)
        for (uint32_t i = 0; i < weights->needs.n; i++)
            pm__buffer_finish(weights->device->gpu, &weights->buffers[i]);
    if (weights->places != NULL)
        free(weights->places[0].parts);
    free(weights->places);
    free(weights->spots);
    free(weights->buffers);
    pm__needs_finish(&weights->needs);
    pm__needs_finish(&weights->staging);
    free(weights);
}
