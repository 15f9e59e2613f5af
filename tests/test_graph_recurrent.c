/* test_graph_recurrent.c: builder calls of operations with states: what they read and write, and
 * the shapes that they refuse by the node's name.
 * ctest: quick */
#include "graph/build.h"
#include "graph/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 11, N = 24, N_TAP = 3, N_STATE = 5, HEAD = 6, N_HEAD = N / HEAD };

typedef struct fixture {
    pm__graph g;
    pm__tensor table, taps, vector, heads, a, wide, rates, short_bc;
    pm__t x, two_x, bc, xbc, dt; /* [rows, N], 2 N, 2 N_STATE, N + 2 N_STATE, N_HEAD */
    pm__t out;                   /* [outputs, N] */
} fixture;

static pm__tensor weight(const char *name, uint32_t n_row, uint32_t n_col) {
    return (pm__tensor){.name = name, .kind = PM__WEIGHT, .n_row = n_row, .n_col = n_col};
}

static void fixture_init(fixture *f) {
    pm__graph *g = &f->g;
    *f = (fixture){.table = weight("table", N_VOCAB, N),
                   .taps = weight("taps", N, N_TAP),
                   .vector = weight("vector", 1, N),
                   .heads = weight("heads", 1, N_HEAD),
                   .a = weight("a", N, N_STATE),
                   .wide = weight("wide", N + 2 * N_STATE, N),
                   .rates = weight("rates", N_HEAD, N),
                   .short_bc = weight("short_bc", 2 * N_STATE, N)};
    pm__graph_init(g);
    f->x = pm__embed(g, "embed", &f->table);
    f->two_x = pm__concat(g, "two", f->x, f->x, 1);
    f->bc = pm__matmul(g, "bc", f->x, &f->short_bc, NULL);
    f->xbc = pm__matmul(g, "xbc", f->x, &f->wide, NULL);
    f->dt = pm__matmul(g, "dt", f->x, &f->rates, NULL);
    f->out = pm__select(g, "select", f->x);
    pm__graph_scope(g, "blk.%u.", 2u);
}

/* Each call with states of the right size, more or less `off`. */
static pm__t conv(fixture *f, int off) {
    pm__t state = pm__state(&f->g, "s", (uint32_t)(N * (N_TAP - 1) + off));
    return pm__conv(&f->g, "conv", f->x, &f->taps, &f->vector, state, true);
}

static pm__t ssm_scan(fixture *f, int off) {
    const pm__ssm_desc desc = {
        .a = &f->a, .d = &f->vector, .state = pm__state(&f->g, "s", (uint32_t)(N * N_STATE + off))};
    return pm__ssm_scan(&f->g, "ssm_scan", f->x, f->x, f->bc, &desc);
}

static pm__t ssm2_scan(fixture *f, int off) {
    const pm__ssm2_desc desc = {.n_head = N_HEAD,
                                .n_group = 1,
                                .n_state = N_STATE,
                                .a = &f->heads,
                                .d = &f->heads,
                                .state = pm__state(&f->g, "s", (uint32_t)(N * N_STATE + off))};
    return pm__ssm2_scan(&f->g, "ssm2_scan", f->xbc, f->dt, &desc);
}

static pm__t delta_net(fixture *f, int off) {
    const pm__delta_net_desc desc = {.n_head = N_HEAD,
                                     .n_head_k = N_HEAD,
                                     .head_dim = HEAD,
                                     .decay = &f->heads,
                                     .state = pm__state(&f->g, "s", (uint32_t)(N * HEAD + off))};
    const pm__t inputs[] = {f->two_x, f->x, f->dt, f->dt};
    return pm__delta_net(&f->g, "delta_net", inputs, &desc);
}

static pm__t wkv7(fixture *f, int off) {
    const pm__t inputs[] = {f->x, f->x, f->x, f->x, f->two_x};
    return pm__wkv7(&f->g, "wkv7", inputs, HEAD, pm__state(&f->g, "s", (uint32_t)(N * HEAD + off)));
}

static pm__t shift(fixture *f, int off) {
    return pm__shift(&f->g, "shift", f->x, pm__state(&f->g, "s", (uint32_t)(N + off)));
}

static pm__t (*const with_state[])(fixture *, int) = {conv,      ssm_scan, ssm2_scan,
                                                      delta_net, wkv7,     shift};

