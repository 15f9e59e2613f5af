/* test_jinja.c: the template engine: what Jinja2 prints, what is refused, limits, marks. */
/* ctest: quick */
#include "base/clock.h"
#include "base/status.h"
#include "text/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const pm__jinja_time now = {2026, 1, 31, 9, 30, 0};

typedef struct job {
    const char *source, *variables;
    const pm__jinja_limits *limits;
} job;

static pm_status render_with(const pm__jinja *jinja, const job *in, pm__jinja_text *out) {
    pm__j_env *env = NULL;
    assert_int_equal(pm__jinja_begin(in->limits, &now, &env), PM_OK);
    pm_status status = PM_OK;
    if (in->variables != NULL)
        status = pm__jinja_set_json(env, "variables", in->variables, strlen(in->variables));
    if (status == PM_OK)
        status = pm__jinja_render(jinja, env, out);
    pm__jinja_end(env);
    return status;
}

static pm_status render(const job *in, pm__jinja_text *out) {
    pm__jinja *jinja = NULL;
    const pm_status status = pm__jinja_create(in->source, strlen(in->source), &jinja);
    if (status != PM_OK)
        return status;
    const pm_status rendered = render_with(jinja, in, out);
    pm__jinja_destroy(jinja);
    return rendered;
}

/* ---- what Jinja2 prints ---------------------------------------------------------------------- */

static void texts_are_those_of_jinja(void **state) {
    (void)state;
    static const struct {
        const char *source, *want;
    } cases[] = {
#define PM_CASE(source, want) {source, want},
#include "jinja_cases.def"
#undef PM_CASE
    };
    static const char variables[] =
#define PM_VARIABLES(text) text
#include "jinja_cases.def"
#undef PM_VARIABLES
        ;
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        const job in = {.source = cases[i].source, .variables = variables};
        pm__jinja_text text = {0};
        const pm_status status = render(&in, &text);
        if (cases[i].want == NULL && status == PM_OK)
            fail_msg("%s gives %s, where Jinja2 refuses", in.source, text.text);
        if (cases[i].want != NULL && status != PM_OK)
            fail_msg("%s: %s", in.source, pm_last_error());
        if (status == PM_OK && strcmp(text.text, cases[i].want) != 0)
            fail_msg("%s gives '%s', not '%s'", in.source, text.text, cases[i].want);
        pm__jinja_text_finish(&text);
    }
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void expect_refusal(const job *in, pm_status status, const char *says) {
    pm__jinja_text text = {0};
    const pm_status got = render(in, &text);
    if (got != status || strstr(pm_last_error(), says) == NULL)
        fail_msg("%.60s: %s, '%s' and not %s, '%s'", in->source, pm_status_text(got),
                 pm_last_error(), pm_status_text(status), says);
    assert_null(text.text);
}

