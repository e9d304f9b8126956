/* test_io.c: every disk keeps the contract of io.h, and the simulated one breaks everything that the contract allows.
 *
 * Method: the contract tests run the same check on each backend, the real ones on an ordinary filesystem and on tmpfs
 * (which treats O_DIRECT and flushes in its own way). Then what only a real kernel has: forbidden calls, limits, full
 * filesystems. Then the simulated disk: crashes, faults, schedule.
 */
#include "engine/io.h"
#include "engine/io_posix.h"
#include "engine/limits.h"
#include "tests/support/io_sim.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK ((size_t)LOG_BLOCK_ALIGN)

/* A place to open disks on. */
struct place {
    const char *name;
    enum io_backend backend; /* AUTO: the simulated disk */
    struct io_sim *sim;
    char root[64];
};

static struct io *place_open(struct place *place)
{
    struct io *io = NULL;
    struct error error;
    if (place->backend == IO_BACKEND_AUTO) {
        return io_sim_handle(place->sim);
    }
    enum status status = io_open(place->backend, place->root, &error, &io);
    if (status == STATUS_UNSUPPORTED) {
        cr_log_warn("%s left out: %s", place->name, error.text);
        return NULL;
    }
    cr_assert_eq(status, STATUS_OK, "%s: %s", place->name, error.text);
    return io;
}

static void tree_remove(const char *path)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", path);
    cr_assert_eq(system(command), 0);
}

static void root_make(struct place *place, const char *parent)
{
    (void)snprintf(place->root, sizeof(place->root), "%s/assay-io-XXXXXX", parent);
    cr_assert_not_null(mkdtemp(place->root), "cannot make a directory in %s", parent);
}

/* Runs a check on each backend. */
static void everywhere(void (*check)(struct place *place, struct io *io))
{
    static const struct {
        const char *name;
        enum io_backend backend;
        const char *parent;
    } rows[] = {
        {"sim",            IO_BACKEND_AUTO,  NULL      },
        {"sync",           IO_BACKEND_SYNC,  "/tmp"    },
        {"uring",          IO_BACKEND_URING, "/tmp"    },
        {"sync on tmpfs",  IO_BACKEND_SYNC,  "/dev/shm"},
        {"uring on tmpfs", IO_BACKEND_URING, "/dev/shm"},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct place place = {.name = rows[i].name, .backend = rows[i].backend};
        if (rows[i].parent == NULL) {
            place.sim = io_sim_open(&(struct io_sim_options){.seed = 7});
        } else if (access(rows[i].parent, W_OK) == 0) {
            root_make(&place, rows[i].parent);
        } else {
            continue;
        }
        struct io *io = place_open(&place);
        if (io != NULL) {
            check(&place, io);
            io_close(io);
        }
        io_sim_close(place.sim);
        if (place.root[0] != '\0') {
            tree_remove(place.root);
        }
    }
}

static int make_file(struct io *io, const char *path, unsigned flags)
{
    int file = -1;
    cr_assert_eq(io->operations->open(io, path, flags | IO_OPEN_CREATE, &file), STATUS_OK, "%s",
                 io->operations->name);
    return file;
}

static int open_file(struct io *io, const char *path, unsigned flags)
{
    int file = -1;
    cr_assert_eq(io->operations->open(io, path, flags, &file), STATUS_OK, "%s: %s",
                 io->operations->name, path);
    return file;
}

static uint64_t file_size(struct io *io, int file)
{
    uint64_t size = 0;
    cr_assert_eq(io->operations->size(io, file, &size), STATUS_OK);
    return size;
}

/* Bytes that tell their seed and place. */
static uint8_t *pattern_make(size_t size, unsigned seed)
{
    uint8_t *bytes = aligned_alloc(BLOCK, round_up(size, BLOCK));
    cr_assert_not_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(seed + i * 31 + i / 251);
    }
    return bytes;
}

static void write_pattern(struct io *io, int file, size_t size, uint64_t offset, unsigned seed)
{
    uint8_t *bytes = pattern_make(size, seed);
    cr_assert_eq(io_write_durable(io, file, bytes, size, offset), STATUS_OK, "%s",
                 io->operations->name);
    free(bytes);
}

static void expect_pattern(struct io *io, int file, size_t size, uint64_t offset, unsigned seed)
{
    uint8_t *expected = pattern_make(size, seed);
    uint8_t *found = pattern_make(size, seed + 1);
    size_t done = 0;
    cr_assert_eq(io_read(io, file, found, size, offset, &done), STATUS_OK);
    cr_assert_eq(done, size, "%s: read %zu of %zu", io->operations->name, done, size);
    cr_assert_arr_eq(found, expected, size, "%s", io->operations->name);
    free(expected);
    free(found);
}

static enum status run_one(struct io *io, struct io_request *request)
{
    cr_assert_eq(io->operations->submit(io, request), STATUS_OK);
    struct io_request *completed = NULL;
    cr_assert_eq(io->operations->wait(io, -1, &completed), STATUS_OK);
    cr_assert_eq(completed, request);
    return request->status;
}

static enum status write_plain(struct io *io, int file, const char *text, uint64_t offset)
{
    struct io_request request = {.kind = IO_WRITE, .file = file, .size = strlen(text)};
    request.buffer = (void *)text;
    request.offset = offset;
    return run_one(io, &request);
}

static enum status sync_file(struct io *io, int file)
{
    struct io_request request = {.kind = IO_SYNC, .file = file};
    return run_one(io, &request);
}

/* The contract */

static void check_open(struct place *place, struct io *io)
{
    (void)place;
    int file = 77;
    const struct io_operations *operations = io->operations;
    cr_assert_eq(operations->open(io, "missing", 0, &file), STATUS_NOT_FOUND);
    cr_assert_eq(operations->open(io, "missing/file", IO_OPEN_CREATE, &file), STATUS_NOT_FOUND);
    cr_assert_eq(file, 77, "outputs are untouched on failure");
    file = make_file(io, "file", 0);
    cr_assert_eq(file_size(io, file), 0);
    int again = 77;
    cr_assert_eq(operations->open(io, "file", IO_OPEN_CREATE, &again), STATUS_EXISTS);
    write_pattern(io, file, 100, 0, 1);
    operations->close_file(io, file);
    file = open_file(io, "file", IO_OPEN_READ);
    expect_pattern(io, file, 100, 0, 1);
    int second = open_file(io, "file", 0);
    cr_assert_neq(file, second);
    operations->close_file(io, file);
    expect_pattern(io, second, 100, 0, 1);
    operations->close_file(io, second);
}

Test(io, open_and_create)
{
    everywhere(check_open);
}

