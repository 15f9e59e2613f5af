/* test_graph.c: what the builder refuses, what nodes read and write, what they cost.
 * ctest: quick */
#include "graph/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 19, N_EMBD = 12, N_HEAD = 6, N_HEAD_KV = 3, HEAD_DIM = 4, N_FF = 40 };
enum { N_Q = N_HEAD * HEAD_DIM, N_KV = N_HEAD_KV * HEAD_DIM };

static pm__tensor weight(const char *name, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){
        .name = name, .kind = PM__WEIGHT, .type = PM__TYPE_F32, .n_row = n_row, .n_col = n_col};
}

/* One layer with everything in it. */
typedef struct fixture {
    pm__tensor table, norm, wq, wk, wo, gate, down, bias, factors;
    pm__rope_desc rope;
    pm__attention_desc heads;
    pm__graph g;
} fixture;

static void fixture_init(fixture *f) {
    *f = (fixture){
        .table = weight("table", N_VOCAB, N_EMBD),
        .norm = weight("norm", 1, N_EMBD),
        .wq = weight("wq", N_Q, N_EMBD),
        .wk = weight("wk", N_KV, N_EMBD),
        .wo = weight("wo", N_EMBD, N_Q),
        .gate = weight("gate", N_FF, N_EMBD),
        .down = weight("down", N_EMBD, N_FF),
        .bias = weight("bias", 1, N_Q),
        .factors = weight("factors", 1, HEAD_DIM / 2),
        .heads = {.n_head = N_HEAD, .n_head_kv = N_HEAD_KV, .head_dim = HEAD_DIM, .scale = 0.5f},
    };
    f->rope = (pm__rope_desc){.head_dim = HEAD_DIM,
                              .n_rot = HEAD_DIM,
                              .freq_base = 10000,
                              .freq_scale = 1,
                              .factors = &f->factors};
    pm__graph_init(&f->g);
}

static pm_status build_layer(fixture *f) {
    pm__graph *g = &f->g;
    pm__t x = pm__embed(g, "embed", &f->table);
    pm__graph_scope(g, "blk.%u.", 3u);
    pm__t k_cache = pm__cache(g, "cache_k", PM__TYPE_F32, N_KV),
          v_cache = pm__cache(g, "cache_v", PM__TYPE_F32, N_KV);
    pm__t h = pm__rmsnorm(g, "norm", x, &f->norm, 1e-5f);
    pm__t q = pm__rope(g, "rope_q", pm__matmul(g, "q", h, &f->wq, &f->bias), &f->rope);
    pm__kv_store(g, "store_k", k_cache, pm__matmul(g, "k", h, &f->wk, NULL));
    pm__kv_store(g, "store_v", v_cache, pm__matmul(g, "v", h, &f->wk, NULL));
    pm__t y = pm__attention(g, "attention", q, k_cache, v_cache, &f->heads);
    x = pm__matmul_add(g, "o", y, &f->wo, NULL, x);
    pm__t gate = pm__matmul(g, "gate", x, &f->gate, NULL);
    x = pm__add(g, "add", x,
                pm__matmul(g, "down", pm__glu(g, "act", PM__GLU_SILU, gate, gate), &f->down, NULL));
    pm__graph_scope(g, "%s", "");
    return pm__graph_close(g, pm__matmul(g, "output", pm__select(g, "select", x), &f->table, NULL));
}

static const pm__node *find(const pm__graph *g, const char *name) {
    for (uint32_t i = 0; i < g->n_node; i++)
        if (strcmp(g->nodes[i].name, name) == 0)
            return &g->nodes[i];
    fail_msg("no node %s", name);
    return NULL;
}

static void test_layer(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    assert_int_equal(build_layer(&f), PM_OK);
    assert_int_equal(f.g.n_node, 18);
    assert_int_equal(f.g.n_cache, 2);
    for (uint32_t i = 0; i < f.g.n_activation; i++)
        assert_int_equal(f.g.activations[i]->index, i);
    assert_int_equal(find(&f.g, "blk.3.q")->out->n_col, N_Q);
    assert_int_equal(find(&f.g, "blk.3.q")->out->rows, PM__ROWS_BATCH);
    assert_int_equal(f.g.logits->rows, PM__ROWS_OUT);
    assert_int_equal(f.g.logits->n_col, N_VOCAB);
    assert_string_equal(f.g.caches[1]->name, "blk.3.cache_v");
    assert_int_equal(f.g.nodes[f.g.n_node - 2].op, PM__OP_SAMPLE);
    assert_int_equal(f.g.nodes[f.g.n_node - 1].op, PM__OP_ADVANCE);
    pm__graph_finish(&f.g);
}

