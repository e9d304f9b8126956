/* command_backup.c: assay backup and assay restore: copies of a data directory's log, whole or up to a moment. */
#include <stdio.h>

#include "engine/timestamp.h"
#include "tools/log_copy.h"
#include "tools/offline.h"
#include "tools/options.h"

static enum exit_code copy_run(struct log_copy *copy)
{
    struct error error = {""};
    const enum status status = log_copy_make(copy, &error);
    if (status != STATUS_OK) {
        return complain(offline_exit(status), "%s", error.text);
    }
    char number[2][NUMBER_TEXT_SIZE];
    (void)printf("%s holds the log of %s below lsn %s: %s records, read back and whole\n", copy->target, copy->source,
                 number_text(copy->copied_end_lsn, number[0]), number_text(copy->copied_records, number[1]));
    return EXIT_GOOD;
}

/* ---- backup ---- */

static enum exit_code backup_run(const struct command *command, int count, char **arguments)
{
    struct log_copy copy = {.is_shared = true, .end_us = INT64_MAX};
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"data", "DIR",    OPTION_TEXT, &copy.source, "the data directory, of a running server too"},
        {"to",   "NEWDIR", OPTION_TEXT, &copy.target, "the directory to make; it must not exist, or be empty"},
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (copy.source == NULL || copy.target == NULL || *copy.target == '\0') {
        return complain(EXIT_USAGE, "--data DIR and --to NEWDIR are needed; see: assay backup --help");
    }
    return copy_run(&copy);
}

const struct command command_backup = {
    .name = "backup",
    .arguments = "--data DIR --to NEWDIR",
    .summary = "Copy a data directory, while a server uses it too.",
    .lesson = "The log is copied as it is at one moment: everything that was acknowledged before the command began is\n"
              "in the copy. It is read back and every checksum compared before NEWDIR gets its name; until then it is\n"
              "NEWDIR.partial, and it is removed where something fails. The store is left out: a server makes it again\n"
              "from the log. The admin token comes along, so keep the copy as safe as the original.\n"
              "\n"
              "NEWDIR is a whole data directory: a server can be started on it, or `assay restore` makes another of it.\n"
              "\n"
              "  assay backup --data /var/lib/assay --to /backup/assay-monday\n"
              "\n"
              "Exit codes: 0 done, 1 the log is damaged (named with file and offset), 3 it could not be done.\n",
    .run = backup_run,
};

/* ---- restore ---- */

static enum exit_code restore_run(const struct command *command, int count, char **arguments)
{
    struct log_copy copy = {.end_us = INT64_MAX};
    const char *time = NULL;
    struct option_operands operands = {0};
    const struct option_row rows[] = {
        {"from", "DIR",    OPTION_TEXT,   &copy.source,  "a backup, or the data directory of a stopped server"},
        {"data", "NEWDIR", OPTION_TEXT,   &copy.target,  "the data directory to make; it must not exist, or be empty"},
        {"lsn",  "N",      OPTION_NUMBER, &copy.end_lsn, "only the records below this one"},
        {"time", "TIME",   OPTION_TEXT,   &time,         "only what came before the first record received after this"},
    };
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, rows, COUNT_OF(rows), count, arguments, &operands, &code)) {
        return code;
    }
    if (copy.source == NULL || copy.target == NULL || *copy.target == '\0') {
        return complain(EXIT_USAGE, "--from DIR and --data NEWDIR are needed; see: assay restore --help");
    }
    if (time != NULL && timestamp_parse(bytes_of_text(time), &copy.end_us) != STATUS_OK) {
        return complain(EXIT_USAGE, "--time: '%s' is no time such as 2026-01-31T10:00:00Z", time);
    }
    return copy_run(&copy);
}

const struct command command_restore = {
    .name = "restore",
    .arguments = "--from DIR --data NEWDIR [--lsn N | --time TIME]",
    .summary = "Make a data directory of a backup, whole or up to a moment.",
    .lesson = "The log is copied into NEWDIR, up to the cut where one is given, and read back. Whatever the log says up\n"
              "to there is what a server on NEWDIR knows: experiments, assignments, events. DIR is not changed.\n"
              "`assay dump` shows the records with their lsns and times.\n"
              "\n"
              "  assay restore --from /backup/assay-monday --data /var/lib/assay\n"
              "  assay restore --from /backup/assay-monday --data ./before --time 2026-01-31T10:00:00Z\n"
              "\n"
              "Exit codes: 0 done, 1 the log is damaged (named with file and offset), 3 it could not be done.\n",
    .run = restore_run,
};
