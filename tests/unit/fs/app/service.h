/* A leading service over the real namespace, driven by hand: what it proposes goes into the log
 * when the test says so, and what it answers is kept to be looked at. */
#ifndef TALLY_TESTS_FS_APP_SERVICE_H
#define TALLY_TESTS_FS_APP_SERVICE_H

#include "fs/app/app.h"
#include "fs/core/state.h"
#include "repl/base/kv_mem.h"
#include "repl/base/vec.h"

struct service_proposal {
    uint64_t ticket, index; /* index 0: not in the log */
    bool applied, dropped;
    Fs__Op *op;
};

struct service_answer {
    uint64_t client;
    Fs__Reply *reply;
};

struct service {
    struct kv *kv;
    struct kv_txn *txn;
    struct fs_state *state;
    struct fs_app *app;
    time_us now;
    uint64_t term, last_index, next_id;
    uint64_t point;                            /* what is read has this entry applied */
    vec_of(struct service_proposal) proposals; /* all there were, in order */
    vec_of(struct service_answer) answers;     /* also what nobody asked for: id 0 */
};

void service_open(struct service *sv);
void service_close(struct service *sv);
void service_link_up(struct service *sv, uint64_t client);
void service_link_down(struct service *sv, uint64_t client);
/* It is elected again, in this term. */
void service_reign(struct service *sv, uint64_t term);
/* The same, and there are entries to be applied before it serves; they are. */
void service_reign_behind(struct service *sv, uint64_t term);
void service_catch_up(struct service *sv);
/* The mount has heard of the term. */
uint64_t service_send_renew(struct service *sv, uint64_t client, uint64_t session, uint64_t term);
void service_renew(struct service *sv, uint64_t client, uint64_t session, uint64_t term);
/* Time passes; or passes while the node stands still. */
void service_pass(struct service *sv, time_us us);
void service_stand_still(struct service *sv, time_us us);
/* The fullest node has so much free. */
void service_room(struct service *sv, uint64_t bytes);

/* Sends a request, a copy of `req`, in the present term unless it names one; its id. */
uint64_t service_send(struct service *sv, uint64_t client, uint64_t session, Fs__Request *req);
uint64_t service_send_op(struct service *sv, uint64_t client, uint64_t session, Fs__Op *op);
/* The last answer to request `id`, or NULL while there is none. */
const Fs__Reply *service_answer(const struct service *sv, uint64_t id);
/* The number of the last recall sent to `client`, 0: none. */
uint64_t service_recall(const struct service *sv, uint64_t client);

/* Proposals go by their place in `proposals`. */
void service_append(struct service *sv, size_t i);
void service_drop(struct service *sv, size_t i);
void service_apply(struct service *sv, size_t i);
/* Sends it, appends and applies what is proposed then; the answer, without an error. */
const Fs__OpReply *service_do(struct service *sv, uint64_t client, uint64_t session, Fs__Op *op);

/* ---- short forms ----------------------------------------------------------------------------- */

/* Brings the link up as well. */
uint64_t service_join(struct service *sv, uint64_t client);
/* The same, and the session may be promised something. */
uint64_t service_open_session(struct service *sv, uint64_t client);
/* An empty file in the root directory, with the write lease. */
uint64_t service_make(struct service *sv, uint64_t client, uint64_t session, uint64_t seq,
                      const char *name);
uint64_t service_send_commit(struct service *sv, uint64_t client, uint64_t session, uint64_t ino,
                             uint64_t epoch, uint64_t c);
/* The answer to recall `n`: `open` is open here; 0: nothing is. */
void service_answer_recall(struct service *sv, uint64_t client, uint64_t session, uint64_t n,
                           uint64_t open);

#endif
