/* jinja_methods.c: the methods of jinja_methods.def, as Python has them. */
#include "jinja_call.h"

#include <string.h>

#include <utf8proc.h>

#include "../base/utf8.h"

static const pm__j_string blank = {.data = " ", .n = 1};

static const pm__j_string *self_of(const pm__j_call *call) {
    return call->self.u.string;
}

static pm_status give(pm__j_call *call, bool value) {
    call->out = pm__j_bool(value);
    return PM_OK;
}

/* ---- stripping and case ---------------------------------------------------------------------- */

static pm_status strip(pm__j_call *call, bool left, bool right) {
    const pm__j_string *chars = NULL;
    if (pm__j_given(call, 0))
        PM_TRY(pm__j_need_string(call, 0, NULL, &chars));
    return pm__j_strip(call->env, self_of(call), chars, left, right, &call->out);
}

pm_status pm__j_method_strip(pm__j_call *call) {
    return strip(call, true, true);
}

pm_status pm__j_method_lstrip(pm__j_call *call) {
    return strip(call, true, false);
}

pm_status pm__j_method_rstrip(pm__j_call *call) {
    return strip(call, false, true);
}

pm_status pm__j_method_upper(pm__j_call *call) {
    return pm__j_upper(call->env, self_of(call), &call->out);
}

pm_status pm__j_method_lower(pm__j_call *call) {
    return pm__j_lower(call->env, self_of(call), &call->out);
}

static bool is_upper(uint32_t code) {
    const utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)code);
    return kind == UTF8PROC_CATEGORY_LU;
}

static bool is_lower(uint32_t code) {
    return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_LL;
}

static bool is_cased(uint32_t code) {
    return is_upper(code) || is_lower(code) ||
           utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_LT;
}

/* user: whether the character before it is of a word. */
static size_t to_title(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    bool *inside = user;
    const bool was = *inside;
    *inside = is_cased(code);
    return was ? pm__j_to_lower(code, out) : pm__j_to_title(code, out);
}

/* The first alone in title case. */
static size_t to_capital(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    bool *inside = user;
    const bool was = *inside;
    *inside = true;
    return was ? pm__j_to_lower(code, out) : pm__j_to_title(code, out);
}

static size_t to_other_case(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    (void)user;
    return is_upper(code) ? pm__j_to_lower(code, out) : pm__j_to_upper(code, out);
}

pm_status pm__j_method_title(pm__j_call *call) {
    bool inside = false;
    return pm__j_map_codes(call->env, self_of(call), to_title, &inside, &call->out);
}

pm_status pm__j_method_capitalize(pm__j_call *call) {
    bool inside = false;
    return pm__j_map_codes(call->env, self_of(call), to_capital, &inside, &call->out);
}

pm_status pm__j_method_swapcase(pm__j_call *call) {
    return pm__j_map_codes(call->env, self_of(call), to_other_case, NULL, &call->out);
}

/* ---- kinds of characters --------------------------------------------------------------------- */

