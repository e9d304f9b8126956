/* cors.c: see cors.h. */
#include "api/cors.h"

#include "api/dispatch.h"
#include "api/policy.h"
#include "api/routes.h"

#define ORIGIN_SIZE_MAX 255u

static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789";

static bool is_made_of(const char *text, size_t size, const char *more)
{
    for (size_t i = 0; i < size; i++) {
        if (strchr(lower, text[i]) == NULL && strchr(more, text[i]) == NULL) {
            return false;
        }
    }
    return size > 0;
}

/* A port is part of the host here: the browser compares texts, and so do we. */
bool cors_origin_is_valid(const char *origin)
{
    const char *colon = strstr(origin, "://");
    const size_t size = strlen(origin);
    if (colon == NULL || size > ORIGIN_SIZE_MAX) {
        return false;
    }
    const char *host = colon + strlen("://");
    return is_made_of(origin, (size_t)(colon - origin), "+-.") &&
           is_made_of(host, size - (size_t)(host - origin), "-._:[]");
}

static const char *origin_find(const struct cors *cors, struct bytes origin)
{
    for (uint32_t i = 0; i < cors->origin_count; i++) {
        if (bytes_equal_text(origin, cors->origins[i])) {
            return cors->origins[i];
        }
    }
    return NULL;
}

bool cors_begin(struct call *call, const struct call_input *input)
{
    const struct policy *policy = call->api->policy;
    const bool has_origins = policy != NULL && policy->cors.origin_count != 0;
    if (has_origins) {
        call_header(call, "vary", "Origin");
    }
    const char *origin = has_origins ? origin_find(&policy->cors, input->origin) : NULL;
    if (origin == NULL && input->origin.size != 0 && auth_knows_origin(call, input->origin)) {
        origin = arena_copy(&call->arena, input->origin);
        if (!has_origins) {
            call_header(call, "vary", "Origin");
        }
    }
    if (origin == NULL) {
        return false;
    }
    call_header(call, "access-control-allow-origin", origin);
    if (!bytes_equal_text(input->method, "OPTIONS") || input->preflight_method.size == 0) {
        call_header(call, "access-control-expose-headers", "ETag, Retry-After");
        return false;
    }
    call_header(call, "access-control-allow-methods", "GET, POST");
    call_header(call, "access-control-allow-headers",
                "content-type, authorization, x-api-key, if-none-match, x-request-id, traceparent");
    call_header(call, "access-control-max-age", "7200"); /* the longest that browsers heed */
    return true;
}
