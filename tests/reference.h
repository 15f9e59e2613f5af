/* reference.h: where tests find material made outside this project. */
#ifndef PM_TESTS_REFERENCE_H
#define PM_TESTS_REFERENCE_H

/* The path of `relative` under $PUMICE_SHARED, else under ../shared beside the source tree.
 * NULL, with a printed line, if nothing is there: the test then calls skip().
 * The text is the caller's until the call after the next seven. */
const char *pm__reference_path(const char *relative);

/* The path of a file of the source tree, under the same terms. */
const char *pm__source_path(const char *relative);

#endif
