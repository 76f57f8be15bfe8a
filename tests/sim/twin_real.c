/* The store that ships, in a directory of its own below TMPDIR. When it falls the program is
 * executed anew: of the store nothing is left but its files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl/io/file.h"
#include "tests/sim/twin.h"

static const char after_crash[] = "TWIN_AFTER_CRASH"; /* its value: the directory */
static char dir[256];

static void state_path(char *path, size_t size)
{
    (void)snprintf(path, size, "%s.state", dir);
}

const char *twin_dir(void)
{
    const char *top = getenv("TMPDIR");
    if (!dir[0]) {
        (void)snprintf(dir, sizeof dir, "%s/tally-twin-XXXXXX", top ? top : "/tmp");
        if (!mkdtemp(dir))
            abort();
    }
    return dir;
}

void twin_wait(struct store *s)
{
    store_drain(s);
}

void twin_crash(struct store *s, char **argv, const void *state, size_t size)
{
    char path[300];
    (void)s;
    state_path(path, sizeof path);
    FILE *f = fopen(path, "w");
    if (!f || fwrite(state, size, 1, f) != 1 || fclose(f) != 0 || fflush(stdout) != 0 ||
        setenv(after_crash, dir, 1) < 0)
        abort();
    (void)execv("/proc/self/exe", argv);
    abort();
}

bool twin_again(void *state, size_t size)
{
    char path[300];
    const char *before = getenv(after_crash);
    if (!before)
        return false;
    (void)snprintf(dir, sizeof dir, "%s", before);
    state_path(path, sizeof path);
    FILE *f = fopen(path, "r");
    if (!f || fread(state, size, 1, f) != 1)
        abort();
    (void)fclose(f);
    (void)unlink(path);
    return true;
}

void twin_end(void)
{
    (void)file_remove_tree(dir);
}
