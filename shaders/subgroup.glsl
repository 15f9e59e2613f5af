/* subgroup.glsl: reductions over a workgroup under one name for all tiers.
 * before   GL_KHR_shader_subgroup_arithmetic; WG_SIZE (a power of two); REDUCE_VEC4, a define: also
 *          of vec4
 * defines  TIER_SUBGROUP: through subgroup operations, else a tree in shared memory
 * calls    reduce_add(float or uint), reduce_max(float or uint), reduce_min(uint), by all
 *          invocations of the workgroup; all of them get the result. Shared memory written before a
 *          call is visible after it
 * order    fixed, so equal inputs give equal bits; any subgroup size */
#ifdef TIER_SUBGROUP
#define REDUCE(NAME, TYPE, SLOTS, COMBINE, SUBGROUP)                                               \
    TYPE NAME(TYPE mine) {                                                                         \
        TYPE part = SUBGROUP(mine);                                                                \
        if (subgroupElect())                                                                       \
            SLOTS[gl_SubgroupID] = part;                                                           \
        barrier();                                                                                 \
        TYPE all = SLOTS[0];                                                                       \
        for (uint i = 1; i < gl_NumSubgroups; i++)                                                 \
            all = COMBINE(all, SLOTS[i]);                                                          \
        barrier();                                                                                 \
        return all;                                                                                \
    }
#else
#define REDUCE(NAME, TYPE, SLOTS, COMBINE, SUBGROUP)                                               \
    TYPE NAME(TYPE mine) {                                                                         \
        uint me_ = gl_LocalInvocationIndex;                                                        \
        SLOTS[me_] = mine;                                                                         \
        barrier();                                                                                 \
        [[dont_unroll]] for (uint half_n = WG_SIZE / 2; half_n > 0; half_n /= 2) {                 \
            if (me_ < half_n)                                                                      \
                SLOTS[me_] = COMBINE(SLOTS[me_], SLOTS[me_ + half_n]);                             \
            barrier();                                                                             \
        }                                                                                          \
        TYPE all = SLOTS[0];                                                                       \
        barrier();                                                                                 \
        return all;                                                                                \
    }
#endif

#define REDUCE_SUM(a, b) ((a) + (b))

shared float reduce_floats[WG_SIZE];
shared uint reduce_uints[WG_SIZE];

REDUCE(reduce_add, float, reduce_floats, REDUCE_SUM, subgroupAdd)
REDUCE(reduce_max, float, reduce_floats, max, subgroupMax)
REDUCE(reduce_add, uint, reduce_uints, REDUCE_SUM, subgroupAdd)
REDUCE(reduce_max, uint, reduce_uints, max, subgroupMax)
REDUCE(reduce_min, uint, reduce_uints, min, subgroupMin)
#ifdef REDUCE_VEC4
shared vec4 reduce_vec4s[WG_SIZE];
REDUCE(reduce_add, vec4, reduce_vec4s, REDUCE_SUM, subgroupAdd)
#endif
