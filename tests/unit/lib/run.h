/* The end of every unit test program: one suite, TAP on stdout. */
#ifndef TESTS_UNIT_LIB_RUN_H
#define TESTS_UNIT_LIB_RUN_H

#include <check.h>
#include <stdlib.h>

/* Check gives a test four seconds where nothing else is said, which a busy machine does not keep.
 * One that hangs still ends. */
__attribute__((constructor)) static void allow_time(void)
{
    (void)setenv("CK_DEFAULT_TIMEOUT", "120", 0);
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
