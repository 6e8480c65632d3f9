/* A Modbus TCP device on libmodbus whose holding registers step to the next row of a table every millisecond.

   device TABLE REGISTERS: TABLE holds rows of REGISTERS 16-bit numbers in the machine's own order. Prints its port; serves one
   connection at a time, for ever. */
#include <arpa/inet.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static long step(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int registers = atoi(argv[2]);
  FILE *table = fopen(argv[1], "rb");
  if (!table || registers < 1) return 2;
  fseek(table, 0, SEEK_END);
  long rows = ftell(table) / 2 / registers;
  uint16_t *values = malloc(rows * registers * 2);
  rewind(table);
  if (rows < 1 || fread(values, registers * 2, rows, table) != (size_t)rows) return 2;
  modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
  modbus_mapping_t *map = modbus_mapping_new(0, 0, registers, 0);
  int listener = modbus_tcp_listen(ctx, 1);
  struct sockaddr_in at;
  socklen_t size = sizeof at;
  getsockname(listener, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  for (;;) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int n;
    if (modbus_tcp_accept(ctx, &listener) < 0) return 1;
    while ((n = modbus_receive(ctx, query)) >= 0) {
      memcpy(map->tab_registers, values + step() % rows * registers, registers * 2);
      modbus_reply(ctx, query, n, map);
    }
    modbus_close(ctx);
  }
}
