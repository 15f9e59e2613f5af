#include "vocabulary.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* No special text of the field comes near; it bounds the work at each byte of a text. */
enum { MOST_SPECIAL_BYTES = 512 };

/* Files name one or two ends; chat models use others beside them. */
static const char *const end_texts[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<eos>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<turn|>",
    "<|tool_response>",
    "<|calls|>",
    "<|flush|>",
    ("<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),
};

/* What begins a turn, or parts of one, in templates of the field. */
static const char *const turn_texts[] = {
    "<|im_start|>",
    "<|im_sep|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|header_start|>",
    "<|header_end|>",
    "<start_of_turn>",
    "<|turn>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|START_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<|start_of_role|>",
    "<|end_of_role|>",
    ("<\xef\xbd\x9c"
     "User\xef\xbd\x9c>"),
    ("<\xef\xbd\x9c"
     "Assistant\xef\xbd\x9c>"),
};

static bool is_turn(pm__span text) {
    bool found = false;
    for (size_t i = 0; i < PM__COUNT(turn_texts); i++)
        found = found || pm__text_is(text, turn_texts[i]);
    return found;
}

/* Of vocabularies whose answers have parts: <|end|> closes a part where others close the answer. */
static bool has_parts(const pm__tokenizer *tokenizer) {
    bool has_call = false, has_return = false;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const pm__span text = tokenizer->texts[i];
        has_call = has_call || pm__text_is(text, "<|call|>") || pm__text_is(text, "<|calls|>");
        has_return =
            has_return || pm__text_is(text, "<|return|>") || pm__text_is(text, "<|flush|>");
    }
    return has_call && has_return;
}

/* Some files call them normal or user-defined pieces, so that a user could write a turn. */
void pm__specials_mark_turns(pm__tokenizer *tokenizer) {
    const bool ends_by_end = !has_parts(tokenizer);
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        if (is_turn(tokenizer->texts[i]))
            tokenizer->kinds[i] = PM__PIECE_CONTROL;
        for (size_t k = 0; k < PM__COUNT(end_texts); k++) {
            if (!pm__text_is(tokenizer->texts[i], end_texts[k]))
                continue;
            tokenizer->kinds[i] = PM__PIECE_CONTROL;
            tokenizer->ends[i] = ends_by_end || !pm__text_is(tokenizer->texts[i], "<|end|>");
        }
    }
}

static bool is_special(const pm__tokenizer *tokenizer, uint32_t id) {
    const uint8_t kind = tokenizer->kinds[id];
    return tokenizer->texts[id].size > 0 &&
           (kind == PM__PIECE_CONTROL || kind == PM__PIECE_USER || kind == PM__PIECE_UNKNOWN);
}

/* By bytes, a text before those that go on after it; the last id first. */
static int compare(const void *left, const void *right) {
    const pm__special *a = left, *b = right;
    const bool a_shorter = a->text.size < b->text.size;
    const int order = memcmp(a->text.data, b->text.data, a_shorter ? a->text.size : b->text.size);
    if (order != 0)
        return order;
    if (a->text.size != b->text.size)
        return a_shorter ? -1 : 1;
    return a->id > b->id ? -1 : 1;
}

static void sort(pm__specials *specials, size_t n) {
    pm__special *items = specials->items;
    qsort(items, n, sizeof *items, compare);
    for (size_t i = 0; i < n; i++) {
        const pm__span *last = specials->n > 0 ? &items[specials->n - 1].text : NULL;
        if (last == NULL || last->size != items[i].text.size ||
            memcmp(last->data, items[i].text.data, last->size) != 0)
            items[specials->n++] = items[i];
    }
    for (size_t i = 0; i < specials->n; i++)
        specials->first[(uint8_t)items[i].text.data[0] + 1] = i + 1;
    for (size_t byte = 0; byte < 256; byte++)
        if (specials->first[byte + 1] == 0)
            specials->first[byte + 1] = specials->first[byte];
}

/* ---- blanks beside special pieces ------------------------------------------------------------ */

/* lstrip and rstrip of added tokens are in no key: they are known for these.
 * source  the tokenizer.json files of Phi-3, ModernBERT and Jina's models */
typedef struct strips {
    bool phi3, mask;
} strips;

