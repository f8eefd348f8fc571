// SPDX-License-Identifier: Apache-2.0
/* Checkpoints: a training as it stands, so that it can go on bit for bit. What is restored comes from outside and is
 * checked as a whole before anything is changed. */
#include "core/train/trainer_internal.h"

#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/model/safetensors.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND "efmd_checkpoint"
#define VERSION "1"

enum {
    MAX_TEXT = 16384,
    DIGEST_FLOATS = 1 << 18, /* of a piece of the samples that is hashed by one thread */
    STATE_BYTES = 1 << 20,   /* of a piece of a tensor, likewise */
    TENSORS = 4,
};

static const char *const tensor_names[TENSORS] = {"parameters", "first", "second", "average"};
static const char *const digest_keys[2] = {"source_sha256", "target_sha256"}; /* by enum efm_plate_side */

/* ---- the name of the data ---- */

struct digest {
    const struct efm_dataset *dataset;
    size_t dimension, count, piece; /* samples of a piece */
    float *floats;                  /* [threads, piece, dimension] */
    char (*names)[65];              /* of the pieces */
};

static void digest_piece(void *context, size_t index, size_t slot)
{
    const struct digest *digest = context;
    size_t first = index * digest->piece, left = digest->count - first;
    size_t count = left < digest->piece ? left : digest->piece;
    float *floats = digest->floats + slot * digest->piece * digest->dimension;
    /* the range is that of the dataset, so this cannot fail; were it to, the name would be that of no data */
    if (efm_dataset_floats(digest->dataset, first, count, floats, NULL) == EFM_OK)
        efm_sha256_hex(floats, count * digest->dimension * sizeof *floats, digest->names[index]);
}

/* The name is made of those of fixed pieces, so that threads share the work and the samples need no copy. */
enum efm_status efm_trainer_digest(const struct efm_dataset *dataset, struct efm_team *team, char hex[65],
                                   struct efm_error *error)
{
    const struct efm_shape *shape = efm_dataset_shape(dataset);
    struct digest digest = {
        .dataset = dataset, .dimension = shape->dimension, .count = efm_dataset_count(dataset)};
    struct efm_buffer all = efm_buffer_limited(SIZE_MAX);
    size_t floats = 0;
    digest.piece = DIGEST_FLOATS / digest.dimension;
    digest.piece = digest.piece < 1 ? 1 : digest.piece > digest.count ? digest.count : digest.piece;
    size_t pieces = digest.count / digest.piece + (digest.count % digest.piece != 0);
    if (efm_size_multiply(digest.piece, digest.dimension, &floats) &&
        efm_size_multiply(floats, efm_team_size(team), &floats))
        digest.floats = efm_allocate_array(floats, sizeof *digest.floats);
    digest.names = efm_allocate_array(pieces, sizeof *digest.names);
    efm_buffer_format(&all, "%zu %u %u %u %zu", digest.count, shape->height, shape->width, shape->channels,
                      shape->dimension);
    enum efm_status status = EFM_OK;
    if (digest.floats == NULL || digest.names == NULL || all.status != EFM_OK) {
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to name the samples of a training");
        goto done;
    }
    efm_team_run(team, pieces, digest_piece, &digest);
    if (efm_buffer_append(&all, digest.names, pieces * sizeof *digest.names) != EFM_OK)
        status = efm_error_set(error, EFM_E_MEMORY, "no memory to name the samples of a training");
    else
        efm_sha256_hex(all.data, all.size, hex);
done:
    efm_buffer_release(&all);
    efm_free(digest.names);
    efm_free(digest.floats);
    return status;
}

/* ---- the name of the state ---- */

/* Tensors as they lie in the file, unaligned, and what stands beside them. */
struct state {
    const uint8_t *tensors[TENSORS];
    size_t size; /* bytes of each */
    const char *step, *loss;
};

struct state_pieces {
    const struct state *state;
    size_t count;      /* of a tensor */
    char (*names)[65]; /* [TENSORS, count] */
};

static void name_piece(void *context, size_t index, size_t slot)
{
    const struct state_pieces *pieces = context;
    const struct state *state = pieces->state;
    size_t first = index % pieces->count * STATE_BYTES, left = state->size - first;
    (void)slot;
    efm_sha256_hex(state->tensors[index / pieces->count] + first, left < STATE_BYTES ? left : STATE_BYTES,
                   pieces->names[index]);
}

