// An OPC UA server with N doubles that all change every PERIOD ms: 1, 2, 3 ...
//   node opcua_server.mjs PORT N PERIOD      (node-opcua-server found from the folder in OPCUA_MODULES)
import { createRequire } from "node:module";

const require = createRequire(`${process.env.OPCUA_MODULES}/none.js`);
const { OPCUAServer } = require("node-opcua-server");
const { SecurityPolicy, MessageSecurityMode } = require("node-opcua-secure-channel");

const [port, count, period] = process.argv.slice(2).map(Number);
const many = 1_000_000;
const server = new OPCUAServer({
  port,
  host: "127.0.0.1",
  hostname: "127.0.0.1",
  disableDiscovery: true,
  securityPolicies: [SecurityPolicy.None],
  securityModes: [MessageSecurityMode.None],
  serverCapabilities: {
    maxMonitoredItems: many,
    maxMonitoredItemsPerSubscription: many,
    operationLimits: { maxNodesPerRead: many, maxMonitoredItemsPerCall: many },
  },
});
await server.initialize();
const space = server.engine.addressSpace;
const own = space.getOwnNamespace();
const plant = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
const variables = Array.from({ length: count }, (_, number) =>
  own.addVariable({
    componentOf: plant,
    browseName: `v${number}`,
    nodeId: `s=v${number}`,
    dataType: "Double",
    minimumSamplingInterval: 0,
    value: { dataType: "Double", value: 0 },
  }),
);
let round = 0;
setInterval(() => {
  round += 1;
  for (const variable of variables) variable.setValueFromSource({ dataType: "Double", value: round });
}, period);
await server.start();
console.log("ready");
