/* test_gguf.c: the GGUF container: small files made here, one a rule, real ones, and damaged ones.
 */
/* ctest: quick */
#include "base/clock.h"
#include "base/file_map.h"
#include "format/gguf.h"
#include "tests/reference.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- writing files --------------------------------------------------------------------------- */

typedef struct blob {
    uint8_t *data;
    size_t size, capacity;
} blob;

static void put(blob *b, const void *data, size_t n) {
    if (b->size + n > b->capacity) {
        b->capacity = 2 * (b->size + n);
        b->data = realloc(b->data, b->capacity);
        assert_non_null(b->data);
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

/* The n low bytes of x, lowest first. */
static void put_int(blob *b, uint64_t x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)(x >> 8 * i);
        put(b, &byte, 1);
    }
}

static void put_bytes(blob *b, const char *text, size_t n) {
    put_int(b, n, 8);
    put(b, text, n);
}

static void put_string(blob *b, const char *text) {
    put_bytes(b, text, strlen(text));
}

static blob start(uint32_t version, uint64_t n_tensor, uint64_t n_key) {
    blob b = {0};
    put(&b, "GGUF", 4);
    put_int(&b, version, 4);
    put_int(&b, n_tensor, 8);
    put_int(&b, n_key, 8);
    return b;
}

static void put_key(blob *b, const char *name, pm__gguf_type type) {
    put_string(b, name);
    put_int(b, type, 4);
}

static void put_array(blob *b, const char *name, uint32_t element, uint64_t n) {
    put_key(b, name, PM__GGUF_ARRAY);
    put_int(b, element, 4);
    put_int(b, n, 8);
}

static void put_u32(blob *b, const char *name, uint32_t value) {
    put_key(b, name, PM__GGUF_U32);
    put_int(b, value, 4);
}

static void put_f32(blob *b, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_int(b, bits, 4);
}

/* shape  [n_dim] */
static void put_tensor(blob *b, const char *name, uint32_t n_dim, const uint64_t *shape,
                       uint32_t type, uint64_t offset) {
    put_string(b, name);
    put_int(b, n_dim, 4);
    for (uint32_t i = 0; i < n_dim; i++)
        put_int(b, shape[i], 8);
    put_int(b, type, 4);
    put_int(b, offset, 8);
}

static void put_zeros(blob *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        put_int(b, 0, 1);
}

/* Pads to `alignment` and adds n bytes of data. */
static void put_data(blob *b, size_t alignment, size_t n) {
    put_zeros(b, (alignment - b->size % alignment) % alignment);
    put_zeros(b, n);
}

/* ---- expectations; the parser sees memory that ends where the file does ---------------------- */

static pm_status parse(const uint8_t *data, size_t size, pm__gguf *gguf, uint8_t **copy) {
    *copy = malloc(size != 0 ? size : 1);
    assert_non_null(*copy);
    if (size != 0)
        memcpy(*copy, data, size);
    return pm__gguf_init(gguf, size != 0 ? *copy : NULL, size);
}

/* Takes the blob. */
static void expect_bad(blob b, const char *part) {
    pm__gguf gguf;
    uint8_t *copy;
    const double before = pm__clock_thread_seconds();
    const pm_status status = parse(b.data, b.size, &gguf, &copy);
    if (status != PM_BAD_FILE)
        fail_msg("status %d for a file that should fail with '%s'", status, part);
    assert_true(pm__clock_thread_seconds() - before < 1.0);
    assert_int_equal(strncmp(pm_last_error(), "gguf: ", 6), 0);
    if (strstr(pm_last_error(), part) == NULL)
        fail_msg("'%s' is not in '%s'", part, pm_last_error());
    pm__gguf_finish(&gguf); /* harmless after a failure */
    free(copy);
    free(b.data);
}

/* A parsed file. */
typedef struct loaded {
    pm__gguf gguf;
    uint8_t *copy;
} loaded;

/* Takes the blob. */
static loaded expect_good(blob b) {
    loaded l;
    if (parse(b.data, b.size, &l.gguf, &l.copy) != PM_OK)
        fail_msg("%s", pm_last_error());
    free(b.data);
    return l;
}

static void unload(loaded *l) {
    pm__gguf_finish(&l->gguf);
    free(l->copy);
}

