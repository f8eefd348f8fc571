/* field_internal.h - how fields are built inside: the class of a field, plates of charges, row sums. */
#ifndef EFM_FIELD_INTERNAL_H
#define EFM_FIELD_INTERNAL_H

#include "core/base/memory.h"
#include "core/field/field.h"

#include <math.h>
#include <stdbool.h>

/* Run-time dispatch over instruction sets; a sanitizer is not ready yet when ifunc resolvers run. */
#if defined(__x86_64__) && !defined(EFM_NO_CLONES)
#define EFM_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EFM_CLONES
#endif

/* What differs between exact and learned fields. */
struct efm_field_class {
    /* Adds to `plan` what a workspace for `capacity` points and `slots` threads needs; false on overflow. */
    bool (*measure)(const struct efm_field *field, size_t capacity, size_t slots, struct efm_arena *plan);
    /* Takes the same pieces from workspace->arena and keeps them in workspace->parts. */
    void (*lay_out)(struct efm_field_workspace *workspace);
    void (*evaluate)(const struct efm_field *field, struct efm_field_workspace *workspace, const float *x,
                     const double *z, size_t count, const struct efm_field_values *values);
    void (*destroy)(struct efm_field *field);
    /* What a workspace needs besides its arena: `open` may fail, leaving nothing behind; both may be NULL. */
    enum efm_status (*open)(struct efm_field_workspace *workspace, struct efm_error *error);
    void (*close)(struct efm_field_workspace *workspace);
    bool learned; /* see efm_field_is_learned */
};

struct efm_field {
    const struct efm_field_class *class;
    enum efm_field_kind kind;
    size_t dimension;
    double length;
    double resolution[2];
};

enum { EFM_WORKSPACE_PARTS = 12 };

struct efm_field_workspace {
    const struct efm_field *field; /* borrowed */
    struct efm_team *team;         /* borrowed, may be NULL */
    size_t capacity;
    struct efm_arena arena;
    void *parts[EFM_WORKSPACE_PARTS]; /* laid out by the class */
};

/* The charges of one plate. What a path does not use is NULL. */
struct efm_plate {
    size_t count;
    float *charges;       /* [count, D] as given */
    float *panels;        /* minus the centre, as products.h wants them */
    double *squared_norm; /* [count] of the centred charges */
    double *norm;         /* [count] its root */
    double *columns;      /* [D, count] for few dimensions */
};

struct efm_exact_field {
    struct efm_field base;
    struct efm_plate plates[2];
    float *centre; /* [D] mean over both plates: keeps |x|^2 + |y|^2 - 2xy from cancelling */
    double gamma;
    uint32_t chain_rows;
};

static inline const struct efm_exact_field *efm_exact_field(const struct efm_field *field)
{
    return (const struct efm_exact_field *)field;
}

/* `destroy` of the three classes of exact fields. */
void efm_exact_field_release(struct efm_field *field);

extern const struct efm_field_class efm_coulomb_plain_class;
extern const struct efm_field_class efm_coulomb_blas_class;
extern const struct efm_field_class efm_coulomb_low_class;

/* ---- rows of equal plates: one row for a capacitor, many for the chain ---- */

/* The heights dz of a plate's rows above a point: dz = offset - m * period for m in [first, last]. */
struct efm_rows {
    double offset, period;
    long first, last;
    long nearest; /* the m of the smallest |dz| */
    bool endless; /* all rows count; far from them the dual series takes over, see efm_rows_sum */
    double dimension;
};

/* Rows of an endless chain at most, where no series sums the far ones: in many dimensions fewer do, in few
 * dimensions the plain path stays at a millionth. */
enum { EFM_CHAIN_ROWS_AUTO = 512 };

struct efm_rows efm_rows_of(const struct efm_exact_field *field, enum efm_plate_side side, double z);

static inline double efm_rows_height(const struct efm_rows *rows, long m)
{
    return rows->offset - (double)m * rows->period;
}

/* Sum over rows of q = exp(-h ln(s2 + dz^2) - top) and of dz q, h = (D + 1) / 2, for a charge at squared
 * lateral distance s2. Rows too faint to change the sum are left out.
 *
 * Beyond s = |r| / sqrt(D + 1) of 1.5 L the heights of an endless chain cancel in the sum of dz q, soon down
 * to nothing, so it comes from the first term of its Fourier series in z instead, which has one sign (n = 2
 * is below e^-33 of it): sum_m dz_m q_m = k / (L (D - 1)) sin(k dz) * 2 sqrt(pi) / Gamma(nu + 1/2) (k /
 * 2r)^nu K_nu(k r), k = pi / L, nu = D/2 - 1; and beyond 3 L the sum of q is that of an even line of charge,
 *     sum_m q_m = sqrt(pi) Gamma(D/2) / Gamma((D+1)/2) r^-D / 2L. */
struct efm_row_sum {
    double q, dz_q;
};
struct efm_row_sum efm_rows_sum(const struct efm_rows *rows, double s2, double h, double top);

/* ---- the end of an evaluation: from sums to unit direction and log norm ---- */

/* One point's field before normalisation: exp(scale) * (x, z). */
struct efm_raw_field {
    const double *x; /* [D] */
    double z;
    double scale;
};
void efm_field_store(const struct efm_raw_field *raw, size_t dimension, size_t index,
                     const struct efm_field_values *values);

/* The per-plate target from the two mean offsets u = (ux, uz), v: sqrt(D+1) [u/(|u|+gamma) - v/(|v|+gamma)]
 * in place of ux. */
double efm_field_blend(double *ux, double uz, const double *vx, double vz, size_t dimension, double gamma);

#endif
