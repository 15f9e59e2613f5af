/* test_quant.c: tensor types: sizes, decoding, binary16, planes for the GPU. */
/* ctest: quick */
#include "format/quant.h"
#include "tests/reference.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GUARD = 0x5a5a5a5a, MOST_COLS = 2048, MOST_WORDS = 2048 };

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t random_state;

static uint32_t next_random(void) {
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 32);
}

/* ---- binary16 -------------------------------------------------------------------------------- */

/* Of a half that is no NaN, by its definition. */
static double half_value(uint16_t half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    const double size = exponent == 31  ? INFINITY
                        : exponent == 0 ? ldexp(mantissa, -24)
                                        : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -size : size;
}

static void every_half_widens_exactly(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        const float x = pm__f16_to_f32((uint16_t)half);
        if ((half & 0x7fff) > 0x7c00) {
            assert_true(isnan(x));
            assert_true(isnan(pm__f16_to_f32(pm__f32_to_f16(x))));
            continue;
        }
        assert_true((double)x == half_value((uint16_t)half));
        assert_int_equal(signbit(x) != 0, half >> 15);
        assert_int_equal(pm__f32_to_f16(x), half);
    }
}

/* The half nearest to x >= 0, by bisection over all of them; of two as near, the even one. */
static uint16_t nearest_half(float x) {
    uint16_t low = 0, high = 0x7c00;
    while (high - low > 1) {
        const uint16_t middle = (uint16_t)((low + high) / 2);
        if (half_value(middle) <= (double)x)
            low = middle;
        else
            high = middle;
    }
    /* For rounding, what comes after the largest finite half is 2^16. */
    const double above = high == 0x7c00 ? 65536.0 : half_value(high);
    const double to_low = (double)x - half_value(low), to_high = above - (double)x;
    if (to_low == to_high)
        return low % 2 == 0 ? low : high;
    return to_low < to_high ? low : high;
}

static void check_narrowing(float x) {
    assert_int_equal(pm__f32_to_f16(x), nearest_half(x));
    assert_int_equal(pm__f32_to_f16(-x), nearest_half(x) | 0x8000);
}

static void floats_narrow_to_the_nearest_half(void **state) {
    (void)state;
    for (uint16_t half = 0; half < 0x7c00; half++) {
        const double above = half == 0x7bff ? 65536.0 : half_value((uint16_t)(half + 1));
        const float middle = (float)((half_value(half) + above) / 2);
        check_narrowing(middle);
        check_narrowing(float_of(bits_of(middle) + 1));
        check_narrowing(float_of(bits_of(middle) - 1));
    }
    random_state = 1;
    for (int i = 0; i < 200000; i++)
        check_narrowing(float_of(next_random() % 0x7f800001));
}

/* ---- the list of types ----------------------------------------------------------------------- */

static void every_id_is_known_or_refused_by_name(void **state) {
    (void)state;
    static const struct {
        uint32_t id;
        const char *name;
    } removed[] = {{4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
                   {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}};
    size_t n_removed = 0;
    pm__type_block block;
    for (uint32_t id = 0; id <= 42; id++) {
        if (n_removed < PM__COUNT(removed) && removed[n_removed].id == id) {
            const char *name = removed[n_removed++].name;
            assert_int_equal(pm__type_block_from_id(id, &block), PM_BAD_FILE);
            assert_non_null(strstr(pm_last_error(), name));
            assert_string_equal(pm__type_id_name(id), name);
            continue;
        }
        assert_int_equal(pm__type_block_from_id(id, &block), PM_OK);
        assert_string_equal(pm__type_id_name(id), block.name);
    }
    assert_int_equal(n_removed, PM__COUNT(removed));
    for (uint32_t id = 43; id < 100; id++)
        assert_int_equal(pm__type_block_from_id(id, &block), PM_BAD_FILE);
    assert_int_equal(pm__type_block_from_id(UINT32_MAX, &block), PM_BAD_FILE);
    assert_non_null(strstr(pm_last_error(), "4294967295"));
    assert_string_equal(pm__type_id_name(9999), "unknown");
}

static void both_tables_agree(void **state) {
    (void)state;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) {
        const pm__type_info *info = pm__type_get(type);
        pm__type_block block;
        assert_int_equal(pm__type_block_from_id(info->id, &block), PM_OK);
        assert_int_equal(block.type, type);
        assert_string_equal(block.name, info->name);
        assert_int_equal(block.n, info->block_n);
        assert_int_equal(block.bytes, info->block_bytes);
    }
}

