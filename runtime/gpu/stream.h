/* stream.h: weights on their way from the file to their places on a device. */
#ifndef PM_GPU_STREAM_H
#define PM_GPU_STREAM_H

#include "upload.h"
#include "weights.h"

/* Reads, packs and places all weights, whose buffers are there, on all threads of the device, and
 * waits until they have arrived.
 * errors  BAD_FILE, CANCELLED, those of the uploader */
pm_status pm__weights_stream(const pm__gpu_weights *weights, pm__uploader *uploader,
                             pm_progress_fn progress, void *user);

#endif
