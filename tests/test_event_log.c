/* test_event_log.c: commits are acknowledged once durable, in order, in one block per flush; segments roll; failures
 * poison or spare the log as event_log.h says; readers see exactly what was asked for.
 *
 * Method: a log with tiny blocks and segments on a simulated disk, whose records tell their lsn (log_fixture.h); then
 * once more on the real disk. What a crash leaves is test_log_recovery.c's business. */
#include "tests/support/log_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_US 86400000000ll

/* Polls until nothing is queued or in flight; counts blocks and checks that lsns go on without gaps. */
static uint32_t drain(struct log_fixture *fixture, uint64_t *next_lsn)
{
    uint32_t blocks = 0;
    while (event_log_busy(fixture->log)) {
        bool done = false;
        struct durable_block block;
        cr_assert_eq(event_log_poll(fixture->log, -1, &done, &block), STATUS_OK);
        if (!done) {
            continue;
        }
        cr_assert_eq(block.first_lsn, *next_lsn);
        for (struct commit *commit = block.commits; commit != NULL; commit = commit->next) {
            cr_assert_eq(commit->status, STATUS_OK);
            cr_assert_eq(commit->first_lsn, *next_lsn);
            *next_lsn += commit->record_count;
        }
        cr_assert_eq(block.end_lsn, *next_lsn);
        event_log_release(fixture->log, block.buffer);
        blocks++;
    }
    return blocks;
}

static void expect_scan(struct log_fixture *fixture, uint64_t from_lsn, uint64_t end_lsn)
{
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(fixture, from_lsn, end_lsn, &next_lsn), STATUS_OK, "%s",
                 fixture->error.text);
    cr_assert_eq(next_lsn, end_lsn);
}

Test(event_log, empty_directory_becomes_a_log)
{
    struct log_fixture fixture = fixture_make(1);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture.recovery.end_lsn, 1);
    cr_assert_eq(fixture.recovery.cut_bytes, 0);
    cr_assert_eq(fixture.recovery.segments, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".tmp"), 0);
    struct event_log_recovery first = fixture.recovery;
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, 1), STATUS_OK);
    cr_assert(uuid_equal(&first.store_id, &fixture.recovery.store_id));
    cr_assert_eq(first.hash_seed, fixture.recovery.hash_seed);
    fixture_free(&fixture);
}

Test(event_log, what_waits_for_a_flush_is_the_next_block)
{
    struct log_fixture fixture = fixture_make(2);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    static struct fixture_commit commits[20];
    uint64_t lsn = 1;
    bool done = false;
    struct durable_block block;
    for (uint32_t i = 0; i < 20; i++) {
        fixture_fill(&commits[i], lsn, 1 + i % 3, 0);
        event_log_append(fixture.log, &commits[i].commit);
        lsn += 1 + i % 3;
        if (i == 0) {
            cr_assert_eq(event_log_poll(fixture.log, 0, &done, &block), STATUS_OK);
        }
    }
    uint64_t next_lsn = 1;
    if (done) { /* the disk was quick */
        event_log_release(fixture.log, block.buffer);
        next_lsn = block.end_lsn;
    }
    uint32_t blocks = drain(&fixture, &next_lsn) + done;
    cr_assert_eq(next_lsn, lsn);
    cr_assert_eq(blocks, 2, "the first alone, all others together");
    expect_scan(&fixture, 1, lsn);
    fixture_free(&fixture);
}

