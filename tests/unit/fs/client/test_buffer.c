/* Layers of the write buffer against a table. */
#include <string.h>

#include "fs/client/buffer.h"
#include "tests/unit/lib/run.h"

enum { LAYER_PAGES = 64 };

static bool layer_is(const struct layer *l, const int *want)
{
    bool good = true;
    for (uint64_t no = 0; no < LAYER_PAGES; no++) {
        uint64_t end = PAGE_NONE;
        good &= layer_data_at(l, no, &end) == want[no] && end > no;
        for (uint64_t k = no; k < end && k < LAYER_PAGES; k++)
            good &= want[k] == want[no];
        good &= (layer_find(l, no) != NULL) == (want[no] == 1);
        good &= want[no] == 1 || layer_hides(l, no) == (want[no] == 0);
    }
    for (size_t h = 1; h < l->holes.count; h++)
        good &= l->holes.items[h].first > l->holes.items[h - 1].end;
    return good;
}

START_TEST(layers_agree_with_a_table)
{
    /* Goal: pages, holes and a cut of a layer, in any order. -1: older layers, 0: zeros, 1: data.
     */
    uint32_t seed = (uint32_t)_i + 3;
    int want[LAYER_PAGES];
    struct layer l;
    layer_init(&l);
    memset(want, -1, sizeof want);
    struct blob *bytes = blob_new(4096);
    for (int step = 0; step < 2000; step++) {
        seed = seed * 1103515245u + 12345u;
        uint64_t first = (seed >> 16) % LAYER_PAGES, n = 1 + (seed >> 24) % 9;
        uint64_t end = first + n < LAYER_PAGES ? first + n : LAYER_PAGES;
        unsigned what = (seed >> 10) % 32;
        if (what == 0) {
            layer_cut(&l, first);
            for (uint64_t no = first; no < LAYER_PAGES; no++)
                want[no] = 0;
        } else if (what == 1) {
            layer_done(&l);
            layer_init(&l);
            memset(want, -1, sizeof want);
        } else if (what < 16) {
            layer_hole(&l, first, end);
            for (uint64_t no = first; no < end; no++)
                want[no] = 0;
        } else {
            layer_write(&l, first, 0, bytes, 0, 4096, NULL);
            want[first] = 1;
        }
        if (!layer_is(&l, want)) /* ck_assert writes a file each time */
            ck_abort_msg("wrong after step %d", step);
    }
    blob_unref(bytes);
    layer_done(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client buffer");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, layers_agree_with_a_table, 0, 3);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