/* What a disk or a cable may change unseen: a flipped bit in the numbers would train on as if nothing were. */
static enum efm_status name_state(const struct state *state, struct efm_team *team, char hex[65],
                                  struct efm_error *error)
{
    struct efm_buffer all = efm_buffer_limited(SIZE_MAX);
    struct state_pieces pieces = {state, state->size / STATE_BYTES + (state->size % STATE_BYTES != 0), NULL};
    size_t count = TENSORS * pieces.count;
    pieces.names = efm_allocate_array(count, sizeof *pieces.names);
    efm_buffer_format(&all, "%s %s", state->step, state->loss);
    if (pieces.names != NULL) {
        efm_team_run(team, count, name_piece, &pieces);
        efm_buffer_append(&all, pieces.names, count * sizeof *pieces.names);
    }
    bool good = pieces.names != NULL && all.status == EFM_OK;
    if (good)
        efm_sha256_hex(all.data, all.size, hex);
    efm_free(pieces.names);
    efm_buffer_release(&all);
    return good ? EFM_OK : efm_error_set(error, EFM_E_MEMORY, "no memory to name the state of a training");
}

/* ---- save ---- */

static void state_arrays(const struct efm_trainer *trainer, float *arrays[TENSORS])
{
    const struct efm_optimiser_state *state = efm_optimiser_state(trainer->optimiser);
    arrays[0] = trainer->parameters;
    arrays[1] = state->first;
    arrays[2] = state->second;
    arrays[3] = state->average;
}

static enum efm_status make_text(const struct efm_trainer *trainer, struct efm_buffer *text,
                                 struct efm_error *error)
{
    *text = efm_buffer_limited(MAX_TEXT);
    efm_trainer_spec_text(&trainer->spec, efm_net_config(trainer->net), text);
    if (text->status != EFM_OK)
        return efm_error_set(error, text->status, "no memory for the text of a spec");
    return EFM_OK;
}

static const char *precision_word(const struct efm_trainer *trainer)
{
    return efm_precision_name(efm_net_weights_precision(trainer->weights));
}

enum efm_status efm_trainer_save(const struct efm_trainer *trainer, struct efm_buffer *out,
                                 struct efm_error *error)
{
    size_t size = efm_net_size(trainer->net);
    float *arrays[TENSORS];
    struct efm_tensor_entry tensors[TENSORS];
    struct efm_buffer text;
    char step[24], loss[32], name[65];
    struct state state = {.size = size * sizeof(float), .step = step, .loss = loss};
    enum efm_status status = make_text(trainer, &text, error);
    if (status != EFM_OK)
        goto done;
    snprintf(step, sizeof step, "%llu", (unsigned long long)efm_trainer_step_count(trainer));
    snprintf(loss, sizeof loss, "%.17g", trainer->loss);
    state_arrays(trainer, arrays);
    for (size_t i = 0; i < TENSORS; i++) {
        state.tensors[i] = (const uint8_t *)arrays[i];
        tensors[i] = (struct efm_tensor_entry){.name = tensor_names[i],
                                               .type = EFM_TENSOR_F32,
                                               .rank = 1,
                                               .shape = {size},
                                               .count = size,
                                               .data = state.tensors[i],
                                               .size = state.size};
    }
    status = name_state(&state, trainer->team, name, error);
    if (status != EFM_OK)
        goto done;
    const struct efm_metadata_entry metadata[] = {
        {"kind", KIND},
        {"version", VERSION},
        {"step", step},
        {"loss", loss},
        {"state_sha256", name},
        {"spec", (const char *)text.data},
        {"precision", precision_word(trainer)},
        {digest_keys[EFM_SOURCE], trainer->digests[EFM_SOURCE]},
        {digest_keys[EFM_TARGET], trainer->digests[EFM_TARGET]},
    };
    status =
        efm_safetensors_write(out, tensors, TENSORS, metadata, sizeof metadata / sizeof metadata[0], error);
done:
    efm_buffer_release(&text);
    return status;
}

/* ---- restore ---- */

/* A line of text from outside, made fit for a message. */
struct shown_line {
    char text[84];
};

static struct shown_line show_line(const char *line)
{
    struct shown_line shown = {{0}};
    size_t length = strcspn(line, "\n");
    for (size_t i = 0; i < length && i < 80; i++)
        shown.text[i] = line[i] >= ' ' && line[i] <= '~' ? line[i] : '?';
    return shown;
}

