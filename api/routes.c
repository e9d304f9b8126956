/* routes.c: the table of every method and path that assay answers, and the way into it.
 *
 * To add a route: a row here, a handler in the handle_....c of its noun, a line in the API's description. Rows of one
 * path stand together; {...} matches one piece of the path, not empty, and is handed over decoded.
 */
#include "api/routes.h"

// clang-format off
const struct route routes[] = {
    /* method, path, scope, is_public, is_write, handler, summary */
    {HTTP_POST, "/events", SCOPE_EVENTS_WRITE, false, true, handle_events_post,
     "Take in one event or many."},
    {HTTP_GET, "/events", SCOPE_ADMIN, false, false, handle_events_get,
     "Events read back from the log, in its order."},
    {HTTP_GET, "/users/{user_id}/export", SCOPE_ADMIN, false, false, handle_user_export,
     "All events and assignments of one user."},
    {HTTP_DELETE, "/users/{user_id}", SCOPE_ADMIN, false, true, handle_user_erase,
     "Erase a user: events, assignments and their part of every result."},
    {HTTP_GET, "/erasures", SCOPE_ADMIN, false, false, handle_erasure_list,
     "List the receipts of erasures."},
    {HTTP_GET, "/erasures/{receipt_id}", SCOPE_ADMIN, false, false, handle_erasure_get,
     "One receipt of an erasure."},
    {HTTP_POST, "/v1/{call}", SCOPE_EVENTS_WRITE, false, true, handle_segment,
     "Segment's tracking API: track, identify, page, screen, group, alias, batch."},

    {HTTP_GET, "/experiments/{id}/assignment/{user_id}", SCOPE_ASSIGN, false, false, handle_assignment_get,
     "Which variant a user gets; query parameters are attributes."},
    {HTTP_POST, "/experiments/{id}/assignment", SCOPE_ASSIGN, false, false, handle_assignment_post,
     "The same, with the attributes in a document."},
    {HTTP_POST, "/experiments/{id}/assignments", SCOPE_ASSIGN, false, true, handle_assignment_bulk,
     "Many users at once, or the import of assignments made elsewhere."},
    {HTTP_GET, "/experiments/{id}/assignments", SCOPE_RESULTS_READ, false, false, handle_assignment_list,
     "Who is in which variant."},
    {HTTP_GET, "/experiments/{id}/explain/{user_id}", SCOPE_EXPERIMENTS_READ, false, false, handle_explain_get,
     "Why a user gets what they get, question by question; enrols nobody."},
    {HTTP_POST, "/experiments/{id}/evaluate", SCOPE_EXPERIMENTS_READ, false, false, handle_evaluate_post,
     "What users would get if the experiment ran; enrols nobody."},
    {HTTP_POST, "/assignments", SCOPE_ASSIGN, false, false, handle_assignment_everywhere,
     "All running experiments for one user."},

    {HTTP_POST, "/ofrep/v1/evaluate/flags/{key}", SCOPE_ASSIGN, false, false, handle_ofrep_flag,
     "OpenFeature: which variant a user gets, as a flag's value."},
    {HTTP_POST, "/ofrep/v1/evaluate/flags", SCOPE_ASSIGN, false, false, handle_ofrep_flags,
     "OpenFeature: all running experiments for one user, as flags."},
    {HTTP_POST, "/ofrep/v1/evaluate/flags/", SCOPE_ASSIGN, false, false, handle_ofrep_flags,
     "The same: some clients put a slash behind the path."},
    {HTTP_GET, "/ofrep/v1/stream", SCOPE_ASSIGN, false, false, handle_ofrep_stream,
     "OpenFeature: tells clients to evaluate anew, as server-sent events."},

    {HTTP_POST, "/experiments", SCOPE_EXPERIMENTS_WRITE, false, true, handle_experiment_create,
     "Make an experiment."},
    {HTTP_GET, "/experiments", SCOPE_EXPERIMENTS_READ, false, false, handle_experiment_list,
     "List experiments."},
    {HTTP_GET, "/experiments/{id}", SCOPE_EXPERIMENTS_READ, false, false, handle_experiment_get,
     "One experiment, by id or key."},
    {HTTP_PATCH, "/experiments/{id}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_experiment_patch,
     "Change an experiment: makes a new version."},
    {HTTP_DELETE, "/experiments/{id}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_experiment_archive,
     "Archive an experiment."},
    {HTTP_GET, "/experiments/{id}/history", SCOPE_EXPERIMENTS_READ, false, false, handle_experiment_history,
     "Every version of an experiment, and who made it."},
    {HTTP_GET, "/experiments/{id}/overrides", SCOPE_EXPERIMENTS_READ, false, false, handle_override_list,
     "Which variants testers are shown."},
    {HTTP_PUT, "/experiments/{id}/overrides/{user_id}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_override_put,
     "Show a tester this variant; it counts for nothing."},
    {HTTP_DELETE, "/experiments/{id}/overrides/{user_id}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_override_delete,
     "Show a tester what anybody is shown."},
    {HTTP_POST, "/experiments/{id}/rerandomize", SCOPE_EXPERIMENTS_WRITE, false, true, handle_experiment_rerandomize,
     "Draw everybody anew: a new salt, nobody assigned, results from the start."},
    {HTTP_GET, "/experiments/{id}/results", SCOPE_RESULTS_READ, false, false, handle_results_get,
     "What the experiment did, with the statistics to believe it."},
    {HTTP_GET, "/power", SCOPE_RESULTS_READ, false, false, handle_power_get,
     "How many users an experiment needs."},

    {HTTP_POST, "/metric-definitions", SCOPE_EXPERIMENTS_WRITE, false, true, handle_metric_create,
     "Define a metric."},
    {HTTP_GET, "/metric-definitions", SCOPE_EXPERIMENTS_READ, false, false, handle_metric_list,
     "List metrics."},
    {HTTP_GET, "/metric-definitions/{name}", SCOPE_EXPERIMENTS_READ, false, false, handle_metric_get,
     "One metric."},
    {HTTP_PATCH, "/metric-definitions/{name}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_metric_patch,
     "Change a metric: makes a new version."},
    {HTTP_DELETE, "/metric-definitions/{name}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_metric_archive,
     "Archive a metric."},

    {HTTP_GET, "/segments", SCOPE_EXPERIMENTS_READ, false, false, handle_user_set_list,
     "List segments of users."},
    {HTTP_GET, "/segments/{name}", SCOPE_EXPERIMENTS_READ, false, false, handle_user_set_get,
     "One segment: how many users it has, and which experiments name it."},
    {HTTP_PUT, "/segments/{name}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_user_set_put,
     "Make a segment of these users, or of an old one."},
    {HTTP_DELETE, "/segments/{name}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_user_set_delete,
     "Delete a segment that no experiment names."},
    {HTTP_POST, "/segments/{name}/users", SCOPE_EXPERIMENTS_WRITE, false, true, handle_user_set_add,
     "Add users to a segment."},
    {HTTP_DELETE, "/segments/{name}/users", SCOPE_EXPERIMENTS_WRITE, false, true, handle_user_set_remove,
     "Take the users of the body out of a segment."},
    {HTTP_GET, "/segments/{name}/users/{user_id}", SCOPE_EXPERIMENTS_READ, false, false, handle_user_set_user,
     "Is a user in a segment?"},
    {HTTP_DELETE, "/segments/{name}/users/{user_id}", SCOPE_EXPERIMENTS_WRITE, false, true, handle_user_set_remove_one,
     "Take one user out of a segment."},

    {HTTP_POST, "/tokens", SCOPE_ADMIN, false, true, handle_token_create,
     "Make a token; its secret is shown once."},
    {HTTP_GET, "/tokens", SCOPE_ADMIN, false, false, handle_token_list,
     "List tokens, without their secrets."},
    {HTTP_POST, "/tokens/{id}/rotate", SCOPE_ADMIN, false, true, handle_token_rotate,
     "Give a token a new secret; the old one stays good for a while."},
    {HTTP_DELETE, "/tokens/{id}", SCOPE_ADMIN, false, true, handle_token_revoke,
     "Revoke a token."},

    {HTTP_GET, "/audit", SCOPE_ADMIN, false, false, handle_audit,
     "Who changed which experiment, metric or token, and when."},

    {HTTP_GET, "/healthz", 0, true, false, handle_health,
     "Is the process up?"},
    {HTTP_GET, "/readyz", 0, true, false, handle_ready,
     "Can it acknowledge writes?"},
    {HTTP_GET, "/metrics", SCOPE_RESULTS_READ, false, false, handle_prometheus,
     "Counters for Prometheus."},
    {HTTP_GET, "/stream", SCOPE_RESULTS_READ, false, false, handle_stream,
     "What changes, as server-sent events."},
    {HTTP_GET, "/status", SCOPE_ADMIN, false, false, handle_status,
     "Versions, positions, lag, disk."},

    {HTTP_GET, "/openapi.json", 0, true, false, handle_openapi,
     "This API, as OpenAPI 3.1."},
    {HTTP_GET, "/docs", 0, true, false, handle_docs,
     "This API, to read."},
    {HTTP_GET, "/", 0, true, false, handle_dashboard,
     "The dashboard."},
    {HTTP_GET, "/assets/{file}", 0, true, false, handle_dashboard_asset,
     "The dashboard's script and style."},
};
// clang-format on

