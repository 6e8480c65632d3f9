/* A Modbus device on libmodbus: holding register i holds i, coil i holds i % 3 == 0. Over TCP, printing its port; called with
   a serial port as RTU unit 7, 9600 8N1, printing 0. */
#include <arpa/inet.h>
#include <modbus.h>
#include <stdio.h>
#include <sys/socket.h>

static void serve(modbus_t *ctx, modbus_mapping_t *map) {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  int n;
  while ((n = modbus_receive(ctx, query)) >= 0)
    if (n > 0) modbus_reply(ctx, query, n, map);
}

int main(int argc, char **argv) {
  int line = argc > 1;
  modbus_t *ctx = line ? modbus_new_rtu(argv[1], 9600, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", 0);
  modbus_mapping_t *map = modbus_mapping_new(500, 500, 500, 500);
  for (int i = 0; i < 500; i++) {
    map->tab_registers[i] = i;
    map->tab_input_registers[i] = 1000 + i;
    map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
  }
  if (line) {
    modbus_set_slave(ctx, 7);
    if (modbus_connect(ctx)) return 1;
    printf("0\n");
    fflush(stdout);
    for (;;) serve(ctx, map);
  }
  int listener = modbus_tcp_listen(ctx, 1);
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (;;) {
    modbus_tcp_accept(ctx, &listener);
    serve(ctx, map);
    modbus_close(ctx);
  }
}
