#include "pipeline.h"

#include "../base/clock.h"
#include "../base/grow.h"
#include "../base/hash.h"
#include "../base/log.h"
#include "../base/threads.h"
#include "spirv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the driver's cache ---------------------------------------------------------------------- */

static void cache_name(const pm__gpu *gpu, char name[40]) {
    const VkPhysicalDeviceProperties *p = &gpu->properties;
    const uint32_t numbers[] = {p->vendorID, p->deviceID, p->driverVersion};
    uint64_t key = pm__hash_string(PM__HASH_START, PM_VERSION);
    key = pm__hash(key, p->pipelineCacheUUID, VK_UUID_SIZE);
    key = pm__hash(key, numbers, sizeof numbers);
    snprintf(name, 40, "pipelines-%016llx.bin", (unsigned long long)key);
}

/* Drivers should check this themselves, and some crashed on what was not theirs. */
static bool is_ours(const pm__gpu *gpu, const void *data, size_t n_byte) {
    VkPipelineCacheHeaderVersionOne header;
    if (n_byte < sizeof header)
        return false;
    memcpy(&header, data, sizeof header);
    const VkPhysicalDeviceProperties *p = &gpu->properties;
    return header.headerSize >= sizeof header && header.headerSize <= n_byte &&
           header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           header.vendorID == p->vendorID && header.deviceID == p->deviceID &&
           memcmp(header.pipelineCacheUUID, p->pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

/* Losing the cache loses time only, so failures end here. */
static void warn_of_cache(VkResult result, const char *what) {
    pm__log(PM_LOG_WARN,
            "cache: %s the driver's pipeline cache failed (VkResult %d); pipelines are built anew "
            "in each run",
            what, (int)result);
}

void pm__pipeline_cache_create(pm__gpu *gpu) {
    char name[40];
    size_t n_byte = 0;
    cache_name(gpu, name);
    void *data = pm__cache_read(gpu->shaders, name, &n_byte);
    if (data != NULL && !is_ours(gpu, data, n_byte)) {
        pm__log(PM_LOG_INFO, "cache: %s is of another driver, and is ignored", name);
        free(data);
        data = NULL;
    }
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = data != NULL ? n_byte : 0,
        .pInitialData = data,
    };
    VkPipelineCache cache;
    const VkResult result = gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, &cache);
    if (result == VK_SUCCESS) {
        gpu->pipeline_cache = cache;
        gpu->pipeline_cache_hash = data != NULL ? pm__hash(PM__HASH_START, data, n_byte) : 0;
    } else {
        warn_of_cache(result, "creating");
    }
    free(data);
}

static void store_data(pm__gpu *gpu, const void *data, size_t n_byte) {
    const uint64_t hash = pm__hash(PM__HASH_START, data, n_byte);
    if (hash == gpu->pipeline_cache_hash || !is_ours(gpu, data, n_byte))
        return;
    char name[40];
    cache_name(gpu, name);
    pm__cache_write(gpu->shaders, name, data, n_byte);
    gpu->pipeline_cache_hash = hash;
}

void pm__pipeline_cache_store(pm__gpu *gpu) {
    size_t n_byte = 0;
    if (gpu->pipeline_cache == VK_NULL_HANDLE)
        return;
    VkResult result =
        gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &n_byte, NULL);
    void *data = result == VK_SUCCESS && n_byte > 0 ? malloc(n_byte) : NULL;
    if (data != NULL)
        result = gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->pipeline_cache, &n_byte, data);
    if (result < VK_SUCCESS)
        warn_of_cache(result, "reading");
    else if (data != NULL && result == VK_SUCCESS) /* incomplete: another thread added to it */
        store_data(gpu, data, n_byte);
    free(data);
}

/* ---- requests -------------------------------------------------------------------------------- */

pm_status pm__pipelines_init(pm__pipelines *set, pm__gpu *gpu) {
    *set = (pm__pipelines){.gpu = gpu};
    return PM_OK;
}

void pm__pipelines_finish(pm__pipelines *set) {
    pm__gpu *gpu = set->gpu;
    for (uint32_t i = 0; i < set->n; i++)
        gpu->vk.vkDestroyPipeline(gpu->device, set->items[i].pipeline, NULL);
    for (uint32_t i = 0; gpu != NULL && i <= PM__MOST_BINDINGS; i++) {
        gpu->vk.vkDestroyPipelineLayout(gpu->device, set->layouts[i], NULL);
        gpu->vk.vkDestroyDescriptorSetLayout(gpu->device, set->set_layouts[i], NULL);
    }
    free(set->items);
    *set = (pm__pipelines){0};
}

