/* check_trial.c: operands with outliers, the reference over them, and the comparison. */
#include "check.h"

#include "../base/checked.h"
#include "../base/hash.h"
#include "../base/threads.h"
#include "../cpu/cpu_ops.h"
#include "../graph/blocks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- random data ----------------------------------------------------------------------------- */

/* source  xorshift64*, doi 10.1145/2845077 */
typedef struct source {
    uint64_t state; /* not 0 */
} source;

static uint32_t random32(source *from) {
    from->state ^= from->state >> 12;
    from->state ^= from->state << 25;
    from->state ^= from->state >> 27;
    return (uint32_t)(from->state * 0x2545f4914f6cdd1dull >> 32);
}

static float uniform(source *from) {
    return (float)random32(from) * 0x1p-31f - 1.0f;
}

/* Bell-shaped, one in 64 `outlier` times larger. */
static float random_float(source *from, float outlier) {
    float x = uniform(from);
    x += uniform(from);
    x += uniform(from);
    return random32(from) % 64 == 0 ? x * outlier : x;
}

static void fill_weight(source *from, const pm__check_case *c, const pm__tensor *t,
                        unsigned char *data, size_t bytes) {
    const uint32_t block = pm__type_get(t->type)->block_bytes;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(random32(from) >> 24);
    for (size_t at = 0; at < bytes; at += block) {
        const float any = random_float(from, 20), size = fabsf(any) + 0.25f;
        pm__type_put_scale(t->type, c->positive ? size : c->negative ? -size : any, data + at);
    }
}

static float clear_bits(float x, uint32_t n) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits >> n << n;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void fill_floats(source *from, const pm__check_case *c, float *to, size_t n) {
    const float size = c->size > 0 ? c->size : 1;
    for (size_t i = 0; i < n; i++)
        to[i] = clear_bits(random_float(from, c->outlier) * size, c->zero_bits);
    for (size_t i = 0; i < n && c->nan_part > 0; i++)
        if (fabsf(uniform(from)) < c->nan_part)
            to[i] = NAN;
}

static void fill_cache(source *from, const pm__check_case *c, const pm__tensor *t,
                       unsigned char *data) {
    enum { GROUP = 64 }; /* ends with a word of either plane */
    const pm__cache_layout at = pm__limits_cache_layout(&c->limits, t);
    const pm__type_info *info = pm__type_get(t->type);
    memset(data, 0, (size_t)at.bytes);
    for (size_t row = 0; row < at.bytes / (at.quants_row + at.scales_row); row++) {
        uint32_t *quants = (uint32_t *)(void *)(data + row * at.quants_row);
        uint32_t *scales = (uint32_t *)(void *)(data + at.scales + row * at.scales_row);
        for (uint32_t first = 0; first < t->n_col; first += GROUP) {
            float x[GROUP];
            const uint32_t n = t->n_col - first < GROUP ? t->n_col - first : GROUP;
            for (uint32_t i = 0; i < n; i++)
                x[i] = random_float(from, c->outlier);
            pm__type_encode_packed(t->type, x, n,
                                   quants + (size_t)first / info->chunk_n * info->chunk_words,
                                   scales + first / GROUP);
        }
    }
}

/* ---- the step -------------------------------------------------------------------------------- */

typedef struct seq_run {
    uint32_t seq, n_row, first_pos;
} seq_run;

/* How the rows of a case lie in three sequences; returns how many there are. */
static uint32_t runs_of(const pm__check_case *c, seq_run out[3]) {
    const uint32_t n_first = (c->n_row + 1) / 2, n_second = c->n_row > 1;
    const seq_run runs[] = {{2, n_first, c->first_pos},
                            {0, n_second, 0},
                            {1, c->n_row - n_first - n_second, c->first_pos + 5}};
    uint32_t n = 0;
    for (size_t i = 0; i < PM__COUNT(runs); i++)
        if (runs[i].n_row > 0)
            out[n++] = runs[i];
    return n;
}

static void fill_runs(source *from, const pm__check_case *c, struct pm_step_row *rows) {
    seq_run runs[3];
    const uint32_t n = runs_of(c, runs);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < runs[i].n_row; k++)
            *rows++ = (struct pm_step_row){.token = random32(from) % c->n_token,
                                           .seq = runs[i].seq,
                                           .pos = runs[i].first_pos + k,
                                           .n_pos = runs[i].first_pos + runs[i].n_row};
}

