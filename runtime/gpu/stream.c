#include "stream.h"

#include "../base/checked.h"
#include "../base/system.h"
#include "../base/threads.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

enum {
    PIECE_BYTES = 256 << 10, /* what a thread packs at a time, and asks of the disk */
    MOST_PIECES = 64,        /* until somebody is asked whether to go on */
    AHEAD_BYTES = 64 << 20   /* of the file, asked for and not yet packed */
};

/* What is asked of the disk before it is packed, so that neither waits for the other. Whoever packs
 * asks, too: it takes the system time to find room for what comes. */
typedef struct reader {
    const pm__model_def *def;
    pthread_mutex_t lock;
    uint32_t weight; /* that is asked for next, */
    uint64_t offset; /* from here */
    uint64_t asked, packed;
} reader;

/* Rows that one thread packs. */
typedef struct piece {
    const pm__weight *weight;
    uint64_t first;
    uint32_t n;
    uint32_t *quants, *scales; /* of the first one; scales NULL: none */
} piece;

typedef struct stream {
    const pm__gpu_weights *weights;
    pm__uploader *uploader;
    reader disk;
    piece pieces[MOST_PIECES]; /* placed, not yet packed */
    uint32_t n_piece;
    uint64_t placed, total; /* bytes of planes */
    pm_progress_fn progress;
    void *user;
} stream;

/* ---- the disk -------------------------------------------------------------------------------- */

static uint64_t row_bytes_of(const pm__weight *weight) {
    uint64_t bytes = 0;
    pm__type_row_bytes(weight->tensor.type, weight->tensor.n_col, &bytes);
    return bytes;
}

/* What is read for a weight: for a whole its pieces are. */
static uint64_t file_bytes(const pm__weight *weight) {
    return weight->tensor.n_joined == 0 ? weight->tensor.n_row * row_bytes_of(weight) : 0;
}

/* The next bytes to be asked for, NULL where they are no part of a file; false if enough are. */
static bool next_span(reader *r, const uint8_t **data, uint64_t *n) {
    while (r->weight < r->def->n_weight && r->asked < r->packed + AHEAD_BYTES) {
        const pm__weight *weight = r->def->weights[r->weight];
        *n = pm__least_u64(file_bytes(weight) - r->offset, PIECE_BYTES);
        *data = weight->data != NULL ? weight->data + r->offset : NULL;
        r->asked += *n;
        r->offset += *n;
        if (*n > 0)
            return true;
        r->weight++;
        r->offset = 0;
    }
    return false;
}

/* Before n bytes are packed. */
static void read_ahead(reader *r, uint64_t n_packed) {
    bool more = true;
    while (more) {
        const uint8_t *data = NULL;
        uint64_t n = 0;
        pthread_mutex_lock(&r->lock);
        more = next_span(r, &data, &n);
        r->packed += more ? 0 : n_packed;
        pthread_mutex_unlock(&r->lock);
        if (data != NULL)
            pm__system_read_ahead(data, n);
    }
}

/* ---- packing --------------------------------------------------------------------------------- */

static void pack_piece(void *user, size_t i) {
    stream *s = user;
    const piece *p = &s->pieces[i];
    const pm__tensor *t = &p->weight->tensor;
    const pm__row_shape shape = pm__weight_shape(p->weight);
    const uint64_t row_bytes = row_bytes_of(p->weight);
    read_ahead(&s->disk, p->n * row_bytes);
    for (uint64_t r = 0; r < p->n; r++)
        pm__type_pack(t->type, pm__weight_row(p->weight, p->first + r, row_bytes), t->n_col,
                      p->quants + r * (shape.quants / 4),
                      p->scales != NULL ? p->scales + r * (shape.scales / 4) : NULL);
}

/* One thread alone reads no fast disk at its speed. */
static pm_status pack(stream *s) {
    pm__parallel(s->n_piece, (int)s->weights->device->gpu->n_thread, pack_piece, s);
    s->n_piece = 0;
    if (s->progress != NULL && !s->progress(s->user, "load weights", s->placed, s->total))
        return pm__fail(PM_CANCELLED, "gpu: loading the weights was interrupted");
    return PM_OK;
}

