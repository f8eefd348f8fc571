// SPDX-License-Identifier: Apache-2.0
/* Model files of networks: out and in again, checkpoints of the published code, and files that are damaged. */
#include "core/base/memory.h"
#include "core/base/sha256.h"
#include "core/field/learned.h"
#include "core/model/safetensors.h"
#include "tests/support/tiny_net.h"
#include "tests/unit/model/containers.h"

#include <math.h>
#include <stdio.h>

static struct efm_net *net_at(int index)
{
    return index == 0 ? tiny_mlp(3) : tiny_unet(8, index == 1 ? 3 : 1);
}

static struct efm_buffer save(const struct efm_model *model)
{
    struct efm_buffer out = efm_buffer_limited(64 << 20);
    struct efm_error error = {0};
    if (efm_model_save(model, &out, &error) != EFM_OK)
        fail_msg("%s", error.message);
    return out;
}

static enum efm_status load(struct efm_model **model, const struct efm_buffer *file, struct efm_error *error)
{
    void *block;
    *model = NULL;
    efm_error_clear(error);
    uint8_t *copy = exact_copy(file->data, file->size, 1, &block);
    enum efm_status status = efm_model_load_as(model, copy, file->size, 64 << 20, EFM_PRECISION_F32, error);
    free(block);
    assert_true((status == EFM_OK) == (*model != NULL));
    return status;
}

/* A line's end, which depends on every number of the model. */
static void travel(const struct efm_model *model, enum efm_direction direction, float *end)
{
    const struct efm_field *field = efm_model_field(model);
    size_t dimension = efm_field_dimension(field);
    struct efm_flow_options options;
    struct efm_random stream;
    struct efm_line *line;
    struct efm_flow *flow;
    efm_model_flow_options(model, &options);
    options.direction = direction;
    options.steps = 3;
    efm_random_init(&stream, 5, 0, EFM_RANDOM_TEST);
    efm_random_fill_normal(&stream, end, dimension);
    assert_int_equal(efm_line_create(&line, field, &options, end, 0, NULL), EFM_OK);
    assert_int_equal(efm_flow_create(&flow, field, 1, NULL, NULL), EFM_OK);
    while (efm_flow_step(flow, &line, 1) > 0)
        ;
    assert_int_equal(efm_line_state(line), EFM_LINE_LANDED);
    assert_int_equal(efm_line_evaluations(line), 3);
    memcpy(end, efm_line_position(line), dimension * sizeof *end);
    efm_flow_destroy(flow);
    efm_line_destroy(line);
}

static void assert_same(const struct efm_model *a, const struct efm_model *b)
{
    const struct efm_learned_spec *one = efm_model_learned(a), *two = efm_model_learned(b);
    float ends[2][8 * 8 * 3];
    assert_true(efm_shape_equal(efm_model_shape(a), efm_model_shape(b)));
    assert_string_equal(efm_model_arch(a), efm_model_arch(b));
    assert_string_equal(efm_model_sha256(a), efm_model_sha256(b));
    assert_int_equal(efm_model_bytes(a), efm_model_bytes(b));
    assert_int_equal(one->map, two->map);
    assert_int_equal(one->kind, two->kind);
    assert_true(one->length == two->length && one->lowest == two->lowest && one->gamma == two->gamma);
    assert_true(one->velocity == two->velocity && one->bf16 == two->bf16);
    assert_string_equal(one->target, two->target);
    assert_true((one->record == NULL) == (two->record == NULL));
    if (one->record != NULL)
        assert_string_equal(one->record, two->record);
    for (int side = EFM_SOURCE; side <= EFM_TARGET; side++) {
        assert_string_equal(efm_model_domain(a, side)->name, efm_model_domain(b, side)->name);
        assert_string_equal(one->names[side], two->names[side]);
        assert_int_equal(efm_model_domain(a, side)->standard_normal, two->standard_normal[side]);
    }
    for (int direction = EFM_DIRECTION_FORWARD; direction <= EFM_DIRECTION_REVERSE; direction++) {
        travel(a, (enum efm_direction)direction, ends[0]);
        travel(b, (enum efm_direction)direction, ends[1]);
        assert_memory_equal(ends[0], ends[1], efm_model_shape(a)->dimension * sizeof(float));
    }
}

