/* The configuration file: what is read, and what is complained of. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/lib/run.h"
#include "tools/cli/config.h"

#define CLUSTER "[cluster]\nname = t\nuuid = 0123456789abcdef0123456789abcdef\n"
#define NODE    CLUSTER "[node a]\nid = 1\n"

static struct config config;
static char error[512];

static int load(const char *text)
{
    char path[] = "/tmp/tally-config-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    int r = config_load(path, &config, error, sizeof error);
    (void)unlink(path);
    return r;
}

/* A path of so many bytes. */
static const char *long_path(size_t size)
{
    static char path[CONFIG_PATH_MAX + 2];
    for (size_t i = 0; i < size; i++)
        path[i] = i % 100 ? 'x' : '/';
    path[size] = '\0';
    return path;
}

START_TEST(any_path_fits)
{
    char text[5 * CONFIG_PATH_MAX];
    for (size_t size = 150; size <= CONFIG_PATH_MAX - 5; size += 7) {
        (void)snprintf(text, sizeof text, NODE "; %s = %s\naddress = unix:%s ; here\nstore = %s\n",
                       long_path(size), long_path(size), long_path(size), long_path(size));
        ck_assert_msg(load(text) == 0, "%zu: %s", size, error);
        ck_assert_str_eq(config.nodes[0].address + 5, long_path(size));
        ck_assert_str_eq(config.nodes[0].store, long_path(size));
    }
    (void)snprintf(text, sizeof text, NODE "store = %s\n", long_path(CONFIG_PATH_MAX + 1));
    ck_assert_int_eq(load(text), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error, ":6: store is longer than"));
}
END_TEST

/* It is a key of its own and not more of the line before. */
START_TEST(a_line_may_be_indented)
{
    ck_assert_msg(load(NODE "address = unix:/a\n store = /s\n\tcapacity=2GiB\n # store = /t\n") ==
                      0,
                  "%s", error);
    ck_assert_str_eq(config.nodes[0].store, "/s");
    ck_assert_uint_eq(config.nodes[0].capacity_bytes, UINT64_C(2) << 30);
}
END_TEST

/* As the example of `tally help node` has it. */
START_TEST(a_comment_may_follow_a_value)
{
    ck_assert_msg(load(CLUSTER "election = bully   # the default is candidate\n[node a]   # first\n"
                               "id = 1\nkind = copy\t# or witness\naddress = unix:/a#b ; c # d\n"
                               "store = /s;t # e ; f\n") == 0,
                  "%s", error);
    ck_assert_str_eq(config.election, "bully");
    ck_assert_str_eq(config.nodes[0].name, "a");
    ck_assert_str_eq(config.nodes[0].address, "unix:/a#b");
    ck_assert_str_eq(config.nodes[0].store, "/s;t");
}
END_TEST

START_TEST(the_line_of_a_mistake_is_told)
{
    static const char *const lines[] = {
        "[node b",        "address",      "= 1",    "stroe = /s",     "[nodes]\nid = 2",
        "capacity = ten", "address = a:", "id = 0", "kind = witless",
    };
    char text[512];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        (void)snprintf(text, sizeof text, NODE "# more\n\n%s\n[cluster]\nfoo = bar\n", lines[i]);
        ck_assert_int_eq(load(text), -EINVAL);
        ck_assert_msg(strstr(error, lines[i][1] == 'n' && strchr(lines[i], ']') ? ":9: " : ":8: "),
                      "%s", error);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/cli/config");
    TCase *t = tcase_create("all");
    tcase_add_test(t, any_path_fits);
    tcase_add_test(t, a_line_may_be_indented);
    tcase_add_test(t, a_comment_may_follow_a_value);
    tcase_add_test(t, the_line_of_a_mistake_is_told);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
