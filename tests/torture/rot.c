/* rot.c: see rot.h. */
#include "tests/torture/rot.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/torture/survey.h"

#define SEGMENTS_MAX 8u
#define PAGE         LOG_BLOCK_ALIGN
#define PAGES        (TORTURE_SEGMENT_SIZE / PAGE)

/* A closed log, and what it holds. */
struct original {
    struct io_sim *disk;
    char paths[SEGMENTS_MAX][64];
    uint32_t count;
    uint64_t end_lsn;
    uint64_t chain;
    uint64_t short_end; /* without the last block */
    uint64_t short_chain;
};

struct rot {
    struct original now;
    struct original older; /* the same log, some blocks ago */
    struct original fork;  /* went on from there in another way */
    struct rot_counts *counts;
    struct trouble *trouble;
    struct model model;
    bool witness; /* a checkpoint includes everything */
    const char *what;
    char where[256];
};

/* ---- the logs ---- */

static void segment_note(void *context, const char *name)
{
    struct original *original = context;
    uint64_t first_lsn = 0;
    if (segment_name_parse(name, &first_lsn)) {
        assert(original->count < SEGMENTS_MAX);
        (void)snprintf(original->paths[original->count++], sizeof(original->paths[0]),
                       TORTURE_DIRECTORY "/%s", name);
    }
}

static int path_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What a start finds. Where it finds fault: the status, with its text. */
static enum status log_read(const struct io_sim *disk, uint64_t applied_lsn, struct survey *survey,
                            uint64_t *out_short_chain)
{
    struct io_sim *copy = io_sim_clone(disk);
    struct io *io = io_sim_handle(copy);
    struct event_log *log = NULL;
    struct trouble trouble = {{0}};
    const struct event_log_options options = {.io = io,
                                              .directory = TORTURE_DIRECTORY,
                                              .segment_size = TORTURE_SEGMENT_SIZE,
                                              .block_size = TORTURE_BLOCK_SIZE,
                                              .applied_lsn = applied_lsn};
    *survey = (struct survey){0};
    enum status status = event_log_open(&options, &survey->error, &survey->recovery, &log);
    if (status == STATUS_OK) {
        uint64_t end_lsn = survey->recovery.end_lsn;
        bool good = survey_scan(io, end_lsn > 1 ? end_lsn - 1 : end_lsn, survey, &trouble);
        *out_short_chain = survey->chain;
        good = good && survey_scan(io, end_lsn, survey, &trouble);
        status = good ? STATUS_OK : STATUS_DAMAGED;
        if (!good && survey->error.text[0] == '\0') {
            (void)error_set(&survey->error, status, "%s", trouble.text);
        }
    }
    event_log_close(log);
    io_close(io);
    io_sim_close(copy);
    return status;
}

static struct original original_of(struct io_sim *disk)
{
    struct original original = {.disk = disk};
    struct io *io = io_sim_handle(disk);
    struct survey survey;
    enum status status = io->operations->list(io, TORTURE_DIRECTORY, segment_note, &original);
    assert(status == STATUS_OK);
    qsort(original.paths, original.count, sizeof(original.paths[0]), path_compare);
    io_close(io);
    status = log_read(disk, 0, &survey, &original.short_chain);
    assert(status == STATUS_OK);
    original.end_lsn = survey.recovery.end_lsn;
    original.chain = survey.chain;
    original.short_end = survey.recovery.end_lsn - 1; /* the last block has one record */
    return original;
}

/* Runs more of a workload on a disk, and closes the log. */
static struct original log_extend(struct rot *rot, struct io_sim *disk, uint64_t seed,
                                  const char *text, bool begins)
{
    struct session *session = session_make(disk, &rot->model, seed);
    bool good = true;
    if (begins) {
        model_clear(&rot->model);
        good = session_begin(session);
    } else {
        enum status status = session_open(session);
        good = status == STATUS_OK;
    }
    for (size_t i = 0; text[i] != '\0' && good; i++) {
        good = session_run(session, text[i]);
    }
    assert(good);
    session_free(session);
    return original_of(disk);
}

/* ---- one harm ---- */

static bool rot_fail(struct rot *rot, const char *text)
{
    rot->counts->losses++;
    return trouble_set(rot->trouble, "%s [%s: %s]", text, rot->where,
                       rot->witness ? "with a checkpoint" : "without");
}

