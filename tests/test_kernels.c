/* Every kernel of kernels.def against the CPU reference, on every Vulkan device there is.
 * ctest: gpu
 *
 *   PUMICE_TEST_ONLY  runs only cases whose name contains it ("matvec_subgroup/Q8_0")
 *   PUMICE_TEST_SEED  another seed for all data (default 1)
 *   PUMICE_TEST_LIST  names each case on stdout before it runs */
#include "kernel_harness.h"
#include "runtime/base/checked.h"
#include "runtime/cpu/cpu.h"
#include "runtime/gpu/kernels.h"
#include "runtime/graph/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS = 3, MOST_ROWS = 72, MOST_TENSORS = 8, ROWS_BEYOND = 2 };

/* One test: a kernel on a device. */
typedef struct suite {
    pm__harness *harness;
    const pm__kernel *kernel;
    uint32_t device;
    int n_case, n_failed, n_skipped;
} suite;

/* ---- random data ----------------------------------------------------------------------------- */

static uint64_t state;

static uint32_t random32(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1dull >> 32);
}

static float uniform(void) {
    return (float)random32() * 0x1p-31f - 1.0f;
}

/* Bell-shaped, one in 64 `outlier` times larger. */
static float sample_float(float outlier) {
    const float x = uniform() + uniform() + uniform();
    return random32() % 64 == 0 ? x * outlier : x;
}

static void fill_floats(void *out, size_t n, float outlier) {
    float *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = sample_float(outlier);
}

/* One element, or the scale at the start of a block whose other bytes are random already. */
static void fill_block(pm__type type, bool positive, unsigned char *block) {
    const float any = sample_float(20), x = positive ? fabsf(any) + 0.25f : any;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t half = type == PM__TYPE_BF16 ? (uint16_t)(bits >> 16) : pm__f32_to_f16(x);
    if (type == PM__TYPE_F32)
        memcpy(block, &x, sizeof x);
    else
        memcpy(block, &half, sizeof half);
}

static void fill_weight(const pm__tensor *t, bool positive, unsigned char *data, size_t bytes) {
    const uint32_t block = pm__type_get(t->type)->block_bytes;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(random32() >> 24);
    for (size_t at = 0; at < bytes; at += block)
        fill_block(t->type, positive, data + at);
}

/* ---- a case ---------------------------------------------------------------------------------- */

typedef struct kernel_case {
    char name[128];
    pm__graph graph;
    pm__tensor tensors[MOST_TENSORS]; /* inputs that the builder does not make */
    uint32_t n_tensor;
    pm__limits limits;
    uint32_t n_row, n_out;
    uint32_t n_token; /* tokens are below it */
    uint32_t part_rows;
    uint32_t most_group_x; /* of the device, made smaller; 0: as it is */
    uint32_t last_pos;     /* of the last row */
    float outlier;
    bool positive; /* weights */
    struct pm_step_sampler sampler;
    float nan_part; /* of the elements of activations */
} kernel_case;

static void case_init(kernel_case *c, uint32_t n_row, uint32_t n_out) {
    *c = (kernel_case){.n_row = n_row, .n_out = n_out, .n_token = 100, .outlier = 100};
    c->limits =
        (pm__limits){.n_ctx = 97, .n_batch = n_row, .n_out = n_out + ROWS_BEYOND, .n_seq = 3};
    c->last_pos = c->limits.n_ctx - 1;
    pm__graph_init(&c->graph);
}

/* Activations the builder makes count from 0, so these go on from 8. */
static pm__t add_tensor(kernel_case *c, const pm__tensor *like) {
    pm__tensor *t = &c->tensors[c->n_tensor];
    *t = *like;
    t->index = 8 + c->n_tensor++;
    return t;
}

static pm__t activation(kernel_case *c, const char *name, pm__row_count rows, uint32_t n_col) {
    const pm__tensor t = {.name = name, .kind = PM__ACTIVATION, .rows = rows, .n_col = n_col};
    return add_tensor(c, &t);
}

static pm__t weight(kernel_case *c, const char *name, pm__type type, uint32_t n_row,
                    uint32_t n_col) {
    const pm__tensor t = {
        .name = name, .kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = n_col};
    return add_tensor(c, &t);
}

static struct pm_step_row step_row(const kernel_case *c, uint32_t r) {
    const uint32_t n_ctx = c->limits.n_ctx;
    const uint64_t back = (uint64_t)(c->n_row - 1 - r) * 7919 % n_ctx; /* distinct: 7919 is prime */
    return (struct pm_step_row){.token = random32() % c->n_token,
                                .seq = r % c->limits.n_seq,
                                .pos = (uint32_t)((c->last_pos + n_ctx - back) % n_ctx)};
}

