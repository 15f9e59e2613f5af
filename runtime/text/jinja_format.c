/* jinja_format.c: "%s" % value and "{}".format(value), as Python writes them. */
#include "jinja_call.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"

enum { MOST_WIDTH = 10000, MOST_PRECISION = 100, NUMBER_SIZE = 512 };
enum { FIELD_COST = 4096 }; /* as bytes looked at: a float has many digits */

/* What stands between % or : and the letter. */
typedef struct spec {
    uint32_t fill; /* character; 0: blank, or zero with `zero` */
    char align;    /* < > ^ =; '\0': as the kind of value has it */
    char sign;     /* + or blank; '\0': minus alone */
    bool alternate, zero, commas;
    bool marked;          /* what it is written with */
    int width, precision; /* -1: none */
    char letter;          /* '\0': none */
} spec;

/* ---- one value ------------------------------------------------------------------------------- */

static pm_status add_fill(pm__j_env *env, pm__j_builder *out, const spec *how, size_t n) {
    const uint32_t fill = how->fill != 0 ? how->fill : how->zero ? '0' : ' ';
    char bytes[4];
    const size_t size = pm__utf8_encode(fill, bytes);
    for (size_t i = 0; i < n; i++)
        PM_TRY(pm__j_add_bytes(env, out, bytes, size, how->marked));
    return PM_OK;
}

/* n_sign  characters that stay at the left of zeros */
static pm_status add_aligned(pm__j_env *env, pm__j_builder *out, const spec *how,
                             const pm__j_string *text, size_t n_sign) {
    const size_t n = pm__j_length(text), width = how->width > 0 ? (size_t)how->width : 0;
    const size_t room = width > n ? width - n : 0;
    const size_t left = how->align == '<' ? 0 : how->align == '^' ? room / 2 : room;
    const size_t kept = how->align == '=' ? n_sign : 0;
    PM_TRY(pm__j_step(env, text->n + room));
    PM_TRY(pm__j_add_part(env, out, text, 0, kept));
    PM_TRY(add_fill(env, out, how, left));
    PM_TRY(pm__j_add_part(env, out, text, kept, text->n));
    return add_fill(env, out, how, room - left);
}

static void add_commas(char *text, size_t size) {
    const size_t n_digit = strspn(text, "0123456789"), n = strlen(text);
    const size_t n_comma = n_digit > 0 ? (n_digit - 1) / 3 : 0;
    if (n + n_comma + 1 > size)
        return;
    memmove(text + n_digit + n_comma, text + n_digit, n - n_digit + 1);
    for (size_t i = 0, to = n_digit + n_comma; i < n_digit; i++) {
        if (i > 0 && i % 3 == 0)
            text[--to] = ',';
        to--;
        text[to] = text[n_digit - 1 - i];
    }
}

/* Digits of a whole number, without its sign. */
static void whole_digits(const spec *how, uint64_t value, char *out, size_t size) {
    static const struct {
        char letter;
        unsigned base;
        const char *prefix;
    } bases[] = {{'x', 16, "0x"}, {'X', 16, "0X"}, {'o', 8, "0o"}, {'b', 2, "0b"}, {'d', 10, ""}};
    char digits[72];
    size_t n = sizeof digits - 1, which = 0;
    while (which + 1 < PM__COUNT(bases) && bases[which].letter != how->letter)
        which++;
    const char *letters = how->letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    digits[n] = '\0';
    do {
        digits[--n] = letters[value % bases[which].base];
        value /= bases[which].base;
    } while (value > 0);
    while (n > 0 && (int)(sizeof digits - 1 - n) < how->precision)
        digits[--n] = '0';
    snprintf(out, size, "%s%s", how->alternate ? bases[which].prefix : "", digits + n);
}

/* A float without its sign; the point is one whatever the locale says. */
static void real_digits(const spec *how, double value, char *out, size_t size) {
    char form[16];
    const char letter = how->letter == '\0' || how->letter == '%' ? 'f' : how->letter;
    const int precision = how->precision < 0 ? 6 : how->precision;
    snprintf(form, sizeof form, "%%%s.*%c", how->alternate ? "#" : "", letter);
    const double scaled = how->letter == '%' ? value * 100 : value;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, size, form, precision, scaled);
