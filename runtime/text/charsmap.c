#include "charsmap.h"

#include "../format/bytes.h"

#include <string.h>

static const char name[] = "tokenizer.ggml.precompiled_charsmap";

pm_status pm__charsmap_init(pm__charsmap *map, const pm__gguf_key *key) {
    *map = (pm__charsmap){0};
    if (key == NULL)
        return PM_OK;
    if (key->type != PM__GGUF_ARRAY || (key->element != PM__GGUF_U8 && key->element != PM__GGUF_I8))
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' is no array of bytes", name);
    if (key->n == 0)
        return PM_OK;
    const uint32_t bytes = key->n < 4 ? 0 : pm__load_u32(key->value);
    if (key->n < 4 || bytes == 0 || bytes % 4 != 0 || bytes >= key->n - 4)
        return pm__fail(PM_BAD_FILE,
                        "tokenizer: '%s' has %llu bytes, which do not hold its table of %u bytes "
                        "and a text",
                        name, (unsigned long long)key->n, bytes);
    map->units = key->value + 4;
    map->n_unit = bytes / 4;
    map->texts = (const char *)key->value + 4 + bytes;
    map->n_text = (size_t)key->n - 4 - bytes;
    if (map->texts[map->n_text - 1] != '\0')
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s': its last text is not closed by a zero",
                        name);
    return PM_OK;
}

/* ---- units ----------------------------------------------------------------------------------- */

static uint32_t unit_at(const pm__charsmap *map, uint32_t i) {
    return pm__load_u32(map->units + 4 * (size_t)i);
}

/* How far the children of a unit are from it, as an exclusive or of places. */
static uint32_t offset_of(uint32_t unit) {
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

static uint32_t label_of(uint32_t unit) {
    return unit & (1u << 31 | 0xffu); /* of a unit with a value no byte */
}

static bool has_value(uint32_t unit) {
    return (unit & 1u << 8) != 0;
}

static pm_status fail_place(uint32_t place) {
    return pm__fail(PM_BAD_FILE,
                    "tokenizer: '%s' points to unit or text %u, which it does not have", name,
                    place);
}

static pm_status read_replacement(const pm__charsmap *map, uint32_t place, pm__span *out) {
    if (place >= map->n_text)
        return fail_place(place);
    const size_t n = strlen(map->texts + place);
    if (n > PM__MOST_REPLACEMENT_BYTES)
        return pm__fail(PM_BAD_FILE, "tokenizer: '%s' has a text of %zu bytes, more than %d", name,
                        n, PM__MOST_REPLACEMENT_BYTES);
    *out = (pm__span){map->texts + place, n};
    return PM_OK;
}

pm_status pm__charsmap_match(const pm__charsmap *map, pm__span text, pm__span *replacement,
                             size_t *used) {
    *used = 0;
    if (map->n_unit == 0)
        return PM_OK;
    uint32_t at = offset_of(unit_at(map, 0)), place = 0;
    for (size_t i = 0; i < text.size && i < PM__MOST_CHARSMAP_BYTES && text.data[i] != '\0'; i++) {
        const uint8_t byte = (uint8_t)text.data[i];
        at ^= byte;
        if (at >= map->n_unit)
            break;
        const uint32_t unit = unit_at(map, at);
        if (label_of(unit) != byte)
            break;
        at ^= offset_of(unit);
        if (!has_value(unit))
            continue;
        if (at >= map->n_unit)
            return fail_place(at);
        place = unit_at(map, at) & ~(1u << 31);
        *used = i + 1;
    }
    return *used > 0 ? read_replacement(map, place, replacement) : PM_OK;
}