static pm_status create_set_layout(pm__gpu *gpu, uint32_t n, VkDescriptorSetLayout *out) {
    VkDescriptorSetLayoutBinding bindings[PM__MOST_BINDINGS] = {0};
    for (uint32_t i = 0; i < n; i++) {
        bindings[i].binding = i;
        bindings[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        bindings[i].descriptorCount = 1;
        bindings[i].stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
    }
    const VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = n,
        .pBindings = bindings,
    };
    VkDescriptorSetLayout made;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreateDescriptorSetLayout(gpu->device, &info, NULL, &made),
                         "pipeline: descriptor set layout"));
    *out = made;
    return PM_OK;
}

/* One push range of full size for all, so that a dispatch never disturbs the constants of the next.
 */
static pm_status create_layout(pm__gpu *gpu, const VkDescriptorSetLayout *set_layout,
                               VkPipelineLayout *out) {
    const VkPushConstantRange range = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .size = PM__MOST_PUSH_WORDS * 4,
    };
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    VkPipelineLayout made;
    PM_TRY(pm__gpu_check(gpu, gpu->vk.vkCreatePipelineLayout(gpu->device, &info, NULL, &made),
                         "pipeline: layout"));
    *out = made;
    return PM_OK;
}

static pm_status need_layout(pm__pipelines *set, uint32_t n) {
    VkDescriptorSetLayout *set_layout = &set->set_layouts[n];
    if (*set_layout == VK_NULL_HANDLE)
        PM_TRY(create_set_layout(set->gpu, n, set_layout));
    if (set->layouts[n] == VK_NULL_HANDLE)
        PM_TRY(create_layout(set->gpu, set_layout, &set->layouts[n]));
    return PM_OK;
}

static bool same_desc(const pm__pipeline_desc *a, const pm__pipeline_desc *b) {
    if (strcmp(a->file, b->file) != 0 || a->tier != b->tier || a->n_define != b->n_define ||
        a->n_spec != b->n_spec || a->n_binding != b->n_binding || a->push_bytes != b->push_bytes ||
        a->instead != b->instead)
        return false;
    for (uint32_t i = 0; i < a->n_define; i++)
        if (strcmp(a->defines[i], b->defines[i]) != 0)
            return false;
    return memcmp(a->spec, b->spec, a->n_spec * sizeof a->spec[0]) == 0;
}

static pm_status check_limits(const pm__gpu *gpu, const pm__pipeline_desc *desc) {
    if (desc->n_binding > gpu->caps.most_bindings)
        return pm__fail(PM_UNSUPPORTED,
                        "pipeline: kernel '%s' uses %u storage buffers, device '%s' takes %u; try "
                        "another --device",
                        desc->name, desc->n_binding, gpu->info.name, gpu->caps.most_bindings);
    if (desc->n_spec == 0 || desc->spec[0] <= gpu->caps.most_invocations)
        return PM_OK;
    return pm__fail(PM_FAILURE,
                    "pipeline: kernel '%s': workgroup of %u, device '%s' takes %u at most",
                    desc->name, desc->spec[0], gpu->info.name, gpu->caps.most_invocations);
}

pm_status pm__pipelines_request(pm__pipelines *set, const pm__pipeline_desc *desc,
                                uint32_t *index) {
    for (uint32_t i = 0; i < set->n; i++) {
        if (same_desc(&set->items[i].desc, desc)) {
            *index = i;
            return PM_OK;
        }
    }
    PM_TRY(check_limits(set->gpu, desc));
    PM_TRY(need_layout(set, desc->n_binding));
    PM_TRY(pm__grow("pipeline: list", &set->items, &set->capacity, set->n, sizeof *set->items));
    set->items[set->n] = (pm__pipeline){
        .desc = *desc,
        .layout = set->layouts[desc->n_binding],
        .set_layout = set->set_layouts[desc->n_binding],
    };
    *index = set->n++;
    return PM_OK;
}

/* ---- build ----------------------------------------------------------------------------------- */

