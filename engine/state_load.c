/* state_load.c: the rows of a checkpoint back into a state. Their shapes are in state_rows.c. */
#include <stdlib.h>

#include "engine/state_internal.h"

/* Typed reads of 32 bits; a value beyond fails the cursor. */
static uint32_t read_u32(struct pack_cursor *cursor)
{
    uint64_t value = 0;
    if (pack_read_uint(cursor, &value) && value > UINT32_MAX) {
        cursor->failed = true;
    }
    return (uint32_t)value;
}

static uint128 read_wide(struct pack_cursor *cursor)
{
    struct bytes bytes = {0};
    uint128 value = 0;
    if (pack_read_bin(cursor, &bytes) && bytes.size == sizeof(value)) {
        memcpy(&value, bytes.data, sizeof(value));
    } else {
        cursor->failed = true;
    }
    return value;
}

static enum status cursor_end(const struct pack_cursor *cursor)
{
    return !cursor->failed && cursor->at == cursor->end ? STATUS_OK : STATUS_DAMAGED;
}

/* The counts of the meta row are checked against what was loaded by state_import_end(). */
static enum status meta_import(struct state *state, struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    struct bytes store_id = {0};
    uint64_t hash_seed = 0;
    pack_read_array(&cursor, &fields);
    pack_read_uint(&cursor, &state->next_lsn);
    pack_read_bin(&cursor, &store_id);
    pack_read_uint(&cursor, &hash_seed);
    state->expected.users = read_u32(&cursor);
    state->expected.enrolments = read_u32(&cursor);
    state->expected.event_ids = read_u32(&cursor);
    state->expected.duplicates = read_u32(&cursor);
    pack_read_uint(&cursor, &state->totals.events);
    pack_read_uint(&cursor, &state->totals.events_duplicate);
    pack_read_uint(&cursor, &state->totals.events_mismatched);
    uint32_t types = 0;
    pack_read_array(&cursor, &types);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < types && !cursor.failed && status == STATUS_OK; i++) {
        uint32_t pair = 0;
        struct bytes name = {0};
        uint64_t events = 0;
        if (pack_read_array(&cursor, &pair) && pack_read_text(&cursor, &name) && pack_read_uint(&cursor, &events)) {
            status = name.size != 0 ? state_see_type(state, name, events) : STATUS_DAMAGED;
        }
    }
    if (status == STATUS_OK) {
        status = cursor_end(&cursor);
    }
    if (status == STATUS_OK && (fields != 11 || store_id.size != sizeof(struct uuid) ||
                                memcmp(store_id.data, &state->options.store_id, store_id.size) != 0 ||
                                hash_seed != state->options.hash_seed)) {
        status = STATUS_DAMAGED; /* of another store */
    }
    return status;
}

static enum status definition_import(struct state *state, struct bytes key, struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    struct record record = {.lsn = key.size == 8 ? row_key_number(key, 0, 8) : 0};
    pack_read_array(&cursor, &fields);
    const uint32_t kind = read_u32(&cursor);
    record.version = (uint8_t)read_u32(&cursor);
    pack_read_bin(&cursor, &record.payload);
    const bool known = kind == RECORD_EXPERIMENT || kind == RECORD_METRIC || kind == RECORD_TOKEN ||
                       kind == RECORD_OVERRIDES || kind == RECORD_ERASURE;
    if (cursor_end(&cursor) != STATUS_OK || record.lsn == 0 || !known) {
        return STATUS_DAMAGED;
    }
    record.kind = (enum record_kind)kind;
    bool applied = false;
    const enum status status = state_apply_definition(state, &record, false, &applied);
    return status == STATUS_OK && !applied ? STATUS_DAMAGED : status;
}

