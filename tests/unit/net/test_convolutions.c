// SPDX-License-Identifier: Apache-2.0
/* Convolutions and matrix products against their plain twins, in both precisions, cut into bands and on two threads. */
#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/net/kernels.h"
#include "core/net/onednn_ops.h"
#include "core/net/reference_ops.h"
#include "tests/support/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- memory that may fail ---- */

static size_t allocations_left = SIZE_MAX; /* that still succeed; one thread alone sets it */

void *__real_efm_allocate(size_t size);
void *__real_efm_allocate_array(size_t count, size_t size);
char *__real_efm_copy_string(const char *text);
void *__wrap_efm_allocate(size_t size);
void *__wrap_efm_allocate_array(size_t count, size_t size);
char *__wrap_efm_copy_string(const char *text);

static bool may_allocate(void)
{
    if (allocations_left == SIZE_MAX)
        return true;
    return allocations_left-- != 0; /* 0 - 1 is SIZE_MAX: only one fails */
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

/* ---- numbers in a precision ---- */

static bool supported(enum efm_precision precision)
{
    return efm_precision_resolve(&precision, NULL) == EFM_OK;
}

static const char *const precision_words[] = {"auto", "f32", "bf16"};

#define SKIP_WITHOUT(precision)                                                                              \
    if (!supported(precision)) {                                                                             \
        print_message("skipped: %s is not supported by %s\n", precision_words[precision],                    \
                      efm_net_instruction_set());                                                            \
        skip();                                                                                              \
    }

static void *must_allocate(size_t size)
{
    void *block = __real_efm_allocate(size);
    assert_non_null(block);
    memset(block, 0x7f, size);
    return block;
}

/* Uniform in [-1, 1], exact in the precision. */
static float *numbers(size_t count, uint64_t seed, enum efm_precision precision)
{
    struct efm_random random;
    efm_random_init(&random, seed, 0, EFM_RANDOM_TEST);
    float *x = must_allocate(count * sizeof *x);
    for (size_t i = 0; i < count; i++) {
        x[i] = (float)(2 * efm_random_uniform(&random) - 1);
        if (precision == EFM_PRECISION_BF16)
            x[i] = efm_bf16_value(efm_bf16(x[i]));
    }
    return x;
}

static size_t element(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? 2 : 4;
}

static void *packed(const float *x, size_t count, enum efm_precision precision)
{
    void *out = must_allocate(count * element(precision));
    for (size_t i = 0; i < count; i++)
        if (precision == EFM_PRECISION_BF16)
            ((uint16_t *)out)[i] = efm_bf16(x[i]);
        else
            ((float *)out)[i] = x[i];
    return out;
}

static void assert_near(const void *x, const float *expected, size_t count, enum efm_precision precision,
                        double tolerance)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        float value = precision == EFM_PRECISION_BF16 ? efm_bf16_value(((const uint16_t *)x)[i])
                                                      : ((const float *)x)[i];
        double difference = fabs((double)value - (double)expected[i]);
        largest = fmax(largest, fabs((double)expected[i]));
        worst = difference <= worst ? worst : difference; /* also a NaN */
    }
    if (!(worst <= tolerance * largest))
        fail_msg("off by %g where the largest value is %g", worst, largest);
}

static double tolerance_of(enum efm_precision precision)
{
    return precision == EFM_PRECISION_BF16 ? 2e-2 : 1e-5;
}

/* ---- convolutions and what they work on ---- */

