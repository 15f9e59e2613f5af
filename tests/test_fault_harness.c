/* ctest: gpu */
/* test_fault_harness.c: faults.h does what it says, so that tests built on it mean something. */
#include "devices.h"
#include "faults.h"

#include "gpu/queue.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int set_up(void **state) {
    (void)state;
    if (!pm__faults_install())
        print_message("no Vulkan: skipped\n");
    return 0;
}

/* ---- the list -------------------------------------------------------------------------------- */

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    enum { MOST = 1 << 22 };
    char *text = calloc(1, MOST);
    assert_non_null(text);
    assert_true(fread(text, 1, MOST, file) < MOST);
    fclose(file);
    return text;
}

static bool is_listed(const char *name) {
    for (int i = 0; i < PM__CALL_COUNT; i++)
        if (strcmp(pm__fault_call_name((pm__fault_call)i), name) == 0)
            return true;
    return false;
}

static bool gives_result(const char *headers, const char *name) {
    char declared[160];
    snprintf(declared, sizeof declared, "(VKAPI_PTR *PFN_%s)(", name);
    const char *at = strstr(headers, declared);
    if (at == NULL)
        return false;
    while (at > headers && at[-1] == ' ')
        at--;
    static const char type[] = "typedef VkResult";
    return at - headers >= (ptrdiff_t)strlen(type) &&
           strncmp(at - strlen(type), type, strlen(type)) == 0;
}

/* Every name that begins like a function of Vulkan, and those asked for by name, in quotes. */
static uint32_t check_source(const char *path, const char *headers) {
    char *text = read_file(path);
    uint32_t n = 0;
    assert_non_null(text);
    for (const char *at = text; (at = strstr(at, "vk")) != NULL; at++) {
        char name[80];
        size_t length = 0;
        while (isalnum((unsigned char)at[length]) && length < sizeof name - 1)
            length++;
        memcpy(name, at, length);
        name[length] = '\0';
        const char before = at == text ? ' ' : at[-1];
        const bool starts = !isalnum((unsigned char)before) && before != '_';
        if (!starts || !isupper((unsigned char)name[2]) || !gives_result(headers, name))
            continue;
        char *old = strstr(name, "KHR"); /* of extensions that are core today */
        if (old != NULL && !is_listed(name))
            *old = '\0';
        if (!is_listed(name))
            fail_msg("%s: %s is not in PM__FAULT_CALLS", path, name);
        n++;
    }
    free(text);
    return n;
}

/* The system's, and what ours add where those are old. */
static char *read_headers(void) {
    char *headers = read_file(PUMICE_VULKAN_HEADERS "/vulkan/vulkan_core.h");
    char *newer = read_file(PUMICE_SOURCE_DIR "/runtime/gpu/newer.h");
    assert_non_null(headers);
    assert_non_null(newer);
    headers = realloc(headers, strlen(headers) + strlen(newer) + 1);
    assert_non_null(headers);
    strcat(headers, newer);
    free(newer);
    return headers;
}

static void list_is_complete(void **state) {
    (void)state;
    static const char folder[] = PUMICE_SOURCE_DIR "/runtime/gpu";
    char *headers = read_headers();
    assert_true(gives_result(headers, "vkCreateDevice"));
    assert_false(gives_result(headers, "vkDestroyDevice"));
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    uint32_t n = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[600];
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            n += check_source(path, headers);
    }
    closedir(dir);
    n += check_source(PUMICE_SOURCE_DIR "/tests/devices.c", headers);
    assert_true(n >= 42);
    free(headers);
}

/* ---- each usable device ---------------------------------------------------------------------- */

static pm__gpu *open_gpu(uint32_t index) {
    pm__gpu *gpu = NULL;
    if (pm__gpu_create(index, &(pm_device_desc){.cache_dir = ""}, &gpu) != PM_OK)
        fail_msg("%s", pm_last_error());
    return gpu;
}

