/* SPDX-License-Identifier: MIT */
/* A socket that connects once more is, byte by byte, what a new one is: of everything that belongs to a
 * connection nothing stays, whatever was there. It is the engine alone, with its loopback interface. */
#include "stack/engine.c"

#include "tests/kit/check.h"

static struct bw_config config(void)
{
    struct bw_config cfg = {.now = SECOND,
                            .buffer_bytes = 1 << 20,
                            .max_socks = 64,
                            .max_orphans = 32,
                            .max_neighs = 16,
                            .port_first = 32768,
                            .port_last = 60999,
                            .fast_open = BW_FASTOPEN_CLIENT,
                            .trace_records = 16};
    cfg.rcvbuf = cfg.sndbuf = (struct bw_bounds){.min = 4096, .standard = 65536, .max = 1 << 20};
    return cfg;
}

static struct bw_sock *connecting(struct bw_stack *st, struct bw_sock *s)
{
    struct bw_addr to = {.port = 80};
    ip_from_v4(to.ip, (const uint8_t[]){127, 0, 0, 1});
    if (!s)
        CHECK(bw_socket(st, BW_SOCK_TCP, &s) == 0);
    CHECK(bw_connect(s, &to) == -EINPROGRESS);
    return s;
}

/* What a closed socket may have left in each field: anything. Its received data is still to be freed. */
static void poison(struct tcb *t)
{
    enum { CONNECTION = offsetof(struct tcb, snd_una) };
    CHECK(t->state == BW_TCP_CLOSED && !t->on_ready && !timer_is_set(&t->timer));
    memset((char *)t + CONNECTION, 0xa5, sizeof *t - CONNECTION);
    byteq_init(&t->rcvq);
    t->ss = SS_UNCONNECTED;
    t->base.soft_error = EHOSTUNREACH;
    t->base.flags |= SOCK_SHUT_RD | SOCK_SHUT_WR;
    t->base.rcvbuf *= 2;
    t->fast_open |= FASTOPEN_ASK | FASTOPEN_DEFERRED;
    memset(&t->base.path, 0xa5, sizeof t->base.path);
    memset(t->base.raddr, 0xa5, 16);
    t->base.rport = 1;
}

/* The name, and what is derived from it or says where the block stands. */
static struct tcb nameless(const struct bw_sock *s)
{
    struct tcb t = *(const struct tcb *)s;
    CHECK(t.snd_una == t.iss && t.snd_nxt == t.iss && t.snd_sml == t.iss);
    CHECK(t.recover == t.iss && t.rack_fack == t.iss);
    t.iss = t.snd_una = t.snd_nxt = t.snd_sml = t.recover = t.rack_fack = t.ts_offset = 0;
    t.ready_next = NULL;
    t.ready_pprev = NULL;
    t.sndq.map = t.rcvq.map = NULL; /* the queue's own */
    t.base.lport = 0;
    t.base.id = 0;
    t.base.bind_next = 0;
    t.base.flow_next = t.base.changed_next = 0;
    return t;
}

static const char *differing(const struct tcb *a, const struct tcb *b)
{
    static char where[64];
    for (size_t i = 0; i < sizeof *a; i++)
        if (((const char *)a)[i] != ((const char *)b)[i]) {
            snprintf(where, sizeof where, "byte %zu of %zu differs", i, sizeof *a);
            return where;
        }
    return NULL;
}

int main(void)
{
    struct bw_config cfg = config();
    void *arena = calloc(1, bw_arena_size(&cfg));
    struct bw_stack *st = bw_new(&cfg, arena);
    struct bw_sock *fresh = connecting(st, NULL), *used = connecting(st, NULL);
    tcp_drop(tcb_of(used), ECONNRESET);
    CHECK(bw_connect(used, &(struct bw_addr){.port = 80}) == -ECONNRESET); /* told: it may connect anew */
    poison(tcb_of(used));
    connecting(st, used);
    const struct tcb a = nameless(fresh), b = nameless(used);
    const char *wrong = differing(&a, &b);
    if (wrong) {
        printf("%s\n", wrong);
        return 1;
    }
    bw_free(st);
    free(arena);
    printf("well\n");
    return 0;
}
