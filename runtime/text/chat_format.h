/* chat_format.h: messages to prompt text. Knows ChatML; other templates are refused until there is
 * an engine for them. */
#ifndef PM_TEXT_CHAT_FORMAT_H
#define PM_TEXT_CHAT_FORMAT_H

#include "tokenizer.h"

/* True if the template (tokenizer.chat_template) writes plain ChatML for every list of messages, in
 * one of the spellings of the field. Whatever else a template does (a system text of its own,
 * tools, trimming, BOS, no opening of the answer) makes it another one. */
bool pm__chat_format_is_chatml(const char *chat_template, size_t n);

/* Messages in their template. Zeroed is empty. */
typedef struct pm__chat_text {
    char *text; /* [n_byte], and a zero */
    size_t n_byte;
    pm__range *data; /* [n_data] where roles and contents stand, see pm__ranges */
    size_t n_data;
} pm__chat_text;

/* chat_template  NULL: the file has none
 * errors         UNSUPPORTED (no template: use --raw; not ChatML: names what was seen in it),
 * ARGUMENT (unknown role) */
pm_status pm__chat_format_render(const char *chat_template, size_t template_bytes,
                                 const pm_message *messages, size_t n, bool open_answer,
                                 pm__chat_text *out);
void pm__chat_text_finish(pm__chat_text *chat);

#endif
