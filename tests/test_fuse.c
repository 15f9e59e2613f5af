/* test_fuse.c: which nodes become one, which must not, and that the fused graph computes the same.
 * ctest: quick */
#include "cpu/cpu.h"
#include "graph/fuse.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Takes all nodes but those of one operation. */
static bool takes_but(void *user, const pm__node *node) {
    const pm__op *not = user;
    return node->op != *not ;
}

static void fuse_but(const pm__graph *in, pm__op not, pm__graph *out) {
    const pm__fuse_options options = {.takes = takes_but, .user = &not };
    assert_int_equal(pm__fuse(in, &options, out), PM_OK);
}

static void fuse_all(const pm__graph *in, pm__graph *out) {
    fuse_but(in, PM__OP_COUNT, out);
}

static uint32_t count(const pm__graph *g, pm__op op) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->n_node; i++)
        n += g->nodes[i].op == op;
    return n;
}

/* ---- a model --------------------------------------------------------------------------------- */

enum { N_LAYER = 3, N_CTX = 64, N_ROW = 5 };

static void test_layers(void **state) {
    (void)state;
    pm__tiny_model tiny;
    pm__graph g;
    pm__tiny_model_init(&tiny, N_LAYER);
    fuse_all(&tiny.graph, &g);
    static const pm__op layer[] = {PM__OP_MATMUL, PM__OP_PREPARE, PM__OP_ATTENTION,
                                   PM__OP_MATMUL, PM__OP_MATMUL,  PM__OP_MATMUL};
    assert_int_equal(g.n_node, N_LAYER * PM__COUNT(layer) + 5);
    for (uint32_t i = 0; i < N_LAYER * PM__COUNT(layer); i++)
        assert_int_equal(g.nodes[1 + i].op, layer[i % PM__COUNT(layer)]);
    const pm__node *qkv = &g.nodes[1], *gate_up = &g.nodes[5], *output = &g.nodes[g.n_node - 3];
    assert_true(qkv->params.matmul.normed && !qkv->params.matmul.gated);
    assert_string_equal(qkv->name, "blk.0.attn_qkv");
    assert_int_equal(qkv->in[1]->n_joined, 3);
    assert_true(gate_up->params.matmul.normed && gate_up->params.matmul.gated);
    assert_int_equal(gate_up->in[1]->n_row, 2 * gate_up->out->n_col);
    assert_true(output->params.matmul.normed && output->out == tiny.graph.logits);
    assert_ptr_equal(g.logits, tiny.graph.logits);
    for (uint32_t i = 0; i < tiny.graph.n_activation; i++)
        assert_ptr_equal(g.activations[i], tiny.graph.activations[i]);
    pm__graph_finish(&g);
    pm__tiny_model_finish(&tiny);
}

static void test_refused(void **state) {
    (void)state;
    pm__tiny_model tiny;
    pm__graph g;
    pm__tiny_model_init(&tiny, N_LAYER);
    fuse_but(&tiny.graph, PM__OP_MATMUL, &g);
    assert_int_equal(g.n_node, tiny.graph.n_node);
    for (uint32_t i = 0; i < g.n_node; i++)
        assert_memory_equal(g.nodes[i].in, tiny.graph.nodes[i].in, sizeof g.nodes[i].in);
    pm__graph_finish(&g);
    fuse_but(&tiny.graph, PM__OP_PREPARE, &g); /* three products stay, with the norm in each */
    assert_int_equal(count(&g, PM__OP_KV_STORE), 2 * N_LAYER);
    assert_int_equal(count(&g, PM__OP_ROPE), 2 * N_LAYER);
    assert_int_equal(count(&g, PM__OP_RMSNORM) + count(&g, PM__OP_GLU), 0);
    pm__graph_finish(&g);
    pm__tiny_model_finish(&tiny);
}

/* Logits of a step of N_ROW rows, then of one. */
static float *run(const pm__tiny_model *tiny, const pm__graph *g) {
    const pm__limits limits = {.n_ctx = N_CTX, .n_batch = N_ROW, .n_out = 1, .n_seq = 1};
    const size_t n = g->logits->n_col;
    float *logits = calloc(2 * n, sizeof *logits);
    pm__device_handle cpu;
    void *weights, *context;
    assert_non_null(logits);
    assert_int_equal(pm__cpu_open(1, 0, &cpu), PM_OK);
    const pm__backend *b = cpu.backend;
    assert_int_equal(b->weights_create(cpu.device, &tiny->def, NULL, NULL, &weights), PM_OK);
    assert_int_equal(b->context_create(weights, g, &limits, &context), PM_OK);
    for (uint32_t i = 0; i < pm__limits_pages(&limits); i++)
        assert_int_equal(b->set_pages(context, 0, i, 1, &i), PM_OK);
    for (uint32_t i = 0; i < 2; i++) {
        struct pm_step_row rows[N_ROW];
        struct pm_step_drawn drawn;
        const uint32_t n_row = i == 0 ? N_ROW : 1, last = n_row - 1;
        for (uint32_t r = 0; r < n_row; r++)
            rows[r] = (struct pm_step_row){.token = (7 + 31 * r + i) % PM__TINY_VOCAB,
                                           .pos = i * N_ROW + r};
        const pm__step step = {.rows = rows, .n_row = n_row, .outs = &last, .n_out = 1};
        assert_int_equal(b->begin(context, &step), PM_OK);
        assert_int_equal(b->submit(context), PM_OK);
        assert_int_equal(b->collect(context, &drawn), PM_OK);
        assert_int_equal(b->read_logits(context, 0, 1, logits + i * n), PM_OK);
    }
    b->context_destroy(context);
    b->weights_destroy(weights);
    b->close(cpu.device);
    return logits;
}

