/* test_tokenizer.c: text to ids, against ids that llama.cpp made, and vocabularies that are wrong.
 */
/* ctest: quick */
#include "format/json.h"
#include "tests/reference.h"
#include "tests/vocabulary.h"
#include "text/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY(name) "tokenizer.ggml." name

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

static void quiet(void *user, pm_log_level level, const char *line) {
    (void)user, (void)level, (void)line;
}

static pm__ids encode(const pm__vocabulary *vocabulary, const char *text, size_t n, bool special) {
    pm__ids ids = {0};
    const pm_status status =
        pm__tokenizer_encode(vocabulary->tokenizer, text, n, false, special, &ids);
    if (status != PM_OK)
        fail_msg("%s", pm_last_error());
    return ids;
}

static void expect(const pm__vocabulary *vocabulary, const char *text, size_t n, bool special,
                   const int32_t *want, size_t n_want) {
    pm__ids ids = encode(vocabulary, text, n, special);
    const bool same =
        ids.n == n_want && (n_want == 0 || memcmp(ids.data, want, n_want * sizeof *want) == 0);
    if (!same) {
        print_message("\"%s\":", text);
        for (size_t i = 0; i < ids.n && i < 40; i++)
            print_message(" %d", ids.data[i]);
        print_message("\n");
    }
    pm__ids_finish(&ids);
    assert_true(same);
}

#define EXPECT(vocabulary, text, special, ...)                                                     \
    expect(vocabulary, text, strlen(text), special, (const int32_t[]){__VA_ARGS__},                \
           sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* ---- reference ids --------------------------------------------------------------------------- */

static const struct {
    const char *file, *texts;
} vectors[] = {
    {"ggml-vocab-llama-spm", "ggml-vocab-llama-spm"},
    {"ggml-vocab-bert-bge", "ggml-vocab-bert-bge"},
    {"ggml-vocab-deepseek-llm", "ggml-vocab-deepseek-llm"},
    {"ggml-vocab-deepseek-coder", "ggml-vocab-deepseek-coder"},
    {"ggml-vocab-phi-3", "ggml-vocab-phi-3"},
    {"ggml-vocab-gpt-2", "ggml-vocab-gpt-2"},
    {"built-llama3-bpe", "ggml-vocab-llama-bpe"},
    {"built-qwen2", "ggml-vocab-qwen2"},
    {"ggml-vocab-falcon", "ggml-vocab-falcon"},
    {"ggml-vocab-mpt", "ggml-vocab-mpt"},
    {"ggml-vocab-refact", "ggml-vocab-refact"},
    {"ggml-vocab-starcoder", "ggml-vocab-starcoder"},
};

static bool same_line(const pm__ids *ids, const char *line) {
    for (size_t i = 0;; i++) {
        char *end;
        const long id = strtol(line, &end, 10);
        if (end == line || memchr(line, '\n', (size_t)(end - line)) != NULL)
            return i == ids->n;
        if (i == ids->n || ids->data[i] != id)
            return false;
        line = end;
    }
}

/* Texts are divided by a separator line, so the last, after the last separator, is empty and has no
 * line. */
static void check_vector(const pm__vocabulary *vocabulary, const char *name, const char *inputs,
                         const char *outputs) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    size_t n_text = 0, n_good = 0;
    const char *line = outputs;
    for (const char *text = inputs; text != NULL;) {
        const char *end = strstr(text, separator);
        const size_t n = end != NULL ? (size_t)(end - text) : strlen(text);
        pm__ids ids = encode(vocabulary, text, n, false);
        n_text++;
        if (same_line(&ids, line))
            n_good++;
        else
            print_message("%s: text %zu \"%.*s\": other ids than the reference\n", name, n_text,
                          (int)n, text);
        pm__ids_finish(&ids);
        const char *next = strchr(line, '\n');
        line = next != NULL ? next + 1 : "";
        text = end != NULL ? end + strlen(separator) : NULL;
    }
    print_message("%s: %zu/%zu\n", name, n_good, n_text);
    assert_int_equal(n_text, 47);
    assert_int_equal(n_good, n_text);
}

