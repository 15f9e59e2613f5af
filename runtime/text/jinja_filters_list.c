/* jinja_filters_list.c: the filters of jinja_filters.def that are about lists and dicts. */
#include "jinja_call.h"

#include <string.h>

/* The items of the value, whatever it is. */
static pm_status self_items(pm__j_call *call, pm__j_list *out) {
    return pm__j_items(call->env, call->self, out);
}

static pm_status new_list(pm__j_call *call, pm__j_kind kind) {
    return pm__j_new_list(call->env, kind, 0, &call->out);
}

static pm_status push(pm__j_call *call, pm__j_value item) {
    PM_TRY(pm__j_step(call->env, 0));
    return pm__j_push(call->env, call->out.u.list, item);
}

/* ---- parts ----------------------------------------------------------------------------------- */

pm_status pm__j_filter_default(pm__j_call *call) {
    const bool use = call->self.kind == PM__J_UNDEFINED ||
                     (pm__j_flag(call, 1, false) && !pm__j_truth(call->self));
    call->out = !use ? call->self : call->a[0];
    if (use && call->a[0].kind == PM__J_MISSING)
        return pm__j_new_string(call->env, "", 0, false, &call->out);
    return PM_OK;
}

pm_status pm__j_filter_attr(pm__j_call *call) {
    const pm__j_string *name;
    PM_TRY(pm__j_need_string(call, 0, NULL, &name));
    const pm__j_value v = call->self;
    if (v.kind == PM__J_DICT && pm__j_find_method(PM__J_DICT, name) == NULL) {
        call->out = pm__j_undefined(PM__J_DICT, name); /* items are not looked at */
        return PM_OK;
    }
    return pm__j_attribute(call->env, v, name, &call->out);
}

pm_status pm__j_filter_length(pm__j_call *call) {
    const pm__j_value v = call->self;
    if (v.kind == PM__J_UNDEFINED && v.forbidden)
        return pm__j_fail_undefined(call->env, v);
    if (v.kind == PM__J_STRING)
        PM_TRY(pm__j_step(call->env, v.u.string->n));
    if (v.kind == PM__J_STRING)
        call->out = pm__j_int((int64_t)pm__j_length(v.u.string));
    else if (v.kind == PM__J_DICT)
        call->out = pm__j_int((int64_t)v.u.dict->n);
    else if (pm__j_is_list(v))
        call->out = pm__j_int((int64_t)v.u.list->n);
    else if (v.kind == PM__J_UNDEFINED)
        call->out = pm__j_int(0);
    else
        return pm__j_fail(call->env, "a %s has no length", pm__j_type_name(v));
    return PM_OK;
}

pm_status pm__j_filter_first(pm__j_call *call) {
    pm__j_list items;
    PM_TRY(self_items(call, &items));
    call->out = items.n > 0 ? items.items[0] : pm__j_undefined(PM__J_MISSING, NULL);
    return PM_OK;
}

pm_status pm__j_filter_last(pm__j_call *call) {
    pm__j_list items;
    if (call->self.kind == PM__J_GENERATOR)
        return pm__j_fail(call->env, "last of a generator; list comes first");
    PM_TRY(self_items(call, &items));
    call->out = items.n > 0 ? items.items[items.n - 1] : pm__j_undefined(PM__J_MISSING, NULL);
    return PM_OK;
}

pm_status pm__j_filter_list(pm__j_call *call) {
    pm__j_list items;
    PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_LIST));
    for (size_t i = 0; i < items.n; i++)
        PM_TRY(push(call, items.items[i]));
    return PM_OK;
}

pm_status pm__j_filter_items(pm__j_call *call) {
    if (call->self.kind == PM__J_UNDEFINED)
        return new_list(call, PM__J_GENERATOR);
    if (call->self.kind != PM__J_DICT)
        return pm__j_fail(call->env, "items of a %s", pm__j_type_name(call->self));
    PM_TRY(pm__j_method_items(call));
    call->out.kind = PM__J_GENERATOR;
    return PM_OK;
}

pm_status pm__j_filter_reverse(pm__j_call *call) {
    if (call->self.kind == PM__J_STRING) {
        const pm__j_value bounds[3] = {{0}, {0}, pm__j_int(-1)};
        return pm__j_slice(call->env, call->self, bounds, &call->out);
    }
    pm__j_list items;
    PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    for (size_t i = items.n; i > 0; i--)
        PM_TRY(push(call, items.items[i - 1]));
    return PM_OK;
}

