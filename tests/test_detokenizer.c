/* test_detokenizer.c: ids to text, one at a time. */
/* ctest: quick */
#include "base/utf8.h"
#include "tests/reference.h"
#include "tests/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct text {
    char *data;
    size_t n, capacity;
} text;

static void append(text *out, const char *data, size_t n) {
    if (out->n + n + 1 > out->capacity) {
        out->capacity = 2 * (out->n + n + 1);
        out->data = realloc(out->data, out->capacity);
        assert_non_null(out->data);
    }
    memcpy(out->data + out->n, data, n);
    out->n += n;
    out->data[out->n] = '\0';
}

/* What comes out piece by piece; each part must be whole characters. */
static text stream(const pm__tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                   bool at_text_start) {
    text out = {0};
    pm__detokenizer detokenizer;
    pm__span part;
    pm__detokenizer_init(&detokenizer, tokenizer, special, at_text_start);
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            assert_int_equal(pm__detokenizer_push(&detokenizer, ids[i], &part), PM_OK);
        else
            assert_int_equal(pm__detokenizer_flush(&detokenizer, &part), PM_OK);
        assert_int_equal(pm__utf8_check(part.data, part.size), part.size);
        append(&out, part.data, part.size);
    }
    pm__detokenizer_finish(&detokenizer);
    return out;
}

/* The same at once: all bytes, then U+FFFD for what is broken. */
static text whole(const pm__tokenizer *tokenizer, const int32_t *ids, size_t n) {
    text bytes = {0}, out = {0};
    append(&bytes, "", 0);
    append(&out, "", 0);
    for (size_t i = 0; i < n; i++) {
        const pm__span piece = pm__tokenizer_piece(tokenizer, ids[i], false);
        append(&bytes, piece.data, piece.size);
    }
    for (size_t at = 0; at < bytes.n;) {
        uint32_t code;
        char character[4];
        at += pm__utf8_decode(bytes.data + at, bytes.n - at, &code);
        append(&out, character, pm__utf8_encode(code, character));
    }
    free(bytes.data);
    return out;
}

static const char *const files[] = {
    "models/vocab/ggml-vocab-llama-spm.gguf",    "models/vocab/ggml-vocab-phi-3.gguf",
    "models/vocab/ggml-vocab-gpt-2.gguf",        "models/vocab/built-llama3-bpe.gguf",
    "models/vocab/ggml-vocab-baichuan.gguf",     "models/vocab/ggml-vocab-gpt-neox.gguf",
    "models/vocab/ggml-vocab-deepseek-llm.gguf", "models/vocab/built-qwen2.gguf",
    "models/real/stories260K-f32.gguf",
};

static const char *const texts[] = {
    "Hello, world!",
    " two  blanks   three",
    "  starts with two",
    "\n\t lines \r\n",
    "\xf0\x9f\xa6\x99 \xf0\x9f\x98\xb6\xe2\x80\x8d\xf0\x9f\x8c\xab\xef\xb8\x8f ok",
    "\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x81 \xe1\x9e\x80\xe1\x9e\xb6",
    "I've 'told 3333.33",
    "",
};

static void texts_come_back(void **state) {
    (void)state;
    size_t n_checked = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const char *path = pm__reference_path(files[f]);
        if (path == NULL)
            continue;
        pm__vocabulary vocabulary;
        assert_int_equal(pm__vocabulary_open(&vocabulary, path), PM_OK);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            pm__ids ids = {0};
            assert_int_equal(pm__tokenizer_encode(vocabulary.tokenizer, texts[i], strlen(texts[i]),
                                                  true, false, &ids),
                             PM_OK);
            text out = stream(vocabulary.tokenizer, ids.data, ids.n, false, true);
            assert_string_equal(out.data, texts[i]);
            free(out.data);
            pm__ids_finish(&ids);
        }
        pm__vocabulary_close(&vocabulary);
        n_checked++;
    }
    if (n_checked == 0)
        skip();
}

/* Vocabularies without a pre-tokenizer say so. */
static void quiet(void *user, pm_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

/* Ids in any order give broken characters of every kind. */
static void any_ids_give_the_same_text_in_parts_and_at_once(void **state) {
    (void)state;
    size_t n_checked = 0;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const char *path = pm__reference_path(files[f]);
        if (path == NULL)
            continue;
        pm__vocabulary vocabulary;
        assert_int_equal(pm__vocabulary_open(&vocabulary, path), PM_OK);
        const uint32_t n_vocab = pm__tokenizer_n_vocab(vocabulary.tokenizer);
        uint32_t seed = 12345;
        for (size_t round = 0; round < 200; round++) {
            int32_t ids[61];
            for (size_t i = 0; i < 61; i++) {
                seed = seed * 1664525u + 1013904223u;
                /* Half of them from the start, where the pieces of single bytes are. */
                ids[i] = (int32_t)((seed >> 8) % (seed >> 31 ? n_vocab : 262));
            }
            text parts = stream(vocabulary.tokenizer, ids, 61, false, false);
            text once = whole(vocabulary.tokenizer, ids, 61);
            assert_string_equal(parts.data, once.data);
            assert_int_equal(parts.n, once.n);
            free(parts.data);
            free(once.data);
        }
        pm__vocabulary_close(&vocabulary);
        n_checked++;
    }
    if (n_checked == 0)
        skip();
}

