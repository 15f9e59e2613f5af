#include "folders.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void name_scratch(char path[PM__FOLDER_SIZE]) {
    const char *tmp = getenv("TMPDIR");
    snprintf(path, PM__FOLDER_SIZE, "%s/pumice-test-XXXXXX", tmp != NULL && *tmp ? tmp : "/tmp");
}

int pm__scratch_file(char path[PM__FOLDER_SIZE]) {
    name_scratch(path);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    return fd;
}

void pm__folder_init(char path[PM__FOLDER_SIZE]) {
    name_scratch(path);
    assert_non_null(mkdtemp(path));
}

void pm__folder_path(const char *folder, const char *name, char path[2 * PM__FOLDER_SIZE]) {
    const int n = snprintf(path, 2 * PM__FOLDER_SIZE, "%s/%s", folder, name);
    assert_true(n > 0 && n < 2 * PM__FOLDER_SIZE);
}

void pm__folder_finish(const char *path) {
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char file[2 * PM__FOLDER_SIZE];
        pm__folder_path(path, entry->d_name, file);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            assert_int_equal(remove(file), 0);
    }
    closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

void pm__folder_write(const char *folder, const char *name, const char *text) {
    char path[2 * PM__FOLDER_SIZE];
    pm__folder_path(folder, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

void pm__folder_find(const char *folder, const char *prefix, char name[PM__FOLDER_SIZE]) {
    int n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) {
            snprintf(name, PM__FOLDER_SIZE, "%.200s", entry->d_name);
            n++;
        }
    closedir(dir);
    assert_int_equal(n, 1);
}
