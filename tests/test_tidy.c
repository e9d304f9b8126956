/* test_tidy.c: the house checks itself.
 *
 * Goal    The rules that a program can check hold on every commit: who may include whom, the fences around libraries,
 *         words that are banned, sizes, documents that name everything they promise to name.
 * Method  Walks the tree under ASSAY_SOURCE_DIR and collects complaints, each as `path:line: what: instead`. A list of
 *         exceptions is a ratchet: it may only get shorter.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/routes.h"
#include "engine/format.h"

#define PATH_SIZE         1024
#define HEADER_LINES_MAX  180
#define SOURCE_LINES_MAX  1000
#define FUNCTION_LINES_MAX 70

static int complaints;

static void complain(const char *path, int line, const char *what, const char *instead)
{
    complaints++;
    (void)fprintf(stderr, "%s:%d: %s: %s\n", path, line, what, instead);
}

static char *file_read(const char *path)
{
    char full[PATH_SIZE];
    (void)snprintf(full, sizeof(full), "%s/%s", ASSAY_SOURCE_DIR, path);
    FILE *file = fopen(full, "rb");
    if (file == NULL) {
        return NULL;
    }
    (void)fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    const size_t got = fread(text, 1, (size_t)size, file);
    (void)fclose(file);
    cr_assert_eq(got, (size_t)size);
    return text;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text);
    return size >= strlen(end) && strcmp(text + size - strlen(end), end) == 0;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_source(const char *name)
{
    return ends_with(name, ".c") || ends_with(name, ".h") || ends_with(name, ".cc");
}

/* Calls visit for each source of a folder (not of folders within it). */
static void folder_walk(const char *folder, void (*visit)(const char *path, char *text))
{
    char full[PATH_SIZE];
    (void)snprintf(full, sizeof(full), "%s/%s", ASSAY_SOURCE_DIR, folder);
    DIR *directory = opendir(full);
    cr_assert_not_null(directory, "no folder %s", full);
    const struct dirent *entry = readdir(directory);
    for (; entry != NULL; entry = readdir(directory)) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        char *text = is_source(entry->d_name) ? file_read(path) : NULL;
        if (text != NULL) {
            visit(path, text);
            free(text);
        }
    }
    (void)closedir(directory);
}

static const char *const own_folders[] = {"engine", "api", "tools", "bench", "tests", "tests/support"};

static void tree_walk(void (*visit)(const char *path, char *text))
{
    for (size_t i = 0; i < COUNT_OF(own_folders); i++) {
        folder_walk(own_folders[i], visit);
    }
}

/* Calls visit for each line, NUL-terminated, newline taken off. The text is cut up. */
static void lines_walk(const char *path, char *text, void (*visit)(const char *path, int number, const char *line))
{
    int number = 1;
    for (char *line = text; *line != '\0'; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        visit(path, number, line);
        if (end == NULL) {
            return;
        }
        line = end + 1;
    }
}

/* ---- who may include whom ---- */

/* Modules of engine/ by level: a file may include headers of its own level and below. */
static const struct {
    const char *header;
    int level;
} levels[] = {
    {"base", 0},      {"limits", 0},          {"arena", 1},       {"timestamp", 1},           {"pool", 1},
    {"tally", 1},
    {"home", 1},      {"inbox", 1},     {"index_table", 1},     {"pack", 1},        {"dist", 1},                {"stats", 2}, {"stats_internal", 2},
    {"order", 2},     {"regex", 1},
    {"io", 2},        {"io_posix", 2},        {"format", 2},      {"event_log", 3},           {"event_log_internal", 3},
    {"targeting", 3}, {"definitions", 3},     {"definition", 3},  {"cell", 5},                     {"users", 3}, {"user_set", 2},       {"definition_document", 3}, {"event_ids", 3},
    {"assign", 4},    {"catalog", 4}, {"erasure", 3}, {"attributes", 2},         {"layer", 4},         {"state", 5},       {"state_internal", 5}, {"state_walk", 5},      {"rollup", 5},    {"vector", 5},
    {"store", 6},     {"scanner", 3}, {"checkpointer", 7},         {"replay", 6},          {"engine", 8},
};

/* What only some folders may see of the engine. */
static const struct {
    const char *header;
    const char *allowed_in; /* prefixes, separated by spaces */
} reserved[] = {
    {"engine/state_internal.h", "engine/state"},
    {"engine/state_walk.h", "engine/state"},
    {"engine/stats_internal.h", "engine/stats"},
    {"engine/event_log_internal.h", "engine/event_log tests/test_log_recovery.c"},
    {"engine/definition_document.h", "engine/definition engine/targeting"},
    {"engine/io_posix.h", "engine/io tests/test_io.c"},
    {"engine/rollup.h", "engine/ tests/"},
    {"engine/users.h", "engine/ tests/"},
    {"engine/event_ids.h", "engine/ tests/"},
    {"engine/store.h", "engine/ tests/ tools/"},
    {"engine/io.h", "engine/ tests/ tools/ bench/"},
    {"<h2o.h>", "api/server"},
    {"<liburing.h>", "engine/io_uring.c"},
    {"<lmdb.h>", "engine/store.c tests/"},
    {"<boost/", "engine/dist.cc"},
    {"<re2/", "engine/regex.cc"},
    {"<curl/", "tools/client.c api/webhook.c"},
    {"<ini.h>", "api/settings.c"},
    {"<msgpack.h>", "tests/"},
    {"<criterion/", "tests/"},
};

