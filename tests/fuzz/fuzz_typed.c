/* fuzz_typed.c: what is typed or piped in. First byte 0: the rest is words of a command line, each
 * closed by a zero; else: lines that a chat reads from a pipe, repeated as often as the second byte
 * says. */
#include "input.h"

#include "tools/args.h"
#include "tools/line_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_WORDS = 64, MOST_TIMES = 32 };

/* ---- a command line -------------------------------------------------------------------------- */

/* Every option, for a command that takes them all. */
static const unsigned char every[] = {
#define PM_OPTION(id, letter, name, type, field, least, most, ask, value, help) PM__OPT_##id,
#include "tools/options.def"
#undef PM_OPTION
};
static const pm__spec spec = {every, sizeof every, NULL, NULL};
static const pm__command command = {"try", "tries things", &spec, "IN"};

/* The number of a field, as its type in options.def says. */
static double number_at(const char *type, const void *field) {
    float f32;
    uint32_t u32;
    uint64_t u64;
    if (strcmp(type, "F32") == 0) {
        memcpy(&f32, field, sizeof f32);
        return (double)f32;
    }
    if (strncmp(type, "U32", 3) == 0) {
        memcpy(&u32, field, sizeof u32);
        return u32;
    }
    PM__HOLDS(strcmp(type, "U64") == 0 || strcmp(type, "SIZE") == 0);
    memcpy(&u64, field, sizeof u64);
    return (double)u64;
}

static bool is_word(const char *text, char *const *words, int n) {
    for (int i = 0; i < n; i++)
        if (text >= words[i] && text <= words[i] + strlen(words[i]))
            return true;
    return false;
}

/* Numbers are in their range as the options state it, texts are parts of words. */
static void check_options(const pm__options *o, char *const *words, int n) {
    static const struct {
        size_t offset;
        const char *type;
        double least, most;
    } options[] = {
#define PM_OPTION(id, letter, name, type, field, least, most, ask, value, help)                    \
    {offsetof(pm__options, field), #type, least, most},
#include "tools/options.def"
#undef PM_OPTION
    };
    for (size_t i = 0; i < PM__COUNT(options); i++) {
        const char *type = options[i].type;
        const void *field = (const char *)o + options[i].offset;
        if (!o->given[i] || strcmp(type, "FLAG") == 0 || strcmp(type, "LIST") == 0)
            continue;
        if (strcmp(type, "TEXT") == 0) {
            const char *text;
            memcpy(&text, field, sizeof text);
            PM__HOLDS(is_word(text, words, n));
            continue;
        }
        const double value = number_at(type, field);
        const bool is_auto = strcmp(type, "U32_AUTO") == 0 && value == UINT32_MAX;
        PM__HOLDS(is_auto ||
                  (value >= (double)(float)options[i].least && value <= options[i].most));
    }
    PM__HOLDS(o->stop.n <= PM__MOST_TEXTS);
    for (size_t i = 0; i < o->stop.n; i++)
        PM__HOLDS(o->stop.items[i][0] != '\0' && is_word(o->stop.items[i], words, n));
    PM__HOLDS(o->tensor_types.n <= PM__MOST_TEXTS);
}

static void check_words(pm__input *in) {
    char *words[MOST_WORDS + 1] = {NULL};
    int n = 0;
    while (in->left > 0 && n < MOST_WORDS) {
        const void *zero = memchr(in->at, '\0', in->left);
        const size_t size = zero != NULL ? (size_t)((const uint8_t *)zero - in->at) : in->left;
        words[n] = calloc(1, size + 1);
        PM__HOLDS(words[n] != NULL);
        memcpy(words[n++], in->at, size);
        (void)pm__input_bytes(in, size + 1);
    }
    pm__options options = {.sampling = pm_sampling_default()};
    char message[PM__ARGS_MESSAGE];
    if (pm__args_parse(&command, n, words, &options, message))
        check_options(&options, words, n);
    else
        PM__HOLDS(strlen(message) > 10 && strncmp(message, "try: ", 5) == 0);
    for (int i = 0; i < n; i++)
        free(words[i]);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Standard input is a file of the target's from now on. */
static FILE *given(void) {
    static FILE *file;
    if (file == NULL) {
        file = tmpfile();
        PM__HOLDS(file != NULL && dup2(fileno(file), STDIN_FILENO) == STDIN_FILENO);
    }
    PM__HOLDS(ftruncate(STDIN_FILENO, 0) == 0 && lseek(STDIN_FILENO, 0, SEEK_SET) == 0);
    return file;
}

/* The lines are those of the text; ends of lines, and returns before them, are left out. */
static void compare_lines(pm__line_reader *reader, const char *text, size_t n) {
    const char *line;
    size_t n_line;
    for (size_t at = 0; at < n;) {
        const char *newline = memchr(text + at, '\n', n - at);
        const size_t end = newline != NULL ? (size_t)(newline - text) : n;
        size_t wanted = end - at;
        while (wanted > 0 && text[at + wanted - 1] == '\r')
            wanted--;
        PM__HOLDS(pm__line_reader_next(reader, &line, &n_line) == PM__LINE_TEXT);
        PM__HOLDS(n_line == wanted && memcmp(line, text + at, wanted) == 0);
        at = end + 1;
    }
    PM__HOLDS(pm__line_reader_next(reader, &line, &n_line) == PM__LINE_END);
}

static void check_lines(pm__input *in) {
    const size_t n_time = 1 + pm__input_u8(in) % MOST_TIMES, n = in->left;
    char *text = malloc(n_time * n + 1);
    FILE *file = given();
    PM__HOLDS(text != NULL);
    for (size_t i = 0; i < n_time && n > 0; i++)
        memcpy(text + i * n, in->at, n);
    PM__HOLDS(fwrite(text, 1, n_time * n, file) == n_time * n && fflush(file) == 0);
    PM__HOLDS(lseek(STDIN_FILENO, 0, SEEK_SET) == 0);
    pm__line_reader *reader = NULL;
    PM__HOLDS(pm__line_reader_create(&reader) == 0);
    compare_lines(reader, text, n_time * n);
    pm__line_reader_destroy(reader);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input in = {data, size};
    if (pm__input_u8(&in) == 0)
        check_words(&in);
    else
        check_lines(&in);
    return 0;
}
