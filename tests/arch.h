/* arch.h: models of every architecture against logits that another implementation computed
 * (reference/arch): the whole prompt in one step, in two, token by token, three sequences in one
 * step, and greedy decoding. */
#ifndef PM_TESTS_ARCH_H
#define PM_TESTS_ARCH_H

#include "graph/backend.h"

typedef struct pm__arch_run {
    const pm__device_handle *device;
    double nmse;       /* bound of the logits of each way to run the prompt */
    double difference; /* bound of any logit */
    bool new_only;     /* those with a node of a kind that none before them has */
} pm__arch_run;

/* One test for every instance there is; gives the exit status of the program. Skips, saying so,
 * where the references are absent. */
int pm__arch_tests(const pm__arch_run *run);

#endif
