/* settings.h: what whoever runs assayd may decide, and the three places where it may be said.
 *
 * One table, in settings_table.c, has a row for each setting: its name, what it takes, what it is for. The command line (--name
 * value), the environment (ASSAY_NAME) and the file (name = value) are read by it, and the help, the sample file and the checks
 * are made of it.
 *
 * Precedence  The command line wins over the environment, and that over the file; a list is taken whole from one place. What is
 *             said in a place that loses must be valid all the same.
 * Reload      SIGHUP reads all three again. Rows that say so take effect at once, the others with a restart.
 */
#ifndef ASSAY_API_SETTINGS_H
#define ASSAY_API_SETTINGS_H

#include "api/cors.h"
#include "api/trace.h"
#include "engine/arena.h"
#include "engine/engine.h"

#define SETTINGS_MOST 32 /* rows of the table */

enum settings_source {
    SETTINGS_DEFAULT,
    SETTINGS_FILE,
    SETTINGS_ENVIRONMENT,
    SETTINGS_ARGUMENTS,
};

/* What to do beside or instead of serving: flags of the command line alone. */
enum settings_task {
    SETTINGS_SERVE,
    SETTINGS_CHECK, /* --check-config */
    SETTINGS_PRINT, /* --print-config: the sample file */
    SETTINGS_HELP,
    SETTINGS_VERSION,
};

struct settings {
    const char *directory; /* NULL: not given */
    char host[64];
    uint16_t port;
    uint32_t loops; /* 0: the server decides */
    enum io_backend io_backend;
    const char *tls_certificate; /* NULL: no TLS */
    const char *tls_key;
    bool allow_plaintext;
    const char *origins[CORS_ORIGINS_MAX];
    uint32_t origin_count;
    enum trace_format trace_format;
    enum trace_requests trace_requests;
    uint32_t drain_seconds;
    const char *webhook_url;         /* NULL: none */
    const char *webhook_secret_file; /* NULL: what is sent is not signed */

    enum settings_task task;
    const char *file; /* NULL: none */
    /* What was said for each row of the table, and where: texts of a list are separated by a space. NULL: nothing. */
    const char *said[SETTINGS_MOST];
    enum settings_source sources[SETTINGS_MOST];
    struct arena arena; /* of all texts */
};

struct setting_row {
    const char *name;     /* "cors-origin" */
    const char *takes;    /* "URL"; NULL: a flag, which may also be given as true or false */
    const char *example;  /* of a value, for the sample file */
    const char *standard; /* what holds where nothing is said, for a person */
    const char *expected; /* completes "--name takes ..." */
    const char *purpose;  /* sentences for the help and the sample file */
    bool is_list;
    bool is_live; /* takes effect with SIGHUP */
    /* False where the text is none. The text lives as long as the settings. */
    bool (*parse)(const char *text, struct settings *settings);
    void (*clear)(struct settings *settings); /* of a list: forgets what a weaker place said */
};

extern const struct setting_row setting_rows[];
extern const size_t setting_row_count;

/* Reads all three places. STATUS_INVALID: the error names the place, down to the line of the file, and the nearest name where
 * there is no such setting. Always followed by settings_deinit(). */
MUST_USE enum status settings_read(int count, char **arguments, struct settings *out_settings, struct error *error);
void settings_deinit(struct settings *settings);

/* Is what was said for this row the same? */
bool settings_row_equal(const struct settings *one, const struct settings *other, size_t row);

/* The texts made of the table. */
void settings_help(void);
void settings_sample(void);
/* One line a setting: what holds, and who says so. */
void settings_show(const struct settings *settings);

#endif
