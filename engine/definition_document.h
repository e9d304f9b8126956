/* definition_document.h: a definition's document, read and written by a table of its fields. Private to the
 * definitions: definition_document.c, definitions.c, definition_variant.c, definition_metric.c, definition_token.c,
 * targeting.c and targeting_rule.c.
 *
 * A noun is an array of rows, one a field: name, who may set it, its kind, and where it lies in the struct. Reading
 * walks the document once, refuses what no row names, then reads field by field in the order of the rows; writing walks
 * the rows. To add a field: a member of the struct and a row.
 *
 * Faults       are added to reading->errors and reading goes on: a reader leaves its member as it was. Whether all went
 *              well is asked once, at the end, by reading_status().
 * Memory       What is read borrows from the document; lists are taken from reading->arena.
 */
#ifndef ASSAY_ENGINE_DEFINITION_DOCUMENT_H
#define ASSAY_ENGINE_DEFINITION_DOCUMENT_H

#include "engine/definitions.h"

struct reading {
    struct arena *arena;
    struct field_errors *errors;
    bool is_stored; /* ours: ids are binary, instants microseconds, every row may be set */
    bool no_memory;
};

/* STATUS_NO_MEMORY, STATUS_INVALID where there are errors, else STATUS_OK. */
enum status reading_status(const struct reading *reading);

/* A value of the document and its place there. The path is "parent.name", or the one of the two that is not empty. */
struct field {
    const char *parent;
    const char *name;
    struct bytes encoded; /* one whole value; empty where the document has none */
};

static inline bool field_is_given(const struct field *field)
{
    return field->encoded.size > 0;
}

/* NULL when memory is out, which reading then knows. */
const char *field_path(struct reading *reading, const struct field *field);
void field_fault(struct reading *reading, const struct field *field, const char *code,
                 const char *format, ...) PRINTF_LIKE(4, 5);
bool field_is_null(const struct field *field);
/* Typed reads: false after a fault. */
bool field_text(struct reading *reading, const struct field *field, uint32_t least, uint32_t most,
                struct bytes *out_text);
bool field_number(struct reading *reading, const struct field *field, double *out_number);

/* A list, entered: field_list_next() then gives each element, `count` times. */
struct field_list {
    struct field field;
    struct pack_cursor cursor;
    uint32_t count;
    uint32_t next;
};

bool field_list_enter(struct reading *reading, const struct field *field, uint32_t least,
                      uint32_t most, struct field_list *out_list);
bool field_list_next(struct reading *reading, struct field_list *list, struct field *out_element);

enum field_access {
    FIELD_GIVEN,       /* a client's to set and to change */
    FIELD_FIXED,       /* a client's to set once, with the creation */
    FIELD_OURS,        /* shown to clients, who may repeat it as it is */
    FIELD_HIDDEN,      /* only in the stored form */
    FIELD_SHOWN,       /* made anew for each answer, which a client may repeat; not stored */
    FIELD_UNSUPPORTED, /* known by name, refused unless null, not stored; `note` says what to do */
};

/* Names of an enum, by its values. */
struct field_choices {
    const char *const *names;
    uint32_t count;
    const char *const *unsupported; /* known, but refused as yet; NULL-terminated, or NULL */
};

struct field_row {
    const char *name;
    const struct field_kind *kind;
    enum field_access access;
    bool is_required;
    uint32_t offset; /* of the member; 0 for kinds that read into the struct itself */
    uint32_t size;   /* of the member, zeroed for a null */
    uint32_t least;  /* of a text's length in bytes, or a list's count */
    uint32_t most;
    const struct field_choices *choices;
    const char *note;
};

/* The offset and size of a member, for a row. */
#define FIELD_MEMBER(type, member)                                                                 \
    .offset = (uint32_t)offsetof(type, member), .size = (uint32_t)sizeof(((type *)0)->member)

