/* cpu.c: the reference executor as a backend. Everything is reserved in context_create; a step runs
 * inside submit. */
#include "cpu.h"

#include "../base/checked.h"
#include "../base/system.h"
#include "../base/threads.h"
#include "../graph/gather.h"
#include "cpu_ops.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARENA_ALIGNMENT = 64 };

/* ---- device ---------------------------------------------------------------------------------- */

typedef struct cpu_device {
    pm_device_info info;
    int n_thread;
    uint64_t most_bytes; /* of weights and contexts together; 0: no limit */
    uint64_t taken;      /* by contexts */
    pm__cpu_watch_fn watch;
    void *watch_user;
    char name[128], driver[96];
} cpu_device;

static cpu_device listed;
static pthread_once_t listed_once = PTHREAD_ONCE_INIT;

static void describe(cpu_device *device, uint32_t n_thread) {
    device->n_thread = n_thread > 0 && n_thread < 4096 ? (int)n_thread : pm__thread_count();
    if (!pm__system_read("/proc/cpuinfo", "model name", device->name, sizeof device->name))
        snprintf(device->name, sizeof device->name, "CPU");
    snprintf(device->driver, sizeof device->driver, "reference executor, %d thread%s, OpenMP",
             device->n_thread, device->n_thread == 1 ? "" : "s");
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    device->info = (pm_device_info){
        .name = device->name,
        .kind = "cpu",
        .driver = device->driver,
        .api = "",
        .memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0,
        .usable = true,
        .why = "the reference executor needs no driver",
    };
}

static void describe_listed(void) {
    describe(&listed, 0);
}

const pm_device_info *pm__cpu_info(void) {
    pthread_once(&listed_once, describe_listed);
    return &listed.info;
}

static void device_close(void *device) {
    free(device);
}

/* ---- weights --------------------------------------------------------------------------------- */

typedef struct cpu_weights {
    cpu_device *device;
    const pm__model_def *def;
    pm__gathered gathered; /* weights whose rows lie apart */
} cpu_weights;

static uint64_t weight_bytes(const pm__model_def *def) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < def->n_weight; i++) {
        uint64_t row = 0;
        if (def->weights[i]->tensor.n_joined > 0)
            continue;
        pm__type_row_bytes(def->weights[i]->tensor.type, def->weights[i]->tensor.n_col, &row);
        all += row * def->weights[i]->tensor.n_row;
    }
    return all;
}

static void weights_destroy(void *weights) {
    cpu_weights *w = weights;
    if (w != NULL)
        pm__gathered_finish(&w->gathered);
    free(w);
}

static pm_status weights_create(void *device, const pm__model_def *def, pm_progress_fn progress,
                                void *user, void **out) {
    cpu_weights *weights = calloc(1, sizeof *weights);
    if (weights == NULL)
        return pm__fail_memory("cpu weights", sizeof *weights);
    *weights = (cpu_weights){.device = device, .def = def};
    /* They are read where the file is mapped, if they can be. */
    pm_status status = pm__gather(&weights->gathered, def);
    if (status == PM_OK && progress != NULL &&
        !progress(user, "weights", weight_bytes(def), weight_bytes(def)))
        status = pm__fail(PM_CANCELLED, "cpu: loading the weights was interrupted");
    if (status == PM_OK)
        *out = weights;
    else
        weights_destroy(weights);
    return status;
}

/* ---- context --------------------------------------------------------------------------------- */

typedef struct cpu_context {
    const cpu_weights *weights;
    const pm__graph *g;
    pm__limits limits;
    pm__plan plan;
    uint8_t *arena;
    uint8_t **caches; /* [n_cache] */
    float **states;   /* [n_state] */
    void *step[PM__STEP_PART_COUNT];
    pm__cpu_args *args; /* [n_node] */
    uint32_t n_row, n_out;
    bool sample, encode;
    bool loaded; /* rows of the next step are there */
    uint32_t n_submitted, n_collected;
    uint64_t taken; /* of the device's limit */
} cpu_context;

typedef struct sizes {
    uint64_t arena, caches, states, step, tables;
} sizes;

