/* vocabulary.h: the inside of pm__tokenizer, for the files of this floor. */
#ifndef PM_TEXT_VOCABULARY_H
#define PM_TEXT_VOCABULARY_H

#include "merge.h"
#include "tokenizer.h"

#include "../base/hash.h"

/* One row of tokenizers.def. */
typedef struct pm__tokenizer_kind {
    const char *model; /* tokenizer.ggml.model */
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
} pm__special;

typedef struct pm__specials {
    pm__special *items; /* [n] by their bytes, no text twice: of several pieces the last */
    size_t n;
    size_t first[257]; /* [first[b], first[b + 1]) begin with byte b */
} pm__specials;

struct pm__tokenizer {
    pm__arena arena;
    const pm__tokenizer_kind *kind;
    void *own; /* of the kind */
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
    bool adds_bos, adds_eos;
    bool adds_space; /* a blank before the first word, taken away again by the detokenizer */
};

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

/* Finds the pieces that mean the end of an answer, and makes control pieces of them and of the one
 * that begins a turn. */
void pm__specials_mark_turns(pm__tokenizer *tokenizer);
pm_status pm__specials_init(pm__tokenizer *tokenizer);
/* The first place at or after `from` where the text of a special piece stands, the longest there;
 * the text's size if there is none. User-defined pieces are found everywhere, others where no byte
 * of theirs is data. *data loses the ranges that end before the place. */
size_t pm__specials_find(const pm__tokenizer *tokenizer, pm__span text, size_t from,
                         pm__ranges *data, int32_t *id);

#define PM_TOKENIZER(MODEL, name)                                                                  \
    pm_status pm__##name##_init(pm__tokenizer *tokenizer, const pm__gguf *gguf);                   \
    pm_status pm__##name##_encode(const pm__tokenizer *tokenizer, pm__merger *merger,              \
                                  pm__span text, bool at_start, pm__ids *out);                     \
    void pm__##name##_finish(pm__tokenizer *tokenizer);
#include "tokenizers.def"
#undef PM_TOKENIZER

#endif
