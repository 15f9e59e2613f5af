/* test_gguf_write.c: what the writer writes, the parser reads: keys of every kind, tensors of every
 * type, a real file key by key; and outputs that take no more. */
/* ctest: quick */
#include "base/file_map.h"
#include "format/gguf_write.h"
#include "tests/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct sink {
    uint8_t *data;
    size_t n, most; /* most: bytes it takes */
} sink;

static bool take(void *user, const void *data, size_t n) {
    sink *s = user;
    if (n > s->most - s->n)
        return false;
    s->data = realloc(s->data, s->n + n);
    assert_non_null(s->data);
    memcpy(s->data + s->n, data, n);
    s->n += n;
    return true;
}

static const int32_t integers[] = {-7, 0, 2147483647};
static const float floats[] = {-1.5f, 0x1p-149f};
static const pm__span words[] = {{"a", 1}, {"", 0}, {"\xff\x00z", 3}};

static void put_all(pm__gguf_writer *w) {
    pm__gguf_put_bool(w, "t.bool", true);
    pm__gguf_put_u32(w, "t.u32", 0xfedcba98u);
    pm__gguf_put_i32(w, "t.i32", -5);
    pm__gguf_put_u64(w, "t.u64", 0x123456789abcdefu);
    pm__gguf_put_f32(w, "t.f32", 0.1f);
    pm__gguf_put_string(w, "t.string", "gr\xc3\xbc\xc3\x9f", 6);
    pm__gguf_put_i32s(w, "t.i32s", integers, PM__COUNT(integers));
    pm__gguf_put_f32s(w, "t.f32s", floats, PM__COUNT(floats));
    pm__gguf_put_strings(w, "t.strings", words, PM__COUNT(words));
    pm__gguf_put_f32s(w, "t.empty", NULL, 0);
    pm__gguf_put_tensor(w, "one", pm__type_get(PM__TYPE_F32)->id, 1, (const uint64_t[]){1});
    pm__gguf_put_tensor(w, "two", pm__type_get(PM__TYPE_F32)->id, 2, (const uint64_t[]){5, 3});
    pm__gguf_put_tensor(w, "three", pm__type_get(PM__TYPE_Q8_0)->id, 4,
                        (const uint64_t[]){64, 2, 1, 3});
}

/* Byte i of the data is 3 * i + 1. */
static pm_status write_all(pm__gguf_writer *w, sink *s) {
    pm_status status = pm__gguf_write_index(w, take, s);
    uint8_t k = 1;
    for (uint64_t t = 0; t < w->n_tensor; t++)
        for (uint64_t i = 0; i < w->sizes[t]; i++, k = (uint8_t)(k + 3))
            if (status == PM_OK)
                status = pm__gguf_write_data(w, &k, 1);
    return status;
}

static const pm__gguf_key *key_of(const pm__gguf *gguf, const char *name) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    if (key == NULL)
        fail_msg("no key %s", name);
    return key;
}