/* Rows of so many items; the last is filled up. */
pm_status pm__j_filter_batch(pm__j_call *call) {
    pm__j_list items;
    int64_t n;
    pm__j_value row = {0};
    PM_TRY(pm__j_need_int(call, 0, 1, &n));
    PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    for (size_t i = 0; i < items.n; i++) {
        if (row.kind == PM__J_MISSING || (int64_t)row.u.list->n == n) {
            PM_TRY(pm__j_new_list(call->env, PM__J_LIST, 0, &row));
            PM_TRY(push(call, row));
        }
        PM_TRY(pm__j_push(call->env, row.u.list, items.items[i]));
    }
    while (row.kind != PM__J_MISSING && pm__j_given(call, 1) && (int64_t)row.u.list->n < n) {
        PM_TRY(pm__j_step(call->env, 0));
        PM_TRY(pm__j_push(call->env, row.u.list, call->a[1]));
    }
    return PM_OK;
}

/* So many columns, the first ones longer by one. */
pm_status pm__j_filter_slice(pm__j_call *call) {
    pm__j_list items;
    int64_t n;
    size_t at = 0;
    PM_TRY(pm__j_need_int(call, 0, 0, &n));
    PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    if (n <= 0)
        return pm__j_fail(call->env, "slice into %lld parts", (long long)n);
    const size_t each = items.n / (size_t)n, longer = items.n % (size_t)n;
    for (size_t k = 0; k < (size_t)n; k++) {
        pm__j_value part;
        PM_TRY(pm__j_new_list(call->env, PM__J_LIST, 0, &part));
        for (size_t i = 0; i < each + (k < longer); i++)
            PM_TRY(pm__j_push(call->env, part.u.list, items.items[at++]));
        if (pm__j_given(call, 1) && k >= longer)
            PM_TRY(pm__j_push(call->env, part.u.list, call->a[1]));
        PM_TRY(push(call, part));
    }
    return PM_OK;
}

pm_status pm__j_filter_join(pm__j_call *call) {
    static const pm__j_string none = {.data = ""};
    const pm__j_string *separator = &none;
    pm__j_list items;
    pm__j_builder made = {0};
    PM_TRY(self_items(call, &items));
    if (call->a[0].kind != PM__J_MISSING)
        PM_TRY(pm__j_str(call->env, call->a[0], &separator));
    for (size_t i = 0; i < items.n; i++) {
        pm__j_value item = items.items[i];
        if (pm__j_given(call, 1))
            PM_TRY(pm__j_path(call->env, item, call->a[1], NULL, &item));
        if (i > 0)
            PM_TRY(pm__j_add_string(call->env, &made, separator));
        PM_TRY(pm__j_step(call->env, 0));
        PM_TRY(pm__j_add_str(call->env, &made, item));
    }
    return pm__j_built(call->env, &made, &call->out);
}

/* ---- choosing and changing ------------------------------------------------------------------- */

/* The filter or test named by value i of the call, with the values behind it. */
static pm_status apply(pm__j_call *call, bool is_test, size_t i, pm__j_value self,
                       pm__j_value *out) {
    if (call->items[i].kind != PM__J_STRING)
        return pm__j_fail(call->env, "%s needs the name of a %s", call->what,
                          is_test ? "test" : "filter");
    pm__j_call inner = {.env = call->env,
                        .self = self,
                        .items = call->items + i + 1,
                        .n = call->n - i - 1,
                        .named = call->named,
                        .n_named = call->n_named};
    PM_TRY(pm__j_apply(&inner, is_test, call->items[i].u.string));
    *out = inner.out;
    return PM_OK;
}

/* by_path  value 0 is an attribute; the test follows
 * wants    what a test has to give */
static pm_status choose(pm__j_call *call, bool by_path, bool wants) {
    pm__j_list items = {0};
    if (pm__j_truth(call->self)) /* of what is false nothing is looked at, not even its kind */
        PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    if (by_path && call->n == 0)
        return pm__j_fail(call->env, "%s needs an attribute", call->what);
    for (size_t i = 0; i < items.n; i++) {
        pm__j_value looked_at = items.items[i], result;
        if (by_path)
            PM_TRY(pm__j_path(call->env, looked_at, call->items[0], NULL, &looked_at));
        result = looked_at;
        if (call->n > by_path)
            PM_TRY(apply(call, true, by_path, looked_at, &result));
        if (pm__j_truth(result) == wants)
            PM_TRY(push(call, items.items[i]));
    }
    return PM_OK;
}

pm_status pm__j_filter_select(pm__j_call *call) {
    return choose(call, false, true);
}

pm_status pm__j_filter_reject(pm__j_call *call) {
    return choose(call, false, false);
}

pm_status pm__j_filter_selectattr(pm__j_call *call) {
    return choose(call, true, true);
}

