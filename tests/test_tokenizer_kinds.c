/* test_tokenizer_kinds.c: WordPiece, unigram, BPE of UTF-8 and longest match, against the ids that
 * SentencePiece and Hugging Face's tokenizers give, and what is wrong with their keys. */
/* ctest: quick */
#include "tests/small_vocabularies.h"
#include "tests/vocabulary.h"
#include "text/vocabulary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY(name) "tokenizer.ggml." name

static void open_written(pm__vocabulary *vocabulary, pm__writer *out) {
    if (pm__vocabulary_open_written(vocabulary, out) != PM_OK)
        fail_msg("%s", pm_last_error());
}

static pm__ids encode(const pm__vocabulary *vocabulary, const char *text, size_t n, bool special) {
    pm__ids ids = {0};
    if (pm__tokenizer_encode(vocabulary->tokenizer, text, n, special, special, &ids) != PM_OK)
        fail_msg("%s", pm_last_error());
    return ids;
}

/* Returns where the ids of the next text stand. */
static const int32_t *check_text(const pm__vocabulary *vocabulary, size_t row, const char *text,
                                 const int32_t *want) {
    pm__ids ids = encode(vocabulary, text, strlen(text), false);
    size_t n = 0, n_same = 0;
    for (; want[n] >= 0; n++)
        n_same += n < ids.n && ids.data[n] == want[n];
    if (n_same != n || ids.n != n) {
        print_message("row %zu, \"%s\": %zu ids, not %zu:", row, text, ids.n, n);
        for (size_t i = 0; i < ids.n; i++)
            print_message(" %d", ids.data[i]);
        print_message("\n");
        fail();
    }
    pm__ids_finish(&ids);
    return want + n + 1;
}

static void small_vocabularies_give_the_reference_ids(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(small_vocabularies); i++) {
        pm__vocabulary vocabulary;
        pm__writer out = {0};
        pm__write_small(&out, &small_vocabularies[i]);
        open_written(&vocabulary, &out);
        const int32_t *want = small_vocabularies[i].ids;
        for (size_t k = 0; k < PM__COUNT(small_texts); k++)
            want = check_text(&vocabulary, i, small_texts[k], want);
        pm__vocabulary_close(&vocabulary);
    }
}

/* ---- longest match --------------------------------------------------------------------------- */

static const char *const rwkv_pieces[] = {"<s>",        "a",     "b",    "ab",  "abab", "\\n",
                                          "\\xf0\\x9f", "\\x99", "\\\\", "\\'", "\\t ", "<x>"};
static const int32_t rwkv_kinds[] = {3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4};

static void write_rwkv(pm__writer *out, const char *const *pieces, bool has_unknown) {
    pm__write_text(out, KEY("model"), "rwkv");
    pm__write_texts(out, KEY("tokens"), pieces, PM__COUNT(rwkv_pieces));
    pm__write_i32s(out, KEY("token_type"), rwkv_kinds, PM__COUNT(rwkv_kinds));
    if (has_unknown)
        pm__write_u32(out, KEY("unknown_token_id"), 0);
}

static void expect(const pm__vocabulary *vocabulary, const char *text, bool special,
                   const int32_t *want, size_t n) {
    pm__ids ids = encode(vocabulary, text, strlen(text), special);
    assert_int_equal(ids.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids.data[i], want[i]);
    pm__ids_finish(&ids);
}

