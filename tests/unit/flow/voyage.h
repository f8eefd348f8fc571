/* voyage.h - lines for tests: fields given by a formula, options in one line, and the way to the end.
 *
 *     struct formula formula = formula_field(2, 1.0, whirl);
 *     struct efm_flow_options options = options_of(&formula.base, EFM_MAP_FORWARD, EFM_SOLVER_HEUN);
 *     struct efm_line *line = line_of(&formula.base, &options, start, 0);
 *     travel(line);
 */
#ifndef EFM_TESTS_VOYAGE_H
#define EFM_TESTS_VOYAGE_H

#include "core/field/field_internal.h"
#include "core/flow/flow.h"
#include "tests/unit/field/capacitor.h"

/* E at (x, z), of any length: x in, `out` [D] and the returned z component out. */
typedef double formula_body(const float *x, double z, size_t dimension, double *out);

/* A field without charges. */
struct formula {
    struct efm_field base;
    formula_body *body;
    size_t evaluations;
};

static inline bool formula_measure(const struct efm_field *field, size_t capacity, size_t slots,
                                   struct efm_arena *plan)
{
    (void)capacity;
    (void)slots;
    return efm_arena_measure(plan, field->dimension, sizeof(double));
}

static inline void formula_lay_out(struct efm_field_workspace *workspace)
{
    workspace->parts[0] = efm_arena_take(&workspace->arena, workspace->field->dimension, sizeof(double));
}

static inline void formula_evaluate(const struct efm_field *field, struct efm_field_workspace *workspace,
                                    const float *x, const double *z, size_t count,
                                    const struct efm_field_values *values)
{
    struct formula *formula = (struct formula *)field;
    for (size_t i = 0; i < count; i++) {
        struct efm_raw_field raw = {.x = workspace->parts[0]};
        raw.z = formula->body(x + i * field->dimension, z[i], field->dimension, workspace->parts[0]);
        efm_field_store(&raw, field->dimension, i, values);
        values->nearest[2 * i] = values->nearest[2 * i + 1] = INFINITY;
        formula->evaluations++;
    }
}

static inline void formula_destroy(struct efm_field *field)
{
    (void)field;
}

static const struct efm_field_class formula_class = {.measure = formula_measure,
                                                     .lay_out = formula_lay_out,
                                                     .evaluate = formula_evaluate,
                                                     .destroy = formula_destroy};

static inline struct formula formula_field(size_t dimension, double length, formula_body *body)
{
    return (struct formula){.base = {.class = &formula_class,
                                     .kind = EFM_FIELD_SUPERPOSITION,
                                     .dimension = dimension,
                                     .length = length,
                                     .resolution = {1e-4, 1e-4}},
                            .body = body};
}

/* The same as a network's: known from the heights [lowest, length - lowest]. */
static const struct efm_field_class learned_formula_class = {.measure = formula_measure,
                                                             .lay_out = formula_lay_out,
                                                             .evaluate = formula_evaluate,
                                                             .destroy = formula_destroy,
                                                             .learned = true};

static inline struct formula learned_formula(size_t dimension, double length, double lowest,
                                             enum efm_field_kind kind, formula_body *body)
{
    return (struct formula){.base = {.class = &learned_formula_class,
                                     .kind = kind,
                                     .dimension = dimension,
                                     .length = length,
                                     .resolution = {lowest, lowest}},
                            .body = body};
}

static inline struct efm_flow_options options_of(const struct efm_field *field, enum efm_map map,
                                                 enum efm_solver solver)
{
    struct efm_flow_options options;
    efm_flow_options_default(&options, field);
    options.map = map;
    options.solver = solver;
    return options;
}

static inline struct efm_line *line_of(const struct efm_field *field, const struct efm_flow_options *options,
                                       const float *start, uint64_t image_index)
{
    struct efm_error error = {0};
    struct efm_line *line;
    if (efm_line_create(&line, field, options, start, image_index, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return line;
}

static inline struct efm_flow *flow_of(const struct efm_field *field, size_t capacity, struct efm_team *team)
{
    struct efm_error error = {0};
    struct efm_flow *flow;
    if (efm_flow_create(&flow, field, capacity, team, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return flow;
}

/* Alone to its end. */
static inline void travel(const struct efm_field *field, struct efm_line *line)
{
    struct efm_flow *flow = flow_of(field, 1, NULL);
    while (efm_flow_step(flow, &line, 1) > 0)
        ;
    assert_int_not_equal(efm_line_state(line), EFM_LINE_RUNNING);
    efm_flow_destroy(flow);
}

#endif
