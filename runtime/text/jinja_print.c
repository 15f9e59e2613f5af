/* jinja_print.c: values as Python prints them, and as JSON. */
#include "jinja_value.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "../base/utf8.h"

/* ---- numbers --------------------------------------------------------------------------------- */

/* The fewest digits that are this number, and the power of ten of the first. Whatever the locale
 * puts between the digits is left out. */
static int shortest_digits(double value, char digits[20], int *power) {
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (precision == 16 || strtod(text, NULL) == value)
            break;
    }
    int n = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (isdigit((unsigned char)*at))
            digits[n++] = *at;
    *power = (int)strtol(at + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    return n;
}

/* From 1e-4 to 1e16 without an exponent. */
void pm__j_float_text(double value, char out[PM__J_FLOAT_SIZE]) {
    char digits[20];
    int power;
    if (!isfinite(value)) {
        snprintf(out, PM__J_FLOAT_SIZE, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    const char *sign = signbit(value) ? "-" : "";
    const int n = shortest_digits(fabs(value), digits, &power);
    if (power < -4 || power >= 16)
        snprintf(out, PM__J_FLOAT_SIZE, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "",
                 digits + 1, power < 0 ? '-' : '+', abs(power));
    else if (power < 0)
        snprintf(out, PM__J_FLOAT_SIZE, "%s0.%.*s%s", sign, -power - 1, "0000", digits);
    else if (n <= power + 1)
        snprintf(out, PM__J_FLOAT_SIZE, "%s%s%.*s.0", sign, digits, power + 1 - n,
                 "0000000000000000");
    else
        snprintf(out, PM__J_FLOAT_SIZE, "%s%.*s.%s", sign, power + 1, digits, digits + power + 1);
}

static pm_status add_number(pm__j_env *env, pm__j_builder *out, pm__j_value value) {
    enum { FLOAT_COST = 2048 }; /* as bytes looked at */
    char text[PM__J_FLOAT_SIZE];
    PM_TRY(pm__j_step(env, value.kind == PM__J_FLOAT ? FLOAT_COST : 0));
    if (value.kind == PM__J_FLOAT)
        pm__j_float_text(value.u.real, text);
    else
        snprintf(text, sizeof text, "%" PRId64, value.u.integer);
    return pm__j_add_word(env, out, text);
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool is_printable(uint32_t code) {
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return code == ' ';
    default:
        return true;
    }
}

/* What Python writes for a character within quotes; 0: the character itself. */
static int repr_escape(char quote, uint32_t code, char out[16]) {
    if (code == '\n' || code == '\r' || code == '\t')
        return snprintf(out, 16, "\\%c", code == '\n' ? 'n' : code == '\r' ? 'r' : 't');
    if (code == '\\' || code == (unsigned char)quote)
        return snprintf(out, 16, "\\%c", (char)code);
    if (is_printable(code))
        return 0;
    const char *form = code < 0x100     ? "\\x%02" PRIx32
                       : code < 0x10000 ? "\\u%04" PRIx32
                                        : "\\U%08" PRIx32;
    return snprintf(out, 16, form, code);
}

static int json_escape(bool ascii, uint32_t code, char out[16]) {
    static const char shorts[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    const char *found = code != 0 && code < 128 ? strchr(shorts, (int)code) : NULL;
    if (found != NULL)
        return snprintf(out, 16, "\\%c", letters[found - shorts]);
    if (code >= 0x10000 && ascii)
        return snprintf(out, 16, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xd7c0 + (code >> 10),
                        0xdc00 + (code & 0x3ff));
    if (code < 0x20 || (code > 0x7e && ascii))
        return snprintf(out, 16, "\\u%04" PRIx32, code);
    return 0;
}

typedef struct quoting {
    bool json, ascii;
    char quote;
} quoting;

/* An escape is marked as its character is. */
static pm_status add_quoted(pm__j_env *env, pm__j_builder *out, const pm__j_string *text,
                            const quoting *how) {
    size_t hint = 0, plain = 0, at = 0;
    PM_TRY(pm__j_step(env, 2 * text->n));
    PM_TRY(pm__j_add_bytes(env, out, &how->quote, 1, false));
    while (at < text->n) {
        char escape[16];
        uint32_t code;
        const size_t n = pm__utf8_decode(text->data + at, text->n - at, &code);
        const int size = how->json ? json_escape(how->ascii, code, escape)
                                   : repr_escape(how->quote, code, escape);
        if (size > 0) {
            PM_TRY(pm__j_add_part(env, out, text, plain, at));
            PM_TRY(
                pm__j_add_bytes(env, out, escape, (size_t)size, pm__j_is_marked(text, at, &hint)));
            plain = at + n;
        }
        at += n;
    }
    PM_TRY(pm__j_add_part(env, out, text, plain, at));
    return pm__j_add_bytes(env, out, &how->quote, 1, false);
}

static pm_status repr_string(pm__j_env *env, pm__j_builder *out, const pm__j_string *text) {
    const bool single = text->n > 0 && memchr(text->data, '\'', text->n) != NULL;
    const bool both = single && memchr(text->data, '"', text->n) != NULL;
    const quoting how = {.quote = single && !both ? '"' : '\''};
    return add_quoted(env, out, text, &how);
}

/* ---- str and repr ---------------------------------------------------------------------------- */

static pm_status repr_items(pm__j_env *env, pm__j_builder *out, const pm__j_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            PM_TRY(pm__j_add_word(env, out, ", "));
        PM_TRY(pm__j_add_repr(env, out, list->items[i]));
    }
    return PM_OK;
}

static pm_status repr_list(pm__j_env *env, pm__j_builder *out, pm__j_value value) {
    const pm__j_list *list = value.u.list;
    const bool tuple = value.kind == PM__J_TUPLE, view = value.kind == PM__J_VIEW;
    if (view)
        PM_TRY(pm__j_add_word(env, out, list->view));
    PM_TRY(pm__j_add_word(env, out, tuple ? "(" : view ? "([" : "["));
    PM_TRY(repr_items(env, out, list));
    return pm__j_add_word(env, out, view ? "])" : !tuple ? "]" : list->n == 1 ? ",)" : ")");
}

static pm_status repr_dict(pm__j_env *env, pm__j_builder *out, const pm__j_dict *dict) {
    PM_TRY(pm__j_add_word(env, out, "{"));
    for (size_t i = 0; i < dict->n; i++) {
        if (i > 0)
            PM_TRY(pm__j_add_word(env, out, ", "));
        PM_TRY(pm__j_add_repr(env, out, dict->entries[i].key));
        PM_TRY(pm__j_add_word(env, out, ": "));
        PM_TRY(pm__j_add_repr(env, out, dict->entries[i].value));
    }
    return pm__j_add_word(env, out, "}");
}

static pm_status add_repr(pm__j_env *env, pm__j_builder *out, pm__j_value value) {
    switch (value.kind) {
    case PM__J_UNDEFINED:
        return pm__j_add_word(env, out, "Undefined");
    case PM__J_NONE:
        return pm__j_add_word(env, out, "None");
    case PM__J_BOOL:
        return pm__j_add_word(env, out, value.u.boolean ? "True" : "False");
    case PM__J_INT:
    case PM__J_FLOAT:
        return add_number(env, out, value);
    case PM__J_STRING:
        return repr_string(env, out, value.u.string);
    case PM__J_LIST:
    case PM__J_TUPLE:
    case PM__J_RANGE:
    case PM__J_VIEW:
        return repr_list(env, out, value);
    case PM__J_DICT:
        return repr_dict(env, out, value.u.dict);
    case PM__J_NAMESPACE:
        PM_TRY(pm__j_add_word(env, out, "<Namespace "));
        PM_TRY(repr_dict(env, out, value.u.dict));
        return pm__j_add_word(env, out, ">");
    default:
        PM_TRY(pm__j_add_word(env, out, "<"));
        PM_TRY(pm__j_add_word(env, out, pm__j_type_name(value)));
        return pm__j_add_word(env, out, ">");
    }
}

pm_status pm__j_add_repr(pm__j_env *env, pm__j_builder *out, pm__j_value value) {
    PM_TRY(pm__j_enter(env));
    PM_TRY(pm__j_step(env, 0));
    PM_TRY(add_repr(env, out, value));
    pm__j_leave(env);
    return PM_OK;
}

pm_status pm__j_add_str(pm__j_env *env, pm__j_builder *out, pm__j_value value) {
    if (value.kind == PM__J_STRING)
        return pm__j_add_string(env, out, value.u.string);
    if (value.kind == PM__J_UNDEFINED)
        return value.forbidden ? pm__j_fail_undefined(env, value) : PM_OK;
    return pm__j_add_repr(env, out, value);
}

pm_status pm__j_str(pm__j_env *env, pm__j_value value, const pm__j_string **out) {
    if (value.kind != PM__J_STRING) {
        pm__j_builder made = {0};
        PM_TRY(pm__j_add_str(env, &made, value));
        PM_TRY(pm__j_built(env, &made, &value));
    }
    *out = value.u.string;
    return PM_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static pm_status new_line(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                          uint32_t level) {
    if (style->indent == NULL)
        return PM_OK;
    PM_TRY(pm__j_add_word(env, out, "\n"));
    for (uint32_t i = 0; i < level; i++)
        PM_TRY(pm__j_add_string(env, out, style->indent));
    return PM_OK;
}

static pm_status json_list(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                           const pm__j_list *list, uint32_t level) {
    if (list->n == 0)
        return pm__j_add_word(env, out, "[]");
    PM_TRY(pm__j_add_word(env, out, "["));
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            PM_TRY(pm__j_add_string(env, out, style->item));
        PM_TRY(new_line(env, out, style, level + 1));
        PM_TRY(pm__j_add_json(env, out, style, list->items[i], level + 1));
    }
    PM_TRY(new_line(env, out, style, level));
    return pm__j_add_word(env, out, "]");
}

static int compare_keys(const void *left, const void *right) {
    const pm__j_string *a = (*(const pm__j_entry *const *)left)->key.u.string;
    const pm__j_string *b = (*(const pm__j_entry *const *)right)->key.u.string;
    const int order = memcmp(a->data, b->data, a->n < b->n ? a->n : b->n);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

/* The entries in the order they are written in. */
static pm_status order_entries(pm__j_env *env, const pm__j_dict *dict, bool sort,
                               const pm__j_entry ***out) {
    const pm__j_entry **order = pm__j_alloc(env, dict->n, sizeof *order);
    if (order == NULL)
        return env->status;
    for (size_t i = 0; i < dict->n; i++) {
        order[i] = &dict->entries[i];
        if (sort && order[i]->key.kind != PM__J_STRING)
            return pm__j_fail(env, "tojson sorts keys that are str only");
    }
    if (sort && dict->n > 1)
        qsort(order, dict->n, sizeof *order, compare_keys);
    *out = order;
    return PM_OK;
}

static pm_status json_key(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                          pm__j_value key) {
    if (key.kind == PM__J_STRING)
        return pm__j_add_json(env, out, style, key, 0);
    PM_TRY(pm__j_add_word(env, out, "\""));
    PM_TRY(pm__j_add_json(env, out, style, key, 0));
    return pm__j_add_word(env, out, "\"");
}

static pm_status json_dict(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                           const pm__j_dict *dict, uint32_t level) {
    const pm__j_entry **order = NULL;
    if (dict->n == 0)
        return pm__j_add_word(env, out, "{}");
    PM_TRY(order_entries(env, dict, style->sort, &order));
    PM_TRY(pm__j_add_word(env, out, "{"));
    for (size_t i = 0; i < dict->n; i++) {
        if (i > 0)
            PM_TRY(pm__j_add_string(env, out, style->item));
        PM_TRY(new_line(env, out, style, level + 1));
        PM_TRY(json_key(env, out, style, order[i]->key));
        PM_TRY(pm__j_add_string(env, out, style->colon));
        PM_TRY(pm__j_add_json(env, out, style, order[i]->value, level + 1));
    }
    PM_TRY(new_line(env, out, style, level));
    return pm__j_add_word(env, out, "}");
}

static pm_status json_float(pm__j_env *env, pm__j_builder *out, double value) {
    if (isfinite(value))
        return add_number(env, out, pm__j_float(value));
    return pm__j_add_word(env, out, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

static pm_status add_json(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                          pm__j_value value, uint32_t level) {
    switch (value.kind) {
    case PM__J_NONE:
        return pm__j_add_word(env, out, "null");
    case PM__J_BOOL:
        return pm__j_add_word(env, out, value.u.boolean ? "true" : "false");
    case PM__J_INT:
        return add_number(env, out, value);
    case PM__J_FLOAT:
        return json_float(env, out, value.u.real);
    case PM__J_STRING: {
        const quoting how = {.json = true, .ascii = style->ascii, .quote = '"'};
        return add_quoted(env, out, value.u.string, &how);
    }
    case PM__J_LIST:
    case PM__J_TUPLE:
        return json_list(env, out, style, value.u.list, level);
    case PM__J_DICT:
        return json_dict(env, out, style, value.u.dict, level);
    case PM__J_UNDEFINED:
        return pm__j_fail_undefined(env, value);
    default:
        return pm__j_fail(env, "tojson cannot write a %s", pm__j_type_name(value));
    }
}

pm_status pm__j_add_json(pm__j_env *env, pm__j_builder *out, const pm__j_json_style *style,
                         pm__j_value value, uint32_t level) {
    PM_TRY(pm__j_enter(env));
    PM_TRY(pm__j_step(env, 0));
    PM_TRY(add_json(env, out, style, value, level));
    pm__j_leave(env);
    return PM_OK;
}