static void row_bytes_are_checked(void **state) {
    (void)state;
    uint64_t bytes = 7;
    assert_true(pm__type_row_bytes(PM__TYPE_Q8_0, 96, &bytes));
    assert_int_equal(bytes, 102);
    assert_true(pm__type_row_bytes(PM__TYPE_F16, 13, &bytes));
    assert_int_equal(bytes, 26);
    assert_false(pm__type_row_bytes(PM__TYPE_Q4_0, 48, &bytes));
    assert_false(pm__type_row_bytes(PM__TYPE_Q4_0, 1, &bytes));
    assert_false(pm__type_row_bytes(PM__TYPE_F32, UINT64_MAX / 2, &bytes));
    assert_false(pm__type_row_bytes(PM__TYPE_Q8_0, UINT64_MAX - 31, &bytes));
}

/* ---- decoding, against ggml's own decoder ---------------------------------------------------- */

static void *read_reference(const char *name, size_t n) {
    char relative[160];
    snprintf(relative, sizeof relative, "reference/quants/vectors/%s", name);
    const char *path = pm__reference_path(relative);
    assert_non_null(path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    void *data = malloc(n + 1); /* one more, to see a longer file */
    assert_non_null(data);
    assert_int_equal(fread(data, 1, n + 1, file), n);
    fclose(file);
    return data;
}

typedef struct vector_set {
    char type[16], set[16], bin[48], f32[48];
    uint32_t id, block_n, block_bytes, n_row, row_bytes;
} vector_set;

static void check_vectors(const vector_set *v, pm__type type) {
    const uint32_t n_col = v->row_bytes / v->block_bytes * v->block_n;
    uint8_t *rows = read_reference(v->bin, (size_t)v->n_row * v->row_bytes);
    uint32_t *expected = read_reference(v->f32, (size_t)v->n_row * n_col * 4);
    assert_true(n_col <= MOST_COLS);
    for (uint32_t row = 0; row < v->n_row; row++) {
        float out[MOST_COLS];
        pm__type_decode(type, rows + (size_t)row * v->row_bytes, n_col, out);
        for (uint32_t i = 0; i < n_col; i++)
            if (bits_of(out[i]) != expected[(size_t)row * n_col + i])
                fail_msg("%s %s row %u column %u: %a (0x%08x) instead of 0x%08x", v->type, v->set,
                         row, i, (double)out[i], bits_of(out[i]),
                         expected[(size_t)row * n_col + i]);
    }
    free(rows);
    free(expected);
}

static void vectors_decode_bit_for_bit(void **state) {
    (void)state;
    const char *path = pm__reference_path("reference/quants/vectors/index.tsv");
    if (path == NULL)
        skip();
    FILE *index = fopen(path, "r");
    assert_non_null(index);
    char line[512];
    assert_non_null(fgets(line, sizeof line, index)); /* titles */
    int n_checked[PM__TYPE_COUNT] = {0}, n_listed = 0;
    while (fgets(line, sizeof line, index) != NULL) {
        vector_set v;
        assert_int_equal(sscanf(line, "%15s %u %u %u %15s %u %u %47s %47s", v.type, &v.id,
                                &v.block_n, &v.block_bytes, v.set, &v.n_row, &v.row_bytes, v.bin,
                                v.f32),
                         9);
        pm__type_block block;
        assert_int_equal(pm__type_block_from_id(v.id, &block), PM_OK);
        assert_string_equal(block.name, v.type);
        assert_int_equal(block.n, v.block_n);
        assert_int_equal(block.bytes, v.block_bytes);
        n_listed++;
        check_vectors(&v, block.type);
        n_checked[block.type]++;
    }
    fclose(index);
    assert_true(n_listed >= 35);
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++) /* main, cover, edge */
        assert_true(n_checked[type] == 3 || strcmp(pm__type_get(type)->planes, "F32") == 0);
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++)
        assert_true(n_checked[type] > 0);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* The types that pm__type_encode() knows. */
