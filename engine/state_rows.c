/* state_rows.c: the durable form of the state: rows of (table, key, value), msgpack values, big-endian keys so that key
 * order is number order. One encoder a table serves checkpoints and verify; state_load.c reads them back. docs/format.md has the shapes.
 *
 *   meta         "state"                      [next lsn, store id, hash seed, users, enrolments, event ids, duplicates,
 *                                              events, events duplicate, events mismatched, [[type, events], ...]]
 *   definitions  lsn u64                      [kind, version of the payload, payload]
 *   users        user u32                     [id (nil: erased), events, duplicates, last timestamp, [enrolment...], [vector...]]
 *                enrolment: [experiment, version, variant, forced, assigned at, lsn, before, counted,
 *                            [metric, count, sum, ...], profile: binary, a byte an attribute, cut behind the last one]
 *                vector: [metric (-1 - metric: mixed), day, count, sum, ...], or where the metric keeps its events
 *                            [metric, moment, value, ...]
 *   cells        experiment, variant, metric  metric u32 max: [day, users, ...]; else [has values, magnitude,
 *                u32 each                      [day, events, first(, sum)], ..., [follows(, product), ...]]
 *   event_ids    chunk u32                    binary: 20 bytes an id: fingerprint low, high u64, body u32
 *   duplicates   chunk u32                    binary: lsns u64
 *   user_sets    name, ...                    see state_sets.c
 *   attributes   number u8                    [name, value (nil: forgotten), ...]
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/state_internal.h"

#define IDS_PER_ROW 4096u

struct row_writer {
    struct pack_writer writer;
    state_row_visit *visit;
    void *context;
};

const char *state_table_name(enum state_table table)
{
    static const char *const names[] = {[TABLE_META] = "meta",           [TABLE_DEFINITIONS] = "definitions",
                                        [TABLE_USERS] = "users",         [TABLE_CELLS] = "cells",
                                        [TABLE_EVENT_IDS] = "event_ids", [TABLE_DUPLICATES] = "duplicates",
                                        [TABLE_USER_SETS] = "user_sets",
                                        [TABLE_ATTRIBUTES] = "attributes"};
    static_assert(COUNT_OF(names) == STATE_TABLE_END, "a name for each table");
    return (unsigned)table < STATE_TABLE_END ? names[table] : "unknown";
}

static void key_put(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = size; i-- > 0;) {
        to[i] = (uint8_t)value;
        value >>= 8;
    }
}

/* ---- encoding ---- */

enum status row_emit_bytes(struct row_writer *rows, enum state_table table, struct bytes key, struct bytes value)
{
    return rows->visit(rows->context, table, key, value);
}

/* Encodes by calling encode again with twice the room until it fits, then visits. */
static enum status row_emit(struct row_writer *rows, enum state_table table, struct bytes key,
                            void (*encode)(const struct state *state, const void *what, struct pack_writer *writer),
                            const struct state *state, const void *what)
{
    for (;;) {
        rows->writer.size = 0;
        rows->writer.overflow = false;
        encode(state, what, &rows->writer);
        if (!rows->writer.overflow) {
            return rows->visit(rows->context, table, key, bytes_of(rows->writer.data, rows->writer.size));
        }
        const size_t capacity = rows->writer.capacity * 2;
        uint8_t *grown = realloc(rows->writer.data, capacity);
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        rows->writer.data = grown;
        rows->writer.capacity = capacity;
    }
}

static void pack_wide(struct pack_writer *writer, uint128 value)
{
    pack_bin(writer, bytes_of(&value, sizeof(value)));
}

static void meta_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    (void)what;
    pack_array(writer, 11);
    pack_uint(writer, state->next_lsn);
    pack_bin(writer, bytes_of(&state->options.store_id, sizeof(struct uuid)));
    pack_uint(writer, state->options.hash_seed);
    pack_uint(writer, state->users.users.count);
    pack_uint(writer, state->totals.assignments);
    pack_uint(writer, state->event_ids.prints.count);
    pack_uint(writer, state->duplicates.count);
    pack_uint(writer, state->totals.events);
    pack_uint(writer, state->totals.events_duplicate);
    pack_uint(writer, state->totals.events_mismatched);
    pack_array(writer, state->type_count);
    for (uint32_t i = 0; i < state->type_count; i++) {
        pack_array(writer, 2);
        pack_text(writer, state->types[i].name);
        pack_uint(writer, state->types[i].events);
    }
}

