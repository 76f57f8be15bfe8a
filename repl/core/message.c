#include "repl/core/message.h"

#include <stdlib.h>
#include <string.h>

void message_done(struct message *m)
{
    switch (m->kind) {
    case MESSAGE_APPEND:
        for (uint32_t i = 0; i < m->append.entries_count; i++) {
            entry_unref(m->append.entries[i]);
        }
        free(m->append.entries);
        break;
    case MESSAGE_WANT:
        free(m->want.refs);
        break;
    case MESSAGE_BALLOT:
    case MESSAGE_APPEND_RESP:
    case MESSAGE_HELD:
        break;
    }
    memset(m, 0, sizeof(*m));
}
