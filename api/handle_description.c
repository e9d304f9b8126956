/* handle_description.c: GET /openapi.json and GET /docs: what can be asked, made from the table of routes itself, so that a
 * route is described as soon as it has a row. What the table does not say, query parameters, is in `queries` below.
 */
#include <ctype.h>
#include <stdio.h>

#include "api/routes.h"

#define NAME_SIZE 160

/* The query parameters of a route; a route without any has no row. */
struct query_row {
    enum http_method method;
    const char *pattern;
    const char *names[12];
};

static const struct query_row queries[] = {
    {HTTP_POST, "/events", {"strict"}},
    {HTTP_GET, "/events", {"user_id", "event_type", "start", "end", "from_lsn", "limit", "cursor"}},
    {HTTP_GET, "/users/{user_id}/export", {"limit", "cursor"}},
    {HTTP_GET, "/erasures", {"limit", "cursor"}},
    {HTTP_GET, "/experiments/{id}/assignment/{user_id}", {"enroll"}},
    {HTTP_GET, "/ofrep/v1/stream", {"ticket"}},
    {HTTP_GET, "/experiments/{id}/assignments", {"variant", "generation", "limit", "cursor"}},
    {HTTP_GET, "/experiments", {"status", "layer", "q", "limit", "cursor"}},
    {HTTP_GET, "/experiments/{id}/history", {"limit", "cursor"}},
    {HTTP_GET,
     "/experiments/{id}/results",
     {"start_date", "end_date", "metrics", "group_by", "confidence_level", "test", "correction", "cuped", "cuped_days",
      "format"}},
    {HTTP_GET, "/power", {"baseline", "mde", "power", "alpha", "variants", "std_dev", "users_per_day"}},
    {HTTP_GET, "/metric-definitions", {"archived", "limit", "cursor"}},
    {HTTP_GET, "/segments", {"limit", "cursor"}},
    {HTTP_GET, "/tokens", {"limit", "cursor"}},
    {HTTP_GET, "/audit", {"limit", "cursor"}},
};

