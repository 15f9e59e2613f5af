/* scenes.h: what a program does from a model to its answers, each step alone, for tests that make
 * it fail. */
#ifndef PM_TESTS_SCENES_H
#define PM_TESTS_SCENES_H

#include "pumice.h"

typedef struct pm__scene {
    const char *path; /* of the model */
    pm_device *device;
    pm_model *model;
    pm_session *session;
    char answers[256]; /* as they should be; "": as they come first */
} pm__scene;

extern const pm_session_desc pm__scene_desc; /* of the session */

/* Each takes a scene, leaves it as it was, and checks what it gets. */
pm_status pm__scene_model(void *scene);
pm_status pm__scene_plan(void *scene);
pm_status pm__scene_session(void *scene);
/* In the scene's session, so that each run meets what the failure of the one before left. */
pm_status pm__scene_answers(void *scene);

#endif
