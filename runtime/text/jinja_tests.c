/* jinja_tests.c: the tests of jinja_tests.def. */
#include "jinja_call.h"

#include <utf8proc.h>

#include "../base/utf8.h"

static pm_status give(pm__j_call *call, bool value) {
    call->out = pm__j_bool(value);
    return PM_OK;
}

static pm_status compare(pm__j_call *call, pm__j_sign sign) {
    static const char *const signs[] = {"<", "<=", ">", ">="};
    int order = 0;
    PM_TRY(pm__j_compare(call->env, signs[sign - PM__J_LESS], call->self, call->a[0], &order));
    return give(call, order != 2 && (sign == PM__J_LESS         ? order < 0
                                     : sign == PM__J_LESS_EQUAL ? order <= 0
                                     : sign == PM__J_GREATER    ? order > 0
                                                                : order >= 0));
}

pm_status pm__j_test_lt(pm__j_call *call) {
    return compare(call, PM__J_LESS);
}

pm_status pm__j_test_le(pm__j_call *call) {
    return compare(call, PM__J_LESS_EQUAL);
}

pm_status pm__j_test_gt(pm__j_call *call) {
    return compare(call, PM__J_GREATER);
}

pm_status pm__j_test_ge(pm__j_call *call) {
    return compare(call, PM__J_GREATER_EQUAL);
}

pm_status pm__j_test_eq(pm__j_call *call) {
    bool same;
    PM_TRY(pm__j_equal(call->env, call->self, call->a[0], &same));
    return give(call, same);
}

pm_status pm__j_test_ne(pm__j_call *call) {
    bool same;
    PM_TRY(pm__j_equal(call->env, call->self, call->a[0], &same));
    return give(call, !same);
}

pm_status pm__j_test_in(pm__j_call *call) {
    bool found;
    PM_TRY(pm__j_contains(call->env, call->a[0], call->self, &found));
    return give(call, found);
}

pm_status pm__j_test_sameas(pm__j_call *call) {
    bool same = call->self.kind == call->a[0].kind;
    if (same && call->self.kind <= PM__J_STRING)
        PM_TRY(pm__j_equal(call->env, call->self, call->a[0], &same));
    else if (same)
        same = call->self.u.list == call->a[0].u.list;
    return give(call, same);
}

/* ---- kinds ----------------------------------------------------------------------------------- */

pm_status pm__j_test_defined(pm__j_call *call) {
    return give(call, call->self.kind != PM__J_UNDEFINED);
}

pm_status pm__j_test_undefined(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_UNDEFINED);
}

pm_status pm__j_test_none(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_NONE);
}

pm_status pm__j_test_boolean(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_BOOL);
}

pm_status pm__j_test_true(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_BOOL && call->self.u.boolean);
}

pm_status pm__j_test_false(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_BOOL && !call->self.u.boolean);
}

pm_status pm__j_test_integer(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_INT);
}

pm_status pm__j_test_float(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_FLOAT);
}

pm_status pm__j_test_number(pm__j_call *call) {
    return give(call, pm__j_is_number(call->self));
}

pm_status pm__j_test_string(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_STRING);
}

pm_status pm__j_test_mapping(pm__j_call *call) {
    return give(call, call->self.kind == PM__J_DICT);
}

static bool has_length(pm__j_value value) {
    return value.kind == PM__J_STRING || value.kind == PM__J_DICT || pm__j_is_list(value) ||
           value.kind == PM__J_UNDEFINED;
}

pm_status pm__j_test_sequence(pm__j_call *call) {
    return give(call, has_length(call->self) && call->self.kind != PM__J_VIEW);
}

pm_status pm__j_test_iterable(pm__j_call *call) {
    return give(call, has_length(call->self) || call->self.kind == PM__J_GENERATOR ||
                          call->self.kind == PM__J_LOOP);
}

pm_status pm__j_test_callable(pm__j_call *call) {
    const pm__j_kind kind = (pm__j_kind)call->self.kind;
    return give(call, kind == PM__J_MACRO || kind == PM__J_METHOD || kind == PM__J_GLOBAL ||
                          kind == PM__J_LOOP || kind == PM__J_JOINER || kind == PM__J_UNDEFINED);
}

pm_status pm__j_test_filter(pm__j_call *call) {
    return give(call,
                call->self.kind == PM__J_STRING && pm__j_find_filter(call->self.u.string) != NULL);
}

pm_status pm__j_test_test(pm__j_call *call) {
    return give(call,
                call->self.kind == PM__J_STRING && pm__j_find_test(call->self.u.string) != NULL);
}

/* ---- numbers, case --------------------------------------------------------------------------- */

static pm_status divides(pm__j_call *call, pm__j_value by, int64_t rest) {
    pm__j_value left;
    bool same;
    if (call->self.kind == PM__J_STRING)
        return pm__j_fail(call->env, "%s needs a number", call->what);
    PM_TRY(pm__j_binary(call->env, PM__J_MODULO, call->self, by, &left));
    PM_TRY(pm__j_equal(call->env, left, pm__j_int(rest), &same));
    return give(call, same);
}

pm_status pm__j_test_odd(pm__j_call *call) {
    return divides(call, pm__j_int(2), 1);
}

pm_status pm__j_test_even(pm__j_call *call) {
    return divides(call, pm__j_int(2), 0);
}

pm_status pm__j_test_divisibleby(pm__j_call *call) {
    return divides(call, call->a[0], 0);
}

pm_status pm__j_test_lower(pm__j_call *call) {
    PM_TRY(pm__j_filter_string(call));
    call->self = call->out;
    return pm__j_method_islower(call);
}

pm_status pm__j_test_upper(pm__j_call *call) {
    PM_TRY(pm__j_filter_string(call));
    call->self = call->out;
    return pm__j_method_isupper(call);
}
