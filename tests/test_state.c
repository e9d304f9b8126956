/* test_state.c: the fold against a recount.
 *
 * Goal    For any history of definitions, assignments and events, every number of state_results() equals what a naive
 *         count over the raw facts gives, integer for integer; and neither restarts, batching nor arrival order change
 *         it.
 * Method  Seeded random histories: late, duplicated and early events, erased users, forced assignments in the past, several experiments
 *         a user, metrics defined or changed at any point, values of all signs. The recount below shares no code with the
 *         engine: it keeps the facts and adds them up per user for each question.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/arena.h"
#include "engine/timestamp.h"
#include "tests/support/fold.h"

#define USERS       12
#define EXPERIMENTS 3
#define VARIANTS    3
#define METRICS     5
#define SETS        2
#define COLORS      3
#define RATIO METRICS /* the number of the ratio of m1 and m2 */
#define MAX_FACTS   400
#define DAYS        9
#define FIRST_DAY   19723 /* 2024-01-01 */

static const char *const event_types[] = {"conversion", "purchase", "page_view"};

/* What a metric counts, in the recount's own words. In the order of definition in the log. */
struct model_metric {
    bool defined;
    int type;    /* index in event_types */
    int kind;    /* 0 proportion, 1 sum of amount, 2 count, 3 unique days, 4 max of amount, 5 retention, 6 quantile of amount */
    int cap;     /* whole units; 0: none */
    int percentile; /* hundredths, of totals other than 0; 0: none */
    int window;  /* hours; 0: none */
    int from_day;
    int to_day;
    bool only_eur;
};

struct model_event {
    int user;
    int type;
    int64_t time;
    int64_t amount; /* millionths */
    bool has_amount;
    bool eur;
    int id; /* -1: none */
};

struct model_assignment {
    int user;
    int experiment;
    int variant;
    int64_t time;
    int color; /* attribute; -1: none */
    bool outdated; /* decided just before the experiment was rerandomized, written after */
};

struct model_override {
    int experiment;
    int user;
    int variant; /* -1: none any more */
};

struct model_set_change {
    int set;
    enum user_set_operation operation;
    uint32_t users; /* a bit each */
    uint32_t parts;
    uint32_t logged; /* fewer where the log was cut in between: then it has no effect */
};

/* A fact in the order of the log. */
struct fact {
    enum { FACT_EVENT, FACT_ASSIGNMENT, FACT_METRIC, FACT_RERANDOMIZE, FACT_OVERRIDE, FACT_SET, FACT_ERASURE } kind;
    struct model_event event;
    struct model_assignment assignment;
    int metric;
    struct model_metric definition;
    int experiment; /* rerandomized */
    struct model_override override;
    struct model_set_change change;
    int user; /* erased */
};

struct facts {
    struct fact facts[MAX_FACTS];
    int count;
};

static uint64_t seed_state;

static uint32_t pick(uint32_t below)
{
    seed_state += 0x9e3779b97f4a7c15ull;
    uint64_t z = seed_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)((z ^ (z >> 31)) % below);
}

static int64_t pick_time(void)
{
    const int64_t day = FIRST_DAY + pick(DAYS);
    /* Few distinct moments, so that equal ones and both sides of an assignment are common. */
    return day * MICROSECONDS_PER_DAY + pick(5) * 3600000000ll;
}

static struct model_metric pick_metric(int number)
{
    struct model_metric metric = {.defined = true, .type = (int)pick(2), .kind = number == 0 ? 0 : (int)pick(7)};
    const bool takes_amounts = metric.kind == 1 || metric.kind == 4 || metric.kind == 6;
    const bool is_mean = metric.kind >= 1 && metric.kind <= 4;
    metric.only_eur = takes_amounts && pick(2) == 0;
    metric.type = takes_amounts ? 1 : metric.type;
    metric.cap = is_mean && pick(3) == 0 ? 1 + (int)pick(takes_amounts ? 1500 : 3) : 0;
    metric.percentile = is_mean && metric.cap == 0 && pick(3) == 0 ? 1 + (int)pick(99) : 0;
    metric.window = metric.kind != 5 && pick(3) == 0 ? 1 + (int)pick(72) : 0;
    metric.from_day = (int)pick(4);
    metric.to_day = metric.from_day + 1 + (int)pick(3);
    return metric;
}

static struct model_set_change pick_set_change(void)
{
    struct model_set_change change = {.set = (int)pick(SETS),
                                      .operation = (enum user_set_operation)(1 + pick(4)),
                                      .users = pick(1u << USERS),
                                      .parts = 1 + pick(3)};
    if (change.operation == USER_SET_DROP) {
        change.users = 0;
        change.parts = 1;
    }
    change.logged = change.parts > 1 && pick(5) == 0 ? change.parts - 1 : change.parts;
    return change;
}

static void history_make(struct facts *history, uint64_t seed)
{
    seed_state = seed;
    history->count = 0;
    const int wanted = 20 + (int)pick(MAX_FACTS - 60);
    for (int i = 0; i < METRICS; i++) {
        if (pick(3) != 0) {
            history->facts[history->count++] =
                (struct fact){.kind = FACT_METRIC, .metric = i, .definition = pick_metric(i)};
        }
    }
    while (history->count < wanted) {
        struct fact *fact = &history->facts[history->count++];
        const uint32_t roll = pick(100);
        if (roll < 2) {
            const int number = (int)pick(METRICS);
            *fact = (struct fact){.kind = FACT_METRIC, .metric = number, .definition = pick_metric(number)};
        } else if (roll < 5) {
            *fact = (struct fact){.kind = FACT_SET, .change = pick_set_change()};
        } else if (roll < 6) {
            *fact = (struct fact){.kind = FACT_OVERRIDE,
                                  .override = {(int)pick(EXPERIMENTS), (int)pick(USERS), (int)pick(VARIANTS + 1) - 1}};
        } else if (roll < 7) {
            *fact = (struct fact){.kind = FACT_RERANDOMIZE, .experiment = (int)pick(EXPERIMENTS)};
        } else if (roll < 8) {
            *fact = (struct fact){.kind = FACT_ERASURE, .user = (int)pick(USERS)};
        } else if (roll < 25) {
            fact->kind = FACT_ASSIGNMENT;
            fact->assignment = (struct model_assignment){(int)pick(USERS), (int)pick(EXPERIMENTS), (int)pick(VARIANTS),
                                                         pick_time(), (int)pick(COLORS + 1) - 1, pick(8) == 0};
        } else {
            fact->kind = FACT_EVENT;
            fact->event = (struct model_event){.user = (int)pick(USERS),
                                               .type = (int)pick(3),
                                               .time = pick_time(),
                                               .amount = (int64_t)pick(2000000000) - 500000000,
                                               .has_amount = pick(5) != 0,
                                               .eur = pick(2) == 0,
                                               .id = pick(2) == 0 ? (int)pick(60) : -1};
        }
    }
}

