/* charsmap.h: the table with which SentencePiece normalises text before it looks for pieces.
 *
 * A length (32 bits), a double array of that many bytes (a trie of texts to replace), and the texts
 * that replace them, each closed by a zero.
 * source  normalizer_spec.precompiled_charsmap of arXiv:1808.06226; the units of darts-clone */
#ifndef PM_TEXT_CHARSMAP_H
#define PM_TEXT_CHARSMAP_H

#include "../format/gguf.h"

enum {
    /* No table of the field comes near; they bound the work at each byte of a text. */
    PM__MOST_CHARSMAP_BYTES = 256,
    PM__MOST_REPLACEMENT_BYTES = 1024
};

typedef struct pm__charsmap {
    const uint8_t *units; /* [n_unit] of 32 bits, not aligned */
    uint32_t n_unit;      /* 0: no table */
    const char *texts;    /* [n_text] bytes, the last a zero */
    size_t n_text;
} pm__charsmap;

/* key     tokenizer.ggml.precompiled_charsmap, NULL: no table; its bytes must outlive the map
 * errors  BAD_FILE */
pm_status pm__charsmap_init(pm__charsmap *map, const pm__gguf_key *key);
/* The longest text at the start of `text` that the table replaces.
 * replacement  out, untouched if there is none
 * used         out, its bytes, 0 if there is none
 * errors       BAD_FILE: the table points outside of itself */
pm_status pm__charsmap_match(const pm__charsmap *map, pm__span text, pm__span *replacement,
                             size_t *used);

#endif
