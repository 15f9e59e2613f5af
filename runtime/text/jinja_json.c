/* jinja_json.c: JSON text to values. Whole numbers stay whole, members keep their order. */
#include "jinja_value.h"

#include <ctype.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "../base/utf8.h"

typedef struct reader {
    pm__j_env *env;
    const char *what, *text, *at, *end;
} reader;

static pm_status read_value(reader *in, pm__j_value *out);

static pm_status bad(const reader *in, const char *why) {
    return pm__fail(PM_BAD_FILE, "%s: not JSON at byte %zu: %s", in->what,
                    (size_t)(in->at - in->text), why);
}

static void skip_space(reader *in) {
    while (in->at < in->end && memchr(" \t\r\n", *in->at, 4) != NULL)
        in->at++;
}

static bool take(reader *in, char sign) {
    skip_space(in);
    if (in->at == in->end || *in->at != sign)
        return false;
    in->at++;
    return true;
}

static bool take_word(reader *in, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(in->end - in->at) < n || memcmp(in->at, word, n) != 0)
        return false;
    in->at += n;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool read_hex(reader *in, uint32_t *out) {
    if (in->end - in->at < 4)
        return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        const char c = *in->at++;
        if (!isxdigit((unsigned char)c))
            return false;
        *out = *out * 16 + (uint32_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
    }
    return true;
}

/* Behind \u; half a pair becomes U+FFFD. */
static bool read_code(reader *in, uint32_t *out) {
    uint32_t low;
    if (!read_hex(in, out))
        return false;
    if (*out >= 0xd800 && *out < 0xdc00 && in->end - in->at >= 6 && in->at[0] == '\\' &&
        in->at[1] == 'u') {
        const char *from = in->at;
        in->at += 2;
        if (!read_hex(in, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
        else
            in->at = from;
    }
    if (*out >= 0xd800 && *out < 0xe000)
        *out = 0xfffd;
    return true;
}

static bool read_escape(reader *in, char **to) {
    static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    if (in->at == in->end)
        return false;
    const char c = *in->at++;
    if (c == 'u') {
        uint32_t code;
        if (!read_code(in, &code))
            return false;
        *to += pm__utf8_encode(code, *to);
        return true;
    }
    const char *found = c != '\0' ? strchr(letters, c) : NULL;
    if (found != NULL)
        *(*to)++ = means[found - letters];
    return found != NULL;
}

/* Behind the quote. Broken UTF-8 becomes U+FFFD, which may be longer. */
static pm_status read_string(reader *in, pm__j_value *out) {
    const char *close = in->at;
    while (close < in->end && *close != '"')
        close += *close == '\\' && close + 1 < in->end ? 2 : 1;
    char *text = pm__j_alloc(in->env, 3 * (size_t)(close - in->at) + 1, 1), *to = text;
    if (text == NULL)
        return in->env->status;
    while (in->at < in->end && *in->at != '"') {
        uint32_t code;
        if ((unsigned char)*in->at < ' ')
            return bad(in, "a control character in a string");
        if (*in->at == '\\') {
            in->at++;
            if (!read_escape(in, &to))
                return bad(in, "an escape that JSON does not have");
            continue;
        }
        in->at += pm__utf8_decode(in->at, (size_t)(in->end - in->at), &code);
        to += pm__utf8_encode(code, to);
    }
    if (!take(in, '"'))
        return bad(in, "a string without an end");
    return pm__j_new_string(in->env, text, (size_t)(to - text), true, out);
}

/* ---- numbers --------------------------------------------------------------------------------- */

enum { MOST_NUMBER = 400 }; /* characters of a number */

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && isdigit((unsigned char)*at))
        at++;
    return at;
}

/* The end of a number as JSON writes it, NULL if there is none; *whole: without point and
 * exponent. */