/* ---- access ---------------------------------------------------------------------------------- */

static bool has(const pm__tensor *const *list, uint32_t n, const pm__tensor *t) {
    for (uint32_t i = 0; i < n; i++)
        if (list[i] == t)
            return true;
    return false;
}

/* Exactly these reads and writes, in any order. */
static void check_access(const pm__node *node, const pm__tensor *const *reads, uint32_t n_read,
                         const pm__tensor *const *writes, uint32_t n_write) {
    pm__access access;
    pm__node_access(node, &access);
    assert_int_equal(access.n_read, n_read);
    assert_int_equal(access.n_write, n_write);
    for (uint32_t i = 0; i < n_read; i++)
        assert_true(has(access.reads, n_read, reads[i]));
    for (uint32_t i = 0; i < n_write; i++)
        assert_true(has(access.writes, n_write, writes[i]));
}

static void test_access(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    assert_int_equal(build_layer(&f), PM_OK);
    const pm__tensor *const *part = f.g.step;
    const pm__tensor *rows = part[PM__STEP_ROWS], *pages = part[PM__STEP_PAGES];
    const pm__tensor *k = f.g.caches[0], *v = f.g.caches[1];

    const pm__node *node = find(&f.g, "embed");
    check_access(node, (const pm__tensor *[]){&f.table, rows}, 2, &node->out, 1);
    node = find(&f.g, "blk.3.q");
    check_access(node, (const pm__tensor *[]){node->in[0], &f.wq, &f.bias}, 3, &node->out, 1);
    node = find(&f.g, "blk.3.o");
    check_access(node, (const pm__tensor *[]){node->in[0], &f.wo, find(&f.g, "embed")->out}, 3,
                 &node->out, 1);
    node = find(&f.g, "blk.3.rope_q");
    check_access(node, (const pm__tensor *[]){node->in[0], rows, &f.factors}, 3, &node->out, 1);
    node = find(&f.g, "blk.3.store_k");
    check_access(node, (const pm__tensor *[]){node->in[0], rows, pages}, 3, &k, 1);
    node = find(&f.g, "blk.3.attention");
    check_access(node, (const pm__tensor *[]){node->in[0], k, v, rows, pages}, 5, &node->out, 1);
    node = find(&f.g, "select");
    check_access(node, (const pm__tensor *[]){node->in[0], part[PM__STEP_OUTS]}, 2, &node->out, 1);
    check_access(find(&f.g, "sample"),
                 (const pm__tensor *[]){f.g.logits, rows, part[PM__STEP_OUTS],
                                        part[PM__STEP_HISTORY], part[PM__STEP_SAMPLERS]},
                 5, &part[PM__STEP_DRAWN], 1);
    check_access(find(&f.g, "advance"), (const pm__tensor *[]){part[PM__STEP_DRAWN], rows}, 2,
                 (const pm__tensor *[]){rows, part[PM__STEP_HISTORY], part[PM__STEP_RING]}, 3);
    pm__graph_finish(&f.g);
}

/* ---- cost ------------------------------------------------------------------------------------ */

