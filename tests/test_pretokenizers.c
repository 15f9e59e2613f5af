/* test_pretokenizers.c: every expression divides texts as the library that models were trained
 * with does, and none takes more than linear time or a stack that grows with the text. */
/* ctest: quick */
#include "base/file_map.h"
#include "tests/reference.h"
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

/* Whole file, closed by a zero. */
static char *read_text(const char *path) {
    pm__file_map map;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    char *text = malloc(map.size + 1);
    assert_non_null(text);
    memcpy(text, map.data, map.size);
    text[map.size] = '\0';
    pm__file_map_finish(&map);
    return text;
}

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
    const char *const bloom[] = {" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"};
    assert_string_equal(pm__pretokenizer_find(bloom, 1, false), "bloom");
    const char *const threes[] = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"};
    assert_string_equal(pm__pretokenizer_find(threes, 2, false), "superbpe");
    const char *const coder[] = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                                 "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}"};
    assert_string_equal(pm__pretokenizer_find(coder, 5, false), "deepseek-coder");
    const char *const others[] = {"[\\r\\n]x", "[\\\r\\n]", "\\", "\\x{", "\\x{zz}", "\xff", ""};
    for (size_t i = 0; i < PM__COUNT(others); i++)
        assert_null(pm__pretokenizer_find(&others[i], 1, false));
    const char *const lines[] = {"[^\\n]+|[\\n]+"}; /* of pieces that are written otherwise */
    assert_null(pm__pretokenizer_find(lines, 1, false));
}

/* ---- vectors without their vocabulary -------------------------------------------------------- */

enum { MOST_TEXTS = 64, MOST_WORDS = 4096, MOST_IDS = 8192 };

/* A word of a vector, and the ids it was found to have. */
typedef struct word {
    const char *text;
    size_t n;
    const int32_t *ids; /* NULL: not known yet */
    size_t n_id;
} word;

/* A text of a vector: the words and the ids that stand between those that are known. */
typedef struct puzzle_text {
    size_t word, n_word, id, n_id;
} puzzle_text;

typedef struct puzzle {
    word words[MOST_WORDS];
    int32_t ids[MOST_IDS];
    puzzle_text texts[MOST_TEXTS];
    size_t n_word, n_id, n_text, n_solved;
} puzzle;

static pm_status add_word(void *user, const char *text, size_t n) {
    puzzle *p = user;
    assert_true(p->n_word < MOST_WORDS);
    p->words[p->n_word++] = (word){.text = text, .n = n};
    return PM_OK;
}

static const char *add_ids(puzzle *p, const char *line) {
    const char *end = strchr(line, '\n');
    end = end != NULL ? end : line + strlen(line);
    while (line < end) {
        char *after;
        const long id = strtol(line, &after, 10);
        if (after == line || after > end)
            break;
        assert_true(p->n_id < MOST_IDS);
        p->ids[p->n_id++] = (int32_t)id;
        line = after;
    }
    return *end != '\0' ? end + 1 : end;
}

static void read_puzzle(puzzle *p, const pm__pretokenizer *pretokenizer, const char *inputs,
                        const char *outputs) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    *p = (puzzle){.n_text = 0};
    for (const char *text = inputs; text != NULL && *outputs != '\0';) {
        const char *end = strstr(text, separator);
        const size_t n = end != NULL ? (size_t)(end - text) : strlen(text);
        puzzle_text *new_text = &p->texts[p->n_text++];
        assert_true(p->n_text < MOST_TEXTS);
        *new_text = (puzzle_text){.word = p->n_word, .id = p->n_id};
        assert_int_equal(pm__pretokenizer_split(pretokenizer, text, n, add_word, p), PM_OK);
        outputs = add_ids(p, outputs);
        new_text->n_word = p->n_word - new_text->word;
        new_text->n_id = p->n_id - new_text->id;
        text = end != NULL ? end + strlen(separator) : NULL;
    }
}

/* Gives a word that stands elsewhere, too, what is known of it there. */
static bool know(puzzle *p, word *w) {
    for (size_t i = 0; i < p->n_word && w->ids == NULL; i++) {
        const word *other = &p->words[i];
        if (other->ids != NULL && other->n == w->n && memcmp(other->text, w->text, w->n) == 0) {
            w->ids = other->ids;
            w->n_id = other->n_id;
        }
    }
    return w->ids != NULL;
}