static void fill_rows(source *from, const pm__check_case *c, void *data) {
    struct pm_step_head *head = data;
    struct pm_step_row *rows = (struct pm_step_row *)(head + 1);
    const uint32_t n_ctx = c->limits.n_ctx;
    *head = (struct pm_step_head){
        .n_row = c->n_row, .n_out = c->n_out, .step = 1234567, .n_sample = c->n_out};
    if (c->runs) {
        fill_runs(from, c, rows);
        return;
    }
    for (uint32_t r = 0; r < c->n_row && c->in_order; r++)
        rows[r] = (struct pm_step_row){.token = random32(from) % c->n_token,
                                       .pos = c->last_pos + 1 - c->n_row + r,
                                       .n_pos = c->last_pos + 1};
    for (uint32_t r = 0; r < c->n_row && !c->in_order; r++) {
        const uint64_t back = (uint64_t)(c->n_row - 1 - r) * 7919 % n_ctx; /* a prime: distinct */
        rows[r] = (struct pm_step_row){.token = random32(from) % c->n_token,
                                       .seq = r % c->limits.n_seq,
                                       .pos = (uint32_t)((c->last_pos + n_ctx - back) % n_ctx)};
        rows[r].n_pos = pm__least_u32(rows[r].pos + 1 + r % 3 * 7, n_ctx);
    }
}

/* A shuffle of all pages. */
static void fill_pages(source *from, uint32_t *pages, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = random32(from) % (i + 1);
        pages[i] = pages[j];
        pages[j] = i;
    }
}

/* Batch row of an output: the last n_out ones. */
static uint32_t out_row(const pm__check_case *c, uint32_t i) {
    return c->n_row - c->n_out + i;
}

static void fill_samplers(source *from, const pm__check_case *c, struct pm_step_sampler *to) {
    for (uint32_t i = 0; i < c->limits.n_seq; i++) {
        to[i] = c->sampler;
        to[i].seed_lo = random32(from);
        to[i].seed_hi = random32(from);
    }
}

static void fill_drawn(source *from, const pm__check_case *c, struct pm_step_drawn *to) {
    for (uint32_t i = 0; i < c->n_out; i++) {
        to[i].token = random32(from) % c->n_token;
        to[i].logits_hash = random32(from);
        to[i].step = 1234567;
        to[i].row = out_row(c, i);
    }
}

static void fill_step(source *from, const pm__check_case *c, pm__step_part part, void *data,
                      size_t bytes) {
    uint32_t *words = data;
    const size_t n = bytes / sizeof *words;
    for (size_t i = 0; i < n; i++)
        words[i] = part == PM__STEP_HISTORY ? random32(from) % c->n_token : 0xeeeeeeeeu;
    if (part == PM__STEP_ROWS)
        fill_rows(from, c, data);
    else if (part == PM__STEP_PAGES)
        fill_pages(from, words, (uint32_t)n);
    else if (part == PM__STEP_SAMPLERS)
        fill_samplers(from, c, data);
    else if (part == PM__STEP_DRAWN)
        fill_drawn(from, c, data);
    for (uint32_t i = 0; i < c->n_out && part == PM__STEP_OUTS; i++)
        words[i] = out_row(c, i);
}

/* ---- operands -------------------------------------------------------------------------------- */

size_t pm__trial_bytes(const pm__trial *trial, const pm__tensor *t, bool written) {
    if (t->kind == PM__CACHE)
        return (size_t)pm__limits_cache_bytes(&trial->limits, t);
    if (t->kind == PM__STATE)
        return (size_t)pm__limits_state_bytes(&trial->limits, t);
    if (t->kind == PM__STEP)
        return (size_t)pm__limits_step_bytes(&trial->limits, (pm__step_part)t->index);
    uint64_t row = 0;
    pm__type_row_bytes(t->type, t->n_col, &row);
    const uint32_t rows = t->rows == PM__ROWS_FIXED ? t->n_row
                          : t->rows == PM__ROWS_OUT ? trial->n_out
                                                    : trial->n_row;
    return (size_t)(row * (rows + (written && t->kind == PM__ACTIVATION ? PM__ROWS_BEYOND : 0)));
}