#pragma GCC diagnostic pop
    for (char *c = out; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && *c != '+' && *c != '-')
            *c = '.';
    if (how->letter == '%' && strlen(out) + 1 < size)
        strcat(out, "%");
}

static pm_status add_number(pm__j_env *env, pm__j_builder *out, spec how, pm__j_value value) {
    char text[NUMBER_SIZE];
    const bool whole = value.kind != PM__J_FLOAT;
    const bool negative =
        whole ? pm__j_integer(value) < 0 : signbit(value.u.real) && !isnan(value.u.real);
    const size_t n_sign = negative || how.sign != '\0';
    if (n_sign > 0)
        text[0] = negative ? '-' : how.sign;
    if (whole)
        whole_digits(&how,
                     negative ? 0 - (uint64_t)pm__j_integer(value) : (uint64_t)pm__j_integer(value),
                     text + n_sign, sizeof text - n_sign);
    else if (how.letter == '\0' && how.precision < 0)
        pm__j_float_text(fabs(value.u.real), text + n_sign);
    else
        real_digits(&how, fabs(value.u.real), text + n_sign, sizeof text - n_sign);
    if (how.commas)
        add_commas(text + n_sign, sizeof text - n_sign);
    const pm__j_string made = {.data = text, .n = strlen(text)};
    if (how.align == '\0')
        how.align = how.zero ? '=' : '>';
    return add_aligned(env, out, &how, &made, n_sign);
}

static pm_status add_text(pm__j_env *env, pm__j_builder *out, spec how, const pm__j_string *text,
                          char align) {
    pm__j_value part = pm__j_text(text);
    PM_TRY(pm__j_step(env, text->n));
    if (how.precision >= 0)
        PM_TRY(pm__j_part(env, text, 0, pm__j_offset(text, (size_t)how.precision), &part));
    if (how.align == '\0')
        how.align = align;
    return add_aligned(env, out, &how, part.u.string, 0);
}

static pm_status repr(pm__j_env *env, pm__j_value value, const pm__j_string **out) {
    pm__j_builder made = {0};
    PM_TRY(pm__j_add_repr(env, &made, value));
    PM_TRY(pm__j_built(env, &made, &value));
    *out = value.u.string;
    return PM_OK;
}

/* ---- % --------------------------------------------------------------------------------------- */

typedef struct percent {
    pm__j_env *env;
    const pm__j_string *format;
    size_t at;
    pm__j_value values;
    size_t n_used;
    pm__j_builder made;
} percent;

static pm_status next_value(percent *p, pm__j_value *out) {
    const bool tuple = p->values.kind == PM__J_TUPLE;
    if (p->n_used >= (tuple ? p->values.u.list->n : 1))
        return pm__j_fail(p->env, "%% has fewer values than its text asks for");
    *out = tuple ? p->values.u.list->items[p->n_used] : p->values;
    p->n_used++;
    return PM_OK;
}

static pm_status read_count(percent *p, int most, int *out) {
    pm__j_value value = {0};
    const char *data = p->format->data;
    if (p->at < p->format->n && data[p->at] == '*') {
        p->at++;
        PM_TRY(next_value(p, &value));
        if (value.kind != PM__J_INT || value.u.integer < 0 || value.u.integer > most)
            return pm__j_fail(p->env, "%% with a width that is not possible");
        *out = (int)value.u.integer;
        return PM_OK;
    }
    for (; p->at < p->format->n && isdigit((unsigned char)data[p->at]); p->at++) {
        *out = (*out < 0 ? 0 : *out) * 10 + (data[p->at] - '0');
        if (*out > most)
            return pm__j_fail(p->env, "%% with a width of more than %d", most);
    }
    return PM_OK;
}