typedef struct build {
    pm__pipelines *set;
    const uint32_t *todo; /* [n] indices in set->items */
    size_t n;
    atomic_size_t n_done;
    pthread_t caller;
    pm_progress_fn progress;
    void *user;
    pthread_mutex_t lock; /* of what follows: the first failure */
    pm_status status;
    VkResult result;
    char sentence[1024];
} build;

static void keep_failure(build *b, pm_status status, VkResult result, const char *sentence) {
    pthread_mutex_lock(&b->lock);
    if (b->status == PM_OK) {
        b->status = status;
        b->result = result;
        snprintf(b->sentence, sizeof b->sentence, "%s", sentence);
    }
    pthread_mutex_unlock(&b->lock);
}

static bool has_failed(build *b) {
    pthread_mutex_lock(&b->lock);
    const bool failed = b->status != PM_OK;
    pthread_mutex_unlock(&b->lock);
    return failed;
}

/* Full subgroups let a kernel count on every lane being there. Vulkan allows to require them only
 * where the workgroup is a multiple of the largest subgroup; smaller workgroups have a partly
 * filled one by nature. */
static VkPipelineShaderStageCreateFlags stage_flags(const pm__caps *caps,
                                                    const pm__pipeline_desc *desc) {
    const bool sized = desc->tier >= PM__TIER_COOP; /* to subgroup_min */
    const bool full = desc->tier != PM__TIER_PLAIN && caps->subgroup_control && desc->n_spec > 0 &&
                      desc->spec[0] % (sized ? caps->subgroup_min : caps->subgroup_max) == 0;
    return full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0;
}

static VkResult create_pipeline(const pm__pipelines *set, pm__pipeline *pipeline,
                                VkShaderModule module) {
    const pm__gpu *gpu = set->gpu;
    const pm__pipeline_desc *desc = &pipeline->desc;
    VkSpecializationMapEntry entries[PM__MOST_SPEC];
    for (uint32_t i = 0; i < desc->n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * 4, 4};
    const VkSpecializationInfo constants = {
        .mapEntryCount = desc->n_spec,
        .pMapEntries = entries,
        .dataSize = desc->n_spec * sizeof desc->spec[0],
        .pData = desc->spec,
    };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = gpu->caps.subgroup_min,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = set->statistics && gpu->caps.statistics
                     ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR
                     : 0,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = desc->tier >= PM__TIER_COOP && gpu->caps.subgroup_control ? &size : NULL,
                .flags = stage_flags(&gpu->caps, desc),
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &constants,
            },
        .layout = pipeline->layout,
    };
    VkPipeline created = VK_NULL_HANDLE;
    const double start = pm__clock_seconds();
    const VkResult result = gpu->vk.vkCreateComputePipelines(gpu->device, gpu->pipeline_cache, 1,
                                                             &info, NULL, &created);
    pipeline->seconds = pm__clock_seconds() - start;
    if (result == VK_SUCCESS)
        pipeline->pipeline = created;
    return result;
}

static VkResult create_from_words(const pm__pipelines *set, pm__pipeline *pipeline,
                                  const uint32_t *words, size_t n_word) {
    const pm__gpu *gpu = set->gpu;
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = n_word * sizeof *words,
        .pCode = words,
    };
    VkShaderModule module;
    VkResult result = gpu->vk.vkCreateShaderModule(gpu->device, &info, NULL, &module);
    if (result != VK_SUCCESS)
        return result;
    result = create_pipeline(set, pipeline, module);
    gpu->vk.vkDestroyShaderModule(gpu->device, module, NULL);
    return result;
}

/* A kernel alone takes what every device has, or was made to fit this one. Many in one text add
 * up. */
static pm_status check_shared(const pm__gpu *gpu, const pm__pipeline_desc *desc,
                              const uint32_t *words, size_t n_word) {
    const uint32_t most = gpu->properties.limits.maxComputeSharedMemorySize;
    uint64_t bytes;
    PM_TRY(pm__spirv_shared_bytes(words, n_word, &bytes));
    if (bytes <= most)
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "pipeline: kernel '%s': %" PRIu64 " bytes of shared memory, %s has %u",
                    desc->name, bytes, gpu->info.name, most);
}

