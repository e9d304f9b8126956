/* explorer.c: see explorer.h. In this order: lines, one image, the subsets of a cut, cuts, runs, replay. */
#include "tests/torture/explorer.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim_disk.h"
#include "tests/torture/hash_set.h"
#include "tests/torture/survey.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* What a log must be found to hold. */
struct expectation {
    uint64_t least; /* acknowledged, or shown to somebody by an earlier recovery */
    uint64_t most;  /* submitted */
    bool settled;   /* it was recovered before: there is nothing left to cut or to change */
    uint64_t
        beyond;   /* hash of the one record after `most`, which the model does not know; 0: none */
    bool clean;   /* nothing was in flight: there is nothing to cut */
    bool lenient; /* frames that were refused for want of room may be there all the same */
};

struct explorer {
    struct explorer_options options;
    struct explorer_counts counts;
    struct model model;
    struct hash_set seen;   /* images */
    struct hash_set folded; /* sets of records, blocks and checkpoint */
    struct hash_set tried;  /* fates of the cut at hand, a set a level */
    struct hash_set tried_nested;
    char workload[WORKLOAD_SIZE];
    bool enabled;
    bool failed;
    struct trouble trouble;
    char failure_line[LINE_SIZE];
    struct expectation expectation; /* of the recovery that is under way */
    bool nested;                    /* its cuts are wanted */
    uint32_t cut[CRASH_LEVELS];
    struct crash path[CRASH_LEVELS]; /* what led to the image at hand */
    uint32_t level;                  /* images deep */
    bool replaying;
    struct crash target[CRASH_LEVELS];
    uint32_t target_levels;
};

/* ---- lines ---- */

static const char fate_letters[] = "DKHS";

static size_t crash_write(const struct crash *crash, char *out_text, size_t size)
{
    int length = 0;
    if (crash->kind != CRASH_POWER) {
        length = snprintf(out_text, size, " c=%u:kill-%s:%u", crash->cut,
                          crash->kind == CRASH_KILL_LATE ? "late" : "early", crash->seed);
        return (size_t)length < size ? (size_t)length : 0;
    }
    char fates[CRASH_ATOMS + 1];
    for (uint32_t i = 0; i < crash->count; i++) {
        fates[i] = fate_letters[crash->fates[i]];
    }
    fates[crash->count] = '\0';
    length = snprintf(out_text, size, " c=%u:%s:%u", crash->cut, fates, crash->seed);
    return (size_t)length < size ? (size_t)length : 0;
}

void explorer_describe(const struct explorer *explorer, char *out_line, size_t size)
{
    int length =
        snprintf(out_line, size, "w=%s s=%llu z=%u", explorer->workload,
                 (unsigned long long)explorer->options.seed, explorer->options.sector_size);
    size_t used = (size_t)length < size ? (size_t)length : 0;
    for (uint32_t level = 0; level < explorer->level; level++) {
        used += crash_write(&explorer->path[level], out_line + used, size - used);
    }
}

static bool crash_parse(const char *text, struct crash *out_crash)
{
    struct crash crash = {0};
    char fates[CRASH_ATOMS + 1] = "";
    int cut_size = 0;
    if (sscanf(text, "%u:%n", &crash.cut, &cut_size) != 1) {
        return false;
    }
    size_t length = strcspn(text + cut_size, ":");
    if (length > CRASH_ATOMS || sscanf(text + cut_size + length, ":%u", &crash.seed) != 1) {
        return false;
    }
    memcpy(fates, text + cut_size, length);
    if (strncmp(fates, "kill-", 5) == 0) {
        crash.kind = strcmp(fates, "kill-late") == 0 ? CRASH_KILL_LATE : CRASH_KILL_EARLY;
        *out_crash = crash;
        return true;
    }
    for (size_t i = 0; i < length; i++) {
        const char *letter = strchr(fate_letters, fates[i]);
        if (letter == NULL) {
            return false;
        }
        crash.fates[i] = (uint8_t)(letter - fate_letters);
    }
    crash.count = (uint32_t)length;
    *out_crash = crash;
    return true;
}

/* ---- one image ---- */

static bool explorer_fail(struct explorer *explorer)
{
    if (!explorer->failed) {
        explorer_describe(explorer, explorer->failure_line, sizeof(explorer->failure_line));
    }
    explorer->failed = true;
    explorer->counts.losses++;
    return false;
}

