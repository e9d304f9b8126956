/* home.c: see home.h. */
#include "engine/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4352 /* a directory's and a file's name */

enum status home_make(const char *directory, struct error *error)
{
    if (mkdir(directory, 0700) != 0 && errno != EEXIST) {
        return error_set(error, STATUS_IO, "%s: cannot make the data directory: %s", directory, strerrordesc_np(errno));
    }
    if (access(directory, R_OK | W_OK | X_OK) != 0) {
        return error_set(error, STATUS_IO, "%s: no permission to use this data directory: %s", directory,
                         strerrordesc_np(errno));
    }
    return STATUS_OK;
}

static bool look(const struct home *home, const char *file, struct stat *out_found)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/%s", home->directory, file);
    return stat(path, out_found) == 0;
}

enum status home_remember(const char *directory, const char *file, struct home *out_home, struct error *error)
{
    struct stat found;
    *out_home = (struct home){.directory = directory, .file = file};
    if (!look(out_home, file, &found)) {
        return error_set(error, STATUS_IO, "%s/%s: %s", directory, file, strerrordesc_np(errno));
    }
    out_home->device = found.st_dev;
    out_home->inode = found.st_ino;
    return STATUS_OK;
}

bool home_is_there(const struct home *home, const char *other)
{
    struct stat found;
    return look(home, home->file, &found) && found.st_dev == home->device && found.st_ino == home->inode &&
           (other == NULL || look(home, other, &found));
}
