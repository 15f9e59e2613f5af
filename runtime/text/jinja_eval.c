/* jinja_eval.c: expressions to values. */
#include "jinja_call.h"

#include <math.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

static pm_status eval_variable(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    const pm__j_value name = pm__j_text(node->name);
    const pm__j_value *found = NULL;
    size_t n_scope = 0;
    for (const pm__j_scope *scope = env->scope; scope != NULL && found == NULL;
         scope = scope->parent, n_scope++)
        found = pm__j_get(env, &scope->names, name);
    PM_TRY(pm__j_step(env, n_scope * (16 + node->name->n)));
    if (found == NULL)
        found = pm__j_get(env, &env->variables, name);
    const pm__j_row *global = found == NULL ? pm__j_find_global(node->name) : NULL;
    if (found != NULL)
        *out = *found;
    else if (global != NULL)
        *out = (pm__j_value){.kind = PM__J_GLOBAL, .u = {.global = global}};
    else
        *out = pm__j_undefined(PM__J_MISSING, node->name);
    return PM_OK;
}

static pm_status bind(pm__j_env *env, pm__j_value self, const pm__j_row *row,
                      const pm__j_string *name, pm__j_value *out) {
    if (row->run == pm__j_method_FORBIDDEN) {
        *out = pm__j_undefined(self.kind, name);
        out->forbidden = true;
        return PM_OK;
    }
    pm__j_bound *bound = pm__j_alloc(env, 1, sizeof *bound);
    if (bound == NULL)
        return env->status;
    *bound = (pm__j_bound){row, self};
    *out = (pm__j_value){.kind = PM__J_METHOD, .u = {.bound = bound}};
    return PM_OK;
}

static bool is_word(const pm__j_string *text, const char *word) {
    return text->n == strlen(word) && memcmp(text->data, word, text->n) == 0;
}

/* Attributes that are no methods. */
static pm_status own_attribute(pm__j_env *env, pm__j_value value, const pm__j_string *name,
                               bool *found, pm__j_value *out) {
    *found = false;
    if (value.kind == PM__J_LOOP)
        return pm__j_loop_attribute(env, value.u.loop, name, found, out);
    if (value.kind == PM__J_TUPLE && value.u.list->group) {
        const bool is_list = is_word(name, "list");
        *found = is_list || is_word(name, "grouper");
        if (*found)
            *out = value.u.list->items[is_list];
    } else if (value.kind == PM__J_MACRO && is_word(name, "name")) {
        *found = true;
        *out = pm__j_text(value.u.macro->node->name);
    } else if (value.kind == PM__J_CYCLER && is_word(name, "current")) {
        *found = true;
        *out = value.u.cycler->items[value.u.cycler->at];
    }
    return PM_OK;
}

pm_status pm__j_attribute(pm__j_env *env, pm__j_value value, const pm__j_string *name,
                          pm__j_value *out) {
    bool found;
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, value);
    const pm__j_row *row = pm__j_find_method(value.kind, name);
    if (row != NULL)
        return bind(env, value, row, name, out);
    PM_TRY(own_attribute(env, value, name, &found, out));
    if (found)
        return PM_OK;
    const pm__j_value *item = NULL;
    if (value.kind == PM__J_DICT || value.kind == PM__J_NAMESPACE)
        PM_TRY(pm__j_look_up(env, value.u.dict, pm__j_text(name), &item));
    *out = item != NULL ? *item : pm__j_undefined(value.kind, name);
    return PM_OK;
}

/* ---- items and slices ------------------------------------------------------------------------ */

static pm_status undefined_item(pm__j_env *env, pm__j_value value, pm__j_value key,
                                pm__j_value *out) {
    const pm__j_string *name;
    PM_TRY(pm__j_str(env, key, &name));
    *out = pm__j_undefined(value.kind, name);
    return PM_OK;
}

static pm_status string_item(pm__j_env *env, pm__j_value value, pm__j_value key, pm__j_value *out) {
    const pm__j_string *text = value.u.string;
    PM_TRY(pm__j_step(env, text->n));
    int64_t at = pm__j_integer(key);
    if (at < 0)
        at += (int64_t)pm__j_length(text);
    const size_t begin =
        at < 0 || (uint64_t)at >= text->n ? text->n : pm__j_offset(text, (size_t)at);
    if (begin == text->n)
        return undefined_item(env, value, key, out);
    const pm__j_string rest = {.data = text->data + begin, .n = text->n - begin};
    return pm__j_part(env, text, begin, begin + pm__j_offset(&rest, 1), out);
}

