/* workload.c: requests with fixed-width places, and what has to be on the server before they are sent.
 *
 * One event, with the places that change (spaces for the reader only):
 *
 *   {"event_id":"rrrrrrrrttttcccccccccccc", "user_id":"uNNNNNNNNNN", "event_type":"purchase",
 *    "timestamp":"YYYY-MM-DDTHH:MM:SS.mmmZ", "properties":{"amount":DDD.DD, ...}}
 *
 * r: the run, t: the thread, c: a counter, all hexadecimal. A duplicate is an earlier event of the same kind, copied
 * place by place, so that the very same bytes arrive again.
 */
#include "bench/workload.h"

#include "engine/limits.h"

#include <math.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define RUN_DIGITS      8u
#define THREAD_DIGITS   4u
#define COUNTER_DIGITS  12u
#define ID_WIDTH        (RUN_DIGITS + THREAD_DIGITS + COUNTER_DIGITS)
#define USER_WIDTH      11u /* u and ten digits */
#define TIME_WIDTH      24u
#define AMOUNT_WIDTH    6u
#define ZIPF_DRAWS      (1u << 21)
#define LATE_TIMES      256u
#define RECENT_EVENTS   1024u
#define USERS_A_CALL    5000u
#define CALL_REPLY_SIZE ((size_t)64 * 1024)
#define PAD_FIELD       ",\"note\":\"\""
/* When users are assigned where late events shall still count: fixed, so that another run asks for the same. */
#define ASSIGNED_AT "2024-01-01T00:00:00.000Z"

static_assert(USERS_A_CALL <= LIMIT_USERS_PER_REQUEST,
              "the server takes so many users in one call");
static_assert(USERS_A_CALL * 120u <= LIMIT_BODY, "and so many bytes");

enum event_kind {
    EVENT_VIEW,
    EVENT_CONVERSION,
    EVENT_PURCHASE,
    EVENT_KINDS,
};

struct event_text {
    const char *type;
    const char *properties; /* behind the amount */
};

static const struct event_text event_texts[EVENT_KINDS] = {
    [EVENT_VIEW] = {"page_view",  ",\"page\":\"/p/1\",\"plan\":\"pro\""},
    [EVENT_CONVERSION] = {"conversion", ",\"page\":\"/pay\",\"plan\":\"pro\""},
    [EVENT_PURCHASE] = {"purchase",   ",\"currency\":\"EUR\",\"items\":[7]"},
};

/* Of ten events seven are views, two conversions and one a purchase. */
static const enum event_kind event_pattern[] = {
    EVENT_VIEW, EVENT_VIEW, EVENT_CONVERSION, EVENT_VIEW,       EVENT_VIEW,
    EVENT_VIEW, EVENT_VIEW, EVENT_PURCHASE,   EVENT_CONVERSION, EVENT_VIEW,
};

enum body_format {
    FORMAT_JSON,
    FORMAT_ARRAY,
    FORMAT_EVENTS,
    FORMAT_NDJSON,
};

struct format_row {
    const char *name;
    const char *content_type;
    const char *before;
    const char *between;
    const char *after;
};

static const struct format_row format_rows[] = {
    [FORMAT_JSON] = {"json",   "application/json",     "[",             ",",  "]" },
    [FORMAT_ARRAY] = {"array",  "application/json",     "[",             ",",  "]" },
    [FORMAT_EVENTS] = {"events", "application/json",     "{\"events\":[", ",",  "]}"},
    [FORMAT_NDJSON] = {"ndjson", "application/x-ndjson", "",              "\n", "\n"},
};

/* Offsets into the request. Requests without events use id or user only. */
struct request_slot {
    size_t id;
    size_t user;
    size_t time;
    size_t amount;
    enum event_kind kind;
};

struct workload {
    const char *name;
    const char *summary;
    bool has_events;
    bool wants_experiment;
    bool wants_users; /* assigned before the run */
    enum status (*build)(const struct workload_source *source, struct workload_request *request);
    void (*next)(struct workload_source *source, struct workload_request *request);
};

