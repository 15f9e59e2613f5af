/* test_curves.c: in which order the points of a sweep are measured, and what is called a cliff:
 * over a machine whose speed is made up.
 * ctest: quick */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/curves.h"

enum { MOST_CALLS = 4096 };

/* A program's rates, and a machine that does half as much in every other spell. */
typedef struct machine {
    double (*rate)(double x);
    const double *x;    /* of each test */
    double clock, work; /* seconds; tokens of a run for each of x */
    double spell;       /* seconds; 0: always fast */
    size_t calls[MOST_CALLS], n_call, n_again;
    size_t fail_at; /* a test that fails, from 1; 0: none */
    int fail_with;
    size_t stop_after; /* calls; 0: all */
} machine;

static int run(void *user, size_t test, bool again, double *rate) {
    machine *m = user;
    assert_true(m->n_call < MOST_CALLS);
    m->calls[m->n_call++] = test;
    m->n_again += again;
    if (m->fail_at == test + 1)
        return m->fail_with;
    if (m->stop_after > 0 && m->n_call > m->stop_after)
        return PM__EXIT_CANCELLED;
    const double true_rate = m->rate(m->x[test]);
    const bool slow = m->spell > 0 && fmod(floor(m->clock / m->spell), 2) != 0;
    *rate = slow ? true_rate / 2 : true_rate;
    m->clock += m->work / *rate;
    return 0;
}

static void begin(pm__curves *curves, pm__sweep kind, const double *x, size_t n) {
    *curves = (pm__curves){.kind = kind};
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pm__curves_add(curves, "one", x[i], i), 0);
}

static size_t count_cliffs(const pm__curves *curves) {
    size_t n = 0;
    for (size_t i = 0; i < curves->n; i++)
        n += curves->points[i].cliff[0] != '\0';
    return n;
}

static const double answers[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32};
static const double depths[] = {0, 512, 1024, 1536, 2048, 2560, 3072, 3584, 4096};
enum { N_ANSWER = sizeof answers / sizeof answers[0], N_DEPTH = sizeof depths / sizeof depths[0] };

/* More with every answer, and less and less more. */
static double smooth(double x) {
    return 100 * x / (1 + 0.2 * x);
}

static double falls_at_9(double x) {
    return x < 9 ? smooth(x) : 0.68 * smooth(8) * smooth(x) / smooth(9);
}

/* 1 ms a token, and as much again every 1024 positions. */
static double grows(double x) {
    return 1 / (0.001 + 0.001 * x / 1024);
}

static double jumps_at_2048(double x) {
    return grows(x) * (x < 2048 ? 1 : 0.6);
}

static double jumps_at_512(double x) {
    return grows(x) * (x < 512 ? 1 : 0.6);
}

static void test_rounds_go_there_and_back(void **state) {
    (void)state;
    const double x[] = {4, 1, 2, 8};
    static const size_t order[] = {1, 2, 0, 3, 3, 0, 2, 1, 1, 2, 0, 3};
    machine m = {.rate = smooth, .x = x, .work = 1};
    pm__curves curves;
    begin(&curves, PM__SWEEP_BATCH, x, 4);
    assert_int_equal(pm__curves_measure(&curves, 0, 3, run, &m), 0);
    assert_int_equal(m.n_call, 12);
    assert_memory_equal(m.calls, order, sizeof order);
    assert_int_equal(curves.n, 4);
    for (size_t i = 0; i < 4; i++) {
        const pm__point *p = &curves.points[i];
        assert_true(p->x == x[p->test] && p->best == smooth(p->x) && p->worst == p->best);
        assert_true(i == 0 || p[-1].x < p->x);
    }
    assert_int_equal(count_cliffs(&curves), 0);
    pm__curves_finish(&curves);
}

typedef struct tally {
    size_t n_run, n_suspected, n_ring, n_right;
} tally;

/* A curve over machines with spells of many lengths, begun at many moments.
 * cliff  where there is one */