static void fill_rows(const kernel_case *c, void *data) {
    struct pm_step_head *head = data;
    struct pm_step_row *rows = (struct pm_step_row *)(head + 1);
    *head = (struct pm_step_head){
        .n_row = c->n_row, .n_out = c->n_out, .step = 1234567, .n_sample = c->n_out};
    for (uint32_t r = 0; r < c->n_row; r++)
        rows[r] = step_row(c, r);
}

/* A shuffle of all pages. */
static void fill_pages(uint32_t *pages, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = random32() % (i + 1);
        pages[i] = pages[j];
        pages[j] = i;
    }
}

/* Batch row of an output: the last n_out ones. */
static uint32_t out_row(const kernel_case *c, uint32_t i) {
    return c->n_row - c->n_out + i;
}

static void fill_step(const kernel_case *c, pm__step_part part, void *data, size_t bytes) {
    uint32_t *words = data;
    struct pm_step_sampler *samplers = data;
    struct pm_step_drawn *drawn = data;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = part == PM__STEP_HISTORY ? random32() % c->n_token : 0xeeeeeeeeu;
    if (part == PM__STEP_ROWS)
        fill_rows(c, data);
    if (part == PM__STEP_PAGES)
        fill_pages(words, (uint32_t)(bytes / sizeof *words));
    for (uint32_t i = 0; i < c->limits.n_seq && part == PM__STEP_SAMPLERS; i++) {
        samplers[i] = c->sampler;
        samplers[i].seed_lo = random32();
        samplers[i].seed_hi = random32();
    }
    for (uint32_t i = 0; i < c->n_out; i++) {
        if (part == PM__STEP_OUTS)
            words[i] = out_row(c, i);
        if (part == PM__STEP_DRAWN)
            drawn[i] =
                (struct pm_step_drawn){random32() % c->n_token, random32(), 1234567, out_row(c, i)};
    }
}

static size_t operand_bytes(const kernel_case *c, const pm__tensor *t, bool written) {
    if (t->kind == PM__CACHE)
        return (size_t)pm__limits_cache_bytes(&c->limits, t);
    if (t->kind == PM__STEP)
        return (size_t)pm__limits_step_bytes(&c->limits, (pm__step_part)t->index);
    uint64_t row = 0;
    pm__type_row_bytes(t->type, t->n_col, &row);
    const uint32_t rows = t->rows == PM__ROWS_FIXED ? t->n_row
                          : t->rows == PM__ROWS_OUT ? c->n_out
                                                    : c->n_row;
    return (size_t)(row * (rows + (written ? ROWS_BEYOND : 0)));
}

static void fill_operand(const kernel_case *c, pm__operand *o, bool written) {
    const pm__tensor *t = o->tensor;
    float *floats = (float *)(void *)o->data;
    const size_t n = o->bytes / sizeof *floats;
    switch (t->kind) {
    case PM__WEIGHT:
        fill_weight(t, c->positive, o->data, o->bytes);
        break;
    case PM__STEP:
        fill_step(c, (pm__step_part)t->index, o->data, o->bytes);
        break;
    case PM__ACTIVATION:
    case PM__CACHE:
        fill_floats(floats, n, c->outlier);
        for (size_t i = 0; i < n && c->nan_part > 0; i++)
            if (fabsf(uniform()) < c->nan_part)
                floats[i] = NAN;
        if (written && t->kind == PM__ACTIVATION)
            memset(o->data, 0xee, o->bytes);
        break;
    }
}

static bool is_in(const pm__tensor *t, const pm__tensor *const *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == t)
            return true;
    return false;
}

static pm__operand *find_operand(pm__trial *trial, const pm__tensor *t) {
    for (uint32_t i = 0; i < trial->n_operand; i++)
        if (trial->operands[i].tensor == t)
            return &trial->operands[i];
    return NULL;
}

static void add_operand(const kernel_case *c, pm__trial *trial, const pm__tensor *t, bool written) {
    if (t == NULL || find_operand(trial, t) != NULL)
        return;
    pm__operand *o = &trial->operands[trial->n_operand++];
    *o = (pm__operand){.tensor = t, .bytes = operand_bytes(c, t, written)};
    o->data = malloc(o->bytes);
    o->after = malloc(o->bytes);
    assert_non_null(o->data);
    assert_non_null(o->after);
    fill_operand(c, o, written);
    memcpy(o->after, o->data, o->bytes);
}