static struct efm_learned_spec spec_at(int variant)
{
    static const enum efm_field_kind kinds[] = {EFM_FIELD_PER_PLATE, EFM_FIELD_FLOW_MATCHING, EFM_FIELD_CHAIN,
                                                EFM_FIELD_SUPERPOSITION};
    struct efm_learned_spec spec = tiny_spec(kinds[variant]);
    spec.precision = EFM_PRECISION_F32;
    spec.velocity = variant == 1 || variant == 2;
    spec.bf16 = variant % 2 == 1;
    spec.length = 10. / 3;
    spec.record =
        variant > 1 ? "{\"steps\": 12, \"loss\": [0.5, 0.25], \"note\": \"a \\\"quoted\\\" word\"}" : NULL;
    return spec;
}

static void comes_back_as_it_was(void **state)
{
    (void)state;
    for (int index = 0; index < 3; index++)
        for (int variant = 0; variant < 4; variant++) {
            struct efm_net *net = net_at(index);
            const struct efm_learned_spec spec = spec_at(variant);
            struct efm_model *model = tiny_model(net, &spec, 3), *again;
            struct efm_error error = {0};
            struct efm_buffer file = save(model);
            char sha256[65];
            efm_sha256_hex(file.data, file.size, sha256);
            assert_string_equal(efm_model_sha256(model), sha256);
            assert_string_equal(efm_model_arch(model), index == 0 ? "mlp" : "unet");
            if (load(&again, &file, &error) != EFM_OK)
                fail_msg("%s", error.message);
            assert_same(model, again);
            struct efm_buffer file_again = save(again);
            assert_true(file.size == file_again.size && memcmp(file.data, file_again.data, file.size) == 0);
            size_t numbers = efm_net_size(net) * (spec.bf16 ? 2 : 4);
            assert_true(file.size > numbers && file.size < numbers + 16384);
            assert_true(efm_model_bytes(model) > numbers);
            efm_buffer_release(&file);
            efm_buffer_release(&file_again);
            efm_model_unref(again);
            efm_model_unref(model);
            efm_net_unref(net);
        }
}

static void bf16_numbers_are_just_numbers(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(3);
    struct efm_learned_spec spec = spec_at(1);
    struct efm_model *half = tiny_model(net, &spec, 3), *full;
    /* the same field as from the rounded numbers, read back from the file */
    struct efm_buffer file = save(half);
    struct efm_safetensors *tensors;
    float *rounded = malloc(efm_net_size(net) * sizeof *rounded), ends[2][3];
    assert_non_null(rounded);
    assert_int_equal(efm_safetensors_open(&tensors, file.data, file.size, NULL), EFM_OK);
    for (size_t i = 0; i < efm_net_parameter_count(net); i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, i);
        const struct efm_tensor_entry *entry = efm_safetensors_find(tensors, parameter->name);
        assert_int_equal(entry->type, EFM_TENSOR_BF16);
        assert_int_equal(efm_safetensors_floats(entry, rounded + parameter->offset, NULL), EFM_OK);
    }
    float *given = tiny_parameters(net, 3);
    for (size_t i = 0; i < efm_net_size(net); i++)
        assert_true(fabsf(rounded[i] - given[i]) <= fabsf(given[i]) / 256);
    spec.bf16 = false;
    assert_int_equal(efm_model_create_learned(&full, &spec, net, rounded, NULL), EFM_OK);
    travel(half, EFM_DIRECTION_FORWARD, ends[0]);
    travel(full, EFM_DIRECTION_FORWARD, ends[1]);
    assert_memory_equal(ends[0], ends[1], sizeof ends[0]);
    free(given);
    free(rounded);
    efm_safetensors_close(tensors);
    efm_buffer_release(&file);
    efm_model_unref(half);
    efm_model_unref(full);
    efm_net_unref(net);
}

