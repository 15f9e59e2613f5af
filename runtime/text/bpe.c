/* bpe.c: BPE by a list of merges. Text is cut into words, a word into bytes; the pair of pieces
 * that stands first in the list of merges is joined first. Pieces are written in an alphabet of 256
 * printable characters, one a byte. Where the pre-tokenizer says so they are UTF-8 instead, with
 * U+2581 for blanks, and a word is cut into characters; those that are no piece are written byte by
 * byte in the end.
 * source  arXiv:1508.07909; the alphabet of GPT-2 as its vocabulary files use it */
#include "vocabulary.h"

#include "pretokenize.h"

#include "../base/log.h"
#include "../base/utf8.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
enum { N_CODE = 256 + 68 }; /* 68 bytes are not printable: they stand at 256 and above */

typedef struct rule {
    int32_t left, right, joined;
} rule;

typedef struct bpe {
    pm__pretokenizer *pretokenizer;
    unsigned flags;    /* PM__PRE_ */
    const rule *rules; /* [n_rule], the best first */
    uint32_t *table;   /* [mask + 1] index + 1 of the rule of a pair; 0: free */
    uint32_t mask;
    pm__hash_key key;
    char letters[256][2]; /* the character of a byte */
    uint8_t letter_bytes[256];
    int16_t byte_of[N_CODE]; /* -1: no letter of the alphabet */
} bpe;

/* One text on its way. */
typedef struct encoding {
    const pm__tokenizer *tokenizer;
    pm__merger *merger;
    pm__ids *out;
} encoding;

/* ---- the alphabet ---------------------------------------------------------------------------- */

static bool stands_for_itself(uint32_t byte) {
    return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
}

static void init_alphabet(bpe *own) {
    memset(own->byte_of, -1, sizeof own->byte_of);
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        const uint32_t code = stands_for_itself(byte) ? byte : next++;
        char letter[4];
        own->letter_bytes[byte] = (uint8_t)pm__utf8_encode(code, letter);
        memcpy(own->letters[byte], letter, sizeof own->letters[byte]);
        own->byte_of[code] = (int16_t)byte;
    }
}

/* The bytes that a text in the alphabet stands for; characters outside of it stand for themselves.
 */
static size_t read_letters(const bpe *own, pm__span text, char *out) {
    size_t n = 0;
    for (size_t at = 0; at < text.size;) {
        uint32_t code;
        const size_t bytes = pm__utf8_decode(text.data + at, text.size - at, &code);
        if (code < N_CODE && own->byte_of[code] >= 0) {
            out[n++] = (char)own->byte_of[code];
        } else {
            memcpy(out + n, text.data + at, bytes);
            n += bytes;
        }
        at += bytes;
    }
    return n;
}

static pm_status read_pieces(pm__tokenizer *tokenizer, const bpe *own) {
    char *out;
    PM_TRY(pm__vocabulary_reserve_pieces(tokenizer, &out));
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const uint8_t kind = tokenizer->kinds[i];
        if (kind != PM__PIECE_NORMAL && kind != PM__PIECE_UNUSED && kind != PM__PIECE_BYTE)
            continue;
        const size_t n = read_letters(own, tokenizer->texts[i], out);
        tokenizer->pieces[i] = (pm__span){out, n};
        out += n;
    }
    for (size_t byte = 0; byte < 256; byte++)
        tokenizer->bytes[byte] =
            pm__vocabulary_find(tokenizer, own->letters[byte], own->letter_bytes[byte]);
    return PM_OK;
}

/* ---- merges ---------------------------------------------------------------------------------- */

static uint32_t slot_of(const bpe *own, int32_t left, int32_t right) {
    const int32_t pair[2] = {left, right};
    uint32_t slot = (uint32_t)pm__hash_keyed(own->key, pair, sizeof pair) & own->mask;
    for (;; slot = (slot + 1) & own->mask) {
        if (own->table[slot] == 0)
            return slot;
        const rule *held = &own->rules[own->table[slot] - 1];
        if (held->left == left && held->right == right)
            return slot;
    }
}

