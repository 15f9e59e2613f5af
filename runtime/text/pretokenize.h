/* pretokenize.h: cutting text into the words that byte-level BPE never merges across. */
#ifndef PM_TEXT_PRETOKENIZE_H
#define PM_TEXT_PRETOKENIZE_H

#include "../base/status.h"

typedef struct pm__pretokenizer pm__pretokenizer;

/* What receives the words, in order; together they are the text. Another status than PM_OK ends it.
 */
typedef pm_status (*pm__word_fn)(void *user, const char *word, size_t n);

/* What belongs to a name beside its expressions (pretokenizers.def). */
enum {
    PM__PRE_BOS = 1,   /* text starts with BOS where the file does not say */
    PM__PRE_WHOLE = 2, /* a word that is a piece is taken as it is */
    PM__PRE_RAW = 4,   /* pieces are UTF-8 with U+2581 for blanks */
    PM__PRE_LINES = 8  /* a word of line feeds alone is taken as it is if it is a piece */
};

/* name    a value of tokenizer.ggml.pre, n bytes
 * errors  UNSUPPORTED (names it) */
pm_status pm__pretokenizer_create(const char *name, size_t n, pm__pretokenizer **out);
void pm__pretokenizer_destroy(pm__pretokenizer *pretokenizer);

/* The name of the expressions, as tokenizer.json files write them (characters or their escapes),
 * with PM__PRE_WHOLE or without if both are there; NULL: no name has them. */
const char *pm__pretokenizer_find(const char *const *expressions, size_t n, bool takes_whole);

const char *pm__pretokenizer_name(const pm__pretokenizer *pretokenizer);
unsigned pm__pretokenizer_flags(const pm__pretokenizer *pretokenizer); /* PM__PRE_ */

/* Each broken byte of the text ends a word.
 * errors  OUT_OF_MEMORY, ARGUMENT (an expression ran into its limits), what `word` returns */
pm_status pm__pretokenizer_split(const pm__pretokenizer *pretokenizer, const char *text, size_t n,
                                 pm__word_fn word, void *user);

#endif
