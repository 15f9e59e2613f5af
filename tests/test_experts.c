/* test_experts.c: which experts a row gets and with what weights, by numbers worked out by hand;
 * what the products of experts are; shapes that the builder calls refuse; what a step is said to
 * read.
 * ctest: quick */
#include "cpu/cpu.h"
#include "graph/build.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 16, N_ROW = 3 };

static pm__tensor activation(const char *name, uint32_t n_col) {
    return (pm__tensor){
        .name = name, .kind = PM__ACTIVATION, .rows = PM__ROWS_BATCH, .n_col = n_col};
}

static pm__tensor weight(const char *name, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){
        .name = name, .kind = PM__WEIGHT, .type = PM__TYPE_F32, .n_row = n_row, .n_col = n_col};
}

/* ---- the route ------------------------------------------------------------------------------- */

typedef struct route_case {
    uint32_t n_expert;
    pm__route_desc desc;
    float logits[MOST], bias[MOST], scale[MOST]; /* scale[0] 0: none */
    bool biased;
    float expected[MOST]; /* numbers, then weights */
} route_case;

static const float A_NAN = NAN;

static void check_route(const route_case *c) {
    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor logits = activation("logits", c->n_expert);
    const pm__tensor bias = weight("bias", 1, c->n_expert), scale = weight("scale", 1, c->n_expert);
    const bool scaled = c->scale[0] != 0;
    pm__t route =
        pm__route(&g, "route", &logits, c->biased ? &bias : NULL, scaled ? &scale : NULL, &c->desc);
    assert_non_null(route);
    float y[MOST];
    const pm__cpu_args args = {
        .in = {c->logits, c->biased ? c->bias : NULL, scaled ? c->scale : NULL},
        .out = y,
        .n_row = 1};
    pm__cpu_run_node(&g.nodes[0], &args);
    for (uint32_t i = 0; i < 2 * c->desc.n_used; i++)
        if (fabsf(y[i] - c->expected[i]) > 1e-6f)
            fail_msg("element %u is %g, expected is %g", i, (double)y[i], (double)c->expected[i]);
    pm__graph_finish(&g);
}

/* Logits ln 1 to ln 4 make gates of a tenth to four. */
#define TENTHS                                                                                     \
    { 0, 0.69314718f, 1.09861229f, 1.38629436f }