const size_t route_count = COUNT_OF(routes);

static const struct dialect dialects[] = {
    {
     .prefix = "/ofrep/",
     .takes_api_key = true,
     .takes_ticket = true,
     .refuse = ofrep_refuse,
     .out_of_memory =
            "{\"errorCode\":\"GENERAL\",\"errorDetails\":\"memory is out\",\"metadata\":{}}", },
    {
     .prefix = "/v1/",
     .takes_basic = true,
     .takes_write_key = true,
     .takes_any_type = true,
     .refuse = segment_refuse,
     .out_of_memory = "{\"code\":\"out_of_memory\",\"message\":\"memory is out\"}", },
};

const struct dialect *dialect_find(struct bytes path)
{
    for (size_t i = 0; i < COUNT_OF(dialects); i++) {
        const size_t size = strlen(dialects[i].prefix);
        if (path.size >= size && memcmp(path.data, dialects[i].prefix, size) == 0) {
            return &dialects[i];
        }
    }
    return NULL;
}

struct method_row {
    const char *name;
    enum http_method method;
};

static const struct method_row methods[] = {
    {"GET",    HTTP_GET   },
    {"HEAD",   HTTP_GET   },
    {"POST",   HTTP_POST  },
    {"PUT",    HTTP_PUT   },
    {"PATCH",  HTTP_PATCH },
    {"DELETE", HTTP_DELETE},
};

