/* test_cpu.c: the reference executor's operations against formulas written out once more, and its
 * backend's rules.
 * ctest: quick */
#include "cpu/cpu.h"
#include "graph/build.h"
#include "graph/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- material -------------------------------------------------------------------------------- */

/* Values in [-1, 1), one in 50 a hundred times that. */
static float noise(uint32_t i, uint32_t seed) {
    const float x = (float)(pm__philox(i, seed, 3) >> 8) / 8388608.0f - 1.0f;
    return pm__philox(i, seed, 4) % 50 == 0 ? x * 100 : x;
}

static float *noises(size_t n, uint32_t seed) {
    float *out = malloc(n * sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++)
        out[i] = noise((uint32_t)i, seed);
    return out;
}

/* Squared error over squared reference. */
static double nmse(const float *mine, const double *reference, size_t n) {
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)mine[i] - reference[i]) * ((double)mine[i] - reference[i]);
        power += reference[i] * reference[i];
    }
    return error / power;
}

static const double close_enough = 1e-13; /* f32 results of double sums */

/* Five rows of two sequences, not in order of position. */
enum { N_ROW = 5, N_OUT = 2, N_SEQ = 2, N_CTX = 70, N_PAGE = 3 };
static const struct {
    struct pm_step_head head;
    struct pm_step_row rows[N_ROW];
} step_rows = {{.n_row = N_ROW, .n_out = N_OUT, .step = 5},
               {{.token = 4, .seq = 1, .pos = 68},
                {.token = 0, .seq = 0, .pos = 0},
                {.token = 10, .seq = 0, .pos = 33},
                {.token = 7, .seq = 1, .pos = 69},
                {.token = 4, .seq = 0, .pos = 31}}};
static const uint32_t pages[N_SEQ * N_PAGE] = {5, 0, 3, 2, 4, 1};
static const uint32_t outs[N_OUT] = {2, 4};
static const pm__limits limits = {.n_ctx = N_CTX, .n_batch = N_ROW, .n_out = N_OUT, .n_seq = N_SEQ};

static size_t cache_row(uint32_t seq, uint32_t pos) {
    return (size_t)pages[seq * 3 + pos / 32] * 32 + pos % 32;
}

static pm__tensor activation(uint32_t n_col) {
    return (pm__tensor){
        .kind = PM__ACTIVATION, .type = PM__TYPE_F32, .rows = PM__ROWS_BATCH, .n_col = n_col};
}

static pm__tensor weight(pm__type type, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){.kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = n_col};
}

