/* engine.c: the threads around the log and the state. See engine.h.
 *
 *   committer   owns the event log: takes submissions, groups them into blocks, hands durable blocks on
 *   apply       owns the state: applies durable blocks, answers reads between them, hands requests back to their ports,
 *               and now and then collects the changed rows of a checkpoint
 *   checkpoint  writes collected rows to LMDB
 *   preparer    pre-writes the next segment
 *   scanner     reads the log for requests that want records back
 *
 * Every message is a node in an inbox; nothing is shared but the atomics of struct engine and what state.h and users.h
 * say may be read from any thread.
 */
#include "engine/engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/checkpointer.h"
#include "engine/home.h"
#include "engine/replay.h"
#include "engine/scanner.h"
#include "engine/store.h"
#include "engine/timestamp.h"

#define LOG_DIRECTORY   "log"
#define LOCK_FILE       "lock"
#define STORE_DIRECTORY "store"
#define PATH_SIZE       4096
#define IDLE_WAIT_US    200000
#define DISK_PROBE_US   1000000 /* a full disk is tried again so often, by a write of a client's */
#define HOME_LOOK_US    1000    /* no oftener does the committer look whether its files are still there */

struct engine_port {
    struct inbox inbox;
    struct engine_port *next_touched; /* the apply thread's, while it collects what to hand back */
    struct inbox_node *first;
    struct inbox_node *last;
    bool touched;
};

/* What travels between the engine's own threads. Starts like a request, so that one inbox takes both. */
enum message_kind {
    MESSAGE_BLOCK,    /* committer -> apply, and back to release the buffer */
    MESSAGE_PREPARED, /* preparer -> committer */
};

struct message {
    struct inbox_node node;
    enum engine_request_kind kind; /* ENGINE_INTERNAL */
    enum message_kind message;
    int64_t durable_us; /* MESSAGE_BLOCK: since when it is */
    struct durable_block block;
};

static_assert(offsetof(struct message, kind) == offsetof(struct engine_request, kind), "told apart by kind");

struct engine {
    char directory[PATH_SIZE];
    char store_path[PATH_SIZE];
    struct engine_options options;
    const char *io_name;
    struct log_history history;
    struct event_log_recovery recovery;
    struct scanner *scanner;
    struct home home; /* the committer's */
    int64_t home_looked_us;
    struct error failure; /* set before healthy becomes false */

    /* Any thread. */
    struct inbox commits;
    struct inbox applies;
    _Atomic bool stopping;
    _Atomic bool healthy;
    _Atomic bool disk_full;        /* writes are refused */
    _Atomic bool next_refused;     /* the preparer found no room for the next segment, and tries on */
    _Atomic int64_t disk_probe_us; /* of a full disk that the preparer does not watch: from then on a write may try again */
    _Atomic uint64_t scans_queued;
    _Atomic uint64_t commits_queued;
    _Atomic uint64_t commit_bytes_queued;
    _Atomic uint64_t durable_lsn;
    _Atomic uint64_t applied_lsn;
    _Atomic uint64_t blocks;
    _Atomic uint64_t block_bytes;
    _Atomic uint64_t flush_us_total;
    _Atomic uint64_t events_applied;
    _Atomic uint64_t events_duplicate;
    _Atomic uint64_t assignments;
    _Atomic uint64_t users;
    _Atomic int64_t last_now_us;

    /* The committer's, once it runs. */
    struct io *io;
    struct event_log *log;
    bool preparing;
    bool block_refused; /* the last block found no room */
    struct tally flush_us;
    struct tally block_records;
    struct message prepared;

    /* The apply thread's, once it runs. */
    struct state *state;
    struct engine_port *touched;
    int64_t checkpoint_due_us;
    bool collecting; /* the rows of a checkpoint */
    struct tally apply_us;
    uint64_t batch_lsn; /* of the checkpoint being collected, else of the last one */

    struct store *store;
    struct checkpointer *checkpointer;

    /* Between committer and preparer, under the mutex. */
    pthread_mutex_t prepare_mutex;
    pthread_cond_t prepare_changed;
    bool prepare_wanted;
    bool prepare_stop;

    /* Start-up of the committer, under the mutex of prepare. */
    bool committer_ready;
    enum status committer_status;
    struct error committer_error;
    uint64_t store_position;

    pthread_t committer_thread;
    pthread_t apply_thread;
    pthread_t preparer_thread;
    bool committer_started;
    bool apply_started;
    bool preparer_started;
};

