/* ctest: gpu */
/* test_pipeline.c: kernels asked for, built together, and run once by hand; failures carried to the
 * caller. */
#include "devices.h"
#include "gpu/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char sources[PM__FOLDER_SIZE], cache[PM__FOLDER_SIZE];

static const char scale_comp[] = "#version 450\n"
                                 "layout(local_size_x_id = 0) in;\n"
                                 "layout(constant_id = 1) const uint ADD = 0;\n"
                                 "layout(set = 0, binding = 0) readonly buffer X { uint x[]; };\n"
                                 "layout(set = 0, binding = 1) buffer Y { uint y[]; };\n"
                                 "layout(push_constant) uniform Push { uint n; uint factor; };\n"
                                 "void main() {\n"
                                 "    uint i = gl_GlobalInvocationID.x;\n"
                                 "    if (i < n)\n"
                                 "        y[i] = x[i] * factor + ADD + MORE;\n"
                                 "}\n";

/* Each workgroup sums its numbers: y[group] = sum of x[group * WG .. + WG), whatever the subgroup
 * size. */
static const char sum_comp[] = "#version 450\n"
                               "#extension GL_KHR_shader_subgroup_basic : require\n"
                               "#extension GL_KHR_shader_subgroup_arithmetic : require\n"
                               "layout(local_size_x_id = 0) in;\n"
                               "layout(set = 0, binding = 0) readonly buffer X { uint x[]; };\n"
                               "layout(set = 0, binding = 1) buffer Y { uint y[]; };\n"
                               "layout(push_constant) uniform Push { uint n; uint factor; };\n"
                               "void main() {\n"
                               "    uint i = gl_GlobalInvocationID.x;\n"
                               "    uint part = subgroupAdd(i < n ? x[i] * factor : 0u);\n"
                               "    if (subgroupElect())\n"
                               "        atomicAdd(y[gl_WorkGroupID.x], part);\n"
                               "}\n";

static int set_up(void **state) {
    (void)state;
    pm__folder_init(sources);
    pm__folder_init(cache);
    pm__folder_write(sources, "scale.comp", scale_comp);
    pm__folder_write(sources, "sum.comp", sum_comp);
    pm__folder_write(sources, "broken.comp", "#version 450\nvoid main() { x = 1; }\n");
    setenv("PUMICE_SHADER_DIR", sources, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    pm__folder_finish(sources);
    pm__folder_finish(cache);
    return 0;
}

static pm__pipeline_desc make_desc(const char *file, uint32_t group, uint32_t add) {
    pm__pipeline_desc desc = {
        .name = "kernel under test",
        .file = file,
        .n_define = 1,
        .spec = {group, add},
        .n_spec = 2,
        .n_binding = 2,
        .push_bytes = 8,
        .tier = PM__TIER_PLAIN,
    };
    snprintf(desc.defines[0], sizeof desc.defines[0], "MORE=%uu", 5u);
    return desc;
}

/* ---- run ------------------------------------------------------------------------------------- */

enum { N = 1009, CANARY = 0x5a5a5a5a, N_SPACE = 3200 };

typedef struct launch {
    const pm__pipeline *pipeline;
    pm__buffer x, y;
    VkDescriptorPool pool;
    VkDescriptorSet set;
    uint32_t push[2], n_group;
} launch;

static void bind(pm__gpu *gpu, launch *l) {
    const VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 2};
    const VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    assert_int_equal(gpu->vk.vkCreateDescriptorPool(gpu->device, &pool, NULL, &l->pool),
                     VK_SUCCESS);
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = l->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &l->pipeline->set_layout,
    };
    assert_int_equal(gpu->vk.vkAllocateDescriptorSets(gpu->device, &info, &l->set), VK_SUCCESS);
    const VkDescriptorBufferInfo buffers[2] = {{l->x.buffer, 0, VK_WHOLE_SIZE},
                                               {l->y.buffer, 0, VK_WHOLE_SIZE}};
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = l->set,
        .descriptorCount = 2,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = buffers,
    };
    gpu->vk.vkUpdateDescriptorSets(gpu->device, 1, &write, 0, NULL);
}

static void record(pm__gpu *gpu, VkCommandBuffer commands, void *user) {
    const launch *l = user;
    gpu->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, l->pipeline->pipeline);
    gpu->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, l->pipeline->layout,
                                    0, 1, &l->set, 0, NULL);
    gpu->vk.vkCmdPushConstants(commands, l->pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                               sizeof l->push, l->push);
    gpu->vk.vkCmdDispatch(commands, l->n_group, 1, 1);
}

static uint32_t input(uint32_t i) {
    return i * 2654435761u + 12345u;
}