static void check_keys(const pm__gguf *gguf) {
    uint64_t u = 0;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    pm__span text;
    assert_int_equal(gguf->n_key, 10);
    assert_true(pm__gguf_bool(key_of(gguf, "t.bool"), &b) && b);
    assert_true(pm__gguf_u64(key_of(gguf, "t.u32"), &u) && u == 0xfedcba98u);
    assert_int_equal(key_of(gguf, "t.i32")->type, PM__GGUF_I32);
    assert_int_equal(key_of(gguf, "t.i32")->value[0], 0xfb);
    assert_true(pm__gguf_u64(key_of(gguf, "t.u64"), &u) && u == 0x123456789abcdefu);
    assert_true(pm__gguf_f64(key_of(gguf, "t.f32"), &f) && (float)f == 0.1f);
    assert_true(pm__gguf_string(key_of(gguf, "t.string"), &text) && text.size == 6);
    assert_memory_equal(text.data, "gr\xc3\xbc\xc3\x9f", 6);
    for (uint64_t k = 0; k < PM__COUNT(integers); k++)
        assert_true(pm__gguf_array_i64(key_of(gguf, "t.i32s"), k, &i) && i == integers[k]);
    for (uint64_t k = 0; k < PM__COUNT(floats); k++)
        assert_true(pm__gguf_array_f64(key_of(gguf, "t.f32s"), k, &f) && (float)f == floats[k]);
    assert_int_equal(key_of(gguf, "t.empty")->n, 0);
    pm__arena arena = {0};
    const pm__span *strings;
    assert_true(pm__gguf_strings(key_of(gguf, "t.strings"), &arena, &strings));
    assert_int_equal(key_of(gguf, "t.strings")->n, PM__COUNT(words));
    for (size_t k = 0; k < PM__COUNT(words); k++) {
        assert_int_equal(strings[k].size, words[k].size);
        assert_memory_equal(strings[k].data, words[k].data, words[k].size);
    }
    pm__arena_finish(&arena);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    pm__gguf_writer w;
    sink s = {.most = SIZE_MAX};
    pm__gguf gguf;
    pm__gguf_writer_init(&w);
    put_all(&w);
    const uint64_t bytes = pm__gguf_file_bytes(&w);
    assert_int_equal(write_all(&w, &s), PM_OK);
    assert_true(pm__gguf_write_is_done(&w));
    assert_int_equal(s.n, bytes);
    assert_int_equal(pm__gguf_init(&gguf, s.data, s.n), PM_OK);
    assert_int_equal(gguf.version, 3);
    check_keys(&gguf);
    assert_int_equal(gguf.n_tensor, 3);
    static const uint64_t sizes[] = {4, 60, 408};
    uint8_t k = 1;
    for (size_t t = 0; t < PM__COUNT(sizes); t++) {
        assert_int_equal(gguf.tensors[t].offset % 32, 0);
        assert_int_equal(gguf.tensors[t].bytes, sizes[t]);
        for (uint64_t i = 0; i < sizes[t]; i++, k = (uint8_t)(k + 3))
            assert_int_equal(gguf.tensors[t].data[i], k);
    }
    assert_int_equal(gguf.tensors[2].n_dim, 4);
    assert_int_equal(gguf.tensors[2].shape[3], 3);
    assert_string_equal(gguf.tensors[1].name, "two");
    pm__gguf_finish(&gguf);
    pm__gguf_writer_finish(&w);
    pm__gguf_writer_finish(&w); /* harmless */
    free(s.data);
}

/* A file of keys alone, such as a vocabulary, has no padding. */
static void files_without_tensors_end_with_their_keys(void **state) {
    (void)state;
    pm__gguf_writer w;
    sink s = {.most = SIZE_MAX};
    pm__gguf gguf;
    pm__gguf_writer_init(&w);
    pm__gguf_put_u32(&w, "a", 1);
    assert_int_equal(pm__gguf_write_index(&w, take, &s), PM_OK);
    assert_true(pm__gguf_write_is_done(&w));
    assert_int_equal(s.n, 24 + 8 + 1 + 4 + 4);
    assert_int_equal(pm__gguf_init(&gguf, s.data, s.n), PM_OK);
    assert_int_equal(gguf.n_key, 1);
    pm__gguf_finish(&gguf);
    pm__gguf_writer_finish(&w);
    free(s.data);
}

static void outputs_that_take_no_more_end_it(void **state) {
    (void)state;
    pm__gguf_writer w;
    pm__gguf_writer_init(&w);
    put_all(&w);
    const size_t bytes = (size_t)pm__gguf_file_bytes(&w);
    pm__gguf_writer_finish(&w);
    for (size_t most = 0; most < bytes; most++) {
        sink s = {.most = most};
        pm__gguf_writer_init(&w);
        put_all(&w);
        assert_int_equal(write_all(&w, &s), PM_FAILURE);
        assert_false(pm__gguf_write_is_done(&w));
        assert_non_null(strstr(pm_last_error(), "took no more"));
        pm__gguf_writer_finish(&w);
        free(s.data);
    }
}

