/* What the kernel allows on one core: streams in one epoll set, and write() in a loop over all of them.
 *
 * GET  answers the head of a stream and the event `live`; the connection is a stream from then on.
 * POST answers 204 and writes its body to every stream, as the event `notification`, in one chunk.
 * No token, no storage, no slow readers: whoever cannot take a whole frame at once ends the program.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536, BUFFER = 65536 };

static int streams[MOST];
static int count;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void put(int fd, const char *data, size_t size) {
    if (write(fd, data, size) != (ssize_t)size) die("write");
}

static void leave(int fd) {
    for (int i = 0; i < count; i++)
        if (streams[i] == fd) {
            streams[i] = streams[--count];
            break;
        }
    close(fd);
}

static void open_stream(int fd) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
        "transfer-encoding: chunked\r\n\r\n16\r\nevent: live\ndata: {}\n\n\r\n";
    if (count == MOST) die("too many streams");
    put(fd, head, sizeof head - 1);
    streams[count++] = fd;
}

static void publish(int fd, const char *body) {
    static char frame[BUFFER], chunk[BUFFER + 32];
    static int number;
    int size = snprintf(frame, sizeof frame, "event: notification\nid: 0123456789ab.%05d.0123456789\ndata: %s\n\n",
                        ++number % 100000, body);
    int all = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", size, frame);
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    put(fd, answer, sizeof answer - 1);
    for (int i = 0; i < count; i++) put(streams[i], chunk, all);
}

int main(void) {
    static char request[BUFFER];
    struct epoll_event events[256];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1, poll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd < 0) die("accept");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                continue;
            }
            ssize_t got = read(fd, request, sizeof request - 1); /* the load sends each request in one piece */
            if (got <= 0) {
                leave(fd);
                continue;
            }
            request[got] = 0;
            if (!strncmp(request, "GET ", 4)) {
                open_stream(fd);
                continue;
            }
            char *body = strstr(request, "\r\n\r\n");
            if (!body) die("a request in pieces");
            publish(fd, body + 4);
        }
    }
}