static const char *const method_names[] = {
    [HTTP_GET] = "get", [HTTP_POST] = "post", [HTTP_PUT] = "put", [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete"};

static void write_pair(struct json_writer *writer, const char *key, const char *text)
{
    json_key(writer, key);
    json_text(writer, text);
}

static void write_parameter(struct json_writer *writer, struct bytes name, const char *place, bool is_required)
{
    json_begin_object(writer);
    json_key(writer, "name");
    json_text_bytes(writer, name);
    write_pair(writer, "in", place);
    json_key(writer, "required");
    json_bool(writer, is_required);
    json_key(writer, "schema");
    json_begin_object(writer);
    write_pair(writer, "type", "string");
    json_end_object(writer);
    json_end_object(writer);
}

static void write_parameters(struct json_writer *writer, const struct route *route)
{
    json_key(writer, "parameters");
    json_begin_array(writer);
    for (const char *at = strchr(route->pattern, '{'); at != NULL; at = strchr(at, '{')) {
        const char *end = strchr(at, '}');
        write_parameter(writer, bytes_of(at + 1, (size_t)(end - at) - 1), "path", true);
        at = end;
    }
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        const bool is_its = queries[i].method == route->method && strcmp(queries[i].pattern, route->pattern) == 0;
        for (size_t j = 0; is_its && queries[i].names[j] != NULL; j++) {
            write_parameter(writer, bytes_of_text(queries[i].names[j]), "query", false);
        }
    }
    json_end_array(writer);
}

static void write_content(struct json_writer *writer, const char *type, const char *schema)
{
    json_key(writer, "content");
    json_begin_object(writer);
    json_key(writer, type);
    json_begin_object(writer);
    json_key(writer, "schema");
    json_begin_object(writer);
    if (schema != NULL) {
        write_pair(writer, "$ref", schema);
    }
    json_end_object(writer);
    json_end_object(writer);
    json_end_object(writer);
}

static void write_responses(struct json_writer *writer, const struct route *route)
{
    const struct dialect *dialect = dialect_find(bytes_of_text(route->pattern));
    json_key(writer, "responses");
    json_begin_object(writer);
    json_key(writer, "2XX");
    json_begin_object(writer);
    write_pair(writer, "description", "Done.");
    json_end_object(writer);
    json_key(writer, "default");
    json_begin_object(writer);
    write_pair(writer, "description", dialect != NULL ? "An error, in the words of the path's own protocol."
                                                      : "An error: `code` says which, `detail` what to do.");
    if (dialect == NULL) {
        write_content(writer, "application/problem+json", "#/components/schemas/Problem");
    }
    json_end_object(writer);
    json_end_object(writer);
}

static void write_security(struct json_writer *writer, const struct route *route)
{
    static const char *const schemes[] = {"bearer", "apiKey"};
    const struct dialect *dialect = dialect_find(bytes_of_text(route->pattern));
    const size_t count = route->is_public ? 0 : dialect != NULL && dialect->takes_api_key ? 2 : 1;
    json_key(writer, "security");
    json_begin_array(writer);
    for (size_t i = 0; i < count; i++) {
        json_begin_object(writer);
        json_key(writer, schemes[i]);
        json_begin_array(writer);
        json_text(writer, token_scope_name(route->scope));
        json_end_array(writer);
        json_end_object(writer);
    }
    json_end_array(writer);
}

/* "post_experiments_id_assignment" */
static const char *operation_id(const struct route *route, char out_name[NAME_SIZE])
{
    size_t size = (size_t)snprintf(out_name, NAME_SIZE, "%s", method_names[route->method]);
    for (const char *at = route->pattern; *at != '\0' && size + 2 < NAME_SIZE; at++) {
        if (isalnum((unsigned char)*at) != 0) {
            out_name[size++] = *at;
        } else if (out_name[size - 1] != '_') {
            out_name[size++] = '_';
        }
    }
    out_name[size] = '\0';
    return out_name;
}

static struct bytes tag_of(const struct route *route)
{
    if (route->handle == handle_dashboard || route->handle == handle_dashboard_asset) {
        return bytes_of_text("dashboard");
    }
    return bytes_of(route->pattern + 1, strcspn(route->pattern + 1, "/"));
}

static void write_operation(struct json_writer *writer, const struct route *route)
{
    char name[NAME_SIZE];
    json_key(writer, method_names[route->method]);
    json_begin_object(writer);
    write_pair(writer, "operationId", operation_id(route, name));
    write_pair(writer, "summary", route->summary);
    json_key(writer, "tags");
    json_begin_array(writer);
    json_text_bytes(writer, tag_of(route));
    json_end_array(writer);
    write_parameters(writer, route);
    if (route->method == HTTP_POST || route->method == HTTP_PUT || route->method == HTTP_PATCH) {
        json_key(writer, "requestBody");
        json_begin_object(writer);
        write_content(writer, "application/json", NULL);
        json_end_object(writer);
    }
    write_responses(writer, route);
    write_security(writer, route);
    json_end_object(writer);
}

static void write_problem_schema(struct json_writer *writer)
{
    static const char *const texts[] = {"type", "title", "detail", "code", "message"};
    json_key(writer, "Problem");
    json_begin_object(writer);
    write_pair(writer, "type", "object");
    json_key(writer, "required");
    json_begin_array(writer);
    json_text(writer, "status");
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        json_text(writer, texts[i]);
    }
    json_end_array(writer);
    json_key(writer, "properties");
    json_begin_object(writer);
    json_key(writer, "status");
    json_begin_object(writer);
    write_pair(writer, "type", "integer");
    json_end_object(writer);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        json_key(writer, texts[i]);
        json_begin_object(writer);
        write_pair(writer, "type", "string");
        json_end_object(writer);
    }
    json_end_object(writer);
    json_end_object(writer);
}

