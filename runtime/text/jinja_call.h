/* jinja_call.h: what filters, tests, methods and functions of templates are given, and their
 * tables. A row of jinja_filters.def, jinja_tests.def, jinja_methods.def or jinja_globals.def names
 * a C function and the parameters it takes. */
#ifndef PM_TEXT_JINJA_CALL_H
#define PM_TEXT_JINJA_CALL_H

#include "jinja_tree.h"

typedef struct pm__j_named {
    const pm__j_string *name;
    pm__j_value value;
} pm__j_named;

enum { PM__J_MOST_PARAMETERS = 6 };

typedef struct pm__j_call {
    pm__j_env *env;
    const char *what;         /* "filter 'trim'", for sentences */
    pm__j_value self;         /* what stands before | or . or is */
    const pm__j_value *items; /* [n] by place */
    size_t n;
    const pm__j_named *named; /* [n_named] by name */
    size_t n_named;
    pm__j_value a[PM__J_MOST_PARAMETERS]; /* of the row's parameters; MISSING: not given */
    pm__j_value out;
} pm__j_call;

typedef pm_status (*pm__j_function)(pm__j_call *call);

typedef struct pm__j_row {
    const char *name;
    pm__j_function run;
    const char *parameters; /* "a,b": bound to a[]; "*": the function looks at items and named */
    uint32_t kinds;         /* of a method: 1 << kind of the values that have it */
} pm__j_row;

struct pm__j_bound {
    const pm__j_row *row;
    pm__j_value self;
};

struct pm__j_macro {
    const pm__j_node *node;
    pm__j_scope *scope; /* where it stands */
};

/* A loop that runs: its items come one by one, since a condition may depend on what the body
 * did. */
struct pm__j_loop {
    const pm__j_node *node;
    pm__j_list items;
    size_t at;      /* of items: the next to be looked at */
    size_t index;   /* of the current item, from 0 */
    size_t n;       /* items there are; SIZE_MAX: only a look at all of them would say */
    uint32_t depth; /* of recursion, from 0 */
    pm__j_value before, item, after;
    bool has_after, checks_changed;
    pm__j_value last_checked; /* by changed() */
    pm__j_scope *scope;       /* around the loop */
};

/* One row for each name; NULL: none. */
const pm__j_row *pm__j_find_filter(const pm__j_string *name);
const pm__j_row *pm__j_find_test(const pm__j_string *name);
const pm__j_row *pm__j_find_method(pm__j_kind kind, const pm__j_string *name);
const pm__j_row *pm__j_find_global(const pm__j_string *name);
/* Runs a row over the call's self, items and named. */
pm_status pm__j_run_row(const pm__j_row *row, pm__j_call *call);
/* The filter or test that map, select ... name. */
pm_status pm__j_apply(pm__j_call *call, bool is_test, const pm__j_string *name);

/* ---- jinja_eval.c, jinja_run.c --------------------------------------------------------------- */

pm_status pm__j_eval(pm__j_env *env, const pm__j_node *node, pm__j_value *out);
/* A filter or a chain of them over a value: the innermost has no expression of its own. */
pm_status pm__j_eval_filters(pm__j_env *env, const pm__j_node *node, pm__j_value self,
                             pm__j_value *out);
pm_status pm__j_run(pm__j_env *env, const pm__j_node *first);
/* Statements that write into a string. */
pm_status pm__j_run_to_string(pm__j_env *env, const pm__j_node *first, pm__j_value *out);
pm_status pm__j_assign(pm__j_env *env, const pm__j_node *target, pm__j_value value);
pm_status pm__j_call_macro(pm__j_call *call, const pm__j_macro *macro);
pm_status pm__j_call_loop(pm__j_call *call, pm__j_loop *loop);
/* An attribute of `loop`; false: it has none of that name. */
pm_status pm__j_loop_attribute(pm__j_env *env, pm__j_loop *loop, const pm__j_string *name,
                               bool *found, pm__j_value *out);
pm_status pm__j_call_value(pm__j_call *call, pm__j_value function);
/* value.name and value[key]; what is not there is undefined. */
pm_status pm__j_attribute(pm__j_env *env, pm__j_value value, const pm__j_string *name,
                          pm__j_value *out);
pm_status pm__j_item(pm__j_env *env, pm__j_value value, pm__j_value key, pm__j_value *out);
pm_status pm__j_binary(pm__j_env *env, pm__j_sign sign, pm__j_value a, pm__j_value b,
                       pm__j_value *out);
/* Items [begin, end) by step of n, as Python counts; MISSING: left out. */
pm_status pm__j_slice(pm__j_env *env, pm__j_value value, const pm__j_value bounds[3],
                      pm__j_value *out);
/* value["a.b.0"], as filters take attributes.
 * missing  what stands for each part that is not there; NULL: undefined */
pm_status pm__j_path(pm__j_env *env, pm__j_value value, pm__j_value path,
                     const pm__j_value *missing, pm__j_value *out);
/* Python's "..." % value, and "...".format(...). */
pm_status pm__j_percent(pm__j_env *env, const pm__j_string *format, pm__j_value value,
                        pm__j_value *out);
pm_status pm__j_braces(pm__j_call *call, const pm__j_string *format);
pm_status pm__j_strftime(pm__j_env *env, const pm__j_string *format, pm__j_value *out);

/* ---- parameters ------------------------------------------------------------------------------ */

/* The i-th parameter as a string; what is none fails. missing  where it was not given */
pm_status pm__j_need_string(const pm__j_call *call, size_t i, const pm__j_string *missing,
                            const pm__j_string **out);
pm_status pm__j_need_int(const pm__j_call *call, size_t i, int64_t missing, int64_t *out);
static inline bool pm__j_flag(const pm__j_call *call, size_t i, bool missing) {
    return call->a[i].kind == PM__J_MISSING ? missing : pm__j_truth(call->a[i]);
}
static inline bool pm__j_given(const pm__j_call *call, size_t i) {
    return call->a[i].kind != PM__J_MISSING && call->a[i].kind != PM__J_NONE;
}

#define PM_JINJA_FILTER(name, function, parameters) pm_status pm__j_filter_##function(pm__j_call *);
#include "jinja_filters.def"
#undef PM_JINJA_FILTER
#define PM_JINJA_TEST(name, function, parameters) pm_status pm__j_test_##function(pm__j_call *);
#include "jinja_tests.def"
#undef PM_JINJA_TEST
#define PM_JINJA_METHOD(kinds, name, function, parameters)                                         \
    pm_status pm__j_method_##function(pm__j_call *);
#include "jinja_methods.def"
#undef PM_JINJA_METHOD
#define PM_JINJA_GLOBAL(name, parameters) pm_status pm__j_global_##name(pm__j_call *);
#include "jinja_globals.def"
#undef PM_JINJA_GLOBAL

#endif
