/* auth.c: who is calling, and may they?
 *
 * The catalog knows tokens by the SHA-256 of their secret, which is enough for secrets of 256 random bits. A request's
 * token is hashed once a thread and catalog generation: the cache below maps a keyed 128-bit hash of its text to the
 * token's index. Only tokens that exist get in, so strangers cannot push anyone out, and every revocation makes a new
 * generation. Expiry is looked at on every request.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <xxhash.h>

#include "api/cors.h"
#include "api/dispatch.h"
#include "api/limiter.h"
#include "api/routes.h"
#include "engine/limits.h"

#define CACHE_SLOTS 256u /* power of two */

struct cache_slot {
    XXH128_hash_t hash;
    uint64_t generation;
    uint32_t token;
    bool is_used;
};

/* A thread's own: no lock, and the secret never leaves it. */
struct auth_cache {
    bool has_secret;
    uint8_t secret[192]; /* of the hash: without it nobody can make two texts collide */
    struct cache_slot slots[CACHE_SLOTS];
};

static _Thread_local struct auth_cache cache;

static_assert(sizeof(cache.secret) >= XXH3_SECRET_SIZE_MIN, "the hash asks for this much");

static struct cache_slot *cache_slot_of(struct call *call, struct bytes text,
                                        XXH128_hash_t *out_hash)
{
    if (!cache.has_secret) {
        engine_random(call->engine, cache.secret, sizeof(cache.secret));
        cache.has_secret = true;
    }
    *out_hash = XXH3_128bits_withSecret(text.data, text.size, cache.secret, sizeof(cache.secret));
    return &cache.slots[out_hash->low64 & (CACHE_SLOTS - 1)];
}

static uint32_t token_find(struct call *call, struct bytes text)
{
    XXH128_hash_t hash;
    struct cache_slot *slot = cache_slot_of(call, text, &hash);
    if (slot->is_used && slot->generation == call->catalog->generation &&
        XXH128_isEqual(slot->hash, hash)) {
        return slot->token;
    }
    uint8_t digest[TOKEN_DIGEST_SIZE];
    (void)SHA256(text.data, text.size, digest);
    const uint32_t token = catalog_find_token_digest(call->catalog, digest);
    if (token == CATALOG_NONE) {
        return token;
    }
    const struct token *found = call->catalog->tokens[token]->current;
    if (CRYPTO_memcmp(found->digest, digest, sizeof(digest)) != 0) { /* the secret before the last rotation */
        return call->received_at_us < found->previous_expires_at_us ? token : CATALOG_NONE;
    }
    *slot = (struct cache_slot){hash, call->catalog->generation, token, true};
    return token;
}

/* What follows the scheme, such as "bearer ", in any case; empty where the header is something else. */
static struct bytes scheme_text(struct bytes authorization, const char *scheme)
{
    const size_t size = strlen(scheme);
    if (authorization.size < size || authorization.size > LIMIT_HEADER_TOKEN) {
        return bytes_of(NULL, 0);
    }
    for (size_t i = 0; i < size; i++) {
        const uint8_t lower = authorization.data[i] == ' ' ? ' ' : authorization.data[i] | 0x20;
        if (lower != (uint8_t)scheme[i]) {
            return bytes_of(NULL, 0);
        }
    }
    return bytes_of(authorization.data + size, authorization.size - size);
}

static bool brings_api_key(const struct call *call, const struct call_input *input)
{
    return call->dialect != NULL && call->dialect->takes_api_key &&
           input->authorization.size == 0 && input->api_key.size != 0;
}

/* The user's name of Basic credentials, in the arena; empty where they are none. */
static struct bytes basic_user(struct call *call, struct bytes credentials)
{
    uint8_t *text = arena_take(&call->arena, credentials.size + 1);
    if (text == NULL || credentials.size == 0) {
        return bytes_of(NULL, 0);
    }
    const int size = EVP_DecodeBlock(text, credentials.data, (int)credentials.size);
    const uint8_t *colon = size > 0 ? memchr(text, ':', (size_t)size) : NULL;
    return colon != NULL ? bytes_of(text, (size_t)(colon - text)) : bytes_of(NULL, 0);
}

/* The token as the caller brings it; empty where it cannot be one. */
static struct bytes token_text(struct call *call, const struct call_input *input)
{
    if (!brings_api_key(call, input)) {
        const struct bytes basic = call->dialect != NULL && call->dialect->takes_basic
                                       ? scheme_text(input->authorization, "basic ")
                                       : bytes_of(NULL, 0);
        return basic.size != 0 ? basic_user(call, basic) : scheme_text(input->authorization, "bearer ");
    }
    return input->api_key.size <= LIMIT_HEADER_TOKEN ? input->api_key : bytes_of(NULL, 0);
}