static bool records_check(struct explorer *explorer, const struct expectation *expectation,
                          uint64_t end_lsn, uint64_t chain)
{
    struct trouble *trouble = &explorer->trouble;
    if (end_lsn < expectation->least) {
        return trouble_set(trouble,
                           "LOST: the log ends at lsn %llu, but all below %llu was acknowledged",
                           (unsigned long long)end_lsn, (unsigned long long)expectation->least);
    }
    uint64_t known = expectation->beyond != 0 ? end_lsn - 1 : end_lsn;
    if (expectation->lenient && known > model_submitted_lsn(&explorer->model)) {
        explorer->counts.resurrected++;
        return chain == model_chain(&explorer->model, model_submitted_lsn(&explorer->model)) ||
               trouble_set(trouble,
                           "the records below the refused ones are not those that were submitted");
    }
    if (end_lsn > expectation->most) {
        return trouble_set(trouble,
                           "the log ends at lsn %llu, but nothing from %llu on was submitted",
                           (unsigned long long)end_lsn, (unsigned long long)expectation->most);
    }
    if (expectation->beyond == 0 && !model_ends_frame(&explorer->model, known)) {
        return trouble_set(trouble, "the log ends at lsn %llu, in the middle of a frame",
                           (unsigned long long)known);
    }
    return chain == model_chain(&explorer->model, known) ||
           trouble_set(trouble, "the records below lsn %llu are not those that were submitted",
                       (unsigned long long)known);
}

/* A set of records is folded once, wherever it turns up: the fold sees nothing but records, blocks and checkpoint. */
static bool fold_once(struct explorer *explorer, struct io *io, const struct survey *survey)
{
    uint64_t key = model_chain_add(survey->chain, survey->blocks);
    key = model_chain_add(key, survey->snapshot != NULL ? snapshot_digest(survey->snapshot) : 0);
    key = model_chain_add(key, survey->recovery.hash_seed);
    if (!hash_set_insert(&explorer->folded, (struct hash_item){.key = key})) {
        return true;
    }
    explorer->counts.folds++;
    return survey_fold(io, survey, &explorer->model, &explorer->trouble);
}

static bool image_read(struct explorer *explorer, struct io *io,
                       const struct expectation *expectation, struct survey *survey)
{
    uint64_t end_lsn = survey->recovery.end_lsn;
    struct trouble *trouble = &explorer->trouble;
    uint64_t known = expectation->beyond != 0 ? end_lsn - 1 : end_lsn;
    if (expectation->lenient && known > model_submitted_lsn(&explorer->model)) {
        known = model_submitted_lsn(&explorer->model);
    }
    if (!survey_scan(io, known, survey, trouble)) {
        return false;
    }
    if (expectation->beyond != 0 && survey->last != expectation->beyond) {
        return trouble_set(trouble,
                           "LOST: the record that was appended after recovery is not there");
    }
    if ((expectation->settled || expectation->clean) && survey->recovery.cut_bytes > 0) {
        return trouble_set(trouble, "%llu bytes were cut where nothing can be torn",
                           (unsigned long long)survey->recovery.cut_bytes);
    }
    return records_check(explorer, expectation, end_lsn, survey->chain) &&
           (survey->recovery.cut_bytes == 0 || survey_quarantine(io, survey, trouble));
}

static void cut_visit(struct explorer *explorer, const struct io_sim *disk, uint32_t level,
                      const struct expectation *expectation);

static void recovery_watch(void *context, struct io_sim *disk, uint64_t point)
{
    struct explorer *explorer = context;
    (void)point;
    const struct expectation expectation = explorer->expectation;
    cut_visit(explorer, disk, 1, &expectation);
}

/* What somebody was shown after a recovery must outlive the next power cut, and so must what is appended then. */
static bool image_go_on(struct explorer *explorer, struct io_sim *image, struct event_log *log,
                        uint64_t end_lsn)
{
    struct expectation expectation = {.least = end_lsn,
                                      .most = end_lsn,
                                      .settled = true,
                                      .lenient = explorer->expectation.lenient};
    cut_visit(explorer, image, 1, &expectation);
    if (explorer->failed) {
        return true; /* told already */
    }
    expectation.least = end_lsn + 1;
    expectation.most = end_lsn + 1;
    if (!survey_append(log, end_lsn, &expectation.beyond, &explorer->trouble)) {
        return false;
    }
    cut_visit(explorer, image, 1, &expectation);
    return true;
}

