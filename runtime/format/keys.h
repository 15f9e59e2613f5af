/* keys.h: keys as a GGUF file has them, put together in memory. */
#ifndef PM_FORMAT_KEYS_H
#define PM_FORMAT_KEYS_H

#include "gguf.h"

/* What is added stays valid as long as the arena. The first failure sticks, and later calls do
 * nothing. */
typedef struct pm__keys {
    pm__arena *arena;
    pm__gguf_key *items; /* [n] */
    size_t n, room;
    pm_status status;
} pm__keys;

void pm__keys_init(pm__keys *keys, pm__arena *arena);

void pm__keys_u32(pm__keys *keys, const char *name, uint32_t value);
void pm__keys_f32(pm__keys *keys, const char *name, float value);
void pm__keys_bool(pm__keys *keys, const char *name, bool value);
void pm__keys_text(pm__keys *keys, const char *name, const char *value);
void pm__keys_span(pm__keys *keys, const char *name, pm__span value);
void pm__keys_spans(pm__keys *keys, const char *name, const pm__span *values, size_t n);
void pm__keys_i32s(pm__keys *keys, const char *name, const int32_t *values, size_t n);
void pm__keys_f32s(pm__keys *keys, const char *name, const float *values, size_t n);
/* Another file's key as it is; its bytes must outlive the arena. */
void pm__keys_copy(pm__keys *keys, const pm__gguf_key *key);

#endif