static void refusals_name_line_and_what(void **state) {
    (void)state;
    static const struct {
        const char *source;
        pm_status status;
        const char *says;
    } cases[] = {
        {"\n\n{{ 1 + }}", PM_BAD_FILE, "line 3: an expression is missing before '}}'"},
        {"{% for x in y %}\n{% endif %}", PM_BAD_FILE, "line 2: a statement is missing"},
        {"a\n{% if x %}b\n", PM_BAD_FILE, "line 2: what begins here has no endif"},
        {"{{ 'a", PM_BAD_FILE, "line 1: a string without an end"},
        {"{{ x ", PM_BAD_FILE, "line 1: a tag without }}"},
        {"\n{# x", PM_BAD_FILE, "line 2: a comment without #}"},
        {"{{ 1 $ 2 }}", PM_BAD_FILE, "line 1: a character that no template has here"},
        {"{{ (1] }}", PM_BAD_FILE, "line 1: ']' closes nothing"},
        {"{% break %}", PM_BAD_FILE, "outside of a loop"},
        {"{% for x in y %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}", PM_BAD_FILE,
         "outside of a loop"},
        {"\xff", PM_BAD_FILE, "no UTF-8 at byte 0"},
        {"{% import 'a' as b %}", PM_UNSUPPORTED, "'import'"},
        {"{% from 'a' import b %}", PM_UNSUPPORTED, "'from'"},
        {"{% extends 'a' %}", PM_UNSUPPORTED, "'extends'"},
        {"{% block a %}{% endblock %}", PM_UNSUPPORTED, "'block'"},
        {"\n{{ a.b.c }}", PM_FAILURE, "line 2: 'a' is not defined"},
        {"{{ 1 | nothing }}", PM_FAILURE, "there is no filter 'nothing'"},
        {"{{ 1 is nothing }}", PM_FAILURE, "there is no test 'nothing'"},
        {"{{ 'a' | trim(1, 2) }}", PM_FAILURE, "trim takes 1 values, not 2"},
        {"{{ 'a' | trim(x=2) }}", PM_FAILURE, "trim has no parameter 'x'"},
        {"{{ [1].append(2) }}", PM_FAILURE, "'append' of a list is not for templates"},
        {"{{ ''.__class__ ~ ''.__class__.x }}", PM_FAILURE, "str has no '__class__'"},
        {"{% set x = {} %}{% set x.a = 1 %}", PM_FAILURE, "only namespaces can be changed"},
        {"{{ 9223372036854775807 + 1 }}", PM_FAILURE, "a number is too large"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++)
        expect_refusal(&(job){.source = cases[i].source}, cases[i].status, cases[i].says);
    expect_refusal(&(job){.source = "", .variables = "[]"}, PM_BAD_FILE, "not a JSON object");
    expect_refusal(&(job){.source = "", .variables = "{\"a\": 01}"}, PM_BAD_FILE,
                   "not JSON at byte 6");
}

/* ---- limits ---------------------------------------------------------------------------------- */

#define DOUBLE                                                                                     \
    "{% set ns = namespace(a='abcdefgh') %}{% for i in range(99) %}"                               \
    "{% set ns.a = ns.a ~ ns.a %}{% endfor %}"

static void endless_templates_end(void **state) {
    (void)state;
    static const char *const loops[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'x' * 99999 in 'y' * 99999 }}{% endfor %}",
        "{% set l = range(999) | list %}{% for a in range(9999) %}{{ l | sort }}{% endfor %}",
    };
    static const struct {
        const char *source, *says;
    } deep[] = {
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "more than 800 levels deep"},
        {"{% set ns = namespace(a=[]) %}{% for i in range(999) %}{% set ns.a = [ns.a] %}{% endfor "
         "%}"
         "{{ ns.a }}",
         "more than 800 levels deep"},
        {"{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "more than 800 levels deep"},
        {"{% set ns = namespace(a=[]) %}{% for i in range(999) %}{% set ns.a = [ns.a] %}{% endfor "
         "%}"
         "{{ ns.a == [ns.a] or ns.a | tojson }}",
         "more than 800 levels deep"},
    };
    const double start = pm__clock_thread_seconds();
    for (size_t i = 0; i < PM__COUNT(loops); i++)
        expect_refusal(&(job){.source = loops[i]}, PM_FAILURE, "template, line 1: it ");
    print_message("%zu endless templates: %.2f s\n", PM__COUNT(loops),
                  pm__clock_thread_seconds() - start);
    for (size_t i = 0; i < PM__COUNT(deep); i++)
        expect_refusal(&(job){.source = deep[i].source}, PM_FAILURE, deep[i].says);
    expect_refusal(&(job){.source = DOUBLE}, PM_FAILURE, "it takes more than 256 MiB");
    expect_refusal(&(job){.source = DOUBLE "{{ ns.a }}",
                          .limits = &(pm__jinja_limits){.memory_bytes = 1 << 20}},
                   PM_FAILURE, "it takes more than 1 MiB");
    expect_refusal(&(job){.source = "{% for i in range(9999) %}{{ 'x' * 999 }}{% endfor %}",
                          .limits = &(pm__jinja_limits){.output_bytes = 2 << 20}},
                   PM_FAILURE, "it writes more than 2 MiB");
    expect_refusal(&(job){.source = "{% for i in range(99) %}{% endfor %}",
                          .limits = &(pm__jinja_limits){.n_step = 50}},
                   PM_FAILURE, "has not ended after 50 steps");
}