static void check_read_write(struct place *place, struct io *io)
{
    (void)place;
    int file = make_file(io, "file", 0);
    size_t done = 99;
    char byte = 'x';
    cr_assert_eq(io_read(io, file, &byte, 1, 0, &done), STATUS_OK);
    cr_assert_eq(done, 0, "an empty file has nothing to read");
    write_pattern(io, file, 10000, 0, 1);
    write_pattern(io, file, 777, 10000, 2);
    cr_assert_eq(file_size(io, file), 10777);
    expect_pattern(io, file, 10000, 0, 1);
    expect_pattern(io, file, 777, 10000, 2);
    char buffer[2000];
    cr_assert_eq(io_read(io, file, buffer, sizeof(buffer), 10000, &done), STATUS_OK);
    cr_assert_eq(done, 777, "short only at the end");
    cr_assert_eq(io_read(io, file, buffer, sizeof(buffer), 20000, &done), STATUS_OK);
    cr_assert_eq(done, 0);
    write_pattern(io, file, 3 * 1024 * 1024 + 5, 50000, 3);
    expect_pattern(io, file, 3 * 1024 * 1024 + 5, 50000, 3);
    cr_assert_eq(io_read(io, file, buffer, 100, 30000, &done), STATUS_OK);
    cr_assert(done == 100 && buffer[0] == 0 && memcmp(buffer, buffer + 1, 99) == 0,
              "holes are zeros");
}

Test(io, reads_what_was_written)
{
    everywhere(check_read_write);
}

static void check_sync(struct place *place, struct io *io)
{
    (void)place;
    int file = make_file(io, "file", 0);
    cr_assert_eq(sync_file(io, file), STATUS_OK, "with nothing to do");
    cr_assert_eq(write_plain(io, file, "plain", 0), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "words", 5), STATUS_OK);
    cr_assert_eq(sync_file(io, file), STATUS_OK);
    char buffer[11] = "";
    size_t done = 0;
    cr_assert_eq(io_read(io, file, buffer, 10, 0, &done), STATUS_OK);
    cr_assert_str_eq(buffer, "plainwords");
}

Test(io, plain_writes_and_sync)
{
    everywhere(check_sync);
}

static void check_direct(struct place *place, struct io *io)
{
    (void)place;
    int file = make_file(io, "file", IO_OPEN_DIRECT);
    cr_assert_eq(io->operations->allocate(io, file, 64 * BLOCK), STATUS_OK);
    write_pattern(io, file, 8 * BLOCK, 2 * BLOCK, 4);
    write_pattern(io, file, 2 * BLOCK, 70 * BLOCK, 5);
    expect_pattern(io, file, 8 * BLOCK, 2 * BLOCK, 4);
    expect_pattern(io, file, 2 * BLOCK, 70 * BLOCK, 5);
    cr_assert_eq(file_size(io, file), 72 * BLOCK);
    io->operations->close_file(io, file);

    file = make_file(io, "odd", 0);
    write_pattern(io, file, BLOCK + 700, 0, 6);
    io->operations->close_file(io, file);
    file = open_file(io, "odd", IO_OPEN_DIRECT | IO_OPEN_READ);
    uint8_t *expected = pattern_make(BLOCK + 700, 6);
    uint8_t *found = pattern_make(4 * BLOCK, 0);
    size_t done = 0;
    cr_assert_eq(io_read(io, file, found, 4 * BLOCK, 0, &done), STATUS_OK);
    cr_assert_eq(done, BLOCK + 700, "%s: short at an end between blocks", place->name);
    cr_assert_arr_eq(found, expected, done);
    cr_assert_eq(io_read(io, file, found, BLOCK, 4 * BLOCK, &done), STATUS_OK);
    cr_assert_eq(done, 0);
    free(expected);
    free(found);
}

Test(io, direct_files)
{
    everywhere(check_direct);
}

static void check_many(struct place *place, struct io *io)
{
    enum { COUNT = 200 };
    static struct io_request requests[COUNT];
    uint8_t *bytes = pattern_make(COUNT * BLOCK, 9);
    int file = make_file(io, "file", IO_OPEN_DIRECT);
    for (int pass = 0; pass < 2; pass++) {
        uint8_t *buffer = pass == 0 ? bytes : pattern_make(COUNT * BLOCK, 0);
        for (size_t i = 0; i < COUNT; i++) {
            requests[i] = (struct io_request){.kind = pass == 0 ? IO_WRITE_DURABLE : IO_READ,
                                              .file = file,
                                              .buffer = buffer + i * BLOCK,
                                              .size = BLOCK,
                                              .offset = i * BLOCK,
                                              .context = &requests[i]};
            cr_assert_eq(io->operations->submit(io, &requests[i]), STATUS_OK);
        }
        bool seen[COUNT] = {false};
        size_t count = 0;
        while (count < COUNT) {
            struct io_request *request = NULL;
            cr_assert_eq(io->operations->wait(io, count % 2 == 0 ? -1 : 0, &request), STATUS_OK);
            for (; request != NULL; request = request->next) {
                size_t index = (size_t)((struct io_request *)request->context - requests);
                cr_assert(!seen[index], "%s: handed back twice", place->name);
                cr_assert(request->status == STATUS_OK && request->done == BLOCK);
                seen[index] = true;
                count++;
            }
        }
        cr_assert_arr_eq(buffer, bytes, COUNT * BLOCK);
        if (pass == 1) {
            free(buffer);
        }
    }
    free(bytes);
}

Test(io, many_in_flight_each_handed_back_once)
{
    everywhere(check_many);
}

static void check_wait(struct place *place, struct io *io)
{
    static const int64_t timeouts[] = {0, 1000, -1};
    for (size_t i = 0; i < COUNT_OF(timeouts); i++) {
        struct io_request *completed = (struct io_request *)&i;
        cr_assert_eq(io->operations->wait(io, timeouts[i], &completed), STATUS_OK);
        cr_assert_null(completed, "%s: nothing in flight", place->name);
    }
    int file = make_file(io, "file", 0);
    struct io_request request = {.kind = IO_SYNC, .file = file};
    cr_assert_eq(io->operations->submit(io, &request), STATUS_OK);
    struct io_request *completed = NULL;
    for (int i = 0; completed == NULL && i < 1000; i++) {
        cr_assert_eq(io->operations->wait(io, 10000, &completed), STATUS_OK);
    }
    cr_assert_eq(completed, &request);
}

Test(io, wait_returns_at_once_when_idle)
{
    everywhere(check_wait);
}

static void check_close(struct place *place, struct io *io)
{
    (void)io;
    struct io *second = place_open(place);
    int file = make_file(second, "file", 0);
    uint8_t *bytes = pattern_make(100000, 3);
    struct io_request request = {
        .kind = IO_WRITE_DURABLE, .file = file, .buffer = bytes, .size = 100000};
    cr_assert_eq(second->operations->submit(second, &request), STATUS_OK);
    io_close(second);
    file = open_file(io, "file", 0);
    expect_pattern(io, file, 100000, 0, 3);
    free(bytes);
    io_close(NULL);
}

