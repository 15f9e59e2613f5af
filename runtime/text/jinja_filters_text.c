/* jinja_filters_text.c: the filters of jinja_filters.def that are about text and numbers. */
#include "jinja_call.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"

/* The value as a str, as most of these take anything. */
static pm_status self_text(pm__j_call *call, const pm__j_string **out) {
    return pm__j_str(call->env, call->self, out);
}

pm_status pm__j_filter_string(pm__j_call *call) {
    const pm__j_string *text;
    PM_TRY(self_text(call, &text));
    call->out = pm__j_text(text);
    return PM_OK;
}

pm_status pm__j_filter_trim(pm__j_call *call) {
    const pm__j_string *text, *chars = NULL;
    PM_TRY(self_text(call, &text));
    if (pm__j_given(call, 0))
        PM_TRY(pm__j_need_string(call, 0, NULL, &chars));
    return pm__j_strip(call->env, text, chars, true, true, &call->out);
}

pm_status pm__j_filter_upper(pm__j_call *call) {
    const pm__j_string *text;
    PM_TRY(self_text(call, &text));
    return pm__j_upper(call->env, text, &call->out);
}

pm_status pm__j_filter_lower(pm__j_call *call) {
    const pm__j_string *text;
    PM_TRY(self_text(call, &text));
    return pm__j_lower(call->env, text, &call->out);
}

pm_status pm__j_filter_capitalize(pm__j_call *call) {
    PM_TRY(pm__j_filter_string(call));
    call->self = call->out;
    return pm__j_method_capitalize(call);
}

/* The first in upper case, and not, as capitalize has it, in title case. */
static size_t to_word(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    bool *inside = user;
    const bool was = *inside;
    *inside = true;
    return was ? pm__j_to_lower(code, out) : pm__j_to_upper(code, out);
}

/* Words begin after blanks, hyphens and opening brackets. */
pm_status pm__j_filter_title(pm__j_call *call) {
    const pm__j_string *text;
    pm__j_builder made = {0};
    size_t begin = 0;
    PM_TRY(self_text(call, &text));
    for (size_t at = 0; at <= text->n;) {
        uint32_t code = ' ';
        const size_t n = at < text->n ? pm__utf8_decode(text->data + at, text->n - at, &code) : 1;
        if (pm__j_is_space(code) || (code < 128 && strchr("-({[<", (int)code) != NULL)) {
            pm__j_value word;
            bool inside = false;
            PM_TRY(pm__j_part(call->env, text, begin, at, &word));
            PM_TRY(pm__j_map_codes(call->env, word.u.string, to_word, &inside, &word));
            PM_TRY(pm__j_add_string(call->env, &made, word.u.string));
            begin = at + n;
            PM_TRY(pm__j_add_part(call->env, &made, text, at, begin < text->n ? begin : text->n));
        }
        at += n;
    }
    return pm__j_built(call->env, &made, &call->out);
}

pm_status pm__j_filter_replace(pm__j_call *call) {
    const pm__j_string *text, *old, *new;
    int64_t n = -1;
    PM_TRY(self_text(call, &text));
    PM_TRY(pm__j_str(call->env, call->a[0], &old));
    PM_TRY(pm__j_str(call->env, call->a[1], &new));
    if (pm__j_given(call, 2))
        PM_TRY(pm__j_need_int(call, 2, -1, &n));
    return pm__j_replace(call->env, text, old, new, n < 0 ? SIZE_MAX : (size_t)n, &call->out);
}

pm_status pm__j_filter_format(pm__j_call *call) {
    const pm__j_string *text;
    pm__j_value values;
    PM_TRY(self_text(call, &text));
    if (call->n > 0 && call->n_named > 0)
        return pm__j_fail(call->env, "format takes values by place or by name");
    if (call->n_named > 0) {
        PM_TRY(pm__j_new_dict(call->env, &values));
        for (size_t i = 0; i < call->n_named; i++)
            PM_TRY(pm__j_put(call->env, values.u.dict, pm__j_text(call->named[i].name),
                             call->named[i].value));
    } else {
        PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, call->n, &values));
        for (size_t i = 0; i < call->n; i++)
            PM_TRY(pm__j_push(call->env, values.u.list, call->items[i]));
    }
    return pm__j_percent(call->env, text, values, &call->out);
}