/* `n` times a, then n times b. */
static char *repeat(const char *a, const char *b, size_t n) {
    const size_t n_a = strlen(a), n_b = strlen(b);
    char *out = malloc((n_a + n_b) * n + 1);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) {
        memcpy(out + i * n_a, a, n_a);
        memcpy(out + n * n_a + i * n_b, b, n_b);
    }
    out[(n_a + n_b) * n] = '\0';
    return out;
}

static void large_sources_are_refused_or_read(void **state) {
    (void)state;
    static const struct {
        const char *a, *b;
        size_t n;
        const char *says; /* NULL: it is read */
    } cases[] = {
        {"{% if 1 %}", "{% endif %}", 100000, "bytes are more than"},
        {"{% if 1 %}", "{% endif %}", 40000, "levels deep"},
        {"{% if 1 %}", "{% endif %}", 50, NULL},
        {"x", "", 1 << 20, NULL},
        {"x", "", (1 << 20) + 1, "bytes are more than"},
        {"{{ 1 }}", "\n", 50000, NULL},
        {"{#", "#}", 50000, NULL},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        char *source = repeat(cases[i].a, cases[i].b, cases[i].n);
        pm__jinja *jinja = NULL;
        const pm_status status = pm__jinja_create(source, strlen(source), &jinja);
        assert_int_equal(status, cases[i].says == NULL ? PM_OK : PM_BAD_FILE);
        if (cases[i].says != NULL)
            assert_non_null(strstr(pm_last_error(), cases[i].says));
        pm__jinja_destroy(jinja);
        free(source);
    }
    static const char *const nested[] = {"(", "[", "{'a':", "not ", "-", "1 if ", "x[", "f("};
    for (size_t i = 0; i < PM__COUNT(nested); i++) {
        char *inner = repeat(nested[i], "", 5000), *source = malloc(strlen(inner) + 8);
        assert_non_null(source);
        sprintf(source, "{{ %s", inner);
        expect_refusal(&(job){.source = strcat(source, "}}")}, PM_BAD_FILE, "template, line 1");
        free(source);
        free(inner);
    }
}

/* ---- marks ----------------------------------------------------------------------------------- */

/* The text with [ and ] around what is marked. */
static void show(const pm__jinja_text *text, char *out, size_t size) {
    size_t used = 0;
    for (size_t at = 0, i = 0; at <= text->n_byte && used + 3 < size; at++) {
        if (i < text->n_data && text->data[i].end == at) {
            out[used++] = ']';
            i++;
        }
        if (i < text->n_data && text->data[i].begin == at)
            out[used++] = '[';
        if (at < text->n_byte)
            out[used++] = text->text[at];
    }
    out[used] = '\0';
}

