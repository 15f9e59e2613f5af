/* test_claims.c: what a model claims of a file: vectors of any type, scales beside matrices. */
/* ctest: quick */
#include "format/gguf_write.h"
#include "graph/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct entry {
    const char *name;
    pm__type type;
    uint64_t n_row, n_col;
} entry;

static const entry entries[] = {
    {"up.weight", PM__TYPE_NVFP4, 3, 64},   {"up.scale", PM__TYPE_F32, 1, 1},
    {"up.input_scale", PM__TYPE_F32, 1, 1}, {"gate.weight", PM__TYPE_Q4_K, 2, 256},
    {"gate.scale", PM__TYPE_F32, 1, 5},     {"half.weight", PM__TYPE_F16, 1, 7},
    {"brain.weight", PM__TYPE_BF16, 7, 1},  {"cut.weight", PM__TYPE_Q8_0, 3, 32},
    {"plain.weight", PM__TYPE_F32, 2, 3},   {"wide.scale", PM__TYPE_F16, 1, 1},
    {"wide.weight", PM__TYPE_F64, 3, 5},
};

typedef struct file {
    uint8_t *data;
    size_t n;
    pm__gguf gguf;
    pm__arch arch;
    pm__model_def def;
} file;

static bool append(void *user, const void *data, size_t n) {
    file *f = user;
    uint8_t *more = realloc(f->data, f->n + n + 1);
    assert_non_null(more);
    f->data = more;
    memcpy(f->data + f->n, data, n);
    f->n += n;
    return true;
}

/* Blocks of any bytes with a scale near one. */
static void fill(const entry *e, uint8_t *row, uint64_t bytes, uint32_t seed) {
    const uint32_t block = pm__type_get(e->type)->block_bytes;
    for (uint64_t i = 0; i < bytes; i++)
        row[i] = (uint8_t)((seed + i) * 167 + 13);
    for (uint64_t at = 0; at < bytes; at += block)
        pm__type_put_scale(e->type, 0.5f + (float)((seed + at) % 17) / 16, row + at);
}

static void file_init(file *f) {
    memset(f, 0, sizeof *f);
    pm__gguf_writer w;
    pm__gguf_writer_init(&w);
    for (size_t i = 0; i < PM__COUNT(entries); i++) {
        const entry *e = &entries[i];
        const uint64_t shape[2] = {e->n_col, e->n_row};
        pm__gguf_put_tensor(&w, e->name, pm__type_get(e->type)->id, 2, shape);
    }
    assert_int_equal(pm__gguf_write_index(&w, append, f), PM_OK);
    for (size_t i = 0; i < PM__COUNT(entries); i++)
        for (uint64_t r = 0; r < entries[i].n_row; r++) {
            uint8_t row[4096];
            uint64_t bytes = 0;
            assert_true(pm__type_row_bytes(entries[i].type, entries[i].n_col, &bytes));
            fill(&entries[i], row, bytes, (uint32_t)(31 * i + r));
            assert_int_equal(pm__gguf_write_data(&w, row, bytes), PM_OK);
        }
    assert_true(pm__gguf_write_is_done(&w));
    pm__gguf_writer_finish(&w);
    assert_int_equal(pm__gguf_init(&f->gguf, f->data, f->n), PM_OK);
    f->arch.name = "test";
    f->def = (pm__model_def){.gguf = &f->gguf, .arch = &f->arch};
    f->def.claims = malloc(f->gguf.n_tensor * sizeof f->def.claims[0]);
    assert_non_null(f->def.claims);
    for (uint64_t i = 0; i < f->gguf.n_tensor; i++)
        f->def.claims[i] = PM__CLAIM_NONE;
}

static void file_finish(file *f) {
    uint32_t *claims = f->def.claims;
    pm__model_def_finish(&f->def);
    pm__gguf_finish(&f->gguf);
    free(claims);
    free(f->data);
}

static const float *values_of(const file *f, pm__t t) {
    assert_non_null(t);
    assert_int_equal(t->type, PM__TYPE_F32);
    assert_int_equal(t->n_row, 1);
    return (const float *)(const void *)f->def.weights[t->index]->data;
}

