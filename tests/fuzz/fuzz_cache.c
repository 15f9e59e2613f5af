/* fuzz_cache.c: files of the cache directory: what a driver is handed is what was written, and is
 * its own. First byte, what the rest is: 0 a whole file; 1 what a file is to hold, after a place
 * and a byte that damage it; 2 what the file of pipelines holds; 3 what a driver gives as its
 * pipelines. No Vulkan device: the two calls of the driver are here. */
#include "input.h"

#include "gpu/pipeline.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_HEADER = 40, LEAST_HEADER = 32 };

static char folder[256];
static char pipelines[64]; /* name of the file that holds them */
static struct pm__shader_cache *cache;
static pm__gpu gpu;
static pm__span driver_data;   /* what the driver gives */
static uint8_t *handed = NULL; /* what the driver is given */
static size_t n_handed;

/* ---- the driver ------------------------------------------------------------------------------ */

static VKAPI_ATTR VkResult VKAPI_CALL create_cache(VkDevice device,
                                                   const VkPipelineCacheCreateInfo *info,
                                                   const VkAllocationCallbacks *allocator,
                                                   VkPipelineCache *out) {
    (void)device;
    (void)allocator;
    free(handed);
    n_handed = info->initialDataSize;
    handed = pm__input_copy(info->pInitialData, n_handed);
    memset(out, 1, sizeof *out);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL get_data(VkDevice device, VkPipelineCache of, size_t *n,
                                               void *out) {
    (void)device;
    (void)of;
    if (out != NULL)
        memcpy(out, driver_data.data, driver_data.size);
    *n = driver_data.size;
    return VK_SUCCESS;
}

static uint32_t word(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* source  "Pipeline Cache Header" of the Vulkan specification */
static bool is_of_driver(const uint8_t *data, size_t n) {
    return n >= LEAST_HEADER && word(data) >= LEAST_HEADER && word(data) <= n &&
           word(data + 4) == 1 && word(data + 8) == gpu.properties.vendorID &&
           word(data + 12) == gpu.properties.deviceID &&
           memcmp(data + 16, gpu.properties.pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

/* ---- the directory --------------------------------------------------------------------------- */

static void each_file(void (*what)(const char *name)) {
    DIR *dir = opendir(folder);
    PM__HOLDS(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (entry->d_name[0] != '.')
            what(entry->d_name);
    closedir(dir);
}

static void path_of(const char *name, char path[512]) {
    snprintf(path, 512, "%s/%.200s", folder, name);
}

static void remove_file(const char *name) {
    char path[512];
    path_of(name, path);
    unlink(path);
}

static void note_name(const char *name) {
    snprintf(pipelines, sizeof pipelines, "%.60s", name);
}

static void close_all(void) {
    each_file(remove_file);
    rmdir(folder);
    pm__shader_cache_destroy(cache);
    free(handed);
}

/* The name of the file of pipelines is the cache's own affair: one is stored and looked for. */
static void open_all(void) {
    static uint8_t header[LEAST_HEADER] = {LEAST_HEADER, 0, 0, 0, 1, 0, 0, 0, 0xad, 0xba, 0, 0, 7};
    const char *top = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/pumice-fuzz-XXXXXX", top != NULL ? top : "/tmp");
    PM__HOLDS(mkdtemp(folder) != NULL);
    PM__HOLDS(pm__shader_cache_create(folder, &cache) == PM_OK);
    atexit(close_all);
    gpu.shaders = cache;
    gpu.vk.vkCreatePipelineCache = create_cache;
    gpu.vk.vkGetPipelineCacheData = get_data;
    gpu.properties.vendorID = 0xbaad;
    gpu.properties.deviceID = 7;
    memcpy(gpu.properties.pipelineCacheUUID, "0123456789abcdef", VK_UUID_SIZE);
    memcpy(header + 16, gpu.properties.pipelineCacheUUID, VK_UUID_SIZE);
    driver_data = (pm__span){(const char *)header, sizeof header};
    pm__pipeline_cache_create(&gpu);
    pm__pipeline_cache_store(&gpu);
    each_file(note_name);
    PM__HOLDS(pipelines[0] != '\0');
}

static void write_whole(const char *name, const void *data, size_t n) {
    char path[512];
    path_of(name, path);
    FILE *file = fopen(path, "wb");
    PM__HOLDS(file != NULL && fwrite(data, 1, n, file) == n);
    PM__HOLDS(fclose(file) == 0);
}

/* ---- what must hold -------------------------------------------------------------------------- */

/* A whole file that any program may have left there. */
static void check_file(pm__span bytes) {
    size_t n = 0;
    write_whole("shader.spv", bytes.data, bytes.size);
    uint8_t *data = pm__cache_read(cache, "shader.spv", &n);
    if (data != NULL) {
        PM__HOLDS(bytes.size > FILE_HEADER && n == bytes.size - FILE_HEADER);
        PM__HOLDS(memcmp(data, bytes.data + FILE_HEADER, n) == 0);
    }
    free(data);
}

/* What was written comes back, under its name; with one byte changed nothing does. */
static void check_written(pm__span bytes, size_t place, uint8_t damage) {
    char path[512];
    size_t n = 0;
    pm__cache_write(cache, "written.spv", bytes.data, bytes.size);
    uint8_t *data = pm__cache_read(cache, "written.spv", &n);
    PM__HOLDS((data != NULL) == (bytes.size > 0));
    PM__HOLDS(data == NULL || (n == bytes.size && memcmp(data, bytes.data, n) == 0));
    free(data);
    path_of("written.spv", path);
    const int fd = open(path, O_RDWR);
    uint8_t byte;
    PM__HOLDS(fd >= 0);
    place %= FILE_HEADER + bytes.size;
    PM__HOLDS(pread(fd, &byte, 1, (off_t)place) == 1);
    byte ^= damage;
    PM__HOLDS(pwrite(fd, &byte, 1, (off_t)place) == 1);
    close(fd);
    data = pm__cache_read(cache, "written.spv", &n);
    PM__HOLDS((data != NULL) == (bytes.size > 0 && damage == 0));
    free(data);
}

/* The driver gets nothing, or all of what bears its name. */
static void check_handed(pm__span bytes) {
    pm__pipeline_cache_create(&gpu);
    const bool is_its_own = is_of_driver((const uint8_t *)bytes.data, bytes.size);
    PM__HOLDS(n_handed == (is_its_own ? bytes.size : 0));
    PM__HOLDS(n_handed == 0 || memcmp(handed, bytes.data, n_handed) == 0);
}

static void check_pipelines(pm__span bytes) {
    pm__cache_write(cache, pipelines, bytes.data, bytes.size);
    check_handed(bytes);
}

static void check_stored(pm__span bytes) {
    remove_file(pipelines);
    gpu.pipeline_cache_hash = 0;
    driver_data = bytes;
    pm__pipeline_cache_store(&gpu);
    check_handed(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pm__input_quiet();
    if (cache == NULL)
        open_all();
    pm__input in = {data, size};
    const uint8_t what = pm__input_u8(&in) % 4;
    const size_t place = what == 1 ? pm__input_u16(&in) : 0;
    const uint8_t damage = what == 1 ? pm__input_u8(&in) : 0;
    uint8_t *copy = pm__input_copy(in.at, in.left);
    const pm__span bytes = {copy != NULL ? (const char *)copy : "", in.left};
    if (what == 0)
        check_file(bytes);
    else if (what == 1)
        check_written(bytes, place, damage);
    else if (what == 2)
        check_pipelines(bytes);
    else
        check_stored(bytes);
    free(copy);
    return 0;
}
