/* limits.h: every bound of assay in one place, with the relations between them checked by the compiler.
 *
 * docs/limits.md lists them for users; a test holds the two together. Sizes are in bytes unless the name says else.
 */
#ifndef ASSAY_ENGINE_LIMITS_H
#define ASSAY_ENGINE_LIMITS_H

#include <assert.h>
#include <stdint.h>

/* What a client may send. */
#define LIMIT_BODY                (2u * 1024 * 1024)  /* a request body, as sent */
#define LIMIT_BODY_UNPACKED       (8u * 1024 * 1024)  /* a gzip body, unpacked */
#define LIMIT_EVENTS_PER_REQUEST  10000u
#define LIMIT_USERS_PER_REQUEST   10000u
#define LIMIT_SEGMENT_CHANGE      500000u             /* users of one change of a segment */
#define LIMIT_JSON_DEPTH          16u
#define LIMIT_OBJECT_KEYS         1024u               /* keys of one JSON object */
#define LIMIT_USER_ID             255u
#define LIMIT_EVENT_ID            128u
#define LIMIT_EVENT_TYPE          128u
#define LIMIT_PROPERTIES          (32u * 1024)        /* one event's properties as JSON text */
#define LIMIT_ATTRIBUTES          (8u * 1024)         /* one user's attributes, as stored */
#define LIMIT_NAME                200u                /* names of experiments, metrics, tokens */
#define LIMIT_KEY                 100u                /* an experiment's key, a metric's name, a layer */
#define LIMIT_DESCRIPTION         4096u
#define LIMIT_VARIANTS            64u
#define LIMIT_VARIANTS_MIN        2u
#define LIMIT_VARIANT_VALUE       (16u * 1024)        /* a variant's value, as stored */
#define LIMIT_RULES               100u                /* conditions of one targeting tree */
#define LIMIT_RULE_VALUES         1000u
#define LIMIT_PATTERN             500u                /* a regular expression of an operator `matches` */
#define LIMIT_PATTERNS            20u                 /* of them in one targeting tree */
#define REGEX_MEMORY              (256 * 1024)        /* a compiled one with its cache; larger programs are refused */
#define LIMIT_EXPERIMENT_METRICS  100u
#define LIMIT_RAMP_STEPS          50u
#define LIMIT_OVERRIDES           200u                /* of one experiment */
#define LIMIT_CUPED_DAYS          90u
#define LIMIT_BREAKDOWN_ATTRIBUTES 32u                /* of assignments, that results may be broken down by */
#define LIMIT_BREAKDOWN_VALUES    254u                /* of one of them, told apart */
#define LIMIT_BREAKDOWN_VALUE     100u                /* bytes of its name, and of a value */
#define LIMIT_BREAKDOWN_SHOWN     20u                 /* values in one answer; the rest are together */
#define LIMIT_RETENTION_DAYS      365u
#define LIMIT_WINDOW_HOURS        8760u
#define LIMIT_KEPT_EVENTS         (1u << 22) /* of a user for a metric that keeps them one by one */
#define LIMIT_QUANTILE_VALUES     20000000u  /* that one question for a quantile looks at */
#define LIMIT_METRIC_FILTERS      20u
#define LIMIT_DEFINITION          (256u * 1024)       /* a definition, as stored */
#define LIMIT_FIELD_ERRORS        100u                /* field errors reported in one answer */
#define LIMIT_HEADER_TOKEN        512u                /* the Authorization header */
#define LIMIT_PATH                2048u               /* path and query */
#define LIMIT_PAGE_DEFAULT        50u
#define LIMIT_PAGE                500u

