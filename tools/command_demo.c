/* command_demo.c: assay demo: a shop with four experiments, its visitors of the last month and what they did, made up by a seeded
 * generator and sent through the HTTP API as any client would. The past is the same on every server: who is in which variant is made
 * up too, and imported. Run again, it sends the same again: events are then duplicates. With --live visitors go on coming, whom the
 * server assigns.
 *
 * What is made up: every visitor is in all experiments that target them. One in ten converts, and buys for 5 to 100 euros; one buyer in
 * seven wants the money back. The stories below say by how much each variant changes that. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "api/json.h"
#include "engine/limits.h"
#include "engine/timestamp.h"
#include "tools/answer.h"
#include "tools/client.h"
#include "tools/terminal.h"

#define DEMO_KEY      "homepage-cta"
#define DEMO_DAYS     30
#define BATCH_USERS   1000u
#define USERS_DEFAULT 8000u
#define USERS_MAX     1000000u
#define SECONDS_DAY   86400ll
#define EVENTS_A_USER 4u
#define VARIANTS_MAX  3u
#define SEED          20260101ull
#define CONVERTING    100u /* visitors in a thousand */
#define REFUNDING     140u /* buyers in a thousand */

static_assert(BATCH_USERS * EVENTS_A_USER <= LIMIT_EVENTS_PER_REQUEST,
              "a batch's events are one request");

static const char refund_metric[] =
    "{\"name\": \"refund_rate\", \"description\": \"Visitors who want their money back\", \"type\": \"proportion\","
    " \"event_type\": \"refund\", \"direction\": \"decrease\", \"guardrail_margin\": 0.1}";

/* What a variant changes, in percent of what would be without it. */
struct variant_row {
    const char *name;
    uint32_t converting;
    uint32_t refunding;
    uint32_t share; /* of the visitors, in percent */
    uint32_t arriving; /* of its users; the others are lost before they are seen */
};

struct story {
    const char *key;
    const char *told; /* what the results are to show */
    const char *experiment;
    struct variant_row variants[VARIANTS_MAX];
    uint32_t variant_count;
    bool is_targeted;  /* at visitors from the US and Canada */
    bool is_split_elsewhere; /* also of live visitors */
};

static const struct story stories[] = {
    {
        .key = DEMO_KEY,
        .told = "a winner: more visitors press the blue button",
        /* The example of the API's description. */
        .experiment = "{\"name\": \"Homepage CTA Test\", \"description\": \"Testing button colors\", \"key\": \"" DEMO_KEY "\","
                      " \"variants\": [{\"name\": \"control\", \"weight\": 0.5, \"is_control\": true, \"value\": {\"color\": \"grey\"}},"
                      " {\"name\": \"blue_button\", \"weight\": 0.25, \"value\": {\"color\": \"blue\"}},"
                      " {\"name\": \"green_button\", \"weight\": 0.25, \"value\": {\"color\": \"green\"}}],"
                      " \"targeting\": {\"countries\": [\"US\", \"CA\"], \"min_version\": \"2.0.0\"},"
                      " \"metrics\": [\"conversion_rate\", \"revenue\"]}",
        .variants = {{"control", 100, 100, 50, 100}, {"blue_button", 170, 100, 25, 100}, {"green_button", 110, 100, 25, 100}},
        .variant_count = 3,
        .is_targeted = true,
    },
    {
        .key = "checkout-redesign",
        .told = "a loser: the new checkout costs sales",
        .experiment = "{\"name\": \"Checkout redesign\", \"description\": \"All of the checkout on one page\", \"key\": \"checkout-redesign\","
                      " \"variants\": [{\"name\": \"control\"}, {\"name\": \"one_page\"}],"
                      " \"metrics\": [\"conversion_rate\", \"revenue\", \"refund_rate\"]}",
        .variants = {{"control", 100, 100, 50, 100}, {"one_page", 62, 100, 50, 100}},
        .variant_count = 2,
    },
    {
        .key = "signup-form",
        .told = "a broken split: visitors are lost on the way to one variant, so there is no verdict",
        .experiment = "{\"name\": \"Signup form\", \"description\": \"A shorter form, behind a redirect\", \"key\": \"signup-form\","
                      " \"variants\": [{\"name\": \"control\"}, {\"name\": \"short_form\"}], \"metrics\": [\"conversion_rate\"]}",
        .variants = {{"control", 100, 100, 50, 100}, {"short_form", 104, 100, 50, 86}},
        .variant_count = 2,
        .is_split_elsewhere = true,
    },
    {
        .key = "free-shipping-banner",
        .told = "a breached guardrail: more sales, but far more refunds",
        .experiment = "{\"name\": \"Free shipping banner\", \"description\": \"Says that shipping is free\", \"key\": \"free-shipping-banner\","
                      " \"variants\": [{\"name\": \"control\"}, {\"name\": \"banner\"}],"
                      " \"metrics\": [\"conversion_rate\", \"revenue\", \"refund_rate\"]}",
        .variants = {{"control", 100, 100, 50, 100}, {"banner", 155, 240, 50, 100}},
        .variant_count = 2,
    },
};

