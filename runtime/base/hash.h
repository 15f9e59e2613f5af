/* hash.h: keys for caches and tables. Not for secrets. */
#ifndef PM_BASE_HASH_H
#define PM_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { PM__HASH_START = 0 };

/* 64 bits over n bytes, chained through `state` (PM__HASH_START first).
 * source  FNV-1a (RFC 9923), closed by the murmur3 finaliser so that every bit of a short key moves
 *         every bit of the result */
uint64_t pm__hash(uint64_t state, const void *data, size_t n);
uint64_t pm__hash_string(uint64_t state, const char *text); /* with its closing zero */

/* Against texts made to collide, for tables of what files hold: 64 bits that nobody can foresee who
 * does not know the key.
 * source  SipHash-2-4, https://www.aumasson.jp/siphash/siphash.pdf */
typedef struct pm__hash_key {
    uint64_t low, high;
} pm__hash_key;

uint64_t pm__hash_keyed(pm__hash_key key, const void *data, size_t n);
/* Another for each call: from clocks and addresses, so good against files made beforehand alone. */
pm__hash_key pm__hash_draw_key(void);

#endif
