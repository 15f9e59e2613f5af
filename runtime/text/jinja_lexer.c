/* jinja_lexer.c: the source of a template to tokens, and what becomes of white space around
 * tags. */
#include "jinja_tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/grow.h"
#include "../base/utf8.h"

enum { MOST_OPEN = 512 }; /* brackets inside each other */

typedef struct lexer {
    pm__j_parser *parser;
    const char *begin, *at, *end;
    uint32_t line;
    bool line_starts; /* what was read last ended a line */
    char open[MOST_OPEN];
    size_t n_open;
} lexer;

pm_status pm__j_bad(uint32_t line, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return pm__fail(PM_BAD_FILE, "template, line %u: %s", line, text);
}

static pm_status push(lexer *in, pm__j_token_kind kind, pm__span text) {
    pm__j_parser *p = in->parser;
    PM_TRY(pm__grow("template", &p->tokens, &p->capacity, p->n, sizeof *p->tokens));
    p->tokens[p->n++] = (pm__j_token){.kind = kind, .line = in->line, .text = text};
    return PM_OK;
}

static void move_to(lexer *in, const char *to) {
    for (; in->at < to; in->at++)
        in->line += *in->at == '\n';
}

static bool starts(const lexer *in, const char *at, const char *text) {
    const size_t n = strlen(text);
    return (size_t)(in->end - at) >= n && memcmp(at, text, n) == 0;
}

static const char *skip_space(const lexer *in, const char *at) {
    uint32_t code;
    while (at < in->end) {
        const size_t n = pm__utf8_decode(at, (size_t)(in->end - at), &code);
        if (!pm__j_is_space(code))
            break;
        at += n;
    }
    return at;
}

/* ---- text and the borders of tags ------------------------------------------------------------ */

/* The end of [from, to) without the white space before it. White space beyond ASCII has two or
 * three bytes. */
static const char *trim_end(const char *from, const char *to) {
    while (to > from) {
        uint32_t code = 0;
        const char *at = to - 1;
        while (at > from && to - at < 4 && ((unsigned char)*at & 0xc0) == 0x80)
            at--;
        if (pm__utf8_decode(at, (size_t)(to - at), &code) != (size_t)(to - at) ||
            !pm__j_is_space(code))
            break;
        to = at;
    }
    return to;
}

/* A tag that stands alone at the beginning of a line takes the white space before it away. */
static const char *trim_line(const lexer *in, const char *from, const char *to) {
    const char *line = to;
    while (line > from && line[-1] != '\n')
        line--;
    if (line == from && !in->line_starts)
        return to;
    return skip_space(in, line) >= to ? line : to;
}

/* Text up to a tag, whose first bytes are at `tag`, and a sign behind them. */
static pm_status push_text(lexer *in, const char *tag, bool is_print) {
    const char sign = tag < in->end && in->end - tag > 2 ? tag[2] : '\0';
    const char *to = tag;
    if (sign == '-' && tag < in->end)
        to = trim_end(in->at, tag);
    else if (sign != '+' && !is_print && tag < in->end)
        to = trim_line(in, in->at, tag);
    const pm__span text = {in->at, (size_t)(to - in->at)};
    if (text.size > 0)
        PM_TRY(push(in, PM__J_DATA, text));
    move_to(in, tag);
    return PM_OK;
}

/* Behind the closing mark of a statement or comment: a line end goes with it. */
static void close_tag(lexer *in, char sign, size_t n) {
    const char *to = in->at + n;
    if (sign == '-')
        to = skip_space(in, to);
    else if (sign != '+' && to < in->end && *to == '\n')
        to++;
    move_to(in, to);
    in->line_starts = in->at[-1] == '\n';
}

static pm_status read_comment(lexer *in) {
    const uint32_t line = in->line;
    const char *at = in->at + 2;
    while (at < in->end && !starts(in, at, "#}"))
        at++;
    if (at == in->end)
        return pm__j_bad(line, "a comment without #}");
    const char sign = at > in->at + 2 ? at[-1] : '\0';
    move_to(in, at);
    close_tag(in, sign, 2);
    return PM_OK;
}

