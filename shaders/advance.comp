/* advance.comp: keeps the drawn tokens; where every row has one, they become the next step's rows
 * shape   drawn [outs]   rows [1 + rows], the head first
 *         history [n_seq, n_ctx]   ring [PM_RING, n_out]
 * grid    one workgroup, none where no token was drawn
 * defines none   spec 0 WG_SIZE, 1 N_CTX, 2 N_OUT (capacity), 3 KEEPS_N_POS   accum none
 * checked tests row advance against cpu_advance, exact */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_CTX = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint KEEPS_N_POS = 0;

layout(std430, binding = 0) readonly buffer Drawn { pm_step_drawn drawn[]; };
layout(std430, binding = 1) buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 2) writeonly buffer History { uint history[]; };
layout(std430, binding = 3) writeonly buffer Ring { pm_step_drawn ring[]; };

void main() {
    uint n_out = head.n_out, step = head.step;
    bool goes_on = n_out == head.n_row;
    for (uint first = 0; first < n_out; first += WG_SIZE) {
        uint i = first + gl_LocalInvocationIndex;
        pm_step_row row;
        if (i < n_out) {
            row = rows[drawn[i].row];
            row.token = drawn[i].token;
            row.pos++;
            row.n_pos += 1 - KEEPS_N_POS;
            ring[step % PM_RING * N_OUT + i] = drawn[i];
            if (row.pos < N_CTX)
                history[row.seq * N_CTX + row.pos] = row.token;
        }
        memoryBarrierBuffer();
        barrier(); // outputs ascend, so rows of later rounds are not written before they are read
        if (goes_on && i < n_out)
            rows[i] = row;
    }
    if (goes_on && gl_LocalInvocationIndex == 0)
        head.step = step + 1;
}