static bool is_in(const pm__tensor *t, const pm__tensor *const *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == t)
            return true;
    return false;
}

pm_status pm__trial_each(const pm__node *node, void *user,
                         pm_status (*add)(void *user, const pm__tensor *t, bool written)) {
    pm__access access;
    pm__node_access(node, &access);
    for (int i = 0; i < PM__MOST_INPUTS; i++)
        if (node->in[i] != NULL && node->in[i] != node->out &&
            !is_in(node->in[i], node->in, (uint32_t)i))
            PM_TRY(add(user, node->in[i], is_in(node->in[i], access.writes, access.n_write)));
    return add(user, node->out, true);
}

typedef struct filling {
    pm__trial *trial;
    const pm__check_case *c;
    source from;
} filling;

static void fill_blocks(source *from, const pm__check_case *c, const pm__tensor *t, size_t bytes,
                        uint32_t *to) {
    const uint32_t n_block = t->n_col / PM__BLOCK_WORDS;
    for (size_t done = 0; done < bytes / 4; done += t->n_col)
        for (uint32_t i = 0; i < n_block; i++) {
            float x[PM__BLOCK_N];
            fill_floats(from, c, x, PM__BLOCK_N);
            pm__block_write(x, i, n_block, to + done);
        }
}

/* Distinct experts in each row; every other time the first that is left, so that some have many
 * rows and some none. */
static void fill_route(source *from, const pm__check_case *c, float *to, uint32_t n_used) {
    for (uint32_t r = 0; r < c->n_row; r++, to += (size_t)2 * n_used)
        for (uint32_t u = 0; u < n_used; u++) {
            uint32_t e = random32(from) % 2 == 0 ? 0 : random32(from) % c->n_expert;
            for (uint32_t k = 0; k < u; k++)
                if (to[k] == (float)e) {
                    e = (e + 1) % c->n_expert;
                    k = UINT32_MAX; /* from the start again */
                }
            to[u] = (float)e;
            to[n_used + u] = random_float(from, 2);
        }
}

/* Groups are those of the route. */
static void fill_groups(const filling *f, const pm__tensor *t, float *to) {
    const pm__node node = {.op = PM__OP_GROUP, .in = {f->c->route}, .out = t};
    pm__cpu_args args = {.out = to, .n_row = f->c->n_row, .limits = &f->trial->limits};
    for (uint32_t i = 0; i < f->trial->n_operand; i++)
        if (f->trial->operands[i].tensor == f->c->route)
            args.in[0] = f->trial->operands[i].data;
    pm__cpu_run_node(&node, &args);
}

static void fill(filling *f, const pm__tensor *t, bool written, unsigned char *data, size_t bytes) {
    if (t->kind == PM__WEIGHT)
        fill_weight(&f->from, f->c, t, data, bytes);
    else if (t->kind == PM__STEP)
        fill_step(&f->from, f->c, (pm__step_part)t->index, data, bytes);
    else if (t->kind == PM__CACHE)
        fill_cache(&f->from, f->c, t, data);
    else if (written && t->kind == PM__ACTIVATION)
        memset(data, 0xee, bytes);
    else if (f->c->blocks && t == f->trial->node->in[0])
        fill_blocks(&f->from, f->c, t, bytes, (uint32_t *)(void *)data);
    else if (t == f->c->route)
        fill_route(&f->from, f->c, (float *)(void *)data, t->n_col / 2);
    else if (f->trial->node->op == PM__OP_EXPERTS_MATMUL && t == f->trial->node->in[4])
        fill_groups(f, t, (float *)(void *)data);
    else
        fill_floats(&f->from, f->c, (float *)(void *)data, bytes / sizeof(float));
}

