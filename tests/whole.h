/* whole.h: what tests of whole models through pumice.h share.
 *
 * PUMICE_TEST_DEVICE names the device (as --device); without it the best Vulkan device is taken.
 * VK_ICD_FILENAMES chooses the driver. */
#ifndef PM_TESTS_WHOLE_H
#define PM_TESTS_WHOLE_H

#include "pumice.h"

#include <cjson/cJSON.h>

enum { PM__MOST_IDS = 4096 };

typedef struct pm__id_list {
    int32_t data[PM__MOST_IDS];
    uint32_t n;
} pm__id_list;

/* The device under test; NULL, with a printed line, where there is none and none is named. */
pm_device *pm__whole_device(void);
pm_device *pm__whole_cpu(void);

/* Fails the test with the sentence of a status that is not PM_OK. */
void pm__expect_ok(pm_status status);

/* A file under ../shared; NULL where it is not there. */
pm_model *pm__whole_model(pm_device *device, const char *relative);
pm_model *pm__whole_model_at(pm_device *device, const char *path);
/* Caches are f32, as those of the references. */
pm_session *pm__whole_session(pm_model *model, uint32_t n_ctx, uint32_t n_batch, uint32_t n_seq);

void pm__whole_tokenize(const pm_model *model, const char *text, pm__id_list *out);
/* Logits of every position, [n, n_vocab], malloc'ed; the sequence is empty before. */
float *pm__whole_logits(pm_session *session, uint32_t n_vocab, const int32_t *ids, uint32_t n);
/* An answer of n tokens past any end token, from an empty sequence; free with pm_generation_free.
 */
pm_generation *pm__whole_answer(pm_session *session, const pm__id_list *prompt, uint32_t n,
                                float temperature, uint32_t run_ahead);

/* A JSON file; cJSON_Delete it. */
cJSON *pm__whole_json(const char *path);
void pm__whole_ids(const cJSON *list, pm__id_list *out);

double pm__logsumexp(const float *logits, uint32_t n);
/* sum (mine - reference)^2 / sum reference^2 */
double pm__nmse(const float *mine, const float *reference, size_t n);

#endif
