// SPDX-License-Identifier: Apache-2.0
/* `efmd train` from outside: what it writes, how it stops, and that it goes on bit for bit. */
#include "api/train.h"
#include "core/base/memory.h"
#include "core/base/random.h"
#include "core/model/model.h"
#include "tests/support/check.h"
#include "tests/support/daemon.h"
#include "tests/support/make.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 16, STEPS = 200 };

static char folder[256];
static rlim_t file_limit = RLIM_INFINITY; /* of the files that the next child writes */

#define PLATES "\"source\":\"gaussian\",\"target\":{\"toy\":\"swiss_roll\",\"count\":500}"
#define SMALL "\"network\":{\"hidden\":16,\"hidden2\":16,\"embedding\":16},\"steps\":200,\"seed\":5"
/* a step takes milliseconds: long enough to be disturbed in */
#define SLOW "\"batch\":256,\"charges\":1024,\"refresh\":1"

/* ---- files ---- */

static const char *path_of(const char *name)
{
    static char paths[4][512];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool exists(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static struct efm_buffer read_file(const char *name)
{
    struct efm_buffer bytes = efm_buffer_limited(TEST_FILE_LIMIT);
    char chunk[4096];
    size_t got;
    FILE *file = fopen(path_of(name), "rb");
    if (file == NULL)
        fail_msg("there is no %s", name);
    while ((got = fread(chunk, 1, sizeof chunk, file)) > 0)
        efm_buffer_append(&bytes, chunk, got);
    fclose(file);
    efm_buffer_append(&bytes, "", 1);
    assert_int_equal(bytes.status, EFM_OK);
    bytes.size--;
    return bytes;
}

static void expect_same_files(const char *name, const char *other)
{
    struct efm_buffer a = read_file(name), b = read_file(other);
    assert_true(a.size > 0);
    assert_int_equal(a.size, b.size);
    assert_memory_equal(a.data, b.data, a.size);
    efm_buffer_release(&a);
    efm_buffer_release(&b);
}

/* ---- the program ---- */

static void limit_files(void)
{
    const struct rlimit limit = {file_limit, file_limit};
    signal(SIGXFSZ, SIG_IGN); /* a write past the limit fails, as on a full disk */
    setrlimit(RLIMIT_FSIZE, &limit);
}

/* efmd train with these arguments (NULL-terminated), output and errors into files. */
static pid_t launch(const char *const *arguments)
{
    const char *all[MAX_ARGUMENTS + 3] = {getenv("EFMD"), "train"};
    assert_non_null(all[0]);
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(i < MAX_ARGUMENTS);
        all[i + 2] = arguments[i];
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    int out = open(path_of("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(path_of("err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 || chdir("/") != 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_DFL); /* a shell's background ignores it */
    if (file_limit != RLIM_INFINITY)
        limit_files();
    execv(all[0], (char *const *)all);
    _exit(127);
}

/* The exit status, or the signal as a negative number. */
static int wait_for(pid_t child)
{
    const double give_up = test_now() + 30 * test_patience();
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (test_now() > give_up) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            fail_msg("efmd train did not end");
        }
        test_sleep(0.002);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void expect_words(const char *words)
{
    struct efm_buffer text = read_file("err");
    if (strstr((const char *)text.data, words) == NULL)
        fail_msg("'%s' does not say '%s'", (const char *)text.data, words);
    efm_buffer_release(&text);
}

/* Runs to the end; `words` (NULL: any) must be said. */
static void expect_run(const char *const *arguments, int status, const char *words)
{
    int got = wait_for(launch(arguments));
    if (got != status) {
        struct efm_buffer text = read_file("err");
        fail_msg("status %d in place of %d: %s", got, status, (const char *)text.data);
    }
    if (words != NULL)
        expect_words(words);
}

/* Waits until the log holds `words`. */
static void await_log(const char *name, const char *words, pid_t child)
{
    const double give_up = test_now() + 20 * test_patience();
    for (;;) {
        if (exists(name)) {
            struct efm_buffer text = read_file(name);
            bool found = strstr((const char *)text.data, words) != NULL;
            efm_buffer_release(&text);
            if (found)
                return;
        }
        if (test_now() > give_up || waitpid(child, NULL, WNOHANG) != 0)
            fail_msg("%s never said %s", name, words);
        test_sleep(0.002);
    }
}

#define RUN(status, words, ...) expect_run((const char *const[]){__VA_ARGS__, NULL}, status, words)
#define LAUNCH(...) launch((const char *const[]){__VA_ARGS__, NULL})

/* ---- what a run leaves ---- */

static struct efm_model *load_model(const char *name)
{
    struct efm_buffer bytes = read_file(name);
    struct efm_model *model = NULL;
    struct efm_error error = {0};
    if (efm_model_load(&model, bytes.data, bytes.size, SIZE_MAX, &error) != EFM_OK)
        fail_msg("%s: %s", name, error.message);
    efm_buffer_release(&bytes);
    return model;
}

static void expect_picture(const char *name, uint32_t width, uint32_t height)
{
    struct efm_buffer bytes = read_file(name);
    struct efm_image image;
    test_read_picture(&image, bytes.data, bytes.size);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    const size_t size = (size_t)width * height * image.channels;
    size_t different = 0;
    for (size_t i = 1; i < size; i++)
        different += image.pixels[i] != image.pixels[0];
    assert_true(different > 0);
    efm_image_release(&image);
    efm_buffer_release(&bytes);
}

/* Every line is an object; steps do not go back but at a start; the last one is `event`. Returns the step lines. */
static size_t expect_log(const char *name, const char *event)
{
    struct efm_buffer text = read_file(name);
    size_t lines = 0, steps = 0;
    json_int_t last = 0;
    char *rest = (char *)text.data, *line;
    json_t *root = NULL;
    while ((line = strsep(&rest, "\n")) != NULL && line[0] != '\0') {
        json_decref(root);
        root = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (root == NULL)
            fail_msg("line %zu is no JSON: %s", lines, line);
        const char *what = json_string_value(json_object_get(root, "event"));
        json_int_t step = json_integer_value(json_object_get(root, "step"));
        assert_non_null(what);
        assert_true(step >= last || strcmp(what, "start") == 0);
        last = step;
        if (strcmp(what, "step") == 0) {
            static const char *const members[] = {"loss", "rate", "gradient_norm", "images_per_second",
                                                  "seconds"};
            for (size_t i = 0; i < 5; i++)
                assert_true(json_is_number(json_object_get(root, members[i])));
            steps++;
        }
        lines++;
    }
    assert_string_equal(json_string_value(json_object_get(root, "event")), event);
    json_decref(root);
    efm_buffer_release(&text);
    return steps;
}

/* ---- tests ---- */

static void trains_a_toy(void **state)
{
    (void)state;
    write_text("toy.json", "{" PLATES "," SMALL ",\"batch\":64,\"charges\":128}");
    RUN(0, "done: toy.safetensors", path_of("toy.json"), "--out", path_of("toy.safetensors"));
    expect_words("step 200/200");
    struct efm_model *model = load_model("toy.safetensors");
    assert_string_equal(efm_model_arch(model), "mlp");
    assert_string_equal(efm_model_domain(model, EFM_SOURCE)->name, "gaussian");
    assert_true(efm_model_domain(model, EFM_SOURCE)->standard_normal);
    assert_string_equal(efm_model_domain(model, EFM_TARGET)->name, "swiss_roll");
    efm_model_unref(model);
    assert_true(expect_log("toy.log.jsonl", "end") >= 100);
    expect_picture("toy.loss.png", 640, 480);
    expect_picture("toy.samples.png", 640, 480);
    assert_false(exists("toy.checkpoint.safetensors"));
    /* again, by other threads: the same bytes, and no word */
    RUN(0, NULL, path_of("toy.json"), "--out", path_of("again.safetensors"), "--quiet", "--threads=1",
        "--samples", "0");
    expect_same_files("toy.safetensors", "again.safetensors");
    assert_false(exists("again.samples.png"));
    struct efm_buffer said = read_file("err");
    assert_int_equal(said.size, 0);
    efm_buffer_release(&said);
}

static void prints_the_spec(void **state)
{
    (void)state;
    write_text("print.json", "{" PLATES "," SMALL "}");
    RUN(0, NULL, path_of("print.json"), "--print-spec", "--steps", "7");
    struct efm_buffer text = read_file("out");
    json_t *root = json_loads((const char *)text.data, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(root, "steps")), 7);
    assert_true(json_is_number(json_object_get(root, "learning_rate")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "network"), "arch")), "mlp");
    json_decref(root);
    write_file("printed.json", text.data, text.size);
    RUN(0, NULL, path_of("printed.json"), "--print-spec");
    struct efm_buffer again = read_file("out");
    assert_string_equal((const char *)again.data, (const char *)text.data);
    efm_buffer_release(&again);
    efm_buffer_release(&text);
}

