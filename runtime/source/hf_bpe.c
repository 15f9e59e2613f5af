/* hf_bpe.c: tokenizer.json of byte-pair vocabularies: over bytes (GPT-2 and all that follow it), or
 * over characters with a mark for blanks (what SentencePiece models become).
 * source  the tokenizer.json files of the models themselves */
#include "hf.h"

#include "../base/hash.h"
#include "../text/pretokenize.h"

#include <string.h>

enum { MOST_EXPRESSION = 8 };

static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char blank_mark[] = "\xe2\x96\x81"; /* U+2581 */

static const cJSON *get(const cJSON *object, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *object, const char *name) {
    const cJSON *value = get(object, name);
    return cJSON_IsString(value) ? value->valuestring : "";
}

static bool is(const cJSON *object, const char *name, const char *text) {
    return strcmp(text_of(object, name), text) == 0;
}

/* The parts of a Sequence, or the one part; `list` is what a Sequence calls them. */
static const cJSON *first_part(const cJSON *whole, const char *list) {
    return is(whole, "type", "Sequence")
               ? cJSON_IsArray(get(whole, list)) ? get(whole, list)->child : NULL
               : whole;
}

static const cJSON *next_part(const cJSON *whole, const cJSON *part) {
    return part == whole ? NULL : part->next;
}

bool pm__hf_is_byte_level(const cJSON *json) {
    static const struct {
        const char *name, *list;
    } places[] = {{"pre_tokenizer", "pretokenizers"}, {"decoder", "decoders"}};
    for (size_t i = 0; i < PM__COUNT(places); i++) {
        const cJSON *whole = get(json, places[i].name);
        for (const cJSON *part = first_part(whole, places[i].list); part != NULL;
             part = next_part(whole, part))
            if (is(part, "type", "ByteLevel"))
                return true;
    }
    return false;
}

/* ---- the way words are cut ------------------------------------------------------------------- */

typedef struct expressions {
    const char *items[MOST_EXPRESSION];
    size_t n;
} expressions;

static pm_status fail_pre(const char *what, const char *value) {
    return pm__fail(PM_UNSUPPORTED,
                    "folder: tokenizer.json: a pre_tokenizer with %s '%.100s' is not "
                    "read",
                    what, value);
}

static pm_status add_expression(expressions *list, const char *text) {
    if (list->n == MOST_EXPRESSION)
        return fail_pre("more parts than", "8");
    list->items[list->n++] = text;
    return PM_OK;
}

/* Matches and what is between them are the words, whether a match is set apart or all between
 * is. */
static pm_status add_split(expressions *list, const cJSON *part) {
    const cJSON *pattern = get(part, "pattern");
    const bool inverted = cJSON_IsTrue(get(part, "invert"));
    if (!is(part, "behavior", "Isolated") && !(is(part, "behavior", "Removed") && inverted))
        return fail_pre("a Split of behavior", text_of(part, "behavior"));
    if (!cJSON_IsString(get(pattern, "Regex")))
        return fail_pre("a Split of pattern", text_of(pattern, "String"));
    return add_expression(list, text_of(pattern, "Regex"));
}

static pm_status add_part(expressions *list, const cJSON *part) {
    if (is(part, "type", "Split"))
        return add_split(list, part);
    if (is(part, "type", "ByteLevel")) {
        if (cJSON_IsTrue(get(part, "add_prefix_space")))
            return fail_pre("add_prefix_space", "true");
        return cJSON_IsFalse(get(part, "use_regex")) ? PM_OK : add_expression(list, gpt2_words);
    }
    if (is(part, "type", "Digits"))
        return add_expression(list,
                              cJSON_IsTrue(get(part, "individual_digits")) ? "\\p{N}" : "\\p{N}+");
    if (is(part, "type", "Punctuation") && is(part, "behavior", "Contiguous"))
        return add_expression(list, "[\\p{P}$+<=>^~|`]+");
    return fail_pre("a part", text_of(part, "type"));
}