pm_status pm__j_item(pm__j_env *env, pm__j_value value, pm__j_value key, pm__j_value *out) {
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, value);
    const bool is_index = key.kind == PM__J_INT || key.kind == PM__J_BOOL;
    if (value.kind == PM__J_DICT) {
        const pm__j_value *found;
        PM_TRY(pm__j_look_up(env, value.u.dict, key, &found));
        if (found != NULL) {
            *out = *found;
            return PM_OK;
        }
    } else if (value.kind == PM__J_STRING && is_index) {
        return string_item(env, value, key, out);
    } else if (pm__j_is_list(value) && value.kind != PM__J_VIEW && is_index) {
        const pm__j_list *list = value.u.list;
        int64_t at = pm__j_integer(key);
        at += at < 0 ? (int64_t)list->n : 0;
        if (at >= 0 && (uint64_t)at < list->n) {
            *out = list->items[at];
            return PM_OK;
        }
    }
    if (key.kind == PM__J_STRING)
        return pm__j_attribute(env, value, key.u.string, out);
    return undefined_item(env, value, key, out);
}

/* Python's slice.indices(). */
static pm_status bounds_of(pm__j_env *env, const pm__j_value bounds[3], int64_t n, int64_t *begin,
                           int64_t *end, int64_t *step) {
    int64_t *const to[] = {begin, end, step};
    bool given[3];
    for (size_t i = 0; i < 3; i++) {
        given[i] = bounds[i].kind != PM__J_MISSING && bounds[i].kind != PM__J_NONE;
        if (given[i] && bounds[i].kind != PM__J_INT && bounds[i].kind != PM__J_BOOL)
            return bounds[i].kind == PM__J_UNDEFINED
                       ? pm__j_fail_undefined(env, bounds[i])
                       : pm__j_fail(env, "a slice by a %s", pm__j_type_name(bounds[i]));
        *to[i] = given[i] ? pm__j_integer(bounds[i]) : 0;
    }
    if (!given[2])
        *step = 1;
    if (*step == 0)
        return pm__j_fail(env, "a slice by steps of 0");
    const int64_t least = *step < 0 ? -1 : 0, most = *step < 0 ? n - 1 : n;
    for (size_t i = 0; i < 2; i++) {
        int64_t *at = to[i];
        if (!given[i])
            *at = (*step < 0) == (i == 0) ? most : least;
        else if (*at < 0)
            *at = *at + n < least ? least : *at + n;
        else
            *at = *at > most ? most : *at;
    }
    return PM_OK;
}

static pm_status slice_string(pm__j_env *env, const pm__j_string *text, int64_t begin, int64_t end,
                              int64_t step, pm__j_value *out) {
    if (step == 1) {
        const size_t from = pm__j_offset(text, (size_t)begin);
        const pm__j_string rest = {.data = text->data + from, .n = text->n - from};
        const size_t n = end > begin ? pm__j_offset(&rest, (size_t)(end - begin)) : 0;
        return pm__j_part(env, text, from, from + n, out);
    }
    pm__j_list items;
    pm__j_builder made = {0};
    PM_TRY(pm__j_items(env, pm__j_text(text), &items));
    for (int64_t at = begin; step > 0 ? at < end : at > end;) {
        PM_TRY(pm__j_add_string(env, &made, items.items[at].u.string));
        if (__builtin_add_overflow(at, step, &at))
            break;
    }
    return pm__j_built(env, &made, out);
}

static pm_status slice_list(pm__j_env *env, pm__j_value value, int64_t begin, int64_t end,
                            int64_t step, pm__j_value *out) {
    PM_TRY(pm__j_new_list(env, (pm__j_kind)value.kind, 0, out));
    for (int64_t at = begin; step > 0 ? at < end : at > end;) {
        PM_TRY(pm__j_step(env, 0));
        PM_TRY(pm__j_push(env, out->u.list, value.u.list->items[at]));
        if (__builtin_add_overflow(at, step, &at))
            break;
    }
    return PM_OK;
}