enum http_method http_method_parse(struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (bytes_equal_text(name, methods[i].name)) {
            return methods[i].method;
        }
    }
    return (enum http_method)0;
}

const char *http_method_name(enum http_method method)
{
    for (size_t i = 0; i < COUNT_OF(methods); i++) {
        if (methods[i].method == method) {
            return methods[i].name;
        }
    }
    return "other";
}

/* The length of the path's piece from `at` to the next '/' or the end. */
static size_t piece_size(struct bytes path, size_t at)
{
    const uint8_t *slash = memchr(path.data + at, '/', path.size - at);
    return slash != NULL ? (size_t)(slash - path.data) - at : path.size - at;
}

/* Does the path fit the pattern? Fills the pieces that stand for {...}, still encoded. */
static bool pattern_matches(const char *pattern, struct bytes path,
                            struct bytes parameters[HTTP_PATH_PARAMETERS])
{
    size_t count = 0;
    size_t at = 0;
    while (*pattern != '\0' && at < path.size) {
        const bool is_parameter = *pattern == '{';
        const size_t size = is_parameter ? piece_size(path, at) : 1;
        if (is_parameter ? size == 0 : path.data[at] != (uint8_t)*pattern) {
            return false;
        }
        assert(!is_parameter || count < HTTP_PATH_PARAMETERS);
        if (is_parameter) {
            parameters[count++] = bytes_of(path.data + at, size);
        }
        at += size;
        pattern += is_parameter ? strcspn(pattern, "}") + 1 : 1;
    }
    return *pattern == '\0' && at == path.size;
}

static void reply_not_allowed(struct call *call, unsigned allowed)
{
    const char *list = "";
    for (size_t i = 0; i < COUNT_OF(methods) && list != NULL; i++) {
        if ((allowed & methods[i].method) != 0) {
            list = arena_format(&call->arena, "%s%s%s", list, *list != '\0' ? ", " : "",
                                methods[i].name);
        }
    }
    if (list == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    call_header(call, "allow", list);
    call_reply_problem(call, 405, "method_not_allowed", "this path takes %s", list);
}

const struct route *route_find(struct call *call)
{
    struct bytes parameters[HTTP_PATH_PARAMETERS] = {
        {NULL, 0}
    };
    const struct route *found = NULL;
    unsigned allowed = 0;
    for (size_t i = 0; i < route_count && found == NULL; i++) {
        if (pattern_matches(routes[i].pattern, call->path, parameters)) {
            allowed |= routes[i].method;
            found = routes[i].method == call->method ? &routes[i] : NULL;
        }
    }
    if (found == NULL && allowed != 0) {
        reply_not_allowed(call, allowed);
        return NULL;
    }
    if (found == NULL) {
        call_reply_problem(call, 404, "no_such_path", "there is nothing at this path");
        return NULL;
    }
    for (size_t i = 0; i < HTTP_PATH_PARAMETERS; i++) {
        if (!call_decode(call, parameters[i], false, &call->parameters[i])) {
            call_reply_engine_status(call, STATUS_NO_MEMORY);
            return NULL;
        }
    }
    return found;
}