/* Recovers an image and looks at everything. */
static bool image_check(struct explorer *explorer, struct io_sim *image, uint64_t hash,
                        uint32_t level, const struct expectation *expectation,
                        struct survey *survey)
{
    struct io *io = io_sim_handle(image);
    struct event_log *log = NULL;
    bool outer = level == 0;
    explorer->expectation = *expectation;
    explorer->cut[1] = outer ? 0 : explorer->cut[1];
    if (outer) {
        explorer->nested =
            explorer->replaying || (explorer->options.nested_every != 0 &&
                                    sim_mix(hash) % explorer->options.nested_every == 0);
        io_sim_watch(image, recovery_watch, explorer);
    }
    enum status status = survey_open(io, image, survey, &log);
    io_sim_watch(image, NULL, NULL);
    bool good =
        status == STATUS_OK || trouble_set(&explorer->trouble, "REFUSED: %s", survey->error.text);
    good = good && image_read(explorer, io, expectation, survey);
    bool known = survey->recovery.end_lsn <= model_submitted_lsn(&explorer->model);
    good = good && (expectation->beyond != 0 || !known || fold_once(explorer, io, survey));
    if (good && expectation->settled && io_sim_hash(image) != hash) {
        good = trouble_set(&explorer->trouble, "recovering again changed the disk");
    }
    explorer->nested = true;
    good = good && (!outer || image_go_on(explorer, image, log, survey->recovery.end_lsn));
    event_log_close(log);
    io_close(io);
    return good;
}

/* Checks an image unless it was seen; then only what depends on the moment of the crash. */
static void image_visit(struct explorer *explorer, struct io_sim *image, uint64_t hash,
                        uint32_t level, const struct expectation *expectation)
{
    explorer->level = level + 1;
    const struct hash_item *item = hash_set_find(&explorer->seen, hash + level);
    item = item == NULL && level > 0 ? hash_set_find(&explorer->seen, hash) : item;
    bool good = true;
    if (item != NULL && !explorer->replaying && !expectation->lenient) {
        explorer->counts.pruned++;
        good = expectation->beyond != 0 ||
               records_check(explorer, expectation, item->end_lsn, item->chain);
    } else {
        struct survey survey;
        explorer->counts.unique++;
        explorer->counts.nested += level > 0 ? 1 : 0;
        good = image_check(explorer, image, hash, level, expectation, &survey);
        /* A lenient look reads no further than what was submitted: its chain is not that of the image. */
        if (good && expectation->beyond == 0 && !expectation->lenient) {
            (void)hash_set_insert(&explorer->seen,
                                  (struct hash_item){.key = hash + level,
                                                     .end_lsn = survey.recovery.end_lsn,
                                                     .chain = survey.chain});
        }
    }
    if (!good) {
        (void)explorer_fail(explorer);
    }
    explorer->level = level;
}

/* ---- the subsets of a cut ---- */

struct enumeration {
    struct explorer *explorer;
    const struct io_sim *disk;
    const struct expectation *expectation;
    uint32_t level;
    enum crash_profile profile;
    struct io_sim_atom atoms[CRASH_ATOMS];
    uint32_t count;
    uint32_t free[CRASH_ATOMS]; /* places of the atoms that make a difference */
    uint32_t free_count;
    uint64_t random;
};

bool explorer_spent(const struct explorer *explorer)
{
    return explorer->options.states_max != 0 &&
           explorer->counts.unique >= explorer->options.states_max;
}

/* An earlier change of the file, or of any name, is there wherever a later one is: one journal. Data that had been
 * written when the name or size was changed is there before that. */
