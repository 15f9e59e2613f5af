/* unigram.c: SentencePiece's unigram model. Text is normalised (charsmap.h), then divided into the
 * pieces whose scores, logarithms of probabilities, have the largest sum.
 * source  arXiv:1804.10959; flags as GGUF files carry them */
#include "vocabulary.h"

#include "charsmap.h"

#include "../base/grow.h"
#include "../base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

typedef struct unigram {
    pm__trie trie;
    const float *scores;  /* [n_vocab] */
    double unknown_score; /* of a character that is no piece */
    pm__charsmap charsmap;
    bool merges_blanks;
} unigram;

/* ---- reading --------------------------------------------------------------------------------- */

/* Far below all others, so that a character is unknown only where it must be.
 * source  kUnkPenalty of SentencePiece */
enum { UNKNOWN_PENALTY = 10 };

static pm_status read_scores(pm__tokenizer *tokenizer, const pm__gguf *gguf, unigram *own) {
    float *held = pm__arena_array(&tokenizer->arena, tokenizer->n_vocab, sizeof *held);
    if (held == NULL)
        return PM_OUT_OF_MEMORY;
    float *scores, least = 0;
    bool has_least = false;
    PM_TRY(pm__vocabulary_scores(tokenizer, gguf, &scores));
    memcpy(held, scores, tokenizer->n_vocab * sizeof *held);
    free(scores);
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        if (!isfinite(held[i]))
            return pm__fail(PM_BAD_FILE,
                            "tokenizer: 'tokenizer.ggml.scores': the score of piece %u is not "
                            "finite",
                            i);
        if (tokenizer->kinds[i] == PM__PIECE_USER)
            held[i] = 0; /* preferred to what it could be made of */
        if (tokenizer->kinds[i] == PM__PIECE_NORMAL && (!has_least || held[i] < least)) {
            least = held[i];
            has_least = true;
        }
    }
    own->scores = held;
    own->unknown_score = (double)least - UNKNOWN_PENALTY;
    return PM_OK;
}

pm_status pm__unigram_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    const int32_t last = (int32_t)tokenizer->n_vocab - 1;
    tokenizer->eos = last >= 1 ? 1 : -1;
    tokenizer->unknown = last >= 2 ? 2 : -1;
    tokenizer->adds_eos = tokenizer->eos >= 0;
    tokenizer->has_space = true;
    unigram *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    if (own == NULL)
        return PM_OUT_OF_MEMORY;
    tokenizer->own = own;
    PM_TRY(
        pm__vocabulary_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces", &own->merges_blanks));
    PM_TRY(pm__charsmap_init(&own->charsmap,
                             pm__gguf_find_key(gguf, "tokenizer.ggml.precompiled_charsmap")));
    PM_TRY(read_scores(tokenizer, gguf, own));
    PM_TRY(pm__vocabulary_trie(tokenizer, tokenizer->texts, &own->trie));
    return pm__vocabulary_read_escaped(tokenizer);
}

void pm__unigram_finish(pm__tokenizer *tokenizer) {
    tokenizer->own = NULL; /* in the arena */
}

/* ---- normal text ----------------------------------------------------------------------------- */

typedef struct normal {
    const pm__tokenizer *tokenizer;
    pm__merger *merger; /* its buffer takes the text */
    size_t n;
    bool in_word;
} normal;

static pm_status put(normal *out, const char *bytes, size_t n) {
    const size_t capacity = out->merger->buffer_capacity;
    if (n > INT32_MAX - out->n)
        return pm__fail(PM_ARGUMENT, "tokenizer: the normal form of the text has more than 2 GiB");
    if (out->n + n > capacity)
        PM_TRY(pm__merger_reserve(out->merger, out->n + n + capacity / 2));
    memcpy(out->merger->buffer + out->n, bytes, n);
    out->n += n;
    return PM_OK;
}

/* Blanks as the pieces write them: all, or one before each word. */
static pm_status put_normal(normal *out, pm__span text) {
    const unigram *own = out->tokenizer->own;
    for (size_t i = 0; i < text.size; i++) {
        const bool is_blank = text.data[i] == ' ';
        const bool is_start = !is_blank && !out->in_word;
        const bool is_between = is_start && (out->n > 0 || out->tokenizer->adds_space);
        out->in_word = !is_blank;
        if (own->merges_blanks ? is_between : is_blank)
            PM_TRY(put(out, PM__BLANK, PM__BLANK_BYTES));
        if (!is_blank)
            PM_TRY(put(out, text.data + i, 1));
    }
    return PM_OK;
}

static pm_status normalise(normal *out, pm__span text) {
    const unigram *own = out->tokenizer->own;
    if (!own->merges_blanks && out->tokenizer->adds_space)
        PM_TRY(put(out, PM__BLANK, PM__BLANK_BYTES));
    for (size_t at = 0; at < text.size;) {
        pm__span part;
        size_t used;
        PM_TRY(pm__charsmap_match(&own->charsmap, (pm__span){text.data + at, text.size - at}, &part,
                                  &used));
        if (used == 0) {
            uint32_t code;
            used = pm__utf8_decode(text.data + at, text.size - at, &code);
            part = pm__utf8_check(text.data + at, used) == used
                       ? (pm__span){text.data + at, used}
                       : (pm__span){replacement, strlen(replacement)};
        }
        PM_TRY(put_normal(out, part));
        at += used;
    }
    return PM_OK;
}

