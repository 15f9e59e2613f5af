#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Beside names in messages: texts of files can be long and are not closed by a zero. */
#define SHOWN(span) (int)((span).size < 48 ? (span).size : 48), (span).data

pm_status pm__vocabulary_array(const pm__gguf *gguf, const char *name, uint64_t n,
                               const pm__gguf_key **key) {
    *key = pm__gguf_find_key(gguf, name);
    if (*key == NULL)
        return PM_OK;
    if ((*key)->type != PM__GGUF_ARRAY)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no array but %s", name,
                        pm__gguf_type_name((*key)->type));
    if ((*key)->n != n)
        return pm__fail(PM_BAD_FILE,
                        "tokenizer: '%s' has %llu elements, the vocabulary has %llu pieces", name,
                        (unsigned long long)(*key)->n, (unsigned long long)n);
    return PM_OK;
}

static pm_status read_texts(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    static const char name[] = "tokenizer.ggml.tokens";
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    if (key == NULL)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is missing: the file has no vocabulary",
                        name);
    if (key->type != PM__GGUF_ARRAY || key->element != PM__GGUF_STRING)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no array of strings", name);
    if (key->n == 0 || key->n > INT32_MAX)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' has %llu pieces, not 1 to 2^31 - 1", name,
                        (unsigned long long)key->n);
    if (!pm__gguf_strings(key, &tokenizer->arena, &tokenizer->texts))
        return pm__fail_memory(name, (size_t)key->n * sizeof(pm__span));
    tokenizer->n_vocab = (uint32_t)key->n;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++)
        if (tokenizer->texts[i].size > INT32_MAX)
            return pm__fail(PM_BAD_FILE, "tokenizer: piece %u has %zu bytes", i,
                            tokenizer->texts[i].size);
    return PM_OK;
}

static pm_status read_kinds(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    static const char name[] = "tokenizer.ggml.token_type";
    const uint32_t n = tokenizer->n_vocab;
    tokenizer->kinds = pm__arena_array(&tokenizer->arena, n, sizeof *tokenizer->kinds);
    tokenizer->ends = pm__arena_array(&tokenizer->arena, n, sizeof *tokenizer->ends);
    if (tokenizer->kinds == NULL || tokenizer->ends == NULL)
        return PM_OUT_OF_MEMORY;
    memset(tokenizer->kinds, PM__PIECE_NORMAL, n);
    const pm__gguf_key *key;
    PM_TRY(pm__vocabulary_array(gguf, name, n, &key));
    for (uint32_t i = 0; key != NULL && i < n; i++) {
        int64_t kind;
        if (!pm__gguf_array_i64(key, i, &kind))
            return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is an array of %s, not of integers", name,
                            pm__gguf_type_name(key->element));
        if (kind < 0 || kind > PM__PIECE_BYTE)
            return pm__fail(PM_BAD_FILE, "tokenizer: piece %u ('%.*s') is of type %lld in '%s'", i,
                            SHOWN(tokenizer->texts[i]), (long long)kind, name);
        if (kind != 0) /* undefined in the format's list */
            tokenizer->kinds[i] = (uint8_t)kind;
    }
    return PM_OK;
}

pm_status pm__vocabulary_reserve_pieces(pm__tokenizer *tokenizer, char **room) {
    size_t bytes = 1;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++)
        bytes += tokenizer->texts[i].size;
    *room = pm__arena_alloc(&tokenizer->arena, bytes);
    tokenizer->pieces = pm__arena_array(&tokenizer->arena, tokenizer->n_vocab, sizeof(pm__span));
    if (*room == NULL || tokenizer->pieces == NULL)
        return PM_OUT_OF_MEMORY;
    memcpy(tokenizer->pieces, tokenizer->texts, tokenizer->n_vocab * sizeof(pm__span));
    return PM_OK;
}

static bool is_plain(const pm__tokenizer *tokenizer, uint32_t id) {
    const uint8_t kind = tokenizer->kinds[id];
    return tokenizer->texts[id].size > 0 &&
           (kind == PM__PIECE_NORMAL || kind == PM__PIECE_USER || kind == PM__PIECE_UNUSED);
}

/* The slot of the text, or the free one where it would stand. */
static uint32_t slot_of(const pm__tokenizer *tokenizer, const char *text, size_t n) {
    uint32_t slot = (uint32_t)pm__hash_keyed(tokenizer->key, text, n) & tokenizer->table_mask;
    for (;; slot = (slot + 1) & tokenizer->table_mask) {
        const uint32_t id = tokenizer->table[slot];
        if (id == 0)
            return slot;
        const pm__span *held = &tokenizer->texts[id - 1];
        if (held->size == n && memcmp(held->data, text, n) == 0)
            return slot;
    }
}

int32_t pm__vocabulary_find(const pm__tokenizer *tokenizer, const char *text, size_t n) {
    if (n > tokenizer->longest)
        return -1;
    return (int32_t)tokenizer->table[slot_of(tokenizer, text, n)] - 1;
}

static pm_status build_table(pm__tokenizer *tokenizer) {
    uint64_t size = 64;
    while (size < (uint64_t)tokenizer->n_vocab * 2)
        size *= 2;
    tokenizer->table = pm__arena_array(&tokenizer->arena, size, sizeof *tokenizer->table);
    if (tokenizer->table == NULL)
        return PM_OUT_OF_MEMORY;
    tokenizer->table_mask = (uint32_t)(size - 1);
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        if (!is_plain(tokenizer, i))
            continue;
        const pm__span text = tokenizer->texts[i];
        tokenizer->table[slot_of(tokenizer, text.data, text.size)] = i + 1;
        if (text.size > tokenizer->longest)
            tokenizer->longest = (uint32_t)text.size;
    }
    return PM_OK;
}

pm_status pm__vocabulary_read(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    PM_TRY(read_texts(tokenizer, gguf));
    PM_TRY(read_kinds(tokenizer, gguf));
    pm__specials_mark_turns(tokenizer);
    return build_table(tokenizer);
}

pm_status pm__vocabulary_flag(const pm__gguf *gguf, const char *name, bool *flag) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    if (key != NULL && !pm__gguf_bool(key, flag))
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no truth value", name);
    return PM_OK;
}

pm_status pm__vocabulary_trie(pm__tokenizer *tokenizer, const pm__span *texts, pm__trie *trie) {
    pm__trie_text *plain = calloc(tokenizer->n_vocab, sizeof *plain);
    if (plain == NULL)
        return pm__fail_memory("tokenizer", tokenizer->n_vocab * sizeof *plain);
    size_t n = 0;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++)
        if (is_plain(tokenizer, i))
            plain[n++] = (pm__trie_text){texts[i], (int32_t)i};
    const pm_status status = pm__trie_init(trie, &tokenizer->arena, plain, n);
    free(plain);
    return status;
}

pm_status pm__vocabulary_push_unknown(const pm__tokenizer *tokenizer, pm__span text, pm__ids *out) {
    if (tokenizer->unknown < 0)
        return pm__fail(PM_ARGUMENT,
                        "tokenizer: the vocabulary has no piece for the byte 0x%02x of the text, "
                        "and no unknown piece",
                        (uint8_t)text.data[0]);
    return pm__ids_push(out, tokenizer->unknown);
}
