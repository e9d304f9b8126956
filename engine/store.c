/* store.c: see store.h. The only file that knows LMDB. */
#include "engine/store.h"

#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/limits.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHECK_SIZE 8u
#define STORE_PATH 4096

struct store {
    MDB_env *env;
    MDB_dbi tables[STATE_TABLE_END];
    MDB_dbi digests;
};

/* What a table should hold. Sums, so that a row can be taken out as it was put in. */
struct table_digest {
    uint64_t rows;
    uint64_t checks;
};

#define DIGESTS_SIZE (STATE_TABLE_END * sizeof(struct table_digest))

/* ---- batches ---- */

/* A row in a batch: u8 table, u8 key size, u32 value size, then key and value. */
#define BATCH_HEADER 6u

enum status store_batch_add(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    struct store_batch *batch = context;
    const size_t size = BATCH_HEADER + key.size + value.size;
    assert(key.size <= UINT8_MAX && value.size <= UINT32_MAX);
    if (batch->capacity - batch->size < size) {
        size_t capacity = batch->capacity == 0 ? 64 * 1024 : batch->capacity;
        while (capacity - batch->size < size) {
            capacity *= 2;
        }
        uint8_t *grown = realloc(batch->data, capacity);
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        batch->data = grown;
        batch->capacity = capacity;
    }
    uint8_t *to = batch->data + batch->size;
    to[0] = (uint8_t)table;
    to[1] = (uint8_t)key.size;
    store_u32(to + 2, (uint32_t)value.size);
    memcpy(to + BATCH_HEADER, key.data, key.size);
    memcpy(to + BATCH_HEADER + key.size, value.data, value.size);
    batch->size += size;
    return STATUS_OK;
}

void store_batch_deinit(struct store_batch *batch)
{
    free(batch->data);
    *batch = (struct store_batch){0};
}

/* ---- LMDB ---- */

static enum status store_status(int code)
{
    switch (code) {
    case 0:
        return STATUS_OK;
    case MDB_NOTFOUND:
        return STATUS_END;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case EIO:
    case EACCES:
    case EROFS:
        return STATUS_IO;
    default:
        return STATUS_DAMAGED;
    }
}

static enum status store_error(struct error *error, int code, const char *what)
{
    return error_set(error, store_status(code), "store: %s: %s", what, mdb_strerror(code));
}

static uint64_t row_check(enum state_table table, struct bytes key, struct bytes value)
{
    const uint64_t key_hash = XXH3_64bits_withSeed(key.data, key.size, (uint64_t)table);
    return XXH3_64bits_withSeed(value.data, value.size, key_hash);
}

static int tables_open(struct store *store)
{
    MDB_txn *transaction = NULL;
    int code = mdb_txn_begin(store->env, NULL, 0, &transaction);
    for (int i = 0; i < STATE_TABLE_END && code == 0; i++) {
        code = mdb_dbi_open(transaction, state_table_name((enum state_table)i), MDB_CREATE, &store->tables[i]);
    }
    if (code == 0) {
        code = mdb_dbi_open(transaction, "digests", MDB_CREATE, &store->digests);
    }
    if (code == 0) {
        code = mdb_txn_commit(transaction);
    } else if (transaction != NULL) {
        mdb_txn_abort(transaction);
    }
    return code;
}

enum status store_open(const char *path, struct error *error, struct store **out_store)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return store_error(error, errno, "cannot make its directory");
    }
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return STATUS_NO_MEMORY;
    }
    int code = mdb_env_create(&store->env);
    if (code == 0) {
        code = mdb_env_set_mapsize(store->env, STORE_MAP_SIZE);
    }
    if (code == 0) {
        code = mdb_env_set_maxdbs(store->env, STATE_TABLE_END + 1);
    }
    if (code == 0) {
        code = mdb_env_open(store->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0600);
    }
    if (code == 0) {
        code = tables_open(store);
    }
    if (code != 0) {
        store_close(store);
        return store_error(error, code, "cannot open");
    }
    *out_store = store;
    return STATUS_OK;
}

void store_close(struct store *store)
{
    if (store != NULL) {
        if (store->env != NULL) {
            mdb_env_close(store->env);
        }
        free(store);
    }
}

enum status store_remove(const char *path, struct error *error)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char file[STORE_PATH];
        (void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        if (unlink(file) != 0 && errno != ENOENT) {
            return store_error(error, errno, "cannot remove");
        }
    }
    return STATUS_OK;
}

static enum status row_ignore(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    (void)context;
    (void)table;
    (void)key;
    (void)value;
    return STATUS_OK;
}