/* ---- lines and widths ------------------------------------------------------------------------ */

/* Lines but the first get `with` before them, lines without text only if `blank`. */
static pm_status indent_lines(pm__j_call *call, const pm__j_string *text,
                              const pm__j_string *with) {
    pm__j_builder made = {0};
    const bool first = pm__j_flag(call, 1, false), blanks = pm__j_flag(call, 2, false);
    for (size_t at = 0; at <= text->n;) {
        const char *line_end = memchr(text->data + at, '\n', text->n - at);
        const size_t end = line_end != NULL ? (size_t)(line_end - text->data) : text->n;
        if (at > 0 ? blanks || end > at : first)
            PM_TRY(pm__j_add_string(call->env, &made, with));
        PM_TRY(pm__j_add_part(call->env, &made, text, at, end < text->n ? end + 1 : end));
        at = end + 1;
    }
    return pm__j_built(call->env, &made, &call->out);
}

pm_status pm__j_filter_indent(pm__j_call *call) {
    const pm__j_string *text;
    pm__j_builder blanks = {0};
    pm__j_value with = call->a[0];
    int64_t width;
    PM_TRY(self_text(call, &text));
    if (with.kind != PM__J_STRING) {
        PM_TRY(pm__j_need_int(call, 0, 4, &width));
        for (int64_t i = 0; i < width; i++) {
            PM_TRY(pm__j_step(call->env, 0));
            PM_TRY(pm__j_add_word(call->env, &blanks, " "));
        }
        PM_TRY(pm__j_built(call->env, &blanks, &with));
    }
    return indent_lines(call, text, with.u.string);
}

/* Also the method, which may have a character to fill with. */
pm_status pm__j_filter_center(pm__j_call *call) {
    static const pm__j_string blank = {.data = " ", .n = 1};
    const pm__j_string *text, *with;
    int64_t width;
    PM_TRY(self_text(call, &text));
    PM_TRY(pm__j_need_int(call, 0, 80, &width));
    PM_TRY(pm__j_need_string(call, 1, &blank, &with));
    const int64_t n = (int64_t)pm__j_length(text);
    const int64_t room = width > n ? width - n : 0, left = room / 2 + (room & width & 1);
    pm__j_builder made = {0};
    for (int64_t i = 0; i < room; i++) {
        if (i == left)
            PM_TRY(pm__j_add_string(call->env, &made, text));
        PM_TRY(pm__j_add_string(call->env, &made, with));
    }
    if (left == room)
        PM_TRY(pm__j_add_string(call->env, &made, text));
    return pm__j_built(call->env, &made, &call->out);
}

/* Cut at a word, unless words are killed; a little too long is not. */
pm_status pm__j_filter_truncate(pm__j_call *call) {
    static const pm__j_string dots = {.data = "...", .n = 3};
    const pm__j_string *text, *end;
    int64_t most, leeway;
    PM_TRY(self_text(call, &text));
    PM_TRY(pm__j_need_int(call, 0, 255, &most));
    PM_TRY(pm__j_need_string(call, 2, &dots, &end));
    PM_TRY(pm__j_need_int(call, 3, 5, &leeway));
    const int64_t n_end = (int64_t)pm__j_length(end);
    PM_TRY(pm__j_step(call->env, 2 * text->n));
    if (most < n_end || leeway < 0 || most > INT64_MAX - leeway)
        return pm__j_fail(call->env, "truncate to a length that is not possible");
    call->out = pm__j_text(text);
    if ((int64_t)pm__j_length(text) <= most + leeway)
        return PM_OK;
    size_t cut = pm__j_offset(text, (size_t)(most - n_end));
    if (!pm__j_flag(call, 1, false)) {
        size_t blank = cut;
        while (blank > 0 && text->data[blank - 1] != ' ')
            blank--;
        cut = blank > 0 ? blank - 1 : cut;
    }
    pm__j_builder made = {0};
    PM_TRY(pm__j_add_part(call->env, &made, text, 0, cut));
    PM_TRY(pm__j_add_string(call->env, &made, end));
    return pm__j_built(call->env, &made, &call->out);
}