/* Takes known words from both ends of a text. False: their ids do not stand there. */
static bool take_known(puzzle *p, puzzle_text *t) {
    while (t->n_word > 0 && know(p, &p->words[t->word])) {
        const word *w = &p->words[t->word];
        if (w->n_id > t->n_id || memcmp(p->ids + t->id, w->ids, w->n_id * sizeof *w->ids) != 0)
            return false;
        t->word++, t->n_word--;
        t->id += w->n_id, t->n_id -= w->n_id;
    }
    while (t->n_word > 0 && know(p, &p->words[t->word + t->n_word - 1])) {
        const word *w = &p->words[t->word + t->n_word - 1];
        const int32_t *end = p->ids + t->id + t->n_id;
        if (w->n_id > t->n_id || memcmp(end - w->n_id, w->ids, w->n_id * sizeof *w->ids) != 0)
            return false;
        t->n_word--, t->n_id -= w->n_id;
    }
    return t->n_word > 0 ? t->n_id >= t->n_word : t->n_id == 0;
}

/* One word of all texts has one list of ids: where all words of a text but one are known, so is the
 * last. False: the ids are not those of these words. */
static bool solve(puzzle *p) {
    for (bool has_news = true; has_news;) {
        has_news = false;
        for (size_t i = 0; i < p->n_text; i++) {
            puzzle_text *t = &p->texts[i];
            if (t->n_word == 0 && t->n_id == 0)
                continue;
            if (!take_known(p, t))
                return false;
            if (t->n_word == 1) {
                p->words[t->word].ids = p->ids + t->id;
                p->words[t->word].n_id = t->n_id;
                t->n_word = t->n_id = 0;
                has_news = true;
            }
        }
    }
    for (size_t i = 0; i < p->n_text; i++)
        p->n_solved += p->texts[i].n_word == 0;
    return true;
}

/* Whether the ids of a vector can be those of the words that a name divides its texts into.
 * *n_solved: texts of which every word is known in the end; of -1 nothing was there. */
static bool fits(const char *vector, const char *name, int *n_solved) {
    char path[128];
    char *texts[2] = {NULL, NULL};
    *n_solved = -1;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "models/vocab/ggml-vocab-%s.gguf.%s", vector,
                 i == 0 ? "inp" : "out");
        const char *found = pm__reference_path(path);
        if (found != NULL)
            texts[i] = read_text(found);
    }
    bool is_good = true;
    if (texts[0] != NULL && texts[1] != NULL) {
        pm__pretokenizer *pretokenizer = open_named(name);
        puzzle *p = malloc(sizeof *p);
        assert_non_null(p);
        read_puzzle(p, pretokenizer, texts[0], texts[1]);
        is_good = solve(p);
        *n_solved = (int)p->n_solved;
        free(p);
        pm__pretokenizer_destroy(pretokenizer);
    }
    free(texts[0]);
    free(texts[1]);
    return is_good;
}

static void vectors_without_a_vocabulary_have_ids_for_each_word(void **state) {
    (void)state;
    static const struct {
        const char *vector, *name, *other; /* another division does not fit */
        int least_solved;
    } vectors[] = {{"command-r", "command-r", "llama-bpe", 36},
                   {"qwen35", "qwen35", "deepseek-llm", 40},
                   {"gemma-4", "gemma4", "gpt-2", 45},
                   {"qwen2", "qwen2", "default", 36},
                   {"llama-bpe", "llama-bpe", "qwen2", 36}};
    int n_solved = -1;
    for (size_t i = 0; i < PM__COUNT(vectors); i++) {
        const bool is_good = fits(vectors[i].vector, vectors[i].name, &n_solved);
        if (n_solved < 0)
            skip();
        print_message("%s: %d texts with every word known\n", vectors[i].vector, n_solved);
        assert_true(is_good);
        assert_true(n_solved >= vectors[i].least_solved);
        assert_false(fits(vectors[i].vector, vectors[i].other, &n_solved));
    }
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
        cmocka_unit_test(vectors_without_a_vocabulary_have_ids_for_each_word),
        cmocka_unit_test(long_runs_are_divided_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