Test(event_log, payload_of_a_block_is_readable_until_released)
{
    struct log_fixture fixture = fixture_make(3);
    static struct fixture_commit commits[LOG_BLOCK_BUFFERS + 1];
    struct durable_block blocks[LOG_BLOCK_BUFFERS];
    bool done = false;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    for (uint32_t i = 0; i < LOG_BLOCK_BUFFERS; i++) {
        fixture_fill(&commits[i], i + 1, 1, 0);
        event_log_append(fixture.log, &commits[i].commit);
        cr_assert_eq(event_log_poll(fixture.log, -1, &done, &blocks[i]), STATUS_OK);
        cr_assert(done);
    }
    for (uint32_t i = 0; i < LOG_BLOCK_BUFFERS; i++) {
        cr_assert(bytes_equal(blocks[i].payload, commits[i].commit.records));
    }
    /* Now all buffers are out: the next commit waits, and nobody blocks. */
    fixture_fill(&commits[LOG_BLOCK_BUFFERS], LOG_BLOCK_BUFFERS + 1, 1, 0);
    event_log_append(fixture.log, &commits[LOG_BLOCK_BUFFERS].commit);
    struct durable_block last;
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &last), STATUS_OK);
    cr_assert_not(done);
    cr_assert(event_log_busy(fixture.log));
    event_log_release(fixture.log, blocks[1].buffer);
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &last), STATUS_OK);
    cr_assert(done);
    cr_assert_eq(last.buffer, blocks[1].buffer);
    cr_assert_not(event_log_busy(fixture.log));
    fixture_free(&fixture);
}

Test(event_log, idle_poll_returns_at_once)
{
    struct log_fixture fixture = fixture_make(4);
    bool done = true;
    struct durable_block block;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_OK);
    cr_assert_not(done);
    fixture_free(&fixture);
}

Test(event_log, commit_at_the_limit_passes_and_one_byte_more_is_too_large)
{
    struct log_fixture fixture = fixture_make(5);
    struct fixture_commit large;
    bool done = false;
    struct durable_block block;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    size_t limit = FIXTURE_BLOCK_SIZE - FORMAT_BLOCK_HEADER_SIZE;
    fixture_fill(&large, 1, 1, limit + 1);
    cr_assert_eq(large.commit.records.size, limit + 1);
    event_log_append(fixture.log, &large.commit);
    cr_assert(event_log_busy(fixture.log));
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_OK);
    cr_assert(done);
    cr_assert_eq(block.commits, &large.commit);
    cr_assert_eq(block.first_lsn, block.end_lsn);
    cr_assert_eq(block.payload.size, 0);
    cr_assert_eq(large.commit.status, STATUS_TOO_LARGE);
    event_log_release(fixture.log, block.buffer);
    cr_assert_eq(fixture_commit(&fixture, 1, 1, limit), STATUS_OK, "and the log goes on");
    expect_scan(&fixture, 1, 2);
    fixture_free(&fixture);
}

Test(event_log, segment_rolls_when_full)
{
    /* 14 pages of blocks a segment, in blocks of every size: none is lost between two segments. */
    for (uint32_t pages = 1; pages <= 4; pages++) {
        struct log_fixture fixture = fixture_make(6);
        cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
        uint64_t end = fixture_blocks(&fixture, 1, 60, pages);
        uint32_t per_segment = 14 / pages;
        cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"),
                     (60 + per_segment - 1) / per_segment);
        expect_scan(&fixture, 1, end);
        fixture_close(&fixture);
        cr_assert_eq(fixture_open(&fixture, end), STATUS_OK, "%s", fixture.error.text);
        cr_assert_eq(fixture.recovery.end_lsn, end);
        end = fixture_blocks(&fixture, end, 5, pages);
        expect_scan(&fixture, 1, end);
        fixture_free(&fixture);
    }
}

Test(event_log, segment_rolls_at_midnight_and_not_while_it_is_empty)
{
    struct log_fixture fixture = fixture_make(7);
    bool done = false;
    struct durable_block block;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    io_sim_clock_advance(fixture.disk, DAY_US);
    uint64_t lsn = fixture_blocks(&fixture, 1, 1, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 1, "it was empty at midnight");
    io_sim_clock_set(fixture.disk, FIXTURE_TIME_US + 2 * DAY_US - 1);
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 1, "still the same day");
    io_sim_clock_advance(fixture.disk, 1);
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2);
    io_sim_clock_set(fixture.disk, FIXTURE_TIME_US);
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2,
                 "a clock set back rolls nothing");
    io_sim_clock_set(fixture.disk, FIXTURE_TIME_US + 3 * DAY_US);
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(event_log_poll(fixture.log, 0, &done, &block), STATUS_OK);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 3,
                 "without a commit, and after a restart");
    expect_scan(&fixture, 1, lsn);
    fixture_free(&fixture);
}

