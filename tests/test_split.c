/* test_split.c: GGUF models in several files, made here from one of the tiny model.
 * ctest: quick */
#include "source/source.h"
#include "tests/folders.h"
#include "tests/tiny_model.h"
#include "tests/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_PART = 3 };

typedef struct part {
    uint16_t no, count;
    int32_t n_tensor;      /* as split.tensors.count says */
    uint64_t first, n;     /* tensors of the whole */
    const char *name;      /* of the file, "" for the name it should have */
    bool has_keys;         /* those of the model */
    const char *no_number; /* a key that is a text */
} part;

static char folder[PM__FOLDER_SIZE];
static pm__tiny_model whole;

/* ---- writing --------------------------------------------------------------------------------- */

static void put_u64(FILE *out, uint64_t x, size_t n) {
    for (size_t i = 0; i < n; i++)
        fputc((int)(x >> 8 * i & 255), out);
}

static void put_name(FILE *out, const char *name, size_t n) {
    put_u64(out, n, 8);
    fwrite(name, 1, n, out);
}

static void put_number(FILE *out, const part *p, const char *name, pm__gguf_type type, uint64_t x) {
    put_name(out, name, strlen(name));
    const bool broken = p->no_number != NULL && strcmp(name, p->no_number) == 0;
    put_u64(out, broken ? PM__GGUF_STRING : type, 4);
    put_u64(out, broken ? 0 : x, broken ? 8 : pm__gguf_type_bytes(type));
}

static void put_key(FILE *out, const pm__gguf_key *key) {
    put_name(out, key->name.data, key->name.size);
    put_u64(out, key->type, 4);
    if (key->type == PM__GGUF_ARRAY) {
        put_u64(out, key->element, 4);
        put_u64(out, key->n, 8);
    }
    fwrite(key->value, 1, key->value_bytes, out);
}

static void write_part(const char *path, const part *p) {
    const pm__gguf *g = &whole.gguf;
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fwrite("GGUF", 1, 4, out);
    put_u64(out, 3, 4);
    put_u64(out, p->n, 8);
    put_u64(out, 3 + (p->has_keys ? g->n_key : 0), 8);
    for (uint64_t i = 0; p->has_keys && i < g->n_key; i++)
        put_key(out, &g->keys[i]);
    put_number(out, p, "split.no", PM__GGUF_U16, p->no);
    put_number(out, p, "split.count", PM__GGUF_U16, p->count);
    put_number(out, p, "split.tensors.count", PM__GGUF_I32, (uint64_t)p->n_tensor);
    uint64_t offset = 0;
    for (uint64_t i = p->first; i < p->first + p->n; i++) {
        const pm__gguf_tensor *t = &g->tensors[i];
        put_name(out, t->name, strlen(t->name));
        put_u64(out, t->n_dim, 4);
        for (uint32_t d = 0; d < t->n_dim; d++)
            put_u64(out, t->shape[d], 8);
        put_u64(out, t->type_id, 4);
        put_u64(out, offset, 8);
        offset += (t->bytes + 31) / 32 * 32;
    }
    while (ftell(out) % 32 != 0)
        fputc(0, out);
    for (uint64_t i = p->first; i < p->first + p->n; i++) {
        fwrite(g->tensors[i].data, 1, (size_t)g->tensors[i].bytes, out);
        while (ftell(out) % 32 != 0)
            fputc(0, out);
    }
    assert_int_equal(fclose(out), 0);
}

/* The three parts of the whole, before something is done to them; the second has no tensor. */
static void default_parts(part parts[N_PART]) {
    const uint64_t n = whole.gguf.n_tensor;
    for (uint16_t i = 0; i < N_PART; i++)
        parts[i] = (part){.no = i,
                          .count = N_PART,
                          .n_tensor = (int32_t)n,
                          .first = i == 0 ? 0 : n / 3,
                          .n = i == 0   ? n / 3
                               : i == 1 ? 0
                                        : n - n / 3,
                          .has_keys = i == 0};
}

static const char *path_of(uint32_t i, const char *name) {
    static char path[2 * PM__FOLDER_SIZE];
    if (name != NULL)
        snprintf(path, sizeof path, "%s/%s", folder, name);
    else
        snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", folder, i + 1, N_PART);
    return path;
}

static void write_parts(const part parts[N_PART]) {
    for (uint32_t i = 0; i < N_PART; i++) {
        unlink(path_of(i, NULL));
        if (parts[i].count > 0)
            write_part(path_of(i, parts[i].name), &parts[i]);
    }
}

