#include "input.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pm__input_broken(const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: does not hold: %s\nlast sentence: %s\n", file, line, what,
            pm_last_error());
    abort();
}

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t take_int(pm__input *in, size_t n) {
    uint64_t x = 0;
    for (size_t i = 0; i < n && in->left > 0; i++, in->at++, in->left--)
        x |= (uint64_t)*in->at << 8 * i;
    return x;
}

uint8_t pm__input_u8(pm__input *in) {
    return (uint8_t)take_int(in, 1);
}

uint16_t pm__input_u16(pm__input *in) {
    return (uint16_t)take_int(in, 2);
}

uint64_t pm__input_u64(pm__input *in) {
    return take_int(in, 8);
}

pm__span pm__input_bytes(pm__input *in, size_t n) {
    const pm__span bytes = {(const char *)in->at, n < in->left ? n : in->left};
    if (bytes.size > 0)
        in->at += bytes.size;
    in->left -= bytes.size;
    return bytes;
}

uint8_t *pm__input_copy(const void *data, size_t size) {
    if (size == 0)
        return NULL;
    uint8_t *copy = malloc(size);
    PM__HOLDS(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static volatile uint8_t last_read;

void pm__input_read(const void *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        last_read = ((const uint8_t *)data)[i];
}

/* ---- texts ----------------------------------------------------------------------------------- */

bool pm__input_is_plain(const char *text, size_t n) {
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += pm__utf8_decode(text + at, n - at, &code);
        if (code < 0x20 || (code >= 0x7f && code < 0xa0))
            return false;
    }
    return pm__utf8_check(text, n) == n;
}

static void look(void *user, pm_log_level level, const char *line) {
    (void)user;
    (void)level;
    PM__HOLDS(pm__input_is_plain(line, strlen(line)));
}

void pm__input_quiet(void) {
    pm_set_log(PM_LOG_DEBUG, look, NULL);
}

void pm__input_failed(pm_status status, const pm_status *allowed, size_t n_allowed) {
    bool is_allowed = false;
    for (size_t i = 0; i < n_allowed; i++)
        is_allowed = is_allowed || status == allowed[i];
    PM__HOLDS(is_allowed);
    const char *sentence = pm_last_error();
    PM__HOLDS(strlen(sentence) > 10);
    PM__HOLDS(pm__input_is_plain(sentence, strlen(sentence)));
}

char *pm__input_clean(const char *text, size_t n, size_t *n_out) {
    char *out = malloc(3 * n + 1); /* U+FFFD takes three bytes */
    PM__HOLDS(out != NULL);
    *n_out = 0;
    for (size_t at = 0; at < n;) {
        uint32_t code;
        at += pm__utf8_decode(text + at, n - at, &code);
        *n_out += pm__utf8_encode(code, out + *n_out);
    }
    out[*n_out] = '\0';
    return out;
}

/* ---- vocabularies ---------------------------------------------------------------------------- */

enum { MOST_GIVEN = 64, MOST_MERGES = 32, MOST_PIECES = 256 + MOST_GIVEN + MOST_MERGES };
enum { MOST_TEXT = 48, MOST_RULE = 2 * MOST_TEXT + 1 };

/* A list of pieces: a byte chooses the pre-tokenizer, a byte counts the pieces; each has a byte for
 * its length (up to 15), its text, a byte for its type and one for its score. Kinds with merges go
 * on with a byte that counts them and two numbers of pieces for each, of 16 bits; t5 with a byte
 * that is the length of its charsmap, and that. */
typedef struct recipe {
    char texts[MOST_PIECES][MOST_TEXT + 1];
    int32_t kinds[MOST_PIECES];
    float scores[MOST_PIECES];
    const char *list[MOST_PIECES];
    size_t n;
    char rules[MOST_MERGES][MOST_RULE + 1];
    const char *rule_list[MOST_MERGES];
    size_t n_rule;
    pm__span charsmap;
    uint8_t flags;
} recipe;

/* The texts of a file have no closing zero, but the writer wants one: zeros become another byte. */
static void add_piece(recipe *r, pm__span text, int32_t kind, float score) {
    char *out = r->texts[r->n];
    for (size_t i = 0; i < text.size; i++)
        out[i] = (char)(text.data[i] != '\0' ? text.data[i] : 'z');
    out[text.size] = '\0';
    r->kinds[r->n] = kind;
    r->scores[r->n] = score;
    r->n++;
}

/* source  the alphabet of byte-level BPE: printable bytes are themselves, others 256 and above */
static void add_bytes(recipe *r) {
    const uint8_t kind = r->flags & PM__INPUT_KIND;
    const bool byte_level = kind == 0 && (r->flags & PM__INPUT_BYTE_LEVEL) != 0;
    const char *format = kind == PM__INPUT_RWKV ? "\\x%02x" : "<0x%02X>";
    const bool is_normal = byte_level || kind == PM__INPUT_RWKV;
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; byte++) {
        char text[8];
        const bool is_itself = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        size_t n = (size_t)snprintf(text, sizeof text, format, byte);
        if (byte_level)
            n = pm__utf8_encode(is_itself ? byte : next++, text);
        add_piece(r, (pm__span){text, n}, is_normal ? 1 : 6, 0.0f);
    }
}

static void add_given(recipe *r, pm__input *in) {
    const size_t n = pm__input_u8(in) % (MOST_GIVEN + 1);
    for (size_t i = 0; i < n; i++) {
        const pm__span text = pm__input_bytes(in, pm__input_u8(in) % 16);
        const int32_t kind = pm__input_u8(in) % 7;
        add_piece(r, text, kind, (float)pm__input_u8(in) - 128.0f);
    }
}

