/* The table of subcommands: one binary, verbs. */
#ifndef TALLY_TOOLS_CLI_COMMAND_H
#define TALLY_TOOLS_CLI_COMMAND_H

/* Exit codes of every command: fine, failed (reason on stderr), wrong usage. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;
    const char *summary; /* one line for `tally help` */
    const char *usage;   /* what `tally help NAME` and `tally NAME --help` print */
    /* argv[0] is the command's name. Returns the exit code. */
    int (*run)(int argc, char **argv);
};

extern const struct command command_node;
extern const struct command command_mount;
extern const struct command command_umount;
extern const struct command command_status;
extern const struct command command_explain;
extern const struct command command_lab;
extern const struct command command_demo;
extern const struct command command_elect;
extern const struct command command_bench;

/* Ends the list. */
extern const struct command *const commands[];

/* The command called `name`, or NULL. */
const struct command *command_find(const char *name);

#endif
