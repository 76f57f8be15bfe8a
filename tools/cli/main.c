#include "tools/cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli/daemon.h"
#include "tools/cli/nearest.h"

#ifndef TALLY_VERSION
#define TALLY_VERSION "0"
#endif

static int run_help(int argc, char **argv);
static int run_version(int argc, char **argv);

static const struct command command_help = {
    .name = "help",
    .summary = "what a command does and how it is called",
    .usage = "tally help [COMMAND]\n",
    .run = run_help,
};
static const struct command command_version = {
    .name = "version",
    .summary = "the version of this program",
    .usage = "tally version\n",
    .run = run_version,
};

const struct command *const commands[] = {
    &command_node, &command_mount, &command_umount, &command_status, &command_explain, &command_lab,
    &command_demo, &command_bench, &command_elect,  &command_help,   &command_version, NULL,
};

const struct command *command_find(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

static void print_commands(FILE *out)
{
    fprintf(out, "tally: one directory on a few machines, every file on each of them\n\n"
                 "usage: tally COMMAND [ARGUMENTS]\n\n");
    for (const struct command *const *c = commands; *c; c++)
        fprintf(out, "  %-9s %s\n", (*c)->name, (*c)->summary);
    fprintf(out, "\n`tally help COMMAND` tells more. Try it out: tally lab start --dir /tmp/lab\n");
}

/* "tally: no command 'mout'. Did you mean 'mount'?" */
static int unknown_command(const char *name)
{
    struct nearest near;
    nearest_init(&near, name);
    for (const struct command *const *c = commands; *c; c++)
        nearest_offer(&near, (*c)->name);
    fprintf(stderr, "tally: no command '%s'.", name);
    if (near.best)
        fprintf(stderr, " Did you mean '%s'?", near.best);
    fprintf(stderr, " `tally help` lists them.\n");
    return EXIT_USAGE;
}

static int run_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return EXIT_DONE;
    }
    const struct command *c = command_find(argv[1]);
    if (!c)
        return unknown_command(argv[1]);
    printf("%s - %s\n\nusage: %s", c->name, c->summary, c->usage);
    return EXIT_DONE;
}

static int run_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("tally %s\n", TALLY_VERSION);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_commands(stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    const struct command *c = command_find(name);
    if (!c)
        return unknown_command(name);
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0)
            break;
        if (strcmp(argv[i], "--help") == 0) {
            printf("%s - %s\n\nusage: %s", c->name, c->summary, c->usage);
            return EXIT_DONE;
        }
    }
    if (c == &command_node || c == &command_mount)
        daemon_want_large_pages(argv);
    return c->run(argc - 1, argv + 1);
}
