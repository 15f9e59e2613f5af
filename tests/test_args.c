/* ctest: quick */
/* How command lines become options, and what is said of those that cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pumice.h"
#include "tools/args.h"

extern const pm__spec pm__spec_synth, pm__spec_quantize;

static const unsigned char taken[] = {
    PM__OPT_MODEL, PM__OPT_PROMPT,       PM__OPT_FILE,         PM__OPT_PREDICT, PM__OPT_CTX,
    PM__OPT_SEED,  PM__OPT_CACHE_TYPE_K, PM__OPT_CACHE_TYPE_V, PM__OPT_TEMP,    PM__OPT_TOP_P,
    PM__OPT_STOP,  PM__OPT_JSON,         PM__OPT_VERBOSE,      PM__OPT_MAX_VRAM};
static const pm__spec spec = {taken, sizeof taken, NULL, "A closing note."};
static const pm__command command = {"try", "tries things", &spec, ""};
static const pm__command with_two = {"try", "tries things", &spec, "IN OUT"};

#define MOST_WORD 160

/* Parses words separated by '|'. */
static bool parse_for(const pm__command *to, const char *words, pm__options *out,
                      char message[PM__ARGS_MESSAGE]) {
    static char copy[1024];
    char *argv[MOST_WORD];
    int argc = 0;
    assert_true(strlen(words) < sizeof copy);
    strcpy(copy, words);
    for (char *word = copy; word && *words;) {
        char *bar = strchr(word, '|');
        if (bar) {
            *bar = '\0';
        }
        assert_true(argc < MOST_WORD);
        argv[argc++] = word;
        word = bar ? bar + 1 : NULL;
    }
    *out = (pm__options){.n_predict = 77};
    return pm__args_parse(to, argc, argv, out, message);
}

static bool parse(const char *words, pm__options *out, char message[PM__ARGS_MESSAGE]) {
    return parse_for(&command, words, out, message);
}

static void test_forms(void **state) {
    (void)state;
    static const char *const same[] = {"-n|12|-v|--temp|0.25", "-n12|--verbose|--temp=0.25",
                                       "--predict=12|-v|--temp=.25", "-vn|12|--temp|25e-2",
                                       "-vn12|--temp=0.25|--"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        pm__options o;
        char message[PM__ARGS_MESSAGE];
        assert_true(parse(same[i], &o, message));
        assert_int_equal(o.n_predict, 12);
        assert_true(o.verbose);
        assert_float_equal(o.sampling.temperature, 0.25, 0);
        assert_true(o.given[PM__OPT_PREDICT] && o.given[PM__OPT_TEMP]);
        assert_false(o.given[PM__OPT_SEED]);
        assert_false(o.json);
    }
}

/* Names of several letters behind one dash, beside -c that takes the rest of its word. */
static void test_short_words(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("-ctk|q8_0|-c|12|--cache-type-v=f32", &o, message));
    assert_string_equal(o.cache_type_k, "q8_0");
    assert_string_equal(o.cache_type_v, "f32");
    assert_int_equal(o.n_ctx, 12);
    assert_true(parse("-c12", &o, message));
    assert_false(parse("-ctv", &o, message));
    assert_string_equal(message, "try: option -ctv needs a value");
    assert_false(parse("-ctx|f16", &o, message));
}

/* Words without a dash, anywhere among the options; all are needed. */
static void test_arguments(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse_for(&with_two, "a|-n|3|b", &o, message));
    assert_string_equal(o.arguments[0], "a");
    assert_string_equal(o.arguments[1], "b");
    assert_int_equal(o.n_predict, 3);
    assert_true(parse_for(&with_two, "-v|--|-a|--", &o, message));
    assert_string_equal(o.arguments[0], "-a");
    assert_string_equal(o.arguments[1], "--");
    assert_false(parse_for(&with_two, "a|-v", &o, message));
    assert_string_equal(message, "try: needs IN OUT; see pumice help try");
    assert_false(parse_for(&with_two, "a|b|c", &o, message));
    assert_string_equal(message, "try: unexpected argument 'c'; see pumice help try");
    assert_true(parse_for(&with_two, "--help", &o, message));
}

static void test_defaults_and_repeats(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("", &o, message));
    assert_int_equal(o.n_predict, 77);
    assert_true(parse("-n|3|-n|4|-r|one|--stop=two", &o, message));
    assert_int_equal(o.n_predict, 4);
    assert_int_equal(o.stop.n, 2);
    assert_string_equal(o.stop.items[0], "one");
    assert_string_equal(o.stop.items[1], "two");
}