static void vectors_give_the_reference_ids(void **state) {
    (void)state;
    size_t n_checked = 0;
    for (size_t i = 0; i < PM__COUNT(vectors); i++) {
        char name[128];
        snprintf(name, sizeof name, "models/vocab/%s.gguf", vectors[i].file);
        const char *file = pm__reference_path(name);
        snprintf(name, sizeof name, "models/vocab/%s.gguf.inp", vectors[i].texts);
        const char *inputs = pm__reference_path(name);
        snprintf(name, sizeof name, "models/vocab/%s.gguf.out", vectors[i].texts);
        const char *outputs = pm__reference_path(name);
        if (file == NULL || inputs == NULL || outputs == NULL)
            continue;
        pm__vocabulary vocabulary;
        char *in = read_text(inputs), *out = read_text(outputs);
        assert_int_equal(pm__vocabulary_open(&vocabulary, file), PM_OK);
        check_vector(&vocabulary, vectors[i].file, in, out);
        pm__vocabulary_close(&vocabulary);
        free(in);
        free(out);
        n_checked++;
    }
    if (n_checked == 0)
        skip();
}

static void check_prompts(const cJSON *document, const pm__vocabulary *vocabulary) {
    const cJSON *prompt;
    size_t n_prompt = 0;
    cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(document, "prompts")) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(prompt, "prompt"));
        const cJSON *tokens = cJSON_GetObjectItem(prompt, "tokens");
        pm__ids ids = {0};
        assert_int_equal(
            pm__tokenizer_encode(vocabulary->tokenizer, text, strlen(text), true, false, &ids),
            PM_OK);
        assert_int_equal(ids.n, cJSON_GetArraySize(tokens));
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.data[i], cJSON_GetArrayItem(tokens, (int)i)->valueint);
        pm__ids_finish(&ids);
        n_prompt++;
    }
    assert_int_equal(n_prompt, 3);
}

static void prompts_of_real_models_give_their_ids(void **state) {
    (void)state;
    static const char *const names[] = {"stories260K-f32", "stories260K-f16",
                                        "babyllama-tok105-f32"};
    size_t n_checked = 0;
    for (size_t i = 0; i < PM__COUNT(names); i++) {
        char name[128];
        snprintf(name, sizeof name, "models/real/%s.gguf", names[i]);
        const char *file = pm__reference_path(name);
        snprintf(name, sizeof name, "reference/real/%s.json", names[i]);
        const char *reference = pm__reference_path(name);
        if (file == NULL || reference == NULL)
            continue;
        pm__vocabulary vocabulary;
        char *text = read_text(reference);
        cJSON *document = NULL;
        assert_int_equal(pm__json_parse(reference, text, strlen(text), &document), PM_OK);
        assert_int_equal(pm__vocabulary_open(&vocabulary, file), PM_OK);
        check_prompts(document, &vocabulary);
        pm__vocabulary_close(&vocabulary);
        cJSON_Delete(document);
        free(text);
        n_checked++;
    }
    if (n_checked == 0)
        skip();
}

/* The same vocabulary as somebody else wrote it: no tokenizer.ggml.pre, no flags, padding id 2^32
 * - 1. */
static void defaults_stand_for_what_a_file_leaves_out(void **state) {
    (void)state;
    const char *bare = pm__reference_path("models/real/stories260Ktok512.gguf");
    const char *full = pm__reference_path("models/real/stories260K-f32.gguf");
    if (bare == NULL || full == NULL)
        skip();
    static const char text[] = "Lily and Tim \xf0\x9f\xa6\x99 saw  a\ncat.";
    pm__vocabulary a, b;
    pm__ids ids[2] = {{0}, {0}};
    assert_int_equal(pm__vocabulary_open(&a, bare), PM_OK);
    assert_int_equal(pm__vocabulary_open(&b, full), PM_OK);
    assert_int_equal(pm__tokenizer_encode(a.tokenizer, text, strlen(text), true, false, &ids[0]),
                     PM_OK);
    assert_int_equal(pm__tokenizer_encode(b.tokenizer, text, strlen(text), true, false, &ids[1]),
                     PM_OK);
    assert_int_equal(ids[0].n, ids[1].n);
    assert_memory_equal(ids[0].data, ids[1].data, ids[0].n * sizeof *ids[0].data);
    pm__ids_finish(&ids[0]);
    pm__ids_finish(&ids[1]);
    pm__vocabulary_close(&a);
    pm__vocabulary_close(&b);
}

/* ---- special pieces -------------------------------------------------------------------------- */

