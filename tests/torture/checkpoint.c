/* checkpoint.c: see checkpoint.h. */
#include "tests/torture/checkpoint.h"

#include <stdlib.h>

#include "engine/pack.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHECKPOINT_PATH "store"
#define RECORD_SIZE     16u /* well within half a sector: no tear can split it */

struct row {
    enum state_table table;
    uint32_t key_size;
    uint32_t value_size;
    uint8_t *bytes; /* key, then value; owned */
};

struct snapshot {
    struct row *rows;
    size_t count;
    uint64_t digest;
    uint64_t next_lsn;
};

static struct snapshot **snapshots;
static size_t snapshot_count;

static struct bytes row_key(const struct row *row)
{
    return bytes_of(row->bytes, row->key_size);
}

static struct bytes row_value(const struct row *row)
{
    return bytes_of(row->bytes + row->key_size, row->value_size);
}

static struct row row_make(enum state_table table, struct bytes key, struct bytes value)
{
    struct row row = {
        .table = table, .key_size = (uint32_t)key.size, .value_size = (uint32_t)value.size};
    row.bytes = malloc(key.size + value.size);
    assert(row.bytes != NULL);
    memcpy(row.bytes, key.data, key.size);
    memcpy(row.bytes + key.size, value.data, value.size);
    return row;
}

static int row_compare(const struct row *row, enum state_table table, struct bytes key)
{
    if (row->table != table) {
        return row->table < table ? -1 : 1;
    }
    int order = memcmp(row->bytes, key.data, size_min(row->key_size, key.size));
    return order != 0 ? order : (row->key_size > key.size) - (row->key_size < key.size);
}

/* The store deletes a cell whose value is a msgpack nil. */
static bool row_deletes(enum state_table table, struct bytes value)
{
    return table == TABLE_CELLS && value.size == 1 && value.data[0] == 0xc0;
}

static enum status row_put(void *context, enum state_table table, struct bytes key,
                           struct bytes value)
{
    struct snapshot *snapshot = context;
    size_t at = 0;
    while (at < snapshot->count && row_compare(&snapshot->rows[at], table, key) < 0) {
        at++;
    }
    bool there = at < snapshot->count && row_compare(&snapshot->rows[at], table, key) == 0;
    if (there) {
        free(snapshot->rows[at].bytes);
        snapshot->count--;
        memmove(&snapshot->rows[at], &snapshot->rows[at + 1],
                (snapshot->count - at) * sizeof(struct row));
    }
    if (row_deletes(table, value)) {
        return STATUS_OK;
    }
    snapshot->rows = realloc(snapshot->rows, (snapshot->count + 1) * sizeof(struct row));
    assert(snapshot->rows != NULL);
    memmove(&snapshot->rows[at + 1], &snapshot->rows[at],
            (snapshot->count - at) * sizeof(struct row));
    snapshot->rows[at] = row_make(table, key, value);
    snapshot->count++;
    return STATUS_OK;
}

static uint64_t row_digest(uint64_t digest, enum state_table table, struct bytes key,
                           struct bytes value)
{
    digest = XXH3_64bits_withSeed(key.data, key.size, digest + (uint64_t)table + 1);
    return XXH3_64bits_withSeed(value.data, value.size, digest);
}

static void snapshot_free(struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        free(snapshot->rows[i].bytes);
    }
    free(snapshot->rows);
    free(snapshot);
}

static const struct snapshot *snapshot_find(uint64_t digest)
{
    for (size_t i = snapshot_count; i-- > 0;) {
        if (snapshots[i]->digest == digest) {
            return snapshots[i];
        }
    }
    return NULL;
}

/* As store.c reads it: the first field of the meta row. */
static uint64_t position_of(const struct snapshot *snapshot)
{
    uint32_t fields = 0;
    uint64_t next_lsn = 0;
    assert(snapshot->count > 0 && snapshot->rows[0].table == TABLE_META);
    struct pack_cursor cursor = pack_cursor_on(row_value(&snapshot->rows[0]));
    bool good = pack_read_array(&cursor, &fields) && pack_read_uint(&cursor, &next_lsn);
    assert(good);
    return next_lsn;
}