pm_status pm__j_filter_rejectattr(pm__j_call *call) {
    return choose(call, true, false);
}

static const pm__j_value *find_named(const pm__j_call *call, const char *name) {
    for (size_t i = 0; i < call->n_named; i++)
        if (call->named[i].name->n == strlen(name) &&
            memcmp(call->named[i].name->data, name, strlen(name)) == 0)
            return &call->named[i].value;
    return NULL;
}

/* By a filter, or to an attribute. */
pm_status pm__j_filter_map(pm__j_call *call) {
    const pm__j_value *path = find_named(call, "attribute");
    const pm__j_value *missing = find_named(call, "default");
    pm__j_list items = {0};
    if (pm__j_truth(call->self))
        PM_TRY(self_items(call, &items));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    if (call->n == 0 && path == NULL)
        return pm__j_fail(call->env, "map needs a filter or an attribute");
    for (size_t i = 0; i < items.n; i++) {
        pm__j_value result;
        if (call->n > 0)
            PM_TRY(apply(call, false, 0, items.items[i], &result));
        else
            PM_TRY(pm__j_path(call->env, items.items[i], *path, missing, &result));
        PM_TRY(push(call, result));
    }
    return PM_OK;
}

pm_status pm__j_filter_sum(pm__j_call *call) {
    pm__j_list items;
    PM_TRY(self_items(call, &items));
    call->out = call->a[1].kind == PM__J_MISSING ? pm__j_int(0) : call->a[1];
    for (size_t i = 0; i < items.n; i++) {
        pm__j_value item = items.items[i];
        if (pm__j_given(call, 0))
            PM_TRY(pm__j_path(call->env, item, call->a[0], NULL, &item));
        PM_TRY(pm__j_step(call->env, 0));
        PM_TRY(pm__j_binary(call->env, PM__J_ADD, call->out, item, &call->out));
    }
    return PM_OK;
}

/* ---- order ----------------------------------------------------------------------------------- */

typedef struct keyed {
    pm__j_value key, item;
} keyed;

/* What an item is compared by: an attribute, or itself; str in lower case unless case counts. */
static pm_status key_of(pm__j_call *call, pm__j_value item, pm__j_value path, bool case_counts,
                        pm__j_value *out) {
    *out = item;
    if (path.kind != PM__J_MISSING && path.kind != PM__J_NONE)
        PM_TRY(pm__j_path(call->env, item, path, NULL, out));
    if (!case_counts && out->kind == PM__J_STRING)
        PM_TRY(pm__j_lower(call->env, out->u.string, out));
    return PM_OK;
}

static pm_status make_keys(pm__j_call *call, pm__j_value path, bool case_counts, keyed **out,
                           size_t *n) {
    pm__j_list items;
    PM_TRY(self_items(call, &items));
    *out = pm__j_alloc(call->env, 2 * items.n, sizeof **out); /* and room to merge */
    if (*out == NULL)
        return call->env->status;
    *n = items.n;
    for (size_t i = 0; i < items.n; i++) {
        (*out)[i].item = items.items[i];
        PM_TRY(key_of(call, items.items[i], path, case_counts, &(*out)[i].key));
    }
    return PM_OK;
}

/* Stable, from runs of 1 upwards; `spare` as long as `all`. Sorted is what `all` has. */
static pm_status merge_sort(pm__j_env *env, keyed *all, keyed *spare, size_t n, bool reverse) {
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * run) {
            const size_t middle = begin + run < n ? begin + run : n;
            const size_t end = begin + 2 * run < n ? begin + 2 * run : n;
            size_t i = begin, k = middle;
            for (size_t to = begin; to < end; to++) {
                int order = 0;
                if (i < middle && k < end)
                    PM_TRY(pm__j_compare(env, "<", all[k].key, all[i].key, &order));
                PM_TRY(pm__j_step(env, 0));
                const bool second = i == middle || (k < end && (reverse ? order == 1 : order < 0));
                spare[to] = second ? all[k++] : all[i++];
            }
        }
        memcpy(all, spare, n * sizeof *all);
    }
    return PM_OK;
}

static pm_status sorted(pm__j_call *call, pm__j_value path, bool case_counts, bool reverse,
                        keyed **out, size_t *n) {
    PM_TRY(make_keys(call, path, case_counts, out, n));
    return merge_sort(call->env, *out, *out + *n, *n, reverse);
}

pm_status pm__j_filter_sort(pm__j_call *call) {
    keyed *all;
    size_t n;
    PM_TRY(
        sorted(call, call->a[2], pm__j_flag(call, 1, false), pm__j_flag(call, 0, false), &all, &n));
    PM_TRY(new_list(call, PM__J_LIST));
    for (size_t i = 0; i < n; i++)
        PM_TRY(push(call, all[i].item));
    return PM_OK;
}