static sizes sizes_of(const pm__graph *g, const pm__limits *limits, const pm__plan *plan) {
    sizes all = {.arena = plan->arena_bytes};
    for (uint32_t i = 0; i < g->n_cache; i++)
        all.caches = pm__add_most_u64(all.caches, pm__limits_cache_bytes(limits, g->caches[i]));
    for (uint32_t i = 0; i < g->n_state; i++)
        all.states = pm__add_most_u64(all.states, pm__limits_state_bytes(limits, g->states[i]));
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        all.step = pm__add_most_u64(all.step, pm__limits_step_bytes(limits, (pm__step_part)part));
    all.tables = sizeof(cpu_context) + g->n_node * sizeof(pm__cpu_args) +
                 (g->n_cache + g->n_state) * sizeof(float *) + pm__plan_bytes(g);
    return all;
}

static uint64_t sum_of(const sizes *all) {
    return pm__add_most_u64(
        pm__add_most_u64(all->arena, all->caches),
        pm__add_most_u64(all->states, pm__add_most_u64(all->step, all->tables)));
}

/* What is free to a model and its contexts. The file is mapped already, so of the address space it
 * takes no more. */
static uint64_t free_bytes(const cpu_device *cpu, uint64_t mapped) {
    uint64_t memory = pm__system_memory_free();
    if (memory == UINT64_MAX)
        memory = cpu->info.memory_bytes;
    return pm__least_u64(memory, pm__add_most_u64(pm__system_addresses_free(), mapped));
}

static uint64_t limit_left(const cpu_device *cpu) {
    return cpu->most_bytes == 0 ? UINT64_MAX
                                : cpu->most_bytes - pm__least_u64(cpu->most_bytes, cpu->taken);
}

static pm_status reserve(void **out, uint64_t bytes, const char *what) {
    *out = bytes > 0 && bytes <= SIZE_MAX ? calloc(1, (size_t)bytes) : NULL;
    return *out != NULL || bytes == 0 ? PM_OK : pm__fail_memory(what, (size_t)bytes);
}

/* The system promises more than it has, so what is really free is asked for first. */
static pm_status check_fit(cpu_context *c) {
    const sizes all = sizes_of(c->g, &c->limits, &c->plan);
    const cpu_device *cpu = c->weights->device;
    const uint64_t mapped = weight_bytes(c->weights->def);
    const uint64_t limit = limit_left(cpu);
    const uint64_t available =
        pm__least_u64(free_bytes(cpu, 0), limit - pm__least_u64(limit, mapped));
    const uint64_t needed = sum_of(&all);
    if (needed > available)
        return pm__fail(PM_OUT_OF_MEMORY,
                        "cpu: the context needs %" PRIu64 " bytes (caches and states %" PRIu64
                        ", activations %" PRIu64 ") and %" PRIu64
                        " are free%s; try a smaller context (-c) or batch (-b)",
                        needed, pm__add_most_u64(all.caches, all.states), all.arena, available,
                        cpu->most_bytes != 0 ? " under the limit (--max-vram)" : "");
    c->taken = needed;
    c->weights->device->taken += needed;
    return PM_OK;
}

static pm_status reserve_all(cpu_context *c) {
    const pm__graph *g = c->g;
    PM_TRY(pm__plan_init(&c->plan, g, c->limits.n_batch, c->limits.n_out, ARENA_ALIGNMENT));
    PM_TRY(check_fit(c));
    PM_TRY(reserve((void **)&c->arena, c->plan.arena_bytes, "cpu activations"));
    PM_TRY(reserve((void **)&c->args, (uint64_t)g->n_node * sizeof c->args[0], "cpu nodes"));
    PM_TRY(reserve((void **)&c->caches, (uint64_t)g->n_cache * sizeof c->caches[0], "cpu caches"));
    for (uint32_t i = 0; i < g->n_cache; i++)
        PM_TRY(reserve((void **)&c->caches[i], pm__limits_cache_bytes(&c->limits, g->caches[i]),
                       "cpu cache"));
    PM_TRY(reserve((void **)&c->states, (uint64_t)g->n_state * sizeof c->states[0], "cpu states"));
    for (uint32_t i = 0; i < g->n_state; i++)
        PM_TRY(reserve((void **)&c->states[i], pm__limits_state_bytes(&c->limits, g->states[i]),
                       "cpu state"));
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        PM_TRY(reserve(&c->step[part], pm__limits_step_bytes(&c->limits, (pm__step_part)part),
                       "cpu step"));
    return PM_OK;
}

static pm_status report(const pm__plan_sink *sink, const char *name, uint64_t bytes,
                        pm_plan_part part) {
    const pm_plan_buffer buffer = {
        .name = name, .heap = pm__system_heap, .bytes = bytes, .part = part};
    return sink->buffer(sink->user, &buffer);
}