/* "left right" to ids. A blank is no letter of the alphabet, so the only one divides. */
static pm_status read_rule(const pm__tokenizer *tokenizer, pm__merger *scratch, uint64_t i,
                           pm__span text, rule *out) {
    const int shown = (int)(text.size < 48 ? text.size : 48);
    const char *middle = text.size > 2 ? memchr(text.data + 1, ' ', text.size - 2) : NULL;
    if (middle == NULL)
        return pm__fail(PM_BAD_FILE,
                        "tokenizer: 'tokenizer.ggml.merges': entry %llu ('%.*s') is not two pieces "
                        "with a blank between",
                        (unsigned long long)i, shown, text.data);
    const size_t left = (size_t)(middle - text.data), right = text.size - left - 1;
    PM_TRY(pm__merger_reserve(scratch, left + right));
    memcpy(scratch->buffer, text.data, left);
    memcpy(scratch->buffer + left, middle + 1, right);
    *out = (rule){.left = pm__vocabulary_find(tokenizer, text.data, left),
                  .right = pm__vocabulary_find(tokenizer, middle + 1, right),
                  .joined = pm__vocabulary_find(tokenizer, scratch->buffer, left + right)};
    if (out->left < 0 || out->right < 0 || out->joined < 0)
        return pm__fail(PM_BAD_FILE,
                        "tokenizer: 'tokenizer.ggml.merges': entry %llu ('%.*s') needs a piece "
                        "that is not in the vocabulary",
                        (unsigned long long)i, shown, text.data);
    return PM_OK;
}

static pm_status read_rules(pm__tokenizer *tokenizer, bpe *own, const pm__span *texts, uint64_t n) {
    uint64_t size = 64;
    while (size < n * 2)
        size *= 2;
    rule *rules = pm__arena_array(&tokenizer->arena, n, sizeof *rules);
    own->table = pm__arena_array(&tokenizer->arena, size, sizeof *own->table);
    if (rules == NULL || own->table == NULL)
        return PM_OUT_OF_MEMORY;
    own->rules = rules;
    own->mask = (uint32_t)(size - 1);
    pm__merger scratch = {0};
    pm_status status = PM_OK;
    for (uint64_t i = 0; i < n && status == PM_OK; i++) {
        status = read_rule(tokenizer, &scratch, i, texts[i], &rules[i]);
        if (status != PM_OK)
            break;
        const uint32_t slot = slot_of(own, rules[i].left, rules[i].right);
        if (own->table[slot] == 0) /* of a pair named twice the first counts */
            own->table[slot] = (uint32_t)i + 1;
    }
    pm__merger_finish(&scratch);
    return status;
}

static pm_status read_merges(pm__tokenizer *tokenizer, bpe *own, const pm__gguf *gguf) {
    static const char name[] = "tokenizer.ggml.merges";
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    if (key == NULL)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is missing; a tokenizer 'gpt2' needs it",
                        name);
    if (key->type != PM__GGUF_ARRAY || key->element != PM__GGUF_STRING)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no array of strings", name);
    if (key->n > INT32_MAX)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' has %llu entries", name,
                        (unsigned long long)key->n);
    const pm__span *texts;
    if (!pm__gguf_strings(key, &tokenizer->arena, &texts))
        return pm__fail_memory(name, (size_t)key->n * sizeof *texts);
    return read_rules(tokenizer, own, texts, key->n);
}

static pm_status read_pretokenizer(const pm__tokenizer *tokenizer, bpe *own, const pm__gguf *gguf) {
    static const char name[] = "tokenizer.ggml.pre", gemma4[] = "gemma4";
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    pm__span pre = {"default", strlen("default")};
    if (strcmp(tokenizer->kind->model, gemma4) == 0)
        pre = (pm__span){gemma4, strlen(gemma4)}; /* the model has no other */
    else if (key == NULL)
        pm__log(PM_LOG_WARN,
                "tokenizer: '%s' is missing; words are divided by the default expressions, which "
                "may not be those the model was trained with",
                name);
    else if (!pm__gguf_string(key, &pre))
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no string", name);
    PM_TRY(pm__pretokenizer_create(pre.data, pre.size, &own->pretokenizer));
    own->flags = pm__pretokenizer_flags(own->pretokenizer);
    return PM_OK;
}

pm_status pm__bpe_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    bpe *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    if (own == NULL)
        return PM_OUT_OF_MEMORY;
    tokenizer->own = own;
    own->key = tokenizer->key;
    init_alphabet(own);
    PM_TRY(read_pretokenizer(tokenizer, own, gguf));
    tokenizer->pre = pm__pretokenizer_name(own->pretokenizer);
    tokenizer->adds_bos = (own->flags & PM__PRE_BOS) != 0;
    PM_TRY(read_merges(tokenizer, own, gguf));
    return (own->flags & PM__PRE_RAW) != 0 ? pm__vocabulary_read_escaped(tokenizer)
                                           : read_pieces(tokenizer, own);
}

