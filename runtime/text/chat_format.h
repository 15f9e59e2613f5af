/* chat_format.h: messages to prompt text by a chat template, and to ids. */
#ifndef PM_TEXT_CHAT_FORMAT_H
#define PM_TEXT_CHAT_FORMAT_H

#include "jinja.h"

/* What a template is given. */
typedef struct pm__chat_input {
    pm__span chat_template;
    const pm_message *messages; /* [n_message]; none: `variables` may have them */
    size_t n_message;
    bool open_answer;      /* add_generation_prompt, unless it is one of the variables */
    const char *variables; /* text of a JSON object, or NULL */
    pm__span bos, eos;     /* bos_token, eos_token, unless they are among the variables */
    pm__jinja_time now;
} pm__chat_input;

/* Text of messages and variables is marked as data, but for the roles, which are known words: some
 * templates make control pieces of them (<|user|>).
 * errors  ARGUMENT (unknown role), BAD_FILE (a template, variables or fields that cannot be read),
 *         UNSUPPORTED (nothing that templates of chats do), FAILURE (the template refuses, or takes
 *         too long), OUT_OF_MEMORY */
pm_status pm__chat_format_render(const pm__chat_input *in, pm__jinja_text *out);

/* The ids of a rendered conversation, with BOS and EOS as the file asks, but not where the template
 * has written them, and no EOS behind an answer that is open. */
pm_status pm__chat_format_encode(const pm__tokenizer *tokenizer, const pm__jinja_text *text,
                                 bool open_answer, pm__ids *out);

/* The text of a well-known format (chat_templates.def); NULL: unknown. */
const char *pm__chat_format_find(const char *name);
/* "alpaca, chatml, ..." */
const char *pm__chat_format_names(void);

#endif