Test(io, close_waits_for_requests_in_flight)
{
    everywhere(check_close);
}

static void check_allocate(struct place *place, struct io *io)
{
    int file = make_file(io, "file", 0);
    write_pattern(io, file, 100, 0, 1);
    uint64_t size = 2 * 1024 * 1024 + 3 * BLOCK;
    cr_assert_eq(io->operations->allocate(io, file, size), STATUS_OK);
    cr_assert_eq(file_size(io, file), size);
    uint8_t *found = pattern_make(size, 1);
    size_t done = 0;
    cr_assert_eq(io_read(io, file, found, size, 0, &done), STATUS_OK);
    cr_assert_eq(done, size);
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(found[i], 0, "%s: byte %zu", place->name, i);
    }
    write_pattern(io, file, BLOCK, BLOCK, 2);
    cr_assert_eq(file_size(io, file), size, "an overwrite does not grow");
    free(found);
}

Test(io, allocate_writes_zeros)
{
    everywhere(check_allocate);
}

static void check_truncate(struct place *place, struct io *io)
{
    (void)place;
    int file = make_file(io, "file", 0);
    write_pattern(io, file, 3 * BLOCK, 0, 1);
    cr_assert_eq(io->operations->truncate(io, file, BLOCK + 10), STATUS_OK);
    cr_assert_eq(file_size(io, file), BLOCK + 10);
    expect_pattern(io, file, BLOCK + 10, 0, 1);
    cr_assert_eq(io->operations->truncate(io, file, 2 * BLOCK), STATUS_OK);
    uint8_t zeros[10] = {0};
    uint8_t found[10];
    size_t done = 0;
    cr_assert_eq(io_read(io, file, found, 10, BLOCK + 10, &done), STATUS_OK);
    cr_assert_eq(done, 10);
    cr_assert_arr_eq(found, zeros, 10, "what was cut does not come back");
}

Test(io, truncate_cuts_and_grows)
{
    everywhere(check_truncate);
}

struct listing {
    char names[8][32];
    size_t count;
};

static void listing_add(void *context, const char *name)
{
    struct listing *listing = context;
    cr_assert_lt(listing->count, COUNT_OF(listing->names));
    (void)snprintf(listing->names[listing->count++], sizeof(listing->names[0]), "%s", name);
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The names in a directory, sorted, with a blank behind each. */
static const char *names_in(struct io *io, const char *path)
{
    static char text[256];
    struct listing listing = {.count = 0};
    cr_assert_eq(io->operations->list(io, path, listing_add, &listing), STATUS_OK);
    qsort(listing.names, listing.count, sizeof(listing.names[0]), name_compare);
    text[0] = '\0';
    for (size_t i = 0; i < listing.count; i++) {
        strncat(text, listing.names[i], 32);
        strncat(text, " ", 2);
    }
    return text;
}

static void check_names(struct place *place, struct io *io)
{
    (void)place;
    const struct io_operations *operations = io->operations;
    cr_assert_str_eq(names_in(io, "."), "");
    cr_assert_eq(operations->make_directory(io, "log"), STATUS_OK);
    cr_assert_eq(operations->make_directory(io, "log"), STATUS_OK, "an existing one is fine");
    cr_assert_eq(operations->make_directory(io, "log/old"), STATUS_OK);
    cr_assert_eq(operations->make_directory(io, "none/old"), STATUS_NOT_FOUND);
    operations->close_file(io, make_file(io, "log/a", 0));
    operations->close_file(io, make_file(io, "log/b", 0));
    cr_assert_eq(operations->make_directory(io, "log/a"), STATUS_EXISTS, "but not a file");
    cr_assert_str_eq(names_in(io, "."), "log ");
    cr_assert_str_eq(names_in(io, "log"), "a b old ");
    cr_assert_eq(operations->sync_directory(io, "log"), STATUS_OK);
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);

    int file = open_file(io, "log/a", 0);
    write_pattern(io, file, 50, 0, 1);
    cr_assert_eq(operations->rename(io, "log/a", "log/b"), STATUS_OK, "replaces");
    cr_assert_str_eq(names_in(io, "log"), "b old ");
    cr_assert_eq(operations->rename(io, "log/b", "log/old/c"), STATUS_OK);
    cr_assert_str_eq(names_in(io, "log"), "old ");
    cr_assert_str_eq(names_in(io, "log/old"), "c ");
    cr_assert_eq(operations->unlink(io, "log/old/c"), STATUS_OK);
    expect_pattern(io, file, 50, 0, 1); /* an open file outlives its names */

    cr_assert_eq(operations->unlink(io, "log/old/c"), STATUS_NOT_FOUND);
    cr_assert_eq(operations->rename(io, "log/none", "log/x"), STATUS_NOT_FOUND);
    cr_assert_eq(operations->sync_directory(io, "none"), STATUS_NOT_FOUND);
    cr_assert_eq(operations->list(io, "none", listing_add, NULL), STATUS_NOT_FOUND);
}

Test(io, names)
{
    everywhere(check_names);
}

static void check_lock(struct place *place, struct io *io)
{
    struct io *second = place_open(place);
    cr_assert_eq(io->operations->lock(io, "lock"), STATUS_OK);
    cr_assert_eq(second->operations->lock(second, "lock"), STATUS_LOCKED, "%s", place->name);
    cr_assert_eq(second->operations->lock(second, "other"), STATUS_OK);
    io_close(second);
    second = place_open(place);
    cr_assert_eq(second->operations->lock(second, "other"), STATUS_OK, "ended with its io");
    io_close(second);
}

Test(io, lock_keeps_others_out)
{
    everywhere(check_lock);
}

static void check_two_handles(struct place *place, struct io *io)
{
    struct io *second = place_open(place);
    int file = make_file(io, "file", 0);
    int other = open_file(second, "file", 0);
    write_pattern(io, file, 5000, 0, 1);
    expect_pattern(second, other, 5000, 0, 1);
    write_pattern(second, other, 5000, 5000, 2);
    expect_pattern(io, file, 5000, 5000, 2);
    io_close(second);
}

Test(io, two_handles_see_one_disk)
{
    everywhere(check_two_handles);
}

static void check_clock_and_random(struct place *place, struct io *io)
{
    (void)place;
    int64_t now_us = io->operations->now_us(io);
    cr_assert(now_us > LIMIT_TIMESTAMP_MIN_US && io->operations->now_us(io) >= now_us);
    uint8_t first[600] = {0};
    uint8_t second[600] = {0};
    io->operations->random(io, first, sizeof(first));
    io->operations->random(io, second, sizeof(second));
    cr_assert_neq(memcmp(first, second, sizeof(first)), 0);
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof(first); i++) {
        zeros += first[i] == 0;
    }
    cr_assert_lt(zeros, 30);
}