static void each_device(void (*check)(uint32_t index)) {
    pm_device_info *list;
    size_t n, n_usable = 0;
    const char *note;
    pm__faults_reset();
    assert_int_equal(pm__gpu_list(&list, &n, &note), PM_OK);
    for (size_t i = 0; i < n; i++) {
        if (!list[i].usable)
            continue;
        print_message("  on %s (%s)\n", list[i].name, list[i].driver);
        pm__faults_reset();
        check(list[i].index);
        pm__faults_check_clean();
        n_usable++;
    }
    pm__gpu_list_free(list);
    pm__faults_reset();
    if (n_usable == 0)
        skip();
}

enum { N_BYTE = 4096 };

static pm_status make(pm__gpu *gpu, pm__buffer *buffer, pm__memory_use use) {
    return pm__buffer_init(gpu, buffer, "kettle", N_BYTE, use);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void check_calls(uint32_t index) {
    pm__gpu *gpu = open_gpu(index);
    pm__buffer a, b;
    pm__faults_fail(PM__CALL_CreateBuffer, 2, VK_ERROR_OUT_OF_HOST_MEMORY);
    assert_int_equal(make(gpu, &a, PM__MEMORY_DEVICE), PM_OK);
    assert_int_equal(make(gpu, &b, PM__MEMORY_DEVICE), PM_OUT_OF_MEMORY);
    assert_int_equal(pm__faults_injected(), 1);
    assert_int_equal(make(gpu, &b, PM__MEMORY_DEVICE), PM_OK);
    assert_int_equal(pm__faults_count(PM__CALL_CreateBuffer), 3);
    assert_int_equal(pm__faults_alive(PM__OBJECT_Buffer), 2);
    assert_int_equal(pm__faults_alive(PM__OBJECT_DeviceMemory), 2);
    const pm__fault_memory memory = pm__faults_memory();
    assert_int_equal(memory.n_allocation, 2);
    assert_int_equal(memory.n_live, 2);
    assert_true(memory.live_bytes >= 2 * N_BYTE && memory.live_bytes == memory.allocated_bytes);
    pm__faults_fail_from(PM__CALL_MapMemory, pm__faults_count(PM__CALL_MapMemory) + 1,
                         VK_ERROR_MEMORY_MAP_FAILED);
    pm__buffer c;
    for (int i = 0; i < 2; i++)
        assert_int_equal(make(gpu, &c, PM__MEMORY_UPLOAD), PM_OUT_OF_MEMORY);
    assert_int_equal(pm__faults_injected(), 3);
    pm__buffer_finish(gpu, &a);
    pm__buffer_finish(gpu, &b);
    assert_int_equal(pm__faults_memory().n_live, 0);
    pm__gpu_destroy(gpu);
}

static void calls(void **state) {
    (void)state;
    each_device(check_calls);
}

/* What goes wrong is seen, and only once. */
static void check_complaints(uint32_t index) {
    pm__gpu *gpu = open_gpu(index);
    pm__buffer buffer;
    assert_int_equal(make(gpu, &buffer, PM__MEMORY_DEVICE), PM_OK);
    gpu->vk.vkFreeMemory(gpu->device, buffer.memory, NULL);
    pm__buffer_finish(gpu, &buffer); /* the memory again */
    pm__gpu_destroy(gpu);
    assert_non_null(strstr(pm__faults_complaint(), "VkDeviceMemory: what was destroyed"));
    assert_string_equal(pm__faults_complaint(), "");
    gpu = open_gpu(index);
    pm__gpu *other = open_gpu(index);
    assert_int_equal(pm__faults_alive(PM__OBJECT_Device), 2);
    pm__gpu_destroy(other);
    assert_int_equal(pm__faults_alive(PM__OBJECT_Device), 1);
    assert_string_equal(pm__faults_complaint(), "VkInstance: it is still alive (3 objects alive)");
    assert_int_equal(pm__faults_alive(PM__OBJECT_Device), 0);
    pm__gpu_destroy(gpu);
}

static void complaints(void **state) {
    (void)state;
    each_device(check_complaints);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void fill(pm__gpu *gpu, VkCommandBuffer commands, void *user) {
    gpu->vk.vkCmdFillBuffer(commands, ((pm__buffer *)user)->buffer, 0, N_BYTE, 7);
}

static void check_killed(uint32_t index) {
    pm__gpu *gpu = open_gpu(index);
    pm__buffer buffer;
    assert_int_equal(make(gpu, &buffer, PM__MEMORY_READBACK), PM_OK);
    uint32_t *words = buffer.map;
    words[5] = 1;
    pm__faults_kill_job(1);
    pm__run_once(gpu, fill, &buffer);
    assert_int_equal(words[5], 1);
    assert_int_equal(pm__faults_injected(), 1);
    pm__run_once(gpu, fill, &buffer);
    assert_int_equal(words[5], 7);
    pm__buffer_finish(gpu, &buffer);
    pm__gpu_destroy(gpu);
}

static void killed(void **state) {
    (void)state;
    each_device(check_killed);
}

static VkResult submit_and_wait(pm__queue *queue, uint64_t timeout) {
    const uint64_t value = ++queue->submitted;
    const VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &value,
    };
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &queue->timeline,
    };
    const VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &queue->timeline,
        .pValues = &value,
    };
    pm__gpu *gpu = queue->gpu;
    const VkResult result = gpu->vk.vkQueueSubmit(gpu->queue, 1, &submit, VK_NULL_HANDLE);
    const VkResult waited = gpu->vk.vkWaitSemaphores(gpu->device, &wait, timeout);
    return result != VK_SUCCESS ? result : waited;
}