/* Digits as they are published: pictures and labels, in a folder beside the spec; some are kept out. */
static void trains_on_pictures(void **state)
{
    (void)state;
    struct efm_buffer pictures = efm_buffer_limited(TEST_FILE_LIMIT);
    uint8_t labels[8 + 24] = {0, 0, 8, 1, 0, 0, 0, 24};
    for (size_t i = 0; i < 24; i++)
        labels[8 + i] = i % 2 == 0 ? 3 : 2;
    test_make_pictures_idx(&pictures, 24, 12, 1);
    assert_int_equal(mkdir(path_of("digits"), 0700), 0);
    write_file("digits/images", pictures.data, pictures.size);
    write_file("digits/labels", labels, sizeof labels);
    efm_buffer_release(&pictures);
    write_text(
        "digits.json",
        "{\"source\":{\"path\":\"digits/images\",\"labels\":\"digits/labels\",\"label\":3,\"count\":-4},"
        "\"target\":{\"path\":\"digits/images\",\"labels\":\"digits/labels\",\"label\":2,\"name\":\"twos\"},"
        "\"image\":{\"height\":8,\"width\":8},\"augment\":[\"hue\"],\"precision\":\"f32\",\"steps\":2,"
        "\"batch\":4,\"charges\":8,\"network\":{\"nf\":32,\"ch_mult\":[1],\"blocks\":1,\"attention\":[]}}");
    RUN(0, "done", path_of("digits.json"), "--out", path_of("digits.safetensors"), "--samples", "5");
    struct efm_model *model = load_model("digits.safetensors");
    assert_string_equal(efm_model_arch(model), "unet");
    assert_string_equal(efm_model_domain(model, EFM_SOURCE)->name, "images-3");
    assert_string_equal(efm_model_domain(model, EFM_TARGET)->name, "twos");
    const struct efm_shape shape = efm_shape_image(8, 8, 3);
    assert_true(efm_shape_equal(efm_model_shape(model), &shape));
    efm_model_unref(model);
    expect_picture("digits.samples.png", 5 * 8 + 4 * 2, 2 * 8 + 2); /* five sources above five results */
    expect_picture("digits.loss.png", 640, 480);
}

