/* handle_ofrep.c: experiments as feature flags: the OpenFeature Remote Evaluation Protocol (OFREP) 0.3, for its clients
 * as they are. docs/openfeature.md says what they see.
 *
 * A flag is an experiment, its key the experiment's, the context's targetingKey the user; what else is in the context are
 * attributes. An evaluation is an assignment like any other: written, and the same for ever.
 *
 * What real clients need, found in their code:
 *   every answer is a JSON object with `metadata`    a Java client reads it before it looks at the status
 *   an error has `key`, `errorCode`, `errorDetails`  others call the answer malformed, or fail on the missing member
 *   a success has `reason` and `variant`             a Python client fails without
 *   a few statuses only                              a Go client knows no others
 *   no ETag on a single flag                         a .NET client would send it back for another user
 *   an ETag over the whole context                   a web client forgets it only when the targetingKey changes
 */
#include <xxhash.h>

#include "api/assignment_work.h"
#include "api/handler.h"
#include "api/routes.h"
#include "engine/assign.h"

/* Refusals. */

struct refusal_row {
    const char *code;
    int status;
    const char *error_code;
};

/* What is not left to its status. */
static const struct refusal_row refusals[] = {
    {"targeting_key_missing", 400, "TARGETING_KEY_MISSING"},
    {"invalid_context",       400, "INVALID_CONTEXT"      },
    {"experiment_not_found",  404, "FLAG_NOT_FOUND"       },
    {"no_such_path",          404, "FLAG_NOT_FOUND"       },
    {"bad_request",           400, "GENERAL"              },
    {"bad_path",              400, "GENERAL"              },
    {"path_too_long",         400, "GENERAL"              },
    {"headers_too_large",     400, "GENERAL"              },
    {"overloaded",            429, "GENERAL"              },
    {"rate_limited",          429, "GENERAL"              },
    {"too_many_failures",     429, "GENERAL"              },
};

static struct refusal_row refusal_of(int status, const char *code)
{
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        if (strcmp(refusals[i].code, code) == 0) {
            return refusals[i];
        }
    }
    if (status >= 500) {
        return (struct refusal_row){code, 500, "GENERAL"};
    }
    if (status == 401 || status == 403 || status == 405) {
        return (struct refusal_row){code, status, "GENERAL"};
    }
    return (struct refusal_row){code, 400, "PARSE_ERROR"}; /* the body, or what is said of it */
}

/* The flag asked for, be it one that no experiment can be; empty where all are. */
static struct bytes key_of(const struct call *call)
{
    static const char prefix[] = "/ofrep/v1/evaluate/flags/";
    const size_t size = sizeof(prefix) - 1;
    if (call->parameters[0].size != 0) {
        return call->parameters[0];
    }
    const bool has_key = call->path.size > size && memcmp(call->path.data, prefix, size) == 0;
    return has_key ? bytes_of(call->path.data + size, call->path.size - size) : bytes_of(NULL, 0);
}

void ofrep_refuse(struct call *call, int status, const char *code, const char *detail)
{
    const struct bytes key = key_of(call);
    const struct refusal_row row = refusal_of(status, code);
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    if (key.size != 0) {
        json_key(&writer, "key");
        json_text_bytes(&writer, key);
    }
    json_key(&writer, "errorCode");
    json_text(&writer, row.error_code);
    json_key(&writer, "errorDetails");
    json_text(&writer, detail);
    json_key(&writer, "metadata");
    json_begin_object(&writer);
    json_end_object(&writer);
    json_end_object(&writer);
    call_reply_json(call, row.status, &writer);
}

/* Questions. */

static bool read_targeting_key(struct call *call, struct bytes encoded, struct entry *entry)
{
    struct pack_cursor cursor = pack_cursor_on(encoded);
    struct pack_value value;
    const bool good = pack_read(&cursor, &value);
    assert(good);
    if (value.type == PACK_NIL || (value.type == PACK_TEXT && value.as.bytes.size == 0)) {
        return true; /* as if it were not there */
    }
    const char *fault = value.type == PACK_TEXT ? handler_text_fault(value.as.bytes, LIMIT_USER_ID)
                                                : "it must be text";
    if (fault != NULL) {
        call_reply_problem(call, 400, "invalid_context", "the targetingKey is no user id: %s",
                           fault);
        return false;
    }
    entry->user_id = value.as.bytes;
    return true;
}