static void expect_refused(uint32_t type_id, uint32_t n_dim, const uint64_t *shape,
                           pm_status expected, const char *part) {
    pm__gguf_writer w;
    sink s = {.most = SIZE_MAX};
    pm__gguf_writer_init(&w);
    pm__gguf_put_tensor(&w, "bad", type_id, n_dim, shape);
    pm__gguf_put_u32(&w, "after", 1);
    assert_int_equal(pm__gguf_write_index(&w, take, &s), expected);
    assert_int_equal(s.n, 0);
    assert_non_null(strstr(pm_last_error(), part));
    pm__gguf_writer_finish(&w);
    free(s.data);
}

static void shapes_and_types_are_checked(void **state) {
    (void)state;
    const uint32_t q8_0 = pm__type_get(PM__TYPE_Q8_0)->id;
    expect_refused(q8_0, 2, (const uint64_t[]){48, 2}, PM_UNSUPPORTED, "'bad'");
    expect_refused(0, 2, (const uint64_t[]){4, 0}, PM_UNSUPPORTED, "'bad'");
    expect_refused(0, 1, (const uint64_t[]){0}, PM_UNSUPPORTED, "'bad'");
    expect_refused(0, 3, (const uint64_t[]){1u << 31, 1u << 31, 4}, PM_UNSUPPORTED, "too large");
    expect_refused(4, 1, (const uint64_t[]){32}, PM_BAD_FILE, "Q4_2");
    expect_refused(777, 1, (const uint64_t[]){32}, PM_BAD_FILE, "777");
}

/* All keys and tensors of a real file; only the padding of its writer may differ. */
static void a_real_file_is_copied(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/stories260K-f32.gguf");
    if (path == NULL) {
        print_message("skipped: no ../shared/models\n");
        skip();
    }
    pm__file_map map;
    pm__gguf from, to;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    assert_int_equal(pm__gguf_init(&from, map.data, map.size), PM_OK);
    pm__gguf_writer w;
    sink s = {.most = SIZE_MAX};
    pm__gguf_writer_init(&w);
    for (uint64_t i = 0; i < from.n_key; i++)
        pm__gguf_put_key(&w, &from.keys[i]);
    for (uint64_t i = 0; i < from.n_tensor; i++)
        pm__gguf_put_tensor(&w, from.tensors[i].name, from.tensors[i].type_id,
                            from.tensors[i].n_dim, from.tensors[i].shape);
    assert_int_equal(pm__gguf_write_index(&w, take, &s), PM_OK);
    for (uint64_t i = 0; i < from.n_tensor; i++)
        assert_int_equal(
            pm__gguf_write_data(&w, from.tensors[i].data, (size_t)from.tensors[i].bytes), PM_OK);
    assert_int_equal(pm__gguf_init(&to, s.data, s.n), PM_OK);
    assert_null(pm__gguf_find_key(&to, "general.alignment"));
    const bool aligned = pm__gguf_find_key(&from, "general.alignment") != NULL;
    assert_int_equal(to.n_key, from.n_key - aligned);
    for (uint64_t i = 0; i < to.n_key && !aligned; i++) {
        assert_int_equal(to.keys[i].value_bytes, from.keys[i].value_bytes);
        assert_memory_equal(to.keys[i].value, from.keys[i].value, from.keys[i].value_bytes);
    }
    assert_int_equal(to.n_tensor, from.n_tensor);
    for (uint64_t i = 0; i < to.n_tensor; i++) {
        assert_string_equal(to.tensors[i].name, from.tensors[i].name);
        assert_memory_equal(to.tensors[i].data, from.tensors[i].data, from.tensors[i].bytes);
    }
    pm__gguf_finish(&to);
    pm__gguf_finish(&from);
    pm__file_map_finish(&map);
    pm__gguf_writer_finish(&w);
    free(s.data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(files_without_tensors_end_with_their_keys),
        cmocka_unit_test(outputs_that_take_no_more_end_it),
        cmocka_unit_test(shapes_and_types_are_checked),
        cmocka_unit_test(a_real_file_is_copied),
    };
    return cmocka_run_group_tests_name("gguf_write", tests, NULL, NULL);
}
