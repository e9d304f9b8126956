/* command.h: what a subcommand of assay is, and the list of them.
 *
 * To add a command: a command_NOUN.c that defines its struct command, a line below, a row in main.c. Its run() starts with
 * options_read(), which also answers --help from the struct and the option rows.
 */
#ifndef ASSAY_TOOLS_COMMAND_H
#define ASSAY_TOOLS_COMMAND_H

#include "engine/base.h"

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_DIFFERENCE = 1, /* or damage, or rows that were not taken */
    EXIT_USAGE = 2,
    EXIT_CANNOT = 3,
};

struct command {
    const char *name;      /* one word, or two: "token create" */
    const char *arguments; /* what follows it in the usage line */
    const char *summary;   /* one line, for the list of commands */
    const char *lesson;    /* below the options in its --help: what happens, examples */
    enum exit_code (*run)(const struct command *command, int count, char **arguments);
};

extern const struct command command_assign;
extern const struct command command_backup;
extern const struct command command_bench;
extern const struct command command_completion;
extern const struct command command_demo;
extern const struct command command_dump;
extern const struct command command_events_send;
extern const struct command command_events_tail;
extern const struct command command_experiment_archive;
extern const struct command command_experiment_complete;
extern const struct command command_experiment_create;
extern const struct command command_experiment_list;
extern const struct command command_experiment_pause;
extern const struct command command_experiment_show;
extern const struct command command_experiment_start;
extern const struct command command_export_assignments;
extern const struct command command_export_events;
extern const struct command command_export_results;
extern const struct command command_health;
extern const struct command command_import;
extern const struct command command_init;
extern const struct command command_metric_archive;
extern const struct command command_metric_create;
extern const struct command command_metric_list;
extern const struct command command_metric_show;
extern const struct command command_power;
extern const struct command command_replay;
extern const struct command command_restore;
extern const struct command command_results;
extern const struct command command_serve;
extern const struct command command_stats;
extern const struct command command_status;
extern const struct command command_token_create;
extern const struct command command_token_list;
extern const struct command command_token_revoke;
extern const struct command command_verify;

#endif