/* %(name): of a dict. */
static pm_status read_key(percent *p, pm__j_value *out, bool *named) {
    const char *data = p->format->data;
    *named = p->at < p->format->n && data[p->at] == '(';
    if (!*named)
        return PM_OK;
    const char *close = memchr(data + p->at, ')', p->format->n - p->at);
    if (close == NULL || p->values.kind != PM__J_DICT)
        return pm__j_fail(p->env, "%%(name) needs a dict");
    pm__j_value key;
    PM_TRY(pm__j_part(p->env, p->format, p->at + 1, (size_t)(close - data), &key));
    const pm__j_value *found;
    PM_TRY(pm__j_look_up(p->env, p->values.u.dict, key, &found));
    if (found == NULL)
        return pm__j_fail(p->env, "%%(name) of a name that is not in the dict");
    *out = *found;
    p->at = (size_t)(close - data) + 1;
    p->n_used = 1;
    return PM_OK;
}

static pm_status read_spec(percent *p, spec *how) {
    const char *data = p->format->data;
    for (; p->at < p->format->n; p->at++) {
        const char c = data[p->at];
        if (c == '-')
            how->align = '<';
        else if (c == '0')
            how->zero = true;
        else if (c == '#')
            how->alternate = true;
        else if (c == '+' || (c == ' ' && how->sign == '\0'))
            how->sign = c;
        else if (c != ' ')
            break;
    }
    how->zero = how->zero && how->align == '\0';
    PM_TRY(read_count(p, MOST_WIDTH, &how->width));
    if (p->at < p->format->n && data[p->at] == '.') {
        p->at++;
        how->precision = 0;
        PM_TRY(read_count(p, MOST_PRECISION, &how->precision));
    }
    while (p->at < p->format->n && strchr("hlL", data[p->at]) != NULL && data[p->at] != '\0')
        p->at++;
    if (p->at == p->format->n)
        return pm__j_fail(p->env, "%% without a letter behind it");
    how->letter = data[p->at++];
    return PM_OK;
}

static pm_status write_percent(percent *p, spec how, pm__j_value value) {
    const char letter = how.letter;
    const pm__j_string *text;
    if (letter == 's' || letter == 'r' || letter == 'a') {
        PM_TRY(letter == 's' ? pm__j_str(p->env, value, &text) : repr(p->env, value, &text));
        how.zero = false;
        return add_text(p->env, &p->made, how, text, '>');
    }
    if (letter == 'c' && value.kind == PM__J_STRING && pm__j_length(value.u.string) == 1)
        return add_text(p->env, &p->made, how, value.u.string, '>');
    if (letter == '\0' || strchr("diuxXofFeEgG", letter) == NULL)
        return pm__j_fail(p->env, "%% with a letter that it does not have");
    if (!pm__j_is_number(value))
        return pm__j_fail(p->env, "%%%c needs a number, not a %s", letter, pm__j_type_name(value));
    if (strchr("diuxXo", letter) == NULL)
        value = pm__j_float(pm__j_real(value));
    else if (value.kind == PM__J_FLOAT && strchr("diu", letter) != NULL &&
             fabs(value.u.real) < 9.2e18)
        value = pm__j_int((int64_t)value.u.real);
    else if (value.kind == PM__J_FLOAT)
        return pm__j_fail(p->env, "%%%c needs an int", letter);
    return add_number(p->env, &p->made, how, value);
}

pm_status pm__j_percent(pm__j_env *env, const pm__j_string *format, pm__j_value value,
                        pm__j_value *out) {
    percent p = {.env = env, .format = format, .values = value};
    for (size_t plain = 0;;) {
        const char *sign = memchr(format->data + p.at, '%', format->n - p.at);
        const size_t end = sign != NULL ? (size_t)(sign - format->data) : format->n;
        PM_TRY(pm__j_add_part(env, &p.made, format, plain, end));
        if (sign == NULL)
            break;
        p.at = end + 1;
        spec how = {.width = -1, .precision = -1};
        pm__j_value one;
        bool named;
        PM_TRY(pm__j_step(env, FIELD_COST));
        PM_TRY(read_key(&p, &one, &named));
        PM_TRY(read_spec(&p, &how));
        if (how.letter == '%') {
            PM_TRY(pm__j_add_word(env, &p.made, "%"));
        } else {
            if (!named)
                PM_TRY(next_value(&p, &one));
            PM_TRY(write_percent(&p, how, one));
        }
        plain = p.at;
    }
    const bool many = value.kind == PM__J_TUPLE
                          ? p.n_used < value.u.list->n
                          : p.n_used == 0 && value.kind != PM__J_DICT && value.kind != PM__J_LIST;
    if (many)
        return pm__j_fail(env, "%% has more values than its text asks for");
    return pm__j_built(env, &p.made, out);
}

