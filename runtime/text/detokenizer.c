#include "tokenizer.h"

#include "vocabulary.h"

#include "../base/grow.h"
#include "../base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
enum {
    REPLACEMENT_BYTES = 3,
    LEAST_ROOM = 2048 /* for pieces of up to 500 bytes: more than vocabularies have */
};

void pm__detokenizer_init(pm__detokenizer *detokenizer, const pm__tokenizer *tokenizer,
                          bool special, bool at_text_start) {
    *detokenizer = (pm__detokenizer){.tokenizer = tokenizer,
                                     .special = special,
                                     .started = !at_text_start || !tokenizer->drops_space};
}

void pm__detokenizer_finish(pm__detokenizer *detokenizer) {
    free(detokenizer->text);
    *detokenizer = (pm__detokenizer){0};
}

/* Grows seldom, so that a token costs no allocation. */
static pm_status reserve(pm__detokenizer *detokenizer, size_t n) {
    return pm__reserve("detokenizer", &detokenizer->text, &detokenizer->capacity,
                       n > LEAST_ROOM ? n : LEAST_ROOM, 1);
}

/* Copies whole characters of bytes[0, n) to out, U+FFFD for broken ones, and returns the bytes
 * written. */
static size_t clean(const char *bytes, size_t n, char *out) {
    size_t written = 0;
    for (size_t at = 0; at < n;) {
        const size_t whole = pm__utf8_check(bytes + at, n - at);
        memcpy(out + written, bytes + at, whole);
        written += whole;
        at += whole;
        uint32_t code;
        const size_t broken = pm__utf8_decode(bytes + at, n - at, &code);
        if (broken > 0) {
            memcpy(out + written, replacement, REPLACEMENT_BYTES);
            written += REPLACEMENT_BYTES;
        }
        at += broken;
    }
    return written;
}

/* The bytes of the piece without the blank that the encoder put before the first word. */
static pm__span next_piece(pm__detokenizer *detokenizer, int32_t id) {
    pm__span piece = pm__tokenizer_piece(detokenizer->tokenizer, id, detokenizer->special);
    if (detokenizer->started || piece.size == 0)
        return piece;
    const uint8_t kind = detokenizer->tokenizer->kinds[id];
    if (kind == PM__PIECE_CONTROL || kind == PM__PIECE_UNKNOWN)
        return piece;
    detokenizer->started = true;
    if (piece.data[0] == ' ') {
        piece.data++;
        piece.size--;
    }
    return piece;
}

pm_status pm__detokenizer_push(pm__detokenizer *detokenizer, int32_t id, pm__span *text) {
    const pm__span piece = next_piece(detokenizer, id);
    const size_t n = detokenizer->n_pending + piece.size;
    /* Room for the bytes at the end and for U+FFFD in the place of each before them. */
    PM_TRY(reserve(detokenizer, n * (REPLACEMENT_BYTES + 1) + 1));
    char *bytes = detokenizer->text + n * REPLACEMENT_BYTES;
    memcpy(bytes, detokenizer->pending, detokenizer->n_pending);
    memcpy(bytes + detokenizer->n_pending, piece.data, piece.size);
    const size_t rest = pm__utf8_incomplete(bytes, n);
    memcpy(detokenizer->pending, bytes + n - rest, rest);
    detokenizer->n_pending = rest;
    *text = (pm__span){detokenizer->text, clean(bytes, n - rest, detokenizer->text)};
    return PM_OK;
}

pm_status pm__detokenizer_flush(pm__detokenizer *detokenizer, pm__span *text) {
    PM_TRY(reserve(detokenizer, sizeof detokenizer->pending * REPLACEMENT_BYTES));
    *text = (pm__span){detokenizer->text,
                       clean(detokenizer->pending, detokenizer->n_pending, detokenizer->text)};
    detokenizer->n_pending = 0;
    return PM_OK;
}
