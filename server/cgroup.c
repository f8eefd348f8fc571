// SPDX-License-Identifier: Apache-2.0
#include "server/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 4096 };

bool srv_cgroup_read_line(const char *path, char *out, int size)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool found = fgets(out, size, file) != NULL;
    fclose(file);
    if (found)
        out[strcspn(out, "\n")] = '\0';
    return found;
}

/* The tightest limit from `group` up to `base`; a group that does not exist there (a container sees its own
 * group as the root) has none. */
static double tightest(const char *base, const char *group, double (*limit_of)(const char *folder))
{
    char folder[PATH_SIZE];
    int length = snprintf(folder, sizeof folder, "%s%s", base, group);
    if (length < 0 || length >= PATH_SIZE)
        return INFINITY;
    double least = INFINITY;
    const size_t shortest = strlen(base);
    while (strlen(folder) >= shortest) {
        least = fmin(least, limit_of(folder));
        char *slash = strrchr(folder, '/');
        if (slash == NULL || slash == folder)
            break;
        *slash = '\0';
    }
    return least;
}

static bool has(const char *controllers, const char *controller)
{
    const size_t wanted = strlen(controller);
    size_t length = 0;
    for (const char *word = controllers; *word != '\0'; word += length + (word[length] == ',')) {
        length = strcspn(word, ",");
        if (length == wanted && strncmp(word, controller, wanted) == 0)
            return true;
    }
    return false;
}

double srv_cgroup_least(const char *root, const char *membership, const struct srv_cgroup_limit *limit)
{
    FILE *file = fopen(membership, "re");
    if (file == NULL)
        return INFINITY;
    double least = INFINITY;
    char line[PATH_SIZE], base[PATH_SIZE];
    // "0::/path" is version 2, "4:cpu,cpuacct:/path" is version 1.
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL || group[1] != '/')
            continue;
        controllers++;
        *group++ = '\0';
        if (strcmp(group, "/") == 0)
            group[0] = '\0';
        if (controllers[0] == '\0') {
            least = fmin(least, tightest(root, group, limit->version_2));
        } else if (has(controllers, limit->controller)) {
            snprintf(base, sizeof base, "%.2000s/%.2000s", root, controllers);
            least = fmin(least, tightest(base, group, limit->version_1));
            snprintf(base, sizeof base, "%.4000s/%.32s", root, limit->controller);
            least = fmin(least, tightest(base, group, limit->version_1));
        }
    }
    fclose(file);
    return least;
}
