/* ctest: quick */
/* test_prebuilt.c: SPIR-V of the coop tiers is there for every type, and was made of the shaders
 * that are there. */
#include "gpu/prebuilt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool find(const char *name, uint64_t *hash) {
    const char *listed;
    for (size_t i = 0; pm__prebuilt_get(i, &listed, hash); i++)
        if (strcmp(listed, name) == 0)
            return true;
    return false;
}

static pm_status check_one(void *user, const pm__shader_desc *desc) {
    size_t *n = user, n_word = 0;
    uint64_t made_of = 0, hash;
    uint32_t *words = NULL;
    char name[128];
    pm__shader_name(desc, name, sizeof name);
    if (!find(name, &made_of))
        fail_msg("shaders/prebuilt has no %s: run tools/prebuild", name);
    assert_int_equal(pm__shader_text_hash(desc, &hash), PM_OK);
    if (made_of != hash)
        fail_msg("shaders/prebuilt/%s.spv is older than its sources: run tools/prebuild", name);
    assert_int_equal(pm__prebuilt_read(desc, hash, &words, &n_word), PM_OK);
    assert_non_null(words);
    assert_true(n_word > 5 && words[0] == 0x07230203);
    for (size_t i = 5, length; i < n_word; i += length) {
        length = words[i] >> 16;
        assert_true(length > 0 && i + length <= n_word);
    }
    free(words);
    words = NULL;
    assert_int_equal(pm__prebuilt_read(desc, hash + 1, &words, &n_word), PM_OK);
    assert_null(words);
    ++*n;
    return PM_OK;
}

static void fresh(void **state) {
    (void)state;
    const char *name;
    uint64_t hash;
    size_t n = 0, n_listed = 0;
    assert_int_equal(pm__prebuilt_each(check_one, &n), PM_OK);
    while (pm__prebuilt_get(n_listed, &name, &hash))
        n_listed++;
    assert_true(n > 0);
    assert_int_equal(n, n_listed); /* none is left over */
}

static pm_status refuse(void *user, const pm__shader_desc *desc) {
    (void)desc;
    ++*(int *)user;
    return pm__fail(PM_FAILURE, "test: enough");
}

static void ends(void **state) {
    (void)state;
    int n = 0;
    assert_int_equal(pm__prebuilt_each(refuse, &n), PM_FAILURE);
    assert_int_equal(n, 1);
}

static void names(void **state) {
    (void)state;
    const char *const defines[] = {"TIER_SUBGROUP", "W_Q4_0", "HAS_BIAS"};
    const pm__shader_desc desc = {.file = "norm.comp", .defines = defines, .n_define = 3};
    char name[128];
    pm__shader_name(&desc, name, sizeof name);
    assert_string_equal(name, "norm-w_q4_0-has_bias");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh),
        cmocka_unit_test(ends),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
