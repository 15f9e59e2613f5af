/* kernels.h: the table of kernels (shaders/kernels.def) and the choice among them. */
#ifndef PM_GPU_KERNELS_H
#define PM_GPU_KERNELS_H

#include "device.h"

/* The devices that a kernel is made for. */
typedef enum pm__suits { PM__SUITS_ANY, PM__SUITS_GPU, PM__SUITS_SOFTWARE } pm__suits;

typedef struct pm__kernel {
    const char *name, *file;
    pm__op op;
    pm__tier tier;
    uint32_t from_rows; /* the number from which it is best */
    uint32_t workgroup;
    uint32_t group_rows, group_items;
    pm__suits suits;
    bool (*takes)(const pm__node *node); /* of its operation */
    bool variant; /* of the row before it: taken only where a tuning says so */
} pm__kernel;

const pm__kernel *pm__kernel_table(size_t *n);
/* Row of the kernel of this name, or PM__KERNEL_NONE. */
int pm__kernel_find(const char *name);

/* Whether a session takes kernels of the tier by default: the device has it, and they are made for
 * such a device. */
bool pm__kernel_uses_tier(const pm__caps *caps, pm__tier tier);

/* Whether the device has the tier of this kernel of the operation. */
bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op);

/* NMSE that its results of the node may have: the operation's, but 1e-5 where a kernel of the coop
 * tiers multiplies floats: it rounds both factors to the 11 bits of f16, some 2e-4 each, which
 * comes to 1e-7 where nothing cancels, up to 1e-6 in the cases of a check, and four times that on
 * drivers that round towards zero. Of attention this holds for scores up to about 100: the error of
 * a score is its part, and weights are powers of e of it. */
double pm__kernel_bound(const pm__kernel *kernel, const pm__node *node);

/* Whether it is made for such a device. */
bool pm__kernel_is_at_home(const pm__caps *caps, const pm__kernel *kernel);

/* For n_row rows of a node: the one that was measured to be fastest for its shape, else the best by
 * kernels.def, of those that fit, take the node, and are not in quarantine, or NULL. Without a
 * node: of any. */
const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, const pm__node *node,
                                    uint32_t n_row);

/* The same without what was measured. */
const pm__kernel *pm__kernel_default(const pm__caps *caps, pm__op op, const pm__node *node,
                                     uint32_t n_row);

#endif
