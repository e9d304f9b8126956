/* test_log_recovery.c: what a crash can leave is recovered, and what a crash cannot leave is refused.
 *
 * Method: the recovery table is held against all 32 situations; then each of its rows is met on a real image, made by a
 * log on a simulated disk and damaged on purpose; then a workload is cut at every point where a crash would leave
 * something new, and recovered, also when recovery itself is cut. */
#include "tests/support/log_fixture.h"

#include "engine/event_log_internal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* The table */

Test(log_recovery, table_has_exactly_one_row_for_each_situation)
{
    uint32_t used[RECOVERY_ROWS] = {0};
    for (unsigned bits = 0; bits < 32; bits++) {
        struct recovery_evidence evidence = {
            .header_ok = (bits & 1) != 0,
            .position_ok = (bits & 2) != 0,
            .body_ok = (bits & 4) != 0,
            .vouched = (bits & 8) != 0,
            .zeros = (bits & 16) != 0,
        };
        unsigned matches = 0;
        for (size_t i = 0; i < RECOVERY_ROWS; i++) {
            if (recovery_row_matches(&recovery_table[i], &evidence)) {
                matches++;
                used[i]++;
                cr_expect_eq(recovery_decide(&evidence), &recovery_table[i]);
            }
        }
        cr_expect_eq(matches, 1, "situation %u has %u rows", bits, matches);
        /* The promises, said once more without a table. */
        enum recovery_action action = recovery_decide(&evidence)->action;
        bool whole = evidence.header_ok && evidence.position_ok && evidence.body_ok;
        cr_expect_eq(action == RECOVERY_KEEP, whole, "situation %u", bits);
        cr_expect(!evidence.vouched || whole || action == RECOVERY_STOP,
                  "situation %u cuts durable data", bits);
    }
    for (size_t i = 0; i < RECOVERY_ROWS; i++) {
        cr_expect_gt(used[i], 0, "row %zu is never met", i);
        cr_expect_not_null(recovery_table[i].meaning);
    }
}

/* Real images. The log of each holds blocks of one record; block k of a segment is its page k, or pages 2k-1 and 2k. */

/* A closed log of `blocks` blocks of `pages` pages. */
static struct log_fixture image_make(uint64_t seed, uint32_t blocks, uint32_t pages)
{
    struct log_fixture fixture = fixture_make(seed);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK, "%s", fixture.error.text);
    (void)fixture_blocks(&fixture, 1, blocks, pages);
    fixture_close(&fixture);
    return fixture;
}

static void peek(struct log_fixture *fixture, uint64_t first_lsn, uint64_t offset, void *bytes,
                 size_t size)
{
    size_t done = 0;
    cr_assert_eq(io_sim_peek(fixture->disk, fixture_segment(first_lsn), offset, bytes, size, &done),
                 STATUS_OK);
    cr_assert_eq(done, size);
}

static void poke(struct log_fixture *fixture, uint64_t first_lsn, uint64_t offset,
                 const void *bytes, size_t size)
{
    cr_assert_eq(io_sim_poke(fixture->disk, fixture_segment(first_lsn), offset, bytes, size),
                 STATUS_OK);
}

static void flip(struct log_fixture *fixture, uint64_t first_lsn, uint64_t offset)
{
    uint8_t byte = 0;
    peek(fixture, first_lsn, offset, &byte, 1);
    byte ^= 0x40;
    poke(fixture, first_lsn, offset, &byte, 1);
}

static void wipe(struct log_fixture *fixture, uint64_t first_lsn, uint64_t offset, size_t size)
{
    uint8_t *zeros = calloc(1, size);
    poke(fixture, first_lsn, offset, zeros, size);
    free(zeros);
}

/* Opening must be refused, naming this place, and must change nothing. */
static void expect_refused(struct log_fixture *fixture, uint64_t applied_lsn, const char *place)
{
    uint64_t before = io_sim_hash(fixture->disk);
    enum status status = fixture_open(fixture, applied_lsn);
    cr_assert_eq(status, STATUS_DAMAGED, "status %s", status_name(status));
    cr_assert_not_null(strstr(fixture->error.text, place), "\"%s\" does not say %s",
                       fixture->error.text, place);
    cr_assert_null(fixture->log);
    cr_assert_eq(io_sim_hash(fixture->disk), before, "the disk was changed");
}

