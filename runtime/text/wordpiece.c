/* wordpiece.c: BERT's tokenizer. Text is cleaned, divided at blanks and around punctuation and
 * ideographs; of a word the longest piece at its start is taken, then the longest after it, and a
 * word for which that leads to no end is one unknown piece. Pieces that begin a word are written
 * with U+2581 before them.
 * source  arXiv:1810.04805; BertNormalizer, BertPreTokenizer and WordPiece of tokenizer.json */
#include "vocabulary.h"

#include "../base/utf8.h"

#include <string.h>

#include <utf8proc.h>

/* max_input_chars_per_word of all BERT tokenizers: longer words are unknown. */
enum { MOST_WORD = 100 };

typedef struct wordpiece {
    pm__trie trie;
    bool lowers, strips; /* capitals, accents */
} wordpiece;

/* ---- reading --------------------------------------------------------------------------------- */

/* Text goes on without a blank before these.
 * source  cleanup of the WordPiece decoder of tokenizer.json */
static void join_punctuation(pm__tokenizer *tokenizer) {
    for (uint32_t i = 0; i < tokenizer->n_vocab; i++) {
        pm__span *piece = &tokenizer->pieces[i];
        if (piece->size == 2 && piece->data[0] == ' ' && strchr(".?!,", piece->data[1]) != NULL)
            *piece = (pm__span){piece->data + 1, 1};
    }
}

/* BERT's own ids, for files that leave them out. */
static void set_ids(pm__tokenizer *tokenizer) {
    enum { UNKNOWN = 100, FIRST = 101, SEPARATOR = 102 };
    const uint32_t n = tokenizer->n_vocab;
    tokenizer->unknown = n > UNKNOWN ? UNKNOWN : -1;
    tokenizer->bos = n > FIRST ? FIRST : -1;
    tokenizer->separator = n > SEPARATOR ? SEPARATOR : -1;
    tokenizer->adds_bos = tokenizer->adds_separator = true;
}

pm_status pm__wordpiece_init(pm__tokenizer *tokenizer, const pm__gguf *gguf) {
    set_ids(tokenizer);
    tokenizer->drops_space = true;
    wordpiece *own = pm__arena_alloc(&tokenizer->arena, sizeof *own);
    if (own == NULL)
        return PM_OUT_OF_MEMORY;
    tokenizer->own = own;
    own->lowers = true;
    PM_TRY(pm__vocabulary_flag(gguf, "tokenizer.ggml.normalizer.lowercase", &own->lowers));
    own->strips = own->lowers;
    PM_TRY(pm__vocabulary_flag(gguf, "tokenizer.ggml.normalizer.strip_accents", &own->strips));
    PM_TRY(pm__vocabulary_trie(tokenizer, tokenizer->texts, &own->trie));
    PM_TRY(pm__vocabulary_read_escaped(tokenizer));
    join_punctuation(tokenizer);
    return PM_OK;
}

void pm__wordpiece_finish(pm__tokenizer *tokenizer) {
    tokenizer->own = NULL; /* in the arena */
}

/* ---- words ----------------------------------------------------------------------------------- */

typedef struct encoding {
    const pm__tokenizer *tokenizer;
    const wordpiece *own;
    uint64_t *n_step;
    pm__ids *out;
    char word[PM__BLANK_BYTES + 4 * MOST_WORD]; /* U+2581, then the word */
    size_t n_byte, n_character;                 /* of the word; past MOST_WORD they are counted */
} encoding;