static enum status enrolment_import(struct state *state, uint32_t user_number, struct pack_cursor *cursor)
{
    uint32_t fields = 0;
    pack_read_array(cursor, &fields);
    struct enrolment enrolment = {.user = user_number};
    enrolment.experiment = read_u32(cursor);
    enrolment.version = read_u32(cursor);
    enrolment.variant = (uint16_t)read_u32(cursor);
    pack_read_bool(cursor, &enrolment.forced);
    pack_read_int(cursor, &enrolment.assigned_at_us);
    pack_read_uint(cursor, &enrolment.lsn);
    enrolment.before = read_u32(cursor);
    enrolment.counted = read_u32(cursor);
    uint32_t boundaries = 0;
    pack_read_array(cursor, &boundaries);
    if (cursor->failed || fields != 10 || boundaries % 3 != 0 ||
        rollup_arm(&state->rollup, enrolment.experiment, enrolment.variant) == NULL) {
        return STATUS_DAMAGED;
    }
    uint32_t number = 0;
    enum status status = enrolment_add(&state->users, &enrolment, &number);
    for (uint32_t i = 0; i < boundaries / 3 && status == STATUS_OK; i++) {
        const uint32_t metric = read_u32(cursor);
        const uint32_t count = read_u32(cursor);
        int64_t sum = 0;
        pack_read_int(cursor, &sum);
        status = boundary_set(&state->rollup.vectors, enrolment_at(&state->users, number), metric, count, sum);
    }
    struct bytes profile = {0};
    pack_read_bin(cursor, &profile);
    if (status == STATUS_OK && !cursor->failed) {
        status = attributes_import_profile(&state->attributes, profile, &enrolment_at(&state->users, number)->profile);
    }
    state->totals.assignments++;
    if (status == STATUS_OK && rollup_is_current(&state->rollup, &enrolment)) {
        const struct user *user = user_at(&state->users, user_number);
        struct rollup_experiment *experiment = state_experiment(state, enrolment.experiment);
        experiment->events += user->events;
        experiment->duplicates += user->duplicates;
        experiment->before += enrolment.before;
        experiment->counted += enrolment.counted;
        rollup_note_version(experiment, enrolment.version);
    }
    return status;
}

static enum status vector_import(struct state *state, struct user *user, struct pack_cursor *cursor)
{
    uint32_t fields = 0;
    pack_read_array(cursor, &fields);
    int64_t number = 0;
    pack_read_int(cursor, &number);
    const bool is_mixed = number < 0;
    const uint64_t metric_number = (uint64_t)(is_mixed ? -1 - number : number);
    if (cursor->failed || metric_number >= state->catalog->metric_count) {
        return STATUS_DAMAGED;
    }
    const uint32_t metric = (uint32_t)metric_number;
    const bool of_events = metric_keeps_events(state->catalog->metrics[metric]->current);
    const uint32_t width = of_events ? 2 : 3;
    if (fields < 1 + width || fields % width != 1 || fields / width > LIMIT_KEPT_EVENTS) {
        return STATUS_DAMAGED;
    }
    struct vector *vector = NULL;
    const enum status status = vector_make(&state->rollup.vectors, user, metric, of_events, fields / width, &vector);
    if (status != STATUS_OK) {
        return status;
    }
    vector->is_mixed = is_mixed;
    struct vector_event *events = vector_events(&state->rollup.vectors, vector);
    for (uint32_t i = 0; of_events && i < vector->count; i++) {
        pack_read_int(cursor, &events[i].timestamp_us);
        pack_read_int(cursor, &events[i].value);
    }
    struct vector_day *days = vector_days(&state->rollup.vectors, vector);
    for (uint32_t i = 0; !of_events && i < vector->count; i++) {
        int64_t day = 0;
        pack_read_int(cursor, &day);
        days[i].day = (int32_t)day;
        days[i].count = read_u32(cursor);
        pack_read_int(cursor, &days[i].sum);
    }
    return cursor->failed ? STATUS_DAMAGED : STATUS_OK;
}