static void trial_init(pm__trial *trial, const kernel_case *c) {
    *trial = (pm__trial){.graph = &c->graph,
                         .limits = c->limits,
                         .n_row = c->n_row,
                         .n_out = c->n_out,
                         .n_sample = c->n_out,
                         .part_rows = c->part_rows};
    pm__access access;
    const pm__node *node = &c->graph.nodes[0];
    pm__node_access(node, &access);
    for (int i = 0; i < PM__MOST_INPUTS; i++)
        add_operand(c, trial, node->in[i],
                    node->in[i] != NULL && is_in(node->in[i], access.writes, access.n_write));
    add_operand(c, trial, node->out, true);
}

static void trial_finish(pm__trial *trial) {
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        free(trial->operands[i].data);
        free(trial->operands[i].after);
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* Runs the reference over copies, which become expected[operand]. */
static void run_reference(const kernel_case *c, pm__trial *trial, unsigned char **expected) {
    const pm__node *node = &c->graph.nodes[0];
    pm__cpu_args args = {.n_row = c->n_row, .n_out = c->n_out, .limits = &c->limits};
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        const pm__operand *o = &trial->operands[i];
        expected[i] = malloc(o->bytes);
        assert_non_null(expected[i]);
        memcpy(expected[i], o->data, o->bytes);
        for (int k = 0; k < PM__MOST_INPUTS; k++)
            if (node->in[k] == o->tensor)
                args.in[k] = expected[i];
        if (node->out == o->tensor)
            args.out = expected[i];
    }
    pm__cpu_run_node(node, &args);
}

static double nmse(const float *got, const float *expected, size_t n) {
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)expected[i];
        error += d * d;
        power += (double)expected[i] * (double)expected[i];
    }
    return power > 0 ? error / power : error;
}

/* The sentence of what is wrong, or NULL. Outputs may differ within the operation's bound, all
 * other bytes not at all. */
static const char *compare(const kernel_case *c, const pm__operand *o,
                           const unsigned char *expected) {
    static char text[200];
    const pm__node *node = &c->graph.nodes[0];
    const double bound = pm__op_get(node->op)->nmse;
    size_t same_from = 0;
    if (bound > 0 && o->tensor == node->out) {
        same_from = operand_bytes(c, o->tensor, false);
        const double e = nmse((const void *)o->after, (const void *)expected, same_from / 4);
        if (!(e <= bound)) {
            snprintf(text, sizeof text, "NMSE %.3g, allowed are %.3g", e, bound);
            return text;
        }
    }
    for (size_t i = same_from; i < o->bytes; i++) {
        if (o->after[i] != expected[i]) {
            uint32_t got, want;
            memcpy(&got, o->after + i / 4 * 4, sizeof got);
            memcpy(&want, expected + i / 4 * 4, sizeof want);
            snprintf(text, sizeof text, "%s: word %zu is %08x, expected is %08x", o->tensor->name,
                     i / 4, got, want);
            return text;
        }
    }
    return NULL;
}

static const char *check_trial(const suite *s, const kernel_case *c, pm__trial *trial) {
    if (pm__harness_run(s->harness, trial, RUNS) != PM_OK)
        return pm_last_error();
    if (strcmp(trial->kernel, s->kernel->name) != 0)
        return "another kernel was chosen";
    unsigned char *expected[PM__MOST_OPERANDS] = {0};
    run_reference(c, trial, expected);
    const char *wrong = NULL;
    for (uint32_t i = 0; i < trial->n_operand; i++) {
        if (wrong == NULL)
            wrong = compare(c, &trial->operands[i], expected[i]);
        free(expected[i]);
    }
    return wrong;
}

static uint64_t seed_of(const char *name) {
    const char *text = getenv("PUMICE_TEST_SEED");
    uint64_t hash = 0xcbf29ce484222325ull ^ (text != NULL ? strtoull(text, NULL, 10) : 1);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3ull;
    return hash | 1;
}

/* Runs a case whose graph is built, and gives its memory back. The data depends on the case's name,
 * not on the device. */
