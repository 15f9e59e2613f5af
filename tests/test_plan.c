/* test_plan.c: activations that live at the same time never share memory, and sizes follow
 * shaders/params.h.
 * ctest: quick */
#include "graph/build.h"
#include "graph/plan.h"
#include "graph/sampling.h"
#include "shaders/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N_COL_KINDS = 4, MOST_LIVE = 12, N_GRAPH = 300 };
static const uint32_t widths[N_COL_KINDS] = {1, 7, 64, 129};

static uint32_t draw(uint32_t *state, uint32_t n) {
    return pm__philox((*state)++, 7, 11) % n;
}

/* A graph of random shape: adds and multiplications between tensors made so far, old ones read late
 * now and then. */
static void random_graph(pm__graph *g, pm__tensor *weights, uint32_t seed) {
    uint32_t state = seed * 4096;
    pm__t made[N_COL_KINDS][MOST_LIVE];
    uint32_t n_made[N_COL_KINDS] = {0};
    pm__graph_init(g);
    for (uint32_t k = 0; k < N_COL_KINDS; k++) {
        weights[k] = (pm__tensor){.name = "table", .n_row = widths[0], .n_col = widths[k]};
        made[k][n_made[k]++] = pm__embed(g, "embed", &weights[k]);
    }
    const uint32_t n_node = 1 + draw(&state, 60);
    for (uint32_t i = 0; i < n_node; i++) {
        const uint32_t k = draw(&state, N_COL_KINDS), to = draw(&state, N_COL_KINDS);
        pm__t a = made[k][draw(&state, n_made[k])], b = made[k][draw(&state, n_made[k])];
        pm__tensor *w = &weights[N_COL_KINDS + k * N_COL_KINDS + to];
        *w = (pm__tensor){.name = "w", .n_row = widths[to], .n_col = widths[k]};
        const bool add = draw(&state, 2) == 0;
        pm__t y = add ? pm__add(g, "add", a, b) : pm__matmul(g, "matmul", a, w, NULL);
        const uint32_t kind = add ? k : to;
        const uint32_t at = n_made[kind] < MOST_LIVE ? n_made[kind]++ : draw(&state, MOST_LIVE);
        made[kind][at] = y;
    }
    assert_int_equal(pm__graph_close(g, pm__select(g, "select", made[0][n_made[0] - 1])), PM_OK);
}

/* Nodes between an activation's writing and its last reading, found by looking at each. */
static void life(const pm__graph *g, pm__t t, uint32_t *first, uint32_t *last) {
    *first = UINT32_MAX;
    *last = 0;
    for (uint32_t i = 0; i < g->n_node; i++) {
        const pm__node *node = &g->nodes[i];
        bool used = node->out == t;
        for (uint32_t k = 0; k < PM__MOST_INPUTS; k++)
            used = used || node->in[k] == t;
        if (used && *first == UINT32_MAX)
            *first = i;
        if (used)
            *last = i;
    }
    if (t == g->logits)
        *last = g->n_node;
}

static uint64_t bytes_of(pm__t t, uint32_t n_row, uint32_t n_out) {
    return (uint64_t)(t->rows == PM__ROWS_OUT ? n_out : n_row) * t->n_col * sizeof(float);
}

static void check_plan(const pm__graph *g, const pm__plan *plan, uint32_t n_row, uint32_t n_out) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < g->n_activation; i++) {
        uint32_t first, last, first2, last2;
        life(g, g->activations[i], &first, &last);
        assert_int_equal(plan->sizes[i], bytes_of(g->activations[i], n_row, n_out));
        assert_int_equal(plan->offsets[i] % 64, 0);
        if (end < plan->offsets[i] + plan->sizes[i])
            end = plan->offsets[i] + plan->sizes[i];
        for (uint32_t k = 0; k < i; k++) {
            life(g, g->activations[k], &first2, &last2);
            const bool together = first <= last2 && first2 <= last;
            const bool overlap = plan->offsets[i] < plan->offsets[k] + plan->sizes[k] &&
                                 plan->offsets[k] < plan->offsets[i] + plan->sizes[i];
            assert_false(together && overlap);
        }
    }
    assert_int_equal(plan->arena_bytes, end);
}

static void test_nothing_overlaps(void **state) {
    (void)state;
    uint64_t apart = 0, together = 0;
    for (uint32_t seed = 0; seed < N_GRAPH; seed++) {
        pm__tensor weights[N_COL_KINDS * (N_COL_KINDS + 1)] = {0};
        pm__graph g;
        random_graph(&g, weights, seed);
        const uint32_t n_row = 1 + seed % 9, n_out = 1 + seed % n_row;
        pm__plan plan, again;
        assert_int_equal(pm__plan_init(&plan, &g, n_row, n_out, 64), PM_OK);
        assert_int_equal(pm__plan_init(&again, &g, n_row, n_out, 64), PM_OK);
        check_plan(&g, &plan, n_row, n_out);
        assert_int_equal(plan.arena_bytes, again.arena_bytes);
        assert_memory_equal(plan.offsets, again.offsets, g.n_activation * sizeof plan.offsets[0]);
        for (uint32_t i = 0; i < g.n_activation; i++)
            apart += plan.sizes[i];
        together += plan.arena_bytes;
        pm__plan_finish(&plan);
        pm__plan_finish(&again);
        pm__graph_finish(&g);
    }
    printf("arena: %.0f%% of the activations' bytes\n", 100.0 * (double)together / (double)apart);
    assert_true(together < apart / 2);
}

