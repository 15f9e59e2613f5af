#include "scenes.h"

#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

const pm_session_desc pm__scene_desc = {.n_ctx = 48, .n_batch = 8, .n_seq = 2};

pm_status pm__scene_model(void *user) {
    const pm__scene *scene = user;
    const pm_model_desc desc = {.path = scene->path};
    pm_model *model = NULL;
    PM_TRY(pm_model_open(scene->device, &desc, &model));
    pm_model_close(model);
    return PM_OK;
}

pm_status pm__scene_plan(void *user) {
    const pm__scene *scene = user;
    pm_plan *plan = NULL;
    PM_TRY(pm_session_plan(scene->model, &pm__scene_desc, &plan));
    assert_true(plan->fits && plan->n_buffer > 2);
    pm_plan_free(plan);
    return PM_OK;
}

pm_status pm__scene_session(void *user) {
    const pm__scene *scene = user;
    pm_session *session = NULL;
    PM_TRY(pm_session_open(scene->model, &pm__scene_desc, &session));
    pm_session_close(session);
    return PM_OK;
}

pm_status pm__scene_answers(void *user) {
    pm__scene *scene = user;
    static const int32_t prompt[] = {300, 301, 302};
    static const char *const stops[] = {"never", "zz"};
    const pm_generate_desc desc = {.prompt = prompt,
                                   .n_prompt = PM__COUNT(prompt),
                                   .n_predict = 3,
                                   .n_answer = 2,
                                   .stop = stops,
                                   .n_stop = PM__COUNT(stops),
                                   .ignore_eos = true};
    char text[sizeof scene->answers];
    pm_generation *made = NULL;
    PM_TRY(pm_session_rewind(scene->session, 0, 0));
    PM_TRY(pm_generate(scene->session, &desc, &made));
    assert_int_equal(made->n_answer, 2);
    snprintf(text, sizeof text, "%s|%s", made->answers[0].text, made->answers[1].text);
    pm_generation_free(made);
    if (scene->answers[0] == '\0')
        snprintf(scene->answers, sizeof scene->answers, "%s", text);
    assert_string_equal(text, scene->answers);
    return PM_OK;
}