/* Opening must cut `cut_bytes`, end at end_lsn, keep the cut bytes aside, and go on well. */
static void expect_cut(struct log_fixture *fixture, uint64_t end_lsn, uint64_t cut_bytes)
{
    uint64_t next_lsn = 0;
    uint32_t aside = fixture_count(fixture, "log/quarantine", ".bin");
    cr_assert_eq(fixture_scan(fixture, 1, 0, &next_lsn), STATUS_OK, "the reader: %s",
                 fixture->error.text);
    cr_assert_eq(next_lsn, end_lsn);
    cr_assert_eq(fixture_open(fixture, end_lsn), STATUS_OK, "%s", fixture->error.text);
    cr_assert_eq(fixture->recovery.end_lsn, end_lsn);
    cr_assert_eq(fixture->recovery.cut_bytes, cut_bytes);
    cr_assert_eq(fixture_count(fixture, "log/quarantine", ".bin"), aside + (cut_bytes > 0));
    fixture_close(fixture);
    cr_assert_eq(fixture_open(fixture, end_lsn), STATUS_OK, "%s", fixture->error.text);
    cr_assert_eq(fixture->recovery.cut_bytes, 0, "once is enough");
    uint64_t end = fixture_blocks(fixture, end_lsn, 20, 2);
    cr_assert_eq(fixture_scan(fixture, 1, 0, &next_lsn), STATUS_OK, "%s", fixture->error.text);
    cr_assert_eq(next_lsn, end);
}

#define PAGE LOG_BLOCK_ALIGN

Test(log_recovery, row_keep_and_row_end_whole_log_opens)
{
    struct log_fixture fixture = image_make(1, 5, 1);
    expect_cut(&fixture, 6, 0);
    fixture_free(&fixture);
}

Test(log_recovery, row_torn_body_is_cut_and_kept_aside)
{
    for (uint64_t at = 64; at < 2 * PAGE;
         at += 997) { /* any byte of the body; the padding has none here */
        struct log_fixture fixture = image_make(2, 3, 2);
        uint8_t before[2 * PAGE];
        uint8_t aside[2 * PAGE];
        size_t done = 0;
        flip(&fixture, 1, 5 * PAGE + at);
        peek(&fixture, 1, 5 * PAGE, before, sizeof(before));
        expect_cut(&fixture, 3, 2 * PAGE);
        cr_assert_eq(io_sim_peek(fixture.disk, "log/quarantine/00000000000000000001-20480.bin", 0,
                                 aside, sizeof(aside), &done),
                     STATUS_OK);
        cr_assert_eq(done, sizeof(aside));
        cr_assert_eq(memcmp(before, aside, sizeof(aside)), 0);
        fixture_free(&fixture);
    }
}

Test(log_recovery, row_torn_body_flipped_padding_is_noticed)
{
    struct log_fixture fixture = fixture_make(3);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture_commit(&fixture, 1, 1, 0), STATUS_OK);
    fixture_close(&fixture);
    flip(&fixture, 1, 2 * PAGE - 1);
    expect_cut(&fixture, 1, PAGE);
    fixture_free(&fixture);
}