static void fates_close(const struct enumeration *all, uint8_t *fates)
{
    uint64_t first_lost = UINT64_MAX;
    for (uint32_t i = 0; i < all->count; i++) {
        bool lost = all->atoms[i].kind != IO_SIM_ATOM_SECTOR && fates[i] != IO_SIM_KEEP;
        first_lost = lost && all->atoms[i].change < first_lost ? all->atoms[i].change : first_lost;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        const struct io_sim_atom *atom = &all->atoms[i];
        if (atom->kind != IO_SIM_ATOM_SECTOR && atom->change >= first_lost) {
            fates[i] = IO_SIM_DROP;
        }
    }
    for (uint32_t i = 0; i < all->count; i++) {
        const struct io_sim_atom *meta = &all->atoms[i];
        for (uint32_t k = 0;
             k < all->count && meta->kind != IO_SIM_ATOM_SECTOR && fates[i] == IO_SIM_KEEP; k++) {
            const struct io_sim_atom *atom = &all->atoms[k];
            bool same = meta->kind == IO_SIM_ATOM_NAME || atom->owner == meta->owner;
            bool written = !atom->in_flight || atom->change == meta->change;
            if (atom->kind == IO_SIM_ATOM_SECTOR && same && written &&
                atom->change <= meta->change) {
                fates[k] = IO_SIM_KEEP;
            }
        }
    }
}

static void power_visit(struct enumeration *all, const uint8_t *fates, uint32_t seed)
{
    struct explorer *explorer = all->explorer;
    struct crash *crash = &explorer->path[all->level];
    *crash = (struct crash){
        .kind = CRASH_POWER, .cut = explorer->cut[all->level], .seed = seed, .count = all->count};
    memcpy(crash->fates, fates, all->count);
    explorer->counts.generated[all->profile]++;
    struct io_sim *image = io_sim_crash_with(all->disk, fates, all->count, seed);
    image_visit(explorer, image, io_sim_hash(image), all->level, all->expectation);
    io_sim_close(image);
}

static void fates_visit(struct enumeration *all, const uint8_t *fates, uint32_t seed)
{
    struct explorer *explorer = all->explorer;
    uint8_t closed[CRASH_ATOMS];
    if (explorer->failed || explorer_spent(explorer)) {
        return;
    }
    memcpy(closed, fates, all->count);
    if (all->profile == PROFILE_EXT4) {
        fates_close(all, closed);
    }
    struct hash_set *tried = all->level == 0 ? &explorer->tried : &explorer->tried_nested;
    uint64_t key = XXH3_64bits_withSeed(closed, all->count, seed);
    if (hash_set_insert(tried, (struct hash_item){.key = key})) {
        power_visit(all, closed, seed);
    }
}

/* Keeps the free atoms whose bit is set, up to 64 of them at a time. */
static void mask_visit(struct enumeration *all, uint64_t mask)
{
    uint8_t fates[CRASH_ATOMS];
    memset(fates, IO_SIM_KEEP, all->count);
    for (uint32_t i = 0; i < all->free_count; i++) {
        fates[all->free[i]] = (mask >> i & 1) != 0 ? IO_SIM_KEEP : IO_SIM_DROP;
    }
    fates_visit(all, fates, 0);
}

/* The free atoms of [first, end) have one fate, the others the other. */
static void range_visit(struct enumeration *all, uint32_t first, uint32_t end,
                        enum io_sim_fate inside, enum io_sim_fate outside)
{
    uint8_t fates[CRASH_ATOMS];
    memset(fates, IO_SIM_KEEP, all->count);
    for (uint32_t i = 0; i < all->free_count; i++) {
        fates[all->free[i]] = (uint8_t)(i >= first && i < end ? inside : outside);
    }
    fates_visit(all, fates, 0);
}

static void sample_visit(struct enumeration *all)
{
    uint8_t fates[CRASH_ATOMS];
    uint64_t kept = 1 + sim_draw(&all->random) % 7;
    memset(fates, IO_SIM_KEEP, all->count);
    for (uint32_t i = 0; i < all->free_count; i++) {
        fates[all->free[i]] = sim_draw(&all->random) % 8 < kept ? IO_SIM_KEEP : IO_SIM_DROP;
    }
    fates_visit(all, fates, 0);
}