static void run(const pm__node *node, const void *const *in, void *out) {
    pm__cpu_args args = {.out = out, .n_row = N_ROW, .n_out = N_OUT, .limits = &limits};
    for (uint32_t i = 0; i < PM__MOST_INPUTS; i++)
        if (node->in[i] != NULL)
            args.in[i] = in[i];
    pm__cpu_run_node(node, &args);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void test_embed(void **state) {
    (void)state;
    enum { N = 13 };
    const pm__tensor table = weight(PM__TYPE_F16, 11, N), step = {.kind = PM__STEP};
    const pm__tensor y = activation(N);
    uint16_t halves[11 * N];
    for (uint32_t i = 0; i < PM__COUNT(halves); i++)
        halves[i] = pm__f32_to_f16((float)i * 0.25f);
    float out[N_ROW * N];
    const pm__node node = {.op = PM__OP_EMBED, .in = {&table, &step}, .out = &y};
    run(&node, (const void *[PM__MOST_INPUTS]){halves, &step_rows}, out);
    for (uint32_t r = 0; r < N_ROW; r++)
        for (uint32_t c = 0; c < N; c++)
            assert_true(out[r * N + c] == (float)(step_rows.rows[r].token * N + c) * 0.25f);
}

static void test_rmsnorm(void **state) {
    (void)state;
    static const uint32_t sizes[] = {1, 7, 511, 513, 1031};
    for (size_t s = 0; s < PM__COUNT(sizes); s++) {
        const uint32_t n = sizes[s];
        const pm__tensor x = activation(n), w = weight(PM__TYPE_F32, 1, n);
        pm__node node = {.op = PM__OP_RMSNORM, .in = {&x, &w}, .out = &x};
        node.params.norm.head_dim = n;
        node.params.norm.eps = 0.01f;
        float *xs = noises(N_ROW * n, 1), *ws = noises(n, 2), *out = noises(N_ROW * n, 3);
        double *expected = malloc(N_ROW * n * sizeof *expected);
        for (uint32_t r = 0; r < N_ROW; r++) {
            double sum = 0;
            for (uint32_t c = 0; c < n; c++)
                sum += (double)xs[r * n + c] * (double)xs[r * n + c];
            for (uint32_t c = 0; c < n; c++)
                expected[r * n + c] =
                    (double)xs[r * n + c] / sqrt(sum / n + (double)0.01f) * (double)ws[c];
        }
        run(&node, (const void *[PM__MOST_INPUTS]){xs, ws}, out);
        assert_true(nmse(out, expected, N_ROW * n) < close_enough);
        free(xs);
        free(ws);
        free(out);
        free(expected);
    }
}

/* rows [first, ...) of a weight of any type, as double. */
static double *decoded(const pm__tensor *w, const uint8_t *data) {
    uint64_t row_bytes;
    assert_true(pm__type_row_bytes(w->type, w->n_col, &row_bytes));
    double *out = malloc((size_t)w->n_row * w->n_col * sizeof *out);
    float *row = malloc(w->n_col * sizeof *row);
    assert_non_null(out);
    assert_non_null(row);
    for (uint32_t r = 0; r < w->n_row; r++) {
        pm__type_decode(w->type, data + r * row_bytes, w->n_col, row);
        for (uint32_t c = 0; c < w->n_col; c++)
            out[(size_t)r * w->n_col + c] = (double)row[c];
    }
    free(row);
    return out;
}

/* Random bytes of a weight with scales that are numbers. */
static uint8_t *weight_bytes(const pm__tensor *w) {
    uint64_t row_bytes;
    assert_true(pm__type_row_bytes(w->type, w->n_col, &row_bytes));
    const size_t n = (size_t)row_bytes * w->n_row, step = pm__type_get(w->type)->block_bytes;
    uint8_t *out = malloc(n);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)pm__philox((uint32_t)i, 8, 8);
    for (size_t i = 0; i < n / step; i++)
        pm__type_put_scale(w->type, noise((uint32_t)i, 77), out + i * step);
    return out;
}

static void check_matmul(pm__type type, uint32_t n_in, uint32_t n_out, bool extras) {
    const pm__tensor x = activation(n_in), w = weight(type, n_out, n_in), y = activation(n_out),
                     bias = weight(PM__TYPE_F32, 1, n_out);
    pm__node node = {.op = PM__OP_MATMUL, .in = {&x, &w}, .out = &y};
    if (extras) {
        node.in[2] = &bias;
        node.in[3] = &y;
    }
    float *xs = noises(N_ROW * n_in, 5), *bs = noises(n_out, 6), *rs = noises(N_ROW * n_out, 7);
    float *out = noises(N_ROW * n_out, 8);
    uint8_t *ws = weight_bytes(&w);
    double *wd = decoded(&w, ws), *expected = malloc(N_ROW * n_out * sizeof *expected);
    for (uint32_t r = 0; r < N_ROW; r++)
        for (uint32_t o = 0; o < n_out; o++) {
            double sum = extras ? (double)bs[o] + (double)rs[r * n_out + o] : 0;
            for (uint32_t c = 0; c < n_in; c++)
                sum += (double)xs[r * n_in + c] * wd[o * n_in + c];
            expected[r * n_out + o] = sum;
        }
    run(&node, (const void *[PM__MOST_INPUTS]){xs, ws, bs, rs}, out);
    assert_true(nmse(out, expected, N_ROW * n_out) < close_enough);
    free(xs);
    free(bs);
    free(rs);
    free(out);
    free(ws);
    free(wd);
    free(expected);
}

static void test_matmul(void **state) {
    (void)state;
    for (int type = 0; type < PM__TYPE_COUNT; type++) {
        const uint32_t block = pm__type_get((pm__type)type)->block_n;
        check_matmul((pm__type)type, block == 1 ? 7 : block, 3, false);
        check_matmul((pm__type)type, block == 1 ? 1031 : block * 33, 17, true);
        check_matmul((pm__type)type, 512, 131, true);
    }
}

