/* test_imatrix.c: importance matrices: both formats read, what cannot be refused, and what is
 * collected from a model against sums computed here. */
/* ctest: model */
#include "base/file_map.h"
#include "format/gguf_write.h"
#include "format/imatrix.h"
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

typedef struct bytes {
    uint8_t *data;
    size_t n;
} bytes;

static bool take(void *user, const void *data, size_t n) {
    bytes *b = user;
    b->data = realloc(b->data, b->n + n);
    assert_non_null(b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return true;
}

static void put_u32(bytes *b, uint32_t x) {
    for (int i = 0; i < 4; i++)
        take(b, &(uint8_t){(uint8_t)(x >> 8 * i)}, 1);
}

static void put_floats(bytes *b, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        put_u32(b, bits);
    }
}

/* Memory that ends where the file does. */
static pm_status read_all(const bytes *b, pm__imatrix *out) {
    uint8_t *copy = malloc(b->n + 1);
    assert_non_null(copy);
    if (b->n > 0)
        memcpy(copy + 1, b->data, b->n);
    const pm_status status = pm__imatrix_init(out, copy + 1, b->n);
    free(copy);
    return status;
}

/* Takes the bytes. */
static void expect_bad(bytes b, const char *part) {
    pm__imatrix imatrix;
    assert_int_equal(read_all(&b, &imatrix), PM_BAD_FILE);
    if (strstr(pm_last_error(), part) == NULL)
        fail_msg("'%s' is not in '%s'", part, pm_last_error());
    pm__imatrix_finish(&imatrix);
    free(b.data);
}

/* ---- the older format ------------------------------------------------------------------------ */

static void put_entry(bytes *b, const char *name, uint32_t n_call, const float *x, uint32_t n) {
    put_u32(b, (uint32_t)strlen(name));
    take(b, name, strlen(name));
    put_u32(b, n_call);
    put_u32(b, n);
    put_floats(b, x, n);
}

static const float sums[] = {6.0f, 0.0f, 1.5f};

static bytes old_file(void) {
    bytes b = {0};
    put_u32(&b, 2);
    put_entry(&b, "blk.1.ffn_up.weight", 3, sums, 3);
    put_entry(&b, "blk.0.ffn_up.weight", 0, sums, 2);
    return b;
}

static void old_files_are_read(void **state) {
    (void)state;
    pm__imatrix imatrix;
    bytes b = old_file();
    assert_int_equal(read_all(&b, &imatrix), PM_OK);
    assert_int_equal(imatrix.n_entry, 2);
    assert_int_equal(imatrix.n_chunk, 0);
    const pm__imatrix_entry *entry = pm__imatrix_find(&imatrix, "blk.1.ffn_up.weight");
    assert_non_null(entry);
    assert_int_equal(entry->n_value, 3);
    assert_true(entry->values[0] == 2 && entry->values[1] == 0 && entry->values[2] == 0.5f);
    entry = pm__imatrix_find(&imatrix, "blk.0.ffn_up.weight"); /* no call: all columns alike */
    assert_true(entry != NULL && entry->values[0] == 1 && entry->values[1] == 1);
    assert_null(pm__imatrix_find(&imatrix, "blk.2.ffn_up.weight"));
    pm__imatrix_finish(&imatrix);
    put_u32(&b, 17);
    put_u32(&b, 4);
    take(&b, "wiki", 4);
    assert_int_equal(read_all(&b, &imatrix), PM_OK);
    assert_int_equal(imatrix.n_chunk, 17);
    assert_string_equal(imatrix.dataset, "wiki");
    pm__imatrix_finish(&imatrix);
    pm__imatrix_finish(&imatrix); /* harmless */
    free(b.data);
}

static void cut_files_are_refused(void **state) {
    (void)state;
    const bytes whole = old_file();
    for (size_t n = 0; n < whole.n; n++) {
        bytes b = {0};
        take(&b, whole.data, n);
        expect_bad(b, "imatrix: ");
    }
    free(whole.data);
}