static void run_case(suite *s, kernel_case *c, const char *fmt, ...) {
    char shape[96], full[224];
    va_list args;
    va_start(args, fmt);
    vsnprintf(shape, sizeof shape, fmt, args);
    va_end(args);
    snprintf(c->name, sizeof c->name, "%s/%s", s->kernel->name, shape);
    snprintf(full, sizeof full, "device%u/%s", s->device, c->name);
    const char *only = getenv("PUMICE_TEST_ONLY");
    if (only != NULL && strstr(full, only) == NULL) {
        s->n_skipped++;
        pm__graph_finish(&c->graph);
        return;
    }
    if (getenv("PUMICE_TEST_LIST") != NULL)
        printf("%s\n", full);
    assert_int_equal(c->graph.status, PM_OK);
    pm__caps *caps = &s->harness->gpu->caps;
    const uint32_t most_group_x = caps->most_group_x;
    if (c->most_group_x != 0)
        caps->most_group_x = c->most_group_x;
    pm__trial trial;
    state = seed_of(c->name);
    trial_init(&trial, c);
    const char *wrong = check_trial(s, c, &trial);
    caps->most_group_x = most_group_x;
    s->n_case++;
    if (wrong != NULL) {
        const char *seed = getenv("PUMICE_TEST_SEED");
        s->n_failed++;
        printf("%s: %s\n  again: PUMICE_TEST_SEED=%s PUMICE_TEST_ONLY='%s' tests/test_kernels\n",
               full, wrong, seed != NULL ? seed : "1", full);
    }
    trial_finish(&trial);
    pm__graph_finish(&c->graph);
}

/* ---- cases, operation by operation ----------------------------------------------------------- */

static bool takes_rows(const suite *s, uint32_t n) {
    return n >= s->kernel->least_rows && (s->kernel->most_rows == 0 || n <= s->kernel->most_rows);
}

static const uint32_t some_rows[] = {1, 2, 5, 33};
static const uint32_t some_cols[] = {1, 7, 63, 64, 65, 131};

/* Columns of a matrix that its type can have. */
static uint32_t fit(pm__type type, uint32_t n_col) {
    return n_col * pm__type_get(type)->block_n;
}

static void cases_embed(suite *s) {
    static const uint32_t cols[] = {1, 7, 64, 67};
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        for (size_t i = 0; i < PM__COUNT(cols); i++) {
            kernel_case c;
            case_init(&c, some_rows[i], 1);
            c.n_token = 61;
            c.part_rows = i % 2 == 0 ? 0 : 17;
            const uint32_t n_col = fit((pm__type)type, i < 2 ? cols[i] : cols[i] / 2 + 1);
            pm__embed(&c.graph, "embed", weight(&c, "table", (pm__type)type, c.n_token, n_col));
            run_case(s, &c, "%s/%ux%u/rows%u%s", pm__type_get((pm__type)type)->name, c.n_token,
                     n_col, c.n_row, c.part_rows > 0 ? "/parts" : "");
        }
    }
}

static void cases_rmsnorm(suite *s) {
    static const uint32_t cols[] = {1, 7, 127, 128, 129, 1031};
    for (size_t i = 0; i < PM__COUNT(cols); i++) {
        for (size_t r = 0; r < PM__COUNT(some_rows); r++) {
            kernel_case c;
            case_init(&c, some_rows[r], 1);
            const pm__t x = activation(&c, "x", PM__ROWS_BATCH, cols[i]);
            pm__rmsnorm(&c.graph, "rmsnorm", x, weight(&c, "w", PM__TYPE_F32, 1, cols[i]), 1e-5f);
            run_case(s, &c, "%u/rows%u", cols[i], c.n_row);
        }
    }
}

typedef struct matmul_shape {
    uint32_t n_in, n_out; /* n_in in blocks of the type */
    uint32_t part_rows, most_group_x;
    bool bias, residual, outs;
} matmul_shape;

static void case_matmul(suite *s, pm__type type, const matmul_shape *m, uint32_t n_row) {
    kernel_case c;
    case_init(&c, m->outs ? n_row + 3 : n_row, m->outs ? n_row : 1);
    c.part_rows = m->part_rows;
    c.most_group_x = m->most_group_x;
    const uint32_t n_in = fit(type, m->n_in);
    const pm__row_count rows = m->outs ? PM__ROWS_OUT : PM__ROWS_BATCH;
    const pm__t x = activation(&c, "x", rows, n_in);
    const pm__t w = weight(&c, "w", type, m->n_out, n_in);
    const pm__t bias = m->bias ? weight(&c, "bias", PM__TYPE_F32, 1, m->n_out) : NULL;
    const pm__t residual = m->residual ? activation(&c, "residual", rows, m->n_out) : NULL;
    pm__matmul_add(&c.graph, "matmul", x, w, bias, residual);
    run_case(s, &c, "%s/%ux%u/rows%u%s%s%s%s%s", pm__type_get(type)->name, m->n_out, n_in, n_row,
             m->bias ? "/bias" : "", m->residual ? "/residual" : "",
             m->part_rows > 0 ? "/parts" : "", m->outs ? "/outs" : "",
             m->most_group_x > 0 ? "/wide" : "");
}