/* {% raw %}: true, and *after is behind it, *trims whether a - stands there. */
static bool is_raw(const lexer *in, const char *word, const char *at, const char **after) {
    if (!starts(in, at, "{%"))
        return false;
    at += 2;
    if (at < in->end && (*at == '-' || *at == '+'))
        at++;
    at = skip_space(in, at);
    if (!starts(in, at, word))
        return false;
    at = skip_space(in, at + strlen(word));
    if (at < in->end && (*at == '-' || *at == '+') && starts(in, at + 1, "%}"))
        at++;
    if (!starts(in, at, "%}"))
        return false;
    *after = at + 2;
    return true;
}

static pm_status read_raw(lexer *in, const char *after) {
    const uint32_t line = in->line;
    const char *stop = NULL, *at = after[-3] == '-' ? skip_space(in, after) : after;
    move_to(in, at);
    in->line_starts = in->at[-1] == '\n';
    while (at < in->end && !is_raw(in, "endraw", at, &stop))
        at++;
    if (at == in->end)
        return pm__j_bad(line, "raw without endraw");
    PM_TRY(push_text(in, at, false));
    move_to(in, stop - 2);
    close_tag(in, stop[-3], 2);
    return PM_OK;
}

/* ---- inside of tags -------------------------------------------------------------------------- */

static bool is_name_byte(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 128;
}

static pm_status read_digits(lexer *in, const char *digits, int base, const char *end) {
    char text[80];
    size_t n = 0;
    for (const char *at = digits; at < end && n + 1 < sizeof text; at++)
        if (*at != '_')
            text[n++] = *at;
    text[n] = '\0';
    errno = 0;
    const long long value = strtoll(text, NULL, base);
    if (errno != 0 || n == 0 || n + 1 == sizeof text)
        return pm__j_bad(in->line, "a number that is too long");
    PM_TRY(push(in, PM__J_WHOLE, (pm__span){in->at, (size_t)(end - in->at)}));
    in->parser->tokens[in->parser->n - 1].whole = value;
    in->at = end;
    return PM_OK;
}

static pm_status read_real(lexer *in, const char *end) {
    char text[80];
    size_t n = 0;
    for (const char *at = in->at; at < end && n + 1 < sizeof text; at++)
        if (*at != '_')
            text[n++] = *at;
    double value;
    if (n + 1 == sizeof text || !pm__j_parse_real(text, n, &value))
        return pm__j_bad(in->line, "a number that cannot be read");
    PM_TRY(push(in, PM__J_REAL, (pm__span){in->at, (size_t)(end - in->at)}));
    in->parser->tokens[in->parser->n - 1].real = value;
    in->at = end;
    return PM_OK;
}

static const char *skip_number(const lexer *in, const char *at) {
    while (at < in->end && (isdigit((unsigned char)*at) || *at == '_'))
        at++;
    return at;
}

static pm_status read_number(lexer *in) {
    const char *at = in->at;
    if (*at == '0' && in->end - at > 2 && strchr("xXoObB", at[1]) != NULL) {
        const int base = (at[1] | 32) == 'x' ? 16 : (at[1] | 32) == 'o' ? 8 : 2;
        for (at += 2; at < in->end && (isxdigit((unsigned char)*at) || *at == '_');)
            at++;
        return read_digits(in, in->at + 2, base, at);
    }
    at = skip_number(in, at);
    const char *whole_end = at;
    const pm__j_token *before = &in->parser->tokens[in->parser->n - 1];
    if (before->kind == PM__J_SIGN && before->text.data[0] == '.')
        return read_digits(in, in->at, 10, at); /* a.0.1 is two items */
    if (in->end - at > 1 && *at == '.' && isdigit((unsigned char)at[1]))
        at = skip_number(in, at + 1);
    if (in->end - at > 1 && (*at | 32) == 'e') {
        const char *digits = at + 1 + (at[1] == '+' || at[1] == '-');
        if (digits < in->end && isdigit((unsigned char)*digits))
            at = skip_number(in, digits);
    }
    return at == whole_end ? read_digits(in, in->at, 10, at) : read_real(in, at);
}