static const pm__type stored[] = {PM__TYPE_F32, PM__TYPE_F16, PM__TYPE_BF16, PM__TYPE_Q8_0,
                                  PM__TYPE_Q4_0};

/* What ggml's quantiser made of eight rows: outliers, zeros, subnormal scales, large numbers. */
static void encoding_gives_the_bytes_of_the_reference(void **state) {
    (void)state;
    enum { N_ROW = 8, N_COL = 512 };
    static const struct {
        pm__type type;
        const char *file;
    } sets[] = {{PM__TYPE_F32, "f32.bin"},
                {PM__TYPE_F16, "f16.bin"},
                {PM__TYPE_BF16, "bf16.bin"},
                {PM__TYPE_Q8_0, "q8_0.bin"},
                {PM__TYPE_Q4_0, "q4_0.bin"}};
    if (pm__reference_path("reference/quants/vectors/source.f32") == NULL)
        skip();
    float *source = read_reference("source.f32", N_ROW * N_COL * sizeof *source);
    for (size_t i = 0; i < PM__COUNT(sets); i++) {
        uint64_t bytes = 0;
        uint8_t row[N_COL * sizeof(float)];
        assert_true(pm__type_row_bytes(sets[i].type, N_COL, &bytes));
        uint8_t *expected = read_reference(sets[i].file, N_ROW * bytes);
        for (uint32_t r = 0; r < N_ROW; r++) {
            pm__type_encode(sets[i].type, source + (size_t)r * N_COL, N_COL, row);
            for (uint64_t b = 0; b < bytes; b++)
                if (row[b] != expected[r * bytes + b])
                    fail_msg("%s row %u byte %u: %02x instead of %02x", sets[i].file, r,
                             (unsigned)b, row[b], expected[r * bytes + b]);
        }
        free(expected);
    }
    free(source);
}

/* Blocks of one number and 31 of another. */
static void check_block(pm__type type, float first, float others, uint16_t scale, int level) {
    float x[32], out[32];
    uint8_t row[34];
    for (int i = 0; i < 32; i++)
        x[i] = i == 0 ? first : others;
    pm__type_encode(type, x, 32, row);
    assert_int_equal(row[0] | row[1] << 8, scale);
    pm__type_decode(type, row, 32, out);
    const float d = pm__f16_to_f32(scale);
    if (isnan(d))
        for (int i = 0; i < 32; i++)
            assert_true(isnan(out[i]));
    else
        assert_true(out[0] == (float)level * d);
}

