#include "weights.h"

#include "../base/checked.h"
#include "../base/system.h"
#include "../base/threads.h"
#include "upload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_SLOT_BYTES = 4 << 20, JOB_BYTES = 1 << 18, AHEAD_BYTES = 64 << 20 };

/* Where the planes of a part go, in words of needs until there are buffers. */
struct pm__part_spots {
    pm__spot quants, scales;
};

typedef struct row_shape {
    VkDeviceSize quants, scales; /* bytes of one packed row */
    VkDeviceSize table;          /* bytes before the rows of the scales plane of each part */
} row_shape;

static row_shape shape_of(const pm__weight *weight) {
    const pm__tensor *t = &weight->tensor;
    uint32_t n_table = 0;
    pm__type_table(t->type, &n_table);
    return (row_shape){
        .quants = 4 * (VkDeviceSize)pm__type_quant_words(t->type, t->n_col),
        .scales = 4 * (VkDeviceSize)pm__type_scale_words(t->type, t->n_col),
        .table = 4 * (VkDeviceSize)n_table,
    };
}

/* Rows of one part: as many as one binding can reach. */
static pm_status rows_of_part(const pm__gpu *gpu, const pm__weight *weight, uint32_t *n_row) {
    const row_shape shape = shape_of(weight);
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
                          struct pm__part_spots *spots) {
    const pm__gpu *gpu = weights->device->gpu;
    const row_shape shape = shape_of(weight);
    *spots = (struct pm__part_spots){0};
    PM_TRY(pm__needs_append(&weights->needs, gpu, "weights", shape.quants * n_row, &spots->quants));
    if (shape.scales == 0)
        return PM_OK;
    return pm__needs_append(&weights->needs, gpu, "weights", shape.table + shape.scales * n_row,
                            &spots->scales);
}

/* Bytes of all rows, without tables. */
static row_shape bytes_of(const pm__gpu_weights *weights, const pm__tensor *t) {
    row_shape all = shape_of(weights->def->weights[t->index]);
    all.quants *= t->n_row;
    all.scales *= t->n_row;
    return all;
}

/* Whether the planes of the pieces, one after the other, are those of the whole, in one binding, and
 * each piece begins where a binding can. */
