/* options.h: a command's options as rows of a table, from which they are both read and explained.
 *
 * `--name value`, `--name=value` and `--flag`, anywhere among the other arguments; "--" ends them. The values stay the
 * command line's memory. An option that does not exist is refused with the nearest one that does.
 */
#ifndef ASSAY_TOOLS_OPTIONS_H
#define ASSAY_TOOLS_OPTIONS_H

#include "tools/command.h"

#define OPTION_TEXTS_MAX 64u

enum option_kind {
    OPTION_TEXT,   /* const char *: the last one given */
    OPTION_TEXTS,  /* struct option_texts: all of them */
    OPTION_NUMBER, /* uint64_t */
    OPTION_FLAG,   /* bool */
};

struct option_texts {
    const char *items[OPTION_TEXTS_MAX];
    uint32_t count;
};

struct option_row {
    const char *name;  /* without the dashes */
    const char *value; /* as it is called in the help; NULL for a flag */
    enum option_kind kind;
    void *target; /* holds the default before, and what was given after */
    const char *text;
};

/* The arguments that are no options: from least to most of them. */
struct option_operands {
    uint32_t least;
    uint32_t most;
    const char *what; /* for the message where there are fewer: "EXPERIMENT, a key or an id" */
    const char *items[4];
    uint32_t count;
};

/* False where the command is to end at once with *out_exit: --help was asked for and given, or the arguments are wrong
 * and that was said. */
bool options_read(const struct command *command, const struct option_row *rows, size_t row_count,
                  int count, char **arguments, struct option_operands *operands,
                  enum exit_code *out_exit);

/* How many letters must be put in, left out or changed to make one word the other: for "did you mean". Words longer than
 * the bound inside count as far apart. */
unsigned words_distance(const char *one, const char *other);
#define WORDS_NEAR 3u /* beyond this they are different words */

#endif