static enum efm_status read_text(const struct efm_safetensors *file, const char *key, const char **text,
                                 struct efm_error *error)
{
    *text = efm_safetensors_metadata(file, key);
    if (*text == NULL)
        return efm_error_set(error, EFM_E_FORMAT, "the checkpoint has no \"%s\"", key);
    return EFM_OK;
}

static enum efm_status check_kind(const struct efm_safetensors *file, struct efm_error *error)
{
    const char *kind = efm_safetensors_metadata(file, "kind"), *version;
    if (kind == NULL || strcmp(kind, KIND) != 0)
        return efm_error_set(error, EFM_E_FORMAT, "the file is not a checkpoint of a training");
    enum efm_status status = read_text(file, "version", &version, error);
    if (status == EFM_OK && strcmp(version, VERSION) != 0)
        status = efm_error_set(error, EFM_E_UNSUPPORTED, "checkpoints of version '%s' are not read",
                               show_line(version).text);
    return status;
}

/* Names the first line in which two texts differ. */
static enum efm_status check_spec(const struct efm_trainer *trainer, const char *theirs,
                                  struct efm_error *error)
{
    struct efm_buffer text;
    enum efm_status status = make_text(trainer, &text, error);
    const char *ours = (const char *)text.data;
    if (status != EFM_OK || strcmp(ours, theirs) == 0)
        goto done;
    while (*ours != '\0' && *theirs != '\0') {
        size_t length = strcspn(ours, "\n");
        if (strncmp(ours, theirs, length + 1) != 0)
            break;
        ours += length + (ours[length] != '\0');
        theirs += length + (theirs[length] != '\0');
    }
    status = efm_error_set(error, EFM_E_ARGUMENT,
                           "the checkpoint is of another training: it has '%s', this one '%s'",
                           show_line(theirs).text, show_line(ours).text);
done:
    efm_buffer_release(&text);
    return status;
}

/* A spec of AUTO takes what the machine does best, which may have changed under the training. */
static enum efm_status check_precision(const struct efm_trainer *trainer, const char *theirs,
                                       struct efm_error *error)
{
    enum efm_precision precision;
    if (efm_precision_parse(theirs, &precision) != EFM_OK || precision == EFM_PRECISION_AUTO)
        return efm_error_set(error, EFM_E_FORMAT, "the precision '%s' of the checkpoint is not known",
                             show_line(theirs).text);
    if (trainer->spec.precision != EFM_PRECISION_AUTO &&
        precision != efm_net_weights_precision(trainer->weights))
        return efm_error_set(error, EFM_E_ARGUMENT,
                             "the checkpoint is of another training: it has precision %s, this one %s",
                             efm_precision_name(precision), precision_word(trainer));
    return EFM_OK;
}

static enum efm_status check_origin(const struct efm_trainer *trainer, const struct efm_safetensors *file,
                                    struct efm_error *error)
{
    const char *text;
    enum efm_status status = check_kind(file, error);
    if (status == EFM_OK)
        status = read_text(file, "spec", &text, error);
    if (status == EFM_OK)
        status = check_spec(trainer, text, error);
    if (status == EFM_OK)
        status = read_text(file, "precision", &text, error);
    if (status == EFM_OK)
        status = check_precision(trainer, text, error);
    for (int side = EFM_SOURCE; side <= EFM_TARGET && status == EFM_OK; side++) {
        status = read_text(file, digest_keys[side], &text, error);
        if (status == EFM_OK && strcmp(text, trainer->digests[side]) != 0)
            status = efm_error_set(error, EFM_E_ARGUMENT,
                                   "the checkpoint is of another training: the samples of the %s differ",
                                   side == EFM_SOURCE ? "source" : "target");
    }
    return status;
}

static enum efm_status read_progress(const struct efm_safetensors *file, uint64_t *step, double *loss,
                                     struct efm_error *error)
{
    const char *text;
    char *end;
    enum efm_status status = read_text(file, "step", &text, error);
    if (status != EFM_OK)
        return status;
    size_t digits = strspn(text, "0123456789");
    *step = digits > 0 && digits <= 10 ? strtoull(text, NULL, 10) : UINT64_MAX;
    if (text[digits] != '\0' || *step > EFM_TRAINER_MAX_STEPS)
        return efm_error_set(error, EFM_E_FORMAT, "the step '%s' of the checkpoint is none",
                             show_line(text).text);
    status = read_text(file, "loss", &text, error);
    if (status != EFM_OK)
        return status;
    *loss = strtod(text, &end);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || !isfinite(*loss))
        return efm_error_set(error, EFM_E_FORMAT, "the loss '%s' of the checkpoint is none",
                             show_line(text).text);
    return EFM_OK;
}

