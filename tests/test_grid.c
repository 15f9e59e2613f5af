/* test_grid.c: groups of rows of a node in pieces: every row is in one, and as few groups as there
 * can be decode the weight.
 * ctest: quick */
#include "base/checked.h"
#include "gpu/lower.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Rows [*first, *end) of the one group of what is left; false: it has none of that size. */
static bool rest(uint32_t size, bool joins, uint32_t n, uint32_t *first, uint32_t *end) {
    const pm__grid grid = {.rows_per_group = size, .rows = PM__GRID_REST, .joins = joins};
    const uint32_t groups = pm__grid_groups(&grid, n);
    assert_true(groups <= 1);
    *first = (n / PM__PIECE - (size > PM__PIECE)) * PM__PIECE; /* as matmul_lanes.comp has it */
    *end = n;
    return groups == 1;
}

static void check_rows(bool joins, uint32_t n) {
    static const uint32_t sizes[] = {PM__MOST_JOINED, 10, 6, 4, 2, 1};
    const pm__grid grid = {.rows_per_group = PM__PIECE, .rows = PM__GRID_MOST, .joins = joins};
    const uint32_t most = pm__grid_groups(&grid, n);
    uint32_t made = most * PM__PIECE < n ? most * PM__PIECE : n, passes = most;
    for (size_t i = joins ? 0 : 2; i < PM__COUNT(sizes); i++) {
        uint32_t first, end;
        if (!rest(sizes[i], joins, n, &first, &end))
            continue;
        assert_int_equal(first, made);
        assert_true(end - first == sizes[i] || (sizes[i] > 1 && end - first == sizes[i] - 1));
        made = end;
        passes++;
    }
    assert_int_equal(made, n);
    const bool joined = joins && n > PM__PIECE && n % PM__PIECE <= PM__MOST_JOINED - PM__PIECE;
    assert_int_equal(passes, joined ? n / PM__PIECE : pm__ceil_div(n, PM__PIECE));
}

static void test_pieces(void **state) {
    (void)state;
    for (uint32_t n = 0; n <= 70; n++) {
        check_rows(false, n);
        check_rows(true, n);
    }
}

static void test_others(void **state) {
    (void)state;
    const pm__grid all = {.rows_per_group = 32}, one = {.rows_per_group = 32, .one = true};
    assert_int_equal(pm__grid_groups(&all, 0), 0);
    assert_int_equal(pm__grid_groups(&all, 65), 3);
    assert_int_equal(pm__grid_groups(&one, 0), 0);
    assert_int_equal(pm__grid_groups(&one, 65), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