static void blocks_of_odd_numbers_encode(void **state) {
    (void)state;
    check_block(PM__TYPE_Q8_0, -127.0f, 3.0f, 0x3c00, -127);
    check_block(PM__TYPE_Q8_0, 0.0f, -0.0f, 0, 0);
    check_block(PM__TYPE_Q8_0, 1e-40f, 0.0f, 0, 0);
    check_block(PM__TYPE_Q8_0, 0x1p-126f, -1e-42f, 0, 0);
    check_block(PM__TYPE_Q8_0, FLT_MAX, 1.0f, 0x7c00, 127);
    check_block(PM__TYPE_Q8_0, INFINITY, 1.0f, 0x7e00, 0);
    check_block(PM__TYPE_Q8_0, 1.0f, NAN, 0x7e00, 0);
    check_block(PM__TYPE_Q4_0, 16.0f, 3.0f, 0xc000, -8);
    check_block(PM__TYPE_Q4_0, -4.0f, 4.0f, 0x3800, -8); /* of two as large the first */
    check_block(PM__TYPE_Q4_0, 0.0f, -0.0f, 0x8000, 0);
    check_block(PM__TYPE_Q4_0, -1e-40f, 0.0f, 0, 0);
    check_block(PM__TYPE_Q4_0, -INFINITY, 1.0f, 0x7e00, 0);
    check_block(PM__TYPE_Q4_0, 1.0f, NAN, 0x7e00, 0);
    uint8_t row[2];
    const float quiet = NAN, above = float_of(0x3f808000), tie = float_of(0x3f818000);
    pm__type_encode(PM__TYPE_BF16, &quiet, 1, row);
    assert_int_equal(row[1] & 0x7f, 0x7f);
    pm__type_encode(PM__TYPE_BF16, &above, 1, row);
    assert_int_equal(row[0] | row[1] << 8, 0x3f80); /* ties go to even */
    pm__type_encode(PM__TYPE_BF16, &tie, 1, row);
    assert_int_equal(row[0] | row[1] << 8, 0x3f82);
}

/* The most an element may change, in parts of the largest of its block. */
static const float steps[PM__TYPE_COUNT] = {[PM__TYPE_F16] = 0x1p-11f,
                                            [PM__TYPE_BF16] = 0x1p-8f,
                                            [PM__TYPE_Q8_0] = 0.5f / 127 + 0x1p-11f,
                                            [PM__TYPE_Q4_0] = 1.0f / 8 + 0x1p-11f};

static void check_close(pm__type type, const float *x, uint32_t n) {
    float out[256];
    uint8_t row[256 * sizeof(float)];
    pm__type_encode(type, x, n, row);
    pm__type_decode(type, row, n, out);
    const uint32_t block = pm__type_get(type)->block_n;
    for (uint32_t i = 0; i < n; i++) {
        float most = 0;
        for (uint32_t k = i / block * block; k < i / block * block + block; k++)
            most = fmaxf(most, fabsf(x[k]));
        assert_true(fabsf(out[i] - x[i]) <= most * steps[type]);
    }
}

static void encoding_is_close(void **state) {
    (void)state;
    random_state = 3;
    for (int round = 0; round < 300; round++) {
        float x[96];
        for (size_t i = 0; i < PM__COUNT(x); i++) { /* no halves that are subnormal */
            const float size = 1.0f + (float)next_random() * 0x1p-32f;
            x[i] = ldexpf(i % 3 == 0 ? -size : size, -(int)(next_random() % 8));
        }
        for (size_t i = 0; i < PM__COUNT(stored); i++)
            check_close(stored[i], x, PM__COUNT(x));
    }
}

/* ---- planes: a reader that sees words only, as the shaders do -------------------------------- */

static float low_half(uint32_t word) {
    return (float)half_value((uint16_t)(word & 0xffff));
}

static float high_half(uint32_t word) {
    return (float)half_value((uint16_t)(word >> 16));
}

static int32_t signed_field(uint32_t word, int first, int n) {
    const int32_t field = (int32_t)(word >> first & ((1u << n) - 1));
    return field >= 1 << (n - 1) ? field - (1 << n) : field;
}

/* Each reads one chunk (4 words) of a row, v [chunk_n]. */

static void read_f32(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v) {
    (void)scales;
    (void)chunk;
    for (int i = 0; i < 4; i++)
        v[i] = float_of(q[i]);
}

static void read_f16(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v) {
    (void)scales;
    (void)chunk;
    for (int k = 0; k < 4; k++) {
        v[2 * k] = low_half(q[k]);
        v[2 * k + 1] = high_half(q[k]);
    }
}

static void read_bf16(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v) {
    (void)scales;
    (void)chunk;
    for (int k = 0; k < 4; k++) {
        v[2 * k] = float_of(q[k] << 16);
        v[2 * k + 1] = float_of(q[k] & 0xffff0000u);
    }
}

