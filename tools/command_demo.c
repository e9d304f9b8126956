/* command_demo.c: assay demo: an experiment with users and events that a seeded generator makes up, sent through the HTTP
 * API as any client would. The same server gets the same users again, however often it is run: events are then duplicates.
 *
 * What is made up: visitors of a shop over two weeks, of whom some are not targeted. One in ten of the grey button's users
 * converts and buys; of the blue one's, nearly one in six; of the green one's, a few more than of grey's. */
#include <stdio.h>
#include <time.h>

#include "api/json.h"
#include "engine/limits.h"
#include "engine/timestamp.h"
#include "tools/answer.h"
#include "tools/client.h"
#include "tools/terminal.h"

#define DEMO_KEY      "homepage-cta"
#define DEMO_DAYS     14
#define BATCH_USERS   1000u
#define USERS_DEFAULT 6000u
#define USERS_MAX     1000000u
#define SECONDS_DAY   86400ll
#define EVENTS_A_USER 3u
#define SEED          20260101ull

static_assert(BATCH_USERS * EVENTS_A_USER <= LIMIT_EVENTS_PER_REQUEST,
              "a batch's events are one request");

/* The example of the API's description. */
static const char demo_experiment[] =
    "{\"name\": \"Homepage CTA Test\", \"description\": \"Testing button colors\", \"key\": "
    "\"" DEMO_KEY "\","
    " \"variants\": [{\"name\": \"control\", \"weight\": 0.5, \"is_control\": true, \"value\": "
    "{\"color\": \"grey\"}},"
    " {\"name\": \"blue_button\", \"weight\": 0.25, \"value\": {\"color\": \"blue\"}},"
    " {\"name\": \"green_button\", \"weight\": 0.25, \"value\": {\"color\": \"green\"}}],"
    " \"targeting\": {\"countries\": [\"US\", \"CA\"], \"min_version\": \"2.0.0\"},"
    " \"metrics\": [\"conversion_rate\", \"revenue\"]}";

/* Shares of users in a thousand. */
struct variant_row {
    const char *name;
    uint32_t converting;
};

static const struct variant_row variant_rows[] = {
    {"control",      100},
    {"blue_button",  160},
    {"green_button", 115},
};

struct demo {
    struct client *client;
    struct error error;
    struct arena arena; /* of one batch */
    uint64_t users;
    uint64_t random;
    int64_t first_us; /* of the first day */
    int64_t assigned_us[BATCH_USERS];
    uint64_t enrolled[COUNT_OF(variant_rows)];
    uint64_t not_enrolled;
    uint64_t events;
    uint64_t duplicates;
};

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

/* ---- the experiment ---- */

/* Makes it, or takes the one that an earlier run made: the days then count from when that was. */
static enum status experiment_ensure(struct demo *demo)
{
    const struct client_request make = {.method = "POST",
                                        .path = "/experiments",
                                        .content_type = "application/json",
                                        .body = bytes_of_text(demo_experiment)};
    const struct client_request get = {
        .method = "GET", .path = "/experiments/" DEMO_KEY, .is_repeatable = true};
    struct bytes experiment;
    enum status status = client_call(demo->client, &get, &demo->arena, &demo->error, &experiment);
    if (status == STATUS_NOT_FOUND) {
        status = client_call(demo->client, &make, &demo->arena, &demo->error, &experiment);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct bytes created = {NULL, 0};
    int64_t created_us = 0;
    if (!answer_text(experiment, "created_at", &created) ||
        timestamp_parse(created, &created_us) != STATUS_OK) {
        return error_set(&demo->error, STATUS_UNSUPPORTED,
                         "the server does not say when the experiment was made");
    }
    demo->first_us = created_us - DEMO_DAYS * MICROSECONDS_PER_DAY;
    return STATUS_OK;
}

/* ---- users ---- */

static void user_write(struct demo *demo, struct json_writer *writer, uint64_t number,
                       int64_t assigned_us)
{
    static const char *const countries[] = {"US", "US", "US", "CA", "CA",
                                            "US", "CA", "US", "US", "DE"};
    static const char *const versions[] = {"2.1.0", "2.0.0", "2.3.1", "3.0.0"};
    char user[32];
    char time[TIMESTAMP_TEXT_SIZE];
    (void)snprintf(user, sizeof(user), "user-%llu", (unsigned long long)number);
    timestamp_format(assigned_us, time);
    json_begin_object(writer);
    json_key(writer, "user_id");
    json_text(writer, user);
    json_key(writer, "assigned_at");
    json_text(writer, time);
    json_key(writer, "attributes");
    json_begin_object(writer);
    json_key(writer, "country");
    json_text(writer, countries[random_below(demo, COUNT_OF(countries))]);
    json_key(writer, "version");
    json_text(writer, versions[random_below(demo, COUNT_OF(versions))]);
    json_end_object(writer);
    json_end_object(writer);
}

static enum status users_assign(struct demo *demo, uint64_t first, uint32_t count,
                                struct bytes *out_answers)
{
    struct json_writer writer = json_writer_in(&demo->arena);
    json_begin_object(&writer);
    json_key(&writer, "users");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < count; i++) {
        random_begin(demo, first + i, 1);
        const int64_t seconds = random_below(demo, (uint32_t)(DEMO_DAYS * SECONDS_DAY));
        demo->assigned_us[i] = demo->first_us + seconds * 1000000;
        user_write(demo, &writer, first + i, demo->assigned_us[i]);
    }
    json_end_array(&writer);
    json_end_object(&writer);
    const struct client_request request = {.method = "POST",
                                           .path = "/experiments/" DEMO_KEY "/assignments",
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size),
                                           .is_repeatable = true};
    return client_call(demo->client, &request, &demo->arena, &demo->error, out_answers);
}

