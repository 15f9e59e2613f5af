/* test_pretokenizers.c: every expression divides texts as the library that models were trained
 * with does, and none takes more than linear time or a stack that grows with the text. */
/* ctest: quick */
#include "tests/splits.h"
#include "text/pretokenize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static pm__pretokenizer *open_named(const char *name) {
    pm__pretokenizer *pretokenizer = NULL;
    if (pm__pretokenizer_create(name, strlen(name), &pretokenizer) != PM_OK)
        fail_msg("%s: %s", name, pm_last_error());
    return pretokenizer;
}

/* What came out: words, FNV-1a of their lengths, bytes. */
typedef struct words {
    size_t n;
    uint64_t hash;
    const char *text; /* where the next word begins */
} words;

static pm_status count_word(void *user, const char *word, size_t n) {
    words *out = user;
    assert_ptr_equal(word, out->text);
    assert_true(n > 0);
    out->text += n;
    out->n++;
    for (size_t i = 0; i < 4; i++)
        out->hash = (out->hash ^ (n >> 8 * i & 0xff)) * 0x100000001b3u;
    return PM_OK;
}

static void split(const pm__pretokenizer *pretokenizer, const char *text, size_t n, words *out) {
    out->text = text;
    if (pm__pretokenizer_split(pretokenizer, text, n, count_word, out) != PM_OK)
        fail_msg("%s: %s", pm__pretokenizer_name(pretokenizer), pm_last_error());
    assert_ptr_equal(out->text, text + n);
}

static void texts_are_divided_as_models_were_trained(void **state) {
    (void)state;
    size_t n_good = 0;
    for (size_t i = 0; i < PM__COUNT(splits); i++) {
        pm__pretokenizer *pretokenizer = open_named(splits[i].name);
        words out = {.hash = 0xcbf29ce484222325u};
        for (size_t k = 0; k < PM__COUNT(split_texts); k++)
            split(pretokenizer, split_texts[k], strlen(split_texts[k]), &out);
        pm__pretokenizer_destroy(pretokenizer);
        if (out.n == splits[i].n && out.hash == splits[i].hash)
            n_good++;
        else
            print_message("%s: %zu words, not the %zu of the reference\n", splits[i].name, out.n,
                          splits[i].n);
    }
    assert_int_equal(n_good, PM__COUNT(splits));
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const names[] = {
#define PM_PRETOKENIZER(NAME, FLAGS, ...) NAME,
#include "text/pretokenizers.def"
#undef PM_PRETOKENIZER
};

static void every_name_can_be_used_and_no_other(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(names); i++) {
        pm__pretokenizer *pretokenizer = open_named(names[i]);
        assert_string_equal(pm__pretokenizer_name(pretokenizer), names[i]);
        pm__pretokenizer_destroy(pretokenizer);
    }
    pm__pretokenizer *none = NULL;
    static const char *const others[] = {"", "gpt-", "gpt-22", "GPT-2", "no-such"};
    for (size_t i = 0; i < PM__COUNT(others); i++) {
        assert_int_equal(pm__pretokenizer_create(others[i], strlen(others[i]), &none),
                         PM_UNSUPPORTED);
        assert_non_null(strstr(pm_last_error(), others[i]));
    }
    assert_null(none);
}

static const char llama_words[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static void expressions_have_names(void **state) {
    (void)state;
    const char *const llama[] = {llama_words};
    assert_string_equal(pm__pretokenizer_find(llama, 1, true), "llama-bpe");
    assert_string_equal(pm__pretokenizer_find(llama, 1, false), "dbrx");
    const char *const digits[] = {"\\p{N}", gpt2_words};
    assert_string_equal(pm__pretokenizer_find(digits, 2, false), "starcoder");
    assert_string_equal(pm__pretokenizer_find(digits + 1, 1, false), "gpt-2");
    assert_string_equal(pm__pretokenizer_find(digits + 1, 1, true), "gpt-2");
    assert_null(pm__pretokenizer_find(digits, 1, false));
    assert_null(pm__pretokenizer_find(digits, 0, false));
    const char *const lines[] = {"[^\\n]+|[\\n]+"}; /* of pieces that are written otherwise */
    assert_null(pm__pretokenizer_find(lines, 1, false));
}

/* ---- long texts ------------------------------------------------------------------------------ */

/* Time that grows with the square of a text would be minutes for one of these; a stack that grows
 * with it ends in an error. */
static void long_runs_are_divided_in_linear_time(void **state) {
    (void)state;
    enum { N = 100000 };
    static const char *const patterns[] = {"a",  "A",  "aB", "\xe4\xbd\xa0", "e\xcc\x81", "1",
                                           "!",  "/ ", " ",  "\t",           "\n",        " \n",
                                           "'s", "a ", "1a", "\xcc\x81"};
    char *text = malloc(N + 2);
    assert_non_null(text);
    for (size_t p = 0; p < PM__COUNT(patterns); p++) {
        const size_t size = strlen(patterns[p]);
        const size_t n = N / size * size;
        for (size_t i = 0; i < n; i++)
            text[i] = patterns[p][i % size];
        memcpy(text + n, "x.", 2); /* so that what looks for an end is disappointed */
        for (size_t i = 0; i < PM__COUNT(splits); i++) {
            pm__pretokenizer *pretokenizer = open_named(splits[i].name);
            words out = {0};
            split(pretokenizer, text, n + 2, &out);
            split(pretokenizer, text, n, &out);
            pm__pretokenizer_destroy(pretokenizer);
        }
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_divided_as_models_were_trained),
        cmocka_unit_test(every_name_can_be_used_and_no_other),
        cmocka_unit_test(expressions_have_names),
        cmocka_unit_test(long_runs_are_divided_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
