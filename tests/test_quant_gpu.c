/* Tensor types on every Vulkan device there is: blocks that ggml made decode to the bits that ggml
 * gives, and rows of them times a vector are what they should be.
 * ctest: gpu */
#include "runtime/engine/check.h"
#include "runtime/engine/internal.h"
#include "tests/reference.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_COL = 512, MOST_ROW = 32, MOST_LINE = 512 };

static const char vectors[] = "vectors", products[] = "dot";

/* A row of either index. */
typedef struct set {
    char type[16], name[16], bin[48], other[48]; /* other: expected values, or the weights */
    uint32_t id, n_row;
    size_t y_offset, abs_offset; /* of dot alone */
    pm__type kind;
} set;

typedef struct device {
    pm_device *open;
    pm__runner *runner;
    bool flushes; /* numbers or halves that are subnormal */
} device;

static FILE *open_reference(const char *folder, const char *name) {
    char relative[160];
    snprintf(relative, sizeof relative, "reference/quants/%s/%s", folder, name);
    const char *path = pm__reference_path(relative);
    return path != NULL ? fopen(path, "rb") : NULL;
}

static void read_at(const char *folder, const char *name, size_t offset, void *data, size_t n) {
    FILE *file = open_reference(folder, name);
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(data, 1, n, file), n);
    fclose(file);
}

static bool next_set(FILE *index, const char *folder, set *s) {
    char line[MOST_LINE];
    uint32_t block_n, block_bytes, row_bytes;
    pm__type_block block;
    if (fgets(line, sizeof line, index) == NULL)
        return false;
    const int n =
        folder == vectors
            ? sscanf(line, "%15s %u %u %u %15s %u %u %47s %47s", s->type, &s->id, &block_n,
                     &block_bytes, s->name, &s->n_row, &row_bytes, s->bin, s->other)
            : sscanf(line, "%15s %u %15s %u %47s %zu %zu %47s", s->type, &s->id, s->name, &s->n_row,
                     s->bin, &s->y_offset, &s->abs_offset, s->other);
    assert_int_equal(n, folder == vectors ? 9 : 8);
    assert_true(s->n_row <= MOST_ROW);
    assert_int_equal(pm__type_block_from_id(s->id, &block), PM_OK);
    s->kind = block.type;
    return true;
}

/* ---- a node over given operands -------------------------------------------------------------- */

typedef struct job {
    pm__check_case c;
    pm__trial trial;
} job;

static void job_init(job *j, uint32_t n_row) {
    memset(j, 0, sizeof *j);
    j->c = (pm__check_case){.n_row = n_row, .n_out = 1, .n_token = MOST_ROW, .outlier = 1};
    j->c.limits = (pm__limits){.n_ctx = 97, .n_batch = n_row, .n_out = 3, .n_seq = 1};
    pm__graph_init(&j->c.graph);
}

static pm__t add_tensor(job *j, const pm__tensor *t) {
    pm__tensor *to = &j->c.tensors[j->c.n_tensor];
    *to = *t;
    to->index = 8 + j->c.n_tensor++;
    return to;
}

static void job_finish(job *j) {
    pm__trial_finish(&j->trial);
    pm__graph_finish(&j->c.graph);
}

static const pm__operand *operand(const job *j, const pm__tensor *t) {
    for (uint32_t i = 0; i < j->trial.n_operand; i++)
        if (j->trial.operands[i].tensor == t)
            return &j->trial.operands[i];
    fail_msg("no such operand");
    return NULL;
}

static void *data_of(const job *j, const pm__tensor *t) {
    return (void *)(uintptr_t)operand(j, t)->data;
}

static void run(const device *d, job *j, int kernel) {
    j->trial.kernel = kernel;
    if (pm__runner_run(d->runner, &j->trial, 2) != PM_OK)
        fail_msg("%s", pm_last_error());
}

/* ---- decoding -------------------------------------------------------------------------------- */

