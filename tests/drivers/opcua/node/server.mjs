// An OPC UA server made with node-opcua: a JSON argument says what to be, lines on its input what to do.
//   node server.mjs '{"port": 4840, "folder": "pki", "accept": false, "password": "...", "lifetime": 600000}'
// Lines: {"do": "approve"} moves rejected client certificates to the trusted ones; `set` a value; `run` the history;
// `held`: how many continuation points the sessions have.
import { readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import managers from "node-opcua-certificate-manager";
import channels from "node-opcua-secure-channel";
import server from "node-opcua-server";
import codes from "node-opcua-status-code";
import variants from "node-opcua-variant";

const given = JSON.parse(process.argv[2]);
const { MessageSecurityMode: Mode, SecurityPolicy: Policy } = channels;
const { StatusCodes } = codes;
channels.ServerSecureChannelLayer.g_MinimumSecureTokenLifetime = 500;

const manager = new managers.OPCUACertificateManager({
  rootFolder: join(given.folder, "server"),
  automaticallyAcceptUnknownCertificate: given.accept,
  disableFileWatchers: true,
});
const users = new managers.OPCUACertificateManager({
  rootFolder: join(given.folder, "users"),
  automaticallyAcceptUnknownCertificate: true,
  disableFileWatchers: true,
});
await manager.initialize();
await users.initialize();

const opcua = new server.OPCUAServer({
  port: given.port,
  host: "127.0.0.1",
  hostname: "127.0.0.1",
  disableDiscovery: true,
  allowAnonymous: given.anonymous ?? true,
  serverCertificateManager: manager,
  userCertificateManager: users,
  userManager: { isValidUser: (name, password) => name === "edgeflow" && password === given.password },
  securityPolicies: [Policy.None, Policy.Basic256Sha256, Policy.Aes128_Sha256_RsaOaep, Policy.Aes256_Sha256_RsaPss],
  securityModes: [Mode.None, Mode.Sign, Mode.SignAndEncrypt],
  defaultSecureTokenLifetime: given.lifetime ?? 600000,
});
await opcua.initialize();
const { addressSpace } = opcua.engine;
const space = addressSpace.getOwnNamespace();
const machine = space.addObject({ organizedBy: addressSpace.rootFolder.objects, browseName: "Filler" });
space.addVariable({
  componentOf: machine,
  browseName: "Good",
  nodeId: "s=Filler.Good",
  dataType: "UInt32",
  minimumSamplingInterval: 100,
  value: { get: () => new variants.Variant({ dataType: variants.DataType.UInt32, value: 5 }) },
});
const { DataType, Variant, VariantArrayType } = variants;
const held = {
  One: { dataType: DataType.Double, value: 0 },
  Two: { dataType: DataType.Double, value: 0 },
  Table: { dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: new Int32Array([10, 20, 30]) },
  Sealed: { dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: new Int32Array([10, 20, 30]) },
  Names: { dataType: DataType.String, arrayType: VariantArrayType.Array, value: ["a", "b", "c"] },
  Matrix: {
    dataType: DataType.Double,
    arrayType: VariantArrayType.Matrix,
    dimensions: [3, 2],
    value: new Float64Array([1, 2, 3, 4, 5, 6]),
  },
  Count: { dataType: DataType.UInt32, value: 0 },
};
const nodes = {};
for (const [name, value] of Object.entries(held)) {
  nodes[name] = space.addVariable({
    componentOf: machine,
    browseName: name,
    nodeId: `s=Filler.${name}`,
    dataType: DataType[value.dataType],
    valueRank: value.dimensions?.length ?? (value.arrayType ? 1 : -1),
    arrayDimensions: value.dimensions,
    minimumSamplingInterval: 0,
    value: new Variant(value),
  });
}
const write = nodes.Sealed.writeValue; // takes the whole, and no part of it
nodes.Sealed.writeValue = function (context, value, range, done) {
  if (range?.isEmpty() === false) return done(null, StatusCodes.BadWriteNotSupported);
  return write.call(this, context, value, range, done);
};
addressSpace.installHistoricalDataNode(nodes.Count, { maxOnlineValues: 10000 });
await opcua.start();
console.log("> ready"); // what begins otherwise is the library's

const orders = {
  set({ node, value }) {
    nodes[node].setValueFromSource({ ...held[node], value });
  },
  run({ values, since }) {
    values.forEach((value, at) => {
      const stamp = new Date(Date.parse(since) + at);
      nodes.Count.setValueFromSource({ ...held.Count, value }, StatusCodes.Good, stamp);
    });
  },
  held() {
    return Object.values(opcua.engine._sessions).map((session) => session.continuationPointManager._map.size);
  },
  async approve() {
    const rejected = join(given.folder, "server/rejected");
    const names = await readdir(rejected);
    for (const name of names) {
      await rename(join(rejected, name), join(given.folder, "server/trusted/certs", name));
    }
    await manager.reloadCertificates();
    return names.length;
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  console.log("> " + JSON.stringify((await orders[order.do](order)) ?? null));
}
await opcua.shutdown(0);
process.exit(0);
