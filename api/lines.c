// SPDX-License-Identifier: Apache-2.0
#include "api/lines.h"

#define LINE_WORD(symbol, word, meaning) word,
const char *const api_direction_words[] = {EFM_DIRECTION_MAP(LINE_WORD) "backward", NULL};
const char *const api_solver_words[] = {EFM_SOLVER_MAP(LINE_WORD) NULL};
const char *const api_variable_words[] = {EFM_VARIABLE_MAP(LINE_WORD) NULL};
#undef LINE_WORD

const char *api_direction_name(enum efm_direction direction)
{
    return api_direction_words[direction];
}

static bool adapts(enum efm_solver solver)
{
    return solver == EFM_SOLVER_RK45 || solver == EFM_SOLVER_ARC_LENGTH;
}

/* steps, tolerance and variable each belong to some solvers; given alone they choose one of those. */
static enum efm_solver choose_solver(const struct api_line_choice *choice, const struct efm_flow_options *own)
{
    if (choice->has_solver)
        return (enum efm_solver)choice->solver;
    if (own->map == EFM_MAP_STOCHASTIC)
        return own->solver;
    if (choice->has_steps && !choice->has_tolerance)
        return adapts(own->solver) ? EFM_SOLVER_HEUN : own->solver;
    if (choice->has_tolerance && !adapts(own->solver))
        return choice->has_steps ? own->solver : EFM_SOLVER_RK45;
    return choice->has_variable && own->solver == EFM_SOLVER_ARC_LENGTH ? EFM_SOLVER_RK45 : own->solver;
}

static bool no_effect(struct api_problem *problem, const char *pointer, enum efm_solver solver,
                      const char *fitting)
{
    return api_problem_set(problem, API_P_INVALID_PARAMETER, pointer,
                           "has no effect with the solver %s; it is for %s", api_solver_words[solver],
                           fitting);
}

static bool check_effects(const struct api_line_choice *choice, const struct efm_flow_options *options,
                          struct api_problem *problem)
{
    enum efm_solver solver = options->solver;
    if (options->map == EFM_MAP_STOCHASTIC && solver != EFM_SOLVER_ARC_LENGTH)
        return api_problem_set(problem, API_P_INVALID_PARAMETER, "/solver",
                               "%s cannot follow the lines of this model: its map is stochastic, they turn, "
                               "and only arc_length follows them",
                               api_solver_words[solver]);
    if (choice->has_steps && adapts(solver))
        return no_effect(problem, "/steps", solver, "euler and heun");
    if (choice->has_tolerance && !adapts(solver))
        return no_effect(problem, "/tolerance", solver, "rk45 and arc_length");
    if (choice->has_variable && solver == EFM_SOLVER_ARC_LENGTH)
        return no_effect(problem, "/variable", solver, "euler, heun and rk45");
    return true;
}

bool api_line_options(const struct api_line_choice *choice, const struct efm_model *model,
                      struct efm_flow_options *options, struct api_problem *problem)
{
    efm_model_flow_options(model, options);
    options->solver = choose_solver(choice, options);
    options->direction =
        choice->direction == EFM_DIRECTION_FORWARD ? EFM_DIRECTION_FORWARD : EFM_DIRECTION_REVERSE;
    if (choice->has_variable)
        options->variable = (enum efm_variable)choice->variable;
    if (choice->has_steps)
        options->steps = (uint32_t)choice->steps;
    if (choice->has_tolerance)
        options->tolerance = choice->tolerance;
    options->seed = choice->seed;
    options->frames = choice->frames;
    if (!check_effects(choice, options, problem))
        return false;
    struct efm_error error = {0};
    if (efm_flow_options_check(options, efm_model_field(model), &error) == EFM_OK)
        return true;
    /* Ranges were held against the tables, so what is left is a combination. */
    return api_problem_from_error(problem, &error, API_P_INVALID_PARAMETER,
                                  choice->has_solver ? "/solver" : NULL);
}
