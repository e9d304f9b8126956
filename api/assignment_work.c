/* assignment_work.c: see assignment_work.h. */
#include "api/assignment_work.h"

#include "engine/assign.h"

#define NO_RECORD UINT32_MAX
/* What an assignment's record takes beside user id and attributes. */
#define ASSIGNMENT_OVERHEAD 72u
/* How often what a rerandomization refused is decided again. */
#define ATTEMPTS_MAX 8u

static const struct experiment *experiment_at(const struct call *call, uint32_t index)
{
    return call->catalog->experiments[index]->current;
}

const struct variant *assignment_variant(struct call *call, const struct entry *entry)
{
    if (entry->is_override) {
        const uint32_t variant = catalog_find_override(call->catalog, entry->experiment, entry->user_id);
        return variant != CATALOG_NONE ? &experiment_at(call, entry->experiment)->variants[variant] : NULL;
    }
    if (entry->reason != NULL) {
        return NULL;
    }
    if (entry->stored.variant >= experiment_at(call, entry->experiment)->variant_count) {
        call_refresh_catalog(call);
    }
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    assert(entry->stored.variant < experiment->variant_count);
    return &experiment->variants[entry->stored.variant];
}

static bool find_stored(const struct call *call, struct entry *entry)
{
    return engine_find_assignment(call->engine, entry->experiment,
                                  catalog_current_versions(call->catalog, entry->experiment), entry->user_id,
                                  &entry->stored);
}

/* Looks the entry's assignment up; where there is none, decides whether one is to be made. */
static void entry_decide(struct call *call, struct entry *entry)
{
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    entry->record = NO_RECORD;
    entry->reason = NULL;
    entry->is_override = entry->forced_variant == ENTRY_NO_VARIANT &&
                         catalog_find_override(call->catalog, entry->experiment, entry->user_id) != CATALOG_NONE;
    if (entry->is_override) {
        entry->reason = assign_reason_name(ASSIGN_OVERRIDE);
        return;
    }
    if (find_stored(call, entry)) {
        return;
    }
    if (entry->forced_variant != ENTRY_NO_VARIANT) {
        /* An import may come before the start or after the end, but not into what was put away. */
        if (experiment->status == EXPERIMENT_ARCHIVED) {
            entry->reason = assign_reason_name(ASSIGN_NOT_RUNNING);
        }
        entry->variant = entry->forced_variant;
        return;
    }
    const struct targeting_subject subject = entry_subject(call, entry);
    struct assign_result result = assign_user(experiment, &subject, call->received_at_us);
    if (result.reason != ASSIGN_SPLIT) {
        entry->reason = assign_reason_name(result.reason);
    } else if (entry->no_enrol) {
        entry->reason = "not_enrolled";
    }
    entry->variant = result.variant;
}

static bool entry_is_stored(const struct entry *entry)
{
    return entry->reason == NULL && entry->stored.lsn != 0;
}

static size_t record_size_max(const struct entry *entry)
{
    return ASSIGNMENT_OVERHEAD + entry->user_id.size + entry->attributes.size;
}

static void entry_encode(const struct call *call, const struct entry *entry,
                         struct pack_writer *frame)
{
    const struct experiment *experiment = experiment_at(call, entry->experiment);
    struct assignment assignment = {
        .experiment_id = experiment->id,
        .user_id = entry->user_id,
        .variant = entry->variant,
        .experiment_version = experiment->version,
        .assigned_at_us = entry->assigned_at_us != 0 ? entry->assigned_at_us : call->received_at_us,
        .forced = entry->forced_variant != ENTRY_NO_VARIANT,
        .attributes = entry->attributes,
    };
    assignment_encode(frame, &assignment, call->received_at_us);
}

/* Was anything refused because its experiment was rerandomized between the decision and the write? Then the catalog is the
 * newest afterwards, to decide again. */