Test(event_log, footer_tells_what_the_segment_holds)
{
    struct log_fixture fixture = fixture_make(8);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t lsn = fixture_blocks(&fixture, 1, 3, 1);
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK); /* half of it is counted by recovery */
    cr_assert_eq(fixture_commit(&fixture, lsn, 5, 0), STATUS_OK);
    io_sim_clock_advance(fixture.disk, DAY_US);
    (void)fixture_blocks(&fixture, lsn + 5, 1, 1);
    uint8_t header_bytes[FORMAT_SEGMENT_HEADER_SIZE];
    uint8_t footer_bytes[FORMAT_FOOTER_SIZE];
    struct segment_header header;
    struct segment_footer footer;
    size_t done = 0;
    cr_assert_eq(
        io_sim_peek(fixture.disk, fixture_segment(1), 0, header_bytes, sizeof(header_bytes), &done),
        STATUS_OK);
    cr_assert_eq(segment_header_decode(header_bytes, &header), STATUS_OK);
    cr_assert_eq(io_sim_peek(fixture.disk, fixture_segment(1), header.file_size - LOG_BLOCK_ALIGN,
                             footer_bytes, sizeof(footer_bytes), &done),
                 STATUS_OK);
    cr_assert_eq(segment_footer_decode(footer_bytes, header.salt, &footer), STATUS_OK);
    cr_assert_eq(footer.first_lsn, 1);
    cr_assert_eq(footer.end_lsn, lsn + 5);
    cr_assert_eq(footer.events, 8);
    cr_assert_eq(footer.blocks, 4);
    cr_assert_eq(footer.timestamp_min_us, FIXTURE_TIME_US);
    cr_assert_eq(footer.received_max_us, FIXTURE_TIME_US);
    fixture_free(&fixture);
}

Test(event_log, prepared_segment_is_taken)
{
    struct log_fixture fixture = fixture_make(9);
    struct io *background = io_sim_handle(fixture.disk);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert(event_log_wants_segment(fixture.log));
    cr_assert_eq(event_log_prepare(background, FIXTURE_DIRECTORY, FIXTURE_SEGMENT_SIZE), STATUS_OK);
    event_log_prepared(fixture.log);
    cr_assert_not(event_log_wants_segment(fixture.log));
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, "next.tmp"), 1);
    uint64_t lsn = fixture_blocks(&fixture, 1, 14, 1);
    /* From here on the writer must not have to make a file. */
    io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_ALLOCATE,
                                                       .nth = 1,
                                                       .forever = true,
                                                       .status = STATUS_IO});
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(io_sim_struck(fixture.disk), 0);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".tmp"), 0);
    cr_assert(event_log_wants_segment(fixture.log));
    io_sim_inject(fixture.disk, NULL);
    io_close(background);
    fixture_free(&fixture);
}

Test(event_log, prepared_segment_of_another_size_or_vanished_is_not_taken)
{
    for (int vanished = 0; vanished < 2; vanished++) {
        struct log_fixture fixture = fixture_make(10);
        cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
        cr_assert_eq(event_log_prepare(fixture.io, FIXTURE_DIRECTORY, 2 * FIXTURE_SEGMENT_SIZE),
                     STATUS_OK);
        event_log_prepared(fixture.log);
        if (vanished) {
            cr_assert_eq(fixture.io->operations->unlink(fixture.io, "log/next.tmp"), STATUS_OK);
        }
        uint64_t lsn = fixture_blocks(&fixture, 1, 15, 1);
        cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2);
        cr_assert(event_log_wants_segment(fixture.log));
        /* What is left under the name is replaced. */
        cr_assert_eq(event_log_prepare(fixture.io, FIXTURE_DIRECTORY, FIXTURE_SEGMENT_SIZE),
                     STATUS_OK);
        event_log_prepared(fixture.log);
        lsn = fixture_blocks(&fixture, lsn, 14, 1);
        cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 3);
        expect_scan(&fixture, 1, lsn);
        fixture_free(&fixture);
    }
}

