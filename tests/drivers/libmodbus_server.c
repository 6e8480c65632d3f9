/* A Modbus TCP device on libmodbus: holding register i holds i, coil i holds i % 3 == 0. Prints its port. */
#include <arpa/inet.h>
#include <modbus.h>
#include <stdio.h>
#include <sys/socket.h>

int main(void) {
  modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
  modbus_mapping_t *map = modbus_mapping_new(500, 500, 500, 500);
  for (int i = 0; i < 500; i++) {
    map->tab_registers[i] = i;
    map->tab_input_registers[i] = 1000 + i;
    map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
  }
  int listener = modbus_tcp_listen(ctx, 1);
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (;;) {
    modbus_tcp_accept(ctx, &listener);
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n;
    while ((n = modbus_receive(ctx, query)) >= 0)
      if (n > 0) modbus_reply(ctx, query, n, map);
    modbus_close(ctx);
  }
}
