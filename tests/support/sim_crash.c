/* sim_crash.c: taking apart what is not durable, and putting together what a crash leaves. */
#include "tests/support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Atoms */

/* What is called for each atom of a disk: with the change it belongs to, or the change of a name. */
typedef void atom_visit(void *context, const struct io_sim_atom *atom,
                        const struct sim_change *change, const struct sim_name_change *name);

static void change_visit_atoms(const struct io_sim *disk, uint32_t owner,
                               const struct sim_change *change, bool in_flight, atom_visit *visit,
                               void *context)
{
    uint64_t durable_size = disk->inodes[owner]->durable.size;
    struct io_sim_atom atom = {.owner = owner, .in_flight = in_flight, .change = change->number};
    uint64_t sectors = change->kind == SIM_CHANGE_WRITE ? sim_sector_count(disk, change) : 0;
    for (uint64_t i = 0; i < sectors; i++) {
        if (sim_sector_settled(change, i)) {
            continue;
        }
        uint64_t start = 0;
        uint64_t end = 0;
        sim_sector_range(disk, change, i, &start, &end);
        atom.kind = IO_SIM_ATOM_SECTOR;
        atom.offset = start;
        atom.size = (uint32_t)(end - start);
        atom.fresh = start >= round_up(durable_size, disk->options.sector_size);
        visit(context, &atom, change, NULL);
    }
    if (change->kind == SIM_CHANGE_RESIZE || sim_change_end(change) > durable_size) {
        atom.kind = IO_SIM_ATOM_SIZE;
        atom.offset = change->kind == SIM_CHANGE_RESIZE ? change->offset : sim_change_end(change);
        atom.size = 0;
        atom.fresh = false;
        visit(context, &atom, change, NULL);
    }
}

static void disk_visit_atoms(const struct io_sim *disk, atom_visit *visit, void *context)
{
    for (uint32_t owner = 0; owner < disk->inode_count; owner++) {
        const struct sim_inode *inode = disk->inodes[owner];
        for (size_t i = 0; inode != NULL && i < inode->applied.count; i++) {
            change_visit_atoms(disk, owner, &inode->applied.items[i], false, visit, context);
        }
        for (size_t i = 0; inode != NULL && i < inode->in_flight.count; i++) {
            change_visit_atoms(disk, owner, &inode->in_flight.items[i], true, visit, context);
        }
    }
    for (size_t i = 0; i < disk->name_count; i++) {
        const struct io_sim_atom atom = {.kind = IO_SIM_ATOM_NAME,
                                         .owner = disk->names[i].directory,
                                         .change = disk->names[i].number};
        visit(context, &atom, NULL, &disk->names[i]);
    }
}

struct atom_collector {
    struct io_sim_atom *atoms;
    size_t capacity;
    size_t count;
};

static void atom_collect(void *context, const struct io_sim_atom *atom,
                         const struct sim_change *change, const struct sim_name_change *name)
{
    struct atom_collector *collector = context;
    (void)change;
    (void)name;
    if (collector->count < collector->capacity) {
        collector->atoms[collector->count] = *atom;
    }
    collector->count++;
}

size_t io_sim_atoms(const struct io_sim *disk, struct io_sim_atom *atoms, size_t capacity)
{
    struct atom_collector collector = {.atoms = atoms, .capacity = capacity};
    sim_enter(disk);
    disk_visit_atoms(disk, atom_collect, &collector);
    sim_leave(disk);
    return collector.count;
}

/* Some name of an inode, for a message. */
static const char *inode_name(const struct io_sim *disk, uint32_t inode)
{
    const char *name = inode == SIM_ROOT ? "." : "(no name)";
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *directory = disk->inodes[i];
        for (size_t k = 0; directory != NULL && k < directory->current_entries.count; k++) {
            const struct sim_entry *entry = &directory->current_entries.items[k];
            name = entry->inode == inode ? entry->name : name;
        }
    }
    return name;
}

