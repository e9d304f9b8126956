/* routes.h: which handler answers which method and path, and who may call it.
 *
 * A route is a row of the table in routes.c: to add an endpoint, add a row, its handler in the handle_*.c of its noun, and its
 * line in docs/api.md (a test demands it). A row without a scope that is not public fails the tests.
 */
#ifndef ASSAY_API_ROUTES_H
#define ASSAY_API_ROUTES_H

#include "api/http.h"

struct call_input;

/* One route: a row of the table in routes.c. */
struct route {
    enum http_method method;
    const char *pattern; /* "/experiments/{id}/assignment/{user_id}" */
    unsigned scope;      /* enum token_scope; 0 only where is_public */
    bool is_public;
    bool is_write; /* refused with 503 before the body is looked at while the engine cannot take writes */
    void (*handle)(struct call *call);
    const char *summary; /* one line, for the documentation */
};

extern const struct route routes[];
extern const size_t route_count;

/* "GET" and so on; 0 for a method of no route. HEAD is GET: the server leaves the body out. */
enum http_method http_method_parse(struct bytes name);
const char *http_method_name(enum http_method method); /* "other" for a method of no route */

/* The route of a method and path, with call->parameters filled. Replies 404 or 405 (with Allow) and returns NULL where
 * there is none. */
const struct route *route_find(struct call *call);

/* The manners of paths that are made for another project's clients. */
struct dialect {
    const char *prefix; /* of the paths */
    bool takes_api_key;   /* X-API-Key where there is no Authorization */
    bool takes_ticket;    /* GETs without any may bring ?ticket=, see auth_ticket_make(): a page cannot give a stream headers */
    bool takes_basic;     /* Authorization: Basic, with the token as the user's name */
    bool takes_write_key; /* the token may be in the body: without Authorization the handler calls auth_write_key() */
    bool takes_any_type;  /* whatever Content-Type says that is not ours, the body is JSON: pages say text/plain to do
                             without a preflight, others what their HTTP library puts */
    /* Says what call_reply_problem() was to say. */
    void (*refuse)(struct call *call, int status, const char *code, const char *detail);
    const char *out_of_memory; /* a whole JSON body, sent with 500 */
};

/* NULL where the path is the platform's own. */
const struct dialect *dialect_find(struct bytes path);

/* Checks the token of the Authorization header (of which there must be one at most), or of what else the dialect takes,
 * against the catalog: fills call->token and call->scopes. Replies 401 or 403 and returns false where the route is not
 * for this caller. */
bool auth_check(struct call *call, const struct route *route, const struct call_input *input);
/* May pages of this origin use any token? For a preflight, which brings none. */
bool auth_knows_origin(const struct call *call, struct bytes origin);
/* For answers without an end: is the caller's token still good for this, by the newest definitions? */
bool auth_still_holds(struct call *call, unsigned scope);
/* For a dialect that takes write keys: the same check, of a token from the body. True at once where a header brought one.
 * Empty: there is none, 401. */
bool auth_write_key(struct call *call, unsigned scope, struct bytes text);
/* What stands for the caller's token in a URL: it opens nothing but GETs of a dialect that takes it, is the same each time, and
 * good for as long as the token. HMAC-SHA256 under the secret's digest, so nothing is kept. */
#define AUTH_TICKET_SIZE (UUID_TEXT_SIZE + 33) /* the token's id, a point, 32 hexadecimal digits, NUL */
void auth_ticket_make(const struct call *call, char out_ticket[AUTH_TICKET_SIZE]);
/* A new secret ("assay_" and 43 characters of base64url over 32 random bytes) and its SHA-256. */
#define AUTH_SECRET_SIZE 64
void auth_secret_make(struct engine *engine, char out_secret[AUTH_SECRET_SIZE], uint8_t out_digest[TOKEN_DIGEST_SIZE]);

/* Handlers, one file a noun. */
void handle_segment(struct call *call);
void segment_refuse(struct call *call, int status, const char *code, const char *detail);
void handle_experiment_create(struct call *call);
void handle_experiment_list(struct call *call);
void handle_experiment_get(struct call *call);
void handle_experiment_patch(struct call *call);
void handle_experiment_archive(struct call *call);
void handle_experiment_history(struct call *call);
void handle_experiment_rerandomize(struct call *call);
void handle_override_list(struct call *call);
void handle_override_put(struct call *call);
void handle_override_delete(struct call *call);
void handle_assignment_get(struct call *call);
void handle_assignment_post(struct call *call);
void handle_assignment_bulk(struct call *call);
void handle_assignment_everywhere(struct call *call);
void handle_assignment_list(struct call *call);
void handle_explain_get(struct call *call);
void handle_ofrep_flag(struct call *call);
void handle_ofrep_flags(struct call *call);
void handle_ofrep_stream(struct call *call);
void ofrep_refuse(struct call *call, int status, const char *code, const char *detail);
void handle_evaluate_post(struct call *call);
void handle_events_post(struct call *call);
void handle_events_get(struct call *call);
void handle_user_export(struct call *call);
void handle_user_erase(struct call *call);
void handle_erasure_list(struct call *call);
void handle_erasure_get(struct call *call);
void handle_metric_create(struct call *call);
void handle_metric_list(struct call *call);
void handle_metric_get(struct call *call);
void handle_metric_patch(struct call *call);
void handle_metric_archive(struct call *call);
void handle_results_get(struct call *call);
void handle_power_get(struct call *call);
void handle_user_set_list(struct call *call);
void handle_user_set_get(struct call *call);
void handle_user_set_user(struct call *call);
void handle_user_set_put(struct call *call);
void handle_user_set_delete(struct call *call);
void handle_user_set_add(struct call *call);
void handle_user_set_remove(struct call *call);
void handle_user_set_remove_one(struct call *call);
void handle_token_create(struct call *call);
void handle_token_list(struct call *call);
void handle_token_revoke(struct call *call);
void handle_token_rotate(struct call *call);
void handle_audit(struct call *call);
void handle_health(struct call *call);
void handle_ready(struct call *call);
void handle_prometheus(struct call *call);
void handle_status(struct call *call);
void handle_openapi(struct call *call);
void handle_docs(struct call *call);
void handle_dashboard(struct call *call);
void handle_stream(struct call *call);
void handle_dashboard_asset(struct call *call);

#endif