/* ---- the history as a log ---- */

static struct uuid experiment_id(int number)
{
    struct uuid id = {{0}};
    id.bytes[0] = (uint8_t)(number + 1);
    return id;
}

static void log_metric(struct fold_log *log, int number, const struct model_metric *metric, uint32_t version)
{
    static const char *const kinds[] = {"\"proportion\"", "\"mean\",\"aggregation\":\"sum\",\"property\":\"amount\"",
                                        "\"mean\",\"aggregation\":\"count\"", "\"mean\",\"aggregation\":\"unique_days\"",
                                        "\"mean\",\"aggregation\":\"max\",\"property\":\"amount\"", "\"retention\"",
                                        "\"quantile\",\"quantile\":0.4,\"property\":\"amount\""};
    char json[512];
    char cap[64] = "";
    char more[64] = "";
    if (metric->cap != 0) {
        snprintf(cap, sizeof(cap), ",\"cap\":{\"upper\":%d}", metric->cap);
    } else if (metric->percentile != 0) {
        snprintf(cap, sizeof(cap), ",\"cap\":{\"percentile\":0.%02d}", metric->percentile);
    }
    if (metric->kind == 5) {
        snprintf(more, sizeof(more), ",\"from_day\":%d,\"to_day\":%d", metric->from_day, metric->to_day);
    } else if (metric->window != 0) {
        snprintf(more, sizeof(more), ",\"window_hours\":%d", metric->window);
    }
    snprintf(json, sizeof(json), "{\"name\":\"m%d\",\"event_type\":\"%s\",\"type\":%s%s%s%s}", number,
             event_types[metric->type], kinds[metric->kind], cap, more,
             metric->only_eur ? ",\"filters\":[{\"property\":\"currency\",\"op\":\"eq\",\"value\":\"EUR\"}]" : "");
    fold_log_metric(log, json, version);
}

static void log_event(struct fold_log *log, const struct model_event *model)
{
    char user[32];
    char id[32];
    uint8_t properties[128];
    snprintf(user, sizeof(user), "user-%d", model->user);
    snprintf(id, sizeof(id), "event-%d", model->id);
    struct pack_writer writer = pack_writer_on(properties, sizeof(properties));
    pack_map(&writer, model->has_amount ? 2 : 1);
    pack_text_z(&writer, "currency");
    pack_text_z(&writer, model->eur ? "EUR" : "USD");
    if (model->has_amount) {
        pack_text_z(&writer, "amount");
        pack_millionths(&writer, model->amount);
    }
    const struct event event = {.event_id = model->id >= 0 ? bytes_of_text(id) : (struct bytes){0},
                                .user_id = bytes_of_text(user),
                                .event_type = bytes_of_text(event_types[model->type]),
                                .timestamp_us = model->time,
                                .properties = bytes_of(writer.data, writer.size)};
    fold_log_event(log, &event);
}

static void log_assignment(struct fold_log *log, const struct model_assignment *model, uint32_t version)
{
    char user[32];
    snprintf(user, sizeof(user), "user-%d", model->user);
    uint8_t attributes[64];
    char color[16];
    snprintf(color, sizeof(color), "color-%d", model->color);
    struct pack_writer writer = pack_writer_on(attributes, sizeof(attributes));
    pack_map(&writer, model->color >= 0 ? 2 : 1);
    pack_text_z(&writer, "number");
    pack_int(&writer, model->user % 3);
    if (model->color >= 0) {
        pack_text_z(&writer, "color");
        pack_text_z(&writer, color);
    }
    const struct assignment assignment = {.experiment_id = experiment_id(model->experiment),
                                          .attributes = bytes_of(writer.data, writer.size),
                                          .user_id = bytes_of_text(user),
                                          .variant = (uint32_t)model->variant,
                                          .experiment_version = version > 1 && model->outdated ? version - 1 : version,
                                          .assigned_at_us = model->time,
                                          .forced = true};
    fold_log_assignment(log, &assignment);
}

static void log_override(struct fold_log *log, const struct model_override *override)
{
    const struct uuid id = experiment_id(override->experiment);
    char user[32];
    snprintf(user, sizeof(user), "user-%d", override->user);
    fold_log_override(log, &id, user, override->variant);
}

static void log_set_change(struct fold_log *log, const struct model_set_change *change)
{
    char texts[USERS][32];
    const char *users[USERS];
    uint32_t count = 0;
    char name[32];
    for (int i = 0; i < USERS; i++) {
        if ((change->users >> i & 1u) != 0) {
            snprintf(texts[count], sizeof(texts[count]), "user-%d", i);
            users[count] = texts[count];
            count++;
        }
    }
    snprintf(name, sizeof(name), "set-%d", change->set);
    fold_log_user_set(log, name, change->operation, users, count, change->parts, change->logged);
}

static void history_log(const struct facts *history, struct fold_log *log)
{
    fold_log_init(log);
    for (int i = 0; i < EXPERIMENTS; i++) {
        char json[256];
        snprintf(json, sizeof(json),
                 "{\"name\":\"experiment %d\",\"variants\":[{\"name\":\"a\"},{\"name\":\"b\"},{\"name\":\"c\"}],"
                 "\"metrics\":[]}",
                 i);
        const struct uuid id = experiment_id(i);
        fold_log_experiment(log, json, &id);
    }
    uint32_t versions[METRICS] = {0};
    uint32_t experiment_versions[EXPERIMENTS] = {1, 1, 1};
    bool has_ratio = false;
    for (int i = 0; i < history->count; i++) {
        const struct fact *fact = &history->facts[i];
        if (fact->kind == FACT_METRIC) {
            log_metric(log, fact->metric, &fact->definition, ++versions[fact->metric]);
            if (!has_ratio && versions[1] != 0 && versions[2] != 0) {
                fold_log_metric(log, "{\"name\":\"q\",\"type\":\"ratio\",\"numerator\":\"m1\",\"denominator\":\"m2\"}", 1);
                has_ratio = true;
            }
        } else if (fact->kind == FACT_EVENT) {
            log_event(log, &fact->event);
        } else if (fact->kind == FACT_OVERRIDE) {
            log_override(log, &fact->override);
        } else if (fact->kind == FACT_SET) {
            log_set_change(log, &fact->change);
        } else if (fact->kind == FACT_ERASURE) {
            char user[32];
            snprintf(user, sizeof(user), "user-%d", fact->user);
            fold_log_erasure(log, user);
        } else if (fact->kind == FACT_RERANDOMIZE) {
            const struct uuid id = experiment_id(fact->experiment);
            fold_log_rerandomize(log, &id, ++experiment_versions[fact->experiment]);
        } else {
            log_assignment(log, &fact->assignment, experiment_versions[fact->assignment.experiment]);
        }
    }
}