pm_status pm__j_slice(pm__j_env *env, pm__j_value value, const pm__j_value bounds[3],
                      pm__j_value *out) {
    int64_t begin, end, step;
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, value);
    if (value.kind == PM__J_STRING) {
        const pm__j_string *text = value.u.string;
        PM_TRY(pm__j_step(env, 2 * text->n));
        PM_TRY(bounds_of(env, bounds, (int64_t)pm__j_length(text), &begin, &end, &step));
        return slice_string(env, text, begin, end, step, out);
    }
    if (!pm__j_is_list(value) || value.kind == PM__J_VIEW)
        return pm__j_fail(env, "a %s has no slices", pm__j_type_name(value));
    PM_TRY(bounds_of(env, bounds, (int64_t)value.u.list->n, &begin, &end, &step));
    return slice_list(env, value, begin, end, step, out);
}

static pm_status eval_slice(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    const pm__j_node *const nodes[] = {node->b, node->c, node->d};
    pm__j_value value, bounds[3] = {{0}, {0}, {0}};
    PM_TRY(pm__j_eval(env, node->a, &value));
    for (size_t i = 0; i < 3; i++)
        if (nodes[i] != NULL)
            PM_TRY(pm__j_eval(env, nodes[i], &bounds[i]));
    return pm__j_slice(env, value, bounds, out);
}

