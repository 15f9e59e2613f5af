/* fuzz_conversation.c: a chat kept as JSON, and what a template makes of it. */
#include "input.h"

#include "text/chat_format.h"
#include "tools/conversation.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHATML                                                                                     \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "                    \
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "      \
    "'<|im_start|>assistant\n' }}{% endif %}"

/* Stands in for pm__cli_error, which would print. */
int __wrap_pm__cli_error(int exit_code, const char *fmt, ...) PM__PRINTF(2, 3);
int __wrap_pm__cli_error(int exit_code, const char *fmt, ...) {
    char sentence[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    PM__HOLDS(strlen(sentence) > 10 && pm__input_is_plain(sentence, strlen(sentence)));
    return exit_code;
}

/* Contents stand in the text where the ranges say, in order, and nothing else is data. */
static void check_text(const pm__jinja_text *chat, const pm_message *messages, size_t n) {
    PM__HOLDS(chat->text[chat->n_byte] == '\0' && strlen(chat->text) == chat->n_byte);
    size_t range = 0, end = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t size = strlen(messages[i].content);
        if (size == 0)
            continue;
        PM__HOLDS(range < chat->n_data);
        const pm__range *r = &chat->data[range++];
        PM__HOLDS(r->begin > end && r->end - r->begin == size && r->end < chat->n_byte);
        PM__HOLDS(memcmp(chat->text + r->begin, messages[i].content, size) == 0);
        end = r->end;
    }
    PM__HOLDS(range == chat->n_data);
}

static void render(const pm_message *messages, size_t n) {
    static const pm_status allowed[] = {PM_ARGUMENT, PM_BAD_FILE};
    for (int open = 0; open < 2; open++) {
        const pm__chat_input in = {.chat_template = {CHATML, strlen(CHATML)},
                                   .messages = messages,
                                   .n_message = n,
                                   .open_answer = open != 0,
                                   .bos = {"", 0},
                                   .eos = {"", 0}};
        pm__jinja_text chat = {0};
        const pm_status status = pm__chat_format_render(&in, &chat);
        if (status == PM_OK)
            check_text(&chat, messages, n);
        else
            pm__input_failed(status, allowed, PM__COUNT(allowed));
        pm__jinja_text_finish(&chat);
    }
}

/* A list that cannot be read leaves the conversation as it was. */
static void check_json(const char *text, size_t n) {
    static const char before[] = "as it was";
    pm__conversation c = {0};
    PM__HOLDS(pm__conversation_add(&c, "user", before, strlen(before)) == 0);
    const int code = pm__conversation_parse(&c, "chat.json", text, n);
    PM__HOLDS(code == 0 || code == PM__EXIT_BAD_FILE);
    if (code != 0)
        PM__HOLDS(c.n == 1 && strcmp(c.messages[0].content, before) == 0);
    for (size_t i = 0; i < c.n; i++) {
        PM__HOLDS(c.messages[i].role != NULL && c.messages[i].content != NULL);
        PM__HOLDS(i == 0 || strcmp(c.messages[i].role, "system") != 0);
    }
    render(c.messages, c.n);
    pm__conversation_finish(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input_quiet();
    if (size < 2)
        return 0;
    char *text = (char *)pm__input_copy(data + 1, size - 1);
    check_json(text, size - 1);
    free(text);
    return 0;
}
