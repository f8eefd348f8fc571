/* service_variable.h - what Kubernetes tells every container of a Service: EFM_SERVICE_HOST, EFM_PORT_8080_TCP_ADDR and their like where
 * one is named efm, or efm-something. Threads: any. */
#ifndef SRV_SERVICE_VARIABLE_H
#define SRV_SERVICE_VARIABLE_H

#include <stdbool.h>
#include <stddef.h>

/* `entry` is "NAME=value", of which the name has `length` bytes. EFM_PORT is one of them when its value is an address. */
bool srv_is_service_variable(const char *entry, size_t length);

#endif