/* The training that the others are held against. */
static void make_undisturbed(void)
{
    if (exists("whole.safetensors"))
        return;
    write_text("slow.json", "{" PLATES "," SMALL "," SLOW "}");
    RUN(0, NULL, path_of("slow.json"), "--out", path_of("whole.safetensors"), "--quiet");
}

static void interrupt(const char *out, const char *log, int number)
{
    pid_t child = LAUNCH(path_of("slow.json"), "--out", path_of(out), "--resume");
    await_log(log, "\"event\":\"step\"", child);
    assert_int_equal(kill(child, number), 0);
    assert_int_equal(wait_for(child), 3);
    expect_words("--resume");
}

static void goes_on_after_a_signal(void **state)
{
    (void)state;
    make_undisturbed();
    interrupt("broken.safetensors", "broken.log.jsonl", SIGINT);
    assert_true(exists("broken.checkpoint.safetensors"));
    assert_false(exists("broken.safetensors"));
    expect_log("broken.log.jsonl", "interrupted");
    /* not begun anew by accident */
    RUN(2, "--resume", path_of("slow.json"), "--out", path_of("broken.safetensors"));
    expect_words("--overwrite");
    RUN(0, "goes on", path_of("slow.json"), "--out", path_of("broken.safetensors"), "--resume");
    expect_words("checkpoint is removed");
    assert_false(exists("broken.checkpoint.safetensors"));
    expect_same_files("whole.safetensors", "broken.safetensors");
    expect_log("broken.log.jsonl", "end");
    interrupt("term.safetensors", "term.log.jsonl", SIGTERM);
}