static void write_components(struct json_writer *writer)
{
    json_key(writer, "components");
    json_begin_object(writer);
    json_key(writer, "securitySchemes");
    json_begin_object(writer);
    json_key(writer, "bearer");
    json_begin_object(writer);
    write_pair(writer, "type", "http");
    write_pair(writer, "scheme", "bearer");
    write_pair(writer, "description", "A token of POST /tokens. Each operation names the scope that it needs.");
    json_end_object(writer);
    json_key(writer, "apiKey");
    json_begin_object(writer);
    write_pair(writer, "type", "apiKey");
    write_pair(writer, "in", "header");
    write_pair(writer, "name", "X-API-Key");
    json_end_object(writer);
    json_end_object(writer);
    json_key(writer, "schemas");
    json_begin_object(writer);
    write_problem_schema(writer);
    json_end_object(writer);
    json_end_object(writer);
}

void handle_openapi(struct call *call)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_pair(&writer, "openapi", "3.1.0");
    json_key(&writer, "info");
    json_begin_object(&writer);
    write_pair(&writer, "title", "assay");
    write_pair(&writer, "version", ASSAY_VERSION);
    write_pair(&writer, "description", "Experiments, sticky assignment, events, and results to believe.");
    json_end_object(&writer);
    json_key(&writer, "paths");
    json_begin_object(&writer);
    for (size_t i = 0; i < route_count; i++) {
        /* The rows of one path stand together. */
        if (i == 0 || strcmp(routes[i - 1].pattern, routes[i].pattern) != 0) {
            json_key(&writer, routes[i].pattern);
            json_begin_object(&writer);
        }
        write_operation(&writer, &routes[i]);
        if (i + 1 == route_count || strcmp(routes[i + 1].pattern, routes[i].pattern) != 0) {
            json_end_object(&writer);
        }
    }
    json_end_object(&writer);
    write_components(&writer);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

/* ---- the page ---- */

static const char page_head[] =
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>assay: the API</title>"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>"
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{margin:2rem 0 .5rem}article{border-top:1px solid #8884;padding:.6rem 0}"
    "code{font:14px ui-monospace,monospace}b{display:inline-block;min-width:4.5rem}"
    "p{margin:.2rem 0}small{opacity:.75}</style></head><body><main><h1>assay: the API</h1>"
    "<p>Send a token as <code>Authorization: Bearer TOKEN</code>. Errors are <code>application/problem+json</code> with a "
    "stable <code>code</code>. The same for machines: <a href=\"/openapi.json\">/openapi.json</a>.</p>";

static const char page_tail[] = "</main></body></html>";

#define PAGE_ROUTE_SIZE 1024u

/* All texts are ours: nothing to escape. */
static size_t page_route(char *out_text, size_t size, const struct route *route)
{
    static const char *const verbs[] = {
        [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_PUT] = "PUT", [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE"};
    const int written =
        snprintf(out_text, size, "<article><p><b>%s</b> <code>%s</code></p><p>%s <small>%s%s</small></p></article>",
                 verbs[route->method], route->pattern, route->summary, route->is_public ? "Public." : "Scope: ",
                 route->is_public ? "" : token_scope_name(route->scope));
    assert(written > 0 && (size_t)written < size);
    return (size_t)written;
}

void handle_docs(struct call *call)
{
    const size_t capacity = sizeof(page_head) + sizeof(page_tail) + route_count * PAGE_ROUTE_SIZE * 2;
    char *text = arena_take(&call->arena, capacity);
    if (text == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    size_t size = sizeof(page_head) - 1;
    memcpy(text, page_head, size);
    for (size_t i = 0; i < route_count; i++) {
        const struct bytes tag = tag_of(&routes[i]);
        if (i == 0 || !bytes_equal(tag_of(&routes[i - 1]), tag)) {
            size += (size_t)snprintf(text + size, capacity - size, "<h2>%.*s</h2>", (int)tag.size, (const char *)tag.data);
        }
        size += page_route(text + size, PAGE_ROUTE_SIZE, &routes[i]);
    }
    memcpy(text + size, page_tail, sizeof(page_tail) - 1);
    size += sizeof(page_tail) - 1;
    call_header(call, "content-security-policy", "default-src 'none'; style-src 'unsafe-inline'");
    call_reply_text(call, 200, "text/html; charset=utf-8", bytes_of(text, size));
}