static const struct efm_conv_options shapes[] = {
    {.height = 32, .width = 32, .in_channels = 16, .out_channels = 16, .kernel = 3, .stride = 1},
    {.height = 8, .width = 8, .in_channels = 48, .out_channels = 64, .kernel = 3, .stride = 1},
    {.height = 4, .width = 4, .in_channels = 64, .out_channels = 32, .kernel = 3, .stride = 1},
    {.height = 16, .width = 8, .in_channels = 16, .out_channels = 24, .kernel = 3, .stride = 1},
    {.height = 12, .width = 20, .in_channels = 5, .out_channels = 7, .kernel = 3, .stride = 1},
    {.height = 16, .width = 16, .in_channels = 3, .out_channels = 128, .kernel = 3, .stride = 1},
    {.height = 16, .width = 16, .in_channels = 1, .out_channels = 32, .kernel = 3, .stride = 1},
    {.height = 16, .width = 16, .in_channels = 128, .out_channels = 4, .kernel = 3, .stride = 1},
    {.height = 16, .width = 16, .in_channels = 32, .out_channels = 2, .kernel = 3, .stride = 1},
    {.height = 16, .width = 16, .in_channels = 64, .out_channels = 64, .kernel = 3, .stride = 2},
    {.height = 4, .width = 8, .in_channels = 17, .out_channels = 19, .kernel = 3, .stride = 2},
    {.height = 16, .width = 16, .in_channels = 96, .out_channels = 32, .kernel = 1, .stride = 1},
    {.height = 6, .width = 6, .in_channels = 13, .out_channels = 11, .kernel = 1, .stride = 1},
    {.height = 8,
     .width = 8,
     .in_channels = 64,
     .out_channels = 48,
     .kernel = 1,
     .stride = 1,
     .in_out = true},
    {.height = 4, .width = 4, .in_channels = 5, .out_channels = 3, .kernel = 1, .stride = 1, .in_out = true},
    {.height = 8, .width = 4, .in_channels = 16, .out_channels = 8, .kernel = 1, .stride = 2},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], IMAGES = 3 };

struct numbers_of {
    size_t weights, source, out;         /* how many, of one image */
    float *w, *x, *dy;                   /* of IMAGES images */
    void *packed_x, *packed_dy, *y, *dx; /* in the precision */
    float *expected;                     /* as large as the largest */
};

static struct numbers_of numbers_of(const struct efm_conv_options *o, uint64_t seed)
{
    struct numbers_of n = {
        .weights = (size_t)o->in_channels * o->out_channels * o->kernel * o->kernel,
        .source = (size_t)o->height * o->width * o->in_channels,
        .out = (size_t)(o->height / o->stride) * (o->width / o->stride) * o->out_channels,
    };
    n.w = numbers(n.weights, 3 * seed, o->precision);
    n.x = numbers(IMAGES * n.source, 3 * seed + 1, o->precision);
    n.dy = numbers(IMAGES * n.out, 3 * seed + 2, o->precision);
    n.packed_x = packed(n.x, IMAGES * n.source, o->precision);
    n.packed_dy = packed(n.dy, IMAGES * n.out, o->precision);
    n.y = must_allocate(IMAGES * n.out * sizeof(float));
    n.dx = must_allocate(IMAGES * n.source * sizeof(float));
    n.expected = must_allocate((n.weights + IMAGES * (n.source + n.out)) * sizeof(float));
    return n;
}

static void numbers_free(struct numbers_of *n)
{
    void *blocks[] = {n->w, n->x, n->dy, n->packed_x, n->packed_dy, n->y, n->dx, n->expected};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        efm_free(blocks[i]);
}

static struct efm_conv *conv_new(const struct efm_conv_options *options, const float *weights)
{
    struct efm_conv *conv;
    struct efm_error error = {0};
    if (efm_conv_create(&conv, options, &error) != EFM_OK)
        fail_msg("%s", error.message);
    for (size_t slot = 0; slot < options->slots; slot++)
        assert_int_equal(efm_conv_open_slot(conv, slot, NULL), EFM_OK);
    assert_int_equal(efm_conv_open_slot(conv, options->slots, NULL), EFM_E_ARGUMENT);
    efm_conv_set_weights(conv, weights);
    return conv;
}

static struct efm_conv_options shape_options(size_t shape, enum efm_precision precision)
{
    struct efm_conv_options options = shapes[shape];
    options.precision = precision;
    options.slots = 1;
    return options;
}

/* ---- all passes against the twins ---- */

