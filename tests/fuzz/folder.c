#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

static void leave(void) {
    pm__folder_clear();
    rmdir(folder);
}

const char *pm__folder(void) {
    static const char *const places[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; folder[0] == '\0' && i < PM__COUNT(places); i++) {
        snprintf(folder, sizeof folder, "%s/pumice-fuzz-XXXXXX", places[i]);
        if (mkdtemp(folder) == NULL)
            folder[0] = '\0';
        else
            atexit(leave);
    }
    PM__HOLDS(folder[0] != '\0');
    return folder;
}

const char *pm__folder_path(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%.200s", pm__folder(), name);
    return path;
}

void pm__folder_write(const char *name, pm__span data) {
    const int fd = open(pm__folder_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    PM__HOLDS(fd >= 0);
    PM__HOLDS(data.size == 0 || write(fd, data.data, data.size) == (ssize_t)data.size);
    close(fd);
}

void pm__folder_clear(void) {
    DIR *dir = opendir(pm__folder());
    PM__HOLDS(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (entry->d_name[0] != '.')
            unlink(pm__folder_path(entry->d_name));
    closedir(dir);
}
