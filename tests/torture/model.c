/* model.c: see model.h. */
#include "tests/torture/model.h"

#include <stdio.h>

#include "engine/arena.h"
#include "engine/catalog.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define DAY_US  86400000000ll
#define UNIT_US 1000000ll

bool trouble_set(struct trouble *trouble, const char *format, ...)
{
    if (trouble->text[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(trouble->text, sizeof(trouble->text), format, arguments);
        va_end(arguments);
    }
    return false;
}

/* ---- names ---- */

struct uuid model_experiment_id(int experiment)
{
    struct uuid id = {{0}};
    id.bytes[0] = (uint8_t)(experiment + 1);
    return id;
}

void model_user_name(int user, char out_name[16])
{
    (void)snprintf(out_name, 16, "user-%d", user);
}

void model_metric_name(int metric, char out_name[16])
{
    (void)snprintf(out_name, 16, "m%d", metric);
}

const char *model_type_name(int type)
{
    static const char *const names[MODEL_TYPES] = {"conversion", "purchase", "page_view"};
    return names[type];
}

/* ---- frames ---- */

uint64_t model_record_hash(const void *record, size_t size)
{
    return XXH3_64bits(record, size);
}

uint64_t model_chain_add(uint64_t chain, uint64_t record_hash)
{
    return XXH3_64bits_withSeed(&record_hash, sizeof(record_hash), chain);
}

static void chain_from(struct model *model, uint32_t first)
{
    for (uint32_t i = first; i < model->fact_count; i++) {
        model->chain[i + 1] = model_chain_add(model->chain[i], model->facts[i].record_hash);
    }
}

void model_clear(struct model *model)
{
    model->fact_count = 0;
    model->frame_count = 0;
    model->frames_acknowledged = 0;
    model->tickets = 0;
    model->chain[0] = 0;
}

bool model_has_room(const struct model *model, uint32_t facts)
{
    return model->fact_count + facts <= MODEL_FACTS && model->frame_count < MODEL_FRAMES;
}

uint32_t model_submit(struct model *model, const struct fact *facts, uint32_t count)
{
    assert(model_has_room(model, count));
    uint32_t first = model->fact_count;
    memcpy(&model->facts[first], facts, count * sizeof(*facts));
    model->fact_count += count;
    chain_from(model, first);
    model->frames[model->frame_count++] = (struct model_frame){first, count, ++model->tickets};
    return model->tickets;
}

static void frame_remove(struct model *model, uint32_t index)
{
    struct model_frame removed = model->frames[index];
    uint32_t behind = model->fact_count - removed.first - removed.count;
    memmove(&model->facts[removed.first], &model->facts[removed.first + removed.count],
            behind * sizeof(model->facts[0]));
    model->fact_count -= removed.count;
    for (uint32_t i = index; i + 1 < model->frame_count; i++) {
        model->frames[i] = model->frames[i + 1];
        model->frames[i].first -= removed.count;
    }
    model->frame_count--;
    chain_from(model, removed.first);
}

bool model_acknowledge(struct model *model, uint32_t ticket, uint64_t first_lsn,
                       struct trouble *trouble)
{
    while (model->frames_acknowledged < model->frame_count &&
           model->frames[model->frames_acknowledged].ticket < ticket) {
        frame_remove(model, model->frames_acknowledged);
    }
    const struct model_frame *frame = &model->frames[model->frames_acknowledged];
    if (model->frames_acknowledged == model->frame_count || frame->ticket != ticket) {
        return trouble_set(trouble, "frame %u was acknowledged out of turn, as lsn %llu", ticket,
                           (unsigned long long)first_lsn);
    }
    if (first_lsn != frame->first + 1u) {
        return trouble_set(trouble, "frame %u was acknowledged as lsn %llu; %u is due", ticket,
                           (unsigned long long)first_lsn, frame->first + 1);
    }
    model->frames_acknowledged++;
    return true;
}

void model_refuse(struct model *model, uint32_t ticket)
{
    for (uint32_t i = model->frames_acknowledged; i < model->frame_count; i++) {
        if (model->frames[i].ticket == ticket) {
            frame_remove(model, i);
            return;
        }
    }
}

void model_recover(struct model *model, uint64_t end_lsn)
{
    while (model->frame_count > 0 && model->frames[model->frame_count - 1].first + 1u >= end_lsn) {
        model->frame_count--;
        model->fact_count = model->frames[model->frame_count].first;
    }
    model->frames_acknowledged = model->frame_count;
}

uint64_t model_acknowledged_lsn(const struct model *model)
{
    return model->frames_acknowledged < model->frame_count
               ? model->frames[model->frames_acknowledged].first + 1ull
               : model->fact_count + 1ull;
}

uint64_t model_submitted_lsn(const struct model *model)
{
    return model->fact_count + 1ull;
}

bool model_ends_frame(const struct model *model, uint64_t end_lsn)
{
    uint64_t end = 1;
    for (uint32_t i = 0; i < model->frame_count && end < end_lsn; i++) {
        end = model->frames[i].first + model->frames[i].count + 1ull;
    }
    return end == end_lsn;
}

uint64_t model_chain(const struct model *model, uint64_t end_lsn)
{
    assert(end_lsn <= model_submitted_lsn(model));
    return model->chain[end_lsn - 1];
}

/* ---- the recount ---- */

/* The first records of the model, and what their order decides. */
struct recount {
    const struct model *model;
    uint32_t count;
    struct model_metric metrics[MODEL_METRICS];
    bool duplicate[MODEL_FACTS];
    int assignment[MODEL_EXPERIMENTS][MODEL_USERS]; /* index of the fact; -1: none */
};

static void recount_make(const struct model *model, uint64_t end_lsn, struct recount *recount)
{
    static uint8_t seen[MODEL_FACTS]; /* by event id */
    memset(recount, 0, sizeof(*recount));
    memset(seen, 0, sizeof(seen));
    memset(recount->assignment, 0xff, sizeof(recount->assignment)); /* -1 */
    recount->model = model;
    recount->count = (uint32_t)(end_lsn - 1);
    for (uint32_t i = 0; i < recount->count; i++) {
        const struct fact *fact = &model->facts[i];
        if (fact->kind == FACT_EVENT && fact->id != MODEL_NO_ID) {
            recount->duplicate[i] = seen[fact->id] != 0;
            seen[fact->id] = 1;
        } else if (fact->kind == FACT_ASSIGNMENT) {
            int *first = &recount->assignment[fact->experiment][fact->user];
            *first = *first < 0 ? (int)i : *first;
        } else if (fact->kind == FACT_METRIC) {
            recount->metrics[fact->metric] = fact->definition;
        }
    }
}

static bool feeds(const struct model_metric *metric, const struct fact *event)
{
    return metric->defined && metric->type == event->type;
}

/* One user's total over a range of days. */
static void user_total(const struct recount *recount, const struct fact *assignment, int metric,
                       int64_t first, int64_t last, uint64_t *events, int128 *total)
{
    bool days[MODEL_DAYS] = {false};
    const struct model_metric *definition = &recount->metrics[metric];
    for (uint32_t i = 0; i < recount->count; i++) {
        const struct fact *event = &recount->model->facts[i];
        int64_t day = event->time_us / DAY_US;
        if (event->kind != FACT_EVENT || event->user != assignment->user || recount->duplicate[i] ||
            event->time_us < assignment->time_us || day < first || day > last ||
            !feeds(definition, event)) {
            continue;
        }
        bool *active = &days[day - MODEL_FIRST_DAY];
        (*events)++;
        if (definition->kind == MODEL_SUM) {
            *total += event->amount;
        } else if (definition->kind == MODEL_COUNT || !*active) {
            *total += UNIT_US;
        }
        *active = true;
    }
}

static struct metric_sums recount_sums(const struct recount *recount, int experiment, int variant,
                                       int metric, int64_t first, int64_t last)
{
    struct metric_sums sums = {0};
    for (int user = 0; user < MODEL_USERS; user++) {
        int index = recount->assignment[experiment][user];
        if (index < 0 || recount->model->facts[index].variant != variant) {
            continue;
        }
        uint64_t events = 0;
        int128 total = 0;
        user_total(recount, &recount->model->facts[index], metric, first, last, &events, &total);
        sums.active += events != 0 ? 1 : 0;
        sums.events += events;
        if (recount->metrics[metric].kind != MODEL_PROPORTION) {
            sums.sum += total;
            sums.sum_square += (uint128)(total * total);
        }
    }
    return sums;
}

static uint64_t recount_users(const struct recount *recount, int experiment, int variant)
{
    uint64_t users = 0;
    for (int user = 0; user < MODEL_USERS; user++) {
        int index = recount->assignment[experiment][user];
        users += index >= 0 && recount->model->facts[index].variant == variant ? 1 : 0;
    }
    return users;
}

struct event_counts {
    uint64_t counted;
    uint64_t before;
    uint64_t filtered;
    uint64_t duplicate;
};

static struct event_counts recount_events(const struct recount *recount, int experiment)
{
    struct event_counts counts = {0};
    for (uint32_t i = 0; i < recount->count; i++) {
        const struct fact *event = &recount->model->facts[i];
        int index = event->kind == FACT_EVENT ? recount->assignment[experiment][event->user] : -1;
        if (index < 0) {
            continue;
        }
        bool any = false;
        for (int metric = 0; metric < MODEL_METRICS; metric++) {
            any = any || feeds(&recount->metrics[metric], event);
        }
        if (recount->duplicate[i]) {
            counts.duplicate++;
        } else if (event->time_us < recount->model->facts[index].time_us) {
            counts.before++;
        } else if (any) {
            counts.counted++;
        } else {
            counts.filtered++;
        }
    }
    return counts;
}

/* ---- comparison ---- */

static bool sums_check(const struct metric_sums *got, const struct metric_sums *want,
                       struct trouble *trouble)
{
    bool same = got->active == want->active && got->events == want->events &&
                got->sum == want->sum && got->sum_square == want->sum_square && !got->overflow;
    return same ||
           trouble_set(trouble,
                       "results: %llu active, %llu events, sum %lld; a recount: %llu, %llu, %lld",
                       (unsigned long long)got->active, (unsigned long long)got->events,
                       (long long)got->sum, (unsigned long long)want->active,
                       (unsigned long long)want->events, (long long)want->sum);
}

static bool variants_check(const struct recount *recount, int experiment,
                           const struct results_query *query, const int *numbers,
                           const struct results_data *data, struct trouble *trouble)
{
    for (int variant = 0; variant < MODEL_VARIANTS; variant++) {
        const struct variant_sums *got = &data->variants[variant];
        if (query->end_day == INT32_MAX &&
            got->users != recount_users(recount, experiment, variant)) {
            return trouble_set(trouble, "experiment %d, variant %d has %llu users; a recount: %llu",
                               experiment, variant, (unsigned long long)got->users,
                               (unsigned long long)recount_users(recount, experiment, variant));
        }
        for (uint32_t i = 0; i < query->metric_count; i++) {
            const struct metric_sums want = recount_sums(recount, experiment, variant, numbers[i],
                                                         query->start_day, query->end_day);
            if (!sums_check(&got->metrics[i], &want, trouble)) {
                return false;
            }
        }
    }
    return true;
}

static bool experiment_check(const struct recount *recount, const struct state *state,
                             int experiment, int32_t start, int32_t end, struct trouble *trouble)
{
    uint32_t indexes[MODEL_METRICS];
    int numbers[MODEL_METRICS];
    struct results_query query = {.metrics = indexes, .start_day = start, .end_day = end};
    const struct uuid id = model_experiment_id(experiment);
    const struct catalog *catalog = state_catalog(state);
    query.experiment_index = catalog_find_experiment(catalog, &id);
    for (int metric = 0; metric < MODEL_METRICS; metric++) {
        char name[16];
        model_metric_name(metric, name);
        uint32_t index = catalog_find_metric(catalog, bytes_of_text(name));
        if (index != CATALOG_NONE) {
            numbers[query.metric_count] = metric;
            indexes[query.metric_count++] = index;
        }
    }
    catalog_unref(catalog);
    if (query.experiment_index == CATALOG_NONE) {
        return true; /* the catalog's size is compared elsewhere */
    }
    struct arena arena;
    struct results_data data;
    arena_init(&arena, 16 * 1024);
    bool good = state_results(state, &query, &arena, &data) == STATUS_OK ||
                trouble_set(trouble, "state_results() failed");
    const struct event_counts counts = recount_events(recount, experiment);
    good = good && variants_check(recount, experiment, &query, numbers, &data, trouble);
    if (good &&
        (data.events_counted != counts.counted || data.events_before_assignment != counts.before ||
         data.events_filtered != counts.filtered || data.events_duplicate != counts.duplicate)) {
        good = trouble_set(
            trouble, "experiment %d: %llu events counted, %llu duplicate; a recount: %llu, %llu",
            experiment, (unsigned long long)data.events_counted,
            (unsigned long long)data.events_duplicate, (unsigned long long)counts.counted,
            (unsigned long long)counts.duplicate);
    }
    arena_deinit(&arena);
    return good;
}

static bool assignment_check(const struct recount *recount, const struct state *state,
                             int experiment, int user, struct trouble *trouble)
{
    char name[16];
    struct assignment_view view = {0};
    const struct uuid id = model_experiment_id(experiment);
    const struct catalog *catalog = state_catalog(state);
    uint32_t at = catalog_find_experiment(catalog, &id);
    catalog_unref(catalog);
    model_user_name(user, name);
    bool found = at != CATALOG_NONE && state_find_assignment(state, at, (struct version_range){1, UINT32_MAX}, bytes_of_text(name), &view);
    int index = recount->assignment[experiment][user];
    if (found != (index >= 0)) {
        return trouble_set(trouble, "user %d in experiment %d: assigned %d, wanted %d", user,
                           experiment, found, index >= 0);
    }
    const struct fact *want = &recount->model->facts[index < 0 ? 0 : index];
    return !found ||
           (view.variant == (uint32_t)want->variant && view.assigned_at_us == want->time_us &&
            view.lsn == (uint64_t)index + 1) ||
           trouble_set(trouble,
                       "user %d in experiment %d has variant %u of lsn %llu, not %d of lsn %d",
                       user, experiment, view.variant, (unsigned long long)view.lsn, want->variant,
                       index + 1);
}

/* What the state counts over everything. */
static bool totals_check(const struct recount *recount, const struct state *state,
                         struct trouble *trouble)
{
    struct state_totals totals;
    uint64_t events = 0;
    uint64_t duplicates = 0;
    uint64_t assignments = 0;
    state_totals(state, &totals);
    for (uint32_t i = 0; i < recount->count; i++) {
        events += recount->model->facts[i].kind == FACT_EVENT ? 1 : 0;
        duplicates += recount->duplicate[i] ? 1 : 0;
    }
    for (int i = 0; i < MODEL_EXPERIMENTS * MODEL_USERS; i++) {
        assignments += recount->assignment[i / MODEL_USERS][i % MODEL_USERS] >= 0 ? 1 : 0;
    }
    return (totals.events == events && totals.events_duplicate == duplicates &&
            totals.assignments == assignments && state_next_lsn(state) == recount->count + 1ull) ||
           trouble_set(
               trouble,
               "totals: %llu events, %llu duplicate, %llu assigned; a recount: %llu, %llu, %llu",
               (unsigned long long)totals.events, (unsigned long long)totals.events_duplicate,
               (unsigned long long)totals.assignments, (unsigned long long)events,
               (unsigned long long)duplicates, (unsigned long long)assignments);
}

bool model_check_state(const struct model *model, uint64_t end_lsn, const struct state *state,
                       struct trouble *trouble)
{
    static struct recount recount;
    recount_make(model, end_lsn, &recount);
    bool good = totals_check(&recount, state, trouble);
    for (int experiment = 0; experiment < MODEL_EXPERIMENTS && good; experiment++) {
        for (int user = 0; user < MODEL_USERS && good; user++) {
            good = assignment_check(&recount, state, experiment, user, trouble);
        }
        /* Everything, and a range that cuts into the data at a place that moves with its size. */
        int32_t start = MODEL_FIRST_DAY + (int32_t)(end_lsn % (MODEL_DAYS - 1));
        good = good && experiment_check(&recount, state, experiment, INT32_MIN, INT32_MAX, trouble);
        good = good && experiment_check(&recount, state, experiment, start, start + 1, trouble);
    }
    return good;
}
