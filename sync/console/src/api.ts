// The plane's API, and the live lane that keeps what is shown fresh. Times that count are the page's own (performance.now()):
// the plane says how long ago, never when.
export interface Part { state: string; reason: string; restarts: number; counts: Record<string, number> }
export interface Status {
  samples?: number; durable?: number; dropped?: number; backlog?: { records: number; samples: number }; journal?: string; every?: number;
  parts?: Record<string, Part>;
}
export interface Device { id: string; class: string; site: string; age: number | null; heard: number; alarms: number; status: Status }
export interface Fleet { devices: Device[]; total: number }
export interface Tag {
  id: number; name: string; type: string; unit: string; source: string; labels: Record<string, string>;
  value: number | null; quality: string; ts: number;
}
export interface Alarm {
  device: string; key: string; active: boolean; acked: boolean; shelved: boolean; shelved_until: number; since: number;
  severity: string; text: string; by: string;
}
export interface Happening {
  device: string; epoch: string; seq: number; ts: number; kind: string; key: string; state: string; severity: string; text: string;
  data: Record<string, any>; refs: string[];
}
export interface Answer { state: string; label: string; by: string; text: string }
/** A part with what people say of it: in their order, the newest word that the device has not answered yet, or why it took it not. In
 *  a list it has of its data only what a row shows. */
export interface Inspected extends Happening { reviews: (Answer & { ts: number; hash: string; corrects: string })[]; asked: Answer | null; refusal: string }
export interface List { parts: Inspected[]; labels: string[]; recipes: string[]; devices: string[]; open: number; of: number }
export interface Bound { found: number; of: number; below: number; more: number }
export interface Proven { escapes: Bound; false_calls: Bound; pareto: [string, number][]; hours: [number, number, number, number][] }
export interface Series<V = number> { tag: string; unit: string; t: number[]; v: (V | null)[]; to: number }
export type Values = Record<string, [number | null, string, number]>;
export interface Live {
  kind: "open" | "alive" | "values" | "events" | "picture"; device?: string; epoch?: string; digest?: string; values?: Values;
  status?: Status;
}

const SILENT = 10_000; // ms
const LONGEST_EVERY = 3600; // s, as far as a device is believed
/** ms after which a device is not heard; one on a dear line says how often it tells, in seconds */
export function patience(status?: Status): number {
  const every: unknown = status?.every;  // a device says it
  return Math.max(SILENT, 2500 * (typeof every === "number" ? Math.min(every, LONGEST_EVERY) : 0));
}
export const trusted = (quality: string) => quality === "GOOD" || quality === "CLOCK_UNSURE";

export class SignIn extends Error {}

async function answered(path: string, options: RequestInit): Promise<Response> {
  const answer = await fetch(path, options);
  if (answer.status === 401) throw new SignIn();
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

export async function get<T>(path: string): Promise<T> {
  return (await answered(path, { headers: { Accept: "application/json" } })).json() as Promise<T>;
}

/** What the plane makes of an order. Raises an error in the plane's words where it takes it not. */
export async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) throw new SignIn();
  const said = await answer.json().catch(() => null), detail = said?.detail;
  if (!answer.ok) throw new Error(Array.isArray(detail) ? detail.map((one) => [one.loc?.slice(1).join("."), String(one.msg).replace("Value error, ", "")].filter(Boolean).join(": ")).join("; ") : detail || String(answer.status));
  return said as T;
}

const PAGE = 1000, MOST_DEVICES = 5 * PAGE; // as many as one page of the console shows
/** One answer: devices by name, and how many there are of these. */
export async function devicesOf(words: string): Promise<Fleet> {
  const answer = await answered(`/api/devices?${words}`, { headers: { Accept: "application/json" } });
  const page = (await answer.json()) as Device[], now = performance.now();
  const heard = page.map((d) => ({ ...d, heard: d.age === null ? -Infinity : now - d.age * 1000 }));
  return { devices: heard, total: Number(answer.headers.get("X-Total-Count")) };
}