static void goes_on_after_kills(void **state)
{
    (void)state;
    struct efm_random random;
    efm_random_init(&random, 20, 0, EFM_RANDOM_TEST);
    make_undisturbed();
    for (size_t i = 0; i < 5; i++) {
        pid_t child = LAUNCH(path_of("slow.json"), "--out", path_of("killed.safetensors"), "--resume",
                             "--checkpoint-seconds", "0.01");
        test_sleep(0.02 + 0.1 * test_patience() * efm_random_uniform(&random));
        kill(child, SIGKILL);
        int status = wait_for(child); /* it may have been done already */
        assert_true(status == -SIGKILL || status == 0);
    }
    RUN(0, "done", path_of("slow.json"), "--out", path_of("killed.safetensors"), "--resume");
    expect_same_files("whole.safetensors", "killed.safetensors");
    assert_false(exists("killed.checkpoint.safetensors"));
    assert_false(exists(".killed.checkpoint.safetensors.tmp"));
    expect_picture("killed.loss.png", 640, 480);
}

static void second_signal_ends_at_once(void **state)
{
    (void)state;
    /* one step of this takes long */
    write_text("long.json",
               "{" PLATES "," SMALL ",\"field\":\"per_plate\",\"batch\":65536,\"charges\":65536}");
    pid_t child = LAUNCH(path_of("long.json"), "--out", path_of("long.safetensors"));
    await_log("long.log.jsonl", "\"event\":\"start\"", child);
    kill(child, SIGTERM);
    kill(child, SIGINT);
    int status = wait_for(child);
    assert_true(status == 1);
    assert_false(exists("long.checkpoint.safetensors"));
}

static void keeps_the_checkpoint_on_a_full_disk(void **state)
{
    (void)state;
    make_undisturbed();
    interrupt("full.safetensors", "full.log.jsonl", SIGINT);
    struct efm_buffer before = read_file("full.checkpoint.safetensors");
    write_file("before", before.data, before.size);
    efm_buffer_release(&before);
    file_limit = 4096; /* less than a model */
    expect_run((const char *const[]){path_of("slow.json"), "--out", path_of("full.safetensors"), "--resume",
                                     "--checkpoint-seconds", "0.2", NULL},
               1, "full.safetensors cannot be written");
    file_limit = RLIM_INFINITY;
    assert_false(exists("full.safetensors"));
    expect_same_files("before", "full.checkpoint.safetensors");
    RUN(0, "done", path_of("slow.json"), "--out", path_of("full.safetensors"), "--resume");
    expect_same_files("whole.safetensors", "full.safetensors");
}

static void refuses_a_damaged_checkpoint(void **state)
{
    (void)state;
    make_undisturbed();
    interrupt("hurt.safetensors", "hurt.log.jsonl", SIGINT);
    struct efm_buffer good = read_file("hurt.checkpoint.safetensors");
    write_file("hurt.checkpoint.safetensors", good.data, good.size - 10);
    RUN(1, "cannot be resumed", path_of("slow.json"), "--out", path_of("hurt.safetensors"), "--resume");
    write_file("hurt.checkpoint.safetensors", good.data, good.size);
    write_text("other.json", "{" PLATES "," SMALL "," SLOW ",\"L\":7}");
    RUN(1, "cannot be resumed", path_of("other.json"), "--out", path_of("hurt.safetensors"), "--resume");
    good.data[40] ^= 0x40; /* in what it says about itself */
    write_file("hurt.checkpoint.safetensors", good.data, good.size);
    RUN(1, "cannot be resumed", path_of("slow.json"), "--out", path_of("hurt.safetensors"), "--resume");
    good.data[40] ^= 0x40;
    good.data[good.size - 4] ^= 1; /* the last bit of the last number */
    write_file("hurt.checkpoint.safetensors", good.data, good.size);
    RUN(1, "damaged", path_of("slow.json"), "--out", path_of("hurt.safetensors"), "--resume");
    assert_false(exists("hurt.safetensors"));
    efm_buffer_release(&good);
    RUN(0, "done", path_of("toy.json"), "--out", path_of("hurt.safetensors"), "--overwrite");
    assert_false(exists("hurt.checkpoint.safetensors"));
}

