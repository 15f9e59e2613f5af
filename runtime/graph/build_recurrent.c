/* build_recurrent.c: states, which a sequence carries from token to token. */
#include "builder.h"

pm__t pm__state(pm__graph *g, const char *name, uint32_t n_col) {
    if (g->status != PM_OK)
        return NULL;
    if (n_col == 0) {
        pm__build_fail(g, name, "a state needs columns");
        return NULL;
    }
    const pm__tensor state = {
        .name = pm__build_name(g, name), .kind = PM__STATE, .type = PM__TYPE_F32, .n_col = n_col};
    return state.name != NULL ? pm__build_state(g, &state) : NULL;
}