static void definition_row_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    (void)state;
    const struct applied_definition *definition = what;
    pack_array(writer, 3);
    pack_uint(writer, (uint64_t)definition->kind);
    pack_uint(writer, definition->version);
    pack_bin(writer, definition->payload);
}

/* By experiment; of one experiment's, which are of several generations, by record. */
static bool enrolment_is_before(const struct enrolment *a, const struct enrolment *b)
{
    return a->experiment != b->experiment ? a->experiment < b->experiment : a->lsn < b->lsn;
}

/* Numbers of a linked list in ascending order: lists are short, so select the next greater each time. last: NULL for the
 * first. */
static const struct enrolment *enrolment_after(const struct state *state, const struct user *user,
                                               const struct enrolment *last)
{
    const struct enrolment *best = NULL;
    uint32_t at = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    while (at != 0) {
        const struct enrolment *enrolment = enrolment_at(&state->users, at - 1);
        const bool after = last == NULL || enrolment_is_before(last, enrolment);
        if (after && (best == NULL || enrolment_is_before(enrolment, best))) {
            best = enrolment;
        }
        at = enrolment->next;
    }
    return best;
}

static const struct boundary *boundary_after(const struct state *state, const struct enrolment *enrolment, int64_t last)
{
    const struct boundary *best = NULL;
    for (uint32_t at = enrolment->boundary; at != 0;) {
        const struct boundary *boundary = pool_at(&state->rollup.vectors.boundaries, at - 1);
        const bool after = boundary->count != 0 && (int64_t)boundary->metric > last;
        if (after && (best == NULL || boundary->metric < best->metric)) {
            best = boundary;
        }
        at = boundary->next;
    }
    return best;
}

static const struct vector *vector_after(const struct state *state, const struct user *user, int64_t last)
{
    const struct vector *best = NULL;
    for (uint32_t at = user->vectors; at != 0;) {
        const struct vector *vector = pool_at(&state->rollup.vectors.vectors, at - 1);
        const bool after = vector->count != 0 && (int64_t)vector->metric > last;
        if (after && (best == NULL || vector->metric < best->metric)) {
            best = vector;
        }
        at = vector->next;
    }
    return best;
}

static void enrolment_encode(const struct state *state, const struct enrolment *enrolment, struct pack_writer *writer)
{
    pack_array(writer, 10);
    pack_uint(writer, enrolment->experiment);
    pack_uint(writer, enrolment->version);
    pack_uint(writer, enrolment->variant);
    pack_bool(writer, enrolment->forced);
    pack_int(writer, enrolment->assigned_at_us);
    pack_uint(writer, enrolment->lsn);
    pack_uint(writer, enrolment->before);
    pack_uint(writer, enrolment->counted);
    const size_t place = pack_array_begin(writer);
    uint32_t count = 0;
    const struct boundary *boundary = boundary_after(state, enrolment, -1);
    for (; boundary != NULL; boundary = boundary_after(state, enrolment, boundary->metric)) {
        pack_uint(writer, boundary->metric);
        pack_uint(writer, boundary->count);
        pack_int(writer, boundary->sum);
        count += 3;
    }
    pack_container_end(writer, place, count);
    const struct profile *profile = attributes_profile(&state->attributes, enrolment->profile);
    size_t size = sizeof(profile->values);
    while (size > 0 && profile->values[size - 1] == ATTRIBUTE_NONE) {
        size--;
    }
    pack_bin(writer, bytes_of(profile->values, size));
}