static void check_lost(uint32_t index) {
    pm__gpu *gpus[2] = {open_gpu(index), open_gpu(index)};
    pm__queue queues[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pm__queue_init(&queues[i], gpus[i]), PM_OK);
    pm__faults_fail(PM__CALL_QueueSubmit, 3, VK_ERROR_DEVICE_LOST);
    for (int i = 0; i < 2; i++)
        assert_int_equal(submit_and_wait(&queues[i], UINT64_MAX), VK_SUCCESS);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(submit_and_wait(&queues[0], UINT64_MAX), VK_ERROR_DEVICE_LOST);
        assert_int_equal(gpus[0]->vk.vkDeviceWaitIdle(gpus[0]->device), VK_ERROR_DEVICE_LOST);
        assert_int_equal(submit_and_wait(&queues[1], UINT64_MAX), VK_SUCCESS);
    }
    assert_int_equal(pm__faults_injected(), 1);
    for (int i = 0; i < 2; i++) {
        pm__queue_finish(&queues[i]);
        pm__gpu_destroy(gpus[i]);
    }
}

static void lost(void **state) {
    (void)state;
    each_device(check_lost);
}

static void check_hang(uint32_t index) {
    pm__gpu *gpu = open_gpu(index);
    gpu->silence_seconds = 0.05; /* closing waits so long, and leaves all where it is */
    pm__queue queue;
    assert_int_equal(pm__queue_init(&queue, gpu), PM_OK);
    pm__faults_hang(2);
    assert_int_equal(submit_and_wait(&queue, UINT64_MAX), VK_SUCCESS);
    for (int i = 0; i < 2; i++)
        assert_int_equal(submit_and_wait(&queue, 1000000), VK_TIMEOUT);
    queue.verified = 1; /* what this test submits has no canary */
    assert_int_equal(pm__queue_wait(&queue, 1), PM_OK);
    gpu->vk.vkDeviceWaitIdle(gpu->device);
    pm__queue_finish(&queue);
    pm__gpu_destroy(gpu);
    assert_non_null(strstr(pm__faults_complaint(), "vkDeviceWaitIdle: it waits without a bound"));
}

static void hang(void **state) {
    (void)state;
    each_device(check_hang);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    H = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    C = VK_MEMORY_PROPERTY_HOST_CACHED_BIT
};

/* A discrete GPU whose memory the host sees a window of. */
static const pm__fake_memory small_window = {
    .kind = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
    .n_heap = 3,
    .heaps = {{3 * N_BYTE, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, N_BYTE},
              {64 * N_BYTE, 0, 0},
              {2 * N_BYTE, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT, 0}},
    .n_type = 4,
    .types = {{L, 0}, {H, 1}, {H | C, 1}, {L | H, 2}},
    .budget = true,
};