pm_status pm__j_path(pm__j_env *env, pm__j_value value, pm__j_value path,
                     const pm__j_value *missing, pm__j_value *out) {
    *out = value;
    if (path.kind != PM__J_STRING) {
        PM_TRY(pm__j_item(env, value, path, out));
        if (missing != NULL && out->kind == PM__J_UNDEFINED)
            *out = *missing;
        return PM_OK;
    }
    const pm__j_string *text = path.u.string;
    for (size_t at = 0; at <= text->n;) {
        const char *dot = memchr(text->data + at, '.', text->n - at);
        const size_t end = dot != NULL ? (size_t)(dot - text->data) : text->n;
        pm__j_value key;
        PM_TRY(pm__j_part(env, text, at, end, &key));
        int64_t index = 0;
        size_t i = at;
        while (i < end && i < at + 18 && text->data[i] >= '0' && text->data[i] <= '9')
            index = index * 10 + (text->data[i++] - '0');
        PM_TRY(pm__j_step(env, end - at));
        PM_TRY(pm__j_item(env, *out, i == end && i > at ? pm__j_int(index) : key, out));
        if (missing != NULL && out->kind == PM__J_UNDEFINED)
            *out = *missing;
        at = end + 1;
    }
    return PM_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

typedef struct arguments {
    pm__j_value *items;
    pm__j_named *named;
    size_t n, n_named, capacity, named_capacity;
} arguments;

static pm_status add_named(pm__j_env *env, arguments *to, const pm__j_string *name,
                           pm__j_value value) {
    if (to->n_named == to->named_capacity) {
        const size_t capacity = 2 * to->named_capacity + 4;
        pm__j_named *named = pm__j_alloc(env, capacity, sizeof *named);
        if (named == NULL)
            return env->status;
        if (to->n_named > 0)
            memcpy(named, to->named, to->n_named * sizeof *named);
        to->named = named;
        to->named_capacity = capacity;
    }
    to->named[to->n_named++] = (pm__j_named){name, value};
    return PM_OK;
}

static pm_status add_dict(pm__j_env *env, arguments *to, pm__j_value value) {
    if (value.kind != PM__J_DICT)
        return pm__j_fail(env, "** before a %s", pm__j_type_name(value));
    for (size_t i = 0; i < value.u.dict->n; i++) {
        const pm__j_entry *entry = &value.u.dict->entries[i];
        if (entry->key.kind != PM__J_STRING)
            return pm__j_fail(env, "** before a dict whose keys are no names");
        PM_TRY(add_named(env, to, entry->key.u.string, entry->value));
    }
    return PM_OK;
}

/* By place first, whatever the order they are written in. */
static pm_status eval_arguments(pm__j_env *env, const pm__j_argument *first, arguments *to) {
    pm__j_list list = {0};
    for (const pm__j_argument *at = first; at != NULL; at = at->next) {
        pm__j_value value;
        PM_TRY(pm__j_eval(env, at->value, &value));
        if (at->name != NULL) {
            PM_TRY(add_named(env, to, at->name, value));
        } else if (at->stars == 2) {
            PM_TRY(add_dict(env, to, value));
        } else if (at->stars == 1) {
            pm__j_list items;
            PM_TRY(pm__j_items(env, value, &items));
            for (size_t i = 0; i < items.n; i++)
                PM_TRY(pm__j_push(env, &list, items.items[i]));
        } else {
            PM_TRY(pm__j_push(env, &list, value));
        }
    }
    to->items = list.items;
    to->n = list.n;
    return PM_OK;
}

pm_status pm__j_call_value(pm__j_call *call, pm__j_value function) {
    switch (function.kind) {
    case PM__J_UNDEFINED:
        return pm__j_fail_undefined(call->env, function);
    case PM__J_METHOD:
        call->self = function.u.bound->self;
        return pm__j_run_row(function.u.bound->row, call);
    case PM__J_GLOBAL:
        return pm__j_run_row(function.u.global, call);
    case PM__J_MACRO:
        return pm__j_call_macro(call, function.u.macro);
    case PM__J_LOOP:
        return pm__j_call_loop(call, function.u.loop);
    case PM__J_JOINER: {
        const size_t n_before = function.u.cycler->at++;
        const pm__j_string *separator = function.u.cycler->separator;
        return pm__j_part(call->env, separator, 0, n_before > 0 ? separator->n : 0, &call->out);
    }
    default:
        return pm__j_fail(call->env, "a %s cannot be called", pm__j_type_name(function));
    }
}

static pm_status eval_call(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value function;
    arguments given = {0};
    PM_TRY(pm__j_eval(env, node->a, &function));
    PM_TRY(eval_arguments(env, node->arguments, &given));
    pm__j_call call = {.env = env,
                       .items = given.items,
                       .n = given.n,
                       .named = given.named,
                       .n_named = given.n_named};
    PM_TRY(pm__j_call_value(&call, function));
    *out = call.out;
    return PM_OK;
}

static pm_status eval_row(pm__j_env *env, const pm__j_node *node, pm__j_value self,
                          pm__j_value *out) {
    const bool is_test = node->kind == PM__J_TEST;
    const pm__j_row *row = is_test ? pm__j_find_test(node->name) : pm__j_find_filter(node->name);
    if (row == NULL)
        return pm__j_fail(env, "there is no %s '%.*s'", is_test ? "test" : "filter",
                          node->name->n < 40 ? (int)node->name->n : 40, node->name->data);
    arguments given = {0};
    PM_TRY(eval_arguments(env, node->arguments, &given));
    pm__j_call call = {.env = env,
                       .self = self,
                       .items = given.items,
                       .n = given.n,
                       .named = given.named,
                       .n_named = given.n_named};
    PM_TRY(pm__j_run_row(row, &call));
    *out = call.out;
    return PM_OK;
}

pm_status pm__j_eval_filters(pm__j_env *env, const pm__j_node *node, pm__j_value self,
                             pm__j_value *out) {
    PM_TRY(pm__j_enter(env));
    if (node->a != NULL)
        PM_TRY(pm__j_eval_filters(env, node->a, self, &self));
    PM_TRY(eval_row(env, node, self, out));
    pm__j_leave(env);
    return PM_OK;
}

static pm_status eval_applied(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value self;
    PM_TRY(pm__j_eval(env, node->a, &self));
    PM_TRY(eval_row(env, node, self, out));
    if (node->kind == PM__J_TEST && node->flag)
        *out = pm__j_bool(!pm__j_truth(*out));
    return PM_OK;
}

/* ---- operators ------------------------------------------------------------------------------- */

static pm_status arithmetic_whole(pm__j_env *env, pm__j_sign sign, int64_t a, int64_t b,
                                  pm__j_value *out) {
    int64_t result = 0;
    bool fits = true;
    switch (sign) {
    case PM__J_ADD:
        fits = !__builtin_add_overflow(a, b, &result);
        break;
    case PM__J_SUBTRACT:
        fits = !__builtin_sub_overflow(a, b, &result);
        break;
    case PM__J_MULTIPLY:
        fits = !__builtin_mul_overflow(a, b, &result);
        break;
    case PM__J_FLOOR_DIVIDE:
    case PM__J_MODULO:
        fits = a != INT64_MIN || b != -1;
        if (fits && sign == PM__J_MODULO)
            result = (a % b != 0 && (a % b < 0) != (b < 0)) ? a % b + b : a % b;
        else if (fits)
            result = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    default: /* a power: by squaring */
        result = 1;
        for (int64_t left = b; left > 0 && fits; left >>= 1) {
            if (left & 1)
                fits = !__builtin_mul_overflow(result, a, &result);
            if (left > 1)
                fits = fits && !__builtin_mul_overflow(a, a, &a);
        }
    }
    *out = pm__j_int(result);
    return fits ? PM_OK : pm__j_fail(env, "a number is too large");
}

static pm_status arithmetic_real(pm__j_env *env, pm__j_sign sign, double a, double b,
                                 pm__j_value *out) {
    double rest;
    switch (sign) {
    case PM__J_ADD:
        *out = pm__j_float(a + b);
        return PM_OK;
    case PM__J_SUBTRACT:
        *out = pm__j_float(a - b);
        return PM_OK;
    case PM__J_MULTIPLY:
        *out = pm__j_float(a * b);
        return PM_OK;
    case PM__J_DIVIDE:
        *out = pm__j_float(a / b);
        return PM_OK;
    case PM__J_POWER:
        if (a < 0 && b != floor(b))
            return pm__j_fail(env, "a power that is no real number");
        *out = pm__j_float(pow(a, b));
        return PM_OK;
    default:
        rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0))
            rest += b;
        *out = pm__j_float(sign == PM__J_MODULO ? rest : floor((a - rest) / b + 0.5));
        return PM_OK;
    }
}

