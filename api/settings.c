/* settings.c: the three places where settings may be said, and what is said of them. See settings.h.
 *
 * The weakest place is read first and the others write over it, so that all are checked.
 */
#include "api/settings.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_SIZE_MAX 64
#define HELP_WIDTH    80
#define HELP_INDENT   24
#define LIST_BREAKS   " ,\t" /* between the texts of a list in one value */

/* Rows. */

static const struct setting_row *row_find(const char *name)
{
    for (size_t i = 0; i < setting_row_count; i++) {
        if (strcmp(setting_rows[i].name, name) == 0) {
            return &setting_rows[i];
        }
    }
    return NULL;
}

/* How many letters must be put in, taken out or exchanged to make one of the other (Levenshtein's distance). */
static size_t distance(const char *one, const char *other)
{
    size_t row[NAME_SIZE_MAX + 1];
    const size_t width = strlen(other);
    assert(width <= NAME_SIZE_MAX);
    for (size_t i = 0; i <= width; i++) {
        row[i] = i;
    }
    for (size_t i = 0; one[i] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            const size_t exchanged = corner + (one[i] != other[j]);
            corner = row[j + 1];
            const size_t moved = size_min(row[j], row[j + 1]) + 1;
            row[j + 1] = size_min(exchanged, moved);
        }
    }
    return row[width];
}

/* The name that is most like this one; NULL where none is like it. */
static const char *name_nearest(const char *name)
{
    static const char *const others[] = {"config", "check-config", "print-config", "help", "version"};
    const char *nearest = NULL;
    size_t least = strlen(name) / 2 + 1; /* half of it is something else: not like it */
    for (size_t i = 0; strlen(name) <= NAME_SIZE_MAX && i < setting_row_count + COUNT_OF(others); i++) {
        const char *known = i < setting_row_count ? setting_rows[i].name : others[i - setting_row_count];
        const size_t found = distance(name, known);
        if (found < least) {
            least = found;
            nearest = known;
        }
    }
    return nearest;
}

static enum status refuse_unknown(struct error *error, const char *where, const char *prefix, const char *name)
{
    const char *nearest = name_nearest(name);
    if (nearest == NULL) {
        return error_set(error, STATUS_INVALID, "%s: there is no setting '%s%s'; try --help", where, prefix, name);
    }
    return error_set(error, STATUS_INVALID, "%s: there is no setting '%s%s'; did you mean '%s%s'?", where, prefix, name, prefix,
                     nearest);
}

/* What is said of one setting in one place. `subject` is the setting as that place names it, with the place. */

static enum status text_take(struct settings *settings, const struct setting_row *row, enum settings_source source,
                             const char *subject, const char *text, struct error *error)
{
    const size_t index = (size_t)(row - setting_rows);
    const bool is_first = settings->said[index] == NULL || settings->sources[index] != source;
    if (is_first && row->is_list) {
        row->clear(settings);
    }
    if (!is_first && !row->is_list && source == SETTINGS_FILE) { /* of options the last one counts, as is usual */
        return error_set(error, STATUS_INVALID, "%s is given twice", subject);
    }
    const char *copy = arena_copy(&settings->arena, bytes_of_text(text));
    const char *said = is_first || !row->is_list ? copy : arena_format(&settings->arena, "%s %s", settings->said[index], text);
    if (copy == NULL || said == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "memory is out");
    }
    if (!row->parse(copy, settings)) {
        return error_set(error, STATUS_INVALID, "%s takes %s, not '%s'", subject, row->expected, text);
    }
    settings->said[index] = said;
    settings->sources[index] = source;
    return STATUS_OK;
}

/* A value as the environment and the file have it: a list's texts stand in one. */
static enum status value_take(struct settings *settings, const struct setting_row *row, enum settings_source source,
                              const char *subject, const char *value, struct error *error)
{
    if (!row->is_list) {
        return text_take(settings, row, source, subject, value, error);
    }
    char *copy = arena_copy(&settings->arena, bytes_of_text(value));
    enum status status = copy != NULL ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "memory is out");
    for (char *text = NULL; status == STATUS_OK && (text = strsep(&copy, LIST_BREAKS)) != NULL;) {
        if (text[0] != '\0') {
            status = text_take(settings, row, source, subject, text, error);
        }
    }
    return status;
}

