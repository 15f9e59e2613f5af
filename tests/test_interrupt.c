/* test_interrupt.c: a signal ends a wait for input, whenever and on whichever thread it comes. */
/* ctest: quick */
#include "tools/common.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_SECONDS = 60 }; /* then SIGALRM ends the test */

static int input[2];

static int set_up(void **state) {
    (void)state;
    alarm(MOST_SECONDS);
    pm__interrupt_catch();
    pm__interrupt_take();
    return pipe(input);
}

static int tear_down(void **state) {
    (void)state;
    close(input[0]);
    close(input[1]);
    return 0;
}

static void expect_interrupted(void) {
    char byte;
    errno = 0;
    assert_int_equal(pm__interruptible_read(input[0], &byte, 1), -1);
    assert_int_equal(errno, EINTR);
}

static void a_signal_before_the_wait_ends_it(void **state) {
    (void)state;
    raise(SIGINT);
    expect_interrupted();
    expect_interrupted(); /* until it is taken */
    assert_int_equal(pm__interrupt_take(), 1);
    raise(SIGTERM);
    expect_interrupted();
    assert_int_equal(pm__interrupt_take(), 2);
    assert_int_equal(pm__interrupt_take(), 0);
}

/* Takes the signal itself: no system call of the waiting thread is interrupted. */
static void *raise_here(void *user) {
    static const struct timespec moment = {.tv_nsec = 20000000};
    (void)user;
    nanosleep(&moment, NULL);
    pthread_kill(pthread_self(), SIGINT);
    return NULL;
}

static void a_signal_on_another_thread_ends_the_wait(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, raise_here, NULL), 0);
    expect_interrupted();
    pthread_join(thread, NULL);
    assert_int_equal(pm__interrupt_take(), 1);
}

static void reading_goes_on_after_an_interruption(void **state) {
    (void)state;
    char bytes[8];
    raise(SIGINT);
    expect_interrupted();
    pm__interrupt_take();
    assert_int_equal(write(input[1], "abc", 3), 3);
    assert_int_equal(pm__interruptible_read(input[0], bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, "abc", 3);
    close(input[1]);
    input[1] = -1;
    assert_int_equal(pm__interruptible_read(input[0], bytes, sizeof bytes), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_signal_before_the_wait_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_on_another_thread_ends_the_wait, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(reading_goes_on_after_an_interruption, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
