/* test_mixture.c: other ways in which files keep experts give the same logits: gates and values in
 * one tensor, and scales beside the tensors.
 * ctest: model */
#include "base/file_map.h"
#include "cpu/cpu.h"
#include "reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_TENSORS = 64, MOST_EXPERTS = 8, N_LAYER = 2, N_TOKEN = 9 };

static pm__file_map file;
static pm__gguf original;

static int set_up(void **state) {
    (void)state;
    const char *path = pm__reference_path("reference/arch/qwen3moe/model.gguf");
    if (path == NULL) {
        printf("reference/arch is not there: other forms of experts are not tested\n");
        return 0;
    }
    if (pm__file_map_init(&file, path) != PM_OK)
        return 1;
    return pm__gguf_init(&original, file.data, file.size) != PM_OK;
}

static int tear_down(void **state) {
    (void)state;
    pm__gguf_finish(&original);
    pm__file_map_finish(&file);
    return 0;
}

static void expect_ok(pm_status status) {
    if (status != PM_OK)
        fail_msg("%s", pm_last_error());
}

/* Logits of the last of some tokens, [n_vocab], to be freed. */
static float *logits_of(const pm__gguf *gguf, uint32_t *n_vocab) {
    pm__device_handle cpu;
    pm__model_def def;
    pm__graph graph;
    void *weights, *context;
    const pm__limits limits = {.n_ctx = 32, .n_batch = N_TOKEN, .n_out = 1, .n_seq = 1};
    const pm__build_desc build = {.n_ctx = limits.n_ctx};
    const uint32_t page = 0, out = N_TOKEN - 1;
    struct pm_step_row rows[N_TOKEN];
    struct pm_step_drawn drawn;
    for (uint32_t i = 0; i < N_TOKEN; i++)
        rows[i] = (struct pm_step_row){.token = 3 + 7 * i, .pos = i, .n_pos = N_TOKEN};
    const pm__step step = {.rows = rows, .n_row = N_TOKEN, .outs = &out, .n_out = 1};
    expect_ok(pm__cpu_open(1, 0, &cpu));
    const pm__backend *b = cpu.backend;
    expect_ok(pm__model_def_init(&def, gguf));
    expect_ok(pm__model_def_build(&def, &build, &graph));
    expect_ok(b->weights_create(cpu.device, &def, NULL, NULL, &weights));
    expect_ok(b->context_create(weights, &graph, &limits, &context));
    expect_ok(b->set_pages(context, 0, 0, 1, &page));
    expect_ok(b->begin(context, &step));
    expect_ok(b->submit(context));
    expect_ok(b->collect(context, &drawn));
    *n_vocab = def.n_vocab;
    float *logits = calloc(def.n_vocab, sizeof *logits);
    assert_non_null(logits);
    expect_ok(b->read_logits(context, 0, 1, logits));
    b->context_destroy(context);
    b->weights_destroy(weights);
    pm__graph_finish(&graph);
    pm__model_def_finish(&def);
    b->close(cpu.device);
    return logits;
}

/* What a file with these tensors and the original's keys gives is, to the bit, what that one
 * does. */
static void expect_same(const pm__gguf_tensor *tensors, size_t n) {
    pm__gguf other;
    uint32_t n_vocab = 0, n_other = 0;
    expect_ok(pm__gguf_make(&other, "test", original.keys, original.n_key, tensors, n));
    float *a = logits_of(&original, &n_vocab), *b = logits_of(&other, &n_other);
    assert_int_equal(n_vocab, n_other);
    assert_memory_equal(a, b, n_vocab * sizeof *a);
    free(a);
    free(b);
    pm__gguf_finish(&other);
}

/* The original's tensors but those of two names. */
static size_t others(pm__gguf_tensor *out, const char *const not [2]) {
    size_t n = 0;
    for (uint64_t i = 0; i < original.n_tensor; i++) {
        const char *name = original.tensors[i].name;
        const bool taken = strstr(name, not [0]) == NULL && strstr(name, not [1]) == NULL;
        assert_true(n < MOST_TENSORS);
        if (taken)
            out[n++] = original.tensors[i];
    }
    return n;
}

