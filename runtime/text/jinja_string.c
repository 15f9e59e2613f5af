/* jinja_string.c: strings, and how marks go where their bytes go. */
#include "jinja_value.h"

#include <string.h>

#include <utf8proc.h>

#include "../base/utf8.h"

/* ---- builders -------------------------------------------------------------------------------- */

static pm_status make_room(pm__j_env *env, pm__j_builder *out, size_t n) {
    if (out->most != 0 && n > out->most - out->n)
        return pm__j_fail(env, "it writes more than %zu MiB", out->most >> 20);
    if (n <= out->capacity - out->n)
        return PM_OK;
    if (n > SIZE_MAX / 4 || out->n > SIZE_MAX / 4)
        return pm__j_fail(env, "a string is too long");
    const size_t capacity = 2 * (out->n + n) + 32;
    char *data = pm__j_alloc(env, capacity, 1);
    if (data == NULL)
        return env->status;
    if (out->n > 0)
        memcpy(data, out->data, out->n);
    out->data = data;
    out->capacity = capacity;
    return PM_OK;
}

static pm_status add_mark(pm__j_env *env, pm__j_builder *out, size_t begin, size_t end) {
    if (out->n_mark > 0 && out->marks[out->n_mark - 1].end == begin) {
        out->marks[out->n_mark - 1].end = end;
        return PM_OK;
    }
    if (out->n_mark == out->mark_capacity) {
        const size_t capacity = 2 * out->n_mark + 2;
        pm__range *marks = pm__j_alloc(env, capacity, sizeof *marks);
        if (marks == NULL)
            return env->status;
        if (out->n_mark > 0)
            memcpy(marks, out->marks, out->n_mark * sizeof *marks);
        out->marks = marks;
        out->mark_capacity = capacity;
    }
    out->marks[out->n_mark++] = (pm__range){begin, end};
    return PM_OK;
}

pm_status pm__j_add_bytes(pm__j_env *env, pm__j_builder *out, const char *text, size_t n,
                          bool marked) {
    if (n == 0)
        return PM_OK;
    PM_TRY(make_room(env, out, n));
    memcpy(out->data + out->n, text, n);
    if (marked)
        PM_TRY(add_mark(env, out, out->n, out->n + n));
    out->n += n;
    return PM_OK;
}

pm_status pm__j_add_word(pm__j_env *env, pm__j_builder *out, const char *text) {
    return pm__j_add_bytes(env, out, text, strlen(text), false);
}

