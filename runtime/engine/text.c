/* text.c: a model's tokenizer and chat template behind the public calls. */
#include "internal.h"

#include "../text/chat_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Copies the ids to where the caller wants them. */
static pm_status give(const pm__ids *list, int32_t *ids, size_t capacity, size_t *n_id) {
    *n_id = list->n;
    if (ids == NULL || list->n == 0)
        return PM_OK;
    if (list->n > capacity)
        return pm__fail(PM_FAILURE, "tokenizer: the text has %zu tokens, there is room for %zu",
                        list->n, capacity);
    memcpy(ids, list->data, list->n * sizeof *ids);
    return PM_OK;
}

/* With info_only there may be none. */
static pm_status check_tokenizer(const pm_model *model) {
    return model->tokenizer != NULL ? PM_OK
                                    : pm__fail(PM_ARGUMENT, "model: it was opened with info_only, "
                                                            "and has no tokenizer");
}

pm_status pm_tokenize(const pm_model *model, const pm_tokenize_desc *desc, int32_t *ids,
                      size_t capacity, size_t *n_id) {
    pm__ids list = {0};
    PM_TRY(check_tokenizer(model));
    pm_status status =
        pm__tokenizer_encode(model->tokenizer, desc->text != NULL ? desc->text : "", desc->n_byte,
                             desc->add_special, desc->parse_special, &list);
    if (status == PM_OK)
        status = give(&list, ids, capacity, n_id);
    pm__ids_finish(&list);
    return status;
}

pm_status pm_token_text(const pm_model *model, int32_t id, bool special, const char **text,
                        size_t *n_byte) {
    if (id < 0 || (uint32_t)id >= model->info.n_vocab)
        return pm__fail(PM_ARGUMENT, "tokenizer: token %d, the vocabulary has %u", id,
                        model->info.n_vocab);
    const pm__span span = pm__tokenizer_piece(model->tokenizer, id, special);
    *text = span.size > 0 ? span.data : "";
    *n_byte = span.size;
    return PM_OK;
}

/* ---- chat ------------------------------------------------------------------------------------ */

static pm__jinja_time local_time(void) {
    const time_t seconds = time(NULL);
    struct tm parts = {.tm_year = 70, .tm_mday = 1};
    localtime_r(&seconds, &parts);
    return (pm__jinja_time){parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                            parts.tm_hour,        parts.tm_min,     parts.tm_sec};
}

/* tokenizer.chat_template.<name>; false: the model has none. */
static bool find_named(const pm_model *model, const char *name, pm__span *out) {
    char key[128];
    const int n = snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
    if (model == NULL || n < 0 || (size_t)n >= sizeof key)
        return false;
    const pm__gguf_key *found = pm__gguf_find_key(&model->source.gguf, key);
    return found != NULL && pm__gguf_string(found, out);
}

static pm__span span_of(const char *text) {
    return (pm__span){text, strlen(text)};
}

/* The model's own, for messages with or without tools. */
static pm_status own_template(const pm_model *model, const char *variables, pm__span *out) {
    const bool tools = variables != NULL && strstr(variables, "\"tools\"") != NULL;
    if (tools && find_named(model, "tool_use", out))
        return PM_OK;
    if (model == NULL || model->info.chat_template == NULL)
        return pm__fail(PM_UNSUPPORTED,
                        "chat: the model has no chat template; --raw completes plain text, "
                        "--chat-template names a format");
    *out = span_of(model->info.chat_template);
    return PM_OK;
}

static pm_status choose_template(const pm_model *model, const pm_chat_desc *desc, pm__span *out) {
    const char *name = desc->template_name;
    const char *text = desc->chat_template;
    if (text == NULL && name == NULL)
        return own_template(model, desc->variables, out);
    if (text == NULL && find_named(model, name, out))
        return PM_OK;
    if (text == NULL)
        text = pm__chat_format_find(name);
    if (text == NULL)
        return pm__fail(PM_ARGUMENT,
                        "chat: '%.60s' is no template of the model, and no format known by name "
                        "(%s)",
                        name, pm__chat_format_names());
    *out = span_of(text);
    return PM_OK;
}

static pm_status render(const pm_model *model, const pm_chat_desc *desc, pm__jinja_text *out) {
    pm__chat_input in = {.messages = desc->messages,
                         .n_message = desc->n_message,
                         .open_answer = desc->open_answer,
                         .variables = desc->variables,
                         .bos = {"", 0},
                         .eos = {"", 0}};
    PM_TRY(choose_template(model, desc, &in.chat_template));
    if (desc->now == NULL)
        in.now = local_time();
    else if (!pm__jinja_time_parse(desc->now, &in.now))
        return pm__fail(PM_ARGUMENT, "chat: '%.40s' is no time such as 2026-01-31T09:30:00",
                        desc->now);
    if (model != NULL) {
        PM_TRY(check_tokenizer(model));
        const pm__tokenizer *tokenizer = model->tokenizer;
        in.bos = pm__tokenizer_piece(tokenizer, pm__tokenizer_bos(tokenizer), true);
        in.eos = pm__tokenizer_piece(tokenizer, pm__tokenizer_eos(tokenizer), true);
    }
    return pm__chat_format_render(&in, out);
}

pm_status pm_chat_tokenize(const pm_model *model, const pm_chat_desc *desc, int32_t *ids,
                           size_t capacity, size_t *n_id) {
    pm__jinja_text text = {0};
    pm__ids list = {0};
    PM_TRY(render(model, desc, &text));
    pm_status status = pm__chat_format_encode(model->tokenizer, &text, desc->open_answer, &list);
    if (status == PM_OK)
        status = give(&list, ids, capacity, n_id);
    pm__ids_finish(&list);
    pm__jinja_text_finish(&text);
    return status;
}

pm_status pm_chat_render(const pm_model *model, const pm_chat_desc *desc, char **text,
                         size_t *n_byte) {
    pm__jinja_text made = {0};
    PM_TRY(render(model, desc, &made));
    *text = made.text;
    *n_byte = made.n_byte;
    made.text = NULL;
    pm__jinja_text_finish(&made);
    return PM_OK;
}

void pm_text_free(char *text) {
    free(text);
}
