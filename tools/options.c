/* options.c: see options.h. */
#include "tools/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/terminal.h"

#define WORD_MAX    32u
#define NAME_COLUMN 26

unsigned words_distance(const char *one, const char *other)
{
    const size_t rows = strlen(one);
    const size_t columns = strlen(other);
    unsigned distances[WORD_MAX + 1];
    if (rows > WORD_MAX || columns > WORD_MAX) {
        return UINT16_MAX;
    }
    for (unsigned j = 0; j <= columns; j++) {
        distances[j] = j;
    }
    for (unsigned i = 1; i <= rows; i++) {
        unsigned diagonal = distances[0];
        distances[0] = i;
        for (size_t j = 1; j <= columns; j++) {
            const unsigned changed = diagonal + (one[i - 1] != other[j - 1]);
            const unsigned shorter =
                (distances[j] < distances[j - 1] ? distances[j] : distances[j - 1]) + 1;
            diagonal = distances[j];
            distances[j] = changed < shorter ? changed : shorter;
        }
    }
    return distances[columns];
}

/* The rows every command has without saying so. */
static bool is_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static void explain(const struct command *command, const struct option_row *rows, size_t row_count)
{
    (void)printf("%s\n\nusage: assay %s%s%s%s\n", command->summary, command->name,
                 command->arguments[0] != '\0' ? " " : "", command->arguments,
                 row_count > 0 ? " [option ...]" : "");
    (void)printf("\noptions\n");
    for (size_t i = 0; i < row_count; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "--%s%s%s", rows[i].name,
                       rows[i].value != NULL ? " " : "",
                       rows[i].value != NULL ? rows[i].value : "");
        /* A text of several lines goes on below its first one. */
        const char *line = rows[i].text;
        for (const char *left = name; *line != '\0'; left = "") {
            const size_t size = strcspn(line, "\n");
            (void)printf("  %-*s %.*s\n", NAME_COLUMN, left, (int)size, line);
            line += size + (line[size] == '\n');
        }
    }
    (void)printf("  %-*s this text\n", NAME_COLUMN, "--help");
    if (command->lesson[0] != '\0') {
        (void)printf("\n%s", command->lesson);
    }
}

static enum exit_code refuse_unknown(const struct command *command, const struct option_row *rows,
                                     size_t row_count, const char *argument, size_t name_size)
{
    char name[WORD_MAX + 1] = "";
    const char *nearest = NULL;
    unsigned least = WORDS_NEAR + 1;
    (void)snprintf(name, sizeof(name), "%.*s", (int)size_min(name_size, WORD_MAX), argument + 2);
    for (size_t i = 0; i < row_count; i++) {
        const unsigned distance = words_distance(name, rows[i].name);
        if (distance < least) {
            least = distance;
            nearest = rows[i].name;
        }
    }
    return complain(EXIT_USAGE, "%s has no option --%s%s%s%s; see: assay %s --help", command->name,
                    name, nearest != NULL ? ": did you mean --" : "",
                    nearest != NULL ? nearest : "", nearest != NULL ? "?" : "", command->name);
}

/* False, with the complaint made, where the text is no value for the row. */
static bool option_set(const struct option_row *row, const char *text)
{
    char *end = NULL;
    struct option_texts *texts = row->target;
    switch (row->kind) {
    case OPTION_TEXT:
        *(const char **)row->target = text;
        return true;
    case OPTION_TEXTS:
        if (texts->count == OPTION_TEXTS_MAX) {
            (void)complain(EXIT_USAGE, "--%s may be given %u times", row->name, OPTION_TEXTS_MAX);
            return false;
        }
        texts->items[texts->count++] = text;
        return true;
    case OPTION_NUMBER:
        errno = 0;
        *(uint64_t *)row->target = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
            (void)complain(EXIT_USAGE, "--%s takes a whole number, not '%s'", row->name, text);
            return false;
        }
        return true;
    case OPTION_FLAG:
        *(bool *)row->target = true;
        return true;
    }
    return false;
}

/* Takes the option at *position, and its value behind it. */
static bool option_take(const struct command *command, const struct option_row *rows,
                        size_t row_count, int count, char **arguments, int *position)
{
    const char *argument = arguments[*position];
    const size_t name_size = strcspn(argument + 2, "=");
    const bool has_value = argument[2 + name_size] == '=';
    for (size_t i = 0; i < row_count; i++) {
        if (strlen(rows[i].name) != name_size ||
            strncmp(rows[i].name, argument + 2, name_size) != 0) {
            continue;
        }
        if (rows[i].kind == OPTION_FLAG && has_value) {
            (void)complain(EXIT_USAGE, "--%s takes no value", rows[i].name);
            return false;
        }
        if (rows[i].kind == OPTION_FLAG || has_value) {
            return option_set(&rows[i], argument + 2 + name_size + 1);
        }
        if (*position + 1 >= count) {
            (void)complain(EXIT_USAGE, "--%s takes a value: --%s %s", rows[i].name, rows[i].name,
                           rows[i].value);
            return false;
        }
        *position += 1;
        return option_set(&rows[i], arguments[*position]);
    }
    (void)refuse_unknown(command, rows, row_count, argument, name_size);
    return false;
}

static bool operand_take(const struct command *command, struct option_operands *operands,
                         const char *argument)
{
    assert(operands->most <= COUNT_OF(operands->items));
    if (operands->count == operands->most) {
        (void)complain(EXIT_USAGE, "'%s' is one argument too many; see: assay %s --help", argument,
                       command->name);
        return false;
    }
    operands->items[operands->count++] = argument;
    return true;
}

bool options_read(const struct command *command, const struct option_row *rows, size_t row_count,
                  int count, char **arguments, struct option_operands *operands,
                  enum exit_code *out_exit)
{
    bool options_ended = false;
    *out_exit = EXIT_USAGE;
    for (int i = 0; i < count; i++) {
        const char *argument = arguments[i];
        const bool is_option = !options_ended && argument[0] == '-' && argument[1] != '\0';
        if (is_option && is_help(argument)) {
            explain(command, rows, row_count);
            *out_exit = EXIT_GOOD;
            return false;
        }
        if (is_option && strcmp(argument, "--") == 0) {
            options_ended = true;
        } else if (is_option && argument[1] != '-') {
            (void)complain(EXIT_USAGE,
                           "options begin with two dashes, not '%s'; see: assay %s --help",
                           argument, command->name);
            return false;
        } else if (is_option ? !option_take(command, rows, row_count, count, arguments, &i)
                             : !operand_take(command, operands, argument)) {
            return false;
        }
    }
    if (operands->count < operands->least) {
        (void)complain(EXIT_USAGE, "%s needs %s; see: assay %s --help", command->name,
                       operands->what, command->name);
        return false;
    }
    *out_exit = EXIT_GOOD;
    return true;
}
