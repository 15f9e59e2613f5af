/* embedded.h: the shaders inside the library; the table is written by tools/embed at build
 * time. */
#ifndef PM_GPU_EMBEDDED_H
#define PM_GPU_EMBEDDED_H

#include <stddef.h>

typedef struct pm__embedded {
    const char *name; /* path below shaders/: "norm.comp", "probe/x.comp" */
    const char *text; /* [n_byte], and a zero */
    size_t n_byte;
} pm__embedded;

extern const pm__embedded pm__embedded_shaders[];
extern const size_t pm__embedded_shader_count;

#endif