/* ---- places ---------------------------------------------------------------------------------- */

/* For more, which may send off what was placed before. */
static pm_status make_room(stream *s, VkDeviceSize bytes) {
    if (s->n_piece == MOST_PIECES || !pm__uploader_fits(s->uploader, bytes))
        PM_TRY(pack(s));
    s->placed += bytes;
    return pm__uploader_room(s->uploader, bytes);
}

static uint32_t *place(stream *s, const pm__spot *to, VkDeviceSize offset, VkDeviceSize bytes) {
    return pm__uploader_place(s->uploader, &s->weights->buffers[to->need], to->offset + offset,
                              bytes);
}

static pm_status place_table(stream *s, const pm__weight *weight, const pm__part_spots *spots) {
    uint32_t n = 0;
    const uint32_t *table = pm__type_table(weight->tensor.type, &n);
    if (n == 0)
        return PM_OK;
    PM_TRY(make_room(s, n * sizeof *table));
    memcpy(place(s, &spots->scales, 0, n * sizeof *table), table, n * sizeof *table);
    return PM_OK;
}

static pm_status place_part(stream *s, const pm__weight *weight, const pm__weight_part *part,
                            const pm__part_spots *spots) {
    const pm__row_shape shape = pm__weight_shape(weight);
    const VkDeviceSize row = shape.quants + shape.scales;
    const uint32_t most = row < PIECE_BYTES ? (uint32_t)(PIECE_BYTES / row) : 1;
    PM_TRY(place_table(s, weight, spots));
    for (uint32_t first = 0, n; first < part->n_row; first += n) {
        n = pm__least_u32(most, part->n_row - first);
        PM_TRY(make_room(s, n * row));
        piece *p = &s->pieces[s->n_piece++];
        *p = (piece){.weight = weight, .first = part->first_row + (uint64_t)first, .n = n};
        p->quants = place(s, &spots->quants, first * shape.quants, n * shape.quants);
        if (shape.scales > 0)
            p->scales =
                place(s, &spots->scales, shape.table + first * shape.scales, n * shape.scales);
    }
    return PM_OK;
}

static pm_status place_weight(stream *s, uint32_t i) {
    const pm__weight *weight = s->weights->def->weights[i];
    const pm__weight_place *at = &s->weights->places[i];
    const pm__tensor *t = &weight->tensor;
    uint64_t row_bytes;
    if (t->n_joined > 0)
        return PM_OK;
    if (!pm__type_row_bytes(t->type, t->n_col, &row_bytes))
        return pm__fail(PM_BAD_FILE, "gpu: tensor '%s': rows of %" PRIu32 " do not fill blocks",
                        t->name, t->n_col);
    for (uint32_t p = 0; p < at->n_part; p++)
        PM_TRY(place_part(s, weight, &at->parts[p], &pm__weight_spots(s->weights, i)[p]));
    return PM_OK;
}

/* Bytes of planes that are placed for a weight. */
static uint64_t placed_bytes(const pm__gpu_weights *weights, uint32_t i) {
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < weights->places[i].n_part; p++)
        bytes += pm__weight_spots(weights, i)[p].quants.bytes +
                 pm__weight_spots(weights, i)[p].scales.bytes;
    return weights->def->weights[i]->tensor.n_joined == 0 ? bytes : 0;
}

static pm_status stream_all(stream *s) {
    const pm__model_def *def = s->weights->def;
    for (uint32_t i = 0; i < def->n_weight; i++)
        s->total += placed_bytes(s->weights, i);
    for (uint32_t i = 0; i < def->n_weight; i++)
        PM_TRY(place_weight(s, i));
    PM_TRY(pack(s));
    return pm__uploader_flush(s->uploader);
}

pm_status pm__weights_stream(const pm__gpu_weights *weights, pm__uploader *uploader,
                             pm_progress_fn progress, void *user) {
    stream s = {
        .weights = weights,
        .uploader = uploader,
        .disk = {.def = weights->def, .lock = PTHREAD_MUTEX_INITIALIZER},
        .progress = progress,
        .user = user,
    };
    return stream_all(&s);
}
