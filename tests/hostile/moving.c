/* A Modbus TCP device on libmodbus: its 500 holding registers all hold one number, another one in each answer. Prints its port. */
#include <arpa/inet.h>
#include <modbus.h>
#include <stdio.h>
#include <sys/socket.h>

int main(void) {
  modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
  modbus_mapping_t *map = modbus_mapping_new(0, 0, 500, 0);
  int listener = modbus_tcp_listen(ctx, 1);
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (uint16_t turn = 0;;) {
    modbus_tcp_accept(ctx, &listener);
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n;
    while ((n = modbus_receive(ctx, query)) >= 0) {
      turn++;
      for (int i = 0; i < 500; i++) map->tab_registers[i] = turn;
      if (n > 0) modbus_reply(ctx, query, n, map);
    }
    modbus_close(ctx);
  }
}