static void read_q8_0(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v) {
    const uint32_t pair = scales[chunk / 4];
    const float d = (chunk & 2) == 0 ? low_half(pair) : high_half(pair);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++)
            v[4 * k + i] = (float)signed_field(q[k], 8 * i, 8) * d;
}

static void read_q4_0(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v) {
    const uint32_t pair = scales[chunk / 2];
    const float d = (chunk & 1) == 0 ? low_half(pair) : high_half(pair);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) {
            v[4 * k + i] = (float)((int)(q[k] >> 8 * i & 15) - 8) * d;
            v[16 + 4 * k + i] = (float)((int)(q[k] >> (8 * i + 4) & 15) - 8) * d;
        }
}

typedef void (*chunk_reader)(const uint32_t *q, const uint32_t *scales, uint32_t chunk, float *v);

static const chunk_reader readers[PM__TYPE_COUNT] = {
    [PM__TYPE_F32] = read_f32,   [PM__TYPE_F16] = read_f16,   [PM__TYPE_BF16] = read_bf16,
    [PM__TYPE_Q8_0] = read_q8_0, [PM__TYPE_Q4_0] = read_q4_0,
};

/* Any bits, with scales that are numbers. */
static void fill_row(pm__type type, uint8_t *row, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)next_random();
    for (uint64_t at = 0; at < bytes; at += pm__type_get(type)->block_bytes)
        pm__type_put_scale(type, (float)(int32_t)next_random() * 0x1p-30f, row + at);
}

static void check_chunks(pm__type type, const uint32_t *quants, const uint32_t *scales,
                         const float *expected, uint32_t n_col) {
    const pm__type_info *info = pm__type_get(type);
    const uint32_t n_chunk = pm__type_chunks(type, n_col);
    float got[MOST_COLS + 32];
    for (uint32_t chunk = 0; chunk < n_chunk; chunk++)
        readers[type](quants + chunk * info->chunk_words, scales, chunk,
                      got + chunk * info->chunk_n);
    assert_memory_equal(got, expected, n_col * sizeof *expected);
    for (uint32_t i = n_col; i < n_chunk * info->chunk_n; i++)
        assert_int_equal(bits_of(got[i]), 0);
    for (uint32_t first = 0; first < n_col; first += info->block_n) {
        const uint32_t n = (n_col - first) / info->block_n / 2 * info->block_n + info->block_n;
        pm__type_read(type, quants, scales, first, n, got);
        assert_memory_equal(got, expected + first, n * sizeof *expected);
    }
}

/* Every word of both planes is written, and none after them. Where a wide type was packed, its F32
 * planes are read. */
static void check_planes(pm__type type, uint32_t n_col) {
    const pm__type_info *info = pm__type_get(type);
    uint64_t bytes = 0;
    assert_true(pm__type_row_bytes(type, n_col, &bytes));
    uint8_t *row = malloc(bytes);
    assert_non_null(row);
    fill_row(type, row, bytes);
    const uint32_t n_quant = pm__type_quant_words(type, n_col);
    const uint32_t n_scale = pm__type_scale_words(type, n_col);
    assert_int_equal(n_quant, (n_col + info->chunk_n - 1) / info->chunk_n * info->chunk_words);
    assert_int_equal(pm__type_packed_bytes(type, n_col), 4 * (n_quant + n_scale));
    uint32_t quants[2][MOST_WORDS + 1], scales[2][MOST_WORDS + 1];
    for (int run = 0; run < 2; run++) {
        for (size_t i = 0; i <= MOST_WORDS; i++)
            quants[run][i] = scales[run][i] = GUARD + (uint32_t)run;
        pm__type_pack(type, row, n_col, quants[run], n_scale != 0 ? scales[run] : NULL);
        assert_int_equal(quants[run][n_quant], GUARD + run);
        assert_int_equal(scales[run][n_scale], GUARD + run);
    }
    assert_memory_equal(quants[0], quants[1], n_quant * sizeof quants[0][0]);
    assert_memory_equal(scales[0], scales[1], n_scale * sizeof scales[0][0]);
    float *expected = malloc(n_col * sizeof *expected);
    assert_non_null(expected);
    pm__type_decode(type, row, n_col, expected);
    const pm__type planes = strcmp(info->planes, "F32") == 0 ? PM__TYPE_F32 : type;
    if (readers[planes] != NULL)
        check_chunks(planes, quants[0], scales[0], expected, n_col);
    free(expected);
    free(row);
}

