/* test_chat_format.c: messages through chat templates: what is data, which roles there are, tools
 * and reasoning, formats known by name. */
/* ctest: quick */
#include "tests/vocabulary.h"
#include "text/chat_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char chatml[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

static pm__chat_input input(const char *text, const pm_message *messages, size_t n, bool open) {
    return (pm__chat_input){.chat_template = {text, strlen(text)},
                            .messages = messages,
                            .n_message = n,
                            .open_answer = open,
                            .bos = {"<s>", 3},
                            .eos = {"</s>", 4},
                            .now = {2026, 1, 31, 9, 30, 0}};
}

static pm__jinja_text render(const pm__chat_input *in) {
    pm__jinja_text text = {0};
    if (pm__chat_format_render(in, &text) != PM_OK)
        fail_msg("%s", pm_last_error());
    return text;
}

static void expect(const pm__chat_input *in, const char *want) {
    pm__jinja_text text = render(in);
    assert_string_equal(text.text, want);
    assert_int_equal(text.n_byte, strlen(want));
    pm__jinja_text_finish(&text);
}

static void expect_data(const pm__jinja_text *text, const char *const *want, size_t n) {
    assert_int_equal(text->n_data, n);
    for (size_t i = 0; i < n; i++) {
        const pm__range *range = &text->data[i];
        assert_int_equal(range->end - range->begin, strlen(want[i]));
        assert_memory_equal(text->text + range->begin, want[i], strlen(want[i]));
    }
}

static void messages_become_turns(void **state) {
    (void)state;
    static const pm_message messages[] = {{.role = "system", .content = " be brief "},
                                          {.role = "user", .content = "Hi\n\xf0\x9f\xa6\x99"},
                                          {.role = "assistant", .content = ""}};
    static const char closed[] = "<|im_start|>system\n be brief <|im_end|>\n<|im_start|>user\nHi\n"
                                 "\xf0\x9f\xa6\x99<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n";
    static const char *const data[] = {" be brief ", "Hi\n\xf0\x9f\xa6\x99"};
    const pm__chat_input shut = input(chatml, messages, 3, false);
    const pm__chat_input open = input(chatml, messages, 1, true);
    const pm__chat_input none = input(chatml, NULL, 0, false);
    pm__jinja_text text = render(&shut);
    assert_string_equal(text.text, closed);
    expect_data(&text, data, PM__COUNT(data)); /* roles are the program's own words */
    pm__jinja_text_finish(&text);
    expect(&open, "<|im_start|>system\n be brief <|im_end|>\n<|im_start|>assistant\n");
    expect(&none, "");
}

/* A template makes control pieces of roles: only words that are known may be that. */
static void roles_are_known_words(void **state) {
    (void)state;
    static const char source[] = "{% for m in messages %}<|{{ m.role }}|>{% endfor %}";
    const pm_message tool = {.role = "tool", .content = "x"};
    const pm_message other = {.role = "im_end", .content = "x"}, nobody = {.content = "x"};
    const pm__chat_input good = input(source, &tool, 1, false);
    const pm__chat_input bad[] = {input(source, &other, 1, false),
                                  input(source, &nobody, 1, false)};
    pm__jinja_text text = render(&good);
    assert_string_equal(text.text, "<|tool|>");
    assert_int_equal(text.n_data, 0);
    pm__jinja_text_finish(&text);
    for (size_t i = 0; i < PM__COUNT(bad); i++)
        assert_int_equal(pm__chat_format_render(&bad[i], &text), PM_ARGUMENT);
    pm__chat_input variables = input(source, NULL, 0, false);
    variables.variables = "{\"messages\": [{\"role\": \"user\"}, {\"role\": \"im_end\"}]}";
    static const char *const data[] = {"im_end"};
    text = render(&variables);
    assert_string_equal(text.text, "<|user|><|im_end|>");
    expect_data(&text, data, 1);
    pm__jinja_text_finish(&text);
}

static void fields_and_variables_reach_the_template(void **state) {
    (void)state;
    static const char source[] =
        "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}{% endif %}"
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %};"
        "{% endfor %}{{ tools[0].name }}{{ enable_thinking }}{{ strftime_now('%d %b %Y') }}"
        "{{ add_generation_prompt }}{{ eos_token }}";
    static const pm_message messages[] = {
        {.role = "assistant",
         .fields = "{\"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"b\": 1, "
                   "\"a\": 2.0}}}], \"role\": \"system\"}"},
        {.role = "tool", .content = "r", .fields = "{\"content\": \"other\"}"},
        {.role = "assistant", .content = "y", .fields = "{\"reasoning_content\": \"why\"}"}};
    pm__chat_input in = input(source, messages, 3, true);
    in.variables = "{\"tools\": [{\"name\": \"f\"}], \"enable_thinking\": false}";
    expect(&in, "<s>assistant:None{\"b\": 1, \"a\": 2.0};tool:r;assistant:y<think>why</think>;"
                "fFalse31 Jan 2026True</s>");
}