static void old_files_that_cannot_be_are_refused(void **state) {
    (void)state;
    const float bad[][1] = {{NAN}, {INFINITY}, {-1.0f}};
    for (size_t i = 0; i < PM__COUNT(bad); i++) {
        bytes b = {0};
        put_u32(&b, 1);
        put_entry(&b, "a", 1, bad[i], 1);
        expect_bad(b, "cannot be");
    }
    bytes none = {0}, twice = {0}, unnamed = {0}, zero = {0}, text = {0};
    put_u32(&none, 0);
    expect_bad(none, "no matrix");
    put_u32(&twice, 2);
    put_entry(&twice, "a", 1, sums, 1);
    put_entry(&twice, "a", 1, sums, 1);
    expect_bad(twice, "twice");
    put_u32(&unnamed, 1);
    put_entry(&unnamed, "", 1, sums, 3);
    expect_bad(unnamed, "no name");
    put_u32(&zero, 1);
    put_u32(&zero, 2);
    take(&zero, "a\0", 2);
    put_floats(&zero, sums, 3);
    expect_bad(zero, "no name");
    take(&text, "<html><body>no</body></html>", 28);
    expect_bad(text, "neither");
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

typedef struct fixture {
    const char *type, *sum_name, *count_name;
    uint64_t n_col, n_matrix, n_count;
    float counts[2];
    pm__type of;
} fixture;

static const fixture good = {"imatrix",
                             "blk.0.ffn_up_exps.weight.in_sum2",
                             "blk.0.ffn_up_exps.weight.counts",
                             2,
                             2,
                             2,
                             {4.0f, 0.0f},
                             PM__TYPE_F32};

static bytes gguf_file(const fixture *f) {
    static const float values[] = {8.0f, 2.0f, 3.0f, 5.0f};
    bytes b = {0};
    pm__gguf_writer w;
    pm__gguf_writer_init(&w);
    pm__gguf_put_string(&w, "general.type", f->type, strlen(f->type));
    pm__gguf_put_strings(&w, "imatrix.datasets", &(pm__span){"a.txt", 5}, 1);
    pm__gguf_put_u32(&w, "imatrix.chunk_count", 9);
    pm__gguf_put_tensor(&w, f->sum_name, pm__type_get(f->of)->id, 2,
                        (const uint64_t[]){f->n_col, f->n_matrix});
    pm__gguf_put_tensor(&w, f->count_name, 0, 2, (const uint64_t[]){1, f->n_count});
    assert_int_equal(pm__gguf_write_index(&w, take, &b), PM_OK);
    assert_int_equal(pm__gguf_write_data(&w, values, (size_t)w.sizes[0]), PM_OK);
    assert_int_equal(pm__gguf_write_data(&w, f->counts, (size_t)w.sizes[1]), PM_OK);
    pm__gguf_writer_finish(&w);
    return b;
}

static void gguf_files_are_read(void **state) {
    (void)state;
    pm__imatrix imatrix;
    bytes b = gguf_file(&good);
    assert_int_equal(read_all(&b, &imatrix), PM_OK);
    assert_int_equal(imatrix.n_entry, 1);
    assert_int_equal(imatrix.n_chunk, 9);
    assert_string_equal(imatrix.dataset, "a.txt");
    const pm__imatrix_entry *entry = pm__imatrix_find(&imatrix, "blk.0.ffn_up_exps.weight");
    assert_non_null(entry);
    assert_int_equal(entry->n_value, 4);
    const float expected[] = {2.0f, 0.5f, 1.0f, 1.0f}; /* no token chose the second expert */
    assert_memory_equal(entry->values, expected, sizeof expected);
    pm__imatrix_finish(&imatrix);
    free(b.data);
}

static void gguf_files_that_cannot_be_are_refused(void **state) {
    (void)state;
    fixture f = good;
    f.type = "model";
    expect_bad(gguf_file(&f), "general.type");
    f = good;
    f.count_name = "blk.0.ffn_up_exps.weight.count";
    expect_bad(gguf_file(&f), "'blk.0.ffn_up_exps.weight' needs tensors");
    f = good;
    f.n_count = 1;
    expect_bad(gguf_file(&f), "one count a row");
    f = good;
    f.of = PM__TYPE_F16;
    expect_bad(gguf_file(&f), "F32");
    f = good;
    f.sum_name = "blk.0.ffn_up_exps.weight.in_sum";
    expect_bad(gguf_file(&f), "no matrix");
    f = good;
    f.counts[0] = -1;
    expect_bad(gguf_file(&f), "cannot be");
    f.counts[0] = NAN;
    expect_bad(gguf_file(&f), "cannot be");
}

/* ---- what a model's columns see -------------------------------------------------------------- */

typedef struct opened {
    pm_device *device;
    pm_model *model;
} opened;

static bool open_stories(opened *o) {
    const char *path = pm__reference_path("models/real/stories260K-f32.gguf");
    if (path == NULL)
        return false;
    const pm_device_desc device = {.name = "cpu", .n_thread = 1};
    const pm_model_desc model = {.path = path};
    assert_int_equal(pm_device_open(&device, &o->device), PM_OK);
    assert_int_equal(pm_model_open(o->device, &model, &o->model), PM_OK);
    return true;
}

static void close_stories(opened *o) {
    pm_model_close(o->model);
    pm_device_close(o->device);
}

static const float *floats_of(const pm__gguf *gguf, const char *name) {
    const pm__gguf_tensor *tensor = pm__gguf_find_tensor(gguf, name);
    assert_true(tensor != NULL && tensor->type == PM__TYPE_F32);
    return (const float *)(const void *)tensor->data;
}

/* The first layer's projections are multiplied by the normed embeddings of the tokens. */
static void expect_first_layer(const pm__gguf *gguf, const int32_t *ids, size_t n,
                               double expected[64]) {
    const float *embedding = floats_of(gguf, "token_embd.weight");
    const float *norm = floats_of(gguf, "blk.0.attn_norm.weight");
    memset(expected, 0, 64 * sizeof *expected);
    for (size_t t = 0; t < n; t++) {
        const float *x = embedding + 64 * (size_t)ids[t];
        double square = 0;
        for (int i = 0; i < 64; i++)
            square += (double)x[i] * (double)x[i];
        const double scale = 1 / sqrt(square / 64 + 1e-5);
        for (int i = 0; i < 64; i++)
            expected[i] += pow((double)x[i] * scale * (double)norm[i], 2);
    }
}

static const char TEXT[] = "Once upon a time there was a little dog who wanted to see the big sea.";

static void check_collected(const bytes *file, const pm__gguf *model, const int32_t *ids,
                            size_t n) {
    double expected[64];
    pm__gguf gguf;
    uint64_t chunk = 0;
    assert_int_equal(pm__gguf_init(&gguf, file->data, file->n), PM_OK);
    assert_true(pm__gguf_u64(pm__gguf_find_key(&gguf, "imatrix.chunk_count"), &chunk));
    assert_int_equal(chunk, 2);
    assert_true(pm__gguf_u64(pm__gguf_find_key(&gguf, "imatrix.chunk_size"), &chunk));
    assert_int_equal(chunk, n / 2);
    expect_first_layer(model, ids, n, expected);
    static const char *const names[] = {"attn_q", "attn_k", "attn_v"};
    for (size_t k = 0; k < PM__COUNT(names); k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight.in_sum2", names[k]);
        const float *got = floats_of(&gguf, name);
        for (int i = 0; i < 64; i++)
            assert_true(fabs((double)got[i] - expected[i]) <= 1e-5 * expected[i] + 1e-9);
        snprintf(name, sizeof name, "blk.0.%s.weight.counts", names[k]);
        assert_true(floats_of(&gguf, name)[0] == (float)n);
    }
    /* seven matrices in each of five layers; what gives the logits is left out */
    assert_int_equal(gguf.n_tensor, 2 * 7 * 5);
    assert_null(pm__gguf_find_tensor(&gguf, "token_embd.weight.in_sum2"));
    pm__gguf_finish(&gguf);
}

static void sums_are_those_of_the_text(void **state) {
    (void)state;
    opened o;
    if (!open_stories(&o)) {
        print_message("skipped: no ../shared/models\n");
        skip();
    }
    int32_t ids[128];
    size_t n = 0;
    const pm_tokenize_desc text = {.text = TEXT, .n_byte = sizeof TEXT - 1, .add_special = true};
    assert_int_equal(pm_tokenize(o.model, &text, ids, PM__COUNT(ids), &n), PM_OK);
    n = n / 2 * 2; /* two chunks */
    ids[n / 2] = ids[0];
    bytes file = {0};
    const pm_imatrix_desc desc = {.text = TEXT,
                                  .n_byte = sizeof TEXT - 1,
                                  .dataset = "text",
                                  .n_ctx = (uint32_t)n / 2,
                                  .n_chunk = 2,
                                  .write = take,
                                  .user = &file};
    assert_int_equal(pm_imatrix(o.model, &desc), PM_OK);
    pm__file_map map;
    pm__gguf model;
    pm__imatrix imatrix;
    assert_int_equal(
        pm__file_map_init(&map, pm__reference_path("models/real/stories260K-f32.gguf")), PM_OK);
    assert_int_equal(pm__gguf_init(&model, map.data, map.size), PM_OK);
    check_collected(&file, &model, ids, n);
    assert_int_equal(read_all(&file, &imatrix), PM_OK);
    assert_int_equal(imatrix.n_entry, 35);
    pm__imatrix_finish(&imatrix);
    pm__gguf_finish(&model);
    pm__file_map_finish(&map);
    free(file.data);
    close_stories(&o);
}

static bool refuse(void *user, const void *data, size_t n) {
    (void)user;
    (void)data;
    (void)n;
    return false;
}

static bool cancel(void *user, const char *what, uint64_t done, uint64_t total) {
    (void)user;
    (void)what;
    return done == total;
}

static void collecting_ends_with_a_sentence(void **state) {
    (void)state;
    opened o;
    if (!open_stories(&o))
        skip();
    bytes file = {0};
    pm_imatrix_desc desc = {
        .text = TEXT, .n_byte = sizeof TEXT - 1, .n_ctx = 8, .write = refuse, .user = &file};
    assert_int_equal(pm_imatrix(o.model, &desc), PM_FAILURE);
    desc.write = take;
    desc.progress = cancel;
    assert_int_equal(pm_imatrix(o.model, &desc), PM_CANCELLED);
    assert_int_equal(file.n, 0);
    pm_model *vocabulary = NULL;
    const pm_model_desc vocab = {.path = pm__reference_path("models/real/stories260K-f32.gguf"),
                                 .vocab_only = true};
    assert_int_equal(pm_model_open(NULL, &vocab, &vocabulary), PM_OK);
    assert_int_equal(pm_imatrix(vocabulary, &desc), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "--device cpu"));
    pm_model_close(vocabulary);
    close_stories(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_files_are_read),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(old_files_that_cannot_be_are_refused),
        cmocka_unit_test(gguf_files_are_read),
        cmocka_unit_test(gguf_files_that_cannot_be_are_refused),
        cmocka_unit_test(sums_are_those_of_the_text),
        cmocka_unit_test(collecting_ends_with_a_sentence),
    };
    return cmocka_run_group_tests_name("imatrix", tests, NULL, NULL);
}