static void subsets_visit(struct enumeration *all)
{
    uint32_t count = all->free_count;
    if (all->explorer->options.thin) {
        range_visit(all, 0, 0, IO_SIM_KEEP, IO_SIM_DROP);
        range_visit(all, 0, count, IO_SIM_KEEP, IO_SIM_DROP);
        for (uint32_t i = 0; i < all->explorer->options.samples; i++) {
            sample_visit(all);
        }
        return;
    }
    uint32_t most = all->level == 0 ? all->explorer->options.all_atoms : 4;
    if (count <= most) {
        for (uint64_t mask = 0; mask < 1ull << count; mask++) {
            mask_visit(all, mask);
        }
        return;
    }
    for (uint32_t i = 0; i <= count; i++) {
        range_visit(all, 0, i, IO_SIM_KEEP, IO_SIM_DROP);
        range_visit(all, i, count, IO_SIM_KEEP, IO_SIM_DROP);
        if (i < count) {
            range_visit(all, i, i + 1, IO_SIM_KEEP, IO_SIM_DROP);
            range_visit(all, i, i + 1, IO_SIM_DROP, IO_SIM_KEEP);
        }
    }
    uint32_t samples = all->level == 0 ? all->explorer->options.samples : 4;
    for (uint32_t i = 0; i < samples; i++) {
        sample_visit(all);
    }
}

/* One sector torn in its middle, the others as they should be; and all of them. */
static void torn_visit(struct enumeration *all)
{
    uint8_t fates[CRASH_ATOMS];
    uint8_t every[CRASH_ATOMS];
    memset(every, IO_SIM_KEEP, all->count);
    for (uint32_t i = 0; i < all->free_count; i++) {
        uint32_t place = all->free[i];
        if (all->atoms[place].kind == IO_SIM_ATOM_SECTOR) {
            memset(fates, IO_SIM_KEEP, all->count);
            fates[place] = IO_SIM_HALF;
            every[place] = IO_SIM_HALF;
            fates_visit(all, fates, 0);
        }
    }
    fates_visit(all, every, 0);
}

/* Fresh sectors that show what was there before the file. */
static void stale_visit(struct enumeration *all)
{
    for (uint32_t seed = 1; seed <= 3; seed++) {
        uint8_t fates[CRASH_ATOMS];
        bool any = false;
        for (uint32_t i = 0; i < all->count; i++) {
            bool stale = all->atoms[i].fresh && (seed == 1 || sim_draw(&all->random) % 2 == 0);
            fates[i] = stale ? IO_SIM_STALE : IO_SIM_KEEP;
            any = any || stale;
        }
        if (any) {
            fates_visit(all, fates, seed);
        }
    }
}

/* A sector that is written with what it holds already: no fate makes a difference. */
static bool atom_is_inert(const struct enumeration *all, uint32_t place)
{
    const struct io_sim_atom *atom = &all->atoms[place];
    if (atom->kind != IO_SIM_ATOM_SECTOR) {
        return false;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        const struct io_sim_atom *other = &all->atoms[i];
        if (i != place && other->kind == IO_SIM_ATOM_SECTOR && other->owner == atom->owner &&
            other->offset / all->disk->options.sector_size ==
                atom->offset / all->disk->options.sector_size) {
            return false;
        }
    }
    const struct sim_inode *inode = all->disk->inodes[atom->owner];
    const struct sim_changes *lists[] = {&inode->applied, &inode->in_flight};
    uint8_t old[SIM_SECTOR_SIZE] = {0};
    static const uint8_t zeros[SIM_SECTOR_SIZE];
    (void)sim_content_read(&inode->durable, atom->offset, old, atom->size);
    for (size_t k = 0; k < COUNT_OF(lists); k++) {
        for (size_t i = 0; i < lists[k]->count; i++) {
            const struct sim_change *change = &lists[k]->items[i];
            if (change->number == atom->change) {
                const uint8_t *bytes = sim_change_bytes(change, atom->offset);
                return memcmp(bytes != NULL ? bytes : zeros, old, atom->size) == 0;
            }
        }
    }
    return false;
}

static void profiles_visit(struct enumeration *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        if (!atom_is_inert(all, i)) {
            all->free[all->free_count++] = i;
        }
    }
    for (uint32_t profile = 0; profile < PROFILE_COUNT; profile++) {
        struct explorer *explorer = all->explorer;
        if (explorer->options.profiles[profile]) {
            all->profile = (enum crash_profile)profile;
            subsets_visit(all);
        }
        if (explorer->options.profiles[profile] && !explorer->options.thin) {
            torn_visit(all);
            stale_visit(all);
        }
    }
}

/* ---- cuts ---- */

