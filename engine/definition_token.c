/* definition_token.c: tokens: scopes, expiry, revocation. The secret is never here, only its digest. */
#include <stdlib.h>

#include "engine/definition_document.h"

#define ARENA_SLACK       64u
#define SCRATCH_SIZE      4096u
#define ORIGIN_SIZE_MAX   255u
#define TOKEN_ROW(member) FIELD_MEMBER(struct token, member)

/* By bit. */
static const char *const scope_names[] = {
    "admin", "experiments:read", "experiments:write", "assign", "events:write", "results:read",
};

static_assert(COUNT_OF(scope_names) == SCOPE_COUNT, "each scope has its name");
static_assert(SCOPE_RESULTS_READ == 1u << (SCOPE_COUNT - 1), "scopes are single bits");

#define SCOPES_KNOWN                                                                               \
    "admin, experiments:read, experiments:write, assign, events:write, results:read"

const char *token_scope_name(unsigned scope)
{
    for (uint32_t i = 0; i < SCOPE_COUNT; i++) {
        if (scope == 1u << i) {
            return scope_names[i];
        }
    }
    return NULL;
}

/* ---- Fields ---- */

static unsigned scope_read(struct reading *reading, const struct field *field)
{
    struct bytes name;
    if (!field_text(reading, field, 0, LIMIT_NAME, &name)) {
        return 0;
    }
    for (uint32_t i = 0; i < SCOPE_COUNT; i++) {
        if (bytes_equal_text(name, scope_names[i])) {
            return 1u << i;
        }
    }
    field_fault(reading, field, "out_of_range", "must be one of: " SCOPES_KNOWN);
    return 0;
}

static void scopes_read(struct reading *reading, const struct field_row *row,
                        const struct field *field, void *member)
{
    struct field_list list;
    struct field element;
    unsigned scopes = 0;
    if (!field_list_enter(reading, field, row->least, row->most, &list)) {
        return;
    }
    while (field_list_next(reading, &list, &element)) {
        unsigned scope = scope_read(reading, &element);
        if ((scopes & scope) != 0) {
            field_fault(reading, &element, "not_unique", "is in the list already");
        }
        scopes |= scope;
    }
    memcpy(member, &scopes, sizeof(scopes));
}

static void scopes_write(struct pack_writer *writer, const struct field_row *row,
                         const void *member)
{
    unsigned scopes;
    (void)row;
    memcpy(&scopes, member, sizeof(scopes));
    pack_array(writer, (uint32_t)__builtin_popcount(scopes));
    for (uint32_t i = 0; i < SCOPE_COUNT; i++) {
        if ((scopes & 1u << i) != 0) {
            pack_text_z(writer, scope_names[i]);
        }
    }
}

static void digest_read(struct reading *reading, const struct field_row *row,
                        const struct field *field, void *member)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    struct bytes digest;
    (void)row;
    if (!pack_read_bin(&cursor, &digest) || digest.size != TOKEN_DIGEST_SIZE) {
        field_fault(reading, field, "wrong_type", "must be %d bytes", TOKEN_DIGEST_SIZE);
        return;
    }
    memcpy(member, digest.data, TOKEN_DIGEST_SIZE);
}

static void digest_write(struct pack_writer *writer, const struct field_row *row,
                         const void *member)
{
    (void)row;
    pack_bin(writer, bytes_of(member, TOKEN_DIGEST_SIZE));
}

static void origins_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct token *token = member;
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, row->least, row->most, &list)) {
        return;
    }
    struct bytes *origins = arena_take_zeroed(reading->arena, sizeof(*origins) * (list.count + 1));
    if (origins == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; field_list_next(reading, &list, &element); i++) {
        (void)field_text(reading, &element, 1, ORIGIN_SIZE_MAX, &origins[i]);
    }
    token->origins = origins;
    token->origin_count = list.count;
}

static void origins_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct token *token = member;
    (void)row;
    pack_array(writer, token->origin_count);
    for (uint32_t i = 0; i < token->origin_count; i++) {
        pack_text(writer, token->origins[i]);
    }
}

static void rate_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    double number = 0;
    (void)row;
    if (!field_number(reading, field, &number)) {
        return;
    }
    if (!(number >= 1 && number <= LIMIT_TOKEN_RATE) || number > (double)(uint64_t)number) {
        field_fault(reading, field, "out_of_range", "must be a whole number of requests a second from 1 to %u", LIMIT_TOKEN_RATE);
        return;
    }
    const uint64_t rate = (uint64_t)number;
    memcpy(member, &rate, sizeof(rate));
}

static void rate_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    uint64_t rate;
    (void)row;
    memcpy(&rate, member, sizeof(rate));
    if (rate != 0) {
        pack_uint(writer, rate);
    } else {
        pack_nil(writer);
    }
}

static const struct field_kind kind_rate = {rate_read, rate_write, NULL};
static const struct field_kind kind_origins = {origins_read, origins_write, NULL};
static const struct field_kind kind_scopes = {scopes_read, scopes_write, NULL};
static const struct field_kind kind_digest = {digest_read, digest_write, NULL};

