/* command_completion.c: assay completion: a script for a shell. It asks assay itself for commands and options, so it knows those of
 * whatever version is installed. */
#include <stdio.h>

#include "tools/options.h"
#include "tools/terminal.h"

static const char bash_script[] =
    "# assay, for bash:  source <(assay completion bash)\n"
    "_assay() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} names options\n"
    "    names=$(assay --help | sed -n 's/^  \\([a-z]*\\( [a-z]*\\)\\{0,1\\}\\)  .*/\\1/p')\n"
    "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
    "        COMPREPLY=($(compgen -W \"$(cut -d' ' -f1 <<<\"$names\" | sort -u)\" -- \"$word\"))\n"
    "    elif [ \"$COMP_CWORD\" = 2 ] && grep -q \"^${COMP_WORDS[1]} \" <<<\"$names\"; then\n"
    "        COMPREPLY=($(compgen -W \"$(sed -n \"s/^${COMP_WORDS[1]} //p\" <<<\"$names\")\" -- \"$word\"))\n"
    "    elif [[ $word == -* ]]; then\n"
    "        options=$(assay \"${COMP_WORDS[1]}\" --help 2>/dev/null)\n"
    "        grep -q \"^${COMP_WORDS[1]} ${COMP_WORDS[2]}\\$\" <<<\"$names\" &&\n"
    "            options=$(assay \"${COMP_WORDS[1]}\" \"${COMP_WORDS[2]}\" --help 2>/dev/null)\n"
    "        COMPREPLY=($(compgen -W \"$(grep -o '^  --[a-z-]*' <<<\"$options\")\" -- \"$word\"))\n"
    "    else\n"
    "        COMPREPLY=($(compgen -f -- \"$word\"))\n"
    "    fi\n"
    "}\n"
    "complete -F _assay assay\n";

static const char zsh_script[] = "#compdef assay\n"
                                 "# assay, for zsh:  source <(assay completion zsh)\n"
                                 "autoload -U +X bashcompinit && bashcompinit\n";

static const char fish_script[] =
    "# assay, for fish:  assay completion fish | source\n"
    "function __assay_names\n"
    "    assay --help | string replace -rf '^  ([a-z]+(?: [a-z]+)?)  .*' '$1'\n"
    "end\n"
    "complete -c assay -f -n '__fish_use_subcommand' -a '(__assay_names | string split -f1 \" \" | sort -u)'\n"
    "complete -c assay -f -n 'test (count (commandline -opc)) -eq 2' -a '(__assay_names | string replace -rf (string join \"\" "
    "\"^\" (commandline -opc)[2] \" \") \"\")'\n"
    "complete -c assay -n 'not __fish_use_subcommand' -a '(assay (commandline -opc)[2..3] --help 2>/dev/null | string match -r "
    "\"^  --[a-z-]+\" | string trim)'\n";

static enum exit_code run(const struct command *command, int count, char **arguments)
{
    struct option_operands operands = {1, 1, "SHELL: bash, zsh or fish", {NULL}, 0};
    enum exit_code code = EXIT_GOOD;
    if (!options_read(command, NULL, 0, count, arguments, &operands, &code)) {
        return code;
    }
    const char *shell = operands.items[0];
    if (strcmp(shell, "fish") == 0) {
        (void)fputs(fish_script, stdout);
    } else if (strcmp(shell, "bash") == 0) {
        (void)fputs(bash_script, stdout);
    } else if (strcmp(shell, "zsh") == 0) {
        (void)fputs(zsh_script, stdout);
        (void)fputs(bash_script, stdout);
    } else {
        return complain(EXIT_USAGE, "completion takes bash, zsh or fish, not '%s'", shell);
    }
    return EXIT_GOOD;
}

const struct command command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .summary = "A script that completes commands and options in a shell.",
    .lesson = "  source <(assay completion bash)\n",
    .run = run,
};
