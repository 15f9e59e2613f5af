#include "internal.h"

#include "../base/checked.h"
#include "../base/grow.h"
#include "../base/system.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes by pm_plan_part. */
typedef struct parts {
    uint64_t bytes[PM_PLAN_SESSION + 1];
} parts;

/* pm_plan_free gets the first member. */
typedef struct report {
    pm_plan plan;
    pm_plan_buffer *buffers;
    size_t buffer_capacity;
    pm_plan_heap *heaps;
    parts *heap_parts; /* [n_heap] */
    size_t heap_capacity, part_capacity;
    pm__arena arena; /* names */
    uint32_t spare;
    char why[384];
} report;

/* ---- what the backend says ------------------------------------------------------------------- */

static pm_status keep_name(report *r, const char *name, const char **out) {
    *out = pm__arena_string(&r->arena, name, strlen(name));
    return *out != NULL ? PM_OK : PM_OUT_OF_MEMORY;
}

/* Place of the heap of that name, n_heap if there is none yet. */
static size_t find_heap(const report *r, const char *name) {
    size_t i = 0;
    while (i < r->plan.n_heap && strcmp(r->heaps[i].name, name) != 0)
        i++;
    return i;
}

static pm_status add_heap(void *user, const pm_plan_heap *heap) {
    report *r = user;
    PM_TRY(pm__grow("plan", &r->heaps, &r->heap_capacity, r->plan.n_heap, sizeof *r->heaps));
    PM_TRY(pm__grow("plan", &r->heap_parts, &r->part_capacity, r->plan.n_heap, sizeof(parts)));
    pm_plan_heap *kept = &r->heaps[r->plan.n_heap];
    *kept = *heap;
    PM_TRY(keep_name(r, heap->name, &kept->name));
    r->heap_parts[r->plan.n_heap++] = (parts){0};
    return PM_OK;
}

static pm_status add_buffer(void *user, const pm_plan_buffer *buffer) {
    report *r = user;
    const size_t heap = find_heap(r, buffer->heap);
    assert(heap < r->plan.n_heap);
    PM_TRY(
        pm__grow("plan", &r->buffers, &r->buffer_capacity, r->plan.n_buffer, sizeof *r->buffers));
    pm_plan_buffer *kept = &r->buffers[r->plan.n_buffer];
    *kept = *buffer;
    kept->heap = r->heaps[heap].name;
    PM_TRY(keep_name(r, buffer->name, &kept->name));
    r->plan.n_buffer++;
    uint64_t *bytes = &r->heap_parts[heap].bytes[buffer->part];
    *bytes = pm__add_most_u64(*bytes, buffer->bytes);
    return PM_OK;
}

static void set_limit(void *user, uint64_t bytes) {
    ((report *)user)->plan.limit = bytes;
}

/* ---- what follows ---------------------------------------------------------------------------- */

static uint64_t most_at_once(const parts *p) {
    const uint64_t loading = p->bytes[PM_PLAN_LOADING], session = p->bytes[PM_PLAN_SESSION];
    return pm__add_most_u64(p->bytes[PM_PLAN_WEIGHTS], loading > session ? loading : session);
}

/* heap  NULL: the limit of all of them */
static void say_shortage(report *r, const char *heap, const parts *p, uint64_t left) {
    r->plan.fits = false;
    if (r->why[0] != '\0')
        return;
    const uint64_t needed = most_at_once(p);
    snprintf(r->why, sizeof r->why,
             "plan: %s: %" PRIu64 " bytes are needed (%.1f MiB: weights %.1f, session %.1f) and "
             "%" PRIu64 " are left (%.1f MiB); try %sa smaller -b, narrower caches (-ctk, -ctv), a "
             "smaller or more quantised "
             "model, or %s",
             heap != NULL ? heap : "--max-vram", needed, pm__mib(needed),
             pm__mib(p->bytes[PM_PLAN_WEIGHTS]), pm__mib(p->bytes[PM_PLAN_SESSION]), left,
             pm__mib(left), r->spare != 0 ? "" : "-c auto, a smaller -c, ",
             heap == NULL                                ? "a larger --max-vram"
             : pm__system_addresses_free() != UINT64_MAX ? "a larger ulimit -v"
                                                         : "another --device");
}

static void judge(report *r) {
    parts limited = {0};
    r->plan.fits = true;
    for (size_t i = 0; i < r->plan.n_heap; i++) {
        pm_plan_heap *heap = &r->heaps[i];
        const parts *p = &r->heap_parts[i];
        heap->needed = most_at_once(p);
        for (size_t k = 0; heap->limited && k < PM__COUNT(p->bytes); k++)
            limited.bytes[k] = pm__add_most_u64(limited.bytes[k], p->bytes[k]);
        const uint64_t usable = pm__plan_usable(heap->free, r->spare);
        if (heap->needed > usable)
            say_shortage(r, heap->name, p, usable);
    }
    r->plan.needed = most_at_once(&limited);
    if (r->plan.needed > r->plan.limit)
        say_shortage(r, NULL, &limited, r->plan.limit);
}

