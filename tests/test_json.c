/* test_json.c: JSON documents and strings. */
/* ctest: quick */
#include "format/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In memory that ends where the text does. */
static pm_status parse(const char *text, size_t n, cJSON **out) {
    char *copy = malloc(n != 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    const pm_status status = pm__json_parse("answer", copy, n, out);
    free(copy);
    return status;
}

static void documents_parse(void **state) {
    (void)state;
    static const char text[] =
        " {\"n\": [1, 2.5, true, null], \"s\": \"\\u4f60\\ud83d\\ude00\"} \r\n\t";
    cJSON *json = NULL;
    assert_int_equal(parse(text, sizeof text - 1, &json), PM_OK);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "n")), 4);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "s")),
                        "\xe4\xbd\xa0\xf0\x9f\x98\x80");
    cJSON_Delete(json);
}

static void broken_documents_name_the_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"", "byte 0"},          {"   ", "byte"},
        {"{\"a\": }", "byte 6"}, {"[1, 2", "byte"},
        {"{} x", "byte 2"},      {"[1] [2]", "byte 3"},
        {"\"open", "byte"},      {"{\"a\" 1}", "byte"},
        {"nul", "byte 0"},       {"[\"\\ud800\"]", "byte"},
        {"[\"\\q\"]", "byte"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        cJSON *json = NULL;
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &json), PM_BAD_FILE);
        assert_null(json);
        assert_non_null(strstr(pm_last_error(), "answer: not JSON near "));
        assert_non_null(strstr(pm_last_error(), cases[i].place));
    }
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    enum { DEPTH = 100000 };
    char *text = malloc(DEPTH);
    assert_non_null(text);
    memset(text, '[', DEPTH);
    cJSON *json = NULL;
    assert_int_equal(parse(text, DEPTH, &json), PM_BAD_FILE);
    free(text);
}

static void check_string(const char *text, size_t n, const char *expected) {
    char *copy = malloc(n != 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    cJSON *json = pm__json_string(copy, n);
    free(copy);
    assert_string_equal(cJSON_GetStringValue(json), expected);
    cJSON_Delete(json);
}

static void strings_are_always_utf8(void **state) {
    (void)state;
    check_string("", 0, "");
    check_string("plain \"text\"\n", 13, "plain \"text\"\n");
    check_string("\xe4\xbd\xa0\xe5\xa5\xbd", 6, "\xe4\xbd\xa0\xe5\xa5\xbd");
    check_string("a\xff"
                 "b",
                 3,
                 "a\xef\xbf\xbd"
                 "b");
    check_string("\xe4\xbd", 2, "\xef\xbf\xbd");
    check_string("\xff\xfe\xfd", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    check_string("a\0b", 3,
                 "a\xef\xbf\xbd"
                 "b");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_parse),
        cmocka_unit_test(broken_documents_name_the_place),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(strings_are_always_utf8),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