/* The first mark that ends after `at`. */
static size_t find_mark(const pm__j_string *text, size_t at) {
    size_t begin = 0, end = text->n_mark;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (text->marks[middle].end <= at)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static size_t most(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

pm_status pm__j_add_part(pm__j_env *env, pm__j_builder *out, const pm__j_string *text, size_t begin,
                         size_t end) {
    const size_t to = out->n;
    PM_TRY(pm__j_step(env, end - begin));
    PM_TRY(pm__j_add_bytes(env, out, text->data + begin, end - begin, text->marked));
    for (size_t i = find_mark(text, begin); i < text->n_mark && text->marks[i].begin < end; i++)
        PM_TRY(add_mark(env, out, to + most(text->marks[i].begin, begin) - begin,
                        to + least(text->marks[i].end, end) - begin));
    return PM_OK;
}

pm_status pm__j_add_string(pm__j_env *env, pm__j_builder *out, const pm__j_string *text) {
    return pm__j_add_part(env, out, text, 0, text->n);
}

static pm_status new_string(pm__j_env *env, pm__j_string text, pm__j_value *out) {
    pm__j_string *made = pm__j_alloc(env, 1, sizeof *made);
    if (made == NULL)
        return env->status;
    *made = text;
    *out = pm__j_text(made);
    return PM_OK;
}

pm_status pm__j_built(pm__j_env *env, const pm__j_builder *from, pm__j_value *out) {
    const bool marked =
        from->n_mark == 1 && from->marks[0].begin == 0 && from->marks[0].end == from->n;
    return new_string(env,
                      (pm__j_string){.data = from->n > 0 ? from->data : "",
                                     .n = from->n,
                                     .marks = from->marks,
                                     .n_mark = marked ? 0 : from->n_mark,
                                     .marked = marked},
                      out);
}

/* ---- strings and parts of them --------------------------------------------------------------- */

pm_status pm__j_new_string(pm__j_env *env, const char *text, size_t n, bool marked,
                           pm__j_value *out) {
    return new_string(env, (pm__j_string){.data = text, .n = n, .marked = marked && n > 0}, out);
}

pm_status pm__j_copy_string(pm__j_env *env, const char *text, size_t n, bool marked,
                            pm__j_value *out) {
    char *copy = pm__j_alloc(env, n + 1, 1);
    if (copy == NULL)
        return env->status;
    if (n > 0)
        memcpy(copy, text, n);
    return pm__j_new_string(env, copy, n, marked, out);
}

pm_status pm__j_part(pm__j_env *env, const pm__j_string *text, size_t begin, size_t end,
                     pm__j_value *out) {
    const pm__j_string part = {.data = text->data + begin,
                               .n = end - begin,
                               .marked = text->marked && end > begin,
                               .markup = text->markup};
    if (text->n_mark == 0)
        return new_string(env, part, out);
    pm__j_builder made = {0};
    PM_TRY(pm__j_add_part(env, &made, text, begin, end));
    return pm__j_built(env, &made, out);
}

bool pm__j_is_marked(const pm__j_string *text, size_t at, size_t *hint) {
    if (text->marked || text->n_mark == 0)
        return text->marked;
    if (*hint >= text->n_mark || text->marks[*hint].end <= at ||
        (*hint > 0 && text->marks[*hint - 1].end > at))
        *hint = find_mark(text, at);
    return *hint < text->n_mark && text->marks[*hint].begin <= at;
}

size_t pm__j_length(const pm__j_string *text) {
    uint32_t code;
    size_t n = 0;
    for (size_t at = 0; at < text->n; n++)
        at += pm__utf8_decode(text->data + at, text->n - at, &code);
    return n;
}

size_t pm__j_offset(const pm__j_string *text, size_t i) {
    uint32_t code;
    size_t at = 0;
    for (; i > 0 && at < text->n; i--)
        at += pm__utf8_decode(text->data + at, text->n - at, &code);
    return at;
}

/* Python's str.isspace(). */
bool pm__j_is_space(uint32_t code) {
    if (code < 128)
        return (code >= 9 && code <= 13) || (code >= 28 && code <= 32);
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
           code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

static bool is_one_of(const pm__j_string *chars, uint32_t code) {
    uint32_t other;
    for (size_t at = 0; at < chars->n;) {
        at += pm__utf8_decode(chars->data + at, chars->n - at, &other);
        if (other == code)
            return true;
    }
    return false;
}

static bool goes(const pm__j_string *chars, uint32_t code) {
    return chars != NULL ? is_one_of(chars, code) : pm__j_is_space(code);
}

/* Where the character that ends at `end` begins. */
static size_t back(const pm__j_string *text, size_t end) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && ((unsigned char)text->data[at] & 0xc0) == 0x80)
        at--;
    uint32_t code;
    return at + pm__utf8_decode(text->data + at, text->n - at, &code) == end ? at : end - 1;
}

pm_status pm__j_strip(pm__j_env *env, const pm__j_string *text, const pm__j_string *chars,
                      bool left, bool right, pm__j_value *out) {
    size_t begin = 0, end = text->n;
    const size_t cost = chars != NULL ? chars->n : 0;
    uint32_t code;
    while (left && begin < end) {
        const size_t n = pm__utf8_decode(text->data + begin, end - begin, &code);
        PM_TRY(pm__j_step(env, cost));
        if (!goes(chars, code))
            break;
        begin += n;
    }
    while (right && begin < end) {
        const size_t at = back(text, end);
        pm__utf8_decode(text->data + at, end - at, &code);
        PM_TRY(pm__j_step(env, cost));
        if (!goes(chars, code))
            break;
        end = at;
    }
    return pm__j_part(env, text, begin, end, out);
}

pm_status pm__j_find(pm__j_env *env, const pm__j_string *text, const pm__j_string *what,
                     size_t from, size_t *at) {
    const char *end = text->data + text->n;
    *at = SIZE_MAX;
    if (from > text->n || what->n > text->n - from)
        return PM_OK;
    if (what->n == 0) {
        *at = from;
        return PM_OK;
    }
    for (const char *place = text->data + from; (size_t)(end - place) >= what->n; place++) {
        const char *next = memchr(place, what->data[0], (size_t)(end - place) - what->n + 1);
        PM_TRY(pm__j_step(env,
                          next != NULL ? (size_t)(next - place) + what->n : (size_t)(end - place)));
        if (next == NULL)
            return PM_OK;
        place = next;
        if (memcmp(place, what->data, what->n) == 0) {
            *at = (size_t)(place - text->data);
            return PM_OK;
        }
    }
    return PM_OK;
}

/* Before each character and at the end, as Python does it for an empty text. */
static pm_status put_between(pm__j_env *env, const pm__j_string *text, const pm__j_string *what,
                             size_t n_most, pm__j_builder *made) {
    size_t at = 0;
    while (n_most > 0) {
        uint32_t code;
        const size_t n = at < text->n ? pm__utf8_decode(text->data + at, text->n - at, &code) : 0;
        PM_TRY(pm__j_add_string(env, made, what));
        PM_TRY(pm__j_add_part(env, made, text, at, at + n));
        at += n;
        n_most--;
        if (n == 0)
            break;
    }
    return pm__j_add_part(env, made, text, at, text->n);
}

pm_status pm__j_replace(pm__j_env *env, const pm__j_string *text, const pm__j_string *old,
                        const pm__j_string *new, size_t n_most, pm__j_value *out) {
    pm__j_builder made = {0};
    size_t done = 0;
    if (old->n == 0) {
        PM_TRY(put_between(env, text, new, n_most, &made));
        return pm__j_built(env, &made, out);
    }
    for (; n_most > 0; n_most--) {
        size_t at;
        PM_TRY(pm__j_find(env, text, old, done, &at));
        if (at == SIZE_MAX)
            break;
        PM_TRY(pm__j_add_part(env, &made, text, done, at));
        PM_TRY(pm__j_add_string(env, &made, new));
        done = at + old->n;
    }
    PM_TRY(pm__j_add_part(env, &made, text, done, text->n));
    return pm__j_built(env, &made, out);
}

/* ---- upper and lower case -------------------------------------------------------------------- */

pm_status pm__j_map_codes(pm__j_env *env, const pm__j_string *text, pm__j_change change, void *user,
                          pm__j_value *out) {
    pm__j_builder made = {0};
    size_t hint = 0;
    PM_TRY(pm__j_step(env, 8 * text->n));
    for (size_t at = 0; at < text->n;) {
        uint32_t code, codes[PM__J_MOST_CASE];
        char bytes[4 * PM__J_MOST_CASE];
        size_t n_byte = 0;
        const size_t n = pm__utf8_decode(text->data + at, text->n - at, &code);
        const size_t n_code = change(user, code, codes);
        for (size_t i = 0; i < n_code; i++)
            n_byte += pm__utf8_encode(codes[i], bytes + n_byte);
        PM_TRY(pm__j_add_bytes(env, &made, bytes, n_byte, pm__j_is_marked(text, at, &hint)));
        at += n;
    }
    return pm__j_built(env, &made, out);
}

typedef struct case_row {
    uint32_t code, upper[PM__J_MOST_CASE], title[PM__J_MOST_CASE];
} case_row;

static const case_row *find_row(uint32_t code) {
    static const case_row rows[] = {
#define PM_JINJA_CASE(code, u0, u1, u2, t0, t1, t2) {code, {u0, u1, u2}, {t0, t1, t2}},
#include "jinja_case.def"
#undef PM_JINJA_CASE
    };
    size_t begin = 0, end = PM__COUNT(rows);
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        if (rows[middle].code < code)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin < PM__COUNT(rows) && rows[begin].code == code ? &rows[begin] : NULL;
}

static size_t copy_codes(const uint32_t from[PM__J_MOST_CASE], uint32_t out[PM__J_MOST_CASE]) {
    size_t n = 0;
    while (n < PM__J_MOST_CASE && from[n] != 0) {
        out[n] = from[n];
        n++;
    }
    return n;
}

size_t pm__j_to_upper(uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    const case_row *row = code >= 0x80 ? find_row(code) : NULL;
    if (row != NULL)
        return copy_codes(row->upper, out);
    out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)code);
    return 1;
}

size_t pm__j_to_title(uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    const case_row *row = code >= 0x80 ? find_row(code) : NULL;
    if (row != NULL)
        return copy_codes(row->title, out);
    out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)code);
    return 1;
}

size_t pm__j_to_lower(uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    out[0] = code == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    out[1] = 0x307; /* the dot that a capital i with a dot keeps */
    return code == 0x130 ? 2 : 1;
}

static size_t to_upper(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    (void)user;
    return pm__j_to_upper(code, out);
}

static size_t to_lower(void *user, uint32_t code, uint32_t out[PM__J_MOST_CASE]) {
    (void)user;
    return pm__j_to_lower(code, out);
}

pm_status pm__j_upper(pm__j_env *env, const pm__j_string *text, pm__j_value *out) {
    return pm__j_map_codes(env, text, to_upper, NULL, out);
}

pm_status pm__j_lower(pm__j_env *env, const pm__j_string *text, pm__j_value *out) {
    return pm__j_map_codes(env, text, to_lower, NULL, out);
}