enum status store_probe(const char *path, struct error *error)
{
    char file[STORE_PATH];
    (void)snprintf(file, sizeof(file), "%s/data.mdb", path);
    if (access(file, F_OK) != 0) {
        return STATUS_OK;
    }
    const pid_t child = fork();
    if (child == 0) {
        /* Whatever a fault handler of the parent would do, here a fault is just the answer. */
        (void)signal(SIGBUS, SIG_DFL);
        (void)signal(SIGSEGV, SIG_DFL);
        struct store *store = NULL;
        enum status status = store_open(path, NULL, &store);
        if (status == STATUS_OK) {
            status = store_load(store, row_ignore, NULL, NULL);
        }
        _exit(status == STATUS_DAMAGED ? 1 : 0);
    }
    int ended = 0;
    if (child < 0 || waitpid(child, &ended, 0) != child) {
        return error_set(error, STATUS_NO_MEMORY, "store: cannot start a process: %s", strerrordesc_np(errno));
    }
    return WIFEXITED(ended) && WEXITSTATUS(ended) == 0
               ? STATUS_OK
               : error_set(error, STATUS_DAMAGED, "store: %s is damaged: LMDB cannot read it", file);
}

/* The row's value without its checksum. STATUS_DAMAGED where that is wrong. */
static enum status row_open(enum state_table table, struct bytes key, MDB_val stored, struct bytes *out_value)
{
    if (stored.mv_size < CHECK_SIZE) {
        return STATUS_DAMAGED;
    }
    const struct bytes value = bytes_of((const uint8_t *)stored.mv_data + CHECK_SIZE, stored.mv_size - CHECK_SIZE);
    if (load_u64(stored.mv_data) != row_check(table, key, value)) {
        return STATUS_DAMAGED;
    }
    *out_value = value;
    return STATUS_OK;
}

enum status store_position(struct store *store, struct error *error, uint64_t *out_next_lsn)
{
    MDB_txn *transaction = NULL;
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &transaction);
    if (code != 0) {
        return store_error(error, code, "cannot read");
    }
    char name[] = "state";
    MDB_val key = {sizeof(name) - 1, name};
    MDB_val stored = {0};
    code = mdb_get(transaction, store->tables[TABLE_META], &key, &stored);
    enum status status = store_status(code);
    uint64_t next_lsn = 0;
    if (status == STATUS_OK) {
        struct bytes value = {0};
        uint32_t fields = 0;
        status = row_open(TABLE_META, bytes_of_text("state"), stored, &value);
        struct pack_cursor cursor = pack_cursor_on(value);
        if (status != STATUS_OK || !pack_read_array(&cursor, &fields) || !pack_read_uint(&cursor, &next_lsn)) {
            status = error_set(error, STATUS_DAMAGED, "store: the position row is damaged");
        }
    }
    mdb_txn_abort(transaction);
    if (status == STATUS_OK || status == STATUS_END) {
        *out_next_lsn = next_lsn;
        return STATUS_OK;
    }
    return status;
}

static char digests_name[] = "all";

/* The digests as stored; all zero in an empty store. */
static enum status digests_read(struct store *store, MDB_txn *transaction, struct table_digest *digests)
{
    MDB_val key = {sizeof(digests_name) - 1, digests_name};
    MDB_val stored = {0};
    const int code = mdb_get(transaction, store->digests, &key, &stored);
    memset(digests, 0, DIGESTS_SIZE);
    if (code == MDB_NOTFOUND) {
        return STATUS_OK;
    }
    struct bytes value = {0};
    enum status status = store_status(code);
    if (status == STATUS_OK) {
        status = row_open(TABLE_META, bytes_of_text(digests_name), stored, &value);
    }
    /* A store of before the last tables has no digests of them: they are empty. */
    if (status == STATUS_OK && (value.size > DIGESTS_SIZE || value.size % sizeof(*digests) != 0)) {
        status = STATUS_DAMAGED;
    }
    if (status == STATUS_OK) {
        memcpy(digests, value.data, value.size);
    }
    return status;
}

static int digests_write(struct store *store, MDB_txn *transaction, const struct table_digest *digests)
{
    uint8_t row[CHECK_SIZE + DIGESTS_SIZE];
    const struct bytes value = bytes_of(digests, DIGESTS_SIZE);
    store_u64(row, row_check(TABLE_META, bytes_of_text(digests_name), value));
    memcpy(row + CHECK_SIZE, digests, DIGESTS_SIZE);
    MDB_val key = {sizeof(digests_name) - 1, digests_name};
    MDB_val stored = {sizeof(row), row};
    return mdb_put(transaction, store->digests, &key, &stored, 0);
}

