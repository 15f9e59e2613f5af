#include "grow.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_GROWTH = 32 }; /* items */

pm_status pm__reserve(const char *what, void *array, size_t *capacity, size_t n, size_t size) {
    if (n <= *capacity)
        return PM_OK;
    if (n > SIZE_MAX / size)
        return pm__fail_memory(what, SIZE_MAX);
    void *items; /* a pointer to items of any type: copied, since it is no void pointer */
    memcpy(&items, array, sizeof items);
    items = realloc(items, n * size);
    if (items == NULL)
        return pm__fail_memory(what, n * size);
    memcpy(array, &items, sizeof items);
    *capacity = n;
    return PM_OK;
}

pm_status pm__grow(const char *what, void *array, size_t *capacity, size_t n, size_t size) {
    if (n < *capacity)
        return PM_OK;
    return pm__reserve(what, array, capacity, *capacity + *capacity / 2 + LEAST_GROWTH, size);
}
