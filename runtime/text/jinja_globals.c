/* jinja_globals.c: the functions of jinja_globals.def. */
#include "jinja_call.h"

#include <stdio.h>
#include <string.h>

pm_status pm__j_global_raise_exception(pm__j_call *call) {
    const pm__j_string *text;
    PM_TRY(
        pm__j_str(call->env, call->a[0].kind == PM__J_MISSING ? pm__j_none() : call->a[0], &text));
    return pm__j_fail(call->env, "%.*s", text->n < 300 ? (int)text->n : 300, text->data);
}

/* As many as the sandbox of Jinja gives. */
pm_status pm__j_global_range(pm__j_call *call) {
    enum { MOST_RANGE = 100000 };
    int64_t bounds[3] = {0, 0, 1};
    if (call->n < 1 || call->n > 3 || call->n_named > 0)
        return pm__j_fail(call->env, "range needs one to three values");
    for (size_t i = 0; i < call->n; i++) {
        const pm__j_value value = call->items[i];
        if (value.kind != PM__J_INT && value.kind != PM__J_BOOL)
            return pm__j_fail(call->env, "range over a %s", pm__j_type_name(value));
        bounds[call->n == 1 ? 1 : i] = pm__j_integer(value);
    }
    const int64_t step = bounds[2];
    if (step == 0)
        return pm__j_fail(call->env, "a range by steps of 0");
    PM_TRY(pm__j_new_list(call->env, PM__J_RANGE, 0, &call->out));
    for (int64_t at = bounds[0]; step > 0 ? at < bounds[1] : at > bounds[1];) {
        if (call->out.u.list->n == MOST_RANGE)
            return pm__j_fail(call->env, "a range of more than %d", MOST_RANGE);
        PM_TRY(pm__j_step(call->env, 0));
        PM_TRY(pm__j_push(call->env, call->out.u.list, pm__j_int(at)));
        if (__builtin_add_overflow(at, step, &at))
            break;
    }
    return PM_OK;
}

/* What is given by name, after the members of a dict or the pairs of a list. */
static pm_status fill_dict(pm__j_call *call) {
    PM_TRY(pm__j_new_dict(call->env, &call->out));
    for (size_t k = 0; k < call->n; k++) {
        const pm__j_value from = call->items[k];
        pm__j_list pairs = {0};
        if (from.kind != PM__J_DICT)
            PM_TRY(pm__j_items(call->env, from, &pairs));
        for (size_t i = 0; from.kind == PM__J_DICT && i < from.u.dict->n; i++)
            PM_TRY(pm__j_put(call->env, call->out.u.dict, from.u.dict->entries[i].key,
                             from.u.dict->entries[i].value));
        for (size_t i = 0; i < pairs.n; i++) {
            pm__j_list pair;
            PM_TRY(pm__j_items(call->env, pairs.items[i], &pair));
            if (pair.n != 2)
                return pm__j_fail(call->env, "a dict is made of pairs");
            PM_TRY(pm__j_put(call->env, call->out.u.dict, pair.items[0], pair.items[1]));
        }
    }
    for (size_t i = 0; i < call->n_named; i++)
        PM_TRY(pm__j_put(call->env, call->out.u.dict, pm__j_text(call->named[i].name),
                         call->named[i].value));
    return PM_OK;
}

pm_status pm__j_global_dict(pm__j_call *call) {
    return fill_dict(call);
}

pm_status pm__j_global_namespace(pm__j_call *call) {
    PM_TRY(fill_dict(call));
    call->out.kind = PM__J_NAMESPACE;
    return PM_OK;
}

static pm_status new_cycler(pm__j_call *call, pm__j_kind kind, pm__j_cycler from) {
    pm__j_cycler *cycler = pm__j_alloc(call->env, 1, sizeof *cycler);
    if (cycler == NULL)
        return call->env->status;
    *cycler = from;
    call->out = (pm__j_value){.kind = (uint8_t)kind, .u = {.cycler = cycler}};
    return PM_OK;
}

pm_status pm__j_global_cycler(pm__j_call *call) {
    if (call->n == 0 || call->n_named > 0)
        return pm__j_fail(call->env, "cycler needs values");
    return new_cycler(call, PM__J_CYCLER, (pm__j_cycler){.items = call->items, .n = call->n});
}

pm_status pm__j_global_joiner(pm__j_call *call) {
    static const pm__j_string comma = {.data = ", ", .n = 2};
    const pm__j_string *separator;
    PM_TRY(pm__j_need_string(call, 0, &comma, &separator));
    return new_cycler(call, PM__J_JOINER, (pm__j_cycler){.separator = separator});
}