static bool is_alpha(uint32_t code) {
    const utf8proc_category_t kind = utf8proc_category((utf8proc_int32_t)code);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

static bool is_digit(uint32_t code) {
    return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_ND;
}

static bool is_alnum(uint32_t code) {
    return is_alpha(code) || is_digit(code);
}

/* Every character, and there is one. */
static pm_status all(pm__j_call *call, bool (*is)(uint32_t code)) {
    const pm__j_string *text = self_of(call);
    bool holds = text->n > 0;
    uint32_t code;
    PM_TRY(pm__j_step(call->env, text->n));
    for (size_t at = 0; holds && at < text->n;) {
        at += pm__utf8_decode(text->data + at, text->n - at, &code);
        holds = is(code);
    }
    return give(call, holds);
}

pm_status pm__j_method_isalpha(pm__j_call *call) {
    return all(call, is_alpha);
}

pm_status pm__j_method_isalnum(pm__j_call *call) {
    return all(call, is_alnum);
}

pm_status pm__j_method_isdecimal(pm__j_call *call) {
    return all(call, is_digit);
}

pm_status pm__j_method_isspace(pm__j_call *call) {
    return all(call, pm__j_is_space);
}

/* One cased character, and none of the other case. */
static pm_status all_cased(pm__j_call *call, bool (*is)(uint32_t code)) {
    const pm__j_string *text = self_of(call);
    bool some = false, others = false;
    uint32_t code;
    PM_TRY(pm__j_step(call->env, text->n));
    for (size_t at = 0; at < text->n;) {
        at += pm__utf8_decode(text->data + at, text->n - at, &code);
        some |= is(code);
        others |= is_cased(code) && !is(code);
    }
    return give(call, some && !others);
}

pm_status pm__j_method_isupper(pm__j_call *call) {
    return all_cased(call, is_upper);
}

pm_status pm__j_method_islower(pm__j_call *call) {
    return all_cased(call, is_lower);
}

/* ---- searching ------------------------------------------------------------------------------- */

/* The part that start and end (parameters i and i + 1) leave, in bytes; false: none, start is past
 * the end. */
static pm_status window(pm__j_call *call, size_t i, size_t *begin, size_t *end, bool *there) {
    const pm__j_string *text = self_of(call);
    const pm__j_value *a = call->a;
    *begin = 0;
    *end = text->n;
    *there = true;
    if (!pm__j_given(call, i) && !pm__j_given(call, i + 1))
        return PM_OK;
    int64_t from = 0, to = 0;
    const int64_t n = (int64_t)pm__j_length(text);
    PM_TRY(pm__j_step(call->env, 3 * text->n));
    if (pm__j_given(call, i))
        PM_TRY(pm__j_need_int(call, i, 0, &from));
    to = n;
    if (pm__j_given(call, i + 1) && a[i + 1].kind != PM__J_NONE)
        PM_TRY(pm__j_need_int(call, i + 1, 0, &to));
    from = from < -n ? 0 : from < 0 ? from + n : from;
    to = to < -n ? 0 : to < 0 ? to + n : to > n ? n : to;
    *there = from <= to;
    if (*there) {
        *begin = pm__j_offset(text, (size_t)from);
        *end = pm__j_offset(text, (size_t)to);
    }
    return PM_OK;
}

static bool stands_at(const pm__j_string *text, size_t at, size_t end, const pm__j_string *what) {
    return end - at >= what->n && memcmp(text->data + at, what->data, what->n) == 0;
}

/* One text or a tuple of them. */
static pm_status begins_or_ends(pm__j_call *call, bool ends) {
    const pm__j_list one = {.items = call->a, .n = 1};
    const pm__j_list *choices = call->a[0].kind == PM__J_TUPLE ? call->a[0].u.list : &one;
    size_t begin, end;
    bool there, found = false;
    PM_TRY(window(call, 1, &begin, &end, &there));
    for (size_t i = 0; i < choices->n && !found; i++) {
        if (choices->items[i].kind == PM__J_UNDEFINED)
            return pm__j_fail_undefined(call->env, choices->items[i]);
        if (choices->items[i].kind != PM__J_STRING)
            return pm__j_fail(call->env, "%s needs a str, not a %s", call->what,
                              pm__j_type_name(choices->items[i]));
        const pm__j_string *what = choices->items[i].u.string;
        PM_TRY(pm__j_step(call->env, what->n));
        found = there && what->n <= end - begin &&
                stands_at(self_of(call), ends ? end - what->n : begin, end, what);
    }
    return give(call, found);
}

pm_status pm__j_method_startswith(pm__j_call *call) {
    return begins_or_ends(call, false);
}

pm_status pm__j_method_endswith(pm__j_call *call) {
    return begins_or_ends(call, true);
}

/* The last place before `end` at which `what` stands whole; SIZE_MAX: none. */
static pm_status find_last(pm__j_env *env, const pm__j_string *text, const pm__j_string *what,
                           size_t begin, size_t end, size_t *at) {
    *at = SIZE_MAX;
    if (what->n > end - begin)
        return PM_OK;
    for (size_t place = end - what->n + 1; place > begin; place--) {
        if (place % 64 == 0)
            PM_TRY(pm__j_step(env, 0));
        if (what->n > 0 && text->data[place - 1] != what->data[0])
            continue;
        PM_TRY(pm__j_step(env, what->n));
        if (stands_at(text, place - 1, end, what)) {
            *at = place - 1;
            return PM_OK;
        }
    }
    return PM_OK;
}

static pm_status find(pm__j_call *call, bool last, size_t *at) {
    const pm__j_string *text = self_of(call), *what;
    size_t begin, end;
    bool there;
    PM_TRY(pm__j_need_string(call, 0, NULL, &what));
    PM_TRY(window(call, 1, &begin, &end, &there));
    *at = SIZE_MAX;
    if (!there)
        return PM_OK;
    if (last)
        return find_last(call->env, text, what, begin, end, at);
    const pm__j_string part = {.data = text->data, .n = end};
    return pm__j_find(call->env, &part, what, begin, at);
}

static pm_status give_index(pm__j_call *call, size_t at) {
    const pm__j_string before = {.data = self_of(call)->data, .n = at == SIZE_MAX ? 0 : at};
    PM_TRY(pm__j_step(call->env, before.n));
    call->out = pm__j_int(at == SIZE_MAX ? -1 : (int64_t)pm__j_length(&before));
    return PM_OK;
}

pm_status pm__j_method_find(pm__j_call *call) {
    size_t at;
    PM_TRY(find(call, false, &at));
    return give_index(call, at);
}

pm_status pm__j_method_rfind(pm__j_call *call) {
    size_t at;
    PM_TRY(find(call, true, &at));
    return give_index(call, at);
}

pm_status pm__j_method_index(pm__j_call *call) {
    size_t at;
    PM_TRY(find(call, false, &at));
    if (at == SIZE_MAX)
        return pm__j_fail(call->env, "index: the text is not there");
    return give_index(call, at);
}

pm_status pm__j_method_count(pm__j_call *call) {
    const pm__j_string *text = self_of(call), *what;
    size_t at, end, n = 0;
    bool there;
    PM_TRY(pm__j_need_string(call, 0, NULL, &what));
    PM_TRY(window(call, 1, &at, &end, &there));
    const pm__j_string part = {.data = text->data, .n = end};
    if (there && what->n == 0) {
        const pm__j_string all_of_it = {.data = text->data + at, .n = end - at};
        n = pm__j_length(&all_of_it) + 1;
    }
    while (there && what->n > 0) {
        PM_TRY(pm__j_find(call->env, &part, what, at, &at));
        if (at == SIZE_MAX)
            break;
        at += what->n;
        n++;
    }
    call->out = pm__j_int((int64_t)n);
    return PM_OK;
}

pm_status pm__j_method_replace(pm__j_call *call) {
    const pm__j_string *old, *new;
    int64_t n;
    PM_TRY(pm__j_need_string(call, 0, NULL, &old));
    PM_TRY(pm__j_need_string(call, 1, NULL, &new));
    PM_TRY(pm__j_need_int(call, 2, -1, &n));
    return pm__j_replace(call->env, self_of(call), old, new, n < 0 ? SIZE_MAX : (size_t)n,
                         &call->out);
}

pm_status pm__j_method_removeprefix(pm__j_call *call) {
    const pm__j_string *text = self_of(call), *what;
    PM_TRY(pm__j_need_string(call, 0, NULL, &what));
    const size_t begin = stands_at(text, 0, text->n, what) ? what->n : 0;
    return pm__j_part(call->env, text, begin, text->n, &call->out);
}

pm_status pm__j_method_removesuffix(pm__j_call *call) {
    const pm__j_string *text = self_of(call), *what;
    PM_TRY(pm__j_need_string(call, 0, NULL, &what));
    const bool there = what->n <= text->n && stands_at(text, text->n - what->n, text->n, what);
    return pm__j_part(call->env, text, 0, there ? text->n - what->n : text->n, &call->out);
}

/* ---- splitting ------------------------------------------------------------------------------- */

static pm_status push_part(pm__j_call *call, size_t begin, size_t end) {
    pm__j_value part;
    PM_TRY(pm__j_step(call->env, 0));
    PM_TRY(pm__j_part(call->env, self_of(call), begin, end, &part));
    return pm__j_push(call->env, call->out.u.list, part);
}

static void reverse(pm__j_list *list) {
    for (size_t i = 0; i < list->n / 2; i++) {
        const pm__j_value held = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = held;
    }
}

/* Words between white space, `most` cuts from the left. */
static pm_status split_words(pm__j_call *call, size_t most) {
    const pm__j_string *text = self_of(call);
    uint32_t code;
    PM_TRY(pm__j_step(call->env, text->n));
    for (size_t at = 0; at < text->n;) {
        size_t n = pm__utf8_decode(text->data + at, text->n - at, &code);
        if (pm__j_is_space(code)) {
            at += n;
            continue;
        }
        if (most-- == 0)
            return push_part(call, at, text->n);
        size_t end = at;
        while (end < text->n && !pm__j_is_space(code)) {
            end += n;
            n = pm__utf8_decode(text->data + end, text->n - end, &code);
        }
        PM_TRY(push_part(call, at, end));
        at = end;
    }
    return PM_OK;
}

/* The same from the right: all words, and of those that are too many what stands before. */
static pm_status split_words_back(pm__j_call *call, size_t most) {
    const pm__j_string *text = self_of(call);
    PM_TRY(split_words(call, SIZE_MAX));
    pm__j_list *list = call->out.u.list;
    if (list->n <= most)
        return PM_OK;
    const size_t n_left = list->n - most; /* words that stay together */
    size_t end = text->n;
    for (size_t i = list->n; i > n_left; i--)
        PM_TRY(find_last(call->env, text, list->items[i - 1].u.string, 0, end, &end));
    pm__j_value left;
    PM_TRY(pm__j_part(call->env, text, 0, end, &left));
    PM_TRY(pm__j_strip(call->env, left.u.string, NULL, false, true, &left));
    list->items[0] = left;
    memmove(list->items + 1, list->items + n_left, most * sizeof *list->items);
    list->n = most + 1;
    return PM_OK;
}

static pm_status split_at(pm__j_call *call, const pm__j_string *sign, size_t most) {
    const pm__j_string *text = self_of(call);
    size_t begin = 0, at;
    for (; most > 0; most--) {
        PM_TRY(pm__j_find(call->env, text, sign, begin, &at));
        if (at == SIZE_MAX)
            break;
        PM_TRY(push_part(call, begin, at));
        begin = at + sign->n;
    }
    return push_part(call, begin, text->n);
}

static pm_status split_at_back(pm__j_call *call, const pm__j_string *sign, size_t most) {
    size_t end = self_of(call)->n, at;
    for (; most > 0; most--) {
        PM_TRY(find_last(call->env, self_of(call), sign, 0, end, &at));
        if (at == SIZE_MAX)
            break;
        PM_TRY(push_part(call, at + sign->n, end));
        end = at;
    }
    PM_TRY(push_part(call, 0, end));
    reverse(call->out.u.list);
    return PM_OK;
}

static pm_status split(pm__j_call *call, bool from_right) {
    int64_t n;
    PM_TRY(pm__j_need_int(call, 1, -1, &n));
    const size_t most = n < 0 ? SIZE_MAX : (size_t)n;
    PM_TRY(pm__j_new_list(call->env, PM__J_LIST, 0, &call->out));
    if (!pm__j_given(call, 0))
        return from_right ? split_words_back(call, most) : split_words(call, most);
    const pm__j_string *sign;
    PM_TRY(pm__j_need_string(call, 0, NULL, &sign));
    if (sign->n == 0)
        return pm__j_fail(call->env, "%s at an empty text", call->what);
    return from_right ? split_at_back(call, sign, most) : split_at(call, sign, most);
}

pm_status pm__j_method_split(pm__j_call *call) {
    return split(call, false);
}

pm_status pm__j_method_rsplit(pm__j_call *call) {
    return split(call, true);
}

static bool ends_line(uint32_t code) {
    return (code >= 10 && code <= 13) || (code >= 28 && code <= 30) || code == 0x85 ||
           code == 0x2028 || code == 0x2029;
}

pm_status pm__j_method_splitlines(pm__j_call *call) {
    const pm__j_string *text = self_of(call);
    const bool keeps = pm__j_flag(call, 0, false);
    size_t begin = 0;
    uint32_t code;
    PM_TRY(pm__j_new_list(call->env, PM__J_LIST, 0, &call->out));
    PM_TRY(pm__j_step(call->env, text->n));
    for (size_t at = 0; at < text->n;) {
        const size_t end = at;
        at += pm__utf8_decode(text->data + at, text->n - at, &code);
        if (!ends_line(code))
            continue;
        if (code == '\r' && at < text->n && text->data[at] == '\n')
            at++;
        PM_TRY(push_part(call, begin, keeps ? at : end));
        begin = at;
    }
    return begin < text->n ? push_part(call, begin, text->n) : PM_OK;
}

static pm_status partition(pm__j_call *call, bool last) {
    const pm__j_string *text = self_of(call), *sign;
    size_t at;
    PM_TRY(pm__j_need_string(call, 0, NULL, &sign));
    if (sign->n == 0)
        return pm__j_fail(call->env, "%s at an empty text", call->what);
    PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, 3, &call->out));
    PM_TRY(last ? find_last(call->env, text, sign, 0, text->n, &at)
                : pm__j_find(call->env, text, sign, 0, &at));
    const size_t found = at != SIZE_MAX;
    const size_t cut = found ? at : last ? 0 : text->n;
    PM_TRY(push_part(call, 0, cut));
    PM_TRY(push_part(call, cut, cut + found * sign->n));
    return push_part(call, cut + found * sign->n, text->n);
}