/* ---- the best division ----------------------------------------------------------------------- */

/* The best way to a place of the text. */
typedef struct way {
    double score;
    uint32_t bytes; /* of the last piece, 0: none leads here yet */
    int32_t id;     /* of the last piece, -1: unknown */
} way;

/* A stretch of the text that no piece divides. Where no piece goes on over a place, the best way to
 * it is settled: so there is never more in memory than pieces overlap. */
typedef struct lattice {
    const pm__tokenizer *tokenizer;
    pm__span text;
    size_t start; /* of the stretch, in the text */
    size_t reach; /* how far pieces that begin before this place go */
    way *ways;    /* [capacity] to the place start + i */
    size_t n_way, capacity;
    bool after_unknown; /* one unknown piece stands for all that follow each other */
    pm__ids *out;
} lattice;

static pm_status lead(lattice *l, size_t from, size_t bytes, int32_t id, double score) {
    const size_t to = from + bytes - l->start;
    while (l->n_way <= to) {
        PM_TRY(pm__grow("tokenizer", &l->ways, &l->capacity, l->n_way, sizeof *l->ways));
        l->ways[l->n_way++] = (way){0};
    }
    l->reach = from + bytes > l->reach ? from + bytes : l->reach;
    score += l->ways[from - l->start].score;
    if (l->ways[to].bytes == 0 || score > l->ways[to].score)
        l->ways[to] = (way){score, (uint32_t)bytes, id};
    return PM_OK;
}

/* Ways on from a place, which one leads to. */
static pm_status go_on(lattice *l, size_t at, size_t character, uint64_t *n_step) {
    const unigram *own = l->tokenizer->own;
    bool has_character = false;
    uint32_t node = 0;
    for (size_t n = 1; at + n <= l->text.size; n++) {
        node = pm__trie_step(&own->trie, node, (uint8_t)l->text.data[at + n - 1]);
        ++*n_step;
        if (node == 0)
            break;
        const int32_t id = own->trie.nodes[node].id;
        if (id < 0)
            continue;
        has_character = has_character || n == character;
        PM_TRY(lead(l, at, n, id, own->scores[id]));
    }
    return has_character ? PM_OK : lead(l, at, character, -1, own->unknown_score);
}

static void reverse(int32_t *ids, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        const int32_t id = ids[i];
        ids[i] = ids[n - 1 - i];
        ids[n - 1 - i] = id;
    }
}

/* Appends the pieces of the best way to `end`, where the next stretch begins. */
static pm_status settle(lattice *l, size_t end) {
    const size_t n_before = l->out->n;
    for (size_t at = end - l->start; at > 0; at -= l->ways[at].bytes)
        PM_TRY(pm__ids_push(l->out, l->ways[at].id));
    int32_t *ids = l->out->data;
    reverse(ids + n_before, l->out->n - n_before);
    size_t n = n_before;
    for (size_t i = n_before; i < l->out->n; i++) {
        const bool is_unknown = ids[i] < 0;
        if (is_unknown && l->after_unknown)
            continue;
        if (is_unknown && l->tokenizer->unknown < 0)
            return pm__vocabulary_push_unknown(l->tokenizer, l->text, l->out);
        l->after_unknown = is_unknown;
        ids[n++] = is_unknown ? l->tokenizer->unknown : ids[i];
    }
    l->out->n = n;
    l->ways[0] = (way){.score = l->ways[end - l->start].score};
    l->n_way = 1;
    l->start = end;
    return PM_OK;
}

static pm_status divide(lattice *l, uint64_t *n_step) {
    l->n_way = 1;
    for (size_t at = 0; at < l->text.size;) {
        if (at == l->reach && at > l->start)
            PM_TRY(settle(l, at));
        uint32_t code;
        const size_t bytes = pm__utf8_decode(l->text.data + at, l->text.size - at, &code);
        PM_TRY(go_on(l, at, bytes, n_step));
        at += bytes;
    }
    return l->text.size > l->start ? settle(l, l->text.size) : PM_OK;
}

pm_status pm__unigram_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                             bool at_start, pm__ids *out) {
    (void)at_start; /* each stretch of plain text is normal by itself */
    normal form = {.tokenizer = tokenizer, .merger = merger};
    PM_TRY(normalise(&form, text));
    if (form.n == 0)
        return PM_OK;
    lattice l = {.tokenizer = tokenizer, .text = {merger->buffer, form.n}, .out = out};
    pm_status status = pm__reserve("tokenizer", &l.ways, &l.capacity, 64, sizeof *l.ways);
    if (status == PM_OK) {
        l.ways[0] = (way){0};
        status = divide(&l, &merger->n_step);
    }
    free(l.ways);
    return status;
}
