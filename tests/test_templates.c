/* test_templates.c: what real chat templates render to, against what Jinja2 made of them. */
/* ctest: quick */
#include "base/clock.h"
#include "base/file_map.h"
#include "tests/reference.h"
#include "text/jinja_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>

#include <cmocka.h>

#define FOLDER "reference/templates/"

static const pm__jinja_time now = {2026, 1, 31, 9, 30, 0};

typedef struct counts {
    size_t n_file, n_rendered, n_refused, n_wrong;
    double seconds, slowest;
} counts;

static pm__file_map read_file(const char *relative) {
    pm__file_map map;
    const char *path = pm__reference_path(relative);
    assert_non_null(path);
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    return map;
}

static pm__j_value read_json(pm__j_env *env, const char *relative) {
    pm__j_value value;
    pm__file_map map = read_file(relative);
    if (pm__j_read_json(env, relative, (const char *)map.data, map.size, &value) != PM_OK)
        fail_msg("%s", pm_last_error());
    pm__file_map_finish(&map);
    return value;
}

static pm__j_env *begin(void) {
    pm__j_env *env = NULL;
    assert_int_equal(pm__jinja_begin(NULL, &now, &env), PM_OK);
    return env;
}

static const pm__j_value *member(const pm__j_env *env, pm__j_value of, const char *name) {
    assert_int_equal(of.kind, PM__J_DICT);
    return pm__j_get_name(env, of.u.dict, name);
}

/* Ranges in order, apart, inside of the text, none empty. */
static void check_ranges(const pm__jinja_text *text) {
    size_t end = 0;
    for (size_t i = 0; i < text->n_data; i++) {
        assert_true(text->data[i].begin >= end + (i > 0) &&
                    text->data[i].end > text->data[i].begin);
        end = text->data[i].end;
    }
    assert_true(end <= text->n_byte);
}

static pm_status render(const pm__jinja *jinja, const pm__j_value context, counts *sum,
                        pm__jinja_text *text) {
    pm__j_env *env = begin();
    const pm__j_dict *dict = context.u.dict;
    for (size_t i = 0; i < dict->n; i++)
        assert_int_equal(
            pm__j_put(env, &env->variables, dict->entries[i].key, dict->entries[i].value), PM_OK);
    assert_int_equal(pm__jinja_set_text(env, "bos_token", "<s>", 3, false), PM_OK);
    assert_int_equal(pm__jinja_set_text(env, "eos_token", "</s>", 4, false), PM_OK);
    const double start = pm__clock_thread_seconds();
    const pm_status status = pm__jinja_render(jinja, env, text);
    const double seconds = pm__clock_thread_seconds() - start;
    sum->seconds += seconds;
    sum->slowest = seconds > sum->slowest ? seconds : sum->slowest;
    pm__jinja_end(env);
    return status;
}

static void compare(const char *file, const pm__jinja *jinja, pm__j_env *env, pm__j_value context,
                    pm__j_value test, counts *sum) {
    const pm__j_value *want = member(env, test, "expected");
    const pm__j_string *name = member(env, test, "case")->u.string;
    pm__jinja_text text = {0};
    const pm_status status = render(jinja, context, sum, &text);
    if (status == PM_OK) {
        check_ranges(&text);
        const bool same = want != NULL && text.n_byte == want->u.string->n &&
                          memcmp(text.text, want->u.string->data, text.n_byte) == 0;
        if (!same)
            print_error("%s, %.*s: got\n%s\nand not\n%.*s\n", file, (int)name->n, name->data,
                        text.text, want != NULL ? (int)want->u.string->n : 9,
                        want != NULL ? want->u.string->data : "a refusal");
        sum->n_wrong += !same;
        sum->n_rendered++;
    } else {
        if (want != NULL || status != PM_FAILURE)
            print_error("%s, %.*s: %s\n", file, (int)name->n, name->data, pm_last_error());
        sum->n_wrong += want != NULL || status != PM_FAILURE;
        sum->n_refused++;
    }
    pm__jinja_text_finish(&text);
}

static void compare_file(const char *file, pm__j_env *env, pm__j_value contexts, counts *sum) {
    char path[512];
    pm__jinja *jinja = NULL;
    snprintf(path, sizeof path, FOLDER "jinja/%s", file);
    pm__file_map map = read_file(path);
    if (pm__jinja_create((const char *)map.data, map.size, &jinja) != PM_OK)
        fail_msg("%s: %s", file, pm_last_error());
    pm__file_map_finish(&map);
    snprintf(path, sizeof path, FOLDER "expected/%s.json", file);
    const pm__j_value expected = read_json(env, path);
    const pm__j_list *cases = member(env, expected, "cases")->u.list;
    for (size_t i = 0; i < cases->n; i++) {
        const pm__j_value *name = member(env, cases->items[i], "case");
        const pm__j_value *context = pm__j_get(env, contexts.u.dict, *name);
        assert_non_null(context);
        compare(file, jinja, env, *context, cases->items[i], sum);
    }
    pm__jinja_destroy(jinja);
    sum->n_file++;
}

static void real_templates_render_as_jinja_does(void **state) {
    (void)state;
    const char *folder = pm__reference_path(FOLDER "jinja");
    DIR *files = folder != NULL ? opendir(folder) : NULL;
    if (files == NULL || pm__reference_path(FOLDER "expected/contexts.json") == NULL)
        skip();
    counts sum = {0};
    pm__j_env *env = begin();
    const pm__j_value contexts = read_json(env, FOLDER "expected/contexts.json");
    for (struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files))
        if (entry->d_name[0] != '.')
            compare_file(entry->d_name, env, contexts, &sum);
    closedir(files);
    pm__jinja_end(env);
    print_message("%zu templates: %zu texts, %zu refusals, %zu wrong; %.0f us a rendering, the "
                  "slowest %.0f us\n",
                  sum.n_file, sum.n_rendered, sum.n_refused, sum.n_wrong,
                  1e6 * sum.seconds / (double)(sum.n_rendered + sum.n_refused), 1e6 * sum.slowest);
    assert_int_equal(sum.n_wrong, 0);
    assert_true(sum.n_file >= 69 && sum.n_rendered >= 1002 && sum.n_refused >= 33);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(real_templates_render_as_jinja_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