const struct snapshot *snapshot_take(const struct snapshot *base, struct state *state)
{
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    assert(snapshot != NULL);
    for (size_t i = 0; base != NULL && i < base->count; i++) {
        (void)row_put(snapshot, base->rows[i].table, row_key(&base->rows[i]),
                      row_value(&base->rows[i]));
    }
    enum status status = state_export_changes(state, row_put, snapshot);
    assert(status == STATUS_OK);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct row *row = &snapshot->rows[i];
        snapshot->digest = row_digest(snapshot->digest, row->table, row_key(row), row_value(row));
    }
    snapshot->next_lsn = position_of(snapshot);
    const struct snapshot *same = snapshot_find(snapshot->digest);
    if (same != NULL) {
        snapshot_free(snapshot);
        return same;
    }
    snapshots = realloc(snapshots, (snapshot_count + 1) * sizeof(struct snapshot *));
    assert(snapshots != NULL);
    snapshots[snapshot_count++] = snapshot;
    return snapshot;
}

uint64_t snapshot_next_lsn(const struct snapshot *snapshot)
{
    return snapshot->next_lsn;
}

uint64_t snapshot_digest(const struct snapshot *snapshot)
{
    return snapshot->digest;
}

enum status snapshot_load(const struct snapshot *snapshot, struct state *state)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < snapshot->count && status == STATUS_OK; i++) {
        const struct row *row = &snapshot->rows[i];
        status = state_import(state, row->table, row_key(row), row_value(row));
    }
    return status == STATUS_OK ? state_import_end(state) : status;
}

void snapshots_free(void)
{
    for (size_t i = 0; i < snapshot_count; i++) {
        snapshot_free(snapshots[i]);
    }
    free(snapshots);
    snapshots = NULL;
    snapshot_count = 0;
}

/* ---- the file ---- */

enum status checkpoint_prepare(struct io *io)
{
    int file = -1;
    uint8_t zeros[RECORD_SIZE] = {0};
    enum status status = io->operations->open(io, CHECKPOINT_PATH, IO_OPEN_CREATE, &file);
    if (status != STATUS_OK) {
        return status;
    }
    status = io_write_durable(io, file, zeros, sizeof(zeros), 0);
    io->operations->close_file(io, file);
    return status == STATUS_OK ? io->operations->sync_directory(io, ".") : status;
}

enum status checkpoint_commit(struct io *io, const struct snapshot *snapshot)
{
    int file = -1;
    uint8_t record[RECORD_SIZE];
    store_u64(record, snapshot->digest);
    store_u64(record + 8, snapshot->next_lsn);
    enum status status = io->operations->open(io, CHECKPOINT_PATH, 0, &file);
    if (status != STATUS_OK) {
        return status;
    }
    status = io_write_durable(io, file, record, sizeof(record), 0);
    io->operations->close_file(io, file);
    return status;
}

const struct snapshot *checkpoint_read(const struct io_sim *disk)
{
    uint8_t record[RECORD_SIZE] = {0};
    size_t done = 0;
    if (io_sim_peek(disk, CHECKPOINT_PATH, 0, record, sizeof(record), &done) != STATUS_OK ||
        load_u64(record + 8) == 0) {
        return NULL;
    }
    const struct snapshot *snapshot = snapshot_find(load_u64(record));
    assert(snapshot != NULL);
    return snapshot;
}

/* ---- digests ---- */

static enum status digest_visit(void *context, enum state_table table, struct bytes key,
                                struct bytes value)
{
    uint64_t *digest = context;
    *digest = row_digest(*digest, table, key, value);
    return STATUS_OK;
}

uint64_t state_digest(struct state *state)
{
    uint64_t digest = 0;
    enum status status = state_export(state, digest_visit, &digest);
    assert(status == STATUS_OK);
    return digest;
}