static void cases_matmul(suite *s) {
    static const matmul_shape elements[] = {
        {1, 1, 0, 0, false, false, false},     {7, 3, 0, 0, true, false, false},
        {31, 5, 0, 0, false, true, true},      {32, 64, 0, 0, false, false, false},
        {33, 63, 23, 0, true, true, false},    {64, 65, 0, 0, true, true, true},
        {613, 131, 50, 0, false, true, false}, {260, 300, 0, 2, false, false, false},
    };
    static const matmul_shape blocks[] = {
        {1, 3, 0, 0, true, false, false},   {2, 64, 0, 0, false, false, false},
        {3, 65, 23, 0, true, true, true},   {7, 131, 50, 0, false, true, false},
        {19, 67, 0, 2, false, true, false},
    };
    static const uint32_t rows[] = {1, 2, 4, 5, 31, 32, 33, 67};
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        const bool in_blocks = pm__type_get((pm__type)type)->block_n > 1;
        const matmul_shape *shapes = in_blocks ? blocks : elements;
        const size_t n = in_blocks ? PM__COUNT(blocks) : PM__COUNT(elements);
        for (size_t i = 0; i < n; i++)
            for (size_t r = 0; r < PM__COUNT(rows); r++)
                if (takes_rows(s, rows[r]))
                    case_matmul(s, (pm__type)type, &shapes[i], rows[r]);
    }
}

static void case_rope(suite *s, const pm__rope_desc *desc, uint32_t n_head, uint32_t n_row,
                      uint32_t n_ctx) {
    kernel_case c;
    pm__rope_desc with = *desc;
    case_init(&c, n_row, 1);
    c.limits.n_ctx = n_ctx;
    c.last_pos = n_ctx - 1;
    const bool factors = desc->freq_scale < 1;
    c.positive = true;
    const pm__t x = activation(&c, "x", PM__ROWS_BATCH, n_head * desc->head_dim);
    if (factors)
        with.factors = weight(&c, "factors", PM__TYPE_F32, 1, desc->n_rot / 2);
    pm__rope(&c.graph, "rope", x, &with);
    run_case(s, &c, "%ux%u/rot%u/%s/base%g/scale%g/ctx%u/rows%u", n_head, desc->head_dim,
             desc->n_rot, desc->style == PM__ROPE_HALVES ? "halves" : "pairs",
             (double)desc->freq_base, (double)desc->freq_scale, n_ctx, n_row);
}

static void cases_rope(suite *s) {
    static const pm__rope_desc descs[] = {
        {2, 2, PM__ROPE_PAIRS, 10000.0f, 1, NULL},
        {10, 6, PM__ROPE_HALVES, 10000.0f, 1, NULL},
        {64, 64, PM__ROPE_PAIRS, 10000.0f, 1, NULL},
        {26, 26, PM__ROPE_HALVES, 500000.0f, 1, NULL},
        {128, 128, PM__ROPE_HALVES, 1e6f, 0.25f, NULL},
        {80, 32, PM__ROPE_PAIRS, 1e4f, 0.3f, NULL},
        {256, 256, PM__ROPE_PAIRS, 1, 1, NULL},
    };
    static const uint32_t ctxs[] = {1, 4096, 131072};
    for (size_t i = 0; i < PM__COUNT(descs); i++)
        for (size_t k = 0; k < PM__COUNT(ctxs); k++)
            case_rope(s, &descs[i], (uint32_t)i % 3 + 1, ctxs[k] == 1 ? 1 : some_rows[i % 3 + 1],
                      ctxs[k]);
}

static void cases_kv_store(suite *s) {
    for (size_t i = 0; i < PM__COUNT(some_cols); i++) {
        kernel_case c;
        case_init(&c, some_rows[i % 4], 1);
        const pm__t cache = pm__cache(&c.graph, "cache", some_cols[i]);
        pm__kv_store(&c.graph, "kv_store", cache,
                     activation(&c, "x", PM__ROWS_BATCH, some_cols[i]));
        run_case(s, &c, "%u/rows%u", some_cols[i], c.n_row);
    }
}