static void test_cost(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    f.wq.type = PM__TYPE_F16;
    assert_int_equal(build_layer(&f), PM_OK);
    const uint32_t n_row = 5, n_out = 2, n_ctx = 33;
    pm__cost cost = pm__node_cost(find(&f.g, "blk.3.q"), n_row, n_out, n_ctx);
    assert_int_equal(cost.bytes, N_Q * N_EMBD * 2 + 4 * (n_row * N_EMBD + N_Q + n_row * N_Q));
    assert_int_equal(cost.flops, 2 * n_row * N_Q * N_EMBD);
    cost = pm__node_cost(find(&f.g, "output"), n_row, n_out, n_ctx);
    assert_int_equal(cost.flops, 2 * n_out * N_VOCAB * N_EMBD);
    cost = pm__node_cost(find(&f.g, "embed"), n_row, n_out, n_ctx);
    assert_int_equal(cost.bytes, 2 * n_row * N_EMBD * 4);
    cost = pm__node_cost(find(&f.g, "blk.3.attention"), n_row, n_out, n_ctx);
    assert_int_equal(cost.bytes, 4 * (2 * n_row * N_Q + 2 * n_ctx * N_KV));
    assert_int_equal(cost.flops, 4 * n_row * n_ctx * N_Q);
    cost = pm__node_cost(find(&f.g, "blk.3.store_v"), n_row, n_out, n_ctx);
    assert_int_equal(cost.bytes, 2 * n_row * N_KV * 4);
    pm__graph_finish(&f.g);
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* Each breaks one thing of the layer; the sentence names the node. */
static void break_norm(fixture *f) {
    f->norm.n_col++;
}
static void break_query(fixture *f) {
    f->wq.n_col--;
}
static void break_bias(fixture *f) {
    f->bias.n_col++;
}
static void break_bias_rows(fixture *f) {
    f->bias.n_row = 2;
}
static void break_odd_rotation(fixture *f) {
    f->rope.n_rot = 3;
}
static void break_wide_rotation(fixture *f) {
    f->rope.n_rot = HEAD_DIM + 2;
}
static void break_factors(fixture *f) {
    f->factors.n_col++;
}
static void break_keys(fixture *f) {
    f->wk.n_row++;
}
static void break_heads(fixture *f) {
    f->heads.n_head_kv = 4;
}
static void break_no_heads(fixture *f) {
    f->heads.n_head_kv = 0;
}
static void break_head_size(fixture *f) {
    f->heads.head_dim = 2;
}
static void break_output(fixture *f) {
    f->wo.n_row++;
}
static void break_down(fixture *f) {
    f->down.n_row--;
}
static void break_kind(fixture *f) {
    f->gate.kind = PM__ACTIVATION;
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        void (*apply)(fixture *);
        const char *node;
    } cases[] = {
        {break_norm, "blk.3.norm"},
        {break_query, "blk.3.q"},
        {break_bias, "blk.3.q"},
        {break_bias_rows, "blk.3.q"},
        {break_odd_rotation, "blk.3.rope_q"},
        {break_wide_rotation, "blk.3.rope_q"},
        {break_factors, "blk.3.rope_q"},
        {break_keys, "blk.3.store_k"},
        {break_heads, "blk.3.attention"},
        {break_no_heads, "blk.3.attention"},
        {break_head_size, "blk.3.attention"},
        {break_output, "blk.3.o"},
        {break_down, "blk.3.add"},
        {break_kind, "blk.3.gate"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        fixture f;
        fixture_init(&f);
        cases[i].apply(&f);
        assert_int_equal(build_layer(&f), PM_FAILURE);
        char start[64];
        snprintf(start, sizeof start, "graph: %s: ", cases[i].node);
        if (strncmp(pm_last_error(), start, strlen(start)) != 0)
            fail_msg("'%s' does not begin with '%s'", pm_last_error(), start);
        assert_null(f.g.logits);
        pm__graph_finish(&f.g);
    }
}

/* Batch rows and output rows do not mix; logits are of output rows and as many as the vocabulary.
 */
static void test_rows(void **state) {
    (void)state;
    fixture f;
    for (int way = 0; way < 5; way++) {
        fixture_init(&f);
        pm__graph *g = &f.g;
        pm__t x = pm__embed(g, "embed", &f.table), y = pm__select(g, "select", x);
        assert_non_null(y);
        if (way == 0)
            assert_null(pm__add(g, "mixed", x, y));
        else if (way == 1)
            assert_null(pm__select(g, "twice", y));
        else if (way == 2)
            assert_null(pm__rope(g, "late", y, &f.rope));
        else if (way == 3)
            assert_int_equal(pm__graph_close(g, pm__matmul(g, "o", x, &f.table, NULL)), PM_FAILURE);
        else
            assert_int_equal(pm__graph_close(g, y), PM_FAILURE);
        assert_int_equal(g->status, PM_FAILURE);
        assert_null(pm__embed(g, "after", &f.table));
        pm__graph_finish(g);
    }
}

/* A store and attention over caches of these types, of two key heads of head_dim. */
static pm_status build_attention(pm__graph *g, pm__type k_type, pm__type v_type,
                                 uint32_t head_dim) {
    const pm__tensor table = weight("table", N_VOCAB, 4 * head_dim);
    const pm__tensor w = weight("w", 2 * head_dim, 4 * head_dim);
    const pm__attention_desc heads = {.n_head = 4, .n_head_kv = 2, .head_dim = head_dim};
    pm__graph_init(g);
    pm__t x = pm__embed(g, "embed", &table);
    pm__t k = pm__cache(g, "cache_k", k_type, 2 * head_dim);
    pm__t v = pm__cache(g, "cache_v", v_type, 2 * head_dim);
    pm__kv_store(g, "store_k", k, pm__matmul(g, "k", x, &w, NULL));
    pm__attention(g, "attention", x, k, v, &heads);
    return g->status;
}

static void test_cache_costs(void **state) {
    (void)state;
    enum { DIM = 96, N_COL = 2 * DIM, N_ROW = 3, DEPTH = 33 };
    static const uint64_t row[PM__TYPE_COUNT] = {[PM__TYPE_F32] = 4 * N_COL,
                                                 [PM__TYPE_F16] = 2 * N_COL,
                                                 [PM__TYPE_Q8_0] = N_COL + 2 * N_COL / 32,
                                                 [PM__TYPE_Q4_0] = N_COL / 2 + 2 * N_COL / 32};
    pm__type k, v;
    for (uint32_t i = 0; pm__cache_type(i, &k); i++)
        for (uint32_t j = 0; pm__cache_type(j, &v); j++) {
            pm__graph g;
            assert_int_equal(build_attention(&g, k, v, DIM), PM_OK);
            assert_int_equal(g.caches[0]->type, k);
            assert_int_equal(g.caches[1]->type, v);
            assert_int_equal(pm__node_cost(find(&g, "store_k"), N_ROW, 1, DEPTH).bytes,
                             N_ROW * (4 * N_COL + row[k]));
            assert_int_equal(pm__node_cost(find(&g, "attention"), N_ROW, 1, DEPTH).bytes,
                             2 * N_ROW * 4 * 4 * DIM + DEPTH * (row[k] + row[v]));
            pm__graph_finish(&g);
        }
}

static void test_cache_refusals(void **state) {
    (void)state;
    static const struct {
        pm__type k, v;
        uint32_t head_dim;
        pm_status status;
        const char *part;
    } cases[] = {
        {PM__TYPE_Q8_0, PM__TYPE_F32, 40, PM_ARGUMENT, "cache_k: rows of 80 values"},
        {PM__TYPE_F16, PM__TYPE_Q4_0, 48, PM_ARGUMENT, "attention: heads of 48 values"},
        {PM__TYPE_Q4_0, PM__TYPE_F16, 48, PM_ARGUMENT, "be kept as q4_0"},
        {PM__TYPE_F16, PM__TYPE_BF16, 48, PM_FAILURE, "cache_v: a cache cannot be bf16"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        pm__graph g;
        assert_int_equal(build_attention(&g, cases[i].k, cases[i].v, cases[i].head_dim),
                         cases[i].status);
        if (strstr(pm_last_error(), cases[i].part) == NULL)
            fail_msg("'%s' lacks '%s'", pm_last_error(), cases[i].part);
        pm__graph_finish(&g);
    }
}

static void test_ops(void **state) {
    (void)state;
    assert_string_equal(pm__op_get(PM__OP_KV_STORE)->name, "kv_store");
    assert_true(pm__op_get(PM__OP_ATTENTION)->nmse == 1e-9);
    for (int op = 0; op < PM__OP_COUNT; op++)
        assert_true(strlen(pm__op_get((pm__op)op)->what) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer),       cmocka_unit_test(test_access),
        cmocka_unit_test(test_cost),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_cache_costs), cmocka_unit_test(test_cache_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