Test(event_log, bad_options_are_refused)
{
    static const struct {
        uint64_t segment_size;
        uint32_t block_size;
    } cases[] = {
        {FIXTURE_SEGMENT_SIZE + 1,       FIXTURE_BLOCK_SIZE              },
        {FIXTURE_SEGMENT_SIZE,           FIXTURE_BLOCK_SIZE + 1          },
        {FIXTURE_SEGMENT_SIZE,           LOG_BLOCK_SIZE + LOG_BLOCK_ALIGN},
        {FIXTURE_SEGMENT_SIZE,           FIXTURE_SEGMENT_SIZE - 4096     },
        {2ull * FORMAT_SEGMENT_SIZE_MAX, FIXTURE_BLOCK_SIZE              },
    };
    struct log_fixture fixture = fixture_make(11);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct event_log_options options = {.io = fixture.io,
                                            .directory = FIXTURE_DIRECTORY,
                                            .segment_size = cases[i].segment_size,
                                            .block_size = cases[i].block_size};
        cr_expect_eq(event_log_open(&options, &fixture.error, &fixture.recovery, &fixture.log),
                     STATUS_INVALID);
        cr_expect_null(fixture.log);
    }
    fixture_free(&fixture);
}

/* Failures */

Test(event_log, failed_write_poisons_for_good)
{
    struct log_fixture fixture = fixture_make(12);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t lsn = fixture_blocks(&fixture, 1, 2, 1);
    cr_assert_null(event_log_failure(fixture.log));
    io_sim_inject(
        fixture.disk,
        &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE, .nth = 1, .status = STATUS_IO});
    static struct fixture_commit commits[3];
    bool done = false;
    struct durable_block block;
    for (uint32_t i = 0; i < 2; i++) {
        fixture_fill(&commits[i], lsn + i, 1,
                     3000); /* two blocks would be needed for more than five */
        event_log_append(fixture.log, &commits[i].commit);
    }
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_OK);
    cr_assert(done);
    cr_assert_eq(block.commits, &commits[0].commit);
    cr_assert_eq(block.commits->next, &commits[1].commit);
    cr_assert_eq(commits[0].commit.status, STATUS_UNAVAILABLE);
    cr_assert_eq(commits[1].commit.status, STATUS_UNAVAILABLE);
    cr_assert_eq(block.first_lsn, block.end_lsn);
    event_log_release(fixture.log, block.buffer);
    cr_assert_not(event_log_healthy(fixture.log));
    cr_assert_not(event_log_wants_segment(fixture.log));
    cr_assert_not_null(strstr(event_log_failure(fixture.log), fixture_segment(1)));
    /* The disk is well again; the log is not. */
    io_sim_inject(fixture.disk, NULL);
    fixture_fill(&commits[2], lsn, 1, 0);
    event_log_append(fixture.log, &commits[2].commit);
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_OK);
    cr_assert(done);
    cr_assert_eq(commits[2].commit.status, STATUS_UNAVAILABLE);
    cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_UNAVAILABLE);
    fixture_free(&fixture);
}

/* Runs a workload that rolls, with the n-th operation of these kinds failing. Returns false where it never came. */
static bool run_with_fault(unsigned operations, uint64_t nth, enum status status, bool forever)
{
    struct log_fixture fixture = fixture_make(nth);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    io_sim_inject(fixture.disk,
                  &(struct io_sim_fault){
                      .operations = operations, .nth = nth, .forever = forever, .status = status});
    uint64_t lsn = 1;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < 40 && event_log_healthy(fixture.log); i++) {
        io_sim_clock_advance(fixture.disk, 2000000);
        enum status answer = fixture_commit(&fixture, lsn, 1, 3000);
        cr_assert(answer == STATUS_OK || answer == STATUS_NO_SPACE || answer == STATUS_UNAVAILABLE);
        cr_assert(answer != STATUS_NO_SPACE || status == STATUS_NO_SPACE);
        lsn += answer == STATUS_OK;
        failed += answer != STATUS_OK;
    }
    bool struck = io_sim_struck(fixture.disk) > 0;
    cr_assert(struck || failed == 0);
    if (status == STATUS_NO_SPACE && !forever) {
        cr_assert_leq(failed, 1);
    }
    if (status == STATUS_IO && struck) {
        cr_assert_not(event_log_healthy(fixture.log));
    }
    io_sim_inject(fixture.disk, NULL);
    bool healthy = event_log_healthy(fixture.log);
    if (healthy && failed > 0) { /* there is room again */
        io_sim_clock_advance(fixture.disk, 2000000);
        for (uint32_t i = 0; i < 40; i++) {
            cr_assert_eq(fixture_commit(&fixture, lsn, 1, 3000 + 100 * (i % 3)), STATUS_OK);
            lsn++;
        }
    }
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, lsn), STATUS_OK, "operation %llu: %s",
                 (unsigned long long)nth, fixture.error.text);
    cr_assert_geq(fixture.recovery.end_lsn, lsn, "every acknowledged record is there");
    cr_assert_leq(fixture.recovery.end_lsn, lsn + 1, "and at most what was in doubt");
    cr_assert(!healthy || fixture.recovery.end_lsn == lsn);
    uint64_t end = fixture.recovery.end_lsn;
    end = fixture_blocks(&fixture, end, 20, 1);
    expect_scan(&fixture, 1, end);
    fixture_free(&fixture);
    return struck;
}