/* Reads all that a file holds, so that a wrong span is found by the address sanitizer. */
static uint64_t touch_everything(const pm__gguf *gguf) {
    uint64_t sum = 0;
    char text[96];
    for (uint64_t i = 0; i < gguf->n_key; i++) {
        const pm__gguf_key *key = &gguf->keys[i];
        pm__gguf_print_value(key, text, sizeof text);
        assert_true(strlen(text) < sizeof text);
        for (size_t at = 0; at < key->value_bytes; at++)
            sum += key->value[at];
        pm__arena arena = {0};
        const pm__span *strings;
        if (pm__gguf_strings(key, &arena, &strings))
            for (uint64_t s = 0; s < key->n; s++)
                sum += strings[s].size != 0 ? (uint8_t)strings[s].data[strings[s].size - 1] : 0;
        pm__arena_finish(&arena);
    }
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        const pm__gguf_tensor *tensor = &gguf->tensors[i];
        assert_ptr_equal(pm__gguf_find_tensor(gguf, tensor->name), tensor);
        sum += tensor->data[0] + tensor->data[tensor->bytes - 1];
    }
    return sum;
}

/* ---- header ---------------------------------------------------------------------------------- */

static void headers_are_checked(void **state) {
    (void)state;
    expect_bad((blob){0}, "empty");
    for (size_t n = 1; n < 24; n++) {
        blob b = start(3, 0, 0);
        b.size = n;
        expect_bad(b, "ends at");
    }
    blob magic = start(3, 0, 0);
    magic.data[3] = 'f';
    expect_bad(magic, "GGUF");
    blob text = {0};
    put(&text, "<h", 2);
    expect_bad(text, "GGUF");
    expect_bad(start(0, 0, 0), "version 0");
    expect_bad(start(1, 0, 0), "version 1");
    expect_bad(start(4, 0, 0), "version 4");
    expect_bad(start(0x03000000, 0, 0), "big-endian");
    for (uint32_t version = 2; version <= 3; version++) {
        loaded l = expect_good(start(version, 0, 0));
        assert_int_equal(l.gguf.version, version);
        assert_null(pm__gguf_find_key(&l.gguf, "general.name"));
        assert_null(pm__gguf_find_tensor(&l.gguf, ""));
        unload(&l);
    }
}

