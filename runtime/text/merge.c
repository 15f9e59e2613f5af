#include "merge.h"

#include "../base/grow.h"

#include <assert.h>
#include <stdlib.h>

pm_status pm__merger_reserve(pm__merger *merger, size_t n) {
    return pm__reserve("tokenizer", &merger->buffer, &merger->buffer_capacity, n, 1);
}

void pm__merger_finish(pm__merger *merger) {
    free(merger->symbols);
    free(merger->heap);
    free(merger->buffer);
    *merger = (pm__merger){0};
}

pm_status pm__merger_add(pm__merger *merger, uint32_t start, uint32_t size, int32_t id) {
    assert(size > 0 && merger->n_symbol < PM__NO_SYMBOL);
    PM_TRY(pm__grow("tokenizer", &merger->symbols, &merger->symbol_capacity, merger->n_symbol,
                    sizeof *merger->symbols));
    const uint32_t i = (uint32_t)merger->n_symbol++;
    if (i > 0)
        merger->symbols[i - 1].next = i;
    merger->symbols[i] = (pm__symbol){.start = start,
                                      .size = size,
                                      .previous = i > 0 ? i - 1 : PM__NO_SYMBOL,
                                      .next = PM__NO_SYMBOL,
                                      .id = id};
    return PM_OK;
}

static bool before(pm__merge a, pm__merge b) {
    return a.key < b.key || (a.key == b.key && a.left < b.left);
}

static pm_status push(pm__merger *merger, pm__merge merge) {
    PM_TRY(
        pm__grow("tokenizer", &merger->heap, &merger->heap_capacity, merger->n_heap, sizeof merge));
    size_t at = merger->n_heap++;
    while (at > 0 && before(merge, merger->heap[(at - 1) / 2])) {
        merger->heap[at] = merger->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    merger->heap[at] = merge;
    return PM_OK;
}

static pm__merge pop(pm__merger *merger) {
    pm__merge *heap = merger->heap;
    const pm__merge best = heap[0];
    const size_t n = --merger->n_heap;
    const pm__merge last = heap[n];
    size_t at = 0;
    for (size_t child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return best;
}

static pm_status consider(pm__merger *merger, uint32_t left, pm__merge_find find,
                          const void *user) {
    if (left == PM__NO_SYMBOL || merger->symbols[left].next == PM__NO_SYMBOL)
        return PM_OK;
    const pm__symbol *a = &merger->symbols[left], *b = &merger->symbols[a->next];
    pm__merge merge = {.left = left, .size = a->size + b->size};
    if (!find(user, a, b, &merge))
        return PM_OK;
    return push(merger, merge);
}

/* A symbol changes only by swallowing the one after it, so a pair whose sizes still add up is the
 * pair that was considered. */
static bool is_current(const pm__merger *merger, const pm__merge *merge) {
    const pm__symbol *left = &merger->symbols[merge->left];
    return left->size > 0 && left->next != PM__NO_SYMBOL &&
           left->size + merger->symbols[left->next].size == merge->size;
}

static void join(pm__merger *merger, const pm__merge *merge) {
    pm__symbol *left = &merger->symbols[merge->left], *right = &merger->symbols[left->next];
    left->size = merge->size;
    left->id = merge->id;
    left->next = right->next;
    right->size = 0;
    if (left->next != PM__NO_SYMBOL)
        merger->symbols[left->next].previous = merge->left;
}

pm_status pm__merger_run(pm__merger *merger, pm__merge_find find, const void *user) {
    merger->n_heap = 0;
    for (size_t i = 0; i + 1 < merger->n_symbol; i++)
        PM_TRY(consider(merger, (uint32_t)i, find, user));
    while (merger->n_heap > 0) {
        const pm__merge merge = pop(merger);
        merger->n_step++;
        if (!is_current(merger, &merge))
            continue;
        join(merger, &merge);
        PM_TRY(consider(merger, merger->symbols[merge.left].previous, find, user));
        PM_TRY(consider(merger, merge.left, find, user));
    }
    return PM_OK;
}
