#include "gather.h"

#include <stdlib.h>
#include <string.h>

static uint64_t bytes_of(const pm__weight *w, uint64_t *row_bytes) {
    *row_bytes = 0;
    pm__type_row_bytes(w->tensor.type, w->tensor.n_col, row_bytes);
    return w->data == NULL ? *row_bytes * w->tensor.n_row : 0;
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

pm_status pm__gather(pm__gathered *gathered, const pm__model_def *def) {
    *gathered = (pm__gathered){0};
    if (pm__gather_bytes(def) == 0)
        return PM_OK;
    gathered->copies = calloc(def->n_weight, sizeof *gathered->copies);
    if (gathered->copies == NULL)
        return pm__fail_memory("gathered weights", def->n_weight * sizeof *gathered->copies);
    gathered->n = def->n_weight;
    pm_status status = PM_OK;
    for (uint32_t i = 0; i < def->n_weight && status == PM_OK; i++)
        status = copy_rows(def->weights[i], &gathered->copies[i]);
    if (status != PM_OK)
        pm__gathered_finish(gathered);
    return status;
}

const uint8_t *pm__gathered_rows(const pm__gathered *gathered, const pm__model_def *def,
                                 uint32_t index) {
    const uint8_t *data = def->weights[index]->data;
    return data != NULL || gathered->copies == NULL ? data : gathered->copies[index];
}

void pm__gathered_finish(pm__gathered *gathered) {
    for (uint32_t i = 0; i < gathered->n; i++)
        free(gathered->copies[i]);
    free(gathered->copies);
    *gathered = (pm__gathered){0};
}