// clang-format off
static const struct field_row token_rows[] = {
    {"id", &field_kind_uuid, FIELD_OURS, .is_required = true, TOKEN_ROW(id)},
    {"name", &field_kind_name, FIELD_GIVEN, .is_required = true, TOKEN_ROW(name), .least = 1, .most = LIMIT_NAME},
    {"version", &field_kind_version, FIELD_OURS, .is_required = true, TOKEN_ROW(version)},
    {"scopes", &kind_scopes, FIELD_GIVEN, .is_required = true, TOKEN_ROW(scopes), .least = 1, .most = SCOPE_COUNT},
    {"digest", &kind_digest, FIELD_HIDDEN, .is_required = true, TOKEN_ROW(digest)},
    {"previous_digest", &kind_digest, FIELD_HIDDEN, TOKEN_ROW(previous_digest)},
    {"previous_expires_at", &field_kind_instant, FIELD_OURS, TOKEN_ROW(previous_expires_at_us)},
    {"rate_limit", &kind_rate, FIELD_GIVEN, TOKEN_ROW(rate_limit)},
    {"origins", &kind_origins, FIELD_GIVEN, .least = 0, .most = LIMIT_TOKEN_ORIGINS},
    {"created_at", &field_kind_instant, FIELD_OURS, .is_required = true, TOKEN_ROW(created_at_us)},
    {"expires_at", &field_kind_instant, FIELD_GIVEN, TOKEN_ROW(expires_at_us)},
    {"revoked_at", &field_kind_instant, FIELD_OURS, TOKEN_ROW(revoked_at_us)},
    {"author", &field_kind_uuid, FIELD_OURS, .is_required = true, TOKEN_ROW(author)},
};

// clang-format on

/* ---- Stored form ---- */

void token_free(struct token *token)
{
    if (token != NULL) {
        arena_deinit(&token->arena);
        free(token);
    }
}

static enum status token_load(struct token *token, struct bytes document, struct arena *scratch)
{
    struct field_errors errors = field_errors_in(scratch);
    struct reading reading = {.arena = &token->arena, .errors = &errors, .is_stored = true};
    struct field field;
    const char *copy = arena_copy(&token->arena, document);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    token->document = bytes_of(copy, document.size);
    if (!document_check(&reading, token->document, &field)) {
        return STATUS_DAMAGED;
    }
    (void)document_read(&reading, token_rows, COUNT_OF(token_rows), &field, NULL, token);
    enum status status = reading_status(&reading);
    return status == STATUS_INVALID ? STATUS_DAMAGED : status;
}

enum status token_decode(struct bytes document, struct token **out_token)
{
    struct arena scratch;
    struct token *token = calloc(1, sizeof(*token));
    if (token == NULL) {
        return STATUS_NO_MEMORY;
    }
    arena_init(&token->arena, document.size + ARENA_SLACK);
    arena_init(&scratch, SCRATCH_SIZE);
    enum status status = token_load(token, document, &scratch);
    arena_deinit(&scratch);
    if (status != STATUS_OK) {
        token_free(token);
        return status;
    }
    *out_token = token;
    return STATUS_OK;
}

static enum status token_seal(const struct token *draft, struct token **out_token)
{
    uint8_t *owned = NULL;
    size_t size = 0;
    enum status status = document_encode(token_rows, COUNT_OF(token_rows), draft,
                                         (size_t)LIMIT_DEFINITION, &owned, &size);
    assert(status != STATUS_TOO_LARGE); /* every part of it is bounded */
    if (status != STATUS_OK) {
        return status;
    }
    status = token_decode(bytes_of(owned, size), out_token);
    free(owned);
    assert(status != STATUS_DAMAGED); /* what we write is what we read */
    return status;
}

/* ---- Create and revoke ---- */

enum status token_create(struct bytes document, const struct definition_context *context,
                         const uint8_t digest[TOKEN_DIGEST_SIZE], struct field_errors *errors,
                         struct token **out_token)
{
    static const struct field expires_at = {.parent = "", .name = "expires_at"};
    static const struct field scopes = {.parent = "", .name = "scopes"};
    struct reading reading = {.arena = errors->arena, .errors = errors};
    struct token draft = {0};
    struct field field;
    if (!document_check(&reading, document, &field)) {
        return reading_status(&reading);
    }
    (void)document_read(&reading, token_rows, COUNT_OF(token_rows), &field, NULL, &draft);
    if (draft.expires_at_us != 0 && draft.expires_at_us <= context->now_us) {
        field_fault(&reading, &expires_at, "out_of_range", "must be in the future");
    }
    if (draft.origin_count != 0 && (draft.scopes & ~(unsigned)(SCOPE_ASSIGN | SCOPE_EVENTS_WRITE)) != 0) {
        field_fault(&reading, &scopes, "not_allowed", "of a token with origins may be assign and events:write alone: anyone can read it in the page");
    }
    enum status status = reading_status(&reading);
    if (status != STATUS_OK) {
        return status;
    }
    draft.id = context->id;
    draft.version = context->version;
    draft.author = context->author;
    draft.created_at_us = context->now_us;
    memcpy(draft.digest, digest, sizeof(draft.digest));
    return token_seal(&draft, out_token);
}

enum status token_revoke(const struct token *current, const struct definition_context *context,
                         struct token **out_token)
{
    struct token draft = *current;
    draft.version = context->version;
    draft.author = context->author;
    if (draft.revoked_at_us == 0) {
        draft.revoked_at_us = context->now_us;
    }
    return token_seal(&draft, out_token);
}

enum status token_rotate(const struct token *current, const struct definition_context *context,
                         const uint8_t digest[TOKEN_DIGEST_SIZE], int64_t previous_expires_at_us, struct token **out_token)
{
    struct token draft = *current;
    draft.version = context->version;
    draft.author = context->author;
    memcpy(draft.previous_digest, current->digest, sizeof(draft.previous_digest));
    draft.previous_expires_at_us = previous_expires_at_us;
    memcpy(draft.digest, digest, sizeof(draft.digest));
    return token_seal(&draft, out_token);
}