Test(io, clock_and_random)
{
    everywhere(check_clock_and_random);
}

static void *submit_elsewhere(void *context)
{
    struct io *io = context;
    int file = make_file(io, "thread", IO_OPEN_DIRECT);
    write_pattern(io, file, 4 * BLOCK, 0, 8);
    expect_pattern(io, file, 4 * BLOCK, 0, 8);
    return NULL;
}

static void check_thread(struct place *place, struct io *io)
{
    (void)io;
    struct io *second = place_open(place);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, submit_elsewhere, second), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    io_close(second);
}

Test(io, opened_and_closed_by_another_thread)
{
    everywhere(check_thread);
}

/* What only a kernel has */

/* Runs a check on both real backends, on an ordinary filesystem. */
static void on_kernel(void (*check)(struct place *place, struct io *io))
{
    for (enum io_backend backend = IO_BACKEND_URING; backend <= IO_BACKEND_SYNC; backend++) {
        struct place place = {.name = "kernel", .backend = backend};
        root_make(&place, "/tmp");
        struct io *io = place_open(&place);
        if (io != NULL) {
            check(&place, io);
            io_close(io);
        }
        tree_remove(place.root);
    }
}

static void check_durable_by_sync(struct place *place, struct io *io)
{
    ((struct io_posix *)io)->durable_by_sync = true;
    check_direct(place, io);
}

static void check_many_by_sync(struct place *place, struct io *io)
{
    ((struct io_posix *)io)->durable_by_sync = true;
    check_many(place, io);
}

Test(io, durable_writes_without_dsync)
{
    on_kernel(check_durable_by_sync);
    on_kernel(check_many_by_sync);
}

static void check_file_limit(struct place *place, struct io *io)
{
    (void)place;
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    int file = make_file(io, "file", 0);
    uint8_t *bytes = pattern_make(5 * BLOCK, 1);
    struct io_request request = {
        .kind = IO_WRITE_DURABLE, .file = file, .buffer = bytes, .size = 5 * BLOCK};
    limit.rlim_cur = 3 * BLOCK;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum status status = run_one(io, &request);
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(status, STATUS_IO);
    cr_assert_eq(request.error_number, EFBIG);
    cr_assert_eq(request.done, 3 * BLOCK, "a short write is continued until it fails");
    expect_pattern(io, file, 3 * BLOCK, 0, 1);
    free(bytes);
}

Test(io, short_write_is_continued)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    on_kernel(check_file_limit);
}

static void check_full(struct place *place, struct io *io)
{
    (void)place;
    int file = make_file(io, "file", 0);
    write_pattern(io, file, 10 * BLOCK, 0, 1);
    cr_assert_eq(io->operations->allocate(io, make_file(io, "big", 0), 4 * 1024 * 1024),
                 STATUS_NO_SPACE);
    cr_assert_eq(io->last_errno, ENOSPC);
    cr_assert_eq(io->operations->unlink(io, "big"), STATUS_OK);
    size_t size = 2 * 1024 * 1024;
    uint8_t *bytes = pattern_make(size, 2);
    struct io_request request = {.kind = IO_WRITE_DURABLE, .file = file, .buffer = bytes};
    request.size = size;
    request.offset = 10 * BLOCK;
    cr_assert_eq(run_one(io, &request), STATUS_NO_SPACE);
    cr_assert_eq(request.error_number, ENOSPC);
    expect_pattern(io, file, 10 * BLOCK, 0, 1); /* nothing was lost outside the range */
    request.kind = IO_WRITE;
    cr_assert_eq(run_one(io, &request), STATUS_NO_SPACE);
    request.kind = IO_WRITE_DURABLE;
    cr_assert_eq(run_one(io, &request), STATUS_IO, "after plain writes nobody knows what is lost");
    free(bytes);
}

Test(io, full_filesystem)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        cr_skip_test("may not mount here");
    }
    for (enum io_backend backend = IO_BACKEND_URING; backend <= IO_BACKEND_SYNC; backend++) {
        struct place place = {.name = "small tmpfs", .backend = backend};
        root_make(&place, "/tmp");
        if (mount("tmpfs", place.root, "tmpfs", 0, "size=1m") != 0) {
            tree_remove(place.root);
            cr_skip_test("may not mount here");
        }
        struct io *io = place_open(&place);
        if (io != NULL) {
            check_full(&place, io);
            io_close(io);
        }
        cr_assert_eq(umount2(place.root, MNT_DETACH), 0);
        tree_remove(place.root);
    }
}

Test(io, missing_root)
{
    struct error error = {""};
    struct io *io = NULL;
    cr_assert_eq(io_open(IO_BACKEND_AUTO, "/nowhere/at/all", &error, &io), STATUS_NOT_FOUND);
    cr_assert_eq(io_open(IO_BACKEND_SYNC, "/nowhere/at/all", NULL, &io), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(error.text, "/nowhere/at/all"));
    cr_assert_null(io);
}

/* From now on this process cannot make that system call. False where filters are not allowed either. */
static bool call_forbid(long number, int error_number)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error_number),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(steps), .filter = steps};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Test(io, auto_takes_sync_where_rings_are_forbidden)
{
    struct place place = {.name = "auto"};
    root_make(&place, "/tmp");
    if (!call_forbid(SYS_io_uring_setup, EPERM)) {
        tree_remove(place.root);
        cr_skip_test("may not filter system calls here");
    }
    struct error error;
    struct io *io = NULL;
    cr_assert_eq(io_open(IO_BACKEND_URING, place.root, &error, &io), STATUS_UNSUPPORTED);
    cr_assert_eq(io_open(IO_BACKEND_AUTO, place.root, &error, &io), STATUS_OK);
    cr_assert_str_eq(io->operations->name, "sync");
    io_close(io);
    tree_remove(place.root);
}

Test(io, sync_writes_without_pwritev2)
{
    static const int refusals[] = {EOPNOTSUPP, ENOSYS};
    struct place place = {.name = "sync", .backend = IO_BACKEND_SYNC};
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        root_make(&place, "/tmp");
        if (!call_forbid(SYS_pwritev2, refusals[i])) {
            tree_remove(place.root);
            cr_skip_test("may not filter system calls here");
        }
        struct io *io = place_open(&place);
        check_direct(&place, io);
        cr_assert(((struct io_posix *)io)->durable_by_sync);
        io_close(io);
        tree_remove(place.root);
    }
}

static int ring_descriptor(void)
{
    int found = -1;
    DIR *directory = opendir("/proc/self/fd");
    cr_assert_not_null(directory);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char target[64] = "";
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
        if (length > 0 && strstr(target, "io_uring") != NULL) {
            found = atoi(entry->d_name);
        }
    }
    (void)closedir(directory);
    return found;
}