static pm_status plan(void *device, const pm__plan_desc *desc, const pm__plan_sink *sink) {
    const cpu_device *cpu = device;
    const uint64_t mapped = weight_bytes(desc->def);
    pm__plan arena;
    PM_TRY(pm__plan_init(&arena, desc->graph, desc->limits->n_batch, desc->limits->n_out,
                         ARENA_ALIGNMENT));
    const sizes all = sizes_of(desc->graph, desc->limits, &arena);
    pm__plan_finish(&arena);
    const pm_plan_heap heap = {
        .name = pm__system_heap, .free = free_bytes(cpu, mapped), .limited = true};
    PM_TRY(sink->heap(sink->user, &heap));
    if (cpu->most_bytes != 0)
        sink->limit(sink->user, limit_left(cpu));
    const uint64_t gathered = pm__gather_bytes(desc->def);
    PM_TRY(report(sink, "weights (mapped file)", mapped - gathered, PM_PLAN_WEIGHTS));
    if (gathered > 0)
        PM_TRY(report(sink, "weights (gathered rows)", gathered, PM_PLAN_WEIGHTS));
    PM_TRY(report(sink, "activations", all.arena, PM_PLAN_SESSION));
    if (desc->graph->n_cache > 0)
        PM_TRY(report(sink, "cache", all.caches, PM_PLAN_SESSION));
    if (desc->graph->n_state > 0)
        PM_TRY(report(sink, "state", all.states, PM_PLAN_SESSION));
    PM_TRY(report(sink, "step", all.step, PM_PLAN_SESSION));
    return report(sink, "nodes", all.tables, PM_PLAN_SESSION);
}

static void *base_of(const cpu_context *c, const pm__tensor *t) {
    if (t == NULL)
        return NULL;
    switch (t->kind) {
    case PM__WEIGHT:
        return (void *)(uintptr_t)pm__gathered_rows(&c->weights->gathered, c->weights->def,
                                                    t->index);
    case PM__ACTIVATION:
        return c->arena + c->plan.offsets[t->index];
    case PM__CACHE:
        return c->caches[t->index];
    case PM__STATE:
        return c->states[t->index];
    case PM__STEP:
        break;
    }
    return c->step[t->index];
}

static void context_destroy(void *context) {
    cpu_context *c = context;
    if (c == NULL)
        return;
    for (uint32_t i = 0; c->caches != NULL && i < c->g->n_cache; i++)
        free(c->caches[i]);
    for (uint32_t i = 0; c->states != NULL && i < c->g->n_state; i++)
        free(c->states[i]);
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        free(c->step[part]);
    free(c->caches);
    free(c->states);
    free(c->args);
    free(c->arena);
    c->weights->device->taken -= c->taken;
    pm__plan_finish(&c->plan);
    free(c);
}

static pm_status context_create(void *weights, const pm__graph *g, const pm__limits *limits,
                                void **out) {
    cpu_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return pm__fail_memory("cpu context", sizeof *c);
    *c = (cpu_context){.weights = weights, .g = g, .limits = *limits};
    const pm_status status = reserve_all(c);
    if (status != PM_OK) {
        context_destroy(c);
        return status;
    }
    for (uint32_t i = 0; i < g->n_node; i++) {
        for (uint32_t k = 0; k < PM__MOST_INPUTS; k++)
            c->args[i].in[k] = base_of(c, g->nodes[i].in[k]);
        c->args[i].out = base_of(c, g->nodes[i].out);
        c->args[i].limits = &c->limits;
    }
    uint32_t *pages = c->step[PM__STEP_PAGES];
    for (uint32_t i = 0; i < pm__limits_pages(limits); i++)
        pages[i] = PM_NONE;
    pm__cpu_threads(c->weights->device->n_thread);
    *out = c;
    return PM_OK;
}

static void context_get_info(const void *context, pm__context_info *out) {
    const cpu_context *c = context;
    /* Steps run on the caller's thread, so running ahead would only delay the first token. */
    *out = (pm__context_info){.most_rows = c->limits.n_batch, .most_ahead = 1};
}

/* ---- between steps --------------------------------------------------------------------------- */

static pm_status need_idle(const cpu_context *c, const char *what) {
    const uint32_t n = c->n_submitted - c->n_collected;
    return n == 0 ? PM_OK
                  : pm__fail(PM_ARGUMENT, "cpu: %s while %u steps are not collected", what, n);
}