static void vector_encode(const struct state *state, const struct vector *vector, struct pack_writer *writer)
{
    const bool of_events = vector->has_events;
    pack_array(writer, 1 + (of_events ? 2 : 3) * vector->count);
    pack_int(writer, vector->is_mixed ? -1 - (int64_t)vector->metric : (int64_t)vector->metric);
    const struct vector_event *events = vector_events(&state->rollup.vectors, vector);
    for (uint32_t i = 0; of_events && i < vector->count; i++) {
        pack_int(writer, events[i].timestamp_us);
        pack_int(writer, events[i].value);
    }
    const struct vector_day *days = vector_days(&state->rollup.vectors, vector);
    for (uint32_t i = 0; !of_events && i < vector->count; i++) {
        pack_int(writer, days[i].day);
        pack_uint(writer, days[i].count);
        pack_int(writer, days[i].sum);
    }
}

static void user_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    const struct user *user = what;
    pack_array(writer, 6);
    if (atomic_load_explicit(&user->is_erased, memory_order_relaxed)) {
        pack_nil(writer);
    } else {
        pack_text(writer, user_id(user));
    }
    pack_uint(writer, user->events);
    pack_uint(writer, user->duplicates);
    pack_int(writer, user->last_timestamp_us);
    const size_t enrolments = pack_array_begin(writer);
    uint32_t count = 0;
    const struct enrolment *enrolment = enrolment_after(state, user, NULL);
    for (; enrolment != NULL; enrolment = enrolment_after(state, user, enrolment)) {
        enrolment_encode(state, enrolment, writer);
        count++;
    }
    pack_container_end(writer, enrolments, count);
    const size_t vectors = pack_array_begin(writer);
    count = 0;
    const struct vector *vector = vector_after(state, user, -1);
    for (; vector != NULL; vector = vector_after(state, user, vector->metric)) {
        vector_encode(state, vector, writer);
        count++;
    }
    pack_container_end(writer, vectors, count);
}

static void arm_encode(const struct arm *arm, struct pack_writer *writer)
{
    pack_array(writer, 2 * arm->day_count);
    for (uint32_t i = 0; i < arm->day_count; i++) {
        pack_int(writer, arm->days[i]);
        pack_uint(writer, arm->day_users[i]);
    }
}

/* A day without events is left out: it may be there only because of the order in which things came. */
static uint32_t cell_days_used(const struct cell *cell, uint32_t *slots)
{
    uint32_t used = 0;
    for (uint32_t offset = 0; offset < cell->span; offset++) {
        const uint32_t slot = cell->slot_of[offset];
        if (slot != 0 && cell->events[slot - 1] != 0) {
            slots[used++] = slot - 1;
        }
    }
    return used;
}

static void matrices_encode(const struct cell *cell, struct pack_writer *writer)
{
    uint32_t *slots = malloc((cell->day_count + 1ull) * sizeof(*slots));
    if (slots == NULL) {
        writer->overflow = true; /* tried again with more room, until memory is really out */
        return;
    }
    const uint32_t days = cell_days_used(cell, slots);
    pack_array(writer, 4);
    pack_bool(writer, cell->has_values);
    pack_wide(writer, cell->magnitude);
    pack_array(writer, days * (cell->has_values ? 4 : 3));
    for (uint32_t i = 0; i < days; i++) {
        pack_int(writer, cell->days[slots[i]]);
        pack_uint(writer, cell->events[slots[i]]);
        pack_uint(writer, cell->first[slots[i]]);
        if (cell->has_values) {
            pack_wide(writer, cell->sums[slots[i]]);
        }
    }
    pack_array(writer, days * (days + 1) / 2 * (cell->has_values ? 2 : 1));
    for (uint32_t i = 0; i < days; i++) {
        for (uint32_t j = 0; j <= i; j++) {
            const uint64_t pair = cell_pair(slots[i], slots[j]);
            pack_uint(writer, cell->follows[pair]);
            if (cell->has_values) {
                pack_wide(writer, cell->products[pair]);
            }
        }
    }
    free(slots);
}

