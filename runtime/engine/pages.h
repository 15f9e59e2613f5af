/* pages.h: which page of the KV store holds which positions of which sequence. Pages of PM_PAGE
 * positions are shared between sequences that begin alike and counted; a page is written only by a
 * sequence that holds it alone. */
#ifndef PM_ENGINE_PAGES_H
#define PM_ENGINE_PAGES_H

#include "../graph/backend.h"

typedef struct pm__pages {
    const pm__backend *backend;
    void *context;
    uint32_t n_page, n_seq;
    uint32_t n_table; /* entries of one sequence's table */
    uint32_t *refs;   /* [n_page] sequences that hold it */
    uint32_t *idle;   /* [n_page] stack of pages that nobody holds */
    uint32_t n_idle;
    uint32_t *table; /* [n_seq, n_table] */
    uint32_t *used;  /* [n_seq] entries in use */
} pm__pages;

/* Of the tables of an initialised store. */
uint64_t pm__pages_bytes(const pm__limits *limits);
/* The store has room for n_ctx positions of every sequence, so pages never run out. */
pm_status pm__pages_init(pm__pages *pages, const pm__backend *backend, void *context,
                         const pm__limits *limits);
void pm__pages_finish(pm__pages *pages);

/* Makes positions [first, end) of seq writable: new pages where it has none, own copies of shared
 * ones. Positions from `first` on need not survive. Positions below `first` must have pages. */
pm_status pm__pages_write(pm__pages *pages, uint32_t seq, uint32_t first, uint32_t end);
/* `to` lets go of its pages and shares those that hold positions [0, n) of `from`. */
pm_status pm__pages_share(pm__pages *pages, uint32_t from, uint32_t to, uint32_t n);
/* Lets go of pages that hold no position below n. */
void pm__pages_trim(pm__pages *pages, uint32_t seq, uint32_t n);

#endif