static void test_same_logits(void **state) {
    (void)state;
    pm__tiny_model tiny;
    pm__graph g;
    pm__tiny_model_init(&tiny, N_LAYER);
    fuse_all(&tiny.graph, &g);
    float *fused = run(&tiny, &g), *plain = run(&tiny, &tiny.graph);
    double error = 0, power = 0;
    for (size_t i = 0; i < 2 * (size_t)g.logits->n_col; i++) {
        const double d = (double)fused[i] - (double)plain[i];
        error += d * d;
        power += (double)plain[i] * (double)plain[i];
    }
    assert_true(power > 0 && error / power < 1e-10);
    free(fused);
    free(plain);
    pm__graph_finish(&g);
    pm__tiny_model_finish(&tiny);
}

/* ---- what must stay -------------------------------------------------------------------------- */

enum { N_EMBD = 12, N_FF = 20, N_VOCAB = 19 };

static pm__tensor weight(const char *name, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){
        .name = name, .kind = PM__WEIGHT, .type = PM__TYPE_F32, .n_row = n_row, .n_col = n_col};
}

/* Gate and up, joined, of a norm. */
typedef struct fixture {
    pm__tensor table, norm, gate, up, down, both;
    pm__t pieces[2];
    pm__graph g;
    pm__t x, h;
} fixture;

static void fixture_init(fixture *f) {
    *f = (fixture){.table = weight("table", N_VOCAB, N_EMBD),
                   .norm = weight("norm", 1, N_EMBD),
                   .gate = weight("gate", N_FF, N_EMBD),
                   .up = weight("up", N_FF, N_EMBD),
                   .down = weight("down", N_EMBD, N_FF),
                   .both = weight("gate + up", 2 * N_FF, N_EMBD)};
    f->pieces[0] = &f->gate;
    f->pieces[1] = &f->up;
    f->gate.whole = f->up.whole = &f->both;
    f->both.joined = f->pieces;
    f->both.n_joined = 2;
    pm__graph_init(&f->g);
    f->x = pm__embed(&f->g, "embed", &f->table);
    f->h = pm__rmsnorm(&f->g, "norm", f->x, &f->norm, 1e-5f);
}

static void close_graph(fixture *f, pm__t y) {
    y = pm__matmul(&f->g, "down", y, &f->down, NULL);
    const pm__t out = pm__matmul(&f->g, "output", pm__select(&f->g, "select", y), &f->table, NULL);
    assert_int_equal(pm__graph_close(&f->g, out), PM_OK);
}

/* Fuses and tells how many nodes of each are left. */
static void expect_left(fixture *f, uint32_t n_norm, uint32_t n_glu) {
    pm__graph g;
    fuse_all(&f->g, &g);
    assert_int_equal(count(&g, PM__OP_RMSNORM), n_norm);
    assert_int_equal(count(&g, PM__OP_GLU), n_glu);
    pm__graph_finish(&g);
    pm__graph_finish(&f->g);
}

static void test_gates(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    pm__t gate = pm__matmul(&f.g, "gate", f.h, &f.gate, NULL);
    pm__t up = pm__matmul(&f.g, "up", f.h, &f.up, NULL);
    close_graph(&f, pm__glu(&f.g, "act", PM__GLU_GELU, gate, up));
    expect_left(&f, 0, 0);

    fixture_init(&f); /* up is read twice */
    gate = pm__matmul(&f.g, "gate", f.h, &f.gate, NULL);
    up = pm__matmul(&f.g, "up", f.h, &f.up, NULL);
    close_graph(&f, pm__add(&f.g, "add", pm__glu(&f.g, "act", PM__GLU_GELU, gate, up), up));
    expect_left(&f, 0, 1);

    fixture_init(&f); /* the other way round */
    gate = pm__matmul(&f.g, "gate", f.h, &f.gate, NULL);
    up = pm__matmul(&f.g, "up", f.h, &f.up, NULL);
    close_graph(&f, pm__glu(&f.g, "act", PM__GLU_GELU, up, gate));
    expect_left(&f, 0, 1);

    fixture_init(&f); /* of different rows */
    gate = pm__matmul(&f.g, "gate", f.x, &f.gate, NULL);
    up = pm__matmul(&f.g, "up", f.h, &f.up, NULL);
    close_graph(&f, pm__glu(&f.g, "act", PM__GLU_SILU, gate, up));
    expect_left(&f, 0, 1);
}

static void test_norms(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f); /* what is normed is also added */
    pm__t y = pm__glu(&f.g, "act", PM__GLU_SILU, pm__matmul(&f.g, "gate", f.h, &f.gate, NULL),
                      pm__matmul(&f.g, "up", f.h, &f.up, NULL));
    y = pm__matmul_add(&f.g, "down", y, &f.down, NULL, f.h);
    close_graph(&f, pm__matmul(&f.g, "again", y, &f.up, NULL));
    expect_left(&f, 1, 0);

    fixture_init(&f); /* heads are normed, not rows */
    pm__t heads = pm__rmsnorm_heads(&f.g, "heads", f.h, NULL, N_EMBD / 2, 1e-5f);
    close_graph(&f, pm__matmul(&f.g, "up", heads, &f.up, NULL));
    expect_left(&f, 2, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_same_logits), cmocka_unit_test(test_gates),
        cmocka_unit_test(test_norms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