/* ---- the recount ---- */

static bool takes_amounts(const struct model_metric *metric)
{
    return metric->kind == 1 || metric->kind == 4 || metric->kind == 6;
}

static bool feeds(const struct model_metric *metric, const struct model_event *event, int64_t *out_value)
{
    *out_value = takes_amounts(metric) ? event->amount : 1000000;
    return metric->defined && metric->type == event->type && (!takes_amounts(metric) || event->has_amount) &&
           (!metric->only_eur || event->eur);
}

struct recount {
    const struct facts *history;
    struct model_metric metrics[METRICS]; /* as last defined */
    bool is_duplicate[MAX_FACTS];
    bool is_erased[MAX_FACTS];     /* its user was, later */
    bool is_superseded[MAX_FACTS]; /* or history, since its experiment was rerandomized, or erased */
    int only_color; /* of the question at hand: of users assigned with it; -2: of all. So the next two */
    int128 caps[METRICS];
    int64_t today;
};

/* A log without the user up to here, but that the ids of the events are taken. */
static void recount_erase(struct recount *recount, int end, int user, bool assigned[EXPERIMENTS][USERS])
{
    for (int i = 0; i < end; i++) {
        const struct fact *fact = &recount->history->facts[i];
        recount->is_erased[i] |= fact->kind == FACT_EVENT && fact->event.user == user;
        recount->is_superseded[i] |= fact->kind == FACT_ASSIGNMENT && fact->assignment.user == user;
    }
    for (int i = 0; i < EXPERIMENTS; i++) {
        assigned[i][user] = false;
    }
}

static void recount_make(const struct facts *history, struct recount *recount)
{
    bool ids[60] = {false};
    bool assigned[EXPERIMENTS][USERS] = {{false}};
    bool is_rerandomized[EXPERIMENTS] = {false};
    memset(recount, 0, sizeof(*recount));
    recount->history = history;
    recount->only_color = -2;
    for (int i = 0; i < history->count; i++) {
        const struct fact *fact = &history->facts[i];
        if (fact->kind == FACT_METRIC) {
            recount->metrics[fact->metric] = fact->definition;
        } else if (fact->kind == FACT_EVENT && fact->event.id >= 0) {
            recount->is_duplicate[i] = ids[fact->event.id];
            ids[fact->event.id] = true;
        } else if (fact->kind == FACT_ERASURE) {
            recount_erase(recount, i, fact->user, assigned);
        } else if (fact->kind == FACT_RERANDOMIZE) {
            is_rerandomized[fact->experiment] = true;
            for (int j = 0; j < i; j++) {
                recount->is_superseded[j] = recount->is_superseded[j] ||
                                            (history->facts[j].kind == FACT_ASSIGNMENT &&
                                             history->facts[j].assignment.experiment == fact->experiment);
            }
            memset(assigned[fact->experiment], 0, sizeof(assigned[fact->experiment]));
        } else if (fact->kind == FACT_ASSIGNMENT) {
            const struct model_assignment *assignment = &fact->assignment;
            const bool is_outdated = assignment->outdated && is_rerandomized[assignment->experiment];
            recount->is_superseded[i] = is_outdated || assigned[assignment->experiment][assignment->user];
            assigned[assignment->experiment][assignment->user] |= !is_outdated;
        }
    }
}

static const struct model_assignment *assignment_of(const struct recount *recount, int experiment, int user)
{
    for (int i = 0; i < recount->history->count; i++) {
        const struct fact *fact = &recount->history->facts[i];
        if (fact->kind == FACT_ASSIGNMENT && !recount->is_superseded[i] && fact->assignment.experiment == experiment &&
            fact->assignment.user == user && (recount->only_color == -2 || fact->assignment.color == recount->only_color)) {
            return &fact->assignment;
        }
    }
    return NULL;
}

/* One user's total over a range of days. */
static void user_total(const struct recount *recount, const struct model_assignment *assignment, int metric,
                       int64_t first, int64_t last, uint64_t *events, int128 *total)
{
    bool days[DAYS] = {false};
    const struct model_metric *definition = &recount->metrics[metric];
    for (int i = 0; i < recount->history->count; i++) {
        const struct fact *fact = &recount->history->facts[i];
        int64_t value = 0;
        if (fact->kind != FACT_EVENT || recount->is_duplicate[i] || recount->is_erased[i] || fact->event.user != assignment->user ||
            fact->event.time < assignment->time || !feeds(definition, &fact->event, &value) ||
            (definition->window != 0 && fact->event.time >= assignment->time + definition->window * 3600000000ll)) {
            continue;
        }
        const int64_t day = fact->event.time / MICROSECONDS_PER_DAY;
        if (day < first || day > last) {
            continue;
        }
        (*events)++;
        if (definition->kind == 3) {
            value = days[day - FIRST_DAY] ? 0 : 1000000;
        }
        days[day - FIRST_DAY] = true;
        if (definition->kind == 4) {
            *total = *events == 1 || value > *total ? value : *total;
        } else {
            *total += value;
        }
    }
}

/* Of the users whose days are over on one of these days: who came back? */
static struct metric_sums recount_retention(const struct recount *recount, int experiment, int variant, int metric, int64_t first,
                                            int64_t last)
{
    const struct model_metric *definition = &recount->metrics[metric];
    struct metric_sums sums = {0};
    for (int user = 0; user < USERS; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        if (assignment == NULL || assignment->variant != variant) {
            continue;
        }
        const int64_t day = assignment->time / MICROSECONDS_PER_DAY;
        const int64_t end = day + definition->to_day;
        if (end < first || end > last || end >= recount->today) {
            continue;
        }
        uint64_t events = 0;
        int128 total = 0;
        user_total(recount, assignment, metric, day + definition->from_day, end, &events, &total);
        sums.users++;
        sums.active += events != 0 ? 1 : 0;
        sums.events += events;
        sums.sum += events != 0 ? 1000000 : 0;
        sums.sum_square += events != 0 ? 1000000000000ull : 0;
    }
    return sums;
}

