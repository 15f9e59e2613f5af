/* pipeline.h: compute pipelines, asked for by description, built together in parallel. */
#ifndef PM_GPU_PIPELINE_H
#define PM_GPU_PIPELINE_H

#include "shader.h"

enum {
    PM__MOST_BINDINGS = 9,
    PM__USUAL_BINDINGS = 8,
    PM__MOST_SPEC = 24,
    PM__MOST_DEFINES = 12,
    PM__MOST_PUSH_WORDS = 32
};

typedef struct pm__pipeline_desc {
    const char *name; /* of the kernel, for people */
    const char *file; /* "norm.comp" */
    char defines[PM__MOST_DEFINES][32];
    uint32_t n_define;
    uint32_t spec[PM__MOST_SPEC]; /* constant_id 0.. ; 0 is always the workgroup size x */
    uint32_t n_spec;
    uint32_t n_binding; /* storage buffers 0 .. n-1 of set 0 */
    uint32_t push_bytes;
    pm__tier tier;                  /* from COOP on a subgroup has caps.subgroup_min lanes */
    const pm__shader_file *instead; /* as in pm__shader_desc; lives until it is built */
} pm__pipeline_desc;

typedef struct pm__pipeline {
    pm__pipeline_desc desc;
    VkPipeline pipeline;
    VkPipelineLayout layout;
    VkDescriptorSetLayout set_layout;
    double shader_seconds; /* to its SPIR-V, compiled or found */
    double seconds;        /* the driver took to make it */
} pm__pipeline;

typedef struct pm__pipelines {
    pm__gpu *gpu;
    bool statistics; /* set after init: the driver keeps what it can tell of the code, where it
                        can (caps.statistics) */
    pm__pipeline *items;
    uint32_t n;
    size_t capacity;
    bool unsaved;        /* something was built since the driver's cache was written */
    double begun, ended; /* of all building so far, on pm__clock_seconds(); 0: none yet */
    VkDescriptorSetLayout set_layouts[PM__MOST_BINDINGS + 1]; /* by number of bindings */
    VkPipelineLayout layouts[PM__MOST_BINDINGS + 1]; /* push range: all PM__MOST_PUSH_WORDS words */
} pm__pipelines;

/* The driver's cache, as a file of the cache directory named by driver, its version and ours. A
 * file that is not this driver's is ignored. Called when the device is opened, and after pipelines
 * were built. Where the driver fails in it there is none, and a warning. */
void pm__pipeline_cache_create(pm__gpu *gpu);
void pm__pipeline_cache_store(pm__gpu *gpu);

pm_status pm__pipelines_init(pm__pipelines *set, pm__gpu *gpu);
void pm__pipelines_finish(pm__pipelines *set);
/* Index of the pipeline of this description; equal descriptions share one. Compiles nothing yet. */
pm_status pm__pipelines_request(pm__pipelines *set, const pm__pipeline_desc *desc, uint32_t *index);
/* Compiles what was requested and is not built, on gpu->n_thread threads, and writes the pipeline
 * cache. progress is called on this thread only.
 * errors  those of pm__shader_compile; FAILURE names the kernel */
pm_status pm__pipelines_build(pm__pipelines *set, pm_progress_fn progress, void *user);
/* The same as far as it goes, for a thread beside those that use the device: what fails is left for
 * pm__pipelines_build() to say, and the pipeline cache for it to write. */
void pm__pipelines_prepare(pm__pipelines *set);

#endif