static void test_texts_may_look_like_options(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("-p|--json|-m|-v", &o, message));
    assert_string_equal(o.prompt, "--json");
    assert_string_equal(o.model, "-v");
    assert_false(o.json || o.verbose);
    assert_true(parse("--prompt=", &o, message));
    assert_string_equal(o.prompt, "");
}

static void test_widest_seed(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("-s|9007199254740991", &o, message));
    assert_true(o.sampling.seed == 9007199254740991u);
    assert_false(parse("-s|9007199254740992", &o, message));
    assert_false(parse("-s|99999999999999999999999", &o, message));
}

/* As other programs have it: -1 tokens, -1 as seed, a context of 0. */
static void test_words_for_the_default(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("-n|-1|-c0|--seed=-1", &o, message));
    assert_int_equal(o.n_predict, 0);
    assert_int_equal(o.n_ctx, 0);
    assert_true(o.sampling.seed == 0);
    assert_true(parse("-n|5|-c|64|-s|4294967297|-n-1|-c|0|-s|-1", &o, message)); /* the last */
    assert_int_equal(o.n_predict, 0);
    assert_int_equal(o.n_ctx, 0);
    assert_true(o.sampling.seed == 0);
    assert_false(o.given[PM__OPT_PREDICT] || o.given[PM__OPT_CTX] || o.given[PM__OPT_SEED]);
    assert_true(parse("-n|-1|-n|3|-s|-1|-s|0", &o, message));
    assert_int_equal(o.n_predict, 3);
    assert_true(o.given[PM__OPT_PREDICT] && o.given[PM__OPT_SEED]);
}

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *words;
        uint64_t bytes;
    } cases[] = {
        {"--max-vram|64", 64ull << 20},      {"--max-vram=64M", 64ull << 20},
        {"--max-vram=64MiB", 64ull << 20},   {"--max-vram=1.5g", 3ull << 29},
        {"--max-vram|12345B", 12345},        {"--max-vram=0.5K", 512},
        {"--max-vram=6GiB", 6ull << 30},     {"--max-vram=2k|--max-vram=3kib", 3072},
        {"--max-vram=1048576G", 1ull << 50},
    };
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(parse(cases[i].words, &o, message));
        assert_true(o.max_vram == cases[i].bytes);
        assert_true(o.given[PM__OPT_MAX_VRAM]);
    }
}

static void test_auto(void **state) {
    (void)state;
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    assert_true(parse("-c|auto", &o, message));
    assert_true(o.n_ctx == PM_CTX_AUTO && o.given[PM__OPT_CTX]);
    assert_true(parse("-c|auto|-c|64", &o, message));
    assert_int_equal(o.n_ctx, 64);
    assert_true(parse("-c|64|--ctx-size=auto", &o, message));
    assert_true(o.n_ctx == PM_CTX_AUTO);
    assert_false(parse("-n|auto", &o, message));
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *words, *says;
    } cases[] = {
        {"--predikt|3", "unknown option --predikt"},
        {"-z", "unknown option -z"},
        {"-vz", "unknown option -z"},
        {"--tensors", "option --tensors is not for this command"},
        {"-b|3", "option -b is not for this command"},
        {"-n", "option -n needs a value"},
        {"--temp", "option --temp needs a value"},
        {"--json=yes", "option --json takes no value"},
        {"-n|0", "-n: 0 is not between 1 and 1073741824, nor -1"},
        {"-c|1", "-c: 1 is not between 2 and 1048576, nor 0, nor auto"},
        {"-c|automatic", "-c: 'automatic' is not a whole number"},
        {"--max-vram|8GB", "--max-vram: '8GB' is not a size such as 512M"},
        {"--max-vram|M", "--max-vram: 'M' is not a size"},
        {"--max-vram|-1", "--max-vram: '-1' is not a size"},
        {"--max-vram|12Bi", "--max-vram: '12Bi' is not a size"},
        {"--max-vram|12BiB", "--max-vram: '12BiB' is not a size"},
        {"--max-vram|0", "--max-vram: 0 is not between 1 bytes and 1024 TiB"},
        {"--max-vram|1e300", "--max-vram: 1e300 is not between"},
        {"--max-vram|inf", "--max-vram: 'inf' is not a size"},
        {"-c|-1", "-c: '-1' is not a whole number"},
        {"-s|-2", "-s: '-2' is not a whole number"},
        {"--temp|-1", "--temp: -1 is not between 0 and 100"},
        {"-n|12x", "-n: '12x' is not a whole number"},
        {"-n|-3", "-n: '-3' is not a whole number"},
        {"-n| 3", "-n: ' 3' is not a whole number"},
        {"-n|4294967296", "-n: 4294967296 is not between"},
        {"-n|", "-n: '' is not a whole number"},
        {"--temp|warm", "--temp: 'warm' is not a number"},
        {"--temp|nan", "--temp: 'nan' is not a number"},
        {"--temp|-0.5", "--temp: -0.5 is not between 0 and 100"},
        {"--top-p=1.01", "--top-p: 1.01 is not between 0 and 1"},
        {"--top-p=", "--top-p: '' is not a number"},
        {"-r|", "-r: the text is empty"},
        {"more", "unexpected argument 'more'"},
        {"-v|-", "unexpected argument '-'"},
        {"--|-v", "unexpected argument '-v'"},
        {"-p|a|-f|b", "-p and -f are two texts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pm__options o;
        char message[PM__ARGS_MESSAGE];
        if (parse(cases[i].words, &o, message)) {
            fail_msg("accepted: %s", cases[i].words);
        }
        if (!strstr(message, cases[i].says) || strncmp(message, "try: ", 5) != 0 ||
            strchr(message, '\n')) {
            fail_msg("%s: '%s' does not say '%s'", cases[i].words, message, cases[i].says);
        }
    }
}

