/* test_chat_format.c: ChatML in its spellings, against what Jinja2 renders of real templates. */
/* ctest: quick */
#include "base/file_map.h"
#include "format/json.h"
#include "tests/reference.h"
#include "text/chat_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>

#include <cmocka.h>

#define PLAIN                                                                                      \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "                   \
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
#define OPENING "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static const char *const chatml[] = {
    PLAIN OPENING,
    PLAIN OPENING "\n",
    /* line ends as they are, not escaped */
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}",
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}" PLAIN OPENING,
    "{%- if add_generation_prompt is not defined -%}{%- set add_generation_prompt = false -%}"
    "{%- endif -%}\n" PLAIN OPENING,
    /* another variable, attributes, ~, other quotes, one output for each part */
    "{%- for m in messages -%}\n  {{- \"<|im_start|>\" ~ m.role ~ \"\\n\" -}}\n"
    "  {{- m.content -}}\n  {{- \"<|im_end|>\\n\" -}}\n{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n  {{- \"<|im_start|>assistant\\n\" -}}\n{%- endif -%}\n",
    /* text outside of tags */
    "{% for message in messages %}\n<|im_start|>{{ message.role }}\n{{ message.content "
    "}}<|im_end|>\n"
    "{% endfor %}\n{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    /* the answer marked for training */
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' }}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{{ '\\n' }}{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}" OPENING,
    /* one branch a role */
    "{% for message in messages %}{% if message.role == 'user' %}{{ '<|im_start|>user\\n' }}"
    "{% elif (message.role == \"system\") %}{{ '<|im_start|>system\\n' }}"
    "{% elif message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>\\n' }}{% endfor %}" OPENING,
    "{# ChatML #}" PLAIN OPENING,
};

static const char *const others[] = {
    "",
    PLAIN, /* does not open the answer */
    OPENING,
    "{{ bos_token }}" PLAIN OPENING,
    PLAIN OPENING "{{ eos_token }}",
    "hello" PLAIN OPENING,
    "  {{ '' }}" PLAIN OPENING,
    /* changes the content */
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "| "
    "trim + '<|im_end|>' + '\\n'}}{% endfor %}" OPENING,
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'].strip() + '<|im_end|>' + '\\n'}}{% endfor %}" OPENING,
    /* leaves messages out, or some of their parts */
    "{% for message in messages[1:] %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" OPENING,
    "{% for message in messages %}{{'<|im_start|>' + message['from'] + '\\n' + message['value'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}" OPENING,
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ "
    "'<|im_end|>'}}{% endfor %}" OPENING,
    "{% for message in messages %}{% if message.role == 'user' %}{{ '<|im_start|>user\\n' + "
    "message.content + '<|im_end|>\\n' }}{% elif message.role == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' + message.content + '<|im_end|>\\n' }}{% endif %}{% endfor "
    "%}" OPENING,
    "{% for message in messages %}{% if message.role == 'user' %}{{ '<|im_start|>human\\n' + "
    "message.content + '<|im_end|>\\n' }}{% else %}{{ '<|im_start|>' + message.role + '\\n' + "
    "message.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}" OPENING,
    /* a system text of its own */
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + "
    "'\\n' "
    "+ message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" OPENING,
    /* blanks that Jinja keeps */
    "{% for message in messages %}\n  <|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}" OPENING,
    ("{% for message in messages %} {% if message.role == 'user' %}{% endif %}{% endfor "
     "%}" OPENING),
    /* cut off */
    "{% for message in messages %}{{'<|im_start|>",
    "{% for message in messages",
    "{{ 'a\\",
    "{%",
    "{#",
    "{",
};

static void plain_spellings_are_recognised(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(chatml); i++)
        if (!pm__chat_format_is_chatml(chatml[i], strlen(chatml[i])))
            fail_msg("not recognised: %s", chatml[i]);
}

static void everything_else_is_not(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(others); i++)
        if (pm__chat_format_is_chatml(others[i], strlen(others[i])))
            fail_msg("taken for ChatML: %s", others[i]);
}

/* Cut at every byte: not ChatML any more. With every byte changed: no read past the end (the copies
 * end where their memory ends). */
