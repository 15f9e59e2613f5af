/* check.h: one case on a device and on the CPU, compared. */
#ifndef PM_ENGINE_CHECK_H
#define PM_ENGINE_CHECK_H

#include "../gpu/run_node.h"
#include "check_cases.h"

typedef struct pm__check_result {
    pm_status status; /* as in pm_check_case */
    double error, bound;
    char why[256];
} pm__check_result;

/* Rows behind those that a node may write, which must stay as they are. */
enum { PM__ROWS_BEYOND = 2 };

/* An operand's bytes, with rows behind them if the node writes it. */
size_t pm__trial_bytes(const pm__trial *trial, const pm__tensor *t, bool written);
/* Calls add() once for each tensor of the node. */
pm_status pm__trial_each(const pm__node *node, void *user,
                         pm_status (*add)(void *user, const pm__tensor *t, bool written));

/* Random operands; the same seed and name give the same ones on every device. */
pm_status pm__trial_init(pm__trial *trial, const pm__check_case *c, uint64_t seed,
                         const char *name);
void pm__trial_finish(pm__trial *trial);

/* What the reference leaves in the operands. */
typedef struct pm__expected {
    unsigned char *bytes[PM__MOST_OPERANDS]; /* NULL: a weight */
} pm__expected;

/* n_thread  0: all */
pm_status pm__expected_init(pm__expected *expected, const pm__trial *trial, int n_thread);
void pm__expected_finish(pm__expected *expected);

/* Runs the trial `times` times and compares. runner NULL: on the CPU path with all threads. */
void pm__trial_judge(pm__runner *runner, pm__trial *trial, const pm__expected *expected, int times,
                     pm__check_result *out);

/* ---- check_model.c --------------------------------------------------------------------------- */

struct pm_model;

typedef struct pm__node_check {
    pm__runner *runner; /* NULL: the CPU path */
    const struct pm_model *model;
    const pm__graph *graphs[2]; /* of the model, one a step; they share caches, states and parts of
                                   the step */
    uint32_t n_row;             /* of the first step; the second has one */
    uint32_t first;             /* nodes before it are not judged */
    int times;
    /* Before a node, with result NULL, says whether it is wanted; then with the result, whether to
     * go on. index counts through both steps. */
    bool (*each)(void *user, uint32_t index, const pm__trial *trial,
                 const pm__check_result *result);
    void *user;
} pm__node_check;

/* Runs a forward pass on the CPU, node by node, and every wanted node on the device over the same
 * inputs. */
pm_status pm__check_nodes(const pm__node_check *in);

/* ---- check_fused.c --------------------------------------------------------------------------- */

/* Whether the model gives logits of any step. */
bool pm__can_check_fused(const struct pm_model *model);
/* Runs seven rows and then one on the device, with nodes fused and without.
 * g     of the model
 * nmse  out, of the logits of both steps */
pm_status pm__check_fused(const struct pm_model *model, const pm__graph *g, double nmse[2]);

#endif
