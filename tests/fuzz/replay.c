/* replay.c: runs a fuzz target over the files of a folder, without a fuzzer: what once went wrong
 * stays mended, with any compiler. */
#include "input.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_BYTES = 1 << 20 };

static bool replay(const char *path) {
    static uint8_t bytes[MOST_BYTES];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    const bool is_read = ferror(file) == 0 && size < sizeof bytes;
    fclose(file);
    if (!is_read) {
        fprintf(stderr, "%s: cannot be read, or has %d bytes or more\n", path, MOST_BYTES);
        return false;
    }
    uint8_t *exact = pm__input_copy(bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return true;
}

/* The last name printed is that of the input that failed. */
static int replay_folder(const char *folder, DIR *dir) {
    unsigned n = 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[4096];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
            continue;
        printf("%s\n", entry->d_name);
        fflush(stdout);
        if (!replay(path))
            return 1;
        n++;
    }
    printf("%u inputs, all of them hold\n", n);
    return n > 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (dir == NULL) {
        perror(argv[1]);
        return 1;
    }
    const int code = replay_folder(argv[1], dir);
    closedir(dir);
    return code;
}