#define WRITING_OPERATIONS                                                                         \
    (IO_SIM_OPEN | IO_SIM_SIZE | IO_SIM_ALLOCATE | IO_SIM_WRITE_DURABLE | IO_SIM_SYNC |            \
     IO_SIM_SYNC_DIRECTORY | IO_SIM_RENAME)

Test(event_log, any_failed_operation_loses_nothing_acknowledged)
{
    uint64_t nth = 1;
    while (run_with_fault(WRITING_OPERATIONS, nth, STATUS_IO, false)) {
        nth++;
    }
    cr_assert_gt(nth, 40, "the fault came at %llu operations", (unsigned long long)nth - 1);
}

Test(event_log, full_disk_fails_the_commits_without_room_only)
{
    uint64_t nth = 1;
    while (run_with_fault(IO_SIM_ALLOCATE | IO_SIM_WRITE_DURABLE | IO_SIM_RENAME, nth,
                          STATUS_NO_SPACE, false)) {
        nth++;
    }
    cr_assert_gt(nth, 40);
    nth = 1;
    while (run_with_fault(IO_SIM_ALLOCATE | IO_SIM_WRITE_DURABLE | IO_SIM_RENAME, nth,
                          STATUS_NO_SPACE, true)) {
        nth++;
    }
    cr_assert_gt(nth, 40);
}

Test(event_log, full_disk_leaves_the_room_that_is_left)
{
    struct log_fixture fixture = fixture_make(13);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t lsn = fixture_blocks(&fixture, 1, 13, 1); /* one page is left */
    io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_ALLOCATE | IO_SIM_OPEN,
                                                       .nth = 1,
                                                       .forever = true,
                                                       .status = STATUS_NO_SPACE});
    cr_assert_eq(fixture_commit(&fixture, lsn, 1, 8000), STATUS_NO_SPACE, "no room for two pages");
    cr_assert_eq(fixture_commit(&fixture, lsn, 1, 3000), STATUS_OK, "but for one");
    lsn++;
    cr_assert_eq(fixture_commit(&fixture, lsn, 1, 3000), STATUS_NO_SPACE);
    uint64_t struck = io_sim_struck(fixture.disk);
    cr_assert_eq(fixture_commit(&fixture, lsn, 1, 3000), STATUS_NO_SPACE);
    cr_assert_eq(io_sim_struck(fixture.disk), struck,
                 "a full disk is not asked again within the second");
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".tmp"), 0,
                 "nothing is left lying about");
    io_sim_inject(fixture.disk, NULL);
    io_sim_clock_advance(fixture.disk, 1000001);
    cr_assert_eq(fixture_commit(&fixture, lsn, 1, 3000), STATUS_OK);
    expect_scan(&fixture, 1, lsn + 1);
    fixture_free(&fixture);
}

/* Bytes [offset, offset + size) of the first segment are zeros on disk. */
static bool zero_on_disk(struct log_fixture *fixture, uint64_t offset, size_t size)
{
    uint8_t bytes[FIXTURE_BLOCK_SIZE];
    size_t done = 0;
    cr_assert_eq(io_sim_peek(fixture->disk, fixture_segment(1), offset, bytes, size, &done),
                 STATUS_OK);
    cr_assert_eq(done, size);
    return format_is_zero(bytes, size);
}

