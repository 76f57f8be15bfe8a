#include "election/strategy.h"

#include <assert.h>
#include <string.h>

const struct strategy_ops *strategy_find(const char *name)
{
    static const struct strategy_ops *const all[] = {&strategy_candidate};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

enum member_kind strategy_kind(const struct strategy_view *view, uint32_t id)
{
    if (id == NODE_ID_NONE || id > view->nodes->count)
        return MEMBER_NONE;
    return (enum member_kind)view->nodes->kind[id];
}

bool strategy_may_lead(const struct strategy_view *view, uint32_t id)
{
    return strategy_kind(view, id) == MEMBER_COPY;
}

uint32_t strategy_copies(const struct strategy_view *view)
{
    uint32_t copies = 0;

    while (copies < view->nodes->placed && strategy_may_lead(view, view->nodes->at[copies]))
        copies++;
    return copies;
}

struct ballot_message *strategy_push(struct strategy_output *out, const struct strategy_view *view,
                                     enum ballot_message_kind kind, uint32_t to)
{
    struct ballot_message *m = &out->messages[out->message_count++];

    assert(out->message_count <= out->room);
    *m = (struct ballot_message){.kind = kind,
                                 .from = view->self,
                                 .to = to,
                                 .term = view->term,
                                 .last = view->last,
                                 .leader = view->leader};
    return m;
}