static const pm__gguf_tensor *find(const char *fmt, unsigned layer) {
    char name[64];
    snprintf(name, sizeof name, fmt, layer);
    const pm__gguf_tensor *t = pm__gguf_find_tensor(&original, name);
    assert_non_null(t);
    return t;
}

static void test_fused(void **state) {
    (void)state;
    static const char *const not [2] = {"ffn_gate_exps", "ffn_up_exps"};
    static char names[N_LAYER][64];
    static const uint8_t *parts[N_LAYER][2 * MOST_EXPERTS];
    static pm__gguf_rows rows[N_LAYER];
    if (original.n_tensor == 0)
        skip();
    pm__gguf_tensor tensors[MOST_TENSORS];
    size_t n = others(tensors, not );
    assert_int_equal(n, original.n_tensor - 2 * N_LAYER);
    for (unsigned i = 0; i < N_LAYER; i++) {
        const pm__gguf_tensor *gate = find("blk.%u.ffn_gate_exps.weight", i);
        const pm__gguf_tensor *up = find("blk.%u.ffn_up_exps.weight", i);
        const uint64_t n_expert = gate->shape[2], bytes = gate->bytes / n_expert;
        assert_true(n_expert <= MOST_EXPERTS);
        for (uint64_t e = 0; e < n_expert; e++) {
            parts[i][2 * e] = gate->data + e * bytes;
            parts[i][2 * e + 1] = up->data + e * bytes;
        }
        snprintf(names[i], sizeof names[i], "blk.%u.ffn_gate_up_exps.weight", i);
        rows[i] = (pm__gguf_rows){.parts = parts[i], .n_row = gate->shape[1]};
        tensors[n] = *gate;
        tensors[n].name = names[i];
        tensors[n].shape[1] *= 2;
        tensors[n].data = NULL;
        tensors[n].rows = &rows[i];
        tensors[n++].bytes *= 2;
    }
    expect_same(tensors, n);
}

/* Values are divided by a power of two and their scales make up for it. */
static void test_scales(void **state) {
    (void)state;
    static const char *const not [2] = {"ffn_up_exps", "ffn_down_exps"};
    static const char *const kinds[2] = {"ffn_up_exps", "ffn_down_exps"};
    static char names[2 * N_LAYER][64];
    static float scales[MOST_EXPERTS];
    float *copies[2 * N_LAYER];
    if (original.n_tensor == 0)
        skip();
    pm__gguf_tensor tensors[MOST_TENSORS];
    size_t n = others(tensors, not );
    for (int e = 0; e < MOST_EXPERTS; e++)
        scales[e] = (float)(1 << e);
    for (unsigned i = 0; i < 2 * N_LAYER; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%%u.%s.weight", kinds[i % 2]);
        const pm__gguf_tensor *t = find(name, i / 2);
        const size_t n_each = t->bytes / t->shape[2] / sizeof(float);
        copies[i] = malloc(t->bytes);
        assert_non_null(copies[i]);
        memcpy(copies[i], t->data, t->bytes);
        for (size_t k = 0; k < n_each * t->shape[2]; k++)
            copies[i][k] /= scales[k / n_each];
        tensors[n] = *t;
        tensors[n++].data = (const uint8_t *)copies[i];
        snprintf(names[i], sizeof names[i], "blk.%u.%s.scale", i / 2, kinds[i % 2]);
        tensors[n++] = (pm__gguf_tensor){.name = names[i],
                                         .type = PM__TYPE_F32,
                                         .n_dim = 1,
                                         .shape = {t->shape[2], 1, 1, 1},
                                         .data = (const uint8_t *)scales,
                                         .bytes = t->shape[2] * sizeof(float)};
    }
    expect_same(tensors, n);
    for (unsigned i = 0; i < 2 * N_LAYER; i++)
        free(copies[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fused),
        cmocka_unit_test(test_scales),
    };
    return cmocka_run_group_tests_name("mixture", tests, set_up, tear_down);
}
