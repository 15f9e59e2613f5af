/* conversation.h: the messages of a chat, kept as JSON where saved, and what of them the session
 * already holds. */
#ifndef PM_TOOLS_CONVERSATION_H
#define PM_TOOLS_CONVERSATION_H

#include "common.h"

typedef struct pm__conversation {
    pm_message
        *messages; /* texts malloc'ed, fields by cJSON; a system message can only be the first */
    size_t n, capacity;
    int32_t *held; /* [n_held] ids in sequence 0 of the session */
    size_t n_held;
} pm__conversation;

void pm__conversation_finish(pm__conversation *c);
/* Forgets all messages, except the system message if it is kept. */
void pm__conversation_clear(pm__conversation *c, bool keep_system);
/* Text [n_byte] without zero bytes. Gives an exit code. */
int pm__conversation_add(pm__conversation *c, const char *role, const char *content, size_t n_byte);
/* Takes the last message back. */
void pm__conversation_drop(pm__conversation *c);
/* Sets, or with "" removes, the system message. */
int pm__conversation_system(pm__conversation *c, const char *content);

/* [{"role": "...", "content": "...", ...}, ...]; load replaces all messages, or on failure none. */
int pm__conversation_save(const pm__conversation *c, const char *path);
int pm__conversation_load(pm__conversation *c, const char *path);
/* The same for the text of a file [n_byte]; `path` is for the sentences. */
int pm__conversation_parse(pm__conversation *c, const char *path, const char *text, size_t n_byte);

/* Renders the conversation with an open answer and rewinds the session to what it shares with it,
 * so that only the rest has to be evaluated: ids + *n_keep. Always leaves at least one id to
 * evaluate.
 * ids  malloc'ed, all ids of the conversation [n_id] */
int pm__conversation_prompt(pm__conversation *c, pm__cli *cli, int32_t **ids, size_t *n_id,
                            size_t *n_keep);
/* Notes what the session holds after an answer: the prompt's ids (taken over) and the answer's
 * tokens. */
int pm__conversation_hold(pm__conversation *c, int32_t *ids, size_t n_id, const pm_answer *answer);

#endif