/* How a member is read (never from a null), written, and compared with what a client repeats. */
struct field_kind {
    void (*read)(struct reading *reading, const struct field_row *row, const struct field *field,
                 void *member);
    void (*write)(struct pack_writer *writer, const struct field_row *row, const void *member);
    bool (*equal)(const void *a, const void *b,
                  size_t size); /* only for FIELD_FIXED and FIELD_OURS */
};

extern const struct field_kind field_kind_name;  /* struct bytes: a line of text */
extern const struct field_kind field_kind_prose; /* struct bytes: text of several lines */
extern const struct field_kind field_kind_key;   /* struct bytes: [a-z0-9][a-z0-9_-]* and no UUID */
extern const struct field_kind field_kind_word;  /* struct bytes: [a-z][a-z0-9_]* */
extern const struct field_kind field_kind_choice;   /* an enum with row->choices */
extern const struct field_kind field_kind_flag;     /* bool */
extern const struct field_kind field_kind_fraction; /* double, 0 to 1 */
extern const struct field_kind field_kind_version;  /* uint32_t, from 1 */
extern const struct field_kind field_kind_natural;  /* uint64_t */
extern const struct field_kind field_kind_uuid;     /* struct uuid */
extern const struct field_kind field_kind_instant;  /* int64_t microseconds; 0 is written as null */
extern const struct field_kind field_kind_kept;     /* struct field: as it stands, for the noun */

/* By row: what the document gave. */
struct presence {
    uint64_t set;  /* not null */
    uint64_t null; /* present, and null */
};

static inline bool presence_has(uint64_t rows, uint32_t row)
{
    return (rows >> row & 1u) != 0;
}

/* Reads a map into `object`. `current`: NULL for a new or stored one; for a change, the struct as it is, whose copy
 * `object` starts as. A null zeroes its member: the noun then puts the default. */
struct presence document_read(struct reading *reading, const struct field_row *rows,
                              uint32_t row_count, const struct field *document, const void *current,
                              void *object);
void document_write(struct pack_writer *writer, const struct field_row *rows, uint32_t row_count,
                    const void *object);
/* The whole stored form, in memory that the caller frees. STATUS_TOO_LARGE beyond `capacity`. */
MUST_USE enum status document_encode(const struct field_row *rows, uint32_t row_count, const void *object,
                                     size_t capacity, uint8_t **out_owned, size_t *out_size);
/* A client's document as a field, or a fault. */
bool document_check(struct reading *reading, struct bytes document, struct field *out_document);

/* What a later step of ours may add to a definition that a client sent (a key, an idempotency key). */
#define DOCUMENT_RESERVE 1024u

/* A condition on one attribute or property, of targeting rules and metric filters alike (in targeting_rule.c). */
struct condition_fields {
    struct field subject; /* "attribute" or "property" */
    struct field operation;
    struct field value;
    struct field values;
};

struct condition {
    struct bytes subject;
    enum rule_operator operation;
    struct rule_values values;
};

/* `map` is the whole condition, blamed where a part is missing. */
bool condition_read(struct reading *reading, const struct field *map, const char *subject_name,
                    const struct condition_fields *fields, struct condition *out_condition);

/* What the operator compares with: its value or its list, by the rules of the operator. False after a fault. */
bool operand_read(struct reading *reading, const struct field *field, enum rule_operator operation,
                  struct rule_values *out_values);

/* The variants of an experiment (in definition_variant.c). */
extern const struct field_kind field_kind_variants; /* struct experiment_draft, as the object */

/* An experiment on its way: what the rows read into. */
struct experiment_draft {
    struct experiment experiment; /* first: the rows' offsets are those of struct experiment */
    struct field variants;        /* as given */
};

/* Reads draft->variants into the experiment. current and variant_users: NULL for a new or stored one. */
void variants_settle(struct reading *reading, struct experiment_draft *draft,
                     const struct experiment *current, const uint64_t *variant_users,
                     const struct definition_context *context, const uint8_t random[64]);

#endif