static void marks_go_where_their_bytes_go(void **state) {
    (void)state;
    static const char variables[] = "{\"s\": \"ab cd\", \"p\": \" x \", \"l\": [\"u\", \"v\"], "
                                    "\"d\": {\"k\": \"w\\n\"}, \"n\": 12, \"f\": \"%s{}\"}";
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"{{ 'a' }}<{{ s }}>", "a<[ab cd]>"},
        {"{{ n }}{{ n + 1 }}{{ s | length }}", "12135"},
        {"{{ '<|' ~ s ~ '|>' }}{{ 'x' + s }}", "<|[ab cd]|>x[ab cd]"},
        {"{{ (1 ~ s ~ 2)[2:4] }}{{ ('1' ~ s)[:2] }}{{ ('12' ~ s)[::-1] }}", "[b ]1[adc ba]21"},
        {"{{ s[0] }}{{ ('-' ~ s)[0] }}{{ s[-2:] }}", "[a]-[cd]"},
        {"{{ p | trim }}{{ p.strip() }}{{ ('  ' ~ p) | trim }}{{ (p ~ '-').lstrip() }}",
         "[xxxx ]-"},
        {"{{ s | replace('b', '|') }}{{ '<x>' | replace('x', s) }}", "[a]|[ cd]<[ab cd]>"},
        {"{{ s | upper }}{{ ('a' ~ s) | title }}{{ ('a' ~ s) | capitalize }}",
         "[AB CD]A[ab Cd]A[ab cd]"},
        {"{{ s.split(' ') | join('|') }}{{ ('x ' ~ s).split() | join }}", "[ab]|[cd]x[abcd]"},
        {"{{ ('x ' ~ s).rsplit(none, 1) | join('|') }}{{ s.partition(' ') | last }}",
         "x [ab]|[cdcd]"},
        {"{{ l | join(', ') }}{{ l | map('upper') | join }}", "[u], [vUV]"},
        {"{{ d | tojson }}{{ d }}", "{\"[k]\": \"[w\\n]\"}{'[k]': '[w\\n]'}"},
        {"{{ (s ~ '<') | e }}{{ (s ~ ' ') | urlencode }}", "[ab cd]&lt;[ab%20cd]%20"},
        {"{{ '%s-%5s' % (l[0], l[1]) }}{{ '{}|{:>3}'.format(l[0], l[1]) }}", "[u]-    [vu]|  [v]"},
        {"{{ f % 1 }}{{ f.format(2) }}{{ (f[:2] ~ '|') % 3 }}", "1[{}%s]23|"},
        {"{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(s) }}{{ m(m(s)) | upper }}",
         "<[ab cd]><<[AB CD]>>"},
        {"{% set b %}({{ s }}){% endset %}{{ b }}{% filter upper %}a{{ s }}{% endfilter %}",
         "([ab cd])A[AB CD]"},
        {"{% for c in s %}{{ c }}.{% endfor %}", "[a].[b].[ ].[c].[d]."},
        {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}{{ d.keys() | first }}",
         "[k]=[w\nk]"},
        {"{{ s * 2 }}{{ (s ~ '-') * 2 }}", "[ab cdab cdab cd]-[ab cd]-"},
        {"{{ ('x\\n' ~ s) | indent(2) }}{{ s | center(7) }}{{ s | truncate(4, true, '..', 0) }}",
         "x\n  [ab cd] [ab cd] [ab].."},
        {"{{ s.removeprefix('a') }}{{ 'a\\nb'.splitlines() | join(s) }}", "[b cd]a[ab cd]b"},
        {"{{ s | string | safe }}{{ s | default('x') }}{{ [s, 'zz'] | sort | first }}",
         "[ab cdab cdab cd]"},
        {"{{ strftime_now(s) }}{{ strftime_now('%Y') }}{{ s.zfill(7) }}", "[ab cd]202600[ab cd]"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        const job in = {.source = cases[i].source, .variables = variables};
        pm__jinja_text text = {0};
        char shown[512];
        if (render(&in, &text) != PM_OK)
            fail_msg("%s: %s", in.source, pm_last_error());
        show(&text, shown, sizeof shown);
        if (strcmp(shown, cases[i].want) != 0)
            fail_msg("%s gives '%s', not '%s'", in.source, shown, cases[i].want);
        pm__jinja_text_finish(&text);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static void times_are_read(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "2026-01-31",
                                        "2026-13-31T09:30:00",
                                        "2026-01-32T09:30:00",
                                        "2026-01-31T24:30:00",
                                        "2026-01-31T09:60:00",
                                        "2026-01-31 09:30:00",
                                        "2026-01-31T09:30:00Z",
                                        "0000-01-31T09:30:00"};
    pm__jinja_time time = {0};
    assert_true(pm__jinja_time_parse("2024-02-29T23:59:60", &time));
    assert_true(time.year == 2024 && time.month == 2 && time.day == 29 && time.hour == 23 &&
                time.minute == 59 && time.second == 60);
    for (size_t i = 0; i < PM__COUNT(wrong); i++)
        assert_false(pm__jinja_time_parse(wrong[i], &time));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_those_of_jinja),
        cmocka_unit_test(refusals_name_line_and_what),
        cmocka_unit_test(endless_templates_end),
        cmocka_unit_test(large_sources_are_refused_or_read),
        cmocka_unit_test(marks_go_where_their_bytes_go),
        cmocka_unit_test(times_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