/* Runs of letters, digits and _. */
pm_status pm__j_filter_wordcount(pm__j_call *call) {
    const pm__j_string *text;
    int64_t n = 0;
    bool inside = false;
    PM_TRY(self_text(call, &text));
    PM_TRY(pm__j_step(call->env, text->n));
    for (size_t at = 0; at < text->n; at++) {
        const unsigned char c = (unsigned char)text->data[at];
        const bool is = isalnum(c) || c == '_' || c >= 128;
        n += is && !inside;
        inside = is;
    }
    call->out = pm__j_int(n);
    return PM_OK;
}

/* ---- escapes --------------------------------------------------------------------------------- */

static pm_status give_markup(pm__j_call *call, const pm__j_string *text) {
    pm__j_string *copy = pm__j_alloc(call->env, 1, sizeof *copy);
    if (copy == NULL)
        return call->env->status;
    *copy = *text;
    copy->markup = true;
    call->out = pm__j_text(copy);
    return PM_OK;
}

pm_status pm__j_filter_safe(pm__j_call *call) {
    const pm__j_string *text;
    PM_TRY(self_text(call, &text));
    return give_markup(call, text);
}

pm_status pm__j_filter_forceescape(pm__j_call *call) {
    static const char signs[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const pm__j_string *text;
    pm__j_builder made = {0};
    size_t plain = 0, hint = 0;
    PM_TRY(self_text(call, &text));
    for (size_t at = 0; at < text->n; at++) {
        const char *sign = text->data[at] != '\0' ? strchr(signs, text->data[at]) : NULL;
        if (sign == NULL)
            continue;
        const char *name = names[sign - signs];
        PM_TRY(pm__j_add_part(call->env, &made, text, plain, at));
        PM_TRY(pm__j_add_bytes(call->env, &made, name, strlen(name),
                               pm__j_is_marked(text, at, &hint)));
        plain = at + 1;
    }
    PM_TRY(pm__j_add_part(call->env, &made, text, plain, text->n));
    PM_TRY(pm__j_built(call->env, &made, &call->out));
    return give_markup(call, call->out.u.string);
}

pm_status pm__j_filter_escape(pm__j_call *call) {
    if (call->self.kind == PM__J_STRING && call->self.u.string->markup) {
        call->out = call->self;
        return PM_OK;
    }
    return pm__j_filter_forceescape(call);
}

/* All but letters, digits and _.-~/ */
pm_status pm__j_filter_urlencode(pm__j_call *call) {
    const pm__j_string *text;
    pm__j_builder made = {0};
    size_t hint = 0;
    PM_TRY(self_text(call, &text));
    for (size_t at = 0; at < text->n; at++) {
        const unsigned char c = (unsigned char)text->data[at];
        char escape[4] = {(char)c, '\0'};
        if (c >= 128 || (!isalnum(c) && strchr("_.-~/", c) == NULL) || c == '\0')
            snprintf(escape, sizeof escape, "%%%02X", c);
        PM_TRY(pm__j_step(call->env, 0));
        PM_TRY(pm__j_add_bytes(call->env, &made, escape, strlen(escape),
                               pm__j_is_marked(text, at, &hint)));
    }
    return pm__j_built(call->env, &made, &call->out);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* indent: blanks, or their number. */
static pm_status json_indent(pm__j_call *call, const pm__j_string **out) {
    enum { MOST_INDENT = 64 };
    int64_t width;
    pm__j_value blanks;
    *out = NULL;
    if (!pm__j_given(call, 1))
        return PM_OK;
    if (call->a[1].kind == PM__J_STRING) {
        *out = call->a[1].u.string;
        return PM_OK;
    }
    static const char row[MOST_INDENT + 1] =
        "                                                                ";
    PM_TRY(pm__j_need_int(call, 1, 0, &width));
    if (width > MOST_INDENT)
        return pm__j_fail(call->env, "tojson with an indent of more than %d", MOST_INDENT);
    PM_TRY(pm__j_new_string(call->env, row, width > 0 ? (size_t)width : 0, false, &blanks));
    *out = blanks.u.string;
    return PM_OK;
}

pm_status pm__j_filter_tojson(pm__j_call *call) {
    static const pm__j_string comma = {.data = ",", .n = 1}, comma_blank = {.data = ", ", .n = 2},
                              colon = {.data = ": ", .n = 2};
    pm__j_json_style style = {
        .ascii = pm__j_flag(call, 0, false), .sort = pm__j_flag(call, 3, false), .colon = &colon};
    pm__j_builder made = {0};
    PM_TRY(json_indent(call, &style.indent));
    style.item = style.indent != NULL ? &comma : &comma_blank;
    if (pm__j_given(call, 2)) {
        pm__j_list signs;
        PM_TRY(pm__j_items(call->env, call->a[2], &signs));
        if (signs.n != 2 || signs.items[0].kind != PM__J_STRING ||
            signs.items[1].kind != PM__J_STRING)
            return pm__j_fail(call->env, "tojson needs two texts as separators");
        style.item = signs.items[0].u.string;
        style.colon = signs.items[1].u.string;
    }
    PM_TRY(pm__j_add_json(call->env, &made, &style, call->self, 0));
    return pm__j_built(call->env, &made, &call->out);
}

/* ---- numbers --------------------------------------------------------------------------------- */

pm_status pm__j_filter_abs(pm__j_call *call) {
    const pm__j_value v = call->self;
    if (v.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(call->env, v);
    if (!pm__j_is_number(v))
        return pm__j_fail(call->env, "abs of a %s", pm__j_type_name(v));
    if (v.kind == PM__J_FLOAT)
        call->out = pm__j_float(fabs(v.u.real));
    else if (pm__j_integer(v) == INT64_MIN)
        return pm__j_fail(call->env, "a number is too large");
    else
        call->out = pm__j_int(pm__j_integer(v) < 0 ? -pm__j_integer(v) : pm__j_integer(v));
    return PM_OK;
}

/* A copy without white space at its ends and without _ between digits; "" if it is too long. */
static void plain_number(const pm__j_string *text, char *out, size_t size) {
    size_t n = 0, begin = 0, end = text->n;
    while (begin < end && isspace((unsigned char)text->data[begin]))
        begin++;
    while (end > begin && isspace((unsigned char)text->data[end - 1]))
        end--;
    for (size_t i = begin; i < end && n + 1 < size; i++)
        if (text->data[i] != '_' || i == begin || i + 1 == end ||
            !isxdigit((unsigned char)text->data[i - 1]) ||
            !isxdigit((unsigned char)text->data[i + 1]))
            out[n++] = text->data[i];
    out[end - begin + 1 < size ? n : 0] = '\0';
}

enum { MOST_NUMBER = 100 };

/* What strtod takes beside Python's floats is refused. */
static bool parse_float(const pm__j_string *text, double *out) {
    char copy[MOST_NUMBER];
    plain_number(text, copy, sizeof copy);
    return strpbrk(copy, "xXpP(") == NULL && copy[0] != '\0' && !isspace((unsigned char)copy[0]) &&
           pm__j_parse_real(copy, strlen(copy), out);
}

static bool parse_int(const pm__j_string *text, int base, int64_t *out) {
    char copy[MOST_NUMBER], *end, *at = copy;
    plain_number(text, copy, sizeof copy);
    const bool minus = *at == '-';
    at += *at == '-' || *at == '+';
    if (at[0] == '0' && ((base == 16 && (at[1] | 32) == 'x') ||
                         (base == 8 && (at[1] | 32) == 'o') || (base == 2 && (at[1] | 32) == 'b')))
        at += 2;
    if (!isalnum((unsigned char)*at))
        return false;
    errno = 0;
    const long long value = strtoll(at, &end, base);
    *out = minus ? -value : value;
    return errno == 0 && *end == '\0';
}

pm_status pm__j_filter_float(pm__j_call *call) {
    const pm__j_value v = call->self;
    double value;
    if (v.kind == PM__J_UNDEFINED && v.forbidden)
        return pm__j_fail_undefined(call->env, v);
    if (pm__j_is_number(v))
        call->out = pm__j_float(pm__j_real(v));
    else if (v.kind == PM__J_STRING && parse_float(v.u.string, &value))
        call->out = pm__j_float(value);
    else
        call->out = call->a[0].kind == PM__J_MISSING ? pm__j_float(0) : call->a[0];
    return PM_OK;
}

/* A float loses what is behind its point; a str that is a float, too. */
pm_status pm__j_filter_int(pm__j_call *call) {
    const pm__j_value v = call->self;
    double real = NAN;
    int64_t value = 0, base = 10;
    PM_TRY(pm__j_need_int(call, 1, 10, &base));
    call->out = call->a[0].kind == PM__J_MISSING ? pm__j_int(0) : call->a[0];
    if (base < 2 || base > 36)
        return pm__j_fail(call->env, "int with a base that is not from 2 to 36");
    if (v.kind == PM__J_STRING && parse_int(v.u.string, (int)base, &value)) {
        call->out = pm__j_int(value);
        return PM_OK;
    }
    if (v.kind == PM__J_INT || v.kind == PM__J_BOOL) {
        call->out = pm__j_int(pm__j_integer(v));
        return PM_OK;
    }
    if (v.kind == PM__J_FLOAT)
        real = v.u.real;
    else if (v.kind == PM__J_STRING && !parse_float(v.u.string, &real))
        real = NAN;
    if (fabs(real) < 9.2e18)
        call->out = pm__j_int((int64_t)real);
    return PM_OK;
}

static double round_half(double value, int precision) {
    char text[400];
    double out;
    if (precision < 0) {
        const double unit = pow(10, -precision);
        const double scaled = value / unit;
        return nearbyint(scaled) * unit;
    }
    snprintf(text, sizeof text, "%.*f", precision, value);
    out = strtod(text, NULL);
    return out;
}

pm_status pm__j_filter_round(pm__j_call *call) {
    static const pm__j_string common = {.data = "common", .n = 6};
    const pm__j_value v = call->self;
    const pm__j_string *method;
    int64_t precision;
    PM_TRY(pm__j_need_int(call, 0, 0, &precision));
    PM_TRY(pm__j_need_string(call, 1, &common, &method));
    if (v.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(call->env, v);
    if (!pm__j_is_number(v) || precision < -30 || precision > 30)
        return pm__j_fail(call->env, "round of a %s to %lld places", pm__j_type_name(v),
                          (long long)precision);
    const double value = pm__j_real(v), unit = pow(10, (double)precision);
    const char how = method->n > 1 ? method->data[0] : '\0';
    if (how == 'f' && method->n == 5)
        call->out = pm__j_float(floor(value * unit) / unit);
    else if (how == 'c' && method->n == 4)
        call->out = pm__j_float(ceil(value * unit) / unit);
    else if (how != 'c' || method->n != 6)
        return pm__j_fail(call->env, "round is common, ceil or floor");
    else if (v.kind != PM__J_FLOAT && precision >= 0)
        call->out = pm__j_int(pm__j_integer(v));
    else if (v.kind != PM__J_FLOAT)
        call->out = pm__j_int((int64_t)round_half(value, (int)precision));
    else
        call->out = pm__j_float(isfinite(value) ? round_half(value, (int)precision) : value);
    return PM_OK;
}
