/* test_safetensors.c: the safetensors container: small files made here, one a rule, and damaged and
 * real ones made elsewhere.
 * ctest: quick */
#include "format/safetensors.h"

#include "base/file_map.h"
#include "tests/reference.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

/* A file of this header and n bytes of data, in memory that ends where it does; the data counts
 * up. */
static uint8_t *make(const char *header, size_t n, size_t *size) {
    const size_t length = strlen(header);
    *size = 8 + length + n;
    uint8_t *file = malloc(*size);
    assert_non_null(file);
    for (size_t i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)length >> 8 * i);
    memcpy(file + 8, header, length);
    for (size_t i = 0; i < n; i++)
        file[8 + length + i] = (uint8_t)(i + 1);
    return file;
}

static void refuse(const char *header, size_t n, const char *sentence) {
    size_t size;
    uint8_t *bytes = make(header, n, &size);
    pm__safetensors file;
    assert_int_equal(pm__safetensors_init(&file, bytes, size), PM_BAD_FILE);
    assert_memory_equal(pm_last_error(), "safetensors: ", 13);
    if (strstr(pm_last_error(), sentence) == NULL)
        fail_msg("%s: '%s' has no '%s'", header, pm_last_error(), sentence);
    free(bytes);
}

static void test_whole(void **state) {
    (void)state;
    size_t size;
    uint8_t *bytes =
        make("{\"b\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[20,32]},"
             "\"__metadata__\":{\"format\":\"pt\",\"1.5e7\":\"2.0\"},"
             "\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]},"
             "\"scalar\":{\"data_offsets\":[32,40],\"shape\":[],\"dtype\":\"I64\",\"extra\":null},"
             "\"none\":{\"dtype\":\"F8_E4M3\",\"shape\":[7,0,3],\"data_offsets\":[20,20]},"
             "\"\xc3\xa9\":{\"dtype\":\"F4\",\"shape\":[2,1],\"data_offsets\":[40,41]}}    ",
             41, &size);
    pm__safetensors file;
    assert_int_equal(pm__safetensors_init(&file, bytes, size), PM_OK);
    assert_int_equal(file.n, 5);
    const pm__safetensor *a = pm__safetensors_find(&file, "a"),
                         *b = pm__safetensors_find(&file, "b");
    assert_non_null(a);
    assert_non_null(b);
    assert_string_equal(b->dtype, "BF16");
    assert_int_equal(b->type_id, 30);
    assert_int_equal(b->n_dim, 2);
    assert_int_equal(b->shape[0], 3);
    assert_int_equal(b->shape[1], 2);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(b->data[0], 21);
    assert_int_equal(a->data[19], 20);
    assert_ptr_equal(a->data + 20, b->data);
    assert_int_equal(pm__safetensors_find(&file, "scalar")->n_dim, 0);
    assert_int_equal(pm__safetensors_find(&file, "none")->bytes, 0);
    assert_int_equal(pm__safetensors_find(&file, "none")->type_id, PM__NO_TYPE_ID);
    assert_int_equal(pm__safetensors_find(&file, "\xc3\xa9")->bytes, 1);
    assert_null(pm__safetensors_find(&file, "__metadata__"));
    assert_null(pm__safetensors_find(&file, ""));
    pm__safetensors_finish(&file);
    free(bytes);
    bytes = make("{}", 0, &size);
    assert_int_equal(pm__safetensors_init(&file, bytes, size), PM_OK);
    assert_null(pm__safetensors_find(&file, "a"));
    pm__safetensors_finish(&file);
    free(bytes);
}