/* A disk as the next process finds it after a kill: everything written can be read, nothing more is durable. */
static struct io_sim *disk_killed(const struct io_sim *disk, enum crash_kind kind)
{
    struct io_sim *killed = io_sim_clone(disk);
    for (uint32_t i = 0; i < killed->inode_count; i++) {
        struct sim_inode *inode = killed->inodes[i];
        while (inode != NULL && kind == CRASH_KILL_LATE && inode->in_flight.count > 0) {
            sim_write_end(killed, inode, inode->in_flight.items[0].number, false, SIM_DONE);
        }
    }
    return killed;
}

static void kill_visit(struct explorer *explorer, const struct io_sim *disk, enum crash_kind kind,
                       const struct expectation *expectation)
{
    struct io_sim *killed = disk_killed(disk, kind);
    size_t count = io_sim_atoms(killed, NULL, 0);
    uint8_t kept[CRASH_ATOMS];
    if (count > CRASH_ATOMS || explorer->failed) {
        io_sim_close(killed);
        return;
    }
    /* What is durable and what can be read: both matter, so both are the image. */
    memset(kept, IO_SIM_KEEP, sizeof(kept));
    struct io_sim *readable = io_sim_crash_with(killed, kept, count, 0);
    uint64_t hash = sim_mix(io_sim_hash(killed) + 17) + io_sim_hash(readable);
    io_sim_close(readable);
    explorer->path[0] = (struct crash){.kind = kind, .cut = explorer->cut[0]};
    explorer->counts.kills++;
    image_visit(explorer, killed, hash, 0, expectation);
    io_sim_close(killed);
}

static void cut_replay(struct enumeration *all)
{
    struct explorer *explorer = all->explorer;
    const struct crash *target = &explorer->target[all->level];
    if (all->level >= explorer->target_levels || explorer->cut[all->level] != target->cut) {
        return;
    }
    if (target->kind != CRASH_POWER) {
        kill_visit(explorer, all->disk, target->kind, all->expectation);
    } else if (target->count == all->count) {
        power_visit(all, target->fates, target->seed);
    } else {
        (void)trouble_set(&explorer->trouble, "the line does not fit: the cut has %u atoms, not %u",
                          all->count, target->count);
        (void)explorer_fail(explorer);
    }
}

static void cut_visit(struct explorer *explorer, const struct io_sim *disk, uint32_t level,
                      const struct expectation *expectation)
{
    explorer->cut[level]++;
    if (!explorer->enabled || explorer->failed || explorer_spent(explorer)) {
        return;
    }
    struct enumeration *all = malloc(sizeof(*all));
    assert(all != NULL);
    all->explorer = explorer;
    all->disk = disk;
    all->expectation = expectation;
    all->level = level;
    all->profile = PROFILE_POSIX;
    all->free_count = 0;
    all->random = sim_mix(explorer->options.seed * 1000003 + explorer->cut[level]);
    all->count = (uint32_t)io_sim_atoms(disk, all->atoms, CRASH_ATOMS);
    assert(all->count <= CRASH_ATOMS);
    explorer->counts.cuts[level]++;
    if (explorer->replaying) {
        cut_replay(all);
    } else if (level == 0 || all->count == 0 || explorer->nested) {
        hash_set_clear(level == 0 ? &explorer->tried : &explorer->tried_nested);
        profiles_visit(all);
        if (level == 0) {
            kill_visit(explorer, disk, CRASH_KILL_LATE, expectation);
            kill_visit(explorer, disk, CRASH_KILL_EARLY, expectation);
        }
    }
    free(all);
}

static struct expectation expectation_of(const struct model *model)
{
    return (struct expectation){.least = model_acknowledged_lsn(model),
                                .most = model_submitted_lsn(model)};
}

static void workload_watch(void *context, struct io_sim *disk, uint64_t point)
{
    struct explorer *explorer = context;
    (void)point;
    const struct expectation expectation = expectation_of(&explorer->model);
    cut_visit(explorer, disk, 0, &expectation);
}

static void workload_settled(void *context, struct session *session)
{
    workload_watch(context, session->disk, 0);
}

/* ---- runs ---- */

struct explorer *explorer_make(const struct explorer_options *options)
{
    struct explorer *explorer = calloc(1, sizeof(*explorer));
    assert(explorer != NULL);
    explorer->options = *options;
    return explorer;
}

