// SPDX-License-Identifier: Apache-2.0
/* The parts of `efmd train` that can be seen alone: options, progress, log, pictures. */
#include "core/base/memory.h"
#include "server/train/loss_curve.h"
#include "server/train/options.h"
#include "server/train/progress.h"
#include "server/train/sample_grid.h"
#include "server/train/training_log.h"
#include "tests/support/check.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */

static void reads_options(void **state)
{
    (void)state;
    struct srv_train_options options;
    char *const none[] = {"s.json", "--out", "m.safetensors"};
    assert_int_equal(srv_train_options_read(&options, 3, none, NULL), EFM_OK);
    assert_string_equal(options.spec, "s.json");
    assert_string_equal(options.out, "m.safetensors");
    assert_true(options.checkpoint_seconds == 60 && options.threads == 0 && options.steps == NULL);
    assert_false(options.resume || options.overwrite || options.quiet || options.samples_given);
    char *const all[] = {"--checkpoint-seconds=0.5",
                         "--threads",
                         "3",
                         "--steps",
                         "12",
                         "--samples=0",
                         "--resume",
                         "--quiet",
                         "x.json",
                         "--print-spec",
                         "--out=a.safetensors"};
    assert_int_equal(srv_train_options_read(&options, 11, all, NULL), EFM_OK);
    assert_true(options.checkpoint_seconds == 0.5 && options.threads == 3);
    assert_true(options.samples_given && options.samples == 0);
    assert_string_equal(options.steps, "12");
    assert_string_equal(options.spec, "x.json");
    assert_string_equal(options.out, "a.safetensors");
    assert_true(options.resume && options.quiet && options.print_spec);
    static const struct {
        char *const arguments[4];
        int count;
        const char *words;
    } wrong[] = {
        {{"--out", "m.safetensors"}, 2, "spec is needed"},
        {{"s.json"}, 1, "--out"},
        {{"a.json", "b.json"}, 2, "b.json"},
        {{"s.json", "--resume=1"}, 2, "no option --resume=1"},
        {{"s.json", "--threads="}, 2, "needs a value"},
        {{"s.json", "--threads", "257"}, 3, "1..256"},
        {{"s.json", "--threads=1", "--threads=2"}, 3, "twice"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct efm_error error = {0};
        assert_int_equal(srv_train_options_read(&options, wrong[i].count, wrong[i].arguments, &error),
                         EFM_E_ARGUMENT);
        if (strstr(error.message, wrong[i].words) == NULL)
            fail_msg("'%s' does not say '%s'", error.message, wrong[i].words);
    }
    struct efm_buffer help = efm_buffer_limited(1 << 16);
    srv_train_options_help(&help);
    efm_buffer_append(&help, "", 1);
    for (size_t i = 0; i < 9; i++) {
        static const char *const flags[] = {"--out",       "--steps",      "--checkpoint-seconds",
                                            "--threads",   "--samples",    "--quiet",
                                            "--overwrite", "--print-spec", "--resume"};
        assert_non_null(strstr((const char *)help.data, flags[i]));
    }
    efm_buffer_release(&help);
}

/* ---- progress ---- */

static size_t read_all(int file, char *out, size_t size)
{
    ssize_t got = read(file, out, size - 1);
    out[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static void shows_plain_progress(void **state)
{
    (void)state;
    int ends[2];
    char text[4096], line[200];
    struct srv_progress progress;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    srv_progress_begin(&progress, ends[1], 100, 1100, 64, 1000);
    for (int i = 1; i <= 100; i++)
        srv_progress_step(&progress, 100 + (uint64_t)i, 0.5, 1000 + 0.095 * i);
    assert_int_equal(read_all(ends[0], text, sizeof text), 0); /* not 10 seconds yet */
    srv_progress_step(&progress, 201, 0.5, 1010.1);
    srv_progress_step(&progress, 202, 0.5, 1010.2);
    read_all(ends[0], text, sizeof text);
    assert_string_equal(text, "step 201/1100  loss 0.5  640 images/s  elapsed 0:10  left 1:29\n");
    srv_progress_end(&progress, 1010.2);
    read_all(ends[0], text, sizeof text);
    assert_non_null(strstr(text, "step 202/1100"));
    /* a long one */
    progress.begun = 1010.2 - 7384;
    srv_progress_render(&progress, 1010.2, line, sizeof line);
    assert_non_null(strstr(line, "0.9 images/s  elapsed 2:03:04"));
    /* before anything is known */
    srv_progress_begin(&progress, -1, 0, 10, 1, 5);
    srv_progress_render(&progress, 5, line, sizeof line);
    assert_non_null(strstr(line, "left ?"));
    srv_progress_step(&progress, 1, 2, 100);
    srv_progress_end(&progress, 101);
    close(ends[0]);
    close(ends[1]);
}

/* What a terminal shows comes in pieces. */
static void read_until(int file, char last, char *out, size_t size)
{
    size_t got = 0;
    struct pollfd wait = {.fd = file, .events = POLLIN};
    out[0] = '\0';
    while (got + 1 < size && (got == 0 || out[got - 1] != last) && poll(&wait, 1, 5000) == 1) {
        size_t more = read_all(file, out + got, size - got);
        if (more == 0)
            break;
        got += more;
    }
}

static void rewrites_a_line_on_a_terminal(void **state)
{
    (void)state;
    int terminal, user;
    char text[4096];
    struct srv_progress progress;
    if (openpty(&terminal, &user, NULL, NULL, NULL) != 0)
        skip();
    srv_progress_begin(&progress, user, 0, 10, 1, 0);
    srv_progress_step(&progress, 1, 1, 1);
    srv_progress_step(&progress, 2, 1, 1.1); /* too soon to be read */
    srv_progress_step(&progress, 3, 1, 2);
    srv_progress_end(&progress, 3);
    read_until(terminal, '\n', text, sizeof text);
    assert_true(strncmp(text, "\rstep 1/10", 10) == 0);
    assert_null(strstr(text, "step 2/10"));
    assert_non_null(strstr(text, "\033[K\rstep 3/10"));
    assert_string_equal(text + strlen(text) - 2, "\r\n");
    assert_null(memchr(text, '\n', strlen(text) - 1)); /* one line */
    close(user);
    close(terminal);
}

/* ---- log ---- */

static void log_steps(struct srv_training_log *log, uint64_t from, uint64_t to, double loss)
{
    for (uint64_t step = from; step <= to; step++) {
        const struct efm_trainer_report report = {
            .step = step, .loss = loss, .gradient_norm = 1, .rate = 0.1};
        srv_training_log_step(log, &report, (double)step);
    }
}

/* What was done twice counts once, and what was torn is left out. */
static void reads_the_log_back(void **state)
{
    (void)state;
    char folder[] = "efmd-log-XXXXXX";
    struct srv_training_log log, other;
    struct srv_loss_point *points = NULL;
    size_t count;
    struct efm_error error = {0};
    assert_non_null(mkdtemp(folder));
    int opened = open(folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(srv_training_log_open(&log, opened, "m.log.jsonl", NULL), EFM_OK);
    assert_int_equal(srv_training_log_open(&other, opened, "m.log.jsonl", &error), EFM_E_EXISTS);
    assert_non_null(strstr(error.message, "another training"));
    srv_training_log_begin(&log, true, 100, 8, 0);
    srv_training_log_event(&log, "start", 0, 0, "\"steps\":%d", 100);
    log_steps(&log, 1, 5, 0.5);
    srv_training_log_event(&log, "checkpoint", 5, 5, NULL);
    log_steps(&log, 6, 9, 0.25);
    assert_true(write(log.file, "{\"event\":\"step\",\"st", 19) == 19);
    srv_training_log_close(&log);

    assert_int_equal(srv_training_log_open(&log, opened, "m.log.jsonl", NULL), EFM_OK);
    srv_training_log_begin(&log, false, 100, 8, 0);
    srv_training_log_event(&log, "start", 5, 0, NULL);
    log_steps(&log, 6, 7, 0.125);
    log_steps(&log, 8, 8, NAN); /* null in JSON, and no point */
    assert_int_equal(srv_training_log_losses(&log, &points, &count, NULL), EFM_OK);
    assert_int_equal(count, 7);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(points[i].step, i + 1);
        assert_true(points[i].loss == (i < 5 ? 0.5 : 0.125));
    }
    efm_free(points);
    srv_training_log_begin(&log, true, 100, 8, 0);
    assert_int_equal(srv_training_log_losses(&log, &points, &count, NULL), EFM_OK);
    assert_int_equal(count, 0);
    efm_free(points);
    srv_training_log_close(&log);
    unlinkat(opened, "m.log.jsonl", 0);
    close(opened);
    rmdir(folder);
}

/* ---- pictures ---- */

static struct efm_image decode(struct efm_buffer *png)
{
    const struct efm_image_options options = {.limits = efm_image_limits_default()};
    struct efm_image image = {0};
    assert_int_equal(efm_image_decode(&image, png->data, png->size, &options, NULL), EFM_OK);
    efm_buffer_release(png);
    return image;
}

static size_t count_colour(const struct efm_image *image, uint8_t red, uint8_t green, uint8_t blue)
{
    const size_t pixels = (size_t)image->width * image->height;
    size_t found = 0;
    if (image->channels != 3)
        return 0;
    for (size_t i = 0; i < pixels; i++)
        found += image->pixels[3 * i] == red && image->pixels[3 * i + 1] == green &&
                 image->pixels[3 * i + 2] == blue;
    return found;
}

static void draws_losses(void **state)
{
    (void)state;
    struct srv_loss_point points[50];
    struct efm_buffer png = efm_buffer_limited(1 << 20);
    for (size_t i = 0; i < 50; i++)
        points[i] = (struct srv_loss_point){10 * (i + 1), exp(-0.1 * (double)i)};
    points[7].loss = NAN;
    points[8].loss = 0;
    points[9].loss = -1;
    assert_int_equal(srv_loss_curve_render(points, 50, &png, NULL), EFM_OK);
    struct efm_image image = decode(&png);
    assert_true(image.width == 640 && image.height == 480);
    assert_true(count_colour(&image, 40, 80, 190) > 400); /* from side to side */
    efm_image_release(&image);
    /* nothing, one point, and the same loss throughout */
    for (size_t count = 0; count < 2; count++) {
        assert_int_equal(srv_loss_curve_render(points, count, &png, NULL), EFM_OK);
        image = decode(&png);
        assert_true((count_colour(&image, 40, 80, 190) > 0) == (count > 0));
        efm_image_release(&image);
    }
    points[1] = points[0];
    points[1].step = 1000000000;
    assert_int_equal(srv_loss_curve_render(points, 2, &png, NULL), EFM_OK);
    image = decode(&png);
    assert_true(count_colour(&image, 40, 80, 190) > 400);
    efm_image_release(&image);
}

static void draws_samples(void **state)
{
    (void)state;
    float sources[4 * 12], results[4 * 12], targets[4 * 12];
    struct efm_buffer png = efm_buffer_limited(1 << 20);
    for (size_t i = 0; i < 48; i++) {
        sources[i] = -1;
        results[i] = 1;
        targets[i] = 0.1f * (float)i;
    }
    const struct efm_shape picture = efm_shape_image(2, 6, 1), plane = efm_shape_vector(2),
                           line = efm_shape_vector(1);
    assert_int_equal(srv_sample_picture_render(&picture, sources, results, targets, 4, &png, NULL), EFM_OK);
    struct efm_image image = decode(&png);
    assert_true(image.width == 4 * 6 + 3 * 2 && image.height == 2 * 2 + 2);
    assert_int_equal(image.pixels[0], 0); /* sources above */
    assert_int_equal(image.pixels[(size_t)image.width * image.height * image.channels - 1], 255);
    efm_image_release(&image);

    assert_int_equal(srv_sample_picture_render(&plane, sources, results, targets, 24, &png, NULL), EFM_OK);
    image = decode(&png);
    assert_true(count_colour(&image, 210, 40, 40) >= 5);   /* all at (1, 1) */
    assert_true(count_colour(&image, 150, 150, 150) > 40); /* along the diagonal */
    efm_image_release(&image);

    results[3] = NAN; /* a line that was lost harms no other */
    results[4] = INFINITY;
    assert_int_equal(srv_sample_picture_render(&line, sources, results, targets, 48, &png, NULL), EFM_OK);
    image = decode(&png);
    assert_true(count_colour(&image, 210, 40, 40) > 40);
    efm_image_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_options),      cmocka_unit_test(shows_plain_progress),
        cmocka_unit_test(draws_losses),       cmocka_unit_test(rewrites_a_line_on_a_terminal),
        cmocka_unit_test(reads_the_log_back), cmocka_unit_test(draws_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
