/* vocabulary.h: the inside of pm__tokenizer, for the files of this floor. */
#ifndef PM_TEXT_VOCABULARY_H
#define PM_TEXT_VOCABULARY_H

#include "merge.h"
#include "tokenizer.h"
#include "trie.h"

#include "../base/hash.h"

#include <string.h>

/* One row of tokenizers.def. */
typedef struct pm__tokenizer_kind {
    const char *model; /* tokenizer.ggml.model */
    const char *words; /* what it is */
    /* Sets own, pieces, bytes and the defaults of the flags; texts, kinds and table are there. */
    pm_status (*init)(pm__tokenizer *tokenizer, const pm__gguf *gguf);
    /* Appends the ids of plain text. at_start: first of the text or right after a special piece. */
    pm_status (*encode)(const pm__tokenizer *tokenizer, pm__merger *merger, pm__span text,
                        bool at_start, pm__ids *out);
    void (*finish)(pm__tokenizer *tokenizer);
} pm__tokenizer_kind;

typedef struct pm__special {
    pm__span text;
    int32_t id;
    bool user; /* user-defined: found whether or not special text is asked for */
    bool strips_left, strips_right; /* blanks beside it are part of it */
} pm__special;

typedef struct pm__specials {
    pm__special *items; /* [n] by their bytes, no text twice: of several pieces the last */
    size_t n;
    size_t first[257]; /* [first[b], first[b + 1]) begin with byte b */
} pm__specials;

struct pm__tokenizer {
    pm__arena arena;
    const pm__tokenizer_kind *kind;
    const char *pre; /* of pretokenizers.def, "" where the kind has none */
    void *own;       /* of the kind */
    uint32_t n_vocab;
    const pm__span *texts; /* [n_vocab] as the file writes them */
    pm__span *pieces;      /* [n_vocab] the bytes they stand for */
    uint8_t *kinds;        /* [n_vocab] pm__piece_kind */
    bool *ends;            /* [n_vocab] ends an answer */
    uint32_t *table; /* [table_mask + 1] id + 1 of the pieces plain text can become; 0: free */
    uint32_t table_mask;
    uint32_t longest; /* bytes of the longest text in table */
    pm__hash_key key; /* of the tables: no file can be made of collisions */
    pm__specials specials;
    int32_t bytes[256]; /* id of the piece of one byte, -1: none */
    int32_t bos, eos, eot, unknown;
    int32_t separator; /* closes text in the place of EOS where adds_separator */
    bool adds_bos, adds_eos, adds_separator;
    bool has_space;   /* the kind can do as adds_space says */
    bool adds_space;  /* a blank before the first word */
    bool drops_space; /* the detokenizer takes the first blank away */
};

static inline bool pm__text_is(pm__span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

/* texts, kinds, table. */
pm_status pm__vocabulary_read(pm__tokenizer *tokenizer, const pm__gguf *gguf);
/* The piece that plain text of n bytes, written as the file writes it, is; -1: none. Control, byte
 * and unknown pieces are never found. Of several pieces with one text the last counts, as in
 * llama.cpp. */
int32_t pm__vocabulary_find(const pm__tokenizer *tokenizer, const char *text, size_t n);
/* pieces, each still the text as the file writes it; *room for as many bytes as all texts have. */
pm_status pm__vocabulary_reserve_pieces(pm__tokenizer *tokenizer, char **room);
/* The array of a key if it is there: *key is NULL if not.
 * errors  BAD_FILE: no array, or not of n elements */
pm_status pm__vocabulary_array(const pm__gguf *gguf, const char *name, uint64_t n,
                               const pm__gguf_key **key);

/* Of a key that the file may leave out: then *flag stays. */
pm_status pm__vocabulary_flag(const pm__gguf *gguf, const char *name, bool *flag);
/* The trie of the pieces that plain text can become, by `texts` [n_vocab]. */
pm_status pm__vocabulary_trie(pm__tokenizer *tokenizer, const pm__span *texts, pm__trie *trie);
/* Appends the unknown piece in the place of text.
 * errors  ARGUMENT: there is none */
pm_status pm__vocabulary_push_unknown(const pm__tokenizer *tokenizer, pm__span text, pm__ids *out);

/* ---- escaped.c: pieces in which U+2581 stands for a blank ---- */

#define PM__BLANK "\xe2\x96\x81"
enum { PM__BLANK_BYTES = 3 };

/* tokenizer.ggml.scores, [n_vocab], freed by the caller.
 * errors  BAD_FILE: absent, of another length or type, or no numbers */
pm_status pm__vocabulary_scores(const pm__tokenizer *tokenizer, const pm__gguf *gguf,
                                float **scores);
/* pieces and bytes, blanks for U+2581. */
pm_status pm__vocabulary_read_escaped(pm__tokenizer *tokenizer);
/* Text with U+2581 for blanks, one before it if `space`, in the merger's buffer; *n its bytes. */
pm_status pm__vocabulary_escape(pm__merger *merger, pm__span text, bool space, size_t *n);
/* Appends what stands for text that is no piece: its bytes, or one unknown piece where the
 * vocabulary lacks one of them. */
pm_status pm__vocabulary_push_bytes(const pm__tokenizer *tokenizer, pm__span text, pm__ids *out);

/* Finds the pieces that mean the end of an answer, and makes control pieces of them and of the one
 * that begins a turn. */
void pm__specials_mark_turns(pm__tokenizer *tokenizer);
pm_status pm__specials_init(pm__tokenizer *tokenizer, const pm__gguf *gguf);
/* The first place at or after `from` where the text of a special piece stands, the longest there;
 * the text's size, and *found NULL, if there is none. User-defined pieces are found everywhere,
 * others where no byte of theirs is data. *data loses the ranges that end before the place. */
size_t pm__specials_find(const pm__tokenizer *tokenizer, pm__span text, size_t from,
                         pm__ranges *data, const pm__special **found);

#define PM_TOKENIZER(MODEL, name, WORDS)                                                           \
    pm_status pm__##name##_init(pm__tokenizer *tokenizer, const pm__gguf *gguf);                   \
    pm_status pm__##name##_encode(const pm__tokenizer *tokenizer, pm__merger *merger,              \
                                  pm__span text, bool at_start, pm__ids *out);                     \
    void pm__##name##_finish(pm__tokenizer *tokenizer);
#include "tokenizers.def"
#undef PM_TOKENIZER

#endif