static int set_up(void **state) {
    (void)state;
    pm__folder_init(folder);
    pm__tiny_model_init(&whole, 2);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm__folder_finish(folder);
    pm__tiny_model_finish(&whole);
    return 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_all_parts(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    write_parts(parts);
    pm__source source;
    assert_int_equal(pm__source_init(&source, path_of(0, NULL)), PM_OK);
    assert_int_equal(source.n_file, N_PART);
    assert_int_equal(source.gguf.n_tensor, whole.gguf.n_tensor);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < N_PART; i++) {
        struct stat info;
        assert_int_equal(stat(path_of(i, NULL), &info), 0);
        bytes += (uint64_t)info.st_size;
    }
    assert_int_equal(source.bytes, bytes);
    for (uint64_t i = 0; i < whole.gguf.n_tensor; i++) {
        const pm__gguf_tensor *t = &whole.gguf.tensors[i];
        const pm__gguf_tensor *found = pm__gguf_find_tensor(&source.gguf, t->name);
        assert_non_null(found);
        assert_int_equal(found->file, i < whole.gguf.n_tensor / 3 ? 0 : 2);
        assert_int_equal(found->bytes, t->bytes);
        assert_memory_equal(found->data, t->data, t->bytes);
    }
    for (uint64_t i = 0; i < whole.gguf.n_key; i++) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)whole.gguf.keys[i].name.size,
                 whole.gguf.keys[i].name.data);
        assert_non_null(pm__gguf_find_key(&source.gguf, name));
    }
    pm__model_def def;
    assert_int_equal(pm__model_def_init(&def, &source.gguf), PM_OK);
    pm__model_def_finish(&def);
    pm__source_finish(&source);
}

static void expect(uint32_t given, const char *sentence) {
    pm__source source;
    assert_int_equal(pm__source_init(&source, path_of(given, NULL)), PM_BAD_FILE);
    if (strstr(pm_last_error(), sentence) == NULL)
        fail_msg("'%s' has no '%s'", pm_last_error(), sentence);
}

static void test_later_part(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    write_parts(parts);
    expect(1, "is part 2 of 3 of a model; give the first, ");
    expect(1, "/m-00001-of-00003.gguf");
    expect(2, "is part 3 of 3");
}

static void test_missing_part(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    parts[1].count = 0;
    write_parts(parts);
    expect(0, "part 2 of 3 cannot be opened: ");
    expect(0, "m-00002-of-00003.gguf");
}

static void test_foreign_part(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    parts[2].count = 4;
    write_parts(parts);
    expect(0, "says it is part 3 of 4");
    default_parts(parts);
    parts[1].no = 2;
    write_parts(parts);
    expect(0, "must be part 2 of 3");
    default_parts(parts);
    parts[2].n_tensor++;
    write_parts(parts);
    expect(0, "is it of another model?");
    default_parts(parts);
    parts[2].count = 1; /* a whole model */
    write_parts(parts);
    expect(0, "says it is part 3 of 1");
}

static void test_tensors(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    for (uint32_t i = 0; i < N_PART; i++)
        parts[i].n_tensor++;
    write_parts(parts);
    expect(0, "split.tensors.count is");
    default_parts(parts);
    parts[1].n = 1;
    for (uint32_t i = 0; i < N_PART; i++)
        parts[i].n_tensor++;
    write_parts(parts);
    expect(0, "is there twice");
}

static void test_numbers(void **state) {
    (void)state;
    static const char *const names[] = {"split.no", "split.count", "split.tensors.count"};
    for (size_t i = 0; i < 3; i++) {
        part parts[N_PART];
        default_parts(parts);
        parts[i].no_number = names[i];
        write_parts(parts);
        expect(0, "is no whole number");
        expect(0, names[i]);
    }
    part parts[N_PART];
    default_parts(parts);
    parts[0].no = 3;
    write_parts(parts);
    expect(0, "split.no is 3 of 3");
}

static void test_name(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    write_parts(parts);
    write_part(path_of(0, "other.gguf"), &parts[0]);
    pm__source source;
    assert_int_equal(pm__source_init(&source, path_of(0, "other.gguf")), PM_BAD_FILE);
    assert_non_null(strstr(pm_last_error(), "its name must end in -00001-of-00003.gguf"));
    write_part(path_of(0, "other.gguf"), &parts[2]);
    assert_int_equal(pm__source_init(&source, path_of(0, "other.gguf")), PM_BAD_FILE);
    assert_non_null(strstr(pm_last_error(), "give the first, whose split.no is 0"));
    parts[0].count = 1; /* one of one is whole, whatever its name */
    parts[0].n = whole.gguf.n_tensor;
    write_part(path_of(0, "other.gguf"), &parts[0]);
    assert_int_equal(pm__source_init(&source, path_of(0, "other.gguf")), PM_OK);
    assert_int_equal(source.n_file, 1);
    pm__source_finish(&source);
}

static void test_damaged_part(void **state) {
    (void)state;
    part parts[N_PART];
    default_parts(parts);
    write_parts(parts);
    struct stat info;
    assert_int_equal(stat(path_of(2, NULL), &info), 0);
    for (off_t n = 0; n < 300; n += 23) {
        write_parts(parts);
        assert_int_equal(truncate(path_of(2, NULL), n), 0);
        expect(0, "split: part 3 of 3, ");
    }
    write_parts(parts);
    assert_int_equal(truncate(path_of(2, NULL), info.st_size - 40), 0);
    expect(0, "pass the end of the file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_parts),    cmocka_unit_test(test_later_part),
        cmocka_unit_test(test_missing_part), cmocka_unit_test(test_foreign_part),
        cmocka_unit_test(test_tensors),      cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_name),         cmocka_unit_test(test_damaged_part),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
