/* line_work.h - lines of a work, for the endpoints that have some: made in prepare, destroyed in complete.
 * Threads: one at a time for a work. */
#ifndef SRV_ENDPOINTS_LINE_WORK_H
#define SRV_ENDPOINTS_LINE_WORK_H

#include "api/message.h"
#include "server/engine/scheduler.h"

/* The CLOCK_MONOTONIC time `timeout` seconds from now. */
double srv_lines_deadline(double timeout);

/* Whether a client may ask for so many seconds; API_P_INVALID_PARAMETER past `most`. */
bool srv_lines_timeout_allowed(double timeout, double most, struct api_problem *problem);

/* The most numbers that a body of points can hold, JSON or NPY, and the memory that reading them and
 * answering with as many takes: for admission, before the body is read. */
size_t srv_points_numbers(const struct api_message *message);
size_t srv_points_bytes(const struct api_message *message);

/* Room for the starts of `count` lines, [count, dimension]; the caller's (efm_free). NULL with a problem. */
float *srv_lines_starts(size_t count, size_t dimension, struct api_problem *problem);

/* Makes work->line_count lines from `starts`, borrowed; line i has the random streams of image i. What was
 * made stays in the work also on failure. */
bool srv_lines_create(struct srv_work *work, const struct efm_flow_options *options, const float *starts,
                      size_t dimension, struct api_problem *problem);

/* What a line with these options is expected to need, 0 where it depends on the line. */
double srv_lines_evaluations(const struct efm_flow_options *options);

void srv_lines_destroy(struct srv_work *work);

/* Where the time of a work went that is answered now. Of complete. */
void srv_work_timings(const struct srv_work *work, struct api_timings *timings);

/* How many results the lines are, and how many evaluations they took. Of complete, before they are destroyed. */
void srv_lines_facts(const struct srv_work *work, struct api_facts *facts);

#endif
