/* backend.c: what all backends do alike. */
#include "backend.h"

static bool is_before(const pm__step *step, uint32_t first, uint32_t seq) {
    for (uint32_t i = 0; i < first; i++)
        if (step->rows[i].seq == seq && (i == 0 || step->rows[i - 1].seq != seq))
            return true;
    return false;
}

pm_status pm__step_load_rows(const pm__step *step, struct pm_step_row *out) {
    const struct pm_step_row *rows = step->rows;
    uint32_t end = 0;
    for (uint32_t first = 0; first < step->n_row; first = end) {
        for (end = first + 1; end < step->n_row && rows[end].seq == rows[first].seq; end++)
            if (rows[end].pos != rows[end - 1].pos + 1)
                return pm__fail(PM_ARGUMENT,
                                "step: position %u of sequence %u comes after its position %u",
                                rows[end].pos, rows[end].seq, rows[end - 1].pos);
        if (is_before(step, first, rows[first].seq))
            return pm__fail(PM_ARGUMENT, "step: rows of sequence %u are not neighbours",
                            rows[first].seq);
        for (uint32_t i = first; i < end; i++) {
            out[i] = rows[i];
            if (rows[i].n_pos == 0)
                out[i].n_pos = rows[end - 1].pos + 1;
        }
    }
    return PM_OK;
}