struct workload_plan {
    const struct workload *workload;
    const struct options *options;
    const struct client_target *target;
    struct format_row format;
    char experiment_id[LIMIT_KEY + 1];
    uint32_t run;
    uint32_t *users_drawn; /* ZIPF_DRAWS of them, or NULL where users are even */
    size_t request_size;   /* of each request; all are equal */
};

struct event_values {
    char id[ID_WIDTH];
    char user[USER_WIDTH];
    char time[TIME_WIDTH];
    char amount[AMOUNT_WIDTH];
};

struct workload_source {
    const struct workload_plan *plan;
    unsigned thread;
    uint64_t random_state;
    uint64_t counter;
    size_t draw;              /* the next of users_drawn */
    int64_t late_made_ms;     /* when late_times was filled */
    uint64_t duplicate_below; /* a random 32-bit number below this means yes */
    uint64_t late_below;
    char late_times[LATE_TIMES][TIME_WIDTH];
    struct event_values recent[EVENT_KINDS][RECENT_EVENTS];
    size_t recent_count[EVENT_KINDS];
};

static uint64_t random_next(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static double random_unit(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

/* In [0, bound), for bounds below 2^32. */
static uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return ((random_next(state) >> 32) * bound) >> 32;
}

double workload_source_random(struct workload_source *source)
{
    return random_unit(&source->random_state);
}

static void hex_write(char *out, uint64_t value, size_t digits)
{
    static const char digit_names[] = "0123456789abcdef";
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = digit_names[value & 15];
        value >>= 4;
    }
}