/** As many as can be shown. */
export async function devices(): Promise<Fleet> {
  const fleet = await devicesOf(`limit=${PAGE}`);
  while (fleet.devices.length < Math.min(fleet.total, MOST_DEVICES)) {
    const after = fleet.devices[fleet.devices.length - 1]?.id ?? "", page = await devicesOf(`limit=${PAGE}&after=${encodeURIComponent(after)}`);
    if (!page.devices.length) break; // some went meanwhile
    fleet.devices.push(...page.devices);
  }
  return fleet;
}

export async function order(device: string, alarm: string, verb: string): Promise<void> {
  const path = `/api/devices/${encodeURIComponent(device)}/alarms/${encodeURIComponent(alarm)}`;
  await answered(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ verb }) });
}

export async function normal(device: string, stage: string): Promise<void> {
  const path = `/api/devices/${encodeURIComponent(device)}/normal/${encodeURIComponent(stage)}`;
  await answered(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
}

/** Raises an error that says 409 where somebody else was first. */
export async function review(p: Inspected, said: Answer & { corrects: string }): Promise<void> {
  const answer = await fetch(`/api/devices/${encodeURIComponent(p.device)}/reviews`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...said, epoch: p.epoch, seq: p.seq }),
  });
  if (answer.status === 401) throw new SignIn();
  if (!answer.ok) throw new Error(String(answer.status));
}

export interface Refused {
  device: string; epoch: string; stream: string; seq: number; t0: number; t1: number; n: number; why: string; arrived: number; bytes: number;
}
const place = (r: Refused) => ({ device: r.device, epoch: r.epoch, stream: r.stream, seq: r.seq });
/** Where a record that the plane could not read is, as its device sent it. */
export const copyOf = (r: Refused) => `/api/refused/body?${new URLSearchParams({ ...place(r), seq: String(r.seq) })}`;

export async function discard(r: Refused, reason: string): Promise<void> {
  await answered("/api/refused/discard", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...place(r), reason }) });
}

/** Once more what a system refused. */
export async function sendAgain(target: string): Promise<void> {
  await answered("/api/forwarding/again", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ target }) });
}

type Listener = (message: Live) => void;
const listeners = new Set<Listener>();

export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const DEAD = 12_000; // ms; the plane says something at least every 5 s
const LONGEST_WAIT = 15_000;
let cut = new AbortController();
export const connection = { state: "up" as "up" | "down" | "signin", since: Date.now(), changed: () => {} };

function stands(state: typeof connection.state): void {
  if (connection.state === state) return;
  connection.state = state;
  connection.changed();
}

/** For a request that failed: where nobody is signed in, the live lane finds out when somebody is again. */
export function failed(error: unknown): void {
  if (!(error instanceof SignIn)) return;
  stands("signin");
  cut.abort();
}

/** Follow the live lane for ever: its end, an error or silence lead to another try, each later than the last. */
export async function connect(): Promise<never> {
  for (let wait = 500; ; wait = Math.min(LONGEST_WAIT, 2 * wait)) {
    try {
      await follow(() => { wait = 500; stands("up"); });
      stands("down");
    } catch (e) {
      stands(e instanceof SignIn || connection.state === "signin" ? "signin" : "down");
    }
    await new Promise((done) => window.setTimeout(done, wait * (0.5 + Math.random() / 2)));
  }
}

async function follow(opened: () => void): Promise<void> {
  const mine = cut = new AbortController();
  let watchdog = window.setTimeout(() => mine.abort(), DEAD);
  try {
    const answer = await answered("/api/live", { signal: mine.signal, cache: "no-store" });
    const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      window.clearTimeout(watchdog);
      watchdog = window.setTimeout(() => mine.abort(), DEAD);
      connection.since = Date.now();
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        const message = JSON.parse(line.slice(6)) as Live;
        if (message.kind === "open") opened();
        for (const listener of listeners) listener(message);
      }
    }
  } finally {
    window.clearTimeout(watchdog);
    mine.abort();
  }
}
