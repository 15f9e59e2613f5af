#include "pages.h"

#include "../base/checked.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint32_t *table_of(const pm__pages *pages, uint32_t seq) {
    assert(seq < pages->n_seq);
    return pages->table + (size_t)seq * pages->n_table;
}

uint64_t pm__pages_bytes(const pm__limits *limits) {
    const uint64_t entries = (uint64_t)limits->n_seq * pm__ceil_div(limits->n_ctx, PM_PAGE);
    return sizeof(uint32_t) * (2ull * pm__limits_pages(limits) + entries + limits->n_seq);
}

pm_status pm__pages_init(pm__pages *pages, const pm__backend *backend, void *context,
                         const pm__limits *limits) {
    const uint32_t n_table = pm__ceil_div(limits->n_ctx, PM_PAGE);
    *pages = (pm__pages){.backend = backend,
                         .context = context,
                         .n_page = pm__limits_pages(limits),
                         .n_seq = limits->n_seq,
                         .n_table = n_table};
    pages->refs = calloc(pages->n_page, sizeof *pages->refs);
    pages->idle = calloc(pages->n_page, sizeof *pages->idle);
    pages->table = calloc((size_t)limits->n_seq * n_table, sizeof *pages->table);
    pages->used = calloc(limits->n_seq, sizeof *pages->used);
    if (pages->refs == NULL || pages->idle == NULL || pages->table == NULL || pages->used == NULL) {
        pm__pages_finish(pages);
        return pm__fail_memory("engine: page tables", (size_t)pages->n_page * 8);
    }
    for (uint32_t i = 0; i < pages->n_page; i++)
        pages->idle[i] = pages->n_page - 1 - i;
    pages->n_idle = pages->n_page;
    return PM_OK;
}

void pm__pages_finish(pm__pages *pages) {
    free(pages->refs);
    free(pages->idle);
    free(pages->table);
    free(pages->used);
    *pages = (pm__pages){0};
}

/* A sequence holds at most n_table pages and n_page is n_seq times that; where one of them is
 * shared there is one spare, so a page can always be had. */
static uint32_t take(pm__pages *pages) {
    assert(pages->n_idle > 0);
    const uint32_t page = pages->idle[--pages->n_idle];
    pages->refs[page] = 1;
    return page;
}

static void let_go(pm__pages *pages, uint32_t page) {
    assert(pages->refs[page] > 0);
    if (--pages->refs[page] == 0)
        pages->idle[pages->n_idle++] = page;
}

pm_status pm__pages_write(pm__pages *pages, uint32_t seq, uint32_t first, uint32_t end) {
    uint32_t *table = table_of(pages, seq);
    const uint32_t begin_entry = first / PM_PAGE;
    const uint32_t end_entry = pm__ceil_div(end, PM_PAGE);
    assert(end_entry <= pages->n_table);
    assert(begin_entry <= pages->used[seq]);
    uint32_t least = end_entry;
    uint32_t past = begin_entry;
    for (uint32_t i = begin_entry; i < end_entry; i++) {
        const bool fresh = i >= pages->used[seq];
        if (!fresh && pages->refs[table[i]] == 1)
            continue;
        const uint32_t page = take(pages);
        if (fresh) {
            pages->used[seq] = i + 1;
        } else {
            if (i * PM_PAGE < first)
                PM_TRY(pages->backend->copy_page(pages->context, table[i], page));
            let_go(pages, table[i]);
        }
        table[i] = page;
        least = i < least ? i : least;
        past = i + 1;
    }
    if (least >= past)
        return PM_OK;
    return pages->backend->set_pages(pages->context, seq, least, past - least, table + least);
}

pm_status pm__pages_share(pm__pages *pages, uint32_t from, uint32_t to, uint32_t n) {
    pm__pages_trim(pages, to, 0);
    const uint32_t n_entry = pm__ceil_div(n, PM_PAGE);
    assert(from != to && n_entry <= pages->used[from]);
    if (n_entry == 0)
        return PM_OK;
    uint32_t *table = table_of(pages, to);
    memcpy(table, table_of(pages, from), n_entry * sizeof *table);
    for (uint32_t i = 0; i < n_entry; i++)
        pages->refs[table[i]]++;
    pages->used[to] = n_entry;
    return pages->backend->set_pages(pages->context, to, 0, n_entry, table);
}

void pm__pages_trim(pm__pages *pages, uint32_t seq, uint32_t n) {
    const uint32_t *table = table_of(pages, seq);
    const uint32_t n_entry = pm__ceil_div(n, PM_PAGE);
    while (pages->used[seq] > n_entry)
        let_go(pages, table[--pages->used[seq]]);
}