static pm_status add_operand(void *user, const pm__tensor *t, bool written) {
    filling *f = user;
    pm__operand *o = &f->trial->operands[f->trial->n_operand++];
    *o = (pm__operand){.tensor = t, .bytes = pm__trial_bytes(f->trial, t, written)};
    const int matrix = pm__op_get(f->trial->node->op)->matrix;
    if (f->c->most_weight_rows != 0 && matrix >= 0 && t == f->trial->node->in[matrix] &&
        t->n_row > f->c->most_weight_rows)
        o->bytes = o->bytes / t->n_row * f->c->most_weight_rows;
    unsigned char *data = malloc(o->bytes);
    o->data = data;
    o->after = t->kind != PM__WEIGHT ? malloc(o->bytes) : NULL;
    if (data == NULL || (o->after == NULL && t->kind != PM__WEIGHT))
        return pm__fail_memory("check: operand", o->bytes);
    fill(f, t, written, data, o->bytes);
    return PM_OK;
}

pm_status pm__trial_init(pm__trial *trial, const pm__check_case *c, uint64_t seed,
                         const char *name) {
    seq_run runs[3];
    PM_TRY(c->graph.status);
    *trial = (pm__trial){.node = &c->graph.nodes[0],
                         .limits = c->limits,
                         .n_row = c->n_row,
                         .n_out = c->n_out,
                         .n_sample = c->n_out,
                         .n_run = c->runs ? runs_of(c, runs) : c->in_order,
                         .part_rows = c->part_rows,
                         .most_group_x = c->most_group_x,
                         .kernel = PM__KERNEL_NONE};
    filling f = {.trial = trial, .c = c, .from = {pm__hash_string(seed, name) | 1}};
    return pm__trial_each(trial->node, &f, add_operand);
}

void pm__trial_finish(pm__trial *trial) {
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        free((void *)(uintptr_t)trial->operands[i].data);
        free(trial->operands[i].after);
    }
    trial->n_operand = 0;
}

/* ---- the reference --------------------------------------------------------------------------- */

/* Runs the node on the CPU over bytes[operand]; weights are read where they are. */
static void run_on_cpu(const pm__trial *trial, unsigned char *const *bytes, int n_thread) {
    const pm__node *node = trial->node;
    pm__cpu_args args = {.n_row = trial->n_row, .n_out = trial->n_out, .limits = &trial->limits};
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        const pm__operand *o = &trial->operands[i];
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            if (node->in[k] == o->tensor)
                args.in[k] = bytes[i] != NULL ? bytes[i] : o->data;
        if (node->out == o->tensor)
            args.out = bytes[i];
    }
    pm__cpu_run(node, &args, n_thread > 0 ? n_thread : pm__thread_count());
}

pm_status pm__expected_init(pm__expected *expected, const pm__trial *trial, int n_thread) {
    *expected = (pm__expected){.bytes = {NULL}};
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        const pm__operand *o = &trial->operands[i];
        if (o->tensor->kind == PM__WEIGHT)
            continue;
        expected->bytes[i] = malloc(o->bytes);
        if (expected->bytes[i] == NULL)
            return pm__fail_memory("check: reference", o->bytes);
        memcpy(expected->bytes[i], o->data, o->bytes);
    }
    run_on_cpu(trial, expected->bytes, n_thread);
    return PM_OK;
}

void pm__expected_finish(pm__expected *expected) {
    for (uint32_t i = 0; i < PM__MOST_OPERANDS; i++)
        free(expected->bytes[i]);
    *expected = (pm__expected){.bytes = {NULL}};
}

/* ---- comparing ------------------------------------------------------------------------------- */

static double nmse(const unsigned char *got, const unsigned char *expected, size_t n) {
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        float a, b;
        memcpy(&a, got + 4 * i, sizeof a);
        memcpy(&b, expected + 4 * i, sizeof b);
        const double d = (double)a - (double)b;
        error += d * d;
        power += (double)b * (double)b;
    }
    return power > 0 ? error / power : error;
}

/* Rows that the reference wrote, as values; true if all others have their bytes. *error: NMSE. */
static bool compare_cache(const pm__trial *trial, const pm__operand *o,
                          const unsigned char *expected, double *error) {
    const pm__cache_layout at = pm__limits_cache_layout(&trial->limits, o->tensor);
    const size_t n_row = (size_t)pm__limits_pages(&trial->limits) * PM_PAGE;
    double wrong = 0, power = 0;
    for (size_t row = 0; row < n_row; row++) {
        const size_t first = row * (size_t)at.quants_row, n = (size_t)at.quants_row;
        if (memcmp(expected + first, o->data + first, n) == 0) {
            if (memcmp(expected + first, o->after + first, n) != 0)
                return false;
            continue;
        }
        for (uint32_t c = 0; c < o->tensor->n_col; c++) {
            float a, b;
            pm__type_read(o->tensor->type, (const void *)(o->after + first), NULL, c, 1, &a);
            pm__type_read(o->tensor->type, (const void *)(expected + first), NULL, c, 1, &b);
            wrong += ((double)a - (double)b) * ((double)a - (double)b);
            power += (double)b * (double)b;
        }
    }
    *error = power > 0 ? wrong / power : wrong;
    return true;
}