static pm_status arithmetic(pm__j_env *env, pm__j_sign sign, pm__j_value a, pm__j_value b,
                            pm__j_value *out) {
    const bool whole = a.kind != PM__J_FLOAT && b.kind != PM__J_FLOAT;
    const bool divides = sign == PM__J_DIVIDE || sign == PM__J_FLOOR_DIVIDE || sign == PM__J_MODULO;
    if ((divides && pm__j_real(b) == 0) ||
        (sign == PM__J_POWER && pm__j_real(a) == 0 && pm__j_real(b) < 0))
        return pm__j_fail(env, "a division by zero");
    if (whole && sign != PM__J_DIVIDE && !(sign == PM__J_POWER && pm__j_integer(b) < 0))
        return arithmetic_whole(env, sign, pm__j_integer(a), pm__j_integer(b), out);
    return arithmetic_real(env, sign, pm__j_real(a), pm__j_real(b), out);
}

/* A str that went through `safe` makes the other one safe, too. */
static pm_status add_escaped(pm__j_env *env, pm__j_builder *made, const pm__j_string *text,
                             bool escapes) {
    if (!escapes || text->markup)
        return pm__j_add_string(env, made, text);
    pm__j_call call = {.env = env, .self = pm__j_text(text)};
    PM_TRY(pm__j_filter_escape(&call));
    return pm__j_add_string(env, made, call.out.u.string);
}

static pm_status join_strings(pm__j_env *env, const pm__j_string *a, const pm__j_string *b,
                              bool is_add, pm__j_value *out) {
    pm__j_builder made = {0};
    const bool escapes = is_add && (a->markup || b->markup);
    PM_TRY(add_escaped(env, &made, a, escapes));
    PM_TRY(add_escaped(env, &made, b, escapes));
    PM_TRY(pm__j_built(env, &made, out));
    if (escapes) {
        pm__j_string *both = pm__j_alloc(env, 1, sizeof *both);
        if (both == NULL)
            return env->status;
        *both = *out->u.string;
        both->markup = true;
        *out = pm__j_text(both);
    }
    return PM_OK;
}

static pm_status add_lists(pm__j_env *env, pm__j_value a, pm__j_value b, pm__j_value *out) {
    const pm__j_list *const parts[] = {a.u.list, b.u.list};
    PM_TRY(pm__j_new_list(env, (pm__j_kind)a.kind, a.u.list->n + b.u.list->n, out));
    for (size_t k = 0; k < 2; k++) {
        PM_TRY(pm__j_step(env, parts[k]->n));
        for (size_t i = 0; i < parts[k]->n; i++)
            PM_TRY(pm__j_push(env, out->u.list, parts[k]->items[i]));
    }
    return PM_OK;
}