static void control_text_is_text_unless_asked_for(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/vocab/built-qwen2.gguf");
    if (path == NULL)
        skip();
    pm__vocabulary qwen;
    assert_int_equal(pm__vocabulary_open(&qwen, path), PM_OK);
    /* ids of Qwen2's published vocabulary: <|endoftext|> 151643, <|im_start|> 151644, <|im_end|>
     * 151645 */
    EXPECT(&qwen, "<|im_start|><|im_end|><|endoftext|>", true, 151644, 151645, 151643);
    EXPECT(&qwen, "Hello<|im_end|>\n", true, 9707, 151645, 198);
    EXPECT(&qwen, "<|im_end|", true, 27, 91, 318, 6213, 91);
    assert_true(pm__tokenizer_is_end(qwen.tokenizer, 151645));
    assert_true(pm__tokenizer_is_end(qwen.tokenizer, 151643));
    assert_false(pm__tokenizer_is_end(qwen.tokenizer, 151644));
    assert_false(pm__tokenizer_is_end(qwen.tokenizer, -1));
    assert_false(pm__tokenizer_is_end(qwen.tokenizer, 151669));
    assert_int_equal(pm__tokenizer_piece(qwen.tokenizer, 151645, false).size, 0);
    assert_int_equal(pm__tokenizer_piece(qwen.tokenizer, 151645, true).size, 10);
    assert_int_equal(pm__tokenizer_piece(qwen.tokenizer, 151669, true).size, 0);
    assert_int_equal(pm__tokenizer_piece(qwen.tokenizer, -7, true).size, 0);
    pm__vocabulary_close(&qwen);
}

static void no_text_of_a_user_becomes_a_control_piece(void **state) {
    (void)state;
    static const char *const files[] = {"models/vocab/ggml-vocab-phi-3.gguf",
                                        "models/vocab/built-qwen2.gguf"};
    size_t n_checked = 0;
    for (size_t f = 0; f < PM__COUNT(files); f++) {
        const char *path = pm__reference_path(files[f]);
        if (path == NULL)
            continue;
        pm__vocabulary vocabulary;
        assert_int_equal(pm__vocabulary_open(&vocabulary, path), PM_OK);
        const pm__tokenizer *tokenizer = vocabulary.tokenizer;
        size_t n_control = 0;
        for (uint32_t id = 0; id < tokenizer->n_vocab; id++) {
            if (tokenizer->kinds[id] != PM__PIECE_CONTROL)
                continue;
            const pm__span text = tokenizer->texts[id];
            pm__ids ids = encode(&vocabulary, text.data, text.size, false);
            for (size_t i = 0; i < ids.n; i++)
                assert_int_not_equal(tokenizer->kinds[ids.data[i]], PM__PIECE_CONTROL);
            pm__ids_finish(&ids);
            ids = encode(&vocabulary, text.data, text.size, true);
            assert_int_equal(ids.n, 1);
            assert_int_equal(ids.data[0], id);
            pm__ids_finish(&ids);
            n_control++;
        }
        assert_true(n_control > 0);
        pm__vocabulary_close(&vocabulary);
        n_checked++;
    }
    if (n_checked == 0)
        skip();
}

/* ---- small vocabularies ---------------------------------------------------------------------- */

#define BLANK "\xe2\x96\x81"

/* The scores of "xy" and "yz" are equal, though their bits are not. */
static const char *const spm_pieces[] = {
    "<unk>", "<s>", "</s>", "<0x41>",     BLANK, "a",    "b", "ab", BLANK "a", BLANK "ab", "x", "y",
    "z",     "xy",  "yz",   "<|im_end|>", "[X]", "[X]Y", "b", "<",  "0",       "4"};
static const int32_t spm_kinds[] = {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1,
                                    1, 1, 1, 1, 1, 4, 4, 1, 1, 1, 1};
static const float spm_scores[] = {0,  0,  0,     0, -9, -9, -9, -1, -2, -3, -9,
                                   -9, -9, -0.0f, 0, -9, 0,  0,  -9, -9, -9, -9};
enum { N_SPM = PM__COUNT(spm_pieces) };

static void write_spm(pm__writer *out, const char *without) {
    if (strcmp(without, KEY("model")) != 0)
        pm__write_text(out, KEY("model"), "llama");
    if (strcmp(without, KEY("tokens")) != 0)
        pm__write_texts(out, KEY("tokens"), spm_pieces, N_SPM);
    if (strcmp(without, KEY("token_type")) != 0)
        pm__write_i32s(out, KEY("token_type"), spm_kinds, N_SPM);
    if (strcmp(without, KEY("scores")) != 0)
        pm__write_f32s(out, KEY("scores"), spm_scores, N_SPM);
}

static void open_spm(pm__vocabulary *vocabulary, bool space) {
    pm__writer out = {0};
    write_spm(&out, "");
    pm__write_bool(&out, KEY("add_space_prefix"), space);
    if (pm__vocabulary_open_written(vocabulary, &out) != PM_OK)
        fail_msg("%s", pm_last_error());
}