static pm_status find_pre(pm__hf_vocab *vocab, const cJSON *json) {
    expressions list = {.n = 0};
    const cJSON *whole = get(json, "pre_tokenizer");
    const cJSON *whole_words = get(get(json, "model"), "ignore_merges");
    for (const cJSON *part = first_part(whole, "pretokenizers"); part != NULL;
         part = next_part(whole, part))
        PM_TRY(add_part(&list, part));
    vocab->pre = pm__pretokenizer_find(list.items, list.n, cJSON_IsTrue(whole_words));
    if (vocab->pre != NULL)
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "folder: tokenizer.json: the expressions of pre_tokenizer are of no vocabulary "
                    "that is known; the first of %zu is '%.200s'",
                    list.n, list.n > 0 ? list.items[0] : "");
}

/* Only a normaliser that leaves text of the usual form as it is. */
static pm_status check_normalizer(const cJSON *json) {
    const cJSON *whole = get(json, "normalizer");
    if (cJSON_IsNull(whole))
        return PM_OK;
    for (const cJSON *part = first_part(whole, "normalizers"); part != NULL;
         part = next_part(whole, part))
        if (!is(part, "type", "NFC"))
            return pm__fail(
                PM_UNSUPPORTED,
                "folder: tokenizer.json: a normalizer of type '%.40s' is not read for a "
                "vocabulary over bytes",
                text_of(part, "type"));
    return PM_OK;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* Bytes that the text of a document has at least, for the ids it may use. */
static uint64_t most_of(const cJSON *vocabulary) {
    uint64_t n = 0;
    for (const cJSON *piece = vocabulary->child; piece != NULL; piece = piece->next)
        n++;
    return 8 * n + 4096;
}

static pm_status read_pieces(pm__hf_vocab *vocab, const cJSON *model) {
    const cJSON *pieces = get(model, "vocab"), *piece;
    if (!cJSON_IsObject(pieces))
        return pm__fail(PM_BAD_FILE, "folder: tokenizer.json: the model has no vocab");
    const uint64_t most = most_of(pieces);
    cJSON_ArrayForEach(piece, pieces) {
        uint64_t id;
        if (!pm__json_whole(piece, PM__HF_MOST_VOCAB, &id))
            return pm__fail(PM_BAD_FILE,
                            "folder: tokenizer.json: the id of piece '%.40s' is no whole "
                            "number",
                            piece->string);
        if (id < vocab->n && vocab->texts[id].data != NULL)
            return pm__fail(PM_BAD_FILE,
                            "folder: tokenizer.json: pieces '%.40s' and '%.40s' have the "
                            "same id",
                            vocab->texts[id].data, piece->string);
        PM_TRY(pm__hf_piece(vocab, id, most, (pm__span){piece->string, strlen(piece->string)}, 0.0f,
                            PM__HF_NORMAL));
    }
    return PM_OK;
}

pm_status pm__hf_added(pm__hf_vocab *vocab, const cJSON *json) {
    const cJSON *entry;
    cJSON_ArrayForEach(entry, get(json, "added_tokens")) {
        const cJSON *content = get(entry, "content");
        const bool special = cJSON_IsTrue(get(entry, "special"));
        uint64_t id;
        if (!cJSON_IsString(content) || !pm__json_whole(get(entry, "id"), PM__HF_MOST_VOCAB, &id))
            return pm__fail(PM_BAD_FILE,
                            "folder: tokenizer.json: added_tokens holds what is no id and content");
        if (id < vocab->n &&
            (vocab->kinds[id] == PM__HF_BYTE || vocab->kinds[id] == PM__HF_UNKNOWN))
            continue;
        PM_TRY(pm__hf_piece(vocab, id, 8 * (uint64_t)vocab->n + 4096,
                            (pm__span){content->valuestring, strlen(content->valuestring)},
                            -1000.0f, special ? PM__HF_CONTROL : PM__HF_USER));
    }
    return PM_OK;
}

/* One merge: "left right", or a list of the two. */
static pm_status read_merge(pm__hf_vocab *vocab, const cJSON *merge, pm__span *out) {
    if (cJSON_IsString(merge)) {
        *out = (pm__span){merge->valuestring, strlen(merge->valuestring)};
        return PM_OK;
    }
    const cJSON *left = cJSON_IsArray(merge) ? merge->child : NULL;
    const cJSON *right = left != NULL ? left->next : NULL;
    if (!cJSON_IsString(left) || !cJSON_IsString(right) || right->next != NULL)
        return pm__fail(PM_BAD_FILE,
                        "folder: tokenizer.json: merges holds what is no pair of pieces");
    const size_t n_left = strlen(left->valuestring), n_right = strlen(right->valuestring);
    char *text = pm__arena_alloc(vocab->arena, n_left + n_right + 2);
    if (text == NULL)
        return PM_OUT_OF_MEMORY;
    memcpy(text, left->valuestring, n_left);
    text[n_left] = ' ';
    memcpy(text + n_left + 1, right->valuestring, n_right);
    *out = (pm__span){text, n_left + 1 + n_right};
    return PM_OK;
}

static pm_status read_merges(pm__hf_vocab *vocab, const cJSON *model) {
    const cJSON *merges = get(model, "merges"), *merge;
    if (!cJSON_IsArray(merges))
        return pm__fail(PM_BAD_FILE, "folder: tokenizer.json: the model has no merges");
    const size_t n = (size_t)cJSON_GetArraySize(merges);
    pm__span *spans = pm__arena_array(vocab->arena, n, sizeof *spans);
    if (spans == NULL)
        return PM_OUT_OF_MEMORY;
    vocab->merges = spans;
    cJSON_ArrayForEach(merge, merges) PM_TRY(read_merge(vocab, merge, &spans[vocab->n_merge++]));
    return PM_OK;
}

/* ---- what is put around a text --------------------------------------------------------------- */

static void set_around(pm__hf_vocab *vocab, const char *name, bool before) {
    for (uint32_t i = 0; i < vocab->n; i++)
        if (vocab->texts[i].data != NULL && vocab->texts[i].size == strlen(name) &&
            memcmp(vocab->texts[i].data, name, vocab->texts[i].size) == 0) {
            *(before ? &vocab->bos : &vocab->eos) = (int32_t)i;
            *(before ? &vocab->adds_bos : &vocab->adds_eos) = true;
            return;
        }
}

/* The template for one text: special pieces before and behind it. */
static void read_around(pm__hf_vocab *vocab, const cJSON *json) {
    const cJSON *whole = get(json, "post_processor"), *entry;
    for (const cJSON *part = first_part(whole, "processors"); part != NULL;
         part = next_part(whole, part)) {
        bool before = true;
        if (!is(part, "type", "TemplateProcessing"))
            continue;
        cJSON_ArrayForEach(entry, get(part, "single")) {
            if (get(entry, "Sequence") != NULL)
                before = false;
            else
                set_around(vocab, text_of(get(entry, "SpecialToken"), "id"), before);
        }
    }
}

/* ---- SentencePiece models as tokenizer.json -------------------------------------------------- */

/* Normal pieces by their texts. */
typedef struct piece_table {
    uint32_t *slots; /* [mask + 1] id + 1; 0: free */
    uint32_t mask;
    pm__hash_key key; /* no file can be made of collisions */
} piece_table;

/* The slot of the text, or the free one where it would stand. */
static uint32_t *slot_of(const pm__hf_vocab *vocab, const piece_table *table, const char *text,
                         size_t n) {
    uint32_t at = (uint32_t)pm__hash_keyed(table->key, text, n) & table->mask;
    for (;; at = (at + 1) & table->mask) {
        const uint32_t id = table->slots[at];
        if (id == 0 ||
            (vocab->texts[id - 1].size == n && memcmp(vocab->texts[id - 1].data, text, n) == 0))
            return &table->slots[at];
    }
}

static pm_status make_table(pm__hf_vocab *vocab, piece_table *table) {
    uint32_t size = 64;
    while (size < 2 * vocab->n)
        size *= 2;
    *table = (piece_table){pm__arena_array(vocab->arena, size, sizeof *table->slots), size - 1,
                           pm__hash_draw_key()};
    if (table->slots == NULL)
        return PM_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < vocab->n; i++) {
        if (vocab->texts[i].data != NULL)
            *slot_of(vocab, table, vocab->texts[i].data, vocab->texts[i].size) = i + 1;
    }
    return PM_OK;
}