static void cases_attention(suite *s) {
    static const struct {
        uint32_t head_dim, n_head, n_head_kv, n_ctx, last_pos, n_row;
        float scale; /* beside 1 / sqrt(head_dim): large scores, of both signs */
    } shapes[] = {
        {2, 1, 1, 33, 0, 1, 1},      {10, 6, 2, 97, 31, 2, 1},      {64, 4, 4, 129, 32, 5, 1},
        {26, 3, 1, 300, 299, 33, 1}, {80, 8, 2, 97, 63, 1, 1},      {256, 2, 1, 65, 64, 7, 1},
        {128, 4, 2, 193, 127, 2, 1}, {130, 5, 1, 1031, 1030, 3, 1}, {64, 9, 3, 129, 128, 1, 1},
        {32, 8, 8, 97, 0, 3, 1000},  {34, 6, 3, 97, 0, 1, 1000},
    };
    for (size_t i = 0; i < PM__COUNT(shapes); i++) {
        const uint32_t n_kv = shapes[i].n_head_kv * shapes[i].head_dim;
        const pm__attention_desc desc = {shapes[i].n_head, shapes[i].n_head_kv, shapes[i].head_dim,
                                         shapes[i].scale / sqrtf((float)shapes[i].head_dim)};
        kernel_case c;
        case_init(&c, shapes[i].n_row, 1);
        c.limits.n_ctx = shapes[i].n_ctx;
        c.last_pos = shapes[i].last_pos;
        c.outlier = 4;
        const pm__t q = activation(&c, "q", PM__ROWS_BATCH, desc.n_head * desc.head_dim);
        const pm__t k = pm__cache(&c.graph, "k", n_kv), v = pm__cache(&c.graph, "v", n_kv);
        pm__attention(&c.graph, "attention", q, k, v, &desc);
        run_case(s, &c, "%ux%u/kv%u/pos%u/rows%u/scale%g", desc.n_head, desc.head_dim,
                 desc.n_head_kv, c.last_pos, c.n_row, (double)shapes[i].scale);
    }
}

static void cases_binary(suite *s, pm__t (*op)(pm__graph *, const char *, pm__t, pm__t)) {
    for (size_t i = 0; i < PM__COUNT(some_cols); i++) {
        kernel_case c;
        case_init(&c, some_rows[i % 4] + 1, some_rows[i % 4]);
        const pm__row_count rows = i % 2 == 0 ? PM__ROWS_BATCH : PM__ROWS_OUT;
        const pm__t a = activation(&c, "a", rows, some_cols[i]);
        op(&c.graph, "binary", a, activation(&c, "b", rows, some_cols[i]));
        run_case(s, &c, "%u/rows%u", some_cols[i], rows == PM__ROWS_OUT ? c.n_out : c.n_row);
    }
}

static void cases_swiglu(suite *s) {
    cases_binary(s, pm__swiglu);
}

static void cases_add(suite *s) {
    cases_binary(s, pm__add);
}

static void cases_select(suite *s) {
    for (size_t i = 0; i < PM__COUNT(some_cols); i++) {
        kernel_case c;
        case_init(&c, some_rows[i % 4] + 2, some_rows[i % 4]);
        pm__select(&c.graph, "select", activation(&c, "x", PM__ROWS_BATCH, some_cols[i]));
        run_case(s, &c, "%u/outs%u", some_cols[i], c.n_out);
    }
}

/* Both nodes that closing a graph appends read tokens; `keep` is the one under test. */
static void close_graph(kernel_case *c, uint32_t n_vocab, uint32_t keep) {
    pm__graph_close(&c->graph, activation(c, "logits", PM__ROWS_OUT, n_vocab));
    assert_int_equal(c->graph.status, PM_OK);
    c->graph.nodes[0] = c->graph.nodes[keep];
    c->graph.n_node = 1;
    c->n_token = n_vocab;
}