static void check_memory_of(uint32_t index, const pm__fake_memory *shown) {
    pm__faults_set_memory(shown);
    pm__gpu *gpu = open_gpu(index);
    assert_string_equal(gpu->info.kind, "discrete");
    assert_false(gpu->unified);
    assert_int_equal(gpu->memory.memoryHeapCount, 3);
    assert_int_equal(gpu->memory_budget, shown->budget);
    assert_int_equal(pm__heap_free(gpu, 0), (shown->budget ? 2 : 3) * N_BYTE);
    pm__buffer device[2], upload;
    assert_int_equal(make(gpu, &device[0], PM__MEMORY_DEVICE), PM_OK);
    assert_null(device[0].map);
    assert_int_equal(device[0].heap, 0);
    assert_int_equal(pm__heap_free(gpu, 0), (shown->budget ? 1 : 2) * N_BYTE);
    assert_int_equal(make(gpu, &upload, PM__MEMORY_UPLOAD), PM_OK);
    assert_int_equal(upload.heap, 1);
    memset(upload.map, 1, N_BYTE);
    assert_int_equal(make(gpu, &device[1], PM__MEMORY_DEVICE), PM_OK);
    const pm__fault_memory memory = pm__faults_memory();
    assert_int_equal(memory.live_heap_bytes[0], 2 * N_BYTE);
    assert_int_equal(memory.live_heap_bytes[1], N_BYTE);
    pm__buffer window[2], more; /* the heap of the window takes what the first has no room for */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(make(gpu, &window[i], PM__MEMORY_DEVICE), PM_OK);
        assert_int_equal(window[i].heap, 2);
    }
    assert_int_equal(make(gpu, &more, PM__MEMORY_DEVICE), PM_OUT_OF_MEMORY);
    for (int i = 0; i < 2; i++) {
        pm__buffer_finish(gpu, &device[i]);
        pm__buffer_finish(gpu, &window[i]);
    }
    pm__buffer_finish(gpu, &upload);
    pm__gpu_destroy(gpu);
}

static void check_memory(uint32_t index) {
    pm__fake_memory shown = small_window;
    check_memory_of(index, &shown);
    shown.budget = false;
    check_memory_of(index, &shown);
    pm__faults_set_memory(NULL);
    pm__gpu *gpu = open_gpu(index);
    assert_true(gpu->memory.memoryHeaps[0].size > 64 * N_BYTE);
    pm__gpu_destroy(gpu);
}

static void memory(void **state) {
    (void)state;
    each_device(check_memory);
}

/* Where the loader gives a function by its name, orders reach it, and it is one more of its
 * kind. */
static void check_named(uint32_t index) {
    static const pm__fault_call call = PM__CALL_GetPhysicalDeviceCooperativeMatrixPropertiesKHR;
    pm__gpu *gpu = open_gpu(index);
    const bool used = gpu->caps.tiers[PM__TIER_COOP];
    const uint32_t n = pm__faults_count(call);
    pm__gpu_destroy(gpu);
    assert_true(!used || n > 0);
    pm__faults_reset();
    pm__faults_fail_from(call, 1, VK_ERROR_OUT_OF_HOST_MEMORY);
    gpu = open_gpu(index);
    assert_int_equal(pm__faults_injected() > 0, n > 0);
    assert_false(gpu->caps.tiers[PM__TIER_COOP]);
    pm__gpu_destroy(gpu);
    assert_non_null(vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkCreateInstance"));
    assert_null(vkGetInstanceProcAddr(VK_NULL_HANDLE, "vkBoilKettle"));
}

static void named(void **state) {
    (void)state;
    each_device(check_named);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_is_complete), cmocka_unit_test(calls), cmocka_unit_test(complaints),
        cmocka_unit_test(killed),           cmocka_unit_test(lost),  cmocka_unit_test(hang),
        cmocka_unit_test(memory),           cmocka_unit_test(named),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