Test(log_recovery, row_durable_body_damaged_is_refused_whoever_vouches)
{
    /* A later block. */
    struct log_fixture fixture = image_make(4, 5, 1);
    flip(&fixture, 1, 3 * PAGE + 100);
    expect_refused(&fixture, 0, "log/00000000000000000001.seg, offset 12288 (lsn 3)");
    cr_assert_not_null(strstr(fixture.error.text, "a later block"));
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_DAMAGED, "the reader sees it too");
    cr_assert_not_null(strstr(fixture.error.text, "offset 12288"));
    cr_assert_eq(next_lsn, 3, "what is before it was handed out");
    fixture_free(&fixture);
    /* A later block that is itself torn: its header is enough. */
    fixture = image_make(4, 5, 1);
    flip(&fixture, 1, 4 * PAGE + 100);
    flip(&fixture, 1, 5 * PAGE + 100);
    expect_refused(&fixture, 0, "offset 16384 (lsn 4)");
    fixture_free(&fixture);
    /* The checkpoint. */
    fixture = image_make(4, 5, 1);
    flip(&fixture, 1, 5 * PAGE + 100);
    expect_refused(&fixture, 6, "offset 20480 (lsn 5)");
    cr_assert_not_null(strstr(fixture.error.text, "checkpoint"));
    cr_assert_eq(fixture_scan(&fixture, 1, 6, &next_lsn), STATUS_DAMAGED,
                 "a reader that was promised it");
    cr_assert_eq(fixture_scan(&fixture, 1, 5, &next_lsn), STATUS_OK, "a reader that needs it not");
    expect_cut(&fixture, 5, PAGE); /* a checkpoint that does not include it */
    fixture_free(&fixture);
    /* The next segment, and the footer: a sealed segment is verified by whoever reads it. */
    fixture = image_make(4, 20, 1);
    flip(&fixture, 1, 14 * PAGE + 100);
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_DAMAGED);
    cr_assert_not_null(
        strstr(fixture.error.text, "log/00000000000000000001.seg, offset 57344 (lsn 14)"));
    cr_assert_eq(fixture_scan(&fixture, 15, 0, &next_lsn), STATUS_OK, "%s", fixture.error.text);
    fixture_free(&fixture);
}

Test(log_recovery, row_misplaced_block_is_refused)
{
    /* Block i copied over block j, for all of them: no copy ever passes for what it replaces. */
    for (uint64_t from = 1; from <= 4; from++) {
        for (uint64_t to = 1; to <= 5; to++) {
            struct log_fixture fixture = image_make(5, 4, 1);
            uint8_t page[PAGE];
            char place[64];
            peek(&fixture, 1, from * PAGE, page, sizeof(page));
            poke(&fixture, 1, to * PAGE, page, sizeof(page));
            (void)snprintf(place, sizeof(place), "offset %llu (lsn %llu)",
                           (unsigned long long)(to * PAGE), (unsigned long long)to);
            if (from != to) {
                expect_refused(&fixture, 0, place);
            }
            fixture_free(&fixture);
        }
    }
}

Test(log_recovery, row_misplaced_block_each_part_of_its_place_counts)
{
    for (int wrong = 0; wrong < 4; wrong++) {
        struct log_fixture fixture = image_make(5, 4, 1);
        uint8_t bytes[FORMAT_SEGMENT_HEADER_SIZE];
        struct segment_header segment;
        struct block_header block;
        peek(&fixture, 1, 0, bytes, FORMAT_SEGMENT_HEADER_SIZE);
        cr_assert_eq(segment_header_decode(bytes, &segment), STATUS_OK);
        peek(&fixture, 1, 4 * PAGE, bytes, FORMAT_BLOCK_HEADER_SIZE);
        cr_assert_eq(block_header_decode(bytes, segment.salt, &block), STATUS_OK);
        block.offset += wrong == 1 ? PAGE : 0;
        block.first_lsn += wrong == 2;
        block.chain ^= wrong == 3;
        block_header_encode(&block, segment.salt, bytes);
        poke(&fixture, 1, 4 * PAGE, bytes, FORMAT_BLOCK_HEADER_SIZE);
        if (wrong == 0) {
            expect_cut(&fixture, 5, 0);
        } else {
            expect_refused(&fixture, 0, "offset 16384 (lsn 4): a block that belongs elsewhere");
        }
        fixture_free(&fixture);
    }
}

Test(log_recovery, block_of_a_fork_breaks_the_chain)
{
    /* Two machines went on from the same image; a block of one, put among those of the other, has the right salt, place
     * and lsn. The block after it knows better. */
    struct log_fixture fixture = image_make(5, 2, 1);
    struct log_fixture fork = fixture_on(io_sim_clone(fixture.disk));
    uint8_t page[PAGE];
    io_sim_clock_advance(fork.disk, 5);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    cr_assert_eq(fixture_open(&fork, 0), STATUS_OK);
    (void)fixture_blocks(&fixture, 3, 3, 1);
    (void)fixture_blocks(&fork, 3, 1, 1);
    fixture_close(&fixture);
    peek(&fork, 1, 3 * PAGE, page, sizeof(page));
    poke(&fixture, 1, 3 * PAGE, page, sizeof(page));
    expect_refused(&fixture, 0, "offset 16384 (lsn 4): a block that belongs elsewhere");
    fixture_free(&fork);
    fixture_free(&fixture);
}