Test(event_log, what_a_full_disk_left_of_a_block_is_written_over)
{
    uint32_t left_something = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct log_fixture fixture = fixture_make(100 + seed);
        cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
        io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                           .nth = 1,
                                                           .status = STATUS_NO_SPACE});
        cr_assert_eq(fixture_commit(&fixture, 1, 1, FIXTURE_BLOCK_SIZE - FORMAT_BLOCK_HEADER_SIZE),
                     STATUS_NO_SPACE);
        left_something += !zero_on_disk(&fixture, 2 * LOG_BLOCK_ALIGN, 3 * LOG_BLOCK_ALIGN);
        if (seed % 2 == 0) {
            cr_assert_eq(fixture_commit(&fixture, 1, 1, 100), STATUS_OK);
        } else { /* by the next block, or before the footer */
            cr_assert_eq(fixture_commit(&fixture, 1, 1, 100), STATUS_OK);
            io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                               .nth = 1,
                                                               .status = STATUS_NO_SPACE});
            cr_assert_eq(fixture_commit(&fixture, 2, 1, 3 * LOG_BLOCK_ALIGN - 100),
                         STATUS_NO_SPACE);
            io_sim_clock_advance(fixture.disk, DAY_US);
            cr_assert_eq(fixture_commit(&fixture, 2, 1, 100), STATUS_OK);
            cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2);
        }
        cr_assert(zero_on_disk(&fixture, 2 * LOG_BLOCK_ALIGN, 3 * LOG_BLOCK_ALIGN), "seed %llu",
                  (unsigned long long)seed);
        fixture_free(&fixture);
    }
    cr_assert_gt(left_something, 5, "the test has nothing to test");
}

Test(event_log, nothing_follows_a_footer_that_may_be_there)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct log_fixture fixture = fixture_make(200 + seed);
        cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
        uint64_t lsn = fixture_blocks(&fixture, 1, 13, 1); /* one page is left */
        io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                           .nth = 1,
                                                           .status = STATUS_NO_SPACE});
        cr_assert_eq(fixture_commit(&fixture, lsn, 1, 8000), STATUS_NO_SPACE);
        cr_assert_eq(fixture_commit(&fixture, lsn, 1, 100), STATUS_NO_SPACE, "within the second");
        io_sim_clock_advance(fixture.disk, 1000001);
        lsn = fixture_blocks(&fixture, lsn, 1, 1);
        cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2);
        cr_assert(zero_on_disk(&fixture, 14 * LOG_BLOCK_ALIGN, LOG_BLOCK_ALIGN));
        expect_scan(&fixture, 1, lsn);
        fixture_free(&fixture);
    }
}

Test(event_log, full_disk_at_midnight_keeps_the_old_day_going)
{
    struct log_fixture fixture = fixture_make(14);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t lsn = fixture_blocks(&fixture, 1, 1, 1);
    io_sim_clock_advance(fixture.disk, DAY_US);
    io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_ALLOCATE,
                                                       .nth = 1,
                                                       .forever = true,
                                                       .status = STATUS_NO_SPACE});
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(io_sim_struck(fixture.disk), 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 1);
    io_sim_inject(fixture.disk, NULL);
    io_sim_clock_advance(fixture.disk, 1000001);
    lsn = fixture_blocks(&fixture, lsn, 1, 1);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".seg"), 2);
    expect_scan(&fixture, 1, lsn);
    fixture_free(&fixture);
}

Test(event_log, failed_prepare_leaves_nothing_behind)
{
    struct log_fixture fixture = fixture_make(15);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    io_sim_inject(
        fixture.disk,
        &(struct io_sim_fault){.operations = IO_SIM_ALLOCATE, .nth = 1, .status = STATUS_NO_SPACE});
    cr_assert_eq(event_log_prepare(fixture.io, FIXTURE_DIRECTORY, FIXTURE_SEGMENT_SIZE),
                 STATUS_NO_SPACE);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".tmp"), 0);
    cr_assert_eq(fixture_commit(&fixture, 1, 1, 0), STATUS_OK, "it is no business of the writer's");
    fixture_free(&fixture);
}