/* The file. */

struct file_reading {
    FILE *file;
    const char *path;
    struct settings *settings;
    struct error *error;
    enum status status; /* of the first fault */
    int line;
};

static void file_fault(struct file_reading *reading, const char *what)
{
    if (reading->status == STATUS_OK) {
        reading->status = error_set(reading->error, STATUS_INVALID, "%s:%d: %s", reading->path, reading->line, what);
    }
}

/* inih asks for each line here, so that its number is known; it would read a longer one as two. */
static char *file_line(char *line, int capacity, void *data)
{
    struct file_reading *reading = data;
    if (reading->status != STATUS_OK || fgets(line, capacity, reading->file) == NULL) {
        return NULL;
    }
    reading->line++;
    if (strchr(line, '\n') == NULL && !feof(reading->file)) {
        file_fault(reading, "the line is too long");
        return NULL;
    }
    return line;
}

static int file_value(void *data, const char *section, const char *name, const char *value)
{
    struct file_reading *reading = data;
    if (reading->status != STATUS_OK) {
        return 1;
    }
    char where[256];
    char subject[sizeof(where) + NAME_SIZE_MAX];
    (void)snprintf(where, sizeof(where), "%.200s:%d", reading->path, reading->line);
    (void)snprintf(subject, sizeof(subject), "%s: %.40s", where, name);
    const struct setting_row *row = row_find(name);
    if (section[0] != '\0') {
        file_fault(reading, "there are no sections here: every line is 'name = value'");
    } else if (row == NULL) {
        reading->status = refuse_unknown(reading->error, where, "", name);
    } else {
        reading->status = value_take(reading->settings, row, SETTINGS_FILE, subject, value, reading->error);
    }
    return 1;
}

static enum status file_read(struct settings *settings, struct error *error)
{
    struct file_reading reading = {
        .file = fopen(settings->file, "re"), .path = settings->file, .settings = settings, .error = error};
    if (reading.file == NULL) {
        return error_set(error, STATUS_INVALID, "%s: cannot be read: %s", settings->file, strerrordesc_np(errno));
    }
    const int line = ini_parse_stream(file_line, &reading, file_value, &reading);
    if (line > 0) {
        reading.line = line;
        file_fault(&reading, "this is not 'name = value'");
    }
    if (ferror(reading.file) != 0) {
        file_fault(&reading, "cannot be read on");
    }
    (void)fclose(reading.file);
    return reading.status;
}

/* The environment. */

static void environment_name(const char *name, char *out_name, size_t capacity)
{
    const int size = snprintf(out_name, capacity, "ASSAY_%s", name);
    assert(size > 0 && (size_t)size < capacity);
    for (char *letter = out_name; *letter != '\0'; letter++) {
        *letter = *letter == '-' ? '_' : (char)toupper((unsigned char)*letter);
    }
}

/* Variables of other names are others' (ASSAY_TOKEN is the command line tool's), so none is refused. */
static enum status environment_read(struct settings *settings, struct error *error)
{
    enum status status = STATUS_OK;
    for (size_t i = 0; i < setting_row_count && status == STATUS_OK; i++) {
        char name[NAME_SIZE_MAX];
        environment_name(setting_rows[i].name, name, sizeof(name));
        const char *value = getenv(name);
        if (value != NULL) {
            status = value_take(settings, &setting_rows[i], SETTINGS_ENVIRONMENT, name, value, error);
        }
    }
    return status;
}

/* The command line. */

struct task_row {
    const char *name;
    enum settings_task task;
};

static const struct task_row task_rows[] = {
    {"--help",         SETTINGS_HELP   },
    {"--version",      SETTINGS_VERSION},
    {"--check-config", SETTINGS_CHECK  },
    {"--print-config", SETTINGS_PRINT  },
};

static bool task_take(struct settings *settings, const char *argument)
{
    for (size_t i = 0; i < COUNT_OF(task_rows); i++) {
        if (strcmp(argument, task_rows[i].name) == 0) {
            settings->task = task_rows[i].task;
            return true;
        }
    }
    return false;
}