Test(io, ring_is_restricted)
{
    struct place place = {.name = "uring", .backend = IO_BACKEND_URING};
    root_make(&place, "/tmp");
    struct io *io = place_open(&place);
    if (io != NULL) {
        submit_elsewhere(io);
        struct io_uring_probe probe = {.ops_len = 0};
        long result =
            syscall(SYS_io_uring_register, ring_descriptor(), IORING_REGISTER_PROBE, &probe, 0);
        cr_assert(result == -1 && errno == EACCES, "result %ld, %s", result, strerror(errno));
        io_close(io);
    }
    tree_remove(place.root);
}

/* The simulated disk */

static struct io_sim *sim_open_in_order(uint32_t sector_size)
{
    return io_sim_open(
        &(struct io_sim_options){.seed = 1, .sector_size = sector_size, .in_order = true});
}

/* Reads a file of a disk as text; missing files are "-". */
static const char *text_of(const struct io_sim *disk, const char *path)
{
    static char text[64];
    size_t done = 0;
    if (io_sim_peek(disk, path, 0, text, sizeof(text) - 1, &done) != STATUS_OK) {
        return "-";
    }
    text[done] = '\0';
    return text;
}

static struct io_sim *crash_all(const struct io_sim *disk, enum io_sim_fate fate)
{
    uint8_t fates[1024];
    size_t count = io_sim_atoms(disk, NULL, 0);
    cr_assert_leq(count, sizeof(fates));
    memset(fates, (int)fate, count);
    return io_sim_crash_with(disk, fates, count, 1);
}

static void expect_after_crash(const struct io_sim *disk, enum io_sim_fate fate, const char *path,
                               const char *text)
{
    struct io_sim *image = crash_all(disk, fate);
    cr_assert_str_eq(text_of(image, path), text);
    cr_assert_eq(io_sim_atoms(image, NULL, 0), 0, "everything is durable after a crash");
    io_sim_close(image);
}

Test(io_sim, crash_drops_what_was_not_synced)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "one", 0), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "");
    expect_after_crash(disk, IO_SIM_KEEP, "file", "one");
    cr_assert_eq(sync_file(io, file), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "one");
    cr_assert_eq(write_plain(io, file, "two", 0), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "one");
    expect_after_crash(disk, IO_SIM_KEEP, "file", "two");
    cr_assert_eq(io_write_durable(io, file, "six", 3, 0), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "six");
    cr_assert_eq(io_sim_atoms(disk, NULL, 0), 0, "the older write cannot come back");
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, size_and_data_are_independent)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "data", 0), STATUS_OK);
    struct io_sim_atom atoms[2];
    cr_assert_eq(io_sim_atoms(disk, atoms, 2), 2);
    cr_assert(atoms[0].kind == IO_SIM_ATOM_SECTOR && atoms[0].size == 4 && atoms[0].fresh);
    cr_assert(atoms[1].kind == IO_SIM_ATOM_SIZE && atoms[1].offset == 4);
    char line[128];
    io_sim_describe(disk, &atoms[0], line, sizeof(line));
    cr_assert_str_eq(line, "change 3: 4 bytes at 0 of file, unsynced, fresh");

    struct io_sim *image = io_sim_crash_with(disk, (uint8_t[]){IO_SIM_KEEP, IO_SIM_DROP}, 2, 0);
    cr_assert_str_eq(text_of(image, "file"), "", "data without size");
    io_sim_close(image);
    image = io_sim_crash_with(disk, (uint8_t[]){IO_SIM_DROP, IO_SIM_KEEP}, 2, 0);
    char found[8] = "xxxxxxx";
    size_t done = 0;
    cr_assert_eq(io_sim_peek(image, "file", 0, found, 8, &done), STATUS_OK);
    cr_assert(done == 4 && memcmp(found, "\0\0\0\0", 4) == 0, "size without data");
    io_sim_close(image);
    io_close(io);
    io_sim_close(disk);
}

static void check_torn(uint32_t sector_size)
{
    struct io_sim *disk = sim_open_in_order(sector_size);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    write_pattern(io, file, 16384, 0, 1);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    uint8_t *old_bytes = pattern_make(16384, 1);
    uint8_t *new_bytes = pattern_make(16384, 2);
    struct io_request request = {
        .kind = IO_WRITE_DURABLE, .file = file, .buffer = new_bytes, .size = 16384};
    cr_assert_eq(io->operations->submit(io, &request), STATUS_OK);
    size_t count = io_sim_atoms(disk, NULL, 0);
    cr_assert_eq(count, 16384 / sector_size, "in flight, one for each sector");

    uint8_t fates[32];
    for (size_t i = 0; i < count; i++) {
        fates[i] = (uint8_t)(i % 3); /* drop, keep, half */
    }
    struct io_sim *image = io_sim_crash_with(disk, fates, count, 0);
    uint8_t *found = pattern_make(16384, 3);
    size_t done = 0;
    cr_assert_eq(io_sim_peek(image, "file", 0, found, 16384, &done), STATUS_OK);
    for (size_t at = 0; at < 16384; at++) {
        enum io_sim_fate fate = fates[at / sector_size];
        bool is_new =
            fate == IO_SIM_KEEP || (fate == IO_SIM_HALF && at % sector_size < sector_size / 2);
        cr_assert_eq(found[at], is_new ? new_bytes[at] : old_bytes[at], "byte %zu", at);
    }
    io_sim_close(image);
    struct io_request *completed = NULL;
    cr_assert_eq(io->operations->wait(io, -1, &completed), STATUS_OK);
    cr_assert_eq(completed, &request);
    cr_assert_eq(io_sim_atoms(disk, NULL, 0), 0);
    free(old_bytes);
    free(new_bytes);
    free(found);
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, writes_in_flight_tear_by_sector)
{
    check_torn(512);
    check_torn(4096);
}

