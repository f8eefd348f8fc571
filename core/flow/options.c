// SPDX-License-Identifier: Apache-2.0
/* options.c - what a line may be asked to do, and what it does unless asked. */
#include "core/base/words.h"
#include "core/flow/flow.h"

#include <math.h>
#include <string.h>

EFM_DEFINE_WORDS(efm_map, EFM_MAP_MAP)

const char *efm_line_state_name(enum efm_line_state state)
{
    static const char *const words[] = {EFM_LINE_STATE_MAP(EFM_WORD_OF)};
    return efm_word_at(words, sizeof words / sizeof words[0], (size_t)state);
}

/* Evaluations of a network are dear, and its field is smooth where the charges' is not. */
static void default_learned(struct efm_flow_options *options, enum efm_field_kind kind)
{
    bool straight = kind != EFM_FIELD_CHAIN;
    options->map = kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD;
    options->solver = EFM_SOLVER_EULER;
    /* A superposition bends where it begins: ten such steps serve it like fifty equal ones (docs/learned.md). */
    options->variable = kind == EFM_FIELD_SUPERPOSITION ? EFM_VARIABLE_ROOT_Z : EFM_VARIABLE_Z;
    options->steps = straight ? 10 : 50;
}

void efm_flow_options_default(struct efm_flow_options *options, const struct efm_field *field)
{
    *options = (struct efm_flow_options){.map = EFM_MAP_FORWARD,
                                         .solver = EFM_SOLVER_RK45,
                                         .variable = EFM_VARIABLE_LOG_Z,
                                         .steps = 50,
                                         .max_evaluations = 4000,
                                         .tolerance = 1e-3};
    if (efm_field_is_learned(field)) {
        default_learned(options, efm_field_kind(field));
        return;
    }
    switch (efm_field_kind(field)) {
    case EFM_FIELD_CHAIN:
        options->map = EFM_MAP_CHAIN;
        options->solver = EFM_SOLVER_ARC_LENGTH;
        /* Lines end on the same charges as with a thousandth, in half of the evaluations. */
        options->tolerance = 1e-2;
        break;
    case EFM_FIELD_PER_PLATE:
        options->solver = EFM_SOLVER_EULER;
        options->variable = EFM_VARIABLE_Z;
        options->steps = 20;
        break;
    case EFM_FIELD_SUPERPOSITION:
    case EFM_FIELD_FLOW_MATCHING:
        break;
    }
}

static enum efm_status check_combination(const struct efm_flow_options *options,
                                         const struct efm_field *field, struct efm_error *error)
{
    enum efm_field_kind kind = efm_field_kind(field);
    if (options->map == EFM_MAP_STOCHASTIC && efm_field_is_learned(field))
        return efm_error_set(
            error, EFM_E_ARGUMENT,
            "the stochastic map needs the field behind the plates too, which a learned one does not know");
    if ((options->map == EFM_MAP_CHAIN) != (kind == EFM_FIELD_CHAIN))
        return efm_error_set(error, EFM_E_ARGUMENT, "the map %s does not fit a field of the kind %s",
                             efm_map_name(options->map), efm_field_kind_name(kind));
    if (options->map == EFM_MAP_STOCHASTIC && kind != EFM_FIELD_SUPERPOSITION)
        return efm_error_set(error, EFM_E_ARGUMENT, "the stochastic map needs a superposition, not %s",
                             efm_field_kind_name(kind));
    if (options->map == EFM_MAP_STOCHASTIC && options->solver != EFM_SOLVER_ARC_LENGTH)
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the stochastic map follows lines that turn, so its solver is arc_length");
    return EFM_OK;
}

enum efm_status efm_flow_options_check(const struct efm_flow_options *options, const struct efm_field *field,
                                       struct efm_error *error)
{
    if ((unsigned)options->map > EFM_MAP_CHAIN || (unsigned)options->solver > EFM_SOLVER_ARC_LENGTH ||
        (unsigned)options->variable > EFM_VARIABLE_ROOT_Z ||
        (unsigned)options->direction > EFM_DIRECTION_REVERSE)
        return efm_error_set(error, EFM_E_ARGUMENT, "an option of the flow is out of range");
    if (options->steps < 1 || options->steps > EFM_FLOW_MAX_STEPS)
        return efm_error_set(error, EFM_E_ARGUMENT, "steps must be 1..%d, not %u", EFM_FLOW_MAX_STEPS,
                             options->steps);
    if (!(options->tolerance >= 1e-8 && options->tolerance <= 0.1))
        return efm_error_set(error, EFM_E_ARGUMENT, "the tolerance must be 1e-8..0.1, not %g",
                             options->tolerance);
    if (options->max_evaluations < 1 || options->max_evaluations > 1000000)
        return efm_error_set(error, EFM_E_ARGUMENT, "a line takes 1 to 1000000 evaluations");
    if (options->frames == 1 || options->frames > EFM_FLOW_MAX_FRAMES)
        return efm_error_set(error, EFM_E_ARGUMENT, "frames must be 0 or 2..%d, not %u", EFM_FLOW_MAX_FRAMES,
                             options->frames);
    return check_combination(options, field, error);
}
