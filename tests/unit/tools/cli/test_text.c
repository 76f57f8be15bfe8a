/* What people are shown of names that hold any bytes. */
#include <stdio.h>

#include "tests/unit/lib/run.h"
#include "tools/cli/text.h"

START_TEST(what_is_printable_stays_and_the_rest_becomes_question_marks)
{
    static const char *const cases[][2] = {
        {"", ""},
        {"create ino 1 plain", "create ino 1 plain"},
        {"Gr\xc3\xb6\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x92\xbe",
         "Gr\xc3\xb6\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x92\xbe"},
        {"Gr\xf6\xdf"
         "e",
         "Gr??e"},                                     /* Latin-1 */
        {"a\nb\x1b[2J\x7f", "a?b?[2J?"},               /* of a terminal */
        {"\xc2\x9b", "??"},                            /* likewise, with eight bits */
        {"cut \xe2\x82", "cut ??"},                    /* where the room ended */
        {"\xc0\xaf \xe0\x80\xaf", "?? ???"},           /* longer than need be */
        {"\xed\xa0\x80 \xf4\x90\x80\x80", "??? ????"}, /* no characters */
        {"\xff\x80", "??"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", cases[i][0]);
        text_make_printable(text);
        ck_assert_str_eq(text, cases[i][1]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tools/cli/text");
    TCase *t = tcase_create("all");
    tcase_add_test(t, what_is_printable_stays_and_the_rest_becomes_question_marks);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
