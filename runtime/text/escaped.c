/* escaped.c: what the kinds share whose pieces have U+2581 for blanks and <0x41> for bytes. */
#include "vocabulary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pm_status read_scores(const pm__gguf_key *key, uint32_t n, float *scores) {
    for (uint32_t i = 0; i < n; i++) {
        double score;
        if (!pm__gguf_array_f64(key, i, &score))
            return pm__fail(PM_BAD_FILE,
                            "tokenizer: 'tokenizer.ggml.scores' is an array of %s, not of floats",
                            pm__gguf_type_name(key->element));
        if (isnan(score))
            return pm__fail(
                PM_BAD_FILE,
                "tokenizer: 'tokenizer.ggml.scores': the score of piece %u is no number", i);
        scores[i] = (float)score;
    }
    return PM_OK;
}

pm_status pm__vocabulary_scores(const pm__tokenizer *tokenizer, const pm__gguf *gguf,
                                float **scores) {
    static const char name[] = "tokenizer.ggml.scores";
    const pm__gguf_key *key;
    PM_TRY(pm__vocabulary_array(gguf, name, tokenizer->n_vocab, &key));
    if (key == NULL)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is missing; a tokenizer '%s' needs it", name,
                        tokenizer->kind->model);
    float *values = malloc(tokenizer->n_vocab * sizeof *values);
    if (values == NULL)
        return pm__fail_memory("tokenizer", tokenizer->n_vocab * sizeof *values);
    const pm_status status = read_scores(key, tokenizer->n_vocab, values);
    if (status != PM_OK) {
        free(values);
        return status;
    }
    *scores = values;
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
        const bool is_blank = text.size - i >= PM__BLANK_BYTES &&
                              memcmp(text.data + i, PM__BLANK, PM__BLANK_BYTES) == 0;
        out[n++] = is_blank ? ' ' : text.data[i];
        i += is_blank ? PM__BLANK_BYTES : 1;
    }
    return n;
}

pm_status pm__vocabulary_read_escaped(pm__tokenizer *tokenizer) {
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

pm_status pm__vocabulary_escape(pm__merger *merger, pm__span text, bool space, size_t *n) {
    size_t blanks = space;
    for (size_t i = 0; i < text.size; i++)
        blanks += text.data[i] == ' ';
    PM_TRY(pm__merger_reserve(merger, text.size + PM__BLANK_BYTES * blanks));
    char *out = merger->buffer;
    if (space) {
        memcpy(out, PM__BLANK, PM__BLANK_BYTES);
        out += PM__BLANK_BYTES;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == ' ') {
            memcpy(out, PM__BLANK, PM__BLANK_BYTES);
            out += PM__BLANK_BYTES;
        } else {
            *out++ = text.data[i];
        }
    }
    *n = (size_t)(out - merger->buffer);
    return PM_OK;
}

pm_status pm__vocabulary_push_bytes(const pm__tokenizer *tokenizer, pm__span text, pm__ids *out) {
    bool has_bytes = true;
    for (size_t i = 0; i < text.size; i++)
        has_bytes = has_bytes && tokenizer->bytes[(uint8_t)text.data[i]] >= 0;
    if (!has_bytes)
        return pm__vocabulary_push_unknown(tokenizer, text, out);
    for (size_t i = 0; i < text.size; i++)
        PM_TRY(pm__ids_push(out, tokenizer->bytes[(uint8_t)text.data[i]]));
    return PM_OK;
}