static struct engine_request *request_of(struct commit *commit)
{
    return (struct engine_request *)(void *)((uint8_t *)commit - offsetof(struct engine_request, commit));
}

/* ---- handing back ---- */

/* Collects a finished request for its port. Apply thread. */
static void request_finish(struct engine *engine, struct engine_request *request)
{
    struct engine_port *port = request->port;
    if (!port->touched) {
        port->touched = true;
        port->next_touched = engine->touched;
        engine->touched = port;
        port->first = NULL;
        port->last = NULL;
    }
    request->node.next = NULL;
    if (port->last != NULL) {
        port->last->next = &request->node;
    } else {
        port->first = &request->node;
    }
    port->last = &request->node;
}

/* One wake a port, however many requests. */
static void ports_flush(struct engine *engine)
{
    while (engine->touched != NULL) {
        struct engine_port *port = engine->touched;
        engine->touched = port->next_touched;
        port->touched = false;
        inbox_send_list(&port->inbox, port->first);
    }
}

/* ---- committer ---- */

static void committer_send_block(struct engine *engine, const struct durable_block *block)
{
    struct message *message = calloc(1, sizeof(*message));
    assert(message != NULL); /* without it acknowledgements would be lost: better to stop */
    message->kind = ENGINE_INTERNAL;
    message->message = MESSAGE_BLOCK;
    message->block = *block;
    message->durable_us = engine_now_us(engine);
    inbox_send(&engine->applies, &message->node);
}

static void committer_take_message(struct engine *engine, struct message *message)
{
    if (message->message == MESSAGE_BLOCK) {
        event_log_release(engine->log, message->block.buffer);
        free(message);
        return;
    }
    engine->preparing = false;
    event_log_prepared(engine->log);
    engine->block_refused = false; /* there was room for a whole segment */
}

static void committer_take_inbox(struct engine *engine)
{
    struct inbox_node *node = inbox_take(&engine->commits);
    while (node != NULL) {
        struct inbox_node *next = node->next;
        struct engine_request *request = (struct engine_request *)node;
        if (request->kind == ENGINE_WRITE) {
            event_log_append(engine->log, &request->commit);
        } else {
            committer_take_message(engine, (struct message *)node);
        }
        node = next;
    }
}

/* Asks the preparer for the next segment. */
static void committer_prepare(struct engine *engine)
{
    if (engine->preparing || !event_log_wants_segment(engine->log)) {
        return;
    }
    engine->preparing = true;
    pthread_mutex_lock(&engine->prepare_mutex);
    engine->prepare_wanted = true;
    pthread_cond_broadcast(&engine->prepare_changed);
    pthread_mutex_unlock(&engine->prepare_mutex);
}

static void committer_count_block(struct engine *engine, const struct durable_block *block, int64_t started_us)
{
    const int64_t now_us = engine->io->operations->now_us(engine->io);
    atomic_store_explicit(&engine->durable_lsn, block->end_lsn, memory_order_release);
    atomic_fetch_add_explicit(&engine->blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&engine->block_bytes, block->payload.size, memory_order_relaxed);
    tally_add(&engine->block_records, block->end_lsn - block->first_lsn, 1);
    if (now_us > started_us) {
        tally_add(&engine->flush_us, (uint64_t)(now_us - started_us), TALLY_UNIT_US);
        atomic_fetch_add_explicit(&engine->flush_us_total, (uint64_t)(now_us - started_us), memory_order_relaxed);
    }
}

/* The first cause stays. */
static void engine_fail(struct engine *engine, const char *why)
{
    if (atomic_load(&engine->healthy)) {
        (void)error_set(&engine->failure, STATUS_IO, "%s", why);
        atomic_store(&engine->healthy, false);
    }
}

static void committer_check(struct engine *engine)
{
    if (!event_log_healthy(engine->log)) {
        engine_fail(engine, event_log_failure(engine->log));
    }
}

static void committer_look(struct engine *engine)
{
    const int64_t now_us = engine->io->operations->now_us(engine->io);
    if (now_us - engine->home_looked_us >= 0 && now_us - engine->home_looked_us < HOME_LOOK_US) {
        return;
    }
    engine->home_looked_us = now_us;
    if (!home_is_there(&engine->home, event_log_segment_path(engine->log))) {
        event_log_fail(engine->log, "the files of the data directory were removed, or its disk was taken away");
        committer_check(engine);
    }
}

/* Writes stop while the open segment still has room for the largest block, so that what was let in before finds its place,
 * and readiness does not come and go with the sizes of requests. */