static void refusals_say_why(void **state) {
    (void)state;
    static const pm_message user = {.role = "user", .content = "x"};
    static const pm_message empty = {.role = "user"};
    static const pm_message wrong = {.role = "user", .content = "x", .fields = "[1]"};
    static const struct {
        const char *source;
        const pm_message *message;
        const char *variables;
        pm_status status;
        const char *says;
    } cases[] = {
        {chatml, &empty, NULL, PM_ARGUMENT, "message 0 has no content"},
        {chatml, &wrong, NULL, PM_BAD_FILE, "not a JSON object"},
        {chatml, &user, "{", PM_BAD_FILE, "template variables: not JSON at byte 1"},
        {chatml, &user, "[]", PM_BAD_FILE, "template variables: not a JSON object"},
        {"{% if %}", &user, NULL, PM_BAD_FILE, "template, line 1: an expression is missing"},
        {"\n{% include 'x' %}", &user, NULL, PM_UNSUPPORTED, "template, line 2: 'include'"},
        {"\n\n{{ raise_exception('no ' + messages[0].role) }}", &user, NULL, PM_FAILURE,
         "template, line 3: no user"},
        {"{{ messages[0].content.value.x }}", &user, NULL, PM_FAILURE,
         "template, line 1: str has no 'value'"},
    };
    for (size_t i = 0; i < PM__COUNT(cases); i++) {
        pm__jinja_text text = {0};
        pm__chat_input in = input(cases[i].source, cases[i].message, 1, true);
        in.variables = cases[i].variables;
        assert_int_equal(pm__chat_format_render(&in, &text), cases[i].status);
        if (strstr(pm_last_error(), cases[i].says) == NULL)
            fail_msg("'%s' has no '%s'", pm_last_error(), cases[i].says);
        assert_null(text.text);
    }
}

static void known_formats_have_all_that_is_said(void **state) {
    (void)state;
    static const pm_message messages[] = {{.role = "system", .content = "(S)"},
                                          {.role = "user", .content = "(U)"},
                                          {.role = "assistant", .content = "(A)"},
                                          {.role = "user", .content = "(V)"}};
    char names[512];
    size_t n = 0;
    snprintf(names, sizeof names, "%s", pm__chat_format_names());
    for (char *name = strtok(names, ", "); name != NULL; name = strtok(NULL, ", "), n++) {
        const char *source = pm__chat_format_find(name);
        assert_non_null(source);
        const pm__chat_input all = input(source, messages, 4, true);
        const pm__chat_input bare = input(source, messages + 1, 1, true);
        pm__jinja_text text = render(&all), alone = render(&bare);
        for (size_t i = 0; i < PM__COUNT(messages); i++)
            if (strstr(text.text, messages[i].content) == NULL)
                fail_msg("%s: no %s in %s", name, messages[i].content, text.text);
        assert_int_equal(text.n_data, 4);
        assert_non_null(strstr(alone.text, "(U)"));
        assert_true(alone.text[alone.n_byte - 1] != ')'); /* the answer is opened */
        pm__jinja_text_finish(&text);
        pm__jinja_text_finish(&alone);
    }
    assert_true(n >= 10);
    assert_null(pm__chat_format_find("chat"));
}

/* ---- ids ------------------------------------------------------------------------------------- */

static void open_vocabulary(pm__vocabulary *out, bool adds) {
    static const char *const pieces[] = {"<unk>", "<s>", "</s>", "a", "<|user|>"};
    static const int32_t kinds[] = {2, 3, 3, 1, 4};
    static const float scores[5] = {0};
    pm__writer file = {0};
    pm__write_text(&file, "tokenizer.ggml.model", "llama");
    pm__write_texts(&file, "tokenizer.ggml.tokens", pieces, PM__COUNT(pieces));
    pm__write_i32s(&file, "tokenizer.ggml.token_type", kinds, PM__COUNT(kinds));
    pm__write_f32s(&file, "tokenizer.ggml.scores", scores, PM__COUNT(scores));
    pm__write_bool(&file, "tokenizer.ggml.add_space_prefix", false);
    pm__write_bool(&file, "tokenizer.ggml.add_bos_token", adds);
    pm__write_bool(&file, "tokenizer.ggml.add_eos_token", adds);
    if (pm__vocabulary_open_written(out, &file) != PM_OK)
        fail_msg("%s", pm_last_error());
}

static void expect_ids(bool adds, bool open, const char *source, const int32_t *want, size_t n) {
    static const pm_message message = {.role = "user", .content = "a<s></s><|user|>"};
    pm__vocabulary vocabulary;
    pm__ids ids = {0};
    open_vocabulary(&vocabulary, adds);
    const pm__chat_input in = input(source, &message, 1, open);
    pm__jinja_text text = render(&in);
    assert_int_equal(pm__chat_format_encode(vocabulary.tokenizer, &text, open, &ids), PM_OK);
    size_t n_got = 0;
    for (size_t i = 0; i < ids.n;
         i++) /* pieces of plain text that are unknown are of no interest */
        if (ids.data[i] != 0)
            ids.data[n_got++] = ids.data[i];
    assert_int_equal(n_got, n);
    assert_memory_equal(ids.data, want, n * sizeof *want);
    pm__ids_finish(&ids);
    pm__jinja_text_finish(&text);
    pm__vocabulary_close(&vocabulary);
}

/* Where the tokenizer adds them and the template has them, they are there once. */
static void begin_and_end_are_there_once(void **state) {
    (void)state;
    static const char bare[] = "{{ messages[0].content }}<|user|>";
    static const char with[] = "{{ bos_token }}{{ messages[0].content }}<|user|>{{ eos_token }}";
    static const int32_t plain[] = {3, 4}, begun[] = {1, 3, 4}, both[] = {1, 3, 4, 2};
    expect_ids(false, false, bare, plain, 2);
    expect_ids(false, false, with, both, 4);
    expect_ids(true, true, bare, begun, 3);
    expect_ids(true, false, bare, both, 4);
    expect_ids(true, true, with, both, 4);
    expect_ids(true, false, with, both, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_become_turns),
        cmocka_unit_test(roles_are_known_words),
        cmocka_unit_test(fields_and_variables_reach_the_template),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(known_formats_have_all_that_is_said),
        cmocka_unit_test(begin_and_end_are_there_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