Test(log_recovery, what_was_read_is_made_durable_before_it_is_built_upon)
{
    /* A process is killed between write and flush: its block can be read, but no power failure may come. */
    struct log_fixture fixture = image_make(5, 3, 1);
    struct log_fixture later = fixture_on(io_sim_clone(fixture.disk));
    uint8_t page[PAGE];
    cr_assert_eq(fixture_open(&later, 0), STATUS_OK);
    (void)fixture_blocks(&later, 4, 1, 1);
    peek(&later, 1, 4 * PAGE, page, sizeof(page));
    fixture_free(&later);
    int file = -1;
    struct io_request *completed = NULL;
    cr_assert_eq(fixture.io->operations->open(fixture.io, fixture_segment(1), 0, &file), STATUS_OK);
    struct io_request request = {
        .kind = IO_WRITE, .file = file, .buffer = page, .size = sizeof(page), .offset = 4 * PAGE};
    cr_assert_eq(fixture.io->operations->submit(fixture.io, &request), STATUS_OK);
    while (completed == NULL) {
        cr_assert_eq(fixture.io->operations->wait(fixture.io, -1, &completed), STATUS_OK);
    }
    fixture.io->operations->close_file(fixture.io, file);
    cr_assert_eq(fixture.io->operations->rename(fixture.io, fixture_segment(1), "log/away"),
                 STATUS_OK);
    cr_assert_eq(fixture.io->operations->rename(fixture.io, "log/away", fixture_segment(1)),
                 STATUS_OK);
    cr_assert_gt(io_sim_atoms(fixture.disk, NULL, 0), 0);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture.recovery.end_lsn, 5);
    cr_assert_eq(io_sim_atoms(fixture.disk, NULL, 0), 0, "a crash could still take something away");
    fixture_free(&fixture);
}

Test(log_recovery, block_of_another_segment_is_no_block)
{
    /* It has another salt: at the end it is a torn tail, in the middle it is damage. */
    struct log_fixture fixture = image_make(6, 16, 1);
    uint8_t page[PAGE];
    peek(&fixture, 1, PAGE, page, sizeof(page));
    poke(&fixture, 15, 3 * PAGE, page, sizeof(page));
    expect_cut(&fixture, 17, PAGE);
    fixture_free(&fixture);
    fixture = image_make(6, 16, 1);
    poke(&fixture, 15, PAGE, page, sizeof(page));
    expect_refused(&fixture, 0, "log/00000000000000000015.seg, offset 4096 (lsn 15)");
    fixture_free(&fixture);
}

Test(log_recovery, row_torn_header_is_cut)
{
    /* The first sectors of the last block never came; the others did. */
    for (size_t lost = 512; lost < 2 * PAGE; lost += 512) {
        struct log_fixture fixture = image_make(7, 3, 2);
        wipe(&fixture, 1, 5 * PAGE, lost);
        expect_cut(&fixture, 3, 2 * PAGE);
        fixture_free(&fixture);
    }
}

Test(log_recovery, row_durable_block_with_bad_header_is_refused)
{
    for (uint64_t at = 0; at < 64; at++) {
        struct log_fixture fixture = image_make(8, 5, 1);
        flip(&fixture, 1, 2 * PAGE + at);
        expect_refused(&fixture, 0, "log/00000000000000000001.seg, offset 8192 (lsn 2)");
        fixture_free(&fixture);
    }
}

Test(log_recovery, row_lost_durable_block_is_refused)
{
    struct log_fixture fixture = image_make(9, 5, 1);
    wipe(&fixture, 1, 3 * PAGE, PAGE);
    expect_refused(&fixture, 0, "offset 12288 (lsn 3)");
    fixture_free(&fixture);
    /* All of the end is gone, and only the checkpoint knows. */
    fixture = image_make(9, 5, 1);
    wipe(&fixture, 1, 5 * PAGE, PAGE);
    expect_refused(&fixture, 6, "offset 20480 (lsn 5)");
    expect_cut(&fixture, 5, 0);
    fixture_free(&fixture);
}

