#include "answer.h"

#include <stdlib.h>
#include <string.h>

pm_status pm__stop_texts_check(const pm__stop_texts *stops) {
    for (size_t i = 0; i < stops->n; i++) {
        const char *text = stops->texts[i];
        const size_t n = text != NULL ? strlen(text) : 0;
        if (n == 0 || n > PM__MOST_STOP_BYTES)
            return pm__fail(PM_ARGUMENT,
                            "generate: stop text %zu has %zu bytes, it must have 1 to %d", i, n,
                            PM__MOST_STOP_BYTES);
        if (((unsigned char)text[0] & 0xc0) == 0x80)
            return pm__fail(PM_ARGUMENT, "generate: stop text %zu begins inside a UTF-8 character",
                            i);
    }
    return PM_OK;
}

pm_status pm__answer_init(pm__answer *answer, const pm__tokenizer *tokenizer, uint32_t most,
                          bool at_text_start) {
    *answer = (pm__answer){.live = true};
    pm__detokenizer_init(&answer->detokenizer, tokenizer, false, at_text_start);
    answer->capacity =
        64 + (size_t)most * 8; /* more than most texts need, so that it seldom grows */
    answer->text = calloc(answer->capacity, 1);
    answer->tokens = calloc(most > 0 ? most : 1, sizeof *answer->tokens);
    if (answer->text == NULL || answer->tokens == NULL) {
        pm__answer_finish(answer);
        return pm__fail_memory("generate: an answer", (size_t)most * 12);
    }
    return PM_OK;
}

void pm__answer_finish(pm__answer *answer) {
    if (answer->text == NULL && answer->tokens == NULL)
        return;
    pm__detokenizer_finish(&answer->detokenizer);
    free(answer->text);
    free(answer->tokens);
    *answer = (pm__answer){0};
}

static pm_status append(pm__answer *answer, pm__span span) {
    if (span.size >= answer->capacity - answer->n_byte) {
        const size_t capacity = (answer->capacity + span.size) * 2;
        char *text = realloc(answer->text, capacity);
        if (text == NULL)
            return pm__fail_memory("generate: text of an answer", capacity);
        answer->text = text;
        answer->capacity = capacity;
    }
    if (span.size > 0)
        memcpy(answer->text + answer->n_byte, span.data, span.size);
    answer->n_byte += span.size;
    answer->text[answer->n_byte] = '\0';
    return PM_OK;
}

/* True if text [n] begins with what `stop` begins with, as far as both go. */
static bool may_become(const char *text, size_t n, const char *stop) {
    const size_t n_stop = strlen(stop);
    return memcmp(text, stop, n < n_stop ? n : n_stop) == 0;
}

/* Moves n_ready over bytes that begin no stop text, and where the text goes on, that may not become
 * the beginning of one. True if it met a whole one; the text then ends there. */
static bool scan(pm__answer *answer, const pm__stop_texts *stops, bool goes_on) {
    for (; answer->n_ready < answer->n_byte; answer->n_ready++) {
        const char *text = answer->text + answer->n_ready;
        const size_t n = answer->n_byte - answer->n_ready;
        bool hold = false;
        for (size_t i = 0; i < stops->n; i++) {
            if (!may_become(text, n, stops->texts[i]))
                continue;
            if (strlen(stops->texts[i]) <= n) {
                answer->n_byte = answer->n_ready;
                answer->text[answer->n_byte] = '\0';
                return true;
            }
            hold = true;
        }
        if (hold && goes_on)
            return false;
    }
    return false;
}

pm_status pm__answer_push(pm__answer *answer, int32_t token, const pm__stop_texts *stops,
                          bool *stopped) {
    answer->tokens[answer->n_token++] = token;
    pm__span span;
    PM_TRY(pm__detokenizer_push(&answer->detokenizer, token, &span));
    PM_TRY(append(answer, span));
    *stopped = scan(answer, stops, true);
    return PM_OK;
}

pm_status pm__answer_flush(pm__answer *answer, const pm__stop_texts *stops, bool *stopped) {
    pm__span span;
    PM_TRY(pm__detokenizer_flush(&answer->detokenizer, &span));
    PM_TRY(append(answer, span));
    *stopped = scan(answer, stops, false);
    return PM_OK;
}
