// SPDX-License-Identifier: Apache-2.0
/* track.c - what a line has seen, kept in bounded memory: when the track is full every second point goes. */
#include "core/flow/flow_internal.h"

#include <string.h>

static void thin(struct efm_line *line)
{
    size_t kept = 0, bytes = line->dimension * sizeof(float);
    for (size_t i = 0; i < line->track_count; i += 2, kept++) {
        if (kept != i)
            memcpy(line->track + kept * line->dimension, line->track + i * line->dimension, bytes);
        line->track_height[kept] = line->track_height[i];
    }
    line->track_count = kept;
    line->track_stride *= 2;
}

static void append(struct efm_line *line)
{
    memcpy(line->track + line->track_count * line->dimension, line->x, line->dimension * sizeof(float));
    line->track_height[line->track_count++] = line->height;
}

void efm_line_record(struct efm_line *line)
{
    if (line->track_capacity == 0)
        return;
    if (++line->track_skipped < line->track_stride)
        return;
    line->track_skipped = 0;
    /* One place stays free for the end of the line. */
    if (line->track_count + 1 >= line->track_capacity)
        thin(line);
    append(line);
}

void efm_line_make_frames(struct efm_line *line)
{
    size_t frames = line->options.frames, dimension = line->dimension;
    if (frames == 0)
        return;
    append(line);
    for (size_t i = 0; i < frames; i++) {
        double place = (double)i * (double)(line->track_count - 1) / (double)(frames - 1);
        size_t low = (size_t)place, high = low + 1 < line->track_count ? low + 1 : low;
        float part = (float)(place - (double)low);
        const float *a = line->track + low * dimension, *b = line->track + high * dimension;
        for (size_t d = 0; d < dimension; d++)
            line->frames[i * dimension + d] = part == 0 ? a[d] : a[d] + part * (b[d] - a[d]);
        double height =
            line->track_height[low] + (double)part * (line->track_height[high] - line->track_height[low]);
        line->frame_z[i] = efm_line_z(line, height);
    }
}