Test(io_sim, rewritten_sector_may_show_any_version)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io_write_durable(io, file, "old", 3, 0), STATUS_OK);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "mid", 0), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "new", 0), STATUS_OK);
    static const char *const expected[] = {"old", "mid", "new", "new"};
    for (uint8_t i = 0; i < 4; i++) {
        uint8_t fates[] = {i & 1, i >> 1};
        struct io_sim *image = io_sim_crash_with(disk, fates, 2, 0);
        cr_assert_str_eq(text_of(image, "file"), expected[i]);
        io_sim_close(image);
    }
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, sync_covers_only_what_had_completed)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    cr_assert_eq(write_plain(io, file, "first", 0), STATUS_OK);
    char text[] = "second";
    struct io_request sync = {.kind = IO_SYNC, .file = file};
    struct io_request late = {
        .kind = IO_WRITE, .file = file, .buffer = text, .size = 6, .offset = 512};
    cr_assert_eq(io->operations->submit(io, &late), STATUS_OK);
    cr_assert_eq(io->operations->submit(io, &sync), STATUS_OK);
    struct io_request *completed = NULL;
    cr_assert_eq(io->operations->wait(io, -1, &completed), STATUS_OK);
    cr_assert(completed == &late && late.next == &sync);
    expect_after_crash(disk, IO_SIM_DROP, "file", "first");
    cr_assert_eq(io_sim_atoms(disk, NULL, 0), 2, "the late write's sector and size");
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, names_are_lost_without_directory_sync)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    const struct io_operations *operations = io->operations;
    cr_assert_eq(io_write_durable(io, make_file(io, "file", 0), "old", 3, 0), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "-");
    expect_after_crash(disk, IO_SIM_KEEP, "file", "old");
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "old");

    cr_assert_eq(io_write_durable(io, make_file(io, "temporary", 0), "new", 3, 0), STATUS_OK);
    cr_assert_eq(operations->rename(io, "temporary", "file"), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "old");
    expect_after_crash(disk, IO_SIM_KEEP, "file", "new");
    expect_after_crash(disk, IO_SIM_KEEP, "temporary", "-");
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "new");

    cr_assert_eq(operations->unlink(io, "file"), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "file", "new");
    expect_after_crash(disk, IO_SIM_KEEP, "file", "-");

    cr_assert_eq(operations->make_directory(io, "directory"), STATUS_OK);
    cr_assert_eq(io_write_durable(io, make_file(io, "directory/x", 0), "x", 1, 0), STATUS_OK);
    cr_assert_eq(operations->sync_directory(io, "directory"), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "directory/x", "-");
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);
    expect_after_crash(disk, IO_SIM_DROP, "directory/x", "x");
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, rename_between_directories_never_loses_the_file)
{
    for (uint8_t order = 0; order < 3; order++) {
        struct io_sim *disk = sim_open_in_order(512);
        struct io *io = io_sim_handle(disk);
        const struct io_operations *operations = io->operations;
        cr_assert_eq(operations->make_directory(io, "a"), STATUS_OK);
        cr_assert_eq(operations->make_directory(io, "b"), STATUS_OK);
        cr_assert_eq(io_write_durable(io, make_file(io, "a/x", 0), "x", 1, 0), STATUS_OK);
        cr_assert_eq(operations->sync_directory(io, "a"), STATUS_OK);
        cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);
        cr_assert_eq(operations->rename(io, "a/x", "b/y"), STATUS_OK);
        cr_assert_str_eq(text_of(disk, "a/x"), "-");
        if (order > 0) {
            cr_assert_eq(operations->sync_directory(io, order == 1 ? "a" : "b"), STATUS_OK);
        }
        size_t count = io_sim_atoms(disk, NULL, 0);
        cr_assert_eq(count, order == 0 ? 2 : order == 1 ? 0 : 1);
        for (uint8_t i = 0; i < (1 << count); i++) {
            uint8_t fates[] = {i & 1, i >> 1};
            struct io_sim *image = io_sim_crash_with(disk, fates, count, 0);
            bool source = strcmp(text_of(image, "a/x"), "x") == 0;
            bool target = strcmp(text_of(image, "b/y"), "x") == 0;
            cr_assert(source || target, "order %d, fates %d", order, i);
            io_sim_close(image);
        }
        io_close(io);
        io_sim_close(disk);
    }
}

Test(io_sim, fresh_blocks_show_deleted_files)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int secret = make_file(io, "deleted", 0);
    write_pattern(io, secret, 2048, 0, 5);
    io->operations->close_file(io, secret);
    cr_assert_eq(io->operations->unlink(io, "deleted"), STATUS_OK);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    uint8_t *bytes = pattern_make(1024, 6);
    struct io_request request = {.kind = IO_WRITE, .file = file, .buffer = bytes, .size = 1024};
    cr_assert_eq(run_one(io, &request), STATUS_OK);
    struct io_sim *image =
        io_sim_crash_with(disk, (uint8_t[]){IO_SIM_KEEP, IO_SIM_STALE, IO_SIM_KEEP}, 3, 0);
    uint8_t *stale = pattern_make(2048, 5);
    uint8_t found[1024];
    size_t done = 0;
    cr_assert_eq(io_sim_peek(image, "file", 0, found, 1024, &done), STATUS_OK);
    cr_assert_eq(done, 1024);
    cr_assert_arr_eq(found, bytes, 512);
    cr_assert_arr_eq(found + 512, stale + 512, 512);
    free(bytes);
    free(stale);
    io_sim_close(image);
    io_close(io);
    io_sim_close(disk);
}

struct cut {
    uint64_t points;
    uint64_t images;
    uint64_t whole; /* in which the file has its new content */
};

/* Whatever the point and the fates: the file is whole, old or new. */
static void cut_check(void *context, struct io_sim *disk, uint64_t point)
{
    struct cut *cut = context;
    cr_assert_eq(point, ++cut->points);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct io_sim *image = io_sim_crash(disk, seed);
        const char *text = text_of(image, "file");
        cr_assert(strcmp(text, "-") == 0 || strcmp(text, "old") == 0 || strcmp(text, "new") == 0,
                  "point %lu, seed %lu: %s", point, seed, text);
        cut->whole += strcmp(text, "new") == 0;
        cut->images++;
        io_sim_close(image);
    }
}

static void replace_safely(struct io *io, const char *text, bool sync_first)
{
    const struct io_operations *operations = io->operations;
    int file = make_file(io, "temporary", 0);
    cr_assert_eq(write_plain(io, file, text, 0), STATUS_OK);
    if (sync_first) {
        cr_assert_eq(sync_file(io, file), STATUS_OK);
    }
    operations->close_file(io, file);
    cr_assert_eq(operations->rename(io, "temporary", "file"), STATUS_OK);
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_OK);
}

Test(io_sim, every_cut_point_of_a_safe_replace_is_whole)
{
    struct io_sim *disk = io_sim_open(NULL);
    struct io *io = io_sim_handle(disk);
    struct cut cut = {0};
    io_sim_watch(disk, cut_check, &cut);
    replace_safely(io, "old", true);
    replace_safely(io, "new", true);
    cr_assert_geq(cut.points, 10);
    cr_assert(cut.whole > 0 && cut.whole < cut.images);
    expect_after_crash(disk, IO_SIM_DROP, "file", "new");
    io_close(io);
    io_sim_close(disk);
}

static void cut_count_broken(void *context, struct io_sim *disk, uint64_t point)
{
    struct cut *cut = context;
    cut->points = point;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct io_sim *image = io_sim_crash(disk, seed);
        const char *text = text_of(image, "file");
        cut->whole += strcmp(text, "-") != 0 && strcmp(text, "new") != 0;
        io_sim_close(image);
    }
}

