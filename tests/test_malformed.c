/* test_malformed.c: damaged and hostile model files through the public API: a status and a
 * sentence, never a crash.
 * ctest: quick */
#include "pumice.h"

#include "folders.h"
#include "reference.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static pm_device *device;

static int set_up(void **state) {
    (void)state;
    const pm_device_desc desc = {.name = "cpu"};
    return pm_device_open(&desc, &device) == PM_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    pm_device_close(device);
    return 0;
}

/* A file whose damage lies outside what vocab_only reads may load. */
static pm_status try_file(const char *path, bool vocab_only) {
    pm_model *model = NULL;
    const pm_model_desc desc = {.path = path, .vocab_only = vocab_only};
    const pm_status status = pm_model_open(vocab_only ? NULL : device, &desc, &model);
    assert_true((model != NULL) == (status == PM_OK));
    if (status != PM_OK)
        assert_true(strlen(pm_last_error()) > 10);
    pm_model_close(model);
    return status;
}

static bool is_bad_file(pm_status status) {
    return status == PM_BAD_FILE || status == PM_UNSUPPORTED;
}

static void check_file(const char *path, const char *name) {
    const bool may_load = strstr(name, "maybe-ok") != NULL;
    const pm_status status = try_file(path, false);
    if (!is_bad_file(status) && !(may_load && status == PM_OK))
        fail_msg("%s: %s", name, pm_status_text(status));
    const pm_status vocabulary = try_file(path, true);
    if (!is_bad_file(vocabulary) && vocabulary != PM_OK)
        fail_msg("%s, vocabulary only: %s", name, pm_status_text(vocabulary));
}

static void test_malformed(void **state) {
    (void)state;
    const char *found = pm__reference_path("models/malformed");
    if (found == NULL)
        skip();
    char directory[1024];
    snprintf(directory, sizeof directory, "%s", found);
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    uint32_t n = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strncmp(entry->d_name, "gguf-", 5) != 0)
            continue;
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        check_file(path, entry->d_name);
        n++;
    }
    closedir(dir);
    assert_true(n >= 40);
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    printf("%u files, at most %ld MB resident\n", n, usage.ru_maxrss / 1024);
}

/* What is wrong with a type is said with its name. */
static void test_types(void **state) {
    (void)state;
    static const struct {
        const char *file, *sentence;
    } files[] = {
        {"models/malformed/gguf-q4_k-row-64.gguf",
         "tensor 'a': rows of 64 are no multiple of the 256 elements of a Q4_K block"},
        {"models/malformed/gguf-type-4-removed.gguf",
         "tensor 'a': tensor type Q4_2 (4) was removed from the format; get a newer file"},
        {"models/malformed/gguf-type-9999.gguf", "tensor type 9999 is unknown"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = pm__reference_path(files[i].file);
        if (path == NULL)
            skip();
        assert_int_equal(try_file(path, true), PM_BAD_FILE);
        if (strstr(pm_last_error(), files[i].sentence) == NULL)
            fail_msg("%s: %s", files[i].file, pm_last_error());
    }
}

static void test_no_file(void **state) {
    (void)state;
    assert_int_equal(try_file("/nonexistent/model.gguf", false), PM_BAD_FILE);
    assert_non_null(strstr(pm_last_error(), "/nonexistent/model.gguf"));
    assert_int_equal(try_file("/", false), PM_BAD_FILE);
    assert_int_equal(try_file("/dev/null", true), PM_BAD_FILE);
    assert_int_equal(try_file(NULL, true), PM_ARGUMENT);
}

/* Every prefix of a small real model, cut at places that a parser cares about, and bytes turned
 * over. */
static void test_cut_and_flipped(void **state) {
    (void)state;
    const char *path = pm__reference_path("models/real/stories260K-f16.gguf");
    if (path == NULL)
        skip();
    static unsigned char bytes[1 << 20];
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    const size_t n = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    char name[PM__FOLDER_SIZE];
    const int fd = pm__scratch_file(name);
    uint32_t random = 7;
    for (uint32_t i = 0; i < 150; i++) {
        random = random * 1664525u + 1013904223u;
        const size_t at = (random >> 4) % 16000; /* the header and the vocabulary */
        const unsigned char old = bytes[at];
        bytes[at] = (unsigned char)(old ^ (1u << (random >> 28) % 8));
        const size_t size = i % 3 == 0 ? at + 1 : n;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bytes, size, 0), (ssize_t)size);
        bytes[at] = old;
        const pm_status status = try_file(name, false);
        if (i % 3 == 0 || status != PM_OK)
            assert_true(is_bad_file(status));
    }
    close(fd);
    unlink(name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_cut_and_flipped),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
