/* offline.c: see offline.h. */
#include "tools/offline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/store.h"

enum exit_code offline_exit(enum status status)
{
    return status == STATUS_OK        ? EXIT_GOOD
           : status == STATUS_DAMAGED ? EXIT_DIFFERENCE
                                      : EXIT_CANNOT;
}

/* ---- segments ---- */

static void segment_add(void *context, const char *name)
{
    struct offline *offline = context;
    uint64_t first_lsn = 0;
    if (offline->out_of_memory || !segment_name_parse(name, &first_lsn)) {
        return;
    }
    if (offline->segment_count == offline->segment_capacity) {
        const uint32_t capacity =
            offline->segment_capacity == 0 ? 64 : offline->segment_capacity * 2;
        uint64_t *grown = realloc(offline->segments, capacity * sizeof(*grown));
        offline->out_of_memory = grown == NULL;
        if (grown == NULL) {
            return;
        }
        offline->segments = grown;
        offline->segment_capacity = capacity;
    }
    offline->segments[offline->segment_count++] = first_lsn;
}

static int lsn_compare(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static enum status segments_list(struct offline *offline, struct error *error)
{
    const enum status status =
        offline->io->operations->list(offline->io, OFFLINE_LOG, segment_add, offline);
    if (offline->out_of_memory) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    if (status != STATUS_OK || offline->segment_count == 0) {
        return error_set(error, STATUS_NOT_FOUND,
                         "%s holds no log: is it the directory that was given to assayd --data?",
                         offline->path);
    }
    qsort(offline->segments, offline->segment_count, sizeof(*offline->segments), lsn_compare);
    return STATUS_OK;
}

/* Whose log is it? Every segment says so; the reader checks that they agree. */
static enum status identity_read(struct offline *offline, struct error *error)
{
    struct io *io = offline->io;
    char name[SEGMENT_NAME_SIZE];
    char path[SEGMENT_NAME_SIZE + sizeof(OFFLINE_LOG) + 1];
    uint8_t header[FORMAT_SEGMENT_HEADER_SIZE];
    int file = -1;
    size_t done = 0;
    segment_name(offline->segments[0], name);
    (void)snprintf(path, sizeof(path), "%s/%s", OFFLINE_LOG, name);
    enum status status = io->operations->open(io, path, IO_OPEN_READ, &file);
    if (status == STATUS_OK) {
        status = io_read(io, file, header, sizeof(header), 0, &done);
        io->operations->close_file(io, file);
    }
    if (status != STATUS_OK) {
        return error_set(error, status, "cannot read %s/%s: %s", offline->path, path,
                         status_name(status));
    }
    status =
        done == sizeof(header) ? segment_header_decode(header, &offline->first) : STATUS_DAMAGED;
    return status == STATUS_OK
               ? status
               : error_set(error, status, "%s/%s: %s", offline->path, path,
                           status == STATUS_UNSUPPORTED ? "was written by a newer assay"
                                                        : "the segment header is damaged");
}

/* ---- opening ---- */

static enum status paths_set(struct offline *offline, const char *path, struct error *error)
{
    static const char store[] = "/store";
    const size_t size = strlen(path);
    if (size + sizeof(store) > OFFLINE_PATH) {
        return error_set(error, STATUS_INVALID, "the path is too long");
    }
    memcpy(offline->path, path, size + 1);
    memcpy(offline->store_path, path, size);
    memcpy(offline->store_path + size, store, sizeof(store));
    offline->history = (struct log_history){offline->path, OFFLINE_LOG, IO_BACKEND_SYNC, {{0}}};
    return STATUS_OK;
}

static enum status directory_open(struct offline *offline, struct error *error)
{
    char log[OFFLINE_PATH + sizeof(OFFLINE_LOG) + 1];
    (void)snprintf(log, sizeof(log), "%s/" OFFLINE_LOG, offline->path);
    if (access(log, R_OK | X_OK) != 0) {
        return error_set(error, STATUS_NOT_FOUND,
                         "%s: %s; --data takes the directory that was given to assayd", log,
                         strerrordesc_np(errno));
    }
    return io_open(IO_BACKEND_SYNC, offline->path, error, &offline->io);
}

/* The lock file is made where it is missing: not in a directory that is none of ours. */
static enum status directory_lock(struct offline *offline, struct error *error)
{
    const enum status status = offline->io->operations->lock(offline->io, "lock");
    if (status == STATUS_LOCKED) {
        return error_set(error, status, "%s is in use by a running server: stop it first",
                         offline->path);
    }
    return status == STATUS_OK
               ? status
               : error_set(error, status, "cannot lock %s: %s", offline->path, status_name(status));
}

static enum status open_with(const char *path, bool is_locked, struct error *error, struct offline **out_offline)
{
    struct offline *offline = calloc(1, sizeof(*offline));
    if (offline == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    enum status status = paths_set(offline, path, error);
    if (status == STATUS_OK) {
        status = directory_open(offline, error);
    }
    if (status == STATUS_OK && is_locked) {
        status = directory_lock(offline, error);
    }
    if (status == STATUS_OK) {
        status = segments_list(offline, error);
    }
    if (status == STATUS_OK) {
        status = identity_read(offline, error);
    }
    if (status != STATUS_OK) {
        offline_close(offline);
        return status;
    }
    *out_offline = offline;
    return STATUS_OK;
}

enum status offline_open(const char *path, struct error *error, struct offline **out_offline)
{
    return open_with(path, true, error, out_offline);
}

enum status offline_open_shared(const char *path, struct error *error, struct offline **out_offline)
{
    return open_with(path, false, error, out_offline);
}

void offline_close(struct offline *offline)
{
    if (offline != NULL) {
        io_close(offline->io);
        free(offline->segments);
        free(offline);
    }
}

/* ---- states ---- */

enum status offline_state(struct offline *offline, struct error *error, struct state **out_state)
{
    const struct state_options options = {.history = log_history_of(&offline->history),
                                          .hash_seed = offline->first.hash_seed,
                                          .store_id = offline->first.store_id};
    const enum status status = state_open(&options, out_state);
    return status == STATUS_OK ? status : error_set(error, status, "out of memory");
}

static void replay_progressed(void *context, const struct replay_progress *progress)
{
    progress_show(context, progress->records);
}

enum status offline_replay(struct offline *offline, struct state *state, const char *what,
                           uint64_t total, struct error *error)
{
    struct progress progress;
    progress_begin(&progress, what, "records", total);
    const struct replay_options options = {.io = offline->io,
                                           .directory = OFFLINE_LOG,
                                           .buffered = true,
                                           .progress = replay_progressed,
                                           .progress_context = &progress};
    struct replay_progress replayed = {0};
    const uint64_t first_lsn = state_next_lsn(state);
    const enum status status = replay_log(&options, state, error, &replayed);
    progress_end(&progress, state_next_lsn(state) - first_lsn);
    return status;
}

static enum status row_import(void *context, enum state_table table, struct bytes key,
                              struct bytes value)
{
    return state_import(context, table, key, value);
}

enum status offline_load_store(struct offline *offline, struct state *state, struct error *error)
{
    char file[OFFLINE_PATH + 16];
    uint64_t position = 0;
    struct store *store = NULL;
    (void)snprintf(file, sizeof(file), "%s/data.mdb", offline->store_path);
    if (access(file, F_OK) != 0) {
        return error_set(error, STATUS_NOT_FOUND, "%s is not there", file);
    }
    enum status status = store_probe(offline->store_path, error);
    if (status == STATUS_OK) {
        status = store_open(offline->store_path, error, &store);
    }
    if (status == STATUS_OK) {
        status = store_position(store, error, &position);
    }
    if (status == STATUS_OK && position == 0) {
        status = error_set(error, STATUS_NOT_FOUND, "%s is empty", file);
    }
    if (status == STATUS_OK) {
        status = store_load(store, row_import, state, error);
    }
    if (status == STATUS_OK) {
        status = state_import_end(state);
        if (status != STATUS_OK) {
            (void)error_set(error, status, "store: rows are missing, or do not belong together");
        }
    }
    store_close(store);
    return status;
}