Test(io_sim, an_unsafe_replace_is_found_out)
{
    struct io_sim *disk = io_sim_open(NULL);
    struct io *io = io_sim_handle(disk);
    struct cut cut = {0};
    io_sim_watch(disk, cut_count_broken, &cut);
    replace_safely(io, "new", false);
    cr_assert_gt(cut.whole, 0, "rename before sync must show in some crash");
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, hash_tells_disks_apart)
{
    struct io_sim *disk = io_sim_open(NULL);
    struct io *io = io_sim_handle(disk);
    cr_assert_eq(io->operations->make_directory(io, "d"), STATUS_OK);
    cr_assert_eq(io_write_durable(io, make_file(io, "d/x", 0), "1", 1, 0), STATUS_OK);
    cr_assert_eq(io_write_durable(io, make_file(io, "y", 0), "2", 1, 0), STATUS_OK);
    struct io_sim *kept = crash_all(disk, IO_SIM_KEEP);
    struct io_sim *again = crash_all(disk, IO_SIM_KEEP);
    struct io_sim *dropped = crash_all(disk, IO_SIM_DROP);
    struct io_sim *empty = io_sim_open(NULL);
    cr_assert_eq(io_sim_hash(kept), io_sim_hash(again));
    cr_assert_neq(io_sim_hash(kept), io_sim_hash(dropped));
    cr_assert_eq(io_sim_hash(dropped), io_sim_hash(empty));
    cr_assert_eq(io_sim_poke(again, "d/x", 0, "3", 1), STATUS_OK);
    cr_assert_neq(io_sim_hash(kept), io_sim_hash(again));
    cr_assert_str_eq(text_of(kept, "d/x"), "1", "pages are shared, not changed");
    cr_assert_eq(io_sim_poke(again, "d/x", 1, "3", 1), STATUS_INVALID);
    struct io_sim *copy = io_sim_clone(disk);
    cr_assert_eq(io_sim_atoms(copy, NULL, 0), io_sim_atoms(disk, NULL, 0));
    struct io_sim *copy_kept = crash_all(copy, IO_SIM_KEEP);
    cr_assert_eq(io_sim_hash(copy_kept), io_sim_hash(kept));
    io_close(io);
    io_sim_close(disk);
    io_sim_close(kept);
    io_sim_close(again);
    io_sim_close(dropped);
    io_sim_close(empty);
    io_sim_close(copy);
    io_sim_close(copy_kept);
}

Test(io_sim, nth_operation_fails_once_or_forever)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    struct io_sim_fault fault = {.operations = IO_SIM_WRITE_DURABLE, .nth = 2, .status = STATUS_IO};
    for (int forever = 0; forever < 2; forever++) {
        fault.forever = forever == 1;
        io_sim_inject(disk, &fault);
        cr_assert_eq(io_write_durable(io, file, "1", 1, 0), STATUS_OK);
        cr_assert_eq(sync_file(io, file), STATUS_OK, "other kinds do not count");
        cr_assert_eq(io_sim_struck(disk), 0);
        cr_assert_eq(io_write_durable(io, file, "2", 1, 0), STATUS_IO);
        cr_assert_eq(io->last_errno, EIO);
        cr_assert_eq(io_write_durable(io, file, "3", 1, 0), forever == 1 ? STATUS_IO : STATUS_OK);
        cr_assert_eq(io_sim_struck(disk), forever == 1 ? 2 : 1);
    }
    io_sim_inject(disk, NULL);
    cr_assert_eq(io_write_durable(io, file, "4", 1, 0), STATUS_OK);
    io_close(io);
    io_sim_close(disk);
}

Test(io_sim, every_operation_can_fail)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    const struct io_operations *operations = io->operations;
    int file = make_file(io, "file", 0);
    io_sim_inject(
        disk, &(struct io_sim_fault){
                  .operations = IO_SIM_ALL, .nth = 1, .forever = true, .status = STATUS_NO_SPACE});
    int other = 0;
    uint64_t size = 0;
    cr_assert_eq(operations->open(io, "x", IO_OPEN_CREATE, &other), STATUS_NO_SPACE);
    cr_assert_eq(io->last_errno, ENOSPC);
    cr_assert_eq(operations->allocate(io, file, BLOCK), STATUS_NO_SPACE);
    cr_assert_eq(operations->truncate(io, file, 0), STATUS_NO_SPACE);
    cr_assert_eq(operations->size(io, file, &size), STATUS_NO_SPACE);
    cr_assert_eq(operations->sync_directory(io, "."), STATUS_NO_SPACE);
    cr_assert_eq(operations->make_directory(io, "d"), STATUS_NO_SPACE);
    cr_assert_eq(operations->rename(io, "file", "g"), STATUS_NO_SPACE);
    cr_assert_eq(operations->unlink(io, "file"), STATUS_NO_SPACE);
    cr_assert_eq(operations->list(io, ".", listing_add, NULL), STATUS_NO_SPACE);
    cr_assert_eq(operations->lock(io, "lock"), STATUS_NO_SPACE);
    cr_assert_eq(write_plain(io, file, "x", 0), STATUS_NO_SPACE);
    cr_assert_eq(sync_file(io, file), STATUS_IO, "a sync is never out of space");
    cr_assert_eq(io_sim_struck(disk), 12);
    io_sim_inject(disk, NULL);
    cr_assert_str_eq(names_in(io, "."), "file ");
    io_close(io);
    io_sim_close(disk);
}

/* A failed sync, then one that succeeds: the data may be gone all the same. Returns whether it was. */
static bool lost_after_second_sync(uint64_t seed, bool revert_cache)
{
    struct io_sim *disk = io_sim_open(&(struct io_sim_options){.seed = seed});
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io_write_durable(io, file, "old", 3, 0), STATUS_OK);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    io_sim_inject(disk, &(struct io_sim_fault){.operations = IO_SIM_SYNC,
                                               .nth = 1,
                                               .status = STATUS_IO,
                                               .revert_cache = revert_cache});
    cr_assert_eq(write_plain(io, file, "new", 0), STATUS_OK);
    cr_assert_eq(sync_file(io, file), STATUS_IO);
    bool reads_new = strcmp(text_of(disk, "file"), "new") == 0;
    cr_assert_eq(sync_file(io, file), STATUS_OK);
    struct io_sim *image = crash_all(disk, IO_SIM_KEEP);
    bool lost = strcmp(text_of(image, "file"), "old") == 0;
    cr_assert_eq(reads_new, !revert_cache || !lost);
    io_sim_close(image);
    io_close(io);
    io_sim_close(disk);
    return lost;
}

Test(io_sim, sync_after_failed_sync_lies)
{
    for (int revert = 0; revert < 2; revert++) {
        int lost = 0;
        for (uint64_t seed = 0; seed < 40; seed++) {
            lost += lost_after_second_sync(seed, revert == 1);
        }
        cr_assert(lost > 5 && lost < 35, "lost %d of 40", lost);
    }
}

