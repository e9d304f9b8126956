/* Goal: every request meets every check on its way to a handler, and each refusal has the status, code and headers that
 * api.md promises; what passes is decoded right.
 * Method: requests go through call_run() as server.c would hand them over, without a socket: api.send keeps the answer.
 * Writes go to a real engine in a directory of its own. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include "api/dispatch.h"
#include "api/policy.h"
#include "api/routes.h"
#include "engine/limits.h"

static char directory[64];
static struct engine *engine;
static struct api api;
static struct call call;
static const struct catalog *catalog; /* in place of the engine's, where a test wants its own */
static char reply_type[128];
static char *reply_text;
static uint32_t reply_count;

static void keep_reply(struct call *replied, const char *content_type, struct bytes text)
{
    cr_assert_eq(replied, &call);
    (void)snprintf(reply_type, sizeof(reply_type), "%s", content_type != NULL ? content_type : "");
    free(reply_text);
    reply_text = calloc(1, text.size + 1);
    memcpy(reply_text, text.data != NULL ? (const char *)text.data : "", text.size);
    reply_count++;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void begin(void)
{
    (void)snprintf(directory, sizeof(directory), "/tmp/assay-test-call-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    const struct engine_options options = {.directory = directory, .io_backend = IO_BACKEND_SYNC};
    struct engine_info info;
    struct error error = {""};
    cr_assert_eq(engine_open(&options, &error, &info, &engine), STATUS_OK, "%s", error.text);
    api =
        (struct api){.engine = engine, .send = keep_reply, .started_at_us = engine_now_us(engine)};
    cr_assert_eq(engine_port_open(engine, &api.port), STATUS_OK);
    arena_init(&call.arena, 4096);
}

static void end(void)
{
    catalog_unref(call.catalog);
    catalog_unref(catalog);
    arena_deinit(&call.arena);
    engine_port_close(api.port);
    engine_close(engine);
    free(reply_text);
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(api_call, .init = begin, .fini = end);

/* A fresh call, as server.c makes one. */
static void call_renew(void)
{
    catalog_unref(call.catalog);
    arena_reset(&call.arena, 1 << 20);
    const struct arena arena = call.arena;
    call = (struct call){.arena = arena, .api = &api, .engine = engine, .token = CATALOG_NONE};
    call.catalog = catalog != NULL ? catalog_ref(catalog) : engine_catalog(engine);
    call.received_at_us = engine_now_us(engine);
    reply_count = 0;
}

static struct bytes text_of(const char *text)
{
    return bytes_of_text(text != NULL ? text : "");
}

/* Waits for the engine and runs the continuation, where the handler submitted work. */
static void call_finish(void)
{
    while (call.status == 0) {
        struct pollfd file = {.fd = engine_port_fd(api.port), .events = POLLIN};
        cr_assert_eq(poll(&file, 1, 10000), 1, "the engine does not answer");
        struct engine_request *request = engine_port_take(api.port);
        if (request != NULL) {
            cr_assert_eq(request, &call.request);
            api.in_flight--;
            call.continuation(&call);
        }
    }
    cr_assert_eq(reply_count, 1);
}

/* One request with a bearer token (or NULL) and a JSON body (or NULL). */
static void request(const char *method, const char *target, const char *token, const char *body)
{
    char authorization[LIMIT_HEADER_TOKEN + 64];
    (void)snprintf(authorization, sizeof(authorization), "Bearer %s", token != NULL ? token : "");
    const struct call_input input = {
        .method = text_of(method),
        .target = text_of(target),
        .body = text_of(body),
        .authorization = token != NULL ? text_of(authorization) : text_of(""),
        .content_type = body != NULL ? text_of("application/json") : text_of(""),
    };
    call_renew();
    call_run(&call, &input);
    call_finish();
}

static const char *header(const char *name)
{
    for (uint32_t i = 0; i < call.header_count; i++) {
        if (strcmp(call.headers[i].name, name) == 0) {
            return call.headers[i].value;
        }
    }
    return NULL;
}

static void expect(int status, const char *code)
{
    char member[128];
    (void)snprintf(member, sizeof(member), "\"code\":\"%s\"", code);
    cr_assert_eq(call.status, status, "%d, not %d: %s", call.status, status, reply_text);
    cr_assert_not_null(strstr(reply_text, member), "%s is not in %s", member, reply_text);
    cr_assert_str_eq(reply_type, "application/problem+json");
}

/* A token with these scopes in a catalog of our own; returns its secret. */
static const char *token_add(const char *scope, int64_t expires_at_us, bool is_revoked)
{
    static char secrets[8][AUTH_SECRET_SIZE];
    static uint8_t count;
    char *secret = secrets[count++ % 8];
    uint8_t digest[TOKEN_DIGEST_SIZE];
    auth_secret_make(engine, secret, digest);
    uint8_t text[256];
    struct pack_writer document = pack_writer_on(text, sizeof(text));
    pack_map(&document, 3);
    pack_text_z(&document, "name");
    pack_text_z(&document, "test");
    pack_text_z(&document, "scopes");
    pack_array(&document, 1);
    pack_text_z(&document, scope);
    pack_text_z(&document, "expires_at");
    if (expires_at_us != 0) {
        pack_int(&document, expires_at_us / 1000);
    } else {
        pack_nil(&document);
    }
    struct arena arena;
    arena_init(&arena, 1024);
    struct field_errors errors = field_errors_in(&arena);
    struct definition_context context = {
        .id = {{count}}, .version = 1, .now_us = engine_now_us(engine) - 10000000};
    struct token *token = NULL;
    cr_assert_eq(
        token_create(bytes_of(document.data, document.size), &context, digest, &errors, &token),
        STATUS_OK, "%s", errors.count > 0 ? errors.items[0].message : "");
    if (is_revoked) {
        struct token *revoked = NULL;
        context.version = 2;
        cr_assert_eq(token_revoke(token, &context, &revoked), STATUS_OK);
        token_free(token);
        token = revoked;
    }
    const struct catalog *base = catalog != NULL ? catalog : engine_catalog(engine);
    catalog = catalog_with_token(base, token);
    catalog_unref(base);
    arena_deinit(&arena);
    return secret;
}

/* The table. */

Test(api_call, every_route_has_a_scope_or_is_public)
{
    for (size_t i = 0; i < route_count; i++) {
        const struct route *route = &routes[i];
        cr_assert_eq(route->scope == 0, route->is_public, "%s", route->pattern);
        cr_assert(route->is_public || token_scope_name(route->scope) != NULL, "%s", route->pattern);
        cr_assert_not_null(route->handle);
        cr_assert(strlen(route->summary) > 0);
        cr_assert(!route->is_public || route->method == HTTP_GET, "%s", route->pattern);
        for (size_t j = 0; j < i; j++) {
            cr_assert(routes[j].method != route->method ||
                          strcmp(routes[j].pattern, route->pattern) != 0,
                      "%s twice", route->pattern);
        }
    }
}

Test(api_call, no_route_but_the_public_ones_answers_without_a_token)
{
    for (size_t i = 0; i < route_count; i++) {
        const char *method = routes[i].method == HTTP_GET     ? "GET"
                             : routes[i].method == HTTP_POST  ? "POST"
                             : routes[i].method == HTTP_PATCH ? "PATCH"
                             : routes[i].method == HTTP_PUT   ? "PUT"
                                                              : "DELETE";
        if (routes[i].is_public) {
            continue;
        }
        const struct dialect *dialect = dialect_find(text_of(routes[i].pattern));
        request(method, routes[i].pattern, NULL, NULL);
        cr_assert_eq(call.status, 401, "%s", routes[i].pattern);
        if (dialect == NULL) {
            expect(401, "token_missing");
        }
        request(method, routes[i].pattern, "assay_of-nobody", NULL);
        cr_assert_eq(call.status, 401, "%s", routes[i].pattern);
        if (dialect == NULL) {
            expect(401, "token_invalid");
        }
    }
}

struct match {
    const char *method;
    const char *target;
    const char *pattern; /* NULL: none */
    const char *parameters[HTTP_PATH_PARAMETERS];
    int status;
};

Test(api_call, paths_are_matched_and_their_pieces_decoded)
{
    static const struct match matches[] = {
        {"POST",   "/events",                       "/events",                                {NULL},          0  },
        {"POST",   "/events?strict=true",           "/events",                                {NULL},          0  },
        {"GET",
         "/experiments/e/assignment/u",             "/experiments/{id}/assignment/{user_id}",
         {"e", "u"},
         0                                                                                                        },
        {"HEAD",
         "/experiments/a%20b/assignment/%C3%A9%2F", "/experiments/{id}/assignment/{user_id}",
         {"a b", "é/"},
         0                                                                                                        },
        {"GET",    "/experiments/a+b",              "/experiments/{id}",                      {"a+b"},         0  },
        {"GET",    "/experiments/e/results",        "/experiments/{id}/results",              {"e"},           0  },
        {"GET",    "/experiments/assignments",      "/experiments/{id}",                      {"assignments"}, 0  },
        {"DELETE", "/metric-definitions/m",         "/metric-definitions/{name}",             {"m"},           0  },
        {"GET",    "http://host:80/healthz",        "/healthz",                               {NULL},          0  },
        {"GET",    "/",                             "/",                                      {NULL},          0  },
        {"GET",    "/assets",                       NULL,                                     {NULL},          404},
        {"GET",    "/event",                        NULL,                                     {NULL},          404},
        {"GET",    "/eventss",                      NULL,                                     {NULL},          404},
        {"GET",    "/experiments/",                 NULL,                                     {NULL},          404},
        {"GET",    "/experiments//results",         NULL,                                     {NULL},          404},
        {"GET",    "/experiments/e/results/",       NULL,                                     {NULL},          404},
        {"GET",    "/experiments/e/assignment/u/v", NULL,                                     {NULL},          404},
        {"GET",    "/EVENTS",                       NULL,                                     {NULL},          404},
        {"PUT",    "/events",                       NULL,                                     {NULL},          405},
        {"get",    "/healthz",                      NULL,                                     {NULL},          405},
        {"TRACE",  "/experiments/e",                NULL,                                     {NULL},          405},
    };
    for (size_t i = 0; i < COUNT_OF(matches); i++) {
        const struct match *match = &matches[i];
        call_renew();
        call.method = http_method_parse(text_of(match->method));
        cr_assert(call_set_target(&call, text_of(match->target)), "%s", match->target);
        const struct route *route = route_find(&call);
        cr_assert_eq(route == NULL, match->pattern == NULL, "%s", match->target);
        cr_assert_eq(call.status, match->status, "%s: %d", match->target, call.status);
        cr_assert(route == NULL || strcmp(route->pattern, match->pattern) == 0, "%s",
                  match->target);
        for (size_t j = 0; j < HTTP_PATH_PARAMETERS && route != NULL; j++) {
            cr_assert(bytes_equal(call.parameters[j], text_of(match->parameters[j])), "%s",
                      match->target);
        }
    }
}

Test(api_call, a_wrong_method_is_told_the_right_ones)
{
    request("PUT", "/experiments/e", NULL, NULL);
    expect(405, "method_not_allowed");
    cr_assert_str_eq(header("allow"), "GET, HEAD, PATCH, DELETE");
}

/* Targets and queries. */

Test(api_call, a_target_that_is_no_percent_encoded_text_is_refused)
{
    static const char *const bad[] = {
        "",
        "*",
        "experiments",
        "//%",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%00b",
        "/?q=%00",
        "/%ff",
        "/%c0%af",
        "/%ed%a0%80",
        "/%f4%90%80%80",
        "/?q=%e2%82",
        "/\xff",
        "https://host/healthz",
        "http://host",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        request("GET", bad[i], NULL, NULL);
        cr_assert_eq(call.status, 400, "'%s': %d", bad[i], call.status);
        expect(400, "bad_path");
    }
}

Test(api_call, a_target_may_have_just_so_many_bytes)
{
    char target[LIMIT_PATH + 2];
    memset(target, 'a', sizeof(target));
    target[0] = '/';
    target[LIMIT_PATH + 1] = '\0';
    request("GET", target, NULL, NULL);
    expect(414, "path_too_long");
    target[LIMIT_PATH] = '\0';
    request("GET", target, NULL, NULL);
    expect(404, "no_such_path");
}

Test(api_call, query_parameters_come_decoded_and_in_order)
{
    static const char *const names[] = {"a", "b", "empty", "no", "a", "é"};
    static const char *const values[] = {"1 2", "x&y=z", "", "", "second", "+"};
    call_renew();
    cr_assert(
        call_set_target(&call, text_of("/p?a=1+2&&b=x%26y=z&empty=&no&a=second&%C3%A9=%2b&")));
    size_t position = 0;
    size_t count = 0;
    struct bytes name;
    struct bytes value;
    while (call_query_next(&call, &position, &name, &value)) {
        cr_assert(count < COUNT_OF(names));
        cr_assert(bytes_equal_text(name, names[count]), "%zu", count);
        cr_assert(bytes_equal_text(value, values[count]), "%zu", count);
        count++;
    }
    cr_assert_eq(count, COUNT_OF(names));
    cr_assert(call_query(&call, "a", &value) && bytes_equal_text(value, "1 2"));
    cr_assert(!call_query(&call, "missing", &value));
}

Test(api_call, unknown_query_parameters_are_all_named)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    call_renew();
    cr_assert(call_set_target(&call, text_of("/p?limit=1&limt=2&cursor=&q")));
    cr_assert(!call_query_only(&call, known));
    expect(422, "unknown_parameter");
    cr_assert_not_null(strstr(reply_text, "{\"path\":\"limt\",\"code\":\"unknown_parameter\""));
    cr_assert_not_null(strstr(reply_text, "{\"path\":\"q\",\"code\":\"unknown_parameter\""));
    call_renew();
    cr_assert(call_set_target(&call, text_of("/p?limit=1")));
    cr_assert(call_query_only(&call, known));
}

/* Problems. */

Test(api_call, a_problem_has_every_member_of_the_contract)
{
    call_renew();
    call_reply_problem(&call, 409, "key_taken", "the key '%s' is \"taken\"", "k");
    cr_assert_str_eq(reply_text,
                     "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
                     "\"detail\":\"the key 'k' is \\\"taken\\\"\",\"code\":\"key_taken\","
                     "\"message\":\"the key 'k' is \\\"taken\\\"\"}");
    cr_assert_str_eq(reply_type, "application/problem+json");
}

Test(api_call, field_errors_are_listed_up_to_their_limit)
{
    call_renew();
    struct field_errors errors = field_errors_in(&call.arena);
    for (unsigned i = 0; i < LIMIT_FIELD_ERRORS + 5; i++) {
        field_error_add(&errors, "required", "give it", "variants[%u].name", i);
    }
    call_reply_field_errors(&call, 422, "validation_failed", &errors, "faults");
    expect(422, "validation_failed");
    cr_assert_not_null(
        strstr(reply_text,
               "{\"path\":\"variants[99].name\",\"code\":\"required\",\"message\":\"give it\"}]"));
    cr_assert_null(strstr(reply_text, "variants[100]"));
}

struct engine_answer {
    enum status engine_status;
    int status;
    const char *code;
    const char *retry_after;
};

Test(api_call, engine_failures_have_their_answers)
{
    static const struct engine_answer answers[] = {
        {STATUS_BUSY,        503, "overloaded",     "1" },
        {STATUS_UNAVAILABLE, 503, "storage_failed", "5" },
        {STATUS_NO_SPACE,    503, "disk_full",      "5" },
        {STATUS_TOO_LARGE,   413, "too_large",      NULL},
        {STATUS_NO_MEMORY,   500, "internal",       NULL},
        {STATUS_DAMAGED,     500, "internal",       NULL},
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        call_renew();
        call_reply_engine_status(&call, answers[i].engine_status);
        expect(answers[i].status, answers[i].code);
        const char *retry_after = header("retry-after");
        cr_assert_eq(retry_after == NULL, answers[i].retry_after == NULL);
        cr_assert(retry_after == NULL || strcmp(retry_after, answers[i].retry_after) == 0);
    }
}

/* Dialects. */

static void expect_ofrep(int status, const char *error_code)
{
    char member[128];
    (void)snprintf(member, sizeof(member), "\"errorCode\":\"%s\",\"errorDetails\":\"", error_code);
    cr_assert_eq(call.status, status, "%d, not %d: %s", call.status, status, reply_text);
    cr_assert_not_null(strstr(reply_text, member), "%s is not in %s", member, reply_text);
    cr_assert_not_null(strstr(reply_text, ",\"metadata\":{}}"), "%s", reply_text);
    cr_assert_str_eq(reply_type, "application/json");
}

Test(api_call, openfeature_clients_see_few_statuses_whatever_failed)
{
    static const struct engine_answer answers[] = {
        {STATUS_BUSY,        429, "GENERAL",     "1" },
        {STATUS_UNAVAILABLE, 500, "GENERAL",     "5" },
        {STATUS_NO_SPACE,    500, "GENERAL",     "5" },
        {STATUS_TOO_LARGE,   400, "PARSE_ERROR", NULL},
        {STATUS_NO_MEMORY,   500, "GENERAL",     NULL},
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        call_renew();
        call.dialect = dialect_find(text_of("/ofrep/v1/evaluate/flags"));
        cr_assert_not_null(call.dialect);
        call_reply_engine_status(&call, answers[i].engine_status);
        expect_ofrep(answers[i].status, answers[i].code);
        const char *retry_after = header("retry-after");
        cr_assert_eq(retry_after == NULL, answers[i].retry_after == NULL);
        cr_assert(retry_after == NULL || strcmp(retry_after, answers[i].retry_after) == 0);
    }
}

Test(api_call, openfeature_clients_are_refused_in_their_words_from_the_head_on)
{
    const char *reader = token_add("results:read", 0, false);
    struct call_input input = {.method = text_of("POST"), .framing_fault = "two lengths"};
    input.target = text_of("/ofrep/v1/evaluate/flags");
    call_renew();
    call_run(&call, &input);
    expect_ofrep(400, "GENERAL");
    request("POST", "/ofrep/v1/evaluate/flags/%zz", NULL, NULL);
    expect_ofrep(400, "GENERAL");
    request("POST", "http://host/ofrep/v1/evaluate/flags/f", NULL, NULL);
    expect_ofrep(401, "GENERAL");
    cr_assert_not_null(strstr(reply_text, "{\"key\":\"f\","), "%s", reply_text);
    request("POST", "/ofrep/v1/evaluate/flags/f", reader, "{}");
    expect_ofrep(403, "GENERAL");
    request("POST", "/ofrep/v1/evaluate/flags/a/b", NULL, NULL);
    expect_ofrep(404, "FLAG_NOT_FOUND");
    cr_assert_not_null(strstr(reply_text, "{\"key\":\"a/b\","), "%s", reply_text);
    request("POST", "/ofrepx", NULL, NULL);
    expect(404, "no_such_path");
}

Test(api_call, an_api_key_is_a_token_where_the_dialect_says_so)
{
    const char *token = token_add("assign", 0, false);
    struct call_input input = {.method = text_of("POST"), .body = text_of("{}")};
    input.api_key = text_of(token);
    input.target = text_of("/ofrep/v1/evaluate/flags");
    call_renew();
    call_run(&call, &input);
    expect_ofrep(400, "TARGETING_KEY_MISSING");
    input.authorization = text_of("Bearer wrong"); /* which comes first, good or bad */
    call_renew();
    call_run(&call, &input);
    expect_ofrep(401, "GENERAL");
    input.authorization = text_of("");
    input.api_key = text_of("wrong");
    call_renew();
    call_run(&call, &input);
    expect_ofrep(401, "GENERAL");
    input.api_key = text_of(token);
    input.target = text_of("/assignments");
    call_renew();
    call_run(&call, &input);
    expect(401, "token_missing");
}

/* Pages of other origins. */

Test(api_call, origins_are_named_as_browsers_send_them)
{
    static const char *const good[] = {"https://shop.example", "http://localhost:3000",
                                       "http://[::1]:8080", "capacitor://localhost"};
    static const char *const bad[] = {"",
                                      "*",
                                      "null",
                                      "shop.example",
                                      "://shop.example",
                                      "https://",
                                      "https://shop.example/",
                                      "https://shop.example/a",
                                      "https://*.example",
                                      "https://Shop.example",
                                      "https://a.example,https://b.example",
                                      "https://a.example\r\nx: y"};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        cr_assert(cors_origin_is_valid(good[i]), "%s", good[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        cr_assert_not(cors_origin_is_valid(bad[i]), "%s", bad[i]);
    }
}

struct origin_case {
    const char *origin;
    const char *method;
    const char *preflight_method;
    int status;
    bool is_allowed;
};

static const char *const page_origins[] = {"https://a.example", "https://b.example:8443"};

Test(api_call, pages_may_call_from_the_origins_given_and_no_others)
{
    static const struct origin_case cases[] = {
        {"https://a.example",      "POST",    "",     401, true },
        {"https://b.example:8443", "POST",    "",     401, true },
        {"https://a.example",      "OPTIONS", "POST", 204, true },
        {"https://a.example",      "OPTIONS", "",     405, true },
        {"https://c.example",      "POST",    "",     401, false},
        {"https://c.example",      "OPTIONS", "POST", 405, false},
        {"https://b.example",      "OPTIONS", "POST", 405, false},
        {"null",                   "OPTIONS", "POST", 405, false},
        {"",                       "OPTIONS", "POST", 405, false},
    };
    for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
        const struct origin_case *row = &cases[i / 2];
        const bool is_on = i % 2 == 0;
        const struct call_input input = {.method = text_of(row->method),
                                         .target = text_of("/ofrep/v1/evaluate/flags"),
                                         .origin = text_of(row->origin),
                                         .preflight_method = text_of(row->preflight_method)};
        const struct policy policy = {.cors = {page_origins, is_on ? COUNT_OF(page_origins) : 0}};
        api.policy = &policy;
        call_renew();
        call_run(&call, &input);
        const char *allowed = header("access-control-allow-origin");
        cr_assert_eq(call.status, is_on || row->status != 204 ? row->status : 405, "%zu", i);
        cr_assert_eq(allowed != NULL, is_on && row->is_allowed, "%zu", i);
        cr_assert(allowed == NULL || strcmp(allowed, row->origin) == 0);
        cr_assert_eq(header("vary") != NULL, is_on);
        cr_assert_eq(header("access-control-allow-methods") != NULL, call.status == 204);
        cr_assert_eq(header("access-control-expose-headers") != NULL,
                     allowed != NULL && call.status != 204);
        api.policy = NULL;
    }
}

/* Heads. */

Test(api_call, a_head_beyond_its_bounds_is_refused)
{
    struct call_input input = {.method = text_of("GET"), .target = text_of("/healthz")};
    input.head_size = 16384;
    input.header_count = 64;
    call_renew();
    call_run(&call, &input);
    cr_assert_eq(call.status, 200);
    input.head_size++;
    call_renew();
    call_run(&call, &input);
    expect(431, "headers_too_large");
    input.head_size = 100;
    input.header_count++;
    call_renew();
    call_run(&call, &input);
    expect(431, "headers_too_large");
}

Test(api_call, an_ambiguous_head_is_refused_before_anything_else)
{
    struct call_input input = {
        .method = text_of("GET"), .target = text_of("/healthz"), .framing_fault = "two lengths"};
    call_renew();
    call_run(&call, &input);
    expect(400, "bad_request");
    input.framing_fault = NULL;
    input.authorization_count = 2;
    call_renew();
    call_run(&call, &input);
    expect(400, "bad_request");
}

/* Bodies. */

/* A body to a route that answers a faulty document with 400 and a whole one with 422 (no token is made). */
static void send_body(struct bytes body, bool is_padded, const char *content_type,
                      const char *encoding)
{
    char authorization[128];
    catalog_unref(catalog);
    catalog = NULL;
    (void)snprintf(authorization, sizeof(authorization), "bEARER %s", token_add("admin", 0, false));
    const struct call_input input = {
        .method = text_of("POST"),
        .target = text_of("/tokens"),
        .body = body,
        .body_is_padded = is_padded,
        .authorization = text_of(authorization),
        .content_type = text_of(content_type),
        .content_encoding = text_of(encoding),
    };
    call_renew();
    call_run(&call, &input);
    call_finish();
}

struct body_answer {
    const char *body;
    const char *content_type;
    int status;
    const char *code;
};

Test(api_call, bodies_are_read_by_their_content_type)
{
    static const struct body_answer answers[] = {
        {"{}",       "",                                422, "validation_failed"     },
        {"{}",       "application/json",                422, "validation_failed"     },
        {"{}",       "Application/JSON; charset=utf-8", 422, "validation_failed"     },
        {"{}",       "application/json;x",              422, "validation_failed"     },
        {"\x80",     "application/msgpack",             422, "validation_failed"     },
        {"\x80\x80", "application/msgpack",             400, "msgpack_syntax"        },
        {"{}",       "application/x-ndjson",            415, "unsupported_media_type"},
        {"{}",       "text/plain",                      415, "unsupported_media_type"},
        {"{}",       "application/jsonp",               415, "unsupported_media_type"},
        {"{} {}",    "application/json",                400, "json_trailing"         },
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        send_body(text_of(answers[i].body), false, answers[i].content_type, "");
        cr_assert_eq(call.status, answers[i].status, "%zu: %s", i, reply_text);
        expect(answers[i].status, answers[i].code);
    }
}

Test(api_call, a_broken_body_is_told_the_byte)
{
    send_body(text_of("{\"name\": tru}"), false, "", "");
    cr_assert_eq(call.status, 400);
    cr_assert_not_null(strstr(reply_text, "\"offset\":"), "%s", reply_text);
    send_body(text_of(""), false, "", "");
    cr_assert_eq(call.status, 400);
    cr_assert_not_null(strstr(reply_text, "\"offset\":0"), "%s", reply_text);
}

Test(api_call, a_body_may_have_just_so_many_bytes)
{
    uint8_t *body = malloc(LIMIT_BODY + 1 + JSON_PADDING);
    memset(body, ' ', LIMIT_BODY + 1 + JSON_PADDING);
    memcpy(body, "{}", 2);
    for (int is_padded = 0; is_padded < 2; is_padded++) {
        send_body(bytes_of(body, LIMIT_BODY), is_padded != 0, "", "");
        expect(422, "validation_failed");
        send_body(bytes_of(body, LIMIT_BODY + 1), is_padded != 0, "", "");
        expect(413, "body_too_large");
    }
    free(body);
}

/* `size` spaces behind "{}", as gzip; the caller frees. */
static struct bytes gzip_of(size_t size)
{
    uint8_t *plain = malloc(size);
    uint8_t *packed = malloc(size + 1024);
    memset(plain, ' ', size);
    memcpy(plain, "{}", 2);
    z_stream stream = {.next_in = plain,
                       .avail_in = (uInt)size,
                       .next_out = packed,
                       .avail_out = (uInt)size + 1024};
    cr_assert_eq(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    cr_assert_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    const size_t packed_size = stream.total_out;
    (void)deflateEnd(&stream);
    free(plain);
    return bytes_of(packed, packed_size);
}

Test(api_call, gzip_bodies_unpack_up_to_their_bound)
{
    static const size_t sizes[] = {2, 100, LIMIT_BODY_UNPACKED, LIMIT_BODY_UNPACKED + 1,
                                   64u * 1024 * 1024};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const struct bytes packed = gzip_of(sizes[i]);
        send_body(packed, false, "", "gzip");
        cr_assert_eq(call.status, sizes[i] <= LIMIT_BODY_UNPACKED ? 422 : 413, "%zu: %s", sizes[i],
                     reply_text);
        free((void *)(uintptr_t)packed.data);
    }
}

Test(api_call, a_gzip_body_that_lies_about_its_size_is_still_read_right)
{
    const struct bytes packed = gzip_of(100000);
    uint8_t *changed = (uint8_t *)(uintptr_t)packed.data;
    /* The size in the trailer is part of what gzip checks, so a lie ends as a fault, never as a short body. */
    for (uint32_t i = 0; i < 4; i++) {
        store_u32(changed + packed.size - 4, i == 0 ? 0 : 1u << (8 * i));
        send_body(packed, false, "", "gzip");
        expect(400, "bad_gzip");
    }
    store_u32(changed + packed.size - 4, 100000);
    send_body(bytes_of(changed, packed.size - 1), false, "", "gzip");
    expect(400, "bad_gzip");
    send_body(bytes_of(changed, packed.size), false, "", "GZIP");
    expect(422, "validation_failed");
    send_body(text_of("{}"), false, "", "gzip");
    expect(400, "bad_gzip");
    send_body(text_of("{}"), false, "", "br");
    expect(415, "unsupported_encoding");
    send_body(text_of("{}"), false, "", "identity");
    expect(422, "validation_failed");
    free(changed);
}

/* Tokens. */

Test(api_call, tokens_open_what_their_scopes_say)
{
    const char *reader = token_add("results:read", 0, false);
    const char *admin = token_add("admin", 0, false);
    request("GET", "/metrics", reader, NULL);
    cr_assert_eq(call.status, 200);
    cr_assert_eq(call.scopes, (unsigned)SCOPE_RESULTS_READ);
    request("GET", "/status", reader, NULL);
    expect(403, "insufficient_scope");
    cr_assert_not_null(strstr(reply_text, "'admin'"));
    for (int i = 0; i < 3; i++) { /* the second time from the cache */
        request("GET", "/status", admin, NULL);
        cr_assert_eq(call.status, 200, "%s", reply_text);
        request("GET", "/metrics", admin, NULL);
        cr_assert_eq(call.status, 200);
    }
}

Test(api_call, a_token_that_is_not_good_is_refused_without_saying_why)
{
    char answers[4][1024];
    const int64_t now_us = engine_now_us(engine);
    const char *const secrets[] = {
        "assay_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        token_add("admin", now_us - 5000000, false),
        token_add("admin", 0, true),
        "",
    };
    for (size_t i = 0; i < COUNT_OF(secrets); i++) {
        request("GET", "/status", secrets[i], NULL);
        expect(401, "token_invalid");
        cr_assert_str_eq(header("www-authenticate"), "Bearer error=\"invalid_token\"");
        (void)snprintf(answers[i], sizeof(answers[i]), "%s", reply_text);
        cr_assert_str_eq(answers[i], answers[0]);
    }
    request("GET", "/status", NULL, NULL);
    expect(401, "token_missing");
    cr_assert_str_eq(header("www-authenticate"), "Bearer");
}

Test(api_call, a_header_that_is_no_bearer_token_is_refused)
{
    static const char *const bad[] = {"Bearer", "Basic YTpi", "Bearerassay_x", "Token x",
                                      "Bearer  "};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const struct call_input input = {.method = text_of("GET"),
                                         .target = text_of("/status"),
                                         .authorization = text_of(bad[i])};
        call_renew();
        call_run(&call, &input);
        expect(401, "token_invalid");
    }
    char token[LIMIT_HEADER_TOKEN + 1];
    memset(token, 'a', sizeof(token));
    token[LIMIT_HEADER_TOKEN] = '\0';
    request("GET", "/status", token, NULL);
    expect(401, "token_invalid");
}

Test(api_call, a_revoked_token_is_refused_though_it_was_in_the_cache)
{
    const char *secret = token_add("admin", engine_now_us(engine) + 50000, false);
    request("GET", "/status", secret, NULL);
    cr_assert_eq(call.status, 200);
    (void)usleep(60000);
    request("GET", "/status", secret, NULL);
    expect(401, "token_invalid");
}

Test(api_call, secrets_are_long_random_and_known_by_their_digest)
{
    char first[AUTH_SECRET_SIZE];
    char second[AUTH_SECRET_SIZE];
    uint8_t digests[2][TOKEN_DIGEST_SIZE];
    auth_secret_make(engine, first, digests[0]);
    auth_secret_make(engine, second, digests[1]);
    cr_assert_eq(strlen(first), 6u + 43u);
    cr_assert_eq(strncmp(first, "assay_", 6), 0);
    cr_assert_eq(strspn(first, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                 49u);
    cr_assert_str_neq(first, second);
    cr_assert_neq(memcmp(digests[0], digests[1], TOKEN_DIGEST_SIZE), 0);
}

/* The value of a text member of the last answer. */
static void member_of(const char *name, char *out_value, size_t capacity)
{
    char format[64];
    (void)snprintf(format, sizeof(format), "\"%s\":\"", name);
    const char *found = strstr(reply_text, format);
    cr_assert_not_null(found, "no %s in %s", name, reply_text);
    found += strlen(format);
    const size_t size = strcspn(found, "\"");
    cr_assert(size < capacity);
    memcpy(out_value, found, size);
    out_value[size] = '\0';
}

/* An admin token that is in the log, so that it may write; made the way a client would, by one that is not. */
static void admin_make(char out_secret[AUTH_SECRET_SIZE], char out_id[UUID_TEXT_SIZE])
{
    const char *outsider = token_add("admin", 0, false);
    request("POST", "/tokens", outsider, "{\"name\":\"root\",\"scopes\":[\"admin\"]}");
    cr_assert_eq(call.status, 201, "%s", reply_text);
    member_of("token", out_secret, AUTH_SECRET_SIZE);
    member_of("id", out_id, UUID_TEXT_SIZE);
    catalog_unref(catalog);
    catalog = NULL; /* from here on, the engine's */
}

Test(api_call, a_token_lives_from_its_making_to_its_revocation)
{
    char admin[AUTH_SECRET_SIZE];
    char secret[AUTH_SECRET_SIZE];
    char id[UUID_TEXT_SIZE];
    char target[128];
    admin_make(admin, id);
    request("POST", "/tokens", admin, "{\"name\":\"ci\",\"scopes\":[\"assign\",\"results:read\"]}");
    cr_assert_eq(call.status, 201, "%s", reply_text);
    member_of("token", secret, sizeof(secret));
    member_of("id", id, sizeof(id));
    request("GET", "/metrics", secret, NULL);
    cr_assert_eq(call.status, 200);

    request("GET", "/tokens?limit=1", admin, NULL);
    cr_assert_eq(call.status, 200);
    cr_assert_null(strstr(reply_text, "\"token\":"));
    cr_assert_null(strstr(reply_text, "\"ci\""));
    member_of("next_cursor", target, sizeof(target));
    char page[160];
    (void)snprintf(page, sizeof(page), "/tokens?limit=1&cursor=%s", target);
    request("GET", page, admin, NULL);
    cr_assert_not_null(strstr(reply_text, "\"scopes\":[\"assign\",\"results:read\"]"), "%s",
                       reply_text);
    cr_assert_not_null(strstr(reply_text, "\"next_cursor\":null"));

    (void)snprintf(target, sizeof(target), "/tokens/%s", id);
    for (int i = 0; i < 2; i++) { /* revoking again changes nothing */
        request("DELETE", target, admin, NULL);
        cr_assert_eq(call.status, 204);
        cr_assert_str_empty(reply_text);
        request("GET", "/metrics", secret, NULL);
        expect(401, "token_invalid");
    }
    request("DELETE", "/tokens/00000000-0000-7000-8000-000000000000", admin, NULL);
    expect(404, "not_found");
    request("DELETE", "/tokens/x", admin, NULL);
    expect(404, "not_found");
}

Test(api_call, the_state_of_the_server_is_there_to_read)
{
    const char *admin = token_add("admin", 0, false);
    request("GET", "/healthz", NULL, NULL);
    cr_assert_eq(call.status, 200);
    request("GET", "/readyz", NULL, NULL);
    cr_assert_eq(call.status, 200, "%s", reply_text);
    request("GET", "/status", admin, NULL);
    cr_assert_eq(call.status, 200);
    cr_assert_not_null(strstr(reply_text, "\"durable_lsn\":"));
    request("GET", "/metrics", admin, NULL);
    cr_assert_eq(strncmp(reply_type, "text/plain; version=0.0.4", 25), 0);
    cr_assert_not_null(strstr(reply_text, "\nassay_ready 1\n"));
    cr_assert_not_null(strstr(reply_text, "# TYPE assay_http_responses_total counter\n"));
}