static void counts_are_checked_before_anything_is_allocated(void **state) {
    (void)state;
    static const uint64_t counts[] = {1, 1u << 31, 1ULL << 63, UINT64_MAX, UINT64_MAX / 14 + 1};
    for (size_t i = 0; i < PM__COUNT(counts); i++) {
        char part[64];
        snprintf(part, sizeof part, "%" PRIu64 " keys", counts[i]);
        expect_bad(start(3, 0, counts[i]), part);
        snprintf(part, sizeof part, "%" PRIu64 " tensors", counts[i]);
        expect_bad(start(3, counts[i], 0), part);
    }
    blob many = start(3, 0, PM__GGUF_MOST_RECORDS + 1);
    put_zeros(&many, (size_t)14 * (PM__GGUF_MOST_RECORDS + 1));
    expect_bad(many, "at most 262144");
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void expect_bad_key_name(const char *name, size_t n, const char *part) {
    blob b = start(3, 0, 1);
    put_bytes(&b, name, n);
    put_int(&b, PM__GGUF_U32, 4);
    put_int(&b, 5, 4);
    expect_bad(b, part);
}

static void key_names_are_checked(void **state) {
    (void)state;
    expect_bad_key_name("", 0, "0 bytes long");
    expect_bad_key_name("a\0b", 3, "control character 0x00");
    expect_bad_key_name("a\nb", 3, "control character 0x0a");
    expect_bad_key_name("a\x7f", 2, "control character 0x7f");
    expect_bad_key_name("a\xff", 2, "not UTF-8");
    expect_bad_key_name("\xe4\xbd", 2, "not UTF-8");
    char *longest = malloc(65536);
    assert_non_null(longest);
    memset(longest, 'k', 65536);
    expect_bad_key_name(longest, 65536, "65536 bytes long");
    blob b = start(3, 0, 1);
    put_bytes(&b, longest, 65535);
    put_int(&b, PM__GGUF_U8, 4);
    put_int(&b, 5, 1);
    loaded l = expect_good(b);
    assert_int_equal(l.gguf.keys[0].name.size, 65535);
    unload(&l);
    free(longest);

    blob twice = start(3, 0, 3);
    put_u32(&twice, "one", 1);
    put_u32(&twice, "two", 2);
    put_u32(&twice, "one", 3);
    expect_bad(twice, "key 'one' is there twice");
    blob past = start(3, 0, 1);
    put_int(&past, UINT64_MAX, 8);
    put_zeros(&past, 20);
    expect_bad(past, "key name");
}

static void value_types_are_checked(void **state) {
    (void)state;
    blob unknown = start(3, 0, 1);
    put_key(&unknown, "key", PM__GGUF_TYPE_COUNT);
    put_zeros(&unknown, 16);
    expect_bad(unknown, "unknown value type 13");
    blob element = start(3, 0, 1);
    put_array(&element, "key", 99, 1);
    put_zeros(&element, 16);
    expect_bad(element, "unknown value type 99");
    blob nested = start(3, 0, 1);
    put_array(&nested, "key", PM__GGUF_ARRAY, 1);
    put_zeros(&nested, 16);
    expect_bad(nested, "array of arrays");
    blob boolean = start(3, 0, 1);
    put_key(&boolean, "key", PM__GGUF_BOOL);
    put_int(&boolean, 2, 1);
    expect_bad(boolean, "bool 2");
    blob booleans = start(3, 0, 1);
    put_array(&booleans, "key", PM__GGUF_BOOL, 3);
    put_int(&booleans, 0xff0100, 3);
    expect_bad(booleans, "bool 255");
}

static void lengths_of_values_are_checked(void **state) {
    (void)state;
    static const uint64_t lengths[] = {17, 1u << 30, UINT64_MAX / 4 + 1, UINT64_MAX};
    for (size_t i = 0; i < PM__COUNT(lengths); i++) {
        blob numbers = start(3, 0, 1);
        put_array(&numbers, "key", PM__GGUF_U32, lengths[i]);
        put_zeros(&numbers, 64);
        expect_bad(numbers, "cannot fit");
        blob strings = start(3, 0, 1);
        put_array(&strings, "key", PM__GGUF_STRING, lengths[i]);
        put_zeros(&strings, 64);
        expect_bad(strings, "cannot fit");
        blob string = start(3, 0, 1);
        put_key(&string, "key", PM__GGUF_STRING);
        put_int(&string, lengths[i], 8);
        put_zeros(&string, 16);
        expect_bad(string, "the value of key 'key'");
        blob second = start(3, 0, 1);
        put_array(&second, "key", PM__GGUF_STRING, 2);
        put_string(&second, "first");
        put_int(&second, lengths[i], 8);
        put_zeros(&second, 16);
        expect_bad(second, "the value of key 'key'");
    }
    blob u64 = start(3, 0, 1);
    put_key(&u64, "key", PM__GGUF_U64);
    put_zeros(&u64, 7);
    expect_bad(u64, "cannot fit in the 7 bytes left");
}

static void sentences_cut_long_names_between_characters(void **state) {
    (void)state;
    char name[400] = "x"; /* so that the cut would fall into a character */
    for (int i = 0; i < 100; i++)
        strcat(name, "\xe4\xbd\xa0");
    blob b = start(3, 0, 1);
    put_key(&b, name, PM__GGUF_TYPE_COUNT);
    put_zeros(&b, 16);
    expect_bad(b, "\xe4\xbd\xa0' has the unknown value type 13");
}

/* ---- alignment ------------------------------------------------------------------------------- */

static blob aligned(pm__gguf_type type, uint64_t alignment, size_t n) {
    blob b = start(3, 0, 1);
    put_key(&b, "general.alignment", type);
    put_int(&b, alignment, n);
    return b;
}

static void alignments_are_checked(void **state) {
    (void)state;
    static const uint32_t bad[] = {0, 1, 3, 4, 33, 1u << 17, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < PM__COUNT(bad); i++)
        expect_bad(aligned(PM__GGUF_U32, bad[i], 4), "power of two from 8 to 65536");
    expect_bad(aligned(PM__GGUF_U64, 1ULL << 63, 8), "general.alignment is of type u64");
    expect_bad(aligned(PM__GGUF_STRING, 0, 8), "general.alignment is of type string");
    for (uint32_t good = 8; good <= 65536; good *= 2) {
        blob b = start(3, 2, 1);
        put_u32(&b, "general.alignment", good);
        put_tensor(&b, "a", 1, (const uint64_t[]){1}, 0, 0);
        put_tensor(&b, "b", 1, (const uint64_t[]){1}, 0, good);
        const uint64_t end = b.size;
        put_data(&b, good, good + 4);
        loaded l = expect_good(b);
        assert_int_equal(l.gguf.tensors[0].offset, (end + good - 1) / good * good);
        assert_int_equal(l.gguf.tensors[1].offset, l.gguf.tensors[0].offset + good);
        unload(&l);
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void expect_bad_tensor(uint32_t n_dim, const uint64_t *shape, uint32_t type, uint64_t offset,
                              const char *part) {
    blob b = start(3, 1, 0);
    put_tensor(&b, "blk.0.weight", n_dim, shape, type, offset);
    put_data(&b, 32, 64);
    expect_bad(b, part);
}

static void shapes_are_checked(void **state) {
    (void)state;
    const uint64_t one[5] = {1, 1, 1, 1, 1};
    expect_bad_tensor(0, one, 0, 0, "'blk.0.weight' has 0 dimensions");
    expect_bad_tensor(5, one, 0, 0, "has 5 dimensions");
    blob endless = start(3, 1, 0);
    put_string(&endless, "t");
    put_int(&endless, UINT32_MAX, 4);
    put_zeros(&endless, 64);
    expect_bad(endless, "has 4294967295 dimensions");
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t shape[4] = {1, 1, 1, 1};
        char part[32];
        shape[i] = 0;
        snprintf(part, sizeof part, "dimension %" PRIu32 " is 0", i);
        expect_bad_tensor(4, shape, 0, 0, part);
        shape[i] = (uint64_t)-7;
        snprintf(part, sizeof part, "dimension %" PRIu32 " is -7", i);
        expect_bad_tensor(4, shape, 0, 0, part);
    }
    const uint64_t huge = 1ULL << 32;
    expect_bad_tensor(2, (const uint64_t[]){huge, huge}, 0, 0, "overflows");
    expect_bad_tensor(3, (const uint64_t[]){1, huge, huge}, 0, 0, "overflows");
    expect_bad_tensor(4, (const uint64_t[]){huge, 1, 1, huge}, 0, 0, "overflows");
    expect_bad_tensor(1, (const uint64_t[]){1ULL << 62}, 0, 0, "overflows"); /* in bytes */
    expect_bad_tensor(2, (const uint64_t[]){48, 2}, 8, 0, "the 32 elements of a Q8_0 block");
    expect_bad_tensor(2, (const uint64_t[]){64, 4}, 12, 0, "the 256 elements of a Q4_K block");
}

static void types_are_checked(void **state) {
    (void)state;
    const uint64_t shape[] = {256};
    expect_bad_tensor(1, shape, 4, 0, "'blk.0.weight': tensor type Q4_2 (4) was removed");
    expect_bad_tensor(1, shape, 31, 0, "Q4_0_4_4 (31) was removed");
    expect_bad_tensor(1, shape, 43, 0, "type 43 is unknown");
    expect_bad_tensor(1, shape, UINT32_MAX, 0, "type 4294967295 is unknown");
}

static void offsets_are_checked(void **state) {
    (void)state;
    const uint64_t shape[] = {4};
    expect_bad_tensor(1, shape, 0, 16, "offset 16 is no multiple of the alignment 32");
    expect_bad_tensor(1, shape, 0, 64, "pass the end of the file");
    expect_bad_tensor(1, shape, 0, UINT64_MAX - 31, "pass the end of the file");
    expect_bad_tensor(1, (const uint64_t[]){17}, 0, 0, "68 bytes at data offset 0 pass the end");
    expect_bad_tensor(1, (const uint64_t[]){(1ULL << 61) - 1}, 0, 32, "pass the end of the file");
    blob no_data = start(3, 1, 0);
    put_tensor(&no_data, "t", 1, shape, 0, 0);
    expect_bad(no_data, "pass the end of the file");
}

/* Two tensors of 40 and 8 bytes at the offsets, in 128 bytes of data. */
static blob two_tensors(const char *first, uint64_t offset, const char *second,
                        uint64_t second_offset) {
    blob b = start(3, 2, 0);
    put_tensor(&b, first, 1, (const uint64_t[]){10}, 0, offset);
    put_tensor(&b, second, 2, (const uint64_t[]){2, 2}, 1, second_offset);
    put_data(&b, 32, 128);
    return b;
}

static void tensors_may_not_overlap(void **state) {
    (void)state;
    expect_bad(two_tensors("a", 0, "b", 32), "'a' and 'b' overlap");
    expect_bad(two_tensors("a", 32, "b", 32), "overlap");
    expect_bad(two_tensors("a", 64, "b", 96), "'a' and 'b' overlap");
    expect_bad(two_tensors("same", 0, "same", 64), "tensor 'same' is there twice");
    loaded l =
        expect_good(two_tensors("a", 32, "b", 0)); /* any order, gaps, bytes after the last */
    const pm__gguf_tensor *a = pm__gguf_find_tensor(&l.gguf, "a");
    const pm__gguf_tensor *b = pm__gguf_find_tensor(&l.gguf, "b");
    assert_ptr_equal(a, &l.gguf.tensors[0]);
    assert_int_equal(a->bytes, 40);
    assert_int_equal(b->bytes, 8);
    assert_int_equal(a->offset, b->offset + 32);
    assert_ptr_equal(a->data, l.copy + a->offset);
    assert_int_equal(b->n_dim, 2);
    assert_int_equal(b->shape[1], 2);
    assert_int_equal(b->shape[2], 1);
    assert_null(pm__gguf_find_tensor(&l.gguf, "c"));
    unload(&l);
}

static void tensor_names_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t n;
        const char *part;
    } cases[] = {
        {"", 0, "0 bytes long"},
        {"a\0b", 3, "control character 0x00"},
        {"\x1b[2J", 4, "control character 0x1b"},
        {"\xc0\x80", 2, "not UTF-8"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        blob b = start(3, 1, 0);
        put_bytes(&b, cases[i].name, cases[i].n);
        put_zeros(&b, 64);
        expect_bad(b, cases[i].part);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

static blob values_file(void) {
    blob b = start(2, 0, 14);
    put_key(&b, "u8", PM__GGUF_U8), put_int(&b, 200, 1);
    put_key(&b, "i8", PM__GGUF_I8), put_int(&b, (uint64_t)-3, 1);
    put_key(&b, "u16", PM__GGUF_U16), put_int(&b, 60000, 2);
    put_key(&b, "i16", PM__GGUF_I16), put_int(&b, 300, 2);
    put_key(&b, "u32", PM__GGUF_U32), put_int(&b, 4000000000, 4);
    put_key(&b, "i32", PM__GGUF_I32), put_int(&b, (uint64_t)-2000000000, 4);
    put_key(&b, "u64", PM__GGUF_U64), put_int(&b, UINT64_MAX, 8);
    put_key(&b, "i64", PM__GGUF_I64), put_int(&b, 1ULL << 40, 8);
    put_key(&b, "f32", PM__GGUF_F32), put_f32(&b, -0.375f);
    put_key(&b, "f64", PM__GGUF_F64), put_int(&b, 0x3fb999999999999a, 8); /* 0.1 */
    put_key(&b, "bool", PM__GGUF_BOOL), put_int(&b, 1, 1);
    put_key(&b, "string", PM__GGUF_STRING), put_bytes(&b, "a\"\n\x1b\0\xff", 6);
    put_array(&b, "numbers", PM__GGUF_I32, 10);
    for (int i = 0; i < 10; i++)
        put_int(&b, (uint64_t)(1000 * (i - 1)), 4);
    put_array(&b, "strings", PM__GGUF_STRING, 3);
    put_string(&b, "one"), put_string(&b, ""), put_string(&b, "\xe4\xbd\xa0");
    return b;
}

static void values_are_read_by_kind(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool is_u64, is_f64;
        uint64_t u64;
        double f64;
    } cases[] = {
        {"u8", true, false, 200, 0},         {"i8", false, false, 0, 0},
        {"u16", true, false, 60000, 0},      {"i16", true, false, 300, 0},
        {"u32", true, false, 4000000000, 0}, {"i32", false, false, 0, 0},
        {"u64", true, false, UINT64_MAX, 0}, {"i64", true, false, 1ULL << 40, 0},
        {"f32", false, true, 0, -0.375},     {"f64", false, true, 0, 0.1},
        {"bool", false, false, 0, 0},        {"string", false, false, 0, 0},
        {"numbers", false, false, 0, 0},
    };
    loaded l = expect_good(values_file());
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        const pm__gguf_key *key = pm__gguf_find_key(&l.gguf, cases[i].name);
        assert_non_null(key);
        uint64_t u64 = 0;
        double f64 = 0;
        assert_int_equal(pm__gguf_u64(key, &u64), cases[i].is_u64);
        assert_int_equal(pm__gguf_f64(key, &f64), cases[i].is_f64);
        assert_true(u64 == cases[i].u64);
        assert_true(f64 == cases[i].f64);
        bool yes = false;
        assert_int_equal(pm__gguf_bool(key, &yes), strcmp(cases[i].name, "bool") == 0);
        assert_int_equal(yes, strcmp(cases[i].name, "bool") == 0);
        pm__span text;
        assert_int_equal(pm__gguf_string(key, &text), strcmp(cases[i].name, "string") == 0);
    }
    pm__span text;
    assert_true(pm__gguf_string(pm__gguf_find_key(&l.gguf, "string"), &text));
    assert_int_equal(text.size, 6);
    assert_memory_equal(text.data, "a\"\n\x1b\0\xff", 6);
    unload(&l);
}

static void arrays_are_read_by_element(void **state) {
    (void)state;
    loaded l = expect_good(values_file());
    const pm__gguf_key *numbers = pm__gguf_find_key(&l.gguf, "numbers");
    const pm__gguf_key *strings = pm__gguf_find_key(&l.gguf, "strings");
    uint64_t u64 = 0;
    int64_t i64 = 0;
    double f64 = 0;
    assert_false(pm__gguf_array_u64(numbers, 0, &u64));
    assert_true(pm__gguf_array_u64(numbers, 9, &u64));
    assert_int_equal(u64, 8000);
    assert_true(pm__gguf_array_i64(numbers, 0, &i64));
    assert_int_equal(i64, -1000);
    assert_false(pm__gguf_array_i64(numbers, 10, &i64));
    assert_false(pm__gguf_array_f64(numbers, 0, &f64));
    assert_false(pm__gguf_array_u64(strings, 0, &u64));
    assert_false(pm__gguf_array_u64(pm__gguf_find_key(&l.gguf, "u8"), 0, &u64));
    pm__arena arena = {0};
    const pm__span *all;
    assert_false(pm__gguf_strings(numbers, &arena, &all));
    assert_true(pm__gguf_strings(strings, &arena, &all));
    assert_int_equal(all[0].size, 3);
    assert_memory_equal(all[0].data, "one", 3);
    assert_int_equal(all[1].size, 0);
    assert_memory_equal(all[2].data, "\xe4\xbd\xa0", 3);
    pm__arena_finish(&arena);
    unload(&l);
}

static void expect_text(const pm__gguf *gguf, const char *name, size_t size, const char *expected) {
    char text[256];
    memset(text, '#', sizeof text);
    pm__gguf_print_value(pm__gguf_find_key(gguf, name), text, size);
    assert_string_equal(text, expected);
    assert_int_equal(text[size], '#');
}

static void values_are_shown_to_people(void **state) {
    (void)state;
    loaded l = expect_good(values_file());
    expect_text(&l.gguf, "i8", 200, "-3");
    expect_text(&l.gguf, "u64", 200, "18446744073709551615");
    expect_text(&l.gguf, "f32", 200, "-0.375");
    expect_text(&l.gguf, "bool", 200, "true");
    expect_text(&l.gguf, "string", 200, "\"a\\\"\\n\\u001b\\u0000\xef\xbf\xbd\"");
    expect_text(&l.gguf, "numbers", 200,
                "[-1000, 0, 1000, 2000, 3000, 4000, 5000, 6000, ... (10)]");
    expect_text(&l.gguf, "strings", 200, "[\"one\", \"\", \"\xe4\xbd\xa0\"]");
    expect_text(&l.gguf, "numbers", 15, "[-1000, 0, ...");
    expect_text(&l.gguf, "strings", 18, "[\"one\", \"\", \"...");
    expect_text(&l.gguf, "u64", 3, "..");
    expect_text(&l.gguf, "u64", 1, "");
    unload(&l);
}

static void a_hundred_thousand_keys_are_found_at_once(void **state) {
    (void)state;
    enum { N = 100000 };
    blob b = start(3, 0, N);
    char name[32];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "key.%" PRIu32, i * 7919 % N);
        put_u32(&b, name, i * 7919 % N);
    }
    const double before = pm__clock_thread_seconds();
    loaded l = expect_good(b);
    for (uint32_t i = 0; i < N; i++) {
        uint64_t value = 0;
        snprintf(name, sizeof name, "key.%" PRIu32, i);
        assert_true(pm__gguf_u64(pm__gguf_find_key(&l.gguf, name), &value));
        assert_int_equal(value, i);
    }
    assert_null(pm__gguf_find_key(&l.gguf, "key."));
    assert_null(pm__gguf_find_key(&l.gguf, "key.100000"));
    unload(&l);
    assert_true(pm__clock_thread_seconds() - before < 2.0);
}