Test(io_sim, failed_write_leaves_the_range_in_doubt_and_nothing_else)
{
    int mixed = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct io_sim *disk = io_sim_open(&(struct io_sim_options){.seed = seed});
        struct io *io = io_sim_handle(disk);
        int file = make_file(io, "file", 0);
        write_pattern(io, file, 4096, 0, 1);
        cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
        io_sim_inject(disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                   .nth = 1,
                                                   .status = STATUS_IO,
                                                   .revert_cache = seed % 2 == 0});
        uint8_t *new_bytes = pattern_make(2048, 2);
        uint8_t *old_bytes = pattern_make(4096, 1);
        cr_assert_eq(io_write_durable(io, file, new_bytes, 2048, 1024), STATUS_IO);
        struct io_sim *image = crash_all(disk, IO_SIM_KEEP);
        uint8_t found[4096];
        size_t done = 0;
        cr_assert_eq(io_sim_peek(image, "file", 0, found, 4096, &done), STATUS_OK);
        cr_assert_arr_eq(found, old_bytes, 1024);
        cr_assert_arr_eq(found + 3072, old_bytes + 3072, 1024);
        int is_new = 0;
        for (size_t i = 0; i < 4; i++) {
            bool sector_new = memcmp(found + 1024 + i * 512, new_bytes + i * 512, 512) == 0;
            bool sector_old = memcmp(found + 1024 + i * 512, old_bytes + 1024 + i * 512, 512) == 0;
            cr_assert(sector_new || sector_old);
            is_new += sector_new;
        }
        mixed += is_new > 0 && is_new < 4;
        free(new_bytes);
        free(old_bytes);
        io_sim_close(image);
        io_close(io);
        io_sim_close(disk);
    }
    cr_assert_gt(mixed, 10);
}

Test(io_sim, full_disk_writes_a_prefix)
{
    int partial = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct io_sim *disk = io_sim_open(&(struct io_sim_options){.seed = seed});
        struct io *io = io_sim_handle(disk);
        int file = make_file(io, "file", 0);
        write_pattern(io, file, 512, 0, 1);
        io_sim_inject(disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                   .nth = 1,
                                                   .status = STATUS_NO_SPACE});
        uint8_t *bytes = pattern_make(2048, 2);
        cr_assert_eq(io_write_durable(io, file, bytes, 2048, 512), STATUS_NO_SPACE);
        uint64_t size = file_size(io, file);
        cr_assert(size >= 512 && size < 2560);
        expect_pattern(io, file, 512, 0, 1);
        partial += size > 512;
        free(bytes);
        io_close(io);
        io_sim_close(disk);
    }
    cr_assert_gt(partial, 5);
}

Test(io_sim, a_lying_device_is_possible)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    int file = make_file(io, "file", 0);
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK);
    io_sim_inject(disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE | IO_SIM_SYNC,
                                               .nth = 1,
                                               .forever = true,
                                               .status = STATUS_OK});
    cr_assert_eq(io_write_durable(io, file, "lie", 3, 0), STATUS_OK);
    cr_assert_eq(sync_file(io, file), STATUS_OK);
    cr_assert_str_eq(text_of(disk, "file"), "lie");
    expect_after_crash(disk, IO_SIM_DROP, "file", "");
    io_close(io);
    io_sim_close(disk);
}

static void halt_at_third(void *context, struct io_sim *disk, uint64_t point)
{
    struct io_sim **out_snapshot = context;
    if (point == 3) {
        *out_snapshot = io_sim_clone(disk);
        io_sim_halt(disk);
    }
}

Test(io_sim, halted_disk_does_nothing_more)
{
    struct io_sim *disk = sim_open_in_order(512);
    struct io *io = io_sim_handle(disk);
    struct io_sim *snapshot = NULL;
    io_sim_watch(disk, halt_at_third, &snapshot);
    int file = make_file(io, "file", 0);                              /* 1 */
    cr_assert_eq(io->operations->sync_directory(io, "."), STATUS_OK); /* 2 */
    cr_assert_eq(io_write_durable(io, file, "x", 1, 0), STATUS_IO);   /* 3: submitted */
    cr_assert_eq(io_write_durable(io, file, "y", 1, 0), STATUS_IO);
    cr_assert_eq(io->operations->unlink(io, "file"), STATUS_IO);
    cr_assert_not_null(snapshot);
    for (int i = 0; i < 2; i++) {
        const struct io_sim *each = i == 0 ? disk : snapshot;
        expect_after_crash(each, IO_SIM_DROP, "file", "");
        expect_after_crash(each, IO_SIM_KEEP, "file", "x");
    }
    io_close(io);
    io_sim_close(disk);
    io_sim_close(snapshot);
}

Test(io_sim, same_seed_same_disk)
{
    uint64_t hashes[2] = {0, 0};
    uint64_t randoms[2] = {0, 0};
    for (int run = 0; run < 2; run++) {
        struct io_sim *disk = io_sim_open(&(struct io_sim_options){.seed = 99});
        struct io *io = io_sim_handle(disk);
        check_many(&(struct place){.name = "sim"}, io);
        io->operations->random(io, &randoms[run], sizeof(randoms[run]));
        cr_assert_eq(write_plain(io, make_file(io, "other", 0), "text", 0), STATUS_OK);
        struct io_sim *image = io_sim_crash(disk, 5);
        hashes[run] = io_sim_hash(image);
        io_sim_close(image);
        io_close(io);
        io_sim_close(disk);
    }
    cr_assert_eq(hashes[0], hashes[1]);
    cr_assert_eq(randoms[0], randoms[1]);
}

Test(io_sim, completions_come_in_any_order)
{
    bool reordered = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct io_sim *disk = io_sim_open(&(struct io_sim_options){.seed = seed});
        struct io *io = io_sim_handle(disk);
        int file = make_file(io, "file", 0);
        struct io_request requests[3];
        struct io_request *completed = NULL;
        for (size_t i = 0; i < 3; i++) {
            requests[i] = (struct io_request){.kind = IO_SYNC, .file = file};
            cr_assert_eq(io->operations->submit(io, &requests[i]), STATUS_OK);
        }
        cr_assert_eq(io->operations->wait(io, -1, &completed), STATUS_OK);
        reordered = reordered || completed != &requests[0];
        io_close(io);
        io_sim_close(disk);
    }
    cr_assert(reordered);
}

Test(io_sim, clock_moves_only_when_told)
{
    struct io_sim *disk = io_sim_open(&(struct io_sim_options){.clock_us = 5});
    struct io *io = io_sim_handle(disk);
    cr_assert_eq(io->operations->now_us(io), 5);
    io_sim_clock_advance(disk, 10);
    cr_assert_eq(io->operations->now_us(io), 15);
    io_sim_clock_set(disk, -1);
    cr_assert_eq(io->operations->now_us(io), -1);
    io_close(io);
    io_sim_close(disk);
}
