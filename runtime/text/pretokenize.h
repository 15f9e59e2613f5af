/* pretokenize.h: cutting text into the words that byte-level BPE never merges across. */
#ifndef PM_TEXT_PRETOKENIZE_H
#define PM_TEXT_PRETOKENIZE_H

#include "../base/status.h"

typedef struct pm__pretokenizer pm__pretokenizer;

/* What receives the words, in order; together they are the text. Another status than PM_OK ends it.
 */
typedef pm_status (*pm__word_fn)(void *user, const char *word, size_t n);

/* name    a value of tokenizer.ggml.pre, n bytes
 * errors  UNSUPPORTED (names it) */
pm_status pm__pretokenizer_create(const char *name, size_t n, pm__pretokenizer **out);
void pm__pretokenizer_destroy(pm__pretokenizer *pretokenizer);

bool pm__pretokenizer_adds_bos(const pm__pretokenizer *pretokenizer);
bool pm__pretokenizer_takes_whole(const pm__pretokenizer *pretokenizer);

/* Each broken byte of the text ends a word.
 * errors  OUT_OF_MEMORY, ARGUMENT (an expression ran into its limits), what `word` returns */
pm_status pm__pretokenizer_split(const pm__pretokenizer *pretokenizer, const char *text, size_t n,
                                 pm__word_fn word, void *user);

#endif