static void check_rope(pm__rope_style style, uint32_t n_rot, bool factors) {
    enum { HEAD = 10, N = 3 * HEAD };
    const pm__tensor x = activation(N), w = weight(PM__TYPE_F32, 1, n_rot / 2),
                     step = {.kind = PM__STEP};
    pm__node node = {.op = PM__OP_ROPE, .in = {&x, &step, factors ? &w : NULL}, .out = &x};
    node.params.rope.head_dim = HEAD;
    node.params.rope.n_rot = n_rot;
    node.params.rope.style = style;
    node.params.rope.freq_base = 500;
    node.params.rope.freq_scale = 0.25f;
    node.params.rope.scale = 1;
    static const float stretch[5] = {1, 2, 3.5f, 8, 0.5f};
    float *xs = noises(N_ROW * N, 9), out[N_ROW * N];
    double expected[N_ROW * N];
    for (uint32_t i = 0; i < N_ROW * N; i++) {
        const uint32_t d = i % HEAD, half = n_rot / 2;
        expected[i] = (double)xs[i];
        if (d >= n_rot)
            continue;
        const bool second = style == PM__ROPE_PAIRS ? d % 2 == 1 : d >= half;
        const uint32_t pair = style == PM__ROPE_PAIRS ? d / 2 : d % half;
        const uint32_t away = style == PM__ROPE_PAIRS ? 1 : half;
        const uint32_t partner = second ? i - away : i + away;
        const double angle = step_rows.rows[i / N].pos * 0.25 / pow(500, 2.0 * pair / n_rot) /
                             (factors ? (double)stretch[pair] : 1);
        expected[i] =
            (double)xs[i] * cos(angle) + (double)xs[partner] * (second ? sin(angle) : -sin(angle));
    }
    run(&node, (const void *[PM__MOST_INPUTS]){xs, &step_rows, stretch}, out);
    assert_true(nmse(out, expected, N_ROW * N) < close_enough);
    free(xs);
}

static void test_rope(void **state) {
    (void)state;
    check_rope(PM__ROPE_PAIRS, 10, false);
    check_rope(PM__ROPE_PAIRS, 6, true);
    check_rope(PM__ROPE_HALVES, 10, true);
    check_rope(PM__ROPE_HALVES, 4, false);
}

enum { N_HEAD = 6, N_HEAD_KV = 2, HEAD_DIM = 11 };
enum { N_KV = N_HEAD_KV * HEAD_DIM, CACHE_ROWS = N_SEQ * N_PAGE * 32 };
enum { STRIDE = (N_KV + 3) / 4 * 4 }; /* rows of a cache are whole chunks */

static void test_kv_store(void **state) {
    (void)state;
    const pm__tensor x = activation(N_KV), cache = {.kind = PM__CACHE, .n_col = N_KV},
                     step = {.kind = PM__STEP};
    const pm__node node = {.op = PM__OP_KV_STORE, .in = {&x, &step, &step}, .out = &cache};
    float *xs = noises(N_ROW * N_KV, 10), *out = noises(CACHE_ROWS * STRIDE, 11);
    float *expected = noises(CACHE_ROWS * STRIDE, 11);
    for (uint32_t r = 0; r < N_ROW; r++)
        for (uint32_t c = 0; c < STRIDE; c++)
            expected[cache_row(step_rows.rows[r].seq, step_rows.rows[r].pos) * STRIDE + c] =
                c < N_KV ? xs[r * N_KV + c] : 0;
    run(&node, (const void *[PM__MOST_INPUTS]){xs, &step_rows, pages}, out);
    assert_memory_equal(out, expected, CACHE_ROWS * STRIDE * sizeof(float));
    free(xs);
    free(out);
    free(expected);
}

/* The words of either plane of a position, as plan.h has them. */
static void check_stored(pm__type type) {
    enum { N = 96 };
    const pm__tensor x = activation(N), cache = {.kind = PM__CACHE, .type = type, .n_col = N},
                     step = {.kind = PM__STEP};
    const pm__node node = {.op = PM__OP_KV_STORE, .in = {&x, &step, &step}, .out = &cache};
    const uint32_t n_quant = pm__type_quant_words(type, N), n_scale = pm__type_scale_words(type, N);
    const size_t n_word = CACHE_ROWS * (n_quant + n_scale);
    float *xs = noises(N_ROW * N, 10);
    uint32_t *out = calloc(n_word, sizeof *out), *expected = calloc(n_word, sizeof *out);
    assert_true(out != NULL && expected != NULL);
    for (uint32_t r = 0; r < N_ROW; r++) {
        uint8_t row[N * sizeof(float)];
        const size_t at = cache_row(step_rows.rows[r].seq, step_rows.rows[r].pos);
        pm__type_encode(type, xs + r * N, N, row);
        pm__type_pack(type, row, N, expected + at * n_quant,
                      expected + CACHE_ROWS * n_quant + at * n_scale);
    }
    run(&node, (const void *[PM__MOST_INPUTS]){xs, &step_rows, pages}, out);
    assert_memory_equal(out, expected, n_word * sizeof *out);
    free(xs);
    free(out);
    free(expected);
}

