/* model_internal.h - the model itself and what its files share. Not for other rooms.
 *
 * An arch is a row of a table in model.c: how its part of a file is read and written. */
#ifndef EFM_MODEL_MODEL_INTERNAL_H
#define EFM_MODEL_MODEL_INTERNAL_H

#include "core/model/model.h"
#include "core/model/safetensors.h"

#include <stdatomic.h>

struct efm_model_arch;

/* What a model has when its field is a network: the numbers as its file holds them. */
struct efm_learned_part {
    struct efm_learned_spec spec; /* precision resolved; its words are borrowed from the model */
    char target[33];
    char *record;     /* owned; NULL: none */
    uint8_t *weights; /* owned, in the order of the net's table; F32, or BF16 with spec.bf16 */
};

struct efm_model {
    atomic_size_t references;
    const struct efm_model_arch *arch;
    struct efm_shape shape;
    enum efm_map map;
    double gamma;
    struct efm_domain domains[2];     /* by enum efm_plate_side */
    struct efm_field *field;          /* owned */
    enum efm_precision precision;     /* asked for, should the field be a network */
    struct efm_learned_part *learned; /* owned; NULL for an exact model */
    char sha256[65];
    void (*gone)(void *context); /* called when all of this is freed; NULL: nobody */
    void *gone_context;
};

struct efm_model_arch {
    const char *name;
    /* Fills everything of a zeroed model but arch, references, precision and sha256. What was made stays in the model
     * on failure. */
    enum efm_status (*load)(struct efm_model *model, const struct efm_safetensors *file, size_t max_bytes,
                            struct efm_error *error);
    /* Appends the file, or its header alone. */
    enum efm_status (*save)(const struct efm_model *model, bool header_only, struct efm_buffer *out,
                            struct efm_error *error);
    size_t (*bytes)(const struct efm_model *model);
    void (*release)(struct efm_model *model); /* of what is not in all models; may be NULL */
    bool foreign; /* files of other programs are read too, and bear no efmd_version */
};

extern const struct efm_model_arch efm_exact_arch;
extern const struct efm_model_arch efm_unet_arch;
extern const struct efm_model_arch efm_mlp_arch;

/* A zeroed model of one reference. */
EFM_MUST_CHECK enum efm_status efm_model_allocate(struct efm_model **model, const struct efm_model_arch *arch,
                                                  struct efm_error *error);

/* Names the model by the bytes that saving it gives; `file` are bytes it may have come from, or NULL. */
EFM_MUST_CHECK enum efm_status efm_model_name(struct efm_model *model, const uint8_t *file, size_t size,
                                              struct efm_error *error);

/* The first part of efm_safetensors_write: length and JSON. */
EFM_MUST_CHECK enum efm_status efm_safetensors_write_header(struct efm_buffer *out,
                                                            const struct efm_tensor_entry *tensors,
                                                            size_t tensor_count,
                                                            const struct efm_metadata_entry *metadata,
                                                            size_t metadata_count, struct efm_error *error);

/* ---- learned_model.c, learned_file.c ---- */

EFM_MUST_CHECK enum efm_status efm_learned_spec_check(const struct efm_learned_spec *spec,
                                                      struct efm_error *error);
/* Makes a model of a good spec whose domains are set; `parameters` are rounded to what the file holds. */
EFM_MUST_CHECK enum efm_status efm_learned_model_fill(struct efm_model *model,
                                                      const struct efm_learned_spec *spec,
                                                      struct efm_net *net, float *parameters,
                                                      struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_learned_model_load(struct efm_model *model,
                                                      const struct efm_safetensors *file, size_t max_bytes,
                                                      struct efm_error *error);

/* ---- metadata.c ---- */

/* Of L and gamma: far past it floats of [-1, 1] do not tell a plate. */
#define EFM_MODEL_MAX_NUMBER 1e6

enum { EFM_SHAPE_TEXT = 48 };

EFM_MUST_CHECK enum efm_status efm_model_check_numbers(double length, double gamma, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_domain_set_name(struct efm_domain *domain, const char *name,
                                                   struct efm_error *error);

/* The value of a key, or of `fallback` (a text like those of files) where the file has none; NULL: it must have one.
 * EFM_E_FORMAT with the key, EFM_E_UNSUPPORTED for words that are not known. */
EFM_MUST_CHECK enum efm_status efm_metadata_text(const struct efm_safetensors *file, const char *key,
                                                 const char *fallback, const char **text,
                                                 struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_number(const struct efm_safetensors *file, const char *key,
                                                   const char *fallback, double *number,
                                                   struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_truth(const struct efm_safetensors *file, const char *key,
                                                  const char *fallback, bool *truth, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_integer(const struct efm_safetensors *file, const char *key,
                                                    const char *fallback, uint32_t *out,
                                                    struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_integers(const struct efm_safetensors *file, const char *key,
                                                     const char *fallback, uint32_t *out, size_t capacity,
                                                     size_t *count, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_shape(const struct efm_safetensors *file, struct efm_shape *shape,
                                                  struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_kind(const struct efm_safetensors *file, const char *fallback,
                                                 enum efm_field_kind *kind, struct efm_error *error);
EFM_MUST_CHECK enum efm_status efm_metadata_map(const struct efm_safetensors *file, const char *fallback,
                                                enum efm_map *map, struct efm_error *error);
/* Names and whether they are N(0, I); fallbacks [2] are names, and then the latter falls back to false. */
EFM_MUST_CHECK enum efm_status efm_metadata_domains(const struct efm_safetensors *file,
                                                    const char *const *fallbacks,
                                                    struct efm_domain domains[2], struct efm_error *error);
void efm_metadata_render_shape(const struct efm_shape *shape, char out[EFM_SHAPE_TEXT]);

/* Text from outside, made fit for a message: printable, at most 80 bytes. */
struct efm_shown_text {
    char text[84];
};
struct efm_shown_text efm_show_text(const char *text);

#endif
