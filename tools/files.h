/* files.h: copies that are on the disk when they are made, for the commands that make data directories. */
#ifndef ASSAY_TOOLS_FILES_H
#define ASSAY_TOOLS_FILES_H

#include "engine/base.h"

/* "cannot VERB PATH: why", by errno. STATUS_NO_SPACE or STATUS_IO. */
enum status path_error(struct error *error, const char *verb, const char *path);

#define FILE_WHOLE UINT64_MAX
/* Copies at most the first `most` bytes of a file to a new one, readable by its owner alone, as long as the source: what is
 * left out is zeros there. */
MUST_USE enum status file_copy(const char *source, const char *target, uint64_t most, struct error *error);
/* The admin-token file, where the directory has one: the tokens are in the log, so the same secret opens the copy. */
MUST_USE enum status token_copy(const char *source_directory, const char *target_directory, struct error *error);
MUST_USE enum status directory_sync(const char *path, struct error *error);
/* STATUS_OK where there is nothing of this name, or an empty directory; else STATUS_EXISTS. */
MUST_USE enum status directory_check_free(const char *path, struct error *error);
/* Removes a data directory that was just made: its log, its token, itself. */
void directory_remove(const char *path);

#endif