/* \ooo, \xhh, \uhhhh, \Uhhhhhhhh at *at, which is behind the backslash; false: no such escape. */
static bool read_code(const char **at, const char *end, uint32_t *code) {
    const char *p = *at;
    const int base = *p >= '0' && *p <= '7' ? 8 : 16;
    const int n = base == 8 ? 3 : *p == 'x' ? 2 : *p == 'u' ? 4 : *p == 'U' ? 8 : 0;
    int i = 0;
    *code = 0;
    for (p += base == 16; i < n && p < end && isxdigit((unsigned char)*p); i++, p++) {
        const int digit = isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10;
        if (digit >= base)
            break;
        *code = *code * (uint32_t)base + (uint32_t)digit;
    }
    if (n == 0 || i == 0 || (base == 16 && i < n) || *code > 0x10ffff)
        return false;
    *at = p;
    return true;
}

/* As Python reads it: an escape that is none stays as it is. */
static void unescape(const char **at, const char *end, char **to) {
    static const char letters[] = "n\\'\"trabfv\n", means[] = "\n\\'\"\t\r\a\b\f\v";
    const char c = **at;
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    uint32_t code;
    if (found != NULL) {
        (*at)++;
        if (c != '\n')
            *(*to)++ = means[found - letters];
    } else if (read_code(at, end, &code)) {
        *to += pm__utf8_encode(code >= 0xd800 && code < 0xe000 ? 0xfffd : code, *to);
    } else {
        *(*to)++ = '\\';
    }
}

static pm_status read_literal(lexer *in) {
    const char quote = *in->at, *from = in->at + 1, *close = from;
    while (close < in->end && *close != quote)
        close += *close == '\\' && close + 1 < in->end ? 2 : 1;
    if (close >= in->end)
        return pm__j_bad(in->line, "a string without an end");
    char *text = pm__arena_alloc(&in->parser->jinja->arena, 2 * (size_t)(close - from) + 1);
    char *to = text;
    if (text == NULL)
        return PM_OUT_OF_MEMORY;
    for (const char *at = from; at < close;) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        at++;
        unescape(&at, close, &to);
    }
    PM_TRY(push(in, PM__J_LITERAL, (pm__span){text, (size_t)(to - text)}));
    move_to(in, close + 1);
    return PM_OK;
}

static pm_status read_name(lexer *in) {
    const char *at = in->at;
    while (at < in->end && is_name_byte(*at))
        at++;
    PM_TRY(push(in, PM__J_NAME, (pm__span){in->at, (size_t)(at - in->at)}));
    in->at = at;
    return PM_OK;
}

/* Brackets must close in the order they were opened: a } of a dict closes no tag. */
static pm_status balance(lexer *in, char c) {
    static const char opening[] = "([{", closing[] = ")]}";
    if (strchr(opening, c) != NULL) {
        if (in->n_open == MOST_OPEN)
            return pm__j_bad(in->line, "more than %d brackets inside each other", MOST_OPEN);
        in->open[in->n_open++] = closing[strchr(opening, c) - opening];
    } else if (strchr(closing, c) != NULL) {
        if (in->n_open == 0 || in->open[in->n_open - 1] != c)
            return pm__j_bad(in->line, "'%c' closes nothing", c);
        in->n_open--;
    }
    return PM_OK;
}

static pm_status read_sign(lexer *in) {
    static const char *const pairs[] = {"//", "**", "==", "!=", ">=", "<="};
    static const char singles[] = "+-/*%~[](){}><=.:|,;";
    size_t n = 1;
    for (size_t i = 0; i < PM__COUNT(pairs); i++)
        if (starts(in, in->at, pairs[i]))
            n = 2;
    if (n == 1 && (*in->at == '\0' || strchr(singles, *in->at) == NULL))
        return pm__j_bad(in->line, "a character that no template has here (byte 0x%02x)",
                         (unsigned char)*in->at);
    if (n == 1)
        PM_TRY(balance(in, *in->at));
    PM_TRY(push(in, PM__J_SIGN, (pm__span){in->at, n}));
    in->at += n;
    return PM_OK;
}

