#include "model_file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int say_unwritten(const pm__model_file *file, int error) {
    return pm__cli_error(PM__EXIT_FAILURE, "%s: %s cannot be written: %s", file->command,
                         file->path, strerror(error));
}

int pm__model_file_open(pm__model_file *file, const char *command, const char *path, bool force) {
    struct stat old;
    *file = (pm__model_file){.command = command, .path = path};
    if (!force && stat(path, &old) == 0 && S_ISREG(old.st_mode)) {
        return pm__cli_error(PM__EXIT_FAILURE, "%s: %s is there already; --force replaces it",
                             command, path);
    }
    return pm__new_file_open(&file->file, path) ? 0 : say_unwritten(file, errno);
}

bool pm__model_file_write(void *user, const void *data, size_t n) {
    pm__model_file *file = user;
    errno = 0;
    if (fwrite(data, 1, n, file->file.stream) == n)
        return true;
    file->error = errno ? errno : EIO;
    return false;
}

bool pm__model_file_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    return pm__report_progress(&((pm__model_file *)user)->progress, what, done, total);
}

int pm__model_file_close(pm__model_file *file, pm_status status) {
    pm__report_progress_end(&file->progress);
    const bool kept = pm__new_file_close(&file->file, status == PM_OK);
    const int error = file->error ? file->error : errno;
    if (file->error || (status == PM_OK && !kept))
        return say_unwritten(file, error);
    return pm__cli_status(status);
}