static const char *const pieces[] = {"<unk>",  "<s>",    "<0xF0>", "<0x9F>",
                                     "<0xA6>", "<0x99>", "a",      "\u2581a"};
static const int32_t kinds[] = {2, 3, 6, 6, 6, 6, 1, 1};
static const float scores[] = {0, 0, 0, 0, 0, 0, -1, -2};

static void open_bytes(pm__vocabulary *vocabulary) {
    pm__writer out = {0};
    pm__write_text(&out, "tokenizer.ggml.model", "llama");
    pm__write_texts(&out, "tokenizer.ggml.tokens", pieces, 8);
    pm__write_i32s(&out, "tokenizer.ggml.token_type", kinds, 8);
    pm__write_f32s(&out, "tokenizer.ggml.scores", scores, 8);
    assert_int_equal(pm__vocabulary_open_written(vocabulary, &out), PM_OK);
}

static void expect(const pm__vocabulary *vocabulary, const int32_t *ids, size_t n, bool special,
                   bool at_text_start, const char *want) {
    text out = stream(vocabulary->tokenizer, ids, n, special, at_text_start);
    assert_string_equal(out.data, want);
    free(out.data);
}

static void a_character_waits_for_its_last_byte(void **state) {
    (void)state;
    pm__vocabulary vocabulary;
    pm__detokenizer detokenizer;
    pm__span part;
    open_bytes(&vocabulary);
    pm__detokenizer_init(&detokenizer, vocabulary.tokenizer, false, true);
    for (int32_t id = 2; id < 5; id++) {
        assert_int_equal(pm__detokenizer_push(&detokenizer, id, &part), PM_OK);
        assert_int_equal(part.size, 0);
    }
    assert_int_equal(pm__detokenizer_push(&detokenizer, 5, &part), PM_OK);
    assert_int_equal(part.size, 4);
    assert_memory_equal(part.data, "\xf0\x9f\xa6\x99", 4);
    assert_int_equal(pm__detokenizer_flush(&detokenizer, &part), PM_OK);
    assert_int_equal(part.size, 0);
    pm__detokenizer_finish(&detokenizer);
    pm__detokenizer_finish(&detokenizer);
    pm__vocabulary_close(&vocabulary);
}

static void broken_characters_become_one_replacement_each(void **state) {
    (void)state;
    pm__vocabulary vocabulary;
    open_bytes(&vocabulary);
    expect(&vocabulary, (const int32_t[]){2, 3, 6}, 3, false, true,
           "\xef\xbf\xbd"
           "a");
    expect(&vocabulary, (const int32_t[]){2, 3, 4}, 3, false, true, "\xef\xbf\xbd");
    expect(&vocabulary, (const int32_t[]){5, 5}, 2, false, true, "\xef\xbf\xbd\xef\xbf\xbd");
    expect(&vocabulary, (const int32_t[]){2, 2, 3, 4, 5}, 5, false, true,
           "\xef\xbf\xbd\xf0\x9f\xa6\x99");
    pm__vocabulary_close(&vocabulary);
}

static void only_the_first_blank_is_dropped(void **state) {
    (void)state;
    pm__vocabulary vocabulary;
    open_bytes(&vocabulary);
    expect(&vocabulary, (const int32_t[]){1, 7, 7}, 3, false, true, "a a");
    expect(&vocabulary, (const int32_t[]){1, 7, 7}, 3, true, true, "<s>a a");
    expect(&vocabulary, (const int32_t[]){7, 7}, 2, false, false, " a a");
    expect(&vocabulary, (const int32_t[]){6, 7}, 2, false, true, "a a");
    expect(&vocabulary, (const int32_t[]){-1, 8, INT32_MAX, 6}, 4, false, true, "a");
    pm__vocabulary_close(&vocabulary);
}

int main(void) {
    pm_set_log(PM_LOG_WARN, quiet, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(any_ids_give_the_same_text_in_parts_and_at_once),
        cmocka_unit_test(a_character_waits_for_its_last_byte),
        cmocka_unit_test(broken_characters_become_one_replacement_each),
        cmocka_unit_test(only_the_first_blank_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
