// An edge node of Sparkplug B made with sparkplug-client, on 127.0.0.1: a JSON argument says who it is, lines on its
// input what to do, lines on its output what it was told.
//   node publisher.mjs '{"port": 1883, "group": "plant", "node": "line1", "births": {"": [metrics], "press": [metrics]}}'
// Lines: {"do": "data", "device": "press", "metrics": [...]}, {"do": "death", "device": "press"},
//        {"do": "birth"}, {"do": "skip"} (loses one number of the sequence), {"do": "vanish"} (ends without a goodbye).
import { createInterface } from "node:readline";
import sparkplug from "sparkplug-client";

const given = JSON.parse(process.argv[2]);
const say = (line) => process.stdout.write(JSON.stringify(line, (_, value) => (typeof value === "bigint" ? Number(value) : value)) + "\n");
const revive = (metrics) =>
  metrics.map((metric) => ({ ...metric, value: metric.type === "Bytes" ? Buffer.from(metric.value, "hex") : metric.value }));

const client = sparkplug.newClient({
  serverUrl: `mqtt://127.0.0.1:${given.port}`,
  username: "",
  password: "",
  groupId: given.group,
  edgeNode: given.node,
  clientId: `${given.group}-${given.node}`,
  version: "spBv1.0",
});

const born = () => {
  for (const [device, metrics] of Object.entries(given.births)) {
    const payload = { timestamp: given.at, metrics: revive(metrics) };
    if (device) client.publishDeviceBirth(device, payload, given.options);
    else client.publishNodeBirth(payload, given.options);
  }
  say({ did: "birth" });
};
const told = (metrics) => metrics.map(({ name, type, value }) => ({ name, type, value: value?.toNumber?.() ?? value }));
client.on("error", (error) => say({ error: String(error) }));
client.on("birth", born);
client.on("ncmd", (payload) => {
  say({ ncmd: told(payload.metrics) });
  if (payload.metrics.some((metric) => metric.name === "Node Control/Rebirth" && metric.value)) born();
});
client.on("dcmd", (device, payload) => say({ dcmd: device, metrics: told(payload.metrics) }));

createInterface({ input: process.stdin }).on("line", (line) => {
  const { do: what, device, metrics, at } = JSON.parse(line);
  const payload = { timestamp: at ?? given.at, metrics: revive(metrics ?? []) };
  if (what === "data" && device) client.publishDeviceData(device, payload);
  else if (what === "data") client.publishNodeData(payload);
  else if (what === "death") client.publishDeviceDeath(device, payload);
  else if (what === "birth") born();
  else if (what === "skip") client.seq += 1;
  else if (what === "vanish") process.kill(process.pid, "SIGKILL");
});
