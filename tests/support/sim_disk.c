/* sim_disk.c: files, directories and what is not yet durable of them. In this order: random numbers and memory, names,
 * changes, how operations end, inodes, disks.
 */
#include "tests/support/sim_disk.h"

#include <stdlib.h>

/* Random numbers and memory */

uint64_t sim_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

/* splitmix64 */
uint64_t sim_draw(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return sim_mix(*state);
}

static bool draw_coin(uint64_t *state)
{
    return (sim_draw(state) & 1) != 0;
}

void *sim_resize(void *memory, size_t count, size_t item_size)
{
    memory = realloc(memory, count * item_size + 1);
    assert(memory != NULL);
    return memory;
}

void sim_enter(const struct io_sim *disk)
{
    int result = pthread_mutex_lock(disk->mutex);
    assert(result == 0);
}

void sim_leave(const struct io_sim *disk)
{
    int result = pthread_mutex_unlock(disk->mutex);
    assert(result == 0);
}

/* To be called after each change of what a crash could leave. */
void sim_cut_point(struct io_sim *disk)
{
    disk->point++;
    if (disk->watch != NULL && !disk->watching && !disk->halted) {
        disk->watching = true;
        disk->watch(disk->watch_context, disk, disk->point);
        disk->watching = false;
    }
}

/* Names */

static const struct sim_entry *entry_find(const struct sim_entries *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

static void name_copy(char to[SIM_NAME_SIZE], const char *name)
{
    size_t size = strlen(name) + 1;
    assert(size <= SIM_NAME_SIZE);
    memset(to, 0, SIM_NAME_SIZE);
    memcpy(to, name, size);
}

static void entry_set(struct sim_entries *list, const char *name, uint32_t inode)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            list->items[i].inode = inode;
            return;
        }
    }
    list->items = sim_resize(list->items, list->count + 1, sizeof(struct sim_entry));
    name_copy(list->items[list->count].name, name);
    list->items[list->count].inode = inode;
    list->count++;
}

/* Only while the name still means this inode: a change that survives a crash alone must not undo a later one. */
static void entry_remove(struct sim_entries *list, const char *name, uint32_t inode)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0 && list->items[i].inode == inode) {
            list->items[i] = list->items[list->count - 1];
            list->count--;
            return;
        }
    }
}

void sim_entries_copy(struct sim_entries *to, const struct sim_entries *from)
{
    to->items = sim_resize(to->items, from->count, sizeof(struct sim_entry));
    if (from->count > 0) {
        memcpy(to->items, from->items, from->count * sizeof(struct sim_entry));
    }
    to->count = from->count;
}

void sim_name_apply(struct sim_entries *entries, const struct sim_name_change *change)
{
    switch (change->kind) {
    case SIM_NAME_LINK:
        entry_set(entries, change->name, change->inode);
        break;
    case SIM_NAME_UNLINK:
        entry_remove(entries, change->name, change->inode);
        break;
    case SIM_NAME_RENAME:
        entry_set(entries, change->to, change->inode);
        entry_remove(entries, change->name, change->inode);
        break;
    }
}

/* Takes effect for reads at once; waits in the list for a sync of its directory. Returns its number. */
static uint64_t name_add(struct io_sim *disk, struct sim_name_change change)
{
    change.number = ++disk->number;
    sim_name_apply(&disk->inodes[change.directory]->current_entries, &change);
    disk->names = sim_resize(disk->names, disk->name_count + 1, sizeof(change));
    disk->names[disk->name_count++] = change;
    return change.number;
}

/* The pending change with this number, or NULL when it is durable. */
const struct sim_name_change *sim_name_find(const struct io_sim *disk, uint64_t number)
{
    for (size_t i = 0; i < disk->name_count; i++) {
        if (disk->names[i].number == number) {
            return &disk->names[i];
        }
    }
    return NULL;
}