/* ---- how often ---- */

#define ADDRESSES 4096u /* words for failures by address; several may share one */

static atomic_int_least64_t token_turns[LIMIT_TOKENS];
static atomic_int_least64_t failure_turns[ADDRESSES];

static void refuse_for_now(struct call *call, int64_t wait_s, const char *code, const char *detail)
{
    call_header(call, "retry-after", arena_format(&call->arena, "%lld", (long long)wait_s));
    call_reply_problem(call, 429, code, "%s", detail);
}

/* A bad token from this address. Where they come too often they are told to wait; good ones never come here. */
static bool failure_is_bearable(struct call *call, int64_t *out_wait_s)
{
    uint8_t address[16] = {0};
    const size_t size = call->api->peer != NULL ? call->api->peer(call, address) : 0;
    /* Of IPv6 the network: a single host has as many addresses as it likes. */
    const uint64_t hash = XXH3_64bits_withSecret(address, size < 8 ? size : 8, cache.secret, sizeof(cache.secret));
    return size == 0 || limiter_admit(&failure_turns[hash % ADDRESSES], LIMIT_FAILED_AUTH_RATE, LIMIT_FAILED_AUTH_BURST,
                                      call->received_at_us, out_wait_s);
}

static bool token_is_within_rate(struct call *call, uint32_t index, const struct token *token)
{
    int64_t wait_s = 0;
    if (token->rate_limit == 0 || limiter_admit(&token_turns[index], token->rate_limit, token->rate_limit, call->received_at_us, &wait_s)) {
        return true;
    }
    refuse_for_now(call, wait_s, "rate_limited", "this token has sent as many requests as it may: see its rate_limit");
    return false;
}

/* A token of web pages is for theirs alone. Whoever is no browser can say what it likes: this keeps other pages from using it. */
static bool token_takes_origin(const struct token *token, struct bytes origin)
{
    for (uint32_t i = 0; i < token->origin_count; i++) {
        if (bytes_equal(token->origins[i], origin)) {
            return true;
        }
    }
    return token->origin_count == 0;
}

bool auth_knows_origin(const struct call *call, struct bytes origin)
{
    for (uint32_t i = 0; i < call->catalog->token_count; i++) {
        const struct token *token = call->catalog->tokens[i]->current;
        if (token->origin_count != 0 && token->revoked_at_us == 0 && token_takes_origin(token, origin)) {
            return true;
        }
    }
    return false;
}

static bool token_is_active(const struct token *token, int64_t now_us)
{
    return token->revoked_at_us == 0 &&
           (token->expires_at_us == 0 || now_us < token->expires_at_us);
}

static bool refuse_missing(struct call *call)
{
    call_header(call, "www-authenticate", "Bearer");
    call_reply_problem(call, 401, "token_missing", "send the header 'Authorization: Bearer <token>'");
    return false;
}

/* Is this token, if it is one, good now, and good for this? */
static bool token_admit_found(struct call *call, uint32_t index, unsigned scope)
{
    const struct token *token =
        index != CATALOG_NONE ? call->catalog->tokens[index]->current : NULL;
    /* One answer for all of these: it tells a guesser nothing. */
    int64_t wait_s = 0;
    if (token == NULL || !token_is_active(token, call->received_at_us)) {
        if (!failure_is_bearable(call, &wait_s)) {
            refuse_for_now(call, wait_s, "too_many_failures", "too many requests with a bad token came from this address");
            return false;
        }
        call_header(call, "www-authenticate", "Bearer error=\"invalid_token\"");
        call_reply_problem(call, 401, "token_invalid", "the token is unknown, expired or revoked");
        return false;
    }
    assert(scope != 0); /* a route is public or has a scope: tests/test_api_call.c */
    if ((token->scopes & (scope | SCOPE_ADMIN)) == 0) {
        call_header(call, "www-authenticate", "Bearer error=\"insufficient_scope\"");
        call_reply_problem(call, 403, "insufficient_scope",
                           "this needs a token with the scope '%s'",
                           token_scope_name(scope));
        return false;
    }
    if (!token_takes_origin(token, call->origin)) {
        call_reply_problem(call, 403, "origin_not_allowed", "this token is for pages of other origins: see its origins");
        return false;
    }
    if (!token_is_within_rate(call, index, token)) {
        return false;
    }
    call->token = index;
    call->scopes = token->scopes;
    return true;
}

