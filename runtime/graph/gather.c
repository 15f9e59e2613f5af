#include "gather.h"

#include <stdlib.h>
#include <string.h>

static uint64_t bytes_of(const pm__weight *w, uint64_t *row_bytes) {
    *row_bytes = 0;
    pm__type_row_bytes(w->tensor.type, w->tensor.n_col, row_bytes);
    return w->data == NULL && w->tensor.n_joined == 0 ? *row_bytes * w->tensor.n_row : 0;
}

uint64_t pm__gather_bytes(const pm__model_def *def) {
    uint64_t all = 0, row;
    for (uint32_t i = 0; i < def->n_weight; i++)
        all += bytes_of(def->weights[i], &row);
    return all;
}

static pm_status copy_rows(const pm__weight *w, uint8_t **out) {
    uint64_t row_bytes;
    const uint64_t bytes = bytes_of(w, &row_bytes);
    if (bytes == 0)
        return PM_OK;
    uint8_t *copy = malloc((size_t)bytes);
    if (copy == NULL)
        return pm__fail_memory(w->tensor.name, (size_t)bytes);
    for (uint32_t i = 0; i < w->tensor.n_row; i++)
        memcpy(copy + i * row_bytes, pm__weight_row(w, i, row_bytes), (size_t)row_bytes);
    *out = copy;
    return PM_OK;
}

static pm_status make_table(pm__gathered *gathered, const pm__model_def *def, uint32_t index) {
    const pm__tensor *t = &def->weights[index]->tensor;
    if (t->n_joined == 0)
        return PM_OK;
    const void **table = calloc(t->n_joined, sizeof *table);
    if (table == NULL)
        return pm__fail_memory("joined weights", t->n_joined * sizeof *table);
    for (uint32_t i = 0; i < t->n_joined; i++)
        table[i] = pm__gathered_rows(gathered, def, t->joined[i]->index);
    gathered->tables[index] = table;
    return PM_OK;
}

static pm_status gather(pm__gathered *gathered, const pm__model_def *def) {
    const size_t n = def->n_weight + 1;
    gathered->copies = calloc(n, sizeof *gathered->copies);
    gathered->tables = calloc(n, sizeof *gathered->tables);
    if (gathered->copies == NULL || gathered->tables == NULL)
        return pm__fail_memory("gathered weights", n * sizeof *gathered->copies);
    gathered->n = def->n_weight;
    for (uint32_t i = 0; i < def->n_weight; i++)
        PM_TRY(copy_rows(def->weights[i], &gathered->copies[i]));
    for (uint32_t i = 0; i < def->n_weight; i++)
        PM_TRY(make_table(gathered, def, i));
    return PM_OK;
}

pm_status pm__gather(pm__gathered *gathered, const pm__model_def *def) {
    *gathered = (pm__gathered){0};
    const pm_status status = gather(gathered, def);
    if (status != PM_OK)
        pm__gathered_finish(gathered);
    return status;
}

const void *pm__gathered_rows(const pm__gathered *gathered, const pm__model_def *def,
                              uint32_t index) {
    if (gathered->tables[index] != NULL)
        return gathered->tables[index];
    const uint8_t *data = def->weights[index]->data;
    return data != NULL ? data : gathered->copies[index];
}

void pm__gathered_finish(pm__gathered *gathered) {
    for (uint32_t i = 0; i < gathered->n; i++) {
        free(gathered->copies[i]);
        free(gathered->tables[i]);
    }
    free(gathered->copies);
    free(gathered->tables);
    *gathered = (pm__gathered){0};
}
