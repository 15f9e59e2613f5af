/* spm.c: SentencePiece BPE. The pair whose piece has the best score is joined first; what is no
 * piece in the end is written byte by byte. Blanks are U+2581 inside pieces.
 * source  arXiv:1808.06226; scores and flags as GGUF files carry them */
#include "vocabulary.h"

#include "../base/utf8.h"

#include <stdlib.h>
#include <string.h>

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

static pm_status read_keys(const pm__tokenizer *tokenizer, const pm__gguf *gguf, uint32_t *keys) {
    float *scores;
    PM_TRY(pm__vocabulary_scores(tokenizer, gguf, &scores));
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++)
        keys[i] = key_of(scores[i]);
    free(scores);
    return PM_OK;
}

pm_status pm__spm_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    /* What SentencePiece's own models have where the file does not say. */
    const int32_t last = (int32_t)tokenizer->n_vocab - 1;
    tokenizer->unknown = 0;
    tokenizer->bos = last >= 1 ? 1 : -1;
    tokenizer->eos = last >= 2 ? 2 : -1;
    tokenizer->adds_bos = tokenizer->bos >= 0;
    tokenizer->has_space = tokenizer->adds_space = true;
    spm *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    uint32_t *keys = pm__arena_array(&tokenizer->arena, tokenizer->n_vocab, sizeof *keys);
    if (own == NULL || keys == NULL)
        return PM_OUT_OF_MEMORY;
    own->keys = keys;
    tokenizer->own = own;
    PM_TRY(read_keys(tokenizer, gguf, keys));
    return pm__vocabulary_read_escaped(tokenizer);
}

void pm__spm_finish(pm__tokenizer *tokenizer) {
    tokenizer->own = NULL; /* in the arena */
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

pm_status pm__spm_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                         bool at_start, pm__ids *out) {
    size_t n;
    PM_TRY(pm__vocabulary_escape(merger, text, at_start && tokenizer->adds_space, &n));
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
            PM_TRY(pm__vocabulary_push_bytes(
                tokenizer, (pm__span){escaped + symbol->start, symbol->size}, out));
    }
    return PM_OK;
}