static void passes_agree_with_the_twins(enum efm_precision precision)
{
    SKIP_WITHOUT(precision);
    for (size_t i = 0; i < SHAPES; i++) {
        struct efm_conv_options o = shape_options(i, precision);
        o.training = true;
        o.images = IMAGES;
        struct numbers_of n = numbers_of(&o, i);
        struct efm_conv *conv = conv_new(&o, n.w);
        float *gradient = must_allocate(n.weights * sizeof *gradient);

        efm_reference_conv(&o, n.w, n.x, n.expected, IMAGES);
        efm_conv_forward(conv, 0, n.packed_x, n.y, IMAGES);
        assert_near(n.y, n.expected, IMAGES * n.out, precision, tolerance_of(precision));

        efm_reference_conv_data(&o, n.w, n.dy, n.expected, IMAGES);
        efm_conv_backward_data(conv, 0, n.packed_dy, n.dx, IMAGES);
        assert_near(n.dx, n.expected, IMAGES * n.source, precision, tolerance_of(precision));

        for (size_t images = 1; images <= IMAGES; images += 2) {
            efm_reference_conv_weights(&o, n.x, n.dy, n.expected, images);
            efm_conv_backward_weights(conv, 0, n.packed_x, n.packed_dy, images);
            efm_conv_collect_gradient(conv, 1, gradient);
            /* sums are f32 in both precisions */
            assert_near(gradient, n.expected, n.weights, EFM_PRECISION_F32, 1e-5);
        }
        efm_free(gradient);
        efm_conv_destroy(conv);
        numbers_free(&n);
    }
}

static void passes_agree_with_the_twins_in_f32(void **state)
{
    (void)state;
    passes_agree_with_the_twins(EFM_PRECISION_F32);
}

static void passes_agree_with_the_twins_in_bf16(void **state)
{
    (void)state;
    passes_agree_with_the_twins(EFM_PRECISION_BF16);
}

/* The twins themselves, by hand: one weight of 1 moves the image; the published padding of the downsampling. */
static void twins_pad_as_published(void **state)
{
    (void)state;
    struct efm_conv_options o = {.height = 4, .width = 4, .in_channels = 1, .out_channels = 1, .kernel = 3};
    float x[16], y[16], w[9] = {0};
    for (size_t i = 0; i < 16; i++)
        x[i] = (float)i + 1;
    w[0] = 1; /* above and to the left */
    o.stride = 1;
    efm_reference_conv(&o, w, x, y, 1);
    assert_true(y[0] == 0 && y[5] == 1 && y[15] == 11);
    o.stride = 2; /* no padding there */
    efm_reference_conv(&o, w, x, y, 1);
    assert_true(y[0] == 1 && y[1] == 3 && y[2] == 9 && y[3] == 11);
    w[0] = 0;
    w[8] = 1; /* below and to the right */
    efm_reference_conv(&o, w, x, y, 1);
    assert_true(y[0] == 11 && y[1] == 0 && y[2] == 0 && y[3] == 0);
}

/* ---- the same bytes ---- */

static void bands_give_the_bytes_of_the_image(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++)
        for (size_t i = 0; i < SHAPES && supported(p); i++) {
            struct efm_conv_options o = shape_options(i, p);
            o.bands = 4;
            struct numbers_of n = numbers_of(&o, 100 + i);
            struct efm_conv *conv = conv_new(&o, n.w);
            efm_conv_forward(conv, 0, n.packed_x, n.y, 1);
            for (size_t bands = 1; bands <= 5; bands++) { /* 5: more than were announced */
                void *y = must_allocate(n.out * element(p));
                for (size_t band = 0; band < bands; band++)
                    efm_conv_forward_band(conv, 0, n.packed_x, y, band, bands);
                assert_memory_equal(y, n.y, n.out * element(p));
                efm_free(y);
            }
            efm_conv_destroy(conv);
            numbers_free(&n);
        }
}

/* Else a single image would be slow: each of two bands of an ordinary convolution leaves the other half alone. */
static void bands_share_the_work(void **state)
{
    (void)state;
    struct efm_conv_options o = shape_options(0, EFM_PRECISION_F32);
    o.bands = 2;
    struct numbers_of n = numbers_of(&o, 1);
    struct efm_conv *conv = conv_new(&o, n.w);
    float *y = n.y;
    for (size_t band = 0; band < 2; band++) {
        for (size_t i = 0; i < n.out; i++)
            y[i] = 1e9f;
        efm_conv_forward_band(conv, 0, n.packed_x, y, band, 2);
        for (size_t i = 0; i < n.out; i++)
            assert_true((y[i] == 1e9f) == (i / (n.out / 2) != band));
    }
    efm_conv_destroy(conv);
    numbers_free(&n);
}

