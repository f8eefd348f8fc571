/* field.h - the electrostatic field of two charged plates: points in, directions out.
 *
 * A field lives on augmented points (x, z), x in R^D and z beside it. The source plate stands at z = 0 and is
 * positive, the target plate at z = L and is negative. A field is immutable and shared; every evaluating
 * thread brings its own workspace, so an evaluation allocates nothing.
 *
 *     struct efm_field_workspace *workspace;
 *     efm_field_workspace_create(&workspace, field, 64, NULL, &error);
 *     struct efm_field_values values = {.x = direction, .z = direction_z, .log_norm = log_norm};
 *     efm_field_evaluate(field, workspace, points, heights, 64, &values);
 *
 * The value of a point depends on that point alone: the same bytes come out when it is evaluated alone,
 * in a full batch, in any place of the batch and by any number of threads.
 *
 * Formulas: A. Kolesov, S. Manukhov, V. Palyulin, A. Korotin, "Field Matching: an Electrostatic Paradigm to
 * Generate and Transfer Data", ICML 2025; the chain of capacitors after the follow-up on interaction fields.
 */
#ifndef EFM_FIELD_FIELD_H
#define EFM_FIELD_FIELD_H

#include "core/base/status.h"
#include "core/base/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* symbol, word in requests and files, what it is. The first ones are those that charges make. */
#define EFM_EXACT_KIND_MAP(X)                                                                                \
    X(EFM_FIELD_SUPERPOSITION, "superposition",                                                              \
      "E of one capacitor: the sum over all charges of both plates")                                         \
    X(EFM_FIELD_PER_PLATE, "per_plate", "the difference of the two plates' normalised mean offsets")         \
    X(EFM_FIELD_CHAIN, "chain", "E of an endless chain of capacitors, +P at 2mL and -Q at (2m+1)L")
#define EFM_FIELD_KIND_MAP(X)                                                                                \
    EFM_EXACT_KIND_MAP(X)                                                                                    \
    X(EFM_FIELD_FLOW_MATCHING, "flow_matching",                                                              \
      "the mean velocity of straight lines between random pairs; learned only")

enum efm_field_kind {
#define EFM_FIELD_KIND_ENUM(symbol, word, meaning) symbol,
    EFM_FIELD_KIND_MAP(EFM_FIELD_KIND_ENUM)
#undef EFM_FIELD_KIND_ENUM
};

/* The word of a kind, borrowed for ever; and back: EFM_E_NOT_FOUND for other words. */
const char *efm_field_kind_name(enum efm_field_kind kind);
EFM_MUST_CHECK enum efm_status efm_field_kind_parse(const char *word, enum efm_field_kind *kind);

enum efm_plate_side { EFM_SOURCE = 0, EFM_TARGET = 1 };

struct efm_field;
struct efm_field_workspace;

/* Where the results go; every array is the caller's. */
struct efm_field_values {
    float *x;         /* [n, D] lateral part of the unit direction of E */
    double *z;        /* [n] its last component */
    double *log_norm; /* [n] ln |E|, with plate averages and without the factor 1/S_D; for per_plate the
                         ln of the length of the target vector. -inf where the field is exactly zero. */
    double *nearest;  /* [n, 2] lateral distance |x - charge| to the nearest charge of source and target,
                         infinity when the field has no charges; NULL when not wanted */
};

/* Whether its directions come from a network: it has no charges, and is known between its resolutions alone. */
bool efm_field_is_learned(const struct efm_field *field);

size_t efm_field_dimension(const struct efm_field *field); /* D */
double efm_field_length(const struct efm_field *field);    /* L, the distance of the plates */
enum efm_field_kind efm_field_kind(const struct efm_field *field);

/* The height under which a plate stops being a smooth density: for charges the median over them of the
 * distance to the nearest neighbour / sqrt(D + 1); for a learned field the height it was trained down to. */
double efm_field_resolution(const struct efm_field *field, enum efm_plate_side side);

/* Working space for up to `capacity` points at once (at least 1). `team` (borrowed for the life of the
 * workspace, may be NULL) spreads an evaluation over threads. One thread at a time per workspace. EFM_E_MEMORY,
 * EFM_E_LIMIT, and what making a run of a network may say. */
EFM_MUST_CHECK enum efm_status efm_field_workspace_create(struct efm_field_workspace **workspace,
                                                          const struct efm_field *field, size_t capacity,
                                                          struct efm_team *team, struct efm_error *error);
void efm_field_workspace_destroy(struct efm_field_workspace *workspace);
size_t efm_field_workspace_capacity(const struct efm_field_workspace *workspace);
size_t efm_field_workspace_bytes(const struct efm_field_workspace *workspace); /* held in memory */

/* Evaluates the field at `count` <= capacity points: x [count, D] row-major and z [count], borrowed for the
 * call. Points must be finite; what a point that is not finite gives is not defined, but it harms no other.
 * Allocates nothing and cannot fail. */
void efm_field_evaluate(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                        const double *z, size_t count, const struct efm_field_values *values);

void efm_field_destroy(struct efm_field *field);

/* ---- the exact field of two sets of charges ---- */

enum efm_exact_path {
    EFM_EXACT_AUTO,  /* LOW for D <= EFM_EXACT_LOW_DIMENSION, else BLAS */
    EFM_EXACT_PLAIN, /* every charge, in double, by explicit differences: slow, the twin of the others */
    EFM_EXACT_BLAS,  /* distances by matrix products, nearest charges by explicit differences */
    EFM_EXACT_LOW,   /* few dimensions: vectorised over the charges */
};

enum { EFM_EXACT_LOW_DIMENSION = 8 };

struct efm_exact_options {
    enum efm_field_kind kind;
    enum efm_exact_path path;
    double length;       /* L > 0 */
    double gamma;        /* per_plate: softens the normalisation; published 5 for images, 1e-7 for toys */
    uint32_t chain_rows; /* chain: rows k = -rows .. rows + 1; 0: as many as the point needs (D = 1: all) */
};

/* A field of `source` [source_count, D] and `target` [target_count, D], both borrowed for the call and
 * copied. EFM_E_ARGUMENT for empty plates, L <= 0 or a kind that charges do not make, EFM_E_NUMERIC for values that are not finite,
 * EFM_E_LIMIT, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_exact_field_create(struct efm_field **field, const float *source,
                                                      size_t source_count, const float *target,
                                                      size_t target_count, size_t dimension,
                                                      const struct efm_exact_options *options,
                                                      struct efm_error *error);

/* A field whose charges change, as in training: charges of 0 at first. Write to both arrays [count, D], then update,
 * and it is the field that efm_exact_field_create makes of them, with a resolution of L / 1000. The charges must be
 * finite. No thread may evaluate meanwhile; workspaces stay valid. Neither call allocates. */
EFM_MUST_CHECK enum efm_status efm_exact_field_create_empty(struct efm_field **field, size_t source_count,
                                                            size_t target_count, size_t dimension,
                                                            const struct efm_exact_options *options,
                                                            struct efm_error *error);
float *efm_exact_field_charges(struct efm_field *field,
                               enum efm_plate_side side); /* of an exact field only */
void efm_exact_field_update(struct efm_field *field, struct efm_team *team);

/* The charges of a plate [*count, D], borrowed from the field; NULL and 0 for a field without charges. */
const float *efm_field_charges(const struct efm_field *field, enum efm_plate_side side, size_t *count);

/* The bytes that a field of this size will hold, for admission; SIZE_MAX when that overflows. */
size_t efm_exact_field_bytes(size_t source_count, size_t target_count, size_t dimension);

#endif