static void committer_judge_room(struct engine *engine)
{
    const bool no_next = atomic_load_explicit(&engine->next_refused, memory_order_relaxed);
    const bool full = engine->block_refused || (no_next && event_log_is_short(engine->log));
    atomic_store_explicit(&engine->disk_full, full, memory_order_relaxed);
}

static void committer_turn(struct engine *engine)
{
    committer_take_inbox(engine);
    committer_look(engine);
    committer_judge_room(engine);
    if (!event_log_busy(engine->log)) {
        inbox_wait(&engine->commits, IDLE_WAIT_US);
        return;
    }
    const int64_t started_us = engine->io->operations->now_us(engine->io);
    struct durable_block block;
    bool done = false;
    const enum status status = event_log_poll(engine->log, IDLE_WAIT_US, &done, &block);
    committer_check(engine);
    if (status == STATUS_OK && done) {
        engine->block_refused = block.commits != NULL && block.commits->status == STATUS_NO_SPACE;
        atomic_store_explicit(&engine->disk_probe_us, engine_now_us(engine) + DISK_PROBE_US, memory_order_relaxed);
        committer_judge_room(engine);
        if (block.end_lsn != block.first_lsn) {
            committer_count_block(engine, &block, started_us);
        }
        committer_send_block(engine, &block);
    } else {
        /* Queued, but no buffer is free: the apply thread gives one back through the inbox. */
        inbox_wait(&engine->commits, 1000);
    }
    committer_prepare(engine);
}

