/* command_backup.c: assay backup: a copy of a data directory's log, taken while a server may be writing to it.
 *
 * The log only grows, and a block is whole or it is not there: so the segments that were there when the copy began, the last
 * one up to its last whole block, are the log as it was at one moment. The copy is read back whole before it gets its name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/files.h"
#include "tools/offline.h"
#include "tools/options.h"

#define PARTIAL      ".partial"
#define SEGMENT_PATH (OFFLINE_PATH + 8 + SEGMENT_NAME_SIZE)

struct backup {
    const char *target;
    char partial[OFFLINE_PATH]; /* the target's name while it is not whole */
    struct offline *source;
    struct error *error;
    uint64_t end_lsn; /* first lsn that is not in the copy */
    uint64_t records;
    struct progress progress;
    char from[SEGMENT_PATH]; /* of the segment at hand */
    char to[SEGMENT_PATH];
};

/* Where the last whole block of the last segment ends, in bytes. */
static enum status last_segment_end(struct backup *backup, uint64_t *out_end)
{
    const struct offline *source = backup->source;
    const struct log_reader_options options = {.io = source->io,
                                               .directory = OFFLINE_LOG,
                                               .from_lsn = source->segments[source->segment_count - 1],
                                               .buffered = true};
    struct log_reader *reader = NULL;
    char name[SEGMENT_NAME_SIZE];
    segment_name(source->segments[source->segment_count - 1], name);
    *out_end = LOG_BLOCK_ALIGN; /* the segment's header */
    enum status status = log_reader_open(&options, backup->error, &reader);
    while (status == STATUS_OK) {
        struct log_block block;
        status = log_reader_next(reader, backup->error, &block);
        /* A segment that has begun since is not part of the copy. */
        if (status == STATUS_OK && strcmp(block.segment, name) != 0) {
            status = STATUS_END;
        }
        if (status == STATUS_OK) {
            *out_end = block.header.offset + round_up(FORMAT_BLOCK_HEADER_SIZE + block.header.payload_size, LOG_BLOCK_ALIGN);
        }
    }
    log_reader_close(reader);
    return status == STATUS_END ? STATUS_OK : status;
}

static enum status segments_copy(struct backup *backup)
{
    const struct offline *source = backup->source;
    uint64_t end = 0;
    enum status status = last_segment_end(backup, &end);
    progress_begin(&backup->progress, "copying", "segments", source->segment_count);
    for (uint32_t i = 0; i < source->segment_count && status == STATUS_OK; i++) {
        char name[SEGMENT_NAME_SIZE];
        segment_name(source->segments[i], name);
        (void)snprintf(backup->from, sizeof(backup->from), "%s/" OFFLINE_LOG "/%s", source->path, name);
        (void)snprintf(backup->to, sizeof(backup->to), "%s/" OFFLINE_LOG "/%s", backup->partial, name);
        status = file_copy(backup->from, backup->to, i + 1 == source->segment_count ? end : FILE_WHOLE, backup->error);
        progress_show(&backup->progress, i + 1);
    }
    progress_end(&backup->progress, source->segment_count);
    return status;
}

static enum status record_count(void *context, const struct record *record)
{
    struct backup *backup = context;
    backup->records++;
    backup->end_lsn = record->lsn + 1;
    progress_show(&backup->progress, backup->records);
    return STATUS_OK;
}

/* Reads the copy as a server would: every checksum, every record. */
static enum status copy_check(struct backup *backup)
{
    struct io *io = NULL;
    enum status status = io_open(IO_BACKEND_SYNC, backup->partial, backup->error, &io);
    if (status == STATUS_OK) {
        const struct log_reader_options options = {.io = io, .directory = OFFLINE_LOG, .from_lsn = 0, .buffered = true};
        progress_begin(&backup->progress, "checking", "records", 0);
        status = log_scan(&options, backup->error, record_count, backup);
        progress_end(&backup->progress, backup->records);
    }
    io_close(io);
    return status;
}