/* Runs a kernel over N numbers; y[0 .. N_SPACE) holds `fill` before. */
static void run(pm__gpu *gpu, const pm__pipeline *pipeline, uint32_t fill, uint32_t *y) {
    launch l = {.pipeline = pipeline, .push = {N, 7}};
    l.n_group = (N + pipeline->desc.spec[0] - 1) / pipeline->desc.spec[0];
    assert_int_equal(pm__buffer_init(gpu, &l.x, "x", N * 4, PM__MEMORY_UPLOAD), PM_OK);
    assert_int_equal(pm__buffer_init(gpu, &l.y, "y", N_SPACE * 4, PM__MEMORY_READBACK), PM_OK);
    uint32_t *x = l.x.map, *out = l.y.map;
    for (uint32_t i = 0; i < N; i++)
        x[i] = input(i);
    for (uint32_t i = 0; i < N_SPACE; i++)
        out[i] = fill;
    bind(gpu, &l);
    pm__run_once(gpu, record, &l);
    memcpy(y, out, N_SPACE * 4);
    gpu->vk.vkDestroyDescriptorPool(gpu->device, l.pool, NULL);
    pm__buffer_finish(gpu, &l.x);
    pm__buffer_finish(gpu, &l.y);
}

static void check_scale(pm__gpu *gpu, const pm__pipeline *pipeline) {
    uint32_t y[N_SPACE];
    run(gpu, pipeline, CANARY, y);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(y[i], input(i) * 7 + pipeline->desc.spec[1] + 5);
    for (uint32_t i = N; i < N_SPACE; i++)
        assert_int_equal(y[i], CANARY);
}

static void check_sum(pm__gpu *gpu, const pm__pipeline *pipeline) {
    const uint32_t group = pipeline->desc.spec[0];
    uint32_t y[N_SPACE], wanted[N_SPACE] = {0};
    run(gpu, pipeline, 0, y);
    for (uint32_t i = 0; i < N; i++)
        wanted[i / group] += input(i) * 7;
    assert_memory_equal(y, wanted, sizeof y);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static uint64_t last_done, last_total;

static bool on_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    assert_ptr_equal(user, &last_done);
    assert_string_equal(what, "compile shaders");
    assert_true(done >= last_done && done <= total);
    last_done = done;
    last_total = total;
    return true;
}

static uint32_t request(pm__pipelines *set, const pm__pipeline_desc *desc) {
    uint32_t index = 0;
    if (pm__pipelines_request(set, desc, &index) != PM_OK)
        fail_msg("%s", pm_last_error());
    return index;
}

static void build(pm__pipelines *set) {
    last_done = last_total = 0;
    if (pm__pipelines_build(set, on_progress, &last_done) != PM_OK)
        fail_msg("%s", pm_last_error());
    assert_int_equal(last_done, last_total);
}

static void check_run(pm__gpu *gpu) {
    pm__pipelines set;
    assert_int_equal(pm__pipelines_init(&set, gpu), PM_OK);
    pm__pipeline_desc desc = make_desc("scale.comp", 64, 11);
    const uint32_t first = request(&set, &desc);
    desc.name = "the same under another name";
    assert_int_equal(request(&set, &desc), first);
    desc = make_desc("scale.comp", 32, 11);
    const uint32_t second = request(&set, &desc);
    desc = make_desc("scale.comp", 64, 13);
    const uint32_t third = request(&set, &desc);
    assert_int_equal(set.n, 3);
    build(&set);
    assert_int_equal(last_total, 3);
    check_scale(gpu, &set.items[first]);
    check_scale(gpu, &set.items[second]);
    check_scale(gpu, &set.items[third]);
    /* What is built stays; only the new one is made. */
    const VkPipeline kept = set.items[first].pipeline;
    desc.n_define = 2;
    snprintf(desc.defines[1], sizeof desc.defines[1], "UNUSED");
    assert_int_equal(request(&set, &desc), 3);
    build(&set);
    assert_int_equal(last_total, 1);
    assert_true(set.items[first].pipeline == kept);
    assert_true(gpu->pipeline_cache_hash != 0 || !pm__gives_pipeline_cache(gpu));
    build(&set); /* nothing left */
    assert_int_equal(last_total, 0);
    pm__pipelines_finish(&set);
    pm__pipelines_finish(&set);
}

static void run_kernels(void **state) {
    (void)state;
    pm__each_gpu(cache, check_run);
}

/* The second time everything comes from the cache. */
static void run_cached(void **state) {
    (void)state;
    pm__each_gpu(cache, check_run);
}