static enum status committer_open(struct engine *engine, struct error *error)
{
    enum status status = io_open(engine->options.io_backend, engine->directory, error, &engine->io);
    if (status != STATUS_OK) {
        return status;
    }
    engine->io_name = engine->io->operations->name;
    status = engine->io->operations->lock(engine->io, LOCK_FILE);
    if (status != STATUS_OK) {
        return error_set(error, status, "%s: %s", engine->directory,
                         status == STATUS_LOCKED ? "another assayd is using this directory"
                                                 : "cannot write the lock file");
    }
    status = home_remember(engine->directory, LOCK_FILE, &engine->home, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct error store_error;
    status = store_probe(engine->store_path, &store_error);
    if (status == STATUS_OK) {
        status = store_open(engine->store_path, &store_error, &engine->store);
    }
    if (status == STATUS_OK) {
        status = store_position(engine->store, &store_error, &engine->store_position);
    }
    if (status == STATUS_DAMAGED) {
        engine->store_position = 0; /* rebuilt later */
    } else if (status != STATUS_OK) {
        *error = store_error;
        return status;
    }
    const struct event_log_options log_options = {.io = engine->io,
                                                  .directory = LOG_DIRECTORY,
                                                  .segment_size = engine->options.segment_size,
                                                  .applied_lsn = engine->store_position};
    status = event_log_open(&log_options, error, &engine->recovery, &engine->log);
    if (status == STATUS_OK && engine->recovery.first_lsn != 1) {
        /* Nothing drops segments yet, and late facts read the log from its first record. */
        return error_set(error, STATUS_DAMAGED, "%s/" LOG_DIRECTORY " begins at lsn %llu: the segments before it are missing",
                         engine->directory, (unsigned long long)engine->recovery.first_lsn);
    }
    return status;
}

static void *committer_main(void *context)
{
    struct engine *engine = context;
    const enum status status = committer_open(engine, &engine->committer_error);
    pthread_mutex_lock(&engine->prepare_mutex);
    engine->committer_status = status;
    engine->committer_ready = true;
    pthread_cond_broadcast(&engine->prepare_changed);
    pthread_mutex_unlock(&engine->prepare_mutex);
    if (status == STATUS_OK) {
        committer_prepare(engine);
        while (!atomic_load(&engine->stopping) || event_log_busy(engine->log) || !inbox_is_empty(&engine->commits)) {
            committer_turn(engine);
        }
    }
    /* Closed by the thread that used them: a ring belongs to one. */
    event_log_close(engine->log);
    engine->log = NULL;
    io_close(engine->io);
    engine->io = NULL;
    return NULL;
}

/* ---- preparer ---- */

static void *preparer_main(void *context)
{
    struct engine *engine = context;
    struct error error;
    struct io *io = NULL;
    enum status status = io_open(IO_BACKEND_SYNC, engine->directory, &error, &io);
    pthread_mutex_lock(&engine->prepare_mutex);
    while (status == STATUS_OK && !engine->prepare_stop) {
        if (!engine->prepare_wanted) {
            pthread_cond_wait(&engine->prepare_changed, &engine->prepare_mutex);
            continue;
        }
        pthread_mutex_unlock(&engine->prepare_mutex);
        const enum status prepared = event_log_prepare(io, LOG_DIRECTORY, engine->options.segment_size);
        atomic_store_explicit(&engine->next_refused, prepared == STATUS_NO_SPACE, memory_order_relaxed);
        if (prepared != STATUS_OK) {
            usleep(IDLE_WAIT_US); /* a full disk: try again until there is room, or the writer does it itself */
        }
        pthread_mutex_lock(&engine->prepare_mutex);
        if (prepared == STATUS_OK) {
            engine->prepare_wanted = false;
            engine->prepared = (struct message){.kind = ENGINE_INTERNAL, .message = MESSAGE_PREPARED};
            inbox_send(&engine->commits, &engine->prepared.node);
        }
    }
    pthread_mutex_unlock(&engine->prepare_mutex);
    io_close(io);
    return NULL;
}

/* ---- checkpoint ---- */

/* Users collected between two blocks: some hundred microseconds. More at a time makes whoever waits for a block wait longer,
 * and queues build up behind it. */
#define COLLECT_USERS 256u

/* Begins to collect the changed rows, unless the checkpoint thread still has the last ones. */
static enum status checkpoint_begin(struct engine *engine)
{
    if (engine->collecting || checkpointer_busy(engine->checkpointer) || state_next_lsn(engine->state) == engine->batch_lsn) {
        return STATUS_OK;
    }
    engine->batch_lsn = state_next_lsn(engine->state);
    engine->collecting = true;
    return state_export_begin(engine->state, store_batch_add, checkpointer_batch(engine->checkpointer));
}

/* Collects some more; once all is there, hands it to the checkpoint thread. */
static enum status checkpoint_collect(struct engine *engine, uint32_t users)
{
    bool done = false;
    const enum status status = state_export_step(engine->state, users, &done);
    if (status != STATUS_OK || !done) {
        return status;
    }
    engine->collecting = false;
    checkpointer_write(engine->checkpointer, engine->batch_lsn);
    return STATUS_OK;
}

/* Collects all that is left to collect, for the last checkpoint. */
static enum status checkpoint_finish(struct engine *engine)
{
    const enum status status = checkpoint_begin(engine);
    return status == STATUS_OK && engine->collecting ? checkpoint_collect(engine, UINT32_MAX) : status;
}

/* ---- apply ---- */

static void apply_count(struct engine *engine)
{
    struct state_totals totals;
    state_totals(engine->state, &totals);
    atomic_store_explicit(&engine->events_applied, totals.events, memory_order_relaxed);
    atomic_store_explicit(&engine->events_duplicate, totals.events_duplicate, memory_order_relaxed);
    atomic_store_explicit(&engine->assignments, totals.assignments, memory_order_relaxed);
    atomic_store_explicit(&engine->users, totals.users, memory_order_relaxed);
    atomic_store_explicit(&engine->applied_lsn, state_next_lsn(engine->state), memory_order_release);
}

/* Applies a block, commit by commit where somebody wants the outcomes. */
static enum status apply_records(struct engine *engine, const struct durable_block *block)
{
    struct bytes rest = block->payload;
    for (struct commit *commit = block->commits; commit != NULL; commit = commit->next) {
        if (commit->status != STATUS_OK) {
            continue;
        }
        const struct engine_request *request = request_of(commit);
        assert(commit->records.size <= rest.size);
        const struct bytes records = bytes_of(rest.data, commit->records.size);
        const enum status status = replay_block(engine->state, commit->first_lsn, records, request->outcomes);
        if (status != STATUS_OK) {
            return status;
        }
        rest = bytes_of(rest.data + records.size, rest.size - records.size);
    }
    return STATUS_OK;
}

static void apply_block(struct engine *engine, struct message *message)
{
    struct durable_block *block = &message->block;
    if (block->first_lsn != block->end_lsn) {
        const enum status status = apply_records(engine, block);
        /* A record that is durable but cannot be applied would leave every later answer wrong. */
        if (status != STATUS_OK) {
            (void)fprintf(stderr, "assay: fatal: record %llu cannot be applied: %s\n",
                          (unsigned long long)state_next_lsn(engine->state), status_name(status));
            abort();
        }
        apply_count(engine);
        tally_add(&engine->apply_us, (uint64_t)(engine_now_us(engine) - message->durable_us), TALLY_UNIT_US);
    }
    uint64_t commits = 0;
    uint64_t bytes = 0;
    for (struct commit *commit = block->commits; commit != NULL;) {
        struct commit *next = commit->next;
        commits++;
        bytes += commit->records.size;
        request_finish(engine, request_of(commit));
        commit = next;
    }
    atomic_fetch_sub(&engine->commits_queued, commits);
    atomic_fetch_sub(&engine->commit_bytes_queued, bytes);
    const bool has_buffer = block->first_lsn != block->end_lsn;
    if (has_buffer) {
        inbox_send(&engine->commits, &message->node);
    } else {
        free(message);
    }
}

static void *apply_main(void *context)
{
    struct engine *engine = context;
    const int64_t interval_us =
        1000000ll * (engine->options.checkpoint_seconds != 0 ? engine->options.checkpoint_seconds : 5);
    engine->checkpoint_due_us = engine_now_us(engine) + interval_us;
    while (!atomic_load(&engine->stopping) || atomic_load(&engine->commits_queued) != 0 ||
           !inbox_is_empty(&engine->applies)) {
        struct inbox_node *node = inbox_take(&engine->applies);
        if (node == NULL && !engine->collecting) {
            inbox_wait(&engine->applies, IDLE_WAIT_US);
        }
        while (node != NULL) {
            struct inbox_node *next = node->next;
            struct engine_request *request = (struct engine_request *)node;
            if (request->kind == ENGINE_READ) {
                request->read(engine->state, request->context);
                request_finish(engine, request);
            } else {
                apply_block(engine, (struct message *)node);
            }
            ports_flush(engine);
            node = next;
        }
        const int64_t now_us = engine_now_us(engine);
        if (now_us >= engine->checkpoint_due_us) {
            const enum status status = checkpoint_begin(engine);
            assert(status == STATUS_OK); /* only memory can be out here */
            engine->checkpoint_due_us = now_us + interval_us;
        }
        if (engine->collecting) {
            const enum status status = checkpoint_collect(engine, COLLECT_USERS);
            assert(status == STATUS_OK);
        }
    }
    return NULL;
}

/* ---- opening ---- */

static enum status committer_start(struct engine *engine, struct error *error)
{
    if (pthread_create(&engine->committer_thread, NULL, committer_main, engine) != 0) {
        return error_set(error, STATUS_NO_MEMORY, "cannot start a thread");
    }
    engine->committer_started = true;
    pthread_mutex_lock(&engine->prepare_mutex);
    while (!engine->committer_ready) {
        pthread_cond_wait(&engine->prepare_changed, &engine->prepare_mutex);
    }
    const enum status status = engine->committer_status;
    pthread_mutex_unlock(&engine->prepare_mutex);
    if (status != STATUS_OK) {
        *error = engine->committer_error;
    }
    return status;
}

static enum status state_make(struct engine *engine)
{
    const struct state_options options = {.history = log_history_of(&engine->history),
                                          .hash_seed = engine->recovery.hash_seed,
                                          .store_id = engine->recovery.store_id};
    return state_open(&options, &engine->state);
}

static enum status row_import(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    return state_import(context, table, key, value);
}

/* The checkpoint into the state. STATUS_DAMAGED where it cannot be used. */
static enum status state_load(struct engine *engine, struct error *error)
{
    if (engine->store == NULL) {
        return error_set(error, STATUS_DAMAGED, "store: cannot be opened");
    }
    /* An empty store is loaded too: the digests say whether it should be. */
    enum status status = store_load(engine->store, row_import, engine->state, error);
    if (status == STATUS_OK && engine->store_position != 0) {
        status = state_import_end(engine->state);
    }
    return status;
}

/* Throws the store away and starts from an empty state. */
static enum status store_rebuild(struct engine *engine, struct error *error)
{
    store_close(engine->store);
    engine->store = NULL;
    state_close(engine->state);
    engine->state = NULL;
    enum status status = store_remove(engine->store_path, error);
    if (status == STATUS_OK) {
        status = store_open(engine->store_path, error, &engine->store);
    }
    return status == STATUS_OK ? state_make(engine) : status;
}

static enum status state_recover(struct engine *engine, struct error *error, struct engine_info *info)
{
    enum status status = state_make(engine);
    if (status == STATUS_OK) {
        status = state_load(engine, error);
    }
    if (status == STATUS_DAMAGED) {
        info->rebuilt = true;
        status = store_rebuild(engine, error);
    }
    struct io *io = NULL;
    if (status == STATUS_OK) {
        status = io_open(engine->options.io_backend, engine->directory, error, &io);
    }
    if (status == STATUS_OK) {
        const struct replay_options options = {
            .io = io, .directory = LOG_DIRECTORY, .end_lsn = engine->recovery.end_lsn};
        struct replay_progress progress;
        status = replay_log(&options, engine->state, error, &progress);
        info->replayed = status == STATUS_OK ? progress.records : 0;
    }
    io_close(io);
    if (status == STATUS_OK && state_next_lsn(engine->state) != engine->recovery.end_lsn) {
        status = error_set(error, STATUS_DAMAGED, "the log ends at record %llu, but %llu could be read",
                           (unsigned long long)engine->recovery.end_lsn - 1,
                           (unsigned long long)state_next_lsn(engine->state) - 1);
    }
    return status;
}

static void scan_run(void *context, struct inbox_node *node, struct io *io)
{
    struct engine *engine = context;
    struct engine_request *request = (struct engine_request *)node;
    const struct log_reader_options log = {
        .io = io, .directory = LOG_DIRECTORY, .end_lsn = atomic_load_explicit(&engine->applied_lsn, memory_order_acquire)};
    request->scan(io != NULL ? &log : NULL, request->context);
    atomic_fetch_sub(&engine->scans_queued, 1);
    inbox_send(&request->port->inbox, node);
}

static enum status threads_start(struct engine *engine, struct error *error)
{
    const bool has_checkpointer =
        checkpointer_open(engine->store, engine->store_position, &engine->checkpointer) == STATUS_OK;
    engine->apply_started = has_checkpointer && pthread_create(&engine->apply_thread, NULL, apply_main, engine) == 0;
    engine->preparer_started = pthread_create(&engine->preparer_thread, NULL, preparer_main, engine) == 0;
    const struct scanner_options scanner = {engine->directory, IO_BACKEND_SYNC, scan_run, engine};
    const bool all = engine->apply_started && engine->preparer_started &&
                     scanner_open(&scanner, &engine->scanner) == STATUS_OK;
    return all ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "cannot start a thread");
}

