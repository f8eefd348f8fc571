/* lines.h - what a request may say about its field lines, shared by /transfer, /generate and /trace: the
 * words of their parameters, and how they change what the model would do by itself. Not for other rooms.
 *
 *     struct api_line_choice choice = {.given = ..., .solver = request->solver};
 *     api_line_options(&choice, model, &options, problem);
 *
 * Threads: pure. */
#ifndef API_LINES_H
#define API_LINES_H

#include "api/parameters.h"
#include "core/flow/flow.h"
#include "core/model/model.h"

/* Index = enum efm_direction (but for the synonym "backward"), efm_solver, efm_variable. */
extern const char *const api_direction_words[];
extern const char *const api_solver_words[];
extern const char *const api_variable_words[];

/* The entries of a parameter table; `type` is the struct that is filled. */
#define API_LINE_PARAMETERS(type)                                                                            \
    {"direction",                                                                                            \
     API_WORD,                                                                                               \
     offsetof(type, direction),                                                                              \
     .words = api_direction_words,                                                                           \
     .fallback = "forward",                                                                                  \
     .help = "forward: source to target; reverse (or backward): target to source"},                          \
        {"solver",                                                                                           \
         API_WORD,                                                                                           \
         offsetof(type, solver),                                                                             \
         .words = api_solver_words,                                                                          \
         .fallback = "the model's own, or one that steps, tolerance or variable apply to",                   \
         .help = "How a line is followed: euler and heun in fixed steps, rk45 and arc_length with error "    \
                 "control"},                                                                                 \
        {"variable",                                                                                         \
         API_WORD,                                                                                           \
         offsetof(type, variable),                                                                           \
         .words = api_variable_words,                                                                        \
         .fallback = "the model's own",                                                                      \
         .help = "What the steps are equal in: z, log_z for ever finer ones towards both plates, or root_z " \
                 "for finer ones near the plate where the line starts"},                                     \
        {"steps",                                                                                            \
         API_INTEGER,                                                                                        \
         offsetof(type, steps),                                                                              \
         .low = 1,                                                                                           \
         .high = EFM_FLOW_MAX_STEPS,                                                                         \
         .fallback = "the model's own",                                                                      \
         .help = "Steps of a whole line, for euler and heun"},                                               \
    {                                                                                                        \
        "tolerance", API_REAL, offsetof(type, tolerance),                                                    \
            .low = 1e-8, .high = 0.1, .fallback = "the model's own",                                         \
            .help = "Error allowed a step, for rk45 and arc_length"                                          \
    }

#define API_SEED_MAX 9007199254740991.0 /* 2^53 - 1: every JSON client keeps it exact */

struct api_line_choice {
    bool has_solver, has_variable, has_steps, has_tolerance;
    int direction, solver, variable; /* words; direction may be the synonym */
    uint64_t steps, seed;
    double tolerance;
    uint32_t frames;
};

/* The model's options with the choices laid over. False with a problem at the parameter that does not fit. */
bool api_line_options(const struct api_line_choice *choice, const struct efm_model *model,
                      struct efm_flow_options *options, struct api_problem *problem);

/* The word of a direction as it is answered. */
const char *api_direction_name(enum efm_direction direction);

#endif