static void test_kv_store_types(void **state) {
    (void)state;
    pm__type type;
    for (uint32_t i = 0; pm__cache_type(i, &type); i++)
        check_stored(type);
}

/* Shapes of attention, and its caches as plain floats. */
typedef struct head_shape {
    uint32_t n_head, n_head_kv, head_dim;
    const float *q, *k, *v; /* [rows, n_head * head_dim], [CACHE_ROWS, n_head_kv * head_dim] */
} head_shape;

/* What one value of attention's output must be. */
static double attention_value(const head_shape *in, uint32_t r, uint32_t h, uint32_t d) {
    const struct pm_step_row row = step_rows.rows[r];
    const uint32_t dim = in->head_dim, n_kv = in->n_head_kv * dim;
    const uint32_t first = h / (in->n_head / in->n_head_kv) * dim;
    double scores[N_CTX], max = -1e300, sum = 0, value = 0;
    for (uint32_t pos = 0; pos <= row.pos; pos++) {
        scores[pos] = 0;
        for (uint32_t c = 0; c < dim; c++)
            scores[pos] += (double)in->q[(r * in->n_head + h) * dim + c] *
                           (double)in->k[cache_row(row.seq, pos) * n_kv + first + c] * (double)0.3f;
        max = fmax(max, scores[pos]);
    }
    for (uint32_t pos = 0; pos <= row.pos; pos++) {
        const double p = exp(scores[pos] - max);
        sum += p;
        value += p * (double)in->v[cache_row(row.seq, pos) * n_kv + first + d];
    }
    return value / sum;
}

/* A cache of the type, of rows that `plain` holds; `plain` becomes what the type made of them. */
static uint32_t *make_cache(pm__type type, float *plain, uint32_t n_col) {
    const uint32_t n_quant = pm__type_quant_words(type, n_col);
    const uint32_t n_scale = pm__type_scale_words(type, n_col);
    uint32_t *words = calloc(CACHE_ROWS * (n_quant + n_scale), sizeof *words);
    uint8_t *row = malloc(n_col * sizeof(float));
    assert_true(words != NULL && row != NULL);
    for (size_t at = 0; at < CACHE_ROWS; at++) {
        pm__type_encode(type, plain + at * n_col, n_col, row);
        pm__type_pack(type, row, n_col, words + at * n_quant,
                      words + CACHE_ROWS * n_quant + at * n_scale);
        pm__type_decode(type, row, n_col, plain + at * n_col);
    }
    free(row);
    return words;
}

static void check_attention(pm__type k_type, pm__type v_type, const head_shape *shape) {
    const uint32_t n_q = shape->n_head * shape->head_dim;
    const uint32_t n_kv = shape->n_head_kv * shape->head_dim;
    const pm__tensor q = activation(n_q), k = {.kind = PM__CACHE, .type = k_type, .n_col = n_kv},
                     v = {.kind = PM__CACHE, .type = v_type, .n_col = n_kv},
                     step = {.kind = PM__STEP};
    pm__node node = {.op = PM__OP_ATTENTION, .in = {&q, &k, &v, &step, &step}, .out = &q};
    node.params.attention.n_head = shape->n_head;
    node.params.attention.n_head_kv = shape->n_head_kv;
    node.params.attention.head_dim = shape->head_dim;
    node.params.attention.head_dim_v = shape->head_dim;
    node.params.attention.scale = 0.3f;
    float *qs = noises(N_ROW * n_q, 12), *ks = noises(CACHE_ROWS * n_kv, 13),
          *vs = noises(CACHE_ROWS * n_kv, 14), *out = calloc(N_ROW * n_q, sizeof *out);
    double *expected = calloc(N_ROW * n_q, sizeof *expected);
    assert_true(out != NULL && expected != NULL);
    uint32_t *k_words = make_cache(k_type, ks, n_kv), *v_words = make_cache(v_type, vs, n_kv);
    const head_shape in = {shape->n_head, shape->n_head_kv, shape->head_dim, qs, ks, vs};
    for (uint32_t i = 0; i < N_ROW * n_q; i++)
        expected[i] = attention_value(&in, i / n_q, i % n_q / in.head_dim, i % in.head_dim);
    run(&node, (const void *[PM__MOST_INPUTS]){qs, k_words, v_words, &step_rows, pages}, out);
    assert_true(nmse(out, expected, N_ROW * n_q) < close_enough);
    free(qs);
    free(ks);
    free(vs);
    free(out);
    free(expected);
    free(k_words);
    free(v_words);
}

