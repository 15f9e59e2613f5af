/* test_base.c: growing arrays, checked sizes, arenas, independent jobs. */
/* ctest: quick */
#include "base/arena.h"
#include "base/checked.h"
#include "base/grow.h"
#include "base/hash.h"
#include "base/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_grow_keeps_items(void **state) {
    (void)state;
    uint64_t *items = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(pm__grow("test", &items, &capacity, i, sizeof *items), PM_OK);
        assert_true(capacity > i);
        items[i] = i * i;
    }
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i * i);
    const size_t before = capacity;
    assert_int_equal(pm__reserve("test", &items, &capacity, 7, sizeof *items), PM_OK);
    assert_int_equal(capacity, before);
    free(items);
}

static void test_reserve_refuses_what_overflows(void **state) {
    (void)state;
    uint64_t *items = NULL;
    size_t capacity = 0;
    assert_int_equal(pm__reserve("test", &items, &capacity, SIZE_MAX / 8 + 1, sizeof *items),
                     PM_OUT_OF_MEMORY);
    assert_non_null(strstr(pm_last_error(), "test"));
    assert_null(items);
    assert_int_equal(capacity, 0);
}

static void test_checked_sizes(void **state) {
    (void)state;
    uint64_t out = 0;
    assert_false(pm__add_u64(UINT64_MAX, 1, &out));
    assert_false(pm__mul_u64(1ull << 33, 1ull << 31, &out));
    assert_false(pm__align_u64(UINT64_MAX - 3, 16, &out));
    assert_true(pm__align_u64(17, 16, &out));
    assert_int_equal(out, 32);
    assert_int_equal(pm__add_most_u64(UINT64_MAX, 1), UINT64_MAX);
    assert_int_equal(pm__add_most_u64(3, 4), 7);
    assert_int_equal(pm__mul_most_u64(1ull << 33, 1ull << 31), UINT64_MAX);
    assert_int_equal(pm__mul_most_u64(3, 5), 15);
    assert_int_equal(pm__ceil_div(UINT32_MAX, 2), 1u << 31);
}

static void test_arena(void **state) {
    (void)state;
    pm__arena arena = {0};
    static const size_t sizes[] = {1, 16, 4095, 100000, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *bytes = pm__arena_alloc(&arena, sizes[i]);
        assert_non_null(bytes);
        assert_int_equal((uintptr_t)bytes % 16, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(bytes[k], 0);
        memset(bytes, 0xff, sizes[i]);
    }
    assert_string_equal(pm__arena_string(&arena, "pumice", 3), "pum");
    assert_null(pm__arena_array(&arena, SIZE_MAX / 2, 3));
    pm__arena_finish(&arena);
    pm__arena_finish(&arena);
}

static void count_job(void *user, size_t i) {
    atomic_fetch_add(&((atomic_int *)user)[i], 1);
}

static void test_parallel_runs_each_job_once(void **state) {
    (void)state;
    for (int n_thread = 0; n_thread <= 5; n_thread++) {
        atomic_int runs[137] = {0};
        pm__parallel(137, n_thread, count_job, runs);
        for (size_t i = 0; i < 137; i++)
            assert_int_equal(atomic_load(&runs[i]), 1);
    }
    pm__parallel(0, 3, count_job, NULL);
}

static void count_once(void *user) {
    atomic_fetch_add((atomic_int *)user, 1);
}

static void test_task_runs_once(void **state) {
    (void)state;
    atomic_int runs = 0;
    pm__task task = {.runs = false};
    pm__task_wait(&task);
    for (int i = 1; i <= 20; i++) {
        pm__task_start(&task, count_once, &runs);
        pm__task_wait(&task);
        pm__task_wait(&task);
        assert_int_equal(atomic_load(&runs), i);
    }
}

/* The vector of the SipHash paper, appendix A; shorter ones from its authors' program. */
static void test_keyed_hash(void **state) {
    (void)state;
    static const struct {
        size_t n;
        uint64_t want;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31ULL}, {8, 0x93f5f5799a932462ULL}, {15, 0xa129ca6149be45e5ULL}};
    const pm__hash_key key = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
    unsigned char bytes[15];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        assert_true(pm__hash_keyed(key, bytes, vectors[i].n) == vectors[i].want);
    const pm__hash_key a = pm__hash_draw_key(), b = pm__hash_draw_key();
    assert_true(a.low != b.low && a.high != b.high);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow_keeps_items),
        cmocka_unit_test(test_reserve_refuses_what_overflows),
        cmocka_unit_test(test_checked_sizes),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_keyed_hash),
        cmocka_unit_test(test_parallel_runs_each_job_once),
        cmocka_unit_test(test_task_runs_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
