// SPDX-License-Identifier: Apache-2.0
/* unet_layout.c - where the tensors of one image lie. Inference writes over what is no longer needed; training keeps
 * everything, and a gradient beside it. */
#include "core/net/unet_internal.h"

/* A piece of memory that is taken now; those of a list do not overlap and are sorted by place. */
struct block {
    size_t begin, size, tensor;
};

struct memory {
    struct block *blocks;
    size_t count, bytes;
};

static size_t aligned(size_t bytes)
{
    return (bytes + EFM_ALIGNMENT - 1) / EFM_ALIGNMENT * EFM_ALIGNMENT;
}

/* The first gap that is large enough. */
static size_t take(struct memory *memory, size_t size, size_t tensor)
{
    size_t begin = 0, place = 0;
    for (; place < memory->count; place++) {
        if (memory->blocks[place].begin - begin >= size)
            break;
        begin = memory->blocks[place].begin + memory->blocks[place].size;
    }
    for (size_t i = memory->count; i > place; i--)
        memory->blocks[i] = memory->blocks[i - 1];
    memory->blocks[place] = (struct block){begin, size, tensor};
    memory->count++;
    if (begin + size > memory->bytes)
        memory->bytes = begin + size;
    return begin;
}

/* Frees what was used last before operation `now`: one later than needed, for a band may still read what its
 * neighbour has finished with. */
static void free_used(struct memory *memory, const struct unet_plan *plan, size_t now)
{
    size_t kept = 0;
    for (size_t i = 0; i < memory->count; i++)
        if (plan->tensors[memory->blocks[i].tensor].used + 1 >= now)
            memory->blocks[kept++] = memory->blocks[i];
    memory->count = kept;
}

static void place(struct unet_layout *layout, const struct unet_plan *plan, struct memory *memory,
                  size_t element, size_t tensor)
{
    const struct unet_tensor *t = &plan->tensors[tensor];
    layout->values[tensor] = take(memory, aligned(unet_elements(t) * element), tensor);
    if (t->sums)
        layout->sums[tensor] =
            take(memory, aligned((size_t)t->height * 2 * t->channels * sizeof(float)), tensor);
}

enum efm_status unet_layout_create(struct unet_layout *layout, const struct unet_plan *plan, size_t element,
                                   bool training, struct efm_error *error)
{
    struct memory memory = {.blocks = efm_allocate_array(3 * plan->tensor_count + 1, sizeof(struct block))};
    *layout = (struct unet_layout){.values = efm_allocate_array(plan->tensor_count, sizeof(size_t)),
                                   .sums = efm_allocate_array(plan->tensor_count, sizeof(size_t)),
                                   .gradients = efm_allocate_array(plan->tensor_count, sizeof(size_t))};
    if (memory.blocks == NULL || layout->values == NULL || layout->sums == NULL ||
        layout->gradients == NULL) {
        efm_free(memory.blocks);
        unet_layout_release(layout);
        return efm_error_set(error, EFM_E_MEMORY, "no memory for the layout of a network");
    }
    place(layout, plan, &memory, element, plan->input);
    for (size_t i = 0; i < plan->operation_count; i++) {
        if (!training)
            free_used(&memory, plan, i);
        place(layout, plan, &memory, element, plan->operations[i].out);
    }
    for (size_t i = 0; i < plan->tensor_count && training; i++)
        if (plan->tensors[i].gradient == i && i != plan->input)
            layout->gradients[i] = take(&memory, aligned(unet_elements(&plan->tensors[i]) * element), i);
    layout->bytes = memory.bytes;
    efm_free(memory.blocks);
    return EFM_OK;
}

void unet_layout_release(struct unet_layout *layout)
{
    efm_free(layout->values);
    efm_free(layout->sums);
    efm_free(layout->gradients);
    *layout = (struct unet_layout){0};
}
