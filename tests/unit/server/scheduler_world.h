/* scheduler_world.h - works and models for the tests of the scheduler. efm_flow_step is wrapped, so that a test can
 * look at every batch and do something in the middle of an evaluation; efm_flow_create and efm_allocate_array, so that
 * they can fail. Programs are linked with -Wl,--wrap of these and of efm_flow_destroy.
 *
 *     struct job *job = make_job(f, 0, 8, 300);        8 lines of 300 steps on the first model
 *     submit(f, job);
 *     await(job);
 *     drop(job);
 *
 * Errors: every function fails the running cmocka test. Threads: one, beside the scheduler's. */
#ifndef TESTS_SCHEDULER_WORLD_H
#define TESTS_SCHEDULER_WORLD_H

#include "server/engine/scheduler.h"
#include "server/metrics.h"
#include "tests/support/check.h"

enum { DIMENSION = 2 };

size_t __real_efm_flow_step(struct efm_flow *flow, struct efm_line *const *lines, size_t count);
enum efm_status __real_efm_flow_create(struct efm_flow **flow, const struct efm_field *field, size_t capacity,
                                       struct efm_team *team, struct efm_error *error);
void __real_efm_flow_destroy(struct efm_flow *flow);

struct job {
    struct srv_work work;
    struct efm_flow_options options;
    uint64_t image;      /* of the first line */
    atomic_size_t *gate; /* prepare waits until it is > 0; NULL: none */
    bool prepare_fails;
    int failing_allocation; /* after prepare, counted from 1; 0: none */
    atomic_bool cancel;
    size_t slices_wanted;
    atomic_size_t slices_done, prepared, completed;
    size_t order;   /* 1 for the first that completed */
    size_t at_step; /* `steps` at completion */
    enum api_problem_code code;
    enum efm_line_state states[64];
    float results[64][DIMENSION];
    uint32_t evaluations[64];
};

struct fixture {
    struct srv_metrics *metrics;
    struct srv_scheduler *scheduler;
    struct efm_model *models[6];
};

extern atomic_size_t steps, largest_batch, flows_made, flows_gone;
extern atomic_bool creation_fails;
extern atomic_uint step_microseconds;
/* set before the works are submitted */
extern void (*step_hook)(struct efm_line *const *lines, size_t count);
extern struct job *hook_job; /* its first lines are remembered in hook_lines */
extern struct efm_line *_Atomic hook_lines[10];

double now_seconds(void);
/* False after 20 seconds. */
bool wait_until(atomic_size_t *counter, size_t value);
void start_point(uint64_t image, float *start);
struct srv_scheduler_options plain_options(void);
void start(struct fixture *f, const struct srv_scheduler_options *options);
int setup(void **state);
int teardown(void **state);
/* The value of one sample of the metrics, 0 when it is not there. */
double metric(struct fixture *f, const char *sample);
struct job *make_job(struct fixture *f, size_t model, size_t lines, uint32_t step_count);
struct job *make_slices(struct fixture *f, size_t model, size_t count);
struct job *make_helper_job(void);
void submit(struct fixture *f, struct job *job);
/* Submits one that is refused. */
enum api_problem_code refused(struct fixture *f, struct job *job, unsigned *retry_after);
void await(struct job *job);
/* Frees a completed one. */
void drop(struct job *job);

#endif