/* Of the best of some runs of one band, or of the whole image. */
static double seconds_of(const struct efm_conv *conv, const struct numbers_of *n, size_t band, size_t bands)
{
    double best = INFINITY;
    for (int i = 0; i < 5; i++) {
        struct timespec start, end;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
        efm_conv_forward_band(conv, 0, n->packed_x, n->y, band, bands);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        best = fmin(best, (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec));
    }
    return best;
}

/* The library has plain loops for shapes that nothing else takes, a hundred times slower: no band may get them. */
static void no_band_takes_longer_than_the_image(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16 && supported(p); p++)
        for (uint32_t kernel = 1; kernel <= 3; kernel += 2) {
            struct efm_conv_options o = {.height = 16,
                                         .width = 16,
                                         .in_channels = 256,
                                         .out_channels = 256,
                                         .kernel = kernel,
                                         .stride = 1,
                                         .precision = p,
                                         .slots = 1,
                                         .bands = 8};
            struct numbers_of n = numbers_of(&o, 3);
            struct efm_conv *conv = conv_new(&o, n.w);
            double whole = seconds_of(conv, &n, 0, 1);
            for (size_t bands = 2; bands <= 8; bands++)
                for (size_t band = 0; band < bands; band++)
                    assert_true(seconds_of(conv, &n, band, bands) < 10 * whole);
            efm_conv_destroy(conv);
            numbers_free(&n);
        }
}

static void an_image_has_the_same_bytes_anywhere_in_a_batch(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++)
        for (size_t i = 0; i < SHAPES && supported(p); i++) {
            struct efm_conv_options o = shape_options(i, p);
            struct numbers_of n = numbers_of(&o, 200 + i);
            struct efm_conv *conv = conv_new(&o, n.w);
            size_t size = n.out * element(p), last = IMAGES - 1;
            void *alone = must_allocate(size);
            efm_conv_forward(conv, 0, n.packed_x, n.y, IMAGES);
            efm_conv_forward(conv, 0, (char *)n.packed_x + last * n.source * element(p), alone, 1);
            assert_memory_equal(alone, (char *)n.y + last * size, size);
            efm_free(alone);
            efm_conv_destroy(conv);
            numbers_free(&n);
        }
}

struct shift {
    const struct efm_conv *conv;
    const struct numbers_of *n;
    void *y[2], *dx[2];
};

static void run_all_passes(void *context, size_t index, size_t slot)
{
    struct shift *shift = context;
    efm_conv_forward(shift->conv, slot, shift->n->packed_x, shift->y[index], IMAGES);
    efm_conv_backward_data(shift->conv, slot, shift->n->packed_dy, shift->dx[index], IMAGES);
    efm_conv_backward_weights(shift->conv, slot, shift->n->packed_x, shift->n->packed_dy, IMAGES);
}

static void two_threads_give_the_bytes_of_one(void **state)
{
    (void)state;
    struct efm_team *team;
    assert_int_equal(efm_team_create(&team, 2, NULL), EFM_OK);
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++)
        for (size_t i = 0; i < SHAPES && supported(p); i++) {
            struct efm_conv_options o = shape_options(i, p);
            o.training = true;
            o.images = IMAGES;
            o.slots = 2;
            struct numbers_of n = numbers_of(&o, 300 + i);
            struct efm_conv *conv = conv_new(&o, n.w);
            size_t y_size = IMAGES * n.out * element(p), dx_size = IMAGES * n.source * element(p);
            struct shift shift = {conv,
                                  &n,
                                  {must_allocate(y_size), must_allocate(y_size)},
                                  {must_allocate(dx_size), must_allocate(dx_size)}};
            for (int repeat = 0; repeat < 4; repeat++)
                efm_team_run(team, 2, run_all_passes, &shift);
            efm_conv_forward(conv, 0, n.packed_x, n.y, IMAGES);
            efm_conv_backward_data(conv, 0, n.packed_dy, n.dx, IMAGES);
            for (size_t side = 0; side < 2; side++) {
                assert_memory_equal(shift.y[side], n.y, y_size);
                assert_memory_equal(shift.dx[side], n.dx, dx_size);
                efm_free(shift.y[side]);
                efm_free(shift.dx[side]);
            }
            efm_conv_destroy(conv);
            numbers_free(&n);
        }
    efm_team_destroy(team);
}