static tally try_spells(pm__sweep kind, double (*rate)(double), double cliff) {
    const bool deep = kind == PM__SWEEP_DEPTH;
    tally all = {0};
    for (int length = 0; length < 20; length++) {
        for (int begun = 0; begun < 20; begun++) {
            machine m = {.rate = rate, .x = deep ? depths : answers, .work = deep ? 250 : 150};
            pm__curves curves;
            m.spell = 12 + 2.3 * length;
            m.clock = m.spell * begun / 10;
            begin(&curves, kind, m.x, deep ? N_DEPTH : N_ANSWER);
            assert_int_equal(pm__curves_measure(&curves, 0, 3, run, &m), 0);
            all.n_run++;
            all.n_suspected += m.n_again > 0;
            all.n_ring += count_cliffs(&curves);
            for (size_t i = 0; i < curves.n; i++)
                all.n_right +=
                    curves.points[i].x == cliff && strstr(curves.points[i].cliff, " slower ");
            pm__curves_finish(&curves);
        }
    }
    return all;
}

static void test_spells_are_no_cliffs(void **state) {
    (void)state;
    const tally batch = try_spells(PM__SWEEP_BATCH, smooth, -1);
    const tally depth = try_spells(PM__SWEEP_DEPTH, grows, -1);
    assert_true(batch.n_suspected > 20 && depth.n_suspected > 20); /* or nothing was tried */
    assert_int_equal(batch.n_ring, 0);
    assert_int_equal(depth.n_ring, 0);
}

static void test_cliffs_are_found_among_spells(void **state) {
    (void)state;
    const tally batch = try_spells(PM__SWEEP_BATCH, falls_at_9, 9);
    const tally depth = try_spells(PM__SWEEP_DEPTH, jumps_at_2048, 2048);
    assert_true(batch.n_right == batch.n_ring && batch.n_right >= batch.n_run * 9 / 10);
    assert_true(depth.n_right == depth.n_ring && depth.n_right >= depth.n_run * 9 / 10);
}

static void test_cliffs_of_a_steady_machine(void **state) {
    (void)state;
    const struct {
        pm__sweep kind;
        double (*rate)(double);
        const double *x;
        size_t n, at;
        const char *cliff;
    } cases[] = {
        {PM__SWEEP_BATCH, smooth, answers, N_ANSWER, 0, ""},
        {PM__SWEEP_UBATCH, falls_at_9, answers, N_ANSWER, 8, "32 % slower than at 8"},
        {PM__SWEEP_DEPTH, grows, depths, N_DEPTH, 1, ""}, /* 33 % fewer tokens than at 0 */
        {PM__SWEEP_DEPTH, jumps_at_512, depths, N_DEPTH, 1, "27 % slower than at 0"},
        {PM__SWEEP_DEPTH, jumps_at_2048, depths, N_DEPTH, 4, "40 % slower than at 1536"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        machine m = {.rate = cases[i].rate, .x = cases[i].x, .work = 1};
        pm__curves curves;
        begin(&curves, cases[i].kind, m.x, cases[i].n);
        assert_int_equal(pm__curves_measure(&curves, 0, 1, run, &m), 0);
        assert_string_equal(curves.points[cases[i].at].cliff, cases[i].cliff);
        assert_int_equal(count_cliffs(&curves), cases[i].cliff[0] != '\0');
        assert_int_equal(m.n_again == 0, cases[i].cliff[0] == '\0');
        pm__curves_finish(&curves);
    }
}

static void test_what_was_measured_is_kept(void **state) {
    (void)state;
    machine m = {.rate = smooth, .x = answers, .work = 1, .fail_at = 6};
    pm__curves curves;
    begin(&curves, PM__SWEEP_BATCH, answers, N_ANSWER);
    assert_int_equal(pm__curves_add(&curves, "two", 5, 0), 0);
    m.fail_with = PM__EXIT_OUT_OF_MEMORY; /* ends its series, not the other */
    assert_int_equal(pm__curves_measure(&curves, 0, 2, run, &m), PM__EXIT_OUT_OF_MEMORY);
    assert_int_equal(m.n_call, 5 + 1 + 5 + 2);
    assert_int_equal(curves.n, 6);
    assert_int_equal(curves.points[5].series, 1);
    pm__curves_finish(&curves);

    m = (machine){.rate = smooth, .x = answers, .work = 1, .stop_after = 7};
    begin(&curves, PM__SWEEP_BATCH, answers, N_ANSWER);
    assert_int_equal(pm__curves_measure(&curves, 0, 2, run, &m), PM__EXIT_CANCELLED);
    assert_int_equal(curves.n, 7);
    pm__curves_finish(&curves);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds_go_there_and_back),
        cmocka_unit_test(test_spells_are_no_cliffs),
        cmocka_unit_test(test_cliffs_are_found_among_spells),
        cmocka_unit_test(test_cliffs_of_a_steady_machine),
        cmocka_unit_test(test_what_was_measured_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