static pm_status repeat(pm__j_env *env, pm__j_value value, int64_t n, pm__j_value *out) {
    pm__j_builder made = {0};
    if (value.kind != PM__J_STRING)
        PM_TRY(pm__j_new_list(env, (pm__j_kind)value.kind, 0, out));
    for (int64_t k = 0; k < n; k++) {
        PM_TRY(pm__j_step(env, 0));
        if (value.kind == PM__J_STRING) {
            PM_TRY(pm__j_add_string(env, &made, value.u.string));
            continue;
        }
        for (size_t i = 0; i < value.u.list->n; i++)
            PM_TRY(pm__j_push(env, out->u.list, value.u.list->items[i]));
    }
    return value.kind == PM__J_STRING ? pm__j_built(env, &made, out) : PM_OK;
}

static bool repeats(pm__j_value value, pm__j_value n) {
    return (value.kind == PM__J_STRING || value.kind == PM__J_LIST || value.kind == PM__J_TUPLE) &&
           (n.kind == PM__J_INT || n.kind == PM__J_BOOL);
}

static pm_status concat(pm__j_env *env, pm__j_value a, pm__j_value b, pm__j_value *out) {
    const pm__j_string *left, *right;
    PM_TRY(pm__j_str(env, a, &left));
    PM_TRY(pm__j_str(env, b, &right));
    return join_strings(env, left, right, false, out);
}

pm_status pm__j_binary(pm__j_env *env, pm__j_sign sign, pm__j_value a, pm__j_value b,
                       pm__j_value *out) {
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    if (sign == PM__J_CONCAT)
        return concat(env, a, b, out);
    if (a.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, a);
    if (a.kind == PM__J_STRING && sign == PM__J_MODULO)
        return pm__j_percent(env, a.u.string, b, out);
    if (b.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, b);
    if (pm__j_is_number(a) && pm__j_is_number(b))
        return arithmetic(env, sign, a, b, out);
    if (sign == PM__J_ADD && a.kind == PM__J_STRING && b.kind == PM__J_STRING)
        return join_strings(env, a.u.string, b.u.string, true, out);
    if (sign == PM__J_ADD && a.kind == b.kind && (a.kind == PM__J_LIST || a.kind == PM__J_TUPLE))
        return add_lists(env, a, b, out);
    if (sign == PM__J_MULTIPLY && repeats(a, b))
        return repeat(env, a, pm__j_integer(b), out);
    if (sign == PM__J_MULTIPLY && repeats(b, a))
        return repeat(env, b, pm__j_integer(a), out);
    return pm__j_fail(env, "%s between %s and %s", signs[sign], pm__j_type_name(a),
                      pm__j_type_name(b));
}

static pm_status holds(pm__j_env *env, pm__j_sign sign, pm__j_value a, pm__j_value b, bool *out) {
    static const char *const signs[] = {"<", "<=", ">", ">="};
    int order = 0;
    switch (sign) {
    case PM__J_EQUAL:
    case PM__J_UNEQUAL:
        PM_TRY(pm__j_equal(env, a, b, out));
        *out = *out == (sign == PM__J_EQUAL);
        return PM_OK;
    case PM__J_IN:
    case PM__J_NOT_IN:
        PM_TRY(pm__j_contains(env, b, a, out));
        *out = *out == (sign == PM__J_IN);
        return PM_OK;
    default:
        break;
    }
    PM_TRY(pm__j_compare(env, signs[sign - PM__J_LESS], a, b, &order));
    *out = order != 2 && (sign == PM__J_LESS         ? order < 0
                          : sign == PM__J_LESS_EQUAL ? order <= 0
                          : sign == PM__J_GREATER    ? order > 0
                                                     : order >= 0);
    return PM_OK;
}

static pm_status eval_compare(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value left, right;
    bool all = true;
    PM_TRY(pm__j_eval(env, node->a, &left));
    for (const pm__j_node *at = node->items; at != NULL && all; at = at->next) {
        PM_TRY(pm__j_eval(env, at->a, &right));
        PM_TRY(holds(env, (pm__j_sign)at->sign, left, right, &all));
        left = right;
    }
    *out = pm__j_bool(all);
    return PM_OK;
}