/* ---- files made by hand ---- */

/* A file as torch.save's state_dict would be written by another program: the tensors from the last to the first. */
static struct efm_buffer foreign_file(const struct efm_net *net, const struct efm_metadata_entry *metadata,
                                      size_t metadata_count, enum efm_tensor_type type,
                                      void (*spoil)(struct efm_tensor_entry *tensors, size_t *count))
{
    size_t count = efm_net_parameter_count(net), size = efm_tensor_type_size(type);
    float *parameters = tiny_parameters(net, 3);
    uint16_t *halves = calloc(efm_net_size(net), sizeof *halves);
    struct efm_tensor_entry *tensors = calloc(count + 1, sizeof *tensors);
    struct efm_buffer out = efm_buffer_limited(64 << 20);
    struct efm_error error = {0};
    assert_true(halves != NULL && tensors != NULL);
    for (size_t i = 0; i < efm_net_size(net); i++)
        halves[i] = 0x2c00; /* 1/16 as F16 */
    for (size_t i = 0; i < count; i++) {
        const struct efm_parameter *parameter = efm_net_parameter(net, count - 1 - i);
        tensors[i] = (struct efm_tensor_entry){.name = parameter->name,
                                               .type = type,
                                               .rank = parameter->rank,
                                               .count = parameter->count,
                                               .size = parameter->count * size};
        tensors[i].data = type == EFM_TENSOR_F32 ? (const uint8_t *)(parameters + parameter->offset)
                                                 : (const uint8_t *)(halves + parameter->offset);
        for (size_t k = 0; k < parameter->rank; k++)
            tensors[i].shape[k] = parameter->shape[k];
    }
    if (spoil != NULL)
        spoil(tensors, &count);
    if (efm_safetensors_write(&out, tensors, count, metadata, metadata_count, &error) != EFM_OK)
        fail_msg("%s", error.message);
    free(tensors);
    free(halves);
    free(parameters);
    return out;
}

static const struct efm_metadata_entry minimal[] = {
    {"arch", "unet"},          {"nf", "32"},        {"ch_mult", "1,2"},   {"num_res_blocks", "1"},
    {"attn_resolutions", "4"}, {"image_size", "8"}, {"num_channels", "3"}};
enum { MINIMAL = sizeof minimal / sizeof minimal[0] };

static void a_published_checkpoint_loads(void **state)
{
    (void)state;
    struct efm_net *net = tiny_unet(8, 3);
    struct efm_buffer file = foreign_file(net, minimal, MINIMAL, EFM_TENSOR_F32, NULL);
    struct efm_model *model, *own;
    struct efm_error error = {0};
    float ends[2][8 * 8 * 3];
    if (load(&model, &file, &error) != EFM_OK)
        fail_msg("%s", error.message);
    const struct efm_learned_spec *spec = efm_model_learned(model);
    assert_string_equal(spec->target, "per_plate");
    assert_int_equal(spec->kind, EFM_FIELD_PER_PLATE);
    assert_int_equal(spec->map, EFM_MAP_FORWARD);
    assert_true(spec->length == 10 && spec->gamma == 5 && spec->lowest == 1e-3);
    assert_true(!spec->velocity && !spec->bf16 && spec->record == NULL);
    assert_string_equal(efm_model_domain(model, EFM_SOURCE)->name, "source");
    assert_string_equal(efm_model_domain(model, EFM_TARGET)->name, "target");
    assert_false(efm_model_domain(model, EFM_SOURCE)->standard_normal);
    /* the numbers went where they belong */
    struct efm_learned_spec same = *spec;
    own = tiny_model(net, &same, 3);
    travel(model, EFM_DIRECTION_FORWARD, ends[0]);
    travel(own, EFM_DIRECTION_FORWARD, ends[1]);
    assert_memory_equal(ends[0], ends[1], sizeof ends[0]);
    assert_string_equal(efm_model_sha256(model), efm_model_sha256(own));
    efm_buffer_release(&file);
    efm_model_unref(own);
    efm_model_unref(model);
    efm_net_unref(net);
}