static void spm_joins_the_best_pair_first(void **state) {
    (void)state;
    pm__vocabulary spm;
    open_spm(&spm, false);
    EXPECT(&spm, "ab", false, 7);
    EXPECT(&spm, " ab", false, 9);
    EXPECT(&spm, " a", false, 8);
    EXPECT(&spm, "xyz", false, 13, 12);
    EXPECT(&spm, "b", false, 18); /* of two pieces with one text the last */
    EXPECT(&spm, "A", false, 3);
    EXPECT(&spm, "<0x41>", false, 19, 20, 10, 21, 0,
           0);                                  /* typed, so no byte; "1" and ">": unknown */
    EXPECT(&spm, "\xf0\x9f\xa6\x99", false, 0); /* one unknown piece a character */
    EXPECT(&spm,
           "\xff"
           "a",
           false, 0, 5);
    expect(&spm, "a\0b", 3, false, (const int32_t[]){5, 0, 18}, 3);
    expect(&spm, "", 0, false, NULL, 0);
    pm__vocabulary_close(&spm);
}

static void spm_puts_a_blank_before_words(void **state) {
    (void)state;
    pm__vocabulary spm;
    open_spm(&spm, true);
    EXPECT(&spm, "ab", false, 9);
    EXPECT(&spm, "ab</s>ab", true, 9, 2, 9);
    expect(&spm, "", 0, false, NULL, 0);
    pm__ids ids = {0};
    assert_int_equal(pm__tokenizer_encode(spm.tokenizer, "ab", 2, true, false, &ids), PM_OK);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.data[0], 1); /* BOS by default */
    pm__ids_finish(&ids);
    pm__vocabulary_close(&spm);
}

static void user_pieces_are_always_found_and_the_longest_wins(void **state) {
    (void)state;
    pm__vocabulary spm;
    open_spm(&spm, false);
    EXPECT(&spm, "a[X]a", false, 5, 16, 5);
    EXPECT(&spm, "[X]Y[X]", false, 17, 16);
    /* A text known to close turns is a control piece, whatever the file calls it. */
    EXPECT(&spm, "<|im_end|>", true, 15);
    assert_true(pm__tokenizer_is_end(spm.tokenizer, 15));
    assert_true(pm__tokenizer_is_end(spm.tokenizer, 2));
    pm__ids ids = encode(&spm, "<|im_end|>", 10, false);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_not_equal(ids.data[i], 15);
    pm__ids_finish(&ids);
    pm__vocabulary_close(&spm);
}

/* U+0120 is the blank of the byte alphabet. */
static const char *const bpe_pieces[] = {"a",     "b",        "c",        "\u0120",
                                         "ab",    "bc",       "\u0120a",  "abc",
                                         "<|x|>", "\xc3\xaf", "\xc2\xbf", "\xc2\xbd"};
static const int32_t bpe_kinds[] = {1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1};
static const char *const bpe_merges[] = {"b c", "a b", "\u0120 a", "a bc"};
enum { N_BPE = PM__COUNT(bpe_pieces) };

static void write_bpe(pm__writer *out, const char *without, const char *pre) {
    if (strcmp(without, KEY("model")) != 0)
        pm__write_text(out, KEY("model"), "gpt2");
    if (pre != NULL)
        pm__write_text(out, KEY("pre"), pre);
    if (strcmp(without, KEY("tokens")) != 0)
        pm__write_texts(out, KEY("tokens"), bpe_pieces, N_BPE);
    if (strcmp(without, KEY("token_type")) != 0)
        pm__write_i32s(out, KEY("token_type"), bpe_kinds, N_BPE);
    if (strcmp(without, KEY("merges")) != 0)
        pm__write_texts(out, KEY("merges"), bpe_merges, PM__COUNT(bpe_merges));
}

static void bpe_joins_by_rank(void **state) {
    (void)state;
    pm__vocabulary bpe;
    pm__writer out = {0};
    write_bpe(&out, "", "gpt-2");
    assert_int_equal(pm__vocabulary_open_written(&bpe, &out), PM_OK);
    EXPECT(&bpe, "abc", false, 7);
    EXPECT(&bpe, "ab", false, 4);
    EXPECT(&bpe, "abab", false, 4, 4);
    EXPECT(&bpe, " abc", false, 6, 5);
    EXPECT(&bpe, "a<|x|>a", true, 0, 8, 0);
    EXPECT(&bpe,
           "\xff"
           "a",
           false, 9, 10, 11, 0); /* no piece for 0xff: U+FFFD */
    pm__ids ids = {0};
    assert_int_equal(pm__tokenizer_encode(bpe.tokenizer, "ax", 2, false, false, &ids), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "0x78"));
    pm__ids_finish(&ids);
    pm__vocabulary_close(&bpe);
}