/* A refusal says which file is to be looked at. */
static bool refusal_check(struct rot *rot, enum status status, const struct error *error)
{
    rot->counts->refused++;
    if (status != STATUS_DAMAGED && status != STATUS_UNSUPPORTED) {
        return rot_fail(rot, status_name(status));
    }
    /* Of a file that is gone there is only a hole to name: where the log begins, or ends. */
    bool named = strstr(error->text, ".seg") != NULL ||
                 strstr(error->text, TORTURE_DIRECTORY " ends before") != NULL ||
                 strstr(error->text, TORTURE_DIRECTORY " begins at") != NULL;
    return named || rot_fail(rot, error->text);
}

static bool harm_judge(struct rot *rot, const struct io_sim *harmed)
{
    struct survey survey;
    uint64_t short_chain = 0;
    const struct original *now = &rot->now;
    enum status status = log_read(harmed, rot->witness ? now->end_lsn : 0, &survey, &short_chain);
    if (status != STATUS_OK) {
        return refusal_check(rot, status, &survey.error);
    }
    if (survey.recovery.end_lsn == now->end_lsn && survey.chain == now->chain) {
        rot->counts->harmless++;
        return true;
    }
    if (!rot->witness && survey.recovery.end_lsn == now->short_end &&
        survey.chain == now->short_chain) {
        rot->counts->cut++;
        return true;
    }
    return rot_fail(rot, "ANOTHER ANSWER: damage was not noticed");
}

static void poke(struct io_sim *disk, const char *path, uint64_t offset, const void *bytes,
                 size_t size)
{
    enum status status = io_sim_poke(disk, path, offset, bytes, size);
    assert(status == STATUS_OK);
}

static void peek(const struct io_sim *disk, const char *path, uint64_t offset, void *bytes,
                 size_t size)
{
    size_t done = 0;
    enum status status = io_sim_peek(disk, path, offset, bytes, size, &done);
    assert(status == STATUS_OK && done == size);
}

static bool byte_harm(struct rot *rot, const char *path, uint64_t offset, uint8_t flip)
{
    uint8_t byte = 0;
    (void)snprintf(rot->where, sizeof(rot->where), "%s, byte %llu, xor %02x", path,
                   (unsigned long long)offset, flip);
    peek(rot->now.disk, path, offset, &byte, 1);
    byte ^= flip;
    poke(rot->now.disk, path, offset, &byte, 1);
    bool good = harm_judge(rot, rot->now.disk); /* which looks at a copy */
    byte ^= flip;
    poke(rot->now.disk, path, offset, &byte, 1);
    rot->counts->bytes++;
    return good;
}

static bool bytes_harm(struct rot *rot, uint32_t every)
{
    bool good = true;
    for (uint32_t i = 0; i < rot->now.count; i++) {
        for (uint64_t at = 0; at < TORTURE_SEGMENT_SIZE && good; at += every) {
            good = byte_harm(rot, rot->now.paths[i], at, (uint8_t)(1u << (at * 5 % 8))) &&
                   byte_harm(rot, rot->now.paths[i], at, 0xff);
        }
    }
    return good;
}

/* Every page of the donor over every page of the log. */
static bool pages_harm(struct rot *rot, const struct original *donor, const char *name)
{
    uint8_t old[PAGE];
    uint8_t new[PAGE];
    bool good = true;
    for (uint32_t to = 0; to < rot->now.count * PAGES; to++) {
        const char *path = rot->now.paths[to / PAGES];
        peek(rot->now.disk, path, to % PAGES * PAGE, old, PAGE);
        for (uint32_t from = 0; from < donor->count * PAGES && good; from++) {
            peek(donor->disk, donor->paths[from / PAGES], from % PAGES * PAGE, new, PAGE);
            (void)snprintf(rot->where, sizeof(rot->where),
                           "%s, page %u: that of %s, page %u of the %s", path, to % PAGES,
                           donor->paths[from / PAGES], (unsigned)(from % PAGES), name);
            poke(rot->now.disk, path, to % PAGES * PAGE, new, PAGE);
            good = harm_judge(rot, rot->now.disk);
            rot->counts->pages++;
        }
        poke(rot->now.disk, path, to % PAGES * PAGE, old, PAGE);
    }
    return good;
}

/* Puts a file in place of another, or where there was none: `size` bytes of it. */
static void file_put(struct io_sim *disk, const char *path, const uint8_t *bytes, size_t size)
{
    struct io *io = io_sim_handle(disk);
    int file = -1;
    (void)io->operations->unlink(io, path);
    enum status status = io->operations->open(io, path, IO_OPEN_CREATE, &file);
    assert(status == STATUS_OK);
    if (size > 0) {
        status = io_write_durable(io, file, bytes, size, 0);
        assert(status == STATUS_OK);
    }
    io->operations->close_file(io, file);
    status = io->operations->sync_directory(io, TORTURE_DIRECTORY);
    assert(status == STATUS_OK);
    io_close(io);
}

