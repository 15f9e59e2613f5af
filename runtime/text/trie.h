/* trie.h: texts by their bytes, for kinds that look for the pieces that stand at a place. */
#ifndef PM_TEXT_TRIE_H
#define PM_TEXT_TRIE_H

#include "../base/arena.h"
#include "../format/gguf.h"

/* No piece of the field comes near; it bounds the work at each byte of a text. */
enum { PM__MOST_TRIE_BYTES = 1024 };

typedef struct pm__trie_node {
    uint32_t first; /* of its children, which follow each other by their bytes */
    int32_t id;     /* of the text that ends here, -1: none */
    uint16_t n_child;
    uint8_t byte; /* that leads here */
} pm__trie_node;

typedef struct pm__trie {
    const pm__trie_node *nodes; /* [0] the root; NULL: no texts */
    uint32_t n_node;
} pm__trie;

/* A text of the trie. */
typedef struct pm__trie_text {
    pm__span text;
    int32_t id;
} pm__trie_text;

/* texts   [n], sorted in place; of equal ones the last id counts, empty ones do not
 * errors  BAD_FILE (a text of more than PM__MOST_TRIE_BYTES), OUT_OF_MEMORY */
pm_status pm__trie_init(pm__trie *trie, pm__arena *arena, pm__trie_text *texts, size_t n);
/* The child of a node that a byte leads to, 0 if there is none. */
uint32_t pm__trie_step(const pm__trie *trie, uint32_t node, uint8_t byte);
/* Bytes of the longest text that stands at the start of `text`, 0 if none does; then *id is -1.
 * *n_step grows by the bytes looked at. */
size_t pm__trie_longest(const pm__trie *trie, pm__span text, int32_t *id, uint64_t *n_step);

#endif
