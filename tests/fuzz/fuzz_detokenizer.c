/* fuzz_detokenizer.c: a vocabulary (input.h), stop texts, then ids of 16 bits: what comes out is
 * whole characters, is what all pieces together say, and ends before the first stop text. */
#include "input.h"

#include "base/utf8.h"
#include "engine/answer.h"
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_IDS = 512, MOST_STOPS = 3, MOST_STOP = 8 };

typedef struct text {
    char *bytes;
    size_t n;
} text;

static void append(text *t, pm__span more) {
    t->bytes = realloc(t->bytes, t->n + more.size + 1);
    PM__HOLDS(t->bytes != NULL);
    if (more.size > 0)
        memcpy(t->bytes + t->n, more.data, more.size);
    t->n += more.size;
    t->bytes[t->n] = '\0';
}

/* All pieces together, without the blank that the encoder puts before the first word. */
static text decode_whole(const pm__tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                         bool at_start) {
    text raw = {0};
    append(&raw, (pm__span){"", 0});
    bool started = !at_start || !tokenizer->drops_space;
    for (size_t i = 0; i < n; i++) {
        pm__span piece = pm__tokenizer_piece(tokenizer, ids[i], special);
        if (piece.size == 0)
            continue;
        const uint8_t kind = tokenizer->kinds[ids[i]];
        if (!started && kind != PM__PIECE_CONTROL && kind != PM__PIECE_UNKNOWN) {
            started = true;
            if (piece.data[0] == ' ')
                piece = (pm__span){piece.data + 1, piece.size - 1};
        }
        append(&raw, piece);
    }
    text whole;
    whole.bytes = pm__input_clean(raw.bytes, raw.n, &whole.n);
    free(raw.bytes);
    return whole;
}

static void check_stream(const pm__tokenizer *tokenizer, const int32_t *ids, size_t n, bool special,
                         bool at_start) {
    text whole = decode_whole(tokenizer, ids, n, special, at_start);
    pm__detokenizer detokenizer;
    pm__detokenizer_init(&detokenizer, tokenizer, special, at_start);
    size_t shown = 0;
    for (size_t i = 0; i <= n; i++) {
        pm__span more;
        PM__HOLDS((i < n ? pm__detokenizer_push(&detokenizer, ids[i], &more)
                         : pm__detokenizer_flush(&detokenizer, &more)) == PM_OK);
        PM__HOLDS(pm__utf8_check(more.data, more.size) == more.size);
        PM__HOLDS(more.size <= whole.n - shown);
        PM__HOLDS(more.size == 0 || memcmp(whole.bytes + shown, more.data, more.size) == 0);
        shown += more.size;
    }
    PM__HOLDS(shown == whole.n);
    pm__detokenizer_finish(&detokenizer);
    free(whole.bytes);
}

/* Where the first stop text begins, or the end. */
static size_t find_stop(const text *whole, const pm__stop_texts *stops) {
    for (size_t at = 0; at < whole->n; at++)
        for (size_t i = 0; i < stops->n; i++) {
            const size_t n = strlen(stops->texts[i]);
            if (n <= whole->n - at && memcmp(whole->bytes + at, stops->texts[i], n) == 0)
                return at;
        }
    return whole->n;
}

static void check_answer(const pm__tokenizer *tokenizer, const int32_t *ids, size_t n,
                         const pm__stop_texts *stops) {
    text whole = decode_whole(tokenizer, ids, n, false, true);
    const size_t end = find_stop(&whole, stops);
    pm__answer answer;
    PM__HOLDS(pm__answer_init(&answer, tokenizer, (uint32_t)n, true) == PM_OK);
    bool stopped = false;
    for (size_t i = 0; i <= n && !stopped; i++) {
        PM__HOLDS((i < n ? pm__answer_push(&answer, ids[i], stops, &stopped)
                         : pm__answer_flush(&answer, stops, &stopped)) == PM_OK);
        PM__HOLDS(answer.n_ready <= answer.n_byte && answer.n_ready <= end);
        PM__HOLDS(memcmp(answer.text, whole.bytes, answer.n_ready) == 0);
        PM__HOLDS(pm__utf8_check(answer.text, answer.n_byte) == answer.n_byte);
    }
    PM__HOLDS(stopped == (end < whole.n) && answer.n_byte == end);
    PM__HOLDS(memcmp(answer.text, whole.bytes, end) == 0);
    pm__answer_finish(&answer);
    free(whole.bytes);
}

static void check_all(const pm__tokenizer *tokenizer, pm__input *in) {
    char texts[MOST_STOPS][MOST_STOP + 1] = {{0}};
    const char *list[MOST_STOPS];
    int32_t ids[MOST_IDS];
    const size_t n_stop = pm__input_u8(in) % (MOST_STOPS + 1u);
    const pm__stop_texts stops = {list, n_stop};
    for (size_t i = 0; i < n_stop && i < MOST_STOPS; i++) { /* gcc 14 does not see the remainder */
        const pm__span bytes = pm__input_bytes(in, pm__input_u8(in) % (MOST_STOP + 1u));
        if (bytes.size > 0)
            memcpy(texts[i], bytes.data, bytes.size);
        list[i] = texts[i];
    }
    size_t n = 0;
    for (; n < MOST_IDS && in->left > 0; n++)
        ids[n] = (int16_t)pm__input_u16(in);
    for (int mode = 0; mode < 4; mode++)
        check_stream(tokenizer, ids, n, (mode & 1) != 0, (mode & 2) != 0);
    if (pm__stop_texts_check(&stops) == PM_OK)
        check_answer(tokenizer, ids, n, &stops);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input_quiet();
    pm__input in = {data, size};
    pm__vocabulary vocabulary;
    if (pm__input_vocabulary(&in, &vocabulary) != PM_OK)
        return 0;
    check_all(vocabulary.tokenizer, &in);
    pm__vocabulary_close(&vocabulary);
    return 0;
}