/* The targetingKey is the user; everything else is copied to a map of its own. */
static bool read_context(struct call *call, struct bytes context, struct entry *entry)
{
    struct pack_cursor cursor = pack_cursor_on(context);
    struct pack_writer map = call_frame(call, LIMIT_ATTRIBUTES);
    struct bytes name;
    struct bytes encoded;
    uint32_t fields = 0;
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &fields)) {
        call_reply_problem(call, 400, "invalid_context", "the context must be an object");
        return false;
    }
    const size_t place = pack_open(&map);
    for (uint32_t i = 0; i < fields; i++) {
        if (!pack_read_text(&cursor, &name) || !pack_read_raw(&cursor, &encoded)) {
            call_reply_problem(call, 400, "invalid_context", "its keys must be texts");
            return false;
        }
        if (!bytes_equal_text(name, "targetingKey")) {
            pack_text(&map, name);
            pack_raw(&map, encoded);
            count++;
        } else if (!read_targeting_key(call, encoded, entry)) {
            return false;
        }
    }
    pack_close_map(&map, place, count);
    if (map.overflow) {
        call_reply_problem(call, 400, "invalid_context",
                           "the context may take up to %u bytes as stored", LIMIT_ATTRIBUTES);
        return false;
    }
    entry->attributes = count > 0 ? bytes_of(map.data, map.size) : bytes_of(NULL, 0);
    return true;
}

/* Members beside the context are other versions' business. */
static bool find_context(struct call *call, struct bytes document, struct bytes *out_context)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    struct bytes name;
    struct bytes encoded;
    uint32_t fields = 0;
    bool good = pack_read_map(&cursor, &fields);
    *out_context = bytes_of(NULL, 0);
    for (uint32_t i = 0; i < fields && good; i++) {
        good = pack_read_text(&cursor, &name) && pack_read_raw(&cursor, &encoded);
        if (good && bytes_equal_text(name, "context")) {
            *out_context = encoded;
        }
    }
    if (!good) {
        call_reply_problem(call, 400, "parse_error", "the body must be {\"context\": {...}}");
    }
    return good;
}

/* The body as a question without its experiment. Query parameters are not looked at: a client tells there which change of
 * flags it has heard of, and every answer here is newer. */
static bool read_body(struct call *call, struct entry *out_entry)
{
    static const uint8_t nil = 0xc0;
    struct bytes document;
    struct bytes context;
    struct entry entry = {.forced_variant = ENTRY_NO_VARIANT};
    if (!call_document(call, &document) || !find_context(call, document, &context)) {
        return false;
    }
    const bool has_context = context.size != 0 && context.data[0] != nil;
    if (has_context && !read_context(call, context, &entry)) {
        return false;
    }
    if (entry.user_id.size == 0) {
        call_reply_problem(call, 400, "targeting_key_missing",
                           "the context needs a targetingKey: the user's id");
        return false;
    }
    *out_entry = entry;
    return true;
}

/* Answers. */

/* Of an assigned user: was anything decided, and by what? Not DISABLED though the experiment ended: clients then pass the
 * value over, and a variant once given stays. */
static const char *variant_reason(const struct call *call, const struct experiment *experiment, const struct entry *entry)
{
    const struct targeting_subject subject = entry_subject(call, entry);
    if (entry->is_override) {
        return "TARGETING_MATCH"; /* of this very user */
    }
    if (entry->stored.forced || experiment->status != EXPERIMENT_RUNNING) {
        return "STATIC"; /* what the record says */
    }
    const bool is_targeted = experiment->targeting.nodes != NULL &&
                             targeting_matches(&experiment->targeting, &subject);
    return is_targeted ? "TARGETING_MATCH" : "SPLIT";
}

static const char *no_variant_reason(const struct entry *entry)
{
    const bool is_off = strcmp(entry->reason, assign_reason_name(ASSIGN_NOT_RUNNING)) == 0;
    return is_off ? "DISABLED" : "DEFAULT";
}

static bool has_value(const struct variant *variant)
{
    struct pack_cursor cursor = pack_cursor_on(variant->value);
    return variant->value.size != 0 && !pack_take_nil(&cursor);
}

/* `value` is missing where there is no variant: the protocol's way to say that the default in the code holds. `variant`
 * is not: its absence, or null, would be an error to some. */
