/* terminal.h: what assay says to a person: complaints, numbers, tables' widths, and how far it has come.
 *
 * Answers go to stdout, everything here to stderr. Progress is one line, drawn anew on a terminal; where stderr is a file or
 * a pipe it is a plain line now and then.
 */
#ifndef ASSAY_TOOLS_TERMINAL_H
#define ASSAY_TOOLS_TERMINAL_H

#include "tools/command.h"

/* Says "assay: ..." and returns code, so that a command can write `return complain(EXIT_USAGE, "...")`. */
enum exit_code complain(enum exit_code code, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same without an error: something worth knowing. */
void note(const char *format, ...) PRINTF_LIKE(1, 2);

struct progress {
    const char *what; /* "importing hillstrom.csv" */
    const char *unit; /* "rows" */
    uint64_t total;   /* 0: not known */
    int64_t started_us;
    int64_t drawn_us;
    bool is_terminal;
    bool is_drawn; /* the line on the terminal is ours */
};

void progress_begin(struct progress *progress, const char *what, const char *unit, uint64_t total);
/* Cheap to call often. */
void progress_show(struct progress *progress, uint64_t done);
/* Draws the last state and ends the line. */
void progress_end(struct progress *progress, uint64_t done);

/* "64,000", in a buffer of the caller's. */
#define NUMBER_TEXT_SIZE 32
const char *number_text(uint64_t number, char out_text[NUMBER_TEXT_SIZE]);

/* Characters of UTF-8 text: what %-*s does not know. */
size_t text_width(struct bytes text);
/* Prints the text and as many spaces as it lacks of `width`. */
void print_padded(struct bytes text, size_t width);

#endif