/* ---- gradients of several slots ---- */

static void collecting_sums_the_slots(void **state)
{
    (void)state;
    for (enum efm_precision p = EFM_PRECISION_F32; p <= EFM_PRECISION_BF16; p++)
        for (size_t i = 0; i < SHAPES && supported(p); i += 2) {
            struct efm_conv_options o = shape_options(i, p);
            o.training = true;
            o.no_input_gradient = true;
            o.images = 2;
            o.slots = 3;
            struct numbers_of n = numbers_of(&o, 400 + i);
            struct efm_conv *conv = conv_new(&o, n.w);
            float *gradient = must_allocate(n.weights * sizeof *gradient);
            /* two images in one slot, one in the next, none in the last */
            efm_conv_backward_weights(conv, 0, n.packed_x, n.packed_dy, 2);
            efm_conv_backward_weights(conv, 1, (char *)n.packed_x + 2 * n.source * element(p),
                                      (char *)n.packed_dy + 2 * n.out * element(p), 1);
            efm_conv_backward_weights(conv, 2, n.packed_x, n.packed_dy, 0);
            efm_conv_collect_gradient(conv, 3, gradient);
            efm_reference_conv_weights(&o, n.x, n.dy, n.expected, 3);
            assert_near(gradient, n.expected, n.weights, EFM_PRECISION_F32, 1e-5);
            efm_free(gradient);
            efm_conv_destroy(conv);
            numbers_free(&n);
        }
}

/* ---- refusals, memory, sizes ---- */

static void wrong_options_are_refused(void **state)
{
    (void)state;
    struct efm_conv_options good = shape_options(9, EFM_PRECISION_F32), bad[12];
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].kernel = 2;
    bad[1].stride = 3;
    bad[2].height = 15;
    bad[3].width = 0;
    bad[4].in_channels = 0;
    bad[5].out_channels = 1u << 20;
    bad[6].in_out = true;
    bad[7].precision = EFM_PRECISION_AUTO;
    bad[8].training = true;
    bad[9].slots = 0;
    bad[10].kernel = 0;
    bad[11].precision = (enum efm_precision)7;
    for (size_t i = 0; i < 12; i++) {
        struct efm_conv *conv;
        struct efm_error error = {0};
        assert_int_equal(efm_conv_create(&conv, &bad[i], &error), EFM_E_ARGUMENT);
        assert_null(conv);
        assert_true(error.message[0] != '\0');
    }
    efm_conv_destroy(NULL);
}

static void create_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct efm_conv_options o = shape_options(1, EFM_PRECISION_F32);
    o.training = true;
    o.images = o.slots = 2;
    o.bands = 3;
    size_t failures = 0;
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        struct efm_error error = {0};
        struct efm_conv *conv;
        allocations_left = n;
        status = efm_conv_create(&conv, &o, &error);
        bool created = status == EFM_OK;
        if (created)
            status = efm_conv_open_slot(conv, 1, &error);
        allocations_left = SIZE_MAX;
        if (status != EFM_OK) {
            failures++;
            assert_int_equal(status, EFM_E_MEMORY);
            assert_int_equal(error.status, EFM_E_MEMORY);
            assert_true(created || conv == NULL);
        }
        if (created) /* as if nothing had happened */
            assert_int_equal(efm_conv_open_slot(conv, 1, NULL), EFM_OK);
        efm_conv_destroy(conv);
    }
    assert_in_range(failures, 8, 30);
}

static void matmul_create_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct efm_matmul_options o = {
        .m = 8, .n = 8, .k = 8, .precision = EFM_PRECISION_F32, .out = EFM_PRECISION_F32, .slots = 2};
    size_t failures = 0;
    enum efm_status status = EFM_E_MEMORY;
    for (size_t n = 0; status != EFM_OK; n++) {
        struct efm_matmul *matmul;
        allocations_left = n;
        status = efm_matmul_create(&matmul, &o, NULL);
        allocations_left = SIZE_MAX;
        if (status != EFM_OK) {
            failures++;
            assert_int_equal(status, EFM_E_MEMORY);
            assert_null(matmul);
        }
        efm_matmul_destroy(matmul);
    }
    assert_in_range(failures, 3, 10);
}