static void test_attention(void **state) {
    (void)state;
    static const head_shape any = {.n_head = N_HEAD, .n_head_kv = N_HEAD_KV, .head_dim = HEAD_DIM};
    static const head_shape blocks = {.n_head = 3, .n_head_kv = 3, .head_dim = 32};
    pm__type k, v;
    for (uint32_t i = 0; pm__cache_type(i, &k); i++)
        for (uint32_t j = 0; pm__cache_type(j, &v); j++) {
            check_attention(k, v, &blocks);
            if (pm__type_get(k)->block_n == 1 && pm__type_get(v)->block_n == 1)
                check_attention(k, v, &any);
        }
}

static void test_elementwise(void **state) {
    (void)state;
    enum { N = 37 };
    const pm__tensor x = activation(N);
    pm__node node = {.op = PM__OP_GLU, .in = {&x, &x}, .out = &x};
    node.params.glu.kind = PM__GLU_SILU;
    float *a = noises(N_ROW * N, 15), *b = noises(N_ROW * N, 16), out[N_ROW * N];
    double expected[N_ROW * N];
    for (uint32_t i = 0; i < N_ROW * N; i++)
        expected[i] = (double)a[i] / (1 + exp(-(double)a[i])) * (double)b[i];
    run(&node, (const void *[PM__MOST_INPUTS]){a, b}, out);
    assert_true(nmse(out, expected, N_ROW * N) < close_enough);
    node.op = PM__OP_ADD;
    for (uint32_t i = 0; i < N_ROW * N; i++)
        expected[i] = (double)a[i] + (double)b[i];
    run(&node, (const void *[PM__MOST_INPUTS]){a, b}, out);
    assert_true(nmse(out, expected, N_ROW * N) < close_enough);
    free(a);
    free(b);
}

static void test_select(void **state) {
    (void)state;
    enum { N = 9 };
    const pm__tensor x = activation(N), step = {.kind = PM__STEP};
    pm__tensor y = activation(N);
    y.rows = PM__ROWS_OUT;
    const pm__node node = {.op = PM__OP_SELECT, .in = {&x, &step}, .out = &y};
    float *xs = noises(N_ROW * N, 17), out[N_OUT * N];
    run(&node, (const void *[PM__MOST_INPUTS]){xs, outs}, out);
    for (uint32_t i = 0; i < N_OUT; i++)
        assert_memory_equal(out + i * N, xs + outs[i] * N, N * sizeof(float));
    free(xs);
}

/* ---- a model of our own on the backend ------------------------------------------------------- */

enum { VOCAB = 23, EMBD = 8 };

/* Embedding, one layer of attention, logits: enough that each token depends on those before it. */
typedef struct toy {
    float table[VOCAB * EMBD], square[EMBD * EMBD];
    pm__weight weights[2], *all[2];
    pm__model_def def;
    pm__graph g;
    pm__device_handle cpu;
    void *placed, *context;
    pm__limits limits;
} toy;

static void toy_build(toy *t) {
    pm__graph *g = &t->g;
    const pm__attention_desc heads = {.n_head = 2, .n_head_kv = 2, .head_dim = 4, .scale = 0.5f};
    pm__graph_init(g);
    pm__t x = pm__embed(g, "embed", &t->weights[0].tensor);
    pm__t k = pm__cache(g, "k", PM__TYPE_F32, EMBD), v = pm__cache(g, "v", PM__TYPE_F32, EMBD);
    pm__kv_store(g, "store_k", k, pm__matmul(g, "key", x, &t->weights[1].tensor, NULL));
    pm__kv_store(g, "store_v", v, x);
    x = pm__add(g, "add", x, pm__attention(g, "attention", x, k, v, &heads));
    x = pm__matmul(g, "output", pm__select(g, "select", x), &t->weights[0].tensor, NULL);
    assert_int_equal(pm__graph_close(g, x), PM_OK);
}