static void cell_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    const struct cell_name *name = what;
    const struct arm *arm = rollup_arm(&state->rollup, name->experiment, name->variant);
    if (name->metric == ROLLUP_ARM && arm->day_count != 0) {
        arm_encode(arm, writer);
        return;
    }
    const struct cell *cell = name->metric != ROLLUP_ARM ? rollup_cell(&state->rollup, name) : NULL;
    if (cell != NULL) {
        matrices_encode(cell, writer);
    } else {
        pack_nil(writer); /* it was, and was taken back: the row goes */
    }
}

static void event_ids_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    const uint32_t first = *(const uint32_t *)what * IDS_PER_ROW;
    const uint32_t end = (uint32_t)size_min(first + IDS_PER_ROW, state->event_ids.prints.count);
    const size_t size = (end - first) * (size_t)EVENT_ID_ROW_SIZE;
    if (writer->capacity < size) {
        writer->overflow = true;
        return;
    }
    for (uint32_t i = first; i < end; i++) {
        uint8_t *to = writer->data + (i - first) * (size_t)EVENT_ID_ROW_SIZE;
        const struct event_print *print = pool_at(&state->event_ids.prints, i);
        const uint32_t *body = pool_at(&state->event_ids.bodies, i);
        store_u64(to, print->low);
        store_u64(to + 8, print->high);
        store_u32(to + 16, *body);
    }
    writer->size = size;
}

static void duplicates_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    const uint32_t first = *(const uint32_t *)what * IDS_PER_ROW;
    const uint32_t end = (uint32_t)size_min(first + IDS_PER_ROW, state->duplicates.count);
    const size_t size = (end - first) * sizeof(uint64_t);
    if (writer->capacity < size) {
        writer->overflow = true;
        return;
    }
    for (uint32_t i = first; i < end; i++) {
        store_u64(writer->data + (i - first) * sizeof(uint64_t), *(const uint64_t *)pool_at(&state->duplicates, i));
    }
    writer->size = size;
}

static enum status emit_meta(struct row_writer *rows, const struct state *state)
{
    return row_emit(rows, TABLE_META, bytes_of_text("state"), meta_encode, state, NULL);
}

static enum status emit_definitions(struct row_writer *rows, const struct state *state, uint32_t from)
{
    enum status status = STATUS_OK;
    for (uint32_t i = from; i < state->definition_count && status == STATUS_OK; i++) {
        uint8_t key[8];
        key_put(key, state->definitions[i].lsn, sizeof(key));
        status = row_emit(rows, TABLE_DEFINITIONS, bytes_of(key, sizeof(key)), definition_row_encode, state,
                          &state->definitions[i]);
    }
    return status;
}

static void attribute_encode(const struct state *state, const void *what, struct pack_writer *writer)
{
    (void)state;
    const struct attribute *attribute = what;
    pack_array(writer, 1 + attribute->value_count);
    pack_text(writer, attribute->name);
    for (uint32_t i = 0; i < attribute->value_count; i++) {
        if (attribute->values[i].text.data != NULL) {
            pack_text(writer, attribute->values[i].text);
        } else {
            pack_nil(writer);
        }
    }
}

static enum status emit_attributes(struct row_writer *rows, const struct state *state, bool only_dirty)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < state->attributes.count && status == STATUS_OK; i++) {
        const struct attribute *attribute = &state->attributes.items[i];
        const uint8_t key = (uint8_t)i;
        if (!only_dirty || attribute->dirty) {
            status = row_emit(rows, TABLE_ATTRIBUTES, bytes_of(&key, 1), attribute_encode, state, attribute);
        }
    }
    return status;
}

enum status row_emit_user(struct row_writer *rows, const struct state *state, uint32_t number)
{
    uint8_t key[4];
    key_put(key, number, sizeof(key));
    return row_emit(rows, TABLE_USERS, bytes_of(key, sizeof(key)), user_encode, state, user_at(&state->users, number));
}

static enum status emit_cell(struct row_writer *rows, const struct state *state, const struct cell_name *name)
{
    uint8_t key[12];
    key_put(key, name->experiment, 4);
    key_put(key + 4, name->variant, 4);
    key_put(key + 8, name->metric, 4);
    return row_emit(rows, TABLE_CELLS, bytes_of(key, sizeof(key)), cell_encode, state, name);
}

