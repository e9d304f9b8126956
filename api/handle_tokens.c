/* handle_tokens.c: tokens: made, listed, revoked. A secret is in one answer and nowhere else. */
#include "api/cors.h"
#include "api/handler.h"
#include "api/routes.h"

/* What of a write must outlive the wait for the engine. */
struct token_write {
    struct uuid id;
    char secret[AUTH_SECRET_SIZE]; /* of a new token; empty otherwise */
    uint8_t outcome;
};

static void write_token(struct json_writer *writer, const struct token *token, const char *secret)
{
    json_begin_object(writer);
    json_key(writer, "id");
    json_uuid(writer, &token->id);
    json_key(writer, "name");
    json_text_bytes(writer, token->name);
    json_key(writer, "scopes");
    json_begin_array(writer);
    for (unsigned i = 0; i < SCOPE_COUNT; i++) {
        if ((token->scopes & 1u << i) != 0) {
            json_text(writer, token_scope_name(1u << i));
        }
    }
    json_end_array(writer);
    json_key(writer, "rate_limit");
    if (token->rate_limit != 0) {
        json_uint(writer, token->rate_limit);
    } else {
        json_null(writer);
    }
    json_key(writer, "origins");
    json_begin_array(writer);
    for (uint32_t i = 0; i < token->origin_count; i++) {
        json_text_bytes(writer, token->origins[i]);
    }
    json_end_array(writer);
    const int64_t times[] = {token->created_at_us, token->expires_at_us, token->revoked_at_us, token->previous_expires_at_us};
    static const char *const names[] = {"created_at", "expires_at", "revoked_at", "previous_secret_until"};
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        json_key(writer, names[i]);
        if (times[i] != 0) {
            json_time(writer, times[i]);
        } else {
            json_null(writer);
        }
    }
    if (secret != NULL) {
        json_key(writer, "token");
        json_text(writer, secret);
    }
    json_end_object(writer);
}

static const struct token *token_of(const struct call *call, uint32_t index)
{
    return index != CATALOG_NONE ? call->catalog->tokens[index]->current : NULL;
}

static struct definition_context context_of(const struct call *call, struct uuid id,
                                            uint32_t version)
{
    return (struct definition_context){
        .id = id,
        .version = version,
        .author = handler_author(call),
        .now_us = call->received_at_us,
    };
}

/* Hands a new version of a token to the engine. The token is not needed after it. */
static void token_submit(struct call *call, const struct token *token, struct token_write *write,
                         void (*continuation)(struct call *call))
{
    const struct definition definition = {
        .id = token->id,
        .version = token->version,
        .author = token->author,
        .document = token->document,
    };
    write->id = token->id;
    call->handler_data = write;
    (void)handler_submit_definitions(call, RECORD_TOKEN, &definition, 1, &write->outcome,
                                     continuation);
}

/* True when the write took effect, and call->catalog shows it. */
static bool token_written(struct call *call)
{
    const struct token_write *write = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return false;
    }
    if (write->outcome != OUTCOME_APPLIED) {
        call_reply_problem(call, 409, "conflict",
                           "the token was changed by another request in the meantime");
        return false;
    }
    call_refresh_catalog(call);
    return true;
}

static void token_created(struct call *call)
{
    const struct token_write *write = call->handler_data;
    if (!token_written(call)) {
        return;
    }
    const struct token *token = token_of(call, catalog_find_token(call->catalog, &write->id));
    assert(token != NULL); /* it was applied */
    struct json_writer writer = json_writer_in(&call->arena);
    write_token(&writer, token, write->secret);
    call_reply_json(call, 201, &writer);
}

void handle_token_create(struct call *call)
{
    static const char *const names[] = {NULL};
    struct bytes document;
    if (!call_query_only(call, names) || !call_document(call, &document)) {
        return;
    }
    if (call->catalog->token_count >= LIMIT_TOKENS) {
        call_reply_problem(call, 409, "too_many_tokens", "there are %u tokens, which is the most",
                           LIMIT_TOKENS);
        return;
    }
    struct token_write *write = arena_take_zeroed(&call->arena, sizeof(*write));
    if (write == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    uint8_t digest[TOKEN_DIGEST_SIZE];
    auth_secret_make(call->engine, write->secret, digest);
    const struct definition_context context = context_of(call, handler_new_id(call), 1);
    struct field_errors errors = field_errors_in(&call->arena);
    struct token *token = NULL;
    enum status status = token_create(document, &context, digest, &errors, &token);
    for (uint32_t i = 0; status == STATUS_OK && i < token->origin_count; i++) {
        const char *origin = arena_copy(&call->arena, token->origins[i]);
        if (origin == NULL || !cors_origin_is_valid(origin)) {
            field_error_add(&errors, "malformed", "must be scheme://host[:port] as a browser sends it", "origins[%u]", i);
        }
    }
    if (status == STATUS_OK && errors.count != 0) {
        token_free(token);
        status = STATUS_INVALID;
    }
    if (status != STATUS_OK) {
        handler_reply_refused(call, status, &errors);
        return;
    }
    token_submit(call, token, write, token_created);
    token_free(token);
}

void handle_token_list(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    struct handler_page page;
    if (!call_query_only(call, names) || !handler_page_read(call, &page)) {
        return;
    }
    const uint64_t count = call->catalog->token_count;
    const uint64_t end =
        page.cursor < count && page.limit < count - page.cursor ? page.cursor + page.limit : count;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "tokens");
    json_begin_array(&writer);
    for (uint64_t i = page.cursor; i < end; i++) {
        write_token(&writer, token_of(call, (uint32_t)i), NULL);
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, end < count ? end : 0));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

