/* fuzz_safetensors.c: any bytes as a safetensors file: it is refused with a sentence, or its
 * tensors have the sizes that their shapes make, and together are the data of the file. */
#include "input.h"

#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t bits[] = {
#define TYPE(name, n_bit, id) n_bit,
    PM__SAFETENSORS_TYPE_LIST(TYPE)
#undef TYPE
};
static const char *const names[] = {
#define TYPE(name, n_bit, id) #name,
    PM__SAFETENSORS_TYPE_LIST(TYPE)
#undef TYPE
};

static uint32_t bits_of(const char *dtype) {
    size_t i = 0;
    while (i < PM__COUNT(names) && strcmp(names[i], dtype) != 0)
        i++;
    PM__HOLDS(i < PM__COUNT(names));
    return bits[i];
}

static void check_tensor(const pm__safetensors *file, const pm__safetensor *t) {
    uint64_t n_bit = bits_of(t->dtype);
    PM__HOLDS(pm__safetensors_find(file, t->name) == t);
    PM__HOLDS(strlen(t->name) > 0 && pm__input_is_plain(t->name, strlen(t->name)));
    PM__HOLDS(t->n_dim <= PM__SAFETENSORS_MOST_DIM);
    for (uint32_t i = 0; i < t->n_dim; i++)
        n_bit *= t->shape[i];
    PM__HOLDS(n_bit == 8 * t->bytes);
    pm__input_read(t->data, t->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE};
    pm__input_quiet();
    uint8_t *copy = pm__input_copy(data, size);
    pm__safetensors file;
    const pm_status status = pm__safetensors_init(&file, copy, size);
    if (status == PM_OK) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < file.n; i++) {
            check_tensor(&file, &file.tensors[i]);
            PM__HOLDS(i == 0 || strcmp(file.tensors[i - 1].name, file.tensors[i].name) < 0);
            bytes += file.tensors[i].bytes;
        }
        PM__HOLDS(size >= 10 && bytes <= size - 10);
        PM__HOLDS(pm__safetensors_find(&file, "") == NULL);
        pm__safetensors_finish(&file);
    } else {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
        PM__HOLDS(strncmp(pm_last_error(), "safetensors: ", 13) == 0);
    }
    free(copy);
    return 0;
}
