#include "pretokenize.h"

#include "../base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* The script and no more: since 10.40 \p{Han} also takes what other scripts share with it. */
#if PCRE2_MAJOR == 10 && PCRE2_MINOR < 40
#define HAN "\\p{Han}"
#else
#define HAN "\\p{sc:Han}"
#endif

enum { BOS = PM__PRE_BOS, WHOLE = PM__PRE_WHOLE, RAW = PM__PRE_RAW, LINES = PM__PRE_LINES };

enum {
    MOST_EXPRESSIONS = 6,
    HEAP_LIMIT_KIB = 64 * 1024,
    /* Backtracking steps granted per byte of the text: the expressions need about two. */
    STEPS_PER_BYTE = 64,
    STEPS_AT_LEAST = 10000
};

typedef struct row {
    const char *name;
    unsigned flags;
    const char *expressions[MOST_EXPRESSIONS]; /* NULL after the last */
} row;

static const row rows[] = {
#define PM_PRETOKENIZER(NAME, FLAGS, ...) {NAME, FLAGS, {__VA_ARGS__}},
#include "pretokenizers.def"
#undef PM_PRETOKENIZER
};

struct pm__pretokenizer {
    const row *row;
    size_t n_expression;
    pcre2_code *expressions[MOST_EXPRESSIONS];
};

/* One call of split: several may run at once on one pre-tokenizer. */
typedef struct splitting {
    const pm__pretokenizer *pretokenizer;
    pcre2_match_context *limits;
    pcre2_match_data *matches[MOST_EXPRESSIONS];
    pm__word_fn word;
    void *user;
} splitting;

void pm__pretokenizer_destroy(pm__pretokenizer *pretokenizer) {
    if (pretokenizer == NULL)
        return;
    for (size_t i = 0; i < MOST_EXPRESSIONS; i++)
        pcre2_code_free(pretokenizer->expressions[i]);
    free(pretokenizer);
}

static const row *find_row(const char *name, size_t n) {
    for (size_t i = 0; i < PM__COUNT(rows); i++)
        if (strlen(rows[i].name) == n && memcmp(rows[i].name, name, n) == 0)
            return &rows[i];
    return NULL;
}

/* The expression with White_Space for \s: PCRE2 counts U+180E among blanks, which Unicode took from
 * them and no tokenizer does. Freed by the caller. */
static char *translate(const char *expression) {
    static const char blanks[] = "\\t-\\r\\x{85}\\p{Z}";
    char *out = malloc(strlen(expression) * (sizeof blanks + 2) + 1);
    size_t n = 0;
    bool in_class = false;
    for (const char *at = expression; out != NULL && *at != '\0'; at++) {
        const bool is_blank = at[0] == '\\' && (at[1] == 's' || at[1] == 'S');
        if (is_blank) {
            n += (size_t)sprintf(out + n, in_class ? "%s%s" : "[%s%s]", at[1] == 'S' ? "^" : "",
                                 blanks);
            at++;
        } else if (at[0] == '\\') {
            out[n++] = *at++;
            out[n++] = *at;
        } else {
            in_class = in_class ? *at != ']' : *at == '[';
            out[n++] = *at;
        }
    }
    if (out != NULL)
        out[n] = '\0';
    return out;
}

static pm_status compile(const char *expression, pcre2_code **out) {
    int error = 0;
    PCRE2_SIZE at = 0;
    char *text = translate(expression);
    if (text == NULL)
        return pm__fail_memory("tokenizer", strlen(expression));
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                                     &error, &at, NULL);
    free(text);
    if (code == NULL && error == PCRE2_ERROR_HEAP_FAILED)
        return pm__fail_memory("tokenizer: PCRE2", strlen(expression));
    if (code == NULL) {
        char why[128] = "";
        pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
        return pm__fail(PM_FAILURE, "tokenizer: PCRE2 refuses '%s' at %zu: %s", expression, at,
                        why);
    }
    /* Only speed depends on it: where a system forbids new machine code PCRE2 interprets. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    *out = code;
    return PM_OK;
}

pm_status pm__pretokenizer_create(const char *name, size_t n, pm__pretokenizer **out) {
    const row *found = find_row(name, n);
    if (found == NULL)
        return pm__fail(PM_UNSUPPORTED,
                        "tokenizer: the pre-tokenizer '%.*s' ('tokenizer.ggml.pre') is not known; "
                        "it would need a row in pretokenizers.def",
                        (int)(n < 64 ? n : 64), name);
    pm__pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (pretokenizer == NULL)
        return pm__fail_memory("tokenizer", sizeof *pretokenizer);
    pretokenizer->row = found;
    while (pretokenizer->n_expression < MOST_EXPRESSIONS &&
           found->expressions[pretokenizer->n_expression] != NULL) {
        const size_t i = pretokenizer->n_expression++;
        const pm_status status = compile(found->expressions[i], &pretokenizer->expressions[i]);
        if (status != PM_OK) {
            pm__pretokenizer_destroy(pretokenizer);
            return status;
        }
    }
    *out = pretokenizer;
    return PM_OK;
}

/* One character of an expression: files write some themselves that stand as escapes here. */
static uint32_t read_character(const char **at) {
    enum { ESCAPED = 1u << 24 };
    static const char names[] = "trn", controls[] = "\t\r\n";
    const char *text = *at;
    uint32_t code;
    const size_t bytes = pm__utf8_decode(text, strlen(text), &code);
    *at += bytes;
    if (bytes == 0 || code != '\\' || text[1] == '\0')
        return bytes == 0 ? 0 : code;
    ++*at;
    const char *name = strchr(names, text[1]);
    if (name != NULL)
        return (uint32_t)controls[name - names];
    if (text[1] != 'x' || text[2] != '{')
        return ESCAPED | (uint8_t)text[1];
    char *end;
    code = (uint32_t)strtoul(text + 3, &end, 16);
    *at = *end == '}' ? end + 1 : end;
    return code;
}

