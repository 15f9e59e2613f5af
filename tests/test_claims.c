/* test_claims.c: tensors that are claimed whole, in parts, as experts, or computed.
 * ctest: quick */
#include "graph/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROW = 7, N_COL = 5, N_EXPERT = 3, N_OUT = 4, N_TENSOR = 4 };

typedef struct fixture {
    float matrix[N_ROW * N_COL], vector[N_ROW], experts[N_EXPERT * N_OUT * N_COL];
    uint8_t blocks[3 * 34];
    pm__gguf_tensor tensors[N_TENSOR];
    pm__gguf gguf;
    uint32_t claims[N_TENSOR];
    pm__model_def def;
} fixture;

static pm__gguf_tensor tensor(const char *name, pm__type type, const void *data, uint64_t n0,
                              uint64_t n1, uint64_t n2) {
    return (pm__gguf_tensor){
        .name = name, .type = type, .n_dim = 3, .shape = {n0, n1, n2, 1}, .data = data};
}

static void open_fixture(fixture *f) {
    static const pm__arch arch = {.name = "toy"};
    memset(f, 0, sizeof *f);
    for (int i = 0; i < N_ROW * N_COL; i++)
        f->matrix[i] = (float)i;
    for (int i = 0; i < N_ROW; i++)
        f->vector[i] = (float)(100 + i);
    for (int i = 0; i < N_EXPERT * N_OUT * N_COL; i++)
        f->experts[i] = (float)(1000 + i);
    f->tensors[0] = tensor("m", PM__TYPE_F32, f->matrix, N_COL, N_ROW, 1);
    f->tensors[1] = tensor("v", PM__TYPE_F32, f->vector, N_ROW, 1, 1);
    f->tensors[2] = tensor("e", PM__TYPE_F32, f->experts, N_COL, N_OUT, N_EXPERT);
    f->tensors[3] = tensor("q", PM__TYPE_Q8_0, f->blocks, 32, 3, 1);
    assert_int_equal(pm__gguf_make(&f->gguf, "toy", NULL, 0, f->tensors, N_TENSOR), PM_OK);
    for (int i = 0; i < N_TENSOR; i++)
        f->claims[i] = PM__CLAIM_NONE;
    f->def = (pm__model_def){.arch = &arch, .gguf = &f->gguf, .claims = f->claims, .status = PM_OK};
}

static void close_fixture(fixture *f) {
    pm__model_def_finish(&f->def);
    pm__gguf_finish(&f->gguf);
}

static float first_of(const fixture *f, pm__t t) {
    float x;
    memcpy(&x, f->def.weights[t->index]->data, sizeof x);
    return x;
}

static void test_rows(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    pm__model_def *def = &f.def;
    pm__t low = pm__matrix_rows(def, N_ROW, 0, 2, N_COL, "%s", "m");
    pm__t high = pm__matrix_rows(def, N_ROW, 2, 5, N_COL, "m");
    assert_true(first_of(&f, low) == 0 && low->n_row == 2 && low->n_col == N_COL);
    assert_true(first_of(&f, high) == 2 * N_COL && high->n_row == 5);
    assert_ptr_equal(pm__matrix_rows(def, N_ROW, 2, 5, N_COL, "m"), high);
    pm__t part = pm__vector_part(def, N_ROW, 3, 4, "v");
    assert_true(first_of(&f, part) == 103 && part->n_row == 1 && part->n_col == 4);
    pm__vector_part(def, N_ROW, 0, 3, "v");
    pm__t experts = pm__experts(def, N_EXPERT, N_OUT, N_COL, "e");
    assert_int_equal(experts->n_row, N_EXPERT * N_OUT);
    pm__t quants = pm__matrix_rows(def, 3, 1, 2, 32, "q");
    assert_ptr_equal(f.def.weights[quants->index]->data, f.blocks + 34);
    pm__matrix_rows(def, 3, 0, 1, 32, "q");
    assert_int_equal(def->status, PM_OK);
    assert_int_equal(pm__model_def_check_claims(def), PM_OK);
    for (uint32_t i = 0; i < def->n_weight; i++)
        assert_int_equal(def->weights[i]->tensor.index, i);
    close_fixture(&f);
}

/* What has no part of the model is named. */
static void test_rest(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    pm__model_def *def = &f.def;
    pm__matrix(def, N_ROW, N_COL, "m");
    pm__vector(def, N_ROW, "v");
    pm__experts_or_null(def, N_EXPERT, N_OUT, N_COL, "e");
    pm__matrix_rows_or_null(def, 3, 0, 2, 32, "q");
    assert_null(pm__matrix_rows_or_null(def, 3, 0, 2, 32, "none"));
    assert_null(pm__vector_part_or_null(def, 3, 0, 2, "none"));
    assert_int_equal(def->status, PM_OK);
    assert_int_equal(pm__model_def_check_claims(def), PM_UNSUPPORTED);
    assert_non_null(strstr(pm_last_error(), "tensor 'q' has no place in architecture toy"));
    pm__matrix_rows(def, 3, 2, 1, 32, "q");
    assert_int_equal(pm__model_def_check_claims(def), PM_OK);
    close_fixture(&f);
}

static void test_constant(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f);
    float values[3] = {1, 2, 3};
    pm__t t = pm__constant(&f.def, "factors", values, 3);
    values[0] = 9;
    assert_true(first_of(&f, t) == 1 && t->n_row == 1 && t->n_col == 3);
    close_fixture(&f);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const parts[] = {
        "tensor 'm' is [5, 7, 1, 1], but the keys of the file make it [5, 8]",
        "tensor 'v' is [7, 1, 1, 1], but the keys of the file make it [6, 1]",
        "tensor 'e' is [5, 4, 3, 1], but the keys of the file make it [5, 3, 4]",
        "model: 65536 experts of 65536 rows",
        "tensor 'e' is [5, 4, 3, 1], but the keys of the file make it [5, 12]",
        "the file has no tensor 'blk.3.x'",
    };
    for (size_t i = 0; i < PM__COUNT(parts); i++) {
        fixture f;
        open_fixture(&f);
        pm__t t = i == 0   ? pm__matrix_rows(&f.def, N_ROW + 1, 0, 2, N_COL, "m")
                  : i == 1 ? pm__vector_part(&f.def, N_ROW - 1, 0, 2, "v")
                  : i == 2 ? pm__experts(&f.def, N_OUT, N_EXPERT, N_COL, "e")
                  : i == 3 ? pm__experts(&f.def, 1 << 16, 1 << 16, N_COL, "e")
                  : i == 4 ? pm__matrix(&f.def, N_EXPERT * N_OUT, N_COL, "e")
                           : pm__vector(&f.def, 1, "blk.%u.x", 3u);
        assert_null(t);
        assert_int_equal(f.def.status, PM_BAD_FILE);
        if (strstr(pm_last_error(), parts[i]) == NULL)
            fail_msg("'%s' lacks '%s'", pm_last_error(), parts[i]);
        close_fixture(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_constant),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
