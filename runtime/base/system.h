/* system.h: what the machine can still give to this process. */
#ifndef PM_BASE_SYSTEM_H
#define PM_BASE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "system memory": the heap of what is not a device's own. */
extern const char pm__system_heap[];

/* The value of the first line "key : value" of a file under /proc or /sys; false if there is
 * none. */
bool pm__system_read(const char *path, const char *key, char *out, size_t size);

/* Bytes of memory that can be had without swapping, by the system and by the limit of the control
 * group (containers); UINT64_MAX where nobody tells. */
uint64_t pm__system_memory_free(void);

/* Bytes of address space the process may still map (ulimit -v); UINT64_MAX: there is no limit. */
uint64_t pm__system_addresses_free(void);

/* Part of a mapped file that is read soon: comes from the disk meanwhile, if the system likes. */
void pm__system_read_ahead(const void *data, size_t n);

/* Memory of the process that is about to be filled: in large pages, if the system likes. */
void pm__system_large_pages(void *data, size_t n);

#endif