static void test_states(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(with_state); i++) {
        fixture f;
        fixture_init(&f);
        pm__t y = with_state[i](&f, 0);
        assert_non_null(y);
        assert_int_equal(y->n_col, N);
        assert_int_equal(f.g.n_state, 1);
        assert_string_equal(f.g.states[0]->name, "blk.2.s");
        pm__access access;
        pm__node_access(&f.g.nodes[f.g.n_node - 1], &access);
        assert_int_equal(access.n_write, 2);
        assert_ptr_equal(access.writes[0], f.g.states[0]);
        assert_ptr_equal(access.writes[1], y);
        const pm__limits limits = {.n_ctx = 32, .n_batch = 4, .n_out = 2, .n_seq = 3};
        const uint64_t bytes = 4ull * f.g.states[0]->n_col;
        assert_int_equal(pm__limits_state_bytes(&limits, f.g.states[0]), 3 * bytes);
        const pm__cost one = pm__node_cost(&f.g.nodes[f.g.n_node - 1], 1, 1, 32);
        assert_true(one.bytes >= 2 * bytes + 2 * 4 * N);
        pm__graph_finish(&f.g);
    }
}

static void expect_refused(fixture *f, pm__t y, const char *part) {
    assert_null(y);
    assert_int_equal(f->g.status, PM_FAILURE);
    if (strstr(pm_last_error(), part) == NULL || strstr(pm_last_error(), "blk.2.") == NULL)
        fail_msg("'%s' lacks '%s'", pm_last_error(), part);
    pm__graph_finish(&f->g);
}

static void test_state_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(with_state); i++)
        for (int off = -1; off <= 1; off += 2) {
            fixture f;
            fixture_init(&f);
            expect_refused(&f, with_state[i](&f, off), "needed is a state of");
        }
}

static void break_taps(fixture *f) {
    f->taps.n_col = 1;
}

static void break_most_taps(fixture *f) {
    f->taps.n_col = PM__MOST_TAPS + 1;
}

static void break_channels(fixture *f) {
    f->taps.n_row++;
}

static void break_outputs(fixture *f) {
    f->x = f->out;
}

static void break_bc(fixture *f) {
    f->bc = f->x;
}

static void break_decays(fixture *f) {
    f->a.n_col = PM__MOST_SSM_STATE + 1;
}

static void break_heads(fixture *f) {
    f->heads.n_col--;
}

static void break_xbc(fixture *f) {
    f->xbc = f->bc;
}

static void break_rates(fixture *f) {
    f->dt = f->x;
}

static void break_pair(fixture *f) {
    f->two_x = f->x;
}

static void test_shapes(void **state) {
    (void)state;
    static const struct {
        void (*apply)(fixture *f);
        pm__t (*call)(fixture *f, int off);
        const char *part;
    } cases[] = {
        {break_taps, conv, "1 taps"},
        {break_most_taps, conv, "17 taps"},
        {break_channels, conv, "'taps' is [25, 3]"},
        {break_outputs, conv, "output rows"},
        {break_bc, ssm_scan, "needed are 10"},
        {break_decays, ssm_scan, "257 values of a state"},
        {break_outputs, shift, "output rows"},
        {break_heads, ssm2_scan, "'heads'"},
        {break_xbc, ssm2_scan, "10 columns for 4 heads"},
        {break_rates, ssm2_scan, "needed are 4"},
        {break_rates, delta_net, "needed are 4"},
        {break_heads, delta_net, "'heads'"},
        {break_pair, delta_net, "needed are 48"},
        {break_pair, wkv7, "needed are 48"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        fixture f;
        fixture_init(&f);
        cases[i].apply(&f);
        expect_refused(&f, cases[i].call(&f, 0), cases[i].part);
    }
}

/* A model that is not there, in the words of one that is: nothing of the size of its numbers. */
static void test_hostile(void **state) {
    (void)state;
    fixture f;
    fixture_init(&f);
    const pm__t inputs[] = {f.two_x, f.x, f.dt, f.dt};
    const pm__delta_net_desc many = {.n_head = UINT32_MAX, .n_head_k = 1, .head_dim = 2};
    expect_refused(&f, pm__delta_net(&f.g, "many", inputs, &many), "4294967295 heads");
    fixture_init(&f);
    const pm__ssm2_desc groups = {.n_head = 1, .n_group = UINT32_MAX, .n_state = 2};
    expect_refused(&f, pm__ssm2_scan(&f.g, "groups", f.xbc, f.dt, &groups), "4294967295 groups");
    fixture_init(&f);
    expect_refused(&f, pm__state(&f.g, "none", 0), "a state needs columns");
    fixture_init(&f);
    expect_refused(&f, pm__wkv7_bonus(&f.g, "cut", (pm__t[]){f.x, f.x, f.x, f.x}, &f.vector, 7),
                   "24 columns in heads of 7");
    fixture_init(&f);
    expect_refused(&f, pm__lerp(&f.g, "lerp", f.x, f.x, f.dt), "operands differ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_state_sizes),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