/* Makes the names of a directory durable, with the names elsewhere that they must not come before. */
/* Chooses the directories with names that must not come after those of the chosen ones. True if that added any. */
static bool directories_choose(const struct io_sim *disk, bool *chosen)
{
    bool added = false;
    for (size_t i = 0; i < disk->name_count; i++) {
        const struct sim_name_change *needed = sim_name_find(disk, disk->names[i].needs);
        if (needed != NULL && chosen[disk->names[i].directory] && !chosen[needed->directory]) {
            chosen[needed->directory] = true;
            added = true;
        }
    }
    return added;
}

void sim_names_settle(struct io_sim *disk, uint32_t directory)
{
    bool *chosen = calloc(disk->inode_count, sizeof(*chosen));
    assert(chosen != NULL);
    chosen[directory] = true;
    while (directories_choose(disk, chosen)) {
        continue;
    }
    size_t kept = 0;
    for (size_t i = 0; i < disk->name_count; i++) {
        const struct sim_name_change *change = &disk->names[i];
        if (chosen[change->directory]) {
            sim_name_apply(&disk->inodes[change->directory]->durable_entries, change);
        } else {
            disk->names[kept++] = *change;
        }
    }
    disk->name_count = kept;
    free(chosen);
}

/* Takes the next component of *path into name. False at the end. */
static bool path_next(const char **path, char name[SIM_NAME_SIZE])
{
    size_t length = strcspn(*path, "/");
    if (length == 0) {
        return false;
    }
    assert(length < SIM_NAME_SIZE);
    memset(name, 0, SIM_NAME_SIZE);
    memcpy(name, *path, length);
    assert(strcmp(name, "..") != 0);
    *path += length;
    *path += strspn(*path, "/");
    return true;
}

/* The directory and the last name of a path. STATUS_NOT_FOUND where a directory on the way is missing. The root's own
 * last name is ".". */
enum status sim_path_split(const struct io_sim *disk, const char *path, uint32_t *out_directory,
                           char out_name[SIM_NAME_SIZE])
{
    assert(path[0] != '\0' && path[0] != '/');
    uint32_t directory = SIM_ROOT;
    char name[SIM_NAME_SIZE] = ".";
    while (path_next(&path, name) && *path != '\0') {
        if (strcmp(name, ".") == 0) {
            continue;
        }
        const struct sim_entry *entry = entry_find(&disk->inodes[directory]->current_entries, name);
        if (entry == NULL || !disk->inodes[entry->inode]->directory) {
            return STATUS_NOT_FOUND;
        }
        directory = entry->inode;
    }
    *out_directory = directory;
    memcpy(out_name, name, SIM_NAME_SIZE);
    return STATUS_OK;
}

enum status sim_path_find(const struct io_sim *disk, const char *path, uint32_t *out_inode)
{
    uint32_t directory = SIM_ROOT;
    char name[SIM_NAME_SIZE];
    enum status status = sim_path_split(disk, path, &directory, name);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(name, ".") == 0) {
        *out_inode = directory;
        return STATUS_OK;
    }
    const struct sim_entry *entry = entry_find(&disk->inodes[directory]->current_entries, name);
    if (entry == NULL) {
        return STATUS_NOT_FOUND;
    }
    *out_inode = entry->inode;
    return STATUS_OK;
}

/* Changes */

static void change_release(struct sim_change *change)
{
    if (change->payload != NULL && atomic_fetch_sub(&change->payload->holders, 1) == 1) {
        free(change->payload);
    }
    free(change->settled);
    *change = (struct sim_change){0};
}

static void change_push(struct sim_changes *list, struct sim_change change)
{
    list->items = sim_resize(list->items, list->count + 1, sizeof(change));
    list->items[list->count++] = change;
}

static struct sim_change change_take(struct sim_changes *list, size_t index)
{
    struct sim_change change = list->items[index];
    list->count--;
    memmove(&list->items[index], &list->items[index + 1], (list->count - index) * sizeof(change));
    return change;
}