/* Whether all floats are finite, and not negative where they cannot be: by their bits, for they lie unaligned. */
static bool are_sound(const struct efm_tensor_entry *entry, bool signs)
{
    uint32_t bad = 0, mask = signs ? 0x7fffffff : 0xffffffff;
    for (size_t i = 0; i < entry->count; i++) {
        uint32_t bits;
        memcpy(&bits, entry->data + i * sizeof bits, sizeof bits);
        bad |= (bits & mask) >= 0x7f800000;
    }
    return bad == 0;
}

static enum efm_status check_tensors(const struct efm_trainer *trainer, const struct efm_safetensors *file,
                                     const struct efm_tensor_entry *tensors[TENSORS], struct efm_error *error)
{
    size_t size = efm_net_size(trainer->net);
    if (efm_safetensors_count(file) != TENSORS)
        return efm_error_set(error, EFM_E_FORMAT, "the checkpoint has %zu tensors, not %d",
                             efm_safetensors_count(file), TENSORS);
    for (size_t i = 0; i < TENSORS; i++) {
        const struct efm_tensor_entry *entry = efm_safetensors_find(file, tensor_names[i]);
        tensors[i] = entry;
        if (entry == NULL)
            return efm_error_set(error, EFM_E_FORMAT, "the checkpoint has no tensor '%s'", tensor_names[i]);
        if (entry->type != EFM_TENSOR_F32 || entry->rank != 1 || entry->count != size)
            return efm_error_set(error, EFM_E_FORMAT, "the tensor '%s' of the checkpoint is not F32 of %zu",
                                 tensor_names[i], size);
        bool signs = i != 2; /* the second moment is a mean of squares */
        if (!are_sound(entry, signs))
            return efm_error_set(error, EFM_E_NUMERIC,
                                 "the tensor '%s' of the checkpoint has values that are not finite%s",
                                 tensor_names[i], signs ? "" : " or negative");
    }
    return EFM_OK;
}

/* After all else: what can be told about a file in words is told, and the rest is damage. */
static enum efm_status check_state(const struct efm_trainer *trainer, const struct efm_safetensors *file,
                                   const struct efm_tensor_entry *const tensors[TENSORS],
                                   struct efm_error *error)
{
    struct state state = {.size = tensors[0]->size,
                          .step = efm_safetensors_metadata(file, "step"),
                          .loss = efm_safetensors_metadata(file, "loss")};
    const char *theirs;
    char ours[65];
    for (size_t i = 0; i < TENSORS; i++)
        state.tensors[i] = tensors[i]->data;
    enum efm_status status = read_text(file, "state_sha256", &theirs, error);
    if (status == EFM_OK)
        status = name_state(&state, trainer->team, ours, error);
    if (status == EFM_OK && strcmp(ours, theirs) != 0)
        status = efm_error_set(error, EFM_E_FORMAT,
                               "the numbers of the checkpoint are not those that were saved: it is damaged");
    return status;
}

enum efm_status efm_trainer_restore(struct efm_trainer *trainer, const uint8_t *bytes, size_t size,
                                    struct efm_error *error)
{
    struct efm_safetensors *file = NULL;
    const struct efm_tensor_entry *tensors[TENSORS];
    float *arrays[TENSORS];
    uint64_t step = 0;
    double loss = 0;
    enum efm_status status = efm_safetensors_open(&file, bytes, size, error);
    if (status == EFM_OK)
        status = check_origin(trainer, file, error);
    if (status == EFM_OK)
        status = read_progress(file, &step, &loss, error);
    if (status == EFM_OK)
        status = check_tensors(trainer, file, tensors, error);
    if (status == EFM_OK)
        status = check_state(trainer, file, tensors, error);
    if (status != EFM_OK)
        goto done;
    state_arrays(trainer, arrays);
    for (size_t i = 0; i < TENSORS; i++)
        memcpy(arrays[i], tensors[i]->data, tensors[i]->size);
    efm_optimiser_state(trainer->optimiser)->step = step;
    trainer->loss = loss;
done:
    efm_safetensors_close(file);
    return status;
}