/* SentencePiece merges what makes the piece of the highest score: that of an earlier merge. */
static pm_status score_pieces(pm__hf_vocab *vocab) {
    piece_table table;
    PM_TRY(make_table(vocab, &table));
    for (uint32_t i = 0; i < vocab->n; i++)
        vocab->scores[i] = -(float)(vocab->n_merge + 1);
    for (size_t i = vocab->n_merge; i-- > 0;) {
        const pm__span merge = vocab->merges[i];
        const char *blank = memchr(merge.data, ' ', merge.size);
        char *text = pm__arena_alloc(vocab->arena, merge.size);
        if (text == NULL)
            return PM_OUT_OF_MEMORY;
        if (blank == NULL)
            return pm__fail(PM_BAD_FILE, "folder: tokenizer.json: merge %zu is no pair of pieces",
                            i);
        const size_t n_left = (size_t)(blank - merge.data);
        memcpy(text, merge.data, n_left);
        memcpy(text + n_left, blank + 1, merge.size - n_left - 1);
        const uint32_t id = *slot_of(vocab, &table, text, merge.size - 1);
        if (id != 0)
            vocab->scores[id - 1] = -(float)i;
    }
    return PM_OK;
}

/* Blanks become marks, with one more before the text if it says so. */
static pm_status read_marks(pm__hf_vocab *vocab, const cJSON *json) {
    const cJSON *whole = get(json, "normalizer");
    for (const cJSON *part = cJSON_IsNull(whole) ? NULL : first_part(whole, "normalizers");
         part != NULL; part = next_part(whole, part)) {
        const bool prepends = is(part, "type", "Prepend") && is(part, "prepend", blank_mark);
        const bool replaces = is(part, "type", "Replace") && is(part, "content", blank_mark) &&
                              is(get(part, "pattern"), "String", " ");
        if (!prepends && !replaces)
            return pm__fail(
                PM_UNSUPPORTED,
                "folder: tokenizer.json: a normalizer of type '%.40s' is not read for a "
                "vocabulary with marks for blanks",
                text_of(part, "type"));
        vocab->adds_space = vocab->adds_space || prepends;
    }
    const cJSON *pre = get(json, "pre_tokenizer");
    if (pre == NULL || cJSON_IsNull(pre) ||
        (is(pre, "type", "Split") && is(get(pre, "pattern"), "String", " ")))
        return PM_OK;
    if (!is(pre, "type", "Metaspace"))
        return fail_pre("type", text_of(pre, "type"));
    vocab->adds_space =
        !is(pre, "prepend_scheme", "never") && !cJSON_IsFalse(get(pre, "add_prefix_space"));
    return PM_OK;
}