static size_t change_find(const struct sim_changes *list, uint64_t number)
{
    size_t index = 0;
    while (index < list->count && list->items[index].number != number) {
        index++;
    }
    assert(index < list->count);
    return index;
}

static void changes_clear(struct sim_changes *list)
{
    for (size_t i = 0; i < list->count; i++) {
        change_release(&list->items[i]);
    }
    free(list->items);
    *list = (struct sim_changes){0};
}

uint64_t sim_change_end(const struct sim_change *change)
{
    return change->offset + change->size;
}

static uint64_t sector_first(const struct io_sim *disk, const struct sim_change *change)
{
    return change->offset / disk->options.sector_size;
}

uint64_t sim_sector_count(const struct io_sim *disk, const struct sim_change *change)
{
    uint32_t unit = disk->options.sector_size;
    return round_up(sim_change_end(change), unit) / unit - change->offset / unit;
}

bool sim_sector_settled(const struct sim_change *change, uint64_t index)
{
    return change->settled != NULL && (change->settled[index / 8] & (1u << (index % 8))) != 0;
}

static void changes_copy(const struct io_sim *disk, struct sim_changes *to,
                         const struct sim_changes *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct sim_change change = from->items[i];
        if (change.payload != NULL) {
            atomic_fetch_add(&change.payload->holders, 1);
        }
        if (change.settled != NULL) {
            size_t size = (size_t)(sim_sector_count(disk, &change) / 8 + 1);
            change.settled = sim_resize(NULL, size, 1);
            memcpy(change.settled, from->items[i].settled, size);
        }
        change_push(to, change);
    }
}

const uint8_t *sim_change_bytes(const struct sim_change *change, uint64_t offset)
{
    return change->payload != NULL ? change->payload->bytes + (offset - change->offset) : NULL;
}

/* The part of a change that lies in its index-th sector: [start, end). */
void sim_sector_range(const struct io_sim *disk, const struct sim_change *change, uint64_t index,
                      uint64_t *out_start, uint64_t *out_end)
{
    uint64_t sector = sector_first(disk, change) + index;
    uint64_t start = sector * disk->options.sector_size;
    uint64_t end = start + disk->options.sector_size;
    *out_start = start > change->offset ? start : change->offset;
    *out_end = end < sim_change_end(change) ? end : sim_change_end(change);
}

void sim_content_grow(struct sim_content *content, uint64_t size)
{
    content->size = content->size > size ? content->size : size;
}

static void change_apply(struct sim_content *content, const struct sim_change *change)
{
    if (change->kind == SIM_CHANGE_RESIZE) {
        sim_content_set_size(content, change->offset);
        return;
    }
    sim_content_write(content, change->offset, sim_change_bytes(change, change->offset),
                      change->size);
    sim_content_grow(content, sim_change_end(change));
}

static bool change_settled(const struct io_sim *disk, const struct sim_inode *inode,
                           const struct sim_change *change)
{
    if (change->kind == SIM_CHANGE_RESIZE || sim_change_end(change) > inode->durable.size) {
        return false;
    }
    for (uint64_t i = 0; i < sim_sector_count(disk, change); i++) {
        if (!sim_sector_settled(change, i)) {
            return false;
        }
    }
    return true;
}

/* Notes that the sectors [first, last] of the file are durable, as far as the change touches them. */
static void change_settle(const struct io_sim *disk, struct sim_change *change, uint64_t first,
                          uint64_t last)
{
    uint64_t begin = sector_first(disk, change);
    uint64_t count = sim_sector_count(disk, change);
    if (first >= begin + count || last < begin) {
        return;
    }
    if (change->settled == NULL) {
        change->settled = calloc((size_t)(count / 8 + 1), 1);
        assert(change->settled != NULL);
    }
    first = first > begin ? first : begin;
    last = last < begin + count ? last : begin + count - 1;
    for (uint64_t index = first - begin; index <= last - begin; index++) {
        change->settled[index / 8] |= (uint8_t)(1u << (index % 8));
    }
}

