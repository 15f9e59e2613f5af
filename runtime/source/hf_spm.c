/* hf_spm.c: tokenizer.model, the protobuf that SentencePiece writes.
 * source  sentencepiece_model.proto of SentencePiece; the encoding section of the protobuf
 *         documentation */
#include "hf.h"

#include "../format/bytes.h"

#include <math.h>
#include <string.h>

typedef struct reader {
    const uint8_t *at;
    size_t left;
} reader;

typedef struct field {
    uint32_t number, wire;
    uint64_t value;  /* of wire types 0, 1 and 5 */
    reader contents; /* of wire type 2 */
} field;

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };

static pm_status fail_broken(const char *what) {
    return pm__fail(PM_BAD_FILE, "folder: tokenizer.model: %s; is it a SentencePiece model?", what);
}

static bool take_varint(reader *r, uint64_t *out) {
    *out = 0;
    for (uint32_t shift = 0; shift < 64 && r->left > 0; shift += 7) {
        const uint8_t byte = *r->at++;
        r->left--;
        *out |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

static pm_status take_field(reader *r, field *out) {
    uint64_t tag, n;
    *out = (field){0};
    if (!take_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
        return fail_broken("a field without a number");
    out->number = (uint32_t)(tag >> 3);
    out->wire = (uint32_t)(tag & 7);
    if (out->wire == VARINT)
        return take_varint(r, &out->value) ? PM_OK : fail_broken("a number without an end");
    if (out->wire == BYTES) {
        if (!take_varint(r, &n) || n > r->left)
            return fail_broken("a field passes the end");
        out->contents = (reader){r->at, (size_t)n};
    } else if (out->wire == FIXED32 || out->wire == FIXED64) {
        n = out->wire == FIXED32 ? 4 : 8;
        if (n > r->left)
            return fail_broken("a field passes the end");
        out->value = out->wire == FIXED32 ? pm__load_u32(r->at) : pm__load_u64(r->at);
    } else
        return fail_broken("a field of a kind that is not in use");
    r->at += n;
    r->left -= (size_t)n;
    return PM_OK;
}

/* piece = 1, score = 2, type = 3 */
static pm_status read_piece(pm__hf_vocab *vocab, reader r, size_t n_file) {
    pm__span text = {"", 0};
    float score = 0.0f;
    int32_t kind = PM__HF_NORMAL;
    while (r.left > 0) {
        field f;
        PM_TRY(take_field(&r, &f));
        if (f.number == 1 && f.wire == BYTES)
            text = (pm__span){(const char *)f.contents.at, f.contents.left};
        else if (f.number == 2 && f.wire == FIXED32) {
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&score, &bits, sizeof score);
        } else if (f.number == 3 && f.wire == VARINT)
            kind = f.value <= PM__HF_BYTE ? (int32_t)f.value : 0;
    }
    if (kind < PM__HF_NORMAL || isnan(score))
        return pm__fail(PM_BAD_FILE,
                        "folder: tokenizer.model: piece %u has a type or a score that is not in "
                        "use",
                        vocab->n);
    return pm__hf_piece(vocab, vocab->n, n_file, text, score, kind);
}

/* model_type = 3, unk_id = 40, bos_id = 41, eos_id = 42 */
static pm_status read_trainer(pm__hf_vocab *vocab, reader r) {
    while (r.left > 0) {
        field f;
        PM_TRY(take_field(&r, &f));
        if (f.wire != VARINT)
            continue;
        const int32_t id = f.value <= INT32_MAX ? (int32_t)f.value : -1;
        if (f.number == 3 && f.value != 1 && f.value != 2)
            return pm__fail(PM_UNSUPPORTED,
                            "folder: tokenizer.model: a SentencePiece model of words "
                            "or characters is not read");
        if (f.number == 40)
            vocab->unknown = id;
        else if (f.number == 41)
            vocab->bos = id;
        else if (f.number == 42)
            vocab->eos = id;
    }
    return PM_OK;
}

/* add_dummy_prefix = 3 */
static pm_status read_normalizer(pm__hf_vocab *vocab, reader r) {
    while (r.left > 0) {
        field f;
        PM_TRY(take_field(&r, &f));
        if (f.number == 3 && f.wire == VARINT)
            vocab->adds_space = f.value != 0;
    }
    return PM_OK;
}

static void check_id(const pm__hf_vocab *vocab, int32_t *id) {
    if (*id < 0 || (uint32_t)*id >= vocab->n)
        *id = -1;
}

pm_status pm__hf_spm(pm__hf_vocab *vocab, const uint8_t *data, size_t n) {
    reader r = {data, n};
    vocab->model = "llama";
    vocab->has_scores = true;
    vocab->unknown = 0; /* the defaults of the format */
    vocab->bos = 1;
    vocab->eos = 2;
    vocab->adds_bos = vocab->adds_space = true;
    while (r.left > 0) {
        field f;
        PM_TRY(take_field(&r, &f));
        if (f.number == 1 && f.wire == BYTES)
            PM_TRY(read_piece(vocab, f.contents, n));
        else if (f.number == 2 && f.wire == BYTES)
            PM_TRY(read_trainer(vocab, f.contents));
        else if (f.number == 3 && f.wire == BYTES)
            PM_TRY(read_normalizer(vocab, f.contents));
    }
    if (vocab->n == 0)
        return fail_broken("it has no pieces");
    check_id(vocab, &vocab->unknown);
    check_id(vocab, &vocab->bos);
    check_id(vocab, &vocab->eos);
    return PM_OK;
}