static bool is_outdated(struct call *call, const struct assignment_work *work)
{
    bool any_refused = false;
    for (uint32_t i = 0; i < work->count; i++) {
        const struct entry *entry = &work->entries[i];
        any_refused = any_refused ||
                      (entry->record != NO_RECORD && work->outcomes[entry->record] == OUTCOME_SUPERSEDED);
    }
    if (!any_refused || work->attempts == ATTEMPTS_MAX) {
        return false;
    }
    const struct catalog *before = catalog_ref(call->catalog);
    bool any_outdated = false;
    call_refresh_catalog(call);
    for (uint32_t i = 0; i < work->count; i++) {
        const uint32_t index = work->entries[i].experiment;
        any_outdated = any_outdated || before->experiments[index]->current->generation !=
                                           call->catalog->experiments[index]->current->generation;
    }
    catalog_unref(before);
    return any_outdated;
}

/* The frame is durable and applied: what is stored now is the answer, whoever wrote it. */
static void work_done(struct call *call)
{
    struct assignment_work *work = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    if (is_outdated(call, work)) {
        work->attempts++;
        assignment_work_run(call, work);
        return;
    }
    for (uint32_t i = 0; i < work->count; i++) {
        struct entry *entry = &work->entries[i];
        if (entry->record == NO_RECORD) {
            continue;
        }
        bool found = find_stored(call, entry);
        if (!found) {
            /* Somebody enrolled the user in another experiment of the layer first. */
            entry->reason = assign_reason_name(ASSIGN_LAYER);
        }
        entry->is_new = found && work->outcomes[entry->record] == OUTCOME_APPLIED;
    }
    work->reply(call, work);
}

static void work_write(struct call *call, struct assignment_work *work, size_t size)
{
    if (size > LIMIT_FRAME) {
        call_reply_problem(call, 413, "body_too_large",
                           "The assignments take more than %u bytes as stored; send fewer at a "
                           "time.",
                           LIMIT_FRAME);
        return;
    }
    struct pack_writer frame = call_frame(call, size);
    work->outcomes = arena_take_zeroed(&call->arena, work->records);
    if (frame.data == NULL || work->outcomes == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < work->count; i++) {
        if (work->entries[i].record != NO_RECORD) {
            entry_encode(call, &work->entries[i], &frame);
        }
    }
    assert(!frame.overflow);
    call->handler_data = work;
    call_set_write(call, &frame, work->records, work->outcomes);
    (void)call_submit(call, work_done);
}

void assignment_work_run(struct call *call, struct assignment_work *work)
{
    size_t size = 0;
    work->records = 0;
    for (uint32_t i = 0; i < work->count; i++) {
        struct entry *entry = &work->entries[i];
        entry_decide(call, entry);
        if (entry->reason == NULL && !entry_is_stored(entry)) {
            entry->record = work->records++;
            size += record_size_max(entry);
        }
    }
    if (work->records == 0) {
        work->reply(call, work);
    } else {
        work_write(call, work, size);
    }
}

struct assignment_work *assignment_work_make(struct call *call, uint32_t count)
{
    struct assignment_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    struct entry *entries = arena_take_zeroed(&call->arena, count * sizeof(*entries) + 1);
    if (work == NULL || entries == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    work->entries = entries;
    work->count = count;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].forced_variant = ENTRY_NO_VARIANT;
    }
    return work;
}

static bool is_answered(const struct call *call, uint32_t index, struct bytes user_id)
{
    return experiment_at(call, index)->status == EXPERIMENT_RUNNING ||
           catalog_find_override(call->catalog, index, user_id) != CATALOG_NONE;
}

struct assignment_work *assignment_work_everywhere(struct call *call, const struct entry *asked)
{
    uint32_t answered = 0;
    for (uint32_t i = 0; i < call->catalog->experiment_count; i++) {
        answered += is_answered(call, i, asked->user_id) ? 1 : 0;
    }
    struct assignment_work *work = assignment_work_make(call, answered);
    if (work == NULL) {
        return NULL;
    }
    uint32_t filled = 0;
    for (uint32_t i = 0; i < call->catalog->experiment_count; i++) {
        if (is_answered(call, i, asked->user_id)) {
            work->entries[filled] = *asked;
            work->entries[filled++].experiment = i;
        }
    }
    return work;
}