static enum status table_load(struct store *store, MDB_txn *transaction, enum state_table table,
                              state_row_visit *visit, void *context, struct table_digest *digest,
                              struct error *error)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(transaction, store->tables[table], &cursor);
    if (code != 0) {
        return store_error(error, code, "cannot read");
    }
    MDB_val stored_key = {0};
    MDB_val stored = {0};
    enum status status = STATUS_OK;
    for (code = mdb_cursor_get(cursor, &stored_key, &stored, MDB_FIRST); code == 0 && status == STATUS_OK;
         code = mdb_cursor_get(cursor, &stored_key, &stored, MDB_NEXT)) {
        const struct bytes key = bytes_of(stored_key.mv_data, stored_key.mv_size);
        struct bytes value = {0};
        status = row_open(table, key, stored, &value);
        if (status == STATUS_OK) {
            digest->rows++;
            digest->checks += load_u64(stored.mv_data);
            status = visit(context, table, key, value);
        }
        if (status != STATUS_OK) {
            char text[128];
            state_row_describe(table, key, value, text, sizeof(text));
            (void)error_set(error, status, "store: %s", text);
        }
    }
    mdb_cursor_close(cursor);
    if (status == STATUS_OK && code != MDB_NOTFOUND) {
        status = store_error(error, code, "cannot read");
    }
    return status;
}

enum status store_load(struct store *store, state_row_visit *visit, void *context, struct error *error)
{
    MDB_txn *transaction = NULL;
    const int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &transaction);
    enum status status = code == 0 ? STATUS_OK : store_error(error, code, "cannot read");
    struct table_digest wanted[STATE_TABLE_END] = {{0}};
    if (status == STATUS_OK) {
        status = digests_read(store, transaction, wanted);
    }
    for (int i = 0; i < STATE_TABLE_END && status == STATUS_OK; i++) {
        struct table_digest found = {0};
        status = table_load(store, transaction, (enum state_table)i, visit, context, &found, error);
        if (status == STATUS_OK && (found.rows != wanted[i].rows || found.checks != wanted[i].checks)) {
            status = error_set(error, STATUS_DAMAGED, "store: table %s has %llu rows of %llu",
                               state_table_name((enum state_table)i), (unsigned long long)found.rows,
                               (unsigned long long)wanted[i].rows);
        }
    }
    if (transaction != NULL) {
        mdb_txn_abort(transaction);
    }
    return status;
}

static bool is_nil(struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    return value.size == 1 && pack_take_nil(&cursor);
}

/* Takes the row that a write replaces out of the digest. */
static int digest_forget(struct store *store, MDB_txn *transaction, enum state_table table, MDB_val *stored_key,
                         struct table_digest *digest)
{
    MDB_val old = {0};
    const int code = mdb_get(transaction, store->tables[table], stored_key, &old);
    if (code == 0 && old.mv_size >= CHECK_SIZE) {
        digest->rows--;
        digest->checks -= load_u64(old.mv_data);
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

static int row_write(struct store *store, MDB_txn *transaction, enum state_table table, struct bytes key,
                     struct bytes value, struct table_digest *digest)
{
    MDB_val stored_key = {key.size, (void *)(uintptr_t)key.data};
    int code = digest_forget(store, transaction, table, &stored_key, digest);
    if (code != 0) {
        return code;
    }
    if ((table == TABLE_CELLS || table == TABLE_USER_SETS) && is_nil(value)) {
        code = mdb_del(transaction, store->tables[table], &stored_key, NULL);
        return code == MDB_NOTFOUND ? 0 : code;
    }
    MDB_val stored = {CHECK_SIZE + value.size, NULL};
    code = mdb_put(transaction, store->tables[table], &stored_key, &stored, MDB_RESERVE);
    if (code == 0) {
        const uint64_t check = row_check(table, key, value);
        digest->rows++;
        digest->checks += check;
        store_u64(stored.mv_data, check);
        memcpy((uint8_t *)stored.mv_data + CHECK_SIZE, value.data, value.size);
    }
    return code;
}

enum status store_write(struct store *store, const struct store_batch *batch, struct error *error)
{
    MDB_txn *transaction = NULL;
    int code = mdb_txn_begin(store->env, NULL, 0, &transaction);
    struct table_digest digests[STATE_TABLE_END];
    if (code == 0 && digests_read(store, transaction, digests) != STATUS_OK) {
        code = MDB_CORRUPTED;
    }
    for (size_t at = 0; at < batch->size && code == 0;) {
        const uint8_t *row = batch->data + at;
        const struct bytes key = bytes_of(row + BATCH_HEADER, row[1]);
        const struct bytes value = bytes_of(key.data + key.size, load_u32(row + 2));
        code = row_write(store, transaction, (enum state_table)row[0], key, value, &digests[row[0]]);
        at += BATCH_HEADER + key.size + value.size;
    }
    if (code == 0) {
        code = digests_write(store, transaction, digests);
    }
    if (code == 0) {
        code = mdb_txn_commit(transaction);
    } else if (transaction != NULL) {
        mdb_txn_abort(transaction);
    }
    return code == 0 ? STATUS_OK : store_error(error, code, "cannot write a checkpoint");
}
