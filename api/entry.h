/* entry.h: a question about one user in one experiment, as clients put it: in a path and query, in a document, or in a list
 * of documents.
 *
 * Faults of documents are collected in reading->errors, all of them; entry_check() makes the reply. Other functions that
 * return bool have replied where they return false.
 */
#ifndef ASSAY_API_ENTRY_H
#define ASSAY_API_ENTRY_H

#include "api/http.h"

#define ENTRY_NO_VARIANT UINT32_MAX

struct entry {
    uint32_t experiment; /* dense index */
    struct bytes user_id;
    struct bytes attributes; /* an encoded map; empty where none */
    uint32_t forced_variant; /* ENTRY_NO_VARIANT where the hash decides */
    int64_t assigned_at_us;  /* given by the client; 0: now */
    bool no_enrol;
    /* The answer, for assignment_work.h. */
    const char *reason; /* why there is no variant; NULL where one is stored */
    uint32_t variant;   /* to be written */
    uint32_t record;    /* its number in the frame */
    bool is_new;
    bool is_override; /* with a reason, and a variant that is stored nowhere */
    struct assignment_view stored;
};

/* Which fields a document may have. */
enum entry_shape {
    ENTRY_ONE = 1,        /* POST .../assignment */
    ENTRY_BULK = 2,       /* an item of POST .../assignments */
    ENTRY_EVERYWHERE = 4, /* POST /assignments */
    ENTRY_TEST = 8,       /* an item of POST .../evaluate */
};

struct entry_reading {
    struct call *call;
    const struct experiment *experiment; /* NULL for ENTRY_EVERYWHERE */
    struct field_errors *errors;
    const char *path; /* of the entry: "users[3]."; "" for the document itself */
    struct entry *entry;
    bool needs_scope; /* something was forced */
};

/* The entry's user for the targeting, with the segments of call->catalog. */
struct targeting_subject entry_subject(const struct call *call, const struct entry *entry);
/* User id and attributes of GET .../{user_id}?attribute=value; `enroll` is no attribute. */
bool entry_read_path(struct call *call, struct entry *entry);
/* One document into reading->entry. */
void entry_read(struct entry_reading *reading, struct bytes document, unsigned shape);
/* Enters {"users": [...]}, at most LIMIT_USERS_PER_REQUEST. */
bool entry_enter_users(struct call *call, struct bytes document, struct pack_cursor *out_cursor,
                       uint32_t *out_count);
void entry_read_users(struct pack_cursor *cursor, struct entry_reading *reading,
                      struct entry *entries, uint32_t count, unsigned shape);
/* False, with the reply made, where entries have faults. */
bool entry_check(struct call *call, const struct field_errors *errors);

#endif