static void half_precision_checkpoints_become_f32(void **state)
{
    (void)state;
    struct efm_net *net = tiny_unet(8, 3);
    struct efm_buffer file = foreign_file(net, minimal, MINIMAL, EFM_TENSOR_F16, NULL);
    struct efm_model *model, *again;
    struct efm_error error = {0};
    if (load(&model, &file, &error) != EFM_OK)
        fail_msg("%s", error.message);
    assert_false(efm_model_learned(model)->bf16);
    struct efm_buffer saved = save(model);
    assert_int_equal(load(&again, &saved, &error), EFM_OK);
    assert_string_equal(efm_model_sha256(model), efm_model_sha256(again));
    efm_buffer_release(&saved);
    efm_buffer_release(&file);
    efm_model_unref(again);
    efm_model_unref(model);
    efm_net_unref(net);
}

static void a_target_tells_field_and_velocity(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum efm_field_kind kind;
        bool velocity;
    } cases[] = {{"per_plate", EFM_FIELD_PER_PLATE, false},
                 {"superposition", EFM_FIELD_SUPERPOSITION, false},
                 {"chain_single", EFM_FIELD_CHAIN, true},
                 {"chain", EFM_FIELD_CHAIN, false},
                 {"flow_matching", EFM_FIELD_FLOW_MATCHING, true}};
    struct efm_net *net = tiny_mlp(2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct efm_metadata_entry metadata[] = {{"arch", "mlp"},     {"dimension", "2"},
                                                      {"hidden", "24"},    {"hidden2", "40"},
                                                      {"embedding", "16"}, {"target", cases[i].target}};
        struct efm_buffer file = foreign_file(net, metadata, 6, EFM_TENSOR_F32, NULL);
        struct efm_model *model;
        struct efm_error error = {0};
        if (load(&model, &file, &error) != EFM_OK)
            fail_msg("%s", error.message);
        assert_int_equal(efm_model_learned(model)->kind, cases[i].kind);
        assert_int_equal(efm_model_learned(model)->velocity, cases[i].velocity);
        assert_int_equal(efm_model_learned(model)->map,
                         cases[i].kind == EFM_FIELD_CHAIN ? EFM_MAP_CHAIN : EFM_MAP_FORWARD);
        efm_model_unref(model);
        efm_buffer_release(&file);
    }
    efm_net_unref(net);
}

/* ---- refused ---- */

static void expect_refusal(const struct efm_buffer *file, enum efm_status expected, const char *words)
{
    struct efm_model *model;
    struct efm_error error = {0};
    enum efm_status status = load(&model, file, &error);
    if (status != expected || strstr(error.message, words) == NULL)
        fail_msg("%s: '%s', and not %s '%s'", efm_status_name(status), error.message,
                 efm_status_name(expected), words);
    efm_model_unref(model);
}

