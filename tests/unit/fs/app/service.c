#include "tests/unit/fs/app/service.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "repl/base/kv_txn.h"

static void step(struct service *sv, struct fs_app_event ev)
{
    struct fs_app_out out = {0};
    ev.now = sv->now;
    ev.wall_ns = (int64_t)sv->now * 1000;
    fs_app_step(sv->app, &ev, &out);
    for (size_t i = 0; i < out.count; i++) {
        struct fs_app_effect *e = &out.effects[i];
        switch (e->kind) {
        case FS_APP_REPLY:
        case FS_APP_READ_BLOCKS:
            vec_push(&sv->answers, (struct service_answer){e->client, e->reply});
            e->reply = NULL;
            break;
        case FS_APP_PROPOSE: {
            Fs__Op *op = fs__op__unpack(NULL, e->payload->size, e->payload->data);
            vec_push(&sv->proposals, (struct service_proposal){.ticket = e->ticket, .op = op});
            break;
        }
        case FS_APP_READ_INDEX:
            step(sv, (struct fs_app_event){
                         .kind = FS_APP_READ_READY, .ticket = e->ticket, .index = sv->point});
            break;
        }
    }
    fs_app_out_clear(&out);
    free(out.effects);
}

void service_room(struct service *sv, uint64_t bytes)
{
    step(sv, (struct fs_app_event){.kind = FS_APP_SPACE,
                                   .free_bytes = bytes,
                                   .room_bytes = bytes,
                                   .total_bytes = 1 << 30,
                                   .targets = 6});
}

void service_reign(struct service *sv, uint64_t term)
{
    sv->term = term;
    step(sv,
         (struct fs_app_event){.kind = FS_APP_ROLE, .leading = true, .leader = 1, .term = term});
}

void service_reign_behind(struct service *sv, uint64_t term)
{
    sv->point = sv->last_index + 1;
    service_reign(sv, term);
}

void service_catch_up(struct service *sv)
{
    sv->last_index = sv->point;
    step(sv, (struct fs_app_event){.kind = FS_APP_ADVANCED, .index = sv->last_index});
}

void service_open(struct service *sv)
{
    *sv = (struct service){.now = 100 * TIME_S};
    sv->kv = kv_mem_new();
    sv->txn = kv_txn_new(sv->kv);
    sv->state = fs_state_new(sv->kv, 0);
    fs_state_format(sv->state, sv->txn);
    ck_assert_int_eq(kv_txn_commit(sv->txn), 0);
    struct fs_app_config config = {
        .self = 1, .state = sv->state, .lease_us = 4 * TIME_S, .session_timeout_us = 60 * TIME_S};
    sv->app = fs_app_new(&config);
    service_room(sv, 1 << 30);
    service_reign(sv, 1);
}

void service_close(struct service *sv)
{
    fs_app_free(sv->app);
    for (size_t i = 0; i < sv->proposals.count; i++)
        fs__op__free_unpacked(sv->proposals.items[i].op, NULL);
    for (size_t i = 0; i < sv->answers.count; i++)
        fs__reply__free_unpacked(sv->answers.items[i].reply, NULL);
    vec_done(&sv->proposals);
    vec_done(&sv->answers);
    fs_state_free(sv->state);
    kv_txn_free(sv->txn);
    kv_close(sv->kv);
}

void service_link_up(struct service *sv, uint64_t client)
{
    step(sv, (struct fs_app_event){.kind = FS_APP_CLIENT_UP, .client = client});
}

void service_link_down(struct service *sv, uint64_t client)
{
    step(sv, (struct fs_app_event){.kind = FS_APP_CLIENT_DOWN, .client = client});
}

void service_stand_still(struct service *sv, time_us us)
{
    sv->now += us;
    step(sv, (struct fs_app_event){.kind = FS_APP_TICK});
}

void service_pass(struct service *sv, time_us us)
{
    for (time_us end = sv->now + us; sv->now < end;)
        service_stand_still(sv, time_min(TIME_S, end - sv->now));
}

uint64_t service_send(struct service *sv, uint64_t client, uint64_t session, Fs__Request *req)
{
    req->id = ++sv->next_id;
    req->session = session;
    if (req->term == 0)
        req->term = sv->term;
    size_t size = fs__request__get_packed_size(req);
    uint8_t *packed = xmalloc(size);
    (void)fs__request__pack(req, packed);
    step(sv, (struct fs_app_event){.kind = FS_APP_REQUEST,
                                   .client = client,
                                   .request = fs__request__unpack(NULL, size, packed)});
    free(packed);
    return req->id;
}

uint64_t service_send_op(struct service *sv, uint64_t client, uint64_t session, Fs__Op *op)
{
    Fs__Request req = FS__REQUEST__INIT;
    req.body_case = FS__REQUEST__BODY_OP;
    req.op = op;
    return service_send(sv, client, session, &req);
}

const Fs__Reply *service_answer(const struct service *sv, uint64_t id)
{
    for (size_t i = sv->answers.count; i-- > 0;)
        if (sv->answers.items[i].reply->id == id)
            return sv->answers.items[i].reply;
    return NULL;
}

uint64_t service_recall(const struct service *sv, uint64_t client)
{
    for (size_t i = sv->answers.count; i-- > 0;) {
        const struct service_answer *a = &sv->answers.items[i];
        if (a->client == client && a->reply->body_case == FS__REPLY__BODY_RECALL)
            return a->reply->recall->n;
    }
    return 0;
}