pm_status pm__j_method_partition(pm__j_call *call) {
    return partition(call, false);
}

pm_status pm__j_method_rpartition(pm__j_call *call) {
    return partition(call, true);
}

/* ---- joining and filling --------------------------------------------------------------------- */

pm_status pm__j_method_join(pm__j_call *call) {
    pm__j_list items;
    pm__j_builder made = {0};
    PM_TRY(pm__j_items(call->env, call->a[0], &items));
    for (size_t i = 0; i < items.n; i++) {
        if (items.items[i].kind != PM__J_STRING)
            return pm__j_fail(call->env, "join of a %s", pm__j_type_name(items.items[i]));
        if (i > 0)
            PM_TRY(pm__j_add_string(call->env, &made, self_of(call)));
        PM_TRY(pm__j_add_string(call->env, &made, items.items[i].u.string));
    }
    return pm__j_built(call->env, &made, &call->out);
}

static pm_status fill(pm__j_call *call, bool left, const pm__j_string *with) {
    const pm__j_string *text = self_of(call);
    pm__j_builder made = {0};
    int64_t width;
    PM_TRY(pm__j_need_int(call, 0, 0, &width));
    PM_TRY(pm__j_step(call->env, text->n));
    const int64_t n = (int64_t)pm__j_length(text);
    if (!left)
        PM_TRY(pm__j_add_string(call->env, &made, text));
    for (int64_t i = n; i < width; i++)
        PM_TRY(pm__j_add_string(call->env, &made, with));
    if (left)
        PM_TRY(pm__j_add_string(call->env, &made, text));
    return pm__j_built(call->env, &made, &call->out);
}