static pm_status read_marked(pm__hf_vocab *vocab, const cJSON *json) {
    const cJSON *model = get(json, "model");
    if (!cJSON_IsTrue(get(model, "byte_fallback")) || cJSON_IsTrue(get(model, "ignore_merges")))
        return pm__fail(PM_UNSUPPORTED,
                        "folder: tokenizer.json: a vocabulary of characters is read "
                        "with byte_fallback and without ignore_merges alone");
    vocab->model = "llama";
    vocab->has_scores = true;
    PM_TRY(read_marks(vocab, json));
    PM_TRY(score_pieces(vocab));
    for (uint32_t i = 0; i < vocab->n; i++)
        if (vocab->texts[i].data != NULL && pm__hf_is_byte(vocab->texts[i]))
            vocab->kinds[i] = PM__HF_BYTE;
    vocab->merges = NULL;
    vocab->n_merge = 0;
    const char *unknown = text_of(model, "unk_token");
    for (uint32_t i = 0; i < vocab->n; i++)
        if (vocab->texts[i].data != NULL && *unknown != '\0' &&
            strlen(unknown) == vocab->texts[i].size &&
            memcmp(unknown, vocab->texts[i].data, vocab->texts[i].size) == 0) {
            vocab->kinds[i] = PM__HF_UNKNOWN;
            vocab->unknown = (int32_t)i;
        }
    return PM_OK;
}

pm_status pm__hf_bpe(pm__hf_vocab *vocab, const cJSON *json) {
    const cJSON *model = get(json, "model");
    if (!is(model, "type", "BPE") && !(get(model, "type") == NULL && get(model, "merges") != NULL))
        return pm__fail(PM_UNSUPPORTED,
                        "folder: tokenizer.json: a model of type '%.40s' is not read, only BPE",
                        text_of(model, "type"));
    PM_TRY(read_pieces(vocab, model));
    PM_TRY(read_merges(vocab, model));
    if (pm__hf_is_byte_level(json)) {
        vocab->model = "gpt2";
        PM_TRY(check_normalizer(json));
        PM_TRY(find_pre(vocab, json));
    } else
        PM_TRY(read_marked(vocab, json));
    PM_TRY(pm__hf_added(vocab, json));
    read_around(vocab, json);
    return PM_OK;
}