Test(log_recovery, checkpoint_beyond_the_log_is_refused)
{
    struct log_fixture fixture = fixture_make(10);
    cr_assert_eq(fixture_open(&fixture, 2), STATUS_DAMAGED, "no log at all");
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ""), 0, "and none is made");
    fixture_free(&fixture);
    fixture = image_make(10, 5, 1);
    expect_refused(&fixture, 7, "offset 24576 (lsn 6)");
    fixture_free(&fixture);
    fixture = image_make(10, 14, 1); /* a full segment, not yet sealed */
    expect_refused(&fixture, 16, "offset 61440 (lsn 15)");
    fixture_free(&fixture);
}

Test(log_recovery, every_flipped_byte_of_a_segment_is_noticed)
{
    /* In the segment before the last: header, footer and chain are checked at open, the blocks by the reader. The gap
     * between the last block and the footer holds nothing. Beside each edge all bytes are tried, elsewhere some. */
    for (uint64_t at = 0; at < FIXTURE_SEGMENT_SIZE;
         at += at % PAGE < 160 || at % PAGE > PAGE - 16 ? 1 : 131) {
        struct log_fixture fixture = image_make(11, 8, 2);
        uint64_t next_lsn = 0;
        flip(&fixture, 1, at);
        enum status status = fixture_scan(&fixture, 1, 0, &next_lsn);
        cr_assert_eq(status, STATUS_DAMAGED, "byte %llu", (unsigned long long)at);
        cr_assert_not_null(strstr(fixture.error.text, "00000000000000000001.seg"), "%s",
                           fixture.error.text);
        fixture_free(&fixture);
    }
}

/* Segments as files */

struct page_copy {
    uint8_t bytes[FIXTURE_SEGMENT_SIZE];
};

static void segment_load(struct log_fixture *fixture, uint64_t first_lsn, struct page_copy *copy)
{
    peek(fixture, first_lsn, 0, copy->bytes, sizeof(copy->bytes));
}

static void segment_store(struct log_fixture *fixture, const char *path,
                          const struct page_copy *copy, size_t size)
{
    int file = -1;
    cr_assert_eq(fixture->io->operations->open(fixture->io, path, IO_OPEN_CREATE, &file),
                 STATUS_OK);
    if (size > 0) {
        cr_assert_eq(io_write_durable(fixture->io, file, copy->bytes, size, 0), STATUS_OK);
    }
    fixture->io->operations->close_file(fixture->io, file);
    cr_assert_eq(fixture->io->operations->sync_directory(fixture->io, FIXTURE_DIRECTORY),
                 STATUS_OK);
}

static void segment_remove(struct log_fixture *fixture, uint64_t first_lsn)
{
    cr_assert_eq(fixture->io->operations->unlink(fixture->io, fixture_segment(first_lsn)),
                 STATUS_OK);
    cr_assert_eq(fixture->io->operations->sync_directory(fixture->io, FIXTURE_DIRECTORY),
                 STATUS_OK);
}

/* Three segments: lsns 1 to 14, 15 to 28, 29 and 30. */
static struct log_fixture three_segments(uint64_t seed)
{
    return image_make(seed, 30, 1);
}

Test(log_recovery, missing_segment_is_refused)
{
    struct log_fixture fixture = three_segments(12);
    segment_remove(&fixture, 15);
    expect_refused(&fixture, 0,
                   "log/00000000000000000001.seg ends before lsn 15, but the next segment is "
                   "log/00000000000000000029.seg");
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 1, 0, &next_lsn), STATUS_DAMAGED);
    cr_assert_eq(next_lsn, 15, "everything before it was handed out");
    fixture_free(&fixture);
    /* The last one is missed by the checkpoint, and by a reader who was told of it. */
    fixture = three_segments(12);
    segment_remove(&fixture, 29);
    expect_refused(&fixture, 31, "ends before lsn 29");
    cr_assert_eq(fixture_scan(&fixture, 1, 31, &next_lsn), STATUS_DAMAGED);
    fixture_free(&fixture);
}

