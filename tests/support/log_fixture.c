/* log_fixture.c: see log_fixture.h. */
#include "tests/support/log_fixture.h"

#include <stdio.h>
#include <stdlib.h>

struct log_fixture fixture_on(struct io_sim *disk)
{
    return (struct log_fixture){.disk = disk, .io = io_sim_handle(disk)};
}

struct log_fixture fixture_make(uint64_t seed)
{
    return fixture_on(
        io_sim_open(&(struct io_sim_options){.seed = seed, .clock_us = FIXTURE_TIME_US}));
}

void fixture_close(struct log_fixture *fixture)
{
    event_log_close(fixture->log);
    fixture->log = NULL;
}

void fixture_free(struct log_fixture *fixture)
{
    fixture_close(fixture);
    io_close(fixture->io);
    io_sim_close(fixture->disk);
}

enum status fixture_open(struct log_fixture *fixture, uint64_t applied_lsn)
{
    struct event_log_options options = {
        .io = fixture->io,
        .directory = FIXTURE_DIRECTORY,
        .segment_size = FIXTURE_SEGMENT_SIZE,
        .block_size = FIXTURE_BLOCK_SIZE,
        .applied_lsn = applied_lsn,
    };
    return event_log_open(&options, &fixture->error, &fixture->recovery, &fixture->log);
}

void fixture_fill(struct fixture_commit *commit, uint64_t first_lsn, uint32_t count, size_t size)
{
    static uint8_t filler[FIXTURE_BLOCK_SIZE]; /* no zeros: what is torn off shows */
    memset(filler, 0x77, sizeof(filler));
    struct pack_writer writer = pack_writer_on(commit->bytes, sizeof(commit->bytes));
    for (uint32_t i = 0; i < count; i++) {
        char user[32];
        (void)snprintf(user, sizeof(user), "u%llu", (unsigned long long)(first_lsn + i));
        struct event event = {
            .user_id = bytes_of_text(user),
            .event_type = bytes_of_text("test"),
            .timestamp_us = FIXTURE_TIME_US,
        };
        size_t place = event_encode_begin(&writer, &event, FIXTURE_TIME_US);
        if (i + 1 == count && size > writer.size + 32) {
            /* {"p": padding}: 3 bytes, and 3 more in front of the padding */
            size_t padding = size - writer.size - 6;
            padding -= padding > UINT8_MAX ? 0 : 1;
            pack_map(&writer, 1);
            pack_text_z(&writer, "p");
            pack_bin(&writer, bytes_of(filler, padding));
        } else {
            pack_map(&writer, 0);
        }
        event_encode_end(&writer, place);
    }
    assert(!writer.overflow);
    commit->commit =
        (struct commit){.records = bytes_of(commit->bytes, writer.size), .record_count = count};
}

enum status fixture_commit(struct log_fixture *fixture, uint64_t first_lsn, uint32_t count,
                           size_t size)
{
    struct fixture_commit *commit = malloc(sizeof(*commit));
    assert(commit != NULL);
    fixture_fill(commit, first_lsn, count, size);
    event_log_append(fixture->log, &commit->commit);
    bool done = false;
    while (!done) {
        struct durable_block block;
        enum status status = event_log_poll(fixture->log, -1, &done, &block);
        assert(status == STATUS_OK);
        if (done) {
            assert(block.commits == &commit->commit && commit->commit.next == NULL);
            event_log_release(fixture->log, block.buffer);
        }
    }
    enum status status = commit->commit.status;
    assert(status != STATUS_OK || commit->commit.first_lsn == first_lsn);
    free(commit);
    return status;
}

uint64_t fixture_blocks(struct log_fixture *fixture, uint64_t first_lsn, uint32_t blocks,
                        uint32_t pages)
{
    size_t size = pages * (size_t)LOG_BLOCK_ALIGN - FORMAT_BLOCK_HEADER_SIZE;
    for (uint32_t i = 0; i < blocks; i++) {
        enum status status = fixture_commit(fixture, first_lsn + i, 1, size);
        assert(status == STATUS_OK);
        (void)status;
    }
    return first_lsn + blocks;
}

struct scan_check {
    uint64_t next_lsn; /* 0: any */
};

static enum status scan_visit(void *context, const struct record *record)
{
    struct scan_check *check = context;
    struct event event;
    char user[32];
    if (check->next_lsn != 0 && record->lsn != check->next_lsn) {
        return STATUS_CONFLICT;
    }
    (void)snprintf(user, sizeof(user), "u%llu", (unsigned long long)record->lsn);
    if (record->kind != RECORD_EVENT || event_decode(record, &event) != STATUS_OK ||
        !bytes_equal_text(event.user_id, user)) {
        return STATUS_CONFLICT;
    }
    check->next_lsn = record->lsn + 1;
    return STATUS_OK;
}

enum status fixture_scan(struct log_fixture *fixture, uint64_t from_lsn, uint64_t end_lsn,
                         uint64_t *out_next_lsn)
{
    /* A handle of its own, as every reading thread has. */
    struct io *io = io_sim_handle(fixture->disk);
    struct scan_check check = {from_lsn};
    struct log_reader_options options = {
        .io = io, .directory = FIXTURE_DIRECTORY, .from_lsn = from_lsn, .end_lsn = end_lsn};
    enum status status = log_scan(&options, &fixture->error, scan_visit, &check);
    io_close(io);
    *out_next_lsn = check.next_lsn;
    return status;
}

const char *fixture_segment(uint64_t first_lsn)
{
    static char path[64];
    char name[SEGMENT_NAME_SIZE];
    segment_name(first_lsn, name);
    (void)snprintf(path, sizeof(path), FIXTURE_DIRECTORY "/%s", name);
    return path;
}

struct name_count {
    const char *suffix;
    uint32_t count;
};

static void name_visit(void *context, const char *name)
{
    struct name_count *count = context;
    size_t size = strlen(name);
    size_t suffix_size = strlen(count->suffix);
    count->count += size >= suffix_size && strcmp(name + size - suffix_size, count->suffix) == 0;
}

uint32_t fixture_count(struct log_fixture *fixture, const char *directory, const char *suffix)
{
    struct name_count count = {suffix, 0};
    enum status status = fixture->io->operations->list(fixture->io, directory, name_visit, &count);
    return status == STATUS_OK ? count.count : 0;
}
