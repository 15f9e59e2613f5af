#include "tokenizer.h"

#include "vocabulary.h"

#include "../base/grow.h"
#include "../base/log.h"

#include <stdlib.h>
#include <string.h>

static const pm__tokenizer_kind kinds[] = {
#define PM_TOKENIZER(MODEL, name, WORDS)                                                           \
    {MODEL, WORDS, pm__##name##_init, pm__##name##_encode, pm__##name##_finish},
#include "tokenizers.def"
#undef PM_TOKENIZER
};

/* " llama gpt2 ...", for a sentence. */
static const char kind_names[] =
#define PM_TOKENIZER(MODEL, name, WORDS) " " MODEL
#include "tokenizers.def"
#undef PM_TOKENIZER
    ;

/* ---- ids ------------------------------------------------------------------------------------- */

pm_status pm__ids_push(pm__ids *ids, int32_t id) {
    PM_TRY(pm__grow("tokenizer", &ids->data, &ids->capacity, ids->n, sizeof *ids->data));
    ids->data[ids->n++] = id;
    return PM_OK;
}

void pm__ids_finish(pm__ids *ids) {
    free(ids->data);
    *ids = (pm__ids){0};
}

/* ---- reading --------------------------------------------------------------------------------- */

static pm_status read_kind(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    static const char name[] = "tokenizer.ggml.model";
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    pm__span model;
    if (key == NULL)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is missing: the file has no tokenizer", name);
    if (!pm__gguf_string(key, &model))
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no string", name);
    for (size_t i = 0; i < PM__COUNT(kinds); i++)
        if (pm__text_is(model, kinds[i].model))
            tokenizer->kind = &kinds[i];
    if (tokenizer->kind == NULL && (pm__text_is(model, "none") || pm__text_is(model, "no_vocab")))
        return pm__fail(PM_UNSUPPORTED,
                        "tokenizer: the file has none ('%s' is '%.*s'), so it can make no text",
                        name, (int)model.size, model.data);
    if (tokenizer->kind == NULL)
        return pm__fail(PM_UNSUPPORTED,
                        "tokenizer: the model '%.*s' ('%s') is not one of those pumice has:%s",
                        (int)(model.size < 64 ? model.size : 64), model.data, name, kind_names);
    return PM_OK;
}

/* An id that the file may leave out: then *id stays. Padding and mask ids are not read: nothing
 * here uses them, and files in the field hold 2^32 - 1 there. */
static pm_status read_id(const pm__tokenizer *tokenizer, const pm__gguf *gguf, const char *name,
                         int32_t *id) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    if (key == NULL)
        return PM_OK;
    uint64_t value;
    if (!pm__gguf_u64(key, &value))
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no id", name);
    if (value >= tokenizer->n_vocab)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is %llu, but the vocabulary ends at %u", name,
                        (unsigned long long)value, tokenizer->n_vocab - 1);
    *id = (int32_t)value;
    return PM_OK;
}

static pm_status read_ids(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    int32_t eom = -1;
    if (pm__gguf_find_key(gguf, "tokenizer.ggml.bos_token_id") != NULL)
        PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos));
    else if (tokenizer->adds_separator)
        PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.cls_token_id", &tokenizer->bos));
    PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.eos_token_id", &tokenizer->eos));
    PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.eot_token_id", &tokenizer->eot));
    PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.eom_token_id", &eom));
    PM_TRY(read_id(tokenizer, gguf, "tokenizer.ggml.unknown_token_id", &tokenizer->unknown));
    if (tokenizer->adds_separator) /* the spelling of the field */
        PM_TRY(
            read_id(tokenizer, gguf, "tokenizer.ggml.seperator_token_id", &tokenizer->separator));
    const int32_t ends[] = {tokenizer->eos, tokenizer->eot, eom};
    for (size_t i = 0; i < PM__COUNT(ends); i++)
        if (ends[i] >= 0)
            tokenizer->ends[ends[i]] = true;
    return PM_OK;
}

static void check_id(bool *adds, int32_t id, const char *what) {
    if (*adds && id < 0)
        pm__log(PM_LOG_WARN, "tokenizer: text should %s, but the file names none", what);
    *adds = *adds && id >= 0;
}