/* What two pieces make is a piece, too. */
static void add_merges(recipe *r, pm__input *in) {
    const size_t n = pm__input_u8(in) % (MOST_MERGES + 1);
    for (size_t i = 0; i < n && r->n > 0; i++) {
        char left[MOST_TEXT + 1], right[MOST_TEXT + 1], joined[2 * MOST_TEXT + 1];
        memcpy(left, r->texts[pm__input_u16(in) % r->n], sizeof left);
        memcpy(right, r->texts[pm__input_u16(in) % r->n], sizeof right);
        const int size = snprintf(joined, sizeof joined, "%s%s", left, right);
        if (size > MOST_TEXT)
            continue;
        snprintf(r->rules[r->n_rule], sizeof r->rules[0], "%s %s", left, right);
        r->rule_list[r->n_rule] = r->rules[r->n_rule];
        r->n_rule++;
        add_piece(r, (pm__span){joined, (size_t)size}, 1, 0.0f);
    }
}

static const char *model_of(uint8_t flags) {
    switch (flags & PM__INPUT_KIND) {
    case PM__INPUT_T5:
        return "t5";
    case PM__INPUT_BERT:
        return "bert";
    case PM__INPUT_RWKV:
        return "rwkv";
    case PM__INPUT_GEMMA4:
        return "gemma4";
    default:
        return (flags & PM__INPUT_BYTE_LEVEL) != 0 ? "gpt2" : "llama";
    }
}

static bool has_merges(uint8_t flags) {
    return strcmp(model_of(flags), "gpt2") == 0 || strcmp(model_of(flags), "gemma4") == 0;
}

static void write_kind(pm__writer *out, const recipe *r) {
    const bool first = (r->flags & PM__INPUT_BYTE_LEVEL) != 0;
    const bool space = (r->flags & PM__INPUT_SPACE) != 0;
    if ((r->flags & PM__INPUT_KIND) != 0)
        pm__write_u32(out, "tokenizer.ggml.unknown_token_id", 0);
    if (strcmp(model_of(r->flags), "bert") == 0) {
        pm__write_bool(out, "tokenizer.ggml.normalizer.lowercase", space);
        pm__write_bool(out, "tokenizer.ggml.normalizer.strip_accents", first);
    } else if (has_merges(r->flags)) {
        pm__write_texts(out, "tokenizer.ggml.merges", r->rule_list, r->n_rule);
    } else {
        pm__write_f32s(out, "tokenizer.ggml.scores", r->scores, r->n);
        pm__write_bool(out, "tokenizer.ggml.add_space_prefix", space);
    }
    if (strcmp(model_of(r->flags), "t5") == 0) {
        pm__write_bool(out, "tokenizer.ggml.remove_extra_whitespaces", first);
        pm__write_i8s(out, "tokenizer.ggml.precompiled_charsmap", (const int8_t *)r->charsmap.data,
                      r->charsmap.size);
    }
}

static void write_recipe(pm__writer *out, recipe *r, const char *pre) {
    for (size_t i = 0; i < r->n; i++)
        r->list[i] = r->texts[i];
    pm__write_text(out, "tokenizer.ggml.model", model_of(r->flags));
    pm__write_text(out, "tokenizer.ggml.pre", pre);
    pm__write_texts(out, "tokenizer.ggml.tokens", r->list, r->n);
    pm__write_i32s(out, "tokenizer.ggml.token_type", r->kinds, r->n);
    pm__write_bool(out, "tokenizer.ggml.add_bos_token", (r->flags & PM__INPUT_BOS) != 0);
    pm__write_u32(out, "tokenizer.ggml.bos_token_id", 0);
    write_kind(out, r);
}

static void write_file(pm__writer *out, pm__input *in) {
    const pm__span file = pm__input_bytes(in, pm__input_u16(in));
    out->data = pm__input_copy(file.data, file.size);
    out->size = file.size;
}

pm_status pm__input_vocabulary(pm__input *in, pm__vocabulary *out) {
    static const char *const pres[] = {
        "gpt-2",  "llama-bpe",    "qwen2",    "default",    "smollm",     "qwen35",
        "falcon", "deepseek-llm", "gpt-4o",   "tekken",     "bloom",      "superbpe",
        "jais-2", "kimi-k2",      "tiny_aya", "exaone-moe", "sarvam-moe", "chameleon"};
    static recipe r;
    const uint8_t flags = pm__input_u8(in);
    pm__writer written = {0};
    if ((flags & PM__INPUT_FILE) != 0) {
        write_file(&written, in);
        *out = (pm__vocabulary){.written = written};
        pm_status status = pm__gguf_init(&out->gguf, written.data, written.size);
        out->has_gguf = status == PM_OK;
        if (status == PM_OK)
            status = pm__tokenizer_create(&out->gguf, &out->tokenizer);
        if (status != PM_OK)
            pm__vocabulary_close(out);
        return status;
    }
    r.n = r.n_rule = 0;
    r.flags = flags;
    r.charsmap = (pm__span){"", 0};
    const char *pre = pres[pm__input_u8(in) % PM__COUNT(pres)];
    if ((flags & PM__INPUT_ALL_BYTES) != 0)
        add_bytes(&r);
    add_given(&r, in);
    if (has_merges(flags))
        add_merges(&r, in);
    if (strcmp(model_of(flags), "t5") == 0)
        r.charsmap = pm__input_bytes(in, pm__input_u8(in));
    write_recipe(&written, &r, pre);
    uint8_t *exact = realloc(written.data, written.size);
    PM__HOLDS(exact != NULL);
    written.data = exact;
    written.capacity = written.size;
    return pm__vocabulary_open_written(out, &written);
}
