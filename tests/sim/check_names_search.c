/* Names: the search for an order in which the operations on one path explain each other, and what a
 * mount must find of its own changes. */
#include <errno.h>

#include "tests/sim/check_names.h"

/* ---- the search --------------------------------------------------------------------------------
 */

int names_by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->end != y->end)
        return x->end ? 1 : -1; /* what shares a moment is concurrent */
    return x->step < y->step ? -1 : x->step > y->step;
}

static bool allows(const struct step *s, struct config *c)
{
    switch (s->wants) {
    case WANTS_NOTHING:
        break;
    case WANTS_NONE:
        if (c->value != VALUE_NONE && c->value != VALUE_OPEN)
            return false;
        c->value = VALUE_NONE;
        break;
    case WANTS_FILE:
        if (c->value == VALUE_NONE || (s->file && c->value < VALUE_OPEN && c->value != s->file))
            return false;
        if (s->file || c->value == VALUE_OPEN)
            c->value = names_some(s->file);
        break;
    case WANTS_FILE_OR_NONE:
        if (c->value != VALUE_NONE && c->value < VALUE_OPEN && c->value != s->file)
            return false;
        break;
    }
    if (s->puts)
        c->value = s->value;
    return true;
}

static void add_config(struct names *n, struct config c)
{
    for (size_t i = 0; i < n->configs.count; i++)
        if (n->configs.items[i].value == c.value && n->configs.items[i].done == c.done)
            return;
    vec_push(&n->configs, c);
}

/* Lets open operations take effect in every order. False: too many. */
static bool expand(struct names *n, const struct path *p, const size_t open[OPEN_MAX],
                   uint64_t used)
{
    for (size_t i = 0; i < n->configs.count; i++) {
        for (uint64_t left = used & ~n->configs.items[i].done; left; left &= left - 1) {
            unsigned slot = (unsigned)__builtin_ctzll(left);
            struct config c = n->configs.items[i], stays = c;
            if (!allows(&p->steps.items[open[slot]], &c))
                continue;
            c.done |= 1ull << slot;
            stays.done = c.done;
            add_config(n, c);
            if (p->steps.items[open[slot]].may_stay)
                add_config(n, stays);
            if (n->configs.count > CONFIGS_MAX)
                return false;
        }
    }
    return true;
}

/* The step in `slot` ended: only what has it done goes on, and the slot is free again. */
static void keep_done(struct names *n, unsigned slot)
{
    vec_clear(&n->next);
    for (size_t i = 0; i < n->configs.count; i++) {
        struct config c = n->configs.items[i];
        if (!(c.done & 1ull << slot))
            continue;
        c.done &= ~(1ull << slot);
        vec_push(&n->next, c);
    }
    vec_clear(&n->configs);
    for (size_t i = 0; i < n->next.count; i++)
        add_config(n, n->next.items[i]);
}

static const char *anomaly(const struct step *s)
{
    if (s->op->kind == H_LIST)
        return s->wants == WANTS_FILE ? "listed, and was not there" : "not listed, and was there";
    if (s->op->err == EEXIST)
        return "EEXIST, and nobody else made it";
    if (s->op->err == ENOENT)
        return "ENOENT, and it was there";
    if (!s->puts)
        return "stale name";
    return s->wants == WANTS_FILE ? "removed, and was not there" : "made, and was there";
}

void names_search(struct names *n, const struct path *p, const struct moment *moments, size_t count)
{
    size_t open[OPEN_MAX];
    uint64_t used = 0;
    char text[HISTORY_TEXT];
    vec_clear(&n->configs);
    vec_push(&n->configs, (struct config){.value = VALUE_NONE});
    for (size_t i = 0; i < count; i++) {
        size_t step = moments[i].step;
        if (!moments[i].end) {
            if (~used == 0) {
                sim_count(COUNT_NAMES_GIVEN_UP, 1);
                return;
            }
            unsigned slot = (unsigned)__builtin_ctzll(~used);
            open[slot] = step;
            used |= 1ull << slot;
            continue;
        }
        unsigned slot = 0;
        while (!(used & 1ull << slot) || open[slot] != step)
            slot++;
        if (!expand(n, p, open, used)) {
            sim_count(COUNT_NAMES_GIVEN_UP, 1);
            return;
        }
        keep_done(n, slot);
        used &= ~(1ull << slot);
        if (n->configs.count == 0) {
            sim_complain("names", "%s: %s, %s", p->name, anomaly(&p->steps.items[step]),
                         op_text(p->steps.items[step].op, text));
            return;
        }
    }
}

/* ---- read your names (consistency=session) ------------------------------------------------------
 */

/* Ended, and the register is known to be `value` at some moment of it. */
static bool is_definite(const struct step *s)
{
    return s->puts && !s->may_stay && s->end != TIME_NEVER && s->value != VALUE_OPEN;
}

static bool gives(const struct step *s, uint64_t value)
{
    return s->value == value || s->value == VALUE_OPEN ||
           (s->value == VALUE_ANY && value != VALUE_NONE);
}

static bool explained(const struct path *p, const struct step *own, const struct history_op *look)
{
    uint64_t value = look->err ? VALUE_NONE : look->file;
    if (gives(own, value))
        return true;
    for (size_t i = p->steps.count; i-- > 0;) {
        const struct step *s = &p->steps.items[i];
        if (s->puts && s->end >= own->start && s->start <= look->end && gives(s, value))
            return true;
    }
    return false;
}

/* Steps and looks are in the order of their starts; of each mount the definite steps are a chain,
 * from the newest one back. */
void names_check_own(const struct path *p)
{
    char text[HISTORY_TEXT], other[HISTORY_TEXT];
    size_t newest[SIM_MOUNTS_MAX + 1] = {0}, next = 0;
    size_t *before = xcalloc(p->steps.count + 1, sizeof *before);
    for (size_t i = 0; i < p->late.count && !sim_failed(); i++) {
        const struct history_op *look = p->late.items[i];
        for (; next < p->steps.count && p->steps.items[next].start < look->start; next++)
            if (is_definite(&p->steps.items[next])) {
                size_t *head = &newest[p->steps.items[next].op->mount];
                before[next] = *head;
                *head = next + 1;
            }
        size_t at = newest[look->mount];
        while (at && p->steps.items[at - 1].end >= look->start)
            at = before[at - 1];
        const struct step *own = at ? &p->steps.items[at - 1] : NULL;
        if (own && same_life(own->op, look) && !explained(p, own, look))
            sim_complain("names", "read your writes: %s shows not what %s made of it, at %s",
                         p->name, op_text(own->op, text), op_text(look, other));
    }
    free(before);
}
