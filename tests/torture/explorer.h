/* explorer.h: runs a workload, stops the power wherever that could matter, and looks at what is left.
 *
 * Cuts         After every submission, completion and sync of the workload, and after every answer it gets. A cut counts
 *              from 1; so do the cuts of a recovery (level 1).
 * States       Of a cut's volatile atoms (io_sim.h): all subsets where there are few, else none, all, each alone, all but
 *              each, every prefix and suffix, and seeded samples; then torn and stale sectors. Two profiles choose among
 *              the subsets: POSIX-minimal takes any, ext4-like only those of a journalled filesystem that writes data
 *              before the metadata that needs it. A kill leaves all that was written in the page cache, for the next
 *              process to read and a later power cut to lose.
 * Checks       of each state whose image is new: the log opens; it ends between what was acknowledged and what was
 *              submitted, at the end of a frame; every record is the one that was submitted, in order; recovering again
 *              changes nothing; the log takes another record and keeps it; and for each new set of records and
 *              checkpoint, a replay from nothing and one from the checkpoint agree row for row and with the recount of
 *              model.h. A power cut during recovery is one more level of the same.
 * Failures     The first one is kept, as a text and as a line that replays it alone.
 */
#ifndef ASSAY_TORTURE_EXPLORER_H
#define ASSAY_TORTURE_EXPLORER_H

#include "tests/torture/workload.h"

#define CRASH_ATOMS   512u
#define CRASH_LEVELS  2u
#define WORKLOAD_SIZE 512u
#define LINE_SIZE     2048u

enum crash_kind {
    CRASH_POWER,
    CRASH_KILL_LATE,  /* what was in flight reached the page cache */
    CRASH_KILL_EARLY, /* it did not */
};

/* One way to go down. */
struct crash {
    enum crash_kind kind;
    uint32_t cut;
    uint32_t seed; /* of stale bytes and of what the next process draws */
    uint32_t count;
    uint8_t fates[CRASH_ATOMS];
};

enum crash_profile {
    PROFILE_POSIX,
    PROFILE_EXT4,
};

#define PROFILE_COUNT 2u

struct explorer_options {
    uint64_t seed;
    uint32_t sector_size;
    uint32_t all_atoms; /* up to this many are taken in all subsets */
    uint32_t samples;   /* of subsets, where there are more */
    uint32_t
        nested_every; /* of the torn images, this part is crashed again while it recovers; 0: none */
    bool
        thin; /* none, all and the samples, and nothing torn: for many cuts rather than many states */
    bool profiles[PROFILE_COUNT];
    uint64_t states_max; /* 0: no bound */
};

struct explorer_counts {
    uint64_t workloads;
    uint64_t cuts[CRASH_LEVELS];
    uint64_t generated[PROFILE_COUNT]; /* states */
    uint64_t kills;
    uint64_t pruned; /* of those: an image seen before */
    uint64_t unique;
    uint64_t nested; /* of the unique: of a crash during recovery */
    uint64_t folds;  /* replays compared with a recount */
    uint64_t
        resurrected; /* images with frames that had been refused for want of room: tolerated only where asked */
    uint64_t losses; /* failed checks */
};

struct explorer;

struct explorer *explorer_make(const struct explorer_options *options);
void explorer_free(struct explorer *explorer); /* NULL is fine */
const struct explorer_counts *explorer_counts(const struct explorer *explorer);
/* Runs `text` and explores the cuts of its operations from number `from` (0: those of the first start) on. False on a
 * failed check. */
bool explorer_run(struct explorer *explorer, const char *text, size_t from);
/* True once states_max is reached. */
bool explorer_spent(const struct explorer *explorer);
/* Replays one line. False where it fails again, or is no line. */
bool explorer_replay(const char *line, struct trouble *trouble);
/* The first failure. */
const char *explorer_failure(const struct explorer *explorer);
const char *explorer_failure_line(const struct explorer *explorer);
/* The state being looked at, as a line: for a process that is about to die. */
void explorer_describe(const struct explorer *explorer, char *out_line, size_t size);

enum image_leeway {
    IMAGE_TORN,    /* what was in flight may be torn */
    IMAGE_CLEAN,   /* nothing was in flight: there is nothing to cut */
    IMAGE_LENIENT, /* as torn; and frames that were refused for want of room may be there */
};

/* Checks one image: for the fault loops. */
bool explorer_check_image(struct explorer *explorer, struct io_sim *image,
                          const struct model *model, enum image_leeway leeway,
                          struct trouble *trouble);

#endif