static void one_training_a_model(void **state)
{
    (void)state;
    make_undisturbed();
    pid_t child = LAUNCH(path_of("slow.json"), "--out", path_of("shared.safetensors"));
    await_log("shared.log.jsonl", "\"event\":\"start\"", child);
    RUN(1, "another training", path_of("slow.json"), "--out", path_of("shared.safetensors"), "--overwrite");
    kill(child, SIGKILL);
    wait_for(child);
}

static void stops_at_what_is_not_finite(void **state)
{
    (void)state;
    const float values[] = {3e38f, -3e38f, -3e38f, 3e38f};
    const size_t shape[] = {2, 2};
    struct efm_buffer npy = efm_buffer_limited(TEST_FILE_LIMIT);
    test_make_npy(&npy, "<f4", shape, 2, values);
    write_file("huge.npy", npy.data, npy.size);
    efm_buffer_release(&npy);
    write_text("huge.json",
               "{\"source\":\"gaussian\",\"target\":\"huge.npy\"," SMALL ",\"batch\":2,\"charges\":2}");
    RUN(1, "not finite", path_of("huge.json"), "--out", path_of("huge.safetensors"));
    assert_false(exists("huge.safetensors"));
    expect_log("huge.log.jsonl", "failed");
}

static void refuses_specs_and_options(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words;
    } wrong[] = {
        {"{" PLATES ",\"step\":5}", "step: is not a parameter"},
        {"{" PLATES ",\"network\":{\"nf\":3}}", "network/nf: must be"},
        {"{\"source\":\"gaussian\",\"target\":\"missing.npy\"}", "missing.npy"},
        {"{\"source\":\"wrong.json\",\"target\":\"gaussian\"}", "wrong.json"}, /* no toy */
        {"{\"source\":{\"toy\":\"uniform\",\"dimension\":3},\"target\":{\"toy\":\"swiss_roll\"}}",
         "vectors of 3"},
        {"{\"source\":{\"toy\":{\"toy\":\"uniform\"},\"first\":9000},\"target\":\"gaussian\"}",
         "first sample"},
        {"{\"source\":", "line 1"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_text("wrong.json", wrong[i].spec);
        RUN(2, wrong[i].words, path_of("wrong.json"), "--out", path_of("wrong.safetensors"));
    }
    assert_false(exists("wrong.log.jsonl"));
    write_text("good.json", "{" PLATES "," SMALL "}");
    char spec[512], out[512]; /* path_of lends a path for a few calls only */
    snprintf(spec, sizeof spec, "%s", path_of("good.json"));
    snprintf(out, sizeof out, "%s", path_of("good.safetensors"));
    RUN(2, "a spec is needed", "--out", out);
    RUN(2, "--out", spec);
    RUN(2, "no option --fast", spec, "--out", out, "--fast");
    RUN(2, "needs a value", spec, "--out");
    RUN(2, "--threads", spec, "--out", out, "--threads", "0");
    RUN(2, "--steps", spec, "--out", out, "--steps", "many");
    RUN(2, "--checkpoint-seconds", spec, "--out", out, "--checkpoint-seconds=-1");
    RUN(2, "exclude each other", spec, "--out", out, "--resume", "--overwrite");
    RUN(2, "does not end in", spec, "--out", path_of("good.bin"));
    RUN(2, "nowhere.json", path_of("nowhere.json"), "--out", out);
    RUN(0, NULL, "--help");
    /* where nothing can be written */
    RUN(1, "cannot be opened", spec, "--out", path_of("no/such/folder/m.safetensors"));
    RUN(1, "cannot be", spec, "--out", "/proc/self/m.safetensors");
    assert_false(exists("good.safetensors"));
}

/* ---- docs/training.md ---- */

/* The row of a key, cut out of the text; NULL when there is none. */
static char *find_row(const char *text, const char *key)
{
    char start[64];
    snprintf(start, sizeof start, "\n| `%s` |", key);
    const char *row = strstr(text, start);
    return row != NULL ? strndup(row + 1, strcspn(row + 1, "\n")) : NULL;
}

static void expect_in_row(const char *row, const char *key, const char *words)
{
    if (strstr(row, words) == NULL)
        fail_msg("docs/training.md says of %s: %s, and not %s", key, row, words);
}