static pm_status eval_sign(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value value;
    PM_TRY(pm__j_eval(env, node->a, &value));
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(env, value);
    if (!pm__j_is_number(value))
        return pm__j_fail(env, "a sign before a %s", pm__j_type_name(value));
    return arithmetic(env, node->kind == PM__J_NEGATE ? PM__J_SUBTRACT : PM__J_ADD,
                      value.kind == PM__J_FLOAT ? pm__j_float(-0.0 * (node->kind == PM__J_PLUS))
                                                : pm__j_int(0),
                      value, out);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static pm_status eval_logic(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    PM_TRY(pm__j_eval(env, node->a, out));
    if (pm__j_truth(*out) == (node->kind == PM__J_OR))
        return PM_OK;
    return pm__j_eval(env, node->b, out);
}

static pm_status eval_if_else(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value condition;
    PM_TRY(pm__j_eval(env, node->a, &condition));
    if (pm__j_truth(condition))
        return pm__j_eval(env, node->b, out);
    *out = pm__j_undefined(PM__J_MISSING, NULL);
    return node->c != NULL ? pm__j_eval(env, node->c, out) : PM_OK;
}

static pm_status eval_list(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    PM_TRY(pm__j_new_list(env, node->kind == PM__J_MAKE_LIST ? PM__J_LIST : PM__J_TUPLE, 0, out));
    for (const pm__j_node *at = node->items; at != NULL; at = at->next) {
        pm__j_value item;
        PM_TRY(pm__j_eval(env, at, &item));
        PM_TRY(pm__j_push(env, out->u.list, item));
    }
    return PM_OK;
}

static pm_status eval_dict(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    PM_TRY(pm__j_new_dict(env, out));
    for (const pm__j_node *at = node->items; at != NULL; at = at->next->next) {
        pm__j_value key, value;
        PM_TRY(pm__j_eval(env, at, &key));
        PM_TRY(pm__j_eval(env, at->next, &value));
        PM_TRY(pm__j_put(env, out->u.dict, key, value));
    }
    return PM_OK;
}

static pm_status eval_two(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value a, b;
    PM_TRY(pm__j_eval(env, node->a, &a));
    PM_TRY(pm__j_eval(env, node->b, &b));
    return node->kind == PM__J_ITEM ? pm__j_item(env, a, b, out)
                                    : pm__j_binary(env, (pm__j_sign)node->sign, a, b, out);
}

static pm_status eval(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    pm__j_value value;
    switch (node->kind) {
    case PM__J_CONSTANT:
        *out = node->value;
        return PM_OK;
    case PM__J_VARIABLE:
        return eval_variable(env, node, out);
    case PM__J_MAKE_LIST:
    case PM__J_MAKE_TUPLE:
        return eval_list(env, node, out);
    case PM__J_MAKE_DICT:
        return eval_dict(env, node, out);
    case PM__J_ATTRIBUTE:
        PM_TRY(pm__j_eval(env, node->a, &value));
        return pm__j_attribute(env, value, node->name, out);
    case PM__J_ITEM:
    case PM__J_BINARY:
        return eval_two(env, node, out);
    case PM__J_SLICE:
        return eval_slice(env, node, out);
    case PM__J_CALL:
        return eval_call(env, node, out);
    case PM__J_FILTER:
    case PM__J_TEST:
        return eval_applied(env, node, out);
    case PM__J_NOT:
        PM_TRY(pm__j_eval(env, node->a, &value));
        *out = pm__j_bool(!pm__j_truth(value));
        return PM_OK;
    case PM__J_AND:
    case PM__J_OR:
        return eval_logic(env, node, out);
    case PM__J_COMPARE:
        return eval_compare(env, node, out);
    case PM__J_IF_ELSE:
        return eval_if_else(env, node, out);
    default:
        return eval_sign(env, node, out);
    }
}

/* After a failure the line stays where it happened. */
pm_status pm__j_eval(pm__j_env *env, const pm__j_node *node, pm__j_value *out) {
    const uint32_t line = env->line;
    env->line = node->line;
    PM_TRY(pm__j_step(env, 0));
    PM_TRY(pm__j_enter(env));
    PM_TRY(eval(env, node, out));
    pm__j_leave(env);
    env->line = line;
    return PM_OK;
}