static enum status engine_make(const struct engine_options *options, struct error *error, struct engine **out_engine)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    engine->options = *options;
    const int length = snprintf(engine->store_path, sizeof(engine->store_path), "%s/" STORE_DIRECTORY, options->directory);
    if (length < 0 || (size_t)length >= sizeof(engine->store_path)) {
        free(engine);
        return error_set(error, STATUS_INVALID, "%s: the path is too long", options->directory);
    }
    memcpy(engine->directory, options->directory, strlen(options->directory) + 1);
    engine->options.directory = engine->directory;
    engine->history = (struct log_history){engine->directory, LOG_DIRECTORY, options->io_backend, {{0}}};
    atomic_init(&engine->healthy, true);
    pthread_mutex_init(&engine->prepare_mutex, NULL);
    pthread_cond_init(&engine->prepare_changed, NULL);
    const enum status commits = inbox_init(&engine->commits, false);
    const enum status applies = inbox_init(&engine->applies, false);
    assert(commits == STATUS_OK && applies == STATUS_OK);
    *out_engine = engine;
    return STATUS_OK;
}

enum status engine_open(const struct engine_options *options, struct error *error, struct engine_info *out_info,
                        struct engine **out_engine)
{
    struct engine *engine = NULL;
    struct engine_info info = {0};
    enum status status = home_make(options->directory, error);
    if (status == STATUS_OK) {
        status = engine_make(options, error, &engine);
    }
    if (status == STATUS_OK) {
        status = committer_start(engine, error);
    }
    if (status == STATUS_OK) {
        status = state_recover(engine, error, &info);
    }
    if (status == STATUS_OK) {
        apply_count(engine);
        atomic_store(&engine->durable_lsn, engine->recovery.end_lsn);
        engine->batch_lsn = info.rebuilt ? 0 : engine->store_position;
        status = threads_start(engine, error);
    }
    if (status == STATUS_OK) {
        info.io_backend = engine->io_name;
        info.created = engine->recovery.end_lsn == 1;
        info.cut_bytes = engine->recovery.cut_bytes;
        *out_info = info;
        *out_engine = engine;
        engine = NULL; /* moved to the caller */
    }
    engine_close(engine);
    return status;
}