/* "--name value" or "--name=value": the name in the arena, the value, and where the next argument is. */
struct argument {
    const char *name; /* without "--" */
    const char *value; /* NULL: there is none */
    int next;
};

static enum status argument_split(struct settings *settings, int count, char **arguments, int at, struct argument *out,
                                  struct error *error)
{
    const char *text = arguments[at];
    if (strncmp(text, "--", 2) != 0 || text[2] == '\0') {
        return error_set(error, STATUS_INVALID, "'%s' is not an option; try --help", text);
    }
    const char *equals = strchr(text, '=');
    const size_t size = equals != NULL ? (size_t)(equals - text) - 2 : strlen(text) - 2;
    const char *name = arena_copy(&settings->arena, bytes_of(text + 2, size));
    if (name == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "memory is out");
    }
    const struct setting_row *row = row_find(name);
    const bool is_flag = row != NULL && row->takes == NULL;
    out->name = name;
    out->value = equals != NULL ? equals + 1 : is_flag ? "true" : at + 1 < count ? arguments[at + 1] : NULL;
    out->next = equals != NULL || is_flag ? at + 1 : at + 2;
    return STATUS_OK;
}

/* Only the file and the task, or only the rest. */
static enum status arguments_read(struct settings *settings, int count, char **arguments, bool only_file, struct error *error)
{
    enum status status = STATUS_OK;
    for (int at = 1; at < count && status == STATUS_OK;) {
        if (task_take(settings, arguments[at])) {
            at++;
            continue;
        }
        struct argument argument = {0};
        status = argument_split(settings, count, arguments, at, &argument, error);
        if (status != STATUS_OK) {
            return status;
        }
        at = argument.next;
        const struct setting_row *row = row_find(argument.name);
        const bool is_file = strcmp(argument.name, "config") == 0;
        if (row == NULL && !is_file) {
            return refuse_unknown(error, "command line", "--", argument.name);
        }
        if (argument.value == NULL || (is_file && argument.value[0] == '\0')) {
            return error_set(error, STATUS_INVALID, "--%s takes %s", argument.name, is_file ? "a file" : row->expected);
        }
        if (is_file) {
            settings->file = argument.value;
        } else if (!only_file) {
            char subject[NAME_SIZE_MAX];
            (void)snprintf(subject, sizeof(subject), "--%s", row->name);
            status = text_take(settings, row, SETTINGS_ARGUMENTS, subject, argument.value, error);
        }
    }
    return status;
}

/* All of them. */

enum status settings_read(int count, char **arguments, struct settings *out_settings, struct error *error)
{
    *out_settings = (struct settings){
        .host = "127.0.0.1",
        .port = 8080,
        .trace_requests = TRACE_FAILED_REQUESTS,
        .drain_seconds = 10,
        .file = getenv("ASSAY_CONFIG"),
    };
    struct settings *settings = out_settings;
    arena_init(&settings->arena, 4096);
    enum status status = arguments_read(settings, count, arguments, true, error);
    const bool is_wanted = settings->task == SETTINGS_SERVE || settings->task == SETTINGS_CHECK;
    if (status != STATUS_OK || !is_wanted) {
        return status;
    }
    if (settings->file != NULL) {
        status = file_read(settings, error);
    }
    if (status == STATUS_OK) {
        status = environment_read(settings, error);
    }
    if (status == STATUS_OK) {
        status = arguments_read(settings, count, arguments, false, error);
    }
    if (status == STATUS_OK && settings->directory == NULL) {
        status = error_set(error, STATUS_INVALID,
                           "--data DIR is needed (or data = DIR in the file): where everything is kept; try --help");
    }
    return status;
}

void settings_deinit(struct settings *settings)
{
    arena_deinit(&settings->arena);
}

bool settings_row_equal(const struct settings *one, const struct settings *other, size_t row)
{
    const char *first = one->said[row];
    const char *second = other->said[row];
    return (first == NULL) == (second == NULL) && (first == NULL || strcmp(first, second) == 0);
}

/* Texts. */