static int level_of(const char *name, size_t size)
{
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        if (strlen(levels[i].header) == size && strncmp(levels[i].header, name, size) == 0) {
            return levels[i].level;
        }
    }
    return -1;
}

/* The level of a file of engine/: its module is the longest header name that its own name starts with. */
static int level_of_file(const char *path)
{
    const char *name = path + strlen("engine/");
    for (size_t size = strcspn(name, "."); size > 0; size--) {
        const int level = level_of(name, size);
        if (level >= 0) {
            return level;
        }
    }
    return -1;
}

static bool allowed_in(const char *prefixes, const char *path)
{
    char copy[PATH_SIZE];
    (void)snprintf(copy, sizeof(copy), "%s", prefixes);
    char *rest = copy;
    for (char *prefix = strsep(&rest, " "); prefix != NULL; prefix = strsep(&rest, " ")) {
        if (starts_with(path, prefix)) {
            return true;
        }
    }
    return false;
}

static void include_check(const char *path, int number, const char *included)
{
    const bool in_engine = starts_with(path, "engine/");
    for (size_t i = 0; i < COUNT_OF(reserved); i++) {
        const char *header = reserved[i].header;
        const bool same = starts_with(included, header) || (included[0] == '"' && starts_with(included + 1, header));
        if (same && !allowed_in(reserved[i].allowed_in, path)) {
            complain(path, number, included, "this header is fenced off; go through the module that owns it");
        }
    }
    if (in_engine && included[0] == '"' && !starts_with(included, "\"engine/")) {
        complain(path, number, included, "engine/ includes nothing outside engine/");
    }
    if (starts_with(path, "api/") && (starts_with(included, "\"tools/") || starts_with(included, "\"bench/"))) {
        complain(path, number, included, "api/ includes engine/ and api/ only");
    }
    if (in_engine && starts_with(included, "\"engine/")) {
        const char *name = included + strlen("\"engine/");
        const int level = level_of(name, strcspn(name, "."));
        const int own = level_of_file(path);
        if (level < 0 || own < 0) {
            complain(path, number, included, "give the module a level in tests/test_tidy.c");
        } else if (level > own) {
            complain(path, number, included, "dependencies point down; this is a higher level");
        }
    }
}

static void include_line(const char *path, int number, const char *line)
{
    if (starts_with(line, "#include ")) {
        include_check(path, number, line + strlen("#include "));
    }
}

static void includes_of(const char *path, char *text)
{
    lines_walk(path, text, include_line);
}

Test(tidy, includes_point_one_way)
{
    tree_walk(includes_of);
    cr_assert_eq(complaints, 0);
}

/* ---- words ---- */

static const struct {
    const char *word;
    const char *instead;
} banned[] = {
    {"sprintf(", "snprintf"},
    {"strcpy(", "memcpy with a known size"},
    {"strcat(", "a writer that knows its room"},
    {"atoi(", "strtol, and look at errno"},
    {"strtok(", "strsep on a copy"},
    {"rand(", "struct io's or the engine's random"},
    {"gets(", "fgets"},
    {"alloca(", "an arena"},
    {"strerror(", "strerrordesc_np: it is safe in threads"},
    {"FIXME", "mend it, or file it"},
    {"XXX", "mend it, or file it"},
};

static void word_line(const char *path, int number, const char *line)
{
    for (size_t i = 0; i < COUNT_OF(banned); i++) {
        const char *at = strstr(line, banned[i].word);
        while (at != NULL) {
            const bool whole = at == line || (!isalnum((unsigned char)at[-1]) && at[-1] != '_');
            if (whole) {
                complain(path, number, banned[i].word, banned[i].instead);
            }
            at = strstr(at + 1, banned[i].word);
        }
    }
    if (starts_with(line, "#define") && (strstr(line, "return") != NULL || strstr(line, "goto ") != NULL)) {
        complain(path, number, "a macro that hides control flow", "write it out");
    }
}

static void words_of(const char *path, char *text)
{
    /* Tests put texts of their own into buffers of their own. */
    if (!starts_with(path, "tests/test_")) {
        lines_walk(path, text, word_line);
    }
}

Test(tidy, banned_words_are_absent)
{
    tree_walk(words_of);
    cr_assert_eq(complaints, 0);
}

/* ---- sizes and openings ---- */