/* Sectors [first, last] of a file have become durable as they are now: no earlier change can alter them any more. */
static void sectors_settle(const struct io_sim *disk, struct sim_inode *inode, uint64_t first,
                           uint64_t last)
{
    size_t kept = 0;
    for (size_t i = 0; i < inode->applied.count; i++) {
        struct sim_change change = inode->applied.items[i];
        if (change.kind == SIM_CHANGE_WRITE) {
            change_settle(disk, &change, first, last);
        }
        if (change_settled(disk, inode, &change)) {
            change_release(&change);
        } else {
            inode->applied.items[kept++] = change;
        }
    }
    inode->applied.count = kept;
}

/* Makes durable what a change says about one of its sectors. */
static void sector_keep(const struct io_sim *disk, struct sim_inode *inode,
                        const struct sim_change *change, uint64_t index)
{
    uint64_t start = 0;
    uint64_t end = 0;
    sim_sector_range(disk, change, index, &start, &end);
    sim_content_write(&inode->durable, start, sim_change_bytes(change, start), end - start);
}

/* Makes durable what is left of a change. */
static void change_keep(const struct io_sim *disk, struct sim_inode *inode,
                        const struct sim_change *change)
{
    if (change->settled == NULL) {
        change_apply(&inode->durable, change);
        return;
    }
    for (uint64_t i = 0; i < sim_sector_count(disk, change); i++) {
        if (!sim_sector_settled(change, i)) {
            sector_keep(disk, inode, change, i);
        }
    }
    sim_content_grow(&inode->durable, sim_change_end(change));
}

/* Makes durable, in order, the applied changes up to a number. */
static void changes_settle(const struct io_sim *disk, struct sim_inode *inode, uint64_t number)
{
    while (inode->applied.count > 0 && inode->applied.items[0].number <= number) {
        struct sim_change change = change_take(&inode->applied, 0);
        change_keep(disk, inode, &change);
        change_release(&change);
    }
}

/* How operations end */

uint64_t sim_write_begin(struct io_sim *disk, struct sim_inode *inode, uint64_t offset,
                         const void *bytes, size_t size)
{
    struct sim_change change = {.offset = offset, .size = size, .number = ++disk->number};
    change.payload = sim_resize(NULL, sizeof(struct sim_payload) + size, 1);
    atomic_init(&change.payload->holders, 1);
    memcpy(change.payload->bytes, bytes, size);
    change_push(&inode->in_flight, change);
    sim_cut_point(disk);
    return change.number;
}

const uint8_t *sim_write_bytes(const struct sim_inode *inode, uint64_t number)
{
    return inode->in_flight.items[change_find(&inode->in_flight, number)].payload->bytes;
}

static void write_done(struct io_sim *disk, struct sim_inode *inode, struct sim_change *change,
                       bool durable)
{
    change->number = ++disk->number;
    change_apply(&inode->current, change);
    if (!durable) {
        change_push(&inode->applied, *change);
        return;
    }
    uint64_t unit = disk->options.sector_size;
    uint64_t first = sector_first(disk, change);
    uint64_t count = sim_sector_count(disk, change);
    sim_content_share(&inode->durable, &inode->current, first * unit, count * unit);
    sim_content_grow(&inode->durable, sim_change_end(change));
    sectors_settle(disk, inode, first, first + count - 1);
    change_release(change);
}

/* A prefix, less than the whole, takes effect. */
static void write_full(struct io_sim *disk, struct sim_inode *inode, struct sim_change *change)
{
    uint64_t kept = sim_draw(&disk->schedule) % sim_sector_count(disk, change);
    if (kept == 0) {
        change_release(change);
        return;
    }
    uint64_t start = 0;
    uint64_t end = 0;
    sim_sector_range(disk, change, kept - 1, &start, &end);
    change->size = end - change->offset;
    write_done(disk, inode, change, false);
}