static void write_flag(struct json_writer *writer, struct call *call, const struct entry *entry,
                       struct bytes key)
{
    const struct variant *variant = assignment_variant(call, entry);
    const bool is_in = variant != NULL;
    const struct experiment *experiment = call->catalog->experiments[entry->experiment]->current;
    json_begin_object(writer);
    json_key(writer, "key");
    json_text_bytes(writer, key.size != 0 ? key : experiment->key);
    if (is_in) {
        json_key(writer, "value");
        if (!has_value(variant) || !json_pack(writer, variant->value)) {
            json_text_bytes(writer, variant->name);
        }
    }
    json_key(writer, "reason");
    json_text(writer, is_in ? variant_reason(call, experiment, entry) : no_variant_reason(entry));
    json_key(writer, "variant");
    json_text_bytes(writer, is_in ? variant->name : bytes_of_text(""));
    json_key(writer, "metadata");
    json_begin_object(writer);
    json_end_object(writer);
    json_end_object(writer);
}

static void reply_flag(struct call *call, const struct assignment_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    write_flag(&writer, call, &work->entries[0], call->parameters[0]);
    call_reply_json(call, 200, &writer);
}

void handle_ofrep_flag(struct call *call)
{
    struct entry asked;
    const uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE || !read_body(call, &asked)) {
        return;
    }
    struct assignment_work *work = assignment_work_make(call, 1);
    if (work == NULL) {
        return;
    }
    work->entries[0] = asked;
    work->entries[0].experiment = index;
    work->reply = reply_flag;
    assignment_work_run(call, work);
}

/* All flags of a user, and whether they are the ones that the client has. */

/* Where a client hears that something changed. The same for as long as the token is, or it would connect anew each time. */
static void write_event_streams(struct json_writer *writer, struct call *call)
{
    char ticket[AUTH_TICKET_SIZE];
    auth_ticket_make(call, ticket);
    json_key(writer, "eventStreams");
    json_begin_array(writer);
    json_begin_object(writer);
    json_key(writer, "type");
    json_text(writer, "sse");
    json_key(writer, "endpoint");
    json_begin_object(writer);
    json_key(writer, "requestUri");
    json_text(writer, arena_format(&call->arena, "/ofrep/v1/stream?ticket=%s", ticket));
    json_end_object(writer);
    json_end_object(writer);
    json_end_array(writer);
}

/* Over the whole question and the whole answer: neither another context nor another definition gives the same. */
static const char *etag_make(struct call *call, const struct entry *asked, struct bytes answer)
{
    const struct bytes parts[] = {asked->user_id, asked->attributes, answer};
    XXH128_canonical_t digests[COUNT_OF(parts)];
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        XXH128_canonicalFromHash(&digests[i], XXH3_128bits(parts[i].data, parts[i].size));
    }
    const XXH128_hash_t whole = XXH3_128bits(digests, sizeof(digests));
    return arena_format(&call->arena, "\"%016llx%016llx\"", (unsigned long long)whole.high64,
                        (unsigned long long)whole.low64);
}

/* Is the tag in the list, whether it comes back as strong or as weak? A tag cannot hold quotes, so its text with them is
 * a tag wherever it stands. */
static bool etag_is_listed(struct bytes list, const char *etag)
{
    return list.size != 0 && memmem(list.data, list.size, etag, strlen(etag)) != NULL;
}

static void reply_flags(struct call *call, const struct assignment_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "flags");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < work->count; i++) {
        write_flag(&writer, call, &work->entries[i], bytes_of(NULL, 0));
    }
    json_end_array(&writer);
    write_event_streams(&writer, call);
    json_key(&writer, "metadata");
    json_begin_object(&writer);
    json_end_object(&writer);
    json_end_object(&writer);
    const struct bytes answer = bytes_of(writer.text, writer.size);
    const char *etag = writer.failed ? NULL : etag_make(call, work->context, answer);
    if (etag != NULL) {
        call_header(call, "etag", etag);
    }
    if (etag != NULL && etag_is_listed(call->if_none_match, etag)) {
        call_reply_empty(call, 304);
    } else {
        call_reply_json(call, 200, &writer);
    }
}

void handle_ofrep_flags(struct call *call)
{
    struct entry *asked = arena_take(&call->arena, sizeof(*asked));
    if (asked == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!read_body(call, asked)) {
        return;
    }
    struct assignment_work *work = assignment_work_everywhere(call, asked);
    if (work == NULL) {
        return;
    }
    work->context = asked;
    work->reply = reply_flags;
    assignment_work_run(call, work);
}