#define ENTRY(name, dtype, shape, offsets)                                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_rules(void **state) {
    (void)state;
    refuse("", 0, "does not begin with '{'");
    refuse(" {}", 0, "does not begin with '{'");
    refuse("[]", 0, "does not begin with '{'");
    refuse("{}x", 0, "not JSON near byte 2");
    refuse("{\"a\":1}", 0, "'a' is no object");
    refuse("{\"a\":{}}", 0, "'a' has no dtype");
    refuse("{" ENTRY("a", "F33", "[]", "[0,4]") "}", 4, "unknown dtype 'F33'");
    refuse("{\"a\":{\"dtype\":\"F32\"}}", 0, "has no shape");
    refuse("{" ENTRY("a", "F32", "[-1]", "[0,4]") "}", 4, "dimension 0 is no whole number");
    refuse("{" ENTRY("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "dimension 0 is no whole number");
    refuse("{" ENTRY("a", "F32", "[1.0]", "[0,4]") "}", 4, "not whole at byte");
    refuse("{" ENTRY("a", "F32", "[1]", "[0,4e0]") "}", 4, "not whole at byte");
    refuse("{" ENTRY("a", "F32", "[9007199254740994,4096]", "[0,4]") "}", 4, "no whole number");
    refuse("{" ENTRY("a", "F32", "[4503599627370496,4096,4096]", "[0,4]") "}", 4, "overflows");
    refuse("{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions");
    refuse("{" ENTRY("a", "F32", "[1]", "[0]") "}", 4, "data_offsets are not two");
    refuse("{" ENTRY("a", "F32", "[1]", "[0,4,8]") "}", 4, "data_offsets are not two");
    refuse("{" ENTRY("a", "F32", "[1]", "{}") "}", 4, "data_offsets are not two");
    refuse("{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, "data_offsets are not two");
    refuse("{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 4, "is the file complete?");
    refuse("{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4, "shape and dtype F32 make 8");
    refuse("{" ENTRY("a", "F6_E2M3", "[3]", "[0,2]") "}", 2, "shape and dtype");
    refuse("{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 5, "its tensors end at 4");
    refuse("{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("b", "U8", "[4]", "[5,9]") "}", 9,
           "the one before ends at 4");
    refuse("{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("b", "U8", "[4]", "[3,7]") "}", 7,
           "the one before ends at 4");
    refuse("{" ENTRY("a", "U8", "[4]", "[0,4]") "," ENTRY("a", "U8", "[4]", "[4,8]") "}", 8,
           "'a' is there twice");
    refuse("{" ENTRY("", "U8", "[4]", "[0,4]") "}", 4, "0 bytes long");
    refuse("{" ENTRY("a\\u0007", "U8", "[4]", "[0,4]") "}", 4, "control");
    refuse("{\"__metadata__\":[]}", 0, "__metadata__ is no object");
    refuse("{\"__metadata__\":{\"x\":1}}", 0, "'x' is no text");
}

/* Values that would need a hundred times the memory of the header are counted before. */
static void test_many_values(void **state) {
    (void)state;
    const size_t n = 2 * (size_t)PM__SAFETENSORS_MOST_VALUES + 16;
    char *header = malloc(n + 1);
    assert_non_null(header);
    memset(header, '[', n);
    memcpy(header, "{\"a\":[", 6);
    for (size_t i = 6; i < n; i += 2)
        memcpy(header + i, "0,", 2);
    header[n] = '\0';
    refuse(header, 0, "more than 2097152 values");
    free(header);
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    printf("at most %ld MB resident\n", usage.ru_maxrss / 1024);
}

static void test_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {3, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    for (size_t i = 0; i < PM__COUNT(lengths); i++) {
        uint8_t bytes[10] = {[8] = '{', [9] = '}'};
        for (size_t k = 0; k < 8; k++)
            bytes[k] = (uint8_t)(lengths[i] >> 8 * k);
        pm__safetensors file;
        assert_int_equal(pm__safetensors_init(&file, bytes, sizeof bytes), PM_BAD_FILE);
        assert_non_null(strstr(pm_last_error(), "the header is "));
    }
    for (size_t n = 0; n < 8; n++) {
        pm__safetensors file;
        const uint8_t bytes[8] = {0};
        assert_int_equal(pm__safetensors_init(&file, n > 0 ? bytes : NULL, n), PM_BAD_FILE);
        assert_non_null(strstr(pm_last_error(), "too few for a header"));
    }
}

static void test_malformed(void **state) {
    (void)state;
    const char *found = pm__reference_path("models/malformed");
    if (found == NULL)
        skip();
    char directory[1024];
    snprintf(directory, sizeof directory, "%s", found);
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    uint32_t n_bad = 0, n_good = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const bool bad = strncmp(entry->d_name, "st-", 3) == 0;
        if (!bad && (strncmp(entry->d_name, "ok-", 3) != 0 ||
                     strstr(entry->d_name, ".safetensors") == NULL))
            continue;
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        pm__file_map map;
        pm__safetensors file;
        assert_int_equal(pm__file_map_init(&map, path), PM_OK);
        const pm_status status = pm__safetensors_init(&file, map.data, map.size);
        if (status != (bad ? PM_BAD_FILE : PM_OK))
            fail_msg("%s: %s", entry->d_name, pm_status_text(status));
        if (bad)
            printf("%s: %s\n", entry->d_name, pm_last_error());
        else
            pm__safetensors_finish(&file);
        pm__file_map_finish(&map);
        n_bad += bad;
        n_good += !bad;
    }
    closedir(dir);
    assert_true(n_bad >= 16 && n_good >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),       cmocka_unit_test(test_rules),
        cmocka_unit_test(test_many_values), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
