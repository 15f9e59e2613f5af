/* jinja_call.c: finding rows of the tables, and binding what is given to their parameters. */
#include "jinja_call.h"

#include <stdio.h>
#include <string.h>

/* A bound method that is none: found, and then undefined. */
pm_status pm__j_method_FORBIDDEN(pm__j_call *call) {
    return pm__j_fail(call->env, "nothing but a namespace can be changed");
}

static const pm__j_row filters[] = {
#define PM_JINJA_FILTER(name, function, parameters) {name, pm__j_filter_##function, parameters, 0},
#include "jinja_filters.def"
#undef PM_JINJA_FILTER
};

static const pm__j_row tests[] = {
#define PM_JINJA_TEST(name, function, parameters) {name, pm__j_test_##function, parameters, 0},
#include "jinja_tests.def"
#undef PM_JINJA_TEST
};

static const pm__j_row methods[] = {
#define PM_JINJA_METHOD(kind, name, function, parameters)                                          \
    {name, pm__j_method_##function, parameters, 1u << PM__J_##kind},
#include "jinja_methods.def"
#undef PM_JINJA_METHOD
};

static const pm__j_row globals[] = {
#define PM_JINJA_GLOBAL(name, parameters) {#name, pm__j_global_##name, parameters, 0},
#include "jinja_globals.def"
#undef PM_JINJA_GLOBAL
};

static bool is_word(const char *word, const pm__j_string *name) {
    return strncmp(word, name->data, name->n) == 0 && word[name->n] == '\0';
}

static const pm__j_row *find(const pm__j_row *rows, size_t n, const pm__j_string *name) {
    for (size_t i = 0; i < n; i++)
        if (is_word(rows[i].name, name))
            return &rows[i];
    return NULL;
}

const pm__j_row *pm__j_find_filter(const pm__j_string *name) {
    return find(filters, PM__COUNT(filters), name);
}

const pm__j_row *pm__j_find_test(const pm__j_string *name) {
    return find(tests, PM__COUNT(tests), name);
}

const pm__j_row *pm__j_find_global(const pm__j_string *name) {
    return find(globals, PM__COUNT(globals), name);
}

const pm__j_row *pm__j_find_method(pm__j_kind kind, const pm__j_string *name) {
    for (size_t i = 0; i < PM__COUNT(methods); i++)
        if ((methods[i].kinds >> kind & 1) != 0 && is_word(methods[i].name, name))
            return &methods[i];
    return NULL;
}

/* ---- parameters ------------------------------------------------------------------------------ */

/* The index of a parameter of "a,b,c"; n: none has the name. */
static size_t index_of(const char *parameters, const pm__j_string *name, size_t *n) {
    size_t found = SIZE_MAX;
    *n = 0;
    while (*parameters != '\0') {
        const size_t size = strcspn(parameters, ",");
        if (name != NULL && size == name->n && memcmp(parameters, name->data, size) == 0)
            found = *n;
        ++*n;
        parameters += size + (parameters[size] == ',');
    }
    return found;
}

static pm_status bind(const pm__j_row *row, pm__j_call *call) {
    size_t n;
    index_of(row->parameters, NULL, &n);
    memset(call->a, 0, sizeof call->a);
    if (call->n > n)
        return pm__j_fail(call->env, "%s takes %zu values, not %zu", row->name, n, call->n);
    for (size_t i = 0; i < call->n; i++)
        call->a[i] = call->items[i];
    for (size_t i = 0; i < call->n_named; i++) {
        const pm__j_string *name = call->named[i].name;
        const size_t at = index_of(row->parameters, name, &n);
        if (at == SIZE_MAX)
            return pm__j_fail(call->env, "%s has no parameter '%.*s'", row->name,
                              name->n < 40 ? (int)name->n : 40, name->data);
        if (call->a[at].kind != PM__J_MISSING)
            return pm__j_fail(call->env, "%s is given '%.*s' twice", row->name, (int)name->n,
                              name->data);
        call->a[at] = call->named[i].value;
    }
    return PM_OK;
}

pm_status pm__j_run_row(const pm__j_row *row, pm__j_call *call) {
    call->what = row->name;
    if (row->parameters[0] != '*')
        PM_TRY(bind(row, call));
    PM_TRY(pm__j_step(call->env, 0));
    PM_TRY(pm__j_enter(call->env));
    PM_TRY(row->run(call));
    pm__j_leave(call->env);
    return PM_OK;
}

pm_status pm__j_apply(pm__j_call *call, bool is_test, const pm__j_string *name) {
    const pm__j_row *row = is_test ? pm__j_find_test(name) : pm__j_find_filter(name);
    if (row == NULL)
        return pm__j_fail(call->env, "there is no %s '%.*s'", is_test ? "test" : "filter",
                          name->n < 40 ? (int)name->n : 40, name->data);
    return pm__j_run_row(row, call);
}

pm_status pm__j_need_string(const pm__j_call *call, size_t i, const pm__j_string *missing,
                            const pm__j_string **out) {
    const pm__j_value value = call->a[i];
    *out = missing;
    if (value.kind == PM__J_MISSING && missing != NULL)
        return PM_OK;
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(call->env, value);
    if (value.kind != PM__J_STRING)
        return pm__j_fail(call->env, "%s needs a str as value %zu, not a %s", call->what, i + 1,
                          pm__j_type_name(value));
    *out = value.u.string;
    return PM_OK;
}

pm_status pm__j_need_int(const pm__j_call *call, size_t i, int64_t missing, int64_t *out) {
    const pm__j_value value = call->a[i];
    *out = missing;
    if (value.kind == PM__J_MISSING)
        return PM_OK;
    if (value.kind == PM__J_UNDEFINED)
        return pm__j_fail_undefined(call->env, value);
    if (value.kind != PM__J_INT && value.kind != PM__J_BOOL)
        return pm__j_fail(call->env, "%s needs an int as value %zu, not a %s", call->what, i + 1,
                          pm__j_type_name(value));
    *out = pm__j_integer(value);
    return PM_OK;
}
