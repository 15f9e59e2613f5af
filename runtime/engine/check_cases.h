/* check_cases.h: what every kernel is checked with: one node, shapes that fit no tile, inputs with
 * outliers. */
#ifndef PM_ENGINE_CHECK_CASES_H
#define PM_ENGINE_CHECK_CASES_H

#include "../graph/backend.h"

enum { PM__CASE_TENSORS = 8 };

typedef struct pm__check_case {
    char shape[96];                       /* "Q8_0/65x96/rows33/bias", one an operation */
    pm__graph graph;                      /* of one node */
    pm__tensor tensors[PM__CASE_TENSORS]; /* inputs that the builder does not make */
    uint32_t n_tensor;
    pm__limits limits;
    uint32_t n_row, n_out;
    uint32_t n_token; /* tokens are below it */
    uint32_t part_rows;
    uint32_t most_group_x;     /* of the device, made smaller; 0: as it is */
    uint32_t last_pos;         /* of the last row */
    float outlier;             /* how much larger one input in 64 is */
    float size;                /* of activations, where it is not 1; 0: it is */
    uint32_t zero_bits;        /* of the mantissas of activations: halves and levels often tie */
    bool positive;             /* weights */
    bool negative;             /* weights */
    bool runs;                 /* rows of one sequence are neighbours; the first run begins at */
    uint32_t first_pos;        /* this position, the second, of one row, at 0 */
    bool in_order;             /* rows are the last positions of one sequence; with n_seq 1 */
    uint32_t most_weight_rows; /* of the data of a matrix; 0: all. Where nothing is computed from it
                                  but times */
    struct pm_step_sampler sampler;
    const pm__tensor *route; /* an input that is a route over n_expert experts, or NULL */
    uint32_t n_expert;
    bool blocks;    /* activations that are read are blocks of eight-bit integers */
    float nan_part; /* of the elements of activations */
    bool quick;     /* one of the few that a quick check takes */
    bool deep;      /* only a deep check takes it */
} pm__check_case;

/* Which cases, and who takes them. */
typedef struct pm__case_filter {
    pm_check_level level;
    bool types[PM__TYPE_COUNT]; /* of matrices */
    bool few_types;             /* of caches: most shapes with F16 alone */
    /* Owns the case's graph no longer than the call; false ends the list. */
    bool (*take)(void *user, pm__check_case *c);
    void *user;
} pm__case_filter;

/* Types that most files have, which a quick check tries. */
bool pm__case_is_common(pm__type type);
/* Those that are tried in every shape: single elements, and blocks. Kernels over other types differ
 * from these only in how they read a chunk: some shapes show that, and a deep check tries all. */
bool pm__case_is_thorough(pm__type type);
/* One for each way in which kernels read a chunk: four floats; eight halves; levels above an
 * offset; signed ones; two spans a chunk; a table; a scale of the whole matrix. Enough on a second
 * driver of a kind, and for a kernel on devices that it is not made for. */
bool pm__case_is_telling(pm__type type);

/* False if take() ended it. */
bool pm__check_cases(pm__op op, const pm__case_filter *filter);

#endif