void explorer_free(struct explorer *explorer)
{
    if (explorer != NULL) {
        hash_set_deinit(&explorer->seen);
        hash_set_deinit(&explorer->folded);
        hash_set_deinit(&explorer->tried);
        hash_set_deinit(&explorer->tried_nested);
        free(explorer);
    }
}

const struct explorer_counts *explorer_counts(const struct explorer *explorer)
{
    return &explorer->counts;
}

const char *explorer_failure(const struct explorer *explorer)
{
    return explorer->trouble.text;
}

const char *explorer_failure_line(const struct explorer *explorer)
{
    return explorer->failure_line;
}

bool explorer_run(struct explorer *explorer, const char *text, size_t from)
{
    const struct io_sim_options options = {.seed = explorer->options.seed,
                                           .sector_size = explorer->options.sector_size,
                                           .clock_us = TORTURE_TIME_US};
    struct io_sim *disk = io_sim_open(&options);
    struct session *session = session_make(disk, &explorer->model, explorer->options.seed);
    (void)snprintf(explorer->workload, sizeof(explorer->workload), "%s", text);
    model_clear(&explorer->model);
    session->settled = workload_settled;
    session->context = explorer;
    explorer->counts.workloads++;
    explorer->cut[0] = 0;
    explorer->level = 0;
    explorer->enabled = from == 0;
    io_sim_watch(disk, workload_watch, explorer);
    bool good = session_begin(session);
    for (size_t i = 0; text[i] != '\0' && good && !explorer->failed && !explorer_spent(explorer);
         i++) {
        explorer->enabled = i + 1 >= from;
        good = session_run(session, text[i]);
    }
    io_sim_watch(disk, NULL, NULL);
    if (!good) {
        (void)trouble_set(&explorer->trouble, "%s", session->trouble.text);
        (void)explorer_fail(explorer);
    }
    session_free(session);
    io_sim_close(disk);
    return !explorer->failed;
}

bool explorer_check_image(struct explorer *explorer, struct io_sim *image,
                          const struct model *model, enum image_leeway leeway,
                          struct trouble *trouble)
{
    struct survey survey;
    explorer->model = *model;
    explorer->enabled = true;
    explorer->failed = false;
    explorer->trouble = (struct trouble){{0}};
    struct expectation expectation = expectation_of(model);
    expectation.lenient = leeway == IMAGE_LENIENT;
    expectation.clean = leeway == IMAGE_CLEAN;
    bool good = image_check(explorer, image, io_sim_hash(image), 0, &expectation, &survey) &&
                !explorer->failed;
    return good || trouble_set(trouble, "%s", explorer->trouble.text);
}

/* ---- replay ---- */

bool explorer_replay(const char *line, struct trouble *trouble)
{
    char copy[LINE_SIZE];
    char workload[WORKLOAD_SIZE] = "";
    struct explorer_options options = {
        .seed = 1, .sector_size = 512, .profiles = {true, true}
    };
    struct explorer *explorer = explorer_make(&options);
    bool good = strlen(line) < sizeof(copy);
    (void)snprintf(copy, sizeof(copy), "%s", line);
    char *rest = copy;
    for (char *word = strsep(&rest, " "); word != NULL && good; word = strsep(&rest, " ")) {
        if (strncmp(word, "w=", 2) == 0) {
            (void)snprintf(workload, sizeof(workload), "%s", word + 2);
        } else if (strncmp(word, "s=", 2) == 0) {
            explorer->options.seed = strtoull(word + 2, NULL, 10);
        } else if (strncmp(word, "z=", 2) == 0) {
            explorer->options.sector_size = (uint32_t)strtoul(word + 2, NULL, 10);
        } else if (strncmp(word, "c=", 2) == 0 && explorer->target_levels < CRASH_LEVELS) {
            good = crash_parse(word + 2, &explorer->target[explorer->target_levels++]);
        } else {
            good = *word == '\0';
        }
    }
    good = good || trouble_set(trouble, "this is no line: %s", line);
    explorer->replaying = true;
    if (good && !explorer_run(explorer, workload, 0)) {
        good = trouble_set(trouble, "%s", explorer->trouble.text);
    }
    explorer_free(explorer);
    return good;
}
