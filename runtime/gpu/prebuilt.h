/* prebuilt.h: SPIR-V that travels with the library (shaders/prebuilt), because compilers of today's
 * distributions lack the extensions it is written with. bench/prebuild.c makes it. */
#ifndef PM_GPU_PREBUILT_H
#define PM_GPU_PREBUILT_H

#include "shader.h"

/* words   out, malloc'ed, [n_word]; NULL where there is none that was made of text with this hash
 * errors  OUT_OF_MEMORY */
pm_status pm__prebuilt_read(const pm__shader_desc *desc, uint64_t hash, uint32_t **words,
                            size_t *n_word);

/* Calls take for each that there has to be: the products of the coop tiers, by type of the weight,
 * and attention, by types of the caches; ends where it fails. */
pm_status pm__prebuilt_each(pm_status (*take)(void *user, const pm__shader_desc *desc), void *user);

/* i-th of them: its name, and the hash of what it was made of; false past the last. */
bool pm__prebuilt_get(size_t i, const char **name, uint64_t *hash);

#endif