/* ---- events ---- */

/* cents: of a purchase; 0: no properties. */
static void event_write(struct json_writer *writer, struct bytes user, const char *type,
                        int64_t time_us, uint32_t cents)
{
    char id[96];
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

/* What one user did after seeing the button. */
static void user_events(struct demo *demo, struct json_writer *writer, struct bytes user,
                        uint32_t variant, int64_t from_us)
{
    const uint32_t luck = random_below(demo, 1000);
    const int64_t seen_us = from_us + (1 + random_below(demo, 60)) * 1000000ll;
    const int64_t done_us = seen_us + (30 + random_below(demo, 7200)) * 1000000ll;
    const uint32_t cents = 500 + random_below(demo, 4500) + random_below(demo, 5000);
    const int64_t now_us = (int64_t)time(NULL) * 1000000;
    event_write(writer, user, "page_view", seen_us < now_us ? seen_us : now_us, 0);
    if (luck < variant_rows[variant].converting) {
        event_write(writer, user, "conversion", done_us < now_us ? done_us : now_us, 0);
        event_write(writer, user, "purchase", done_us < now_us ? done_us : now_us, cents);
    }
}

static void answers_follow(struct demo *demo, uint64_t first, struct bytes answers,
                           struct json_writer *writer)
{
    struct answer_items items = answer_items(answers, "assignments");
    struct bytes answer;
    for (uint32_t i = 0; i < BATCH_USERS && answer_next(&items, &answer); i++) {
        struct bytes user = {NULL, 0};
        struct bytes name = {NULL, 0};
        uint32_t variant = COUNT_OF(variant_rows);
        (void)answer_text(answer, "user_id", &user);
        (void)answer_text(answer, "variant", &name);
        for (uint32_t j = 0; j < COUNT_OF(variant_rows); j++) {
            variant = bytes_equal_text(name, variant_rows[j].name) ? j : variant;
        }
        if (variant == COUNT_OF(variant_rows)) {
            demo->not_enrolled++;
            continue;
        }
        demo->enrolled[variant]++;
        random_begin(demo, first + i, 2);
        user_events(demo, writer, user, variant, demo->assigned_us[i]);
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

static enum status batch_run(struct demo *demo, uint64_t first, uint32_t count)
{
    struct bytes answers;
    arena_reset(&demo->arena, (size_t)4 * 1024 * 1024);
    enum status status = users_assign(demo, first, count, &answers);
    if (status == STATUS_OK) {
        struct json_writer writer = json_writer_in(&demo->arena);
        answers_follow(demo, first, answers, &writer);
        status = writer.size > 0 ? events_send(demo, &writer) : STATUS_OK;
    }
    return status;
}

static enum status demo_run(struct demo *demo)
{
    struct progress progress;
    enum status status = experiment_ensure(demo);
    progress_begin(&progress, "demonstration", "users", demo->users);
    for (uint64_t done = 0; done < demo->users && status == STATUS_OK; done += BATCH_USERS) {
        const uint32_t count = (uint32_t)size_min(demo->users - done, BATCH_USERS);
        status = batch_run(demo, done + 1, count);
        progress_show(&progress, done + count);
    }
    if (status == STATUS_OK) {
        progress_end(&progress, demo->users);
    }
    return status;
}

/* ---- what to try next ---- */

static void hints_print(const struct demo *demo)
{
    const char *url = client_url(demo->client);
    const char *token = client_token(demo->client);
    char number[NUMBER_TEXT_SIZE];
    (void)printf("The experiment " DEMO_KEY " has users");
    for (size_t i = 0; i < COUNT_OF(variant_rows); i++) {
        (void)printf("%s %s in %s", i > 0 ? "," : "", number_text(demo->enrolled[i], number),
                     variant_rows[i].name);
    }
    (void)printf(" (%s more are not targeted)", number_text(demo->not_enrolled, number));
    (void)printf(" and %s new events", number_text(demo->events, number));
    if (demo->duplicates > 0) {
        (void)printf(" (%s were there before)", number_text(demo->duplicates, number));
    }
    (void)printf(".\n\nWhich variant does a user get? The first time decides, and it stays:\n\n"
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
}

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct client_options options = {0};
    struct demo demo = {.users = USERS_DEFAULT};
    struct option_operands operands = {0};
    struct option_row rows[1 + CLIENT_OPTION_COUNT] = {
        {"users", "N", OPTION_NUMBER, &demo.users, "how many to make up; else 6000"},
    };
    client_option_rows(&options, &rows[1]);
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
        status = demo_run(&demo);
    }
    if (status == STATUS_OK) {
        hints_print(&demo);
    } else {
        code = complain(is_usage ? EXIT_USAGE : EXIT_CANNOT, "%s", demo.error.text);
    }
    client_close(demo.client);
    arena_deinit(&demo.arena);
    return code;
}

const struct command command_demo = {
    .name = "demo",
    .arguments = "",
    .summary = "Fill a running server with a demonstration experiment.",
    .lesson = "Makes the experiment homepage-cta, has the server assign some thousand made-up "
              "users over the last\n"
              "fourteen days, sends what they did, and prints three commands to try. Run again it "
              "adds nothing.\n"
              "tools/run does all of it, from a fresh clone.\n"
              "\n"
              "  assay demo --data ./data\n",
    .run = run,
};