pm_status pm__j_method_ljust(pm__j_call *call) {
    const pm__j_string *with;
    PM_TRY(pm__j_need_string(call, 1, &blank, &with));
    return fill(call, false, with);
}

pm_status pm__j_method_rjust(pm__j_call *call) {
    const pm__j_string *with;
    PM_TRY(pm__j_need_string(call, 1, &blank, &with));
    return fill(call, true, with);
}

pm_status pm__j_method_center(pm__j_call *call) {
    return pm__j_filter_center(call);
}

/* Zeros go behind a sign. */
pm_status pm__j_method_zfill(pm__j_call *call) {
    static const pm__j_string zero = {.data = "0", .n = 1};
    const pm__j_string *text = self_of(call);
    const bool has_sign = text->n > 0 && (text->data[0] == '-' || text->data[0] == '+');
    if (!has_sign)
        return fill(call, true, &zero);
    int64_t width;
    pm__j_value sign, rest;
    PM_TRY(pm__j_need_int(call, 0, 0, &width));
    PM_TRY(pm__j_part(call->env, text, 0, 1, &sign));
    PM_TRY(pm__j_part(call->env, text, 1, text->n, &rest));
    call->self = rest;
    call->a[0] = pm__j_int(width > 0 ? width - 1 : 0);
    PM_TRY(fill(call, true, &zero));
    return pm__j_binary(call->env, PM__J_CONCAT, sign, call->out, &call->out);
}