static void bpe_without_pre_warns_and_uses_the_default(void **state) {
    (void)state;
    pm__vocabulary bpe;
    pm__writer out = {0};
    write_bpe(&out, "", NULL);
    pm_set_log(PM_LOG_WARN, quiet, NULL);
    assert_int_equal(pm__vocabulary_open_written(&bpe, &out), PM_OK);
    pm_set_log(PM_LOG_WARN, NULL, NULL);
    EXPECT(&bpe, " abc ab", false, 6, 5, 3, 4);
    pm__vocabulary_close(&bpe);
}

/* ---- vocabularies that are wrong ------------------------------------------------------------- */

static void add_none(pm__writer *out) {
    (void)out;
}

static void add_short_kinds(pm__writer *out) {
    pm__write_i32s(out, KEY("token_type"), spm_kinds, N_SPM - 1);
}

static void add_float_kinds(pm__writer *out) {
    pm__write_f32s(out, KEY("token_type"), spm_scores, N_SPM);
}

static void add_unknown_kind(pm__writer *out) {
    int32_t kinds[N_SPM];
    memcpy(kinds, spm_kinds, sizeof kinds);
    kinds[7] = 9;
    pm__write_i32s(out, KEY("token_type"), kinds, N_SPM);
}

static void add_byte_kind(pm__writer *out) {
    int32_t kinds[N_SPM];
    memcpy(kinds, spm_kinds, sizeof kinds);
    kinds[7] = PM__PIECE_BYTE;
    pm__write_i32s(out, KEY("token_type"), kinds, N_SPM);
}

static void add_long_scores(pm__writer *out) {
    float scores[N_SPM + 1] = {0};
    pm__write_f32s(out, KEY("scores"), scores, N_SPM + 1);
}

static void add_int_scores(pm__writer *out) {
    int8_t scores[N_SPM] = {0};
    pm__write_i8s(out, KEY("scores"), scores, N_SPM);
}

static void add_nan_scores(pm__writer *out) {
    float scores[N_SPM] = {0};
    const uint32_t nan_bits = 0x7fc00000;
    memcpy(&scores[3], &nan_bits, sizeof nan_bits);
    pm__write_f32s(out, KEY("scores"), scores, N_SPM);
}

static void add_text_scores(pm__writer *out) {
    pm__write_text(out, KEY("scores"), "0 0 0");
}

static void add_int_tokens(pm__writer *out) {
    pm__write_i32s(out, KEY("tokens"), spm_kinds, N_SPM);
}

static void add_no_tokens(pm__writer *out) {
    pm__write_texts(out, KEY("tokens"), spm_pieces, 0);
}

static void add_bos(pm__writer *out) {
    pm__write_u32(out, KEY("bos_token_id"), N_SPM);
}

static void add_eos(pm__writer *out) {
    pm__write_u32(out, KEY("eos_token_id"), UINT32_MAX);
}

static void add_eot(pm__writer *out) {
    pm__write_text(out, KEY("eot_token_id"), "2");
}

static void add_flag(pm__writer *out) {
    pm__write_u32(out, KEY("add_bos_token"), 1);
}

static void add_unknown_model(pm__writer *out) {
    pm__write_text(out, KEY("model"), "plamo2");
}

static void add_number_model(pm__writer *out) {
    pm__write_u32(out, KEY("model"), 3);
}

static void add_merge_of_absent(pm__writer *out) {
    pm__write_texts(out, KEY("merges"), (const char *const[]){"b c", "c c"}, 2);
}

static void add_merge_of_one(pm__writer *out) {
    pm__write_texts(out, KEY("merges"), (const char *const[]){"bc"}, 1);
}

static void add_merge_of_nothing(pm__writer *out) {
    pm__write_texts(out, KEY("merges"), (const char *const[]){"a "}, 1);
}

static void add_merge_to_control(pm__writer *out) {
    pm__write_texts(out, KEY("merges"), (const char *const[]){"<|x |>"}, 1);
}

static void add_int_merges(pm__writer *out) {
    pm__write_i32s(out, KEY("merges"), bpe_kinds, 3);
}

static void add_pre(pm__writer *out) {
    pm__write_text(out, KEY("pre"), "no-such-pre");
}

