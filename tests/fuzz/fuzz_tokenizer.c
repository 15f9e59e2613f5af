/* fuzz_tokenizer.c: a vocabulary (input.h), then text: ids are of the vocabulary, the same each
 * time, and stand for the text. */
#include "input.h"

#include "base/utf8.h"
#include "text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

static const char blank[] = "\xe2\x96\x81"; /* U+2581 */

static void check_ids(const pm__tokenizer *tokenizer, const pm__ids *ids) {
    for (size_t i = 0; i < ids->n; i++) {
        PM__HOLDS(ids->data[i] >= 0 && (uint32_t)ids->data[i] < tokenizer->n_vocab);
        (void)pm__tokenizer_is_end(tokenizer, ids->data[i]);
    }
}

/* What encoding may fail with: no way to write the text, a damaged charsmap. */
static const pm_status allowed_failures[] = {PM_ARGUMENT, PM_BAD_FILE};

/* False where the vocabulary has no way to write the text. */
static bool encode(const pm__tokenizer *tokenizer, pm__span text, bool special, pm__ids *out) {
    const pm_status status =
        pm__tokenizer_encode(tokenizer, text.data, text.size, special, special, out);
    check_ids(tokenizer, out);
    if (status != PM_OK)
        pm__input_failed(status, allowed_failures, PM__COUNT(allowed_failures));
    return status == PM_OK;
}

/* Text as the detokenizer gives it, U+2581 and blank taken for the same. Freed by the caller. */
static char *normal(const char *text, size_t n, size_t *n_out) {
    char *out = pm__input_clean(text, n, n_out);
    size_t used = 0;
    for (size_t at = 0; at < *n_out; used++) {
        const bool is_blank = *n_out - at >= 3 && memcmp(out + at, blank, 3) == 0;
        out[used] = is_blank ? ' ' : out[at];
        at += is_blank ? 3 : 1;
    }
    *n_out = used;
    return out;
}

static char *decode(const pm__tokenizer *tokenizer, const pm__ids *ids, size_t *n) {
    size_t capacity = 64;
    for (size_t i = 0; i < ids->n; i++)
        capacity += 3 * pm__tokenizer_piece(tokenizer, ids->data[i], true).size;
    char *out = malloc(capacity);
    PM__HOLDS(out != NULL);
    pm__detokenizer detokenizer;
    pm__detokenizer_init(&detokenizer, tokenizer, true, true);
    *n = 0;
    for (size_t i = 0; i <= ids->n; i++) {
        pm__span text;
        PM__HOLDS((i < ids->n ? pm__detokenizer_push(&detokenizer, ids->data[i], &text)
                              : pm__detokenizer_flush(&detokenizer, &text)) == PM_OK);
        PM__HOLDS(text.size <= capacity - *n);
        if (text.size > 0)
            memcpy(out + *n, text.data, text.size);
        *n += text.size;
    }
    pm__detokenizer_finish(&detokenizer);
    return out;
}

/* Only pieces that stand for their bytes, none for what the vocabulary lacks. */
static bool is_lossless(const pm__tokenizer *tokenizer, pm__span text, const pm__ids *ids) {
    for (size_t i = 0; i < ids->n; i++) {
        const uint8_t kind = tokenizer->kinds[ids->data[i]];
        if (ids->data[i] == tokenizer->unknown ||
            (kind != PM__PIECE_NORMAL && kind != PM__PIECE_UNUSED && kind != PM__PIECE_BYTE))
            return false;
    }
    const char *model = tokenizer->kind->model;
    if (strcmp(model, "bert") == 0 || strcmp(model, "t5") == 0)
        return false; /* of the normal form of a text */
    if (strcmp(model, "gpt2") != 0)
        return true;
    for (size_t i = 0; i < text.size; i++)
        if (tokenizer->bytes[(uint8_t)text.data[i]] < 0)
            return false;
    return pm__utf8_check(text.data, text.size) == text.size;
}

static void check_round_trip(const pm__tokenizer *tokenizer, pm__span text, const pm__ids *ids) {
    if (!is_lossless(tokenizer, text, ids))
        return;
    size_t n_decoded, n_want, n_got;
    char *decoded = decode(tokenizer, ids, &n_decoded);
    char *want = normal(text.data, text.size, &n_want);
    char *got = normal(decoded, n_decoded, &n_got);
    const char *at = got;
    /* The blank before the first word, where it is written in bytes, is not taken away. */
    if (n_got == n_want + 1 && tokenizer->adds_space && ids->n > 0 &&
        tokenizer->kinds[ids->data[0]] == PM__PIECE_BYTE && got[0] == ' ') {
        at++;
        n_got--;
    }
    PM__HOLDS(n_got == n_want && memcmp(at, want, n_want) == 0);
    free(decoded);
    free(want);
    free(got);
}

/* Data from `begin` to `end`: no control piece is found that touches it. */
static void check_around(const pm__tokenizer *tokenizer, pm__span text, pm__range data) {
    pm__ids ids = {0};
    const pm__ranges ranges = {&data, data.end > data.begin};
    const pm_status status = pm__tokenizer_encode_around(tokenizer, text, ranges, false, &ids);
    check_ids(tokenizer, &ids);
    if (status != PM_OK)
        pm__input_failed(status, allowed_failures, PM__COUNT(allowed_failures));
    for (size_t i = 0; i < ids.n && data.begin == 0 && data.end == text.size; i++)
        PM__HOLDS(tokenizer->kinds[ids.data[i]] != PM__PIECE_CONTROL ||
                  ids.data[i] == tokenizer->unknown);
    pm__ids_finish(&ids);
}

static void check_text(const pm__tokenizer *tokenizer, pm__span text) {
    pm__ids ids = {0}, again = {0}, special = {0};
    const bool is_written = encode(tokenizer, text, false, &ids);
    PM__HOLDS(encode(tokenizer, text, false, &again) == is_written);
    PM__HOLDS(again.n == ids.n);
    PM__HOLDS(ids.n == 0 || memcmp(ids.data, again.data, ids.n * sizeof *ids.data) == 0);
    if (is_written)
        check_round_trip(tokenizer, text, &ids);
    (void)encode(tokenizer, text, true, &special);
    check_around(tokenizer, text, (pm__range){0, text.size});
    check_around(tokenizer, text, (pm__range){text.size / 3, text.size - text.size / 4});
    pm__ids_finish(&ids);
    pm__ids_finish(&again);
    pm__ids_finish(&special);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE, PM_UNSUPPORTED};
    pm__input_quiet();
    pm__input in = {data, size};
    pm__vocabulary vocabulary;
    const pm_status status = pm__input_vocabulary(&in, &vocabulary);
    if (status != PM_OK) {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
        return 0;
    }
    const pm__tokenizer *tokenizer = vocabulary.tokenizer;
    const int32_t named[] = {pm__tokenizer_bos(tokenizer), pm__tokenizer_eos(tokenizer),
                             pm__tokenizer_eot(tokenizer)};
    for (size_t i = 0; i < PM__COUNT(named); i++)
        PM__HOLDS(named[i] >= -1 && named[i] < (int32_t)tokenizer->n_vocab);
    char *text = (char *)pm__input_copy(in.at, in.left);
    check_text(tokenizer, (pm__span){text != NULL ? text : "", in.left});
    free(text);
    pm__vocabulary_close(&vocabulary);
    return 0;
}
