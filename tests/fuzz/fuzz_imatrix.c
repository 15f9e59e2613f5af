/* fuzz_imatrix.c: any bytes as an importance matrix, of either format: refused with a sentence, or
 * all entries are found by their names and hold numbers that can be. */
#include "input.h"

#include "format/imatrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_entry(const pm__imatrix *imatrix, const pm__imatrix_entry *entry) {
    PM__HOLDS(entry->name[0] != '\0' && entry->n_value > 0);
    PM__HOLDS(pm__imatrix_find(imatrix, entry->name) == entry);
    for (uint64_t i = 0; i < entry->n_value; i++)
        PM__HOLDS(isfinite(entry->values[i]) && entry->values[i] >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const pm_status allowed[] = {PM_BAD_FILE};
    pm__imatrix imatrix;
    pm__input_quiet();
    uint8_t *copy = pm__input_copy(data, size);
    const pm_status status = pm__imatrix_init(&imatrix, copy, size);
    if (status != PM_OK) {
        pm__input_failed(status, allowed, PM__COUNT(allowed));
    } else {
        PM__HOLDS(imatrix.n_entry > 0);
        for (size_t i = 0; i < imatrix.n_entry; i++)
            check_entry(&imatrix, &imatrix.entries[i]);
        pm__input_read(imatrix.dataset, strlen(imatrix.dataset));
        PM__HOLDS(pm__imatrix_find(&imatrix, "") == NULL);
        /* in proportion to what is there */
        PM__HOLDS(pm__arena_bytes(&imatrix.arena) <= 16 * size + (1 << 20));
    }
    pm__imatrix_finish(&imatrix);
    free(copy);
    return 0;
}
