// node-opcua as an OPC UA server: node server.js PORT FOLDER URI...
// FOLDER keeps its certificate; the URIs are its namespaces in that order, the variables live in urn:plant.
// Each line on standard input moves a variable: {"node": "Temp", "value": 1.5, "status": "Good", "at": "2024-..."},
// or deletes and makes one: {"delete": "Temp"}, {"add": "Temp", "value": 1.5}.
// Says "ready" when it listens.
const { createRequire } = require("module");
const { DataType, OPCUACertificateManager, OPCUAServer, StatusCodes, VariantArrayType } =
  createRequire(process.cwd() + "/")("node-opcua");
const [port, folder, ...uris] = process.argv.slice(2);

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: folder, automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: Number(port),
    host: "127.0.0.1",
    hostname: "127.0.0.1",
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    serverCapabilities: { operationLimits: { maxMonitoredItemsPerCall: 10 } },
    userManager: { isValidUser: (user, password) => user === "ann" && password === "right" },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  uris.forEach((uri) => space.registerNamespace(uri));
  const plant = space.getNamespace("urn:plant");
  const nodes = {};
  const add = (name, dataType, value, more = {}) => {
    nodes[name] = plant.addVariable({
      organizedBy: space.rootFolder.objects,
      browseName: name,
      nodeId: `s=${name}`,
      dataType,
      accessLevel: "CurrentRead",
      value: { dataType, value },
      ...more,
    });
  };
  const writable = { accessLevel: "CurrentRead | CurrentWrite" };
  add("Temp", DataType.Double, 20.5);
  add("Running", DataType.Boolean, true, writable);
  add("Set", DataType.Byte, 7, writable);
  add("Speed", DataType.Float, 1.5, writable);
  add("Count", DataType.UInt64, null, {
    value: { dataType: DataType.UInt64, arrayType: VariantArrayType.Scalar, value: [0x200000, 2] }, // 2^53 + 2
  });
  add("Text", DataType.String, "hello", writable);
  add("Open", DataType.Double, 4, { ...writable, dataType: "Number" });
  add("List", DataType.Double, null, {
    valueRank: 1,
    arrayDimensions: [3],
    value: { dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [1, 2, 3] },
  });
  add("Hidden", DataType.Double, 1, { accessLevel: "CurrentWrite", userAccessLevel: "CurrentWrite" });
  for (let i = 0; i < 25; i++) add(`Many${i}`, DataType.Int32, i);
  await server.start();
  console.log("ready");
  require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
    const { node, value, status, at, ...order } = JSON.parse(line);
    if (order.delete) return space.deleteNode(nodes[order.delete]);
    if (order.add) return add(order.add, DataType.Double, value);
    const { dataType, arrayType } = nodes[node].readValue().value;
    nodes[node].setValueFromSource({ dataType, arrayType, value }, StatusCodes[status || "Good"], at ? new Date(at) : new Date());
  });
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