/* ---- the log --------------------------------------------------------------------------------- */

void service_append(struct service *sv, size_t i)
{
    ck_assert_uint_lt(i, sv->proposals.count);
    struct service_proposal *p = &sv->proposals.items[i];
    ck_assert(p->index == 0 && !p->dropped);
    p->index = ++sv->last_index;
    step(sv, (struct fs_app_event){
                 .kind = FS_APP_APPENDED, .ticket = p->ticket, .index = sv->last_index});
}

void service_drop(struct service *sv, size_t i)
{
    ck_assert_uint_lt(i, sv->proposals.count);
    struct service_proposal *p = &sv->proposals.items[i];
    ck_assert(p->index == 0 && !p->dropped);
    p->dropped = true;
    step(sv, (struct fs_app_event){.kind = FS_APP_DROPPED, .ticket = p->ticket});
}

void service_apply(struct service *sv, size_t i)
{
    ck_assert_uint_lt(i, sv->proposals.count);
    struct service_proposal *p = &sv->proposals.items[i];
    ck_assert(p->index != 0 && !p->applied);
    p->applied = true;
    const Fs__Op *op = p->op;
    uint64_t index = p->index;
    struct fs_result result;
    fs_result_init(&result);
    fs_apply(sv->state, sv->txn, index, op, &result);
    ck_assert_int_eq(kv_txn_commit(sv->txn), 0);
    step(sv, (struct fs_app_event){
                 .kind = FS_APP_APPLIED, .index = index, .op = op, .result = &result});
    step(sv, (struct fs_app_event){.kind = FS_APP_ADVANCED, .index = index});
    fs_result_done(&result);
}

const Fs__OpReply *service_do(struct service *sv, uint64_t client, uint64_t session, Fs__Op *op)
{
    size_t i = sv->proposals.count;
    uint64_t id = service_send_op(sv, client, session, op);
    for (; i < sv->proposals.count; i++) {
        service_append(sv, i);
        service_apply(sv, i);
    }
    const Fs__Reply *reply = service_answer(sv, id);
    ck_assert(reply != NULL);
    ck_assert_int_eq(reply->err, 0);
    ck_assert_int_eq(reply->body_case, FS__REPLY__BODY_OP);
    ck_assert_int_eq(reply->op->err, 0);
    return reply->op;
}

/* ---- short forms ----------------------------------------------------------------------------- */

uint64_t service_send_renew(struct service *sv, uint64_t client, uint64_t session, uint64_t term)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__Renew renew = FS__RENEW__INIT;
    req.term = term;
    req.body_case = FS__REQUEST__BODY_RENEW;
    req.renew = &renew;
    return service_send(sv, client, session, &req);
}

void service_renew(struct service *sv, uint64_t client, uint64_t session, uint64_t term)
{
    ck_assert(service_answer(sv, service_send_renew(sv, client, session, term)) != NULL);
}

uint64_t service_join(struct service *sv, uint64_t client)
{
    uint8_t uuid[16] = {(uint8_t)client, 1};
    Fs__Op op = FS__OP__INIT;
    Fs__OpenSession m = FS__OPEN_SESSION__INIT;
    m.uuid = (ProtobufCBinaryData){sizeof uuid, uuid};
    m.name = (char *)"test";
    op.body_case = FS__OP__BODY_OPEN_SESSION;
    op.open_session = &m;
    service_link_up(sv, client);
    return service_do(sv, client, 0, &op)->value;
}

uint64_t service_open_session(struct service *sv, uint64_t client)
{
    uint64_t session = service_join(sv, client);
    service_renew(sv, client, session, 1);
    return session;
}

uint64_t service_make(struct service *sv, uint64_t client, uint64_t session, uint64_t seq,
                      const char *name)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Make m = FS__MAKE__INIT;
    m.parent = FS_ROOT_INO;
    m.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
    m.mode = S_IFREG | 0644;
    m.exclusive = true;
    m.lease = true;
    op.seq = seq;
    op.body_case = FS__OP__BODY_MAKE;
    op.make = &m;
    return service_do(sv, client, session, &op)->attr->ino;
}

uint64_t service_send_commit(struct service *sv, uint64_t client, uint64_t session, uint64_t ino,
                             uint64_t epoch, uint64_t c)
{
    Fs__Op op = FS__OP__INIT;
    Fs__Commit m = FS__COMMIT__INIT;
    m.ino = ino;
    m.epoch = epoch;
    m.c = c;
    m.size = c; /* tells them apart */
    m.mtime = (int64_t)c;
    op.body_case = FS__OP__BODY_COMMIT;
    op.commit = &m;
    return service_send_op(sv, client, session, &op);
}

void service_answer_recall(struct service *sv, uint64_t client, uint64_t session, uint64_t n,
                           uint64_t open)
{
    Fs__Request req = FS__REQUEST__INIT;
    Fs__RecallAck ack = FS__RECALL_ACK__INIT;
    ack.n = n;
    ack.open_inos = &open;
    ack.n_open_inos = open != 0;
    req.body_case = FS__REQUEST__BODY_RECALL_ACK;
    req.recall_ack = &ack;
    (void)service_send(sv, client, session, &req);
}