static void token_revoked(struct call *call)
{
    if (token_written(call)) {
        call_reply_empty(call, 204);
    }
}

void handle_token_revoke(struct call *call)
{
    struct uuid id;
    const bool is_id = uuid_parse(call->parameters[0], &id) == STATUS_OK;
    const struct token *current =
        token_of(call, is_id ? catalog_find_token(call->catalog, &id) : CATALOG_NONE);
    if (current == NULL) {
        call_reply_problem(call, 404, "not_found", "there is no token with this id");
        return;
    }
    if (current->revoked_at_us != 0) {
        call_reply_empty(call, 204);
        return;
    }
    struct token_write *write = arena_take_zeroed(&call->arena, sizeof(*write));
    const struct definition_context context = context_of(call, current->id, current->version + 1);
    struct token *token = NULL;
    const enum status status =
        write != NULL ? token_revoke(current, &context, &token) : STATUS_NO_MEMORY;
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return;
    }
    token_submit(call, token, write, token_revoked);
    token_free(token);
}

#define OVERLAP_DEFAULT 86400u

/* {"overlap_seconds": N}, or nothing. */
static bool read_overlap(struct call *call, int64_t *out_seconds)
{
    struct bytes document;
    struct pack_value number;
    uint32_t fields = 0;
    *out_seconds = OVERLAP_DEFAULT;
    if (call->body.size == 0) {
        return true;
    }
    if (!call_document(call, &document)) {
        return false;
    }
    struct pack_cursor cursor = pack_cursor_on(document);
    const bool is_map = pack_read_map(&cursor, &fields);
    if (is_map && fields == 0) {
        return true;
    }
    if (!is_map || fields != 1 || !pack_map_find(document, bytes_of_text("overlap_seconds"), &number)) {
        call_reply_problem(call, 422, "validation_failed", "the body is {\"overlap_seconds\": N}, or empty");
        return false;
    }
    if (number.type != PACK_INT || number.as.integer < 0 || number.as.integer > LIMIT_TOKEN_OVERLAP) {
        call_reply_problem(call, 422, "out_of_range", "overlap_seconds must be a whole number from 0 to %u", LIMIT_TOKEN_OVERLAP);
        return false;
    }
    *out_seconds = number.as.integer;
    return true;
}

static void token_rotated(struct call *call)
{
    const struct token_write *write = call->handler_data;
    if (!token_written(call)) {
        return;
    }
    const struct token *token = token_of(call, catalog_find_token(call->catalog, &write->id));
    struct json_writer writer = json_writer_in(&call->arena);
    write_token(&writer, token, write->secret);
    call_reply_json(call, 200, &writer);
}

void handle_token_rotate(struct call *call)
{
    static const char *const names[] = {NULL};
    struct uuid id;
    int64_t overlap_s = 0;
    if (!call_query_only(call, names)) {
        return;
    }
    const bool is_id = uuid_parse(call->parameters[0], &id) == STATUS_OK;
    const struct token *current = token_of(call, is_id ? catalog_find_token(call->catalog, &id) : CATALOG_NONE);
    if (current == NULL) {
        call_reply_problem(call, 404, "not_found", "there is no token with this id");
        return;
    }
    if (!read_overlap(call, &overlap_s)) {
        return;
    }
    if (current->revoked_at_us != 0) {
        call_reply_problem(call, 409, "conflict", "the token was revoked: make a new one");
        return;
    }
    struct token_write *write = arena_take_zeroed(&call->arena, sizeof(*write));
    const struct definition_context context = context_of(call, current->id, current->version + 1);
    const int64_t until_us = overlap_s != 0 ? call->received_at_us + overlap_s * 1000000 : 0;
    uint8_t digest[TOKEN_DIGEST_SIZE];
    struct token *token = NULL;
    enum status status = write != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    if (status == STATUS_OK) {
        auth_secret_make(call->engine, write->secret, digest);
        status = token_rotate(current, &context, digest, until_us, &token);
    }
    if (status != STATUS_OK) {
        call_reply_engine_status(call, status);
        return;
    }
    token_submit(call, token, write, token_rotated);
    token_free(token);
}
