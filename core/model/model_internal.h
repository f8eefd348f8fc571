/* model_internal.h - the model itself and what its files share. Not for other rooms.
 *
 * An arch is a row of a table in model.c: how its part of a file is read and written. */
#ifndef EFM_MODEL_MODEL_INTERNAL_H
#define EFM_MODEL_MODEL_INTERNAL_H

#include "core/model/model.h"
#include "core/model/safetensors.h"

#include <stdatomic.h>

struct efm_model_arch;

struct efm_model {
    atomic_size_t references;
    const struct efm_model_arch *arch;
    struct efm_shape shape;
    enum efm_map map;
    double gamma;
    struct efm_domain domains[2]; /* by enum efm_plate_side */
    struct efm_field *field;      /* owned */
    char sha256[65];
};

struct efm_model_arch {
    const char *name;
    /* Fills everything of a zeroed model but arch, references and sha256. What was made stays in the model
     * on failure. */
    enum efm_status (*load)(struct efm_model *model, const struct efm_safetensors *file, size_t max_bytes,
                            struct efm_error *error);
    /* Appends the file, or its header alone. */
    enum efm_status (*save)(const struct efm_model *model, bool header_only, struct efm_buffer *out,
                            struct efm_error *error);
    size_t (*bytes)(const struct efm_model *model);
};

extern const struct efm_model_arch efm_exact_arch;

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

/* Text from outside, made fit for a message: printable, at most 80 bytes. */
struct efm_shown_text {
    char text[84];
};
struct efm_shown_text efm_show_text(const char *text);

#endif