#define EXPECT(vocabulary, text, special, ...)                                                     \
    expect(vocabulary, text, special, (const int32_t[]){__VA_ARGS__},                              \
           sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void the_longest_piece_is_taken(void **state) {
    (void)state;
    pm__vocabulary rwkv;
    pm__writer out = {0};
    write_rwkv(&out, rwkv_pieces, true);
    open_written(&rwkv, &out);
    EXPECT(&rwkv, "ababab", false, 4, 3);
    EXPECT(&rwkv, "aba", false, 3, 1);
    EXPECT(&rwkv, "\nb\\'\t ", false, 5, 2, 8, 9, 10);
    EXPECT(&rwkv, "\xf0\x9f\xa6\x99", false, 6, 0, 7); /* no piece: the unknown one */
    EXPECT(&rwkv, "\xf0", false, 0);                   /* starts a piece and does not end it */
    EXPECT(&rwkv, "<s>", true, 0);
    EXPECT(&rwkv, "a<x>b", false, 1, 11, 2);
    assert_memory_equal(pm__tokenizer_piece(rwkv.tokenizer, 6, false).data, "\xf0\x9f", 2);
    pm__vocabulary_close(&rwkv);
    write_rwkv(&out, rwkv_pieces, false);
    open_written(&rwkv, &out);
    pm__ids ids = {0};
    assert_int_equal(pm__tokenizer_encode(rwkv.tokenizer, "a?", 2, false, false, &ids),
                     PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "0x3f"));
    pm__ids_finish(&ids);
    pm__vocabulary_close(&rwkv);
}

static void broken_escapes_are_refused(void **state) {
    (void)state;
    static const char *const broken[] = {"\\", "a\\x", "\\x4", "\\x4g", "\\xg4", "\\x\\x41"};
    for (size_t i = 0; i < PM__COUNT(broken); i++) {
        const char *pieces[PM__COUNT(rwkv_pieces)];
        memcpy(pieces, rwkv_pieces, sizeof pieces);
        pieces[5] = broken[i];
        pm__vocabulary rwkv;
        pm__writer out = {0};
        write_rwkv(&out, pieces, true);
        assert_int_equal(pm__vocabulary_open_written(&rwkv, &out), PM_BAD_FILE);
        assert_non_null(strstr(pm_last_error(), "piece 5"));
    }
}

/* ---- what stands around a text --------------------------------------------------------------- */

/* Ids of a text with special ones around it. */
static void expect_around(const pm__small_vocabulary *v, void (*add)(pm__writer *out),
                          int32_t first, int32_t last) {
    pm__vocabulary vocabulary;
    pm__writer out = {0};
    pm__write_small(&out, v);
    add(&out);
    open_written(&vocabulary, &out);
    pm__ids ids = encode(&vocabulary, "a", 1, true), plain = encode(&vocabulary, "a", 1, false);
    size_t n = plain.n + (first >= 0) + (last >= 0);
    assert_int_equal(ids.n, n);
    if (first >= 0)
        assert_int_equal(ids.data[0], first);
    if (last >= 0)
        assert_int_equal(ids.data[n - 1], last);
    pm__ids_finish(&ids);
    pm__ids_finish(&plain);
    pm__vocabulary_close(&vocabulary);
}

static const pm__small_vocabulary *find_small(const char *model) {
    for (size_t i = 0; i < PM__COUNT(small_vocabularies); i++)
        if (strcmp(small_vocabularies[i].model, model) == 0)
            return &small_vocabularies[i];
    fail();
    return NULL;
}

static void add_nothing(pm__writer *out) {
    (void)out;
}

static void add_cls(pm__writer *out) {
    pm__write_u32(out, KEY("cls_token_id"), 2);
    pm__write_u32(out, KEY("seperator_token_id"), 3);
}

static void add_bos_and_cls(pm__writer *out) {
    pm__write_u32(out, KEY("bos_token_id"), 5);
    add_cls(out);
}

static void add_no_separator(pm__writer *out) {
    add_cls(out);
    pm__write_bool(out, KEY("add_sep_token"), false);
    pm__write_bool(out, KEY("add_eos_token"), true);
    pm__write_u32(out, KEY("eos_token_id"), 3);
}

static void add_no_bos(pm__writer *out) {
    add_cls(out);
    pm__write_bool(out, KEY("add_bos_token"), false);
}

static void add_no_eos(pm__writer *out) {
    pm__write_bool(out, KEY("add_eos_token"), false);
}

static void special_ids_stand_where_the_kind_has_them(void **state) {
    (void)state;
    const pm__small_vocabulary *bert = find_small("bert"), *t5 = find_small("t5");
    expect_around(bert, add_nothing, 101, 102); /* BERT's own where the file names none */
    expect_around(bert, add_cls, 2, 3);
    expect_around(bert, add_bos_and_cls, 5, 3);
    expect_around(bert, add_no_separator, 2, -1);
    expect_around(bert, add_no_bos, -1, 3);
    expect_around(t5, add_nothing, -1, 1);
    expect_around(t5, add_no_eos, -1, -1);
    expect_around(find_small("gemma4"), add_nothing, 1, -1);
}