void pm__bpe_finish(pm__tokenizer *tokenizer) {
    bpe *own = tokenizer->own;
    if (own == NULL)
        return;
    pm__pretokenizer_destroy(own->pretokenizer);
    tokenizer->own = NULL;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static bool find_pair(const void *user, const pm__symbol *left, const pm__symbol *right,
                      pm__merge *merge) {
    const bpe *own = user;
    const uint32_t found = own->table[slot_of(own, left->id, right->id)];
    if (found == 0)
        return false;
    merge->key = found - 1;
    merge->id = own->rules[found - 1].joined;
    return true;
}

/* *id: the piece that the whole word is, -1 if it is none. */
static pm_status find_whole(const encoding *in, const char *word, size_t n, int32_t *id) {
    *id = -1;
    if (n > in->tokenizer->longest)
        return PM_OK;
    PM_TRY(pm__merger_reserve(in->merger, 2 * n));
    const bpe *own = in->tokenizer->own;
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)word[i];
        memcpy(in->merger->buffer + size, own->letters[byte], own->letter_bytes[byte]);
        size += own->letter_bytes[byte];
    }
    *id = pm__vocabulary_find(in->tokenizer, in->merger->buffer, size);
    return PM_OK;
}

static pm_status encode_word(void *user, const char *word, size_t n);

/* A word with a byte that is no piece: vocabularies may lack those that UTF-8 never has. */
static pm_status encode_unknown_byte(encoding *in, const char *word, size_t n, const char *byte) {
    if (pm__utf8_check(word, n) < n)
        return encode_word(in, replacement, strlen(replacement));
    return pm__vocabulary_push_unknown(in->tokenizer, (pm__span){byte, 1}, in->out);
}

static pm_status push_symbols(const encoding *in, const char *word) {
    const pm__merger *merger = in->merger;
    PM_TRY(pm__merger_run(in->merger, find_pair, in->tokenizer->own));
    for (uint32_t i = 0; i != PM__NO_SYMBOL; i = merger->symbols[i].next) {
        const pm__symbol *symbol = &merger->symbols[i];
        if (symbol->id >= 0)
            PM_TRY(pm__ids_push(in->out, symbol->id));
        else
            PM_TRY(pm__vocabulary_push_bytes(
                in->tokenizer, (pm__span){word + symbol->start, symbol->size}, in->out));
    }
    return PM_OK;
}

static pm_status encode_word(void *user, const char *word, size_t n) {
    encoding *in = user;
    const bpe *own = in->tokenizer->own;
    if ((own->flags & PM__PRE_WHOLE) != 0) {
        int32_t id;
        PM_TRY(find_whole(in, word, n, &id));
        if (id >= 0)
            return pm__ids_push(in->out, id);
    }
    in->merger->n_symbol = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = in->tokenizer->bytes[(uint8_t)word[i]];
        if (id < 0)
            id = in->tokenizer->unknown;
        if (id < 0)
            return encode_unknown_byte(in, word, n, word + i);
        PM_TRY(pm__merger_add(in->merger, (uint32_t)i, 1, id));
    }
    return push_symbols(in, word);
}

/* ---- words of UTF-8 -------------------------------------------------------------------------- */

static bool is_lines(const char *word, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (word[i] != '\n')
            return false;
    return true;
}

static pm_status encode_raw_word(void *user, const char *word, size_t n) {
    encoding *in = user;
    const bpe *own = in->tokenizer->own;
    if ((own->flags & PM__PRE_LINES) != 0 && is_lines(word, n)) {
        const int32_t id = pm__vocabulary_find(in->tokenizer, word, n);
        if (id >= 0)
            return pm__ids_push(in->out, id);
    }
    in->merger->n_symbol = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        const size_t bytes = pm__utf8_decode(word + at, n - at, &code);
        PM_TRY(pm__merger_add(in->merger, (uint32_t)at, (uint32_t)bytes,
                              pm__vocabulary_find(in->tokenizer, word + at, bytes)));
        at += bytes;
    }
    return push_symbols(in, word);
}

pm_status pm__bpe_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                         bool at_start, pm__ids *out) {
    (void)at_start; /* no blank is put before words */
    const bpe *own = tokenizer->own;
    encoding in = {tokenizer, merger, out};
    if ((own->flags & PM__PRE_RAW) == 0)
        return pm__pretokenizer_split(own->pretokenizer, text.data, text.size, encode_word, &in);
    size_t n;
    PM_TRY(pm__vocabulary_escape(merger, text, false, &n));
    return pm__pretokenizer_split(own->pretokenizer, merger->buffer, n, encode_raw_word, &in);
}