static void damaged_templates_are_safe(void **state) {
    (void)state;
    for (size_t i = 0; i < PM__COUNT(chatml); i++) {
        const size_t n = strlen(chatml[i]);
        for (size_t cut = 0; cut + 1 < n; cut++) {
            char *copy = malloc(cut + 1);
            assert_non_null(copy);
            memcpy(copy + 1, chatml[i], cut);
            assert_false(pm__chat_format_is_chatml(copy + 1, cut));
            free(copy);
        }
        for (int byte = 0; byte < 256; byte++)
            for (size_t at = (size_t)byte % 7; at < n; at += 7) {
                char *copy = malloc(n);
                assert_non_null(copy);
                memcpy(copy, chatml[i], n);
                copy[at] = (char)byte;
                (void)pm__chat_format_is_chatml(copy, n);
                free(copy);
            }
    }
    char *big = malloc(10 << 20);
    assert_non_null(big);
    memset(big, '{', 10 << 20);
    assert_false(pm__chat_format_is_chatml(big, 10 << 20));
    free(big);
}

static void messages_become_turns(void **state) {
    (void)state;
    static const pm_message messages[] = {
        {"system", " be brief "}, {"user", "Hi\n\xf0\x9f\xa6\x99"}, {"assistant", ""}};
    static const char closed[] = "<|im_start|>system\n be brief <|im_end|>\n<|im_start|>user\nHi\n"
                                 "\xf0\x9f\xa6\x99<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n";
    const size_t n = strlen(chatml[0]);
    pm__chat_text chat = {0};
    assert_int_equal(pm__chat_format_render(chatml[0], n, messages, 3, false, &chat), PM_OK);
    assert_string_equal(chat.text, closed);
    assert_int_equal(chat.n_byte, strlen(closed));
    static const char *const data[] = {"system", " be brief ", "user", "Hi\n\xf0\x9f\xa6\x99",
                                       "assistant"};
    assert_int_equal(chat.n_data, PM__COUNT(data)); /* the empty content is no range */
    for (size_t i = 0; i < PM__COUNT(data); i++) {
        assert_int_equal(chat.data[i].end - chat.data[i].begin, strlen(data[i]));
        assert_memory_equal(chat.text + chat.data[i].begin, data[i], strlen(data[i]));
    }
    pm__chat_text_finish(&chat);
    assert_int_equal(pm__chat_format_render(chatml[0], n, messages, 3, true, &chat), PM_OK);
    assert_memory_equal(chat.text, closed, strlen(closed));
    assert_string_equal(chat.text + strlen(closed), "<|im_start|>assistant\n");
    pm__chat_text_finish(&chat);
    assert_int_equal(pm__chat_format_render(chatml[0], n, NULL, 0, false, &chat), PM_OK);
    assert_string_equal(chat.text, "");
    assert_int_equal(chat.n_data, 0);
    pm__chat_text_finish(&chat);
}

static void refusals_say_why(void **state) {
    (void)state;
    const pm_message user = {"user", "x"}, tool = {"tool", "x"}, empty = {"user", NULL};
    const pm_message nobody = {NULL, "x"};
    const size_t n = strlen(chatml[0]);
    pm__chat_text chat = {0};
    assert_int_equal(pm__chat_format_render(NULL, 0, &user, 1, true, &chat), PM_UNSUPPORTED);
    assert_non_null(strstr(pm_last_error(), "--raw"));
    assert_int_equal(pm__chat_format_render(chatml[0], n, &tool, 1, true, &chat), PM_ARGUMENT);
    assert_non_null(strstr(pm_last_error(), "'tool'"));
    assert_int_equal(pm__chat_format_render(chatml[0], n, &empty, 1, true, &chat), PM_ARGUMENT);
    assert_int_equal(pm__chat_format_render(chatml[0], n, &nobody, 1, true, &chat), PM_ARGUMENT);
    static const char inst[] = "{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}";
    assert_int_equal(pm__chat_format_render(inst, strlen(inst), &user, 1, true, &chat),
                     PM_UNSUPPORTED);
    assert_non_null(strstr(pm_last_error(), "[INST]"));
    assert_null(chat.text);
}

/* ---- real templates -------------------------------------------------------------------------- */