static bool is_in(const char *part, pm__span text) {
    const size_t n = strlen(part);
    for (size_t at = 0; at + n <= text.size; at++) {
        size_t same = 0;
        while (same < n && tolower((unsigned char)text.data[at + same]) == part[same])
            same++;
        if (same == n)
            return true;
    }
    return false;
}

static bool says(const pm__gguf *gguf, const char *name, const char *part) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, name);
    pm__span text;
    return key != NULL && pm__gguf_string(key, &text) && is_in(part, text);
}

static strips read_strips(const pm__gguf *gguf) {
    static const char name[] = "general.name", pre[] = "tokenizer.ggml.pre",
                      architecture[] = "general.architecture";
    return (strips){.phi3 = says(gguf, name, "phi-3") || says(gguf, name, "phi3"),
                    .mask = says(gguf, pre, "jina-v2-") || says(gguf, pre, "modern-bert") ||
                            says(gguf, name, "modern-bert") ||
                            says(gguf, architecture, "nomic-bert-moe") ||
                            says(gguf, architecture, "jina-bert-v3")};
}

static void set_strips(strips known, pm__special *special) {
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    special->strips_left = known.mask && (pm__text_is(special->text, "<mask>") ||
                                          pm__text_is(special->text, "[MASK]"));
    special->strips_right = known.phi3;
    for (size_t i = 0; i < PM__COUNT(kept); i++)
        if (pm__text_is(special->text, kept[i]))
            special->strips_right = false;
}

pm_status pm__specials_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    const strips known = read_strips(gguf);
    size_t n = 0;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++)
        n += is_special(tokenizer, i);
    pm__special *items = pm__arena_array(&tokenizer->arena, n, sizeof *items);
    if (items == NULL)
        return PM_OUT_OF_MEMORY;
    n = 0;
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const pm__span text = tokenizer->texts[i];
        if (!is_special(tokenizer, i))
            continue;
        if (text.size > MOST_SPECIAL_BYTES)
            return pm__fail(PM_BAD_FILE,
                            "tokenizer: special piece %u has %zu bytes, more than the %d a special "
                            "piece may have",
                            i, text.size, MOST_SPECIAL_BYTES);
        items[n] = (pm__special){
            .text = text, .id = (int32_t)i, .user = tokenizer->kinds[i] == PM__PIECE_USER};
        set_strips(known, &items[n++]);
    }
    tokenizer->specials.items = items;
    sort(&tokenizer->specials, n);
    return PM_OK;
}

/* The first of [begin, end) that has at `at` a byte of at least `least`, all having the same bytes
 * before. -1 stands for no byte there. */
static size_t bisect(const pm__specials *specials, size_t begin, size_t end, size_t at, int least) {
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const pm__span text = specials->items[middle].text;
        const int byte = at < text.size ? (uint8_t)text.data[at] : -1;
        if (byte < least)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* The longest special text at the start of `text`, NULL if none stands there. Only a user-defined
 * piece may go on beyond n_free. At most 512 times the logarithm of their number in steps. */
static const pm__special *match(const pm__specials *specials, pm__span text, size_t n_free) {
    const uint8_t first = (uint8_t)text.data[0];
    size_t begin = specials->first[first], end = specials->first[first + 1];
    const pm__special *longest = NULL;
    for (size_t n = 1; begin < end; n++) {
        const pm__special *found = &specials->items[begin]; /* the only one of n bytes, if any */
        if (found->text.size == n && (found->user || n <= n_free))
            longest = found;
        if (n == text.size)
            break;
        const int next = (uint8_t)text.data[n];
        begin = bisect(specials, begin, end, n, next);
        end = bisect(specials, begin, end, n, next + 1);
    }
    return longest;
}

/* Bytes from `at` on before the next that is data. */
static size_t count_free(pm__ranges *data, size_t at, size_t size) {
    while (data->n > 0 && data->first->end <= at) {
        data->first++;
        data->n--;
    }
    const size_t next = data->n > 0 ? data->first->begin : size;
    return next > at ? next - at : 0;
}

size_t pm__specials_find(const pm__tokenizer *tokenizer, pm__span text, size_t from,
                         pm__ranges *data, const pm__special **found) {
    for (size_t at = from; at < text.size; at++) {
        const pm__span rest = {text.data + at, text.size - at};
        *found = match(&tokenizer->specials, rest, count_free(data, at, text.size));
        if (*found != NULL)
            return at;
    }
    *found = NULL;
    return text.size;
}