static enum status user_import(struct state *state, struct bytes key, struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    struct bytes id = {0};
    pack_read_array(&cursor, &fields);
    const bool is_erased = pack_take_nil(&cursor);
    if (!is_erased) {
        pack_read_text(&cursor, &id);
    }
    if (cursor.failed || fields != 6 || key.size != 4 || row_key_number(key, 0, 4) != state->users.users.count ||
        (!is_erased && id.size == 0) || id.size > LIMIT_USER_ID) {
        return STATUS_DAMAGED;
    }
    uint32_t number = state->users.users.count;
    enum status status = is_erased ? user_add_erased(&state->users)
                                   : user_find_or_add(&state->users, id, user_hash(&state->users, id), &number);
    if (status != STATUS_OK || number + 1 != state->users.users.count) {
        return status != STATUS_OK ? status : STATUS_DAMAGED; /* the same id twice */
    }
    struct user *user = user_at(&state->users, number);
    user->events = read_u32(&cursor);
    user->duplicates = read_u32(&cursor);
    pack_read_int(&cursor, &user->last_timestamp_us);
    uint32_t count = 0;
    pack_read_array(&cursor, &count);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        status = enrolment_import(state, number, &cursor);
    }
    count = 0;
    pack_read_array(&cursor, &count);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        status = vector_import(state, user, &cursor);
    }
    return status == STATUS_OK ? cursor_end(&cursor) : status;
}

static enum status arm_import(struct state *state, const struct cell_name *name, struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    pack_read_array(&cursor, &fields);
    enum status status = fields % 2 == 0 ? STATUS_OK : STATUS_DAMAGED;
    struct arm *arm = &state->rollup.experiments[name->experiment].arms[name->variant];
    for (uint32_t i = 0; i < fields / 2 && status == STATUS_OK && !cursor.failed; i++) {
        int64_t day = 0;
        uint64_t users = 0;
        pack_read_int(&cursor, &day);
        pack_read_uint(&cursor, &users);
        status = arm_add_users(arm, (int32_t)day, users);
    }
    return status == STATUS_OK ? cursor_end(&cursor) : status;
}

static enum status matrices_import(struct cell *cell, struct pack_cursor *cursor, uint32_t fields)
{
    const uint32_t per_day = cell->has_values ? 4 : 3;
    const uint32_t days = fields / per_day;
    for (uint32_t i = 0; i < days; i++) {
        int64_t day = 0;
        uint32_t slot = 0;
        pack_read_int(cursor, &day);
        const enum status status = cursor->failed ? STATUS_DAMAGED : cell_slot_make(cell, (int32_t)day, &slot);
        if (status != STATUS_OK || slot != i) {
            return status != STATUS_OK ? status : STATUS_DAMAGED;
        }
        pack_read_uint(cursor, &cell->events[slot]);
        pack_read_uint(cursor, &cell->first[slot]);
        if (cell->has_values) {
            cell->sums[slot] = read_wide(cursor);
        }
    }
    uint32_t pairs = 0;
    pack_read_array(cursor, &pairs);
    if (cursor->failed || fields % per_day != 0 || pairs != days * (days + 1) / 2 * (cell->has_values ? 2 : 1)) {
        return STATUS_DAMAGED;
    }
    /* Slots were given in day order, so the pairs come in the order of their places. */
    for (uint64_t pair = 0; pair < (uint64_t)days * (days + 1) / 2; pair++) {
        pack_read_uint(cursor, &cell->follows[pair]);
        if (cell->has_values) {
            cell->products[pair] = read_wide(cursor);
        }
    }
    return STATUS_OK;
}

static enum status cell_import(struct state *state, struct bytes key, struct bytes value)
{
    if (key.size != 12) {
        return STATUS_DAMAGED;
    }
    const struct cell_name name = {(uint32_t)row_key_number(key, 0, 4), (uint32_t)row_key_number(key, 4, 4),
                                   (uint32_t)row_key_number(key, 8, 4)};
    if (rollup_arm(&state->rollup, name.experiment, name.variant) == NULL) {
        return STATUS_DAMAGED;
    }
    if (name.metric == ROLLUP_ARM) {
        return arm_import(state, &name, value);
    }
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    bool has_values = false;
    pack_read_array(&cursor, &fields);
    pack_read_bool(&cursor, &has_values);
    const uint128 magnitude = read_wide(&cursor);
    uint32_t days = 0;
    pack_read_array(&cursor, &days);
    if (cursor.failed || fields != 4 || name.metric >= state->catalog->metric_count) {
        return STATUS_DAMAGED;
    }
    struct cell *cell = NULL;
    enum status status = rollup_cell_make(&state->rollup, &name, has_values, &cell);
    if (status == STATUS_OK) {
        cell->magnitude = magnitude;
        status = matrices_import(cell, &cursor, days);
    }
    return status == STATUS_OK ? cursor_end(&cursor) : status;
}