static void write_failed(struct io_sim *disk, struct sim_inode *inode, struct sim_change *change,
                         bool revert)
{
    if (!revert) {
        change_apply(&inode->current, change);
    }
    if (draw_coin(&disk->schedule)) {
        sim_content_grow(&inode->durable, sim_change_end(change));
        sim_content_grow(&inode->current, sim_change_end(change));
    }
    for (uint64_t i = 0; i < sim_sector_count(disk, change); i++) {
        if (!draw_coin(&disk->schedule)) {
            continue;
        }
        uint64_t sector = sector_first(disk, change) + i;
        uint64_t start = 0;
        uint64_t end = 0;
        sim_sector_range(disk, change, i, &start, &end);
        sim_content_write(&inode->current, start, sim_change_bytes(change, start), end - start);
        sector_keep(disk, inode, change, i);
        sectors_settle(disk, inode, sector, sector);
    }
    sim_content_set_size(&inode->current, inode->current.size);
    change_release(change);
}

static void write_end(struct io_sim *disk, struct sim_inode *inode, struct sim_change *change,
                      bool durable, enum sim_outcome outcome)
{
    switch (outcome) {
    case SIM_DONE:
        write_done(disk, inode, change, durable);
        break;
    case SIM_FULL:
        write_full(disk, inode, change);
        break;
    case SIM_FAILED:
    case SIM_REVERTED:
        write_failed(disk, inode, change, outcome == SIM_REVERTED);
        break;
    case SIM_LIED:
        /* A flush that never happened, or a write that never did. */
        if (durable) {
            write_done(disk, inode, change, false);
        } else {
            change_release(change);
        }
        break;
    }
    sim_cut_point(disk);
}

void sim_write_end(struct io_sim *disk, struct sim_inode *inode, uint64_t number, bool durable,
                   enum sim_outcome outcome)
{
    size_t index = change_find(&inode->in_flight, number);
    struct sim_change change = change_take(&inode->in_flight, index);
    write_end(disk, inode, &change, durable, outcome);
}

/* Some of what is left of a change becomes durable. */
static void change_keep_some(struct io_sim *disk, struct sim_inode *inode,
                             const struct sim_change *change)
{
    if (change->kind != SIM_CHANGE_WRITE) {
        return;
    }
    for (uint64_t i = 0; i < sim_sector_count(disk, change); i++) {
        if (!sim_sector_settled(change, i) && draw_coin(&disk->schedule)) {
            sector_keep(disk, inode, change, i);
        }
    }
    if (draw_coin(&disk->schedule)) {
        sim_content_grow(&inode->durable, sim_change_end(change));
    }
}

/* Of what the sync should have kept some sectors become durable, and the rest is forgotten: reads may still see it, but
 * no later sync will write it. */
static void sync_failed(struct io_sim *disk, struct sim_inode *inode, uint64_t number, bool revert)
{
    while (inode->applied.count > 0 && inode->applied.items[0].number <= number) {
        struct sim_change change = change_take(&inode->applied, 0);
        change_keep_some(disk, inode, &change);
        change_release(&change);
    }
    if (!revert) {
        return;
    }
    sim_content_copy(&inode->current, &inode->durable);
    sim_content_set_size(&inode->current, inode->current.size);
    for (size_t i = 0; i < inode->applied.count; i++) {
        change_apply(&inode->current, &inode->applied.items[i]);
    }
}

void sim_sync(struct io_sim *disk, struct sim_inode *inode, uint64_t number,
              enum sim_outcome outcome)
{
    if (outcome == SIM_DONE) {
        changes_settle(disk, inode, number);
    } else if (outcome != SIM_LIED) {
        sync_failed(disk, inode, number, outcome == SIM_REVERTED);
    }
    sim_cut_point(disk);
}

void sim_zero(struct io_sim *disk, struct sim_inode *inode, uint64_t size, enum sim_outcome outcome)
{
    struct sim_change change = {.size = size};
    write_end(disk, inode, &change, false, outcome);
    if (outcome == SIM_DONE && !disk->halted) {
        sim_sync(disk, inode, disk->number, SIM_DONE);
    }
}