void io_sim_describe(const struct io_sim *disk, const struct io_sim_atom *atom, char *out_text,
                     size_t size)
{
    static const char *const verbs[] = {"link", "unlink", "rename"};
    const char *when = atom->in_flight ? "in flight" : "unsynced";
    sim_enter(disk);
    const char *owner = inode_name(disk, atom->owner);
    const struct sim_name_change *name =
        atom->kind == IO_SIM_ATOM_NAME ? sim_name_find(disk, atom->change) : NULL;
    if (name != NULL) {
        (void)snprintf(out_text, size, "change %llu: %s %s %s in %s",
                       (unsigned long long)atom->change, verbs[name->kind], name->name, name->to,
                       owner);
    } else if (atom->kind == IO_SIM_ATOM_SECTOR) {
        (void)snprintf(out_text, size, "change %llu: %u bytes at %llu of %s, %s%s",
                       (unsigned long long)atom->change, (unsigned)atom->size,
                       (unsigned long long)atom->offset, owner, when, atom->fresh ? ", fresh" : "");
    } else {
        (void)snprintf(out_text, size, "change %llu: size %llu of %s, %s",
                       (unsigned long long)atom->change, (unsigned long long)atom->offset, owner,
                       when);
    }
    sim_leave(disk);
}

/* Crashes */

struct crash {
    const struct io_sim *disk;
    struct io_sim *image;
    const uint8_t *fates;
    size_t count;
    size_t next; /* index of the atom being visited */
    size_t first_name;
    uint64_t seed;
};

/* What a fresh block shows whose data never arrived: best a deleted file's bytes from the same offset, since those look
 * most like what belongs there. */
static void stale_write(const struct crash *crash, struct sim_content *content, uint64_t start,
                        uint64_t size)
{
    uint8_t bytes[SIM_SECTOR_SIZE];
    uint64_t state = sim_mix(crash->seed ^ sim_mix(start));
    const struct sim_content *grave = &crash->disk->graves[sim_draw(&state) % SIM_GRAVES];
    for (size_t i = 0; i < SIM_GRAVES && grave->size == 0; i++) {
        grave = &crash->disk->graves[i];
    }
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)sim_draw(&state);
    }
    if (grave->size > 0) {
        (void)sim_content_read(grave, start % round_up(grave->size, SIM_SECTOR_SIZE), bytes,
                               (size_t)size);
    }
    sim_content_write(content, start, bytes, size);
}

static void sector_crash(const struct crash *crash, const struct io_sim_atom *atom,
                         const struct sim_change *change, enum io_sim_fate fate)
{
    struct sim_content *content = &crash->image->inodes[atom->owner]->durable;
    uint64_t unit = crash->disk->options.sector_size;
    uint64_t half_end = atom->offset / unit * unit + unit / 2;
    uint64_t size = atom->size;
    switch (fate) {
    case IO_SIM_DROP:
        break;
    case IO_SIM_STALE:
        if (atom->fresh) {
            stale_write(crash, content, atom->offset, size);
        }
        break;
    case IO_SIM_HALF:
        size = half_end > atom->offset ? half_end - atom->offset : 0;
        size = size < atom->size ? size : atom->size;
        sim_content_write(content, atom->offset, sim_change_bytes(change, atom->offset), size);
        break;
    case IO_SIM_KEEP:
        sim_content_write(content, atom->offset, sim_change_bytes(change, atom->offset), size);
        break;
    }
}

/* False where a name would vanish before the one that takes its place is there. */
static bool name_may_go(const struct crash *crash, const struct sim_name_change *name)
{
    const struct sim_name_change *needed = sim_name_find(crash->disk, name->needs);
    if (needed == NULL) {
        return true;
    }
    size_t index = (size_t)(needed - crash->disk->names);
    return crash->fates[crash->first_name + index] == IO_SIM_KEEP;
}

static void atom_crash(void *context, const struct io_sim_atom *atom,
                       const struct sim_change *change, const struct sim_name_change *name)
{
    struct crash *crash = context;
    assert(crash->next < crash->count);
    enum io_sim_fate fate = crash->fates[crash->next++];
    struct sim_inode *inode = crash->image->inodes[atom->owner];
    if (atom->kind == IO_SIM_ATOM_SECTOR) {
        sector_crash(crash, atom, change, fate);
    } else if (fate != IO_SIM_KEEP) {
        return;
    } else if (atom->kind == IO_SIM_ATOM_NAME) {
        if (name_may_go(crash, name)) {
            sim_name_apply(&inode->durable_entries, name);
        }
    } else if (change->kind == SIM_CHANGE_RESIZE) {
        sim_content_set_size(&inode->durable, atom->offset);
    } else {
        sim_content_grow(&inode->durable, atom->offset);
    }
}