/* ---- blanks beside special pieces, ends of answers ------------------------------------------- */

static const char *const chat_pieces[] = {"<unk>",    "<s>",        "</s>",     "a",
                                          "\u2581",   "\u2581a",    "<|user|>", "<|end|>",
                                          "<|call|>", "<|return|>", "<mask>"};
static const int32_t chat_kinds[] = {2, 3, 3, 1, 1, 1, 3, 3, 3, 3, 3};
static const float chat_scores[] = {0, 0, 0, -1, -2, -3, 0, 0, 0, 0, 0};

static void open_chat(pm__vocabulary *chat, size_t n, const char *key, const char *value) {
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "llama");
    pm__write_texts(&out, KEY("tokens"), chat_pieces, n);
    pm__write_i32s(&out, KEY("token_type"), chat_kinds, n);
    pm__write_f32s(&out, KEY("scores"), chat_scores, n);
    pm__write_bool(&out, KEY("add_bos_token"), false);
    pm__write_bool(&out, KEY("add_space_prefix"), false);
    pm__write_text(&out, key, value);
    open_written(chat, &out);
}

static void some_models_take_blanks_into_special_pieces(void **state) {
    (void)state;
    pm__vocabulary chat;
    open_chat(&chat, 11, "general.name", "Tiny Phi-3 Mini");
    EXPECT(&chat, "a <|user|> \n\t a<|end|> ", true, 3, 4, 6, 3, 7);
    EXPECT(&chat, "<s> a", true, 1, 5);
    pm__vocabulary_close(&chat);
    open_chat(&chat, 11, "general.name", "Phi 4");
    EXPECT(&chat, "<|user|> a", true, 6, 5);
    pm__vocabulary_close(&chat);
    open_chat(&chat, 11, KEY("pre"), "jina-v2-de");
    EXPECT(&chat, "a \n<mask> a", true, 3, 10, 5);
    EXPECT(&chat, " <mask>", true, 10);
    pm__vocabulary_close(&chat);
}

/* Where an answer has parts <|end|> closes one of them. */
static void the_end_of_a_part_is_not_the_end_of_an_answer(void **state) {
    (void)state;
    pm__vocabulary chat;
    open_chat(&chat, 8, "general.name", "one part");
    assert_true(pm__tokenizer_is_end(chat.tokenizer, 7));
    pm__vocabulary_close(&chat);
    open_chat(&chat, 11, "general.name", "parts");
    assert_false(pm__tokenizer_is_end(chat.tokenizer, 7));
    assert_true(pm__tokenizer_is_end(chat.tokenizer, 8));
    assert_true(pm__tokenizer_is_end(chat.tokenizer, 9));
    EXPECT(&chat, "<|end|>", true, 7);
    pm__vocabulary_close(&chat);
}

/* ---- text from ids --------------------------------------------------------------------------- */

static void expect_text(const pm__tokenizer *tokenizer, const char *text, const char *want) {
    pm__ids ids = {0};
    char got[256];
    size_t n = 0;
    assert_int_equal(pm__tokenizer_encode(tokenizer, text, strlen(text), true, false, &ids), PM_OK);
    pm__detokenizer detokenizer;
    pm__detokenizer_init(&detokenizer, tokenizer, false, true);
    for (size_t i = 0; i <= ids.n; i++) {
        pm__span part;
        assert_int_equal(i < ids.n ? pm__detokenizer_push(&detokenizer, ids.data[i], &part)
                                   : pm__detokenizer_flush(&detokenizer, &part),
                         PM_OK);
        assert_true(n + part.size < sizeof got);
        memcpy(got + n, part.data, part.size);
        n += part.size;
    }
    got[n] = '\0';
    assert_string_equal(got, want);
    pm__detokenizer_finish(&detokenizer);
    pm__ids_finish(&ids);
}