static pm_status compile(pm__gpu *gpu, const pm__pipeline_desc *desc, uint32_t **words,
                         size_t *n_word) {
    const char *defines[PM__MOST_DEFINES];
    for (uint32_t i = 0; i < desc->n_define; i++)
        defines[i] = desc->defines[i];
    const pm__shader_desc shader = {
        .file = desc->file,
        .defines = defines,
        .n_define = desc->n_define,
        .tier = desc->tier,
        .instead = desc->instead,
    };
    PM_TRY(pm__shader_compile(gpu, &shader, words, n_word));
    return desc->instead != NULL ? check_shared(gpu, desc, *words, *n_word) : PM_OK;
}

/* Sentences of failures belong to a thread, so they are carried to the caller's. */
static void build_one(build *b, pm__pipeline *pipeline) {
    pm__gpu *gpu = b->set->gpu;
    uint32_t *words = NULL;
    size_t n_word = 0;
    const double start = pm__clock_seconds();
    const pm_status status = compile(gpu, &pipeline->desc, &words, &n_word);
    pipeline->shader_seconds = pm__clock_seconds() - start;
    if (status != PM_OK) {
        keep_failure(b, status, VK_SUCCESS, pm_last_error());
        free(words);
        return;
    }
    const VkResult result = create_from_words(b->set, pipeline, words, n_word);
    free(words);
    if (result != VK_SUCCESS) {
        char what[256];
        snprintf(what, sizeof what, "pipeline: kernel '%s' (%s)", pipeline->desc.name,
                 pipeline->desc.file);
        keep_failure(b, PM_FAILURE, result, what);
    }
}

static void build_job(void *user, size_t i) {
    build *b = user;
    if (!has_failed(b))
        build_one(b, &b->set->items[b->todo[i]]);
    const size_t n_done = atomic_fetch_add(&b->n_done, 1) + 1;
    if (b->progress != NULL && pthread_equal(pthread_self(), b->caller) &&
        !b->progress(b->user, "compile shaders", n_done, b->n))
        keep_failure(b, PM_CANCELLED, VK_SUCCESS, "pipeline: compiling was interrupted");
}

/* Gives the number of pipelines there are to build; *todo is to be freed. */
static size_t list_missing(const pm__pipelines *set, uint32_t **todo) {
    size_t n = 0;
    *todo = calloc(set->n + 1, sizeof **todo);
    for (uint32_t i = 0; *todo != NULL && i < set->n; i++)
        if (set->items[i].pipeline == VK_NULL_HANDLE)
            (*todo)[n++] = i;
    return n;
}

static void run_jobs(build *b) {
    pm__pipelines *set = b->set;
    const double now = pm__clock_seconds();
    set->begun = set->begun > 0 ? set->begun : now;
    pthread_mutex_init(&b->lock, NULL);
    pm__parallel(b->n, (int)set->gpu->n_thread, build_job, b);
    pthread_mutex_destroy(&b->lock);
    set->ended = pm__clock_seconds();
    set->unsaved = true;
}

static pm_status run_build(build *b) {
    if (b->n > 0)
        run_jobs(b);
    if (b->result != VK_SUCCESS)
        return pm__gpu_check(b->set->gpu, b->result, b->sentence);
    if (b->status != PM_OK)
        return pm__fail(b->status, "%s", b->sentence);
    if (b->progress != NULL && b->n > 0)
        b->progress(b->user, "compile shaders", b->n, b->n);
    if (b->set->unsaved)
        pm__pipeline_cache_store(b->set->gpu);
    b->set->unsaved = false;
    return PM_OK;
}

pm_status pm__pipelines_build(pm__pipelines *set, pm_progress_fn progress, void *user) {
    uint32_t *todo;
    build b = {.set = set, .progress = progress, .user = user, .caller = pthread_self()};
    b.n = list_missing(set, &todo);
    if (todo == NULL)
        return pm__fail_memory("pipeline: list", (set->n + 1) * sizeof *todo);
    b.todo = todo;
    const pm_status status = run_build(&b);
    free(todo);
    return status;
}

void pm__pipelines_prepare(pm__pipelines *set) {
    uint32_t *todo;
    build b = {.set = set, .caller = pthread_self()};
    b.n = list_missing(set, &todo);
    b.todo = todo;
    if (b.n > 0)
        run_jobs(&b);
    free(todo);
}