static pm_status set_sampler(void *context, uint32_t seq, const struct pm_step_sampler *sampler) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "set_sampler"));
    if (seq >= c->limits.n_seq)
        return pm__fail(PM_ARGUMENT, "cpu: sequence %u of %u", seq, c->limits.n_seq);
    ((struct pm_step_sampler *)c->step[PM__STEP_SAMPLERS])[seq] = *sampler;
    return PM_OK;
}

static pm_status set_pages(void *context, uint32_t seq, uint32_t first, uint32_t n,
                           const uint32_t *pages) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "set_pages"));
    const uint32_t stride = pm__ceil_div(c->limits.n_ctx, PM_PAGE);
    if (seq >= c->limits.n_seq || first > stride || n > stride - first)
        return pm__fail(PM_ARGUMENT, "cpu: pages %u + %u of sequence %u, there are %u of %u", first,
                        n, seq, stride, c->limits.n_seq);
    memcpy((uint32_t *)c->step[PM__STEP_PAGES] + (size_t)seq * stride + first, pages,
           n * sizeof pages[0]);
    return PM_OK;
}

static pm_status copy_page(void *context, uint32_t from, uint32_t to) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "copy_page"));
    const uint32_t n_page = pm__limits_pages(&c->limits);
    if (from >= n_page || to >= n_page)
        return pm__fail(PM_ARGUMENT, "cpu: page %u to %u of %u", from, to, n_page);
    for (uint32_t i = 0; i < c->g->n_cache && from != to; i++) {
        const pm__cache_layout at = pm__limits_cache_layout(&c->limits, c->g->caches[i]);
        const size_t quants = PM_PAGE * (size_t)at.quants_row;
        const size_t scales = PM_PAGE * (size_t)at.scales_row;
        uint8_t *second = c->caches[i] + at.scales;
        memcpy(c->caches[i] + to * quants, c->caches[i] + from * quants, quants);
        memcpy(second + to * scales, second + from * scales, scales);
    }
    return PM_OK;
}

static pm_status copy_state(void *context, uint32_t from, uint32_t to) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "copy_state"));
    if (from >= c->limits.n_seq || to >= c->limits.n_seq)
        return pm__fail(PM_ARGUMENT, "cpu: state of sequence %u to %u of %u", from, to,
                        c->limits.n_seq);
    for (uint32_t i = 0; i < c->g->n_state && from != to; i++) {
        const size_t n = c->g->states[i]->n_col;
        memcpy(c->states[i] + to * n, c->states[i] + from * n, n * sizeof(float));
    }
    return PM_OK;
}

/* Whether a row has a token, a sequence, and a page for its position. */
static pm_status check_row(const cpu_context *c, const struct pm_step_row *row) {
    if (row->seq >= c->limits.n_seq || row->pos >= c->limits.n_ctx || row->token >= c->g->n_vocab)
        return pm__fail(PM_ARGUMENT,
                        "cpu: row (token %u, sequence %u, position %u) of %u tokens, %u sequences, "
                        "%u positions",
                        row->token, row->seq, row->pos, c->g->n_vocab, c->limits.n_seq,
                        c->limits.n_ctx);
    const uint32_t stride = pm__ceil_div(c->limits.n_ctx, PM_PAGE);
    const uint32_t *pages = (uint32_t *)c->step[PM__STEP_PAGES] + (size_t)row->seq * stride;
    for (uint32_t i = 0; i <= row->pos / PM_PAGE; i++)
        if (pages[i] >= pm__limits_pages(&c->limits))
            return pm__fail(PM_ARGUMENT, "cpu: sequence %u has no page for position %u", row->seq,
                            i * PM_PAGE);
    return PM_OK;
}