/* Today's exceptions. Take lines out, never put any in. */
static const char *const long_files[] = {
    "engine/format.h",      /* its content is the format */
    "engine/definitions.h", /* three nouns */
    "engine/state.h",       /* the fold's whole face */
    "api/json.c",
};
static const struct {
    const char *path;
    const char *function;
} long_functions[] = {
    {"", ""},
};

static int function_start;
static char function_name[128];
static int line_count;

static bool function_excused(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(long_functions); i++) {
        if (strcmp(long_functions[i].path, path) == 0 && strcmp(long_functions[i].function, function_name) == 0) {
            return true;
        }
    }
    return false;
}

/* The house style puts a function's braces in the first column, and nothing else there. */
static void size_line(const char *path, int number, const char *line)
{
    line_count = number;
    if (isalpha((unsigned char)line[0]) && strchr(line, '(') != NULL) {
        const char *open = strchr(line, '(');
        const char *start = open;
        while (start > line && (isalnum((unsigned char)start[-1]) || start[-1] == '_')) {
            start--;
        }
        (void)snprintf(function_name, sizeof(function_name), "%.*s", (int)(open - start), start);
    }
    if (strcmp(line, "{") == 0) {
        function_start = number;
    } else if (strcmp(line, "}") == 0 && function_start != 0) {
        const int lines = number - function_start - 1;
        if (lines > FUNCTION_LINES_MAX && !function_excused(path)) {
            complain(path, function_start, function_name, "a function longer than a reader can hold in the head");
        }
        function_start = 0;
    }
}

static void sizes_of(const char *path, char *text)
{
    if (!starts_with(text, "/*")) {
        complain(path, 1, "no opening comment", "say what the file is for");
    }
    function_start = 0;
    lines_walk(path, text, size_line);
    bool excused = false;
    for (size_t i = 0; i < COUNT_OF(long_files); i++) {
        excused = excused || strcmp(long_files[i], path) == 0;
    }
    const int most = ends_with(path, ".h") ? HEADER_LINES_MAX : SOURCE_LINES_MAX;
    if (line_count > most && !excused && !starts_with(path, "tests/")) {
        complain(path, line_count, "too long", "look for a second idea inside that wants a module");
    }
}

Test(tidy, files_and_functions_have_a_size)
{
    for (size_t i = 0; i < 4; i++) { /* tests may be long: they are lists of cases */
        folder_walk(own_folders[i], sizes_of);
    }
    cr_assert_eq(complaints, 0);
}

/* ---- documents ---- */

Test(tidy, folders_have_a_readme)
{
    static const char *const folders[] = {".", "engine", "api", "tools", "bench", "tests", "docs", "docs/decisions"};
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%s/README.md", folders[i]);
        char *text = file_read(path);
        if (text == NULL) {
            complain(path, 1, "missing", "say what is here and where to start reading");
        }
        free(text);
    }
    cr_assert_eq(complaints, 0);
}

Test(tidy, documents_name_every_route)
{
    char *text = file_read("docs/api.md");
    cr_assert_not_null(text);
    static const struct {
        enum http_method method;
        const char *name;
    } methods[] = {{HTTP_GET, "GET"}, {HTTP_POST, "POST"}, {HTTP_PATCH, "PATCH"}, {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}};
    for (size_t i = 0; i < route_count; i++) {
        char line[PATH_SIZE] = "";
        for (size_t j = 0; j < COUNT_OF(methods); j++) {
            if (methods[j].method == routes[i].method) {
                (void)snprintf(line, sizeof(line), "`%s %s`", methods[j].name, routes[i].pattern);
            }
        }
        if (strstr(text, line) == NULL) {
            complain("docs/api.md", 1, line, "every route has a line");
        }
        if (routes[i].scope == 0 && !routes[i].is_public) {
            complain("api/routes.c", 1, line, "a route has a scope or is public");
        }
    }
    free(text);
    cr_assert_eq(complaints, 0);
}

Test(tidy, documents_name_every_record_kind)
{
    char *text = file_read("docs/format.md");
    cr_assert_not_null(text);
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++) {
        const struct record_kind_row *row = record_kind_row(kind);
        for (size_t i = 0; row->fields[i] != NULL; i++) {
            if (strstr(text, row->fields[i]) == NULL) {
                complain("docs/format.md", 1, row->fields[i], "every field of a record is in the format");
            }
        }
    }
    free(text);
    cr_assert_eq(complaints, 0);
}

static char *limits_document;

static void limit_line(const char *path, int number, const char *line)
{
    char name[128];
    if (sscanf(line, "#define %127s", name) == 1 && strchr(name, '(') == NULL && starts_with(name, "LIMIT_") &&
        strstr(limits_document, name) == NULL) {
        complain(path, number, name, "every limit has a line in docs/limits.md");
    }
}

Test(tidy, documents_name_every_limit)
{
    limits_document = file_read("docs/limits.md");
    cr_assert_not_null(limits_document);
    char *text = file_read("engine/limits.h");
    lines_walk("engine/limits.h", text, limit_line);
    free(text);
    free(limits_document);
    cr_assert_eq(complaints, 0);
}