static void threads_stop(struct engine *engine)
{
    atomic_store(&engine->stopping, true);
    scanner_close(engine->scanner);
    inbox_wake(&engine->commits);
    inbox_wake(&engine->applies);
    if (engine->apply_started) {
        pthread_join(engine->apply_thread, NULL);
    }
    pthread_mutex_lock(&engine->prepare_mutex);
    engine->prepare_stop = true;
    engine->prepare_wanted = false;
    pthread_cond_broadcast(&engine->prepare_changed);
    pthread_mutex_unlock(&engine->prepare_mutex);
    if (engine->preparer_started) {
        pthread_join(engine->preparer_thread, NULL);
    }
    if (engine->committer_started) {
        pthread_join(engine->committer_thread, NULL);
    }
    if (engine->apply_started) {
        /* What was begun, then what came after. */
        bool written = checkpointer_settle(engine->checkpointer);
        for (int i = 0; i < 2 && written && checkpoint_finish(engine) == STATUS_OK; i++) {
            written = checkpointer_settle(engine->checkpointer);
        }
    }
    checkpointer_close(engine->checkpointer);
}

void engine_close(struct engine *engine)
{
    if (engine == NULL) {
        return;
    }
    threads_stop(engine);
    for (struct inbox_node *node = inbox_take(&engine->commits); node != NULL;) {
        struct inbox_node *next = node->next;
        if (node != &engine->prepared.node) {
            free(node); /* a block that came back after the committer had left */
        }
        node = next;
    }
    state_close(engine->state);
    store_close(engine->store);
    inbox_deinit(&engine->commits);
    inbox_deinit(&engine->applies);
    pthread_mutex_destroy(&engine->prepare_mutex);
    pthread_cond_destroy(&engine->prepare_changed);
    free(engine);
}