static pm_status begin(void *context, const pm__step *step) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "begin"));
    if (step->n_row == 0 || step->n_row > c->limits.n_batch || step->n_out > c->limits.n_out)
        return pm__fail(PM_ARGUMENT, "cpu: %u rows and %u outputs in a step of at most %u and %u",
                        step->n_row, step->n_out, c->limits.n_batch, c->limits.n_out);
    for (uint32_t i = 0; i < step->n_row; i++)
        PM_TRY(check_row(c, &step->rows[i]));
    for (uint32_t i = 0; i < step->n_out; i++)
        if (step->outs[i] >= step->n_row || (i > 0 && step->outs[i] <= step->outs[i - 1]))
            return pm__fail(PM_ARGUMENT, "cpu: output %u is row %u of %u, or out of order", i,
                            step->outs[i], step->n_row);
    struct pm_step_head *head = c->step[PM__STEP_ROWS];
    c->loaded = false;
    PM_TRY(pm__step_load_rows(step, (struct pm_step_row *)(head + 1)));
    *head = (struct pm_step_head){
        .n_row = step->n_row, .n_out = step->n_out, .n_sample = step->sample ? step->n_out : 0};
    if (step->n_out > 0)
        memcpy(c->step[PM__STEP_OUTS], step->outs, step->n_out * sizeof step->outs[0]);
    uint32_t *history = c->step[PM__STEP_HISTORY];
    for (uint32_t i = 0; i < step->n_row; i++)
        history[(size_t)step->rows[i].seq * c->limits.n_ctx + step->rows[i].pos] =
            step->rows[i].token;
    c->n_row = step->n_row;
    c->n_out = step->n_out;
    c->encode = step->encode;
    c->sample = step->sample;
    c->loaded = true;
    return PM_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static pm_status submit(void *context) {
    cpu_context *c = context;
    if (!c->loaded)
        return pm__fail(PM_ARGUMENT, "cpu: no rows to run; the step before drew no token for each");
    if (c->n_submitted - c->n_collected >= PM_RING)
        return pm__fail(PM_ARGUMENT, "cpu: %u steps are not collected", PM_RING);
    struct pm_step_head *head = c->step[PM__STEP_ROWS];
    const struct pm_step_row *rows = pm__cpu_step_rows(head);
    for (uint32_t i = 0; i < c->n_row; i++)
        PM_TRY(check_row(c, &rows[i]));
    head->step = c->n_submitted;
    const cpu_device *device = c->weights->device;
    for (uint32_t i = 0; i < c->g->n_node; i++) {
        if (c->g->nodes[i].encoder != c->encode)
            continue;
        c->args[i].n_row = c->n_row;
        c->args[i].n_out = c->n_out;
        if (device->watch != NULL)
            device->watch(device->watch_user, &c->g->nodes[i], &c->args[i]);
        pm__cpu_run(&c->g->nodes[i], &c->args[i], device->n_thread);
    }
    c->n_submitted++;
    c->loaded = c->sample && c->n_out == c->n_row;
    return PM_OK;
}

static pm_status collect(void *context, struct pm_step_drawn *drawn) {
    cpu_context *c = context;
    if (c->n_submitted == c->n_collected)
        return pm__fail(PM_ARGUMENT, "cpu: no step to collect");
    const struct pm_step_drawn *ring = c->step[PM__STEP_RING];
    ring += (size_t)(c->n_collected % PM_RING) * c->limits.n_out;
    if (c->sample && c->n_out > 0)
        memcpy(drawn, ring, c->n_out * sizeof drawn[0]);
    else if (c->n_out > 0)
        memset(drawn, 0, c->n_out * sizeof drawn[0]);
    c->n_collected++;
    return PM_OK;
}

static pm_status read_logits(void *context, uint32_t first, uint32_t n, float *logits) {
    cpu_context *c = context;
    PM_TRY(need_idle(c, "read_logits"));
    if (first > c->n_out || n > c->n_out - first)
        return pm__fail(PM_ARGUMENT, "cpu: logits %u + %u of %u outputs", first, n, c->n_out);
    const size_t n_vocab = c->g->logits->n_col;
    memcpy(logits, (const float *)base_of(c, c->g->logits) + first * n_vocab,
           n * n_vocab * sizeof logits[0]);
    return PM_OK;
}

/* ---- open ------------------------------------------------------------------------------------ */

static const pm__backend backend = {
    .close = device_close,
    .weights_create = weights_create,
    .weights_destroy = weights_destroy,
    .plan = plan,
    .context_create = context_create,
    .context_destroy = context_destroy,
    .context_get_info = context_get_info,
    .set_sampler = set_sampler,
    .set_pages = set_pages,
    .copy_page = copy_page,
    .copy_state = copy_state,
    .begin = begin,
    .submit = submit,
    .collect = collect,
    .read_logits = read_logits,
};

void pm__cpu_watch(void *device, pm__cpu_watch_fn fn, void *user) {
    ((cpu_device *)device)->watch = fn;
    ((cpu_device *)device)->watch_user = user;
}

pm_status pm__cpu_open(uint32_t n_thread, uint64_t most_bytes, pm__device_handle *out) {
    cpu_device *device = calloc(1, sizeof *device);
    if (device == NULL)
        return pm__fail_memory("cpu device", sizeof *device);
    describe(device, n_thread);
    device->most_bytes = most_bytes;
    *out = (pm__device_handle){.backend = &backend, .device = device, .info = &device->info};
    return PM_OK;
}