Test(log_recovery, truncated_segment_is_refused)
{
    static const uint64_t lsns[] = {1, 15, 29};
    for (size_t i = 0; i < COUNT_OF(lsns); i++) {
        for (uint64_t size = 0; size < FIXTURE_SEGMENT_SIZE; size += 512 * 5) {
            struct log_fixture fixture = three_segments(13);
            struct page_copy copy;
            segment_load(&fixture, lsns[i], &copy);
            segment_remove(&fixture, lsns[i]);
            segment_store(&fixture, fixture_segment(lsns[i]), &copy, size);
            expect_refused(&fixture, 0, fixture_segment(lsns[i]));
            fixture_free(&fixture);
        }
    }
}

Test(log_recovery, segment_under_another_name_is_refused)
{
    struct log_fixture fixture = three_segments(14);
    struct page_copy copy;
    segment_load(&fixture, 15, &copy);
    segment_store(&fixture, fixture_segment(20), &copy, sizeof(copy.bytes));
    expect_refused(&fixture, 0,
                   "log/00000000000000000020.seg is the segment of lsn 15 under another name");
    fixture_free(&fixture);
    fixture = three_segments(14);
    segment_store(&fixture, "log/00000000000000000015.seg.bak", &copy, sizeof(copy.bytes));
    cr_assert_eq(fixture_open(&fixture, 31), STATUS_OK, "a file of another name is no segment: %s",
                 fixture.error.text);
    fixture_free(&fixture);
}

Test(log_recovery, segment_of_another_store_is_refused)
{
    struct log_fixture other = three_segments(99);
    struct log_fixture fixture = three_segments(15);
    struct page_copy copy;
    segment_load(&other, 29, &copy);
    segment_remove(&fixture, 29);
    segment_store(&fixture, fixture_segment(29), &copy, sizeof(copy.bytes));
    expect_refused(&fixture, 0, "log/00000000000000000029.seg belongs to another store");
    fixture_free(&other);
    fixture_free(&fixture);
}

Test(log_recovery, older_copy_of_a_segment_is_refused)
{
    /* The same store went on from an older backup of its last segment: the chain shows it. */
    struct log_fixture fixture = image_make(16, 27, 1);
    struct log_fixture fork = fixture_on(io_sim_clone(fixture.disk));
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    io_sim_clock_advance(fork.disk, 5);
    cr_assert_eq(fixture_open(&fork, 0), STATUS_OK);
    (void)fixture_blocks(&fixture, 28, 5, 1);
    (void)fixture_blocks(&fork, 28, 5, 1);
    fixture_close(&fixture);
    fixture_close(&fork);
    struct page_copy copy;
    segment_load(&fork, 29, &copy);
    segment_remove(&fixture, 29);
    segment_store(&fixture, fixture_segment(29), &copy, sizeof(copy.bytes));
    expect_refused(&fixture, 0, "log/00000000000000000029.seg was not written after");
    fixture_free(&fork);
    fixture_free(&fixture);
}

Test(log_recovery, segment_of_a_newer_format_is_unsupported_not_damaged)
{
    struct log_fixture fixture = image_make(17, 3, 1);
    uint8_t header[FORMAT_SEGMENT_HEADER_SIZE];
    peek(&fixture, 1, 0, header, sizeof(header));
    store_u32(header + 8, 2);
    store_u64(header + 120,
              format_chain(header, 120)); /* the check is the unseeded form, as the chain is */
    poke(&fixture, 1, 0, header, sizeof(header));
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_UNSUPPORTED);
    cr_assert_not_null(strstr(fixture.error.text, "00000000000000000001.seg"));
    fixture_free(&fixture);
}

Test(log_recovery, unsealed_segment_in_the_middle_is_refused)
{
    struct log_fixture fixture = three_segments(18);
    wipe(&fixture, 15, FIXTURE_SEGMENT_SIZE - PAGE, PAGE);
    expect_refused(&fixture, 0, "log/00000000000000000015.seg has no good footer");
    fixture_free(&fixture);
}

