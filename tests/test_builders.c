/* test_builders.c: shapes that the builder calls of norms, columns and attention give and refuse.
 * ctest: quick */
#include "graph/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_COL = 24, N_HEAD = 6, HEAD_DIM = 4, N_TABLE = 11 };

typedef struct fixture {
    pm__tensor table, own, head, bias, number, sinks, biases;
    pm__graph g;
    pm__t x, out, column;
} fixture;

static pm__tensor weight(const char *name, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){
        .name = name, .kind = PM__WEIGHT, .type = PM__TYPE_F32, .n_row = n_row, .n_col = n_col};
}

static void open_fixture(fixture *f) {
    *f = (fixture){.table = weight("table", N_TABLE, N_COL),
                   .own = weight("own", 1, N_COL),
                   .head = weight("head", 1, HEAD_DIM),
                   .bias = weight("bias", 1, N_COL),
                   .number = weight("number", 1, 1),
                   .sinks = weight("sinks", 1, N_HEAD),
                   .biases = weight("biases", 1, 32 * N_HEAD)};
    pm__graph_init(&f->g);
    f->x = pm__embed(&f->g, "x", &f->table);
    f->out = pm__select(&f->g, "out", f->x);
    f->column = pm__slice(&f->g, "column", f->x, &(pm__slice_desc){1, N_COL, 0, 1});
}

static void test_shapes(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    pm__graph *g = &f.g;
    assert_int_equal(pm__rmsnorm(g, "n", f.x, NULL, 0)->n_col, N_COL);
    assert_int_equal(pm__rmsnorm_heads(g, "n", f.x, &f.head, HEAD_DIM, 0)->n_col, N_COL);
    assert_int_equal(pm__layernorm_heads(g, "n", f.x, &f.own, &f.bias, HEAD_DIM, 0)->n_col, N_COL);
    assert_int_equal(pm__l2norm(g, "n", f.out, HEAD_DIM, 0)->rows, PM__ROWS_OUT);
    assert_int_equal(pm__mul(g, "m", f.x, f.column)->n_col, N_COL);
    assert_int_equal(pm__add(g, "a", f.out, &f.own)->rows, PM__ROWS_OUT);
    assert_int_equal(pm__add(g, "a", f.x, &f.number)->n_col, N_COL);
    assert_int_equal(pm__slice(g, "s", f.x, &(pm__slice_desc){N_HEAD, HEAD_DIM, 1, 3})->n_col,
                     3 * N_HEAD);
    assert_int_equal(pm__concat(g, "c", f.x, f.x, N_HEAD)->n_col, 2 * N_COL);
    assert_int_equal(pm__concat_one(g, "c", f.x, f.column, N_HEAD)->n_col, N_COL + N_HEAD);
    assert_int_equal(
        pm__temper(g, "t", f.x, &(pm__temper_desc){.scale = 0.1f, .original = 9})->n_col, N_COL);
    pm__t cache = pm__cache(g, "k", PM__TYPE_F32, HEAD_DIM);
    const pm__attention_desc desc = {
        .n_head = N_HEAD, .n_head_kv = 1, .head_dim = HEAD_DIM, .head_dim_v = 2};
    assert_int_equal(pm__attention(g, "attention", f.x, cache, cache, &desc)->n_col, 2 * N_HEAD);
    assert_int_equal(g->status, PM_OK);
    pm__graph_finish(g);
}

typedef pm__t (*wrong_call)(fixture *f);