/* Workgroups that are whole subgroups, parts of one, and neither. */
static void check_subgroups(pm__gpu *gpu) {
    if (!gpu->caps.tiers[PM__TIER_SUBGROUP]) {
        print_message("  no subgroup tier, nothing to check\n");
        return;
    }
    const uint32_t groups[] = {128, gpu->caps.subgroup_max, gpu->caps.subgroup_min - 1,
                               gpu->caps.subgroup_max + 3};
    pm__pipelines set;
    assert_int_equal(pm__pipelines_init(&set, gpu), PM_OK);
    for (size_t i = 0; i < PM__COUNT(groups); i++) {
        pm__pipeline_desc desc = make_desc("sum.comp", groups[i], 0);
        desc.tier = PM__TIER_SUBGROUP;
        request(&set, &desc);
    }
    build(&set);
    for (uint32_t i = 0; i < set.n; i++)
        check_sum(gpu, &set.items[i]);
    pm__pipelines_finish(&set);
}

static void subgroups(void **state) {
    (void)state;
    pm__each_gpu("", check_subgroups);
}

/* ---- the tiers above ------------------------------------------------------------------------- */

static void check_dot8(pm__gpu *gpu, const pm__pipeline *pipeline) {
    static const int8_t factors[4] = {3, -1, -128, 127};
    uint32_t y[N_SPACE];
    run(gpu, pipeline, CANARY, y);
    for (uint32_t i = 0; i < N; i++) {
        int32_t sum = 0;
        for (uint32_t k = 0; k < 4; k++)
            sum += (int8_t)(input(i) >> 8 * k) * factors[k];
        assert_int_equal((int32_t)y[i], sum);
    }
}

/* All elements of a matrix are the same. */
static void check_matrix(pm__gpu *gpu, const pm__pipeline *pipeline, uint32_t element) {
    const uint32_t *spec = pipeline->desc.spec;
    uint32_t y[N_SPACE];
    run(gpu, pipeline, CANARY, y);
    for (uint32_t i = 0; i < N_SPACE; i++)
        assert_int_equal(y[i], i < spec[1] * spec[2] ? element : CANARY);
}

/* 7 and k times 3. */
static void check_coop(pm__gpu *gpu, const pm__pipeline *pipeline) {
    const float element = 7.0f + 3.0f * (float)pipeline->desc.spec[3];
    uint32_t bits;
    memcpy(&bits, &element, sizeof bits);
    check_matrix(gpu, pipeline, bits);
}

/* 7 and k times -500. */
static void check_coop8(pm__gpu *gpu, const pm__pipeline *pipeline) {
    check_matrix(gpu, pipeline, 7 - 500 * pipeline->desc.spec[3]);
}

/* 7 and k times 3 and the place of the element. */
static void check_coop2(pm__gpu *gpu, const pm__pipeline *pipeline) {
    const uint32_t *spec = pipeline->desc.spec;
    uint32_t y[N_SPACE];
    run(gpu, pipeline, CANARY, y);
    for (uint32_t i = 0; i < N_SPACE; i++) {
        const float element = 7.0f + 3.0f * (float)spec[3] + (float)i;
        uint32_t bits;
        memcpy(&bits, &element, sizeof bits);
        assert_int_equal(y[i], i < spec[1] * spec[2] ? bits : CANARY);
    }
}

static pm__pipeline_desc make_probe(const char *file, pm__tier tier, uint32_t group) {
    pm__pipeline_desc desc = make_desc(file, group, 0);
    desc.tier = tier;
    desc.n_define = 0;
    return desc;
}

/* A driver may have more than the compiler that is here knows. */
static void request_probe(pm__pipelines *set, const pm__pipeline_desc *desc) {
    const pm__shader_desc shader = {.file = desc->file, .tier = desc->tier};
    uint32_t *words = NULL;
    size_t n;
    if (pm__shader_compile(set->gpu, &shader, &words, &n) == PM_OK ||
        strstr(pm_last_error(), "extension not supported") == NULL)
        request(set, desc);
    else
        print_message("  %s: left out, this compiler does not know its extensions\n", desc->file);
    free(words);
}

static void request_shapes(pm__pipelines *set, const char *file, pm__tier tier,
                           pm__shape_kind kind) {
    const pm__caps *caps = &set->gpu->caps;
    const pm__shapes *shapes = &caps->units.shapes[kind];
    for (uint32_t i = 0; i < shapes->n && caps->tiers[tier]; i++) {
        pm__pipeline_desc desc = make_probe(file, tier, caps->subgroup_min);
        desc.spec[1] = shapes->items[i].m;
        desc.spec[2] = shapes->items[i].n;
        desc.spec[3] = shapes->items[i].k;
        desc.n_spec = 4;
        request_probe(set, &desc);
    }
}

/* Sizes that are no listed shape, of grains that fit. */
static void request_any_size(pm__pipelines *set, uint32_t group, uint32_t scope,
                             const pm__shape *grain) {
    const uint32_t times = 3 * grain->m * grain->n <= N_SPACE ? 3 : 1;
    pm__pipeline_desc desc = make_probe("probe/coop2.comp", PM__TIER_COOP2, group);
    desc.spec[1] = times * grain->m;
    desc.spec[2] = grain->n;
    desc.spec[3] = times * grain->k;
    desc.spec[4] = scope;
    desc.n_spec = 5;
    if (grain->m > 0 && grain->m * grain->n <= N_SPACE)
        request_probe(set, &desc);
}