/* ---- for any thread ---- */

enum status engine_submit(struct engine *engine, struct engine_request *request)
{
    if (atomic_load(&engine->stopping)) {
        return STATUS_UNAVAILABLE;
    }
    if (request->kind == ENGINE_READ) {
        inbox_send(&engine->applies, &request->node);
        return STATUS_OK;
    }
    if (request->kind == ENGINE_SCAN) {
        if (atomic_fetch_add(&engine->scans_queued, 1) >= LIMIT_SCANS_QUEUED) {
            atomic_fetch_sub(&engine->scans_queued, 1);
            return STATUS_BUSY;
        }
        scanner_send(engine->scanner, &request->node);
        return STATUS_OK;
    }
    if (!atomic_load_explicit(&engine->healthy, memory_order_relaxed)) {
        return STATUS_UNAVAILABLE;
    }
    const size_t size = request->commit.records.size;
    const uint64_t commits = atomic_fetch_add(&engine->commits_queued, 1);
    const uint64_t bytes = atomic_fetch_add(&engine->commit_bytes_queued, size);
    if (commits >= LIMIT_COMMITS_QUEUED || bytes >= LIMIT_COMMIT_BYTES_QUEUED) {
        atomic_fetch_sub(&engine->commits_queued, 1);
        atomic_fetch_sub(&engine->commit_bytes_queued, size);
        return STATUS_BUSY;
    }
    inbox_send(&engine->commits, &request->node);
    return STATUS_OK;
}

enum status engine_port_open(struct engine *engine, struct engine_port **out_port)
{
    (void)engine;
    struct engine_port *port = calloc(1, sizeof(*port));
    if (port == NULL) {
        return STATUS_NO_MEMORY;
    }
    const enum status status = inbox_init(&port->inbox, true);
    if (status != STATUS_OK) {
        free(port);
        return status;
    }
    *out_port = port;
    return STATUS_OK;
}

int engine_port_fd(const struct engine_port *port)
{
    return port->inbox.event_fd;
}

struct engine_request *engine_port_take(struct engine_port *port)
{
    struct inbox_node *node = inbox_take(&port->inbox);
    struct engine_request *first = (struct engine_request *)node;
    while (node != NULL) {
        ((struct engine_request *)node)->next = (struct engine_request *)node->next;
        node = node->next;
    }
    return first;
}

void engine_port_close(struct engine_port *port)
{
    if (port != NULL) {
        inbox_deinit(&port->inbox);
        free(port);
    }
}

enum status engine_call(struct engine *engine, struct engine_request *request)
{
    const enum status status = engine_submit(engine, request);
    if (status != STATUS_OK) {
        return status;
    }
    while (engine_port_take(request->port) == NULL) {
        usleep(100);
    }
    return request->kind == ENGINE_WRITE ? request->commit.status : STATUS_OK;
}

const struct catalog *engine_catalog(const struct engine *engine)
{
    return state_catalog(engine->state);
}

uint64_t engine_catalog_generation(const struct engine *engine)
{
    return state_catalog_generation(engine->state);
}