/* A chain needs two places however long it is, and the logits keep theirs. */
static void test_chain(void **state) {
    (void)state;
    pm__tensor table = {.name = "table", .n_row = 48, .n_col = 48};
    pm__graph g;
    pm__graph_init(&g);
    pm__t x = pm__embed(&g, "embed", &table);
    for (int i = 0; i < 20; i++)
        x = pm__matmul(&g, "step", x, &table, NULL);
    assert_int_equal(pm__graph_close(&g, pm__select(&g, "select", x)), PM_OK);
    pm__plan plan;
    assert_int_equal(pm__plan_init(&plan, &g, 4, 4, 64), PM_OK);
    assert_int_equal(plan.arena_bytes, 2 * 4 * 48 * sizeof(float));
    pm__plan_finish(&plan);
    pm__graph_finish(&g);
}

static void test_too_large(void **state) {
    (void)state;
    pm__tensor table = {.name = "table", .n_row = UINT32_MAX, .n_col = UINT32_MAX};
    pm__graph g;
    pm__graph_init(&g);
    assert_int_equal(pm__graph_close(&g, pm__select(&g, "select", pm__embed(&g, "embed", &table))),
                     PM_OK);
    pm__plan plan;
    assert_int_equal(pm__plan_init(&plan, &g, UINT32_MAX, 1, 64), PM_OUT_OF_MEMORY);
    assert_non_null(strstr(pm_last_error(), "embed"));
    pm__graph_finish(&g);
}

static void test_step_bytes(void **state) {
    (void)state;
    const pm__limits limits = {.n_ctx = 100, .n_batch = 7, .n_out = 3, .n_seq = 2};
    static const uint64_t expected[PM__STEP_PART_COUNT] = {
        [PM__STEP_ROWS] = 16 + 7 * 16,      [PM__STEP_OUTS] = 3 * 4,
        [PM__STEP_PAGES] = 2 * 4 * 4,       [PM__STEP_HISTORY] = 2 * 100 * 4,
        [PM__STEP_SAMPLERS] = 2 * 48,       [PM__STEP_DRAWN] = 3 * 16,
        [PM__STEP_RING] = PM_RING * 3 * 16,
    };
    for (uint32_t part = 0; part < PM__STEP_PART_COUNT; part++)
        assert_int_equal(pm__limits_step_bytes(&limits, (pm__step_part)part), expected[part]);
    assert_int_equal(pm__limits_pages(&limits), 8);
}

/* Rows of whole chunks of 16 bytes, and a word for the scales of two blocks. */
static void test_cache_bytes(void **state) {
    (void)state;
    const pm__limits limits = {.n_ctx = 100, .n_batch = 7, .n_out = 3, .n_seq = 2};
    static const struct {
        pm__type type;
        uint32_t n_col, quants, scales;
    } rows[] = {{PM__TYPE_F32, 5, 32, 0},   {PM__TYPE_F32, 96, 384, 0}, {PM__TYPE_F16, 5, 16, 0},
                {PM__TYPE_F16, 96, 192, 0}, {PM__TYPE_Q8_0, 96, 96, 8}, {PM__TYPE_Q8_0, 64, 64, 4},
                {PM__TYPE_Q4_0, 32, 16, 4}, {PM__TYPE_Q4_0, 96, 48, 8}};
    for (size_t i = 0; i < PM__COUNT(rows); i++) {
        const pm__tensor cache = {.kind = PM__CACHE, .type = rows[i].type, .n_col = rows[i].n_col};
        const pm__cache_layout at = pm__limits_cache_layout(&limits, &cache);
        assert_int_equal(at.quants_row, rows[i].quants);
        assert_int_equal(at.scales_row, rows[i].scales);
        assert_int_equal(at.scales, 8 * PM_PAGE * rows[i].quants);
        assert_int_equal(at.bytes, 8 * PM_PAGE * (rows[i].quants + rows[i].scales));
        assert_int_equal(pm__limits_cache_bytes(&limits, &cache), at.bytes);
    }
}

/* Limits that no memory serves give the largest numbers, not small ones. */
static void test_huge_limits(void **state) {
    (void)state;
    const pm__limits limits = {
        .n_ctx = UINT32_MAX, .n_batch = UINT32_MAX, .n_out = UINT32_MAX, .n_seq = UINT32_MAX};
    const pm__tensor cache = {.kind = PM__CACHE, .n_col = UINT32_MAX};
    assert_int_equal(pm__limits_pages(&limits), UINT32_MAX);
    assert_true(pm__limits_cache_bytes(&limits, &cache) == UINT64_MAX);
    assert_true(pm__limits_step_bytes(&limits, PM__STEP_HISTORY) == UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_overlaps), cmocka_unit_test(test_chain),
        cmocka_unit_test(test_too_large),        cmocka_unit_test(test_step_bytes),
        cmocka_unit_test(test_cache_bytes),      cmocka_unit_test(test_huge_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
