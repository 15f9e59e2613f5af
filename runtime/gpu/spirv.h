/* spirv.h: what has to be known of a compiled shader before a driver sees it. */
#ifndef PM_GPU_SPIRV_H
#define PM_GPU_SPIRV_H

#include "../base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of the memory that a workgroup shares. Sizes that follow from specialisation constants are
 * not counted.
 * words   [n_word] as a compiler gives them
 * bytes   out
 * errors  OUT_OF_MEMORY; FAILURE: it is no SPIR-V */
pm_status pm__spirv_shared_bytes(const uint32_t *words, size_t n_word, uint64_t *bytes);

#endif