static void bad_metadata_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value; /* NULL: absent */
        enum efm_status status;
        const char *words;
    } cases[] = {
        {"arch", NULL, EFM_E_FORMAT, "arch"},
        {"arch", "transformer", EFM_E_UNSUPPORTED, "transformer"},
        {"efmd_version", "2", EFM_E_UNSUPPORTED, "version '2'"},
        {"nf", NULL, EFM_E_FORMAT, "nf"},
        {"nf", "33", EFM_E_FORMAT, "nf"},
        {"nf", "0", EFM_E_FORMAT, "nf"},
        {"nf", "-32", EFM_E_FORMAT, "whole number"},
        {"nf", "4294967328", EFM_E_FORMAT, "whole number"},
        {"nf", "32,32", EFM_E_FORMAT, "whole number"},
        {"nf", "64", EFM_E_FORMAT, "shape"},
        {"ch_mult", "", EFM_E_FORMAT, "levels"},
        {"ch_mult", "1,2,", EFM_E_FORMAT, "whole numbers"},
        {"ch_mult", "1,,2", EFM_E_FORMAT, "whole numbers"},
        {"ch_mult", "1,2,2,2,2,2,2", EFM_E_FORMAT, "whole numbers"},
        {"ch_mult", "1,999999999", EFM_E_FORMAT, "ch_mult"},
        {"ch_mult", "2,2", EFM_E_FORMAT, "shape"},
        {"num_res_blocks", "2", EFM_E_FORMAT, "tensor"},
        {"num_res_blocks", "4294967295", EFM_E_FORMAT, "blocks"},
        {"attn_resolutions", "8,4", EFM_E_FORMAT, "tensor"},
        {"image_size", "0", EFM_E_FORMAT, "image_size"},
        {"image_size", "4294967295", EFM_E_FORMAT, "image_size"},
        {"image_size", "9", EFM_E_FORMAT, "network"},
        {"num_channels", "1", EFM_E_FORMAT, "shape"},
        {"num_channels", "4", EFM_E_FORMAT, "channels"},
        {"shape", "8,8,1", EFM_E_FORMAT, "shape"},
        {"shape", "192", EFM_E_FORMAT, "shape"},
        {"shape", "16,8,3", EFM_E_FORMAT, "shape"},
        {"target", "Per plate", EFM_E_FORMAT, "field"},
        {"target", "", EFM_E_FORMAT, "field"},
        {"target", "something_new", EFM_E_FORMAT, "field"},
        {"field", "gravity", EFM_E_UNSUPPORTED, "gravity"},
        {"map", "stochastic", EFM_E_FORMAT, "stochastic"},
        {"map", "chain", EFM_E_FORMAT, "chain"},
        {"velocity", "yes", EFM_E_FORMAT, "velocity"},
        {"L", "0", EFM_E_FORMAT, "L"},
        {"L", "nan", EFM_E_FORMAT, "L"},
        {"L", "1e7", EFM_E_FORMAT, "L is"},
        {"lowest", "0", EFM_E_FORMAT, "lowest"},
        {"lowest", "5", EFM_E_FORMAT, "lowest"},
        {"gamma", "-1", EFM_E_FORMAT, "gamma"},
        {"source_name", "", EFM_E_FORMAT, "name"},
        {"target_standard_normal", "1", EFM_E_FORMAT, "target_standard_normal"},
        {"record", "", EFM_E_FORMAT, "record"},
        {"record", "[1]", EFM_E_FORMAT, "record"},
        {"record", "{\"a\": 1,}", EFM_E_FORMAT, "record"},
    };
    struct efm_net *net = tiny_unet(8, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_metadata_entry metadata[MINIMAL + 1];
        size_t count = 0;
        bool known = false;
        for (size_t k = 0; k < MINIMAL; k++) {
            bool meant = strcmp(minimal[k].key, cases[i].key) == 0;
            known = known || meant;
            if (!meant)
                metadata[count++] = minimal[k];
            else if (cases[i].value != NULL)
                metadata[count++] = (struct efm_metadata_entry){minimal[k].key, cases[i].value};
        }
        if (!known)
            metadata[count++] = (struct efm_metadata_entry){cases[i].key, cases[i].value};
        struct efm_buffer file = foreign_file(net, metadata, count, EFM_TENSOR_F32, NULL);
        expect_refusal(&file, cases[i].status, cases[i].words);
        efm_buffer_release(&file);
    }
    efm_net_unref(net);
}

static void lose_one(struct efm_tensor_entry *tensors, size_t *count)
{
    (void)tensors;
    --*count;
}

static void add_one(struct efm_tensor_entry *tensors, size_t *count)
{
    tensors[*count] = tensors[0];
    tensors[(*count)++].name = "all_modules.99.weight";
}

static void rename_one(struct efm_tensor_entry *tensors, size_t *count)
{
    (void)count;
    tensors[3].name = "module.weight";
}

static void turn_one(struct efm_tensor_entry *tensors, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (tensors[i].rank == 2 && tensors[i].shape[0] != tensors[i].shape[1]) {
            uint64_t first = tensors[i].shape[0];
            tensors[i].shape[0] = tensors[i].shape[1];
            tensors[i].shape[1] = first;
            return;
        }
    fail_msg("no matrix to turn");
}