static enum status event_ids_import(struct state *state, struct bytes value)
{
    if (value.size % EVENT_ID_ROW_SIZE != 0) {
        return STATUS_DAMAGED;
    }
    for (size_t at = 0; at < value.size; at += EVENT_ID_ROW_SIZE) {
        const struct event_print print = {load_u64(value.data + at), load_u64(value.data + at + 8)};
        enum event_ids_answer answer = EVENT_ID_NEW;
        const enum status status = event_ids_add(&state->event_ids, print, load_u32(value.data + at + 16), &answer);
        if (status != STATUS_OK || answer != EVENT_ID_NEW) {
            return status != STATUS_OK ? status : STATUS_DAMAGED;
        }
    }
    return STATUS_OK;
}

static enum status duplicates_import(struct state *state, struct bytes value)
{
    enum status status = value.size % sizeof(uint64_t) == 0 ? STATUS_OK : STATUS_DAMAGED;
    for (size_t at = 0; at < value.size && status == STATUS_OK; at += sizeof(uint64_t)) {
        uint32_t number = 0;
        status = pool_append(&state->duplicates, &number);
        if (status == STATUS_OK) {
            *(uint64_t *)pool_at(&state->duplicates, number) = load_u64(value.data + at);
        }
    }
    return status;
}

enum status state_import(struct state *state, enum state_table table, struct bytes key, struct bytes value)
{
    switch (table) {
    case TABLE_META:
        return meta_import(state, value);
    case TABLE_DEFINITIONS:
        return definition_import(state, key, value);
    case TABLE_USERS:
        return user_import(state, key, value);
    case TABLE_CELLS:
        return cell_import(state, key, value);
    case TABLE_EVENT_IDS:
        return event_ids_import(state, value);
    case TABLE_DUPLICATES:
        return duplicates_import(state, value);
    case TABLE_USER_SETS:
        return state_sets_import(state, key, value);
    case TABLE_ATTRIBUTES:
        return key.size == 1 ? attributes_import(&state->attributes, key.data[0], value) : STATUS_DAMAGED;
    }
    return STATUS_DAMAGED;
}

struct member_order {
    uint64_t lsn;
    uint32_t enrolment;
};

static int member_compare(const void *a, const void *b)
{
    const struct member_order *left = a;
    const struct member_order *right = b;
    return (left->lsn > right->lsn) - (left->lsn < right->lsn);
}

/* Members in the order of the log: users came in another. */
static enum status members_import(struct state *state)
{
    const uint32_t count = state->users.enrolments.count;
    struct member_order *order = malloc((count + 1ull) * sizeof(*order));
    if (order == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        order[i] = (struct member_order){enrolment_at(&state->users, i)->lsn, i};
    }
    qsort(order, count, sizeof(*order), member_compare);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++) {
        const uint32_t number = order[i].enrolment;
        const struct enrolment *enrolment = enrolment_at(&state->users, number);
        struct rollup_experiment *experiment = state_experiment(state, enrolment->experiment);
        status = rollup_is_current(&state->rollup, enrolment)
                     ? list_append(&experiment->members, &experiment->member_count, &experiment->member_capacity, number)
                     : list_append(&experiment->past_members, &experiment->past_member_count,
                                   &experiment->past_member_capacity, number);
    }
    free(order);
    return status;
}

enum status state_import_end(struct state *state)
{
    const bool whole = state->expected.users == state->users.users.count &&
                       state->expected.enrolments == state->totals.assignments &&
                       state->expected.event_ids == state->event_ids.prints.count &&
                       state->expected.duplicates == state->duplicates.count;
    if (!whole) {
        return STATUS_DAMAGED;
    }
    state->exported_definitions = state->definition_count;
    state->exported_event_ids = state->event_ids.prints.count;
    state->exported_duplicates = state->duplicates.count;
    enum status status = attributes_import_end(&state->attributes);
    if (status == STATUS_OK) {
        status = state_sets_import_end(state);
    }
    return status == STATUS_OK ? members_import(state) : status;
}
