#include "internal.h"

pm_sampling pm_sampling_default(void) {
    return (pm_sampling){.temperature = 0.8f,
                         .top_k = 40,
                         .top_p = 0.95f,
                         .min_p = 0.05f,
                         .repeat_penalty = 1.0f,
                         .repeat_last_n = 64};
}

/* One row a field. The text says what a value means that people get wrong most. */
typedef struct range {
    const char *name;
    float value, least, most;
    const char *hint;
} range;

/* The comparison is written so that a NaN fails it. */
static pm_status check_range(const range *r) {
    if (r->value >= r->least && r->value <= r->most)
        return PM_OK;
    return pm__fail(PM_ARGUMENT, "sampling: %s is %g, it must be from %g to %g%s", r->name,
                    (double)r->value, (double)r->least, (double)r->most, r->hint);
}

pm_status pm__sampling_check(const pm_sampling *s) {
    const float least_temperature = 0.001f; /* below, (l - max) / temperature leaves f32 */
    const range ranges[] = {
        {"temperature", s->temperature, s->temperature == 0.0f ? 0.0f : least_temperature, 100.0f,
         ", or 0 for the likeliest token"},
        {"top_p", s->top_p, 0.0f, 1.0f, " (1 is off)"},
        {"min_p", s->min_p, 0.0f, 1.0f, " (0 is off)"},
        {"repeat_penalty", s->repeat_penalty, 0.01f, 100.0f, " (1 is off)"},
        {"presence_penalty", s->presence_penalty, -100.0f, 100.0f, " (0 is off)"},
        {"frequency_penalty", s->frequency_penalty, -100.0f, 100.0f, " (0 is off)"},
    };
    for (size_t i = 0; i < PM__COUNT(ranges); i++)
        PM_TRY(check_range(&ranges[i]));
    if (s->repeat_last_n > PM_MOST_REPEAT)
        return pm__fail(PM_ARGUMENT, "sampling: repeat_last_n is %u, it must be at most %d",
                        s->repeat_last_n, PM_MOST_REPEAT);
    return PM_OK;
}

struct pm_step_sampler pm__sampling_state(const pm_sampling *s, uint32_t i) {
    const uint64_t seed = s->seed + i;
    return (struct pm_step_sampler){.temperature = s->temperature,
                                    .top_k = s->top_k,
                                    .top_p = s->top_p,
                                    .min_p = s->min_p,
                                    .repeat_penalty = s->repeat_penalty,
                                    .presence_penalty = s->presence_penalty,
                                    .frequency_penalty = s->frequency_penalty,
                                    .repeat_last_n = s->repeat_last_n,
                                    .seed_lo = (uint32_t)seed,
                                    .seed_hi = (uint32_t)(seed >> 32)};
}

bool pm__sampling_looks_back(const pm_sampling *s) {
    const bool neutral =
        s->repeat_penalty == 1.0f && s->presence_penalty == 0.0f && s->frequency_penalty == 0.0f;
    return !neutral && s->repeat_last_n > 0;
}