bool engine_find_assignment(const struct engine *engine, uint32_t experiment_index, struct version_range versions,
                            struct bytes user_id, struct assignment_view *out_assignment)
{
    return state_find_assignment(engine->state, experiment_index, versions, user_id, out_assignment);
}

bool engine_healthy(const struct engine *engine)
{
    return atomic_load_explicit(&engine->healthy, memory_order_relaxed);
}

const char *engine_failure(const struct engine *engine)
{
    return atomic_load(&engine->healthy) ? NULL : engine->failure.text;
}

bool engine_disk_full(const struct engine *engine)
{
    return atomic_load_explicit(&engine->disk_full, memory_order_relaxed);
}

static bool takes_more(const struct engine *engine)
{
    return engine_healthy(engine) && !atomic_load_explicit(&engine->stopping, memory_order_relaxed) &&
           atomic_load_explicit(&engine->commits_queued, memory_order_relaxed) < LIMIT_COMMITS_QUEUED &&
           atomic_load_explicit(&engine->commit_bytes_queued, memory_order_relaxed) < LIMIT_COMMIT_BYTES_QUEUED;
}

bool engine_can_write(const struct engine *engine)
{
    return takes_more(engine) && !engine_disk_full(engine);
}

bool engine_admit_write(struct engine *engine)
{
    if (!takes_more(engine)) {
        return false;
    }
    if (!engine_disk_full(engine)) {
        return true;
    }
    if (atomic_load_explicit(&engine->next_refused, memory_order_relaxed)) {
        return false; /* the preparer will find out */
    }
    const int64_t now_us = engine_now_us(engine);
    int64_t probe_us = atomic_load_explicit(&engine->disk_probe_us, memory_order_relaxed);
    return now_us >= probe_us && atomic_compare_exchange_strong(&engine->disk_probe_us, &probe_us, now_us + DISK_PROBE_US);
}

int64_t engine_now_us(const struct engine *engine)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_REALTIME, &time);
    const int64_t now_us = time.tv_sec * 1000000ll + time.tv_nsec / 1000;
    _Atomic int64_t *last = &((struct engine *)(uintptr_t)engine)->last_now_us;
    int64_t seen = atomic_load_explicit(last, memory_order_relaxed);
    while (seen < now_us && !atomic_compare_exchange_weak(last, &seen, now_us)) {
    }
    return seen < now_us ? now_us : seen;
}

void engine_random(struct engine *engine, void *buffer, size_t size)
{
    (void)engine;
    uint8_t *to = buffer;
    while (size > 0) {
        const ssize_t got = getrandom(to, size_min(size, 256), 0);
        assert(got > 0); /* 256 bytes are never refused once the system is up */
        to += got;
        size -= (size_t)got;
    }
}

void engine_counters(const struct engine *engine, struct engine_counters *out_counters)
{
    struct checkpointer_counters checkpoint;
    checkpointer_counters(engine->checkpointer, &checkpoint);
    *out_counters = (struct engine_counters){
        .durable_lsn = atomic_load_explicit(&engine->durable_lsn, memory_order_acquire),
        .applied_lsn = atomic_load_explicit(&engine->applied_lsn, memory_order_acquire),
        .checkpoint_lsn = checkpoint.lsn,
        .blocks = atomic_load_explicit(&engine->blocks, memory_order_relaxed),
        .block_bytes = atomic_load_explicit(&engine->block_bytes, memory_order_relaxed),
        .flush_us_total = atomic_load_explicit(&engine->flush_us_total, memory_order_relaxed),
        .events_applied = atomic_load_explicit(&engine->events_applied, memory_order_relaxed),
        .events_duplicate = atomic_load_explicit(&engine->events_duplicate, memory_order_relaxed),
        .assignments = atomic_load_explicit(&engine->assignments, memory_order_relaxed),
        .users = atomic_load_explicit(&engine->users, memory_order_relaxed),
        .commits_queued = atomic_load_explicit(&engine->commits_queued, memory_order_relaxed),
        .commit_bytes_queued = atomic_load_explicit(&engine->commit_bytes_queued, memory_order_relaxed),
        .checkpoints = checkpoint.written,
        .checkpoint_us_last = checkpoint.us_last};
    tally_read(&engine->flush_us, &out_counters->flush_us);
    tally_read(&engine->block_records, &out_counters->block_records);
    tally_read(&engine->apply_us, &out_counters->apply_us);
}

struct uuid engine_store_id(const struct engine *engine)
{
    return engine->recovery.store_id;
}