Test(log_recovery, sealed_last_segment_gets_a_successor)
{
    struct log_fixture fixture = image_make(19, 28, 1);
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_OK);
    (void)fixture_blocks(&fixture, 29, 1, 1);
    fixture_close(&fixture);
    segment_remove(&fixture, 29); /* as if it had not yet been renamed */
    expect_cut(&fixture, 29, 0);
    fixture_free(&fixture);
}

Test(log_recovery, sealed_last_segment_can_be_opened_on_a_full_disk)
{
    struct log_fixture fixture = three_segments(20);
    segment_remove(&fixture, 29);
    io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_ALLOCATE,
                                                       .nth = 1,
                                                       .forever = true,
                                                       .status = STATUS_NO_SPACE});
    cr_assert_eq(fixture_open(&fixture, 29), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture.recovery.end_lsn, 29);
    cr_assert_eq(fixture_commit(&fixture, 29, 1, 0), STATUS_NO_SPACE);
    io_sim_inject(fixture.disk, NULL);
    io_sim_clock_advance(fixture.disk, 2000000);
    cr_assert_eq(fixture_commit(&fixture, 29, 1, 0), STATUS_OK);
    fixture_free(&fixture);
}

Test(log_recovery, leftovers_of_a_roll_are_removed)
{
    struct log_fixture fixture = image_make(21, 3, 1);
    struct page_copy noise;
    memset(noise.bytes, 0x5a, sizeof(noise.bytes));
    segment_store(&fixture, "log/next.tmp", &noise, 777);
    segment_store(&fixture, "log/roll.tmp", &noise, 0);
    cr_assert_eq(fixture_open(&fixture, 4), STATUS_OK);
    cr_assert_eq(fixture_count(&fixture, FIXTURE_DIRECTORY, ".tmp"), 0);
    fixture_free(&fixture);
}

Test(log_recovery, quarantine_of_an_earlier_recovery_is_not_overwritten)
{
    struct log_fixture fixture = image_make(22, 3, 1);
    struct page_copy noise;
    memset(noise.bytes, 0x5a, sizeof(noise.bytes));
    flip(&fixture, 1, 3 * PAGE + 100);
    cr_assert_eq(fixture.io->operations->make_directory(fixture.io, "log/quarantine"), STATUS_OK);
    segment_store(&fixture, "log/quarantine/00000000000000000001-12288.bin", &noise, 10);
    expect_cut(&fixture, 3, PAGE);
    cr_assert_eq(fixture_count(&fixture, "log/quarantine", "12288-2.bin"), 1);
    fixture_free(&fixture);
}

Test(log_recovery, full_disk_keeps_a_torn_tail_from_being_lost)
{
    struct log_fixture fixture = image_make(23, 3, 1);
    flip(&fixture, 1, 3 * PAGE + 100);
    io_sim_inject(fixture.disk, &(struct io_sim_fault){.operations = IO_SIM_WRITE_DURABLE,
                                                       .nth = 1,
                                                       .status = STATUS_NO_SPACE});
    cr_assert_eq(fixture_open(&fixture, 0), STATUS_NO_SPACE);
    cr_assert_eq(fixture_count(&fixture, "log/quarantine", ".bin"), 0);
    io_sim_inject(fixture.disk, NULL);
    expect_cut(&fixture, 3, PAGE);
    fixture_free(&fixture);
}

/* Crashes */

#define CRASH_SEEDS 24u

struct crash_watch {
    uint64_t acknowledged; /* first lsn not yet acknowledged; moved on by the workload */
    uint64_t submitted;    /* first lsn never submitted */
    uint64_t crashes;
    bool nested;
};