/* ---- {} -------------------------------------------------------------------------------------- */

typedef struct braces {
    pm__j_call *call;
    const pm__j_string *format;
    size_t n_auto; /* values taken by {} so far */
    pm__j_builder made;
} braces;

static pm_status named_value(braces *b, const char *name, size_t n, pm__j_value *out) {
    for (size_t i = 0; i < b->call->n_named; i++)
        if (b->call->named[i].name->n == n && memcmp(b->call->named[i].name->data, name, n) == 0) {
            *out = b->call->named[i].value;
            return PM_OK;
        }
    return pm__j_fail(b->call->env, "format is not given '%.*s'", n < 40 ? (int)n : 40, name);
}

/* A number up to `end`; false: none, or a large one. */
static bool read_index(const char *at, const char *end, size_t *out) {
    *out = 0;
    for (const char *c = at; c < end; c++) {
        if (!isdigit((unsigned char)*c) || *out > 100000)
            return false;
        *out = *out * 10 + (size_t)(*c - '0');
    }
    return end > at;
}

/* name.attribute[key] of [at, end). */
static pm_status field_value(braces *b, const char *at, const char *end, pm__j_value *out) {
    pm__j_env *env = b->call->env;
    size_t index, n = 0;
    while (at + n < end && at[n] != '.' && at[n] != '[')
        n++;
    const bool is_index = read_index(at, at + n, &index);
    if (n == 0)
        index = b->n_auto++;
    if (n > 0 && !is_index)
        PM_TRY(named_value(b, at, n, out));
    else if (index >= b->call->n)
        return pm__j_fail(env, "format is given %zu values, and asks for more", b->call->n);
    else
        *out = b->call->items[index];
    for (at += n; at < end;) {
        const bool item = *at == '[';
        const char *stop = ++at;
        while (stop < end && (item ? *stop != ']' : *stop != '.' && *stop != '['))
            stop++;
        pm__j_value key;
        PM_TRY(pm__j_part(env, b->format, (size_t)(at - b->format->data),
                          (size_t)(stop - b->format->data), &key));
        if (item && read_index(at, stop, &index))
            key = pm__j_int((int64_t)index);
        PM_TRY(item ? pm__j_item(env, *out, key, out)
                    : pm__j_attribute(env, *out, key.u.string, out));
        at = stop + (item && stop < end);
    }
    return out->kind == PM__J_UNDEFINED ? pm__j_fail_undefined(env, *out) : PM_OK;
}

static const char *read_width(const char *at, const char *end, int *out) {
    for (; at < end && isdigit((unsigned char)*at); at++)
        if (*out <= MOST_WIDTH)
            *out = (*out < 0 ? 0 : *out) * 10 + (*at - '0');
    return at;
}

