#include "vocabulary.h"

#include "../base/grow.h"

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
    ("<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),
};

static const char turn_text[] = "<|im_start|>"; /* of the one chat format that is rendered */

static bool is_text(pm__span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* Some files call them normal or user-defined pieces, so that a user could write a turn. */
void pm__specials_mark_turns(pm__tokenizer *tokenizer) {
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        if (is_text(tokenizer->texts[i], turn_text))
            tokenizer->kinds[i] = PM__PIECE_CONTROL;
        for (size_t k = 0; k < PM__COUNT(end_texts); k++) {
            if (!is_text(tokenizer->texts[i], end_texts[k]))
                continue;
            tokenizer->kinds[i] = PM__PIECE_CONTROL;
            tokenizer->ends[i] = true;
        }
    }
}

static pm_status add_node(pm__specials *specials, uint8_t byte, uint32_t *out) {
    PM_TRY(pm__grow("tokenizer", &specials->nodes, &specials->capacity, specials->n,
                    sizeof *specials->nodes));
    if (specials->n >= UINT32_MAX)
        return pm__fail(PM_BAD_FILE, "tokenizer: the special pieces have too many bytes");
    *out = (uint32_t)specials->n++;
    specials->nodes[*out] = (pm__special_node){.byte = byte, .id = -1};
    return PM_OK;
}

static uint32_t find_child(const pm__specials *specials, uint32_t parent, uint8_t byte) {
    if (parent == 0)
        return specials->first[byte];
    uint32_t node = specials->nodes[parent].child;
    while (node != 0 && specials->nodes[node].byte != byte)
        node = specials->nodes[node].sibling;
    return node;
}

static pm_status add_text(pm__specials *specials, pm__span text, int32_t id, bool user) {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size; i++) {
        const uint8_t byte = (uint8_t)text.data[i];
        uint32_t child = find_child(specials, node, byte);
        if (child == 0) {
            PM_TRY(add_node(specials, byte, &child));
            if (node == 0) {
                specials->first[byte] = child;
            } else {
                specials->nodes[child].sibling = specials->nodes[node].child;
                specials->nodes[node].child = child;
            }
        }
        node = child;
    }
    specials->nodes[node].id = id;
    specials->nodes[node].user = user;
    return PM_OK;
}

pm_status pm__specials_init(pm__tokenizer *tokenizer) {
    uint32_t root;
    PM_TRY(add_node(&tokenizer->specials, 0, &root));
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        const uint8_t kind = tokenizer->kinds[i];
        const pm__span text = tokenizer->texts[i];
        if (kind != PM__PIECE_CONTROL && kind != PM__PIECE_USER && kind != PM__PIECE_UNKNOWN)
            continue;
        if (text.size == 0)
            continue;
        if (text.size > MOST_SPECIAL_BYTES)
            return pm__fail(PM_BAD_FILE,
                            "tokenizer: special piece %u has %zu bytes, more than the %d a special "
                            "piece may have",
                            i, text.size, MOST_SPECIAL_BYTES);
        PM_TRY(add_text(&tokenizer->specials, text, (int32_t)i, kind == PM__PIECE_USER));
    }
    return PM_OK;
}

void pm__specials_finish(pm__specials *specials) {
    free(specials->nodes);
    *specials = (pm__specials){0};
}

/* Bytes of the longest special text at the start of `text`, 0 if none stands there. Only a
 * user-defined piece may go on beyond n_free. */
static size_t match(const pm__specials *specials, pm__span text, size_t n_free, int32_t *id) {
    size_t longest = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < text.size; i++) {
        node = find_child(specials, node, (uint8_t)text.data[i]);
        if (node == 0)
            break;
        const pm__special_node *found = &specials->nodes[node];
        if (found->id >= 0 && (found->user || i < n_free)) {
            longest = i + 1;
            *id = found->id;
        }
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
                         pm__ranges *data, int32_t *id) {
    for (size_t at = from; at < text.size; at++) {
        const pm__span rest = {text.data + at, text.size - at};
        if (match(&tokenizer->specials, rest, count_free(data, at, text.size), id) > 0)
            return at;
    }
    return text.size;
}
