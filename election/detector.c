#include "election/detector.h"

#include <assert.h>
#include <string.h>

enum {
    WINDOW_SLOT_US = 1000000,
    BOUND_RTTS = 5, /* PROTOCOL 1.4: T_base = max(10 * heartbeat, 5R) */
    /* An idle leader beats every 200 ms (RULES E1); twice the longest gap seen keeps one lost beat
     * from counting and still lets T_base rule in the ordinary case. */
    BOUND_GAPS = 2,
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct detector_config detector_config_default(void)
{
    return (struct detector_config){
        .base_us_min = 600 * 1000,
        .base_us_max = 2000 * 1000,
        .late_us_min = 50 * 1000,
    };
}

void detector_init(struct detector *d, const struct detector_config *config)
{
    assert(config->base_us_min <= config->base_us_max);
    memset(d, 0, sizeof *d);
    d->config = *config;
}

uint64_t detector_clock(const struct detector *d, uint64_t now)
{
    assert(d->late_us <= now);
    return now - d->late_us;
}

uint64_t detector_late(struct detector *d, uint64_t due, uint64_t now)
{
    if (now <= due || now - due <= d->config.late_us_min)
        return 0;
    d->late_us += now - due;
    d->late_at = now;
    return now - due;
}

void detector_link(struct detector *d, uint32_t peer, bool up)
{
    struct detector_peer *p = &d->peers[peer];

    if (!up)
        p->link = DETECTOR_LINK_CLOSED;
    else if (p->link == DETECTOR_LINK_CLOSED)
        p->link = DETECTOR_LINK_REOPENED;
    else if (p->link == DETECTOR_LINK_UNKNOWN)
        p->link = DETECTOR_LINK_UP;
}

void detector_heard(struct detector *d, uint32_t peer)
{
    /* What was already in our hands when the connection closed does not make it open. */
    if (d->peers[peer].link == DETECTOR_LINK_REOPENED)
        d->peers[peer].link = DETECTOR_LINK_UP;
}

void detector_beat(struct detector *d, uint32_t peer, bool first, uint64_t now)
{
    struct detector_peer *p = &d->peers[peer];
    uint64_t clock = detector_clock(d, now);

    if (!first && p->beat_at != 0)
        detector_window_add(&p->gaps, now, clock - p->beat_at);
    p->beat_at = clock;
    detector_heard(d, peer);
}

/* One that began before our own last pause measures the pause; one longer than T_base measures an
 * outage of the peer, or its pause. Neither is the distance, and the largest of the window would
 * stand for it: the next leader's silence would be borne three times as long. */
void detector_rtt(struct detector *d, uint32_t peer, uint64_t now, uint64_t rtt_us)
{
    if (rtt_us > d->config.base_us_min || (d->late_at != 0 && now < d->late_at + rtt_us))
        return;
    detector_window_add(&d->peers[peer].rtts, now, rtt_us);
}

bool detector_cut(const struct detector *d, uint32_t peer)
{
    enum detector_link link = d->peers[peer].link;

    return link == DETECTOR_LINK_CLOSED || link == DETECTOR_LINK_REOPENED;
}

uint64_t detector_bound(const struct detector *d, uint32_t peer, uint64_t now)
{
    const struct detector_peer *p = &d->peers[peer];
    uint64_t bound = d->config.base_us_min;

    bound = max_u64(bound, BOUND_RTTS * detector_window_max(&p->rtts, now));
    bound = max_u64(bound, BOUND_GAPS * detector_window_max(&p->gaps, now));
    return bound < d->config.base_us_max ? bound : d->config.base_us_max;
}

uint64_t detector_suspect_at(const struct detector *d, uint32_t peer, uint64_t since, uint64_t now)
{
    if (detector_cut(d, peer))
        return 0;
    return since + d->late_us + detector_bound(d, peer, now);
}

uint64_t detector_rtt_max(const struct detector *d, node_mask peers, uint64_t now)
{
    uint64_t largest = 0;

    quorum_each(id, peers)
        largest = max_u64(largest, detector_window_max(&d->peers[id].rtts, now));
    return largest;
}

void detector_window_add(struct detector_window *w, uint64_t now, uint64_t sample)
{
    uint64_t slot = now / WINDOW_SLOT_US;
    uint64_t *largest = &w->largest[slot % DETECTOR_WINDOW_SLOTS];

    assert(slot >= w->slot);
    if (slot - w->slot >= DETECTOR_WINDOW_SLOTS)
        memset(w->largest, 0, sizeof w->largest);
    else
        for (uint64_t s = w->slot + 1; s <= slot; s++)
            w->largest[s % DETECTOR_WINDOW_SLOTS] = 0;
    w->slot = slot;
    *largest = max_u64(*largest, sample);
}

uint64_t detector_window_max(const struct detector_window *w, uint64_t now)
{
    uint64_t oldest = now / WINDOW_SLOT_US;
    uint64_t largest = 0;

    oldest = oldest < DETECTOR_WINDOW_SLOTS ? 0 : oldest - DETECTOR_WINDOW_SLOTS + 1;
    for (uint64_t i = 0; i < DETECTOR_WINDOW_SLOTS && i <= w->slot && w->slot - i >= oldest; i++)
        largest = max_u64(largest, w->largest[(w->slot - i) % DETECTOR_WINDOW_SLOTS]);
    return largest;
}
