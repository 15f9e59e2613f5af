/* cache.c: files of compiled things, each checked on reading. A bad file is a miss. */
#include "../base/hash.h"
#include "../base/log.h"
#include "shader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_PATH = 4096,
    MOST_NAMES = 8,
    TEMPORARY_END = 21, /* characters of ".0123456789abcdef.new" */
    STALE_SECONDS = 3600
};

struct pm__shader_cache {
    char *dir; /* NULL: nothing is kept */
};

/* In front of each file, in the order of this machine's bytes: another order is a miss. */
typedef struct file_header {
    char magic[8];
    uint64_t version; /* hash of PM_VERSION */
    uint64_t name;    /* hash of the file's name: a renamed file is a miss */
    uint64_t n_byte;  /* after this header */
    uint64_t checksum;
} file_header;

static const char magic[8] = {'p', 'u', 'm', 'i', 'c', 'e', 'c', '1'};

static void warn_once(const char *path, int error) {
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&warned))
        pm__log(PM_LOG_WARN, "cache: %s: %s; shaders are compiled anew in each run", path,
                strerror(error));
}

/* ---- directory ------------------------------------------------------------------------------- */

static bool make_directories(char *path) {
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        const bool made = mkdir(path, 0700) == 0 || errno == EEXIST || errno == EISDIR;
        if (slash == NULL)
            return made;
        *slash = '/';
    }
}

/* The directory by the XDG base directory specification, which ignores relative paths. */
static bool find_directory(const char *wanted, char path[MOST_PATH]) {
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int n = -1;
    if (wanted != NULL)
        n = snprintf(path, MOST_PATH, "%s", wanted);
    else if (xdg != NULL && xdg[0] == '/')
        n = snprintf(path, MOST_PATH, "%s/pumice", xdg);
    else if (home != NULL && home[0] == '/')
        n = snprintf(path, MOST_PATH, "%s/.cache/pumice", home);
    return n > 0 && n < MOST_PATH;
}

/* Whether a file bears a name that replace_file makes: there may be others of the user's here. */
static bool is_temporary(const char *name) {
    const size_t n = strlen(name);
    if (strncmp(name, "shader-", 7) != 0 && strncmp(name, "pipelines-", 10) != 0 &&
        strncmp(name, "check-", 6) != 0 && strncmp(name, "speed-", 6) != 0)
        return false;
    return n > TEMPORARY_END && strcmp(name + n - 4, ".new") == 0 &&
           name[n - TEMPORARY_END] == '.' &&
           strspn(name + n - TEMPORARY_END + 1, "0123456789abcdef") == 16;
}

/* Whoever still writes one has begun within the hour. */
static void remove_stale(const char *path) {
    DIR *dir = opendir(path);
    const time_t now = time(NULL);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (is_temporary(entry->d_name) &&
            fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode) && now - info.st_mtime > STALE_SECONDS)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        closedir(dir);
}

static pm_status open_directory(const char *wanted, char **out) {
    char path[MOST_PATH];
    if (!find_directory(wanted, path)) {
        warn_once(wanted != NULL ? wanted : "neither XDG_CACHE_HOME nor HOME is set", ENOENT);
        return PM_OK;
    }
    if (!make_directories(path) || access(path, R_OK | W_OK | X_OK) != 0) {
        warn_once(path, errno);
        return PM_OK;
    }
    remove_stale(path);
    *out = strdup(path);
    return *out != NULL ? PM_OK : pm__fail_memory("cache", strlen(path));
}

pm_status pm__shader_cache_create(const char *cache_dir, struct pm__shader_cache **out) {
    struct pm__shader_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return pm__fail_memory("cache", sizeof *cache);
    pm_status status = PM_OK;
    if (cache_dir == NULL || cache_dir[0] != '\0')
        status = open_directory(cache_dir, &cache->dir);
    if (status == PM_OK)
        *out = cache;
    else
        pm__shader_cache_destroy(cache);
    return status;
}