static bool is_same(const char *a, const char *b) {
    uint32_t code;
    do {
        code = read_character(&a);
        if (code != read_character(&b))
            return false;
    } while (code != 0);
    return true;
}

static bool has_expressions(const row *named, const char *const *expressions, size_t n) {
    for (size_t i = 0; i < MOST_EXPRESSIONS; i++) {
        const char *held = named->expressions[i];
        if (i >= n || held == NULL)
            return i >= n && held == NULL;
        if (!is_same(held, expressions[i]))
            return false;
    }
    return n == MOST_EXPRESSIONS;
}

const char *pm__pretokenizer_find(const char *const *expressions, size_t n, bool takes_whole) {
    const char *found = NULL;
    for (size_t i = 0; i < PM__COUNT(rows); i++) {
        if ((rows[i].flags & RAW) != 0 || !has_expressions(&rows[i], expressions, n))
            continue;
        if (((rows[i].flags & WHOLE) != 0) == takes_whole)
            return rows[i].name;
        found = found != NULL ? found : rows[i].name;
    }
    return found;
}

const char *pm__pretokenizer_name(const pm__pretokenizer *pretokenizer) {
    return pretokenizer->row->name;
}

unsigned pm__pretokenizer_flags(const pm__pretokenizer *pretokenizer) {
    return pretokenizer->row->flags;
}

static pm_status fail_match(const splitting *split, int error, size_t at, size_t n) {
    if (error == PCRE2_ERROR_NOMEMORY)
        return pm__fail_memory("tokenizer: PCRE2", n);
    char why[128] = "";
    pcre2_get_error_message(error, (PCRE2_UCHAR *)why, sizeof why);
    return pm__fail(PM_ARGUMENT,
                    "tokenizer: the pre-tokenizer '%s' gave up at byte %zu of a run of %zu (%s); "
                    "shorten the text",
                    split->pretokenizer->row->name, at, n, why);
}

/* Divides well-formed text by the expressions from `level` on. */
static pm_status divide(const splitting *split, size_t level, const char *text, size_t n) {
    if (n == 0)
        return PM_OK;
    if (level == split->pretokenizer->n_expression)
        return split->word(split->user, text, n);
    pcre2_match_data *match = split->matches[level];
    size_t done = 0;
    while (done < n) {
        const int found = pcre2_match(split->pretokenizer->expressions[level], (PCRE2_SPTR)text, n,
                                      done, PCRE2_NO_UTF_CHECK, match, split->limits);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0)
            return fail_match(split, found, done, n);
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match);
        const size_t start = range[0], end = range[1];
        assert(start >= done && end > start); /* no expression matches nothing */
        PM_TRY(divide(split, level + 1, text + done, start - done));
        PM_TRY(divide(split, level + 1, text + start, end - start));
        done = end;
    }
    return divide(split, level + 1, text + done, n - done);
}

static pm_status prepare(splitting *split, size_t n) {
    split->limits = pcre2_match_context_create(NULL);
    if (split->limits == NULL)
        return pm__fail_memory("tokenizer", 0);
    const uint64_t steps = (uint64_t)n * STEPS_PER_BYTE + STEPS_AT_LEAST;
    pcre2_set_match_limit(split->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(split->limits, HEAP_LIMIT_KIB);
    for (size_t i = 0; i < split->pretokenizer->n_expression; i++) {
        split->matches[i] = pcre2_match_data_create(1, NULL);
        if (split->matches[i] == NULL)
            return pm__fail_memory("tokenizer", 0);
    }
    return PM_OK;
}

/* Well-formed runs go through the expressions, what is broken is a word of its own: PCRE2 is never
 * shown broken text, nor asked to look for it again at every match. */
static pm_status divide_runs(const splitting *split, const char *text, size_t n) {
    size_t done = 0;
    while (done < n) {
        const size_t run = pm__utf8_check(text + done, n - done);
        PM_TRY(divide(split, 0, text + done, run));
        done += run;
        uint32_t code;
        const size_t broken = pm__utf8_decode(text + done, n - done, &code);
        if (broken > 0)
            PM_TRY(split->word(split->user, text + done, broken));
        done += broken;
    }
    return PM_OK;
}

pm_status pm__pretokenizer_split(const pm__pretokenizer *pretokenizer, const char *text, size_t n,
                                 pm__word_fn word, void *user) {
    splitting split = {.pretokenizer = pretokenizer, .word = word, .user = user};
    pm_status status = prepare(&split, n);
    if (status == PM_OK)
        status = divide_runs(&split, text, n);
    for (size_t i = 0; i < MOST_EXPRESSIONS; i++)
        pcre2_match_data_free(split.matches[i]);
    pcre2_match_context_free(split.limits);
    return status;
}
