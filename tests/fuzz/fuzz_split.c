/* fuzz_split.c: GGUF models in several files. First byte: how many files (1 to 4), and which one is
 * opened; then each file, a length of 16 bits before it. Refused, or all tensors of all files are
 * there once, and the keys are those of the first. */
#include "folder.h"

#include "source/source.h"

#include <stdio.h>
#include <string.h>

enum { MOST_PART = 4 };

static void check_source(const pm__source *source) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < source->n_file; i++)
        n += source->files[i].gguf.n_tensor;
    PM__HOLDS(source->gguf.n_tensor == n);
    PM__HOLDS(source->gguf.n_key == source->files[0].gguf.n_key);
    for (uint64_t i = 0; i < n; i++) {
        const pm__gguf_tensor *t = &source->gguf.tensors[i];
        PM__HOLDS(t->file < source->n_file);
        const pm__file_map *map = &source->files[t->file].map;
        PM__HOLDS(pm__gguf_find_tensor(&source->gguf, t->name) == t);
        PM__HOLDS(t->data >= map->data && t->offset <= map->size);
        PM__HOLDS(t->bytes <= map->size - t->offset && t->data == map->data + t->offset);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE};
    pm__input in = {data, size};
    pm__input_quiet();
    const uint8_t first = pm__input_u8(&in);
    const uint32_t n = 1 + first % MOST_PART, opened = first / MOST_PART % n;
    char name[64];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", i + 1, n);
        const uint16_t n_byte = pm__input_u16(&in);
        pm__folder_write(name, pm__input_bytes(&in, i + 1 < n ? n_byte : in.left));
    }
    snprintf(name, sizeof name, "m-%05u-of-%05u.gguf", opened + 1, n);
    pm__source source;
    const pm_status status = pm__source_init(&source, pm__folder_path(name));
    if (status == PM_OK) {
        check_source(&source);
        pm__source_finish(&source);
    } else
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    pm__folder_clear();
    return 0;
}