static void flatten_one(struct efm_tensor_entry *tensors, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        if (tensors[i].rank == 4) {
            tensors[i].rank = 1;
            tensors[i].shape[0] = tensors[i].count;
            return;
        }
    fail_msg("no kernel to flatten");
}

static void halve_one(struct efm_tensor_entry *tensors, size_t *count)
{
    (void)count;
    tensors[2].type = EFM_TENSOR_BF16;
    tensors[2].size /= 2;
}

static void make_integers(struct efm_tensor_entry *tensors, size_t *count)
{
    for (size_t i = 0; i < *count; i++) {
        tensors[i].type = EFM_TENSOR_U8;
        tensors[i].size = tensors[i].count;
    }
}

static void put_nan(struct efm_tensor_entry *tensors, size_t *count)
{
    (void)count;
    float *values = (float *)tensors[1].data;
    values[tensors[1].count - 1] = INFINITY;
}

static void other_tensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        void (*spoil)(struct efm_tensor_entry *tensors, size_t *count);
        enum efm_status status;
        const char *words;
    } cases[] = {
        {lose_one, EFM_E_FORMAT, "the file has none"},
        {add_one, EFM_E_FORMAT, "tensors, and the network"},
        {rename_one, EFM_E_FORMAT, "the file has none"},
        {turn_one, EFM_E_FORMAT, "not of the network's shape"},
        {flatten_one, EFM_E_FORMAT, "not of the network's shape"},
        {halve_one, EFM_E_FORMAT, "where others are"},
        {make_integers, EFM_E_UNSUPPORTED, "U8, not F32"},
        {put_nan, EFM_E_NUMERIC, "not finite"},
    };
    struct efm_net *net = tiny_unet(8, 3);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct efm_buffer file = foreign_file(net, minimal, MINIMAL, EFM_TENSOR_F32, cases[i].spoil);
        expect_refusal(&file, cases[i].status, cases[i].words);
        efm_buffer_release(&file);
    }
    efm_net_unref(net);
}

/* Cut anywhere or with any byte of its header changed a file is refused, or is a whole model: nothing in between. */
static void damage_is_survived(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(2);
    const struct efm_learned_spec spec = spec_at(2);
    struct efm_model *model = tiny_model(net, &spec, 3), *again;
    struct efm_buffer file = save(model);
    struct efm_error error = {0};
    size_t header = 8 + (size_t)file.data[0] + ((size_t)file.data[1] << 8);
    for (size_t size = 0; size < file.size; size += size < header ? 41 : 997) {
        struct efm_buffer cut = file;
        cut.size = size;
        assert_int_not_equal(load(&again, &cut, &error), EFM_OK);
    }
    for (size_t at = 8; at < header; at++) {
        uint8_t before = file.data[at];
        file.data[at] = (uint8_t)(before ^ (1 << at % 7));
        if (load(&again, &file, &error) == EFM_OK) {
            struct efm_buffer saved = save(again);
            efm_buffer_release(&saved);
        }
        efm_model_unref(again);
        file.data[at] = before;
    }
    efm_buffer_release(&file);
    efm_model_unref(model);
    efm_net_unref(net);
}

static void memory_is_limited(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(3);
    const struct efm_learned_spec spec = spec_at(0);
    struct efm_model *model = tiny_model(net, &spec, 3), *again = NULL;
    struct efm_buffer file = save(model);
    const size_t few[] = {0, 1, efm_net_size(net) * 4, efm_model_bytes(model) - 1};
    for (size_t i = 0; i < sizeof few / sizeof few[0]; i++) {
        assert_int_equal(efm_model_load_as(&again, file.data, file.size, few[i], EFM_PRECISION_F32, NULL),
                         EFM_E_LIMIT);
        assert_null(again);
    }
    assert_int_equal(
        efm_model_load_as(&again, file.data, file.size, 2 * efm_model_bytes(model), EFM_PRECISION_F32, NULL),
        EFM_OK);
    efm_model_unref(again);
    efm_buffer_release(&file);
    efm_model_unref(model);
    efm_net_unref(net);
}

