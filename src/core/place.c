/* place.c - where this process is. See place.h. */
#include "place.h"

#include <stdatomic.h>
#include <stdio.h>

static char self[320];
static const char *volatile task_now, *volatile doing_now, *volatile wait_now;
static volatile int layer_now = -1, peer_now = -1;
static _Atomic uint64_t done;

void natsl_self_set(int rank, int size, const char *host)
{
    self[0] = '\0';
    if (size > 1) (void)snprintf(self, sizeof self, "rank %d on %s", rank, host);
}

const char *natsl_self(void) { return self; }

void natsl_worked(void) { (void)atomic_fetch_add_explicit(&done, 1, memory_order_relaxed); }

uint64_t natsl_work_done(void) { return atomic_load_explicit(&done, memory_order_relaxed); }

void natsl_task(const char *task)
{
    wait_now = doing_now = NULL;
    layer_now = -1;
    task_now = task;
    natsl_worked();
}

void natsl_at_layer(int layer)
{
    wait_now = doing_now = NULL;
    layer_now = layer;
    natsl_worked();
}

void natsl_at(const char *doing)
{
    wait_now = NULL;
    doing_now = doing;
    natsl_worked();
}

void natsl_wait_for(const char *what, int peer)
{
    peer_now = peer;
    wait_now = what;
}

void natsl_append(char *text, size_t size, size_t *at, const char *what)
{
    while (*what && *at + 1 < size) text[(*at)++] = *what++;
    if (*at < size) text[*at] = '\0';
}

void natsl_append_number(char *text, size_t size, size_t *at, uint64_t number, unsigned base)
{
    char digits[66];
    size_t i = sizeof digits;
    digits[--i] = '\0';
    do {
        digits[--i] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    natsl_append(text, size, at, digits + i);
}

size_t natsl_place_text(char *text, size_t size)
{
    size_t at = 0;
    const char *task = task_now, *doing = doing_now, *wait = wait_now;
    const int layer = layer_now, peer = peer_now;
    natsl_append(text, size, &at, task ? task : "starting");
    if (layer >= 0) {
        natsl_append(text, size, &at, ", layer ");
        natsl_append_number(text, size, &at, (uint64_t)layer, 10);
    }
    if (doing && !wait) {
        natsl_append(text, size, &at, ", ");
        natsl_append(text, size, &at, doing);
    }
    if (wait) {
        natsl_append(text, size, &at, ", waiting for ");
        natsl_append(text, size, &at, wait);
        if (peer >= 0) {
            natsl_append(text, size, &at, " of rank ");
            natsl_append_number(text, size, &at, (uint64_t)peer, 10);
        }
    }
    return at;
}
