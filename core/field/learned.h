/* learned.h - a field whose directions come from a network.
 *
 * Threads, errors and ownership as in field.h. Its precision is chosen when it is made. It has no charges: `nearest` is
 * infinity, and lines start and end at the height it was trained down to (efm_field_resolution). */
#ifndef EFM_FIELD_LEARNED_H
#define EFM_FIELD_LEARNED_H

#include "core/field/field.h"
#include "core/net/net.h"

struct efm_learned_options {
    enum efm_field_kind kind; /* what it was trained on */
    double length;            /* L */
    double lowest;            /* trained on heights in [lowest, L - lowest] */
    bool velocity;            /* the network gives dx/dz; its f_z is not trained and taken as 1 */
    enum efm_precision precision;
};

/* `net` is shared (referenced); parameters [efm_net_size] are borrowed for the call. EFM_E_ARGUMENT unless 0 < lowest <
 * L / 2, EFM_E_NUMERIC for parameters that are not finite, EFM_E_UNSUPPORTED for a precision that does not run here, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_learned_field_create(struct efm_field **field, struct efm_net *net,
                                                        const float *parameters,
                                                        const struct efm_learned_options *options,
                                                        struct efm_error *error);

/* The options it was made with (precision resolved) and its net, borrowed; NULL for a field of another kind. */
const struct efm_learned_options *efm_learned_field_options(const struct efm_field *field);
struct efm_net *efm_learned_field_net(const struct efm_field *field);

/* Held by the field; and by each workspace for `capacity` points and `threads` threads besides, for admission (0 for
 * a field of another kind, SIZE_MAX on overflow). */
size_t efm_learned_field_bytes(const struct efm_field *field);
size_t efm_learned_field_run_bytes(const struct efm_field *field, size_t capacity, size_t threads);

#endif
