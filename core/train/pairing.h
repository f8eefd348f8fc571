/* pairing.h - which charge of the target a charge of the source is paired with: one to one, nearest in all.
 *
 * The points of a step lie between the charges of a pair. Random pairs cross each other: half-way between two colours is
 * grey, and what a line keeps on its way is left to the field. Pairs of least sum of squared distances (minibatch optimal
 * transport) do not cross, so points lie where lines run, and colour survives because it is most of the distance.
 *
 *     size_t bytes = efm_pairing_bytes(count);
 *     efm_pairing_match(source, target, count, dimension, partner, space, team);
 *
 * The work grows with the cube of the count: 1,024 pairs of images take some 50 ms.
 * Threads: pure functions; a `space` is one call's. */
#ifndef EFM_TRAIN_PAIRING_H
#define EFM_TRAIN_PAIRING_H

#include "core/base/status.h"
#include "core/base/team.h"

#include <stddef.h>
#include <stdint.h>

/* Working space for `count` pairs, in bytes; SIZE_MAX on overflow. */
size_t efm_pairing_bytes(size_t count);

/* partner[i]: the charge of `target` for charge i of `source`, both [count, dimension], so that the sum of |p - q|^2 is
 * least, up to the rounding of p q to floats. Each charge has one partner whatever the numbers are; where they are not
 * finite or their squares pass 1e30, charge i has charge i. `space` has efm_pairing_bytes(count), aligned for floats.
 * The result does not depend on the team. */
void efm_pairing_match(const float *source, const float *target, size_t count, size_t dimension,
                       uint32_t *partner, void *space, struct efm_team *team);

/* The assignment of least sum of costs alone, of any sign: cost [count, count], row i column j. `space` as above. */
void efm_pairing_assign(const float *cost, size_t count, uint32_t *partner, void *space);

#endif