/* ---- files made elsewhere -------------------------------------------------------------------- */

typedef void each_file(const char *name, const uint8_t *data, size_t size);

/* Calls `each` for the files of a folder of the reference material whose names begin and end so;
 * how many. */
static int for_each_file(const char *folder, const char *prefix, each_file *each) {
    const char *path = pm__reference_path(folder);
    if (path == NULL)
        return 0;
    char place[4096];
    snprintf(place, sizeof place, "%s", path);
    DIR *directory = opendir(place);
    assert_non_null(directory);
    int n = 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name, *dot = strrchr(name, '.');
        if (strncmp(name, prefix, strlen(prefix)) != 0 || dot == NULL || strcmp(dot, ".gguf") != 0)
            continue;
        char file[4096 + 256];
        snprintf(file, sizeof file, "%s/%s", place, name);
        pm__file_map map;
        assert_int_equal(pm__file_map_init(&map, file), PM_OK);
        each(name, map.data, map.size);
        pm__file_map_finish(&map);
        n++;
    }
    closedir(directory);
    return n;
}

static void check_malformed(const char *name, const uint8_t *data, size_t size) {
    /* Whole as containers; gguf-model-* are wrong for their architecture only. */
    const bool good = strncmp(name, "gguf-model-", 11) == 0 ||
                      strcmp(name, "gguf-no-architecture.gguf") == 0 ||
                      strcmp(name, "gguf-trailing-garbage-maybe-ok.gguf") == 0;
    pm__gguf gguf;
    const double before = pm__clock_thread_seconds();
    const pm_status status = pm__gguf_init(&gguf, data, size);
    if (status != (good ? PM_OK : PM_BAD_FILE))
        fail_msg("%s: status %d: %s", name, status, pm_last_error());
    if (status != PM_OK)
        assert_int_equal(strncmp(pm_last_error(), "gguf: ", 6), 0);
    assert_true(pm__clock_thread_seconds() - before < 1.0);
    pm__gguf_finish(&gguf);
}

