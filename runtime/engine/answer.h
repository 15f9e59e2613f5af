/* answer.h: tokens of one answer to text that may be shown: whole characters, and nothing that may
 * still become a stop text. */
#ifndef PM_ENGINE_ANSWER_H
#define PM_ENGINE_ANSWER_H

#include "../text/tokenizer.h"

enum { PM__MOST_STOP_BYTES = 1024 };

typedef struct pm__stop_texts {
    const char *const *texts; /* [n], each of 1 to PM__MOST_STOP_BYTES bytes */
    size_t n;
} pm__stop_texts;

/* errors  ARGUMENT: an empty or too long text, or one that begins inside a character */
pm_status pm__stop_texts_check(const pm__stop_texts *stops);

typedef struct pm__answer {
    pm__detokenizer detokenizer;
    int32_t *tokens; /* [n_token] */
    uint32_t n_token;
    char *text; /* [n_byte] and a closing zero */
    size_t n_byte, capacity;
    size_t n_ready; /* bytes at the start of text that no stop text can take back */
    size_t n_sent;  /* bytes that the caller has shown */
    uint32_t logits_hash;
    pm_stop stop;
    bool live;
} pm__answer;

/* most           tokens it may have
 * at_text_start  nothing but the start of the text was before */
pm_status pm__answer_init(pm__answer *answer, const pm__tokenizer *tokenizer, uint32_t most,
                          bool at_text_start);
void pm__answer_finish(pm__answer *answer);

/* Adds a token. *stopped: its text completes a stop text; the answer's text then ends before it. */
pm_status pm__answer_push(pm__answer *answer, int32_t token, const pm__stop_texts *stops,
                          bool *stopped);
/* No token follows: what was held back is ready. *stopped as above. */
pm_status pm__answer_flush(pm__answer *answer, const pm__stop_texts *stops, bool *stopped);

#endif