static void planes_read_back_what_decoding_gives(void **state) {
    (void)state;
    static const uint32_t blocks[] = {1, 2, 3, 5, 7, 8, 13, 16, 31};
    random_state = 2;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++)
        for (size_t i = 0; i < PM__COUNT(blocks); i++)
            if (blocks[i] * pm__type_get(type)->block_n <= MOST_COLS)
                check_planes(type, blocks[i] * pm__type_get(type)->block_n);
}

static void check_encode_packed(pm__type type, uint32_t n_col) {
    uint32_t quants[2][MOST_COLS], scales[2][MOST_COLS];
    float x[MOST_COLS];
    uint8_t row[MOST_COLS * sizeof(float)];
    for (uint32_t i = 0; i < n_col; i++)
        x[i] = (float)(int32_t)next_random() * 0x1p-30f;
    memset(quants, 0xff, sizeof quants);
    memset(scales, 0xff, sizeof scales);
    pm__type_encode(type, x, n_col, row);
    pm__type_pack(type, row, n_col, quants[0], scales[0]);
    pm__type_encode_packed(type, x, n_col, quants[1], scales[1]);
    assert_memory_equal(quants[0], quants[1], sizeof quants[0]);
    assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
}

static void encoding_into_planes_is_both_in_one(void **state) {
    (void)state;
    static const uint32_t blocks[] = {1, 2, 3, 5, 7, 8, 13, 16, 31};
    random_state = 4;
    for (size_t t = 0; t < PM__COUNT(stored); t++)
        for (size_t i = 0; i < PM__COUNT(blocks); i++)
            for (uint32_t times = 1; times < 40; times += 13)
                if (blocks[i] * pm__type_get(stored[t])->block_n * times <= MOST_COLS)
                    check_encode_packed(stored[t],
                                        blocks[i] * pm__type_get(stored[t])->block_n * times);
}

/* The last scale word of an odd number of blocks has no second scale: it must be zero, not what was
 * there. */
static void unused_halves_of_scales_are_zero(void **state) {
    (void)state;
    const uint8_t row[34 * 3] = {
        [0] = 0x34, [1] = 0x12, [34] = 0x78, [35] = 0x56, [68] = 0xcd, [69] = 0x2b};
    uint32_t quants[24], scales[2] = {GUARD, GUARD};
    pm__type_pack(PM__TYPE_Q8_0, row, 96, quants, scales);
    assert_int_equal(scales[0], 0x56781234);
    assert_int_equal(scales[1], 0x00002bcd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_half_widens_exactly),
        cmocka_unit_test(floats_narrow_to_the_nearest_half),
        cmocka_unit_test(every_id_is_known_or_refused_by_name),
        cmocka_unit_test(both_tables_agree),
        cmocka_unit_test(row_bytes_are_checked),
        cmocka_unit_test(vectors_decode_bit_for_bit),
        cmocka_unit_test(encoding_gives_the_bytes_of_the_reference),
        cmocka_unit_test(blocks_of_odd_numbers_encode),
        cmocka_unit_test(encoding_is_close),
        cmocka_unit_test(planes_read_back_what_decoding_gives),
        cmocka_unit_test(encoding_into_planes_is_both_in_one),
        cmocka_unit_test(unused_halves_of_scales_are_zero),
    };
    return cmocka_run_group_tests_name("quant", tests, NULL, NULL);
}