pm_status pm__j_filter_dictsort(pm__j_call *call) {
    keyed *all;
    size_t n;
    bool by_value = false;
    if (call->self.kind != PM__J_DICT)
        return pm__j_fail(call->env, "dictsort of a %s", pm__j_type_name(call->self));
    if (pm__j_given(call, 1)) {
        const pm__j_string *by;
        PM_TRY(pm__j_need_string(call, 1, NULL, &by));
        by_value = by->n == 5;
        if (!by_value && by->n != 3)
            return pm__j_fail(call->env, "dictsort is by 'key' or 'value'");
    }
    PM_TRY(pm__j_method_items(call));
    call->self = call->out;
    PM_TRY(sorted(call, pm__j_int(by_value), pm__j_flag(call, 0, false), pm__j_flag(call, 2, false),
                  &all, &n));
    PM_TRY(new_list(call, PM__J_LIST));
    for (size_t i = 0; i < n; i++)
        PM_TRY(push(call, all[i].item));
    return PM_OK;
}

static pm_status extreme(pm__j_call *call, int sign) {
    keyed *all;
    size_t n, best = 0;
    PM_TRY(make_keys(call, call->a[1], pm__j_flag(call, 0, false), &all, &n));
    for (size_t i = 1; i < n; i++) {
        int order = 0;
        PM_TRY(pm__j_compare(call->env, "<", all[i].key, all[best].key, &order));
        PM_TRY(pm__j_step(call->env, 0));
        if (order != 2 && (sign > 0 ? order > 0 : order < 0))
            best = i;
    }
    call->out = n > 0 ? all[best].item : pm__j_undefined(PM__J_MISSING, NULL);
    return PM_OK;
}

pm_status pm__j_filter_min(pm__j_call *call) {
    return extreme(call, -1);
}

pm_status pm__j_filter_max(pm__j_call *call) {
    return extreme(call, 1);
}

/* The first of those that are alike. */
pm_status pm__j_filter_unique(pm__j_call *call) {
    keyed *all;
    size_t n;
    pm__j_value seen;
    PM_TRY(make_keys(call, call->a[1], pm__j_flag(call, 0, false), &all, &n));
    PM_TRY(pm__j_new_dict(call->env, &seen));
    PM_TRY(new_list(call, PM__J_GENERATOR));
    for (size_t i = 0; i < n; i++) {
        const pm__j_value *found;
        PM_TRY(pm__j_look_up(call->env, seen.u.dict, all[i].key, &found));
        if (found != NULL)
            continue;
        PM_TRY(pm__j_put(call->env, seen.u.dict, all[i].key, pm__j_none()));
        PM_TRY(push(call, all[i].item));
    }
    return PM_OK;
}

static pm_status begin_group(pm__j_call *call, pm__j_value key, pm__j_value *list) {
    pm__j_value pair;
    PM_TRY(pm__j_new_list(call->env, PM__J_LIST, 0, list));
    PM_TRY(pm__j_new_list(call->env, PM__J_TUPLE, 2, &pair));
    PM_TRY(pm__j_push(call->env, pair.u.list, key));
    PM_TRY(pm__j_push(call->env, pair.u.list, *list));
    pair.u.list->group = true;
    return push(call, pair);
}

/* (grouper, list) for each value of the attribute, in its order; the grouper is that of the
 * first. */
pm_status pm__j_filter_groupby(pm__j_call *call) {
    keyed *all;
    size_t n;
    const bool case_counts = pm__j_flag(call, 2, false);
    pm__j_value list = {0}, grouper;
    PM_TRY(make_keys(call, call->a[0], case_counts, &all, &n));
    for (size_t i = 0; i < n; i++)
        if (all[i].key.kind == PM__J_UNDEFINED && call->a[1].kind != PM__J_MISSING)
            all[i].key = call->a[1];
    PM_TRY(merge_sort(call->env, all, all + n, n, false));
    PM_TRY(new_list(call, PM__J_LIST));
    for (size_t i = 0; i < n; i++) {
        bool same = false;
        if (i > 0)
            PM_TRY(pm__j_equal(call->env, all[i - 1].key, all[i].key, &same));
        if (!same) {
            PM_TRY(key_of(call, all[i].item, call->a[0], true, &grouper));
            if (grouper.kind == PM__J_UNDEFINED)
                grouper = all[i].key;
            PM_TRY(begin_group(call, grouper, &list));
        }
        PM_TRY(pm__j_push(call->env, list.u.list, all[i].item));
    }
    return PM_OK;
}