static const struct {
    bool bpe;
    const char *without; /* a key that is left out or written otherwise */
    void (*add)(pm__writer *out);
    pm_status status;
    const char *named; /* stands in the sentence */
} faults[] = {
    {false, KEY("model"), add_none, PM_BAD_FILE, KEY("model")},
    {false, KEY("model"), add_unknown_model, PM_UNSUPPORTED, "plamo2"},
    {false, KEY("model"), add_number_model, PM_BAD_FILE, KEY("model")},
    {false, KEY("tokens"), add_none, PM_BAD_FILE, KEY("tokens")},
    {false, KEY("tokens"), add_int_tokens, PM_BAD_FILE, KEY("tokens")},
    {false, KEY("tokens"), add_no_tokens, PM_BAD_FILE, KEY("tokens")},
    {false, KEY("token_type"), add_short_kinds, PM_BAD_FILE, KEY("token_type")},
    {false, KEY("token_type"), add_float_kinds, PM_BAD_FILE, KEY("token_type")},
    {false, KEY("token_type"), add_unknown_kind, PM_BAD_FILE, "piece 7"},
    {false, KEY("token_type"), add_byte_kind, PM_BAD_FILE, "piece 7"},
    {false, KEY("scores"), add_none, PM_BAD_FILE, KEY("scores")},
    {false, KEY("scores"), add_long_scores, PM_BAD_FILE, KEY("scores")},
    {false, KEY("scores"), add_int_scores, PM_BAD_FILE, KEY("scores")},
    {false, KEY("scores"), add_nan_scores, PM_BAD_FILE, "piece 3"},
    {false, KEY("scores"), add_text_scores, PM_BAD_FILE, KEY("scores")},
    {false, "", add_bos, PM_BAD_FILE, KEY("bos_token_id")},
    {false, "", add_eos, PM_BAD_FILE, KEY("eos_token_id")},
    {false, "", add_eot, PM_BAD_FILE, KEY("eot_token_id")},
    {false, "", add_flag, PM_BAD_FILE, KEY("add_bos_token")},
    {true, KEY("merges"), add_none, PM_BAD_FILE, KEY("merges")},
    {true, KEY("merges"), add_merge_of_absent, PM_BAD_FILE, "c c"},
    {true, KEY("merges"), add_merge_of_one, PM_BAD_FILE, "bc"},
    {true, KEY("merges"), add_merge_of_nothing, PM_BAD_FILE, KEY("merges")},
    {true, KEY("merges"), add_merge_to_control, PM_BAD_FILE, KEY("merges")},
    {true, KEY("merges"), add_int_merges, PM_BAD_FILE, KEY("merges")},
    {true, "", add_pre, PM_UNSUPPORTED, "no-such-pre"},
};

static void wrong_vocabularies_are_refused_by_name(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(faults); i++) {
        pm__vocabulary vocabulary;
        pm__writer out = {0};
        const bool has_pre = faults[i].add != add_pre;
        if (faults[i].bpe)
            write_bpe(&out, faults[i].without, has_pre ? "gpt-2" : NULL);
        else
            write_spm(&out, faults[i].without);
        faults[i].add(&out);
        const pm_status status = pm__vocabulary_open_written(&vocabulary, &out);
        if (status != faults[i].status || strstr(pm_last_error(), faults[i].named) == NULL)
            fail_msg("fault %zu (%s): status %d: %s", i, faults[i].named, status, pm_last_error());
    }
}

/* No special text is so long; the work at each byte of a text is bounded by it. */
static void a_very_long_special_piece_is_refused(void **state) {
    (void)state;
    char text[600];
    memset(text, 'q', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    pm__vocabulary vocabulary;
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "llama");
    pm__write_texts(&out, KEY("tokens"), (const char *const[]){"a", text}, 2);
    pm__write_i32s(&out, KEY("token_type"), (const int32_t[]){1, 3}, 2);
    pm__write_f32s(&out, KEY("scores"), (const float[]){0, 0}, 2);
    assert_int_equal(pm__vocabulary_open_written(&vocabulary, &out), PM_BAD_FILE);
    assert_non_null(strstr(pm_last_error(), "599 bytes"));
}

static void ids_out_of_range_in_real_files_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"bos-out-of-range", "eos-u32max"};
    for (size_t i = 0; i < PM__COUNT(names); i++) {
        char name[128];
        snprintf(name, sizeof name, "models/malformed/gguf-model-%s.gguf", names[i]);
        const char *path = pm__reference_path(name);
        if (path == NULL)
            skip();
        pm__vocabulary vocabulary;
        assert_int_equal(pm__vocabulary_open(&vocabulary, path), PM_BAD_FILE);
        assert_non_null(strstr(pm_last_error(), "_token_id"));
    }
}

/* ---- long texts ------------------------------------------------------------------------------ */

static char *repeat(const char *pattern, size_t n) {
    const size_t size = strlen(pattern);
    char *text = malloc(n * size);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * size, pattern, size);
    return text;
}

