/* merge.h: what both kinds of BPE do with a word: join neighbours, the best pair first. */
#ifndef PM_TEXT_MERGE_H
#define PM_TEXT_MERGE_H

#include "../base/status.h"

#define PM__NO_SYMBOL UINT32_MAX

/* A stretch of the word that is, or may become, one piece. */
typedef struct pm__symbol {
    uint32_t start, size; /* bytes; size 0: joined to the one before it */
    uint32_t previous, next;
    int32_t id; /* -1: no piece */
} pm__symbol;

/* A pair of neighbours that makes a piece. */
typedef struct pm__merge {
    uint32_t key; /* the smallest goes first, among equals the leftmost */
    uint32_t left;
    uint32_t size; /* of both together: tells whether the pair is still what it was */
    int32_t id;
} pm__merge;

/* Fills key and id if the two symbols make a piece, else returns false. */
typedef bool (*pm__merge_find)(const void *user, const pm__symbol *left, const pm__symbol *right,
                               pm__merge *merge);

/* Memory that is used again for every word. Zeroed is valid and empty. */
typedef struct pm__merger {
    pm__symbol *symbols; /* in the order of the text; symbol 0 never dies */
    size_t n_symbol, symbol_capacity;
    pm__merge *heap;
    size_t n_heap, heap_capacity;
    char *buffer; /* for the kinds: the word as their table writes it */
    size_t buffer_capacity;
    uint64_t n_step; /* candidates taken from the heap since the merger was made */
} pm__merger;

/* Appends a symbol; n_symbol = 0 starts a new word. */
pm_status pm__merger_add(pm__merger *merger, uint32_t start, uint32_t size, int32_t id);
/* Joins until nothing can be joined. The result: follow `next` from symbol 0. O(n log n) calls of
 * find. */
pm_status pm__merger_run(pm__merger *merger, pm__merge_find find, const void *user);
/* At least n bytes in `buffer`. */
pm_status pm__merger_reserve(pm__merger *merger, size_t n);
void pm__merger_finish(pm__merger *merger);

#endif