static void cases_sample(suite *s) {
    static const struct {
        const char *name;
        struct pm_step_sampler sampler;
        float nan_part;
    } samplers[] = {
        {"greedy", {.top_p = 1, .repeat_penalty = 1}, 0},
        {"plain", {.temperature = 1, .top_p = 1, .repeat_penalty = 1}, 0},
        {"top_k", {.temperature = 1.5f, .top_k = 5, .top_p = 1, .repeat_penalty = 1}, 0},
        {"top_p", {.temperature = 0.9f, .top_p = 0.9f, .repeat_penalty = 1}, 0},
        {"min_p", {.temperature = 2, .top_p = 1, .min_p = 0.05f, .repeat_penalty = 1}, 0},
        {"nan", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 0.3f},
        {"nan_all", {.temperature = 1, .top_p = 0.5f, .repeat_penalty = 1}, 1.5f},
        {"penalties",
         {.top_p = 1,
          .repeat_penalty = 1.3f,
          .presence_penalty = 0.5f,
          .frequency_penalty = 0.25f,
          .repeat_last_n = 64},
         0},
        {"all",
         {.temperature = 0.8f,
          .top_k = 40,
          .top_p = 0.95f,
          .min_p = 0.01f,
          .repeat_penalty = 1.1f,
          .presence_penalty = -0.5f,
          .frequency_penalty = 0.1f,
          .repeat_last_n = 5000},
         0},
    };
    static const uint32_t vocabs[] = {1, 7, 127, 129, 2048, 32003};
    static const uint32_t outs[] = {1, 2, 5};
    for (size_t v = 0; v < PM__COUNT(vocabs); v++) {
        for (size_t i = 0; i < PM__COUNT(samplers); i++) {
            kernel_case c;
            const uint32_t n_out = outs[(v + i) % 3];
            case_init(&c, n_out + 2, n_out);
            c.limits.n_ctx = 1500;
            c.last_pos = i % 2 == 0 ? 1499 : 40;
            c.outlier = 3;
            c.sampler = samplers[i].sampler;
            c.nan_part = samplers[i].nan_part;
            close_graph(&c, vocabs[v], 0);
            run_case(s, &c, "%s/%u/outs%u", samplers[i].name, vocabs[v], n_out);
        }
    }
}

static void cases_advance(suite *s) {
    static const struct {
        uint32_t n_row, n_out, last_pos;
    } shapes[] = {{1, 1, 5}, {1, 1, 96}, {3, 3, 20}, {5, 1, 20}, {7, 4, 96}, {70, 70, 33}};
    for (size_t i = 0; i < PM__COUNT(shapes); i++) {
        kernel_case c;
        case_init(&c, shapes[i].n_row, shapes[i].n_out);
        c.last_pos = shapes[i].last_pos;
        close_graph(&c, 101, 1);
        run_case(s, &c, "rows%u/outs%u/pos%u", c.n_row, c.n_out, c.last_pos);
    }
}

static void (*const cases[PM__OP_COUNT])(suite *s) = {
#define PM_OP(NAME, name, nmse, what) [PM__OP_##NAME] = cases_##name,
#include "runtime/graph/ops.def"
#undef PM_OP
};

/* ---- one test a device and kernel ------------------------------------------------------------ */

/* A kernel is chosen where its tier is the highest, so the tiers above it are taken away meanwhile.
 */
static void test_kernel(void **context) {
    suite *s = *context;
    pm__caps *caps = &s->harness->gpu->caps;
    const pm__caps all = *caps;
    if (!all.tiers[s->kernel->tier]) {
        printf("device %u has no such tier: %s is not tested\n", s->device, s->kernel->name);
        skip();
    }
    for (int tier = (int)s->kernel->tier + 1; tier < PM__TIER_COUNT; tier++)
        caps->tiers[tier] = false;
    cases[s->kernel->op](s);
    *caps = all;
    assert_int_equal(s->n_failed, 0);
    assert_true(s->n_case + s->n_skipped > 0);
}

/* ---- what lowering refuses ------------------------------------------------------------------- */

static void expect_refusal(suite *s, kernel_case *c, pm_status status, const char *part) {
    pm__trial trial;
    assert_int_equal(c->graph.status, PM_OK);
    state = 1;
    trial_init(&trial, c);
    assert_int_equal(pm__harness_run(s->harness, &trial, 1), status);
    assert_non_null(strstr(pm_last_error(), part));
    trial_finish(&trial);
    pm__graph_finish(&c->graph);
}

