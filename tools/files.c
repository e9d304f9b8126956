/* files.c: see files.h. */
#include "tools/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/offline.h"

#define COPY_SIZE ((size_t)1024 * 1024)

enum status path_error(struct error *error, const char *verb, const char *path)
{
    const int cause = errno;
    return error_set(error, cause == ENOSPC || cause == EDQUOT ? STATUS_NO_SPACE : STATUS_IO, "cannot %s %s: %s", verb,
                     path, strerrordesc_np(cause));
}

static bool copy_bytes(int from, int to, uint64_t most)
{
    struct stat source;
    char *buffer = malloc(COPY_SIZE);
    bool is_good = buffer != NULL && fstat(from, &source) == 0;
    ssize_t size = 1;
    while (is_good && size > 0 && most > 0) {
        size = read(from, buffer, most < COPY_SIZE ? (size_t)most : COPY_SIZE);
        is_good = size >= 0;
        for (ssize_t done = 0; is_good && done < size;) {
            const ssize_t written = write(to, buffer + done, (size_t)(size - done));
            is_good = written > 0;
            done += is_good ? written : 0;
        }
        most -= is_good ? (uint64_t)size : 0;
    }
    free(buffer);
    return is_good && ftruncate(to, source.st_size) == 0 && fsync(to) == 0;
}

enum status file_copy(const char *source, const char *target, uint64_t most, struct error *error)
{
    const int from = open(source, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return path_error(error, "read", source);
    }
    const int to = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const bool is_copied = to >= 0 && copy_bytes(from, to, most);
    const enum status status = is_copied ? STATUS_OK : path_error(error, "write", target);
    (void)close(from);
    if (to >= 0) {
        (void)close(to);
    }
    return status;
}

enum status token_copy(const char *source_directory, const char *target_directory, struct error *error)
{
    char from[OFFLINE_PATH + 16];
    char to[OFFLINE_PATH + 16];
    (void)snprintf(from, sizeof(from), "%s/admin-token", source_directory);
    (void)snprintf(to, sizeof(to), "%s/admin-token", target_directory);
    return access(from, R_OK) == 0 ? file_copy(from, to, FILE_WHOLE, error) : STATUS_OK;
}

enum status directory_sync(const char *path, struct error *error)
{
    const int file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_synced = file >= 0 && fsync(file) == 0;
    const enum status status = is_synced ? STATUS_OK : path_error(error, "sync", path);
    if (file >= 0) {
        (void)close(file);
    }
    return status;
}

enum status directory_check_free(const char *path, struct error *error)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return errno == ENOENT ? STATUS_OK : path_error(error, "use", path);
    }
    bool is_empty = true;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        is_empty = is_empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
    (void)closedir(directory);
    return is_empty ? STATUS_OK : error_set(error, STATUS_EXISTS, "%s is not empty: --to takes a new directory", path);
}

void directory_remove(const char *path)
{
    char name[OFFLINE_PATH + 16];
    (void)snprintf(name, sizeof(name), "%s/" OFFLINE_LOG, path);
    DIR *log = opendir(name);
    for (struct dirent *entry = log != NULL ? readdir(log) : NULL; entry != NULL; entry = readdir(log)) {
        (void)unlinkat(dirfd(log), entry->d_name, 0);
    }
    if (log != NULL) {
        (void)closedir(log);
    }
    (void)rmdir(name);
    (void)snprintf(name, sizeof(name), "%s/admin-token", path);
    (void)unlink(name);
    (void)rmdir(path);
}