static void ids_become_text(void **state) {
    (void)state;
    static const struct {
        const char *model, *text, *want;
    } cases[] = {
        {"bert", "The king, he  said: yes! No? So.", "the king, he said : yes! no? so."},
        {"t5", "  The king,  he said. ", "The king, he said."},
        {"t5", "\xef\xac\x81ne\xe2\x80\x8b \xef\xbc\xa1", "fine A"},
        {"gemma4", " The  king\n\nhe \xe4\xbd\xa0\xe2\x96\x81", " The  king\n\nhe \xe4\xbd\xa0 "},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        pm__vocabulary vocabulary;
        pm__writer out = {0};
        pm__write_small(&out, find_small(cases[i].model));
        if (strcmp(cases[i].model, "bert") == 0)
            add_cls(&out);
        open_written(&vocabulary, &out);
        expect_text(vocabulary.tokenizer, cases[i].text, cases[i].want);
        pm__vocabulary_close(&vocabulary);
    }
}

/* ---- long texts ------------------------------------------------------------------------------ */

enum { LONG = 1000000, MOST_DEPTH = 24 };

static void check_long(const pm__tokenizer *tokenizer, const char *pattern) {
    const size_t size = strlen(pattern), n = LONG / size * size;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = pattern[i % size];
    pm__merger merger = {0};
    pm__ids ids = {0};
    assert_int_equal(tokenizer->kind->encode(tokenizer, &merger, (pm__span){text, n}, true, &ids),
                     PM_OK);
    assert_true(ids.n <= n + 1);
    assert_true(merger.n_step <= (uint64_t)MOST_DEPTH * (n + PM__BLANK_BYTES));
    pm__merger_finish(&merger);
    pm__ids_finish(&ids);
    free(text);
}