static void fail(pm__check_result *out, pm_status status, const char *why) {
    out->status = status;
    snprintf(out->why, sizeof out->why, "%s", why);
}

/* Outputs and states may differ within the operation's bound, all other bytes not at all. */
static void compare(const pm__trial *trial, const pm__operand *o, const unsigned char *expected,
                    pm__check_result *out) {
    char text[200];
    size_t same_from = 0;
    double error;
    if (out->bound > 0 && trial->node->op == PM__OP_PREPARE && o->tensor->kind == PM__CACHE) {
        /* A value that differs in its last bit can be another half. */
        if (!compare_cache(trial, o, expected, &error))
            error = INFINITY;
        out->error = !(error <= out->error) ? error : out->error;
        if (!(error <= 10 * out->bound)) {
            snprintf(text, sizeof text, "%s: NMSE %.3g of what is stored, allowed are %.3g",
                     o->tensor->name, error, 10 * out->bound);
            fail(out, PM_CHECK_FAILED, text);
        }
        return;
    }
    if (out->bound > 0 && (o->tensor == trial->node->out || o->tensor->kind == PM__STATE)) {
        same_from = pm__trial_bytes(trial, o->tensor, false);
        error = nmse(o->after, expected, same_from / 4);
        out->error = !(error <= out->error) ? error : out->error;
        if (!(error <= out->bound)) {
            snprintf(text, sizeof text, "%s: NMSE %.3g, allowed are %.3g", o->tensor->name, error,
                     out->bound);
            fail(out, PM_CHECK_FAILED, text);
            return;
        }
    }
    for (size_t i = same_from; i < o->bytes; i++) {
        if (o->after[i] != expected[i]) {
            uint32_t got, want;
            memcpy(&got, o->after + i / 4 * 4, sizeof got);
            memcpy(&want, expected + i / 4 * 4, sizeof want);
            snprintf(text, sizeof text, "%s: word %zu is %08x, expected is %08x", o->tensor->name,
                     i / 4, got, want);
            fail(out, PM_CHECK_FAILED, text);
            return;
        }
    }
}

/* The CPU path, as the device of the trial. */
static pm_status run_path(const pm__trial *trial, int times) {
    for (int run = 0; run < times; run++) {
        pm__expected got;
        const pm_status status = pm__expected_init(&got, trial, 0);
        bool same = true;
        for (uint32_t i = 0; i < trial->n_operand && status == PM_OK; i++) {
            const pm__operand *o = &trial->operands[i];
            if (got.bytes[i] == NULL)
                continue;
            if (run == 0)
                memcpy(o->after, got.bytes[i], o->bytes);
            same = same && memcmp(o->after, got.bytes[i], o->bytes) == 0;
        }
        pm__expected_finish(&got);
        PM_TRY(status);
        if (!same)
            return pm__fail(PM_CHECK_FAILED, "run %d left other bits than the first", run + 1);
    }
    return PM_OK;
}

void pm__trial_judge(pm__runner *runner, pm__trial *trial, const pm__expected *expected, int times,
                     pm__check_result *out) {
    *out = (pm__check_result){.bound = 0};
    const pm_status status =
        runner != NULL ? pm__runner_run(runner, trial, times) : run_path(trial, times);
    if (runner != NULL && trial->kernel != PM__KERNEL_NONE)
        out->bound = pm__gpu_bound(trial->kernel, trial->node);
    if (status != PM_OK) {
        fail(out, status, pm_last_error());
        return;
    }
    for (uint32_t i = 0; i < trial->n_operand && out->status == PM_OK; i++)
        if (expected->bytes[i] != NULL)
            compare(trial, &trial->operands[i], expected->bytes[i], out);
}
