/* The least free space of the nodes, for writers. */
#include "node/space.h"

#include "node/internal.h"

/* Those it hears of now, itself included, are a majority. */
static bool hears_majority(const struct replica_status *s)
{
    uint32_t heard = 1;
    for (uint32_t i = 0; i < s->peers_count; i++)
        heard += s->peers[i].link_up && s->peers[i].reported;
    return heard > (s->peers_count + 1) / 2;
}

/* A node that is down keeps nobody from writing: the others are enough, and it counts as down when
 * it comes back full. Without a majority nothing is committed before one of those comes back, so
 * then what they said last bounds what is promised meanwhile: a leader alone would promise what it
 * has itself, and a witness that has stood in for a lost copy for long does not have that.
 *
 * A witness that is not drafted bounds only what may be promised at once: it may have to take that
 * much. */
struct node_space node_space_least(const struct replica_status *s, uint64_t own)
{
    struct node_space space = {.free_bytes = own, .room_bytes = own};
    bool majority = hears_majority(s);
    for (uint32_t i = 0; i < s->peers_count; i++) {
        const struct replica_peer_status *p = &s->peers[i];
        if (!p->reported || (majority && !p->link_up))
            continue;
        space.room_bytes = smaller_of(space.room_bytes, p->free_bytes);
        if (p->kind == MEMBER_COPY || (s->draft_mask & 1u << p->id))
            space.free_bytes = smaller_of(space.free_bytes, p->free_bytes);
    }
    return space;
}

void node_report_space(struct node *n)
{
    static struct replica_status status[1]; /* large */
    replica_status(n->replica, status);
    n->space_reported = n->now;
    uint64_t total, own;
    store_space(n->store, &total, &own);
    struct node_space space = node_space_least(status, own);
    struct node_app_event ev = {.event = {.kind = FS_APP_SPACE,
                                          .free_bytes = space.free_bytes,
                                          .total_bytes = total,
                                          .room_bytes = space.room_bytes,
                                          .targets = n->copies | status->draft_mask}};
    node_queue_app(n, &ev);
}