/* Rows of fixed-size entries: from the one that holds entry `from` to the last of `count`. */
static enum status emit_chunks(struct row_writer *rows, const struct state *state, enum state_table table,
                               uint32_t from, uint32_t count)
{
    enum status status = STATUS_OK;
    for (uint32_t chunk = from / IDS_PER_ROW; (uint64_t)chunk * IDS_PER_ROW < count && status == STATUS_OK; chunk++) {
        uint8_t key[4];
        key_put(key, chunk, sizeof(key));
        status = row_emit(rows, table, bytes_of(key, sizeof(key)),
                          table == TABLE_EVENT_IDS ? event_ids_encode : duplicates_encode, state, &chunk);
    }
    return status;
}

static enum status emit_all_cells(struct row_writer *rows, const struct state *state)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < state->rollup.experiment_count; i++) {
        const struct rollup_experiment *experiment = &state->rollup.experiments[i];
        for (uint32_t j = 0; j < experiment->arm_count && status == STATUS_OK; j++) {
            const struct arm *arm = &experiment->arms[j];
            for (uint32_t k = 0; k < arm->cell_count && status == STATUS_OK; k++) {
                if (arm->cells[k] != NULL) {
                    status = emit_cell(rows, state, &(struct cell_name){i, j, k});
                }
            }
            if (arm->day_count != 0 && status == STATUS_OK) {
                status = emit_cell(rows, state, &(struct cell_name){i, j, ROLLUP_ARM});
            }
        }
    }
    return status;
}

static enum status row_writer_open(struct row_writer *rows, state_row_visit *visit, void *context)
{
    const size_t capacity = 128 * 1024;
    *rows = (struct row_writer){.visit = visit, .context = context};
    uint8_t *buffer = malloc(capacity);
    if (buffer == NULL) {
        return STATUS_NO_MEMORY;
    }
    rows->writer = pack_writer_on(buffer, capacity);
    return STATUS_OK;
}

void row_writer_close(struct row_writer *rows)
{
    if (rows != NULL) {
        free(rows->writer.data);
        free(rows);
    }
}

enum status state_export(struct state *state, state_row_visit *visit, void *context)
{
    assert(state->pending_count == 0);
    struct row_writer rows;
    enum status status = row_writer_open(&rows, visit, context);
    if (status == STATUS_OK) {
        status = emit_meta(&rows, state);
    }
    if (status == STATUS_OK) {
        status = emit_definitions(&rows, state, 0);
    }
    for (uint32_t i = 0; i < state->users.users.count && status == STATUS_OK; i++) {
        status = row_emit_user(&rows, state, i);
    }
    if (status == STATUS_OK) {
        status = emit_all_cells(&rows, state);
    }
    if (status == STATUS_OK) {
        status = emit_chunks(&rows, state, TABLE_EVENT_IDS, 0, state->event_ids.prints.count);
    }
    if (status == STATUS_OK) {
        status = emit_chunks(&rows, state, TABLE_DUPLICATES, 0, state->duplicates.count);
    }
    if (status == STATUS_OK) {
        status = state_sets_emit(&rows, state);
    }
    if (status == STATUS_OK) {
        status = emit_attributes(&rows, state, false);
    }
    free(rows.writer.data);
    return status;
}

/* Visits the changed cells and counts them as exported. */
static enum status emit_changed_cells(struct row_writer *rows, struct state *state)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < state->rollup.changed_count && status == STATUS_OK; i++) {
        const struct cell_name *name = &state->rollup.changed[i];
        struct arm *arm = &state->rollup.experiments[name->experiment].arms[name->variant];
        if (name->metric == ROLLUP_ARM) {
            arm->dirty = false;
        } else if (arm->cells[name->metric] != NULL) {
            arm->cells[name->metric]->dirty = false;
        }
        status = emit_cell(rows, state, name);
    }
    state->rollup.changed_count = 0;
    return status;
}

