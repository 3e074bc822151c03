/* The load of a fan-out, for bench/readers.py: in Python it would be slower than what it measures.
 *
 * Sends a request, awaits the event that it causes at every stream, sends the next one, for so many seconds. An event
 * is told by `mark`, a text in each that has no line end.
 */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ = 65536, TAIL = 64, PATIENCE = 30 };
enum { DONE, CLOSED, LATE, UNEQUAL, FAILED };

struct stream {
    long got;        /* events */
    int kept;        /* bytes of a line that goes on: the mark may be cut in two */
    char tail[TAIL];
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int count(struct stream *stream, char *data, int size, const char *mark, int length) {
    int found = 0;
    char *at = data;
    while ((at = memmem(at, data + size - at, mark, length))) {
        found++;
        at += length;
    }
    stream->kept = data[size - 1] == '\n' ? 0 : size < length - 1 ? size : length - 1;
    memcpy(stream->tail, data + size - stream->kept, stream->kept);
    stream->got += found;
    return found;
}

/* Pushpin ends the connection with each answer. */
static int again(int publisher, int poll) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = publisher};
    if (getpeername(publisher, (struct sockaddr *)&address, &length)) return -1;
    int fresh = socket(address.ss_family, SOCK_STREAM, 0);
    if (connect(fresh, (struct sockaddr *)&address, length) || dup2(fresh, publisher) < 0) return -1;
    close(fresh);
    return epoll_ctl(poll, EPOLL_CTL_ADD, publisher, &event);
}

int broadcast(const int *fds, int streams, int publisher, const char *request, size_t size, const char *mark,
              double seconds, long *deliveries, double *took) {
    static char buffer[TAIL + READ];
    struct epoll_event ready[1024], event = {.events = EPOLLIN};
    int length = strlen(mark), poll = epoll_create1(0), result = DONE, most = publisher;
    if (length > TAIL) return FAILED;
    for (int i = 0; i < streams; i++)
        if (fds[i] > most) most = fds[i];
    struct stream *all = calloc(most + 1, sizeof *all);
    for (int i = 0; i <= streams; i++) {
        event.data.fd = i < streams ? fds[i] : publisher;
        if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event)) return FAILED;
    }
    long rounds = 0, total = 0;
    double began = now();
    while (result == DONE && now() - began < seconds) {
        if (write(publisher, request, size) != (ssize_t)size) result = FAILED;
        rounds++;
        while (result == DONE && total < rounds * streams) {
            int some = epoll_wait(poll, ready, 1024, 1000);
            if (some == 0 && now() - began > seconds + PATIENCE) result = LATE;
            for (int i = 0; i < some; i++) {
                int fd = ready[i].data.fd;
                struct stream *stream = &all[fd];
                memcpy(buffer, stream->tail, stream->kept);
                ssize_t got = read(fd, buffer + stream->kept, READ);
                if (got < 0 && errno == EAGAIN) continue;
                if (got > 0 && fd != publisher) total += count(stream, buffer, stream->kept + got, mark, length);
                if (got <= 0 && (fd != publisher || again(publisher, poll))) {
                    result = CLOSED;
                    break;
                }
            }
        }
    }
    *took = now() - began;
    *deliveries = total;
    for (int i = 0; i < streams && result == DONE; i++)
        if (all[fds[i]].got != rounds) result = UNEQUAL;
    free(all);
    close(poll);
    return result;
}
