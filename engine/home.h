/* home.h: the data directory: made where it is missing, and later asked whether it is still the one that was opened.
 *
 * Files that were removed, or whose disk was taken away, while a process has them open take writes and flushes as before, but
 * nobody will ever read them: what is acknowledged then is lost. No call on the open files says so, a look by name does.
 *
 * Threads      Any, each its own.
 */
#ifndef ASSAY_ENGINE_HOME_H
#define ASSAY_ENGINE_HOME_H

#include "engine/base.h"

/* STATUS_IO where it cannot be made, read and written. */
MUST_USE enum status home_make(const char *directory, struct error *error);

/* A file of the directory, as it was when it was remembered. */
struct home {
    const char *directory;
    const char *file;
    uint64_t device;
    uint64_t inode;
};

/* directory and file must live as long as the home. */
MUST_USE enum status home_remember(const char *directory, const char *file, struct home *out_home, struct error *error);
/* Is that very file still there by its name, and one named `other` below the directory too (NULL: not asked)? Two calls of
 * the system, no disk. */
bool home_is_there(const struct home *home, const char *other);

#endif