/* What a store may hold. */
#define LIMIT_EXPERIMENTS         10000u
#define LIMIT_METRICS             1000u
#define LIMIT_TOKENS              10000u
#define LIMIT_TOKEN_ORIGINS       16u                 /* pages that may use a token */
#define LIMIT_TOKEN_RATE          1000000u            /* requests a second, the most that can be asked to be the most */
#define LIMIT_TOKEN_OVERLAP       2592000u            /* seconds that an old secret may go on after a new one was made: 30 days */
#define LIMIT_FAILED_AUTH_BURST   100u                /* requests with a bad token, from one address, before they are told to wait */
#define LIMIT_FAILED_AUTH_RATE    10u                 /* and so many a second from then on */
#define LIMIT_SEGMENTS            1000u               /* of users; in the code, user sets */
#define LIMIT_SEGMENT_USERS       10000000u           /* in all of them together: 16 bytes each */
#define LIMIT_EVENT_TYPES         10000u              /* told apart when a metric is defined; more are still counted */

/* Times. Events before 2000 or more than a day ahead of the server's clock are refused. */
#define LIMIT_TIMESTAMP_MIN_US    946684800000000ll   /* 2000-01-01T00:00:00Z */
#define LIMIT_TIMESTAMP_AHEAD_US  86400000000ll

/* Metric values: millionths in a signed 64-bit integer. */
#define METRIC_UNIT               1000000ll
#define LIMIT_METRIC_VALUE        9200000000000ll     /* whole units; magnitudes must be below */

#define STORE_MAP_SIZE            (1ull << 38)        /* address space for LMDB: 256 GiB, taken from the disk as used */

/* The log. */
#define LOG_BLOCK_ALIGN           4096u               /* commit blocks start and end here; O_DIRECT's unit */
#define LOG_SEGMENT_SIZE          (64ull * 1024 * 1024)
#define LIMIT_RECORD              (512u * 1024)       /* one encoded record */
#define LIMIT_FRAME               (12u * 1024 * 1024) /* the records of one request; never split over blocks */
#define LOG_BLOCK_PAYLOAD         (16u * 1024 * 1024 - LOG_BLOCK_ALIGN)
#define LOG_BLOCK_SIZE            (LOG_BLOCK_PAYLOAD + LOG_BLOCK_ALIGN) /* the largest block with its header */
#define LOG_BLOCK_BUFFERS         3u                  /* one filling, one being flushed, one being applied */
#define DISK_RESERVE              (64ull * 1024 * 1024) /* no segment is made where less (or less than an eighth of the disk) would be left */

/* Queues. Beyond these, requests are answered 503 with Retry-After before their body is parsed. */
#define LIMIT_COMMITS_QUEUED      16384u
#define LIMIT_COMMIT_BYTES_QUEUED (64u * 1024 * 1024)
#define LIMIT_CONNECTIONS         10000u
#define LIMIT_STREAMS             2048u               /* answers without an end, of GET /stream and GET /ofrep/v1/stream */
#define LIMIT_SCANS_QUEUED        64u                 /* requests that wait for the log to be read */
#define LIMIT_SCAN_BYTES          (32ull * 1024 * 1024) /* of the log, read for one of them: then it answers what it has */
#define LIMIT_SCAN_ANSWER         (4u * 1024 * 1024)  /* bytes of one such answer, give or take an event */

static_assert(LIMIT_FRAME <= LOG_BLOCK_PAYLOAD, "a frame must fit one block");
static_assert(LIMIT_RECORD <= LIMIT_FRAME, "a record must fit one frame");
static_assert(LOG_BLOCK_SIZE % LOG_BLOCK_ALIGN == 0, "blocks are aligned");
static_assert(LOG_BLOCK_SIZE * 2ull <= LOG_SEGMENT_SIZE, "a fresh segment must take the largest block");
static_assert(LIMIT_DEFINITION < LIMIT_RECORD, "a definition must fit one record");
static_assert(LIMIT_OVERRIDES * (LIMIT_USER_ID + 64) < LIMIT_DEFINITION, "overrides are one definition");
static_assert(LIMIT_METRIC_FILTERS <= LIMIT_PATTERNS, "a metric has no more patterns than a tree");
static_assert(LIMIT_METRIC_VALUE <= INT64_MAX / METRIC_UNIT, "a value in millionths must fit 64 bits");

#endif
