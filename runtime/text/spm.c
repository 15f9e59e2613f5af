/* spm.c: SentencePiece BPE. The pair whose piece has the best score is joined first; what is no
 * piece in the end is written byte by byte. Blanks are U+2581 inside pieces.
 * source  arXiv:1808.06226; scores and flags as GGUF files carry them */
#include "vocabulary.h"

#include "../base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char blank[] = "\xe2\x96\x81"; /* U+2581 */
enum { BLANK_BYTES = 3 };

typedef struct spm {
    uint32_t *keys; /* [n_vocab] smaller for better scores */
} spm;

/* What the search for pairs needs. */
typedef struct lookup {
    const pm__tokenizer *tokenizer;
    const char *text;
} lookup;

static uint32_t key_of(float score) {
    uint32_t bits;
    score += 0.0f; /* of -0 and 0 neither is better */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static pm_status read_scores(const pm__tokenizer *tokenizer, const pm__gguf *gguf, uint32_t *keys) {
    static const char name[] = "tokenizer.ggml.scores";
    const pm__gguf_key *key;
    PM_TRY(pm__vocabulary_array(gguf, name, tokenizer->n_vocab, &key));
    if (key == NULL)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is missing; a tokenizer 'llama' needs it",
                        name);
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        double score;
        if (!pm__gguf_array_f64(key, i, &score))
            return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is an array of %s, not of floats", name,
                            pm__gguf_type_name(key->element));
        if (isnan(score))
            return pm__fail(PM_BAD_FILE, "tokenizer: '%s': the score of piece %u is no number",
                            name, i);
        keys[i] = key_of((float)score);
    }
    return PM_OK;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "<0x41>" writes, -1 for other texts. */
static int byte_of(pm__span text) {
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return -1;
    const int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Writes text with blanks for U+2581 and returns its bytes. */
static size_t unescape(pm__span text, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < text.size;) {
        const bool is_blank =
            text.size - i >= BLANK_BYTES && memcmp(text.data + i, blank, BLANK_BYTES) == 0;
        out[n++] = is_blank ? ' ' : text.data[i];
        i += is_blank ? BLANK_BYTES : 1;
    }
    return n;
}

static pm_status read_pieces(pm__tokenizer *tokenizer) {
    char *out;
    PM_TRY(pm__vocabulary_reserve_pieces(tokenizer, &out));
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const pm__span text = tokenizer->texts[i];
        const uint8_t kind = tokenizer->kinds[i];
        size_t n = 0;
        if (kind == PM__PIECE_BYTE) {
            const int byte = byte_of(text);
            if (byte < 0)
                return pm__fail(PM_BAD_FILE,
                                "tokenizer: piece %u is a byte, but its text '%.*s' is not <0x00> "
                                "to <0xFF>",
                                i, (int)(text.size < 48 ? text.size : 48), text.data);
            tokenizer->bytes[byte] = (int32_t)i;
            out[n++] = (char)byte;
        } else if (kind == PM__PIECE_NORMAL || kind == PM__PIECE_UNUSED) {
            n = unescape(text, out);
        } else {
            continue;
        }
        tokenizer->pieces[i] = (pm__span){out, n};
        out += n;
    }
    return PM_OK;
}

pm_status pm__spm_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    /* What SentencePiece's own models have where the file does not say. */
    const int32_t last = (int32_t)tokenizer->n_vocab - 1;
    tokenizer->unknown = 0;
    tokenizer->bos = last >= 1 ? 1 : -1;
    tokenizer->eos = last >= 2 ? 2 : -1;
    tokenizer->adds_bos = tokenizer->bos >= 0;
    tokenizer->adds_space = true;
    spm *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    uint32_t *keys = pm__arena_array(&tokenizer->arena, tokenizer->n_vocab, sizeof *keys);
    if (own == NULL || keys == NULL)
        return PM_OUT_OF_MEMORY;
    own->keys = keys;
    tokenizer->own = own;
    PM_TRY(read_scores(tokenizer, gguf, keys));
    return read_pieces(tokenizer);
}

void pm__spm_finish(pm__tokenizer *tokenizer) {
    tokenizer->own = NULL; /* in the arena */
}

static pm_status escape(pm__merger *merger, pm__span text, bool space, size_t *n) {
    size_t blanks = space;
    for (size_t i = 0; i < text.size; i++)
        blanks += text.data[i] == ' ';
    PM_TRY(pm__merger_reserve(merger, text.size + BLANK_BYTES * blanks));
    char *out = merger->buffer;
    if (space) {
        memcpy(out, blank, BLANK_BYTES);
        out += BLANK_BYTES;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == ' ') {
            memcpy(out, blank, BLANK_BYTES);
            out += BLANK_BYTES;
        } else {
            *out++ = text.data[i];
        }
    }
    *n = (size_t)(out - merger->buffer);
    return PM_OK;
}

static bool find_pair(const void *user, const pm__symbol *left, const pm__symbol *right,
                      pm__merge *merge) {
    const lookup *in = user;
    merge->id = pm__vocabulary_find(in->tokenizer, in->text + left->start,
                                    (size_t)left->size + right->size);
    if (merge->id < 0)
        return false;
    const spm *own = in->tokenizer->own;
    merge->key = own->keys[merge->id];
    return true;
}

/* A character that is no piece: its bytes, or one unknown piece where the vocabulary lacks one of
 * them. */
static pm_status push_character(const pm__tokenizer *tokenizer, const char *text, size_t n,
                                pm__ids *out) {
    bool has_bytes = true;
    for (size_t i = 0; i < n; i++)
        has_bytes = has_bytes && tokenizer->bytes[(uint8_t)text[i]] >= 0;
    if (!has_bytes)
        return pm__ids_push(out, tokenizer->unknown);
    for (size_t i = 0; i < n; i++)
        PM_TRY(pm__ids_push(out, tokenizer->bytes[(uint8_t)text[i]]));
    return PM_OK;
}

pm_status pm__spm_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                         bool at_start, pm__ids *out) {
    size_t n;
    PM_TRY(escape(merger, text, at_start && tokenizer->adds_space, &n));
    const char *escaped = merger->buffer;
    merger->n_symbol = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        const size_t bytes = pm__utf8_decode(escaped + at, n - at, &code);
        const int32_t id = pm__vocabulary_find(tokenizer, escaped + at, bytes);
        PM_TRY(pm__merger_add(merger, (uint32_t)at, (uint32_t)bytes, id));
        at += bytes;
    }
    const lookup in = {tokenizer, escaped};
    PM_TRY(pm__merger_run(merger, find_pair, &in));
    uint32_t i = merger->n_symbol > 0 ? 0 : PM__NO_SYMBOL;
    for (; i != PM__NO_SYMBOL; i = merger->symbols[i].next) {
        const pm__symbol *symbol = &merger->symbols[i];
        if (symbol->id >= 0)
            PM_TRY(pm__ids_push(out, symbol->id));
        else
            PM_TRY(push_character(tokenizer, escaped + symbol->start, symbol->size, out));
    }
    return PM_OK;
}