/* Prints sentences at a column, broken at spaces, each further line after `lead`. */
static void print_wrapped(const char *text, size_t column, const char *lead, size_t lead_size)
{
    while (*text != '\0') {
        const size_t size = strcspn(text, " ");
        if (column + 1 + size > HELP_WIDTH) {
            (void)printf("\n%*s%s", (int)(lead_size - strlen(lead)), "", lead);
            column = lead_size;
        } else if (column > lead_size) {
            (void)putchar(' ');
            column++;
        }
        (void)printf("%.*s", (int)size, text);
        column += size;
        text += size + (text[size] == ' ');
    }
    (void)putchar('\n');
}

static void print_option(const char *name, const char *takes, const char *text)
{
    char head[NAME_SIZE_MAX];
    const int size = snprintf(head, sizeof(head), "  --%s%s%s", name, takes != NULL ? " " : "", takes != NULL ? takes : "");
    assert(size > 0 && (size_t)size < sizeof(head));
    if (size + 2 > HELP_INDENT) {
        (void)printf("%s\n%*s", head, HELP_INDENT, "");
    } else {
        (void)printf("%-*s", HELP_INDENT, head);
    }
    print_wrapped(text, HELP_INDENT, "", HELP_INDENT);
}

void settings_help(void)
{
    (void)fputs("assayd: an experimentation platform in one process\n\n"
                "  assayd --data DIR [options]\n"
                "  assayd --config FILE [options]\n\n", stdout);
    for (size_t i = 0; i < setting_row_count; i++) {
        const struct setting_row *row = &setting_rows[i];
        char text[1024];
        const int size = snprintf(text, sizeof(text), "%s Default: %s.", row->purpose, row->standard);
        assert(size > 0 && (size_t)size < sizeof(text));
        print_option(row->name, row->takes, text);
    }
    print_option("config", "FILE", "Read settings from this file, a line 'name = value' each, named as here.");
    print_option("check-config", NULL, "Say what is wrong with the settings, or what they are, and end: 2 or 0.");
    print_option("print-config", NULL, "Print a file with all settings, explained, and end.");
    print_option("help", NULL, "This text.");
    print_option("version", NULL, "The version.");
    (void)fputs("\nEvery option may also be a variable of the environment (--cors-origin is ASSAY_CORS_ORIGIN).\n"
                "The command line wins over the environment, and the environment over the file.\n"
                "\n"
                "The first start makes an admin token and keeps its secret in DIR/admin-token. Try:\n"
                "\n"
                "  assayd --data /var/lib/assay &\n"
                "  TOKEN=$(cat /var/lib/assay/admin-token)\n"
                "  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/experiments \\\n"
                "       --json '{\"name\": \"First\", \"variants\": [{\"name\": \"a\"}, {\"name\": \"b\"}]}'\n"
                "\n"
                "SIGTERM or SIGINT finishes what is in flight and ends. SIGHUP reads the settings again.\n"
                "Exit codes: 0 good, 1 damage found or the storage failed, 2 usage, 3 could not start.\n", stdout);
}

void settings_sample(void)
{
    (void)fputs("# Settings of assayd: a line 'name = value' each. Here all are commented out, with values as examples.\n"
                "# A list takes several texts in one line, with spaces between, or several lines.\n"
                "# `assayd --config FILE --check-config` says what is wrong with a file.\n", stdout);
    for (size_t i = 0; i < setting_row_count; i++) {
        const struct setting_row *row = &setting_rows[i];
        (void)fputs("\n# ", stdout);
        print_wrapped(row->purpose, 2, "# ", 2);
        (void)printf("# Default: %s. %s\n#%s = %s\n", row->standard,
                     row->is_live ? "Changes with SIGHUP." : "Changes with a restart.", row->name,
                     row->takes != NULL ? row->example : "true");
    }
}

void settings_show(const struct settings *settings)
{
    static const char *const names[] = {
        [SETTINGS_DEFAULT] = "default",
        [SETTINGS_FILE] = "file",
        [SETTINGS_ENVIRONMENT] = "environment",
        [SETTINGS_ARGUMENTS] = "command line",
    };
    for (size_t i = 0; i < setting_row_count; i++) {
        const struct setting_row *row = &setting_rows[i];
        (void)printf("%s = %s (%s)\n", row->name, settings->said[i] != NULL ? settings->said[i] : row->standard,
                     names[settings->said[i] != NULL ? settings->sources[i] : SETTINGS_DEFAULT]);
    }
}
