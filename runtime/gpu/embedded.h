/* embedded.h: the shader sources inside the library; the table is written by tools/embed at build
 * time. */
#ifndef PM_GPU_EMBEDDED_H
#define PM_GPU_EMBEDDED_H

#include <stddef.h>

typedef struct pm__embedded {
    const char *name; /* path below shaders/: "norm.comp", "probe/x.comp" */
    const char *text;
} pm__embedded;

extern const pm__embedded pm__embedded_shaders[];
extern const size_t pm__embedded_shader_count;

#endif
