/* check_blocks.c, fed with good and bad facts. */
#include <check.h>

#include "repl/io/store.h"
#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/test_run.h"
#include "tests/unit/lib/run.h"

/* The disk's side, for the parts that look into nodes. */
bool disk_written_block(const struct disk *d, const struct block_ref *ref)
{
    return true;
}

bool disk_spoilt(const struct disk *d, struct block_name name)
{
    return false;
}

bool store_is_missing(const struct store *s, struct block_name name)
{
    return false;
}

static const struct block_name name = {7, 1};

START_TEST(named_blocks_are_held_or_missing)
{
    check_blocks_named(1, name, true, false);
    check_blocks_named(1, name, false, true);
    expect_silence();
    check_blocks_named(1, name, false, false);
    expect_complaint("blocks", "neither holds nor misses");
}
END_TEST

START_TEST(named_blocks_are_not_dropped)
{
    check_blocks_freed(1, name, false, 0);
    expect_silence();
    check_blocks_freed(1, name, true, 10);
    expect_complaint("blocks", "n1 drops block 7.1");
    check_blocks_freed(1, name, false, 12);
    expect_complaint("blocks", "entry 12 names");
}
END_TEST

START_TEST(witnesses_demote_what_all_copies_have)
{
    check_blocks_demoted(3, name, 1, true, false);
    check_blocks_demoted(3, name, 2, false, true);
    expect_silence();
    check_blocks_demoted(3, name, 2, false, false);
    expect_complaint("blocks", "n3 demotes block 7.1, which n2 lacks");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("blocks");
    TCase *tc = tcase_create("blocks");
    tcase_add_checked_fixture(tc, test_run_start, NULL);
    tcase_add_test(tc, named_blocks_are_held_or_missing);
    tcase_add_test(tc, named_blocks_are_not_dropped);
    tcase_add_test(tc, witnesses_demote_what_all_copies_have);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
