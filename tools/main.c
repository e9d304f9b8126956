/* main.c: assay, the command line: which command. */
#include <signal.h>
#include <stdio.h>

#include "tools/options.h"
#include "tools/terminal.h"

static const struct command *const commands[] = {
    &command_init, &command_serve, &command_status, &command_health, &command_experiment_create, &command_experiment_list,
    &command_experiment_show, &command_experiment_start, &command_experiment_pause, &command_experiment_complete,
    &command_experiment_archive, &command_assign, &command_results, &command_power, &command_metric_create, &command_metric_list,
    &command_metric_show, &command_metric_archive, &command_events_send, &command_events_tail, &command_import,
    &command_export_results, &command_export_assignments, &command_export_events, &command_token_create, &command_token_list,
    &command_token_revoke, &command_demo, &command_replay, &command_verify, &command_dump, &command_backup, &command_restore,
    &command_stats, &command_bench, &command_completion,
};

static const char lesson[] =
    "\n"
    "status, experiment, assign, results, power, metric, events, import, export, token and demo talk to a running\n"
    "server: --url or ASSAY_URL says where\n"
    "(default http://127.0.0.1:8080), --token or ASSAY_TOKEN who you are; on the server's own "
    "machine\n"
    "--data DIR takes the admin token from its data directory.\n"
    "\n"
    "replay, verify and dump read the data directory of a stopped server, backup that of a running one too;\n"
    "restore makes one of a backup.\n"
    "\n"
    "A first walk:\n"
    "\n"
    "  assay serve --data ./data &\n"
    "  export ASSAY_TOKEN=$(cat ./data/admin-token)\n"
    "  assay demo\n"
    "  assay results homepage-cta\n"
    "  kill %1; assay verify --data ./data\n"
    "\n"
    "Every command explains itself: assay COMMAND --help. Exit codes: 0 good, 1 a difference or\n"
    "damage was found, 2 usage, 3 could not do it.\n";

static void list_commands(FILE *out)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        (void)fprintf(out, "  %-20s %s\n", commands[i]->name, commands[i]->summary);
    }
}

static void explain(FILE *out)
{
    (void)fprintf(out, "assay: the command line of the assay experimentation platform\n\n"
                       "usage: assay COMMAND [argument ...]\n\ncommands\n");
    list_commands(out);
    (void)fputs(lesson, out);
}

/* How many arguments the command's name takes: 0 where they do not name it. */
static int words_matched(const struct command *command, int count, char **arguments)
{
    const size_t first = strcspn(command->name, " ");
    if (strncmp(command->name, arguments[0], first) != 0 || arguments[0][first] != '\0') {
        return 0;
    }
    if (command->name[first] == '\0') {
        return 1;
    }
    return count > 1 && strcmp(command->name + first + 1, arguments[1]) == 0 ? 2 : 0;
}

/* `assay token` and `assay token --help`: the commands that begin with this word. */
static bool explain_group(int count, char **arguments)
{
    const size_t size = strlen(arguments[0]);
    bool is_group = false;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const char *name = commands[i]->name;
        if (strncmp(name, arguments[0], size) == 0 && name[size] == ' ') {
            if (!is_group && count > 1 && arguments[1][0] != '-') {
                (void)complain(EXIT_USAGE, "there is no command '%s %s'", arguments[0],
                               arguments[1]);
            }
            is_group = true;
            (void)fprintf(stderr, "  assay %s%s%s\n      %s\n", name,
                          commands[i]->arguments[0] != '\0' ? " " : "", commands[i]->arguments,
                          commands[i]->summary);
        }
    }
    return is_group;
}

static enum exit_code refuse_unknown(const char *name)
{
    const char *nearest = NULL;
    unsigned least = WORDS_NEAR + 1;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        char first[32];
        (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(commands[i]->name, " "),
                       commands[i]->name);
        const unsigned distance = words_distance(name, first);
        if (distance < least) {
            least = distance;
            nearest = commands[i]->name;
        }
    }
    if (nearest != NULL) {
        return complain(EXIT_USAGE, "there is no command '%s': did you mean '%s'? See assay --help",
                        name, nearest);
    }
    return complain(EXIT_USAGE, "there is no command '%s'; see assay --help", name);
}

/* `assay help results`: what `assay results --help` says. */
static int help_about(int count, char **words)
{
    static char ask[] = "--help";
    char *arguments[] = {ask};
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (words_matched(commands[i], count, words) == count) {
            return (int)commands[i]->run(commands[i], 1, arguments);
        }
    }
    return count == 1 && explain_group(count, words) ? (int)EXIT_GOOD : (int)refuse_unknown(words[0]);
}

int main(int count, char **arguments)
{
    (void)signal(SIGPIPE, SIG_IGN); /* a server that goes away is seen by its write failing */
    if (count < 2) {
        explain(stderr);
        return EXIT_USAGE;
    }
    if (count > 2 && strcmp(arguments[1], "help") == 0) {
        return help_about(count - 2, arguments + 2);
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0 ||
        strcmp(arguments[1], "help") == 0) {
        explain(stdout);
        return EXIT_GOOD;
    }
    if (strcmp(arguments[1], "--version") == 0) {
        (void)printf("assay %s\n", ASSAY_VERSION);
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const int words = words_matched(commands[i], count - 1, arguments + 1);
        if (words > 0) {
            const enum exit_code code =
                commands[i]->run(commands[i], count - 1 - words, arguments + 1 + words);
            /* An answer that did not reach its reader is not a good end. */
            return fflush(stdout) == 0 || code != EXIT_GOOD ? (int)code : (int)EXIT_CANNOT;
        }
    }
    if (explain_group(count - 1, arguments + 1)) {
        return count > 2 && strcmp(arguments[2], "--help") == 0 ? EXIT_GOOD : EXIT_USAGE;
    }
    return (int)refuse_unknown(arguments[1]);
}