static pm_status end_word(encoding *in) {
    if (in->n_character == 0)
        return PM_OK;
    const pm__span word = {in->word, PM__BLANK_BYTES + in->n_byte};
    const size_t n_before = in->out->n;
    size_t at = in->n_character > MOST_WORD ? word.size : 0;
    while (at < word.size) {
        int32_t id;
        const pm__span rest = {word.data + at, word.size - at};
        const size_t n = pm__trie_longest(&in->own->trie, rest, &id, in->n_step);
        if (n == 0)
            break;
        PM_TRY(pm__ids_push(in->out, id));
        at += n;
    }
    const bool is_unknown = at < word.size || in->n_character > MOST_WORD;
    in->n_byte = in->n_character = 0;
    if (!is_unknown)
        return PM_OK;
    in->out->n = n_before;
    return pm__vocabulary_push_unknown(
        in->tokenizer, (pm__span){word.data + PM__BLANK_BYTES, word.size - PM__BLANK_BYTES},
        in->out);
}

static void add_character(encoding *in, uint32_t code) {
    if (++in->n_character <= MOST_WORD)
        in->n_byte += pm__utf8_encode(code, in->word + PM__BLANK_BYTES + in->n_byte);
}

/* ---- characters ------------------------------------------------------------------------------ */

/* source  the ranges of BERT, one of them as tokenizer.json's library has it */
static bool is_ideograph(uint32_t code) {
    static const uint32_t ranges[][2] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},
                                         {0x20000, 0x2a6df}, {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f},
                                         {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < PM__COUNT(ranges); i++)
        if (code >= ranges[i][0] && code <= ranges[i][1])
            return true;
    return false;
}

static bool is_line_or_tab(uint32_t code) {
    return code == '\t' || code == '\n' || code == '\r';
}

static bool is_blank(uint32_t code) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return is_line_or_tab(code) || category == UTF8PROC_CATEGORY_ZS ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static bool is_dropped(uint32_t code) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return code == 0xfffd ||
           (!is_line_or_tab(code) &&
            (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
             category == UTF8PROC_CATEGORY_CS || category == UTF8PROC_CATEGORY_CO));
}

static bool is_punctuation(uint32_t code) {
    if (code < 0x80)
        return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
               (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

static pm_status put_alone(encoding *in, uint32_t code) {
    PM_TRY(end_word(in));
    add_character(in, code);
    return end_word(in);
}

/* A character of the normal form but for its case. */
static pm_status put(encoding *in, uint32_t code) {
    enum { CAPITAL_DOTTED_I = 0x130, DOT_ABOVE = 0x307 };
    if (in->own->lowers && code == CAPITAL_DOTTED_I) { /* the only one that becomes two */
        add_character(in, 'i');
        code = DOT_ABOVE;
    } else if (in->own->lowers) {
        code = (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    }
    if (is_punctuation(code))
        return put_alone(in, code);
    add_character(in, code);
    return PM_OK;
}

static pm_status put_stripped(encoding *in, uint32_t code) {
    enum { MOST_PARTS = 32 }; /* canonical decompositions have four characters at most */
    utf8proc_int32_t parts[MOST_PARTS];
    const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, parts, MOST_PARTS,
                                                       UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, NULL);
    for (utf8proc_ssize_t i = 0; i < n && i < MOST_PARTS; i++)
        if (utf8proc_category(parts[i]) != UTF8PROC_CATEGORY_MN)
            PM_TRY(put(in, (uint32_t)parts[i]));
    return PM_OK;
}

pm_status pm__wordpiece_encode(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                               bool at_start, pm__ids *out) {
    (void)at_start; /* each word has its U+2581 */
    encoding in = {
        .tokenizer = tokenizer, .own = tokenizer->own, .n_step = &merger->n_step, .out = out};
    memcpy(in.word, PM__BLANK, PM__BLANK_BYTES);
    for (size_t at = 0; at < text.size;) {
        uint32_t code;
        at += pm__utf8_decode(text.data + at, text.size - at, &code);
        if (is_dropped(code))
            continue;
        if (is_blank(code))
            PM_TRY(end_word(&in));
        else if (is_ideograph(code))
            PM_TRY(put_alone(&in, code));
        else if (in.own->strips)
            PM_TRY(put_stripped(&in, code));
        else
            PM_TRY(put(&in, code));
    }
    return end_word(&in);
}