static void test_routes(void **state) {
    (void)state;
    static const route_case cases[] = {
        {4, {.n_used = 2}, TENTHS, {0}, {0}, false, {3, 2, 0.4f, 0.3f}},
        {4, {.n_used = 2, .renorm = true}, TENTHS, {0}, {0}, false, {3, 2, 4.f / 7, 3.f / 7}},
        {4, {.n_used = 1, .scale = 2.5f}, TENTHS, {0}, {0}, false, {3, 1}},
        {4, {.n_used = 2}, TENTHS, {0}, {10, 10, 3, 2}, false, {3, 2, 0.8f, 0.9f}},
        /* The bias chooses and does not weigh. */
        {4, {.n_used = 2}, TENTHS, {0.35f, 0}, {0}, true, {0, 3, 0.1f, 0.4f}},
        {4,
         {2, PM__ROUTE_SOFTMAX_CHOSEN, false, 1, 0, 0},
         TENTHS,
         {0},
         {0},
         false,
         {3, 2, 4.f / 7, 3.f / 7}},
        {3,
         {2, PM__ROUTE_SIGMOID, false, 1, 0, 0},
         {0, -1.09861229f, 0},
         {0},
         {0},
         false,
         {0, 2, 0.5f, 0.5f}},
        {3,
         {3, PM__ROUTE_SIGMOID, true, 1, 0, 0},
         {0, -1.09861229f, 0},
         {0},
         {0},
         false,
         {0, 2, 1, 0.4f, 0.4f, 0.2f}},
        /* Of equal ones the lowest; those that are no numbers last. */
        {5, {.n_used = 3}, {1, 1, 1, 1, 1}, {0}, {0}, false, {0, 1, 2, 0.2f, 0.2f, 0.2f}},
        {4,
         {3, PM__ROUTE_SIGMOID, false, 1, 0, 0},
         {-500, 0, -500, 500},
         {0},
         {0},
         false,
         {3, 1, 0, 1, 0.5f, 0}},
        /* 0.5 + 0.5 is more than 0.75 + 0.2: the best of all is in a group that is left out. */
        {6,
         {2, PM__ROUTE_SIGMOID, false, 1, 3, 1},
         {1.09861229f, -1.38629436f, 0, 0, -9, -9},
         {0},
         {0},
         false,
         {2, 3, 0.5f, 0.5f}},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        check_route(&cases[i]);
}

static void test_no_numbers(void **state) {
    (void)state;
    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor logits = activation("logits", 4);
    const pm__route_desc desc = {3, PM__ROUTE_SIGMOID, false, 1, 0, 0};
    const float x[] = {A_NAN, -3, A_NAN, 2};
    float y[MOST];
    assert_non_null(pm__route(&g, "route", &logits, NULL, NULL, &desc));
    pm__cpu_run_node(&g.nodes[0], &(pm__cpu_args){.in = {x}, .out = y, .n_row = 1});
    assert_int_equal((int)y[0], 3);
    assert_int_equal((int)y[1], 1);
    assert_int_equal((int)y[2], 0);
    pm__graph_finish(&g);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Three rows, two of three experts each, matrices of 2 by 2: [e + 1, 1; 0, e + 1] */
static void test_products(void **state) {
    (void)state;
    static const float x[N_ROW * 2] = {1, 2, 3, 4, 5, 6};
    static const float route[N_ROW * 4] = {2, 0, 0.5f, 1, 0, 2, 1, 1, 2, 1, 1, 0.25f};
    static const float w[] = {1, 1, 0, 1, 2, 1, 0, 2, 3, 1, 0, 3};
    static const float bias[] = {0, 0, 10, 20, 100, 0}, scale[] = {1, 1, 2};
    static const float expected[N_ROW][4] = {{110, 12, 3, 2}, {7, 4, 126, 24}, {142, 36, 26, 32}};
    static const float groups[N_ROW * 3] = {1, 5, 0, 2, -1, 3, -1, -1, 4};
    static const float mixed[N_ROW][2] = {{58, 8}, {133, 28}, {148.5f, 44}};
    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor xt = activation("x", 2), rt = activation("route", 4);
    const pm__tensor bt = weight("bias", 1, 6), st = weight("scale", 1, 3);
    pm__tensor wt = weight("w", 6, 2);
    wt.scale = &st;
    assert_non_null(pm__experts_matmul(&g, "y", &xt, &wt, &bt, &rt, 3));
    assert_non_null(pm__mix(&g, "mix", g.nodes[1].out, &rt, NULL));
    assert_int_equal(g.nodes[0].op, PM__OP_GROUP);
    float lists[N_ROW * 3], y[N_ROW * 4], sum[N_ROW * 2];
    pm__cpu_run_node(&g.nodes[0], &(pm__cpu_args){.in = {route}, .out = lists, .n_row = N_ROW});
    assert_memory_equal(lists, groups, sizeof groups);
    pm__cpu_run_node(
        &g.nodes[1],
        &(pm__cpu_args){.in = {x, w, bias, route, lists, scale}, .out = y, .n_row = N_ROW});
    assert_memory_equal(y, expected, sizeof expected);
    pm__cpu_run_node(&g.nodes[2], &(pm__cpu_args){.in = {y, route}, .out = sum, .n_row = N_ROW});
    assert_memory_equal(sum, mixed, sizeof mixed);
    pm__graph_finish(&g);
}

/* The groups of a route are listed once, whoever multiplies by it. */
static void test_groups_are_shared(void **state) {
    (void)state;
    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor x = activation("x", 2), a = activation("a", 4), b = activation("b", 4);
    const pm__tensor w = weight("w", 6, 2);
    pm__experts_matmul(&g, "y", &x, &w, NULL, &a, 3);
    pm__experts_matmul(&g, "y", &x, &w, NULL, &a, 3);
    pm__experts_matmul(&g, "y", &x, &w, NULL, &b, 3);
    pm__experts_matmul(&g, "y", &x, &w, NULL, &a, 2);
    assert_int_equal(g.status, PM_OK);
    assert_int_equal(g.n_node, 7);
    assert_ptr_equal(g.nodes[1].in[4], g.nodes[2].in[4]);
    assert_ptr_not_equal(g.nodes[1].in[4], g.nodes[4].in[4]);
    assert_ptr_not_equal(g.nodes[1].in[4], g.nodes[6].in[4]);
    pm__graph_finish(&g);
}

/* Two rows of two experts read at most four of 64 matrices, many rows all of them. */
static void test_cost(void **state) {
    (void)state;
    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor x = activation("x", 32), route = activation("route", 4);
    const pm__tensor w = weight("w", 64 * 16, 32);
    pm__experts_matmul(&g, "y", &x, &w, NULL, &route, 64);
    const uint64_t matrix = 16 * 32 * 4, row = 4 * (32 + 4 + 64 + 2 * 16);
    pm__cost cost = pm__node_cost(&g.nodes[1], 2, 2, 9);
    assert_int_equal(cost.bytes, 4 * matrix + 2 * row);
    assert_int_equal(cost.flops, 2 * 2 * 2 * 16 * 32);
    cost = pm__node_cost(&g.nodes[1], 100, 1, 9);
    assert_int_equal(cost.bytes, 64 * matrix + 100 * row);
    pm__graph_finish(&g);
}

/* ---- what is refused ------------------------------------------------------------------------- */

typedef struct fixture {
    pm__tensor x, wide, out, route, odd, w, w7, vector, many;
    pm__graph g;
} fixture;

static pm__t more_than_there_are(fixture *f) {
    return pm__route(&f->g, "bad", &f->x, NULL, NULL, &(pm__route_desc){.n_used = 7});
}
static pm__t none_at_all(fixture *f) {
    return pm__route(&f->g, "bad", &f->x, NULL, NULL, &(pm__route_desc){.n_used = 0});
}
static pm__t of_too_many(fixture *f) {
    return pm__route(&f->g, "bad", &f->many, NULL, NULL, &(pm__route_desc){.n_used = 1});
}
static pm__t uneven_groups(fixture *f) {
    const pm__route_desc desc = {.n_used = 1, .n_group = 4, .n_group_used = 1};
    return pm__route(&f->g, "bad", &f->x, NULL, NULL, &desc);
}
static pm__t groups_too_small(fixture *f) {
    const pm__route_desc desc = {.n_used = 3, .n_group = 3, .n_group_used = 1};
    return pm__route(&f->g, "bad", &f->x, NULL, NULL, &desc);
}
static pm__t bias_of_another_size(fixture *f) {
    return pm__route(&f->g, "bad", &f->x, &f->vector, NULL, &(pm__route_desc){.n_used = 1});
}
static pm__t rows_that_do_not_divide(fixture *f) {
    return pm__experts_matmul(&f->g, "bad", &f->x, &f->w7, NULL, &f->route, 3);
}
static pm__t columns_for_three(fixture *f) {
    return pm__experts_matmul(&f->g, "bad", &f->wide, &f->w, NULL, &f->route, 3);
}
static pm__t no_route(fixture *f) {
    return pm__experts_matmul(&f->g, "bad", &f->x, &f->w, NULL, &f->odd, 3);
}
static pm__t bias_for_one(fixture *f) {
    return pm__experts_matmul(&f->g, "bad", &f->x, &f->w, &f->vector, &f->route, 3);
}
static pm__t output_rows(fixture *f) {
    return pm__heads_matmul(&f->g, "bad", &f->out, &f->w, 3);
}
static pm__t no_heads(fixture *f) {
    return pm__heads_matmul(&f->g, "bad", &f->x, &f->w, 0);
}
static pm__t mix_of_none(fixture *f) {
    return pm__mix_sum(&f->g, "bad", &f->x, 0, NULL);
}
static pm__t mix_of_four(fixture *f) {
    return pm__mix_sum(&f->g, "bad", &f->x, 4, NULL);
}
static pm__t mix_and_more(fixture *f) {
    return pm__mix(&f->g, "bad", &f->x, &f->route, &f->x);
}
static pm__t spread_by_no_route(fixture *f) {
    return pm__spread(&f->g, "bad", &f->x, &f->odd);
}

static void test_refusals(void **state) {
    (void)state;
    static pm__t (*const calls[])(fixture *) = {
        more_than_there_are, none_at_all,      of_too_many,
        uneven_groups,       groups_too_small, bias_of_another_size,
        columns_for_three,   no_route,         rows_that_do_not_divide,
        bias_for_one,        output_rows,      no_heads,
        mix_of_none,         mix_of_four,      mix_and_more,
        spread_by_no_route,
    };
    for (size_t i = 0; i < PM__COUNT(calls); i++) {
        fixture f = {.x = activation("x", 6),
                     .wide = activation("wide", 18),
                     .out = activation("out", 6),
                     .route = activation("route", 4),
                     .odd = activation("odd", 3),
                     .w = weight("w", 9, 6),
                     .w7 = weight("w7", 7, 6),
                     .vector = weight("vector", 1, 3),
                     .many = activation("many", PM__MOST_EXPERTS + 1)};
        f.out.rows = PM__ROWS_OUT;
        pm__graph_init(&f.g);
        assert_null(calls[i](&f));
        assert_int_equal(f.g.status, PM_FAILURE);
        if (strncmp(pm_last_error(), "graph: bad: ", 12) != 0)
            fail_msg("call %zu: '%s'", i, pm_last_error());
        pm__graph_finish(&f.g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),   cmocka_unit_test(test_no_numbers),
        cmocka_unit_test(test_products), cmocka_unit_test(test_groups_are_shared),
        cmocka_unit_test(test_cost),     cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
