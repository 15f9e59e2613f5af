/* test_utf8.c: UTF-8 to characters and back. */
/* ctest: quick */
#include "base/status.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void every_character_goes_there_and_back(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char bytes[4];
        uint32_t back = 0;
        const size_t n = pm__utf8_encode(code, bytes);
        assert_int_equal(n, code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
        assert_int_equal(pm__utf8_decode(bytes, n, &back), n);
        const int surrogate = code >= 0xd800 && code < 0xe000;
        assert_int_equal(back, surrogate ? 0xfffd : code);
        assert_int_equal(pm__utf8_check(bytes, n), n);
        for (size_t part = 1; part < n; part++) {
            assert_int_equal(pm__utf8_decode(bytes, part, &back), part);
            assert_int_equal(back, 0xfffd);
            assert_int_equal(pm__utf8_check(bytes, part), 0);
            assert_int_equal(pm__utf8_incomplete(bytes, part), part);
        }
        assert_int_equal(pm__utf8_incomplete(bytes, n), 0);
    }
    char bytes[4];
    assert_int_equal(pm__utf8_encode(0x110000, bytes), 3);
    assert_memory_equal(bytes, "\xef\xbf\xbd", 3);
}

/* Examples of the Unicode standard, section 3.9, tables 3-8 to 3-11, and others of the kind. 0 ends
 * a list. */
static void broken_sequences_are_replaced_by_their_longest_starts(void **state) {
    (void)state;
    enum { R = 0xfffd };
    static const struct {
        const char *text;
        uint32_t codes[16];
    } cases[] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", {R, R, R, R, R, R, R, R, 0x41}},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", {R, R, R, R, R, R, R, R, 0x41}},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", {R, R, R, R, R, 0x41, R, R, 0x42}},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", {R, R, R, R, 0x41}},
        {"\xf4\x90\x80\x80", {R, R, R, R}},
        {"\xe4\xbd\xa0\xe4\xbd", {0x4f60, R}},
        {"\x80", {R}},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        const size_t n = strlen(cases[i].text);
        size_t at = 0, k = 0;
        for (uint32_t code = 0; at < n; k++) {
            at += pm__utf8_decode(cases[i].text + at, n - at, &code);
            assert_int_equal(code, cases[i].codes[k]);
        }
        assert_int_equal(at, n);
        assert_int_equal(cases[i].codes[k], 0);
    }
    uint32_t code = 7;
    assert_int_equal(pm__utf8_decode("a", 0, &code), 0);
    assert_int_equal(code, 7);
}

static void checks_stop_at_the_first_broken_byte(void **state) {
    (void)state;
    assert_int_equal(pm__utf8_check("", 0), 0);
    assert_int_equal(pm__utf8_check("ab\xe4\xbd\xa0", 5), 5);
    assert_int_equal(pm__utf8_check("ab\xe4\xbd\xa0\xff", 6), 5);
    assert_int_equal(pm__utf8_check("ab\xed\xa0\x80", 5), 2);
    assert_int_equal(pm__utf8_check("ab\xe4\xbd", 4), 2);
}

static void only_characters_that_may_still_end_well_are_incomplete(void **state) {
    (void)state;
    assert_int_equal(pm__utf8_incomplete("", 0), 0);
    assert_int_equal(pm__utf8_incomplete("a", 1), 0);
    assert_int_equal(pm__utf8_incomplete("a\xf0\x9f\x98", 4), 3);
    assert_int_equal(pm__utf8_incomplete("\x9f\x98\x80", 3), 0); /* belongs to nothing */
    assert_int_equal(pm__utf8_incomplete("\xff", 1), 0);
    assert_int_equal(pm__utf8_incomplete("\xed\xa0", 2), 0); /* a surrogate in any case */
    assert_int_equal(pm__utf8_incomplete("\xed\x9f", 2), 2);
}

static void what_a_terminal_would_obey_is_not_plain(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"plain \xc3\xa9 \xf0\x9f\xa6\x99", "plain \xc3\xa9 \xf0\x9f\xa6\x99"},
        {"a\x1b[2J\nb\x7f", "a?[2J?b?"},
        {"\xc2\x9b"
         "31m",
         "??31m"},
        {"\xff\xed\xa0\x80 \xef\xbf\xbd", "???? \xef\xbf\xbd"},
        {"cut \xe4\xbd", "cut ??"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i][0]);
        pm__utf8_make_plain(text);
        assert_string_equal(text, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_goes_there_and_back),
        cmocka_unit_test(broken_sequences_are_replaced_by_their_longest_starts),
        cmocka_unit_test(checks_stop_at_the_first_broken_byte),
        cmocka_unit_test(only_characters_that_may_still_end_well_are_incomplete),
        cmocka_unit_test(what_a_terminal_would_obey_is_not_plain),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
