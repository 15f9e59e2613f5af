#include "bench_list.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is read, and what is said of it. */
typedef struct reader {
    pm__numbers *out;
    const char *option, *text;
    uint32_t least, most;
} reader;

static int fail_form(const reader *r) {
    return pm__cli_error(PM__EXIT_ARGUMENT,
                         "bench: %s: '%.60s' is no list of numbers such as 512, 128,256, 1-8, "
                         "0-4096+512 or 1-64*2",
                         r->option, r->text);
}

/* False where there is no number; one that is too large becomes UINT64_MAX. */
static bool take_number(const char **at, uint64_t *out) {
    if (!isdigit((unsigned char)**at))
        return false;
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(*at, &end, 10);
    *out = errno == ERANGE ? UINT64_MAX : value;
    *at = end;
    return true;
}

static int add(const reader *r, uint64_t value) {
    if (value < r->least || value > r->most)
        return pm__cli_error(PM__EXIT_ARGUMENT,
                             "bench: %s: %" PRIu64 " is not between %" PRIu32 " and %" PRIu32,
                             r->option, value, r->least, r->most);
    for (size_t i = 0; i < r->out->n; i++)
        if (r->out->items[i] == value)
            return 0;
    if (r->out->n == PM__MOST_NUMBERS)
        return pm__cli_error(PM__EXIT_ARGUMENT, "bench: %s: '%.60s' has more than %d numbers",
                             r->option, r->text, PM__MOST_NUMBERS);
    r->out->items[r->out->n++] = (uint32_t)value;
    return 0;
}

/* first, first-last, first-last+step, first-last*factor */
static int take_range(const reader *r, const char **at) {
    uint64_t first = 0, last = 0, by = 1;
    char sign = '+';
    if (!take_number(at, &first))
        return fail_form(r);
    if (**at != '-')
        return add(r, first);
    ++*at;
    if (!take_number(at, &last) || last < first)
        return fail_form(r);
    if (**at == '+' || **at == '*') {
        sign = *(*at)++;
        if (!take_number(at, &by))
            return fail_form(r);
    }
    if (by == 0 || by > UINT32_MAX || (sign == '*' && (by < 2 || first == 0)))
        return fail_form(r);
    for (uint64_t value = first; value <= last; value = sign == '*' ? value * by : value + by)
        PM__CHECK(add(r, value));
    return 0;
}

static int take_list(const reader *r) {
    const char *at = r->text;
    PM__CHECK(take_range(r, &at));
    while (*at == ',') {
        at++;
        PM__CHECK(take_range(r, &at));
    }
    return *at == '\0' ? 0 : fail_form(r);
}

int pm__numbers_read(pm__numbers *out, const pm__texts *texts, const char *option, uint32_t least,
                     uint32_t most) {
    reader r = {.out = out, .option = option, .least = least, .most = most};
    out->n = 0;
    for (size_t i = 0; i < texts->n; i++) {
        r.text = texts->items[i];
        PM__CHECK(take_list(&r));
    }
    return 0;
}

int pm__numbers_read_or(pm__numbers *out, const pm__texts *texts, const char *option,
                        const uint32_t limits[2], uint32_t otherwise) {
    PM__CHECK(pm__numbers_read(out, texts, option, limits[0], limits[1]));
    if (out->n == 0)
        out->items[out->n++] = otherwise;
    return 0;
}

static int take_words(pm__words *out, const char *text, const char *option) {
    for (;;) {
        const size_t n = strcspn(text, ",");
        if (n == 0 || n >= PM__MOST_WORD || out->n == PM__MOST_WORDS)
            return pm__cli_error(PM__EXIT_ARGUMENT,
                                 "bench: %s: '%.60s' is no list such as f16,q8_0", option, text);
        memcpy(out->items[out->n], text, n);
        out->items[out->n++][n] = '\0';
        if (text[n] == '\0')
            return 0;
        text += n + 1;
    }
}

int pm__words_read(pm__words *out, const pm__texts *texts, const char *option,
                   const char *otherwise) {
    *out = (pm__words){.n = 0};
    for (size_t i = 0; i < texts->n; i++)
        PM__CHECK(take_words(out, texts->items[i], option));
    if (out->n == 0)
        snprintf(out->items[out->n++], PM__MOST_WORD, "%s", otherwise);
    return 0;
}
