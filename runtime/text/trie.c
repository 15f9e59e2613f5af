#include "trie.h"

#include <stdlib.h>
#include <string.h>

/* The sorted texts [begin, end) all lead through a node. */
typedef struct stretch {
    uint32_t begin, end, depth;
} stretch;

/* By bytes, a text before those that go on after it; the last id first. */
static int compare(const void *left, const void *right) {
    const pm__trie_text *a = left, *b = right;
    const bool a_shorter = a->text.size < b->text.size;
    const int order = memcmp(a->text.data, b->text.data, a_shorter ? a->text.size : b->text.size);
    if (order != 0)
        return order;
    if (a->text.size != b->text.size)
        return a_shorter ? -1 : 1;
    return a->id > b->id ? -1 : a->id < b->id;
}

static size_t common(pm__span a, pm__span b) {
    size_t n = 0;
    while (n < a.size && n < b.size && a.data[n] == b.data[n])
        n++;
    return n;
}

static size_t count_nodes(const pm__trie_text *texts, size_t n) {
    size_t count = 1;
    for (size_t i = 0; i < n; i++)
        count += texts[i].text.size - (i > 0 ? common(texts[i - 1].text, texts[i].text) : 0);
    return count;
}

/* Appends the children of a node. */
static void expand(pm__trie_node *nodes, stretch *stretches, uint32_t *n_node, uint32_t at,
                   const pm__trie_text *texts) {
    stretch here = stretches[at];
    nodes[at].first = *n_node;
    nodes[at].id = -1;
    while (here.begin < here.end && texts[here.begin].text.size == here.depth) {
        if (here.depth > 0 && nodes[at].id < 0)
            nodes[at].id = texts[here.begin].id;
        here.begin++;
    }
    while (here.begin < here.end) {
        const char byte = texts[here.begin].text.data[here.depth];
        uint32_t end = here.begin + 1;
        while (end < here.end && texts[end].text.data[here.depth] == byte)
            end++;
        stretches[*n_node] = (stretch){here.begin, end, here.depth + 1};
        nodes[*n_node].byte = (uint8_t)byte;
        nodes[at].n_child++;
        ++*n_node;
        here.begin = end;
    }
}

pm_status pm__trie_init(pm__trie *trie, pm__arena *arena, pm__trie_text *texts, size_t n) {
    *trie = (pm__trie){0};
    for (size_t i = 0; i < n; i++)
        if (texts[i].text.size > PM__MOST_TRIE_BYTES)
            return pm__fail(PM_BAD_FILE,
                            "tokenizer: piece %d has %zu bytes, more than the %d a piece of this "
                            "kind may have",
                            (int)texts[i].id, texts[i].text.size, PM__MOST_TRIE_BYTES);
    qsort(texts, n, sizeof *texts, compare);
    const size_t most = count_nodes(texts, n);
    if (most > UINT32_MAX)
        return pm__fail(PM_BAD_FILE, "tokenizer: the pieces have more than 4 GiB");
    pm__trie_node *nodes = pm__arena_array(arena, most, sizeof *nodes);
    if (nodes == NULL)
        return PM_OUT_OF_MEMORY;
    stretch *stretches = calloc(most, sizeof *stretches);
    if (stretches == NULL)
        return pm__fail_memory("tokenizer", most * sizeof *stretches);
    stretches[0] = (stretch){0, (uint32_t)n, 0};
    uint32_t n_node = 1;
    for (uint32_t at = 0; at < n_node; at++)
        expand(nodes, stretches, &n_node, at, texts);
    free(stretches);
    trie->nodes = nodes;
    trie->n_node = n_node;
    return PM_OK;
}

uint32_t pm__trie_step(const pm__trie *trie, uint32_t node, uint8_t byte) {
    uint32_t begin = trie->nodes[node].first, end = begin + trie->nodes[node].n_child;
    while (begin < end) {
        const uint32_t middle = begin + (end - begin) / 2;
        const uint8_t found = trie->nodes[middle].byte;
        if (found == byte)
            return middle;
        if (found < byte)
            begin = middle + 1;
        else
            end = middle;
    }
    return 0;
}

size_t pm__trie_longest(const pm__trie *trie, pm__span text, int32_t *id, uint64_t *n_step) {
    size_t longest = 0;
    *id = -1;
    uint32_t node = 0;
    for (size_t n = 0; n < text.size;) {
        node = pm__trie_step(trie, node, (uint8_t)text.data[n++]);
        ++*n_step;
        if (node == 0)
            break;
        if (trie->nodes[node].id >= 0) {
            *id = trie->nodes[node].id;
            longest = n;
        }
    }
    return longest;
}