static bool is_joined(const pm__gpu_weights *weights, const pm__tensor *whole) {
    const pm__gpu *gpu = weights->device->gpu;
    const VkDeviceSize unit = gpu->caps.offset_alignment;
    const row_shape all = bytes_of(weights, whole);
    VkDeviceSize quants = 0, scales = 0;
    bool fits = all.table == 0;
    for (uint32_t i = 0; i < whole->n_joined; i++) {
        const row_shape piece = bytes_of(weights, whole->joined[i]);
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

static struct pm__part_spots *spots_of(const pm__gpu_weights *weights, const pm__tensor *t) {
    return &weights->spots[weights->places[t->index].parts - weights->places[0].parts];
}

/* A piece lies in the planes of its whole, which come with the piece that is met first. */
static pm_status add_piece(pm__gpu_weights *weights, const pm__weight *weight) {
    const pm__tensor *t = &weight->tensor, *whole = t->whole;
    struct pm__part_spots *all = spots_of(weights, whole), *spots = spots_of(weights, t);
    if (all->quants.bytes == 0)
        PM_TRY(add_part(weights, weights->def->weights[whole->index], whole->n_row, all));
    *spots = *all;
    for (uint32_t i = 0; whole->joined[i] != t; i++) {
        const row_shape before = bytes_of(weights, whole->joined[i]);
        spots->quants.offset += before.quants;
        spots->scales.offset += before.scales;
    }
    const row_shape piece = bytes_of(weights, t);
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
    struct pm__part_spots *spots = spots_of(weights, &weight->tensor);
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
        const row_shape shape = shape_of(def->weights[i]);
        if (def->weights[i]->tensor.n_joined > 0)
            continue;
        if (shape.quants + shape.scales > most)
            most = shape.quants + shape.scales;
    }
    return most;
}

typedef struct part_stream {
    pm__uploader *uploader;
    const pm__weight *weight;
    const pm__weight_part *part;
    const struct pm__part_spots *spots;
    const pm__buffer *buffers;
    uint64_t file_row_bytes;
    row_shape shape;
} part_stream;

/* Rows on their way from the file to their places. */
typedef struct packing {
    const part_stream *stream;
    uint32_t first, n, n_job;
    uint32_t *quants, *scales; /* of the first one; scales NULL: none */
} packing;

static void pack_job(void *user, size_t job) {
    const packing *p = user;
    const part_stream *s = p->stream;
    const pm__tensor *t = &s->weight->tensor;
    const uint64_t begin = p->n * (uint64_t)job / p->n_job, end = p->n * (job + 1ull) / p->n_job;
    for (uint64_t i = begin; i < end; i++) {
        const uint64_t at = s->part->first_row + (uint64_t)p->first + i;
        pm__type_pack(t->type, pm__weight_row(s->weight, at, s->file_row_bytes), t->n_col,
                      p->quants + i * (s->shape.quants / 4),
                      p->scales != NULL ? p->scales + i * (s->shape.scales / 4) : NULL);
    }
}

/* One thread alone reads no fast disk at its speed. */
static void pack_rows(packing *p) {
    const uint64_t bytes = p->n * (p->stream->shape.quants + p->stream->shape.scales);
    const int n_thread = (int)p->stream->uploader->queue->gpu->n_thread;
    const uint64_t n_job = bytes / JOB_BYTES + 1;
    p->n_job = n_job < p->n ? (uint32_t)n_job : p->n;
    pm__parallel(p->n_job, n_thread, pack_job, p);
}

/* Packs rows [first, first + n) of a part into the places the uploader gives. */
static pm_status stream_rows(const part_stream *s, uint32_t first, uint32_t n) {
    packing p = {.stream = s, .first = first, .n = n};
    const pm__spot *to = &s->spots->quants;
    PM_TRY(pm__uploader_room(s->uploader, n * (s->shape.quants + s->shape.scales)));
    p.quants = pm__uploader_place(s->uploader, &s->buffers[to->need],
                                  to->offset + first * s->shape.quants, n * s->shape.quants);
    if (s->shape.scales > 0) {
        to = &s->spots->scales;
        p.scales = pm__uploader_place(s->uploader, &s->buffers[to->need],
                                      to->offset + s->shape.table + first * s->shape.scales,
                                      n * s->shape.scales);
    }
    pack_rows(&p);
    return PM_OK;
}

static pm_status stream_table(const part_stream *s) {
    uint32_t n = 0;
    const uint32_t *table = pm__type_table(s->weight->tensor.type, &n);
    const pm__spot *to = &s->spots->scales;
    if (n == 0)
        return PM_OK;
    PM_TRY(pm__uploader_room(s->uploader, s->shape.table));
    memcpy(pm__uploader_place(s->uploader, &s->buffers[to->need], to->offset, s->shape.table),
           table, s->shape.table);
    return PM_OK;
}

/* What is asked of the disk before it is packed, so that neither waits for the other. */
typedef struct reader {
    const pm__model_def *def;
    uint32_t next;          /* weight */
    uint64_t asked, packed; /* bytes of the file */
} reader;

static uint64_t file_bytes(const pm__weight *weight) {
    const pm__tensor *t = &weight->tensor;
    uint64_t row = 0;
    return t->n_joined == 0 && pm__type_row_bytes(t->type, t->n_col, &row) ? t->n_row * row : 0;
}

/* Before weight i is packed. */
static void read_ahead(reader *r, uint32_t i) {
    while (r->next < r->def->n_weight && r->asked - r->packed < AHEAD_BYTES) {
        const pm__weight *weight = r->def->weights[r->next++];
        const uint64_t bytes = file_bytes(weight);
        if (weight->data != NULL)
            pm__system_read_ahead(weight->data, bytes);
        r->asked += bytes;
    }
    r->packed += file_bytes(r->def->weights[i]);
}

static pm_status stream_part(const part_stream *s, VkDeviceSize slot) {
    PM_TRY(stream_table(s));
    const VkDeviceSize row = s->shape.quants + s->shape.scales;
    const VkDeviceSize most = slot / row;
    for (uint32_t first = 0; first < s->part->n_row;) {
        const uint32_t left = s->part->n_row - first;
        const uint32_t n = most < left ? (uint32_t)most : left;
        PM_TRY(stream_rows(s, first, n));
        first += n;
    }
    return PM_OK;
}

/* What is read of the file for a weight: of a whole its pieces are. */
static uint64_t loaded_bytes(const pm__gpu_weights *weights, uint32_t i) {
    const pm__tensor *t = &weights->def->weights[i]->tensor;
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < weights->places[i].n_part && t->n_joined == 0; p++)
        bytes += spots_of(weights, t)[p].quants.bytes + spots_of(weights, t)[p].scales.bytes;
    return bytes;
}

static pm_status stream_all(pm__gpu_weights *weights, pm__uploader *uploader,
                            pm_progress_fn progress, void *user) {
    const pm__model_def *def = weights->def;
    const VkDeviceSize slot = slot_bytes(def);
    reader disk = {.def = def};
    uint64_t total = 0, done = 0;
    for (uint32_t i = 0; i < def->n_weight; i++)
        total += loaded_bytes(weights, i);
    for (uint32_t i = 0; i < def->n_weight; i++) {
        const struct pm__part_spots *spots = spots_of(weights, &def->weights[i]->tensor);
        read_ahead(&disk, i);
        if (def->weights[i]->tensor.n_joined > 0)
            continue;
        part_stream stream = {
            .uploader = uploader,
            .weight = def->weights[i],
            .buffers = weights->buffers,
            .shape = shape_of(def->weights[i]),
        };
        if (!pm__type_row_bytes(stream.weight->tensor.type, stream.weight->tensor.n_col,
                                &stream.file_row_bytes))
            return pm__fail(PM_BAD_FILE, "gpu: tensor '%s': rows of %" PRIu32 " do not fill blocks",
                            stream.weight->tensor.name, stream.weight->tensor.n_col);
        for (uint32_t p = 0; p < weights->places[i].n_part; p++, spots++) {
            stream.part = &weights->places[i].parts[p];
            stream.spots = spots;
            PM_TRY(stream_part(&stream, slot));
            done += spots->quants.bytes + spots->scales.bytes;
            if (progress != NULL && !progress(user, "load weights", done, total))
                return pm__fail(PM_CANCELLED, "gpu: loading the weights was interrupted");
        }
    }
    return pm__uploader_flush(uploader);
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
    pm__gpu_weights_point(weights);
    pm__uploader uploader;
    const VkDeviceSize slot = all_mapped(weights) ? 0 : slot_bytes(weights->def);
    pm_status status = pm__uploader_init(&uploader, &weights->device->queue, slot);
    if (status == PM_OK)
        status = stream_all(weights, &uploader, progress, user);
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