/* ---- time ------------------------------------------------------------------------------------ */

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int day_of_year(const pm__jinja_time *t) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    return before[t->month - 1] + t->day + (t->month > 2 && is_leap(t->year));
}

/* 0: Sunday. */
static int day_of_week(const pm__jinja_time *t) {
    const int y = t->year - 1;
    return (day_of_year(t) + y * 365 + y / 4 - y / 100 + y / 400) % 7;
}

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const week[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};

/* One directive in the C locale; 0: none. */
static int directive(const pm__jinja_time *t, char letter, char *out, size_t size) {
    const int hour12 = t->hour % 12 == 0 ? 12 : t->hour % 12;
    const int week_day = day_of_week(t), year_day = day_of_year(t);
    const char *month = months[t->month - 1], *day = week[week_day];
    switch (letter) {
    case 'a':
        return snprintf(out, size, "%.3s", day);
    case 'A':
        return snprintf(out, size, "%s", day);
    case 'b':
    case 'h':
        return snprintf(out, size, "%.3s", month);
    case 'B':
        return snprintf(out, size, "%s", month);
    case 'c':
        return snprintf(out, size, "%.3s %.3s %2d %02d:%02d:%02d %d", day, month, t->day, t->hour,
                        t->minute, t->second, t->year);
    case 'd':
        return snprintf(out, size, "%02d", t->day);
    case 'D':
    case 'x':
        return snprintf(out, size, "%02d/%02d/%02d", t->month, t->day, t->year % 100);
    case 'e':
        return snprintf(out, size, "%2d", t->day);
    case 'f':
        return snprintf(out, size, "000000");
    case 'F':
        return snprintf(out, size, "%d-%02d-%02d", t->year, t->month, t->day);
    case 'H':
        return snprintf(out, size, "%02d", t->hour);
    case 'I':
        return snprintf(out, size, "%02d", hour12);
    case 'j':
        return snprintf(out, size, "%03d", year_day);
    case 'm':
        return snprintf(out, size, "%02d", t->month);
    case 'M':
        return snprintf(out, size, "%02d", t->minute);
    case 'p':
        return snprintf(out, size, "%s", t->hour < 12 ? "AM" : "PM");
    case 'R':
        return snprintf(out, size, "%02d:%02d", t->hour, t->minute);
    case 'S':
        return snprintf(out, size, "%02d", t->second);
    case 'T':
    case 'X':
        return snprintf(out, size, "%02d:%02d:%02d", t->hour, t->minute, t->second);
    case 'u':
        return snprintf(out, size, "%d", week_day == 0 ? 7 : week_day);
    case 'w':
        return snprintf(out, size, "%d", week_day);
    case 'U':
        return snprintf(out, size, "%02d", (year_day + 6 - week_day) / 7);
    case 'W':
        return snprintf(out, size, "%02d", (year_day + 6 - (week_day + 6) % 7) / 7);
    case 'y':
        return snprintf(out, size, "%02d", t->year % 100);
    case 'Y':
        return snprintf(out, size, "%d", t->year);
    case 'n':
        return snprintf(out, size, "\n");
    case 't':
        return snprintf(out, size, "\t");
    case '%':
        return snprintf(out, size, "%%");
    default:
        return 0;
    }
}

/* A directive without its leading zero, where a - stands before it. */
static const char *without_zero(const char *text) {
    while (*text == '0' && text[1] != '\0')
        text++;
    return text;
}

pm_status pm__j_strftime(pm__j_env *env, const pm__j_string *format, pm__j_value *out) {
    pm__j_builder made = {0};
    size_t plain = 0;
    for (size_t at = 0; at + 1 < format->n; at++) {
        char text[64];
        if (format->data[at] != '%')
            continue;
        const size_t minus = format->data[at + 1] == '-' && at + 2 < format->n;
        const int n = directive(&env->now, format->data[at + 1 + minus], text, sizeof text);
        PM_TRY(pm__j_step(env, sizeof text));
        if (n > 0) {
            PM_TRY(pm__j_add_part(env, &made, format, plain, at));
            PM_TRY(pm__j_add_word(env, &made, minus ? without_zero(text) : text));
            plain = at + 2 + minus;
        }
        at += 1 + minus;
    }
    PM_TRY(pm__j_add_part(env, &made, format, plain, format->n));
    return pm__j_built(env, &made, out);
}

pm_status pm__j_global_strftime_now(pm__j_call *call) {
    const pm__j_string *format;
    PM_TRY(pm__j_need_string(call, 0, NULL, &format));
    return pm__j_strftime(call->env, format, &call->out);
}
