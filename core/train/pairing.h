/* pairing.h - which charge of the target a charge of the source is paired with: one to one, nearest in all.
 *
 * The points of a step lie between the charges of a pair. Random pairs cross each other: half-way between two colours is
 * grey, and what a line keeps on its way is left to the field. Pairs of least sum of squared distances (minibatch optimal
 * transport) do not cross, so points lie where lines run, and colour survives because it is most of the distance.
 * Threads: pure functions. */
#ifndef EFM_TRAIN_PAIRING_H
#define EFM_TRAIN_PAIRING_H

#include "core/base/status.h"
#include "core/base/team.h"

#include <stddef.h>
#include <stdint.h>

/* Working space for `count` pairs, in bytes; SIZE_MAX on overflow. */
size_t efm_pairing_bytes(size_t count);

/* partner[i]: the charge of `target` for charge i of `source`, both [count, dimension]; least sum of |p - q|^2 up to rounding.
 * `space` has efm_pairing_bytes(count), aligned for doubles. The result does not depend on the team. */
void efm_pairing_match(const float *source, const float *target, size_t count, size_t dimension,
                       uint32_t *partner, void *space, struct efm_team *team);

/* The assignment of least cost alone: cost [count, count], row i column j. Destroys nothing. */
void efm_pairing_assign(const float *cost, size_t count, uint32_t *partner, void *space);

#endif