static enum status copy_make(struct backup *backup)
{
    char log[OFFLINE_PATH + 8];
    (void)snprintf(log, sizeof(log), "%s/" OFFLINE_LOG, backup->partial);
    if (mkdir(backup->partial, 0700) != 0) {
        return errno == EEXIST ? error_set(backup->error, STATUS_EXISTS,
                                           "%s is in the way: another backup is under way, or was interrupted; delete it",
                                           backup->partial)
                               : path_error(backup->error, "make", backup->partial);
    }
    enum status status = mkdir(log, 0700) == 0 ? segments_copy(backup) : path_error(backup->error, "make", log);
    if (status == STATUS_OK) {
        status = token_copy(backup->source->path, backup->partial, backup->error);
    }
    if (status == STATUS_OK) {
        status = copy_check(backup);
    }
    if (status == STATUS_OK) {
        status = directory_sync(log, backup->error);
    }
    if (status == STATUS_OK) {
        status = directory_sync(backup->partial, backup->error);
    }
    if (status == STATUS_OK && rename(backup->partial, backup->target) != 0) {
        status = path_error(backup->error, "make", backup->target);
    }
    if (status != STATUS_OK) {
        directory_remove(backup->partial);
    }
    return status;
}

/* The folder that holds the target: its new name must be on the disk too. */
static enum status parent_sync(const struct backup *backup)
{
    char parent[OFFLINE_PATH];
    (void)snprintf(parent, sizeof(parent), "%s", backup->target);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        return directory_sync(".", backup->error);
    }
    slash[slash == parent ? 1 : 0] = '\0';
    return directory_sync(parent, backup->error);
}

static enum exit_code backup_run(const char *source, char *target)
{
    struct error error = {""};
    struct backup *backup = calloc(1, sizeof(*backup));
    if (backup == NULL) {
        return complain(EXIT_CANNOT, "out of memory");
    }
    backup->target = target;
    backup->error = &error;
    size_t size = strlen(target);
    while (size > 1 && target[size - 1] == '/') {
        target[--size] = '\0';
    }
    enum status status = directory_check_free(target, &error);
    const int written = snprintf(backup->partial, sizeof(backup->partial), "%s" PARTIAL, target);
    if (status == STATUS_OK && written >= (int)sizeof(backup->partial)) {
        status = error_set(&error, STATUS_INVALID, "--to: the path is too long");
    }
    if (status == STATUS_OK) {
        status = offline_open_shared(source, &error, &backup->source);
    }
    if (status == STATUS_OK) {
        status = copy_make(backup);
    }
    if (status == STATUS_OK) {
        status = parent_sync(backup);
    }
    if (status == STATUS_OK) {
        char number[2][NUMBER_TEXT_SIZE];
        (void)printf("%s holds the log of %s below lsn %s: %s records, read back and whole\n", target, source,
                     number_text(backup->end_lsn, number[0]), number_text(backup->records, number[1]));
    }
    offline_close(backup->source);
    free(backup);
    return status == STATUS_OK ? EXIT_GOOD : complain(offline_exit(status), "%s", error.text);
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    const char *source = NULL;
    const char *target = NULL;
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"data", "DIR",    OPTION_TEXT, &source, "the data directory, of a running server too"},
        {"to",   "NEWDIR", OPTION_TEXT, &target, "the directory to make; it must not exist, or be empty"},
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (source == NULL || target == NULL || *target == '\0') {
        return complain(EXIT_USAGE, "--data DIR and --to NEWDIR are needed; see: assay backup --help");
    }
    return backup_run(source, (char *)(uintptr_t)target); /* the command line's own memory */
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "--data DIR --to NEWDIR",
    .summary = "Copy a data directory, while a server uses it too.",
    .lesson = "The log is copied as it is at one moment: everything that was acknowledged before the command began is\n"
              "in the copy. It is read back and every checksum compared before NEWDIR gets its name; until then it is\n"
              "NEWDIR" PARTIAL ", and it is removed where something fails. The store is left out: a server makes it again\n"
              "from the log. The admin token comes along, so keep the copy as safe as the original.\n"
              "\n"
              "NEWDIR is a whole data directory. To restore, start a server on it or on a copy of it:\n"
              "\n"
              "  assay backup --data /var/lib/assay --to /backup/assay-monday\n"
              "  assayd --data /backup/assay-monday --listen 127.0.0.1:8081\n"
              "\n"
              "Damage in the log ends it with exit code 1, named with file and offset.\n",
    .run = run,
};