static void request_coop2(pm__pipelines *set) {
    const pm__caps *caps = &set->gpu->caps;
    const uint32_t of_workgroup = 2, of_subgroup = 3; /* as GLSL's gl_Scope... */
    if (!caps->tiers[PM__TIER_COOP2])
        return;
    request_any_size(set, caps->subgroup_min, of_subgroup, &caps->units.coop2_grain);
    if (caps->units.coop2_workgroup > 0)
        request_any_size(set, caps->units.coop2_workgroup, of_workgroup,
                         &caps->units.coop2_workgroup_grain);
}

static void check_probe(pm__gpu *gpu, const pm__pipeline *pipeline) {
    if (pipeline->desc.tier == PM__TIER_DOT8)
        check_dot8(gpu, pipeline);
    else if (pipeline->desc.tier == PM__TIER_COOP)
        check_coop(gpu, pipeline);
    else if (pipeline->desc.tier == PM__TIER_COOP8)
        check_coop8(gpu, pipeline);
    else
        check_coop2(gpu, pipeline);
}

static void check_probes(pm__gpu *gpu) {
    pm__pipelines set;
    assert_int_equal(pm__pipelines_init(&set, gpu), PM_OK);
    if (gpu->caps.tiers[PM__TIER_DOT8]) {
        pm__pipeline_desc desc = make_probe("probe/dot8.comp", PM__TIER_DOT8, 64);
        request_probe(&set, &desc);
    }
    request_shapes(&set, "probe/coop.comp", PM__TIER_COOP, PM__SHAPES_F16_F32);
    request_shapes(&set, "probe/coop8.comp", PM__TIER_COOP8, PM__SHAPES_S8_S32);
    request_coop2(&set);
    build(&set);
    for (uint32_t i = 0; i < set.n; i++)
        check_probe(gpu, &set.items[i]);
    print_message("  %u probes\n", set.n);
    pm__pipelines_finish(&set);
}

/* The shaders of the library, not those of the other cases. */
static void probes(void **state) {
    (void)state;
    unsetenv("PUMICE_SHADER_DIR");
    pm__each_gpu("", check_probes);
    setenv("PUMICE_SHADER_DIR", sources, 1);
}

static VKAPI_ATTR VkResult VKAPI_CALL pipelines_fail(VkDevice device,
                                                     VkPipelineCache pipeline_cache, uint32_t n,
                                                     const VkComputePipelineCreateInfo *infos,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkPipeline *out) {
    (void)device, (void)pipeline_cache, (void)n, (void)infos, (void)callbacks, (void)out;
    return VK_ERROR_INITIALIZATION_FAILED;
}

static void check_failures(pm__gpu *gpu) {
    pm__pipelines set;
    assert_int_equal(pm__pipelines_init(&set, gpu), PM_OK);
    pm__pipeline_desc desc = make_desc("scale.comp", gpu->caps.most_invocations + 1, 0);
    uint32_t index = 99;
    assert_int_equal(pm__pipelines_request(&set, &desc, &index), PM_FAILURE);
    assert_int_equal(index, 99);
    /* One bad shader among good ones, wherever it was compiled. */
    for (uint32_t i = 1; i < 8; i++) {
        desc = make_desc(i == 5 ? "broken.comp" : "scale.comp", i, 0);
        request(&set, &desc);
    }
    assert_int_equal(pm__pipelines_build(&set, NULL, NULL), PM_FAILURE);
    assert_non_null(strstr(pm_last_error(), "broken.comp:2: "));
    pm__pipelines_finish(&set);

    assert_int_equal(pm__pipelines_init(&set, gpu), PM_OK);
    const PFN_vkCreateComputePipelines real = gpu->vk.vkCreateComputePipelines;
    gpu->vk.vkCreateComputePipelines = pipelines_fail;
    desc = make_desc("scale.comp", 16, 0);
    request(&set, &desc);
    assert_int_equal(pm__pipelines_build(&set, NULL, NULL), PM_FAILURE);
    assert_non_null(strstr(pm_last_error(), "kernel under test"));
    gpu->vk.vkCreateComputePipelines = real;
    build(&set); /* it can be tried again */
    check_scale(gpu, &set.items[0]);
    pm__pipelines_finish(&set);
}

static void failures(void **state) {
    (void)state;
    pm__each_gpu("", check_failures);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_kernels), cmocka_unit_test(run_cached), cmocka_unit_test(subgroups),
        cmocka_unit_test(probes),      cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