void sim_truncate(struct io_sim *disk, struct sim_inode *inode, uint64_t size)
{
    struct sim_change change = {.kind = SIM_CHANGE_RESIZE, .offset = size};
    write_end(disk, inode, &change, false, SIM_DONE);
    if (!disk->halted) {
        sim_sync(disk, inode, disk->number, SIM_DONE);
    }
}

/* Inodes */

static uint32_t inode_make(struct io_sim *disk, bool directory)
{
    uint32_t place = 0;
    while (place < disk->inode_count && disk->inodes[place] != NULL) {
        place++;
    }
    if (place == disk->inode_count) {
        disk->inodes = sim_resize(disk->inodes, place + 1, sizeof(struct sim_inode *));
        disk->inode_count++;
    }
    disk->inodes[place] = calloc(1, sizeof(struct sim_inode));
    assert(disk->inodes[place] != NULL);
    disk->inodes[place]->directory = directory;
    return place;
}

static void inode_free(struct sim_inode *inode)
{
    sim_content_deinit(&inode->durable);
    sim_content_deinit(&inode->current);
    changes_clear(&inode->applied);
    changes_clear(&inode->in_flight);
    free(inode->durable_entries.items);
    free(inode->current_entries.items);
    free(inode);
}

static void entries_mark(bool *used, const struct sim_entries *list)
{
    for (size_t i = 0; i < list->count; i++) {
        used[list->items[i].inode] = true;
    }
}

/* Frees files that no name, no pending name and no handle can reach any more. Their blocks are what a fresh block may
 * show. */
void sim_sweep(struct io_sim *disk)
{
    bool *used = calloc(disk->inode_count, sizeof(*used));
    assert(used != NULL);
    used[SIM_ROOT] = true;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        if (inode != NULL) {
            entries_mark(used, &inode->durable_entries);
            entries_mark(used, &inode->current_entries);
            used[i] = used[i] || inode->opens > 0 || inode->locked || inode->in_flight.count > 0;
        }
    }
    for (size_t i = 0; i < disk->name_count; i++) {
        used[disk->names[i].inode] = true;
        used[disk->names[i].directory] = true;
    }
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        if (inode == NULL || used[i]) {
            continue;
        }
        if (inode->current.size > 0) {
            sim_content_copy(&disk->graves[disk->grave_next], &inode->current);
            disk->grave_next = (disk->grave_next + 1) % SIM_GRAVES;
        }
        inode_free(inode);
        disk->inodes[i] = NULL;
    }
    free(used);
}

uint32_t sim_make(struct io_sim *disk, uint32_t directory, const char *name, bool make_directory)
{
    struct sim_name_change change = {.kind = SIM_NAME_LINK, .directory = directory};
    change.inode = inode_make(disk, make_directory);
    name_copy(change.name, name);
    (void)name_add(disk, change);
    sim_cut_point(disk);
    return change.inode;
}

void sim_unlink(struct io_sim *disk, uint32_t directory, const char *name, uint32_t inode)
{
    struct sim_name_change change = {
        .kind = SIM_NAME_UNLINK, .directory = directory, .inode = inode};
    name_copy(change.name, name);
    (void)name_add(disk, change);
    sim_cut_point(disk);
}

void sim_rename(struct io_sim *disk, uint32_t from, const char *from_name, uint32_t to,
                const char *to_name, uint32_t inode)
{
    struct sim_name_change change = {.kind = SIM_NAME_RENAME, .directory = from, .inode = inode};
    name_copy(change.name, from_name);
    if (from == to) {
        name_copy(change.to, to_name);
    } else {
        struct sim_name_change link = {.kind = SIM_NAME_LINK, .directory = to, .inode = inode};
        name_copy(link.name, to_name);
        change.kind = SIM_NAME_UNLINK;
        change.needs = name_add(disk, link);
        sim_cut_point(disk);
    }
    (void)name_add(disk, change);
    sim_cut_point(disk);
}

/* Disks */