static void a_word_of_a_megabyte_takes_linear_steps(void **state) {
    (void)state;
    static const char *const patterns[] = {"a", "the", "\xe4\xbd\xa0", "\xff"};
    static const char *const models[] = {"t5", "bert", "gemma4"};
    pm__vocabulary vocabulary;
    pm__writer out = {0};
    for (size_t i = 0; i < PM__COUNT(models); i++) {
        pm__write_small(&out, find_small(models[i]));
        open_written(&vocabulary, &out);
        for (size_t k = 0; k < PM__COUNT(patterns); k++)
            check_long(vocabulary.tokenizer, patterns[k]);
        pm__vocabulary_close(&vocabulary);
    }
    write_rwkv(&out, rwkv_pieces, true);
    open_written(&vocabulary, &out);
    for (size_t k = 0; k < PM__COUNT(patterns); k++)
        check_long(vocabulary.tokenizer, patterns[k]);
    pm__vocabulary_close(&vocabulary);
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static void refuse(pm__writer *out, pm_status status, const char *named) {
    pm__vocabulary vocabulary;
    const pm_status got = pm__vocabulary_open_written(&vocabulary, out);
    if (got != status || strstr(pm_last_error(), named) == NULL)
        fail_msg("%s: status %d: %s", named, got, pm_last_error());
}

static void files_without_a_tokenizer_are_refused_as_such(void **state) {
    (void)state;
    static const char *const models[] = {"none", "no_vocab", "whitespace", "hybriddna", "plamo2"};
    for (size_t i = 0; i < PM__COUNT(models); i++) {
        pm__writer out = {0};
        pm__write_text(&out, KEY("model"), models[i]);
        refuse(&out, PM_UNSUPPORTED, models[i]);
    }
}

static void write_t5(pm__writer *out, const char *const *pieces, const float *scores, size_t n) {
    pm__write_text(out, KEY("model"), "t5");
    pm__write_texts(out, KEY("tokens"), pieces, n);
    pm__write_f32s(out, KEY("scores"), scores, n);
}

static void wrong_keys_of_a_unigram_model_are_refused(void **state) {
    (void)state;
    static const char *const pieces[] = {"a", "b", "c"};
    const float infinite[] = {0, -INFINITY, 0}, scores[] = {0, 0, 0};
    static char large[PM__MOST_TRIE_BYTES + 2];
    memset(large, 'q', sizeof large - 1);
    const char *const long_pieces[] = {"a", large, "c"};
    pm__writer out = {0};
    write_t5(&out, pieces, infinite, 3);
    refuse(&out, PM_BAD_FILE, "piece 1");
    write_t5(&out, long_pieces, scores, 3);
    refuse(&out, PM_BAD_FILE, "1025 bytes");
    write_t5(&out, pieces, scores, 3);
    pm__write_u32(&out, KEY("remove_extra_whitespaces"), 1);
    refuse(&out, PM_BAD_FILE, KEY("remove_extra_whitespaces"));
    write_t5(&out, pieces, scores, 3);
    pm__write_text(&out, KEY("precompiled_charsmap"), "x");
    refuse(&out, PM_BAD_FILE, KEY("precompiled_charsmap"));
}

/* Tables too short, with a length that is not theirs, without an end. */
static void wrong_charsmaps_are_refused(void **state) {
    (void)state;
    static const struct {
        int8_t bytes[16];
        size_t n;
    } tables[] = {
        {{1}, 1},
        {{4, 0, 0}, 3},
        {{4, 0, 0, 0}, 4},
        {{4, 0, 0, 0, 1, 2, 3, 4}, 8},
        {{0, 0, 0, 0, 0}, 5},
        {{3, 0, 0, 0, 1, 2, 3, 0}, 8},
        {{8, 0, 0, 0, 1, 2, 3, 4, 0}, 9},
        {{4, 0, 0, -1, 1, 2, 3, 4, 0}, 9},
        {{4, 0, 0, 0, 1, 2, 3, 4, 'x'}, 9},
    };
    static const char *const pieces[] = {"a", "b", "c"};
    const float scores[] = {0, 0, 0};
    for (size_t i = 0; i < PM__COUNT(tables); i++) {
        pm__writer out = {0};
        write_t5(&out, pieces, scores, 3);
        pm__write_i8s(&out, KEY("precompiled_charsmap"), tables[i].bytes, tables[i].n);
        refuse(&out, PM_BAD_FILE, KEY("precompiled_charsmap"));
    }
}

/* A table may say anything at any place: what it says is text, or an error. */
static void damaged_charsmaps_do_no_harm(void **state) {
    (void)state;
    const pm__small_vocabulary *t5 = find_small("t5");
    int8_t *charsmap = malloc(t5->n_charsmap);
    assert_non_null(charsmap);
    size_t n_refused = 0;
    for (size_t at = 4; at < t5->n_charsmap - 1; at++) {
        memcpy(charsmap, t5->charsmap, t5->n_charsmap);
        charsmap[at] = (int8_t)~charsmap[at];
        pm__small_vocabulary damaged = *t5;
        damaged.charsmap = charsmap;
        pm__vocabulary vocabulary;
        pm__writer out = {0};
        pm__write_small(&out, &damaged);
        open_written(&vocabulary, &out);
        pm__ids ids = {0};
        const pm_status status = pm__tokenizer_encode(vocabulary.tokenizer, small_texts[5],
                                                      strlen(small_texts[5]), false, false, &ids);
        assert_true(status == PM_OK || status == PM_BAD_FILE);
        n_refused += status == PM_BAD_FILE;
        pm__ids_finish(&ids);
        pm__vocabulary_close(&vocabulary);
    }
    assert_true(n_refused > 0);
    free(charsmap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_vocabularies_give_the_reference_ids),
        cmocka_unit_test(the_longest_piece_is_taken),
        cmocka_unit_test(broken_escapes_are_refused),
        cmocka_unit_test(special_ids_stand_where_the_kind_has_them),
        cmocka_unit_test(some_models_take_blanks_into_special_pieces),
        cmocka_unit_test(the_end_of_a_part_is_not_the_end_of_an_answer),
        cmocka_unit_test(ids_become_text),
        cmocka_unit_test(a_word_of_a_megabyte_takes_linear_steps),
        cmocka_unit_test(files_without_a_tokenizer_are_refused_as_such),
        cmocka_unit_test(wrong_keys_of_a_unigram_model_are_refused),
        cmocka_unit_test(wrong_charsmaps_are_refused),
        cmocka_unit_test(damaged_charsmaps_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