static pm__t norm_of_seven(fixture *f) {
    return pm__l2norm(&f->g, "bad", f->x, 7, 0);
}
static pm__t norm_of_none(fixture *f) {
    return pm__rmsnorm_heads(&f->g, "bad", f->x, NULL, 0, 0);
}
static pm__t norm_with_number(fixture *f) {
    return pm__rmsnorm_heads(&f->g, "bad", f->x, &f->number, HEAD_DIM, 0);
}
static pm__t bias_alone(fixture *f) {
    return pm__layernorm(&f->g, "bad", f->x, NULL, &f->bias, 0);
}
static pm__t bias_of_head(fixture *f) {
    return pm__layernorm_heads(&f->g, "bad", f->x, &f->own, &f->head, HEAD_DIM, 0);
}
static pm__t add_head(fixture *f) {
    return pm__add(&f->g, "bad", f->x, &f->head);
}
static pm__t mul_column_of_batch(fixture *f) {
    return pm__mul(&f->g, "bad", f->out, f->column);
}
static pm__t glu_of_two(fixture *f) {
    return pm__glu(&f->g, "bad", PM__GLU_GELU, f->x, f->column);
}
static pm__t unary_with_parameters(fixture *f) {
    return pm__unary(&f->g, "bad", PM__CLAMP, f->x);
}
static pm__t cap_of_zero(fixture *f) {
    return pm__softcap(&f->g, "bad", f->x, 0);
}
static pm__t empty_clamp(fixture *f) {
    return pm__clamp(&f->g, "bad", f->x, 1, 0);
}
static pm__t temper_of_nothing(fixture *f) {
    return pm__temper(&f->g, "bad", f->x, &(pm__temper_desc){.scale = 1});
}
static pm__t temper_late(fixture *f) {
    return pm__temper(&f->g, "bad", f->out, &(pm__temper_desc){.scale = 1, .original = 1});
}
static pm__t slice_past(fixture *f) {
    return pm__slice(&f->g, "bad", f->x, &(pm__slice_desc){N_HEAD, HEAD_DIM, 2, 3});
}
static pm__t slice_of_fewer(fixture *f) {
    return pm__slice(&f->g, "bad", f->x, &(pm__slice_desc){N_HEAD - 1, HEAD_DIM, 0, 1});
}
static pm__t concat_of_uneven(fixture *f) {
    return pm__concat(&f->g, "bad", f->x, f->column, N_HEAD);
}
static pm__t concat_in_none(fixture *f) {
    return pm__concat(&f->g, "bad", f->x, f->x, 0);
}
static pm__t concat_of_rows(fixture *f) {
    return pm__concat_one(&f->g, "bad", f->x, f->out, 1);
}

static void test_refusals(void **state) {
    (void)state;
    static const wrong_call calls[] = {
        norm_of_seven,         norm_of_none,   norm_with_number,    bias_alone,
        bias_of_head,          add_head,       mul_column_of_batch, glu_of_two,
        unary_with_parameters, cap_of_zero,    empty_clamp,         temper_of_nothing,
        temper_late,           slice_past,     slice_of_fewer,      concat_of_uneven,
        concat_in_none,        concat_of_rows,
    };
    for (size_t i = 0; i < PM__COUNT(calls); i++) {
        fixture f;
        open_fixture(&f);
        assert_null(calls[i](&f));
        assert_int_equal(f.g.status, PM_FAILURE);
        if (strncmp(pm_last_error(), "graph: bad: ", 12) != 0)
            fail_msg("call %zu: '%s'", i, pm_last_error());
        pm__graph_finish(&f.g);
    }
}

static void test_attention(void **state) {
    (void)state;
    for (int way = 0; way < 8; way++) {
        fixture f;
        open_fixture(&f);
        pm__attention_desc desc = {.n_head = N_HEAD, .n_head_kv = 2, .head_dim = HEAD_DIM};
        pm__t k = pm__cache(&f.g, "k", PM__TYPE_F32, 2 * HEAD_DIM);
        pm__t v = pm__cache(&f.g, "v", PM__TYPE_F32, 2 * HEAD_DIM);
        pm__tensor few = weight("few", 1, 7 * N_HEAD);
        if (way == 0)
            desc.head_dim_v = 2; /* of which v has no cache */
        else if (way == 1)
            desc.sinks = &f.head;
        else if (way == 2)
            desc.rel_bias = &f.head;
        else if (way == 3)
            desc.rel_bias = &few;
        else if (way == 4)
            desc.sinks = &f.sinks, desc.rel_bias = &f.biases;
        else if (way == 5)
            desc.softcap = -1;
        else if (way == 6)
            v = k, desc.head_dim_v = 2; /* more than one head of keys */
        else
            desc.max_alibi_bias = -1;
        assert_null(pm__attention(&f.g, "bad", f.x, k, v, &desc));
        assert_int_equal(f.g.status, PM_FAILURE);
        assert_int_equal(strncmp(pm_last_error(), "graph: bad: ", 12), 0);
        pm__graph_finish(&f.g);
    }
}

/* The context is what the user asked for. */
static void test_positions(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    f.g.n_ctx = N_TABLE;
    assert_non_null(pm__embed_positions(&f.g, "positions", &f.table));
    f.g.n_ctx = N_TABLE + 1;
    assert_null(pm__embed_positions(&f.g, "positions", &f.table));
    assert_int_equal(f.g.status, PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "-c 11"));
    pm__graph_finish(&f.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
