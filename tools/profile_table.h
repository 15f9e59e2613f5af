/* profile_table.h: a profile for people and for programs. */
#ifndef PM_TOOLS_PROFILE_TABLE_H
#define PM_TOOLS_PROFILE_TABLE_H

#include "report.h"

/* A table of kernels on stderr, and with `nodes` one of those that took longest. */
void pm__profile_print(const pm_profile *profile, bool nodes);
/* {"kernels": [...], "nodes": [...], ...} */
cJSON *pm__profile_json(const pm_profile *profile);

/* Asks the session and prints; does nothing where options do not ask for a profile. Gives an exit
 * code.
 * document  gets "profile"; NULL: none is made */
int pm__profile_report(pm_session *session, const pm__options *options, cJSON *document);

#endif
