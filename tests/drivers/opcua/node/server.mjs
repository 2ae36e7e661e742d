// An OPC UA server made with node-opcua: a JSON argument says what to be, lines on its input what to do.
//   node server.mjs '{"port": 4840, "folder": "pki", "accept": false, "password": "...", "lifetime": 600000}'
// Lines: {"do": "approve"} moves rejected client certificates to the trusted ones.
import { readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import managers from "node-opcua-certificate-manager";
import channels from "node-opcua-secure-channel";
import server from "node-opcua-server";
import variants from "node-opcua-variant";

const given = JSON.parse(process.argv[2]);
const { MessageSecurityMode: Mode, SecurityPolicy: Policy } = channels;
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
await opcua.start();
console.log("> ready"); // what begins otherwise is the library's

const orders = {
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
  console.log("> " + JSON.stringify(await orders[JSON.parse(line).do]()));
}
await opcua.shutdown(0);
process.exit(0);