static int amount_order(const void *a, const void *b)
{
    const int64_t left = *(const int64_t *)a;
    const int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* The amounts of one user, or of all of a variant. */
static int amounts_of(const struct recount *recount, int experiment, int variant, int metric, int64_t first, int64_t last, int only_user,
                      int64_t *amounts)
{
    const struct model_metric *definition = &recount->metrics[metric];
    int count = 0;
    for (int i = 0; i < recount->history->count; i++) {
        const struct fact *fact = &recount->history->facts[i];
        int64_t value = 0;
        if (fact->kind != FACT_EVENT || recount->is_duplicate[i] || recount->is_erased[i] || (only_user >= 0 && fact->event.user != only_user) ||
            !feeds(definition, &fact->event, &value)) {
            continue;
        }
        const struct model_assignment *assignment = assignment_of(recount, experiment, fact->event.user);
        const int64_t day = fact->event.time / MICROSECONDS_PER_DAY;
        if (assignment != NULL && assignment->variant == variant && fact->event.time >= assignment->time && day >= first && day <= last &&
            (definition->window == 0 || fact->event.time < assignment->time + definition->window * 3600000000ll)) {
            amounts[count++] = value;
        }
    }
    return count;
}

static uint64_t recount_users(const struct recount *recount, int experiment, int variant, int64_t last);

static struct metric_sums recount_quantile(const struct recount *recount, int experiment, int variant, int metric, int64_t first,
                                           int64_t last, bool with_shares)
{
    int64_t amounts[MAX_FACTS];
    const int count = amounts_of(recount, experiment, variant, metric, first, last, -1, amounts);
    struct metric_sums sums = {.users = recount_users(recount, experiment, variant, last), .events = (uint64_t)count};
    qsort(amounts, (size_t)count, sizeof(amounts[0]), amount_order);
    const int place = (count * 4 + 9) / 10 - 1; /* 0.4 of them, rounded up */
    sums.quantile = count != 0 ? amounts[place] : 0;
    for (int user = 0; user < USERS && with_shares; user++) {
        int64_t own[MAX_FACTS];
        const int owns = amounts_of(recount, experiment, variant, metric, first, last, user, own);
        int128 below = 0;
        for (int i = 0; i < owns; i++) {
            below += own[i] <= sums.quantile ? 1000000 : 0;
        }
        const int128 all = (int128)owns * 1000000;
        sums.active += owns != 0 ? 1 : 0;
        sums.sum += below;
        sums.sum_square += (uint128)(below * below);
        sums.other_sum += all;
        sums.other_square += (uint128)(all * all);
        sums.product += below * all;
    }
    return sums;
}

/* What a user's total counts as at most, by the users that the question is about. */
static int128 recount_cap(const struct recount *recount, int experiment, int metric, int64_t first, int64_t last)
{
    const struct model_metric *definition = &recount->metrics[metric];
    int64_t totals[USERS];
    int count = 0;
    for (int user = 0; user < USERS && definition->percentile != 0; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        if (assignment == NULL || assignment->time / MICROSECONDS_PER_DAY > last) {
            continue;
        }
        uint64_t events = 0;
        int128 total = 0;
        user_total(recount, assignment, metric, first, last, &events, &total);
        if (total != 0) {
            totals[count++] = (int64_t)total;
        }
    }
    if (count == 0) {
        return definition->cap != 0 ? (int128)definition->cap * 1000000 : (int128)INT64_MAX;
    }
    qsort(totals, (size_t)count, sizeof(totals[0]), amount_order);
    const int64_t cap = totals[(count * definition->percentile + 99) / 100 - 1];
    return cap > 0 ? cap : 0;
}

static struct metric_sums recount_ratio(const struct recount *recount, int experiment, int variant, int64_t first, int64_t last);

static struct metric_sums recount_sums(const struct recount *recount, int experiment, int variant, int metric,
                                       int64_t first, int64_t last)
{
    if (metric == RATIO) {
        return recount_ratio(recount, experiment, variant, first, last);
    }
    if (recount->metrics[metric].kind == 5) {
        return recount_retention(recount, experiment, variant, metric, first, last);
    }
    struct metric_sums sums = {.users = recount_users(recount, experiment, variant, last)};
    for (int user = 0; user < USERS; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        if (assignment == NULL || assignment->variant != variant) {
            continue;
        }
        uint64_t events = 0;
        int128 total = 0;
        user_total(recount, assignment, metric, first, last, &events, &total);
        const struct model_metric *definition = &recount->metrics[metric];
        total = total > recount->caps[metric] ? recount->caps[metric] : total;
        total = definition->kind == 0 ? (events != 0 && definition->window != 0 ? 1000000 : 0) : total; /* sums of windows only */
        sums.active += events != 0 ? 1 : 0;
        sums.events += events;
        sums.sum += total;
        sums.sum_square += (uint128)(total * total);
    }
    return sums;
}

static uint64_t recount_users(const struct recount *recount, int experiment, int variant, int64_t last)
{
    uint64_t users = 0;
    for (int user = 0; user < USERS; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        users += assignment != NULL && assignment->variant == variant &&
                         assignment->time / MICROSECONDS_PER_DAY <= last
                     ? 1
                     : 0;
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
    for (int i = 0; i < recount->history->count; i++) {
        const struct fact *fact = &recount->history->facts[i];
        const struct model_assignment *assignment =
            fact->kind == FACT_EVENT && !recount->is_erased[i] ? assignment_of(recount, experiment, fact->event.user) : NULL;
        if (assignment == NULL) {
            continue;
        }
        bool any = false;
        for (int j = 0; j < METRICS; j++) {
            int64_t value = 0;
            any = any || feeds(&recount->metrics[j], &fact->event, &value);
        }
        if (recount->is_duplicate[i]) {
            counts.duplicate++;
        } else if (fact->event.time < assignment->time) {
            counts.before++;
        } else if (any) {
            counts.counted++;
        } else {
            counts.filtered++;
        }
    }
    return counts;
}

/* With what the users did in the days before their assignment, and on its day before it. */
static struct metric_sums recount_covariate(const struct recount *recount, int experiment, int variant, int metric, int64_t first,
                                            int64_t last, int64_t days)
{
    const struct model_metric *definition = &recount->metrics[metric];
    struct metric_sums sums = {.users = recount_users(recount, experiment, variant, last)};
    for (int user = 0; user < USERS; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        if (assignment == NULL || assignment->variant != variant || assignment->time / MICROSECONDS_PER_DAY > last) {
            continue;
        }
        uint64_t events = 0;
        int128 after = 0;
        user_total(recount, assignment, metric, first, last, &events, &after);
        sums.active += events != 0 ? 1 : 0;
        sums.events += events;
        uint64_t events_before = 0;
        int128 before = 0;
        bool active[DAYS] = {false};
        for (int i = 0; i < recount->history->count; i++) {
            const struct fact *fact = &recount->history->facts[i];
            int64_t value = 0;
            if (fact->kind != FACT_EVENT || recount->is_duplicate[i] || recount->is_erased[i] || fact->event.user != user ||
                fact->event.time >= assignment->time || !feeds(definition, &fact->event, &value)) {
                continue;
            }
            const int64_t day = fact->event.time / MICROSECONDS_PER_DAY;
            if (day >= assignment->time / MICROSECONDS_PER_DAY - days) {
                events_before++;
                if (definition->kind == 4) {
                    before = events_before == 1 || value > before ? value : before;
                } else {
                    before += definition->kind == 3 ? (active[day - FIRST_DAY] ? 0 : 1000000) : value;
                }
                active[day - FIRST_DAY] = true;
            }
        }
        after = after > recount->caps[metric] ? recount->caps[metric] : after;
        after = definition->kind == 0 ? (events != 0 ? 1000000 : 0) : after;
        before = definition->kind == 0 ? (events_before != 0 ? 1000000 : 0) : before;
        sums.sum += after;
        sums.sum_square += (uint128)(after * after);
        sums.other_sum += before;
        sums.other_square += (uint128)(before * before);
        sums.product += after * before;
    }
    return sums;
}

/* The ratio of m1 and m2, over the same users: caps do not count in it. */
static struct metric_sums recount_ratio(const struct recount *recount, int experiment, int variant, int64_t first, int64_t last)
{
    struct metric_sums sums = {.users = recount_users(recount, experiment, variant, last)};
    for (int user = 0; user < USERS; user++) {
        const struct model_assignment *assignment = assignment_of(recount, experiment, user);
        if (assignment == NULL || assignment->variant != variant) {
            continue;
        }
        uint64_t events[2] = {0, 0};
        int128 totals[2] = {0, 0};
        user_total(recount, assignment, 1, first, last, &events[0], &totals[0]);
        user_total(recount, assignment, 2, first, last, &events[1], &totals[1]);
        for (int i = 0; i < 2; i++) {
            totals[i] = recount->metrics[1 + i].kind == 0 ? (events[i] != 0 ? 1000000 : 0) : totals[i];
        }
        sums.active += events[1] != 0 ? 1 : 0;
        sums.events += events[1];
        sums.sum += totals[0];
        sums.sum_square += (uint128)(totals[0] * totals[0]);
        sums.other_sum += totals[1];
        sums.other_square += (uint128)(totals[1] * totals[1]);
        sums.product += totals[0] * totals[1];
    }
    return sums;
}

/* ---- comparison ---- */

static void sums_check(const struct metric_sums *got, const struct metric_sums *want, uint64_t seed, const char *what)
{
    cr_assert(got->users == want->users && got->quantile == want->quantile && got->active == want->active && got->events == want->events && got->sum == want->sum &&
                  got->sum_square == want->sum_square && !got->overflow && got->other_sum == want->other_sum &&
                  got->other_square == want->other_square && got->product == want->product,
              "seed %llu, %s: users %llu/%llu active %llu/%llu events %llu/%llu sum %lld/%lld", (unsigned long long)seed, what,
              (unsigned long long)got->users, (unsigned long long)want->users, (unsigned long long)got->active, (unsigned long long)want->active, (unsigned long long)got->events,
              (unsigned long long)want->events, (long long)got->sum, (long long)want->sum);
}

static void quantile_check(const struct variant_sums *got, uint32_t place, uint32_t days, const struct recount *recount, int experiment,
                           int variant, int metric, const struct results_query *query, uint64_t seed)
{
    const struct metric_sums want = recount_quantile(recount, experiment, variant, metric, query->start_day, query->end_day, true);
    sums_check(&got->metrics[place], &want, seed, "quantile");
    for (uint32_t i = 0; i < days; i++) {
        const int64_t day = got->days[i].day;
        const struct metric_sums on_day = recount_quantile(recount, experiment, variant, metric, day, day, false);
        const struct metric_sums cumulative = recount_quantile(recount, experiment, variant, metric, query->start_day, day, false);
        sums_check(&got->days[i].on_day[place], &on_day, seed, "quantile of a day");
        sums_check(&got->days[i].cumulative[place], &cumulative, seed, "quantile so far");
    }
}

static void experiment_check(const struct state *state, struct recount *recount, int experiment, uint64_t seed)
{
    const struct catalog *catalog = state_catalog(state);
    uint32_t indexes[METRICS + 1];
    int numbers[METRICS + 1];
    uint32_t count = 0;
    for (int i = 0; i < METRICS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        const uint32_t at = catalog_find_metric(catalog, bytes_of_text(name));
        if (at != CATALOG_NONE) {
            numbers[count] = i;
            indexes[count++] = at;
        }
    }
    const uint32_t ratio = catalog_find_metric(catalog, bytes_of_text("q"));
    if (ratio != CATALOG_NONE) {
        numbers[count] = RATIO;
        indexes[count++] = ratio;
    }
    catalog_unref(catalog);
    const int32_t start = FIRST_DAY + (int32_t)pick(DAYS);
    const int32_t end = start + (int32_t)pick((uint32_t)(FIRST_DAY + DAYS - start));
    const bool whole = pick(3) == 0;
    const struct results_query query = {.experiment_index = (uint32_t)experiment,
                                        .metrics = indexes,
                                        .metric_count = count,
                                        .start_day = whole ? INT32_MIN : start,
                                        .end_day = whole ? INT32_MAX : end,
                                        .today = FIRST_DAY + (int32_t)pick(DAYS + 6),
                                        .series = true};
    recount->today = query.today;
    for (uint32_t i = 0; i < count; i++) {
        if (numbers[i] != RATIO) {
            recount->caps[numbers[i]] = recount_cap(recount, experiment, numbers[i], query.start_day, query.end_day);
        }
    }
    struct arena arena;
    arena_init(&arena, 64 * 1024);
    struct results_data data;
    cr_assert_eq(state_results(state, &query, &arena, &data), STATUS_OK);
    const struct event_counts events = recount_events(recount, experiment);
    cr_assert_eq(data.events_counted, events.counted, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(data.events_before_assignment, events.before, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(data.events_filtered, events.filtered, "seed %llu", (unsigned long long)seed);
    cr_assert_eq(data.events_duplicate, events.duplicate, "seed %llu", (unsigned long long)seed);
    for (int variant = 0; variant < VARIANTS; variant++) {
        const struct variant_sums *got = &data.variants[variant];
        cr_assert_eq(got->users, recount_users(recount, experiment, variant, query.end_day));
        for (uint32_t i = 0; i < count; i++) {
            if (numbers[i] != RATIO && recount->metrics[numbers[i]].kind == 6) {
                quantile_check(got, i, data.day_count, recount, experiment, variant, numbers[i], &query, seed);
                continue;
            }
            const struct metric_sums want =
                recount_sums(recount, experiment, variant, numbers[i], query.start_day, query.end_day);
            sums_check(&got->metrics[i], &want, seed, "range");
            for (uint32_t day = 0; day < data.day_count; day++) {
                const int64_t number = got->days[day].day;
                const struct metric_sums on_day =
                    recount_sums(recount, experiment, variant, numbers[i], number, number);
                const struct metric_sums cumulative =
                    recount_sums(recount, experiment, variant, numbers[i], query.start_day, number);
                sums_check(&got->days[day].on_day[i], &on_day, seed, "day");
                sums_check(&got->days[day].cumulative[i], &cumulative, seed, "cumulative");
            }
        }
    }
    struct results_query adjusted = query;
    adjusted.series = false;
    adjusted.covariate_days = 1 + pick(DAYS);
    cr_assert_eq(state_results(state, &adjusted, &arena, &data), STATUS_OK);
    for (int variant = 0; variant < VARIANTS; variant++) {
        for (uint32_t i = 0; i < count && numbers[i] != RATIO; i++) {
            if (recount->metrics[numbers[i]].kind >= 5) {
                continue; /* neither is adjusted */
            }
            const struct metric_sums want = recount_covariate(recount, experiment, variant, numbers[i], query.start_day,
                                                              query.end_day, adjusted.covariate_days);
            sums_check(&data.variants[variant].metrics[i], &want, seed, "covariate");
        }
    }
    arena_deinit(&arena);
}

/* The same of the users of one color, each color by itself. */
static void breakdown_check(const struct state *state, struct recount *recount, int experiment, uint64_t seed)
{
    struct arena arena;
    struct breakdown_part *parts = NULL;
    uint32_t part_count = 0;
    uint32_t metrics[METRICS];
    int numbers[METRICS];
    uint32_t count = 0;
    arena_init(&arena, 64 * 1024);
    const struct catalog *catalog = state_catalog(state);
    for (int i = 0; i < METRICS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        const uint32_t at = catalog_find_metric(catalog, bytes_of_text(name));
        if (at != CATALOG_NONE && recount->metrics[i].kind != 6) {
            numbers[count] = i;
            metrics[count++] = at;
        }
    }
    catalog_unref(catalog);
    const enum status status =
        state_breakdown(state, (uint32_t)experiment, bytes_of_text("color"), &arena, &parts, &part_count);
    uint64_t users = 0;
    for (uint32_t i = 0; status == STATUS_OK && i < part_count; i++) {
        const struct breakdown_part *part = &parts[i];
        cr_assert(part->kind != BREAKDOWN_OTHER && (i == 0 || part->kind == BREAKDOWN_NONE || part->member_count <= parts[i - 1].member_count));
        recount->only_color = part->kind == BREAKDOWN_NONE ? -1 : part->value.data[6] - '0';
        const struct results_query query = {.experiment_index = (uint32_t)experiment,
                                            .metrics = metrics,
                                            .metric_count = count,
                                            .members = part->members,
                                            .member_count = part->member_count,
                                            .start_day = FIRST_DAY + (int32_t)pick(4),
                                            .end_day = FIRST_DAY + 4 + (int32_t)pick(DAYS - 4),
                                            .today = FIRST_DAY + (int32_t)pick(DAYS + 6)};
        struct results_data data;
        recount->today = query.today;
        for (uint32_t j = 0; j < count; j++) {
            recount->caps[numbers[j]] = recount_cap(recount, experiment, numbers[j], query.start_day, query.end_day);
        }
        cr_assert_eq(state_results(state, &query, &arena, &data), STATUS_OK);
        const struct event_counts events = recount_events(recount, experiment);
        cr_assert_eq(data.events_counted, events.counted, "seed %llu", (unsigned long long)seed);
        cr_assert_eq(data.events_before_assignment, events.before, "seed %llu", (unsigned long long)seed);
        cr_assert_eq(data.events_filtered, events.filtered, "seed %llu", (unsigned long long)seed);
        for (int variant = 0; variant < VARIANTS; variant++) {
            cr_assert_eq(data.variants[variant].users, recount_users(recount, experiment, variant, query.end_day));
            for (uint32_t j = 0; j < count; j++) {
                const struct metric_sums want =
                    recount_sums(recount, experiment, variant, numbers[j], query.start_day, query.end_day);
                struct metric_sums got = data.variants[variant].metrics[j];
                if (recount->metrics[numbers[j]].kind == 0) {
                    got.sum = want.sum; /* the members' ones, which `active` tells as well */
                    got.sum_square = want.sum_square;
                }
                sums_check(&got, &want, seed, "breakdown");
            }
        }
        users += part->member_count;
    }
    recount->only_color = -2;
    uint64_t all = 0;
    for (int variant = 0; variant < VARIANTS; variant++) {
        all += recount_users(recount, experiment, variant, FIRST_DAY + DAYS);
    }
    cr_assert(status == STATUS_NOT_FOUND || users == all, "seed %llu", (unsigned long long)seed);
    arena_deinit(&arena);
}

/* Who is in which set, and who is shown what, by walking the history. */
static void catalog_check(const struct state *state, const struct facts *history, uint64_t seed)
{
    bool is_there[SETS] = {false};
    uint32_t members[SETS] = {0};
    int shown[EXPERIMENTS][USERS];
    memset(shown, -1, sizeof(shown));
    for (int i = 0; i < history->count; i++) {
        const struct fact *fact = &history->facts[i];
        const struct model_set_change *change = &fact->change;
        if (fact->kind == FACT_OVERRIDE) {
            shown[fact->override.experiment][fact->override.user] = fact->override.variant;
        } else if (fact->kind == FACT_ERASURE) {
            for (int j = 0; j < EXPERIMENTS; j++) {
                shown[j][fact->user] = -1;
            }
            for (int j = 0; j < SETS; j++) {
                members[j] &= ~(1u << fact->user);
            }
        } else if (fact->kind == FACT_SET && change->logged == change->parts) {
            const bool is_replaced = change->operation == USER_SET_REPLACE;
            is_there[change->set] = is_replaced || (is_there[change->set] && change->operation != USER_SET_DROP);
            members[change->set] = !is_there[change->set]                   ? 0
                                   : is_replaced                            ? change->users
                                   : change->operation == USER_SET_ADD      ? members[change->set] | change->users
                                                                            : members[change->set] & ~change->users;
        }
    }
    const struct catalog *catalog = state_catalog(state);
    for (int user = 0; user < USERS; user++) {
        char id[32];
        snprintf(id, sizeof(id), "user-%d", user);
        for (int i = 0; i < SETS; i++) {
            char name[32];
            snprintf(name, sizeof(name), "set-%d", i);
            const struct user_set *set = user_sets_find(&catalog->user_sets, bytes_of_text(name));
            cr_assert_eq(set != NULL, is_there[i], "seed %llu", (unsigned long long)seed);
            cr_assert(set == NULL || set->users == (uint64_t)__builtin_popcount(members[i]));
            const bool is_in = set != NULL && user_set_has(set, user_print_of(bytes_of_text(id)));
            cr_assert_eq(is_in, (members[i] >> user & 1u) != 0, "seed %llu", (unsigned long long)seed);
        }
        for (int i = 0; i < EXPERIMENTS; i++) {
            const uint32_t want = shown[i][user] >= 0 ? (uint32_t)shown[i][user] : CATALOG_NONE;
            cr_assert_eq(catalog_find_override(catalog, (uint32_t)i, bytes_of_text(id)), want);
        }
    }
    catalog_unref(catalog);
}

static void state_check(const struct state *state, const struct facts *history, uint64_t seed)
{
    struct recount recount;
    recount_make(history, &recount);
    for (int i = 0; i < EXPERIMENTS; i++) {
        experiment_check(state, &recount, i, seed);
        breakdown_check(state, &recount, i, seed);
    }
    catalog_check(state, history, seed);
}

static uint64_t histories(void)
{
    const char *asked = getenv("ASSAY_HISTORIES");
    return asked != NULL ? strtoull(asked, NULL, 10) : 1000;
}

Test(state, equals_a_recount_of_random_histories)
{
    static struct facts history;
    for (uint64_t seed = 1; seed <= histories(); seed++) {
        struct fold_log log;
        history_make(&history, seed);
        history_log(&history, &log);
        struct state *state = fold_state(&log);
        fold_apply(&log, state, log.next_lsn, 1 + pick(50));
        state_check(state, &history, seed);
        state_close(state);
        fold_log_deinit(&log);
    }
}

Test(state, is_the_same_after_restarts_and_in_other_blocks)
{
    static struct facts history;
    for (uint64_t seed = 1; seed <= histories() / 4; seed++) {
        struct fold_log log;
        history_make(&history, seed);
        history_log(&history, &log);
        struct state *straight = fold_state(&log);
        fold_apply(&log, straight, log.next_lsn, 1000);
        struct state *interrupted = fold_state(&log);
        while (state_next_lsn(interrupted) < log.next_lsn) {
            const uint64_t some = fold_log_frame(&log, state_next_lsn(interrupted) + 1 + pick(40));
            fold_apply(&log, interrupted, some < log.next_lsn ? some : log.next_lsn, 1 + pick(7));
            interrupted = fold_reload(&log, interrupted);
        }
        cr_assert_eq(fold_digest(straight), fold_digest(interrupted), "seed %llu", (unsigned long long)seed);
        state_check(interrupted, &history, seed);
        state_close(straight);
        state_close(interrupted);
        fold_log_deinit(&log);
    }
}

/* Rows as a checkpoint keeps them: the newest value of each key. */
struct kept_row {
    enum state_table table;
    size_t key_size;
    size_t value_size;
    uint8_t key[16];
    uint8_t *value;
};

struct kept_rows {
    struct kept_row rows[2048];
    size_t count;
};

static enum status row_keep(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    struct kept_rows *kept = context;
    size_t at = 0;
    while (at < kept->count && (kept->rows[at].table != table || kept->rows[at].key_size != key.size ||
                                memcmp(kept->rows[at].key, key.data, key.size) != 0)) {
        at++;
    }
    cr_assert(at < COUNT_OF(kept->rows) && key.size <= sizeof(kept->rows[at].key));
    struct kept_row *row = &kept->rows[at];
    kept->count += at == kept->count ? 1 : 0;
    row->table = table;
    row->key_size = key.size;
    memcpy(row->key, key.data, key.size);
    row->value = realloc(row->value, value.size + 1);
    memcpy(row->value, value.data, value.size);
    row->value_size = value.size;
    return STATUS_OK;
}

static int row_order(const void *a, const void *b)
{
    const struct kept_row *left = a;
    const struct kept_row *right = b;
    if (left->table != right->table) {
        return left->table < right->table ? -1 : 1;
    }
    return memcmp(left->key, right->key, left->key_size < right->key_size ? left->key_size : right->key_size);
}

static struct state *rows_load(struct fold_log *log, struct kept_rows *kept)
{
    struct state *state = fold_state(log);
    qsort(kept->rows, kept->count, sizeof(kept->rows[0]), row_order);
    for (size_t i = 0; i < kept->count; i++) {
        const struct kept_row *row = &kept->rows[i];
        const bool is_gone =
            (row->table == TABLE_CELLS || row->table == TABLE_USER_SETS) && row->value_size == 1;
        if (!is_gone) {
            cr_assert_eq(state_import(state, row->table, bytes_of(row->key, row->key_size),
                                      bytes_of(row->value, row->value_size)),
                         STATUS_OK);
        }
    }
    cr_assert_eq(state_import_end(state), STATUS_OK);
    return state;
}

/* Exports go on while records are applied; whatever was collected loads as the state was when the export began. */
Test(state, is_exported_in_slices_while_it_changes)
{
    static struct facts history;
    static struct kept_rows kept;
    for (uint64_t seed = 1; seed <= histories() / 8; seed++) {
        struct fold_log log;
        history_make(&history, seed);
        history_log(&history, &log);
        struct state *state = fold_state(&log);
        kept.count = 0;
        memset(kept.rows, 0, sizeof(kept.rows));
        while (state_next_lsn(state) < log.next_lsn) {
            const uint64_t before = state_next_lsn(state) + 1 + pick(60);
            fold_apply(&log, state, before < log.next_lsn ? before : log.next_lsn, 1 + pick(20));
            const uint64_t begun = fold_digest(state);
            cr_assert_eq(state_export_begin(state, row_keep, &kept), STATUS_OK);
            for (bool done = false; !done;) {
                const uint64_t some = state_next_lsn(state) + pick(12);
                fold_apply(&log, state, some < log.next_lsn ? some : log.next_lsn, 1 + pick(5));
                cr_assert_eq(state_export_step(state, 1 + pick(3), &done), STATUS_OK);
            }
            struct state *loaded = rows_load(&log, &kept);
            cr_assert_eq(fold_digest(loaded), begun, "seed %llu", (unsigned long long)seed);
            state_close(loaded);
        }
        state_check(state, &history, seed);
        state_close(state);
        for (size_t i = 0; i < kept.count; i++) {
            free(kept.rows[i].value);
        }
        fold_log_deinit(&log);
    }
}

/* Facts in another order that keeps what order decides: the first of an event id, the first assignment of a user, the
 * last definition of a metric. */
static void history_shuffle(struct facts *history)
{
    for (int i = history->count - 1; i > 0; i--) {
        const int j = (int)pick((uint32_t)i + 1);
        struct fact swapped = history->facts[i];
        history->facts[i] = history->facts[j];
        history->facts[j] = swapped;
    }
}

Test(state, does_not_depend_on_arrival_order)
{
    static struct facts history;
    for (uint64_t seed = 1; seed <= histories() / 4; seed++) {
        history_make(&history, seed);
        for (int i = 0; i < history.count; i++) {
            if (history.facts[i].kind == FACT_EVENT) {
                history.facts[i].event.id = -1;
            }
        }
        history_shuffle(&history);
        struct fold_log log;
        history_log(&history, &log);
        struct state *state = fold_state(&log);
        fold_apply(&log, state, log.next_lsn, 1 + pick(100));
        state_check(state, &history, seed);
        state_close(state);
        fold_log_deinit(&log);
    }
}

static enum status cells_digest_visit(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    uint64_t *digest = context;
    for (size_t i = 0; table == TABLE_CELLS && i < key.size + value.size; i++) {
        *digest = (*digest ^ (i < key.size ? key.data[i] : value.data[i - key.size])) * 0x100000001b3ull;
    }
    return STATUS_OK;
}

static uint64_t cells_digest(const struct facts *history)
{
    struct fold_log log;
    history_log(history, &log);
    struct state *state = fold_state(&log);
    fold_apply(&log, state, log.next_lsn, 1 + pick(50));
    uint64_t digest = 0xcbf29ce484222325ull;
    cr_assert_eq(state_export(state, cells_digest_visit, &digest), STATUS_OK);
    state_close(state);
    fold_log_deinit(&log);
    return digest;
}

static bool is_of_user_below(const struct fact *fact, int user)
{
    return (fact->kind == FACT_EVENT && fact->event.user < user) ||
           (fact->kind == FACT_ASSIGNMENT && fact->assignment.user < user);
}

/* To the bit, what cells know of magnitudes included. */
Test(state, an_erasure_leaves_the_cells_of_a_log_without_the_user)
{
    static struct facts history;
    static struct facts without;
    for (uint64_t seed = 1; seed <= histories() / 2; seed++) {
        history_make(&history, seed);
        const int erased = 1 + (int)pick(USERS / 2);
        without.count = 0;
        for (int i = 0; i < history.count; i++) {
            history.facts[i].event.id = -1; /* an id goes on being taken */
            if (!is_of_user_below(&history.facts[i], erased)) {
                without.facts[without.count++] = history.facts[i];
            }
        }
        for (int user = 0; user < erased; user++) {
            history.facts[history.count++] = (struct fact){.kind = FACT_ERASURE, .user = user};
        }
        cr_assert_eq(cells_digest(&history), cells_digest(&without), "seed %llu", (unsigned long long)seed);
    }
}

Test(state, says_overflow_instead_of_a_wrong_number)
{
    struct fold_log log;
    fold_log_init(&log);
    const struct uuid id = experiment_id(0);
    fold_log_experiment(&log, "{\"name\":\"x\",\"variants\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"metrics\":[]}", &id);
    const struct model_metric metric = {.defined = true, .type = 1, .kind = 1};
    log_metric(&log, 0, &metric, 1);
    log_assignment(&log, &(struct model_assignment){.time = FIRST_DAY * MICROSECONDS_PER_DAY}, 1);
    struct model_event event = {.type = 1,
                                .time = (FIRST_DAY + 1) * MICROSECONDS_PER_DAY,
                                .amount = (LIMIT_METRIC_VALUE - 1) * METRIC_UNIT,
                                .has_amount = true,
                                .id = -1};
    log_event(&log, &event);
    struct state *state = fold_state(&log);
    const uint32_t metrics[] = {0};
    const struct results_query query = {
        .metrics = metrics, .metric_count = 1, .start_day = INT32_MIN, .end_day = INT32_MAX};
    struct arena arena;
    arena_init(&arena, 4096);
    struct results_data data;
    fold_apply(&log, state, log.next_lsn, 100);
    cr_assert_eq(state_results(state, &query, &arena, &data), STATUS_OK);
    cr_assert_not(data.variants[0].metrics[0].overflow, "one value of the largest magnitude is fine");
    log_event(&log, &event);
    fold_apply(&log, state, log.next_lsn, 100);
    cr_assert_eq(state_results(state, &query, &arena, &data), STATUS_OK);
    cr_assert(data.variants[0].metrics[0].overflow, "two of them leave the exact range");
    arena_deinit(&arena);
    state_close(state);
    fold_log_deinit(&log);
}