/* The closing mark of a tag here, with the sign before it; 0: none. */
static size_t closes(const lexer *in, const char *mark, char *sign) {
    *sign = *in->at;
    if ((*sign == '-' || (*sign == '+' && mark[0] == '%')) && starts(in, in->at + 1, mark))
        return 3;
    *sign = '\0';
    return starts(in, in->at, mark) ? 2 : 0;
}

static pm_status read_tag(lexer *in, bool is_print) {
    const char *const mark = is_print ? "}}" : "%}";
    const uint32_t line = in->line;
    PM_TRY(push(in, is_print ? PM__J_OPEN_PRINT : PM__J_OPEN_BLOCK, (pm__span){in->at, 2}));
    in->at += 2;
    if (in->at < in->end && (*in->at == '-' || *in->at == '+'))
        in->at++;
    for (in->n_open = 0;;) {
        move_to(in, skip_space(in, in->at));
        if (in->at == in->end)
            return pm__j_bad(line, "a tag without %s", mark);
        char sign;
        const size_t n = in->n_open == 0 ? closes(in, mark, &sign) : 0;
        if (n > 0) {
            PM_TRY(
                push(in, is_print ? PM__J_CLOSE_PRINT : PM__J_CLOSE_BLOCK, (pm__span){in->at, n}));
            close_tag(in, is_print && sign == '\0' ? '+' : sign, n);
            return PM_OK;
        }
        if (isdigit((unsigned char)*in->at))
            PM_TRY(read_number(in));
        else if (is_name_byte(*in->at))
            PM_TRY(read_name(in));
        else if (*in->at == '"' || *in->at == '\'')
            PM_TRY(read_literal(in));
        else
            PM_TRY(read_sign(in));
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool is_tag(const lexer *in, const char *at) {
    return starts(in, at, "{{") || starts(in, at, "{%") || starts(in, at, "{#");
}

static pm_status read_all(lexer *in) {
    while (in->at < in->end) {
        const char *tag = in->at, *after;
        while (tag < in->end && !is_tag(in, tag))
            tag++;
        const bool is_print = starts(in, tag, "{{");
        const bool had_text = tag > in->at;
        PM_TRY(push_text(in, tag, is_print));
        if (tag == in->end)
            break;
        if (had_text)
            in->line_starts = tag[-1] == '\n';
        if (starts(in, tag, "{#"))
            PM_TRY(read_comment(in));
        else if (is_raw(in, "raw", tag, &after))
            PM_TRY(read_raw(in, after));
        else
            PM_TRY(read_tag(in, is_print));
    }
    return push(in, PM__J_END, (pm__span){in->end, 0});
}

/* Line ends become \n, and the last one is left out. */
static size_t normal_lines(const char *source, size_t n, char *out) {
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r' && i + 1 < n && source[i + 1] == '\n')
            continue;
        out[used++] = source[i] == '\r' ? '\n' : source[i];
    }
    return used > 0 && out[used - 1] == '\n' ? used - 1 : used;
}

pm_status pm__j_lex(pm__j_parser *parser, const char *source, size_t n) {
    char *text = pm__arena_alloc(&parser->jinja->arena, n + 1);
    if (text == NULL)
        return PM_OUT_OF_MEMORY;
    n = normal_lines(source, n, text);
    const size_t broken = pm__utf8_check(text, n);
    if (broken < n)
        return pm__fail(PM_BAD_FILE, "template: no UTF-8 at byte %zu", broken);
    lexer in = {.parser = parser,
                .begin = text,
                .at = text,
                .end = text + n,
                .line = 1,
                .line_starts = true};
    return read_all(&in);
}