static bool file_harm(struct rot *rot, const char *path, const uint8_t *bytes, size_t size)
{
    struct io_sim *copy = io_sim_clone(rot->now.disk);
    file_put(copy, path, bytes, size);
    bool good = harm_judge(rot, copy);
    io_sim_close(copy);
    rot->counts->files++;
    return good;
}

static bool file_removed(struct rot *rot, const char *path)
{
    struct io_sim *copy = io_sim_clone(rot->now.disk);
    struct io *io = io_sim_handle(copy);
    enum status status = io->operations->unlink(io, path);
    assert(status == STATUS_OK);
    io_close(io);
    (void)snprintf(rot->where, sizeof(rot->where), "%s removed", path);
    bool good = harm_judge(rot, copy);
    io_sim_close(copy);
    rot->counts->files++;
    return good;
}

/* A segment under the names it could be mistaken for. */
static bool file_copied(struct rot *rot, const struct original *donor, uint32_t from,
                        const char *name)
{
    static uint8_t bytes[TORTURE_SEGMENT_SIZE];
    bool good = true;
    peek(donor->disk, donor->paths[from], 0, bytes, sizeof(bytes));
    for (uint32_t to = 0; to < rot->now.count && good; to++) {
        (void)snprintf(rot->where, sizeof(rot->where), "%s is %s of the %s", rot->now.paths[to],
                       donor->paths[from], name);
        good = file_harm(rot, rot->now.paths[to], bytes, sizeof(bytes));
    }
    for (uint64_t lsn = 1; lsn <= rot->now.end_lsn + 1 && good; lsn++) {
        char path[64];
        char segment[SEGMENT_NAME_SIZE];
        segment_name(lsn, segment);
        (void)snprintf(path, sizeof(path), TORTURE_DIRECTORY "/%s", segment);
        (void)snprintf(rot->where, sizeof(rot->where), "%s of the %s as %s too", donor->paths[from],
                       name, path);
        good = file_harm(rot, path, bytes, sizeof(bytes));
    }
    return good;
}

static bool files_harm(struct rot *rot)
{
    const struct original *donors[] = {&rot->now, &rot->older, &rot->fork};
    static const char *const names[] = {"log", "older copy", "fork"};
    bool good = true;
    for (uint32_t i = 0; i < rot->now.count && good; i++) {
        static uint8_t bytes[TORTURE_SEGMENT_SIZE];
        peek(rot->now.disk, rot->now.paths[i], 0, bytes, sizeof(bytes));
        for (size_t size = 0; size < TORTURE_SEGMENT_SIZE && good; size += 512) {
            (void)snprintf(rot->where, sizeof(rot->where), "%s cut to %zu bytes", rot->now.paths[i],
                           size);
            good = file_harm(rot, rot->now.paths[i], bytes, size);
        }
        /* The last segment can be missed by a checkpoint alone. */
        good = good &&
               (!(rot->witness || i + 1 < rot->now.count) || file_removed(rot, rot->now.paths[i]));
    }
    for (size_t donor = 0; donor < COUNT_OF(donors) && rot->witness; donor++) {
        for (uint32_t i = 0; i < donors[donor]->count && good; i++) {
            good = file_copied(rot, donors[donor], i, names[donor]);
        }
    }
    return good;
}

static bool harms(struct rot *rot, uint32_t every)
{
    rot->witness = true;
    bool good = bytes_harm(rot, every) && files_harm(rot) && pages_harm(rot, &rot->now, "log") &&
                pages_harm(rot, &rot->older, "older copy") && pages_harm(rot, &rot->fork, "fork");
    rot->witness = false;
    return good && bytes_harm(rot, every) && files_harm(rot);
}

bool rot_run(uint64_t seed, uint32_t every, struct rot_counts *counts, struct trouble *trouble)
{
    static struct rot rot;
    const struct io_sim_options options = {
        .seed = seed, .sector_size = 512, .clock_us = TORTURE_TIME_US};
    rot = (struct rot){.counts = counts, .trouble = trouble};
    rot.older = log_extend(&rot, io_sim_open(&options), seed, "bsprapa", true);
    static struct model model;
    model = rot.model;
    struct io_sim *fork = io_sim_clone(rot.older.disk);
    io_sim_clock_advance(fork, 5);
    rot.fork = log_extend(&rot, fork, seed + 1, "apa", false);
    rot.model = model;
    rot.now = log_extend(&rot, io_sim_clone(rot.older.disk), seed + 2, "papwa", false);
    bool good = harms(&rot, every);
    io_sim_close(rot.now.disk);
    io_sim_close(rot.older.disk);
    io_sim_close(rot.fork.disk);
    return good;
}