Test(event_log, close_waits_for_what_is_in_flight)
{
    struct log_fixture fixture = fixture_make(16);
    struct fixture_commit commit;
    bool done = false;
    struct durable_block block;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    fixture_fill(&commit, 1, 1, 0);
    event_log_append(fixture.log, &commit.commit);
    cr_assert_eq(event_log_poll(fixture.log, 0, &done, &block), STATUS_OK);
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture.recovery.end_lsn, 2);
    event_log_close(NULL);
    fixture_free(&fixture);
}

/* Reading */

Test(event_log, reader_starts_and_stops_where_it_is_told)
{
    struct log_fixture fixture = fixture_make(17);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t end = 1;
    for (uint32_t i = 0; i < 40; i++) { /* three records a block */
        cr_assert_eq(fixture_commit(&fixture, end, 3, 4000), STATUS_OK);
        end += 3;
    }
    for (uint64_t from = 1; from <= end; from++) {
        for (uint64_t until = from; until <= end; until += 7) {
            expect_scan(&fixture, from, until);
        }
        uint64_t next_lsn = 0;
        cr_assert_eq(fixture_scan(&fixture, from, 0, &next_lsn), STATUS_OK);
        cr_assert_eq(next_lsn, end);
    }
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 1, end + 1, &next_lsn), STATUS_DAMAGED,
                 "it was told of one more");
    cr_assert_eq(fixture_scan(&fixture, end + 1, 0, &next_lsn), STATUS_DAMAGED);
    fixture_free(&fixture);
}

Test(event_log, reader_hands_out_whole_blocks)
{
    struct log_fixture fixture = fixture_make(18);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture_commit(&fixture, 1, 10, 0), STATUS_OK);
    cr_assert_eq(fixture_commit(&fixture, 11, 10, 0), STATUS_OK);
    struct log_reader_options options = {
        .io = fixture.io, .directory = FIXTURE_DIRECTORY, .from_lsn = 15};
    struct log_reader *reader = NULL;
    struct log_block block;
    cr_assert_eq(log_reader_open(&options, &fixture.error, &reader), STATUS_OK);
    cr_assert_eq(log_reader_next(reader, &fixture.error, &block), STATUS_OK);
    cr_assert_eq(block.header.first_lsn, 11);
    cr_assert_eq(block.header.record_count, 10);
    cr_assert_str_eq(block.segment, "00000000000000000001.seg");
    cr_assert_eq(log_reader_next(reader, &fixture.error, &block), STATUS_END);
    cr_assert_eq(log_reader_next(reader, &fixture.error, &block), STATUS_END, "and again");
    log_reader_close(reader);
    log_reader_close(NULL);
    fixture_free(&fixture);
}

Test(event_log, reader_of_a_live_log_sees_what_is_durable)
{
    struct log_fixture fixture = fixture_make(19);
    struct fixture_commit commit;
    bool done = false;
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t lsn = fixture_blocks(&fixture, 1, 13, 1);
    for (uint32_t i = 0; i < 30; i++) {
        struct durable_block block;
        fixture_fill(&commit, lsn, 1, 3000);
        event_log_append(fixture.log, &commit.commit);
        cr_assert_eq(event_log_poll(fixture.log, 0, &done, &block), STATUS_OK);
        expect_scan(&fixture, lsn > 20 ? lsn - 20 : 1,
                    lsn); /* with a block in flight behind it, or just landed */
        while (!done) {
            cr_assert_eq(event_log_poll(fixture.log, -1, &done, &block), STATUS_OK);
        }
        lsn = block.end_lsn;
        event_log_release(fixture.log, block.buffer);
        expect_scan(&fixture, 1, lsn);
    }
    fixture_free(&fixture);
}

