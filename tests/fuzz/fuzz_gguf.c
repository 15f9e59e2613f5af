/* fuzz_gguf.c: any bytes as a GGUF file: it is refused with a sentence, or all that it holds can be
 * read, printed, decoded and packed. */
#include "input.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_READ = 4096 }; /* elements of one array or row that are looked at */

static void check_printed(const pm__gguf_key *key) {
    static const size_t sizes[] = {1, 2, 4, 7, 64, 300};
    for (size_t i = 0; i < PM__COUNT(sizes); i++) {
        char *out = malloc(sizes[i]);
        PM__HOLDS(out != NULL);
        pm__gguf_print_value(key, out, sizes[i]);
        const char *end = memchr(out, '\0', sizes[i]);
        PM__HOLDS(end != NULL);
        PM__HOLDS(pm__input_is_plain(out, (size_t)(end - out)));
        free(out);
    }
}

static void check_array(const pm__gguf_key *key) {
    uint64_t u;
    int64_t s;
    double f;
    for (uint64_t i = 0; i < key->n && i < MOST_READ; i++) {
        const bool is_u64 = pm__gguf_array_u64(key, i, &u);
        const bool is_i64 = pm__gguf_array_i64(key, i, &s);
        PM__HOLDS(!is_u64 || !is_i64 || (uint64_t)s == u);
        PM__HOLDS(!pm__gguf_array_f64(key, i, &f) || (!is_u64 && !is_i64));
    }
    const uint64_t outside[] = {key->n, key->n + 1, UINT64_MAX};
    for (size_t i = 0; i < PM__COUNT(outside); i++) {
        PM__HOLDS(!pm__gguf_array_u64(key, outside[i], &u));
        PM__HOLDS(!pm__gguf_array_i64(key, outside[i], &s));
        PM__HOLDS(!pm__gguf_array_f64(key, outside[i], &f));
    }
}

static void check_strings(const pm__gguf_key *key) {
    pm__arena arena = {0};
    const pm__span *strings;
    if (pm__gguf_strings(key, &arena, &strings)) {
        PM__HOLDS(key->type == PM__GGUF_ARRAY && key->element == PM__GGUF_STRING);
        for (uint64_t i = 0; i < key->n; i++)
            pm__input_read(strings[i].data, strings[i].size);
    }
    pm__arena_finish(&arena);
}

static void check_key(const pm__gguf *gguf, const pm__gguf_key *key) {
    PM__HOLDS(key->name.size > 0 && pm__input_is_plain(key->name.data, key->name.size));
    char *name = calloc(key->name.size + 1, 1);
    PM__HOLDS(name != NULL);
    memcpy(name, key->name.data, key->name.size);
    PM__HOLDS(pm__gguf_find_key(gguf, name) == key);
    free(name);
    uint64_t u = 0;
    double f = 0;
    bool b = false;
    pm__span text = {"", 0};
    const int n_type = pm__gguf_u64(key, &u) + pm__gguf_f64(key, &f) + pm__gguf_bool(key, &b) +
                       pm__gguf_string(key, &text);
    PM__HOLDS(n_type <= 1);
    PM__HOLDS(key->type != PM__GGUF_ARRAY || n_type == 0);
    pm__input_read(text.data, text.size);
    pm__input_read(key->value, key->value_bytes);
    PM__HOLDS(strlen(pm__gguf_type_name(key->type)) > 0);
    check_printed(key);
    check_array(key);
    check_strings(key);
}

static void check_row(const pm__gguf_tensor *tensor) {
    const uint32_t n = (uint32_t)tensor->shape[0];
    float *values = malloc(n * sizeof *values);
    const size_t n_scale = pm__type_scale_words(tensor->type, n);
    uint32_t *quants = malloc(pm__type_quant_words(tensor->type, n) * sizeof *quants);
    uint32_t *scales = n_scale > 0 ? malloc(n_scale * sizeof *scales) : NULL;
    PM__HOLDS(values != NULL && quants != NULL && (scales != NULL || n_scale == 0));
    pm__type_decode(tensor->type, tensor->data, n, values);
    pm__type_pack(tensor->type, tensor->data, n, quants, scales);
    free(values);
    free(quants);
    free(scales);
}

static void check_tensor(const pm__gguf *gguf, const uint8_t *data, size_t size,
                         const pm__gguf_tensor *tensor) {
    PM__HOLDS(pm__input_is_plain(tensor->name, strlen(tensor->name)));
    PM__HOLDS(pm__gguf_find_tensor(gguf, tensor->name) == tensor);
    PM__HOLDS(tensor->offset <= size && tensor->bytes <= size - tensor->offset);
    PM__HOLDS(tensor->data == data + tensor->offset && tensor->rows == NULL);
    PM__HOLDS(tensor->n_dim <= 4 && tensor->bytes > 0);
    for (uint32_t i = tensor->n_dim; i < 4; i++)
        PM__HOLDS(tensor->shape[i] == 1);
    PM__HOLDS(strlen(pm__type_id_name(tensor->type_id)) > 0);
    uint64_t row;
    PM__HOLDS(pm__type_row_bytes(tensor->type, tensor->shape[0], &row));
    PM__HOLDS(tensor->bytes == row * tensor->shape[1] * tensor->shape[2] * tensor->shape[3]);
    if (tensor->shape[0] <= MOST_READ)
        check_row(tensor);
    pm__input_read(tensor->data, tensor->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE};
    pm__input_quiet();
    uint8_t *copy = pm__input_copy(data, size);
    pm__gguf gguf;
    const pm_status status = pm__gguf_init(&gguf, copy, size);
    if (status == PM_OK) {
        for (uint64_t i = 0; i < gguf.n_key; i++)
            check_key(&gguf, &gguf.keys[i]);
        for (uint64_t i = 0; i < gguf.n_tensor; i++)
            check_tensor(&gguf, copy, size, &gguf.tensors[i]);
        PM__HOLDS(pm__gguf_find_key(&gguf, "") == NULL);
        PM__HOLDS(pm__gguf_find_tensor(&gguf, "") == NULL);
        pm__gguf_finish(&gguf);
    } else {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
        PM__HOLDS(strncmp(pm_last_error(), "gguf: ", 6) == 0);
    }
    free(copy);
    return 0;
}