static pm_status read_settings(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    const bool has_separator = tokenizer->adds_separator;
    PM_TRY(read_ids(tokenizer, gguf));
    PM_TRY(pm__vocabulary_flag(gguf, "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos));
    PM_TRY(pm__vocabulary_flag(gguf, "tokenizer.ggml.add_eos_token", &tokenizer->adds_eos));
    PM_TRY(pm__vocabulary_flag(gguf, "tokenizer.ggml.add_sep_token", &tokenizer->adds_separator));
    if (tokenizer->has_space)
        PM_TRY(
            pm__vocabulary_flag(gguf, "tokenizer.ggml.add_space_prefix", &tokenizer->adds_space));
    tokenizer->drops_space = tokenizer->drops_space || tokenizer->adds_space;
    tokenizer->adds_separator = tokenizer->adds_separator && has_separator;
    tokenizer->adds_eos = tokenizer->adds_eos && !has_separator;
    check_id(&tokenizer->adds_bos, tokenizer->bos, "start with BOS");
    check_id(&tokenizer->adds_eos, tokenizer->eos, "close with EOS");
    check_id(&tokenizer->adds_separator, tokenizer->separator, "close with a separator");
    return PM_OK;
}

static pm_status read_all(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    PM_TRY(read_kind(tokenizer, gguf));
    PM_TRY(pm__vocabulary_read(tokenizer, gguf));
    PM_TRY(tokenizer->kind->init(tokenizer, gguf));
    PM_TRY(read_settings(tokenizer, gguf));
    return pm__specials_init(tokenizer, gguf);
}

pm_status pm__tokenizer_create(const pm__gguf *gguf, pm__tokenizer **out) {
    pm__tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL)
        return pm__fail_memory("tokenizer", sizeof *tokenizer);
    tokenizer->pre = "";
    tokenizer->key = pm__hash_draw_key();
    tokenizer->bos = tokenizer->eos = tokenizer->eot = -1;
    tokenizer->unknown = tokenizer->separator = -1;
    for (size_t i = 0; i < PM__COUNT(tokenizer->bytes); i++)
        tokenizer->bytes[i] = -1;
    const pm_status status = read_all(tokenizer, gguf);
    if (status != PM_OK) {
        pm__tokenizer_destroy(tokenizer);
        return status;
    }
    pm__log(PM_LOG_INFO, "tokenizer: %s%s%s, %u pieces", tokenizer->kind->words,
            tokenizer->pre[0] != '\0' ? ", words as " : "", tokenizer->pre, tokenizer->n_vocab);
    *out = tokenizer;
    return PM_OK;
}

void pm__tokenizer_destroy(pm__tokenizer *tokenizer) {
    if (tokenizer == NULL)
        return;
    if (tokenizer->kind != NULL)
        tokenizer->kind->finish(tokenizer);
    pm__arena_finish(&tokenizer->arena);
    free(tokenizer);
}

/* ---- questions ------------------------------------------------------------------------------- */

const char *pm__tokenizer_kind_words(const pm__tokenizer *tokenizer) {
    return tokenizer->kind->words;
}

const char *pm__tokenizer_pre(const pm__tokenizer *tokenizer) {
    return tokenizer->pre;
}

uint32_t pm__tokenizer_n_vocab(const pm__tokenizer *tokenizer) {
    return tokenizer->n_vocab;
}

int32_t pm__tokenizer_bos(const pm__tokenizer *tokenizer) {
    return tokenizer->bos;
}

int32_t pm__tokenizer_eos(const pm__tokenizer *tokenizer) {
    return tokenizer->eos;
}

int32_t pm__tokenizer_eot(const pm__tokenizer *tokenizer) {
    return tokenizer->eot;
}

bool pm__tokenizer_adds_bos(const pm__tokenizer *tokenizer) {
    return tokenizer->adds_bos;
}

static bool is_id(const pm__tokenizer *tokenizer, int32_t id) {
    return id >= 0 && (uint32_t)id < tokenizer->n_vocab;
}

bool pm__tokenizer_is_end(const pm__tokenizer *tokenizer, int32_t id) {
    return is_id(tokenizer, id) && tokenizer->ends[id];
}

pm__span pm__tokenizer_piece(const pm__tokenizer *tokenizer, int32_t id, bool special) {
    if (!is_id(tokenizer, id))
        return (pm__span){"", 0};
    const uint8_t kind = tokenizer->kinds[id];
    if (!special && (kind == PM__PIECE_CONTROL || kind == PM__PIECE_UNKNOWN))
        return (pm__span){"", 0};
    return tokenizer->pieces[id];
}

/* ---- encoding -------------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static pm_status encode_parts(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                              pm__ranges data, pm__ids *out) {
    bool at_start = true;
    size_t done = 0;
    while (done < text.size) {
        const pm__special *found;
        const size_t special = pm__specials_find(tokenizer, text, done, &data, &found);
        size_t end = special;
        while (found != NULL && found->strips_left && end > done && is_blank(text.data[end - 1]))
            end--;
        if (end > done) {
            const pm__span plain = {text.data + done, end - done};
            PM_TRY(tokenizer->kind->encode(tokenizer, merger, plain, at_start, out));
            at_start = false;
        }
        done = special;
        if (found == NULL)
            break;
        PM_TRY(pm__ids_push(out, found->id));
        at_start = true;
        done += found->text.size;
        while (found->strips_right && done < text.size && is_blank(text.data[done]))
            done++;
    }
    return PM_OK;
}

pm_status pm__tokenizer_encode_around(const pm__tokenizer *tokenizer, pm__span text,
                                      pm__ranges data, bool add_special, pm__ids *out) {
    if (text.size > INT32_MAX / 4) /* positions have 32 bits, and a blank can become three bytes */
        return pm__fail(PM_ARGUMENT, "tokenizer: a text of %zu bytes is more than 512 MiB",
                        text.size);
    if (add_special && tokenizer->adds_bos)
        PM_TRY(pm__ids_push(out, tokenizer->bos));
    pm__merger merger = {0};
    const pm_status status = encode_parts(tokenizer, &merger, text, data, out);
    pm__merger_finish(&merger);
    PM_TRY(status);
    if (add_special && tokenizer->adds_eos)
        PM_TRY(pm__ids_push(out, tokenizer->eos));
    if (add_special && tokenizer->adds_separator)
        PM_TRY(pm__ids_push(out, tokenizer->separator));
    return PM_OK;
}

pm_status pm__tokenizer_encode(const pm__tokenizer *tokenizer, const char *text, size_t n,
                               bool add_special, bool parse_special, pm__ids *out) {
    const pm__range all = {0, n};
    const pm__ranges data = {&all, !parse_special && n > 0};
    return pm__tokenizer_encode_around(tokenizer, (pm__span){text, n}, data, add_special, out);
}