/* Candidates of pairs that one word takes from the heap. Each is found once for each of the two
 * that a join makes, so there are at most three a byte whatever the word is. */
static void check_steps(const pm__vocabulary *vocabulary, const char *pattern, size_t n) {
    char *text = repeat(pattern, n);
    const size_t size = n * strlen(pattern);
    pm__merger merger = {0};
    pm__ids ids = {0};
    const pm__tokenizer *tokenizer = vocabulary->tokenizer;
    assert_int_equal(
        tokenizer->kind->encode(tokenizer, &merger, (pm__span){text, size}, true, &ids), PM_OK);
    assert_true(ids.n > 0);
    assert_true(merger.n_step > 0);
    assert_true(merger.n_step <= 3 * (size + 1));
    pm__merger_finish(&merger);
    pm__ids_finish(&ids);
    free(text);
}

static void a_long_word_takes_linear_steps(void **state) {
    (void)state;
    const char *spm_path = pm__reference_path("models/vocab/ggml-vocab-llama-spm.gguf");
    const char *bpe_path = pm__reference_path("models/vocab/built-llama3-bpe.gguf");
    if (spm_path == NULL || bpe_path == NULL)
        skip();
    pm__vocabulary spm, bpe;
    assert_int_equal(pm__vocabulary_open(&spm, spm_path), PM_OK);
    assert_int_equal(pm__vocabulary_open(&bpe, bpe_path), PM_OK);
    static const char *const patterns[] = {"a", "ab", "the"};
    for (size_t i = 0; i < PM__COUNT(patterns); i++)
        for (size_t n = 1000; n <= 20000; n *= 20) {
            check_steps(&spm, patterns[i], n);
            check_steps(&bpe, patterns[i], n);
        }
    check_steps(&spm, " ", 20000);
    check_steps(&bpe, " ", 20000);
    pm__vocabulary_close(&spm);
    pm__vocabulary_close(&bpe);
}

/* Every byte of the text must be in a piece: for byte-level vocabularies their lengths add up. */
static void hostile_texts_keep_their_bytes(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/vocab/ggml-vocab-gpt-2.gguf");
    if (path == NULL)
        skip();
    pm__vocabulary gpt2;
    assert_int_equal(pm__vocabulary_open(&gpt2, path), PM_OK);
    static const char *const patterns[] = {"\xf0\x9f\xa6\x99",
                                           "\xff",
                                           "\xed\xa0\x80",
                                           "\xf0\x9f",
                                           "\n ",
                                           " \n",
                                           "a\xc3",
                                           "\xe2\x80\x8d\xf0\x9f\x98\xb6",
                                           "'s",
                                           "1"};
    for (size_t i = 0; i < PM__COUNT(patterns); i++) {
        const size_t n = i == 0 ? 1000000 : 20011;
        char *text = repeat(patterns[i], n);
        pm__ids ids = encode(&gpt2, text, n * strlen(patterns[i]), true);
        size_t at = 0;
        for (size_t k = 0; k < ids.n; k++) {
            const pm__span piece = pm__tokenizer_piece(gpt2.tokenizer, ids.data[k], true);
            assert_memory_equal(piece.data, text + at, piece.size);
            at += piece.size;
        }
        assert_int_equal(at, n * strlen(patterns[i]));
        pm__ids_finish(&ids);
        free(text);
    }
    char zeros[257] = {0};
    pm__ids ids = encode(&gpt2, zeros, sizeof zeros, true);
    assert_int_equal(ids.n, sizeof zeros);
    pm__ids_finish(&ids);
    pm__vocabulary_close(&gpt2);
}

/* ---- hostile vocabularies -------------------------------------------------------------------- */

enum { N_HOSTILE = 2000, N_SLOT = 4096, TEXT_SIZE = 8 };

