#include "arena.h"

#include "status.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK_BYTES = 4096, MOST_BLOCK_BYTES = 1 << 20, ALIGNMENT = 16 };

struct pm__arena_block {
    struct pm__arena_block *next;
    size_t used;
    size_t size;
    _Alignas(16) unsigned char data[];
};

static struct pm__arena_block *add_block(pm__arena *arena, size_t least) {
    size_t size = FIRST_BLOCK_BYTES;
    if (arena->blocks != NULL && arena->blocks->size < MOST_BLOCK_BYTES)
        size = arena->blocks->size * 2;
    if (size < least)
        size = least;
    struct pm__arena_block *block = calloc(1, sizeof *block + size);
    if (block == NULL) {
        pm__fail_memory("arena", size);
        return NULL;
    }
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *pm__arena_alloc(pm__arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX / 2) {
        pm__fail_memory("arena", bytes);
        return NULL;
    }
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    struct pm__arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < bytes)
        block = add_block(arena, bytes);
    if (block == NULL)
        return NULL;
    void *out = block->data + block->used;
    block->used += bytes;
    return out;
}

void *pm__arena_array(pm__arena *arena, size_t n, size_t size) {
    if (size != 0 && n > SIZE_MAX / size) {
        pm__fail_memory("arena", SIZE_MAX);
        return NULL;
    }
    return pm__arena_alloc(arena, n * size);
}

char *pm__arena_string(pm__arena *arena, const char *text, size_t n) {
    if (n == SIZE_MAX)
        return NULL;
    char *out = pm__arena_alloc(arena, n + 1);
    if (out != NULL)
        memcpy(out, text, n);
    return out;
}

size_t pm__arena_bytes(const pm__arena *arena) {
    size_t all = 0;
    for (const struct pm__arena_block *block = arena->blocks; block != NULL; block = block->next)
        all += sizeof *block + block->size;
    return all;
}

void pm__arena_finish(pm__arena *arena) {
    while (arena->blocks != NULL) {
        struct pm__arena_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}
