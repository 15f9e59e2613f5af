/* test_arch_tokens.c: the prompt of every reference model to the ids that the reference had. */
/* ctest: quick */
#include "format/json.h"
#include "tests/reference.h"
#include "tests/vocabulary.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_NAME = 128, LEAST_INSTANCES = 72 };

static cJSON *read_json(const char *path) {
    pm__file_map map;
    cJSON *document = NULL;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    assert_int_equal(pm__json_parse(path, (const char *)map.data, map.size, &document), PM_OK);
    pm__file_map_finish(&map);
    return document;
}

static bool same(const pm__ids *ids, const cJSON *tokens) {
    bool is_same = ids->n == (size_t)cJSON_GetArraySize(tokens);
    for (size_t i = 0; is_same && i < ids->n; i++)
        is_same = ids->data[i] == cJSON_GetArrayItem(tokens, (int)i)->valueint;
    return is_same;
}

static bool check_prompt(const char *name, const pm__vocabulary *vocabulary,
                         const cJSON *document) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(document, "prompt"));
    const cJSON *tokens = cJSON_GetObjectItem(document, "tokens");
    const bool add_special = cJSON_IsTrue(cJSON_GetObjectItem(document, "add_special"));
    assert_non_null(text);
    assert_true(cJSON_GetArraySize(tokens) > 0);
    pm__ids ids = {0};
    assert_int_equal(
        pm__tokenizer_encode(vocabulary->tokenizer, text, strlen(text), add_special, true, &ids),
        PM_OK);
    const bool is_same = same(&ids, tokens);
    if (!is_same) {
        print_message("%s: \"%s\":", name, text);
        for (size_t i = 0; i < ids.n; i++)
            print_message(" %d", ids.data[i]);
        print_message("\n");
    }
    pm__ids_finish(&ids);
    return is_same;
}

static const char *path_of(const char *name, const char *file) {
    char path[MOST_NAME];
    snprintf(path, sizeof path, "reference/arch/%.100s/%s", name, file);
    const char *found = pm__reference_path(path);
    assert_non_null(found);
    return found;
}

static bool check_instance(const char *name) {
    cJSON *document = read_json(path_of(name, "ref.json"));
    const char *path = path_of(name, "model.gguf");
    pm__vocabulary vocabulary;
    if (pm__vocabulary_open(&vocabulary, path) != PM_OK)
        fail_msg("%s: %s", name, pm_last_error());
    const bool good = check_prompt(name, &vocabulary, document);
    pm__vocabulary_close(&vocabulary);
    cJSON_Delete(document);
    return good;
}

static void prompts_give_the_reference_ids(void **state) {
    (void)state;
    const char *folder = pm__reference_path("reference/arch");
    if (folder == NULL)
        skip();
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    size_t n = 0, n_good = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strchr(entry->d_name, '.') != NULL) /* itself, its parent, a file */
            continue;
        n++;
        n_good += check_instance(entry->d_name);
    }
    closedir(dir);
    print_message("%zu/%zu\n", n_good, n);
    assert_true(n >= LEAST_INSTANCES);
    assert_int_equal(n_good, n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_give_the_reference_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