static void toy_open(toy *t) {
    memset(t, 0, sizeof *t);
    for (uint32_t i = 0; i < VOCAB * EMBD; i++)
        t->table[i] = (float)(pm__philox(i, 21, 0) >> 8) / 8388608.0f - 1.0f;
    for (uint32_t i = 0; i < EMBD * EMBD; i++)
        t->square[i] = (float)(pm__philox(i, 22, 0) >> 8) / 8388608.0f - 1.0f;
    t->weights[0] = (pm__weight){.tensor = weight(PM__TYPE_F32, VOCAB, EMBD),
                                 .data = (const uint8_t *)t->table};
    t->weights[1] = (pm__weight){.tensor = weight(PM__TYPE_F32, EMBD, EMBD),
                                 .data = (const uint8_t *)t->square};
    t->weights[1].tensor.index = 1;
    t->all[0] = &t->weights[0];
    t->all[1] = &t->weights[1];
    t->def = (pm__model_def){.weights = t->all, .n_weight = 2};
    t->limits = (pm__limits){.n_ctx = 70, .n_batch = 5, .n_out = 5, .n_seq = 2};
    toy_build(t);
    assert_int_equal(pm__cpu_open(2, 0, &t->cpu), PM_OK);
    const pm__backend *b = t->cpu.backend;
    assert_int_equal(b->weights_create(t->cpu.device, &t->def, NULL, NULL, &t->placed), PM_OK);
    assert_int_equal(b->context_create(t->placed, &t->g, &t->limits, &t->context), PM_OK);
    assert_int_equal(b->set_pages(t->context, 0, 0, 3, pages), PM_OK);
    assert_int_equal(b->set_pages(t->context, 1, 0, 3, pages + 3), PM_OK);
    for (uint32_t seq = 0; seq < 2; seq++) {
        const struct pm_step_sampler sampler = {.temperature = 0.9f,
                                                .top_p = 1,
                                                .repeat_penalty = 1.2f,
                                                .repeat_last_n = 3,
                                                .seed_lo = 5 + seq};
        assert_int_equal(b->set_sampler(t->context, seq, &sampler), PM_OK);
    }
}

static void toy_close(toy *t) {
    t->cpu.backend->context_destroy(t->context);
    t->cpu.backend->weights_destroy(t->placed);
    t->cpu.backend->close(t->cpu.device);
    pm__graph_finish(&t->g);
}

static pm_status toy_begin(toy *t, const struct pm_step_row *rows, uint32_t n, uint32_t n_out,
                           bool sample) {
    static const uint32_t all[] = {0, 1, 2, 3, 4};
    const pm__step step = {
        .rows = rows, .n_row = n, .outs = all + (n - n_out), .n_out = n_out, .sample = sample};
    return t->cpu.backend->begin(t->context, &step);
}

/* Steps submitted ahead draw the same tokens as steps given one by one. */
static void test_ahead(void **state) {
    (void)state;
    enum { N_STEP = PM_RING };
    toy t;
    struct pm_step_drawn ahead[N_STEP][2], drawn[2];
    struct pm_step_row rows[2] = {{.token = 3, .seq = 0}, {.token = 8, .seq = 1}};
    const pm__backend *b;
    toy_open(&t);
    b = t.cpu.backend;
    assert_int_equal(toy_begin(&t, rows, 2, 2, true), PM_OK);
    for (uint32_t i = 0; i < N_STEP; i++)
        assert_int_equal(b->submit(t.context), PM_OK);
    assert_int_equal(b->submit(t.context), PM_ARGUMENT); /* the ring is full */
    for (uint32_t i = 0; i < N_STEP; i++)
        assert_int_equal(b->collect(t.context, ahead[i]), PM_OK);
    float last[2 * VOCAB], again[2 * VOCAB];
    assert_int_equal(b->read_logits(t.context, 0, 2, last), PM_OK);
    toy_close(&t);

    toy_open(&t);
    for (uint32_t i = 0; i < N_STEP; i++) {
        assert_int_equal(toy_begin(&t, rows, 2, 2, true), PM_OK);
        assert_int_equal(b->submit(t.context), PM_OK);
        assert_int_equal(b->collect(t.context, drawn), PM_OK);
        assert_memory_equal(drawn, ahead[i], sizeof drawn);
        for (uint32_t k = 0; k < 2; k++) {
            assert_int_equal(drawn[k].step, i);
            rows[k].token = drawn[k].token;
            rows[k].pos++;
        }
    }
    assert_int_equal(b->read_logits(t.context, 0, 2, again), PM_OK);
    assert_memory_equal(last, again, sizeof last);
    toy_close(&t);
}

