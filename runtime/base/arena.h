/* arena.h: memory that is given back all at once. Zero-initialised is a valid empty arena. */
#ifndef PM_BASE_ARENA_H
#define PM_BASE_ARENA_H

#include <stddef.h>

typedef struct pm__arena {
    struct pm__arena_block *blocks; /* newest first */
} pm__arena;

/* Zeroed memory aligned to 16 bytes, or NULL (with pm__fail_memory's sentence). */
void *pm__arena_alloc(pm__arena *arena, size_t bytes);
/* The same for n items; NULL if n * size overflows. */
void *pm__arena_array(pm__arena *arena, size_t n, size_t size);
/* A copy of n bytes and a closing zero. */
char *pm__arena_string(pm__arena *arena, const char *text, size_t n);
/* Taken of the system so far. */
size_t pm__arena_bytes(const pm__arena *arena);
void pm__arena_finish(pm__arena *arena);

#endif
