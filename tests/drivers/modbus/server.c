/* A Modbus server made of libmodbus: 200 registers and 50 bits of each kind.
 * Without arguments over TCP on a free port, which it prints, for many connections; with the path of a serial line
 * over RTU as unit 1, 19200 baud 8E1. Serves until its standard input is closed. */
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES 32

static int serve_line(const char *path, modbus_mapping_t *map)
{
    modbus_t *context = modbus_new_rtu(path, 19200, 'E', 8, 1);
    struct pollfd lines[2];

    if (context == NULL || modbus_set_slave(context, 1) < 0 || modbus_connect(context) < 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    lines[0] = (struct pollfd) {.fd = STDIN_FILENO, .events = POLLIN};
    lines[1] = (struct pollfd) {.fd = modbus_get_socket(context), .events = POLLIN};
    while (poll(lines, 2, -1) > 0 && !lines[0].revents) {
        uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
        int length = modbus_receive(context, query);

        if (length > 0)
            modbus_reply(context, query, length, map);
    }
    modbus_free(context);
    return 0;
}

static int serve_network(modbus_mapping_t *map)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    struct pollfd lines[LINES];
    int count = 2;
    int listening = modbus_tcp_listen(context, 8);

    if (listening < 0 || getsockname(listening, (struct sockaddr *) &at, &size) < 0)
        return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);

    memset(lines, 0, sizeof lines);
    lines[0] = (struct pollfd) {.fd = STDIN_FILENO, .events = POLLIN};
    lines[1] = (struct pollfd) {.fd = listening, .events = POLLIN};
    while (poll(lines, (nfds_t) count, -1) > 0 && !lines[0].revents) {
        if (lines[1].revents && count < LINES) {
            int line = accept(listening, NULL, NULL);
            if (line >= 0)
                lines[count++] = (struct pollfd) {.fd = line, .events = POLLIN};
        }
        for (int i = count - 1; i >= 2; i--) {
            uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
            int length;

            if (!lines[i].revents)
                continue;
            modbus_set_socket(context, lines[i].fd);
            length = modbus_receive(context, query);
            if (length > 0)
                modbus_reply(context, query, length, map);
            else if (length < 0) {
                close(lines[i].fd);
                lines[i] = lines[--count];
            }
        }
    }
    modbus_free(context);
    return 0;
}

int main(int argc, char **argv)
{
    modbus_mapping_t *map = modbus_mapping_new(50, 50, 200, 200);
    int failed;

    if (map == NULL)
        return 1;
    map->tab_input_bits[2] = 1;
    map->tab_input_registers[5] = 0xFFF9;
    failed = argc > 1 ? serve_line(argv[1], map) : serve_network(map);
    modbus_mapping_free(map);
    return failed;
}