struct io_sim *io_sim_crash_with(const struct io_sim *disk, const uint8_t *fates, size_t count,
                                 uint64_t seed)
{
    sim_enter(disk);
    struct crash crash = {.disk = disk,
                          .image = sim_copy_durable(disk),
                          .fates = fates,
                          .count = count,
                          .first_name = count - disk->name_count,
                          .seed = seed};
    disk_visit_atoms(disk, atom_crash, &crash);
    assert(crash.next == count);
    struct io_sim *image = crash.image;
    for (uint32_t i = 0; i < image->inode_count; i++) {
        struct sim_inode *inode = image->inodes[i];
        if (inode != NULL) {
            sim_content_set_size(&inode->durable, inode->durable.size); /* nothing behind the end */
            sim_content_copy(&inode->current, &inode->durable);
            sim_entries_copy(&inode->current_entries, &inode->durable_entries);
        }
    }
    image->random =
        sim_mix(disk->random ^ sim_mix(seed + 3)); /* the next process draws other numbers */
    image->schedule = sim_mix(disk->schedule ^ sim_mix(seed + 4));
    sim_sweep(image);
    sim_leave(disk);
    return image;
}

/* Draws a mixture of fates in which about `kept` of 16 atoms are kept. */
static void fates_mix(uint8_t *fates, size_t count, uint64_t *state, uint64_t kept)
{
    static const enum io_sim_fate others[] = {IO_SIM_DROP, IO_SIM_DROP, IO_SIM_HALF, IO_SIM_STALE};

    for (size_t i = 0; i < count; i++) {
        uint64_t value = sim_draw(state);
        fates[i] =
            value % 16 < kept ? IO_SIM_KEEP : (uint8_t)others[(value >> 32) % COUNT_OF(others)];
    }
}

struct io_sim *io_sim_crash(const struct io_sim *disk, uint64_t seed)
{
    sim_enter(disk);
    size_t count = io_sim_atoms(disk, NULL, 0);
    uint8_t *fates = sim_resize(NULL, count, 1);
    uint64_t state = sim_mix(seed);
    uint64_t style = sim_draw(&state) % 8;
    if (style <= 1) {
        memset(fates, style == 0 ? IO_SIM_DROP : IO_SIM_KEEP, count);
    } else if (style == 2) {
        size_t prefix = (size_t)(sim_draw(&state) % (count + 1));
        memset(fates, IO_SIM_DROP, count);
        memset(fates, IO_SIM_KEEP, prefix);
    } else {
        fates_mix(fates, count, &state, 1 + sim_draw(&state) % 15);
    }
    struct io_sim *image = io_sim_crash_with(disk, fates, count, seed);
    sim_leave(disk);
    free(fates);
    return image;
}

/* A directory still to be looked into. */
struct place {
    uint32_t directory;
    uint64_t path_hash;
};

struct place_queue {
    struct place *items;
    size_t count;
};

/* What one name adds to the hash of its disk. A directory joins the queue. */
static uint64_t entry_hash(const struct io_sim *disk, const struct sim_entry *entry,
                           uint64_t parent_hash, struct place_queue *queue)
{
    const struct sim_inode *inode = disk->inodes[entry->inode];
    uint64_t path_hash = XXH3_64bits_withSeed(entry->name, strlen(entry->name), parent_hash);
    if (!inode->directory) {
        return sim_mix(path_hash ^ sim_mix(sim_content_hash(&inode->durable)));
    }
    assert(queue->count < disk->inode_count); /* no directory has two names */
    queue->items[queue->count++] =
        (struct place){.directory = entry->inode, .path_hash = path_hash};
    return sim_mix(path_hash ^ 1);
}

uint64_t io_sim_hash(const struct io_sim *disk)
{
    uint64_t hash = 0;
    sim_enter(disk);
    struct place_queue queue = {.items = sim_resize(NULL, disk->inode_count, sizeof(struct place))};
    queue.items[queue.count++] = (struct place){.directory = SIM_ROOT, .path_hash = 1};
    /* A sum over the paths, so that the order of entries does not matter. */
    for (size_t at = 0; at < queue.count; at++) {
        struct place place = queue.items[at];
        const struct sim_entries *list = &disk->inodes[place.directory]->durable_entries;
        for (size_t i = 0; i < list->count; i++) {
            hash += entry_hash(disk, &list->items[i], place.path_hash, &queue);
        }
    }
    sim_leave(disk);
    free(queue.items);
    return hash;
}

void io_sim_watch(struct io_sim *disk,
                  void (*watch)(void *context, struct io_sim *disk, uint64_t point), void *context)
{
    sim_enter(disk);
    disk->watch = watch;
    disk->watch_context = context;
    sim_leave(disk);
}

void io_sim_halt(struct io_sim *disk)
{
    sim_enter(disk);
    disk->halted = true;
    sim_leave(disk);
}
