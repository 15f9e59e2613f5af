/* bytes.h: little-endian numbers at any address. */
#ifndef PM_FORMAT_BYTES_H
#define PM_FORMAT_BYTES_H

#include <stdint.h>

static inline uint16_t pm__load_u16(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t pm__load_u32(const uint8_t *at) {
    return pm__load_u16(at) | (uint32_t)pm__load_u16(at + 2) << 16;
}

static inline uint64_t pm__load_u64(const uint8_t *at) {
    return pm__load_u32(at) | (uint64_t)pm__load_u32(at + 4) << 32;
}

#endif