static void sizes_and_times_are_told(void **state)
{
    (void)state;
    struct efm_conv_options o = shape_options(0, EFM_PRECISION_F32);
    struct numbers_of n = numbers_of(&o, 1);
    struct efm_conv *conv = conv_new(&o, n.w);
    assert_true(efm_conv_flops(conv) == 2.0 * 32 * 32 * 16 * 16 * 9);
    size_t serving = efm_conv_bytes(conv);
    assert_true(serving >= n.weights * sizeof(float));
    double time = efm_conv_time(conv, 3);
    assert_true(time > 0 && time < 1);
    allocations_left = 0;
    assert_true(efm_conv_time(conv, 1) == 0); /* no memory */
    allocations_left = SIZE_MAX;
    efm_conv_destroy(conv);

    o.training = true;
    o.images = 1;
    o.slots = 2;
    conv = conv_new(&o, n.w);
    assert_true(efm_conv_bytes(conv) >= serving + 3 * n.weights * sizeof(float)); /* both slots are open */
    efm_conv_destroy(conv);
    numbers_free(&n);
}

/* ---- matrix products ---- */

static const struct {
    size_t m, n, k;
} products[] = {{1, 1, 1}, {64, 64, 128}, {17, 5, 33}, {256, 256, 32}, {3, 70, 256}, {1, 128, 64}};

static void check_product(struct efm_matmul_options o, uint64_t seed)
{
    float *a = numbers(o.m * o.k, seed, o.precision), *b = numbers(o.k * o.n, seed + 1, o.precision);
    void *packed_a = packed(a, o.m * o.k, o.precision), *packed_b = packed(b, o.k * o.n, o.precision);
    float *expected = must_allocate(o.m * o.n * sizeof *expected);
    void *c = must_allocate(o.m * o.n * element(o.out)), *again = must_allocate(o.m * o.n * element(o.out));
    struct efm_matmul *matmul;
    struct efm_error error = {0};
    if (efm_matmul_create(&matmul, &o, &error) != EFM_OK)
        fail_msg("%s", error.message);
    efm_matmul_run(matmul, 0, packed_a, packed_b, c);
    efm_matmul_run(matmul, 1, packed_a, packed_b, again);
    efm_reference_matmul(&o, a, b, expected);
    assert_near(c, expected, o.m * o.n, o.out, tolerance_of(o.out));
    assert_memory_equal(c, again, o.m * o.n * element(o.out));
    efm_matmul_destroy(matmul);
    void *blocks[] = {a, b, packed_a, packed_b, expected, c, again};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        efm_free(blocks[i]);
}

static void products_agree_with_the_twin(void **state)
{
    (void)state;
    static const enum efm_precision kinds[][2] = {{EFM_PRECISION_F32, EFM_PRECISION_F32},
                                                  {EFM_PRECISION_BF16, EFM_PRECISION_F32},
                                                  {EFM_PRECISION_BF16, EFM_PRECISION_BF16}};
    for (size_t kind = 0; kind < 3 && supported(kinds[kind][0]); kind++)
        for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
            for (unsigned transposes = 0; transposes < 4; transposes++)
                check_product((struct efm_matmul_options){.m = products[i].m,
                                                          .n = products[i].n,
                                                          .k = products[i].k,
                                                          .transpose_a = transposes & 1,
                                                          .transpose_b = transposes >> 1,
                                                          .precision = kinds[kind][0],
                                                          .out = kinds[kind][1],
                                                          .slots = 2},
                              50 * i);
}

static void wrong_products_are_refused(void **state)
{
    (void)state;
    struct efm_matmul_options good = {
        .m = 2, .n = 2, .k = 2, .precision = EFM_PRECISION_F32, .out = EFM_PRECISION_F32, .slots = 1};
    struct efm_matmul_options bad[] = {good, good, good, good};
    bad[0].m = 0;
    bad[1].k = SIZE_MAX;
    bad[2].slots = 0;
    bad[3].out = EFM_PRECISION_AUTO;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct efm_matmul *matmul;
        assert_int_equal(efm_matmul_create(&matmul, &bad[i], NULL), EFM_E_ARGUMENT);
        assert_null(matmul);
    }
    efm_matmul_destroy(NULL);
}

