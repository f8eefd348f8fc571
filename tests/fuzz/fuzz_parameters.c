// SPDX-License-Identifier: Apache-2.0
/* Bytes as the query of a transfer: whatever is taken lies within the limits of its table. */
#include "api/transfer.h"
#include "tests/fuzz/api_target.h"

static void check_ranges(const struct api_transfer *request)
{
    const struct api_parameter_table *table = &api_transfer_table;
    if (api_parameter_given(table, &request->seen, "steps") && (request->steps < 1 || request->steps > 1000))
        abort();
    if (request->seed > UINT64_C(9007199254740991) || request->n < 1 || request->n > 4096)
        abort();
    if (request->quality < 1 || request->quality > 100 || (unsigned)request->direction > 2)
        abort();
    if (request->model[0] != '\0' && !api_name_valid(request->model))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_transfer request = {0};
    struct api_problem problem = {0};
    char *query = malloc(size + 1);
    if (query == NULL)
        abort();
    memcpy(query, data, size);
    query[size] = '\0';
    api_parameters_defaults(&api_transfer_table, &request);
    bool good = api_parameters_from_query(&api_transfer_table, &request, &request.seen, query, &problem);
    if (good)
        check_ranges(&request);
    check_verdict(good, &problem);
    free(query);
    return 0;
}