static void bad_specs_are_refused(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(3);
    float *parameters = tiny_parameters(net, 1);
    char long_record[(64 << 10) + 16];
    memset(long_record, ' ', sizeof long_record);
    long_record[0] = '{';
    long_record[sizeof long_record - 2] = '}';
    long_record[sizeof long_record - 1] = '\0';
    for (int i = 0; i < 13; i++) {
        struct efm_learned_spec spec = spec_at(0);
        struct efm_model *model = NULL;
        spec.length = i == 0 ? 0 : i == 1 ? NAN : i == 2 ? 2e6 : spec.length;
        spec.lowest = i == 3 ? 0 : i == 4 ? spec.length : spec.lowest;
        spec.gamma = i == 5 ? 0 : spec.gamma;
        spec.map = i == 6 ? EFM_MAP_CHAIN : i == 7 ? EFM_MAP_STOCHASTIC : spec.map;
        spec.target = i == 8 ? NULL : i == 12 ? "Per plate" : spec.target;
        spec.record = i == 9 ? "not JSON" : i == 10 ? long_record : NULL;
        spec.names[0] = i == 11 ? "" : spec.names[0];
        assert_int_equal(efm_model_create_learned(&model, &spec, net, parameters, NULL), EFM_E_ARGUMENT);
        assert_null(model);
    }
    struct efm_learned_spec spec = spec_at(0);
    struct efm_model *model = NULL;
    parameters[5] = NAN;
    assert_int_equal(efm_model_create_learned(&model, &spec, net, parameters, NULL), EFM_E_NUMERIC);
    assert_null(model);
    free(parameters);
    efm_net_unref(net);
}

/* ---- memory that runs out ---- */

static size_t allocations_left = SIZE_MAX;
void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static bool may_allocate(void)
{
    return allocations_left == SIZE_MAX || allocations_left-- > 0;
}

void *__wrap_efm_allocate(size_t size)
{
    return may_allocate() ? __real_efm_allocate(size) : NULL;
}

void *__wrap_efm_allocate_array(size_t count, size_t size)
{
    return may_allocate() ? __real_efm_allocate_array(count, size) : NULL;
}

char *__wrap_efm_copy_string(const char *text)
{
    return may_allocate() ? __real_efm_copy_string(text) : NULL;
}

static void survives_any_failing_allocation(void **state)
{
    (void)state;
    struct efm_net *net = tiny_mlp(2);
    const struct efm_learned_spec spec = spec_at(3);
    float *parameters = tiny_parameters(net, 1);
    struct efm_model *model = NULL, *again = NULL;
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        assert_true(n < 1000);
        allocations_left = n;
        status = efm_model_create_learned(&model, &spec, net, parameters, NULL);
        allocations_left = SIZE_MAX;
        if (status != EFM_OK) {
            assert_int_equal(status, EFM_E_MEMORY);
            assert_null(model);
        }
    }
    struct efm_buffer file = save(model);
    status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        assert_true(n < 1000);
        allocations_left = n;
        status = efm_model_load_as(&again, file.data, file.size, SIZE_MAX, EFM_PRECISION_F32, NULL);
        allocations_left = SIZE_MAX;
        if (status != EFM_OK) {
            assert_int_equal(status, EFM_E_MEMORY);
            assert_null(again);
        }
    }
    assert_string_equal(efm_model_sha256(model), efm_model_sha256(again));
    efm_buffer_release(&file);
    efm_model_unref(again);
    efm_model_unref(model);
    free(parameters);
    efm_net_unref(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_was),
        cmocka_unit_test(bf16_numbers_are_just_numbers),
        cmocka_unit_test(a_published_checkpoint_loads),
        cmocka_unit_test(half_precision_checkpoints_become_f32),
        cmocka_unit_test(a_target_tells_field_and_velocity),
        cmocka_unit_test(bad_metadata_is_refused),
        cmocka_unit_test(other_tensors_are_refused),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(survives_any_failing_allocation),
    };
    return cmocka_run_group_tests_name("model/learned", tests, NULL, NULL);
}