/* Elements [first, first + n) are those of the file's rows, one after the other. */
static void check_vector(const file *f, pm__t t, const char *name, uint32_t first, uint32_t n) {
    const pm__gguf_tensor *source = pm__gguf_find_tensor(&f->gguf, name);
    const float *got = values_of(f, t);
    float all[256];
    assert_non_null(source);
    assert_int_equal(t->n_col, n);
    pm__type_decode(source->type, source->data, (uint32_t)(source->shape[0] * source->shape[1]),
                    all);
    assert_memory_equal(got, all + first, n * sizeof *got);
}

static void vectors_are_f32(void **state) {
    (void)state;
    file f;
    file_init(&f);
    check_vector(&f, pm__vector(&f.def, 7, "half.weight"), "half.weight", 0, 7);
    check_vector(&f, pm__vector(&f.def, 7, "brain.weight"), "brain.weight", 0, 7);
    check_vector(&f, pm__vector(&f.def, 96, "cut.weight"), "cut.weight", 0, 96);
    check_vector(&f, pm__vector_part(&f.def, 96, 5, 40, "cut.weight"), "cut.weight", 5, 40);
    check_vector(&f, pm__vector_part(&f.def, 6, 2, 3, "plain.weight"), "plain.weight", 2, 3);
    check_vector(&f, pm__vector_or_null(&f.def, 15, "wide.weight"), "wide.weight", 0, 15);
    assert_ptr_equal(pm__vector_part(&f.def, 96, 5, 40, "cut.weight"),
                     pm__vector_part(&f.def, 96, 5, 40, "cut.weight"));
    assert_int_equal(f.def.status, PM_OK);
    assert_null(pm__vector(&f.def, 8, "half.weight"));
    assert_int_equal(f.def.status, PM_BAD_FILE);
    file_finish(&f);
}

static void matrices_find_their_scale(void **state) {
    (void)state;
    file f;
    file_init(&f);
    pm__t up = pm__matrix(&f.def, 3, 64, "%s.weight", "up");
    assert_non_null(up);
    assert_int_equal(up->type, PM__TYPE_NVFP4);
    check_vector(&f, up->scale, "up.scale", 0, 1);
    pm__t wide = pm__matrix_rows(&f.def, 3, 1, 2, 5, "wide.weight");
    check_vector(&f, wide->scale, "wide.scale", 0, 1);
    assert_ptr_equal(pm__matrix_rows(&f.def, 3, 0, 1, 5, "wide.weight")->scale, wide->scale);

    pm__graph g;
    pm__graph_init(&g);
    const pm__tensor x = {.name = "x", .kind = PM__ACTIVATION, .rows = PM__ROWS_BATCH, .n_col = 64};
    assert_non_null(pm__matmul(&g, "up", &x, up, NULL));
    assert_ptr_equal(g.nodes[0].in[4], up->scale);
    pm__graph_finish(&g);
    file_finish(&f);
}

/* A vector of that name is something of the model's own: it must ask for it. */
static void other_scales_are_not_taken(void **state) {
    (void)state;
    file f;
    file_init(&f);
    pm__t gate = pm__matrix(&f.def, 2, 256, "gate.weight");
    assert_non_null(gate);
    assert_null(gate->scale);
    static const char *const others[] = {"up", "half", "brain", "cut", "plain", "wide"};
    for (size_t i = 0; i < PM__COUNT(others); i++)
        pm__tensor_ignore(&f.def, "%s.weight", others[i]);
    pm__tensor_ignore(&f.def, "up.scale");
    pm__tensor_ignore(&f.def, "up.input_scale");
    pm__tensor_ignore(&f.def, "wide.scale");
    assert_int_equal(f.def.status, PM_OK);
    assert_int_equal(pm__model_def_check_claims(&f.def), PM_UNSUPPORTED);
    assert_non_null(strstr(pm_last_error(), "'gate.scale'"));
    assert_non_null(pm__vector(&f.def, 5, "gate.scale"));
    assert_int_equal(pm__model_def_check_claims(&f.def), PM_OK);
    file_finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_are_f32),
        cmocka_unit_test(matrices_find_their_scale),
        cmocka_unit_test(other_scales_are_not_taken),
    };
    return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
