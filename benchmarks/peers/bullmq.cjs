// BullMQ on Node, on Redis or on PostgreSQL: what `job`, `records` and `producing` are for Python.
//
// node bullmq.cjs work | prepare | idle | VERB COUNT JOB

const fs = require("node:fs");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const { Queue, Worker, createPostgresBackend, setDefaultBackendFactory } = require("bullmq");

const NAME = "bench", SLOTS = 50;
const INPUT_BYTES = 500, SLEEP_MS = 100;
const PER_CALL = 500, WARM_UP = -1, PAUSE_MS = 50;
const WATCHED_MS = 20000, LOOK_MS = 10;
const RECORD = 64;
const DATABASE = process.env.BENCH_DATABASE_URL;

function connected() {
  if (DATABASE) {
    setDefaultBackendFactory(createPostgresBackend);
    const [, user, database, host] = DATABASE.match(/^postgres:\/\/(\w+)@\/(\w+)\?host=(.*)$/);
    return { connection: { user, database, host, migrate: true } };
  }
  const path = process.env.BENCH_REDIS_URL.replace("unix://", "");
  return { connection: { path, maxRetriesPerRequest: null } };
}

// CLOCK_MONOTONIC, which the Python side reads too.
const now = () => process.hrtime.bigint();

function payload(kind, number) {
  const frame = JSON.stringify({ prompt: "" }).length + 1; // Python writes a space after the colon.
  return { prompt: `${kind} ${number} `.padEnd(INPUT_BYTES - frame, "x") };
}

let file;
function write(number, started) {
  file ??= fs.openSync(process.env.BENCH_RECORDS, "a", 0o600);
  fs.writeSync(file, `${number} ${started} ${now()} ${process.pid}`.padEnd(RECORD - 1) + "\n");
}

async function perform(job) {
  const started = now();
  const [kind, number] = job.data.prompt.split(" ", 2);
  if (kind === "sleep") await sleep(SLEEP_MS);
  write(number, started);
  return Number(number);
}

function work() {
  new Worker(NAME, perform, { ...connected(), concurrency: SLOTS });
}

const range = (first, last) => Array.from({ length: last - first }, (_, place) => first + place);

const add = (queue, kind, number) => queue.add("perform", payload(kind, number));

const addMany = (queue, kind, numbers) =>
  queue.addBulk(numbers.map((number) => ({ name: "perform", data: payload(kind, number) })));

async function seconds(act) {
  const begun = now(), used = process.cpuUsage();
  await act();
  const { user, system } = process.cpuUsage(used);
  return { seconds: Number(now() - begun) / 1e9, cpu: (user + system) / 1e6 };
}

const VERBS = {
  async single(queue, count, kind) {
    await add(queue, kind, WARM_UP);
    return seconds(async () => {
      for (const number of range(0, count)) await add(queue, kind, number);
    });
  },
  async bulk(queue, count, kind) {
    await addMany(queue, kind, [WARM_UP]);
    return seconds(() => VERBS.load(queue, count, kind));
  },
  async load(queue, count, kind) {
    for (let first = 0; first < count; first += PER_CALL) {
      await addMany(queue, kind, range(first, Math.min(first + PER_CALL, count)));
    }
    return {};
  },
  async paced(queue, count, kind) {
    const stamps = [], returns = [];
    for (const number of range(0, count)) {
      await sleep(PAUSE_MS);
      const called = now();
      await add(queue, kind, number);
      // On PostgreSQL the call's return is the commit's.
      returns.push(Number(now()));
      stamps.push(DATABASE ? returns.at(-1) : Number(called));
    }
    return { stamps, returns };
  },
  async warm(queue, count, kind) {
    for (const number of range(0, count)) await add(queue, kind, WARM_UP - number);
    return {};
  },
  async completed(queue) {
    return { completed: await queue.getCompletedCount() };
  },
  async watch(queue) {
    await queue.getCompletedCount(); // Opens the connection.
    process.stdout.write("ready\n");
    const count = Number(await once(process.stdin, "data"));
    const until = now() + BigInt(WATCHED_MS * 1e6);
    let completed;
    while ((completed = await queue.getCompletedCount()) < count && now() < until) await sleep(LOOK_MS);
    return { at: Number(now()), completed };
  },
};

async function main([verb, count, kind]) {
  if (verb === "work") return work();
  if (verb === "idle") return setInterval(() => {}, 1e6);
  const queue = new Queue(NAME, connected());
  const answer = await VERBS[verb === "prepare" ? "completed" : verb](queue, Number(count), kind);
  process.stdout.write(JSON.stringify(answer) + "\n", () => process.exit());
}

main(process.argv.slice(2));