static void embed(const device *d, pm__type type, const void *rows, uint32_t n_row, float *out) {
    job j;
    job_init(&j, n_row);
    pm__t w = add_tensor(
        &j, &(pm__tensor){
                .name = "w", .kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = N_COL});
    pm__t y = pm__embed(&j.c.graph, "embed", w);
    assert_int_equal(pm__trial_init(&j.trial, &j.c, 1, "embed"), PM_OK);
    memcpy(data_of(&j, w), rows, operand(&j, w)->bytes);
    struct pm_step_head *head = data_of(&j, j.c.graph.nodes[0].in[1]);
    struct pm_step_row *step = (struct pm_step_row *)(head + 1);
    for (uint32_t r = 0; r < n_row; r++)
        step[r].token = r;
    run(d, &j, PM__KERNEL_NONE);
    memcpy(out, operand(&j, y)->after, (size_t)n_row * N_COL * sizeof *out);
    job_finish(&j);
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The job of x [1, N_COL] times rows of a weight. */
static pm__t start_product(job *j, pm__type type, uint32_t n_row) {
    job_init(j, 1);
    pm__t x = add_tensor(
        j,
        &(pm__tensor){.name = "x", .kind = PM__ACTIVATION, .rows = PM__ROWS_BATCH, .n_col = N_COL});
    pm__t w = add_tensor(
        j, &(pm__tensor){
               .name = "w", .kind = PM__WEIGHT, .type = type, .n_row = n_row, .n_col = N_COL});
    pm__t y = pm__matmul(&j->c.graph, "matmul", x, w, NULL);
    assert_int_equal(pm__trial_init(&j->trial, &j->c, 1, "matmul"), PM_OK);
    return y;
}

/* The smallest half and half the smallest normal float, the latter times 4. */
static void find_flushes(device *d) {
    const uint16_t halves[N_COL] = {1};
    const float floats[N_COL] = {0x1p-127f}, fours[N_COL] = {4};
    float half[N_COL];
    job j;
    embed(d, PM__TYPE_F16, halves, 1, half);
    assert_true(half[0] == 0x1p-24f || half[0] == 0);
    pm__t y = start_product(&j, PM__TYPE_F32, 1);
    memcpy(data_of(&j, &j.c.tensors[0]), fours, sizeof fours);
    memcpy(data_of(&j, &j.c.tensors[1]), floats, sizeof floats);
    run(d, &j, PM__KERNEL_NONE);
    const float product = *(const float *)(const void *)operand(&j, y)->after;
    assert_true(product == 0x1p-125f || product == 0);
    d->flushes = half[0] == 0 || product == 0;
    job_finish(&j);
}

/* Where scales are tiny, a device that flushes cannot give the same. */
static bool may_differ(const device *d, const set *s, uint32_t row) {
    return d->flushes &&
           (strcmp(s->name, "edge") == 0 || (strcmp(s->name, "main") == 0 && row == 5));
}

static uint32_t check_decoding(const device *d, const set *s) {
    static uint8_t rows[MOST_ROW * N_COL * 8];
    static float expected[MOST_ROW * N_COL], got[MOST_ROW * N_COL];
    uint64_t row_bytes = 0;
    uint32_t n_other = 0;
    assert_true(pm__type_row_bytes(s->kind, N_COL, &row_bytes));
    read_at(vectors, s->bin, 0, rows, s->n_row * row_bytes);
    read_at(vectors, s->other, 0, expected, (size_t)s->n_row * N_COL * sizeof *expected);
    embed(d, s->kind, rows, s->n_row, got);
    for (uint32_t i = 0; i < s->n_row * N_COL; i++) {
        if (bits_of(got[i]) == bits_of(expected[i]))
            continue;
        if (!may_differ(d, s, i / N_COL))
            fail_msg("%s %s row %u column %u: %a instead of %a", s->type, s->name, i / N_COL,
                     i % N_COL, (double)got[i], (double)expected[i]);
        n_other++;
    }
    return n_other;
}

static void decoding_is_exact(void **state) {
    device *d = *state;
    FILE *index = open_reference(vectors, "index.tsv");
    if (index == NULL)
        skip();
    char line[MOST_LINE];
    assert_non_null(fgets(line, sizeof line, index)); /* titles */
    find_flushes(d);
    set s;
    uint32_t n_set = 0, n_other = 0;
    for (; next_set(index, vectors, &s); n_set++)
        n_other += check_decoding(d, &s);
    fclose(index);
    assert_true(n_set >= 90);
    printf("  %u sets; %s, so that %u values of tiny scales differ\n", n_set,
           d->flushes ? "subnormal numbers are flushed" : "subnormal numbers are kept", n_other);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Of the sizes of all products that a sum may be off: 3.1e-5 is what roundings in any order may
 * come to, 2e-6 a sharp limit for weights one by one. Kernels that sum levels and offsets apart add
 * up to three times as much (a ternary 1 is 2 less 1). Half: factors in binary16. */
static const double exact_part = 4e-6, half_part = 1e-3;

static void check_close(const set *s, const char *how, const float *got, const double *y,
                        const double *sums, double part) {
    for (uint32_t r = 0; r < s->n_row; r++)
        if (!(fabs((double)got[r] - y[r]) <= part * sums[r]))
            fail_msg("%s %s row %u by %s: %.9g instead of %.9g, sizes add up to %g", s->type,
                     s->name, r, how, (double)got[r], y[r], sums[r]);
}

/* Kernels over matmul_coop.glsl read weights by the same lines, so that the first one a device has
 * is enough: how they multiply is tried by test_kernels, and the largest takes seconds a type to
 * compile. */
static bool reads_as_others(const pm__kernel_info *info) {
    static const char family[] = "matmul_coop";
    return strncmp(info->name, family, sizeof family - 1) == 0;
}

static void check_kernels(const device *d, job *j, const set *s, pm__t out, const double *y,
                          const double *sums) {
    pm__kernel_info info;
    bool others = false;
    pm__expected expected;
    assert_int_equal(pm__expected_init(&expected, &j->trial, 0), PM_OK);
    for (uint32_t i = 0; i < j->trial.n_operand; i++)
        if (j->trial.operands[i].tensor == out)
            check_close(s, "cpu", (const float *)(const void *)expected.bytes[i], y, sums,
                        exact_part);
    pm__expected_finish(&expected);
    for (int k = 0; pm__gpu_kernel(&d->open->handle, k, &info); k++) {
        const pm__node *node = j->trial.node;
        if (info.op != PM__OP_MATMUL || !info.available || info.variant ||
            !pm__gpu_takes(k, node) || (others && reads_as_others(&info)))
            continue;
        others = others || reads_as_others(&info);
        run(d, j, k);
        check_close(s, info.name, (const float *)(const void *)operand(j, out)->after, y, sums,
                    pm__gpu_bound(k, node) > pm__op_get(node->op)->nmse ? half_part : exact_part);
    }
}

static void check_product(const device *d, const set *s) {
    double y[MOST_ROW], sums[MOST_ROW];
    job j;
    pm__t out = start_product(&j, s->kind, s->n_row);
    pm__t x = &j.c.tensors[0], w = &j.c.tensors[1];
    read_at(products, s->bin, 0, data_of(&j, x), N_COL * sizeof(float));
    read_at(products, s->bin, s->y_offset, y, s->n_row * sizeof *y);
    read_at(products, s->bin, s->abs_offset, sums, s->n_row * sizeof *sums);
    read_at(vectors, s->other, 0, data_of(&j, w), operand(&j, w)->bytes);
    for (uint32_t r = 0; r < s->n_row; r++) /* what may vanish is not asked for */
        sums[r] = may_differ(d, s, r) ? INFINITY : sums[r];
    check_kernels(d, &j, s, out, y, sums);
    job_finish(&j);
}

static void products_are_close(void **state) {
    device *d = *state;
    FILE *index = open_reference(products, "index.tsv");
    if (index == NULL)
        skip();
    char line[MOST_LINE];
    assert_non_null(fgets(line, sizeof line, index)); /* titles */
    find_flushes(d);
    set s;
    uint32_t n = 0;
    for (; next_set(index, products, &s); n++)
        check_product(d, &s);
    fclose(index);
    assert_true(n >= 60);
}

/* ---- all devices ----------------------------------------------------------------------------- */

static int run_device(const pm_device_info *info) {
    char name[16], cache_dir[4096];
    const char *build = getenv("PUMICE_BUILD"); /* else pipelines are compiled in every run */
    snprintf(name, sizeof name, "%u", info->index);
    snprintf(cache_dir, sizeof cache_dir, "%s%s", build != NULL ? build : "",
             build != NULL ? "/kernel-cache" : "");
    const pm_device_desc desc = {.name = name, .cache_dir = cache_dir};
    device d = {0};
    if (pm_device_open(&desc, &d.open) != PM_OK ||
        pm__runner_create(&d.open->handle, &d.runner) != PM_OK) {
        printf("device %u, %s: %s\n", info->index, info->name, pm_last_error());
        pm_device_close(d.open);
        return 1;
    }
    printf("device %u: %s, %s\n", info->index, info->name, info->driver);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(decoding_is_exact, &d),
        cmocka_unit_test_prestate(products_are_close, &d),
    };
    const int failed = cmocka_run_group_tests_name("types on a device", tests, NULL, NULL);
    pm__runner_destroy(d.runner);
    pm_device_close(d.open);
    return failed;
}

int main(void) {
    pm_device_info *list = NULL;
    size_t n = 0;
    const char *note = "";
    if (pm_device_list(&list, &n, &note) != PM_OK) {
        printf("%s\n", pm_last_error());
        return 1;
    }
    int failed = 0;
    for (size_t i = 0; i + 1 < n; i++) /* the last is the CPU path */
        failed += list[i].usable ? run_device(&list[i]) : 0;
    if (n <= 1)
        printf("no Vulkan device (%s): types are not tested\n", note);
    pm_device_list_free(list);
    return n <= 1 ? 77 : failed;
}