/* Rows further apart than they are long, and a sum onto what was there. */
static void sgemm_agrees_with_the_twin(void **state)
{
    (void)state;
    enum { M = 19, N = 23, K = 31, APART = 40 };
    for (unsigned transposes = 0; transposes < 4; transposes++)
        for (int beta = 0; beta < 2; beta++) {
            struct efm_matmul_options o = {
                .m = M, .n = N, .k = K, .transpose_a = transposes & 1, .transpose_b = transposes >> 1};
            float *a = numbers(M * K, 1, EFM_PRECISION_F32), *b = numbers(K * N, 2, EFM_PRECISION_F32);
            float *c = numbers(M * APART, 3, EFM_PRECISION_F32), wide_a[APART * APART], wide_b[APART * APART];
            float expected[M * N], found[M * N];
            size_t a_columns = o.transpose_a ? M : K, b_columns = o.transpose_b ? K : N;
            for (size_t i = 0; i < M * K; i++)
                wide_a[i / a_columns * APART + i % a_columns] = a[i];
            for (size_t i = 0; i < K * N; i++)
                wide_b[i / b_columns * APART + i % b_columns] = b[i];
            efm_reference_matmul(&o, a, b, expected);
            for (size_t i = 0; i < M * N; i++)
                expected[i] += (float)beta * c[i / N * APART + i % N];
            float beside = c[N];
            efm_sgemm(o.transpose_a, o.transpose_b, M, N, K, wide_a, APART, wide_b, APART, (float)beta, c,
                      APART);
            for (size_t i = 0; i < M * N; i++)
                found[i] = c[i / N * APART + i % N];
            assert_near(found, expected, M * N, EFM_PRECISION_F32, 1e-5);
            assert_true(c[N] == beside);
            efm_free(a);
            efm_free(b);
            efm_free(c);
        }
}

/* ---- precisions ---- */

static void precisions_resolve(void **state)
{
    (void)state;
    enum efm_precision precision = EFM_PRECISION_AUTO;
    assert_int_equal(efm_precision_resolve(&precision, NULL), EFM_OK);
    bool native = strcmp(efm_net_instruction_set(), "avx512_core_bf16") == 0 ||
                  strcmp(efm_net_instruction_set(), "avx512_core_amx") == 0;
    assert_int_equal(precision, native ? EFM_PRECISION_BF16 : EFM_PRECISION_F32);
    precision = EFM_PRECISION_F32;
    assert_int_equal(efm_precision_resolve(&precision, NULL), EFM_OK);
    assert_int_equal(precision, EFM_PRECISION_F32);
    precision = EFM_PRECISION_BF16;
    struct efm_error error = {0};
    enum efm_status status = efm_precision_resolve(&precision, &error);
    if (strncmp(efm_net_instruction_set(), "avx512", 6) == 0)
        assert_int_equal(status, EFM_OK);
    else
        assert_int_equal(status, EFM_E_UNSUPPORTED);
    precision = (enum efm_precision)9;
    assert_int_equal(efm_precision_resolve(&precision, NULL), EFM_E_ARGUMENT);
    assert_true(strncmp(efm_net_library(), "oneDNN ", 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_agree_with_the_twins_in_f32),
        cmocka_unit_test(passes_agree_with_the_twins_in_bf16),
        cmocka_unit_test(twins_pad_as_published),
        cmocka_unit_test(bands_give_the_bytes_of_the_image),
        cmocka_unit_test(bands_share_the_work),
        cmocka_unit_test(no_band_takes_longer_than_the_image),
        cmocka_unit_test(an_image_has_the_same_bytes_anywhere_in_a_batch),
        cmocka_unit_test(two_threads_give_the_bytes_of_one),
        cmocka_unit_test(collecting_sums_the_slots),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(create_survives_any_failing_allocation),
        cmocka_unit_test(matmul_create_survives_any_failing_allocation),
        cmocka_unit_test(sizes_and_times_are_told),
        cmocka_unit_test(products_agree_with_the_twin),
        cmocka_unit_test(wrong_products_are_refused),
        cmocka_unit_test(sgemm_agrees_with_the_twin),
        cmocka_unit_test(precisions_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