/* Opens what a crash left; everything acknowledged must be there, and nothing that was never submitted. */
static void crash_check(struct io_sim *disk, const struct crash_watch *watch)
{
    struct log_fixture fixture = fixture_on(disk);
    uint64_t acknowledged = watch->acknowledged;
    enum status status = fixture_open(&fixture, acknowledged);
    cr_assert_eq(status, STATUS_OK, "%s", fixture.error.text);
    uint64_t end = fixture.recovery.end_lsn;
    cr_assert(end >= acknowledged && end <= watch->submitted,
              "ends at %llu, not within %llu and %llu", (unsigned long long)end,
              (unsigned long long)acknowledged, (unsigned long long)watch->submitted);
    uint64_t next_lsn = 0;
    cr_assert_eq(fixture_scan(&fixture, 1, end, &next_lsn), STATUS_OK, "%s", fixture.error.text);
    fixture_close(&fixture);
    uint64_t hash = io_sim_hash(disk);
    cr_assert_eq(fixture_open(&fixture, end), STATUS_OK, "%s", fixture.error.text);
    cr_assert_eq(fixture.recovery.end_lsn, end);
    cr_assert_eq(fixture.recovery.cut_bytes, 0);
    cr_assert_eq(io_sim_hash(disk), hash, "recovering twice is recovering once");
    end = fixture_blocks(&fixture, end, 3, 2);
    cr_assert_eq(fixture_scan(&fixture, 1, end, &next_lsn), STATUS_OK, "%s", fixture.error.text);
    fixture_free(&fixture);
}

/* At a cut point of recovery: only whether it can be done again. */
static void nested_point(void *context, struct io_sim *disk, uint64_t point)
{
    struct crash_watch *watch = context;
    for (uint64_t seed = 0; seed < 4; seed++) {
        crash_check(io_sim_crash(disk, point * 1000 + seed), watch);
        watch->crashes++;
    }
}

/* Recovers one crash disk while watching its own cut points. */
static void nested_check(struct io_sim *disk, struct crash_watch *watch)
{
    struct log_fixture fixture = fixture_on(disk);
    io_sim_watch(disk, nested_point, watch);
    cr_assert_eq(fixture_open(&fixture, watch->acknowledged), STATUS_OK, "%s", fixture.error.text);
    io_sim_watch(disk, NULL, NULL);
    fixture_free(&fixture);
}

static void crash_point(void *context, struct io_sim *disk, uint64_t point)
{
    struct crash_watch *watch = context;
    for (uint64_t seed = 0; seed < CRASH_SEEDS; seed++) {
        struct io_sim *crashed = io_sim_crash(disk, point * 1000 + seed);
        watch->crashes++;
        if (watch->nested) {
            nested_check(crashed, watch);
        } else {
            crash_check(crashed, watch);
        }
    }
}

/* Commits in blocks of all sizes, with several waiting, through two rolls. */
static void crash_workload(struct log_fixture *fixture, struct crash_watch *watch, uint32_t rounds)
{
    static struct fixture_commit commits[4];
    cr_assert_eq(fixture_open(fixture, 0), STATUS_OK);
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t count = 1 + round % 4;
        for (uint32_t i = 0; i < count; i++) {
            fixture_fill(&commits[i], watch->submitted, 1 + i, 200 + 1500 * (round % 6));
            watch->submitted += 1 + i;
            event_log_append(fixture->log, &commits[i].commit);
        }
        while (event_log_busy(fixture->log)) {
            bool done = false;
            struct durable_block block;
            cr_assert_eq(event_log_poll(fixture->log, -1, &done, &block), STATUS_OK);
            if (done) {
                cr_assert_eq(block.commits->status, STATUS_OK);
                watch->acknowledged = block.end_lsn;
                event_log_release(fixture->log, block.buffer);
            }
        }
    }
}

static void crash_run(uint64_t seed, uint32_t sector_size, uint32_t rounds, bool nested)
{
    struct io_sim_options options = {
        .seed = seed, .sector_size = sector_size, .clock_us = FIXTURE_TIME_US};
    struct log_fixture fixture = fixture_on(io_sim_open(&options));
    struct crash_watch watch = {.acknowledged = 1, .submitted = 1, .nested = nested};
    io_sim_watch(fixture.disk, crash_point, &watch);
    crash_workload(&fixture, &watch, rounds);
    io_sim_watch(fixture.disk, NULL, NULL);
    cr_assert_gt(watch.crashes, 500);
    fixture_free(&fixture);
}

Test(log_recovery, crash_at_any_point_loses_nothing_acknowledged, .timeout = 120)
{
    crash_run(31, 512, 16, false);
    crash_run(32, 4096, 16, false);
}

Test(log_recovery, crash_during_recovery_loses_nothing_acknowledged, .timeout = 120)
{
    crash_run(33, 512, 3, true);
}