/* [[fill]align][sign][#][0][width][,][.precision][letter] of [at, end). */
static pm_status parse_spec(pm__j_env *env, const char *at, const char *end, spec *how) {
    uint32_t fill;
    const size_t n = pm__utf8_decode(at, (size_t)(end - at), &fill);
    if (n > 0 && at + n < end && strchr("<>^=", at[n]) != NULL) {
        how->fill = fill;
        how->align = at[n];
        at += n + 1;
    } else if (at < end && strchr("<>^=", *at) != NULL) {
        how->align = *at++;
    }
    if (at < end && (*at == '+' || *at == '-' || *at == ' ')) {
        how->sign = *at != '-' ? *at : '\0';
        at++;
    }
    if (at < end && *at == '#')
        how->alternate = at++ != end;
    if (at < end && *at == '0')
        how->zero = at++ != end;
    at = read_width(at, end, &how->width);
    if (at < end && *at == ',')
        how->commas = at++ != end;
    if (at < end && *at == '.')
        at = read_width(at + 1, end, &how->precision);
    if (at < end)
        how->letter = *at++;
    if (at < end || how->width > MOST_WIDTH || how->precision > MOST_PRECISION)
        return pm__j_fail(env, "format with '%.*s' behind the :", (int)(end - at), at);
    return PM_OK;
}

static pm_status write_field(braces *b, spec how, char conversion, pm__j_value value) {
    pm__j_env *env = b->call->env;
    const pm__j_string *text;
    if (conversion == '\0' && pm__j_is_number(value) &&
        (value.kind != PM__J_BOOL || how.letter != '\0')) {
        if (how.letter != '\0' && strchr("eEfFgG%", how.letter) != NULL)
            value = pm__j_float(pm__j_real(value));
        else if (how.letter != '\0' &&
                 (value.kind == PM__J_FLOAT || strchr("bdoxX", how.letter) == NULL))
            return pm__j_fail(env, "format of a %s by '%c'", pm__j_type_name(value), how.letter);
        if (value.kind == PM__J_FLOAT && how.letter == '\0' && how.precision >= 0)
            how.letter = 'g';
        return add_number(env, &b->made, how, value);
    }
    if (how.letter != '\0' && how.letter != 's')
        return pm__j_fail(env, "format of a %s by '%c'", pm__j_type_name(value), how.letter);
    PM_TRY(conversion == 'r' || conversion == 'a' ? repr(env, value, &text)
                                                  : pm__j_str(env, value, &text));
    return add_text(env, &b->made, how, text, '<');
}

/* Between the braces. */
static pm_status add_field(braces *b, const char *at, const char *end) {
    pm__j_env *env = b->call->env;
    size_t hint = 0;
    spec how = {.width = -1, .precision = -1};
    how.marked = pm__j_is_marked(b->format, (size_t)(at - b->format->data) - 1, &hint);
    char conversion = '\0';
    const char *name_end = at;
    while (name_end < end && *name_end != ':' && *name_end != '!')
        name_end++;
    const char *rest = name_end;
    if (rest + 1 < end && *rest == '!') {
        conversion = rest[1];
        rest += 2;
    }
    if (rest < end && *rest != ':')
        return pm__j_fail(env, "format with braces that cannot be read");
    if (rest < end)
        PM_TRY(parse_spec(env, rest + 1, end, &how));
    pm__j_value value;
    PM_TRY(pm__j_step(env, FIELD_COST + 16 * b->call->n_named));
    PM_TRY(field_value(b, at, name_end, &value));
    return write_field(b, how, conversion, value);
}

pm_status pm__j_braces(pm__j_call *call, const pm__j_string *format) {
    braces b = {.call = call, .format = format};
    const char *data = format->data;
    size_t plain = 0;
    for (size_t at = 0; at < format->n; at++) {
        if (data[at] != '{' && data[at] != '}')
            continue;
        const bool twice = at + 1 < format->n && data[at + 1] == data[at];
        PM_TRY(pm__j_add_part(call->env, &b.made, format, plain, at + twice));
        plain = at + 1 + twice;
        if (twice) {
            at++;
            continue;
        }
        const char *close = data[at] == '{' ? memchr(data + at, '}', format->n - at) : NULL;
        if (close == NULL)
            return pm__j_fail(call->env, "format with a single '%c'", data[at]);
        PM_TRY(add_field(&b, data + at + 1, close));
        at = (size_t)(close - data);
        plain = at + 1;
    }
    PM_TRY(pm__j_add_part(call->env, &b.made, format, plain, format->n));
    return pm__j_built(call->env, &b.made, &call->out);
}