pm_status pm__j_method_format(pm__j_call *call) {
    return pm__j_braces(call, self_of(call));
}

/* ---- dicts and lists ------------------------------------------------------------------------- */

pm_status pm__j_method_get(pm__j_call *call) {
    const pm__j_value *found;
    PM_TRY(pm__j_look_up(call->env, call->self.u.dict, call->a[0], &found));
    call->out = found != NULL                      ? *found
                : call->a[1].kind == PM__J_MISSING ? pm__j_none()
                                                   : call->a[1];
    return PM_OK;
}

static pm_status view(pm__j_call *call, bool keys, bool values) {
    const pm__j_dict *dict = call->self.u.dict;
    PM_TRY(pm__j_new_list(call->env, PM__J_VIEW, dict->n, &call->out));
    call->out.u.list->view = !keys ? "dict_values" : values ? "dict_items" : "dict_keys";
    for (size_t i = 0; i < dict->n; i++) {
        const pm__j_entry *entry = &dict->entries[i];
        pm__j_value item = keys ? entry->key : entry->value;
        PM_TRY(pm__j_step(call->env, 0));
        if (keys && values) {
            PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, 2, &item));
            PM_TRY(pm__j_push(call->env, item.u.list, entry->key));
            PM_TRY(pm__j_push(call->env, item.u.list, entry->value));
        }
        PM_TRY(pm__j_push(call->env, call->out.u.list, item));
    }
    return PM_OK;
}

