/* test_tuning.c: the text of a tuning, and what a node's shape is. */
/* ctest: quick */
#include "gpu/kernels.h"
#include "gpu/tuning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    unsigned n, line;
    char why[96];
} unused;

static void say(void *user, unsigned line, const char *why) {
    (void)user;
    unused.n++;
    unused.line = line;
    snprintf(unused.why, sizeof unused.why, "%s", why);
}

static pm_status parse(pm__tuning *out, const char *text) {
    char made_for[48];
    memset(&unused, 0, sizeof unused);
    *out = (pm__tuning){.n = 0};
    return pm__tuning_parse(out, text, made_for, say, NULL);
}

static int kernel_named(const char *name) {
    size_t n;
    const pm__kernel *table = pm__kernel_table(&n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return (int)i;
    fail_msg("no kernel %s", name);
    return -1;
}

static pm__choice choice_of(uint32_t n_out, pm__rows_class rows) {
    return (pm__choice){.shape = {.op = PM__OP_MATMUL,
                                  .type = PM__TYPE_Q4_0,
                                  .n_out = n_out,
                                  .n_in = 96,
                                  .n_other = n_out,
                                  .inputs = 11,
                                  .rows = rows},
                        .kernel = kernel_named("matvec"),
                        .instead = kernel_named("matmul"),
                        .ns = 4100,
                        .instead_ns = UINT64_MAX};
}

/* Two choices as a text; to be freed. */
static char *two(void) {
    char *text;
    pm__tuning tuning = {.n = 0};
    const pm__choice a = choice_of(65, PM__ROWS_ONE), b = choice_of(66, PM__ROWS_MANY);
    assert_int_equal(pm__tuning_add(&tuning, &a), PM_OK);
    assert_int_equal(pm__tuning_add(&tuning, &b), PM_OK);
    assert_int_equal(pm__tuning_compose(&tuning, "a device", "10de:2335:4", &text), PM_OK);
    pm__tuning_finish(&tuning);
    return text;
}

/* The text with `from` replaced by `to`, and no hash at its end. */
static char *edited(const char *from, const char *to) {
    char *text = two(), *out = calloc(1, strlen(text) + strlen(to) + 1);
    char *at = strstr(text, from);
    assert_non_null(out);
    assert_non_null(at);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    strcpy(strstr(out, "\nend ") + 1, "end\n");
    free(text);
    return out;
}

static void what_is_written_is_read(void **state) {
    (void)state;
    char *text = two(), made_for[48];
    pm__tuning tuning = {.n = 0};
    assert_int_equal(pm__tuning_parse(&tuning, text, made_for, say, NULL), PM_OK);
    assert_string_equal(made_for, "10de:2335:4");
    assert_int_equal(tuning.n, 2);
    const pm__choice a = choice_of(65, PM__ROWS_ONE), other = choice_of(65, PM__ROWS_FEW);
    assert_int_equal(pm__tuning_find(&tuning, &a.shape), a.kernel);
    assert_int_equal(pm__tuning_find(&tuning, &other.shape), -1);
    assert_true(tuning.items[0].instead_ns == UINT64_MAX && tuning.items[0].ns == 4100);
    pm__tuning_finish(&tuning);
    free(text);
}

static void a_later_choice_counts(void **state) {
    (void)state;
    pm__tuning tuning = {.n = 0};
    pm__choice c = choice_of(65, PM__ROWS_ONE);
    assert_int_equal(pm__tuning_add(&tuning, &c), PM_OK);
    c.kernel = c.instead;
    assert_int_equal(pm__tuning_add(&tuning, &c), PM_OK);
    assert_int_equal(tuning.n, 1);
    assert_int_equal(pm__tuning_find(&tuning, &c.shape), c.instead);
    pm__tuning_finish(&tuning);
}

static void lines_that_are_not_used_are_said(void **state) {
    static const struct {
        const char *from, *to, *why;
    } edits[] = {
        {"take matvec ", "take matvec_of_old ", "no such kernel"},
        {"take matvec ", "take rmsnorm ", "no such kernel"},
        {"for matmul", "for conjure", "no such operation"},
        {"Q4_0", "Q4_77", "no such type"},
        {" shader ", " shader f", "not as a tuning"}, /* a number that does not fit */
        {"rows 1 ", "rows 3 ", "not as a tuning"},
        {"65x96x65", "65x4294967296x65", "not as a tuning"},
        {"65x96x65", "65x96", "not as a tuning"},
        {"65x96x65", "-65x96x65", "not as a tuning"},
        {"inputs b", "inputs", "not as a tuning"},
        {"instead matmul", "instead of_nothing", "no such kernel"},
        {"ns 4100", "ns 99999999999999999999", "not as a tuning"},
        {"take ", "give ", "not as a tuning"},
        {"device a", "device \xc3\xa9", "printable"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        pm__tuning tuning;
        char *text = edited(edits[i].from, edits[i].to);
        assert_int_equal(parse(&tuning, text), PM_OK);
        if (unused.n != 1 || strstr(unused.why, edits[i].why) == NULL)
            fail_msg("'%s' for '%s': %u lines, %s", edits[i].to, edits[i].from, unused.n,
                     unused.why);
        assert_int_equal(unused.line, i == 13 ? 2 : 4);
        assert_int_equal(tuning.n, i == 13 ? 2 : 1);
        pm__tuning_finish(&tuning);
        free(text);
    }
}

static void a_shader_that_changed_is_said(void **state) {
    (void)state;
    pm__tuning tuning;
    char *text = two(), *hash = strstr(text, " shader ") + 8;
    hash[3] = hash[3] == '0' ? '1' : '0';
    strcpy(strstr(text, "\nend ") + 1, "end\n");
    assert_int_equal(parse(&tuning, text), PM_OK);
    assert_int_equal(unused.n, 1);
    assert_non_null(strstr(unused.why, "shader"));
    assert_int_equal(tuning.n, 1);
    pm__tuning_finish(&tuning);
    free(text);
}

static void what_is_no_whole_tuning_is_refused(void **state) {
    (void)state;
    pm__tuning tuning;
    char *text = two();
    const size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) { /* cut anywhere */
        const char kept = text[i];
        text[i] = '\0';
        assert_int_equal(parse(&tuning, text), PM_BAD_FILE);
        text[i] = kept;
    }
    text[n - 2] ^= 1; /* another hash */
    assert_int_equal(parse(&tuning, text), PM_BAD_FILE);
    assert_int_equal(parse(&tuning, "pumice tuning 2\nend\n"), PM_BAD_FILE);
    assert_int_equal(parse(&tuning, "pumice tuning 1\n"), PM_BAD_FILE);
    assert_int_equal(parse(&tuning, "pumice tuning 1\n# nothing\nend\n"), PM_OK);
    assert_int_equal(tuning.n + unused.n, 0);
    free(text);
}

static void shapes_of_nodes(void **state) {
    (void)state;
    const pm__tensor x = {.kind = PM__ACTIVATION, .rows = PM__ROWS_BATCH, .n_col = 96};
    const pm__tensor y = {.kind = PM__ACTIVATION, .rows = PM__ROWS_BATCH, .n_col = 65};
    const pm__tensor w = {.kind = PM__WEIGHT, .type = PM__TYPE_Q8_0, .n_row = 65, .n_col = 96};
    pm__node node = {.op = PM__OP_MATMUL, .in = {&x, &w}, .out = &y};
    const pm__node_shape one = pm__node_shape_of(&node, 1), few = pm__node_shape_of(&node, 2);
    assert_true(one.n_out == 65 && one.n_in == 96 && one.n_other == 65 && one.inputs == 3);
    assert_int_equal(one.type, PM__TYPE_Q8_0);
    assert_false(pm__node_shape_equal(&one, &few));
    const pm__node_shape eight = pm__node_shape_of(&node, 8), nine = pm__node_shape_of(&node, 9);
    assert_true(pm__node_shape_equal(&few, &eight));
    assert_false(pm__node_shape_equal(&few, &nine));
    node.in[3] = &y;
    const pm__node_shape more = pm__node_shape_of(&node, 1);
    assert_false(pm__node_shape_equal(&one, &more));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_later_choice_counts),
        cmocka_unit_test(lines_that_are_not_used_are_said),
        cmocka_unit_test(a_shader_that_changed_is_said),
        cmocka_unit_test(what_is_no_whole_tuning_is_refused),
        cmocka_unit_test(shapes_of_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