/* A copied page serves another sequence as the first one served its own. */
static void test_copy_page(void **state) {
    (void)state;
    toy t;
    toy_open(&t);
    const pm__backend *b = t.cpu.backend;
    struct pm_step_row rows[5];
    float first[VOCAB], second[VOCAB];
    for (uint32_t i = 0; i < 5; i++)
        rows[i] = (struct pm_step_row){.token = i * 4, .seq = 0, .pos = i};
    assert_int_equal(toy_begin(&t, rows, 5, 1, false), PM_OK);
    assert_int_equal(b->submit(t.context), PM_OK);
    struct pm_step_drawn drawn = {.token = 99};
    assert_int_equal(b->collect(t.context, &drawn), PM_OK);
    assert_int_equal(drawn.token, 0); /* not sampled */
    assert_int_equal(b->read_logits(t.context, 0, 1, first), PM_OK);
    assert_int_equal(b->copy_page(t.context, pages[0], pages[3]), PM_OK);
    rows[4].seq = 1;
    assert_int_equal(toy_begin(&t, rows + 4, 1, 1, false), PM_OK);
    assert_int_equal(b->submit(t.context), PM_OK);
    assert_int_equal(b->collect(t.context, &drawn), PM_OK);
    assert_int_equal(b->read_logits(t.context, 0, 1, second), PM_OK);
    assert_memory_equal(first, second, sizeof first);
    toy_close(&t);
}

/* Rows of a sequence are neighbours, at one position after the other; each learns of the last. */
static void test_order(void **state) {
    (void)state;
    struct pm_step_row rows[] = {{.seq = 1, .pos = 7}, {.seq = 0, .pos = 3}, {.seq = 0, .pos = 4}};
    struct pm_step_row out[3];
    const pm__step step = {.rows = rows, .n_row = 3};
    assert_int_equal(pm__step_load_rows(&step, out), PM_OK);
    assert_int_equal(out[0].n_pos, 8);
    assert_int_equal(out[1].n_pos, 5);
    assert_int_equal(out[2].n_pos, 5);
    rows[2].pos = 5;
    assert_int_equal(pm__step_load_rows(&step, out), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "position 5"));
    rows[2] = (struct pm_step_row){.seq = 1, .pos = 8};
    assert_int_equal(pm__step_load_rows(&step, out), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "neighbours"));
}

static void test_rules(void **state) {
    (void)state;
    toy t;
    toy_open(&t);
    const pm__backend *b = t.cpu.backend;
    struct pm_step_drawn drawn[5];
    float logits[VOCAB];
    const struct pm_step_row good = {.token = 1},
                             bad[] = {{.token = VOCAB}, {.seq = 2}, {.pos = 70}};
    assert_int_equal(b->submit(t.context), PM_ARGUMENT);
    assert_int_equal(b->collect(t.context, drawn), PM_ARGUMENT);
    for (size_t i = 0; i < PM__COUNT(bad); i++)
        assert_int_equal(toy_begin(&t, &bad[i], 1, 1, true), PM_ARGUMENT);
    assert_int_equal(toy_begin(&t, &good, 1, 1, false), PM_OK);
    assert_int_equal(b->submit(t.context), PM_OK);
    assert_int_equal(b->submit(t.context), PM_ARGUMENT); /* it drew nothing to go on with */
    assert_int_equal(b->read_logits(t.context, 0, 1, logits), PM_ARGUMENT); /* in flight */
    assert_int_equal(toy_begin(&t, &good, 1, 1, true), PM_ARGUMENT);
    assert_int_equal(b->copy_page(t.context, 0, 1), PM_ARGUMENT);
    assert_int_equal(b->collect(t.context, drawn), PM_OK);
    assert_int_equal(b->read_logits(t.context, 1, 1, logits), PM_ARGUMENT); /* past the outputs */
    assert_int_equal(b->copy_page(t.context, 0, 6), PM_ARGUMENT);
    assert_int_equal(b->set_pages(t.context, 0, 2, 2, pages), PM_ARGUMENT);
    const uint32_t none = PM_NONE;
    assert_int_equal(b->set_pages(t.context, 1, 1, 1, &none), PM_OK);
    const struct pm_step_row unmapped = {.seq = 1, .pos = 32};
    assert_int_equal(toy_begin(&t, &unmapped, 1, 1, true), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "page"));
    /* The last position draws a token that has no place in the context. */
    const struct pm_step_row last = {.pos = 69};
    assert_int_equal(toy_begin(&t, &last, 1, 1, true), PM_OK);
    assert_int_equal(b->submit(t.context), PM_OK);
    assert_int_equal(b->submit(t.context), PM_ARGUMENT);
    assert_int_equal(b->collect(t.context, drawn), PM_OK);
    toy_close(&t);
}

