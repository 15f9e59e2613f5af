/* check_model.c: a forward pass on the CPU, node by node, and each node on the device over the same
 * inputs, so that errors do not add up and the first wrong node is named. */
#include "../base/checked.h"
#include "../base/log.h"
#include "../graph/gather.h"
#include "check.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 64, MOST_TOKENS = 256 };

static const char text[] =
    "The quick brown fox jumps over the lazy dog. In 1898 there were 17 of them, and they said: "
    "\"We shall see!\" Once upon a time a little stone was so light that it could float on the "
    "sea.";

typedef struct forward {
    const pm__node_check *in;
    const pm_model *model;
    pm__limits limits;
    pm__plan plans[2];
    uint32_t present; /* of the two steps */
    pm__gathered gathered;
    unsigned char *arena;
    unsigned char **caches; /* [n_cache] */
    unsigned char **states; /* [n_state] */
    unsigned char *step[PM__STEP_PART_COUNT];
    uint32_t n_row, n_out;
    pm__trial trial; /* of the present node */
    bool ended;
} forward;

/* ---- memory ---------------------------------------------------------------------------------- */

static pm_status reserve(unsigned char **out, uint64_t bytes) {
    *out = bytes < SIZE_MAX ? calloc(1, (size_t)bytes + 1) : NULL;
    return *out != NULL ? PM_OK : pm__fail_memory("check: forward pass", (size_t)bytes);
}

static pm_status reserve_all(forward *f) {
    const pm__graph *g = f->in->graphs[0];
    for (int i = 0; i < 2; i++)
        PM_TRY(pm__plan_init(&f->plans[i], f->in->graphs[i], f->limits.n_batch, f->limits.n_out,
                             ARENA_ALIGNMENT));
    PM_TRY(pm__gather(&f->gathered, &f->model->def));
    PM_TRY(reserve(&f->arena, pm__most_u64(f->plans[0].arena_bytes, f->plans[1].arena_bytes)));
    f->caches = calloc(g->n_cache + 1, sizeof *f->caches);
    if (f->caches == NULL)
        return pm__fail_memory("check: caches", g->n_cache * sizeof *f->caches);
    for (uint32_t i = 0; i < g->n_cache; i++)
        PM_TRY(reserve(&f->caches[i], pm__limits_cache_bytes(&f->limits, g->caches[i])));
    f->states = calloc(g->n_state + 1, sizeof *f->states);
    if (f->states == NULL)
        return pm__fail_memory("check: states", g->n_state * sizeof *f->states);
    for (uint32_t i = 0; i < g->n_state; i++)
        PM_TRY(reserve(&f->states[i], pm__limits_state_bytes(&f->limits, g->states[i])));
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        PM_TRY(reserve(&f->step[part], pm__limits_step_bytes(&f->limits, (pm__step_part)part)));
    uint32_t *pages = (uint32_t *)(void *)f->step[PM__STEP_PAGES];
    for (uint32_t i = 0; i < pm__limits_pages(&f->limits); i++)
        pages[i] = i;
    return PM_OK;
}

static void finish(forward *f) {
    for (uint32_t i = 0; f->caches != NULL && i < f->in->graphs[0]->n_cache; i++)
        free(f->caches[i]);
    for (uint32_t i = 0; f->states != NULL && i < f->in->graphs[0]->n_state; i++)
        free(f->states[i]);
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        free(f->step[part]);
    pm__gathered_finish(&f->gathered);
    free(f->caches);
    free(f->states);
    free(f->arena);
    for (int i = 0; i < 2; i++)
        pm__plan_finish(&f->plans[i]);
}

