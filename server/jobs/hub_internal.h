/* hub_internal.h - the clients of a hub, and what the two kinds of them share. Threads: the hub's own, but
 * for what is under its lock. */
#ifndef SRV_JOBS_HUB_INTERNAL_H
#define SRV_JOBS_HUB_INTERNAL_H

#include "server/jobs/hub.h"

#include <pthread.h>

enum {
    SRV_HUB_NOTES = 64 /* ids of changed jobs that are kept apart; past it all clients are looked after */
};

struct srv_hub_client {
    struct srv_hub_client *next;
    struct srv_exchange *exchange; /* to be answered; NULL once it is a stream */
    char id[SRV_RECORD_ID];
    bool follows; /* events, or else one answer */
    bool due;     /* to be looked after now */
    /* of one answer */
    char *etag;      /* owned; NULL: until the state is another */
    int state;       /* that it had first; -1: not known yet */
    double deadline; /* CLOCK_MONOTONIC seconds */
    /* of events */
    struct srv_stream *stream; /* NULL before the first look */
    uint64_t after;
    double last_word; /* when something was written */
};

struct srv_hub {
    struct srv_jobs *jobs;
    struct srv_metrics *metrics;
    struct srv_log *log;
    size_t limit;
    pthread_t thread;
    struct srv_hub_client *clients; /* of the thread */
    double next_tick;               /* of the thread */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    /* under the mutex */
    struct srv_hub_client *incoming;
    size_t count;
    char notes[SRV_HUB_NOTES][SRV_RECORD_ID];
    size_t note_count;
    bool all, woken, draining, stopping;
};

/* hub.c: the job that the client asks for, if it may see it; release it. Of a client that has an exchange. */
bool srv_hub_get(struct srv_hub *hub, const struct srv_hub_client *client, struct api_job *job,
                 struct api_problem *problem);

/* hub_stream.c: true when the client is done with. `last`: nobody waits any longer. */
bool srv_hub_look_at_stream(struct srv_hub *hub, struct srv_hub_client *client, double now, bool last);

#endif
