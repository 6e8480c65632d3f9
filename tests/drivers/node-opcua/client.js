// node-opcua reads the history of one variable of a server, piece by piece, and prints what it got as one line of JSON.
"use strict";
const path = require("path");
const { createRequire } = require("module");
const opcua = createRequire(path.join(process.cwd(), "x.js"))("node-opcua");

async function main() {
  const [url, node, start, end, pki] = process.argv.slice(2);
  const manager = new opcua.OPCUACertificateManager({ rootFolder: pki, automaticallyAcceptUnknownCertificate: true });
  const client = opcua.OPCUAClient.create({ endpointMustExist: false, clientCertificateManager: manager, connectionStrategy: { maxRetry: 1 } });
  await client.connect(url);
  const session = await client.createSession();
  const out = { values: [], types: [], times: [], statuses: [], pieces: 0 };
  const declared = await session.read({ nodeId: node, attributeId: opcua.AttributeIds.DataType });
  out.declared = opcua.DataType[declared.value.value.value];
  const details = new opcua.ReadRawModifiedDetails({
    isReadModified: false, startTime: new Date(start), endTime: new Date(end), numValuesPerNode: 0, returnBounds: false,
  });
  let continuationPoint = null;
  do {
    const request = new opcua.HistoryReadRequest({
      historyReadDetails: details, timestampsToReturn: opcua.TimestampsToReturn.Source, releaseContinuationPoints: false,
      nodesToRead: [{ nodeId: node, continuationPoint }],
    });
    const result = (await session.historyRead(request)).results[0];
    if (!result.statusCode.isGood()) throw new Error(result.statusCode.toString());
    out.pieces += 1;
    for (const value of result.historyData.dataValues) {
      out.values.push(value.value ? value.value.value ?? null : null);
      out.types.push(value.value ? opcua.DataType[value.value.dataType] : null);
      out.times.push(value.sourceTimestamp.toISOString());
      out.statuses.push(value.statusCode.name);
    }
    continuationPoint = result.continuationPoint && result.continuationPoint.length ? result.continuationPoint : null;
  } while (continuationPoint);
  await session.close();
  await client.disconnect();
  console.log(JSON.stringify(out));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