static unsigned char *memory_of(const forward *f, const pm__tensor *t) {
    switch (t->kind) {
    case PM__WEIGHT:
        return (unsigned char *)(uintptr_t)pm__gathered_rows(&f->gathered, &f->model->def,
                                                             t->index);
    case PM__ACTIVATION:
        return f->arena + f->plans[f->present].offsets[t->index];
    case PM__CACHE:
        return f->caches[t->index];
    case PM__STATE:
        return f->states[t->index];
    case PM__STEP:
        break;
    }
    return f->step[t->index];
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Tokens of the text, again and again; of a model without a tokenizer any ones. */
static void tokens_of(const pm_model *model, uint32_t n, uint32_t *out) {
    int32_t ids[MOST_TOKENS];
    size_t n_id = 0;
    const pm_tokenize_desc desc = {.text = text, .n_byte = sizeof text - 1, .add_special = true};
    if (pm_tokenize(model, &desc, ids, MOST_TOKENS, &n_id) != PM_OK)
        n_id = 0;
    for (uint32_t i = 0; i < n; i++)
        out[i] = n_id > 0 ? (uint32_t)ids[i % n_id] : i * 7919u % model->def.n_vocab;
}

static void load_step(forward *f, const uint32_t *tokens, uint32_t first_pos, uint32_t step) {
    struct pm_step_head *head = (void *)f->step[PM__STEP_ROWS];
    struct pm_step_row *rows = (struct pm_step_row *)(head + 1);
    uint32_t *outs = (void *)f->step[PM__STEP_OUTS], *history = (void *)f->step[PM__STEP_HISTORY];
    *head = (struct pm_step_head){
        .n_row = f->n_row, .n_out = f->n_out, .step = step, .n_sample = f->n_out};
    for (uint32_t r = 0; r < f->n_row; r++) {
        rows[r] = (struct pm_step_row){
            .token = tokens[r], .pos = first_pos + r, .n_pos = first_pos + f->n_row};
        history[first_pos + r] = tokens[r];
    }
    for (uint32_t i = 0; i < f->n_out; i++)
        outs[i] = f->n_row - f->n_out + i;
    *(struct pm_step_sampler *)(void *)f->step[PM__STEP_SAMPLERS] =
        (struct pm_step_sampler){.temperature = 0.8f,
                                 .top_k = 40,
                                 .top_p = 0.95f,
                                 .min_p = 0.05f,
                                 .repeat_penalty = 1.1f,
                                 .repeat_last_n = 64,
                                 .seed_lo = 7};
}

/* ---- nodes ----------------------------------------------------------------------------------- */

/* An activation that is written starts as a pattern, with rows behind it; all else is as the
 * forward pass has it. */
static pm_status add_operand(void *user, const pm__tensor *t, bool written) {
    forward *f = user;
    pm__operand *o = &f->trial.operands[f->trial.n_operand++];
    *o = (pm__operand){.tensor = t,
                       .data = memory_of(f, t),
                       .bytes = pm__trial_bytes(&f->trial, t, written),
                       .placed = t->kind == PM__WEIGHT};
    if (t->kind == PM__WEIGHT)
        return PM_OK;
    o->after = malloc(o->bytes);
    if (o->after == NULL)
        return pm__fail_memory("check: operand", o->bytes);
    if (t->kind == PM__ACTIVATION && written) {
        unsigned char *pattern = malloc(o->bytes);
        if (pattern == NULL)
            return pm__fail_memory("check: operand", o->bytes);
        memset(pattern, 0xee, o->bytes);
        o->data = pattern;
    }
    return PM_OK;
}

static void finish_trial(forward *f) {
    for (uint32_t i = 0; i < f->trial.n_operand; i++) {
        const pm__operand *o = &f->trial.operands[i];
        if (o->data != memory_of(f, o->tensor))
            free((void *)(uintptr_t)o->data);
        free(o->after);
    }
}

/* What the reference wrote is what the nodes that follow see. */
static void keep(forward *f, const pm__expected *expected) {
    for (uint32_t i = 0; i < f->trial.n_operand; i++) {
        const pm__operand *o = &f->trial.operands[i];
        if (expected->bytes[i] != NULL)
            memcpy(memory_of(f, o->tensor), expected->bytes[i],
                   pm__trial_bytes(&f->trial, o->tensor, false));
    }
}

static pm_status run_node(forward *f, uint32_t index) {
    const pm__node_check *in = f->in;
    pm__expected expected = {.bytes = {NULL}};
    PM_TRY(pm__trial_each(f->trial.node, f, add_operand));
    const bool wanted =
        index >= in->first && !f->ended && in->each(in->user, index, &f->trial, NULL);
    const pm_status status = pm__expected_init(&expected, &f->trial, in->runner != NULL ? 0 : 1);
    if (status == PM_OK && wanted) {
        pm__check_result result;
        pm__trial_judge(in->runner, &f->trial, &expected, in->times, &result);
        f->ended = !in->each(in->user, index, &f->trial, &result);
    }
    if (status == PM_OK)
        keep(f, &expected);
    pm__expected_finish(&expected);
    return status;
}

static pm_status run_step(forward *f, uint32_t first_index) {
    const pm__graph *g = f->in->graphs[f->present];
    for (uint32_t i = 0; i < g->n_node && !f->ended; i++) {
        f->trial = (pm__trial){.node = &g->nodes[i],
                               .limits = f->limits,
                               .n_row = f->n_row,
                               .n_out = f->n_out,
                               .n_sample = f->n_out,
                               .n_run = 1,
                               .weights = f->model->weights,
                               .kernel = PM__KERNEL_NONE};
        const pm_status status = run_node(f, first_index + i);
        finish_trial(f);
        PM_TRY(status);
    }
    return PM_OK;
}

static pm_status run_steps(forward *f) {
    uint32_t tokens[MOST_TOKENS];
    const uint32_t n = f->in->n_row;
    PM_TRY(reserve_all(f));
    tokens_of(f->model, n + 1, tokens);
    f->n_row = n;
    f->n_out = f->limits.n_out;
    load_step(f, tokens, 0, 0);
    PM_TRY(run_step(f, 0));
    f->n_row = f->n_out = 1;
    f->present = 1;
    load_step(f, tokens + n, n, 1);
    return run_step(f, f->in->graphs[0]->n_node);
}

pm_status pm__check_nodes(const pm__node_check *in) {
    forward f = {.in = in,
                 .model = in->model,
                 .limits = {.n_ctx = (uint32_t)pm__round_up(in->n_row + 2, PM_PAGE),
                            .n_batch = in->n_row,
                            .n_out = 2,
                            .n_seq = 1}};
    const pm_status status = run_steps(&f);
    finish(&f);
    return status;
}