static const char *number_end(const char *at, const char *end, bool *whole) {
    at += at < end && *at == '-';
    const char *digits = at;
    at = skip_digits(at, end);
    if (at == digits || (*digits == '0' && at - digits > 1))
        return NULL;
    *whole = true;
    if (at < end && *at == '.') {
        digits = at + 1;
        at = skip_digits(digits, end);
        *whole = false;
        if (at == digits)
            return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        digits = at + 1;
        digits += digits < end && (*digits == '+' || *digits == '-');
        at = skip_digits(digits, end);
        *whole = false;
        if (at == digits)
            return NULL;
    }
    return at;
}

bool pm__j_parse_real(const char *text, size_t n, double *out) {
    char copy[MOST_NUMBER + 1], *end;
    if (n > MOST_NUMBER)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    char *point = strchr(copy, '.');
    if (point != NULL)
        *point = localeconv()->decimal_point[0];
    *out = strtod(copy, &end);
    return n > 0 && end == copy + n;
}

/* Digits, perhaps behind a minus; false: more than 64 bits have. */
static bool parse_whole(const char *at, const char *end, int64_t *out) {
    const int sign = *at == '-' ? -1 : 1;
    *out = 0;
    for (at += *at == '-'; at < end; at++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, sign * (*at - '0'), out))
            return false;
    return true;
}

/* Whole numbers beyond 64 bits become floats. */
static pm_status read_number(reader *in, pm__j_value *out) {
    bool whole;
    double real;
    const char *text = in->at, *end = number_end(in->at, in->end, &whole);
    if (end == NULL || end - in->at > MOST_NUMBER)
        return bad(in, end == NULL ? "no value" : "a number that is too long");
    in->at = end;
    int64_t value;
    if (whole && parse_whole(text, end, &value)) {
        *out = pm__j_int(value);
        return PM_OK;
    }
    if (!pm__j_parse_real(text, (size_t)(end - text), &real))
        return bad(in, "no number");
    *out = pm__j_float(real);
    return PM_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

static pm_status read_list(reader *in, pm__j_value *out) {
    PM_TRY(pm__j_new_list(in->env, PM__J_LIST, 0, out));
    if (take(in, ']'))
        return PM_OK;
    do {
        pm__j_value item;
        PM_TRY(read_value(in, &item));
        PM_TRY(pm__j_push(in->env, out->u.list, item));
    } while (take(in, ','));
    return take(in, ']') ? PM_OK : bad(in, "a list goes on with , or ends with ]");
}

static pm_status read_object(reader *in, pm__j_value *out) {
    PM_TRY(pm__j_new_dict(in->env, out));
    if (take(in, '}'))
        return PM_OK;
    do {
        pm__j_value key, value;
        if (!take(in, '"'))
            return bad(in, "a member begins with its name in quotes");
        PM_TRY(read_string(in, &key));
        if (!take(in, ':'))
            return bad(in, "a member has no :");
        PM_TRY(read_value(in, &value));
        PM_TRY(pm__j_put(in->env, out->u.dict, key, value));
    } while (take(in, ','));
    return take(in, '}') ? PM_OK : bad(in, "an object goes on with , or ends with }");
}

static pm_status read_any(reader *in, pm__j_value *out) {
    if (take(in, '"'))
        return read_string(in, out);
    if (take(in, '['))
        return read_list(in, out);
    if (take(in, '{'))
        return read_object(in, out);
    if (take_word(in, "null"))
        *out = pm__j_none();
    else if (take_word(in, "true"))
        *out = pm__j_bool(true);
    else if (take_word(in, "false"))
        *out = pm__j_bool(false);
    else
        return read_number(in, out);
    return PM_OK;
}

static pm_status read_value(reader *in, pm__j_value *out) {
    enum { MOST_DEPTH = 200 };
    if (in->env->depth >= MOST_DEPTH)
        return bad(in, "values are nested too deep");
    in->env->depth++;
    PM_TRY(read_any(in, out));
    in->env->depth--;
    return PM_OK;
}

pm_status pm__j_read_json(pm__j_env *env, const char *what, const char *text, size_t n,
                          pm__j_value *out) {
    reader in = {env, what, text, text, text + n};
    env->depth = 0;
    PM_TRY(read_value(&in, out));
    skip_space(&in);
    return in.at == in.end ? PM_OK : bad(&in, "something follows the value");
}
