#define _XOPEN_SOURCE 700 /* realpath */
#include "new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path behind links; of a file that is not there yet, as it was given. */
static bool follow(const char *path, char out[PM__PATH_SIZE]) {
    char *real = realpath(path, NULL);
    if (!real && errno != ENOENT)
        return false;
    const int n = snprintf(out, PM__PATH_SIZE, "%s", real ? real : path);
    free(real);
    errno = ENAMETOOLONG;
    return n > 0 && n < PM__PATH_SIZE;
}

/* old  NULL: there is none */
static FILE *open_beside(pm__new_file *file, const struct stat *old) {
    const int n =
        snprintf(file->temporary, PM__PATH_SIZE, "%s.%ld.new", file->path, (long)getpid());
    if (n < 0 || n >= PM__PATH_SIZE) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    const mode_t mode = old ? old->st_mode & 0777 : 0666;
    const int fd =
        open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return NULL;
    if (old && fchmod(fd, mode) != 0)
        errno = 0; /* a file system without modes */
    FILE *stream = fdopen(fd, "w");
    if (!stream) {
        const int error = errno;
        close(fd);
        unlink(file->temporary);
        errno = error;
    }
    return stream;
}

bool pm__new_file_open(pm__new_file *file, const char *path) {
    struct stat old;
    *file = (pm__new_file){0};
    if (!follow(path, file->path))
        return false;
    const bool there = stat(file->path, &old) == 0;
    file->stream = there && !S_ISREG(old.st_mode) ? fopen(file->path, "w")
                                                  : open_beside(file, there ? &old : NULL);
    return file->stream != NULL;
}

bool pm__new_file_close(pm__new_file *file, bool whole) {
    const bool beside = file->temporary[0] != '\0';
    bool ok = whole && fflush(file->stream) == 0 && !ferror(file->stream) &&
              (!beside || fsync(fileno(file->stream)) == 0);
    int error = errno;
    if (fclose(file->stream) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (ok && beside && rename(file->temporary, file->path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok && beside)
        unlink(file->temporary);
    *file = (pm__new_file){0};
    errno = error;
    return ok;
}