/* One visitor of a batch. */
struct visitor {
    char id[48];
    uint64_t number; /* what becomes of it depends on this alone, and on its variants */
    int64_t came_us;
    uint32_t variants[COUNT_OF(stories)]; /* VARIANTS_MAX: not in the experiment */
};

struct demo {
    struct client *client;
    struct error error;
    struct arena arena; /* of one batch */
    uint64_t users;
    uint64_t random;
    int64_t first_us; /* of the first day */
    bool is_live;     /* the visitors come now, and the server assigns them */
    struct visitor visitors[BATCH_USERS];
    uint64_t events;
    uint64_t duplicates;
};

static volatile sig_atomic_t is_interrupted;

/* Each user has numbers of its own, so that a user's story is the same whatever became of the others. */
static void random_begin(struct demo *demo, uint64_t user, uint64_t purpose)
{
    demo->random = (SEED + user) * 0xd1342543de82ef95ull + purpose;
}

/* splitmix64. */
static uint64_t random_next(struct demo *demo)
{
    demo->random += 0x9e3779b97f4a7c15ull;
    uint64_t value = demo->random;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static uint32_t random_below(struct demo *demo, uint32_t bound)
{
    return (uint32_t)(random_next(demo) % bound);
}

/* ---- the experiments ---- */

static enum status post(struct demo *demo, const char *path, const char *body, struct bytes *out_answer)
{
    const struct client_request request = {
        .method = "POST", .path = path, .content_type = "application/json", .body = bytes_of_text(body)};
    return client_call(demo->client, &request, &demo->arena, &demo->error, out_answer);
}

/* What is at the path, or what making it from the body answers. */
static enum status ensure(struct demo *demo, const char *path, const char *list, const char *body, struct bytes *out_answer)
{
    const struct client_request get = {.method = "GET", .path = path, .is_repeatable = true};
    const enum status status = client_call(demo->client, &get, &demo->arena, &demo->error, out_answer);
    return status == STATUS_NOT_FOUND ? post(demo, list, body, out_answer) : status;
}

/* Makes the experiments, or takes the ones that an earlier run made: the days then count from when that was. */
static enum status experiments_ensure(struct demo *demo)
{
    struct bytes answer;
    enum status status = ensure(demo, "/metric-definitions/refund_rate", "/metric-definitions", refund_metric, &answer);
    for (size_t i = 0; i < COUNT_OF(stories) && status == STATUS_OK; i++) {
        char path[128];
        struct bytes created = {NULL, 0};
        int64_t created_us = 0;
        (void)snprintf(path, sizeof(path), "/experiments/%s", stories[i].key);
        status = ensure(demo, path, "/experiments", stories[i].experiment, &answer);
        if (status == STATUS_OK && (!answer_text(answer, "created_at", &created) || timestamp_parse(created, &created_us) != STATUS_OK)) {
            return error_set(&demo->error, STATUS_UNSUPPORTED, "the server does not say when the experiment was made");
        }
        demo->first_us = i == 0 ? created_us - DEMO_DAYS * MICROSECONDS_PER_DAY : demo->first_us;
    }
    return status;
}

/* ---- visitors ---- */

static const char *country_of(struct demo *demo, const struct visitor *visitor)
{
    static const char *const countries[] = {"US", "US", "US", "CA", "CA", "US", "CA", "US", "US", "DE"};
    random_begin(demo, visitor->number, 6);
    return countries[random_below(demo, COUNT_OF(countries))];
}

static void attributes_write(struct demo *demo, struct json_writer *writer, const struct visitor *visitor)
{
    static const char *const versions[] = {"2.1.0", "2.0.0", "2.3.1", "3.0.0"};
    static const char *const devices[] = {"phone", "phone", "phone", "laptop", "tablet"};
    json_key(writer, "attributes");
    json_begin_object(writer);
    json_key(writer, "country");
    json_text(writer, country_of(demo, visitor));
    random_begin(demo, visitor->number, 1);
    json_key(writer, "version");
    json_text(writer, versions[random_below(demo, COUNT_OF(versions))]);
    json_key(writer, "device");
    json_text(writer, devices[random_below(demo, COUNT_OF(devices))]);
    json_end_object(writer);
}

/* forced: the variant; VARIANTS_MAX: the server decides. */
static void visitor_write(struct demo *demo, struct json_writer *writer, const struct visitor *visitor, const struct story *story,
                          uint32_t forced)
{
    char time[TIMESTAMP_TEXT_SIZE];
    timestamp_format(visitor->came_us, time);
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text(writer, visitor->id);
    json_key(writer, "assigned_at");
    json_text(writer, time);
    if (forced != VARIANTS_MAX) {
        json_key(writer, "variant");
        json_text(writer, story->variants[forced].name);
    }
    attributes_write(demo, writer, visitor);
    json_end_object(writer);
}

/* Where the split is made up: the variant; VARIANTS_MAX where the visitor is not in the experiment, or lost on the way. */
static uint32_t visitor_split(struct demo *demo, const struct visitor *visitor, size_t number)
{
    const struct story *story = &stories[number];
    if (story->is_targeted && strcmp(country_of(demo, visitor), "DE") == 0) {
        return VARIANTS_MAX;
    }
    random_begin(demo, visitor->number, 10 + number);
    uint32_t point = random_below(demo, 100);
    uint32_t variant = 0;
    while (point >= story->variants[variant].share) {
        point -= story->variants[variant++].share;
    }
    return random_below(demo, 100) < story->variants[variant].arriving ? variant : VARIANTS_MAX;
}

static uint32_t variant_find(const struct story *story, struct bytes name)
{
    for (uint32_t i = 0; i < story->variant_count; i++) {
        if (bytes_equal_text(name, story->variants[i].name)) {
            return i;
        }
    }
    return VARIANTS_MAX;
}

/* Has the batch assigned in one experiment, and notes who got what. */
static enum status story_assign(struct demo *demo, size_t number, uint32_t count)
{
    const struct story *story = &stories[number];
    struct json_writer writer = json_writer_in(&demo->arena);
    char path[128];
    uint32_t sent[BATCH_USERS];
    uint32_t sent_count = 0;
    json_begin_object(&writer);
    json_key(&writer, "users");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < count; i++) {
        const bool is_split_here = !demo->is_live || story->is_split_elsewhere;
        const uint32_t forced = is_split_here ? visitor_split(demo, &demo->visitors[i], number) : VARIANTS_MAX;
        demo->visitors[i].variants[number] = VARIANTS_MAX;
        if (!is_split_here || forced != VARIANTS_MAX) {
            visitor_write(demo, &writer, &demo->visitors[i], story, forced);
            sent[sent_count++] = i;
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    (void)snprintf(path, sizeof(path), "/experiments/%s/assignments", story->key);
    const struct client_request request = {.method = "POST",
                                           .path = path,
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size),
                                           .is_repeatable = true};
    struct bytes answers;
    const enum status status =
        sent_count > 0 ? client_call(demo->client, &request, &demo->arena, &demo->error, &answers) : STATUS_END;
    if (status != STATUS_OK) {
        return status == STATUS_END ? STATUS_OK : status;
    }
    struct answer_items items = answer_items(answers, "assignments");
    struct bytes answer;
    for (uint32_t i = 0; i < sent_count && answer_next(&items, &answer); i++) {
        struct bytes name = {NULL, 0};
        (void)answer_text(answer, "variant", &name);
        demo->visitors[sent[i]].variants[number] = variant_find(story, name);
    }
    return STATUS_OK;
}

/* ---- events ---- */

/* cents: of a purchase; 0: no properties. */
static void event_write(struct json_writer *writer, struct bytes user, const char *type,
                        int64_t time_us, uint32_t cents)
{
    char id[128];
    char time[TIMESTAMP_TEXT_SIZE];
    timestamp_format(time_us, time);
    (void)snprintf(id, sizeof(id), "demo-%.*s-%s", (int)user.size, (const char *)user.data, type);
    json_begin_object(writer);
    json_key(writer, "event_id");
    json_text(writer, id);
    json_key(writer, "user_id");
    json_text_bytes(writer, user);
    json_key(writer, "event_type");
    json_text(writer, type);
    json_key(writer, "timestamp");
    json_text(writer, time);
    if (cents > 0) {
        json_key(writer, "properties");
        json_begin_object(writer);
        json_key(writer, "amount");
        json_millionths(writer, (int64_t)cents * 10000);
        json_key(writer, "currency");
        json_text(writer, "EUR");
        json_end_object(writer);
    }
    json_end_object(writer);
    json_newline(writer);
}

/* A share in a thousand, changed by all variants that the visitor is in. */
static uint32_t share_of(const struct visitor *visitor, uint32_t share, bool is_refund)
{
    double changed = share;
    for (size_t i = 0; i < COUNT_OF(stories); i++) {
        const uint32_t variant = visitor->variants[i];
        if (variant != VARIANTS_MAX) {
            const struct variant_row *row = &stories[i].variants[variant];
            changed = changed * (is_refund ? row->refunding : row->converting) / 100.0;
        }
    }
    return (uint32_t)changed;
}

/* What one visitor did; nothing of it lies ahead of the clock. */
static void visitor_events(struct demo *demo, struct json_writer *writer, const struct visitor *visitor)
{
    random_begin(demo, visitor->number, 2);
    const struct bytes user = bytes_of_text(visitor->id);
    const int64_t now_us = (int64_t)time(NULL) * 1000000;
    const uint32_t luck = random_below(demo, 1000);
    const uint32_t regret = random_below(demo, 1000);
    const int64_t seen_us = visitor->came_us + random_below(demo, 60) * 1000000ll;
    const int64_t done_us = seen_us + (30 + random_below(demo, 7200)) * 1000000ll;
    const int64_t back_us = done_us + random_below(demo, 5 * 86400) * 1000000ll;
    const uint32_t cents = 500 + random_below(demo, 4500) + random_below(demo, 5000);
    event_write(writer, user, "page_view", seen_us < now_us ? seen_us : now_us, 0);
    if (luck >= share_of(visitor, CONVERTING, false)) {
        return;
    }
    event_write(writer, user, "conversion", done_us < now_us ? done_us : now_us, 0);
    event_write(writer, user, "purchase", done_us < now_us ? done_us : now_us, cents);
    if (regret < share_of(visitor, REFUNDING, true)) {
        event_write(writer, user, "refund", back_us < now_us ? back_us : now_us, 0);
    }
}

static enum status events_send(struct demo *demo, const struct json_writer *writer)
{
    const struct client_request request = {.method = "POST",
                                           .path = "/events",
                                           .content_type = "application/x-ndjson",
                                           .body = bytes_of(writer->text, writer->size),
                                           .is_repeatable = true};
    struct bytes answer;
    const enum status status =
        client_call(demo->client, &request, &demo->arena, &demo->error, &answer);
    if (status == STATUS_OK) {
        demo->events += answer_count(answer, "accepted");
        demo->duplicates += answer_count(answer, "duplicates");
    }
    return status;
}

/* Assigns the visitors of the batch in all experiments, and sends what they did. */
static enum status batch_run(struct demo *demo, uint32_t count)
{
    arena_reset(&demo->arena, (size_t)4 * 1024 * 1024);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < COUNT_OF(stories) && status == STATUS_OK; i++) {
        status = story_assign(demo, i, count);
    }
    struct json_writer writer = json_writer_in(&demo->arena);
    for (uint32_t i = 0; i < count; i++) {
        visitor_events(demo, &writer, &demo->visitors[i]);
    }
    return status == STATUS_OK ? events_send(demo, &writer) : status;
}