static void check_rows(const char *text, const struct api_parameter_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct api_parameter *item = &table->items[i];
        char limits[64];
        char *row = find_row(text, item->name);
        if (row == NULL)
            fail_msg("docs/training.md has no row of %s", item->name);
        snprintf(limits, sizeof limits, item->kind == API_INTEGER ? "| %.0f..%.0f |" : "| %.7g..%.7g |",
                 item->low, item->high);
        if (item->kind == API_INTEGER || item->kind == API_REAL)
            expect_in_row(row, item->name, limits);
        for (size_t k = 0; item->kind == API_WORD && item->words[k] != NULL; k++)
            expect_in_row(row, item->name, item->words[k]);
        free(row);
    }
}

/* A value as the document shows it. */
static void show(const json_t *value, char *out, size_t size)
{
    if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else
        snprintf(out, size, "%g", json_number_value(value));
}

static json_t *print_defaults(const char *toy)
{
    write_text("defaults.json", toy);
    RUN(0, NULL, path_of("defaults.json"), "--print-spec");
    struct efm_buffer text = read_file("out");
    json_t *root = json_loads((const char *)text.data, 0, NULL);
    assert_non_null(root);
    efm_buffer_release(&text);
    return root;
}

static void the_document_tells_the_tables(void **state)
{
    (void)state;
    struct efm_buffer text = test_data_file("../../docs/training.md");
    efm_buffer_append(&text, "", 1);
    const char *document = (const char *)text.data;
    check_rows(document, &api_train_table);
    check_rows(document, &api_train_image_table);
    check_rows(document, &api_train_network_table);
    json_t *vectors = print_defaults("{" PLATES "}");
    json_t *images = print_defaults(
        "{\"source\":\"gaussian\",\"target\":{\"toy\":\"uniform\",\"shape\":[32,32,3],\"count\":2}}");
    for (size_t i = 0; i < api_train_table.count; i++) {
        const char *key = api_train_table.items[i].name;
        char of_vectors[64], of_images[64], wanted[160];
        show(json_object_get(vectors, key), of_vectors, sizeof of_vectors);
        show(json_object_get(images, key), of_images, sizeof of_images);
        if (strcmp(of_vectors, of_images) == 0)
            snprintf(wanted, sizeof wanted, "` | %s |", of_vectors);
        else
            snprintf(wanted, sizeof wanted, "` | %s; %s |", of_vectors, of_images);
        char *row = find_row(document, key);
        expect_in_row(row, key, wanted);
        free(row);
    }
    RUN(0, NULL, "--help");
    struct efm_buffer help = read_file("out");
    for (const char *flag = strstr((const char *)help.data, "\n  --"); flag != NULL;
         flag = strstr(flag + 1, "\n  --")) {
        char name[40] = "";
        snprintf(name, sizeof name, "%.*s", (int)strcspn(flag + 3, " "), flag + 3);
        assert_true(strcmp(name, "--help") == 0 || strstr(document, name) != NULL);
    }
    efm_buffer_release(&help);
    json_decref(vectors);
    json_decref(images);
    efm_buffer_release(&text);
}

static void remove_all(const char *path)
{
    DIR *opened = opendir(path);
    for (const struct dirent *entry = opened != NULL ? readdir(opened) : NULL; entry != NULL;
         entry = readdir(opened)) {
        char name[1024];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(name) != 0)
            remove_all(name);
    }
    if (opened != NULL)
        closedir(opened);
    rmdir(path);
}

static int make_folder(void **state)
{
    const char *place = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/efmd-train-XXXXXX",
             place != NULL && place[0] != '\0' ? place : P_tmpdir);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    remove_all(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_a_toy),
        cmocka_unit_test(prints_the_spec),
        cmocka_unit_test(trains_on_pictures),
        cmocka_unit_test(goes_on_after_a_signal),
        cmocka_unit_test(goes_on_after_kills),
        cmocka_unit_test(second_signal_ends_at_once),
        cmocka_unit_test(keeps_the_checkpoint_on_a_full_disk),
        cmocka_unit_test(refuses_a_damaged_checkpoint),
        cmocka_unit_test(one_training_a_model),
        cmocka_unit_test(stops_at_what_is_not_finite),
        cmocka_unit_test(refuses_specs_and_options),
        cmocka_unit_test(the_document_tells_the_tables),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