static void test_refusals(void **context) {
    suite *s = *context;
    kernel_case c;
    case_init(&c, 1, 1);
    pm__t x = activation(&c, "x", PM__ROWS_BATCH, 64);
    pm__rmsnorm(&c.graph, "norm", x, weight(&c, "half", PM__TYPE_F16, 1, 64), 1e-5f);
    expect_refusal(s, &c, PM_UNSUPPORTED, "'half' is F16");

    case_init(&c, 1, 1);
    const pm__attention_desc odd = {1, 1, 7, 1};
    x = activation(&c, "x", PM__ROWS_BATCH, 7);
    const pm__t cache = pm__cache(&c.graph, "k", 7);
    pm__attention(&c.graph, "attention", x, cache, cache, &odd);
    expect_refusal(s, &c, PM_UNSUPPORTED, "heads of 7 columns");

    case_init(&c, 1, 1);
    const pm__rope_desc slow = {8, 8, PM__ROPE_PAIRS, 0.5f, 1, NULL};
    pm__rope(&c.graph, "rope", activation(&c, "x", PM__ROWS_BATCH, 8), &slow);
    expect_refusal(s, &c, PM_UNSUPPORTED, "base 0.5");

    pm__caps *caps = &s->harness->gpu->caps;
    const pm__caps all = *caps;
    caps->most_range = 4096;
    case_init(&c, 1, 1);
    x = activation(&c, "x", PM__ROWS_BATCH, 1024);
    pm__add(&c.graph, "add", x, x);
    expect_refusal(s, &c, PM_OUT_OF_MEMORY, "'add'");
    *caps = all;

    for (int tier = 0; tier < PM__TIER_COUNT; tier++)
        caps->tiers[tier] = false;
    case_init(&c, 1, 1);
    x = activation(&c, "x", PM__ROWS_BATCH, 5);
    pm__add(&c.graph, "add", x, x);
    expect_refusal(s, &c, PM_UNSUPPORTED, "no add kernel for 1 rows");
    *caps = all;
}

/* ---- all devices ----------------------------------------------------------------------------- */

typedef struct plan {
    pm__harness *harnesses; /* [n_device] */
    suite *suites;          /* [n_test] */
    struct CMUnitTest *tests;
    char (*names)[96];
    size_t n_test;
} plan;

static void plan_add(plan *p, const suite *s, const char *name, CMUnitTestFunction run) {
    p->suites[p->n_test] = *s;
    snprintf(p->names[p->n_test], sizeof p->names[0], "%s on device %u", name, s->device);
    p->tests[p->n_test] = (struct CMUnitTest){
        .name = p->names[p->n_test], .test_func = run, .initial_state = &p->suites[p->n_test]};
    p->n_test++;
}

static bool plan_add_device(plan *p, const pm_device_info *info, pm__harness *harness) {
    size_t n_kernel;
    const pm__kernel *kernels = pm__kernel_table(&n_kernel);
    if (pm__harness_init(harness, info->index) != PM_OK) {
        printf("device %u, %s: %s\n", info->index, info->name, pm_last_error());
        return false;
    }
    printf("device %u: %s, %s\n", info->index, info->name, info->driver);
    suite s = {.harness = harness, .device = info->index};
    plan_add(p, &s, "refusals", test_refusals);
    for (size_t k = 0; k < n_kernel; k++) {
        s.kernel = &kernels[k];
        plan_add(p, &s, kernels[k].name, test_kernel);
    }
    return true;
}

static int run_devices(const pm_device_info *list, size_t n) {
    size_t n_kernel;
    pm__kernel_table(&n_kernel);
    const size_t most = n * (n_kernel + 1);
    plan p = {.harnesses = calloc(n, sizeof *p.harnesses),
              .suites = calloc(most, sizeof *p.suites),
              .tests = calloc(most, sizeof *p.tests),
              .names = calloc(most, sizeof *p.names)};
    bool opened = p.harnesses != NULL && p.suites != NULL && p.tests != NULL && p.names != NULL;
    for (size_t i = 0; i < n && opened; i++)
        opened = !list[i].usable || plan_add_device(&p, &list[i], &p.harnesses[i]);
    const int failed =
        opened ? _cmocka_run_group_tests("kernels", p.tests, p.n_test, NULL, NULL) : 1;
    for (size_t i = 0; i < n && p.harnesses != NULL; i++)
        pm__harness_finish(&p.harnesses[i]);
    free(p.harnesses);
    free(p.suites);
    free(p.tests);
    free(p.names);
    return failed;
}

int main(void) {
    pm_device_info *list = NULL;
    size_t n = 0;
    const char *note = "";
    if (pm__gpu_list(&list, &n, &note) != PM_OK) {
        printf("%s\n", pm_last_error());
        return 1;
    }
    if (n == 0) {
        printf("no Vulkan device (%s): kernels are not tested\n", note);
        pm__gpu_list_free(list);
        return 77;
    }
    const int failed = run_devices(list, n);
    pm__gpu_list_free(list);
    return failed;
}
