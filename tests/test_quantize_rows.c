/* Rows that are quantised here are as near to their numbers as those of ggml's quantiser. */
/* ctest: quick */
#include "format/quantize.h"
#include "tests/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROW = 8, N_COL = 512, MOST_BYTES = 4 * N_COL + 1 };

static void read_reference(const char *name, void *data, size_t n) {
    char relative[160];
    snprintf(relative, sizeof relative, "reference/quants/vectors/%s", name);
    const char *path = pm__reference_path(relative);
    assert_non_null(path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(data, 1, n, file), n);
    fclose(file);
}

static bool has_reference(void) {
    return pm__reference_path("reference/quants/vectors/source.f32") != NULL;
}

static double error_of(const float *x, const float *decoded, const float *weights) {
    double sum = 0;
    for (size_t i = 0; i < N_COL; i++) {
        const double d = (double)x[i] - (double)decoded[i];
        sum += (weights != NULL ? (double)weights[i] : 1) * d * d;
    }
    return sum / N_COL;
}

static double quantized_error(pm__type type, const float *x, const float *weights,
                              const float *measured_by) {
    uint8_t row[MOST_BYTES];
    float decoded[N_COL];
    assert_true(pm__type_quantize(type, x, weights, N_COL, row));
    pm__type_decode(type, row, N_COL, decoded);
    return error_of(x, decoded, measured_by);
}

static void check_rows(pm__type type, const float *source) {
    static float expected[N_ROW][N_COL];
    char name[32];
    snprintf(name, sizeof name, "%s.f32", pm__type_get(type)->file);
    read_reference(name, expected, sizeof expected);
    for (size_t r = 0; r < N_ROW; r++) {
        const float *x = source + r * N_COL;
        const double theirs = error_of(x, expected[r], NULL);
        const double ours = quantized_error(type, x, NULL, NULL);
        if (ours > 1.05 * theirs)
            fail_msg("%s row %zu: mean square error %g, the reference has %g",
                     pm__type_get(type)->name, r, ours, theirs);
    }
}

static const char *const wanted[] = {"F32",  "F16",    "BF16",   "Q4_0",  "Q4_1", "Q5_0",
                                     "Q5_1", "Q8_0",   "Q2_K",   "Q3_K",  "Q4_K", "Q5_K",
                                     "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "TQ2_0"};

static void rows_are_as_near_as_the_reference(void **state) {
    (void)state;
    static float source[N_ROW * N_COL];
    if (!has_reference())
        skip();
    read_reference("source.f32", source, sizeof source);
    size_t n = 0;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        if (!pm__type_can_quantize(type))
            continue;
        check_rows(type, source);
        for (size_t i = 0; i < PM__COUNT(wanted); i++)
            n += strcmp(wanted[i], pm__type_get(type)->name) == 0;
    }
    assert_int_equal(n, PM__COUNT(wanted));
}

/* Columns that matter more are nearer: measured by importance, rows that were quantised with it
 * have less error than those that were not. */
static void importance_pays(void **state) {
    (void)state;
    static float source[N_ROW * N_COL], importance[N_COL];
    if (!has_reference())
        skip();
    read_reference("source.f32", source, sizeof source);
    read_reference("imatrix.f32", importance, sizeof importance);
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        if (!pm__type_can_quantize(type))
            continue;
        double with = 0, without = 0;
        for (size_t r = 0; r < 4; r++) { /* rows of numbers that are about as large */
            with += quantized_error(type, source + r * N_COL, importance, importance);
            without += quantized_error(type, source + r * N_COL, NULL, importance);
        }
        const bool searches = type != PM__TYPE_F32 && type != PM__TYPE_F16 &&
                              type != PM__TYPE_BF16 && type != PM__TYPE_Q8_0;
        if (searches ? with >= without : with != without)
            fail_msg("%s: error %g with importances, %g without", pm__type_get(type)->name, with,
                     without);
    }
}

static void check_odd(pm__type type, const float *x, const float *importance) {
    uint8_t row[MOST_BYTES], again[MOST_BYTES];
    float decoded[N_COL];
    uint64_t bytes = 0;
    assert_true(pm__type_row_bytes(type, N_COL, &bytes));
    memset(row, 0x5a, sizeof row);
    memset(again, 0xa5, sizeof again);
    assert_true(pm__type_quantize(type, x, importance, N_COL, row));
    assert_true(pm__type_quantize(type, x, importance, N_COL, again));
    assert_memory_equal(row, again, bytes);
    assert_int_equal(row[bytes], 0x5a);
    pm__type_decode(type, row, N_COL, decoded);
    for (size_t i = 0; i < N_COL; i++)
        assert_true(isfinite(decoded[i]) || fabsf(x[i]) > 1e37f || type == PM__TYPE_F16 ||
                    type == PM__TYPE_Q8_0);
}

/* Numbers of any size, the same ones, zeros; importances that are zero, or far apart. */
static void odd_rows_are_quantised_too(void **state) {
    (void)state;
    static const float sizes[] = {0, 1e-45f, 1e-38f, 1e-20f, 1, 65504, 3e38f};
    float x[N_COL], importance[N_COL];
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        if (!pm__type_can_quantize(type))
            continue;
        for (size_t s = 0; s < PM__COUNT(sizes); s++) {
            for (size_t i = 0; i < N_COL; i++) {
                x[i] = i < 256 ? sizes[s] : sizes[s] * ((float)(i * 37 % 64) / -64);
                importance[i] = i % 64 < 32 ? 0 : i % 3 == 0 ? 1e-30f : 1e30f;
            }
            check_odd(type, x, NULL);
            check_odd(type, x, importance);
        }
        memset(importance, 0, sizeof importance);
        check_odd(type, x, importance);
    }
}

/* A constant is met in types that have an offset or a sign for it. */
static void constants_are_close(void **state) {
    (void)state;
    float x[N_COL], decoded[N_COL];
    uint8_t row[MOST_BYTES];
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++)
        for (int sign = -1; sign <= 1 && pm__type_can_quantize(type); sign += 2) {
            for (size_t i = 0; i < N_COL; i++)
                x[i] = 0.75f * (float)sign;
            assert_true(pm__type_quantize(type, x, NULL, N_COL, row));
            pm__type_decode(type, row, N_COL, decoded);
            for (size_t i = 0; i < N_COL; i++)
                assert_true(fabsf(decoded[i] - x[i]) <= 0.005f);
        }
}

static void what_is_no_number_is_refused(void **state) {
    (void)state;
    float x[N_COL] = {0};
    uint8_t row[MOST_BYTES];
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        if (!pm__type_can_quantize(type))
            continue;
        x[N_COL - 1] = NAN;
        assert_false(pm__type_quantize(type, x, NULL, N_COL, row));
        x[N_COL - 1] = -INFINITY;
        assert_false(pm__type_quantize(type, x, NULL, N_COL, row));
        x[N_COL - 1] = 0;
        assert_true(pm__type_quantize(type, x, NULL, N_COL, row));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_as_near_as_the_reference), cmocka_unit_test(importance_pays),
        cmocka_unit_test(odd_rows_are_quantised_too),        cmocka_unit_test(constants_are_close),
        cmocka_unit_test(what_is_no_number_is_refused),
    };
    return cmocka_run_group_tests_name("quantize", tests, NULL, NULL);
}
