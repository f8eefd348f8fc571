/* openai_images.h - the way of both image endpoints of the OpenAI API through the daemon. Threads: an event
 * thread. */
#ifndef SRV_ENDPOINTS_OPENAI_IMAGES_H
#define SRV_ENDPOINTS_OPENAI_IMAGES_H

#include "server/http/http.h"

void srv_openai_images(struct srv_service *service, struct srv_exchange *exchange,
                       enum api_operation operation);

#endif