/* The longest run of slots that are taken, which is what a search may have to walk. */
static size_t longest_run(const pm__tokenizer *tokenizer) {
    size_t longest = 0, run = 0;
    for (uint32_t slot = 0; slot <= tokenizer->table_mask; slot++) {
        run = tokenizer->table[slot] != 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    return longest;
}

/* Texts that would all stand in eight slots were the hash not keyed. */
static void colliding_texts_do_not_collide(void **state) {
    (void)state;
    static char texts[N_HOSTILE][TEXT_SIZE];
    static const char *pieces[N_HOSTILE];
    static float scores[N_HOSTILE];
    size_t n = 0;
    for (unsigned i = 0; n < N_HOSTILE; i++) {
        const int size = snprintf(texts[n], TEXT_SIZE, "%x", i);
        if ((pm__hash(PM__HASH_START, texts[n], (size_t)size) & (N_SLOT - 1)) < 8) {
            pieces[n] = texts[n];
            n++;
        }
    }
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "llama");
    pm__write_texts(&out, KEY("tokens"), pieces, N_HOSTILE);
    pm__write_f32s(&out, KEY("scores"), scores, N_HOSTILE);
    pm__vocabulary hostile;
    assert_int_equal(pm__vocabulary_open_written(&hostile, &out), PM_OK);
    assert_int_equal(hostile.tokenizer->table_mask, N_SLOT - 1);
    for (size_t i = 0; i < N_HOSTILE; i++)
        assert_int_equal(pm__vocabulary_find(hostile.tokenizer, texts[i], strlen(texts[i])), i);
    /* Runs of a table half full are a few dozen slots; collisions would make one of all. */
    assert_true(longest_run(hostile.tokenizer) < N_HOSTILE / 4);
    pm__vocabulary_close(&hostile);
}

enum { N_DEPTH = 6, N_SPECIAL = N_DEPTH * 200 };

static int32_t find_slowly(const char *const *pieces, const char *text, size_t n) {
    int32_t best = -1;
    size_t longest = 0;
    for (size_t i = 0; i < N_SPECIAL; i++) {
        const size_t size = strlen(pieces[i]);
        if (size <= n && size >= longest && memcmp(pieces[i], text, size) == 0) {
            longest = size;
            best = (int32_t)i;
        }
    }
    return best;
}

/* Special texts with as many others beside them at every byte as there are bytes; some stand twice.
 */
static void special_texts_with_many_neighbours_are_found(void **state) {
    (void)state;
    static char texts[N_SPECIAL][N_DEPTH + 2];
    static const char *pieces[N_SPECIAL];
    static int32_t kinds[N_SPECIAL];
    static float scores[N_SPECIAL];
    for (size_t i = 0; i < N_SPECIAL; i++) {
        const size_t depth = i % N_DEPTH;
        memset(texts[i], 'a', depth);
        texts[i][depth] = (char)(1 + i / N_DEPTH * 7 % 180);
        pieces[i] = texts[i];
        kinds[i] = PM__PIECE_USER;
    }
    pm__writer out = {0};
    pm__write_text(&out, KEY("model"), "llama");
    pm__write_texts(&out, KEY("tokens"), pieces, N_SPECIAL);
    pm__write_i32s(&out, KEY("token_type"), kinds, N_SPECIAL);
    pm__write_f32s(&out, KEY("scores"), scores, N_SPECIAL);
    pm__vocabulary hostile;
    assert_int_equal(pm__vocabulary_open_written(&hostile, &out), PM_OK);
    assert_true(hostile.tokenizer->specials.n < N_SPECIAL);
    for (unsigned byte = 1; byte < 256; byte++) {
        const char text[] = {'a', 'a', 'a', (char)byte, 'a', 'a', 'a', 'a', 'a', (char)byte};
        for (size_t from = 0; from < sizeof text; from++) {
            const pm__special *found;
            pm__ranges data = {NULL, 0};
            const pm__span rest = {text + from, sizeof text - from};
            const size_t at = pm__specials_find(hostile.tokenizer, rest, 0, &data, &found);
            const int32_t want = find_slowly(pieces, rest.data, rest.size);
            assert_true(want >= 0 ? at == 0 && found->id == want : at > 0);
        }
    }
    pm__vocabulary_close(&hostile);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_give_the_reference_ids),
        cmocka_unit_test(prompts_of_real_models_give_their_ids),
        cmocka_unit_test(defaults_stand_for_what_a_file_leaves_out),
        cmocka_unit_test(control_text_is_text_unless_asked_for),
        cmocka_unit_test(no_text_of_a_user_becomes_a_control_piece),
        cmocka_unit_test(spm_joins_the_best_pair_first),
        cmocka_unit_test(spm_puts_a_blank_before_words),
        cmocka_unit_test(user_pieces_are_always_found_and_the_longest_wins),
        cmocka_unit_test(bpe_joins_by_rank),
        cmocka_unit_test(bpe_without_pre_warns_and_uses_the_default),
        cmocka_unit_test(wrong_vocabularies_are_refused_by_name),
        cmocka_unit_test(a_very_long_special_piece_is_refused),
        cmocka_unit_test(ids_out_of_range_in_real_files_are_refused),
        cmocka_unit_test(a_long_word_takes_linear_steps),
        cmocka_unit_test(hostile_texts_keep_their_bytes),
        cmocka_unit_test(colliding_texts_do_not_collide),
        cmocka_unit_test(special_texts_with_many_neighbours_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
