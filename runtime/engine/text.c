/* text.c: a model's tokenizer and chat template behind the public calls. */
#include "internal.h"

#include "../text/chat_format.h"

#include <string.h>

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

pm_status pm_tokenize(const pm_model *model, const pm_tokenize_desc *desc, int32_t *ids,
                      size_t capacity, size_t *n_id) {
    pm__ids list = {0};
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

pm_status pm_chat_tokenize(const pm_model *model, const pm_message *messages, size_t n,
                           bool open_answer, int32_t *ids, size_t capacity, size_t *n_id) {
    const char *source = model->info.chat_template;
    pm__chat_text chat = {0};
    PM_TRY(pm__chat_format_render(source, source != NULL ? strlen(source) : 0, messages, n,
                                  open_answer, &chat));
    const pm__ranges data = {chat.data, chat.n_data};
    pm__ids list = {0};
    pm_status status = pm__tokenizer_encode_around(
        model->tokenizer, (pm__span){chat.text, chat.n_byte}, data, true, &list);
    if (status == PM_OK)
        status = give(&list, ids, capacity, n_id);
    pm__ids_finish(&list);
    pm__chat_text_finish(&chat);
    return status;
}