static void malformed_files_are_refused(void **state) {
    (void)state;
    const int n = for_each_file("models/malformed", "gguf-", check_malformed);
    if (n == 0)
        skip();
    assert_true(n >= 40);
}

static void check_real(const char *name, const uint8_t *data, size_t size) {
    pm__gguf gguf;
    if (pm__gguf_init(&gguf, data, size) != PM_OK)
        fail_msg("%s: %s", name, pm_last_error());
    pm__span text;
    assert_true(pm__gguf_string(pm__gguf_find_key(&gguf, "general.architecture"), &text));
    assert_true(touch_everything(&gguf) != 0);
    pm__gguf_finish(&gguf);
}

static void real_files_load(void **state) {
    (void)state;
    const int n = for_each_file("models/real", "", check_real);
    if (n == 0)
        skip();
    assert_true(n + for_each_file("models/vocab", "", check_real) >= 25);
}

static void a_real_model_is_read_right(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/stories260K-f16.gguf");
    if (path == NULL)
        skip();
    pm__file_map map;
    pm__gguf gguf;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    assert_int_equal(pm__gguf_init(&gguf, map.data, map.size), PM_OK);
    uint64_t n_layer = 0;
    assert_true(pm__gguf_u64(pm__gguf_find_key(&gguf, "llama.block_count"), &n_layer));
    assert_int_equal(n_layer, 5);
    assert_int_equal(pm__gguf_find_key(&gguf, "tokenizer.ggml.tokens")->n, 512);
    const pm__gguf_tensor *t = pm__gguf_find_tensor(&gguf, "blk.4.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->type, PM__TYPE_F16);
    assert_int_equal(t->shape[0], 172);
    assert_int_equal(t->shape[1], 64);
    uint64_t n_element = 0;
    for (uint64_t i = 0; i < gguf.n_tensor; i++)
        n_element += gguf.tensors[i].shape[0] * gguf.tensors[i].shape[1];
    assert_int_equal(n_element, 260032); /* what its makers say it has */
    pm__gguf_finish(&gguf);
    pm__file_map_finish(&map);
}

static void check_cut(const uint8_t *data, size_t size) {
    pm__gguf gguf;
    uint8_t *copy;
    assert_int_equal(parse(data, size, &gguf, &copy), PM_BAD_FILE);
    free(copy);
}

static void cuts_anywhere_are_refused(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/stories260K-f16.gguf");
    if (path == NULL)
        skip();
    pm__file_map map;
    pm__gguf gguf;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    assert_int_equal(pm__gguf_init(&gguf, map.data, map.size), PM_OK);
    const uint64_t header = gguf.tensors[0].offset;
    pm__gguf_finish(&gguf);
    assert_true(header > 1000 && header < 50000);
    for (size_t size = 0; size <= header; size++)
        check_cut(map.data, size);
    for (size_t size = (size_t)header; size < map.size; size += 40009)
        check_cut(map.data, size);
    pm__file_map_finish(&map);
}

/* Some bytes changed at random: any answer is right, as long as what loads can be read. */
static void damage_anywhere_is_survived(void **state) {
    (void)state;
    uint64_t random = 11;
    int n_good = 0, n_bad = 0;
    for (int round = 0; round < 12000; round++) {
        blob b = values_file();
        b.data[8] = 2;
        put_tensor(&b, "a", 2, (const uint64_t[]){32, 3}, 8, 0);
        put_tensor(&b, "b", 1, (const uint64_t[]){7}, 0, 128);
        put_data(&b, 32, 160);
        for (int change = 0; change <= round % 4; change++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            const size_t at = (size_t)(random >> 33) % b.size;
            if (random >> 62 == 0)
                b.data[at] = 0xff;
            else
                b.data[at] ^= (uint8_t)(1u << (random >> 59 & 7));
        }
        pm__gguf gguf;
        uint8_t *copy;
        if (parse(b.data, b.size, &gguf, &copy) == PM_OK) {
            touch_everything(&gguf);
            n_good++;
        } else {
            n_bad++;
        }
        pm__gguf_finish(&gguf);
        free(copy);
        free(b.data);
    }
    assert_true(n_good > 1000);
    assert_true(n_bad > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(counts_are_checked_before_anything_is_allocated),
        cmocka_unit_test(key_names_are_checked),
        cmocka_unit_test(value_types_are_checked),
        cmocka_unit_test(lengths_of_values_are_checked),
        cmocka_unit_test(sentences_cut_long_names_between_characters),
        cmocka_unit_test(alignments_are_checked),
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(types_are_checked),
        cmocka_unit_test(offsets_are_checked),
        cmocka_unit_test(tensors_may_not_overlap),
        cmocka_unit_test(tensor_names_are_checked),
        cmocka_unit_test(values_are_read_by_kind),
        cmocka_unit_test(arrays_are_read_by_element),
        cmocka_unit_test(values_are_shown_to_people),
        cmocka_unit_test(a_hundred_thousand_keys_are_found_at_once),
        cmocka_unit_test(malformed_files_are_refused),
        cmocka_unit_test(real_files_load),
        cmocka_unit_test(a_real_model_is_read_right),
        cmocka_unit_test(cuts_anywhere_are_refused),
        cmocka_unit_test(damage_anywhere_is_survived),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