/* All that changed but the users: few rows, or ones that only grow at their end. */
static enum status emit_changes(struct row_writer *rows, struct state *state)
{
    enum status status = emit_meta(rows, state);
    if (status == STATUS_OK) {
        status = emit_definitions(rows, state, state->exported_definitions);
    }
    if (status == STATUS_OK) {
        status = emit_changed_cells(rows, state);
    }
    if (status == STATUS_OK && state->exported_event_ids != state->event_ids.prints.count) {
        status = emit_chunks(rows, state, TABLE_EVENT_IDS, state->exported_event_ids, state->event_ids.prints.count);
    }
    if (status == STATUS_OK && state->exported_duplicates != state->duplicates.count) {
        status = emit_chunks(rows, state, TABLE_DUPLICATES, state->exported_duplicates, state->duplicates.count);
    }
    if (status == STATUS_OK) {
        status = state_sets_emit_changes(rows, state);
    }
    if (status == STATUS_OK) {
        status = emit_attributes(rows, state, true);
    }
    for (uint32_t i = 0; i < state->attributes.count; i++) {
        state->attributes.items[i].dirty = false;
    }
    state->exported_definitions = state->definition_count;
    state->exported_event_ids = state->event_ids.prints.count;
    state->exported_duplicates = state->duplicates.count;
    return status;
}

static uint8_t other_epoch(const struct state *state)
{
    return (uint8_t)(3 - state->epoch);
}

enum status state_export_begin(struct state *state, state_row_visit *visit, void *context)
{
    assert(state->pending_count == 0 && state->export == NULL && state->dirty[other_epoch(state)].count == 0);
    state->export = calloc(1, sizeof(*state->export));
    enum status status = state->export != NULL ? row_writer_open(state->export, visit, context) : STATUS_NO_MEMORY;
    state->epoch = other_epoch(state);
    state->exported_users = 0;
    return status == STATUS_OK ? emit_changes(state->export, state) : status;
}

enum status state_export_step(struct state *state, uint32_t users, bool *out_done)
{
    struct user_list *list = &state->dirty[other_epoch(state)];
    enum status status = STATUS_OK;
    for (; users > 0 && state->exported_users < list->count && status == STATUS_OK; users--) {
        const uint32_t number = list->numbers[state->exported_users++];
        struct user *user = user_at(&state->users, number);
        /* One that has changed again was exported just before. */
        if (user->dirty == other_epoch(state)) {
            user->dirty = 0;
            status = row_emit_user(state->export, state, number);
        }
    }
    *out_done = state->exported_users == list->count;
    if (*out_done) {
        list->count = 0;
        row_writer_close(state->export);
        state->export = NULL;
    }
    return status;
}

enum status state_export_changes(struct state *state, state_row_visit *visit, void *context)
{
    bool done = false;
    enum status status = state_export_begin(state, visit, context);
    return status == STATUS_OK ? state_export_step(state, UINT32_MAX, &done) : status;
}

void state_row_describe(enum state_table table, struct bytes key, struct bytes value, char *out_text, size_t size)
{
    if (table == TABLE_CELLS && key.size == 12) {
        (void)snprintf(out_text, size, "cells: experiment %u, variant %u, metric %d, %zu bytes",
                       (unsigned)row_key_number(key, 0, 4), (unsigned)row_key_number(key, 4, 4), (int)(int32_t)row_key_number(key, 8, 4),
                       value.size);
    } else if (table == TABLE_USER_SETS) {
        (void)snprintf(out_text, size, "user_sets: %.*s, %zu bytes", (int)strnlen((const char *)key.data, key.size),
                       (const char *)key.data, value.size);
    } else if (table == TABLE_META) {
        (void)snprintf(out_text, size, "meta, %zu bytes", value.size);
    } else {
        (void)snprintf(out_text, size, "%s: row %llu, %zu bytes", state_table_name(table),
                       (unsigned long long)row_key_number(key, 0, size_min(key.size, 8)), value.size);
    }
}