Test(event_log, log_without_its_oldest_segments_is_still_a_log)
{
    struct log_fixture fixture = fixture_make(20);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    uint64_t end = fixture_blocks(&fixture, 1, 30, 1);
    fixture_close(&fixture);
    cr_assert_eq(fixture.io->operations->unlink(fixture.io, fixture_segment(1)), STATUS_OK);
    cr_assert_eq(fixture_open(&fixture, end), STATUS_OK, "%s", fixture.error.text);
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 0, 0, &next_lsn), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(next_lsn, end);
    cr_assert_eq(fixture_scan(&fixture, 15, 0, &next_lsn), STATUS_OK);
    cr_assert_eq(fixture_scan(&fixture, 14, 0, &next_lsn), STATUS_NOT_FOUND,
                 "what is gone is not passed over");
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_NOT_FOUND);
    fixture_free(&fixture);
}

static enum status visit_stop(void *context, const struct record *record)
{
    (void)record;
    uint64_t *seen = context;
    return ++*seen == 3 ? STATUS_BUSY : STATUS_OK;
}

Test(event_log, scan_ends_when_the_visitor_says_so)
{
    struct log_fixture fixture = fixture_make(21);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture_commit(&fixture, 1, 10, 0), STATUS_OK);
    struct log_reader_options options = {
        .io = fixture.io, .directory = FIXTURE_DIRECTORY, .from_lsn = 1};
    uint64_t seen = 0;
    cr_assert_eq(log_scan(&options, &fixture.error, visit_stop, &seen), STATUS_BUSY);
    cr_assert_eq(seen, 3);
    fixture_free(&fixture);
}

Test(event_log, reading_what_is_not_there)
{
    struct log_fixture fixture = fixture_make(22);
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_NOT_FOUND, "no directory");
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_OK, "no records");
    cr_assert_eq(fixture_scan(&fixture, 1, 2, &next_lsn), STATUS_DAMAGED, "records were promised");
    fixture_free(&fixture);
}

/* The same on the real disk, for each backend that this machine has. */
static void run_on_real_disk(enum io_backend backend, bool buffered)
{
    char root[64]; /* each test is a process of its own */
    (void)snprintf(root, sizeof(root), "/tmp/assay-test-log-%ld", (long)getpid());
    cr_assert_eq(mkdir(root, 0700), 0);
    struct log_fixture fixture = {0};
    enum status status = io_open(backend, root, &fixture.error, &fixture.io);
    if (status == STATUS_UNSUPPORTED) {
        cr_assert_eq(rmdir(root), 0);
        return;
    }
    cr_assert_eq(status, STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(event_log_prepare(fixture.io, FIXTURE_DIRECTORY, FIXTURE_SEGMENT_SIZE), STATUS_OK);
    event_log_prepared(fixture.log);
    uint64_t lsn = fixture_blocks(&fixture, 1, 10, 1);
    lsn = fixture_blocks(&fixture, lsn, 20, 3);
    fixture_close(&fixture);
    cr_assert_eq(fixture_open(&fixture, lsn), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture.recovery.end_lsn, lsn);
    lsn = fixture_blocks(&fixture, lsn, 10, 1);
    struct log_reader_options options = {.io = fixture.io,
                                         .directory = FIXTURE_DIRECTORY,
                                         .from_lsn = 1,
                                         .end_lsn = lsn,
                                         .buffered = buffered};
    struct log_reader *reader = NULL;
    struct log_block block;
    uint64_t next_lsn = 1;
    cr_assert_eq(log_reader_open(&options, &fixture.error, &reader), STATUS_OK, "%s",
                 fixture.error.text);
    while (log_reader_next(reader, &fixture.error, &block) == STATUS_OK) {
        cr_assert_eq(block.header.first_lsn, next_lsn);
        next_lsn += block.header.record_count;
    }
    cr_assert_eq(next_lsn, lsn);
    log_reader_close(reader);
    fixture_close(&fixture);
    io_close(fixture.io);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

Test(event_log, works_on_the_real_disk_without_a_ring)
{
    run_on_real_disk(IO_BACKEND_SYNC, false);
}

Test(event_log, works_on_the_real_disk_with_a_ring)
{
    run_on_real_disk(IO_BACKEND_URING, false);
}

Test(event_log, works_through_the_page_cache)
{
    run_on_real_disk(IO_BACKEND_SYNC, true);
}