static void test_too_many_stops(void **state) {
    (void)state;
    char words[16 * (PM__MOST_TEXTS + 1)] = "-r|x";
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    for (int i = 1; i < PM__MOST_TEXTS; i++) {
        strcat(words, "|-r|x");
    }
    assert_true(parse(words, &o, message));
    assert_int_equal(o.stop.n, PM__MOST_TEXTS);
    strcat(words, "|-r|x");
    assert_false(parse(words, &o, message));
}

static void test_long_words_fit_the_message(void **state) {
    (void)state;
    static char word[900];
    pm__options o;
    char message[PM__ARGS_MESSAGE];
    memset(word, 'a', sizeof word - 1);
    assert_false(parse(word, &o, message));
    assert_true(strlen(message) < PM__ARGS_MESSAGE);
    word[0] = word[1] = '-';
    assert_false(parse(word, &o, message));
}

static void test_help_lists_what_is_taken(void **state) {
    (void)state;
    char text[16384] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    pm__args_help(&command, file);
    fputs("\nwords: ", file);
    pm__args_words(&command, file);
    rewind(file);
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(n > 0 && n < sizeof text - 1);
    assert_non_null(strstr(text, "usage: pumice try"));
    assert_non_null(strstr(text, "tries things"));
    assert_non_null(strstr(text, "-n, --predict N"));
    assert_non_null(strstr(text, "--temp T"));
    assert_non_null(strstr(text, "-h, --help"));
    assert_non_null(strstr(text, "A closing note."));
    assert_null(strstr(text, "--tensors"));
    assert_non_null(strstr(strstr(text, "words: "), "--predict -n"));
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        assert_true(end - line <= 100);
    }
}

/* As a word of its own. */
static void expect_named(const pm__spec *by, const char *name) {
    static const char ends[] = " ,;.";
    const size_t n = strlen(name);
    for (const char *at = by->notes; (at = strstr(at, name)) != NULL; at += n)
        if ((at == by->notes || at[-1] == ' ') && (at[n] == '\0' || strchr(ends, at[n])))
            return;
    fail_msg("help does not say %s", name);
}

/* What the library lists is what help says. */
static void test_help_names_shapes_and_types(void **state) {
    (void)state;
    const char *name = NULL, *what = NULL;
    size_t n_shape = 0, n_type = 0;
    for (; pm_synth_shape(n_shape, &name, &what); n_shape++)
        expect_named(&pm__spec_synth, name);
    for (; pm_quantize_type(n_type, &name, &what); n_type++)
        expect_named(&pm__spec_quantize, name);
    assert_true(n_shape > 10 && n_type > 10);
    assert_false(pm_synth_shape(n_shape + 1, &name, &what));
    assert_false(pm_quantize_type(n_type + 1, &name, &what));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_short_words),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_defaults_and_repeats),
        cmocka_unit_test(test_texts_may_look_like_options),
        cmocka_unit_test(test_widest_seed),
        cmocka_unit_test(test_words_for_the_default),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_auto),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_many_stops),
        cmocka_unit_test(test_long_words_fit_the_message),
        cmocka_unit_test(test_help_lists_what_is_taken),
        cmocka_unit_test(test_help_names_shapes_and_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
