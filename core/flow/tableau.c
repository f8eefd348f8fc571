// SPDX-License-Identifier: Apache-2.0
/* tableau.c - the Runge-Kutta methods. Dormand-Prince 5(4): J. Dormand, P. Prince, "A family of embedded
 * Runge-Kutta formulae", Journal of Computational and Applied Mathematics 6 (1980). Bogacki-Shampine 3(2): P.
 * Bogacki, L. Shampine, "A 3(2) pair of Runge-Kutta formulas", Applied Mathematics Letters 2 (1989). */
#include "core/flow/flow_internal.h"

static const struct efm_tableau euler = {.stages = 1, .b = {1}};

static const struct efm_tableau heun = {.stages = 2, .c = {0, 1}, .a = {{0}, {1}}, .b = {.5, .5}};

static const struct efm_tableau dormand_prince = {
    .stages = 7,
    .adaptive = true,
    .first_same_as_last = true,
    .order = 5,
    .c = {0, 1. / 5, 3. / 10, 4. / 5, 8. / 9, 1, 1},
    .a = {{0},
          {1. / 5},
          {3. / 40, 9. / 40},
          {44. / 45, -56. / 15, 32. / 9},
          {19372. / 6561, -25360. / 2187, 64448. / 6561, -212. / 729},
          {9017. / 3168, -355. / 33, 46732. / 5247, 49. / 176, -5103. / 18656},
          {35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84}},
    .b = {35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84, 0},
    .error = {71. / 57600, 0, -71. / 16695, 71. / 1920, -17253. / 339200, 22. / 525, -1. / 40},
};

/* In many dimensions the nearest charges change abruptly and lines are nearly straight in between: a low
 * order wastes less on a step that has to be refused. */
static const struct efm_tableau bogacki_shampine = {
    .stages = 4,
    .adaptive = true,
    .first_same_as_last = true,
    .order = 3,
    .c = {0, 1. / 2, 3. / 4, 1},
    .a = {{0}, {1. / 2}, {0, 3. / 4}, {2. / 9, 1. / 3, 4. / 9}},
    .b = {2. / 9, 1. / 3, 4. / 9, 0},
    .error = {2. / 9 - 7. / 24, 1. / 3 - 1. / 4, 4. / 9 - 1. / 3, -1. / 8},
};

const struct efm_tableau *efm_tableau_of(enum efm_solver solver)
{
    switch (solver) {
    case EFM_SOLVER_EULER:
        return &euler;
    case EFM_SOLVER_HEUN:
        return &heun;
    case EFM_SOLVER_ARC_LENGTH:
        return &bogacki_shampine;
    case EFM_SOLVER_RK45:
        break;
    }
    return &dormand_prince;
}
