/* rwkv.c: the longest piece that stands at a place is taken, then the next after it. Pieces are
 * bytes, which GGUF files write with escapes.
 * source  the world tokenizer of RWKV; escapes as GGUF files carry them */
#include "vocabulary.h"

typedef struct rwkv {
    pm__trie trie;
} rwkv;

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte that the escape at text.data, which begins with a backslash, stands for; -1: none.
 * *used its bytes. */
static int read_escape(pm__span text, size_t *used) {
    *used = 2;
    if (text.size < 2)
        return -1;
    switch (text.data[1]) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'x':
        break;
    default:
        return (uint8_t)text.data[1];
    }
    *used = 4;
    const int high = text.size < 4 ? -1 : hex_digit(text.data[2]);
    const int low = text.size < 4 ? -1 : hex_digit(text.data[3]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* *n: the bytes written to out. */
static bool unescape(pm__span text, char *out, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < text.size;) {
        size_t used = 1;
        int byte = (uint8_t)text.data[i];
        if (byte == '\\')
            byte = read_escape((pm__span){text.data + i, text.size - i}, &used);
        if (byte < 0)
            return false;
        out[(*n)++] = (char)byte;
        i += used;
    }
    return true;
}

static pm_status read_pieces(pm__tokenizer *tokenizer) {
    char *out;
    PM_TRY(pm__vocabulary_reserve_pieces(tokenizer, &out));
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const uint8_t kind = tokenizer->kinds[i];
        if (kind != PM__PIECE_NORMAL && kind != PM__PIECE_UNUSED && kind != PM__PIECE_BYTE)
            continue;
        const pm__span text = tokenizer->texts[i];
        size_t n;
        if (!unescape(text, out, &n))
            return pm__fail(PM_BAD_FILE, "tokenizer: piece %u ('%.*s') has a broken escape", i,
                            (int)(text.size < 48 ? text.size : 48), text.data);
        tokenizer->pieces[i] = (pm__span){out, n};
        if (n == 1)
            tokenizer->bytes[(uint8_t)*out] = (int32_t)i;
        out += n;
    }
    return PM_OK;
}

pm_status pm__rwkv_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    (void)gguf;
    rwkv *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    if (own == NULL)
        return PM_OUT_OF_MEMORY;
    tokenizer->own = own;
    PM_TRY(read_pieces(tokenizer));
    return pm__vocabulary_trie(tokenizer, tokenizer->pieces, &own->trie);
}

void pm__rwkv_finish(pm__tokenizer *tokenizer) {
    tokenizer->own = NULL; /* in the arena */
}

pm_status pm__rwkv_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                          bool at_start, pm__ids *out) {
    (void)at_start; /* no blank is put before words */
    const rwkv *own = tokenizer->own;
    for (size_t at = 0; at < text.size;) {
        const pm__span rest = {text.data + at, text.size - at};
        int32_t id;
        const size_t n = pm__trie_longest(&own->trie, rest, &id, &merger->n_step);
        if (n == 0)
            PM_TRY(pm__vocabulary_push_unknown(tokenizer, rest, out));
        else
            PM_TRY(pm__ids_push(out, id));
        at += n > 0 ? n : 1;
    }
    return PM_OK;
}
