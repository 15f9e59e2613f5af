/* jinja_value.c: lists, dicts, comparing; and what bounds a rendering. */
#include "jinja_value.h"

#include "jinja_call.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../base/utf8.h"

/* ---- failing, limits, memory ----------------------------------------------------------------- */

pm_status pm__j_fail(const pm__j_env *env, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (env->line == 0)
        return pm__fail(PM_FAILURE, "template: %s", text);
    return pm__fail(PM_FAILURE, "template, line %u: %s", env->line, text);
}

/* As much of a string as a sentence can hold. */
static int shown(const pm__j_string *text) {
    enum { MOST_SHOWN = 80 };
    size_t n = text->n < MOST_SHOWN ? text->n : MOST_SHOWN;
    n -= pm__utf8_incomplete(text->data, n);
    return (int)n;
}

pm_status pm__j_fail_undefined(const pm__j_env *env, pm__j_value value) {
    const pm__j_string *name = value.u.string;
    if (name == NULL)
        return pm__j_fail(env, "a value is used that is not there");
    const int n = shown(name);
    if (value.forbidden)
        return pm__j_fail(env,
                          "'%.*s' of a %s is not for templates: nothing but a namespace can be "
                          "changed, and nothing outside be seen",
                          n, name->data, pm__j_type_name((pm__j_value){.kind = value.owner}));
    if (value.owner == PM__J_MISSING)
        return pm__j_fail(env, "'%.*s' is not defined", n, name->data);
    return pm__j_fail(env, "%s has no '%.*s'", pm__j_type_name((pm__j_value){.kind = value.owner}),
                      n, name->data);
}

enum { BYTES_OF_STEP = 16 };

pm_status pm__j_step(pm__j_env *env, size_t n_byte) {
    env->n_step += 1 + n_byte / BYTES_OF_STEP;
    if (env->n_step > env->limits.n_step)
        return pm__j_fail(env, "it has not ended after %llu steps",
                          (unsigned long long)env->limits.n_step);
    return PM_OK;
}

pm_status pm__j_enter(pm__j_env *env) {
    if (env->depth >= env->limits.depth)
        return pm__j_fail(env, "more than %u levels deep", env->limits.depth);
    env->depth++;
    return PM_OK;
}

void *pm__j_alloc(pm__j_env *env, size_t n, size_t size) {
    const size_t most = env->limits.memory_bytes, left = most - env->taken;
    const size_t bytes = n > left / size ? SIZE_MAX : (n * size + 15) / 16 * 16;
    if (bytes > left) {
        env->status = pm__j_fail(env, "it takes more than %zu MiB", most >> 20);
        return NULL;
    }
    void *out = pm__arena_alloc(&env->arena, bytes);
    if (out == NULL)
        env->status = PM_OUT_OF_MEMORY;
    else
        env->taken += bytes;
    return out;
}

/* ---- lists ----------------------------------------------------------------------------------- */

pm_status pm__j_new_list(pm__j_env *env, pm__j_kind kind, size_t capacity, pm__j_value *out) {
    pm__j_list *list = pm__j_alloc(env, 1, sizeof *list);
    if (list == NULL)
        return env->status;
    list->capacity = capacity;
    list->items = pm__j_alloc(env, capacity, sizeof *list->items);
    if (list->items == NULL)
        return env->status;
    *out = pm__j_sequence(kind, list);
    return PM_OK;
}

