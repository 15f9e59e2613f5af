/* grow.h: arrays that grow as things are added. */
#ifndef PM_BASE_GROW_H
#define PM_BASE_GROW_H

#include "status.h"

/* Room for n items of `size` bytes; what the array holds may move.
 * what      the sentence of a failure begins with it
 * array     address of the pointer to the items, NULL while there are none
 * capacity  of the array, in items */
pm_status pm__reserve(const char *what, void *array, size_t *capacity, size_t n, size_t size);

/* Room for one item after the n that are there; the capacity grows by half. */
pm_status pm__grow(const char *what, void *array, size_t *capacity, size_t n, size_t size);

#endif