/* Is this the text of a token that is good now, and good for this? */
static bool token_admit(struct call *call, struct bytes text, unsigned scope)
{
    return token_admit_found(call, text.size != 0 ? token_find(call, text) : CATALOG_NONE, scope);
}

static void ticket_write(const struct token *token, char out_ticket[AUTH_TICKET_SIZE])
{
    static const uint8_t purpose[] = "assay ticket 1";
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    uuid_format(&token->id, out_ticket);
    const uint8_t *made = HMAC(EVP_sha256(), token->digest, sizeof(token->digest), purpose, sizeof(purpose) - 1, mac, &size);
    assert(made != NULL && size >= 16);
    char *at = out_ticket + UUID_TEXT_SIZE - 1;
    *at++ = '.';
    for (size_t i = 0; i < 16; i++, at += 2) {
        (void)snprintf(at, 3, "%02x", mac[i]);
    }
}

void auth_ticket_make(const struct call *call, char out_ticket[AUTH_TICKET_SIZE])
{
    ticket_write(call->catalog->tokens[call->token]->current, out_ticket);
}

/* The token that the ticket was made of; CATALOG_NONE where it was made of none. */
static uint32_t ticket_find(const struct call *call, struct bytes ticket)
{
    struct uuid id;
    char good[AUTH_TICKET_SIZE];
    if (ticket.size != sizeof(good) - 1 || uuid_parse(bytes_of(ticket.data, UUID_TEXT_SIZE - 1), &id) != STATUS_OK) {
        return CATALOG_NONE;
    }
    const uint32_t index = catalog_find_token(call->catalog, &id);
    if (index == CATALOG_NONE) {
        return CATALOG_NONE;
    }
    ticket_write(call->catalog->tokens[index]->current, good);
    return CRYPTO_memcmp(good, ticket.data, ticket.size) == 0 ? index : CATALOG_NONE;
}

static bool brings_ticket(struct call *call, struct bytes *out_ticket)
{
    return call->dialect != NULL && call->dialect->takes_ticket && call->method == HTTP_GET &&
           call_query(call, "ticket", out_ticket);
}

bool auth_check(struct call *call, const struct route *route, const struct call_input *input)
{
    if (route->is_public) {
        return true;
    }
    struct bytes ticket;
    if (input->authorization.size == 0 && !brings_api_key(call, input)) {
        if (brings_ticket(call, &ticket)) {
            return token_admit_found(call, ticket_find(call, ticket), route->scope);
        }
        return (call->dialect != NULL && call->dialect->takes_write_key) || refuse_missing(call);
    }
    return token_admit(call, token_text(call, input), route->scope);
}

bool auth_still_holds(struct call *call, unsigned scope)
{
    if (engine_catalog_generation(call->engine) != call->catalog->generation) {
        call_refresh_catalog(call);
    }
    const struct token *token = call->catalog->tokens[call->token]->current;
    return token_is_active(token, engine_now_us(call->engine)) && (token->scopes & (scope | SCOPE_ADMIN)) != 0;
}

bool auth_write_key(struct call *call, unsigned scope, struct bytes text)
{
    if (call->token != CATALOG_NONE) {
        return true;
    }
    if (text.size == 0) {
        return refuse_missing(call);
    }
    return token_admit(call, text.size <= LIMIT_HEADER_TOKEN ? text : bytes_of(NULL, 0), scope);
}

void auth_secret_make(struct engine *engine, char out_secret[AUTH_SECRET_SIZE],
                      uint8_t out_digest[TOKEN_DIGEST_SIZE])
{
    static const char prefix[] = "assay_"; /* secret scanners know it by this */
    uint8_t random[32];
    unsigned char text[48]; /* 44 characters, the last one '=', and a NUL */
    engine_random(engine, random, sizeof(random));
    const int size = EVP_EncodeBlock(text, random, sizeof(random));
    assert(size == 44 && text[43] == '=');
    char *at = out_secret;
    memcpy(at, prefix, sizeof(prefix) - 1);
    at += sizeof(prefix) - 1;
    for (size_t i = 0; i < 43; i++) {
        *at++ = text[i] == '+' ? '-' : text[i] == '/' ? '_' : (char)text[i];
    }
    *at = '\0';
    (void)SHA256((const unsigned char *)out_secret, (size_t)(at - out_secret), out_digest);
}