pm_status pm__j_method_items(pm__j_call *call) {
    return view(call, true, true);
}

pm_status pm__j_method_keys(pm__j_call *call) {
    return view(call, true, false);
}

pm_status pm__j_method_values(pm__j_call *call) {
    return view(call, false, true);
}

/* Nothing changes: a value is its own copy. */
pm_status pm__j_method_copy(pm__j_call *call) {
    call->out = call->self;
    return PM_OK;
}

static pm_status search_list(pm__j_call *call, size_t *first, size_t *n) {
    const pm__j_list *list = call->self.u.list;
    *first = SIZE_MAX;
    *n = 0;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        PM_TRY(pm__j_equal(call->env, list->items[i], call->a[0], &same));
        if (same && (*n)++ == 0)
            *first = i;
    }
    return PM_OK;
}

pm_status pm__j_method_list_count(pm__j_call *call) {
    size_t first, n;
    PM_TRY(search_list(call, &first, &n));
    call->out = pm__j_int((int64_t)n);
    return PM_OK;
}

pm_status pm__j_method_list_index(pm__j_call *call) {
    size_t first, n;
    PM_TRY(search_list(call, &first, &n));
    if (n == 0)
        return pm__j_fail(call->env, "index: the value is not there");
    call->out = pm__j_int((int64_t)first);
    return PM_OK;
}

/* ---- loops and cyclers ----------------------------------------------------------------------- */

pm_status pm__j_method_next(pm__j_call *call) {
    pm__j_cycler *cycler = call->self.u.cycler;
    call->out = cycler->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->n;
    return PM_OK;
}

pm_status pm__j_method_reset(pm__j_call *call) {
    call->self.u.cycler->at = 0;
    call->out = pm__j_none();
    return PM_OK;
}

pm_status pm__j_method_cycle(pm__j_call *call) {
    if (call->n == 0)
        return pm__j_fail(call->env, "loop.cycle needs values");
    call->out = call->items[call->self.u.loop->index % call->n];
    return PM_OK;
}

pm_status pm__j_method_changed(pm__j_call *call) {
    pm__j_loop *loop = call->self.u.loop;
    pm__j_value now;
    bool same = false;
    PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, call->n, &now));
    for (size_t i = 0; i < call->n; i++)
        PM_TRY(pm__j_push(call->env, now.u.list, call->items[i]));
    if (loop->checks_changed)
        PM_TRY(pm__j_equal(call->env, loop->last_checked, now, &same));
    loop->checks_changed = true;
    loop->last_checked = now;
    return give(call, !same);
}
