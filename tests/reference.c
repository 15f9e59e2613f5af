#include "reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N_PATH    8
#define PATH_SIZE 4096

static const char *join(const char *folder, const char *relative) {
    static char paths[N_PATH][PATH_SIZE];
    static unsigned next;
    char *path = paths[next++ % N_PATH];
    const int n = snprintf(path, PATH_SIZE, "%s/%s", folder, relative);
    if (n < 0 || n >= PATH_SIZE || access(path, R_OK) != 0) {
        printf("reference: %s is not there, what needs it is skipped\n", relative);
        return NULL;
    }
    return path;
}

const char *pm__reference_path(const char *relative) {
    const char *shared = getenv("PUMICE_SHARED");
    return join(shared && *shared ? shared : PUMICE_SOURCE_DIR "/../shared", relative);
}

const char *pm__source_path(const char *relative) {
    return join(PUMICE_SOURCE_DIR, relative);
}