static char *read_text(const char *path, size_t *n) {
    pm__file_map map;
    assert_int_equal(pm__file_map_init(&map, path), PM_OK);
    char *text = malloc(map.size + 1);
    assert_non_null(text);
    if (map.size > 0)
        memcpy(text, map.data, map.size);
    text[map.size] = '\0';
    *n = map.size;
    pm__file_map_finish(&map);
    return text;
}

static bool is_plain_role(const char *role) {
    return strcmp(role, "system") == 0 || strcmp(role, "user") == 0 ||
           strcmp(role, "assistant") == 0;
}

/* Messages of a case in which there is nothing but roles and contents; 0 for others. */
static size_t read_messages(const cJSON *context, pm_message *out, size_t most) {
    if (cJSON_HasObjectItem(context, "tools"))
        return 0;
    size_t n = 0;
    const cJSON *message;
    cJSON_ArrayForEach(message, cJSON_GetObjectItem(context, "messages")) {
        out[n].role = cJSON_GetStringValue(cJSON_GetObjectItem(message, "role"));
        out[n].content = cJSON_GetStringValue(cJSON_GetObjectItem(message, "content"));
        if (++n == most || !is_plain_role(out[n - 1].role) || out[n - 1].content == NULL ||
            cJSON_HasObjectItem(message, "tool_calls"))
            return 0;
    }
    return n;
}

static cJSON *read_json(const char *path) {
    size_t n;
    char *text = read_text(path, &n);
    cJSON *document = NULL;
    assert_int_equal(pm__json_parse(path, text, n, &document), PM_OK);
    free(text);
    return document;
}

static size_t compare(const char *source, size_t n, const cJSON *contexts, const cJSON *expected) {
    const cJSON *test;
    size_t n_compared = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(expected, "cases")) {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(test, "case"));
        const cJSON *context = cJSON_GetObjectItem(contexts, name);
        const char *want = cJSON_GetStringValue(cJSON_GetObjectItem(test, "expected"));
        pm_message messages[16];
        const size_t n_message = read_messages(context, messages, PM__COUNT(messages));
        if (n_message == 0)
            continue;
        pm__chat_text chat = {0};
        const bool opens = cJSON_IsTrue(cJSON_GetObjectItem(context, "add_generation_prompt"));
        assert_non_null(want);
        assert_int_equal(pm__chat_format_render(source, n, messages, n_message, opens, &chat),
                         PM_OK);
        assert_string_equal(chat.text, want);
        pm__chat_text_finish(&chat);
        n_compared++;
    }
    return n_compared;
}

static void real_templates_render_as_jinja_does_or_are_refused(void **state) {
    (void)state;
    const char *folder = pm__reference_path("reference/templates/jinja");
    const char *cases = pm__reference_path("reference/templates/expected/contexts.json");
    DIR *files = folder != NULL ? opendir(folder) : NULL;
    if (files == NULL || cases == NULL)
        skip();
    cJSON *contexts = read_json(cases);
    size_t n_file = 0, n_chatml = 0;
    for (struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
        if (entry->d_name[0] == '.')
            continue;
        char name[512];
        size_t n;
        snprintf(name, sizeof name, "reference/templates/jinja/%s", entry->d_name);
        char *source = read_text(pm__reference_path(name), &n);
        n_file++;
        if (pm__chat_format_is_chatml(source, n)) {
            snprintf(name, sizeof name, "reference/templates/expected/%s.json", entry->d_name);
            cJSON *expected = read_json(pm__reference_path(name));
            assert_true(compare(source, n, contexts, expected) >= 8);
            cJSON_Delete(expected);
            n_chatml++;
        } else {
            const pm_message user = {"user", "x"};
            pm__chat_text chat = {0};
            assert_int_equal(pm__chat_format_render(source, n, &user, 1, true, &chat),
                             PM_UNSUPPORTED);
            assert_non_null(strstr(pm_last_error(), "not plain ChatML (seen in it: "));
        }
        free(source);
    }
    closedir(files);
    cJSON_Delete(contexts);
    print_message("%zu templates, %zu of them ChatML\n", n_file, n_chatml);
    assert_true(n_chatml >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_spellings_are_recognised),
        cmocka_unit_test(everything_else_is_not),
        cmocka_unit_test(damaged_templates_are_safe),
        cmocka_unit_test(messages_become_turns),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(real_templates_render_as_jinja_does_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