/* The session's own tables are in system memory, which is a heap of the CPU path already. */
static pm_status add_tables(report *r, const pm__limits *limits, const pm__graph *graph) {
    const pm_plan_buffer tables = {.name = "tables",
                                   .heap = pm__system_heap,
                                   .bytes = pm__graph_bytes(graph) +
                                            pm__session_table_bytes(limits, r->plan.n_ctx, graph),
                                   .part = PM_PLAN_SESSION};
    if (find_heap(r, pm__system_heap) == r->plan.n_heap) {
        const pm_plan_heap heap = {
            .name = pm__system_heap,
            .free = pm__least_u64(pm__system_memory_free(), pm__system_addresses_free())};
        PM_TRY(add_heap(r, &heap));
    }
    return add_buffer(r, &tables);
}

static pm_status fill(report *r, const pm_model *model, const pm_session_desc *desc) {
    const pm__plan_sink sink = {
        .buffer = add_buffer, .heap = add_heap, .limit = set_limit, .user = r};
    PM_TRY(pm__device_restore(model->device));
    const pm__device_handle *handle = &model->device->handle;
    pm__limits limits;
    pm__graph graph;
    PM_TRY(pm__session_limits(desc, model->def.n_ctx_train, &limits, &r->plan.n_ctx));
    PM_TRY(pm__model_graph(model, desc, &graph));
    const pm__plan_desc plan = {.def = &model->def,
                                .weights = model->weights,
                                .graph = &graph,
                                .limits = &limits,
                                .spare = r->spare};
    pm_status status = handle->backend->plan(handle->device, &plan, &sink);
    if (status == PM_OK)
        status = add_tables(r, &limits, &graph);
    pm__graph_finish(&graph);
    PM_TRY(status);
    r->plan.buffers = r->buffers;
    r->plan.heaps = r->heaps;
    r->plan.why = r->why;
    judge(r);
    return PM_OK;
}

static pm_status create(const pm_model *model, const pm_session_desc *desc, uint32_t spare,
                        report **out) {
    report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return pm__fail_memory("plan", sizeof *r);
    r->plan.limit = UINT64_MAX;
    r->spare = spare;
    const pm_status status = fill(r, model, desc);
    if (status != PM_OK) {
        pm_plan_free(&r->plan);
        return status;
    }
    *out = r;
    return PM_OK;
}

void pm_plan_free(pm_plan *plan) {
    if (plan == NULL)
        return;
    report *r = (report *)plan;
    free(r->buffers);
    free(r->heaps);
    free(r->heap_parts);
    pm__arena_finish(&r->arena);
    free(r);
}

/* ---- the largest context --------------------------------------------------------------------- */

/* Whether n_ctx positions fit; *fits is false too where no buffer can be as large. */
static pm_status try_ctx(const pm_model *model, const pm_session_desc *desc, uint32_t n_ctx,
                         bool *fits) {
    pm_session_desc tried = *desc;
    tried.n_ctx = n_ctx;
    report *r = NULL;
    *fits = false;
    const pm_status status = create(model, &tried, PM_AUTO_SPARE, &r);
    if (status == PM_OUT_OF_MEMORY)
        return PM_OK;
    PM_TRY(status);
    *fits = r->plan.fits;
    if (!r->plan.fits)
        pm__fail(PM_OUT_OF_MEMORY, "%s", r->why);
    pm_plan_free(&r->plan);
    return PM_OK;
}

/* By halving, so that where a larger context fits by chance of its buffers' sizes, a smaller one
 * may be found. */
static pm_status find_ctx(const pm_model *model, const pm_session_desc *desc, uint32_t *n_ctx) {
    const uint32_t trained = model->def.n_ctx_train;
    const uint32_t most = trained != 0 ? pm__least_u32(trained, PM__MOST_CTX) : PM__MOST_CTX;
    bool fits;
    PM_TRY(try_ctx(model, desc, most, &fits));
    uint32_t low = 0, high = pm__ceil_div(most, PM_PAGE); /* pages: fit, do not fit */
    while (!fits && high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        bool middle_fits;
        PM_TRY(try_ctx(model, desc, middle * PM_PAGE, &middle_fits));
        *(middle_fits ? &low : &high) = middle;
    }
    *n_ctx = fits ? most : low * PM_PAGE;
    return *n_ctx != 0 ? PM_OK : PM_OUT_OF_MEMORY; /* the sentence is that of the smallest */
}

pm_status pm__plan_resolve(const pm_model *model, const pm_session_desc *desc,
                           pm_session_desc *out) {
    *out = desc != NULL ? *desc : (pm_session_desc){0};
    return out->n_ctx == PM_CTX_AUTO ? find_ctx(model, out, &out->n_ctx) : PM_OK;
}

pm_status pm_session_plan(pm_model *model, const pm_session_desc *desc, pm_plan **out) {
    if (model->device == NULL || model->def.arch == NULL)
        return pm__fail(PM_ARGUMENT, "plan: the model was opened for its vocabulary only");
    pm_session_desc resolved;
    report *r = NULL;
    PM_TRY(pm__plan_resolve(model, desc, &resolved));
    PM_TRY(create(model, &resolved, 0, &r));
    pm__session_warn(r->plan.n_ctx, model->def.n_ctx_train);
    *out = &r->plan;
    return PM_OK;
}

pm_status pm__plan_check(const pm_model *model, const pm_session_desc *desc, pm_session_desc *out) {
    report *r = NULL;
    PM_TRY(pm__plan_resolve(model, desc, out));
    PM_TRY(create(model, out, 0, &r));
    const pm_status status = r->plan.fits ? PM_OK : pm__fail(PM_OUT_OF_MEMORY, "%s", r->why);
    pm_plan_free(&r->plan);
    return status;
}
