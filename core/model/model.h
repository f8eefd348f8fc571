/* model.h - a model in memory: a field, what its samples are, and where it came from.
 *
 * A model is immutable, shared by reference count and held by every request that uses it, so it can be
 * replaced or deleted under load: the last one out frees it. Its file is safetensors; the metadata holds
 * everything but the numbers. An exact model stores its plates: tensors "source" and "target". A learned one stores
 * the parameters of its network under the published names; a checkpoint of the published code, saved by state_dict with
 * the metadata arch, nf, ch_mult, num_res_blocks, attn_resolutions, image_size and num_channels, is such a file too.
 *
 *     efm_model_create_exact(&model, &spec, source, target, &error);
 *     efm_model_save(model, &out, &error);        the bytes of NAME.safetensors
 *     efm_model_load(&again, out.data, out.size, SIZE_MAX, &error);
 *     efm_model_unref(model);
 *
 * Threads: any.
 */
#ifndef EFM_MODEL_MODEL_H
#define EFM_MODEL_MODEL_H

#include "core/base/buffer.h"
#include "core/base/shape.h"
#include "core/data/dataset.h"
#include "core/field/field.h"
#include "core/flow/flow.h"
#include "core/net/net.h"

struct efm_model;

/* What a plate holds besides its charges. */
struct efm_domain {
    char name[65];        /* of the dataset, shown to users; 1 to 64 printable ASCII characters */
    bool standard_normal; /* N(0, I): /generate draws fresh points on it */
};

struct efm_exact_spec {
    enum efm_field_kind kind; /* chain for map chain */
    enum efm_map map;         /* default map of requests */
    double length;            /* L; 0: chosen from the data, see efm_model_default_length */
    double gamma;             /* per_plate; 0: 5 for images, 1e-7 for vectors */
    size_t max_charges;       /* a plate; 0: all. The first ones are taken. */
};

/* An exact model of two datasets of one shape (EFM_E_SHAPE otherwise), borrowed for the call. */
EFM_MUST_CHECK enum efm_status
efm_model_create_exact(struct efm_model **model, const struct efm_exact_spec *spec,
                       const struct efm_dataset *source, const char *source_name,
                       const struct efm_dataset *target, const char *target_name, struct efm_error *error);

/* What a learned model is made of; see core/field/learned.h. */
struct efm_learned_spec {
    enum efm_map map; /* forward, or chain for a velocity of the chain */
    enum efm_field_kind kind;
    double length, lowest, gamma;
    bool velocity;
    const char
        *target; /* word of what it was trained on: "per_plate", "flow_matching", ...; 1 to 32 of a-z 0-9 _ */
    bool bf16;   /* its file stores weights as bfloat16; they are rounded when the model is made */
    enum efm_precision precision; /* that it runs in */
    const char *names[2];         /* of the domains, by enum efm_plate_side */
    bool standard_normal[2];
    const char *record; /* a JSON object about the training, kept in the file; NULL: none. At most 64 KiB. */
};

/* `net` is shared (referenced), parameters [efm_net_size] are borrowed for the call. Its arch is that of the net: "unet"
 * or "mlp". EFM_E_ARGUMENT for a spec that does not fit together, EFM_E_NUMERIC for parameters that are not finite,
 * EFM_E_UNSUPPORTED for a precision that does not run here, EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_model_create_learned(struct efm_model **model,
                                                        const struct efm_learned_spec *spec,
                                                        struct efm_net *net, const float *parameters,
                                                        struct efm_error *error);

/* The distance that plates of these samples are given when none is asked for: 10 for images, whose numbers lie in [-1, 1]
 * (the chain keeps colours best there, see docs/measurements.md), else 4 times the deviation of a coordinate over both plates. */
EFM_MUST_CHECK enum efm_status efm_model_default_length(const struct efm_dataset *source,
                                                        const struct efm_dataset *target, double *length,
                                                        struct efm_error *error);

/* From the bytes of a safetensors file, borrowed for the call. EFM_E_FORMAT for anything wrong with the
 * container, EFM_E_UNSUPPORTED for an arch that is not known, EFM_E_NUMERIC for NaN or infinity in a tensor,
 * EFM_E_LIMIT past max_bytes (of memory it would take), EFM_E_MEMORY. */
EFM_MUST_CHECK enum efm_status efm_model_load(struct efm_model **model, const uint8_t *bytes, size_t size,
                                              size_t max_bytes, struct efm_error *error);

/* The same with the precision that a network runs in; efm_model_load takes what this processor does best.
 * EFM_E_UNSUPPORTED for one that it cannot do. Changes nothing of an exact model. */
EFM_MUST_CHECK enum efm_status efm_model_load_as(struct efm_model **model, const uint8_t *bytes, size_t size,
                                                 size_t max_bytes, enum efm_precision precision,
                                                 struct efm_error *error);

/* Appends the file to `out`. Loading it gives a model of equal results and equal file bytes. */
EFM_MUST_CHECK enum efm_status efm_model_save(const struct efm_model *model, struct efm_buffer *out,
                                              struct efm_error *error);

struct efm_model *efm_model_ref(struct efm_model *model);
void efm_model_unref(struct efm_model *model);

/* How many references there are at this moment: 1 means that nobody else has one. */
size_t efm_model_references(const struct efm_model *model);

/* Calls gone(context) once the last reference has been given back and the memory is free, on the thread that gave it back.
 * One for a model, set before it is shared. */
void efm_model_when_gone(struct efm_model *model, void (*gone)(void *context), void *context);

const struct efm_field *efm_model_field(const struct efm_model *model);
const struct efm_shape *efm_model_shape(const struct efm_model *model);
const char *efm_model_arch(const struct efm_model *model); /* "exact", "unet" or "mlp" */
/* What a learned model was made with, precision resolved, borrowed from it; NULL for an exact one. Its net is
 * efm_learned_field_net(efm_model_field(model)). */
const struct efm_learned_spec *efm_model_learned(const struct efm_model *model);
const struct efm_domain *efm_model_domain(const struct efm_model *model, enum efm_plate_side side);
size_t efm_model_bytes(const struct efm_model *model);       /* held in memory, working space aside */
const char *efm_model_sha256(const struct efm_model *model); /* of its file, 64 hex digits */
double efm_model_gamma(const struct efm_model *model);

/* The options that a request starts from: the model's map and what serves its field best. */
void efm_model_flow_options(const struct efm_model *model, struct efm_flow_options *options);

#endif
