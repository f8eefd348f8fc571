/* train.h - what to train, on what and how: the JSON of `efmd train SPEC.json` and of POST /train.
 *
 *     struct api_train train;
 *     if (api_train_parse(&train, bytes, size, &problem)) ...        what it says by itself is good
 *     api_train_dataset_options(&train, &options);                   to read its plates with
 *     api_train_complete(&train, efm_dataset_shape(dataset), &spec, &problem);
 *     api_train_render(&train, &out);                                all of it, defaults included
 *     api_train_release(&train);
 *
 * Paths are handed out as they are written: the caller decides what they are relative to, and whether it takes any.
 * The tables below are what docs/training.md describes; a test holds them together. Threads: pure functions. */
#ifndef API_TRAIN_H
#define API_TRAIN_H

#include "api/parameters.h"
#include "api/problem.h"
#include "core/data/dataset.h"
#include "core/train/trainer.h"

enum api_train_origin { API_TRAIN_GAUSSIAN, API_TRAIN_PATH, API_TRAIN_TOY, API_TRAIN_DATASET, API_TRAIN_URL };

/* What a plate may name: files, by `efmd train`; or datasets of the daemon and URLs, by POST /train. */
enum api_train_places { API_TRAIN_FILES, API_TRAIN_STORED };

/* Where the samples of one plate come from. */
struct api_train_plate {
    enum api_train_origin origin;
    /* owned; of a file of any format, or of a folder of images; DATASET: its name; URL: the URL */
    char *path;
    char sha256[65]; /* URL: of the bytes, "" for not given */
    char *labels;    /* owned; of an IDX file of labels, NULL: none */
    char *toy;       /* owned; JSON as efm_dataset_read takes it */
    uint8_t label;
    int64_t first, count; /* as in struct efm_selection */
    char name[API_NAME_SIZE];
};

struct api_train_image {
    struct api_parameters_seen seen;
    uint64_t height, width, channels; /* 0: as the first sample */
    int fit;
    uint8_t background[3];
};

struct api_train_network {
    struct api_parameters_seen seen;
    bool ch_mult_given, attention_given;
    int arch;
    uint64_t nf, blocks, hidden, hidden2, embedding;
    double dropout;
    uint32_t levels, ch_mult[EFM_NET_MAX_LEVELS];
    uint32_t attention_count, attention[EFM_NET_MAX_ATTENTION];
};

struct api_train_values {
    int field, sampler, pairing, schedule, precision, weights; /* weights: enum api_train_weights */
    double length, lowest, gamma, sigma, tau, learning_rate, clip, ema;
    uint64_t batch, charges, refresh, steps, seed, warmup, threads, shards;
};

enum api_train_weights { API_TRAIN_F32, API_TRAIN_BF16 };

struct api_train {
    struct api_train_plate plates[2]; /* by enum efm_plate_side */
    struct api_train_image image;
    struct api_train_network network;
    unsigned augmentation[2];
    struct api_parameters_seen seen;
    struct api_train_values values; /* threads 0: as many as there are cores */
};

/* Scalar keys of the whole, of "image" and of "network". */
extern const struct api_parameter_table api_train_table, api_train_image_table, api_train_network_table;

/* False with a problem whose pointer names the key ("/network/nf"); `train` then holds nothing. `parse` is for API_TRAIN_FILES.
 * `read` leaves keys in `skip` (NULL-terminated, may be NULL) to the caller. API_TRAIN_STORED: a plate is "gaussian", the name of
 * a dataset, an http(s) URL without user information, a toy, or {"dataset": name | "url": url, "sha256"?, "first"?, "count"?, "name"?}. */
bool api_train_parse(struct api_train *train, const uint8_t *bytes, size_t size, struct api_problem *problem);
bool api_train_read(struct api_train *train, const json_t *object, enum api_train_places places,
                    const char *const *skip, struct api_problem *problem);
void api_train_release(struct api_train *train);

void api_train_dataset_options(const struct api_train *train, struct efm_dataset_options *options);

/* Fills whatever was not said with the defaults for samples of this shape, and makes the trainer's spec of it. */
bool api_train_complete(struct api_train *train, const struct efm_shape *shape, struct efm_trainer_spec *spec,
                        struct api_problem *problem);

/* The spec with every key, one a line; reading it gives the same training, where places are of the same kind. After
 * api_train_complete. */
void api_train_render(const struct api_train *train, struct efm_buffer *out);

/* Sets the number of steps from text, over what the spec says, within the limits of the table. */
bool api_train_set_steps(struct api_train *train, const char *text, struct api_problem *problem);

#endif