void pm__shader_cache_destroy(struct pm__shader_cache *cache) {
    if (cache == NULL)
        return;
    free(cache->dir);
    free(cache);
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool file_path(const struct pm__shader_cache *cache, const char *name,
                      char path[MOST_PATH]) {
    if (cache == NULL || cache->dir == NULL)
        return false;
    const int n = snprintf(path, MOST_PATH, "%s/%s", cache->dir, name);
    return n > 0 && n < MOST_PATH;
}

static file_header header_of(const char *name, const void *data, size_t n_byte) {
    file_header header = {
        .version = pm__hash_string(PM__HASH_START, PM_VERSION),
        .name = pm__hash_string(PM__HASH_START, name),
        .n_byte = n_byte,
        .checksum = pm__hash(PM__HASH_START, data, n_byte),
    };
    memcpy(header.magic, magic, sizeof magic);
    return header;
}

static bool read_all(int fd, void *data, size_t n_byte) {
    char *at = data;
    while (n_byte > 0) {
        const ssize_t n = read(fd, at, n_byte);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        n_byte -= (size_t)n;
    }
    return true;
}

static bool write_all(int fd, const void *data, size_t n_byte) {
    const char *at = data;
    while (n_byte > 0) {
        const ssize_t n = write(fd, at, n_byte);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        n_byte -= (size_t)n;
    }
    return true;
}

/* The length that the file really has decides what is allocated, not the one it claims. */
static void *read_checked(int fd, const char *name, size_t *n_byte) {
    struct stat info;
    file_header found;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= (off_t)sizeof found ||
        info.st_size > (off_t)1 << 30)
        return NULL;
    const size_t n = (size_t)info.st_size - sizeof found;
    void *data = malloc(n);
    if (data == NULL)
        return NULL;
    if (read_all(fd, &found, sizeof found) && read_all(fd, data, n)) {
        const file_header wanted = header_of(name, data, n);
        if (memcmp(&found, &wanted, sizeof found) == 0) {
            *n_byte = n;
            return data;
        }
    }
    free(data);
    return NULL;
}

void *pm__cache_read(const struct pm__shader_cache *cache, const char *name, size_t *n_byte) {
    char path[MOST_PATH];
    if (!file_path(cache, name, path))
        return NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    void *data = read_checked(fd, name, n_byte);
    close(fd);
    if (data == NULL)
        pm__log(PM_LOG_INFO, "cache: %s is damaged or of another version, and is ignored", path);
    return data;
}

/* A new file beside `path`, which nobody else writes or has left: processes of two containers may
 * have one number. -1 leaves errno. */
static int create_beside(const char *path, char temporary[MOST_PATH]) {
    static atomic_uint count;
    int fd = -1;
    for (int i = 0; i < MOST_NAMES && fd < 0; i++) {
        const pm__hash_key key = pm__hash_draw_key();
        const uint64_t own[] = {key.low, (uint64_t)getpid(), atomic_fetch_add(&count, 1)};
        const int n = snprintf(temporary, MOST_PATH, "%s.%016" PRIx64 ".new", path,
                               pm__hash(PM__HASH_START, own, sizeof own));
        errno = ENAMETOOLONG;
        if (n < 0 || n >= MOST_PATH)
            return -1;
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    return fd;
}

/* Written beside and renamed; false leaves errno.
 * header  NULL: none */
static bool replace_file(const char *path, const file_header *header, const void *data,
                         size_t n_byte) {
    char temporary[MOST_PATH];
    const int fd = create_beside(path, temporary);
    if (fd < 0)
        return false;
    const bool written =
        (header == NULL || write_all(fd, header, sizeof *header)) && write_all(fd, data, n_byte);
    int error = errno;
    const bool closed = close(fd) == 0;
    if (written && closed && rename(temporary, path) == 0)
        return true;
    if (written)
        error = errno;
    unlink(temporary);
    errno = error;
    return false;
}

void pm__cache_write(const struct pm__shader_cache *cache, const char *name, const void *data,
                     size_t n_byte) {
    char path[MOST_PATH];
    if (!file_path(cache, name, path))
        return;
    const file_header header = header_of(name, data, n_byte);
    if (!replace_file(path, &header, data, n_byte))
        warn_once(path, errno);
}

/* ---- texts ----------------------------------------------------------------------------------- */

static pm_status read_whole_text(int fd, size_t most, char **out) {
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0 ||
        (uint64_t)info.st_size > most)
        return PM_OK;
    const size_t n = (size_t)info.st_size;
    char *text = calloc(1, n + 1);
    if (text == NULL)
        return pm__fail_memory("cache: text", n + 1);
    if (read_all(fd, text, n) && strlen(text) == n)
        *out = text;
    else
        free(text);
    return PM_OK;
}

pm_status pm__cache_read_text(const struct pm__shader_cache *cache, const char *name, size_t most,
                              char **text, bool *found) {
    char path[MOST_PATH];
    *text = NULL;
    *found = false;
    if (!file_path(cache, name, path))
        return PM_OK;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *found = fd >= 0 || errno != ENOENT;
    if (fd < 0)
        return PM_OK;
    const pm_status status = read_whole_text(fd, most, text);
    close(fd);
    return status;
}

bool pm__cache_write_text(const struct pm__shader_cache *cache, const char *name,
                          const char *text) {
    char path[MOST_PATH];
    return file_path(cache, name, path) && replace_file(path, NULL, text, strlen(text));
}

bool pm__cache_remove(const struct pm__shader_cache *cache, const char *name) {
    char path[MOST_PATH];
    return file_path(cache, name, path) && (unlink(path) == 0 || errno == ENOENT);
}

bool pm__cache_is_kept(const struct pm__shader_cache *cache) {
    return cache != NULL && cache->dir != NULL;
}