static enum status past_run(struct demo *demo)
{
    struct progress progress;
    enum status status = experiments_ensure(demo);
    progress_begin(&progress, "demonstration", "users", demo->users);
    for (uint64_t done = 0; done < demo->users && status == STATUS_OK && is_interrupted == 0; done += BATCH_USERS) {
        const uint32_t count = (uint32_t)size_min(demo->users - done, BATCH_USERS);
        for (uint32_t i = 0; i < count; i++) {
            struct visitor *visitor = &demo->visitors[i];
            visitor->number = done + i + 1;
            random_begin(demo, visitor->number, 4);
            (void)snprintf(visitor->id, sizeof(visitor->id), "user-%llu", (unsigned long long)visitor->number);
            visitor->came_us = demo->first_us + random_below(demo, (uint32_t)(DEMO_DAYS * SECONDS_DAY)) * 1000000ll;
        }
        status = batch_run(demo, count);
        progress_show(&progress, done + count);
    }
    if (status == STATUS_OK) {
        progress_end(&progress, demo->users);
    }
    return status;
}

static void interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* One to five visitors a second, until a signal. Other users than those of any other run. */
static enum status live_run(struct demo *demo)
{
    const struct sigaction action = {.sa_handler = interrupt};
    const int64_t begun_us = (int64_t)time(NULL) * 1000000;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    demo->is_live = true;
    enum status status = STATUS_OK;
    for (uint64_t second = 0; status == STATUS_OK && is_interrupted == 0; second++) {
        random_begin(demo, (uint64_t)begun_us + second, 5);
        const uint32_t count = 1 + random_below(demo, 5);
        for (uint32_t i = 0; i < count; i++) {
            struct visitor *visitor = &demo->visitors[i];
            visitor->number = (uint64_t)begun_us + second * 8 + i;
            (void)snprintf(visitor->id, sizeof(visitor->id), "live-%llu", (unsigned long long)visitor->number);
            visitor->came_us = (int64_t)time(NULL) * 1000000;
        }
        status = batch_run(demo, count);
        (void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
    return is_interrupted != 0 ? STATUS_OK : status; /* the server may have gone first */
}

/* ---- what to try next ---- */

static void hints_print(const struct demo *demo)
{
    const char *url = client_url(demo->client);
    const char *token = client_token(demo->client);
    char number[NUMBER_TEXT_SIZE];
    (void)printf("A shop with %s visitors of the last %d days and %s new events", number_text(demo->users, number), DEMO_DAYS,
                 number_text(demo->events, (char[NUMBER_TEXT_SIZE]){0}));
    if (demo->duplicates > 0) {
        (void)printf(" (%s were there before)", number_text(demo->duplicates, number));
    }
    (void)printf(", in four experiments:\n\n");
    for (size_t i = 0; i < COUNT_OF(stories); i++) {
        (void)printf("  %-21s %s\n", stories[i].key, stories[i].told);
    }
    (void)printf("\nWhich variant does a user get? The first time decides, and it stays:\n\n"
                 "  curl -sS -w '\\n' -H 'Authorization: Bearer %s' '%s/experiments/" DEMO_KEY
                 "/assignment/alice?country=US&version=2.1.0'\n",
                 token, url);
    (void)printf(
        "\nSomething a user did. Sent again with the same event_id it still counts once:\n\n"
        "  curl -sS -w '\\n' -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' "
        "'%s/events' -d "
        "'{\"event_id\": \"alice-1\", \"user_id\": \"alice\", \"event_type\": \"conversion\"}'\n",
        token, url);
    (void)printf("\nWhat did the experiment do?\n\n"
                 "  curl -sS -w '\\n' -H 'Authorization: Bearer %s' '%s/experiments/" DEMO_KEY
                 "/results'\n\n",
                 token, url);
    (void)fflush(stdout); /* read while visitors go on coming */
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct client_options options = {0};
    static struct demo demo = {.users = USERS_DEFAULT};
    struct option_operands operands = {0};
    bool is_live = false;
    struct option_row rows[2 + CLIENT_OPTION_COUNT] = {
        {"users", "N", OPTION_NUMBER, &demo.users, "how many to make up; else 8000"},
        {"live", NULL, OPTION_FLAG, &is_live, "then go on: some visitors a second, until Ctrl-C"},
    };
    client_option_rows(&options, &rows[2]);
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (demo.users == 0 || demo.users > USERS_MAX) {
        return complain(EXIT_USAGE, "--users takes a number from 1 to %u", USERS_MAX);
    }
    arena_init(&demo.arena, 256 * 1024);
    enum status status = client_open(&options, &demo.error, &demo.client);
    const bool is_usage = status == STATUS_INVALID;
    if (status == STATUS_OK) {
        status = past_run(&demo);
    }
    if (status == STATUS_OK) {
        hints_print(&demo);
        status = is_live ? live_run(&demo) : STATUS_OK;
    }
    if (status != STATUS_OK) {
        code = complain(is_usage ? EXIT_USAGE : EXIT_CANNOT, "%s", demo.error.text);
    }
    client_close(demo.client);
    arena_deinit(&demo.arena);
    return code;
}

const struct command command_demo = {
    .name = "demo",
    .arguments = "",
    .summary = "Fill a running server with a demonstration: a shop with four experiments.",
    .lesson = "Makes four experiments (a winner, a loser, a broken split, a breached guardrail), imports\n"
              "made-up visitors of the last thirty days in them, sends what they did, and prints three\n"
              "commands to try. It is the same on every server, and run again adds nothing; with --live\n"
              "visitors go on coming. tools/run does all of it, from a fresh clone.\n"
              "\n"
              "  assay demo --data ./data\n"
              "  assay demo --data ./data --live\n",
    .run = run,
};