/* ---- plan and device ------------------------------------------------------------------------- */

typedef struct sink {
    uint64_t weights, activations, cache, step, nodes, heap_bytes, limit;
} sink;

static pm_status add_buffer(void *user, const pm_plan_buffer *buffer) {
    sink *s = user;
    assert_string_equal(buffer->heap, "system memory");
    const bool weights = strncmp(buffer->name, "weights", 7) == 0;
    assert_int_equal(buffer->part, weights ? PM_PLAN_WEIGHTS : PM_PLAN_SESSION);
    uint64_t *place = weights                                    ? &s->weights
                      : strcmp(buffer->name, "activations") == 0 ? &s->activations
                      : strcmp(buffer->name, "cache") == 0       ? &s->cache
                      : strcmp(buffer->name, "nodes") == 0       ? &s->nodes
                                                                 : &s->step;
    *place += buffer->bytes;
    return PM_OK;
}

static pm_status add_heap(void *user, const pm_plan_heap *heap) {
    assert_string_equal(heap->name, "system memory");
    assert_true(heap->limited);
    ((sink *)user)->heap_bytes = heap->free;
    return PM_OK;
}

static void set_limit(void *user, uint64_t bytes) {
    ((sink *)user)->limit = bytes;
}

static void test_plan(void **state) {
    (void)state;
    toy t;
    toy_open(&t);
    sink s = {0};
    const pm__plan_sink to = {add_buffer, add_heap, set_limit, &s};
    const pm__plan_desc desc = {.def = &t.def, .graph = &t.g, .limits = &t.limits};
    assert_int_equal(t.cpu.backend->plan(t.cpu.device, &desc, &to), PM_OK);
    assert_int_equal(s.weights, 4 * (VOCAB * EMBD + EMBD * EMBD));
    assert_int_equal(s.cache, 2 * 6 * 32 * EMBD * 4);
    assert_int_equal(s.step, 16 * 6 + 4 * 5 + 4 * 6 + 4 * 140 + 48 * 2 + 16 * 5 + 16 * 16 * 5);
    assert_true(s.activations >= 4 * (5 * VOCAB + 5 * EMBD));
    assert_true(s.heap_bytes > 0 && s.nodes > 0 && s.limit == 0);
    /* A context that no machine holds is refused, with both numbers. */
    const pm__limits huge = {.n_ctx = 1u << 31, .n_batch = 5, .n_out = 5, .n_seq = 60};
    void *context;
    assert_int_equal(t.cpu.backend->context_create(t.placed, &t.g, &huge, &context),
                     PM_OUT_OF_MEMORY);
    toy_close(&t);
}

static void test_device(void **state) {
    (void)state;
    const pm_device_info *info = pm__cpu_info();
    assert_string_equal(info->kind, "cpu");
    assert_true(info->memory_bytes > 0);
    assert_true(strlen(info->name) > 0);
    pm__device_handle one;
    assert_int_equal(pm__cpu_open(1, 0, &one), PM_OK);
    assert_string_equal(one.info->driver, "reference executor, 1 thread, OpenMP");
    one.backend->close(one.device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),     cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_matmul),    cmocka_unit_test(test_rope),
        cmocka_unit_test(test_kv_store),  cmocka_unit_test(test_kv_store_types),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_select),    cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_copy_page), cmocka_unit_test(test_order),
        cmocka_unit_test(test_rules),     cmocka_unit_test(test_plan),
        cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
