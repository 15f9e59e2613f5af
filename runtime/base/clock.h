/* clock.h: time in seconds. */
#ifndef PM_BASE_CLOCK_H
#define PM_BASE_CLOCK_H

/* Of a clock that only goes forward. */
double pm__clock_seconds(void);
/* Processor time of the calling thread. */
double pm__clock_thread_seconds(void);

#endif
