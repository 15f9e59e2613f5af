/* tuning.h: which kernels were measured to be fastest on a device, by the shape of a node. Kept as
 * a text of the cache directory, one a device and driver, which people may read and hand on:
 *
 *     pumice tuning 1
 *     device NVIDIA H200, NVIDIA 570.86
 *     for 10de:2335:4
 *     take matvec_rows_64 for matmul Q4_0 4096x4096x4096 inputs 3 rows 1
 *         shader 0123456789abcdef ns 4100 instead matvec_rows 5200
 *     end
 *
 * (a take is one line in truth). A choice holds as long as the text of its shader is the one that
 * was measured. Shows no Vulkan type, as gpu.h. */
#ifndef PM_GPU_TUNING_H
#define PM_GPU_TUNING_H

#include "../graph/backend.h"

struct pm__gpu;

/* Of a step, as kernels are chosen for it. */
typedef enum pm__rows_class {
    PM__ROWS_ONE,
    PM__ROWS_FEW,
    PM__ROWS_MANY,
    PM__ROWS_CLASSES
} pm__rows_class;

enum { PM__MOST_FEW_ROWS = 8, PM__MOST_TUNED = 1024 };

pm__rows_class pm__rows_class_of(uint32_t n_row);
/* "1", "2-8", "9-" */
const char *pm__rows_class_name(pm__rows_class rows);

/* What nodes that one kernel suits best have in common. */
typedef struct pm__node_shape {
    pm__op op;
    uint32_t type;        /* of the matrix or cache; PM__TYPE_COUNT: neither */
    uint32_t n_out, n_in; /* columns of out and of input 0 */
    uint32_t n_other;     /* rows of the matrix, else columns of input 1 */
    uint32_t inputs;      /* bit i: it has input i */
    pm__rows_class rows;
} pm__node_shape;

pm__node_shape pm__node_shape_of(const pm__node *node, uint32_t n_row);
bool pm__node_shape_equal(const pm__node_shape *a, const pm__node_shape *b);

typedef struct pm__choice {
    pm__node_shape shape;
    int kernel, instead; /* rows of kernels.def: the fastest, and the one without a tuning */
    uint64_t ns, instead_ns;
} pm__choice;

typedef struct pm__tuning {
    pm__choice *items;
    uint32_t n;
    size_t capacity;
} pm__tuning;

void pm__tuning_finish(pm__tuning *tuning);
/* In place of one for the same shape. errors  OUT_OF_MEMORY, FAILURE: PM__MOST_TUNED are there */
pm_status pm__tuning_add(pm__tuning *tuning, const pm__choice *choice);
/* Row of kernels.def, or -1. */
int pm__tuning_find(const pm__tuning *tuning, const pm__node_shape *shape);

/* Told of each line that is not used: its number, and why. */
typedef void (*pm__tuning_say)(void *user, unsigned line, const char *why);

/* Adds what a text says.
 * made_for  out, "10de:2335:4", or "" where it does not say
 * errors    BAD_FILE: it is no tuning, or not a whole one (nothing is added), OUT_OF_MEMORY */
pm_status pm__tuning_parse(pm__tuning *tuning, const char *text, char made_for[48],
                           pm__tuning_say say, void *user);
/* text  out, malloc'ed */
pm_status pm__tuning_compose(const pm__tuning *tuning, const char *device, const char *made_for,
                             char **text);

/* ---- of a device ----------------------------------------------------------------------------- */

/* Opened with the device; sets its caps.tuning. What cannot be used of the file is ignored with a
 * warning. */
pm_status pm__tuning_create(struct pm__gpu *gpu);
void pm__tuning_destroy(struct pm__gpu *gpu);

const pm__tuning *pm__tuning_of(const pm__device_handle *handle);
/* Adds a choice; kept with the next pm__tuning_store(). */
pm_status pm__tuning_choose(const pm__device_handle *handle, const pm__choice *choice);
/* Takes away the choice for a shape. */
void pm__tuning_drop(const pm__device_handle *handle, const pm__node_shape *shape);
/* Writes the file. False: there is no cache directory, or it cannot be written. */
bool pm__tuning_store(const pm__device_handle *handle);
/* errors  FAILURE: the file cannot be removed */
pm_status pm__tuning_clear(const pm__device_handle *handle);
/* What pm__tuning_store() writes, malloc'ed. */
pm_status pm__tuning_text(const pm__device_handle *handle, char **text);
/* The same of another place: becomes the device's, until it is stored.
 * errors  BAD_FILE, ARGUMENT: made for another device */
pm_status pm__tuning_take(const pm__device_handle *handle, const char *text, pm__tuning_say say,
                          void *user);

#endif