static void decimal_write(char *out, uint64_t value, size_t digits)
{
    for (size_t i = digits; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void user_write(char *out, uint64_t user)
{
    out[0] = 'u';
    decimal_write(out + 1, user, USER_WIDTH - 1);
}

static int64_t wall_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void time_write(char *out, int64_t time_ms)
{
    const time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    (void)gmtime_r(&seconds, &parts);
    memcpy(out, "0000-00-00T00:00:00.000Z", TIME_WIDTH);
    decimal_write(out, (uint64_t)parts.tm_year + 1900, 4);
    decimal_write(out + 5, (uint64_t)parts.tm_mon + 1, 2);
    decimal_write(out + 8, (uint64_t)parts.tm_mday, 2);
    decimal_write(out + 11, (uint64_t)parts.tm_hour, 2);
    decimal_write(out + 14, (uint64_t)parts.tm_min, 2);
    decimal_write(out + 17, (uint64_t)parts.tm_sec, 2);
    decimal_write(out + 20, (uint64_t)(time_ms % 1000), 3);
}

/* A rank in [0, count) whose chance falls as 1 / (rank + 1)^skew: the continuous law's inverse, floored. */
static uint64_t zipf_draw(uint64_t *state, uint64_t count, double skew)
{
    const double unit = random_unit(state);
    const double last = (double)count + 1.0;
    double value = 0;
    if (fabs(skew - 1.0) < 1e-9) {
        value = exp(unit * log(last));
    } else {
        const double power = 1.0 - skew;
        value = pow(1.0 + unit * (pow(last, power) - 1.0), 1.0 / power);
    }
    const uint64_t rank = (uint64_t)value - 1;
    return rank < count ? rank : count - 1;
}

/* Drawn ahead: a logarithm for every event would make the generator the thing measured. */
static enum status users_draw(struct workload_plan *plan)
{
    if (plan->options->zipf <= 0) {
        return STATUS_OK;
    }
    plan->users_drawn = calloc(ZIPF_DRAWS, sizeof(plan->users_drawn[0]));
    if (plan->users_drawn == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint64_t state = 42;
    for (size_t i = 0; i < ZIPF_DRAWS; i++) {
        plan->users_drawn[i] =
            (uint32_t)zipf_draw(&state, plan->options->users, plan->options->zipf);
    }
    return STATUS_OK;
}

static uint64_t user_next(struct workload_source *source)
{
    const struct workload_plan *plan = source->plan;
    if (plan->users_drawn == NULL) {
        return random_below(&source->random_state, plan->options->users);
    }
    source->draw = (source->draw + 1) % ZIPF_DRAWS;
    return plan->users_drawn[source->draw];
}

/* Only the counter changes from one id to the next: the rest was written when the request was built. */
static void id_prefix_write(const struct workload_source *source, char *out)
{
    hex_write(out, source->plan->run, RUN_DIGITS);
    hex_write(out + RUN_DIGITS, source->thread, THREAD_DIGITS);
    hex_write(out + RUN_DIGITS + THREAD_DIGITS, 0, COUNTER_DIGITS);
}

static void id_counter_write(struct workload_source *source, char *out)
{
    hex_write(out + RUN_DIGITS + THREAD_DIGITS, source->counter, COUNTER_DIGITS);
    source->counter++;
}

/* --- ingest --- */

/* Writes one event into out (NULL: only measures), and the offsets of its places into the slot. */
static size_t event_build(const struct workload_source *source, enum event_kind kind, char *out,
                          size_t capacity, struct request_slot *slot)
{
    char id[ID_WIDTH + 1] = {0};
    id_prefix_write(source, id);
    char padding[BENCH_EVENT_SIZE_MAX + 1] = {0};
    const struct event_text *text = &event_texts[kind];
    const char *pad_before = "";
    const char *pad_after = "";
    int size = 0;
    for (unsigned pass = 0; pass < 2; pass++) { /* the second knows how much padding is missing */
        size = snprintf(out, capacity,
                        "{\"event_id\":\"%s\",\"user_id\":\"u0000000000\",\"event_type\":\"%s\","
                        "\"timestamp\":\"0000-00-00T00:00:00.000Z\",\"properties\":{\"amount\":100."
                        "00%s%s%s%s}}",
                        id, text->type, text->properties, pad_before, padding, pad_after);
        const size_t wanted = source->plan->options->event_size;
        if (pass == 0 && (size_t)size + sizeof(PAD_FIELD) - 1 <= wanted) {
            memset(padding, 'x', wanted - (size_t)size - (sizeof(PAD_FIELD) - 1));
            pad_before = ",\"note\":\"";
            pad_after = "\"";
        }
    }
    slot->kind = kind;
    slot->id = strlen("{\"event_id\":\"");
    slot->user = slot->id + ID_WIDTH + strlen("\",\"user_id\":\"");
    slot->time = slot->user + USER_WIDTH + strlen("\",\"event_type\":\"") + strlen(text->type) +
                 strlen("\",\"timestamp\":\"");
    slot->amount = slot->time + TIME_WIDTH + strlen("\",\"properties\":{\"amount\":");
    return (size_t)size;
}

static void slot_shift(struct request_slot *slot, size_t by)
{
    slot->id += by;
    slot->user += by;
    slot->time += by;
    slot->amount += by;
}

static size_t text_append(char *out, size_t at, const char *text)
{
    const size_t size = strlen(text);
    if (out != NULL) {
        memcpy(out + at, text, size);
    }
    return at + size;
}

/* Writes the body (NULL: only measures) that will begin at `start` of the request. */
static size_t body_build(const struct workload_source *source, char *out, size_t start,
                         struct request_slot *slots)
{
    const struct format_row *format = &source->plan->format;
    const size_t batch = source->plan->options->batch;
    char event[BENCH_EVENT_SIZE_MAX + 1024];
    size_t at = text_append(out, start, format->before);
    for (size_t i = 0; i < batch; i++) {
        const enum event_kind kind = event_pattern[i % COUNT_OF(event_pattern)];
        struct request_slot slot;
        (void)event_build(source, kind, event, sizeof(event), &slot);
        slot_shift(&slot, at);
        slots[i] = slot;
        at = text_append(out, at, event);
        at = text_append(out, at, i + 1 < batch ? format->between : format->after);
    }
    return at;
}

static enum status ingest_build(const struct workload_source *source,
                                struct workload_request *request)
{
    const struct workload_plan *plan = source->plan;
    request->slots = calloc(plan->options->batch, sizeof(request->slots[0]));
    if (request->slots == NULL) {
        return STATUS_NO_MEMORY;
    }
    const size_t body_size = body_build(source, NULL, 0, request->slots);
    char head[1024];
    const bool has_token = plan->options->token != NULL;
    const int head_size = snprintf(head, sizeof(head),
                                   "POST /events HTTP/1.1\r\nHost: %s\r\n%s%s%sContent-Type: %s\r\n"
                                   "Content-Length: %zu\r\n\r\n",
                                   plan->target->host, has_token ? "Authorization: Bearer " : "",
                                   has_token ? plan->options->token : "", has_token ? "\r\n" : "",
                                   plan->format.content_type, body_size);
    if (head_size < 0 || (size_t)head_size >= sizeof(head)) {
        return STATUS_TOO_LARGE;
    }
    request->size = (size_t)head_size + body_size;
    request->data = malloc(request->size);
    if (request->data == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(request->data, head, (size_t)head_size);
    const size_t end = body_build(source, request->data, (size_t)head_size, request->slots);
    assert(end == request->size);
    return STATUS_OK;
}

/* Late times are made in advance and anew each second: formatting one costs as much as the rest of an event. */
static void late_times_make(struct workload_source *source, int64_t now_ms)
{
    if (now_ms - source->late_made_ms < 1000) {
        return;
    }
    source->late_made_ms = now_ms;
    const double span_ms = source->plan->options->late_hours * 3600e3;
    for (size_t i = 0; i < LATE_TIMES; i++) {
        time_write(source->late_times[i],
                   now_ms - (int64_t)(random_unit(&source->random_state) * span_ms));
    }
}

static void event_repeat(struct workload_source *source, char *data,
                         const struct request_slot *slot)
{
    const size_t known = size_min(source->recent_count[slot->kind], RECENT_EVENTS);
    const struct event_values *values =
        &source->recent[slot->kind][random_below(&source->random_state, known)];
    memcpy(data + slot->id, values->id, ID_WIDTH);
    memcpy(data + slot->user, values->user, USER_WIDTH);
    memcpy(data + slot->time, values->time, TIME_WIDTH);
    memcpy(data + slot->amount, values->amount, AMOUNT_WIDTH);
}

static void event_remember(struct workload_source *source, const char *data,
                           const struct request_slot *slot)
{
    const size_t at = source->recent_count[slot->kind]++ % RECENT_EVENTS;
    struct event_values *values = &source->recent[slot->kind][at];
    memcpy(values->id, data + slot->id, ID_WIDTH);
    memcpy(values->user, data + slot->user, USER_WIDTH);
    memcpy(values->time, data + slot->time, TIME_WIDTH);
    memcpy(values->amount, data + slot->amount, AMOUNT_WIDTH);
}

static void ingest_next(struct workload_source *source, struct workload_request *request)
{
    const size_t batch = source->plan->options->batch;
    const int64_t now_ms = wall_ms();
    char now_text[TIME_WIDTH];
    time_write(now_text, now_ms);
    if (source->late_below > 0) {
        late_times_make(source, now_ms);
    }
    for (size_t i = 0; i < batch; i++) {
        const struct request_slot *slot = &request->slots[i];
        const uint64_t chance = random_next(&source->random_state);
        if ((chance & UINT32_MAX) < source->duplicate_below &&
            source->recent_count[slot->kind] > 0) {
            event_repeat(source, request->data, slot);
            continue;
        }
        const bool late = (chance >> 32) < source->late_below;
        id_counter_write(source, request->data + slot->id);
        user_write(request->data + slot->user, user_next(source));
        memcpy(request->data + slot->time,
               late ? source->late_times[chance % LATE_TIMES] : now_text, TIME_WIDTH);
        /* Amounts from 100.00 to 355.99: the first digit never is zero, so the width stays. */
        decimal_write(request->data + slot->amount, 100 + ((chance >> 8) & 255), 3);
        decimal_write(request->data + slot->amount + 4, (chance >> 16) % 100, 2);
        if (source->duplicate_below > 0) {
            event_remember(source, request->data, slot);
        }
    }
}

/* --- assignments and hello --- */

/* A GET whose path ends in `tail`, where one changing place of that width lies (none for hello). */
static enum status get_build(const struct workload_source *source, const char *path,
                             const char *tail, struct workload_request *request)
{
    const struct options *options = source->plan->options;
    const bool has_token = options->token != NULL;
    char head[2048];
    const int size =
        snprintf(head, sizeof(head), "GET %s%s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", path, tail,
                 source->plan->target->host, has_token ? "Authorization: Bearer " : "",
                 has_token ? options->token : "", has_token ? "\r\n" : "");
    if (size < 0 || (size_t)size >= sizeof(head)) {
        return STATUS_TOO_LARGE;
    }
    request->slots = calloc(1, sizeof(request->slots[0]));
    request->data = malloc((size_t)size);
    if (request->slots == NULL || request->data == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(request->data, head, (size_t)size);
    request->size = (size_t)size;
    request->slots[0].user = strlen("GET ") + strlen(path);
    return STATUS_OK;
}

static enum status assignment_build(const struct workload_source *source, const char *user,
                                    struct workload_request *request)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "/experiments/%s/assignment/", source->plan->experiment_id);
    return get_build(source, path, user, request);
}

static enum status assign_existing_build(const struct workload_source *source,
                                         struct workload_request *request)
{
    return assignment_build(source, "u0000000000", request);
}

static void assign_existing_next(struct workload_source *source, struct workload_request *request)
{
    user_write(request->data + request->slots[0].user, user_next(source));
}

static enum status assign_new_build(const struct workload_source *source,
                                    struct workload_request *request)
{
    char user[ID_WIDTH + 1] = {0};
    id_prefix_write(source, user);
    return assignment_build(source, user, request);
}

static void assign_new_next(struct workload_source *source, struct workload_request *request)
{
    id_counter_write(source, request->data + request->slots[0].user);
}

static enum status hello_build(const struct workload_source *source,
                               struct workload_request *request)
{
    return get_build(source, "/healthz", "", request);
}

static void hello_next(struct workload_source *source, struct workload_request *request)
{
    (void)source;
    (void)request;
}

/* clang-format off */
static const struct workload workloads[] = {
    {"ingest", "POST /events: batches of events, each durable when answered",
     true, true, true, ingest_build, ingest_next},
    {"assign-existing", "GET .../assignment/{user}: users who have one already",
     false, true, true, assign_existing_build, assign_existing_next},
    {"assign-new", "GET .../assignment/{user}: a fresh user each time, durable when answered",
     false, true, false, assign_new_build, assign_new_next},
    {"hello", "GET /healthz: what HTTP alone costs", false, false, false, hello_build, hello_next},
};

/* clang-format on */

const struct workload *workload_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(workloads); i++) {
        if (strcmp(workloads[i].name, name) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

const struct workload *workload_at(size_t index)
{
    return index < COUNT_OF(workloads) ? &workloads[index] : NULL;
}

const char *workload_name(const struct workload *workload)
{
    return workload->name;
}

const char *workload_summary(const struct workload *workload)
{
    return workload->summary;
}

/* --- the plan --- */

static enum status format_choose(struct workload_plan *plan, struct error *error)
{
    const struct options *options = plan->options;
    for (size_t i = 0; i < COUNT_OF(format_rows); i++) {
        if (strcmp(format_rows[i].name, options->format) == 0) {
            plan->format = format_rows[i];
            if (i == FORMAT_JSON && options->batch == 1) {
                plan->format.before = "";
                plan->format.after = "";
            }
            return STATUS_OK;
        }
    }
    return error_set(error, STATUS_INVALID,
                     "--format is one of json, array, events, ndjson; not '%s'", options->format);
}

/* Builds one request to learn its size, and that it can be built. */
static enum status request_measure(struct workload_plan *plan)
{
    struct workload_source *source = NULL;
    struct workload_request request = {0};
    enum status status = workload_source_open(plan, 0, &source);
    if (status == STATUS_OK) {
        status = workload_request_init(source, &request);
        plan->request_size = request.size;
    }
    workload_request_deinit(&request);
    workload_source_close(source);
    return status;
}

enum status workload_plan_open(const struct workload *workload, const struct options *options,
                               const struct client_target *target, struct error *error,
                               struct workload_plan **out_plan)
{
    struct workload_plan *plan = calloc(1, sizeof(*plan));
    if (plan == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    plan->workload = workload;
    plan->options = options;
    plan->target = target;
    workload_plan_renew(plan);
    enum status status = format_choose(plan, error);
    if (status == STATUS_OK && users_draw(plan) != STATUS_OK) {
        status = error_set(error, STATUS_NO_MEMORY, "out of memory for the drawn users");
    }
    if (status == STATUS_OK && request_measure(plan) != STATUS_OK) {
        status = error_set(error, STATUS_TOO_LARGE,
                           "cannot build such a request: out of memory, or a token too long");
    }
    if (status != STATUS_OK) {
        workload_plan_close(plan);
        return status;
    }
    *out_plan = plan;
    return STATUS_OK;
}

void workload_plan_renew(struct workload_plan *plan)
{
    if (getrandom(&plan->run, sizeof(plan->run), 0) != (ssize_t)sizeof(plan->run)) {
        plan->run++;
    }
}

uint64_t workload_plan_events(const struct workload_plan *plan)
{
    return plan->workload->has_events ? plan->options->batch : 0;
}

size_t workload_plan_request_size(const struct workload_plan *plan)
{
    return plan->request_size;
}

void workload_plan_close(struct workload_plan *plan)
{
    if (plan != NULL) {
        free(plan->users_drawn);
        free(plan);
    }
}

/* --- before the run --- */

static enum status experiment_ensure(struct workload_plan *plan, char *reply, struct error *error)
{
    const char *key = plan->options->experiment;
    char path[LIMIT_KEY + 32];
    char body[512];
    const int path_size = snprintf(path, sizeof(path), "/experiments/%s", key);
    const int body_size = snprintf(
        body, sizeof(body),
        "{\"name\":\"%s\",\"key\":\"%s\",\"variants\":[{\"name\":\"control\",\"weight\":0.5},"
        "{\"name\":\"treatment\",\"weight\":0.5}]}",
        key, key);
    if (path_size < 0 || (size_t)path_size >= sizeof(path) || body_size < 0) {
        return error_set(error, STATUS_INVALID, "--experiment: the key is too long");
    }
    struct client_call call = {
        "GET", path, plan->options->token, bytes_of(NULL, 0), reply, CALL_REPLY_SIZE, 0};
    enum status status = client_call(plan->target, &call, error);
    if (status == STATUS_OK && call.reply_status == 404) {
        call.method = "POST";
        call.path = "/experiments";
        call.body = bytes_of(body, (size_t)body_size);
        status = client_call(plan->target, &call, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (call.reply_status / 100 != 2) {
        return error_set(error, STATUS_INVALID, "%s %s answered %u: %.200s", call.method, call.path,
                         call.reply_status, reply);
    }
    if (!client_json_text(reply, "id", plan->experiment_id, sizeof(plan->experiment_id))) {
        return error_set(error, STATUS_INVALID, "%s %s answered without an id", call.method,
                         call.path);
    }
    return STATUS_OK;
}

/* Users with a share of late events are assigned in the past, or those events would be older than their assignment. */
static size_t users_body(const struct workload_plan *plan, uint64_t first, uint64_t count,
                         char *out)
{
    size_t at = text_append(out, 0, "{\"users\":[");
    for (uint64_t i = 0; i < count; i++) {
        at = text_append(out, at, i == 0 ? "{\"user_id\":\"" : ",{\"user_id\":\"");
        user_write(out + at, first + i);
        at = text_append(out, at + USER_WIDTH, "\"");
        if (plan->options->late > 0) {
            const bool is_control = (first + i) % 2 == 0;
            at = text_append(
                out, at, is_control ? ",\"variant\":\"control\"" : ",\"variant\":\"treatment\"");
            at = text_append(out, at, ",\"assigned_at\":\"");
            at = text_append(out, at, ASSIGNED_AT);
            at = text_append(out, at, "\"");
        }
        at = text_append(out, at, "}");
    }
    return text_append(out, at, "]}");
}

static enum status users_assign(struct workload_plan *plan, char *reply, struct error *error)
{
    char path[LIMIT_KEY + 64];
    (void)snprintf(path, sizeof(path), "/experiments/%s/assignments", plan->experiment_id);
    char *body = malloc(LIMIT_BODY);
    if (body == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    enum status status = STATUS_OK;
    for (uint64_t first = 0; first < plan->options->users && status == STATUS_OK;
         first += USERS_A_CALL) {
        const uint64_t left = plan->options->users - first;
        const size_t size =
            users_body(plan, first, left < USERS_A_CALL ? left : USERS_A_CALL, body);
        struct client_call call = {
            "POST", path, plan->options->token, bytes_of(body, size), reply, CALL_REPLY_SIZE, 0};
        status = client_call(plan->target, &call, error);
        if (status == STATUS_OK && call.reply_status / 100 != 2) {
            status = error_set(error, STATUS_INVALID, "POST %s answered %u: %.200s", path,
                               call.reply_status, reply);
        }
    }
    free(body);
    return status;
}

enum status workload_plan_prepare(struct workload_plan *plan, struct error *error)
{
    const bool left_out =
        plan->workload->has_events && strcmp(plan->options->experiment, "none") == 0;
    if (!plan->workload->wants_experiment || left_out) {
        return STATUS_OK;
    }
    char *reply = malloc(CALL_REPLY_SIZE);
    if (reply == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    enum status status = experiment_ensure(plan, reply, error);
    if (status == STATUS_OK && plan->workload->wants_users) {
        status = users_assign(plan, reply, error);
    }
    free(reply);
    return status;
}

/* --- sources and requests --- */

enum status workload_source_open(const struct workload_plan *plan, unsigned thread,
                                 struct workload_source **out_source)
{
    struct workload_source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return STATUS_NO_MEMORY;
    }
    source->plan = plan;
    source->thread = thread;
    source->random_state = ((uint64_t)plan->run << 32) + thread;
    source->draw = (size_t)random_below(&source->random_state, ZIPF_DRAWS);
    source->duplicate_below = (uint64_t)(plan->options->duplicates * 0x1p32);
    source->late_below = (uint64_t)(plan->options->late * 0x1p32);
    *out_source = source;
    return STATUS_OK;
}

void workload_source_close(struct workload_source *source)
{
    free(source);
}

enum status workload_request_init(const struct workload_source *source,
                                  struct workload_request *request)
{
    *request = (struct workload_request){0};
    return source->plan->workload->build(source, request);
}

void workload_request_deinit(struct workload_request *request)
{
    free(request->slots);
    free(request->data);
    *request = (struct workload_request){0};
}

void workload_request_next(struct workload_source *source, struct workload_request *request)
{
    source->plan->workload->next(source, request);
}
