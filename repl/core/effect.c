#include "repl/core/effect.h"

#include <stdlib.h>
#include <string.h>

static void effect_done(struct replica_effect *f)
{
    switch (f->kind) {
    case EFFECT_SEND:
        message_done(&f->send.message);
        break;
    case EFFECT_WRITE_ENTRIES:
        for (uint32_t i = 0; f->write_entries.entries != NULL && i < f->write_entries.count; i++) {
            entry_unref(f->write_entries.entries[i]);
        }
        free(f->write_entries.entries);
        break;
    case EFFECT_ENSURE:
        free(f->ensure.refs);
        break;
    case EFFECT_WRITE_VOTE:
    case EFFECT_WRITE_BASE:
    case EFFECT_ENSURE_END:
    case EFFECT_ADVANCE:
    case EFFECT_APPENDED:
    case EFFECT_DROPPED:
    case EFFECT_READ_READY:
    case EFFECT_READ_FAILED:
    case EFFECT_ROLE:
    case EFFECT_SNAPSHOT_SEND:
    case EFFECT_DRAFT:
    case EFFECT_DEMOTE:
    case EFFECT_TRUNCATE:
    case EFFECT_STOPPED_LEADING:
        break;
    }
}

void replica_update_clear(struct replica_update *u)
{
    for (size_t i = 0; i < u->count; i++) {
        effect_done(&u->effects[i]);
    }
    u->count = 0;
    u->wake_at = 0;
}

void replica_update_done(struct replica_update *u)
{
    replica_update_clear(u);
    free(u->effects);
    memset(u, 0, sizeof(*u));
}