pm_status pm__j_push(pm__j_env *env, pm__j_list *list, pm__j_value item) {
    if (list->n == list->capacity) {
        const size_t capacity = list->capacity + list->capacity / 2 + 8;
        pm__j_value *items = pm__j_alloc(env, capacity, sizeof *items);
        if (items == NULL)
            return env->status;
        if (list->n > 0)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = item;
    return PM_OK;
}

/* ---- dicts ----------------------------------------------------------------------------------- */

enum { MOST_SEARCHED = 8 }; /* entries that are compared one by one */

/* Equal keys have equal hashes: 1, 1.0 and True are one key. */
static uint64_t hash_number(const pm__j_env *env, pm__j_value key) {
    const double real = pm__j_real(key);
    if (key.kind == PM__J_FLOAT || fabs(real) < 9007199254740992.0)
        return pm__hash_keyed(env->key, &real, sizeof real);
    return pm__hash_keyed(env->key, &key.u.integer, sizeof key.u.integer);
}

static uint64_t hash(const pm__j_env *env, pm__j_value key) {
    if (key.kind == PM__J_STRING)
        return pm__hash_keyed(env->key, key.u.string->data, key.u.string->n);
    return pm__j_is_number(key) ? hash_number(env, key) : 0;
}

static bool can_be_key(pm__j_value key) {
    return key.kind == PM__J_STRING || key.kind == PM__J_NONE || pm__j_is_number(key);
}

static bool same_key(pm__j_value a, pm__j_value b) {
    if (a.kind == PM__J_STRING && b.kind == PM__J_STRING)
        return a.u.string->n == b.u.string->n &&
               memcmp(a.u.string->data, b.u.string->data, a.u.string->n) == 0;
    if (pm__j_is_number(a) && pm__j_is_number(b)) {
        if (a.kind == PM__J_FLOAT || b.kind == PM__J_FLOAT)
            return pm__j_real(a) == pm__j_real(b);
        return pm__j_integer(a) == pm__j_integer(b);
    }
    return a.kind == PM__J_NONE && b.kind == PM__J_NONE;
}

/* Slot of the table that has the key, or is free for it. */
static size_t find_slot(const pm__j_dict *dict, pm__j_value key, uint64_t code) {
    size_t slot = (size_t)code & (dict->n_table - 1);
    while (dict->table[slot] != 0) {
        const pm__j_entry *entry = &dict->entries[dict->table[slot] - 1];
        if (entry->hash == code && same_key(entry->key, key))
            break;
        slot = (slot + 1) & (dict->n_table - 1);
    }
    return slot;
}

/* NULL: not there. *code is the hash, where the dict has a table. */
static pm__j_entry *find_entry(const pm__j_env *env, const pm__j_dict *dict, pm__j_value key,
                               uint64_t *code) {
    if (dict->table != NULL) {
        *code = hash(env, key);
        const size_t slot = find_slot(dict, key, *code);
        return dict->table[slot] != 0 ? &dict->entries[dict->table[slot] - 1] : NULL;
    }
    for (size_t i = 0; i < dict->n; i++)
        if (same_key(dict->entries[i].key, key))
            return &dict->entries[i];
    return NULL;
}

static pm_status grow_dict(pm__j_env *env, pm__j_dict *dict) {
    const size_t capacity = dict->capacity == 0 ? 4 : 2 * dict->capacity;
    pm__j_entry *entries = pm__j_alloc(env, capacity, sizeof *entries);
    if (entries == NULL)
        return env->status;
    if (dict->n > 0)
        memcpy(entries, dict->entries, dict->n * sizeof *entries);
    dict->entries = entries;
    dict->capacity = capacity;
    if (capacity <= MOST_SEARCHED)
        return PM_OK;
    uint32_t *table = pm__j_alloc(env, 2 * capacity, sizeof *table);
    if (table == NULL)
        return env->status;
    const bool has_hashes = dict->table != NULL;
    dict->table = table;
    dict->n_table = 2 * capacity;
    for (size_t i = 0; i < dict->n; i++) {
        if (!has_hashes)
            entries[i].hash = hash(env, entries[i].key);
        table[find_slot(dict, entries[i].key, entries[i].hash)] = (uint32_t)i + 1;
    }
    return PM_OK;
}

pm_status pm__j_new_dict(pm__j_env *env, pm__j_value *out) {
    pm__j_dict *dict = pm__j_alloc(env, 1, sizeof *dict);
    if (dict == NULL)
        return env->status;
    *out = (pm__j_value){.kind = PM__J_DICT, .u = {.dict = dict}};
    return PM_OK;
}

/* What is looked at to find a key. */
static size_t key_bytes(pm__j_value key) {
    return key.kind == PM__J_STRING ? key.u.string->n : 0;
}

pm_status pm__j_put(pm__j_env *env, pm__j_dict *dict, pm__j_value key, pm__j_value value) {
    if (!can_be_key(key))
        return pm__j_fail(env, "a %s cannot be a key", pm__j_type_name(key));
    uint64_t code = 0;
    PM_TRY(pm__j_step(env, key_bytes(key)));
    pm__j_entry *entry = find_entry(env, dict, key, &code);
    if (entry != NULL) {
        entry->value = value;
        return PM_OK;
    }
    if (dict->n == dict->capacity) {
        PM_TRY(grow_dict(env, dict));
        if (dict->table != NULL)
            code = hash(env, key);
    }
    dict->entries[dict->n++] = (pm__j_entry){key, value, code};
    if (dict->table != NULL)
        dict->table[find_slot(dict, key, code)] = (uint32_t)dict->n;
    return PM_OK;
}

pm_status pm__j_put_name(pm__j_env *env, pm__j_dict *dict, const char *name, pm__j_value value) {
    pm__j_value key;
    PM_TRY(pm__j_new_string(env, name, strlen(name), false, &key));
    return pm__j_put(env, dict, key, value);
}

const pm__j_value *pm__j_get(const pm__j_env *env, const pm__j_dict *dict, pm__j_value key) {
    uint64_t code;
    const pm__j_entry *entry = find_entry(env, dict, key, &code);
    return entry != NULL ? &entry->value : NULL;
}

pm_status pm__j_look_up(pm__j_env *env, const pm__j_dict *dict, pm__j_value key,
                        const pm__j_value **out) {
    *out = pm__j_get(env, dict, key);
    return pm__j_step(env, key_bytes(key));
}

const pm__j_value *pm__j_get_name(const pm__j_env *env, const pm__j_dict *dict, const char *name) {
    const pm__j_string text = {.data = name, .n = strlen(name)};
    return pm__j_get(env, dict, pm__j_text(&text));
}

/* ---- what values are ------------------------------------------------------------------------- */

const char *pm__j_type_name(pm__j_value value) {
    static const char *const names[] = {
        "value that was not given",
        "undefined value",
        "None",
        "bool",
        "int",
        "float",
        "str",
        "list",
        "tuple",
        "range",
        "view of a dict",
        "generator",
        "dict",
        "namespace",
        "macro",
        "method",
        "function",
        "loop",
        "cycler",
        "joiner",
    };
    return names[value.kind];
}

bool pm__j_is_list(pm__j_value value) {
    return value.kind >= PM__J_LIST && value.kind <= PM__J_VIEW;
}

bool pm__j_is_number(pm__j_value value) {
    return value.kind >= PM__J_BOOL && value.kind <= PM__J_FLOAT;
}

int64_t pm__j_integer(pm__j_value number) {
    return number.kind == PM__J_BOOL ? number.u.boolean : number.u.integer;
}

double pm__j_real(pm__j_value number) {
    return number.kind == PM__J_FLOAT ? number.u.real : (double)pm__j_integer(number);
}

bool pm__j_truth(pm__j_value value) {
    switch (value.kind) {
    case PM__J_MISSING:
    case PM__J_UNDEFINED:
    case PM__J_NONE:
        return false;
    case PM__J_BOOL:
    case PM__J_INT:
        return pm__j_integer(value) != 0;
    case PM__J_FLOAT:
        return value.u.real != 0;
    case PM__J_STRING:
        return value.u.string->n > 0;
    case PM__J_LIST:
    case PM__J_TUPLE:
    case PM__J_RANGE:
    case PM__J_VIEW:
        return value.u.list->n > 0;
    case PM__J_DICT:
        return value.u.dict->n > 0;
    default:
        return true;
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int compare_strings(const pm__j_string *a, const pm__j_string *b) {
    /* Bytes of UTF-8 have the order of the characters. */
    const int order = memcmp(a->data, b->data, a->n < b->n ? a->n : b->n);
    return order != 0 ? (order > 0) - (order < 0) : (a->n > b->n) - (a->n < b->n);
}

/* 2: not a number is in no order. */
static int compare_numbers(pm__j_value a, pm__j_value b) {
    if (a.kind != PM__J_FLOAT && b.kind != PM__J_FLOAT) {
        const int64_t x = pm__j_integer(a), y = pm__j_integer(b);
        return (x > y) - (x < y);
    }
    const double x = pm__j_real(a), y = pm__j_real(b);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static pm_status equal_lists(pm__j_env *env, const pm__j_list *a, const pm__j_list *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++)
        PM_TRY(pm__j_equal(env, a->items[i], b->items[i], out));
    return PM_OK;
}

static pm_status equal_dicts(pm__j_env *env, const pm__j_dict *a, const pm__j_dict *b, bool *out) {
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const pm__j_value *other;
        PM_TRY(pm__j_look_up(env, b, a->entries[i].key, &other));
        *out = other != NULL;
        if (other != NULL)
            PM_TRY(pm__j_equal(env, a->entries[i].value, *other, out));
    }
    return PM_OK;
}

static pm_status equal(pm__j_env *env, pm__j_value a, pm__j_value b, bool *out) {
    if (pm__j_is_number(a) && pm__j_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return PM_OK;
    }
    *out = false;
    if (a.kind != b.kind)
        return PM_OK;
    switch (a.kind) {
    case PM__J_STRING:
        *out = a.u.string->n == b.u.string->n && compare_strings(a.u.string, b.u.string) == 0;
        return pm__j_step(env, a.u.string->n);
    case PM__J_LIST:
    case PM__J_TUPLE:
    case PM__J_RANGE:
        return equal_lists(env, a.u.list, b.u.list, out);
    case PM__J_DICT:
        return equal_dicts(env, a.u.dict, b.u.dict, out);
    case PM__J_UNDEFINED:
    case PM__J_NONE:
        *out = true;
        return PM_OK;
    default:
        *out = a.u.list == b.u.list;
        return PM_OK;
    }
}

pm_status pm__j_equal(pm__j_env *env, pm__j_value a, pm__j_value b, bool *out) {
    PM_TRY(pm__j_enter(env));
    PM_TRY(pm__j_step(env, 0));
    PM_TRY(equal(env, a, b, out));
    pm__j_leave(env);
    return PM_OK;
}

static pm_status compare_lists(pm__j_env *env, const char *sign, const pm__j_list *a,
                               const pm__j_list *b, int *out) {
    const size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++) {
        bool same = false;
        PM_TRY(pm__j_equal(env, a->items[i], b->items[i], &same));
        if (!same)
            return pm__j_compare(env, sign, a->items[i], b->items[i], out);
    }
    *out = (a->n > b->n) - (a->n < b->n);
    return PM_OK;
}

pm_status pm__j_compare(pm__j_env *env, const char *sign, pm__j_value a, pm__j_value b, int *out) {
    if (a.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, a);
    if (b.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, b);
    if (pm__j_is_number(a) && pm__j_is_number(b)) {
        *out = compare_numbers(a, b);
        return PM_OK;
    }
    if (a.kind == PM__J_STRING && b.kind == PM__J_STRING) {
        *out = compare_strings(a.u.string, b.u.string);
        return pm__j_step(env, a.u.string->n);
    }
    if (a.kind == b.kind && (a.kind == PM__J_LIST || a.kind == PM__J_TUPLE)) {
        PM_TRY(pm__j_enter(env));
        PM_TRY(compare_lists(env, sign, a.u.list, b.u.list, out));
        pm__j_leave(env);
        return PM_OK;
    }
    return pm__j_fail(env, "%s between %s and %s", sign, pm__j_type_name(a), pm__j_type_name(b));
}

pm_status pm__j_contains(pm__j_env *env, pm__j_value set, pm__j_value item, bool *out) {
    *out = false;
    if (set.kind == PM__J_STRING) {
        if (item.kind == PM__J_UNDEFINED)
            return pm__j_fail_undefined(env, item);
        if (item.kind != PM__J_STRING)
            return pm__j_fail(env, "'in' looks for a %s in a str", pm__j_type_name(item));
        size_t at = SIZE_MAX;
        PM_TRY(pm__j_find(env, set.u.string, item.u.string, 0, &at));
        *out = at != SIZE_MAX;
        return PM_OK;
    }
    if (set.kind == PM__J_DICT) {
        const pm__j_value *found;
        PM_TRY(pm__j_look_up(env, set.u.dict, item, &found));
        *out = found != NULL;
        return PM_OK;
    }
    pm__j_list items;
    PM_TRY(pm__j_items(env, set, &items));
    for (size_t i = 0; !*out && i < items.n; i++)
        PM_TRY(pm__j_equal(env, items.items[i], item, out));
    return PM_OK;
}

/* ---- going through --------------------------------------------------------------------------- */

static pm_status characters(pm__j_env *env, const pm__j_string *text, pm__j_list *out) {
    for (size_t at = 0; at < text->n;) {
        uint32_t code;
        pm__j_value item;
        const size_t n = pm__utf8_decode(text->data + at, text->n - at, &code);
        PM_TRY(pm__j_step(env, 0));
        PM_TRY(pm__j_part(env, text, at, at + n, &item));
        PM_TRY(pm__j_push(env, out, item));
        at += n;
    }
    return PM_OK;
}

pm_status pm__j_items(pm__j_env *env, pm__j_value value, pm__j_list *out) {
    *out = (pm__j_list){0};
    switch (value.kind) {
    case PM__J_UNDEFINED:
        return value.forbidden ? pm__j_fail_undefined(env, value) : PM_OK;
    case PM__J_STRING:
        return characters(env, value.u.string, out);
    case PM__J_LIST:
    case PM__J_TUPLE:
    case PM__J_RANGE:
    case PM__J_VIEW:
        *out = *value.u.list;
        return PM_OK;
    case PM__J_GENERATOR:
        if (!value.u.list->used)
            *out = *value.u.list;
        value.u.list->used = true;
        return PM_OK;
    case PM__J_DICT:
        PM_TRY(pm__j_step(env, value.u.dict->n));
        for (size_t i = 0; i < value.u.dict->n; i++)
            PM_TRY(pm__j_push(env, out, value.u.dict->entries[i].key));
        return PM_OK;
    default:
        return pm__j_fail(env, "a %s cannot be gone through", pm__j_type_name(value));
    }
}