/* A disk with nothing on it but the root. */
static struct io_sim *disk_make(const struct io_sim_options *options)
{
    struct io_sim *disk = calloc(1, sizeof(*disk));
    assert(disk != NULL);
    disk->mutex = malloc(sizeof(*disk->mutex));
    pthread_mutexattr_t attributes;
    int result = pthread_mutexattr_init(&attributes);
    result |= pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    assert(disk->mutex != NULL && result == 0);
    result = pthread_mutex_init(disk->mutex, &attributes);
    assert(result == 0);
    (void)pthread_mutexattr_destroy(&attributes);
    disk->options = *options;
    disk->random = sim_mix(options->seed + 1);
    disk->schedule = sim_mix(options->seed + 2);
    disk->now_us = options->clock_us;
    return disk;
}

struct io_sim *io_sim_open(const struct io_sim_options *options)
{
    struct io_sim_options chosen = {0};
    if (options != NULL) {
        chosen = *options;
    }
    chosen.sector_size = chosen.sector_size != 0 ? chosen.sector_size : 512;
    chosen.clock_us = chosen.clock_us != 0 ? chosen.clock_us : 1767225600000000;
    assert(chosen.sector_size == 512 || chosen.sector_size == SIM_SECTOR_SIZE);
    struct io_sim *disk = disk_make(&chosen);
    uint32_t root = inode_make(disk, true);
    assert(root == SIM_ROOT);
    return disk;
}

void io_sim_close(struct io_sim *disk)
{
    if (disk == NULL) {
        return;
    }
    assert(disk->handles == 0);
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        if (disk->inodes[i] != NULL) {
            inode_free(disk->inodes[i]);
        }
    }
    for (size_t i = 0; i < SIM_GRAVES; i++) {
        sim_content_deinit(&disk->graves[i]);
    }
    (void)pthread_mutex_destroy(disk->mutex);
    free(disk->mutex);
    free(disk->inodes);
    free(disk->names);
    free(disk);
}

/* A disk with the durable half of another. */
struct io_sim *sim_copy_durable(const struct io_sim *disk)
{
    struct io_sim *copy = disk_make(&disk->options);
    copy->now_us = disk->now_us;
    copy->number = disk->number;
    copy->grave_next = disk->grave_next;
    for (size_t i = 0; i < SIM_GRAVES; i++) {
        sim_content_copy(&copy->graves[i], &disk->graves[i]);
    }
    copy->inodes = calloc(disk->inode_count, sizeof(struct sim_inode *));
    assert(copy->inodes != NULL);
    copy->inode_count = disk->inode_count;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *from = disk->inodes[i];
        if (from == NULL) {
            continue;
        }
        struct sim_inode *to = calloc(1, sizeof(*to));
        assert(to != NULL);
        to->directory = from->directory;
        sim_content_copy(&to->durable, &from->durable);
        sim_entries_copy(&to->durable_entries, &from->durable_entries);
        copy->inodes[i] = to;
    }
    return copy;
}

struct io_sim *io_sim_clone(const struct io_sim *disk)
{
    sim_enter(disk);
    struct io_sim *copy = sim_copy_durable(disk);
    copy->random = disk->random;
    copy->schedule = disk->schedule;
    copy->halted = disk->halted;
    copy->names = sim_resize(NULL, disk->name_count, sizeof(struct sim_name_change));
    if (disk->name_count > 0) {
        memcpy(copy->names, disk->names, disk->name_count * sizeof(struct sim_name_change));
    }
    copy->name_count = disk->name_count;
    for (uint32_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *from = disk->inodes[i];
        struct sim_inode *to = copy->inodes[i];
        if (from != NULL) {
            sim_content_copy(&to->current, &from->current);
            sim_entries_copy(&to->current_entries, &from->current_entries);
            changes_copy(disk, &to->applied, &from->applied);
            changes_copy(disk, &to->in_flight, &from->in_flight);
        }
    }
    sim_leave(disk);
    return copy;
}
